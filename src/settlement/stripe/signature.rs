//! Whether a message is Stripe's: `Stripe-Signature`, HMAC-SHA256 over the time and the body as they came.
//!
//! While a secret is being replaced Stripe signs with both, so any signature of the header may match any secret. They are
//! compared in constant time.

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;
use thiserror::Error;

use crate::domain::time::Instant;

/// How far the clock of the signature may be from ours: what is older may be a recording.
const TOLERANCE_SECONDS: i64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsigned {
    #[error("the header Stripe-Signature is missing, or is not like `t=…,v1=…`")]
    Unreadable,
    #[error("no signature of the message is made with a secret that is known here")]
    Unknown,
    #[error("the message was signed more than {TOLERANCE_SECONDS} seconds before or after now")]
    NotNow,
}

pub fn verify(header: &str, body: &[u8], secrets: &[String], now: Instant) -> Result<(), Unsigned> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, time)| time).ok_or(Unsigned::Unreadable)?;
    let seconds: i64 = signed_at.parse().map_err(|_| Unsigned::Unreadable)?;
    let signatures: Vec<[u8; 32]> =
        parts().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| bytes(hex)).collect();
    if signatures.is_empty() {
        return Err(Unsigned::Unreadable);
    }
    // Everybody knows an empty one.
    let is_signed = secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
        mac.update(signed_at.as_bytes());
        mac.update(b".");
        mac.update(body);
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    });
    if !is_signed {
        return Err(Unsigned::Unknown);
    }
    let apart = (now.micros() / 1_000_000).saturating_sub(seconds).saturating_abs();
    if apart > TOLERANCE_SECONDS { Err(Unsigned::NotNow) } else { Ok(()) }
}

/// The 32 bytes of a hex text.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test";
    const AT: i64 = 1_700_000_000;

    /// Made with `printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test`.
    const OF_OPENSSL: &str = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";

    /// The same with an empty secret.
    const OF_NOBODY: &str = "0544cee61c7f21c4f8ddaa03818d769214fe1cee99d6a47c009139d400184359";

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn check(header: &str, body: &str, secrets: &[&str], seconds: i64) -> Result<(), Unsigned> {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        verify(header, body.as_bytes(), &secrets, at(seconds))
    }

    #[test]
    fn what_openssl_signs_is_signed_and_nothing_else_is() {
        let body = r#"{"id":"evt_1"}"#;
        let good = format!("t={AT},v1={OF_OPENSSL}");
        let zeros = "0".repeat(64);
        assert_eq!(check(&good, body, &[SECRET], AT), Ok(()));
        assert_eq!(check(&format!("t={AT}, v1={zeros}, v1={OF_OPENSSL},v0=x"), body, &["other", SECRET], AT), Ok(()));
        assert_eq!(check(&good, r#"{"id":"evt_2"}"#, &[SECRET], AT), Err(Unsigned::Unknown));
        assert_eq!(check(&format!("t={},v1={OF_OPENSSL}", AT + 1), body, &[SECRET], AT), Err(Unsigned::Unknown));
        assert_eq!(check(&good, body, &[], AT), Err(Unsigned::Unknown));
        assert_eq!(check(&good, body, &["other"], AT), Err(Unsigned::Unknown));
        assert_eq!(check(&format!("t={AT},v1={OF_NOBODY}"), body, &[""], AT), Err(Unsigned::Unknown));
        assert_eq!(check(&format!("t={AT},v1={zeros}"), body, &[SECRET], AT), Err(Unsigned::Unknown));
        for unreadable in ["", "t=", "t=x,v1=00", &format!("v1={OF_OPENSSL}"), &format!("t={AT},v0={OF_OPENSSL}")] {
            assert_eq!(check(unreadable, body, &[SECRET], AT), Err(Unsigned::Unreadable), "{unreadable}");
        }
    }

    #[test]
    fn a_recording_is_not_taken() {
        let good = format!("t={AT},v1={OF_OPENSSL}");
        let of = |apart: i64| check(&good, r#"{"id":"evt_1"}"#, &[SECRET], AT + apart);
        assert_eq!([of(-300), of(300)], [Ok(()), Ok(())]);
        assert_eq!([of(-301), of(301)], [Err(Unsigned::NotNow), Err(Unsigned::NotNow)]);
    }
}
