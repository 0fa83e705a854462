//! Events in quarantine: tried again, mended or as they are, or discarded.
//!
//! Promise: an event that is tried again is counted once, or is still in quarantine. The writer takes it out in the very
//! transaction that appends it, and appends nothing for one that is not there any more: so a crash between the two
//! cannot be, and of several who try the same one at once the first is answered and the others are told that it is gone.

use serde::Deserialize;

use crate::domain::event::Event;
use crate::domain::ids::QuarantineId;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Metering;
use crate::metering::Receipt;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::store;
use crate::store::quarantine::Quarantined;

/// Which events in quarantine are meant; all of them if nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The event's type, where it can be read.
    pub kind: Option<String>,
    /// One of the faults has this code.
    pub code: Option<String>,
}

/// What became of some events of the quarantine.
#[derive(Clone, Debug, Default)]
pub struct Resubmitted {
    /// Of all that were tried. Its indexes are those of `tried`; what it rejects is in quarantine still.
    pub receipt: Receipt,
    pub tried: Vec<QuarantineId>,
    /// Where to go on, if there is more.
    pub next: Option<QuarantineId>,
}

impl Filter {
    pub fn matches(&self, quarantined: &Quarantined) -> bool {
        #[derive(Deserialize)]
        struct Coded {
            code: String,
        }
        let is_code = |wanted: &String| {
            let faults: Vec<Coded> = serde_json::from_str(&quarantined.faults).unwrap_or_default();
            faults.iter().any(|fault| fault.code == *wanted)
        };
        let is_kind = |wanted: &String| quarantined.kind().is_some_and(|kind| kind == *wanted);
        self.code.as_ref().is_none_or(is_code) && self.kind.as_ref().is_none_or(is_kind)
    }
}

impl Metering {
    /// Tries an event again: `mended`, or as it is. Once it is taken, also as a duplicate, it is out of quarantine.
    /// If it is still invalid it stays, and what is wrong with it by now is kept; what is wrong with a mended one is only
    /// answered, since that is not what is kept.
    pub async fn resubmit(&self, id: &QuarantineId, mended: Option<Vec<u8>>, now: Instant) -> Result<Receipt, Error> {
        let kept = self.db.read_log().await?.quarantined(id).await?.ok_or(store::Error::Missing)?;
        let is_mended = mended.is_some();
        let body = mended.unwrap_or_else(|| kept.event.into_bytes());
        // Received when it came first: that is the time of an event that has none.
        let has_time = std::str::from_utf8(&body).ok().and_then(|text| Event::parse(text).ok()?.time).is_some();
        let now = if has_time { now } else { kept.received_at };
        let taken = self.take(Format::Single, body, Invalid::Reject, Some(id.clone()), now).await;
        if let Err(Error::Invalid(faulty)) = &taken
            && !is_mended
        {
            let errors: Vec<_> = faulty.iter().flat_map(|faulty| &faulty.errors).collect();
            let mut tx = self.db.write_log().await?;
            tx.put_quarantine_faults(id, &serde_json::to_string(&errors).unwrap_or_default()).await?;
            tx.commit().await?;
        }
        taken
    }

    /// Tries some of those after an id again, as they are: the work of one call is bounded.
    pub async fn resubmit_some(
        &self,
        filter: &Filter,
        after: &str,
        limit: i64,
        now: Instant,
    ) -> Result<Resubmitted, Error> {
        let (page, more) = self.db.read_log().await?.quarantined_after(after, limit).await?;
        let mut all =
            Resubmitted { next: page.last().filter(|_| more).map(|last| last.id.clone()), ..Resubmitted::default() };
        for quarantined in page.into_iter().filter(|quarantined| filter.matches(quarantined)) {
            let index = all.tried.len();
            match self.resubmit(&quarantined.id, None, now).await {
                Ok(receipt) => all.receipt.add(index, receipt),
                Err(Error::Invalid(faulty)) => {
                    let errors = faulty.into_iter().flat_map(|faulty| faulty.errors).collect();
                    all.receipt.rejected.push(Faulty { index, errors });
                }
                // Somebody else has just had it.
                Err(Error::Store(store::Error::Missing)) => continue,
                Err(error) => return Err(error),
            }
            all.tried.push(quarantined.id);
        }
        Ok(all)
    }

    /// Takes an event out of quarantine for good. It was never counted.
    pub async fn discard(&self, id: &QuarantineId, now: Instant) -> Result<(), Error> {
        self.take(Format::Ndjson, Vec::new(), Invalid::Reject, Some(id.clone()), now).await.map(|_| ())
    }
}

impl Receipt {
    /// Adds what became of the only event of a body, as that of the event with this index.
    fn add(&mut self, index: usize, one: Self) {
        self.accepted = self.accepted.saturating_add(one.accepted);
        self.duplicates = self.duplicates.saturating_add(one.duplicates);
        self.conflicts.extend(one.conflicts.iter().map(|_| index));
        for (kind, count) in one.warned.counts {
            let all = self.warned.counts.entry(kind).or_default();
            *all = all.saturating_add(count);
        }
        self.warned.named.extend(one.warned.named.into_iter().map(|faulty| Faulty { index, ..faulty }));
    }
}

impl Quarantined {
    /// The event's type, where it can be read.
    pub fn kind(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        serde_json::from_str::<Typed>(&self.event).ok().map(|typed| typed.kind)
    }
}
