//! The only place that asks what time it is.

use jiff::Timestamp;

use crate::domain::time::Instant;

/// The time of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Instant {
    Timestamp::now().into()
}
