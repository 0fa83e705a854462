//! Ids: a type each, with a prefix that says what they name. They are made from an instant and bytes that are
//! given, so that the same inputs make the same id.

use sha2::Digest;
use sha2::Sha256;
use ulid::Ulid;

use crate::domain::time::Instant;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Makes an id that sorts by `at`; `random` must be fresh bytes.
            pub fn new(at: Instant, random: [u8; 10]) -> Self {
                Self(format!(concat!($prefix, "_{}"), sortable(at, random)))
            }

            /// Makes the id that belongs to `parts`: the same parts always give the same id.
            pub fn derive(at: Instant, parts: &[&str]) -> Self {
                Self::new(at, digest(parts))
            }

            /// Reads an id; `None` unless it has this type's prefix.
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix(concat!($prefix, "_"))?;
                (!rest.is_empty() && rest.len() <= 64 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
                    .then(|| Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!(concat!("`{}` is not an id that begins with ", $prefix, "_"), text))
                })
            }
        }
    };
}

id!(
    /// A consumer's subscription to a plan.
    SubscriptionId, "sub"
);
id!(InvoiceId, "inv");
id!(PayoutId, "po");
id!(PaymentId, "pmt");
id!(CreditNoteId, "cn");
id!(
    /// A grant of prepaid credit.
    GrantId, "cg"
);
id!(
    /// A payout: money to be sent. A payout statement has a [`PayoutId`].
    PayId, "pay"
);
id!(
    /// Where a consumer wants events delivered.
    EndpointId, "ep"
);
id!(
    /// One event on its way to one endpoint: `webhook-id`, the same with every attempt.
    DeliveryId, "msg"
);
id!(EntryId, "je");
id!(
    /// A manual journal.
    JournalId, "mj"
);
id!(
    /// An export of the journal that was sealed.
    ExportId, "exp"
);
id!(KeyId, "key");
id!(QuarantineId, "quar");

/// A ULID in lower case: 48 bits of milliseconds, then 80 bits that are given.
fn sortable(at: Instant, random: [u8; 10]) -> String {
    let millis = u64::try_from(at.micros() / 1000).unwrap_or(0);
    let mut bits = [0; 16];
    bits[6..].copy_from_slice(&random);
    Ulid::from_parts(millis, u128::from_be_bytes(bits)).to_string().to_lowercase()
}

/// The first ten bytes of SHA-256 over the parts, each with its length before it.
fn digest(parts: &[&str]) -> [u8; 10] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    random
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_parse_only_their_own_prefix() {
        let early = InvoiceId::new(Instant::from_micros(1_000_000), [255; 10]);
        let late = InvoiceId::new(Instant::from_micros(2_000_000), [0; 10]);
        assert!(early < late);
        assert_eq!(InvoiceId::parse(early.as_str()), Some(early.clone()));
        assert_eq!(PayoutId::parse(early.as_str()), None);
        assert_eq!(InvoiceId::parse("inv_"), None);
    }

    #[test]
    fn the_same_parts_give_the_same_id_and_shifted_parts_another() {
        let at = Instant::from_micros(5);
        assert_eq!(InvoiceId::derive(at, &["a", "bc"]), InvoiceId::derive(at, &["a", "bc"]));
        assert_ne!(InvoiceId::derive(at, &["a", "bc"]), InvoiceId::derive(at, &["ab", "c"]));
    }
}
