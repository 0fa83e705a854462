//! What can go wrong in the store: four ways, by what a caller can do about them.

use sqlx::error::DatabaseError;
use sqlx::error::ErrorKind;
use sqlx::sqlite::SqliteError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    /// The row that was asked for does not exist.
    #[error("there is no such row")]
    Missing,
    /// Something with this key exists already.
    #[error("a row with this key exists already")]
    Taken,
    /// The database itself refused what was to be written: an invariant holds there that the code would have broken.
    #[error("the database refused the write: {0}")]
    Refused(String),
    /// A stored value cannot be read back: the file was changed from outside, or written by a newer version.
    #[error("stored data cannot be read: {0}")]
    Damaged(String),
    /// Another process holds the data.
    #[error("{0} is in use by another tallystick process; stop it, or talk to it with --server URL --key KEY")]
    InUse(String),
    /// Busy, full, gone or unreachable: trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

/// `SQLITE_CONSTRAINT_TRIGGER`: a trigger said `raise(abort)`.
const SQLITE_TRIGGER: &str = "1811";
/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, of which the lowest byte is left in all their kinds. Everything else that is
/// not a constraint (`SQLITE_FULL`, `SQLITE_IOERR`, `SQLITE_READONLY`, `SQLITE_BUSY` …) may get better by itself.
const SQLITE_DAMAGED: [u32; 2] = [11, 26];

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::Missing,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Damaged(error.to_string()),
            sqlx::Error::Database(database) => match database.kind() {
                ErrorKind::UniqueViolation => Self::Taken,
                _ if is_damaged(database.as_ref()) => Self::Damaged(error.to_string()),
                ErrorKind::Other if database.code().as_deref() != Some(SQLITE_TRIGGER) => {
                    Self::Unavailable(error.to_string())
                }
                _ => Self::Refused(database.message().to_owned()),
            },
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

fn is_damaged(error: &dyn DatabaseError) -> bool {
    let code = error.try_downcast_ref::<SqliteError>().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| SQLITE_DAMAGED.contains(&(code & 0xff)))
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Damaged(format!(
                "the data was written by a newer tallystick (its step {version} is unknown here)"
            )),
            sqlx::migrate::MigrateError::VersionMismatch(version) => {
                Self::Damaged(format!("step {version} of its tables differs from this tallystick's"))
            }
            error => Self::Unavailable(error.to_string()),
        }
    }
}
