//! Opening the two engines: files or URLs, settings, locks and migrations.

use std::borrow::Cow;
use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::PgConnection;
use sqlx::PgPool;
use sqlx::SqlSafeStr;
use sqlx::SqlitePool;
use sqlx::migrate::Migration;
use sqlx::migrate::MigrationType;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::SqliteSynchronous;

use crate::store::Db;
use crate::store::Engine;
use crate::store::Error;
use crate::store::Result;

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Target {
    /// SQLite: `DIR/tallystick.db` for the books, `DIR/events.db` for the log.
    Folder(PathBuf),
    /// Postgres: one database for both.
    Url(String),
}

/// What the process means to do with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Write. Only one process at a time may.
    Owner,
    /// Read beside a process that may be writing.
    Reader,
}

#[derive(Clone)]
pub(in crate::store) enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool },
    Postgres(PgPool),
}

/// Keeps a second writer out for as long as it lives.
pub(in crate::store) enum Guard {
    None,
    File {
        _locked: File,
    },
    /// The advisory lock is released when this connection closes.
    Connection {
        _locked: Box<tokio::sync::Mutex<PgConnection>>,
    },
}

/// One numbered step of the tables: the same on both engines, in each one's words.
struct Step {
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! step {
    ($number:literal, $file:literal) => {
        Step {
            number: $number,
            name: $file,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $file, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $file, ".sql")),
        }
    };
}

const LOG_STEPS: &[Step] = &[step!(1, "0001_log"), step!(8, "0008_log_identity"), step!(10, "0010_archive")];
const BOOKS_STEPS: &[Step] = &[
    step!(2, "0002_metering"),
    step!(3, "0003_parties"),
    step!(4, "0004_ledger"),
    step!(5, "0005_documents"),
    step!(6, "0006_next_book"),
    step!(7, "0007_usage_items"),
    step!(9, "0009_replayed"),
    step!(11, "0011_changes"),
    step!(12, "0012_late"),
    step!(13, "0013_spend"),
    step!(14, "0014_shares"),
    step!(15, "0015_days"),
    step!(16, "0016_ledger_control"),
    step!(17, "0017_payouts"),
    step!(18, "0018_settlement"),
    step!(19, "0019_exports"),
    step!(20, "0020_prepaid"),
    step!(21, "0021_top_up"),
    step!(22, "0022_stripe"),
    step!(23, "0023_stripe_payments"),
    step!(24, "0024_netting"),
    step!(25, "0025_comes_back"),
    step!(26, "0026_outstanding"),
    step!(27, "0027_terms"),
    step!(28, "0028_posting_checks"),
    step!(29, "0029_endpoints"),
];

/// A number of our own, so that no other program's advisory lock is ours: `tally` in ASCII.
const POSTGRES_LOCK: i64 = 0x74_61_6c_6c_79;

/// Readers are cheap in WAL; more than this only fight for two cores.
const READERS_MAX: u32 = 4;
/// One that the appender keeps, and one for whatever else is written to the log.
const LOG_WRITERS: u32 = 2;
const POSTGRES_CONNECTIONS_MAX: u32 = 12;
/// Five seconds in all, after which whoever keeps the lock is alive.
const LOCK_TRIES: u32 = 50;
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// Pages of the write-ahead log, 4 KiB each, after which they are copied into the file: seldom enough that a stream of
/// large batches is not held up by each, and few enough to be read again quickly after a crash.
const CHECKPOINT_PAGES: &str = "8192";
/// Negative, as SQLite wants it for kibibytes. A connection takes as much only for what it touches.
const CACHE_KIB: &str = "-65536";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Db {
    /// Opens the data, makes it if it is new, and runs the migrations that are missing.
    pub async fn open(target: &Target, access: Access) -> Result<Self> {
        match target {
            Target::Folder(folder) => Self::open_folder(folder, access).await,
            Target::Url(url) => Self::open_url(url, access).await,
        }
    }

    async fn open_folder(folder: &Path, access: Access) -> Result<Self> {
        let unavailable = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", folder.display()));
        let guard = match access {
            Access::Owner => {
                std::fs::create_dir_all(folder).map_err(unavailable)?;
                let lock = File::create(folder.join("lock")).map_err(unavailable)?;
                match lock.try_lock() {
                    Ok(()) => Guard::File { _locked: lock },
                    Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder.display().to_string())),
                    Err(TryLockError::Error(error)) => return Err(unavailable(error)),
                }
            }
            Access::Reader if folder.join("tallystick.db").exists() => Guard::None,
            Access::Reader => {
                return Err(Error::Unavailable(format!("there is no tallystick data in {}", folder.display())));
            }
        };
        let books = open_sqlite(&folder.join("tallystick.db"), 1).await?;
        let log = open_sqlite(&folder.join("events.db"), LOG_WRITERS).await?;
        match access {
            Access::Owner => {
                books.migrate(&[BOOKS_STEPS]).await?;
                log.migrate(&[LOG_STEPS]).await?;
            }
            Access::Reader => {
                books.expect_steps(BOOKS_STEPS).await?;
                log.expect_steps(LOG_STEPS).await?;
            }
        }
        Ok(Self { books, log, archive: None, _guard: Arc::new(guard) })
    }

    async fn open_url(url: &str, access: Access) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)?;
        let guard = match access {
            Access::Owner => {
                let mut connection = PgConnection::connect_with(&options).await?;
                if !lock_postgres(&mut connection).await? {
                    return Err(Error::InUse("the database".to_owned()));
                }
                Guard::Connection { _locked: Box::new(tokio::sync::Mutex::new(connection)) }
            }
            Access::Reader => Guard::None,
        };
        let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS_MAX).connect_with(options).await?;
        let pools = Pools::Postgres(pool);
        match access {
            Access::Owner => pools.migrate(&[LOG_STEPS, BOOKS_STEPS]).await?,
            Access::Reader => pools.expect_steps(BOOKS_STEPS).await?,
        }
        Ok(Self { books: pools.clone(), log: pools, archive: None, _guard: Arc::new(guard) })
    }
}

impl Db {
    /// Bytes that the log takes on disk, whatever is free in them.
    pub async fn log_bytes_on_disk(&self) -> Result<i64> {
        let (bytes,): (i64,) = match &self.log {
            Pools::Sqlite { writer, .. } => {
                sqlx::query_as("select page_count * page_size from pragma_page_count(), pragma_page_size()")
                    .fetch_one(writer)
                    .await?
            }
            Pools::Postgres(pool) => {
                sqlx::query_as("select pg_total_relation_size('event_batch')").fetch_one(pool).await?
            }
        };
        Ok(bytes)
    }

    /// Gives the disk back what is free within the log, if that is more than a tenth. SQLite writes the file anew, which needs room for what stays,
    /// twice. Postgres has a vacuum of its own, which makes the room free for new events.
    pub async fn compact_log(&self) -> Result<()> {
        const FREE: &str = "select freelist_count * 10 > page_count from pragma_freelist_count(), pragma_page_count()";
        if let Pools::Sqlite { writer, .. } = &self.log {
            let (is_worth_it,): (bool,) = sqlx::query_as(FREE).fetch_one(writer).await?;
            if !is_worth_it {
                return Ok(());
            }
            sqlx::raw_sql("vacuum").execute(writer).await?;
            sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(writer).await?;
        }
        Ok(())
    }
}

/// Takes the lock, if nobody else keeps it. A process that was killed keeps it until Postgres notices that it is gone.
async fn lock_postgres(connection: &mut PgConnection) -> Result<bool> {
    for _ in 0..LOCK_TRIES {
        let (locked,): (bool,) =
            sqlx::query_as("select pg_try_advisory_lock($1)").bind(POSTGRES_LOCK).fetch_one(&mut *connection).await?;
        if locked {
            return Ok(true);
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
    Ok(false)
}

pub(in crate::store) async fn open_sqlite(file: &Path, writers: u32) -> Result<Pools> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        // The pages of a large transaction, and what it takes to undo one of its statements, stay in memory.
        .pragma("cache_size", CACHE_KIB)
        .pragma("temp_store", "memory")
        // Without it, `insert or replace` slips past the triggers that forbid a delete.
        .pragma("recursive_triggers", "on");
    let writer = sqlite_pool(writers).connect_with(options.clone()).await?;
    let readers = sqlite_pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Pools::Sqlite { readers, writer })
}

/// When a disk is full, SQLite may roll back by itself. The rollback that follows then fails, and sqlx takes the
/// connection to be in a transaction for ever: such a one is closed, and another opened. That is asked of memory, so
/// there is no need to ask the connection whether it is alive: what lies in the same process does not go away.
fn sqlite_pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections_max).test_before_acquire(false).before_acquire(
        |connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        },
    )
}

impl Pools {
    pub(in crate::store) async fn begin_read(&self) -> Result<Engine> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Engine::Sqlite(readers.begin().await?),
            Self::Postgres(pool) => {
                Engine::Postgres(pool.begin_with("begin isolation level repeatable read read only").await?)
            }
        })
    }

    pub(in crate::store) async fn begin_write(&self) -> Result<Engine> {
        Ok(match self {
            Self::Sqlite { writer, .. } => Engine::Sqlite(writer.begin_with("begin immediate").await?),
            Self::Postgres(pool) => Engine::Postgres(pool.begin().await?),
        })
    }

    async fn migrate(&self, steps: &[&[Step]]) -> Result<()> {
        let migrator = |sql: fn(&Step) -> &'static str| {
            let migration = |step: &Step| {
                let name = Cow::Borrowed(step.name);
                Migration::new(step.number, name, MigrationType::Simple, sql(step).into_sql_str(), false)
            };
            let mut steps: Vec<&Step> = steps.iter().copied().flatten().collect();
            steps.sort_by_key(|step| step.number);
            Migrator::with_migrations(steps.into_iter().map(migration).collect())
        };
        match self {
            Self::Sqlite { writer, .. } => migrator(|step| step.sqlite).run(writer).await?,
            Self::Postgres(pool) => migrator(|step| step.postgres).run(pool).await?,
        }
        Ok(())
    }

    /// Whoever only reads changes no tables: they must be those of this program already.
    async fn expect_steps(&self, steps: &[Step]) -> Result<()> {
        const SQL: &str = "select max(version) from _sqlx_migrations";
        let (last,): (Option<i64>,) = match self {
            Self::Sqlite { writer, .. } => sqlx::query_as(SQL).fetch_one(writer).await?,
            Self::Postgres(pool) => sqlx::query_as(SQL).fetch_one(pool).await?,
        };
        let newest = steps.iter().map(|step| step.number).max();
        if last == newest {
            return Ok(());
        }
        let (last, newest) = (last.unwrap_or_default(), newest.unwrap_or_default());
        let (whose, fix) = match last > newest {
            true => ("a newer", "read it with that one"),
            false => ("an older", "start `tallystick serve` once, which brings it up to date"),
        };
        Err(Error::Unavailable(format!(
            "the data is that of {whose} tallystick (its tables are at step {last}, here they are at {newest}); {fix}"
        )))
    }
}
