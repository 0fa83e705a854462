//! What stands on accounts: the trial balance, the postings of one account, and the balances that floors are held against.
//!
//! A balance is the sum of its postings. Of accounts with a floor the sums are kept too, by the database itself when a batch is
//! sealed (`0016_ledger_control`), and `verify` adds them up again.

use jiff::civil::Date;

use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::audit::FoundBalance;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::on;

/// One line of the trial balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTotal {
    pub account: Account,
    /// Everything that was ever debited, and credited.
    pub debit: Money,
    pub credit: Money,
}

/// Which entries a balance is of: by their accounting date, and by when they were written down.
#[derive(Clone, Copy, Debug)]
pub struct AsOf {
    /// The last day that counts.
    pub effective_on: Date,
    /// What was written down before.
    pub recorded_before: Instant,
}

/// Where a posting stands in the general ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub effective_on: Date,
    /// The number of its entry.
    pub entry: i64,
    pub line: i64,
}

/// One posting of an account, with what its entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPosting {
    pub place: Place,
    pub entry: EntryId,
    pub kind: EntryKind,
    pub description: String,
    pub recorded_at: Instant,
    pub side: Side,
    pub amount: Money,
}

impl AsOf {
    /// Everything there is.
    pub const NOW: Self = Self { effective_on: Date::MAX, recorded_before: Instant::from_micros(i64::MAX) };
}

impl Place {
    /// Before everything of a day.
    pub const fn start_of(day: Date) -> Self {
        Self { effective_on: day, entry: 0, line: 0 }
    }
}

type PostingRow = (String, i64, i64, String, String, String, i64, String, i64);

impl<Mode> Tx<Mode> {
    /// What stands on every account.
    pub async fn trial_balance(&mut self, as_of: AsOf) -> Result<Vec<AccountTotal>> {
        const SQL: &str = "
            select posting.account,
                   cast(coalesce(sum(posting.amount) filter (where posting.side = 'debit'), 0) as bigint),
                   cast(coalesce(sum(posting.amount) filter (where posting.side = 'credit'), 0) as bigint)
            from posting join journal_entry on journal_entry.seq = posting.entry
            where journal_entry.effective_on <= $1 and journal_entry.recorded_at < $2
            group by posting.account order by posting.account";
        let rows: Vec<(String, i64, i64)> = on!(self, conn => sqlx::query_as(SQL)
            .bind(as_of.effective_on.to_string())
            .bind(as_of.recorded_before.micros())
            .fetch_all(conn)
            .await?);
        let total = |(id, debit, credit): (String, i64, i64)| {
            let account = account(&id)?;
            let money = |minor| Money::from_minor(minor, account.currency());
            Ok(AccountTotal { debit: money(debit), credit: money(credit), account })
        };
        rows.into_iter().map(total).collect()
    }

    /// Debits less credits of an account up to a place, and with it.
    pub async fn account_balance(&mut self, of: &Account, place: Place) -> Result<Money> {
        const SQL: &str = "
            select cast(coalesce(sum(case side when 'debit' then amount else -amount end), 0) as bigint)
            from posting join journal_entry on journal_entry.seq = posting.entry
            where account = $1 and (effective_on, entry, line) <= ($2, $3, $4)";
        let (minor,): (i64,) = on!(self, conn => sqlx::query_as(SQL)
            .bind(of.to_string())
            .bind(place.effective_on.to_string())
            .bind(place.entry)
            .bind(place.line)
            .fetch_one(conn)
            .await?);
        Ok(Money::from_minor(minor, of.currency()))
    }

    /// Postings of an account after a place and dated before `to`, by accounting date.
    pub async fn account_postings(
        &mut self,
        of: &Account,
        after: Place,
        to: Date,
        limit: i64,
    ) -> Result<Vec<AccountPosting>> {
        const SQL: &str = "
            select effective_on, entry, line, id, kind, description, recorded_at, side, amount
            from posting join journal_entry on journal_entry.seq = posting.entry
            where account = $1 and (effective_on, entry, line) > ($2, $3, $4) and effective_on < $5
            order by effective_on, entry, line limit $6";
        let rows: Vec<PostingRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(of.to_string())
            .bind(after.effective_on.to_string())
            .bind(after.entry)
            .bind(after.line)
            .bind(to.to_string())
            .bind(limit)
            .fetch_all(conn)
            .await?);
        let posting = |(effective_on, entry, line, id, kind, description, recorded_at, side, amount): PostingRow| {
            let damaged = |what: &str| Error::Damaged(format!("the {what} of journal entry {entry}"));
            let effective_on = effective_on.parse().map_err(|_| damaged("date"))?;
            Ok(AccountPosting {
                place: Place { effective_on, entry, line },
                entry: EntryId::parse(&id).ok_or_else(|| damaged("id"))?,
                kind: EntryKind::parse(&kind).ok_or_else(|| damaged("kind"))?,
                description,
                recorded_at: Instant::from_micros(recorded_at),
                side: Side::parse(&side).ok_or_else(|| damaged("side"))?,
                amount: Money::from_minor(amount, of.currency()),
            })
        };
        rows.into_iter().map(posting).collect()
    }

    /// What stands on an account with a floor, of which the sum is kept. Whoever posts because of it holds the journal first.
    pub async fn balance(&mut self, account: &Account) -> Result<Money> {
        const SQL: &str = "select credit - debit from account_balance where account = $1";
        let row: Option<(i64,)> =
            on!(self, conn => sqlx::query_as(SQL).bind(account.to_string()).fetch_optional(conn).await?);
        Ok(Money::from_minor(row.map_or(0, |(minor,)| minor), account.currency()))
    }

    /// The sums that are kept of accounts with a floor, as they are kept.
    pub async fn account_balances(&mut self) -> Result<Vec<FoundBalance>> {
        const SQL: &str = "select account, debit, credit, version from account_balance order by account";
        let rows: Vec<(String, i64, i64, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let found = |(account, debit, credit, version)| FoundBalance { account, debit, credit, version };
        Ok(rows.into_iter().map(found).collect())
    }
}

fn account(id: &str) -> Result<Account> {
    Account::parse(id).map_err(|error| Error::Damaged(format!("account {id}: {error}")))
}
