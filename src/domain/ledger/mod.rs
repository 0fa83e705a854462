//! The ledger: a chart of accounts, entries that balance or do not exist, and one function a posting rule.
//!
//! An [`entry::Entry`] that exists balances; [`templates`] is where business becomes postings; [`chain`] makes a
//! change to what was written visible, and [`audit`] looks for one. A [`lock`] keeps days closed.

pub mod account;
pub mod audit;
pub mod chain;
pub mod entry;
pub mod lock;
pub mod manual;
pub mod templates;
