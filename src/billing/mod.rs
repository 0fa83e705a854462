//! Billing turns periods into documents and entries, and shows finance what was booked.

pub mod booking;
pub mod close;
pub mod csv;
pub mod explain;
pub mod export;
mod holds;
mod late;
pub mod lock;
pub mod manual;
mod netting;
pub mod payouts;
pub mod pdf;
pub mod prepaid;
pub mod quota;
mod record;
mod schedule;
pub mod settle;
mod sharing;
pub mod simulate;
pub mod statement;
pub mod subscribe;
#[cfg(test)]
mod tests;
mod usage;
pub mod verify;
