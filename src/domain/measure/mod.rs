//! A meter applied: from an event to what it adds to usage.

pub mod delta;
pub mod digest;
pub mod field;
pub mod meters;
pub mod nano;
pub mod tally;
pub mod test;
