//! Journal entries: sets of postings that balance, or they do not exist.
//!
//! [`Entry::new`] is the only way to make one. The database checks the same again, for what comes behind its back.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use crate::domain::hex::hex;
use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::AccountError;
use crate::domain::ledger::account::Side;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;

/// Which posting rule an entry follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    InvoiceFinalized,
    InvoiceVoided,
    PaymentReceived,
    CreditNoteIssued,
    CreditUsed,
    InvoiceCredited,
    InvoiceUncollectible,
    CreditPurchased,
    PrepaidUsed,
    CreditExpired,
    CreditVoided,
    RewardsEarned,
    HoldPassed,
    ManualJournal,
    ManualReversal,
    PayoutReserved,
    PayoutSent,
    PayoutPaid,
    PayoutRetried,
    PayoutFailed,
    PayoutCancelled,
    ClawbackRepaid,
    RewardsNetted,
    PayoutReturned,
    InvoiceRecovered,
}

/// One debit or credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub account: Account,
    pub side: Side,
    /// Above zero; its currency is the account's.
    pub amount: Money,
}

/// What an entry says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    pub id: EntryId,
    pub kind: EntryKind,
    /// The idempotency key: what happens once is booked once, under one key.
    pub key: String,
    /// The accounting date.
    pub effective_on: Date,
    /// When it was written down.
    pub recorded_at: Instant,
    pub description: String,
    /// The entry that this one takes back. An entry is taken back at most once.
    pub reverses: Option<EntryId>,
}

/// A journal entry. It has postings, they are above zero, and their debits equal their credits in each currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    heading: Heading,
    postings: Vec<Posting>,
    content_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    #[error("an entry needs postings")]
    Empty,
    #[error("an amount of {0} cannot be posted: it must be above zero, and the side says which way")]
    NotPositive(Money),
    #[error("{amount} cannot be posted to account {account}")]
    OtherCurrency { account: Account, amount: Money },
    #[error("debits less credits come to {difference} in the minor unit of {currency}, not to zero")]
    Unbalanced { currency: Currency, difference: i128 },
    #[error("the debits of an entry come to more than a 64-bit count of the minor unit")]
    TooLarge,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl EntryKind {
    pub const ALL: [Self; 25] = [
        Self::InvoiceFinalized,
        Self::InvoiceVoided,
        Self::PaymentReceived,
        Self::CreditNoteIssued,
        Self::CreditUsed,
        Self::InvoiceCredited,
        Self::InvoiceUncollectible,
        Self::CreditPurchased,
        Self::PrepaidUsed,
        Self::CreditExpired,
        Self::CreditVoided,
        Self::RewardsEarned,
        Self::HoldPassed,
        Self::ManualJournal,
        Self::ManualReversal,
        Self::PayoutReserved,
        Self::PayoutSent,
        Self::PayoutPaid,
        Self::PayoutRetried,
        Self::PayoutFailed,
        Self::PayoutCancelled,
        Self::ClawbackRepaid,
        Self::RewardsNetted,
        Self::PayoutReturned,
        Self::InvoiceRecovered,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceFinalized => "invoice_finalized",
            Self::InvoiceVoided => "invoice_voided",
            Self::PaymentReceived => "payment_received",
            Self::CreditNoteIssued => "credit_note_issued",
            Self::CreditUsed => "credit_used",
            Self::InvoiceCredited => "invoice_credited",
            Self::InvoiceUncollectible => "invoice_uncollectible",
            Self::CreditPurchased => "credit_purchased",
            Self::PrepaidUsed => "prepaid_used",
            Self::CreditExpired => "credit_expired",
            Self::CreditVoided => "credit_voided",
            Self::RewardsEarned => "rewards_earned",
            Self::HoldPassed => "hold_passed",
            Self::ManualJournal => "manual_journal",
            Self::ManualReversal => "manual_reversal",
            Self::PayoutReserved => "payout_reserved",
            Self::PayoutSent => "payout_sent",
            Self::PayoutPaid => "payout_paid",
            Self::PayoutRetried => "payout_retried",
            Self::PayoutFailed => "payout_failed",
            Self::PayoutCancelled => "payout_cancelled",
            Self::ClawbackRepaid => "clawback_repaid",
            Self::RewardsNetted => "rewards_netted",
            Self::PayoutReturned => "payout_returned",
            Self::InvoiceRecovered => "invoice_recovered",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Entry {
    pub fn new(heading: Heading, postings: Vec<Posting>) -> Result<Self, EntryError> {
        if postings.is_empty() {
            return Err(EntryError::Empty);
        }
        let mut sums: BTreeMap<&str, (Currency, i128, i128)> = BTreeMap::new();
        for Posting { account, side, amount } in &postings {
            if amount.minor() <= 0 {
                return Err(EntryError::NotPositive(*amount));
            }
            if amount.currency() != account.currency() {
                return Err(EntryError::OtherCurrency { account: account.clone(), amount: *amount });
            }
            let (_, debit, credit) = sums.entry(amount.currency().code()).or_insert((amount.currency(), 0, 0));
            let sum = if *side == Side::Debit { debit } else { credit };
            *sum = sum.saturating_add(i128::from(amount.minor()));
        }
        for (currency, debit, credit) in sums.into_values() {
            let difference = debit.saturating_sub(credit);
            if difference != 0 {
                return Err(EntryError::Unbalanced { currency, difference });
            }
            i64::try_from(debit).map_err(|_| EntryError::TooLarge)?;
        }
        Ok(Self::hashed(heading, postings))
    }

    fn hashed(heading: Heading, postings: Vec<Posting>) -> Self {
        let content_hash = hex(&Sha256::digest(content(&heading, &postings)));
        Self { heading, postings, content_hash }
    }

    pub fn heading(&self) -> &Heading {
        &self.heading
    }

    pub fn id(&self) -> &EntryId {
        &self.heading.id
    }

    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }

    /// The entry that takes this one back: the same postings, each on the other side.
    pub fn mirror(&self, heading: Heading) -> Self {
        let mirrored = |posting: &Posting| Posting { side: posting.side.opposite(), ..posting.clone() };
        let heading = Heading { reverses: Some(self.heading.id.clone()), ..heading };
        Self::hashed(heading, self.postings.iter().map(mirrored).collect())
    }

    /// SHA-256 of what the entry says, in hex. Not of its id, its key or when it was written down: posting the same
    /// content again under one key is the same posting, at any time.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Everything in the entry, each field with its length before it, so that no two entries look alike.
    pub fn canonical(&self) -> Vec<u8> {
        let mut fields = Fields::default();
        fields.text(self.heading.id.as_str());
        fields.text(&self.heading.key);
        fields.number(self.heading.recorded_at.micros());
        fields.bytes(&content(&self.heading, &self.postings));
        fields.0
    }
}

fn content(heading: &Heading, postings: &[Posting]) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.text(heading.kind.as_str());
    fields.text(&heading.effective_on.to_string());
    fields.text(&heading.description);
    // No id is empty.
    fields.text(heading.reverses.as_ref().map_or("", EntryId::as_str));
    for posting in postings {
        fields.text(&posting.account.to_string());
        fields.text(posting.side.as_str());
        fields.number(posting.amount.minor());
    }
    fields.0
}

#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
pub(in crate::domain::ledger) mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ledger::account::Chart;

    pub(in crate::domain::ledger) fn heading(key: &str) -> Heading {
        let recorded_at = Instant::from_micros(1_700_000_000_000_000);
        Heading {
            id: EntryId::derive(recorded_at, &[key]),
            kind: EntryKind::InvoiceFinalized,
            key: key.to_owned(),
            effective_on: date(2013, 2, 1),
            recorded_at,
            description: "Invoice".to_owned(),
            reverses: None,
        }
    }

    pub(in crate::domain::ledger) fn posting(side: Side, chart: Chart, minor: i64, code: &str) -> Posting {
        let currency = Currency::from_code(code).expect("a currency");
        let of = chart.dimension().map(|_| "UA");
        let account = Account::new(chart, of, currency).expect("an account");
        Posting { account, side, amount: Money::from_minor(minor, currency) }
    }

    fn entry(postings: Vec<Posting>) -> Result<Entry, EntryError> {
        Entry::new(heading("one"), postings)
    }

    #[test]
    fn what_is_not_an_entry_cannot_be_made() {
        let debit = |minor, code| posting(Side::Debit, Chart::Receivable, minor, code);
        let credit = |minor, code| posting(Side::Credit, Chart::UsageRevenue, minor, code);
        assert_eq!(entry(vec![]), Err(EntryError::Empty));
        for minor in [0, -5] {
            let amount = debit(minor, "EUR").amount;
            assert_eq!(entry(vec![debit(minor, "EUR"), credit(minor, "EUR")]), Err(EntryError::NotPositive(amount)));
        }
        let eur = Currency::from_code("EUR").expect("EUR exists");
        assert_eq!(
            entry(vec![debit(5, "EUR"), credit(3, "EUR")]),
            Err(EntryError::Unbalanced { currency: eur, difference: 2 })
        );
        assert_eq!(
            entry(vec![debit(5, "EUR"), credit(5, "USD")]),
            Err(EntryError::Unbalanced { currency: eur, difference: 5 })
        );
        let mut dollars = debit(5, "EUR");
        dollars.amount = debit(5, "USD").amount;
        assert!(matches!(entry(vec![dollars, credit(5, "EUR")]), Err(EntryError::OtherCurrency { .. })));
        let huge = || vec![debit(i64::MAX, "EUR"), debit(1, "EUR"), credit(i64::MAX, "EUR"), credit(1, "EUR")];
        assert_eq!(entry(huge()), Err(EntryError::TooLarge));
        assert!(entry(vec![debit(5, "EUR"), credit(5, "EUR"), debit(7, "USD"), credit(7, "USD")]).is_ok());
    }

    #[test]
    fn the_hash_is_of_what_is_said_and_not_of_when_it_was_written_down() {
        let postings = || {
            vec![
                posting(Side::Debit, Chart::Receivable, 5, "EUR"),
                posting(Side::Credit, Chart::UsageRevenue, 5, "EUR"),
            ]
        };
        let first = entry(postings()).expect("balances");
        let later = Heading { recorded_at: Instant::from_micros(1), ..heading("two") };
        let later = Entry::new(later, postings()).expect("balances");
        assert_eq!(first.content_hash(), later.content_hash());
        assert_ne!(first.canonical(), later.canonical());
        let other = Heading { description: "Another".to_owned(), ..heading("one") };
        assert_ne!(first.content_hash(), Entry::new(other, postings()).expect("balances").content_hash());
    }

    fn any_posting() -> impl Strategy<Value = Posting> {
        let side = prop_oneof![Just(Side::Debit), Just(Side::Credit)];
        let code = prop_oneof![Just("EUR"), Just("USD"), Just("JPY")];
        (side, 0..Chart::ALL.len(), -1..4_i64, code)
            .prop_map(|(side, chart, minor, code)| posting(side, Chart::ALL[chart], minor, code))
    }

    proptest! {
        /// An entry that exists balances in each currency, and nothing that balances is refused.
        #[test]
        fn an_entry_that_exists_balances(postings in prop::collection::vec(any_posting(), 0..7)) {
            let sum = |code: &str| -> i64 {
                let of_code = postings.iter().filter(|posting| posting.amount.currency().code() == code);
                of_code.map(|p| if p.side == Side::Debit { p.amount.minor() } else { -p.amount.minor() }).sum()
            };
            let sound = !postings.is_empty()
                && postings.iter().all(|posting| posting.amount.minor() > 0)
                && ["EUR", "USD", "JPY"].iter().all(|code| sum(code) == 0);
            prop_assert_eq!(entry(postings.clone()).is_ok(), sound);
        }

        /// What was taken back twice is as it was; taken back once, it is still an entry.
        #[test]
        fn the_mirror_of_a_mirror_has_the_postings_of_the_original(amounts in prop::collection::vec(1..i64::from(u32::MAX), 1..6)) {
            let pairs = amounts.iter().flat_map(|minor| {
                [posting(Side::Debit, Chart::Receivable, *minor, "EUR"), posting(Side::Credit, Chart::UsageRevenue, *minor, "EUR")]
            });
            let original = entry(pairs.collect()).expect("balances");
            let mirror = original.mirror(heading("two"));
            prop_assert_eq!(mirror.heading().reverses.as_ref(), Some(original.id()));
            let made = Entry::new(mirror.heading().clone(), mirror.postings().to_vec());
            prop_assert_eq!(made, Ok(mirror.clone()));
            let again = mirror.mirror(heading("three"));
            prop_assert_eq!(again.postings(), original.postings());
        }
    }
}
