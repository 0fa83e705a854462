//! Sealed batches: exports of the journal of which no two hold the same entry.
//!
//! A batch takes every entry that is dated through a day and that no batch of its kind took before: what is booked late
//! into days that were exported already is in the next one. The database lets an entry be taken once, and keeps the file,
//! so that whoever asks again gets the same bytes.

use std::collections::BTreeMap;

use jiff::civil::Date;
use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use crate::billing::export::Format;
use crate::billing::export::journal::Batch;
use crate::billing::export::journal::Journal;
use crate::billing::export::journal::names;
use crate::domain::hex::hex;
use crate::domain::ids::ExportId;
use crate::domain::ledger::account::Side;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Db;
use crate::store::exports::ExportBatch;
use crate::store::journal::Booked;

/// How often a batch is made anew when others of its kind are sealed at the same time.
const TRIES_MAX: usize = 3;
/// Files are text that repeats itself; more makes them hardly smaller.
const ZSTD_LEVEL: i32 = 3;

/// A batch with its file.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub batch: ExportBatch,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Error)]
pub enum SealError {
    #[error("every entry through {through} is in a batch of {kind} already")]
    Nothing { kind: &'static str, through: Date },
    #[error("others seal batches of {0} at the same time, again and again")]
    Overtaken(&'static str),
    #[error("a sum in the export cannot be made: {0}")]
    Money(#[from] MoneyError),
    #[error("the file cannot be packed: {0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Seals what is dated through a day and in no batch yet.
pub async fn seal(db: &Db, format: Format, through: Date, now: Instant) -> Result<Sealed, SealError> {
    for _ in 0..TRIES_MAX {
        let (sealed, entries) = next(db, format, through, now).await?;
        let packed = zstd::encode_all(&*sealed.bytes, ZSTD_LEVEL)?;
        let mut tx = db.write().await?;
        match tx.seal_export(&sealed.batch, &entries, &packed).await {
            Ok(()) => {
                tx.commit().await?;
                return Ok(sealed);
            }
            Err(store::Error::Taken) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SealError::Overtaken(format.name()))
}

/// The batch that is sealed next, and the numbers of its entries.
async fn next(db: &Db, format: Format, through: Date, now: Instant) -> Result<(Sealed, Vec<i64>), SealError> {
    let kind = format.name();
    let mut tx = db.read().await?;
    let entries = tx.unexported(kind, through).await?;
    let numbers: Vec<i64> = entries.iter().map(|booked| booked.seq).collect();
    let (Some(first_entry), Some(last_entry)) = (numbers.iter().copied().min(), numbers.iter().copied().max()) else {
        return Err(SealError::Nothing { kind, through });
    };
    let head = tx.journal_head().await?;
    let number = tx.last_export(kind).await?.saturating_add(1);
    let id = ExportId::derive(now, &[kind, &number.to_string()]);
    let known = tx.exported_accounts(kind).await?;
    let names = names(&mut tx, &entries).await?;
    drop(tx);
    let batch = Some(Batch { id: id.clone(), number, through, known });
    let bytes = format.text(&Journal { entries: &entries, head, names, batch })?.into_bytes();
    let batch = ExportBatch {
        id,
        kind: kind.to_owned(),
        number,
        through,
        first_entry,
        last_entry,
        entries: i64::try_from(entries.len()).map_err(|_| MoneyError::Overflow)?,
        totals: debits(&entries)?,
        head: head.head,
        sha256: hex(&Sha256::digest(&bytes)),
        sealed_at: now,
    };
    Ok((Sealed { batch, bytes }, numbers))
}

/// What entries debit, and so what they credit, by currency.
pub fn debits(entries: &[Booked]) -> Result<Vec<Money>, MoneyError> {
    let mut sums: BTreeMap<&str, Money> = BTreeMap::new();
    for posting in entries.iter().flat_map(|booked| booked.entry.postings()) {
        let currency = posting.amount.currency();
        let sum = sums.entry(currency.code()).or_insert(Money::zero(currency));
        if posting.side == Side::Debit {
            *sum = sum.checked_add(posting.amount)?;
        }
    }
    Ok(sums.into_values().collect())
}

/// A batch with its file, as it was sealed. None if there is no such batch.
pub async fn sealed(db: &Db, id: &ExportId) -> Result<Option<Sealed>, SealError> {
    let Some((batch, packed)) = db.read().await?.export_batch(id).await? else { return Ok(None) };
    let bytes = zstd::decode_all(&*packed)?;
    if hex(&Sha256::digest(&bytes)) != batch.sha256 {
        return Err(store::Error::Damaged(format!("the file of export batch {id}")).into());
    }
    Ok(Some(Sealed { batch, bytes }))
}
