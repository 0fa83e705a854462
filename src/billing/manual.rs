//! Manual journals: drafted by one key, approved or rejected by another, and posted when they are approved.

use jiff::civil::Date;
use thiserror::Error;

use crate::domain::ids::EntryId;
use crate::domain::ids::JournalId;
use crate::domain::ids::KeyId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::manual::Decision;
use crate::domain::ledger::manual::JournalState;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::ledger::templates::manual::manual_journal;
use crate::domain::ledger::templates::manual::manual_journal_entry;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;

/// What is to be posted.
#[derive(Clone, Debug)]
pub struct Draft {
    pub effective_on: Date,
    pub description: String,
    pub postings: Vec<Posting>,
}

#[derive(Debug, Error)]
pub enum JournalError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("account {0} has a floor: what a party may be paid or may burn comes from documents alone")]
    Floor(Account),
    #[error("{effective_on} is locked: the books are closed through {through}")]
    Locked { effective_on: Date, through: Date },
    #[error("there is no journal {0}")]
    Unknown(JournalId),
    #[error("journal {id} is {state} already")]
    Decided { id: JournalId, state: &'static str },
    #[error("journal {0} was drafted with this key")]
    Own(JournalId),
    #[error("journal {id} is {state}: only what was posted can be taken back")]
    NotPosted { id: JournalId, state: &'static str },
    #[error("journal {0} is taken back already, or a draft waits that would")]
    TakenBack(JournalId),
    #[error("the idempotency key stands for another journal, {0}")]
    OtherRequest(JournalId),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Keeps a draft under an id that is given, and gives it back. Asking again with the same id changes nothing.
pub async fn draft(
    db: &Db,
    id: JournalId,
    draft: Draft,
    key: &KeyId,
    now: Instant,
) -> Result<ManualJournal, JournalError> {
    let Draft { effective_on, description, postings } = draft;
    let state = JournalState::Draft;
    let made_by = key.clone();
    keep(db, ManualJournal { id, effective_on, description, postings, reverses: None, made_by, made_at: now, state })
        .await
}

/// Drafts what takes a posted journal back: the same postings, each on the other side.
pub async fn reverse(
    db: &Db,
    id: JournalId,
    original: &JournalId,
    (effective_on, description): (Date, Option<String>),
    key: &KeyId,
    now: Instant,
) -> Result<ManualJournal, JournalError> {
    let found = db.read().await?.manual_journal(original).await?;
    let original = found.ok_or_else(|| JournalError::Unknown(original.clone()))?;
    if !matches!(original.state, JournalState::Posted(_)) {
        return Err(JournalError::NotPosted { id: original.id, state: original.state.name() });
    }
    let mirrored = |posting: Posting| Posting { side: posting.side.opposite(), ..posting };
    let journal = ManualJournal {
        id,
        effective_on,
        description: description.unwrap_or_else(|| format!("Taken back: {}", original.description)),
        postings: original.postings.into_iter().map(mirrored).collect(),
        reverses: Some(original.id.clone()),
        made_by: key.clone(),
        made_at: now,
        state: JournalState::Draft,
    };
    match keep(db, journal).await {
        Err(JournalError::Store(store::Error::Taken)) => Err(JournalError::TakenBack(original.id)),
        kept => kept,
    }
}

async fn keep(db: &Db, journal: ManualJournal) -> Result<ManualJournal, JournalError> {
    manual_journal(&journal, None, journal.made_at)?;
    if let Some(posting) = journal.postings.iter().find(|posting| posting.account.chart().has_floor()) {
        return Err(JournalError::Floor(posting.account.clone()));
    }
    let mut tx = db.write().await?;
    if let Some(standing) = tx.manual_journal(&journal.id).await? {
        let asked = |journal: &ManualJournal| {
            let ManualJournal { effective_on, description, postings, reverses, .. } = journal.clone();
            (effective_on, description, postings, reverses)
        };
        let is_same = asked(&standing) == asked(&journal);
        return if is_same { Ok(standing) } else { Err(JournalError::OtherRequest(journal.id)) };
    }
    open(&tx.ledger_locks().await?, journal.effective_on)?;
    tx.add_manual_journal(&journal).await?;
    tx.commit().await?;
    Ok(journal)
}

/// Posts a draft of somebody else.
pub async fn approve(db: &Db, id: &JournalId, key: &KeyId, now: Instant) -> Result<ManualJournal, JournalError> {
    let mut tx = db.write().await?;
    tx.hold_journal().await?;
    let mut journal = undecided(&mut tx, id, key).await?;
    open(&tx.ledger_locks().await?, journal.effective_on)?;
    let entry = manual_journal(&journal, taken_back(&mut tx, &journal).await?, now)?;
    decide(&mut tx, &mut journal, JournalState::Posted(Decision { by: key.clone(), at: now })).await?;
    tx.post(&[entry]).await?;
    tx.commit().await?;
    Ok(journal)
}

/// Turns down a draft of somebody else. It stays as what it was, with the reason.
pub async fn reject(
    db: &Db,
    id: &JournalId,
    reason: String,
    key: &KeyId,
    now: Instant,
) -> Result<ManualJournal, JournalError> {
    let mut tx = db.write().await?;
    let mut journal = undecided(&mut tx, id, key).await?;
    let decision = Decision { by: key.clone(), at: now };
    decide(&mut tx, &mut journal, JournalState::Rejected { decision, reason }).await?;
    tx.commit().await?;
    Ok(journal)
}

async fn undecided(tx: &mut Tx<Write>, id: &JournalId, key: &KeyId) -> Result<ManualJournal, JournalError> {
    let journal = tx.manual_journal(id).await?.ok_or_else(|| JournalError::Unknown(id.clone()))?;
    if journal.state != JournalState::Draft {
        return Err(JournalError::Decided { id: journal.id, state: journal.state.name() });
    }
    if journal.made_by == *key {
        return Err(JournalError::Own(journal.id));
    }
    Ok(journal)
}

/// Somebody else may have decided since it was read: then nothing is kept.
async fn decide(tx: &mut Tx<Write>, journal: &mut ManualJournal, state: JournalState) -> Result<(), JournalError> {
    if !tx.decide_manual_journal(&journal.id, &state).await? {
        return Err(JournalError::Decided { id: journal.id.clone(), state: "decided" });
    }
    journal.state = state;
    Ok(())
}

/// The entry of what a journal takes back.
async fn taken_back(tx: &mut Tx<Write>, journal: &ManualJournal) -> Result<Option<EntryId>, JournalError> {
    let Some(id) = &journal.reverses else { return Ok(None) };
    let original = tx.manual_journal(id).await?.ok_or_else(|| JournalError::Unknown(id.clone()))?;
    match &original.state {
        JournalState::Posted(decision) => Ok(Some(manual_journal_entry(&original.id, decision.at))),
        state => Err(JournalError::NotPosted { id: original.id.clone(), state: state.name() }),
    }
}

fn open(locks: &Locks, effective_on: Date) -> Result<(), JournalError> {
    match locks.last().map(|last| last.through) {
        Some(through) if effective_on <= through => Err(JournalError::Locked { effective_on, through }),
        Some(_) | None => Ok(()),
    }
}
