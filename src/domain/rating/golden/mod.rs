//! The golden charge, proration and rounding cases, through the pure functions. Disputed cases follow the baseline.

mod charge;
mod charge_case;
mod proration;
mod rounding;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::golden::cases::every_case;

#[derive(Deserialize)]
pub struct Case<P, I, E> {
    pub id: String,
    pub model: String,
    pub parameters: P,
    pub input: I,
    pub expected: E,
}

pub type Any = Case<serde_json::Value, serde_json::Value, serde_json::Value>;

/// A case as its kind wants it.
fn read<T: DeserializeOwned>(case: &serde_json::Value) -> T {
    T::deserialize(case).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_charge_case_comes_to_its_numbers() {
    every_case("charge.jsonl", 191, |case| Ok(charge::differences(&read(case))));
}

#[test]
fn every_proration_case_comes_to_its_numbers() {
    every_case("proration.jsonl", 177, |case| Ok(proration::differences(&read(case))));
}

#[test]
fn every_rounding_case_comes_to_its_numbers() {
    every_case("rounding.jsonl", 17, |case| Ok(rounding::differences(&read(case))));
}
