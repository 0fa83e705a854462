//! Digests of keys of usage: a hash of all of a key, 128 bits and keyed, so that no two keys have the same and nobody
//! can make two that do. Comparing keys text by text was most of what adding them up cost.

use std::hash::Hasher;

use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher13;

use crate::domain::measure::delta::Key;

/// What keys the digests of one process. They are never kept.
pub type Secret = [u8; 16];

/// Stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest(u128);

/// No text holds it, so that where one part ends is part of the digest.
const END: u8 = 0xff;

impl KeyDigest {
    pub fn of(secret: &Secret, key: &Key) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        for part in [&key.meter, &key.party, &key.dimensions, &key.item] {
            hasher.write(part.as_bytes());
            hasher.write(&[END]);
        }
        hasher.write(&key.bucket.micros().to_le_bytes());
        Self(hasher.finish128().as_u128())
    }
}
