//! Batches that were moved out of the log into files: where each is, and how it is known again.

use crate::domain::time::Instant;
use crate::store::Log;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// 1, 2, 3.
    pub number: i64,
    /// Where it was written.
    pub folder: String,
    pub name: String,
    pub bytes: i64,
    pub sha256: String,
    /// Of the manifest that lies beside it.
    pub manifest_sha256: String,
}

/// A batch of which the log has only this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedBatch {
    pub seq: i64,
    pub received_at: Instant,
    pub event_count: i64,
    pub first_time: Instant,
    pub last_time: Instant,
    /// CRC-32 of its body.
    pub checksum: i64,
    pub file: i64,
    /// Where its body is in the file.
    pub first_byte: i64,
    pub bytes: i64,
}

/// A batch that may be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archivable {
    pub seq: i64,
    pub event_count: i64,
    pub bytes: i64,
}

type FileRow = (i64, String, String, i64, String, String);

fn archive_file((number, folder, name, bytes, sha256, manifest_sha256): FileRow) -> ArchiveFile {
    ArchiveFile { number, folder, name, bytes, sha256, manifest_sha256 }
}

impl<Mode> Tx<Mode, Log> {
    /// Every file of the archive, in order.
    pub async fn archive_files(&mut self) -> Result<Vec<ArchiveFile>> {
        const SQL: &str = "
            select number, folder, name, bytes, sha256, manifest_sha256 from archive_file order by number";
        let rows: Vec<FileRow> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().map(archive_file).collect())
    }

    /// A batch that was archived, and its file.
    pub async fn archived_batch(&mut self, seq: i64) -> Result<Option<(ArchivedBatch, ArchiveFile)>> {
        const BATCH: &str = "
            select seq, received_at, event_count, first_time, last_time, checksum, file, first_byte, bytes
            from archived_batch where seq = $1";
        const FILE: &str = "
            select number, folder, name, bytes, sha256, manifest_sha256 from archive_file where number = $1";
        type Row = (i64, i64, i64, i64, i64, i64, i64, i64, i64);
        let row: Option<Row> = on!(self, conn => sqlx::query_as(BATCH).bind(seq).fetch_optional(conn).await?);
        let Some((seq, received_at, event_count, first_time, last_time, checksum, file, first_byte, bytes)) = row
        else {
            return Ok(None);
        };
        let of: FileRow = on!(self, conn => sqlx::query_as(FILE).bind(file).fetch_one(conn).await?);
        let batch = ArchivedBatch {
            seq,
            received_at: Instant::from_micros(received_at),
            event_count,
            first_time: Instant::from_micros(first_time),
            last_time: Instant::from_micros(last_time),
            checksum,
            file,
            first_byte,
            bytes,
        };
        Ok(Some((batch, archive_file(of))))
    }

    /// Batches up to one of which every event happened before an instant, in order.
    pub async fn archivable(&mut self, before: Instant, until_seq: i64) -> Result<Vec<Archivable>> {
        const SQL: &str = "
            select seq, event_count, cast(length(body) as bigint)
            from event_batch where last_time < $1 and seq <= $2 order by seq";
        let rows: Vec<(i64, i64, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(before.micros()).bind(until_seq).fetch_all(conn).await?);
        let archivable = |(seq, event_count, bytes)| Archivable { seq, event_count, bytes };
        Ok(rows.into_iter().map(archivable).collect())
    }

    /// Batches of which some events happened before an instant, and others then or later.
    pub async fn batches_across(&mut self, at: Instant) -> Result<i64> {
        const SQL: &str = "select count(*) from event_batch where first_time < $1 and last_time >= $1";
        let (count,): (i64,) = on!(self, conn => sqlx::query_as(SQL).bind(at.micros()).fetch_one(conn).await?);
        Ok(count)
    }
}

impl Tx<Write, Log> {
    /// Records a file of the archive and the batches in it, which are then removed from the log. Returns how many were.
    pub async fn move_to_archive(&mut self, file: &ArchiveFile, batches: &[ArchivedBatch]) -> Result<u64> {
        const FILE: &str = "
            insert into archive_file (number, folder, name, bytes, sha256, manifest_sha256)
            values ($1, $2, $3, $4, $5, $6)";
        const BATCH: &str = "
            insert into archived_batch
                (seq, received_at, event_count, first_time, last_time, checksum, file, first_byte, bytes)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        const DELETE: &str = "delete from event_batch where seq in (select seq from archived_batch where file = $1)";
        on!(self, conn => sqlx::query(FILE)
            .bind(file.number)
            .bind(&file.folder)
            .bind(&file.name)
            .bind(file.bytes)
            .bind(&file.sha256)
            .bind(&file.manifest_sha256)
            .execute(conn)
            .await?
            .rows_affected());
        for batch in batches {
            on!(self, conn => sqlx::query(BATCH)
                .bind(batch.seq)
                .bind(batch.received_at.micros())
                .bind(batch.event_count)
                .bind(batch.first_time.micros())
                .bind(batch.last_time.micros())
                .bind(batch.checksum)
                .bind(file.number)
                .bind(batch.first_byte)
                .bind(batch.bytes)
                .execute(conn)
                .await?
                .rows_affected());
        }
        Ok(on!(self, conn => sqlx::query(DELETE).bind(file.number).execute(conn).await?.rows_affected()))
    }
}
