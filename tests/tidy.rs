//! The house stays tidy: who may use whom, which words are at home where, and what has to be tested.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Floors from the ground up. A room may use what is below it: no neighbour, and nothing upstairs.
/// The clock and chance stand above `domain`, which is told both.
const FLOORS: [&[&str]; 8] = [
    &["domain"],
    &["clock", "random"],
    &["store"],
    &["metering"],
    &["value", "billing", "delivery"],
    &["settlement"],
    &["http"],
    &["cli"],
];

/// Words, and the rooms where they are at home.
const AT_HOME: [(&str, &[&str]); 9] = [
    ("sqlx::", &["store"]),
    ("StatusCode", &["http"]),
    ("Timestamp::now", &["clock"]),
    ("SystemTime::now", &["clock"]),
    ("getrandom::", &["random"]),
    ("jsonschema::", &["domain"]),
    ("ureq::", &["delivery", "settlement", "cli"]),
    ("crate::{", &["no room: one `use` a line"]),
    ("super::super", &["no room: say `crate::…`"]),
];

const LINES_MAX: usize = 500;

#[test]
fn rooms_keep_to_their_floor_and_words_to_their_room() {
    let mut faults = Vec::new();
    for (place, text) in sources("src") {
        let room = room(&place);
        if !text.starts_with("//!") {
            faults.push(format!("{place}:1: begin with `//!` and what this file is for"));
        }
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{place}:1: over {LINES_MAX} lines; are there two rooms in it?"));
        }
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let mut fault = |what: String| faults.push(format!("{place}:{}: {what}", number + 1));
            for used in line.split("crate::").skip(1).map(first_word).filter(|used| *used != room) {
                if floor(used).zip(floor(room)).is_some_and(|(there, here)| there >= here) {
                    fault(format!("`{room}` may not use `{used}`"));
                }
            }
            for (word, homes) in AT_HOME {
                if line.contains(word) && !homes.contains(&room) {
                    fault(format!("`{word}` is at home in {}", homes.join(", ")));
                }
            }
        }
        if !matches!(room, "lib" | "main") && floor(room).is_none() {
            faults.push(format!("{place}: `{room}` is on no floor; give it one in tests/tidy.rs"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn both_engines_have_the_same_steps_tables_and_columns() {
    let steps = |engine: &str| -> Vec<String> {
        let file = |(place, sql): &(String, String)| -> Vec<String> {
            columns(sql).iter().map(|column| format!("{}: {column}", place.replace(engine, "*"))).collect()
        };
        sources(&format!("migrations/{engine}")).iter().flat_map(file).collect()
    };
    let (sqlite, postgres) = (steps("sqlite"), steps("postgres"));
    assert!(sqlite.len() > 30, "the columns were found: {sqlite:?}");
    let without = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|column| !those.contains(column)).cloned().collect()
    };
    assert_eq!(without(&sqlite, &postgres), [""; 0], "only in SQLite");
    assert_eq!(without(&postgres, &sqlite), [""; 0], "only in Postgres");
    assert_eq!(sqlite, postgres, "in the same order");
}

#[test]
fn every_function_of_the_store_is_tested_on_both_engines() {
    let (tests, code): (Vec<_>, Vec<_>) = sources("src/store").into_iter().partition(|(place, _)| is_test(place));
    let tests: String = tests.into_iter().map(|(_, text)| text).collect();
    let functions: Vec<(String, String)> =
        code.iter().flat_map(|(place, text)| functions_of_tx(text).map(move |name| (place.clone(), name))).collect();
    assert!(functions.len() > 10, "the functions were found: {functions:?}");
    let untested = functions.iter().filter(|(_, name)| !tests.contains(&format!(".{name}(")));
    let faults: Vec<String> = untested.map(|(place, name)| format!("{place}: `{name}` is in no test")).collect();
    assert!(faults.is_empty(), "the conformance suite, src/store/tests.rs, leaves out\n{}", faults.join("\n"));
}

/// Every file below a folder: its path from the root of the project, and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join(folder)], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs" || extension == "sql"));
    files.sort();
    let place = |path: &Path| path.strip_prefix(root).expect("below the root").display().to_string();
    files.iter().map(|path| (place(path), fs::read_to_string(path).expect("text"))).collect()
}

/// `src/store/engine.rs` is in `store`, and `src/clock.rs` is `clock`.
fn room(place: &str) -> &str {
    place.split('/').nth(1).map_or(place, |name| name.trim_end_matches(".rs"))
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn is_test(place: &str) -> bool {
    place.starts_with("src/store/tests")
}

/// `table.column` for every column that a migration makes, in its order, and `table` for every table.
fn columns(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut table: Option<&str> = None;
    for line in sql.lines().map(str::trim) {
        let altered = line.strip_prefix("alter table ").and_then(|rest| rest.split_once(" add column "));
        let renamed = line.strip_prefix("alter table ").and_then(|rest| rest.split_once(" rename to "));
        if let Some((table, column)) = altered {
            found.push(format!("{table}.{}", first_word(column)));
        } else if let Some((made, _)) = renamed {
            // A table made anew with other rules takes the place of the old one: it has no column that the old one had not.
            found.retain(|column| first_word(column) != made);
        } else if let Some(rest) = line.strip_prefix("create table ") {
            table = Some(first_word(rest));
            found.push(first_word(rest).to_owned());
        } else if line.starts_with(')') {
            table = None;
        } else if let Some(table) = table {
            let word = first_word(line);
            if !["", "check", "primary", "foreign", "unique", "constraint", "references"].contains(&word) {
                found.push(format!("{table}.{word}"));
            }
        }
    }
    found
}

/// The public functions of every `impl … Tx<…>`.
fn functions_of_tx(text: &str) -> impl Iterator<Item = String> {
    let mut of_tx = false;
    text.lines().filter_map(move |line| {
        match line.as_bytes().first() {
            Some(b'i') if line.starts_with("impl") => of_tx = line.contains(" Tx<"),
            Some(b'}') => of_tx = false,
            _ => {}
        }
        let name = line.strip_prefix("    pub async fn ").map(first_word);
        name.filter(|_| of_tx).map(str::to_owned)
    })
}
