//! Digests of keys of usage: a hash of all of a key, 128 bits and keyed, so that no two keys have the same and nobody
//! can make two that do. Comparing keys text by text was most of what counting cost.

use std::hash::Hasher;

use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher13;

use crate::domain::measure::delta::Key;
use crate::domain::time::Instant;

/// What keys the digests of one process. They are never kept.
pub type Secret = [u8; 16];

/// Stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest(u128);

/// A digest in the making: the parts of a key, one after the other.
pub struct Digesting(SipHasher13);

/// No text holds it, so that where one part ends is part of the digest.
const END: u8 = 0xff;

impl KeyDigest {
    pub fn of(secret: &Secret, key: &Key) -> Self {
        let mut digesting = Digesting::new(secret);
        digesting.part(&key.meter);
        digesting.part(&key.party);
        digesting.instant(key.bucket);
        digesting.part(&key.dimensions);
        digesting.part(&key.item);
        digesting.done()
    }

    /// As good as any hash of it.
    pub fn half(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl Digesting {
    pub fn new(secret: &Secret) -> Self {
        Self(SipHasher13::new_with_key(secret))
    }

    pub fn part(&mut self, text: &str) {
        self.piece(text);
        self.end();
    }

    /// A piece of a part. Whoever writes pieces also says where the part ends.
    pub fn piece(&mut self, text: &str) {
        self.0.write(text.as_bytes());
    }

    pub fn end(&mut self) {
        self.0.write(&[END]);
    }

    pub fn instant(&mut self, at: Instant) {
        self.0.write(&at.micros().to_le_bytes());
    }

    pub fn done(self) -> KeyDigest {
        KeyDigest(self.0.finish128().as_u128())
    }
}
