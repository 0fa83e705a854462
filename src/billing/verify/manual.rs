//! Makes the entries of manual journals again, from what was drafted and approved.

use std::collections::BTreeMap;

use crate::domain::ids::EntryId;
use crate::domain::ids::JournalId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::manual::JournalState;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::ledger::templates::manual::manual_journal;
use crate::domain::ledger::templates::manual::manual_journal_entry;
use crate::store;
use crate::store::Read;
use crate::store::Tx;

/// The entry of each journal that was approved.
pub(super) async fn entries(tx: &mut Tx<Read>) -> store::Result<Vec<(JournalId, Result<Entry, EntryError>)>> {
    let journals = tx.manual_journals(None, None, i64::MAX).await?;
    let mut posted: BTreeMap<&JournalId, EntryId> = BTreeMap::new();
    for journal in &journals {
        if let JournalState::Posted(decision) = &journal.state {
            posted.insert(&journal.id, manual_journal_entry(&journal.id, decision.at));
        }
    }
    let entry = |journal: &ManualJournal| match &journal.state {
        JournalState::Posted(decision) => {
            let reverses = journal.reverses.as_ref().and_then(|id| posted.get(id).cloned());
            Some((journal.id.clone(), manual_journal(journal, reverses, decision.at)))
        }
        JournalState::Draft | JournalState::Rejected { .. } => None,
    };
    Ok(journals.iter().filter_map(entry).collect())
}
