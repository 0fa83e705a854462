//! Tallystick counts events, prices them in both directions, and books the result.

pub mod clock;
pub mod domain;
pub mod random;
pub mod store;
