//! When a delivery is tried again, and what an answer to it means.
//!
//! Source of the rules: Standard Webhooks 1.0.0: only 2xx is an acknowledgement, 410 asks for no more, waits grow over days
//! and vary, and `Retry-After` is honoured.

use std::time::Duration;

/// Seconds to wait after each attempt that failed; after the last one it is given up. The standard's example, less the first
/// attempt: three days in all.
pub const WAITS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// `Retry-After` is honoured up to here: nobody puts a delivery off for ever.
const RETRY_AFTER_MAX: u64 = 86_400;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status, and what `Retry-After` asks for, in seconds.
    Status { code: u16, retry_after: Option<u64> },
    /// None: no connection, or none in time.
    None,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Acknowledged,
    /// Try again after so long.
    Again(Duration),
    /// Never again; the endpoint is to be left alone altogether if it `is_gone`.
    GivenUp {
        is_gone: bool,
    },
}

/// What follows from the answer to attempt number `attempt` (1, 2, 3). `chance`, evenly spread over 0..=255, makes waits up to a
/// tenth longer, so that what failed together does not come again together.
pub fn verdict(answer: Answer, attempt: u32, waits: &[u64], chance: u8) -> Verdict {
    let retry_after = match answer {
        Answer::Status { code: 200..=299, .. } => return Verdict::Acknowledged,
        Answer::Status { code: 410, .. } => return Verdict::GivenUp { is_gone: true },
        Answer::Status { retry_after, .. } => retry_after.unwrap_or(0).min(RETRY_AFTER_MAX),
        Answer::None => 0,
    };
    let wait = usize::try_from(attempt).ok().and_then(|attempt| waits.get(attempt.checked_sub(1)?));
    match wait {
        Some(wait) => {
            let millis = (*wait).max(retry_after).saturating_mul(1_000);
            let more = millis.saturating_mul(u64::from(chance)) / 2_550;
            Verdict::Again(Duration::from_millis(millis.saturating_add(more)))
        }
        None => Verdict::GivenUp { is_gone: false },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Answer = Answer::Status { code: 500, retry_after: None };

    fn seconds(verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Again(wait) => wait.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_says_yes_is_an_acknowledgement() {
        for code in [200, 201, 204, 299] {
            assert_eq!(verdict(Answer::Status { code, retry_after: None }, 1, &WAITS, 0), Verdict::Acknowledged);
        }
        for code in [100, 199, 300, 301, 302, 307, 400, 404, 429, 500, 503] {
            assert_eq!(seconds(verdict(Answer::Status { code, retry_after: None }, 1, &WAITS, 0)), 5, "{code}");
        }
        assert_eq!(seconds(verdict(Answer::None, 1, &WAITS, 0)), 5);
        let gone = Answer::Status { code: 410, retry_after: Some(7) };
        assert_eq!(verdict(gone, 1, &WAITS, 0), Verdict::GivenUp { is_gone: true });
    }

    #[test]
    fn waits_grow_for_three_days_and_then_it_is_given_up() {
        let waits: Vec<u64> = (1..=9).map(|attempt| seconds(verdict(FAILED, attempt, &WAITS, 0))).collect();
        assert_eq!(waits, WAITS);
        assert_eq!(waits.iter().sum::<u64>(), 75 * 3_600 + 35 * 60 + 5);
        assert_eq!(verdict(FAILED, 10, &WAITS, 0), Verdict::GivenUp { is_gone: false });
    }

    #[test]
    fn a_receiver_can_ask_for_more_time_and_never_for_less() {
        let asks = |retry_after| Answer::Status { code: 429, retry_after: Some(retry_after) };
        assert_eq!(seconds(verdict(asks(60), 1, &WAITS, 0)), 60);
        assert_eq!(seconds(verdict(asks(1), 2, &WAITS, 0)), 300);
        assert_eq!(seconds(verdict(asks(u64::MAX), 1, &WAITS, 0)), 86_400);
        assert_eq!(verdict(asks(60), 10, &WAITS, 0), Verdict::GivenUp { is_gone: false });
    }

    proptest! {
        /// Chance makes a wait longer, by a tenth at most.
        #[test]
        fn chance_only_adds(attempt in 1_u32..10, chance in any::<u8>(), retry_after in prop::option::of(any::<u64>())) {
            let answer = Answer::Status { code: 503, retry_after };
            let (least, most) = (verdict(answer, attempt, &WAITS, 0), verdict(answer, attempt, &WAITS, u8::MAX));
            let (Verdict::Again(least), Verdict::Again(most)) = (least, most) else { panic!("it is tried again") };
            let Verdict::Again(wait) = verdict(answer, attempt, &WAITS, chance) else { panic!("it is tried again") };
            prop_assert!(least <= wait && wait <= most);
            prop_assert_eq!(most.as_millis(), least.as_millis() * 11 / 10);
        }
    }
}
