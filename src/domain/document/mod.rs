//! Documents: invoices, payout statements, and the statement that shows a consumer both.
//!
//! A document is made from lines by [`closing`], gets its number in the transaction that keeps it, and never changes.

pub mod adjust;
pub mod closing;
pub mod credit_note;
pub mod discount;
pub mod dunning;
#[cfg(test)]
mod golden;
pub mod invoice;
pub mod payout;
pub mod settlement;
pub mod share;
pub mod statement;

use std::fmt;

use jiff::civil::Date;
use serde::Serialize;
use serde::Serializer;

/// What a document was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// Where fees begin: those in advance of a subscription's first period, or of one within which its trial ends.
    Opening,
    /// The end of a period: its usage and fees in arrears, and the fees in advance of the next.
    Closing,
}

/// A document's number: a prefix, and a count without gaps. Shown as `INV-000042`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    pub prefix: String,
    pub ordinal: i64,
}

impl Occasion {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Closing => "closing",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Opening, Self::Closing].into_iter().find(|occasion| occasion.as_str() == text)
    }
}

/// Writes a date as `2013-01-31`.
pub(in crate::domain) fn date_text<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

/// The same of a date that there may be.
pub(in crate::domain) fn some_date_text<S: Serializer>(date: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
    match date {
        Some(date) => date_text(date, serializer),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:06}", self.prefix, self.ordinal)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
