//! Posting rules: one function for each thing that happens, from the table in the design.
//!
//! | what happens | debit | credit |
//! |---|---|---|
//! | [`invoice_finalized`] | 1100 gross | 4000 net, 2200 tax |
//! | [`invoice_voided`] | the exact mirror | |
//! | payments, credit notes, credit and bad debt | [`settlement`] | |
//! | prepaid credit bought, used, expired, voided | [`prepaid`] | |
//! | [`rewards_earned`] | 4090, 5000 or 5010, by the program's class | 2000 |
//! | [`hold_passed`] | 2000 | 2010 |
//! | [`manual::manual_journal`] | as one person drafted and another approved | |
//! | [`hold_passed`], of what takes back more than is there | 2010 what is there, 1200 the rest | 2000 |
//!
//! Payouts have their own in [`payouts`].
//!
//! Amounts may be negative where a document takes something back: they then go to the other side, so an adjustment
//! that claws back a held reward debits 2000. What comes to zero is not posted, and a document of nothing but zeros
//! makes no entry at all. Each function names its own idempotency key, so that a document is booked once.

pub mod manual;
pub mod payouts;
pub mod prepaid;
pub mod settlement;

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::domain::book::program::AccountingClass;
use crate::domain::ids::EntryId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::entry::Heading;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::lock::Locks;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;

/// The dates of an entry: when it counts, and when it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    pub effective_on: Date,
    pub recorded_at: Instant,
}

impl Dates {
    /// Of what is of `day`: that day, or the first one that is open when it is written down.
    pub fn open(day: Date, recorded_at: Instant, locks: &Locks) -> Self {
        Self { effective_on: locks.open_day(day, recorded_at), recorded_at }
    }
}

/// What an invoice comes to, apart from the tax by component, and the tax by jurisdiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceTotals<'a> {
    pub id: &'a InvoiceId,
    pub number: &'a str,
    pub party: &'a str,
    pub net: Vec<(&'a str, Money)>,
    pub tax: Vec<(&'a str, Money)>,
}

/// What a payout statement grants under each program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewardTotals<'a> {
    pub id: &'a PayoutId,
    pub party: &'a str,
    pub rewards: Vec<(&'a str, AccountingClass, Money)>,
}

/// The key under which the finalisation of an invoice is booked.
pub fn invoice_finalized_key(invoice: &InvoiceId) -> String {
    format!("invoice:{invoice}:finalized")
}

/// The consumer owes the gross: revenue by component, and tax by jurisdiction. None if nothing is owed either way.
pub fn invoice_finalized(invoice: &InvoiceTotals<'_>, dates: Dates) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    for (component, net) in &invoice.net {
        postings.credit(Chart::UsageRevenue, Some(component), *net)?;
        postings.debit(Chart::Receivable, Some(invoice.party), *net)?;
    }
    for (jurisdiction, tax) in &invoice.tax {
        postings.credit(Chart::TaxPayable, Some(jurisdiction), *tax)?;
        postings.debit(Chart::Receivable, Some(invoice.party), *tax)?;
    }
    let key = invoice_finalized_key(invoice.id);
    let description = format!("Invoice {} to {}", invoice.number, invoice.party);
    postings.entry(heading(EntryKind::InvoiceFinalized, key, description, dates))
}

/// Takes the finalisation back, as if the invoice had never been.
pub fn invoice_voided(invoice: &InvoiceId, finalized: &Entry, dates: Dates) -> Entry {
    let description = format!("Void: {}", finalized.heading().description);
    finalized.mirror(heading(EntryKind::InvoiceVoided, format!("invoice:{invoice}:voided"), description, dates))
}

/// The platform owes the party its rewards, which are held until the program's hold has passed.
pub fn rewards_earned(payout: &RewardTotals<'_>, dates: Dates) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    for (program, class, amount) in &payout.rewards {
        let (cost, of) = match class {
            AccountingClass::ContraRevenue => (Chart::CustomerRewards, Some(*program)),
            AccountingClass::Expense => (Chart::IncentiveExpense, Some(*program)),
            AccountingClass::ProducerShare => (Chart::ProducerShare, None),
        };
        postings.debit(cost, of, *amount)?;
        postings.credit(Chart::RewardsHeld, Some(payout.party), *amount)?;
    }
    let key = format!("payout:{}:earned", payout.id);
    let description = format!("Rewards of {}, payout {}", payout.party, payout.id);
    postings.entry(heading(EntryKind::RewardsEarned, key, description, dates))
}

/// The key under which the passing of a hold is booked.
pub fn hold_passed_key(payout: &PayoutId, program: &str) -> String {
    format!("payout:{payout}:hold_passed:{program}")
}

/// What a payout statement grants under one program becomes available to the party. Of what it takes back, `owed` (not below
/// zero) is not there to be taken: the party owes it.
pub fn hold_passed(
    payout: &PayoutId,
    party: &str,
    program: &str,
    (amount, owed): (Money, Money),
    dates: Dates,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.debit(Chart::RewardsHeld, Some(party), amount)?;
    postings.debit(Chart::ClawbackReceivable, Some(party), owed)?;
    postings.credit(Chart::RewardsAvailable, Some(party), amount.checked_add(owed)?)?;
    let key = hold_passed_key(payout, program);
    let description = format!("Hold of {program} passed for {party}, payout {payout}");
    postings.entry(heading(EntryKind::HoldPassed, key, description, dates))
}

fn heading(kind: EntryKind, key: String, description: String, dates: Dates) -> Heading {
    let Dates { effective_on, recorded_at } = dates;
    let id = EntryId::derive(recorded_at, &[&key]);
    Heading { id, kind, key, effective_on, recorded_at, description, reverses: None }
}

/// Debits less credits by account, so that an account stands in an entry once.
#[derive(Default)]
struct Postings(BTreeMap<Account, Money>);

impl Postings {
    fn debit(&mut self, chart: Chart, of: Option<&str>, amount: Money) -> Result<(), EntryError> {
        let account = Account::new(chart, of, amount.currency())?;
        let balance = self.0.entry(account).or_insert(Money::zero(amount.currency()));
        *balance = balance.checked_add(amount)?;
        Ok(())
    }

    fn credit(&mut self, chart: Chart, of: Option<&str>, amount: Money) -> Result<(), EntryError> {
        self.debit(chart, of, amount.checked_neg()?)
    }

    /// Debits first, then by account.
    fn entry(self, heading: Heading) -> Result<Option<Entry>, EntryError> {
        let posting = |(account, balance): (Account, Money)| -> Result<Posting, MoneyError> {
            Ok(if balance.is_negative() {
                Posting { account, side: Side::Credit, amount: balance.checked_neg()? }
            } else {
                Posting { account, side: Side::Debit, amount: balance }
            })
        };
        let moved = self.0.into_iter().filter(|(_, balance)| !balance.is_zero());
        let mut postings = moved.map(posting).collect::<Result<Vec<_>, _>>()?;
        postings.sort_by_key(|posting| posting.side);
        if postings.is_empty() { Ok(None) } else { Entry::new(heading, postings).map(Some) }
    }
}

#[cfg(test)]
pub(in crate::domain::ledger) mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::Currency;

    pub const DATES: Dates =
        Dates { effective_on: date(2013, 1, 31), recorded_at: Instant::from_micros(1_360_000_000_000_000) };

    pub fn eur(minor: i64) -> Money {
        Money::from_minor(minor, currency())
    }

    fn currency() -> Currency {
        Currency::from_code("EUR").expect("EUR exists")
    }

    fn invoice_id() -> InvoiceId {
        InvoiceId::parse("inv_1").expect("an id")
    }

    fn payout_id() -> PayoutId {
        PayoutId::parse("po_1").expect("an id")
    }

    pub fn lines(entry: &Entry) -> Vec<String> {
        entry.postings().iter().map(|p| format!("{} {} {}", p.side.as_str(), p.account, p.amount.minor())).collect()
    }

    fn finalized(net: Vec<(&str, Money)>, tax: Vec<(&str, Money)>) -> Option<Entry> {
        let id = invoice_id();
        let invoice = InvoiceTotals { id: &id, number: "INV-7", party: "UA", net, tax };
        invoice_finalized(&invoice, DATES).expect("balances")
    }

    #[test]
    fn a_finalised_invoice_debits_the_gross_and_credits_net_and_tax() {
        let entry = finalized(vec![("miles", eur(700)), ("gates", eur(300))], vec![("NL", eur(210))]);
        let entry = entry.expect("something is owed");
        assert_eq!(
            lines(&entry),
            [
                "debit 1100:UA:EUR 1210",
                "credit 2200:NL:EUR 210",
                "credit 4000:gates:EUR 300",
                "credit 4000:miles:EUR 700"
            ]
        );
        assert_eq!(entry.heading().key, "invoice:inv_1:finalized");
        assert_eq!(entry.heading().description, "Invoice INV-7 to UA");
    }

    #[test]
    fn lines_of_one_component_are_added_up_and_what_comes_to_nothing_is_left_out() {
        let net = vec![("miles", eur(700)), ("miles", eur(-900)), ("gates", eur(5)), ("gates", eur(-5))];
        let entry = finalized(net, vec![]).expect("something is owed");
        assert_eq!(lines(&entry), ["debit 4000:miles:EUR 200", "credit 1100:UA:EUR 200"]);
        assert_eq!(finalized(vec![("miles", eur(0))], vec![("NL", eur(0))]), None);
    }

    #[test]
    fn a_void_is_the_exact_mirror_of_the_finalisation() {
        let original = finalized(vec![("miles", eur(1000))], vec![("NL", eur(210))]).expect("something is owed");
        let void = invoice_voided(&invoice_id(), &original, DATES);
        assert_eq!(lines(&void), ["credit 1100:UA:EUR 1210", "debit 2200:NL:EUR 210", "debit 4000:miles:EUR 1000"]);
        assert_eq!(void.heading().reverses.as_ref(), Some(original.id()));
        assert_eq!((void.heading().kind, &*void.heading().key), (EntryKind::InvoiceVoided, "invoice:inv_1:voided"));
    }

    #[test]
    fn rewards_cost_revenue_or_are_an_expense_by_the_class_of_their_program() {
        let id = payout_id();
        let rewards = vec![
            ("loyalty", AccountingClass::ContraRevenue, eur(300)),
            ("bounty", AccountingClass::Expense, eur(50)),
            ("late", AccountingClass::Expense, eur(-20)),
            ("royalties", AccountingClass::ProducerShare, eur(7)),
        ];
        let payout = RewardTotals { id: &id, party: "UA", rewards };
        let entry = rewards_earned(&payout, DATES).expect("balances").expect("something was earned");
        assert_eq!(
            lines(&entry),
            [
                "debit 4090:loyalty:EUR 300",
                "debit 5000:bounty:EUR 50",
                "debit 5010:EUR 7",
                "credit 2000:UA:EUR 337",
                "credit 5000:late:EUR 20"
            ]
        );
    }

    #[test]
    fn what_was_held_becomes_available_when_the_hold_has_passed() {
        let entry = hold_passed(&payout_id(), "UA", "loyalty", (eur(330), eur(0)), DATES).expect("balances");
        let entry = entry.expect("something was held");
        assert_eq!(lines(&entry), ["debit 2000:UA:EUR 330", "credit 2010:UA:EUR 330"]);
        assert_eq!(entry.heading().key, "payout:po_1:hold_passed:loyalty");
        assert_eq!(hold_passed(&payout_id(), "UA", "loyalty", (eur(0), eur(0)), DATES), Ok(None));
    }

    #[test]
    fn what_is_taken_back_and_not_there_is_owed() {
        let of = |owed| hold_passed(&payout_id(), "UA", "loyalty", (eur(-330), eur(owed)), DATES).expect("balances");
        let of = |owed| lines(&of(owed).expect("moves something"));
        assert_eq!(of(0), ["debit 2010:UA:EUR 330", "credit 2000:UA:EUR 330"]);
        assert_eq!(of(130), ["debit 1200:UA:EUR 130", "debit 2010:UA:EUR 200", "credit 2000:UA:EUR 330"]);
        assert_eq!(of(330), ["debit 1200:UA:EUR 330", "credit 2000:UA:EUR 330"]);
    }

    #[test]
    fn each_currency_balances_on_its_own() {
        let usd = Money::from_minor(5, Currency::from_code("USD").expect("USD exists"));
        let entry = finalized(vec![("miles", eur(7)), ("miles", usd)], vec![]).expect("something is owed");
        assert_eq!(
            lines(&entry),
            ["debit 1100:UA:EUR 7", "debit 1100:UA:USD 5", "credit 4000:miles:EUR 7", "credit 4000:miles:USD 5"]
        );
    }

    proptest! {
        /// Whatever the lines, the receivable moves by exactly what the invoice totals.
        #[test]
        fn the_receivable_moves_by_the_total(net in prop::collection::vec(-1_000_000..1_000_000_i64, 1..8), tax in -999..999_i64) {
            let names: Vec<String> = (0..net.len()).map(|at| format!("c{}", at % 3)).collect();
            let lines = net.iter().zip(&names).map(|(minor, name)| (&**name, eur(*minor))).collect();
            let total = net.iter().sum::<i64>() + tax;
            let moved = finalized(lines, vec![("NL", eur(tax))]).map_or(0, |entry| {
                let receivable = entry.postings().iter().filter(|posting| posting.account.chart() == Chart::Receivable);
                receivable.map(|p| if p.side == Side::Debit { p.amount.minor() } else { -p.amount.minor() }).sum()
            });
            prop_assert_eq!(moved, total);
        }
    }
}
