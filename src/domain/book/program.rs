//! Programs: what rewards are budgeted under.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::meter::Test;
use crate::domain::money::Currency;
use crate::domain::period::Period;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub id: String,
    pub name: String,
    pub currency: Currency,
    /// Only usage within it earns.
    pub window: Period,
    /// The most that it pays to all parties together; none means no limit.
    pub budget: Option<Decimal>,
    pub exhausted: Exhausted,
    pub hold_days: u32,
    pub accounting: AccountingClass,
    /// Conditions on `consumer.…`; all must hold.
    pub eligible: Vec<Test>,
}

/// What the bucket in which the budget runs out gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exhausted {
    /// What is left, shared pro rata.
    Partial,
    /// Nothing.
    Stop,
}

/// Which side of the income statement a reward falls on (ASC 606-10-32-25, IFRS 15.70).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountingClass {
    /// The payee is a customer: less revenue (4090).
    ContraRevenue,
    /// An incentive paid to somebody who is not: 5000.
    Expense,
    /// What a producer gets of what others were charged: 5010. For shares, and for nothing else.
    ProducerShare,
}
