//! `rewards-rollforward.csv`: how what is owed in rewards went from one balance to the next, stage by stage.
//!
//! A row for each consumer and stage: held (2000), available (2010), in flight (2020). Amounts are what the platform owes,
//! so what takes from it is below zero, and every row adds up: opening, accrued, reversed, released, paid, closing. What
//! is released only moves from one stage to another, and comes to nothing over all of them. Opening and closing are the
//! balances of the trial balance at these dates.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::billing::csv::csv;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Entry;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::store;
use crate::store::Read;
use crate::store::Tx;
use crate::store::balances::AccountTotal;
use crate::store::journal::Booked;

const COLUMNS: [&str; 11] = [
    "account", "stage", "consumer", "name", "currency", "opening", "accrued", "reversed", "released", "paid", "closing",
];

/// What can happen to what is owed; in the order of the columns.
#[derive(Clone, Copy)]
enum Movement {
    Accrued,
    Reversed,
    Released,
    Paid,
}

fn is_stage(account: &Account) -> bool {
    matches!(account.chart(), Chart::RewardsHeld | Chart::RewardsAvailable | Chart::PayoutsInFlight)
}

/// What the consumers of all these accounts are called.
pub(super) async fn names(
    tx: &mut Tx<Read>,
    before: &[AccountTotal],
    entries: &[Booked],
) -> store::Result<BTreeMap<String, String>> {
    let moved = entries.iter().flat_map(|booked| booked.entry.postings()).map(|posting| &posting.account);
    let accounts = before.iter().map(|total| &total.account).chain(moved).filter(|account| is_stage(account));
    let parties: BTreeSet<&str> = accounts.filter_map(Account::party).collect();
    let named = tx.consumers_named(&parties.into_iter().collect::<Vec<_>>()).await?;
    Ok(named.into_iter().map(|(id, consumer)| (id, consumer.name)).collect())
}

/// `before` is what stood on the accounts before the range, `entries` what moved in it.
pub(super) fn text(
    before: &[AccountTotal],
    entries: &[Booked],
    names: &BTreeMap<String, String>,
) -> Result<String, MoneyError> {
    let mut rows: BTreeMap<&Account, (Money, [Money; 4])> = BTreeMap::new();
    for total in before.iter().filter(|total| is_stage(&total.account)) {
        let zero = Money::zero(total.account.currency());
        rows.insert(&total.account, (total.credit.checked_sub(total.debit)?, [zero; 4]));
    }
    for entry in entries.iter().map(|booked| &booked.entry) {
        for posting in entry.postings().iter().filter(|posting| is_stage(&posting.account)) {
            let zero = Money::zero(posting.account.currency());
            let owed = match posting.side {
                Side::Credit => posting.amount,
                Side::Debit => posting.amount.checked_neg()?,
            };
            let (_, movements) = rows.entry(&posting.account).or_insert((zero, [zero; 4]));
            let movement = &mut movements[movement(entry, owed) as usize];
            *movement = movement.checked_add(owed)?;
        }
    }
    let mut written = Vec::with_capacity(rows.len());
    for (account, (opening, movements)) in rows {
        let closing = movements.iter().try_fold(opening, |sum, moved| sum.checked_add(*moved))?;
        if opening.is_zero() && movements.iter().all(|moved| moved.is_zero()) {
            continue;
        }
        let party = account.party().unwrap_or_default();
        let amount = |money: Money| money.decimal().to_string();
        let [accrued, reversed, released, paid] = movements.map(amount);
        written.push([
            account.chart().code().to_string(),
            account.chart().name().to_owned(),
            party.to_owned(),
            names.get(party).cloned().unwrap_or_default(),
            account.currency().code().to_owned(),
            amount(opening),
            accrued,
            reversed,
            released,
            paid,
            amount(closing),
        ]);
    }
    Ok(csv(COLUMNS, written))
}

/// What an entry does to what is owed, by what stands on its other side: a cost, nothing but other stages, or money.
fn movement(entry: &Entry, owed: Money) -> Movement {
    let others = || entry.postings().iter().map(|posting| &posting.account).filter(|account| !is_stage(account));
    let is_cost = |account: &Account| {
        matches!(account.chart(), Chart::CustomerRewards | Chart::IncentiveExpense | Chart::ProducerShare)
    };
    match (others().any(is_cost), others().next().is_none()) {
        (true, _) if owed.is_negative() => Movement::Reversed,
        (true, _) => Movement::Accrued,
        (false, true) => Movement::Released,
        (false, false) => Movement::Paid,
    }
}
