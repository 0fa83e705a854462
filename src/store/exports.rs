//! Sealed exports of the journal: what each took, and its file. Of one kind, the database lets an entry be taken once.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::domain::ids::ExportId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::chain::Head;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::journal::Booked;
use crate::store::on;

/// An export that was sealed, without its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportBatch {
    pub id: ExportId,
    /// What was exported, such as `quickbooks.csv`.
    pub kind: String,
    /// 1, 2, 3 within its kind.
    pub number: i64,
    /// The last accounting date that it takes.
    pub through: Date,
    /// The lowest and the highest number in the journal, of what it took; between them are entries that it did not.
    pub first_entry: i64,
    pub last_entry: i64,
    pub entries: i64,
    /// What all entries debit, by currency.
    pub totals: Vec<Money>,
    /// Of the chain, when the entries were read.
    pub head: Head,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    pub sealed_at: Instant,
}

type Row = (String, String, i64, String, i64, i64, i64, String, String, String, i64);

fn export_batch(row: Row) -> Result<ExportBatch> {
    let (id, kind, number, through, first_entry, last_entry, entries, totals, head, sha256, sealed_at) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of export batch {id}"));
    Ok(ExportBatch {
        through: through.parse().map_err(|_| damaged("date"))?,
        totals: serde_json::from_str(&totals).map_err(|_| damaged("totals"))?,
        head: Head::parse(&head).ok_or_else(|| damaged("head"))?,
        id: ExportId::parse(&id).ok_or_else(|| damaged("id"))?,
        kind,
        number,
        first_entry,
        last_entry,
        entries,
        sha256,
        sealed_at: Instant::from_micros(sealed_at),
    })
}

impl<Mode> Tx<Mode> {
    /// Entries that are dated through a day and that no batch of this kind took, by date.
    pub async fn unexported(&mut self, kind: &str, through: Date) -> Result<Vec<Booked>> {
        const SQL: &str = "
            select seq, id, kind, key, hash, effective_on, recorded_at, description, reverses
            from journal_entry
            where effective_on <= $1
            and not exists (select 1 from exported_entry where kind = $2 and entry = journal_entry.seq)
            order by effective_on, seq";
        let through = through.to_string();
        let rows = on!(self, conn => sqlx::query_as(SQL).bind(through).bind(kind).fetch_all(conn).await?);
        self.booked(rows).await
    }

    /// The entries that a batch took, by number.
    pub async fn exported(&mut self, id: &ExportId) -> Result<Vec<Booked>> {
        const SQL: &str = "
            select seq, id, journal_entry.kind, key, hash, effective_on, recorded_at, description, reverses
            from exported_entry join journal_entry on journal_entry.seq = exported_entry.entry
            where exported_entry.batch = $1 order by seq";
        let id = id.as_str();
        let rows = on!(self, conn => sqlx::query_as(SQL).bind(id).fetch_all(conn).await?);
        self.booked(rows).await
    }

    /// Every account in what batches of this kind took.
    pub async fn exported_accounts(&mut self, kind: &str) -> Result<BTreeSet<Account>> {
        const SQL: &str = "
            select distinct posting.account
            from exported_entry join posting on posting.entry = exported_entry.entry
            where exported_entry.kind = $1";
        let rows: Vec<(String,)> = on!(self, conn => sqlx::query_as(SQL).bind(kind).fetch_all(conn).await?);
        let account =
            |(id,): (String,)| Account::parse(&id).map_err(|error| Error::Damaged(format!("account {id}: {error}")));
        rows.into_iter().map(account).collect()
    }

    /// How many batches of this kind there are, which is the number of the last one.
    pub async fn last_export(&mut self, kind: &str) -> Result<i64> {
        const SQL: &str = "select cast(count(*) as bigint) from export_batch where kind = $1";
        let (count,): (i64,) = on!(self, conn => sqlx::query_as(SQL).bind(kind).fetch_one(conn).await?);
        Ok(count)
    }

    /// A page of batches, newest first, of one kind or of all, from the first one before this id.
    pub async fn export_batches(
        &mut self,
        kind: Option<&str>,
        before: Option<&str>,
        limit: i64,
    ) -> Result<Vec<ExportBatch>> {
        const SQL: &str = "
            select id, kind, number, through, first_entry, last_entry, entries, totals, head, sha256, sealed_at
            from export_batch
            where (cast($1 as text) is null or kind = $1) and (cast($2 as text) is null or id < $2)
            order by id desc limit $3";
        let rows: Vec<Row> =
            on!(self, conn => sqlx::query_as(SQL).bind(kind).bind(before).bind(limit).fetch_all(conn).await?);
        rows.into_iter().map(export_batch).collect()
    }

    /// A batch, and its file as zstd.
    pub async fn export_batch(&mut self, id: &ExportId) -> Result<Option<(ExportBatch, Vec<u8>)>> {
        const BATCH: &str = "
            select id, kind, number, through, first_entry, last_entry, entries, totals, head, sha256, sealed_at
            from export_batch where id = $1";
        const FILE: &str = "select file from export_batch where id = $1";
        let id = id.as_str();
        let row: Option<Row> = on!(self, conn => sqlx::query_as(BATCH).bind(id).fetch_optional(conn).await?);
        let Some(row) = row else { return Ok(None) };
        let (file,): (Vec<u8>,) = on!(self, conn => sqlx::query_as(FILE).bind(id).fetch_one(conn).await?);
        Ok(Some((export_batch(row)?, file)))
    }
}

impl Tx<Write> {
    /// Keeps a batch, the numbers of the entries that it took, and its file as zstd. `Taken` if one of them was taken by
    /// another batch of its kind.
    pub async fn seal_export(&mut self, batch: &ExportBatch, entries: &[i64], file: &[u8]) -> Result<()> {
        const SQL: &str = "
            insert into export_batch
                (id, kind, number, through, first_entry, last_entry, entries, totals, head, sha256, file, sealed_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let (id, kind) = (batch.id.as_str(), batch.kind.as_str());
        insert_rows!(
            self,
            "insert into exported_entry (kind, entry, batch) ",
            entries.iter().map(Ok),
            |mut row, entry| {
                row.push_bind(kind).push_bind(*entry).push_bind(id);
            }
        );
        let totals = serde_json::to_string(&batch.totals).map_err(|error| Error::Refused(error.to_string()))?;
        on!(self, conn => sqlx::query(SQL)
            .bind(id)
            .bind(kind)
            .bind(batch.number)
            .bind(batch.through.to_string())
            .bind(batch.first_entry)
            .bind(batch.last_entry)
            .bind(batch.entries)
            .bind(totals)
            .bind(batch.head.to_string())
            .bind(&batch.sha256)
            .bind(file)
            .bind(batch.sealed_at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
