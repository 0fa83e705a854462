//! The posting rule of manual journals: what was drafted, as it was drafted.

use crate::domain::ids::EntryId;
use crate::domain::ids::JournalId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::entry::Heading;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::heading;
use crate::domain::time::Instant;

/// The key under which a journal is posted. The database knows it too (`0016_ledger_control`).
pub fn manual_journal_key(journal: &JournalId) -> String {
    format!("manual:{journal}")
}

/// The entry as which a journal was posted that was approved at an instant.
pub fn manual_journal_entry(journal: &JournalId, approved_at: Instant) -> EntryId {
    EntryId::derive(approved_at, &[&manual_journal_key(journal)])
}

/// What is posted when a journal is approved; `reverses` is the entry that it takes back.
pub fn manual_journal(
    journal: &ManualJournal,
    reverses: Option<EntryId>,
    approved_at: Instant,
) -> Result<Entry, EntryError> {
    let kind = if reverses.is_some() { EntryKind::ManualReversal } else { EntryKind::ManualJournal };
    let dates = Dates { effective_on: journal.effective_on, recorded_at: approved_at };
    let heading = heading(kind, manual_journal_key(&journal.id), journal.description.clone(), dates);
    Entry::new(Heading { reverses, ..heading }, journal.postings.clone())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::ids::KeyId;
    use crate::domain::ledger::account::Chart;
    use crate::domain::ledger::account::Side;
    use crate::domain::ledger::entry::tests::posting;
    use crate::domain::ledger::manual::JournalState;

    #[test]
    fn a_journal_is_posted_as_it_was_drafted_and_is_known_by_its_id() {
        let journal = ManualJournal {
            id: JournalId::parse("mj_1").expect("an id"),
            effective_on: date(2013, 1, 31),
            description: "Bank charges".to_owned(),
            postings: vec![
                posting(Side::Credit, Chart::Bank, 5, "EUR"),
                posting(Side::Debit, Chart::ProcessingFees, 5, "EUR"),
            ],
            reverses: None,
            made_by: KeyId::parse("key_1").expect("an id"),
            made_at: Instant::from_micros(1),
            state: JournalState::Draft,
        };
        let approved_at = Instant::from_micros(2_000_000);
        let entry = manual_journal(&journal, None, approved_at).expect("balances");
        assert_eq!(entry.postings(), journal.postings);
        assert_eq!(entry.id(), &manual_journal_entry(&journal.id, approved_at));
        assert_eq!((entry.heading().kind, &*entry.heading().key), (EntryKind::ManualJournal, "manual:mj_1"));
        let reversal = manual_journal(&journal, Some(entry.id().clone()), approved_at).expect("balances");
        assert_eq!(reversal.heading().kind, EntryKind::ManualReversal);
    }
}
