//! A meter applied: from an event to what it adds to usage, and from usage to a number.

pub mod aggregate;
pub mod delta;
pub mod digest;
pub mod expression;
pub mod field;
pub mod item;
pub mod meters;
pub mod nano;
pub mod peaks;
pub mod prorate;
mod ranked;
pub mod tally;
pub mod test;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
