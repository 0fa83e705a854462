//! Billing turns periods into documents and entries, and shows finance what was booked.

pub mod export;
pub mod subscribe;
