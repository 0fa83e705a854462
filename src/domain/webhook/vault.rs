//! Secrets as they are kept: encrypted with a key that is not in the database, and bound to the endpoint that they are of.

use chacha20poly1305::KeyInit;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::XNonce;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::aead::Payload;
use sha2::Digest;
use sha2::Sha256;

use crate::domain::hex::hex;
use crate::domain::webhook::sign::Secret;

/// Bytes of a key's hash that it is known by.
const ID_BYTES: usize = 8;

/// The keys of one server. The first one encrypts; all of them decrypt, so that a key can be replaced.
pub struct Vault {
    first: (String, XChaCha20Poly1305),
    older: Vec<(String, XChaCha20Poly1305)>,
}

/// A secret that is encrypted: the nonce, and behind it the ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

impl Vault {
    pub const KEY_BYTES: usize = 32;
    pub const NONCE_BYTES: usize = 24;

    pub fn new(key: &[u8; Self::KEY_BYTES], older: &[[u8; Self::KEY_BYTES]]) -> Self {
        let known = |key: &[u8; Self::KEY_BYTES]| (key_id(key), XChaCha20Poly1305::new(key.into()));
        Self { first: known(key), older: older.iter().map(known).collect() }
    }

    /// Encrypts a secret of an endpoint. `nonce` must be fresh. `None` only if there is no memory for it.
    pub fn seal(&self, secret: &Secret, endpoint: &str, nonce: [u8; Self::NONCE_BYTES]) -> Option<Sealed> {
        let (key_id, cipher) = &self.first;
        let payload = Payload { msg: secret.bytes(), aad: endpoint.as_bytes() };
        let mut bytes = nonce.to_vec();
        bytes.extend(cipher.encrypt(&XNonce::from(nonce), payload).ok()?);
        Some(Sealed { key_id: key_id.clone(), bytes })
    }

    /// Decrypts it. `None` if the key is not here, or if it was changed, or is another endpoint's.
    pub fn open(&self, sealed: &Sealed, endpoint: &str) -> Option<Secret> {
        let mut keys = std::iter::once(&self.first).chain(&self.older);
        let (_, cipher) = keys.find(|(id, _)| *id == sealed.key_id)?;
        let (nonce, ciphertext) = sealed.bytes.split_first_chunk::<{ Self::NONCE_BYTES }>()?;
        let payload = Payload { msg: ciphertext, aad: endpoint.as_bytes() };
        let secret = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Secret::new(secret.try_into().ok()?))
    }
}

/// What a key is known by.
fn key_id(key: &[u8]) -> String {
    let hash = Sha256::new_with_prefix("webhook secrets").chain_update(key).finalize();
    hex(hash.get(..ID_BYTES).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_can_be_replaced() {
        let (old, new) = (Vault::new(&[1; 32], &[]), Vault::new(&[2; 32], &[[1; 32]]));
        let secret = Secret::new([7; 32]);
        let sealed = old.seal(&secret, "ep_1", [0; 24]).expect("seals");
        assert!(new.open(&sealed, "ep_1").is_some_and(|opened| opened == secret));
        let sealed = new.seal(&secret, "ep_1", [0; 24]).expect("seals");
        assert!(old.open(&sealed, "ep_1").is_none(), "the old key does not know the new one");
    }

    proptest! {
        /// What was sealed is opened, and nothing else: not for another endpoint, nor with a bit flipped.
        #[test]
        fn only_what_was_sealed_is_opened(bytes in any::<[u8; 32]>(), nonce in any::<[u8; 24]>(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let vault = Vault::new(&[1; 32], &[]);
            let sealed = vault.seal(&Secret::new(bytes), "ep_1", nonce).expect("seals");
            prop_assert!(vault.open(&sealed, "ep_1").is_some_and(|opened| opened.bytes() == &bytes));
            prop_assert!(vault.open(&sealed, "ep_2").is_none());
            let mut changed = sealed;
            let at = at.index(changed.bytes.len());
            changed.bytes[at] ^= 1 << bit;
            prop_assert!(vault.open(&changed, "ep_1").is_none());
        }
    }
}
