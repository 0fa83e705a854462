//! The golden charge and rounding cases, through the pure functions. Disputed cases follow the baseline.

mod charge;
mod charge_case;
mod proration;
mod rounding;

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Case<P, I, E> {
    pub id: String,
    pub model: String,
    pub parameters: P,
    pub input: I,
    pub expected: E,
}

pub type Any = Case<serde_json::Value, serde_json::Value, serde_json::Value>;
pub fn cases(file: &str) -> Vec<Any> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().skip(1).map(|parent| parent.join("shared/golden"));
    let given = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let dir = given.into_iter().chain(beside).find(|dir| dir.join(file).is_file());
    let dir = dir.expect("the golden cases stand in ../shared/golden or GOLDEN_DIR");
    let text = std::fs::read_to_string(dir.join(file)).expect("the golden cases can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("a golden case")).collect()
}
