//! Rating: usage × components → lines, each with its explanation.
//!
//! Charges and rewards go through the same code; the direction only decides which document a line ends up on.

pub mod line;
