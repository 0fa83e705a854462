//! The hash chain: each batch of entries is sealed by `SHA-256(previous head ‖ its entries)`.
//!
//! Whoever knows a head knows everything before it: no entry can be changed, removed, added or moved without every
//! later head changing. Cutting off the end leaves a valid chain; compare the last head with one that was published.

use std::fmt;

use sha2::Digest;
use sha2::Sha256;

use crate::domain::hex::hex;
use crate::domain::ledger::entry::Entry;

/// The head of the chain after a batch. Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head([u8; 32]);

/// A batch while it is being hashed.
#[derive(Clone, Debug)]
pub struct Link(Sha256);

impl Head {
    /// Before the first batch.
    pub const GENESIS: Self = Self([0; 32]);

    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0_usize..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at.checked_add(2)?)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The head after a batch of these entries, in this order.
    pub fn after<'a>(self, entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut link = Link::after(self);
        entries.into_iter().for_each(|entry| link.push(entry));
        link.seal()
    }
}

impl Link {
    pub fn after(previous: Head) -> Self {
        let mut hash = Sha256::new();
        hash.update(previous.0);
        Self(hash)
    }

    pub fn push(&mut self, entry: &Entry) {
        let canonical = entry.canonical();
        self.0.update((canonical.len() as u64).to_be_bytes());
        self.0.update(&canonical);
    }

    pub fn seal(self) -> Head {
        Head(self.0.finalize().into())
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ledger::account::Chart;
    use crate::domain::ledger::account::Side;
    use crate::domain::ledger::entry::tests::heading;
    use crate::domain::ledger::entry::tests::posting;

    fn entry(key: &str, minor: i64) -> Entry {
        let postings = vec![
            posting(Side::Debit, Chart::Receivable, minor, "EUR"),
            posting(Side::Credit, Chart::UsageRevenue, minor, "EUR"),
        ];
        Entry::new(heading(key), postings).expect("balances")
    }

    #[test]
    fn a_head_depends_on_every_entry_on_their_order_and_on_all_before() {
        let (one, two, other) = (entry("one", 5), entry("two", 7), entry("two", 8));
        let head = Head::GENESIS.after([&one, &two]);
        for changed in [vec![&two, &one], vec![&one], vec![&one, &other], vec![&one, &two, &two]] {
            assert_ne!(head, Head::GENESIS.after(changed));
        }
        assert_ne!(head, head.after([&one, &two]));
        assert_ne!(head, Head::GENESIS.after([&one]).after([&two]));
    }

    #[test]
    fn a_head_reads_back() {
        let head = Head::GENESIS.after([&entry("one", 5)]);
        assert_eq!(Head::parse(&head.to_string()), Some(head));
        assert_eq!(Head::parse(&head.to_string().to_uppercase()), None);
        assert_eq!(Head::parse(""), None);
    }
}
