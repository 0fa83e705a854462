//! The memory that bodies may take at one time, all together. Whoever gets none is told so at once; nobody waits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// A body of up to this many bytes is small.
pub const SMALL_BYTES_MAX: usize = 64 << 10;

/// The part of the memory that only small bodies get, as a divisor: large ones that are sent by halves cannot keep
/// single events out.
const SMALL_SHARE: usize = 8;

/// How many bytes there are, and how many are taken.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    in_use: AtomicUsize,
}

/// What one body has taken. Given back when it is dropped.
#[derive(Debug)]
pub struct Reserved {
    memory: Arc<Memory>,
    bytes: usize,
}

/// There is not so much left.
#[derive(Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Memory {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, in_use: AtomicUsize::new(0) }
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// What bodies that are not small may take, all together.
    pub fn large_bytes_max(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes_max / SMALL_SHARE)
    }

    /// Whether a body of this length would be given its memory now.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.in_use().saturating_add(bytes) <= self.ceiling(bytes)
    }

    fn ceiling(&self, body_bytes: usize) -> usize {
        if body_bytes <= SMALL_BYTES_MAX { self.bytes_max } else { self.large_bytes_max() }
    }
}

impl Reserved {
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Takes more until this has `bytes`, for a body that is `body_bytes` long so far.
    pub fn grow_to(&mut self, bytes: usize, body_bytes: usize) -> Result<(), Exhausted> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let ceiling = self.memory.ceiling(body_bytes);
        let sum = |in_use: usize| in_use.checked_add(more).filter(|sum| *sum <= ceiling);
        // Only the sum counts: it orders nothing else.
        self.memory.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).map_err(|_| Exhausted)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.in_use.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_up_to_its_end_and_given_back() {
        let memory = Arc::new(Memory::new(1 << 20));
        let mut large = Reserved::new(memory.clone());
        large.grow_to(800 << 10, 800 << 10).expect("there is room");
        assert_eq!(large.grow_to(900 << 10, 900 << 10), Err(Exhausted), "the last eighth is for small bodies");
        assert_eq!(memory.in_use(), 800 << 10, "what was refused is not taken");
        let mut small: Vec<Reserved> = Vec::new();
        while memory.has_room_for(SMALL_BYTES_MAX) {
            let mut reserved = Reserved::new(memory.clone());
            reserved.grow_to(SMALL_BYTES_MAX, SMALL_BYTES_MAX).expect("there is room");
            small.push(reserved);
        }
        assert_eq!(small.len(), 3);
        assert_eq!(Reserved::new(memory.clone()).grow_to(SMALL_BYTES_MAX, SMALL_BYTES_MAX), Err(Exhausted));
        drop((large, small));
        assert_eq!(memory.in_use(), 0);
    }
}
