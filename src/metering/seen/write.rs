//! Writes a run, from the first key to the last, in little memory: the filter to the front of the file while the
//! pages are written behind it. A run has its name only when all of it is on the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

use flate2::Crc;

use crate::metering::seen::entry::ENTRY_BYTES;
use crate::metering::seen::entry::Entry;
use crate::metering::seen::entry::Seqs;
use crate::metering::seen::filter::BLOCK_BYTES;
use crate::metering::seen::filter::Block;
use crate::metering::seen::filter::Folding;
use crate::metering::seen::filter::block_of;
use crate::metering::seen::run;
use crate::metering::seen::run::Footer;
use crate::metering::seen::run::PAGE_BYTES;
use crate::metering::seen::run::PAGE_ENTRIES;
use crate::metering::seen::run::Page;
use crate::metering::seen::run::Run;

const BUFFER_BYTES: usize = 256 << 10;
/// So much is written before the disk has to take it: one great flush at the end would hold up the log's.
const SYNC_EVERY_BYTES: u64 = 32 << 20;

#[derive(Debug)]
pub(in crate::metering::seen) struct RunWriter {
    file: File,
    temporary: PathBuf,
    named: bool,
    filter: FilterWriter,
    pages: Section,
    page: Page,
    in_page: usize,
    fences: Vec<u8>,
    entries: u64,
    last: Option<(u64, u64)>,
    unsynced_bytes: u64,
}

/// A part of a file that is written in order, while others are too.
#[derive(Debug)]
struct Section {
    offset: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct FilterWriter {
    section: Section,
    crc: Crc,
    blocks: usize,
    block: Block,
    number: usize,
}

impl RunWriter {
    /// Begins a run in a folder, of no more than so many entries.
    pub fn create(folder: &Path, seqs: Seqs, entries_max: u64) -> io::Result<Self> {
        let temporary = folder.join(Run::name(seqs)).with_extension("tmp");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        let blocks = Folding::for_entries(entries_max).blocks as usize;
        Ok(Self {
            file,
            temporary,
            named: false,
            filter: FilterWriter {
                section: Section::at(0),
                crc: Crc::new(),
                blocks,
                block: Block::default(),
                number: 0,
            },
            pages: Section::at((blocks * BLOCK_BYTES) as u64),
            page: [0; PAGE_BYTES],
            in_page: 0,
            fences: Vec::new(),
            entries: 0,
            last: None,
            unsynced_bytes: 0,
        })
    }

    /// Adds an entry. They come sorted, and of equal keys the first one stands.
    pub fn push(&mut self, entry: Entry) -> io::Result<()> {
        let key = (entry.high, entry.low);
        if self.last == Some(key) {
            return Ok(());
        }
        self.last = Some(key);
        self.filter.push(&self.file, entry)?;
        if self.in_page == PAGE_ENTRIES {
            self.end_page()?;
        }
        if self.in_page == 0 {
            self.fences.extend_from_slice(&entry.high.to_le_bytes());
        }
        let start = self.in_page * ENTRY_BYTES;
        self.page[start..start + ENTRY_BYTES].copy_from_slice(&entry.to_bytes());
        self.in_page += 1;
        self.entries += 1;
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        run::seal_page(&mut self.page);
        self.pages.push(&self.file, &self.page)?;
        self.page = [0; PAGE_BYTES];
        self.in_page = 0;
        self.unsynced_bytes += PAGE_BYTES as u64;
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Ends the run, and gives it its name. It is durable then.
    pub fn finish(mut self, secret: [u8; 16], seqs: Seqs) -> io::Result<(PathBuf, File, Footer)> {
        if self.in_page > 0 {
            self.end_page()?;
        }
        let filter_crc = self.filter.finish(&self.file)?;
        let blocks = self.filter.blocks as u64;
        let fences_crc = run::crc(&self.fences);
        let footer = Footer { secret, seqs, entries: self.entries, blocks, filter_crc, fences_crc };
        self.pages.push(&self.file, &self.fences)?;
        self.pages.push(&self.file, &footer.to_bytes())?;
        self.pages.flush(&self.file)?;
        self.file.sync_data()?;
        let path = self.temporary.with_extension("run");
        std::fs::rename(&self.temporary, &path)?;
        self.named = true;
        sync_folder(&path)?;
        Ok((path, self.file.try_clone()?, footer))
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.named {
            // If it cannot be deleted now, the next start will do it.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl Section {
    fn at(offset: u64) -> Self {
        Self { offset, buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    fn push(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush(file) }
    }

    fn flush(&mut self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl FilterWriter {
    fn push(&mut self, file: &File, entry: Entry) -> io::Result<()> {
        let number = block_of(entry.high, self.blocks);
        while self.number < number {
            self.next_block(file)?;
        }
        self.block.insert(entry.low);
        Ok(())
    }

    fn next_block(&mut self, file: &File) -> io::Result<()> {
        let bytes = self.block.to_bytes();
        self.crc.update(&bytes);
        self.section.push(file, &bytes)?;
        self.block = Block::default();
        self.number += 1;
        Ok(())
    }

    fn finish(&mut self, file: &File) -> io::Result<u32> {
        while self.number < self.blocks {
            self.next_block(file)?;
        }
        self.section.flush(file)?;
        Ok(self.crc.sum())
    }
}

/// Makes the names in a file's folder durable.
pub(in crate::metering::seen) fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
