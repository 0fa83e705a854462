//! Opening the folder: what in it is whole and belongs together. What is not is deleted: the log holds it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::metering::seen::entry::Seqs;
use crate::metering::seen::filter::Folding;
use crate::metering::seen::index::Sizes;
use crate::metering::seen::run;
use crate::metering::seen::run::Footer;
use crate::metering::seen::run::Run;
use crate::metering::seen::runs::Part;
use crate::metering::seen::runs::Runs;
use crate::metering::seen::write;
use crate::random;

/// The secret, 16 bytes, then its CRC-32.
const SECRET_FILE: &str = "secret";
const SECRET_BYTES: usize = 20;

/// A file of which only the footer was read.
struct Found {
    path: PathBuf,
    file: File,
    footer: Footer,
}

/// Makes the folder if there is none; its secret, and its runs of the batches `1..=last_seq`.
pub(in crate::metering::seen) fn open(folder: &Path, sizes: Sizes, last_seq: i64) -> io::Result<([u8; 16], Runs)> {
    std::fs::create_dir_all(folder)?;
    let secret = secret(folder)?;
    loop {
        let found = find(folder, secret, last_seq)?;
        if let Some(runs) = load(found, sizes)? {
            return Ok((secret, runs));
        }
    }
}

/// The secret of the folder. If it is missing or damaged it is a new one, and all runs are foreign.
fn secret(folder: &Path) -> io::Result<[u8; 16]> {
    let path = folder.join(SECRET_FILE);
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() == SECRET_BYTES && run::crc(&bytes[..16]) == run::crc_at(&bytes, 16) => {
            let mut secret = [0; 16];
            secret.copy_from_slice(&bytes[..16]);
            return Ok(secret);
        }
        Ok(_) => tracing::warn!("{} is damaged; the seen index is rebuilt", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret: [u8; 16] = random::bytes();
    let temporary = path.with_extension("tmp");
    let file = File::create(&temporary)?;
    let mut bytes = secret.to_vec();
    bytes.extend_from_slice(&run::crc(&secret).to_le_bytes());
    io::Write::write_all(&mut &file, &bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    write::sync_folder(&path)?;
    Ok(secret)
}

/// The runs in the folder whose footers are whole, by their first batch, of equal ones the longest first.
fn find(folder: &Path, secret: [u8; 16], last_seq: i64) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            // What a crash, or a page that did not match its checksum, has left.
            Some("tmp" | "bad") => std::fs::remove_file(&path)?,
            Some("run") => match whole(&path, secret, last_seq)? {
                Ok((file, footer)) => found.push(Found { path, file, footer }),
                Err(reason) => delete(&path, &reason)?,
            },
            _ => {}
        }
    }
    found.sort_by_key(|found| (found.footer.seqs.first, std::cmp::Reverse(found.footer.seqs.last)));
    Ok(found)
}

/// The footer of a run that is of use; the inner error says why it is not.
fn whole(path: &Path, secret: [u8; 16], last_seq: i64) -> io::Result<Result<(File, Footer), String>> {
    let file = File::open(path)?;
    let footer = match Footer::read(&file) {
        Ok(footer) => footer,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let Seqs { first, last } = footer.seqs;
    let fault = if footer.secret != secret {
        "it is of another index"
    } else if name != Some(&Run::name(footer.seqs)) {
        "it has the name of another run"
    } else if first < 1 || first > last || last > last_seq {
        "it holds batches that the log does not have"
    } else {
        return Ok(Ok((file, footer)));
    };
    Ok(Err(fault.to_owned()))
}

/// Reads filters and fences. `None` if some run was damaged and is deleted now: then what it replaced is of use again.
fn load(found: Vec<Found>, sizes: Sizes) -> io::Result<Option<Runs>> {
    let (mut outer, mut inner): (Vec<Found>, Vec<Found>) = (Vec::new(), Vec::new());
    for found in found {
        match outer.last().map(|outer| outer.footer.seqs.last) {
            Some(last) if found.footer.seqs.last <= last => inner.push(found),
            Some(last) if found.footer.seqs.first <= last => {
                delete(&found.path, "it holds batches of another run")?;
                return Ok(None);
            }
            _ => outer.push(found),
        }
    }
    let fences: usize = outer.iter().map(|found| found.footer.pages() as usize * 8).sum();
    let mut filters: Vec<Folding> =
        outer.iter().map(|found| Folding { blocks: found.footer.blocks, step: 0 }).collect();
    Folding::fit(&mut filters, sizes.filters_bytes.saturating_sub(fences));
    let mut runs = Runs::default();
    for (Found { path, file, footer }, folding) in outer.into_iter().zip(filters) {
        match Run::open(path.clone(), file, footer, folding.step) {
            Ok(run) => runs = runs.with(Part::Run(Arc::new(run))),
            Err(error) => {
                delete(&path, &error.to_string())?;
                return Ok(None);
            }
        }
    }
    // A crash came between the name of the merged run and the end of those it was made of.
    for found in inner {
        std::fs::remove_file(&found.path)?;
    }
    Ok(Some(runs))
}

fn delete(path: &Path, reason: &str) -> io::Result<()> {
    tracing::warn!("{} is of no use: {reason}; what it held is read from the event log", path.display());
    std::fs::remove_file(path)
}
