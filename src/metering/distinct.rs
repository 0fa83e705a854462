//! Checks that a log holds every event once, which folding it relies on. An index of its own, made anew beside whatever
//! else there is: the one that ingest uses is what it checks.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::metering::Error;
use crate::metering::log::DamagedBatch;
use crate::metering::seen::Seen;
use crate::metering::seen::SeenKey;

/// Memory of the index; what does not fit is in files for as long as the check takes, 26 bytes an event.
const MEMORY_BYTES: usize = 64 << 20;

pub(in crate::metering) struct Distinct {
    // Dropped before its folder is removed.
    seen: Seen,
    _folder: Scratch,
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever cleans temporary folders takes what cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Distinct {
    pub fn new() -> Result<Self, Error> {
        let name = format!("tallystick-verify-{:032x}", u128::from_be_bytes(crate::random::bytes()));
        let folder = Scratch(std::env::temp_dir().join(name));
        let (seen, _) = Seen::open(&folder.0, MEMORY_BYTES, 0)?;
        Ok(Self { seen, _folder: folder })
    }

    /// Whose keys the entries must have.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes the entries of the next batch; an error if one of them was there before.
    pub fn take(&self, seq: i64, entries: &[(SeenKey, u32)]) -> Result<(), Error> {
        let again =
            |first: i64| DamagedBatch { seq, reason: format!("it holds an event again that batch {first} holds") };
        let keys: Vec<SeenKey> = entries.iter().map(|(key, _)| *key).collect();
        let runs = self.seen.runs();
        let sealed = runs.find(&keys)?;
        let mut own = HashSet::with_capacity(keys.len());
        {
            let recent = self.seen.recent();
            let since = recent.since(&runs);
            for (key, sealed) in keys.into_iter().zip(sealed) {
                let earlier = match sealed {
                    Some(at) => Some(at),
                    None => since.get(key)?,
                };
                if let Some(at) = earlier {
                    return Err(again(at.seq).into());
                }
                if !own.insert(key) {
                    return Err(again(seq).into());
                }
            }
        }
        self.seen.insert(seq, entries.iter().copied());
        Ok(())
    }
}
