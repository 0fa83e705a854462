//! What `tallystick bench ledger` compares with: the rows of a journal in tables that have no key, no index and no rule.

use crate::domain::ids::EntryId;
use crate::domain::ledger::entry::Entry;
use crate::store::Db;
use crate::store::Result;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Plain tables in the database of the journal. A statement has as many rows as when entries are posted.
pub struct PlainJournal<'d> {
    db: &'d Db,
    entries: i64,
}

impl<'d> PlainJournal<'d> {
    pub async fn make(db: &'d Db) -> Result<Self> {
        const ENTRY: &str = "
            create table plain_entry (
                seq bigint, batch bigint, id text, kind text, key text, hash text, effective_on text, recorded_at bigint,
                description text, reverses text)";
        const POSTING: &str = "
            create table plain_posting (
                entry bigint, line bigint, account text, currency text, side text, amount bigint)";
        let plain = Self { db, entries: 0 };
        plain.send(&[ENTRY, POSTING]).await?;
        Ok(plain)
    }

    /// Inserts the rows of entries, in one durable transaction.
    pub async fn insert(&mut self, entries: &[Entry]) -> Result<()> {
        let numbered = || (self.entries..).zip(entries);
        let mut tx = self.db.write().await?;
        insert_rows!(
            tx,
            "insert into plain_entry
                     (seq, batch, id, kind, key, hash, effective_on, recorded_at, description, reverses) ",
            numbered().map(Ok),
            |mut row, (seq, entry)| {
                let heading = entry.heading();
                row.push_bind(seq)
                    .push_bind(1_i64)
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
        let rows = numbered().flat_map(|(seq, entry)| {
            (1_i64..).zip(entry.postings()).map(move |(line, posting)| Ok((seq, line, posting)))
        });
        insert_rows!(
            tx,
            "insert into plain_posting (entry, line, account, currency, side, amount) ",
            rows,
            |mut row, (seq, line, posting)| {
                row.push_bind(seq)
                    .push_bind(line)
                    .push_bind(posting.account.to_string())
                    .push_bind(posting.amount.currency().code())
                    .push_bind(posting.side.as_str())
                    .push_bind(posting.amount.minor());
            }
        );
        tx.commit().await?;
        self.entries = self.entries.saturating_add(i64::try_from(entries.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    pub async fn remove(self) -> Result<()> {
        self.send(&["drop table plain_entry", "drop table plain_posting"]).await
    }

    async fn send(&self, statements: &[&'static str]) -> Result<()> {
        let mut tx = self.db.write().await?;
        for statement in statements {
            on!(tx, conn => sqlx::raw_sql(*statement).execute(conn).await?.rows_affected());
        }
        tx.commit().await
    }
}
