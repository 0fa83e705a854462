//! A group on its way to the disk.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::clock;
use crate::metering::Error;
use crate::metering::group::Group;
use crate::metering::ingest::Prepared;
use crate::metering::log::Sealer;
use crate::store;
use crate::store::Db;
use crate::store::batches::Appender;
use crate::store::batches::Batch;

/// Ends when the group is durable, or not. It gives back what the next one needs.
type Commit = Pin<Box<dyn Future<Output = Landed> + Send>>;

pub(in crate::metering) struct Flight {
    pub group: Group,
    commit: Commit,
    /// The commit's end, once it is there.
    landed: Option<Landed>,
}

pub(in crate::metering) struct Landed {
    pub appender: Appender,
    pub result: Result<(), Error>,
}

impl Flight {
    /// Begins to make a group durable: the batch that it becomes, and what goes into quarantine or out of it.
    pub async fn begin(mut group: Group, db: &Db, sealer: &mut Sealer, mut appender: Appender) -> Self {
        let sealed = match group.draft.is_empty() {
            true => Ok(None),
            false => sealer.seal(&group.draft, group.seq, clock::now()).map(Some),
        };
        let (db, quarantined) = (db.clone(), std::mem::take(&mut group.quarantined));
        let mut commit: Commit = Box::pin(async move {
            let result = match sealed {
                Ok(None) if quarantined.is_empty() => Ok(()),
                Ok(Some(batch)) if quarantined.is_empty() => appender.append(&batch).await,
                Ok(batch) => commit_with_quarantined(&db, batch.as_ref(), &quarantined).await,
                Err(error) => Err(store::Error::Unavailable(format!("the batch cannot be compressed: {error}"))),
            };
            Landed { appender, result: result.map_err(Error::from) }
        });
        // It begins when it is first asked for, and the writer has other things to do.
        let landed = poll_fn(|context| match commit.as_mut().poll(context) {
            Poll::Ready(landed) => Poll::Ready(Some(landed)),
            Poll::Pending => Poll::Ready(None),
        });
        let landed = landed.await;
        Self { group, commit, landed }
    }

    /// Waits for its end.
    pub async fn land(&mut self) {
        if self.landed.is_none() {
            self.landed = Some(self.commit.as_mut().await);
        }
    }

    /// Its end, and what flew.
    pub async fn landed(self) -> (Group, Landed) {
        let landed = match self.landed {
            Some(landed) => landed,
            None => self.commit.await,
        };
        (self.group, landed)
    }

    /// Whether the next group may hold a body while this one may still fail: it neither repeats an event of it, nor has to
    /// know what it takes back or sets aside.
    pub fn lets_join(&self, prepared: &Prepared) -> bool {
        !prepared.is_rare() && !prepared.events.iter().any(|event| self.group.new.contains_key(&event.key))
    }
}

async fn commit_with_quarantined(db: &Db, batch: Option<&Batch>, quarantined: &[Prepared]) -> store::Result<()> {
    let now = clock::now();
    let mut tx = db.write_log().await?;
    if let Some(batch) = batch {
        tx.append_batch(batch).await?;
    }
    for (id, event, faulty) in quarantined.iter().flat_map(|prepared| &prepared.quarantined) {
        let faults = serde_json::to_string(&faulty.errors).unwrap_or_default();
        tx.quarantine(id, now, event.as_bytes(), &faults).await?;
    }
    for id in quarantined.iter().filter_map(|prepared| prepared.released.as_ref()) {
        tx.release(id).await?;
    }
    tx.commit().await
}
