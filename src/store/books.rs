//! Published price-book versions.

use crate::domain::time::Instant;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// A version as it is kept: who published which files, and from when they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBook {
    pub id: String,
    pub hash: String,
    pub effective_from: Instant,
    pub published_at: Instant,
    pub published_by: String,
    pub note: String,
    /// JSON: the book's files
    pub files: String,
}

impl<Mode> Tx<Mode> {
    /// Every version, in the order in which they take effect.
    pub async fn book_versions(&mut self) -> Result<Vec<PublishedBook>> {
        const SQL: &str = "
            select id, hash, effective_from, published_at, published_by, note, files
            from book_version order by effective_from";
        let rows: Vec<(String, String, i64, i64, String, String, String)> =
            on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows
            .into_iter()
            .map(|(id, hash, effective_from, published_at, published_by, note, files)| PublishedBook {
                id,
                hash,
                effective_from: Instant::from_micros(effective_from),
                published_at: Instant::from_micros(published_at),
                published_by,
                note,
                files,
            })
            .collect())
    }
}

impl Tx<Write> {
    /// Publishes a version. `Taken` if its content, or one with the same effective time, is published already.
    pub async fn publish_book(&mut self, book: &PublishedBook) -> Result<()> {
        const SQL: &str = "
            insert into book_version (id, hash, effective_from, published_at, published_by, note, files)
            values ($1, $2, $3, $4, $5, $6, $7)";
        on!(self, conn => sqlx::query(SQL)
            .bind(&book.id)
            .bind(&book.hash)
            .bind(book.effective_from.micros())
            .bind(book.published_at.micros())
            .bind(&book.published_by)
            .bind(&book.note)
            .bind(&book.files)
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
