//! Meters: which events count, for whom, and how.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;

use crate::domain::book::expression::Expression;
use crate::domain::time::Bucket;

/// What is counted. Once published, a meter id keeps this meaning for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    pub id: String,
    pub event_type: TypePattern,
    pub aggregation: Aggregation,
    /// What is aggregated; nothing for a `count`, a field for `unique`.
    pub value: Option<Value>,
    /// Only for `unique`: where the event says whether its value is added or removed.
    pub operation: Option<Path>,
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

/// What is made of the values of a period's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Count,
    Sum,
    /// The sum, divided by how many events there are.
    Avg,
    Max,
    /// The value of the last event, by event time and then by position in the log.
    Latest,
    /// How many different values there are; with an operation, how many are there when the period ends.
    Unique,
    /// Each event changes a level by its value; the time-average of the level, which carries over between periods.
    WeightedSum,
    /// Nearest rank, over the sums of buckets.
    Percentile(Rank),
}

/// A percentile's rank: above 0, at most 100 percent, without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank(Decimal);

/// The number, or for `unique` the value, that an event brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Path(Path),
    Expression(Expression),
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

impl Meter {
    #[cfg(test)]
    pub fn example(aggregation: Aggregation) -> Self {
        Self {
            id: "miles".to_owned(),
            event_type: TypePattern::Exact("flight.completed".to_owned()),
            aggregation,
            value: Path::parse("data.distance").map(Value::Path),
            operation: None,
            party: Path(vec!["subject".to_owned()]),
            tests: Vec::new(),
            dimensions: BTreeMap::new(),
            bucket: Bucket::Hour,
        }
    }

    /// Whether what lies before a period decides about it: a level goes on, and what was added is still there.
    pub fn carries_over(&self) -> bool {
        match self.aggregation {
            Aggregation::WeightedSum => true,
            Aggregation::Unique => self.operation.is_some(),
            Aggregation::Count
            | Aggregation::Sum
            | Aggregation::Avg
            | Aggregation::Max
            | Aggregation::Latest
            | Aggregation::Percentile(_) => false,
        }
    }
}

impl Aggregation {
    /// As it is written in a meter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Latest => "latest",
            Self::Unique => "unique",
            Self::WeightedSum => "weighted_sum",
            Self::Percentile(_) => "percentile",
        }
    }
}

impl Rank {
    /// `None` unless it is above 0 and at most 100.
    pub fn of_percent(percent: Decimal) -> Option<Self> {
        (percent > Decimal::ZERO && percent <= Decimal::ONE_HUNDRED).then(|| Self(percent.normalize()))
    }

    pub fn percent(self) -> Decimal {
        self.0
    }
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

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => fmt::Display::fmt(path, f),
            Self::Expression(expression) => fmt::Display::fmt(expression, f),
        }
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
