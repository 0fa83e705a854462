//! The journal: entries posted in batches, each batch chained to the one before it.
//!
//! What must hold of an entry is checked by the database when its batch is sealed (`0004_ledger`), whoever wrote it.
//! A balance is the sum of its postings ([`balances`](crate::store::balances)).
//!
//! In Postgres the journal has one lock, taken by [`Tx::post`] until commit. Post last in a transaction.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

use jiff::civil::Date;
use sqlx::QueryBuilder;

use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::audit::Audit;
use crate::domain::ledger::audit::Difference;
use crate::domain::ledger::audit::FoundBatch;
use crate::domain::ledger::audit::FoundEntry;
use crate::domain::ledger::audit::Unreadable;
use crate::domain::ledger::chain::Head;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::entry::Heading;
use crate::domain::ledger::entry::Posting;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Engine;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many keys in one statement.
const ROWS_A_STATEMENT: usize = 10_000;

/// An entry that stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its number: 1, 2, 3, without gaps.
    pub seq: i64,
    pub entry: Entry,
}

/// What became of an entry that was to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub id: EntryId,
    pub seq: i64,
    /// False if the same content stood there under the same key already.
    pub new: bool,
}

/// The last batch: what everything in the journal is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalHead {
    pub batch: i64,
    pub last_entry: i64,
    pub head: Head,
}

pub(in crate::store) type EntryRow = (i64, String, String, String, String, String, i64, String, Option<String>);
type PostingRow = (i64, String, String, String, i64);

impl<Mode> Tx<Mode> {
    /// The last batch; before the first one, number 0 and 64 zeros.
    pub async fn journal_head(&mut self) -> Result<JournalHead> {
        const SQL: &str = "select seq, last_entry, head from journal_batch order by seq desc limit 1";
        let row: Option<(i64, i64, String)> = on!(self, conn => sqlx::query_as(SQL).fetch_optional(conn).await?);
        let Some((batch, last_entry, head)) = row else {
            return Ok(JournalHead { batch: 0, last_entry: 0, head: Head::GENESIS });
        };
        let head = Head::parse(&head).ok_or_else(|| Error::Damaged(format!("the head of journal batch {batch}")))?;
        Ok(JournalHead { batch, last_entry, head })
    }

    /// Entries in the order in which they were posted, from the first one after number `after`.
    pub async fn journal_entries(&mut self, after: i64, limit: i64) -> Result<Vec<Booked>> {
        const SQL: &str = "
            select seq, id, kind, key, hash, effective_on, recorded_at, description, reverses
            from journal_entry where seq > $1 order by seq limit $2";
        let rows = on!(self, conn => sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(conn).await?);
        self.booked(rows).await
    }

    /// All entries whose accounting date is in `from <= date < to`, by date.
    pub async fn journal_between(&mut self, from: Date, to: Date) -> Result<Vec<Booked>> {
        const SQL: &str = "
            select seq, id, kind, key, hash, effective_on, recorded_at, description, reverses
            from journal_entry where effective_on >= $1 and effective_on < $2 order by effective_on, seq";
        let (from, to) = (from.to_string(), to.to_string());
        let rows = on!(self, conn => sqlx::query_as(SQL).bind(from).bind(to).fetch_all(conn).await?);
        self.booked(rows).await
    }

    /// The entry that was posted under a key.
    pub async fn journal_entry_with_key(&mut self, key: &str) -> Result<Option<Booked>> {
        const SQL: &str = "
            select seq, id, kind, key, hash, effective_on, recorded_at, description, reverses
            from journal_entry where key = $1";
        let rows = on!(self, conn => sqlx::query_as(SQL).bind(key).fetch_all(conn).await?);
        Ok(self.booked(rows).await?.pop())
    }

    /// Goes through the whole journal and says everything that is wrong with it.
    pub async fn verify_journal(&mut self) -> Result<Vec<Difference>> {
        const BATCH: &str = "
            select seq, first_entry, last_entry, previous, head
            from journal_batch where seq > $1 order by seq limit 1";
        const ENTRIES: &str = "
            select seq, id, kind, key, hash, effective_on, recorded_at, description, reverses
            from journal_entry where batch = $1 order by seq";
        const COUNT: &str = "select (select count(*) from journal_entry), (select count(*) from posting)";
        let mut audit = Audit::default();
        let mut after = i64::MIN;
        loop {
            let row: Option<(i64, i64, i64, String, String)> =
                on!(self, conn => sqlx::query_as(BATCH).bind(after).fetch_optional(conn).await?);
            let Some((seq, first_entry, last_entry, previous, head)) = row else { break };
            let rows = on!(self, conn => sqlx::query_as(ENTRIES).bind(seq).fetch_all(conn).await?);
            let entries = self.found(rows).await?;
            audit.batch(&FoundBatch { seq, first_entry, last_entry, previous, head }, &entries);
            after = seq;
        }
        let (entries, postings): (i64, i64) = on!(self, conn => sqlx::query_as(COUNT).fetch_one(conn).await?);
        let balances = self.account_balances().await?;
        let mut differences = audit.finish(entries, postings, &balances);
        differences.extend(self.changed_accounts().await?);
        Ok(differences)
    }

    async fn changed_accounts(&mut self) -> Result<Vec<Difference>> {
        const SQL: &str = "select id, code, party, purpose, currency from account order by id";
        type Row = (String, i64, Option<String>, Option<String>, String);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let changed = rows.into_iter().filter(|(id, code, party, purpose, currency)| {
            !Account::parse(id).is_ok_and(|account| {
                account.chart().code() == *code
                    && account.party() == party.as_deref()
                    && account.purpose() == purpose.as_deref()
                    && account.currency().code() == currency
            })
        });
        Ok(changed.map(|(id, ..)| Difference::AccountChanged(id)).collect())
    }

    pub(in crate::store) async fn booked(&mut self, rows: Vec<EntryRow>) -> Result<Vec<Booked>> {
        let damaged = |seq, why: Unreadable| Error::Damaged(format!("journal entry {seq}: {why}"));
        let booked = |found: FoundEntry| {
            let seq = found.seq;
            found.entry.map(|entry| Booked { seq, entry }).map_err(|why| damaged(seq, why))
        };
        self.found(rows).await?.into_iter().map(booked).collect()
    }

    /// Puts their postings to entries.
    async fn found(&mut self, rows: Vec<EntryRow>) -> Result<Vec<FoundEntry>> {
        let mut postings: HashMap<i64, Vec<PostingRow>> = HashMap::with_capacity(rows.len());
        for chunk in rows.chunks(ROWS_A_STATEMENT) {
            let found: Vec<PostingRow> = on!(self, conn => {
                let mut query =
                    QueryBuilder::new("select entry, account, currency, side, amount from posting where entry in (");
                query.push_values(chunk, |mut row, entry| {
                    row.push_bind(entry.0);
                });
                query.push(") order by entry, line").build_query_as().fetch_all(conn).await?
            });
            found.into_iter().for_each(|posting| postings.entry(posting.0).or_default().push(posting));
        }
        let found = |row: EntryRow| {
            let (seq, hash) = (row.0, row.4.clone());
            let postings = postings.remove(&seq).unwrap_or_default();
            let count = i64::try_from(postings.len()).unwrap_or(i64::MAX);
            FoundEntry { seq, hash, postings: count, entry: entry(row, postings) }
        };
        Ok(rows.into_iter().map(found).collect())
    }
}

impl Tx<Write> {
    /// Appends entries to the journal as one batch, and says for each where it stands.
    ///
    /// An entry whose key is taken by the same content is left as it stands; by other content, the whole is refused.
    pub async fn post(&mut self, entries: &[Entry]) -> Result<Vec<Posted>> {
        self.hold_journal().await?;
        let mut standing = self.standing(entries).await?;
        let head = self.journal_head().await?;
        let mut seq = head.last_entry;
        let mut posted = Vec::with_capacity(entries.len());
        let mut fresh = Vec::new();
        for entry in entries {
            let hash = entry.content_hash();
            if let Some((seq, id, as_posted)) = standing.get(&entry.heading().key) {
                if *as_posted != hash {
                    return Err(Error::Refused(format!(
                        "something else was posted under the key {} as {id}",
                        entry.heading().key
                    )));
                }
                posted.push(Posted { id: id.clone(), seq: *seq, new: false });
                continue;
            }
            seq += 1;
            posted.push(Posted { id: entry.id().clone(), seq, new: true });
            standing.insert(entry.heading().key.clone(), (seq, entry.id().clone(), hash.to_owned()));
            fresh.push((seq, entry));
        }
        if !fresh.is_empty() {
            self.insert_accounts(&fresh).await?;
            self.insert_entries(head.batch + 1, &fresh).await?;
            self.insert_postings(&fresh).await?;
            self.seal(head, seq, head.head.after(fresh.iter().map(|(_, entry)| *entry))).await?;
        }
        Ok(posted)
    }

    /// Makes all others wait that post something or lock the ledger, until this transaction ends: what is read of balances, of
    /// locks and of what is settled stays as it is. [`Tx::post`] does it too; whoever reads first what it then posts about holds
    /// the journal before it changes anything. In SQLite a transaction that writes is alone already.
    pub async fn hold_journal(&mut self) -> Result<()> {
        if let Engine::Postgres(tx) = &mut self.0 {
            sqlx::query("lock table ledger_lock in share mode").execute(&mut **tx).await?;
            sqlx::query("lock table journal_batch in share row exclusive mode").execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// What stands under the keys of these entries already.
    async fn standing(&mut self, entries: &[Entry]) -> Result<HashMap<String, (i64, EntryId, String)>> {
        let mut standing = HashMap::new();
        for chunk in entries.chunks(ROWS_A_STATEMENT) {
            let rows: Vec<(String, i64, String, String)> = on!(self, conn => {
                let mut query = QueryBuilder::new("select key, seq, id, hash from journal_entry where key in (");
                query.push_values(chunk, |mut row, entry| {
                    row.push_bind(&entry.heading().key);
                });
                query.push(")").build_query_as().fetch_all(conn).await?
            });
            for (key, seq, id, hash) in rows {
                let id = EntryId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of journal entry {seq}")))?;
                standing.insert(key, (seq, id, hash));
            }
        }
        Ok(standing)
    }

    async fn insert_accounts(&mut self, fresh: &[(i64, &Entry)]) -> Result<()> {
        let postings = fresh.iter().flat_map(|(_, entry)| entry.postings());
        let named: HashSet<&Account> = postings.map(|posting| &posting.account).collect();
        let sorted: Vec<&Account> = named.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        insert_rows!(
            self,
            "insert into account (id, code, party, purpose, currency) ",
            sorted.into_iter().map(Ok),
            |mut row, account| {
                row.push_bind(account.to_string())
                    .push_bind(account.chart().code())
                    .push_bind(account.party())
                    .push_bind(account.purpose())
                    .push_bind(account.currency().code());
            },
            " on conflict do nothing"
        );
        Ok(())
    }

    async fn insert_entries(&mut self, batch: i64, fresh: &[(i64, &Entry)]) -> Result<()> {
        insert_rows!(
            self,
            "insert into journal_entry
                     (seq, batch, id, kind, key, hash, effective_on, recorded_at, description, reverses) ",
            fresh.iter().map(Ok),
            |mut row, (seq, entry)| {
                let heading = entry.heading();
                row.push_bind(*seq)
                    .push_bind(batch)
                    .push_bind(heading.id.as_str())
                    .push_bind(heading.kind.as_str())
                    .push_bind(&heading.key)
                    .push_bind(entry.content_hash())
                    .push_bind(heading.effective_on.to_string())
                    .push_bind(heading.recorded_at.micros())
                    .push_bind(&heading.description)
                    .push_bind(heading.reverses.as_ref().map(EntryId::as_str));
            }
        );
        Ok(())
    }

    async fn insert_postings(&mut self, fresh: &[(i64, &Entry)]) -> Result<()> {
        let rows = fresh.iter().flat_map(|(seq, entry)| {
            (1_i64..).zip(entry.postings()).map(move |(line, posting)| Ok((*seq, line, posting)))
        });
        insert_rows!(self, "insert into posting (entry, line, account, currency, side, amount) ", rows, |mut row,
                                                                                                         (
            seq,
            line,
            posting,
        )| {
            row.push_bind(seq)
                .push_bind(line)
                .push_bind(posting.account.to_string())
                .push_bind(posting.amount.currency().code())
                .push_bind(posting.side.as_str())
                .push_bind(posting.amount.minor());
        });
        Ok(())
    }

    /// Closes the batch: here the database looks at everything in it.
    async fn seal(&mut self, before: JournalHead, last_entry: i64, head: Head) -> Result<()> {
        const SQL: &str = "
            insert into journal_batch (seq, first_entry, last_entry, previous, head)
            values ($1, $2, $3, $4, $5)";
        on!(self, conn => sqlx::query(SQL)
            .bind(before.batch + 1)
            .bind(before.last_entry + 1)
            .bind(last_entry)
            .bind(before.head.to_string())
            .bind(head.to_string())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}

fn entry(row: EntryRow, postings: Vec<PostingRow>) -> std::result::Result<Entry, Unreadable> {
    let (_, id, kind, key, _, effective_on, recorded_at, description, reverses) = row;
    let reverses = reverses.map(|id| EntryId::parse(&id).ok_or(Unreadable::Field("reverses"))).transpose()?;
    let heading = Heading {
        id: EntryId::parse(&id).ok_or(Unreadable::Field("id"))?,
        kind: EntryKind::parse(&kind).ok_or(Unreadable::Field("kind"))?,
        key,
        effective_on: effective_on.parse().map_err(|_| Unreadable::Field("effective_on"))?,
        recorded_at: Instant::from_micros(recorded_at),
        description,
        reverses,
    };
    let posting = |(_, account, currency, side, amount): PostingRow| {
        let currency = Currency::from_code(&currency).ok_or(Unreadable::Field("currency"))?;
        Ok(Posting {
            account: Account::parse(&account).map_err(|_| Unreadable::Field("account"))?,
            side: Side::parse(&side).ok_or(Unreadable::Field("side"))?,
            amount: Money::from_minor(amount, currency),
        })
    };
    let postings = postings.into_iter().map(posting).collect::<std::result::Result<_, Unreadable>>()?;
    Ok(Entry::new(heading, postings)?)
}
