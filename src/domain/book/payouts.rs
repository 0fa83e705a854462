//! When consumers are paid out, from how much, from which account, and whether their own invoices come first.

use std::collections::BTreeMap;

use crate::domain::bank::BankAccount;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Interval;

/// `[payouts]` of the book. Without it, whatever is above zero is paid out whenever somebody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payouts {
    /// One payout for each consumer in an interval of the calendar, in the zone of the book.
    pub schedule: Option<Interval>,
    /// By currency: what is less waits for what comes to it.
    pub threshold: BTreeMap<String, Money>,
    /// The platform's own account, which SEPA files are drawn on.
    pub debtor: Option<BankAccount>,
    /// Whether what is available to a consumer pays for its own invoices first.
    pub net_invoices: bool,
}

impl Payouts {
    pub fn threshold(&self, currency: Currency) -> Money {
        self.threshold.get(currency.code()).copied().unwrap_or(Money::zero(currency))
    }
}
