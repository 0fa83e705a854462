//! Moves batches from the log into the archive.
//!
//! Every batch goes of which all events happened before a date: whole batches, in the order of the log, wherever they
//! are in it, since history that came late would otherwise keep everything behind it. What is not flushed into usage
//! stays, for a start without it could not restore what memory held.
//!
//! A file at a time: both files are written under temporary names and synced; they get their names, the manifest first,
//! and the folder is synced; both are read back, and every batch is taken out of them again; then one transaction records
//! the file and removes its batches. The database lets a batch go only if the archive's rows name this very batch. A kill
//! before that transaction leaves files of which nobody knows, beside batches that are all still there: the next run
//! removes them, after it has compared every batch, and writes them anew.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use crate::domain::hex::hex;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::archive::manifest::Entry;
use crate::metering::archive::manifest::FORMAT;
use crate::metering::archive::manifest::Manifest;
use crate::metering::archive::manifest::VERSION;
use crate::metering::archive::manifest::data_name_of;
use crate::metering::archive::manifest::name_of;
use crate::metering::archive::read_batch;
use crate::metering::archive::sha256_of;
use crate::metering::log;
use crate::store;
use crate::store::Db;
use crate::store::archive::Archivable;
use crate::store::archive::ArchiveFile;
use crate::store::batches::Batch;

/// So many batches are removed in one transaction.
const FILE_BATCHES_MAX: usize = 10_000;

/// What is to be archived.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Batches go of which every event happened before this.
    pub before: Instant,
    /// Made if it is not there.
    pub folder: PathBuf,
    /// A file is complete when it has reached this.
    pub file_bytes: u64,
}

/// What was archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    pub files: Vec<PathBuf>,
    pub batches: u64,
    pub events: u64,
    /// Of the files.
    pub bytes: u64,
    /// Batches that stay because they also hold events that are younger.
    pub batches_across: i64,
    /// Batches that stay because they are not flushed into usage.
    pub unflushed: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub bytes: u64,
    pub bytes_total: u64,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Metering(#[from] metering::Error),
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} was written, and does not read back as it should: {reason}. Nothing was removed", .path.display())]
    NotWhole { path: PathBuf, reason: String },
    #[error("{} is there already, and {reason}. Name another folder", .path.display())]
    Foreign { path: PathBuf, reason: String },
}

/// Archives what is old enough. What is done by the time of an error stays done; the next run goes on from there.
pub async fn archive(db: &Db, wanted: &Wanted, mut progress: impl FnMut(Progress)) -> Result<Archived, Error> {
    let at_folder = |source| Error::File { path: wanted.folder.clone(), source };
    fs::create_dir_all(&wanted.folder).map_err(at_folder)?;
    let folder = wanted.folder.canonicalize().map_err(at_folder)?;
    let folder_name = folder.to_str().ok_or_else(|| at_folder(io::Error::other("its name is not UTF-8")))?.to_owned();

    let applied = db.read().await?.applied_seq().await?;
    let mut tx = db.read_log().await?;
    let archivable = tx.archivable(wanted.before, applied).await?;
    let mut archived = Archived {
        batches_across: tx.batches_across(wanted.before).await?,
        unflushed: tx.last_seq().await?.saturating_sub(applied),
        ..Archived::default()
    };
    let log = tx.log_identity().await?;
    let last = tx.archive_files().await?.pop();
    drop(tx);
    let bytes_total = archivable.iter().map(|batch| batch.bytes.unsigned_abs()).sum();
    let mut number = last.as_ref().map_or(1, |file| file.number.saturating_add(1));
    let mut previous = last.map(|file| file.manifest_sha256);
    // Also where nothing is left to be archived.
    remove_leftover(db, &folder, number, &log).await?;
    for batches in parts(&archivable, wanted.file_bytes) {
        let mut writing = Writing::begin(&folder, number)?;
        for Archivable { seq, .. } in batches {
            let batch = db.read_log().await?.batch(*seq).await?.ok_or(store::Error::Missing)?;
            log::check(&batch).map_err(metering::Error::from)?;
            writing.write(&batch)?;
            let bytes = archived.bytes.saturating_add(writing.bytes.unsigned_abs());
            progress(Progress { bytes, bytes_total });
        }
        let (manifest, manifest_sha256) = writing.finish(&log, previous)?;
        let file = ArchiveFile {
            number,
            folder: folder_name.clone(),
            name: manifest.file.clone(),
            bytes: manifest.bytes,
            sha256: manifest.sha256.clone(),
            manifest_sha256: manifest_sha256.clone(),
        };
        read_back(&folder, &file, &manifest)?;
        let rows: Vec<_> = manifest.batches.iter().map(|entry| entry.archived(number)).collect();
        let mut tx = db.write_log().await?;
        let removed = tx.move_to_archive(&file, &rows).await?;
        if removed != rows.len() as u64 {
            let reason = format!("{} of its {} batches are in the log", removed, rows.len());
            return Err(Error::NotWhole { path: folder.join(&file.name), reason });
        }
        tx.commit().await?;
        archived.files.push(folder.join(&file.name));
        archived.batches = archived.batches.saturating_add(removed);
        archived.events = archived.events.saturating_add(manifest.events.unsigned_abs());
        archived.bytes = archived.bytes.saturating_add(manifest.bytes.unsigned_abs());
        number = number.saturating_add(1);
        previous = Some(manifest_sha256);
        remove_leftover(db, &folder, number, &log).await?;
    }
    Ok(archived)
}

/// The batches of each file.
fn parts(batches: &[Archivable], file_bytes: u64) -> impl Iterator<Item = &[Archivable]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let mut bytes = 0_u64;
        let fits = |batch: &&Archivable| {
            let fits = bytes < file_bytes;
            bytes = bytes.saturating_add(batch.bytes.unsigned_abs());
            fits
        };
        let count = rest.iter().take(FILE_BATCHES_MAX).take_while(fits).count();
        let (part, after) = rest.split_at(count);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// What a run that was killed has left: half files, and files whose batches are all in the log still.
async fn remove_leftover(db: &Db, folder: &Path, number: i64, log: &str) -> Result<(), Error> {
    let (data, manifest) = (folder.join(data_name_of(number)), folder.join(name_of(number)));
    for half in [temporary(&data), temporary(&manifest)] {
        remove(&half)?;
    }
    let text = match fs::read_to_string(&manifest) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !data.exists() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Foreign { path: data, reason: "no manifest says what it is".to_owned() });
        }
        Err(source) => return Err(Error::File { path: manifest, source }),
    };
    let foreign = |reason: String| Error::Foreign { path: manifest.clone(), reason };
    let left: Manifest = serde_json::from_str(&text).map_err(|error| foreign(format!("cannot be read: {error}")))?;
    if left.log != log {
        return Err(foreign("is of another log".to_owned()));
    }
    let mut tx = db.read_log().await?;
    for entry in &left.batches {
        let batch = tx.batch(entry.seq).await?;
        if batch.is_none_or(|batch| batch.checksum != entry.crc32 || batch.event_count != entry.events) {
            let reason = format!("this database, which does not know it, does not have its batch {}", entry.seq);
            return Err(foreign(reason));
        }
    }
    remove(&data)?;
    remove(&manifest)?;
    sync_folder(folder)
}

/// A file of the archive that is being written.
struct Writing {
    folder: PathBuf,
    number: i64,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: i64,
    entries: Vec<Entry>,
}

impl Writing {
    fn begin(folder: &Path, number: i64) -> Result<Self, Error> {
        let path = temporary(&folder.join(data_name_of(number)));
        let file = File::create(&path).map_err(|source| Error::File { path, source })?;
        let (folder, file) = (folder.to_owned(), BufWriter::new(file));
        Ok(Self { folder, number, file, hash: Sha256::new(), bytes: 0, entries: Vec::new() })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let path = || temporary(&self.folder.join(data_name_of(self.number)));
        self.file.write_all(&batch.body).map_err(|source| Error::File { path: path(), source })?;
        self.hash.update(&batch.body);
        let bytes = i64::try_from(batch.body.len()).unwrap_or(i64::MAX);
        self.entries.push(Entry {
            seq: batch.seq,
            received_at: batch.received_at,
            events: batch.event_count,
            first_time: batch.first_time,
            last_time: batch.last_time,
            crc32: batch.checksum,
            first_byte: self.bytes,
            bytes,
        });
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Gives both files their names, for good. Returns the manifest, and its hash.
    fn finish(mut self, log: &str, previous: Option<String>) -> Result<(Manifest, String), Error> {
        let (data, manifest_path) =
            (self.folder.join(data_name_of(self.number)), self.folder.join(name_of(self.number)));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        self.file.flush().map_err(at(&temporary(&data)))?;
        self.file.get_ref().sync_all().map_err(at(&temporary(&data)))?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            log: log.to_owned(),
            number: self.number,
            previous,
            file: data_name_of(self.number),
            first_batch: self.entries.first().map_or(0, |entry| entry.seq),
            last_batch: self.entries.last().map_or(0, |entry| entry.seq),
            events: self.entries.iter().map(|entry| entry.events).sum(),
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            batches: self.entries,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other).map_err(at(&manifest_path))?;
        let write = || {
            let mut file = File::create(temporary(&manifest_path))?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(at(&temporary(&manifest_path)))?;
        // In this order: a file without a manifest is never ours.
        fs::rename(temporary(&manifest_path), &manifest_path).map_err(at(&manifest_path))?;
        fs::rename(temporary(&data), &data).map_err(at(&data))?;
        sync_folder(&self.folder)?;
        Ok((manifest, hex(&Sha256::digest(&text))))
    }
}

/// Reads both files as anybody would, and takes every batch out again.
fn read_back(folder: &Path, file: &ArchiveFile, written: &Manifest) -> Result<(), Error> {
    let (data, manifest) = (folder.join(&file.name), folder.join(name_of(file.number)));
    let not_whole = |path: &Path, reason: String| Error::NotWhole { path: path.to_owned(), reason };
    for (path, expected) in [(&data, &file.sha256), (&manifest, &file.manifest_sha256)] {
        let found = sha256_of(path).map_err(|error| not_whole(path, error.to_string()))?;
        if found != *expected {
            return Err(not_whole(path, format!("its SHA-256 is {found}")));
        }
    }
    let text = fs::read(&manifest).map_err(|error| not_whole(&manifest, error.to_string()))?;
    let read: Manifest =
        serde_json::from_slice(&text).map_err(|error| not_whole(&manifest, format!("it cannot be read: {error}")))?;
    if read != *written {
        return Err(not_whole(&manifest, "it says something else".to_owned()));
    }
    for entry in &read.batches {
        let batch = read_batch(&data, &entry.archived(file.number))
            .map_err(|unreadable| not_whole(&data, unreadable.reason))?;
        let lines = log::lines(&batch).map_err(|damaged| not_whole(&data, damaged.to_string()))?;
        let events = memchr::memchr_iter(b'\n', lines.as_bytes()).count();
        if i64::try_from(events).ok() != Some(entry.events) {
            return Err(not_whole(&data, format!("batch {} has {events} lines, not {}", entry.seq, entry.events)));
        }
    }
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Makes names durable.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|source| Error::File { path: folder.to_owned(), source })
}
