//! The keys in use, kept in memory, so that a request does not ask the database who calls.
//!
//! Exact, because one process owns the data: a key can be revoked only through this process, which then empties the
//! ring. Only keys that are valid are kept, so whoever guesses fills nothing.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::http::auth::Caller;

/// More keys than are in use at one time; when there are more, the ring is emptied and fills again.
const KEYS_MAX: usize = 10_000;

/// SHA-256 of a secret.
pub type KeyHash = [u8; 32];

#[derive(Default)]
pub struct Keyring(RwLock<Known>);

#[derive(Default)]
struct Known {
    callers: HashMap<KeyHash, Caller>,
    emptied: Emptied,
}

/// How often the ring was emptied. Whoever asks the database notes it before, so that an answer from before a key was
/// revoked is not kept after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emptied(u64);

impl Keyring {
    /// The caller with this key; if it is not known, what [`Keyring::keep`] needs after the database was asked.
    pub fn caller(&self, hash: &KeyHash) -> Result<Caller, Emptied> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.callers.get(hash).cloned().ok_or(known.emptied)
    }

    /// Keeps a caller whose key the database holds, unless the ring was emptied since.
    pub fn keep(&self, hash: KeyHash, caller: &Caller, asked: Emptied) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.emptied != asked {
            return;
        }
        if known.callers.len() >= KEYS_MAX {
            known.callers.clear();
        }
        known.callers.insert(hash, caller.clone());
    }

    /// Forgets every key: at least one of them may not be valid any more.
    pub fn empty(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.emptied = Emptied(known.emptied.0.wrapping_add(1));
        known.callers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::KeyId;
    use crate::domain::time::Instant;
    use crate::http::auth::Role;

    fn caller() -> Caller {
        Caller { key: KeyId::new(Instant::from_micros(0), [0; 10]), role: Role::Ingest }
    }

    #[test]
    fn an_answer_from_before_a_key_was_revoked_is_not_kept() {
        let ring = Keyring::default();
        let asked = ring.caller(&[1; 32]).expect_err("is not known");
        ring.empty();
        ring.keep([1; 32], &caller(), asked);
        let asked = ring.caller(&[1; 32]).expect_err("is still not known");
        ring.keep([1; 32], &caller(), asked);
        assert_eq!(ring.caller(&[1; 32]).expect("is known").role, Role::Ingest);
        ring.empty();
        assert!(ring.caller(&[1; 32]).is_err());
    }

    #[test]
    fn the_ring_has_an_end() {
        let ring = Keyring::default();
        for number in 0..=KEYS_MAX {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            ring.keep(hash, &caller(), Emptied::default());
        }
        assert_eq!(ring.0.read().expect("not poisoned").callers.len(), 1);
    }
}
