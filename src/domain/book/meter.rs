//! Meters: which events count, for whom, and how.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::time::Bucket;

/// What is counted. Once published, a meter id keeps this meaning for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    pub id: String,
    pub event_type: TypePattern,
    pub aggregation: Aggregation,
    /// The number to aggregate; always there for `sum` and `max`, never for `count`.
    pub value: Option<Path>,
    /// Whose usage it is.
    pub party: Path,
    /// All must hold for an event to count.
    pub tests: Vec<Test>,
    /// Name of a dimension → where its value is.
    pub dimensions: BTreeMap<String, Path>,
    pub bucket: Bucket,
}

/// `flight.completed`, or a prefix written `flight.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    Exact(String),
    /// With its final dot: `flight.`
    Prefix(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    Count,
    Sum,
    Max,
}

/// Where a value is: `subject`, `data.origin`, `consumer.tags.tier`. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(Vec<String>);

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub field: Path,
    pub operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Eq(Operand),
    Ne(Operand),
    In(Vec<Operand>),
    Gt(Decimal),
    Ge(Decimal),
    Lt(Decimal),
    Le(Decimal),
    Exists(bool),
    Prefix(String),
}

/// What a field is compared with: a number if both are numbers, else text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    pub text: String,
    pub number: Option<Decimal>,
}

impl TypePattern {
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == event_type,
            Self::Prefix(prefix) => event_type.starts_with(prefix.as_str()),
        }
    }
}

impl Path {
    /// Reads a dotted path; `None` if a part is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        parts.iter().all(|part| !part.is_empty()).then_some(Self(parts))
    }

    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl Operand {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), number: Decimal::from_str_exact(text).ok() }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}
