//! The same work on many things, on all cores.

use std::num::NonZero;
use std::thread;

/// Fewer are done sooner than a thread has begun.
const WORTH_A_THREAD: usize = 64;

/// What the work makes of each, in their order.
pub fn by_all_cores<T: Send, R: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut first: Vec<T> = items.into_iter().collect();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let part = first.len().div_ceil(cores).max(WORTH_A_THREAD);
    let mut parts = Vec::new();
    while first.len() > part {
        parts.push(first.split_off(first.len().saturating_sub(part)));
    }
    let each = |part: Vec<T>| part.into_iter().map(&work).collect::<Vec<R>>();
    thread::scope(|scope| {
        let others: Vec<_> = parts.into_iter().rev().map(|part| scope.spawn(|| each(part))).collect();
        let mut all = each(first);
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_stays_in_its_order() {
        for count in [0, 1, WORTH_A_THREAD, WORTH_A_THREAD + 1, 10 * WORTH_A_THREAD + 3] {
            let doubled: Vec<usize> = (0..count).map(|number| number * 2).collect();
            assert_eq!(by_all_cores(0..count, |number| number * 2), doubled);
        }
    }
}
