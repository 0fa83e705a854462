//! The price book: everything under `pricing/`, as checked values.
//!
//! A [`Book`] that exists is valid: [`parse`] is the only way to make one, and it returns every mistake at once.

pub mod catalog;
pub mod diff;
pub mod expression;
pub mod facts;
pub mod meter;
pub mod mistake;
pub mod parse;
pub mod payouts;
pub mod plan;
pub mod program;
pub mod schema;
pub mod version;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::catalog::EventType;
use crate::domain::book::meter::Meter;
use crate::domain::book::payouts::Payouts;
use crate::domain::book::plan::Plan;
use crate::domain::book::program::Program;
use crate::domain::money::Currency;
use crate::domain::time::Zone;

pub use crate::domain::book::mistake::Mistake;
pub use crate::domain::book::parse::parse;
pub use crate::domain::book::parse::parse_published;

/// A file of a price book, as a person wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the book, with `/`: `plans/airline.toml`.
    pub path: String,
    pub text: String,
}

/// A whole price book, checked. Maps are keyed by id.
#[derive(Clone, Debug)]
pub struct Book {
    pub name: String,
    pub currency: Currency,
    pub zone: Zone,
    /// How invoice numbers begin, such as `INV-`.
    pub invoice_prefix: String,
    /// So many days after it was issued an invoice is to be paid.
    pub due_days: u32,
    /// So many days after it was due a consumer is reminded of it, rising.
    pub reminders: Vec<u32>,
    pub issuer: Issuer,
    pub taxes: BTreeMap<String, Tax>,
    pub payouts: Payouts,
    pub event_types: BTreeMap<String, EventType>,
    pub meters: BTreeMap<String, Meter>,
    pub plans: BTreeMap<String, Plan>,
    pub programs: BTreeMap<String, Program>,
}

/// Whom documents are from. Lines are as they stand on paper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// The book's name, if it is not said.
    pub name: String,
    pub address: Vec<String>,
    pub tax_id: Option<String>,
    pub email: Option<String>,
    /// Where an invoice is paid to.
    pub bank: Vec<String>,
    /// At the foot of every page.
    pub footer: Option<String>,
}

/// A tax rate that consumers can be subject to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tax {
    pub id: String,
    /// Whom it is owed to, such as `NL`: the dimension of account 2200.
    pub jurisdiction: String,
    /// Percent: `21` is 21 %.
    pub rate: Decimal,
}
