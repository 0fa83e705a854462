//! The flights that left New York in the first quarter of 2013, and what another program counted in them.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::http::Client;

/// How many events there are.
pub const FLIGHTS: i64 = 77_910;

/// The columns of `usage.csv` that are one meter each: its name in both places.
const METERS: [(&str, &str); 5] = [
    ("flights", "flights"),
    ("miles", "miles"),
    ("longest_miles", "longest_miles"),
    ("on_time", "on_time"),
    ("late_60", "late_60"),
];

/// What one carrier flew in one month of New York's calendar.
#[derive(Clone, Debug)]
pub struct Flown {
    pub carrier: String,
    pub month: u32,
    columns: BTreeMap<String, i64>,
}

/// Carrier, month → a number.
pub type PerMonth = BTreeMap<(String, u32), i64>;

impl Flown {
    pub fn get(&self, column: &str) -> i64 {
        self.columns[column]
    }
}

fn shared(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/flights").join(file)
}

/// The events as they are kept: NDJSON in zstd.
pub fn events_file() -> String {
    shared("events.ndjson.zst").display().to_string()
}

/// The events, one JSON text each.
pub fn events() -> Vec<String> {
    let file = std::fs::File::open(shared("events.ndjson.zst")).expect("the flights lie beside the project");
    let lines = BufReader::new(zstd::Decoder::new(file).expect("the flights are zstd")).lines();
    lines.map(|line| line.expect("the flights are text")).collect()
}

/// `usage.csv`, a row for each carrier and month.
pub fn table() -> Vec<Flown> {
    let text = std::fs::read_to_string(shared("usage.csv")).expect("the counts lie beside the project");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a line of names").split(',').collect();
    let row = |line: &str| {
        let mut columns: BTreeMap<String, i64> = BTreeMap::new();
        let mut carrier = String::new();
        for (name, cell) in names.iter().zip(line.split(',')) {
            match *name {
                "carrier" => carrier = cell.to_owned(),
                name => _ = columns.insert(name.to_owned(), cell.parse().expect("a whole number")),
            }
        }
        let month = u32::try_from(columns["month"]).expect("a month");
        Flown { carrier, month, columns }
    };
    let rows: Vec<Flown> = lines.map(row).collect();
    assert_eq!(rows.iter().map(|row| row.get("flights")).sum::<i64>(), FLIGHTS, "every event is in the table");
    rows
}

/// One column of the table, without its zeros.
pub fn column(name: &str) -> PerMonth {
    let all = table().into_iter().map(|row| ((row.carrier.clone(), row.month), row.get(name)));
    all.filter(|(_, value)| *value != 0).collect()
}

/// What a server says was used of a meter, per consumer and month; of one value of a dimension if one is named.
pub fn used(client: &Client, meter: &str, dimension: Option<(&str, &str)>) -> PerMonth {
    let group_by = dimension.map_or_else(String::new, |(name, _)| format!("&group_by={name}"));
    let path = format!("/v1/usage?meter={meter}&from=2013-01-01&to=2013-04-01&window=month{group_by}");
    let answer = client.get(&path).ok();
    assert_eq!(answer["meter"], meter);
    let wanted = |row: &&Value| dimension.is_none_or(|(name, value)| row["dimensions"][name] == value);
    let rows = answer["data"].as_array().expect("rows").iter().filter(wanted);
    let number =
        |row: &Value| row["value"].as_str().and_then(|text| text.parse().ok()).expect("a whole number as text");
    let rows = rows.map(|row| ((text(&row["consumer"]), month(&row["from"])), number(row)));
    rows.filter(|(_, value)| *value != 0).collect()
}

/// Asserts that a server has counted what the table says, in every column.
#[track_caller]
pub fn assert_all_counted(client: &Client) {
    for (meter, name) in METERS {
        assert_eq!(used(client, meter, None), column(name), "{meter}");
    }
    for origin in ["EWR", "JFK", "LGA"] {
        let counted = used(client, "flights", Some(("origin", origin)));
        assert_eq!(counted, column(&origin.to_lowercase()), "flights from {origin}");
    }
}

/// The month in which a period of New York's calendar begins. Midnight there is 05:00 in winter and 04:00 in summer.
#[track_caller]
pub fn month(from: &Value) -> u32 {
    let from = text(from);
    match from.strip_prefix("2013-0").and_then(|rest| rest.split_once("-01T05:00:00")) {
        Some((month, _)) => month.parse().expect("a month"),
        None => panic!("{from} is not midnight of a first of January, February or March 2013 in New York"),
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}
