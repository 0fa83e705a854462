//! The archive: old batches of the log in files outside of the database, and reading them back.
//!
//! Promise: a batch is in the log, or in a file that was read back and found whole before the batch went; so nothing that
//! was counted is ever out of reach. Whoever reads a batch by its number gets it from wherever it is: duplicates are
//! still compared, usage is still recomputed, the seen index is still rebuilt.
//!
//! Form: `events-000001.ndjson.zst` is the bodies of batches one behind the other as the log had them, each a zstd frame
//! of NDJSON, so that `zstd -d` gives all their events and one batch can be read alone. `events-000001.json` beside it is
//! its [`manifest`]. How files come about is in [`write`].

pub mod manifest;
pub mod write;

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use crate::domain::hex::hex;
use crate::metering;
use crate::metering::aside::aside;
use crate::metering::log;
use crate::metering::log::DamagedBatch;
use crate::store::Db;
use crate::store::Log;
use crate::store::Tx;
use crate::store::archive::ArchiveFile;
use crate::store::archive::ArchivedBatch;
use crate::store::batches::Batch;

const READ_BYTES: usize = 1 << 20;

/// A file of the archive that is not as it was written.
#[derive(Debug, Error)]
#[error(
    "{}, a file of the event archive, cannot be used: {reason}. Put it back from a copy; if the archive was moved, say \
     where it is with --archive FOLDER",
    .file.display()
)]
pub struct Unreadable {
    pub file: PathBuf,
    pub reason: String,
}

/// A batch, from the log or from the archive.
pub async fn batch<Mode>(db: &Db, tx: &mut Tx<Mode, Log>, seq: i64) -> Result<Batch, metering::Error> {
    if let Some(batch) = tx.batch(seq).await? {
        return Ok(batch);
    }
    let Some((archived, file)) = tx.archived_batch(seq).await? else {
        return Err(DamagedBatch { seq, reason: "it is missing".to_owned() }.into());
    };
    let path = path_of(db, &file);
    let read = move || read_batch(&path, &archived);
    Ok(aside(read).await??)
}

/// Where a file is to be found.
fn path_of(db: &Db, file: &ArchiveFile) -> PathBuf {
    db.archive().unwrap_or(Path::new(&file.folder)).join(&file.name)
}

fn read_batch(path: &Path, archived: &ArchivedBatch) -> Result<Batch, Unreadable> {
    let unreadable = |reason: String| Unreadable { file: path.to_owned(), reason };
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(archived.first_byte.unsigned_abs()))?;
        let mut body = vec![0; usize::try_from(archived.bytes).map_err(io::Error::other)?];
        file.read_exact(&mut body)?;
        Ok(body)
    };
    let body = read().map_err(|error: io::Error| unreadable(format!("batch {} in it: {error}", archived.seq)))?;
    let ArchivedBatch { seq, received_at, event_count, first_time, last_time, checksum, .. } = *archived;
    let batch = Batch { seq, received_at, event_count, first_time, last_time, body, checksum };
    log::check(&batch).map_err(|damaged| unreadable(format!("batch {}: {}", damaged.seq, damaged.reason)))?;
    Ok(batch)
}

/// Looks at every file and every manifest of the archive, and names those that are not as they were written.
pub async fn check(db: &Db) -> Result<Vec<Unreadable>, metering::Error> {
    let files = db.read_log().await?.archive_files().await?;
    let paths: Vec<(PathBuf, ArchiveFile)> = files.into_iter().map(|file| (path_of(db, &file), file)).collect();
    let check = move || paths.iter().flat_map(|(path, file)| faults_of(path, file)).collect();
    aside(check).await
}

fn faults_of(path: &Path, file: &ArchiveFile) -> Vec<Unreadable> {
    let fault = |path: &Path, expected: &str| {
        let reason = match sha256_of(path) {
            Ok(found) if found == expected => return None,
            Ok(_) => "its SHA-256 is not the one that it had".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Unreadable { file: path.to_owned(), reason })
    };
    let manifest = path.with_file_name(manifest::name_of(file.number));
    [fault(path, &file.sha256), fault(&manifest, &file.manifest_sha256)].into_iter().flatten().collect()
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
