//! What a server answers about documents, as far as the scenarios ask.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;

#[derive(Deserialize)]
pub struct Invoice {
    pub id: String,
    pub number: String,
    pub subscription: String,
    pub occasion: Occasion,
    pub period: Period,
    pub lines: Vec<Line>,
    #[serde(deserialize_with = "money")]
    pub total: Decimal,
    /// What nothing has settled.
    #[serde(deserialize_with = "money")]
    pub outstanding: Decimal,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    Opening,
    Closing,
}

#[derive(Clone, Copy, Deserialize)]
pub struct Period {
    #[serde(deserialize_with = "time")]
    pub from: Timestamp,
    #[serde(deserialize_with = "time")]
    pub to: Timestamp,
}

#[derive(Deserialize)]
pub struct Line {
    pub component: String,
    pub kind: Kind,
    pub description: String,
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    #[serde(flatten)]
    pub period: Period,
    pub quantity: Decimal,
    #[serde(deserialize_with = "money")]
    pub amount: Decimal,
    pub explanation: Explanation,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Fee,
    Charge,
    Minimum,
}

#[derive(Deserialize)]
pub struct Explanation {
    pub steps: Vec<Step>,
}

#[derive(Deserialize)]
pub struct Step {
    pub step: String,
    pub before: Decimal,
    #[serde(default)]
    pub tiers: Vec<Tier>,
}

#[derive(Deserialize)]
pub struct Tier {
    #[serde(default)]
    pub label: String,
    pub units: Decimal,
    pub amount: Decimal,
}

#[derive(Deserialize)]
pub struct Statement {
    pub period: Period,
    pub charges: Vec<Line>,
    #[serde(deserialize_with = "money")]
    pub tax: Decimal,
}

#[derive(Deserialize)]
pub struct Subscription {
    pub id: String,
    #[serde(rename = "end", deserialize_with = "perhaps_time")]
    pub ends_at: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub closed_through: Timestamp,
}

impl Line {
    /// The first step of a kind.
    pub fn step(&self, kind: &str) -> Option<&Step> {
        self.explanation.steps.iter().find(|step| step.step == kind)
    }
}

fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    #[derive(Deserialize)]
    struct Money {
        amount: Decimal,
    }
    Money::deserialize(deserializer).map(|money| money.amount)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn perhaps_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}
