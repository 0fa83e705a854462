//! What the tests of every capability stand on: the binary, its two engines, HTTP, and the flights.

pub mod airlines;
pub mod books;
pub mod data;
pub mod faults;
pub mod flights;
pub mod http;
pub mod money;
pub mod postgres;
pub mod random;
pub mod raw;
pub mod receiver;
pub mod schema;
pub mod server;
pub mod streams;
#[cfg(feature = "stripe")]
pub mod stripe;

/// Makes two tests of every function: one on SQLite, one on Postgres.
macro_rules! both_engines {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(crate::support::data::Engine::Sqlite) })*
        }
        mod postgres {
            $(#[test] fn $test() { super::$test(crate::support::data::Engine::Postgres) })*
        }
    };
}
pub(crate) use both_engines;
