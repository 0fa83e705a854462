//! The store keeps values, in one SQL text on two engines, and decides nothing.
//!
//! Everything hangs on one transaction type. Its mode is in the type, so that a reading path cannot write, and so is
//! its part: the log and the books lie in two files under SQLite (an append never waits for a closing) and in one
//! database under Postgres. No function takes a pool: callers decide what is atomic.
//!
//! What both engines share, and the traps between them:
//! - placeholders are `$1`; instants are microseconds in a `bigint`; JSON is kept as text;
//! - quantities are `numeric` in Postgres and text in SQLite, where SQL would add and compare them as floats, so
//!   **no arithmetic and no ordering on quantities in SQL**;
//! - there is no clock in SQL, and no constraint is matched by its name.

pub mod archive;
pub mod balances;
pub mod batches;
pub mod books;
pub mod clawbacks;
pub mod closings;
mod columns;
pub mod consumers;
pub mod documents;
pub mod endpoints;
mod engine;
mod error;
pub mod exports;
mod insert;
pub mod journal;
pub mod keys;
pub mod late;
pub mod locks;
pub mod manual;
pub mod naive;
pub mod netting;
pub mod payees;
pub mod payouts;
pub mod plain;
pub mod prepaid;
pub mod quarantine;
pub mod recording;
pub mod replayed;
pub mod settlements;
pub mod shares;
pub mod stripe;
pub mod subscriptions;
#[cfg(test)]
pub(crate) mod tests;
pub mod usage;

pub use columns::Quantity;
pub use engine::Access;
pub use engine::Target;
pub use error::Error;

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use sqlx::Postgres;
use sqlx::Sqlite;
use sqlx::Transaction;

use crate::store::engine::Guard;
use crate::store::engine::Pools;

pub type Result<T> = std::result::Result<T, Error>;

/// A store that is open, with its migrations run. Clones share their connections.
#[derive(Clone)]
pub struct Db {
    books: Pools,
    log: Pools,
    /// Where the files of the archive are, if not where they were written.
    archive: Option<Arc<Path>>,
    /// Held as long as any clone lives: one process writes at a time.
    _guard: Arc<Guard>,
}

/// The mode of a transaction that only reads, from one snapshot.
pub struct Read;
/// The mode of a transaction that may change something.
pub struct Write;
/// The part that holds everything but the events.
pub struct Books;
/// The part that holds the events as they came.
pub struct Log;

#[must_use = "a transaction that is not committed is rolled back"]
pub struct Tx<Mode, Part = Books>(Engine, PhantomData<(Mode, Part)>);

pub(in crate::store) enum Engine {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Runs `$body` with `$conn` as the connection of whichever engine the transaction is on.
macro_rules! on {
    ($tx:expr, $conn:ident => $body:expr) => {
        match &mut $tx.0 {
            $crate::store::Engine::Sqlite(tx) => {
                let $conn = &mut **tx;
                $body
            }
            $crate::store::Engine::Postgres(tx) => {
                let $conn = &mut **tx;
                $body
            }
        }
    };
}
pub(in crate::store) use on;

impl Db {
    /// Looks for files of the archive in this folder, wherever they were written.
    #[must_use]
    pub fn with_archive(self, folder: Option<&Path>) -> Self {
        Self { archive: folder.map(Arc::from), ..self }
    }

    /// The folder of all files of the archive, if it was named.
    pub fn archive(&self) -> Option<&Path> {
        self.archive.as_deref()
    }

    pub async fn read(&self) -> Result<Tx<Read>> {
        Ok(Tx(self.books.begin_read().await?, PhantomData))
    }

    pub async fn write(&self) -> Result<Tx<Write>> {
        Ok(Tx(self.books.begin_write().await?, PhantomData))
    }

    pub async fn read_log(&self) -> Result<Tx<Read, Log>> {
        Ok(Tx(self.log.begin_read().await?, PhantomData))
    }

    pub async fn write_log(&self) -> Result<Tx<Write, Log>> {
        Ok(Tx(self.log.begin_write().await?, PhantomData))
    }
}

impl<Part> Tx<Write, Part> {
    /// Makes everything durable. When it fails, nothing was kept.
    pub async fn commit(self) -> Result<()> {
        match self.0 {
            Engine::Sqlite(tx) => tx.commit().await?,
            Engine::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
