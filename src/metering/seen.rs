//! The seen index: which events the log holds, and in which batch each stands.
//!
//! It is a cache of the log, and is rebuilt from it when the process starts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher13 as SipHasher13Wide;

/// A keyed 128-bit hash of (`source`, `id`): nobody who does not know the key can make two events collide.
pub type SeenKey = u128;

/// Where an event stands, and a short hash of what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAt {
    pub seq: i64,
    pub content: u64,
}

#[derive(Debug)]
pub struct Seen {
    secret: [u8; 16],
    events: HashMap<SeenKey, SeenAt>,
}

impl Seen {
    /// An empty index whose hashes are keyed by `secret`.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret, events: HashMap::new() }
    }

    pub fn key(&self, source: &str, id: &str) -> SeenKey {
        let mut hasher = SipHasher13Wide::new_with_key(&self.secret);
        hasher.write_usize(source.len());
        hasher.write(source.as_bytes());
        hasher.write(id.as_bytes());
        hasher.finish128().as_u128()
    }

    pub fn get(&self, key: SeenKey) -> Option<SeenAt> {
        self.events.get(&key).copied()
    }

    /// Adds an event unless it is known; the first one stands. Says whether it was new.
    pub fn insert(&mut self, key: SeenKey, at: SeenAt) -> bool {
        match self.events.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(at);
                true
            }
        }
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// A short hash of an event's text: equal texts are surely equal, others are compared by what they say.
pub fn content_hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
