//! Signatures of deliveries: Standard Webhooks 1.0.0, symmetric (`v1`, HMAC-SHA256).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// What a consumer and Tallystick both know of an endpoint. Never shown but when it is made: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; Self::BYTES]);

impl Secret {
    /// The standard asks for 24 to 64.
    pub const BYTES: usize = 32;

    /// `bytes` must be fresh and from a source that nobody can guess.
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// As receivers' libraries take it.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// The `webhook-signature` of one attempt: one for each secret, the newest first, so that a receiver that knows any of them
/// can tell that the attempt is ours. `at` is the `webhook-timestamp`, in seconds since 1970.
pub fn signature(secrets: &[Secret], id: &str, at: i64, body: &[u8]) -> String {
    let one = |secret: &Secret| format!("v1,{}", STANDARD.encode(mac(secret.bytes(), id, at, body)));
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn mac(key: &[u8], id: &str, at: i64, body: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length; the type does not say so.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the standard's own libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let cases = [
            (
                "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553),
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
            (
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
                r#"{"test": 2432232314}"#,
                "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ];
        for (key, (id, at), body, expected) in cases {
            let key = STANDARD.decode(key).expect("base64");
            assert_eq!(STANDARD.encode(mac(&key, id, at, body.as_bytes())), expected);
        }
    }

    #[test]
    fn every_secret_signs() {
        let secrets = [Secret::new([1; 32]), Secret::new([2; 32])];
        let both = signature(&secrets, "msg_1", 7, b"{}");
        let each = secrets.map(|secret| signature(&[secret], "msg_1", 7, b"{}"));
        assert_eq!(both, each.join(" "));
        assert_ne!(each[0], each[1]);
        assert_eq!(each[0].len(), "v1,".len() + 44, "padded");
    }

    #[test]
    fn a_secret_is_written_as_receivers_read_it() {
        assert_eq!(Secret::new([0; 32]).to_text(), "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
}
