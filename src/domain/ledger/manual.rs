//! Manual journals: what one person drafts, another approves or rejects. It is posted when it is approved.

use jiff::civil::Date;

use crate::domain::ids::JournalId;
use crate::domain::ids::KeyId;
use crate::domain::ledger::entry::Posting;
use crate::domain::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualJournal {
    pub id: JournalId,
    /// The accounting date.
    pub effective_on: Date,
    pub description: String,
    /// They balance in each currency, and none is on an account that has a floor.
    pub postings: Vec<Posting>,
    /// The journal that this one takes back. One is taken back at most once.
    pub reverses: Option<JournalId>,
    pub made_by: KeyId,
    pub made_at: Instant,
    pub state: JournalState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalState {
    Draft,
    Posted(Decision),
    Rejected { decision: Decision, reason: String },
}

/// By whom, with another key than the maker's, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub by: KeyId,
    pub at: Instant,
}

impl JournalState {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Posted(_) => "posted",
            Self::Rejected { .. } => "rejected",
        }
    }

    pub const fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Draft => None,
            Self::Posted(decision) | Self::Rejected { decision, .. } => Some(decision),
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Draft | Self::Posted(_) => None,
            Self::Rejected { reason, .. } => Some(reason),
        }
    }
}
