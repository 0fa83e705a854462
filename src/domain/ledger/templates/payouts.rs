//! Posting rules of money that leaves, and of what is owed back of it.
//!
//! | what happens | debit | credit |
//! |---|---|---|
//! | [`reserved`]: approved | 2010 | 2020 |
//! | [`sent`] | 2020 | 1020 |
//! | [`paid`]: booked by the bank, or by Stripe | 1020 | 1000, or 1010 |
//! | [`returned`]: what was paid comes back; then it has [`failed`] | 1000, or 1010 | 1020 |
//! | [`retried`]: an attempt failed, and there will be another | 1020 | 2020 |
//! | [`failed`]: it came back for good | 1020 | 2010 |
//! | [`cancelled`] before it was sent | 2020 | 2010 |
//! | [`clawback_repaid`] out of what became available | 2010 | 1200 |

use crate::domain::ids::PayId;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::Postings;
use crate::domain::ledger::templates::heading;
use crate::domain::money::Money;

/// Whose money, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved<'a> {
    pub id: &'a PayId,
    pub party: &'a str,
    pub amount: Money,
}

type Booked = Result<Option<Entry>, EntryError>;

pub fn reserved(payout: Moved<'_>, dates: Dates) -> Booked {
    let key = format!("payout:{}:reserved", payout.id);
    payout.entry(EntryKind::PayoutReserved, "approved", key, (Chart::RewardsAvailable, Chart::PayoutsInFlight), dates)
}

/// `n` counts the attempts.
pub fn sent(payout: Moved<'_>, n: i64, dates: Dates) -> Booked {
    let key = format!("payout:{}:sent:{n}", payout.id);
    payout.entry(EntryKind::PayoutSent, "sent", key, (Chart::PayoutsInFlight, Chart::PayoutsInTransit), dates)
}

/// `from` is where the platform's money was.
pub fn paid(payout: Moved<'_>, from: Chart, dates: Dates) -> Booked {
    let key = format!("payout:{}:paid", payout.id);
    payout.entry(EntryKind::PayoutPaid, "paid", key, (Chart::PayoutsInTransit, from), dates)
}

/// `to` is where it was paid from.
pub fn returned(payout: Moved<'_>, to: Chart, dates: Dates) -> Booked {
    let key = format!("payout:{}:returned", payout.id);
    payout.entry(EntryKind::PayoutReturned, "returned", key, (to, Chart::PayoutsInTransit), dates)
}

pub fn retried(payout: Moved<'_>, n: i64, dates: Dates) -> Booked {
    let key = format!("payout:{}:retried:{n}", payout.id);
    payout.entry(
        EntryKind::PayoutRetried,
        "to be sent again",
        key,
        (Chart::PayoutsInTransit, Chart::PayoutsInFlight),
        dates,
    )
}

/// The key under which a payout's failure is booked.
pub fn failed_key(payout: &PayId) -> String {
    format!("payout:{payout}:failed")
}

pub fn failed(payout: Moved<'_>, dates: Dates) -> Booked {
    let key = failed_key(payout.id);
    payout.entry(EntryKind::PayoutFailed, "failed", key, (Chart::PayoutsInTransit, Chart::RewardsAvailable), dates)
}

/// The key under which it is booked that an approved payout was cancelled.
pub fn cancelled_key(payout: &PayId) -> String {
    format!("payout:{payout}:cancelled")
}

pub fn cancelled(payout: Moved<'_>, dates: Dates) -> Booked {
    let key = cancelled_key(payout.id);
    payout.entry(EntryKind::PayoutCancelled, "cancelled", key, (Chart::PayoutsInFlight, Chart::RewardsAvailable), dates)
}

/// The key under which it is booked what was kept back of what an entry made available.
pub fn clawback_repaid_key(cause: &str) -> String {
    format!("{cause}:owed")
}

/// Out of what the entry with the key `cause` made available, a party pays back what it owes.
pub fn clawback_repaid(cause: &str, party: &str, amount: Money, dates: Dates) -> Booked {
    let mut postings = Postings::default();
    postings.debit(Chart::RewardsAvailable, Some(party), amount)?;
    postings.credit(Chart::ClawbackReceivable, Some(party), amount)?;
    let description = format!("Clawback paid back by {party}");
    postings.entry(heading(EntryKind::ClawbackRepaid, clawback_repaid_key(cause), description, dates))
}

impl Moved<'_> {
    fn entry(self, kind: EntryKind, done: &str, key: String, (from, to): (Chart, Chart), dates: Dates) -> Booked {
        let of = |chart: Chart| chart.dimension().map(|_| self.party);
        let mut postings = Postings::default();
        postings.debit(from, of(from), self.amount)?;
        postings.credit(to, of(to), self.amount)?;
        let description = format!("Payout {} to {}: {done}", self.id, self.party);
        postings.entry(heading(kind, key, description, dates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ledger::templates::tests::DATES;
    use crate::domain::ledger::templates::tests::eur;
    use crate::domain::ledger::templates::tests::lines;

    #[test]
    fn money_leaves_step_by_step_and_comes_back_the_same_way() {
        let id = PayId::parse("pay_1").expect("an id");
        let payout = Moved { id: &id, party: "UA", amount: eur(5000) };
        let said = |booked: Booked| {
            let entry = booked.expect("balances").expect("moves something");
            format!("{}: {}", entry.heading().key, lines(&entry).join(", "))
        };
        let expected = [
            "payout:pay_1:reserved: debit 2010:UA:EUR 5000, credit 2020:EUR 5000",
            "payout:pay_1:sent:2: debit 2020:EUR 5000, credit 1020:EUR 5000",
            "payout:pay_1:paid: debit 1020:EUR 5000, credit 1000:EUR 5000",
            "payout:pay_1:returned: debit 1000:EUR 5000, credit 1020:EUR 5000",
            "payout:pay_1:paid: debit 1020:EUR 5000, credit 1010:EUR 5000",
            "payout:pay_1:returned: debit 1010:EUR 5000, credit 1020:EUR 5000",
            "payout:pay_1:retried:1: debit 1020:EUR 5000, credit 2020:EUR 5000",
            "payout:pay_1:failed: debit 1020:EUR 5000, credit 2010:UA:EUR 5000",
            "payout:pay_1:cancelled: debit 2020:EUR 5000, credit 2010:UA:EUR 5000",
            "x:owed: debit 2010:UA:EUR 130, credit 1200:UA:EUR 130",
        ];
        let booked = [
            reserved(payout, DATES),
            sent(payout, 2, DATES),
            paid(payout, Chart::Bank, DATES),
            returned(payout, Chart::Bank, DATES),
            paid(payout, Chart::Stripe, DATES),
            returned(payout, Chart::Stripe, DATES),
            retried(payout, 1, DATES),
            failed(payout, DATES),
            cancelled(payout, DATES),
            clawback_repaid("x", "UA", eur(130), DATES),
        ];
        assert_eq!(booked.map(said), expected);
    }
}
