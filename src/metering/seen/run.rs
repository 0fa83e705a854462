//! A run: an immutable, sorted file of entries, with its filter and its fences in memory.
//!
//! # The file, byte by byte
//! `FIRST-LAST.run`, the numbers of its first and last batch in 16 hexadecimal digits. Words are little-endian.
//!
//! | part | bytes | |
//! |---|---|---|
//! | filter | 64 × blocks | see [`filter`](crate::metering::seen::filter); blocks is a multiple of 48 |
//! | pages | 4096 × pages | 170 entries each, the last one fewer: pages = ⌈entries / 170⌉ |
//! | fences | 8 × pages | the upper half of each page's first key |
//! | footer | 80 | |
//!
//! An entry is 24 bytes: upper half of the key, lower half, and `batch << 24 | content hash`. They ascend by key, and
//! no key is there twice. Behind a page's entries are zeros, and in its last four bytes the CRC-32 of all before. A
//! page is checked whenever it is read.
//!
//! | footer at | |
//! |---|---|
//! | 0 | `tallyrun` |
//! | 8 | version of this format, 32 bits: 3; then 32 bits of zero |
//! | 16 | the secret that the keys were made with, 16 bytes |
//! | 32 | first batch |
//! | 40 | last batch |
//! | 48 | entries |
//! | 56 | blocks |
//! | 64 | CRC-32 of the filter, then of the fences, then 32 bits of zero |
//! | 76 | CRC-32 of the footer before this |
//!
//! So every byte of the file is under some CRC, and its length follows from the footer: whatever is changed is found.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use flate2::Crc;

use crate::metering::seen::Error;
use crate::metering::seen::SeenAt;
use crate::metering::seen::SeenKey;
use crate::metering::seen::entry;
use crate::metering::seen::entry::ENTRY_BYTES;
use crate::metering::seen::entry::Entry;
use crate::metering::seen::entry::Seqs;
use crate::metering::seen::entry::word;
use crate::metering::seen::filter::BLOCK_BYTES;
use crate::metering::seen::filter::BLOCKS_MULTIPLE;
use crate::metering::seen::filter::Filter;
use crate::metering::seen::filter::Folding;

pub(in crate::metering::seen) const PAGE_BYTES: usize = 4096;
pub(in crate::metering::seen) const PAGE_ENTRIES: usize = 170;
const CRC_AT: usize = PAGE_BYTES - 4;
const FOOTER_BYTES: usize = 80;
const MAGIC: &[u8; 8] = b"tallyrun";
const VERSION: u64 = 3;

/// What the last bytes of a run's file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering::seen) struct Footer {
    pub secret: [u8; 16],
    pub seqs: Seqs,
    pub entries: u64,
    pub blocks: u64,
    pub filter_crc: u32,
    pub fences_crc: u32,
}

/// A page, as it lies in a file.
pub(in crate::metering::seen) type Page = [u8; PAGE_BYTES];

#[derive(Debug)]
pub(in crate::metering::seen) struct Run {
    path: PathBuf,
    file: File,
    footer: Footer,
    fences: Vec<u64>,
    /// Exchanged when it is folded.
    filter: RwLock<Arc<Filter>>,
    damaged: AtomicBool,
}

impl Footer {
    /// Reads the footer of a file; an error of the kind `InvalidData` or `UnexpectedEof` if the file is no whole run.
    pub fn read(file: &File) -> io::Result<Self> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let length = file.metadata()?.len();
        let offset = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| invalid("it is too short"))?;
        let mut bytes = [0; FOOTER_BYTES];
        file.read_exact_at(&mut bytes, offset)?;
        if crc(&bytes[..76]) != crc_at(&bytes, 76) {
            return Err(invalid("the checksum of its footer does not match"));
        }
        let mut secret = [0; 16];
        secret.copy_from_slice(&bytes[16..32]);
        let footer = Self {
            secret,
            seqs: Seqs { first: word(&bytes, 32).cast_signed(), last: word(&bytes, 40).cast_signed() },
            entries: word(&bytes, 48),
            blocks: word(&bytes, 56),
            filter_crc: crc_at(&bytes, 64),
            fences_crc: crc_at(&bytes, 68),
        };
        if !bytes.starts_with(MAGIC) || word(&bytes, 8) != VERSION || footer.to_bytes() != bytes {
            return Err(invalid("it is of another format"));
        }
        if footer.blocks == 0 || !footer.blocks.is_multiple_of(BLOCKS_MULTIPLE) {
            return Err(invalid("its filter cannot be folded"));
        }
        if footer.length() != Some(length) {
            return Err(invalid("its length does not match"));
        }
        Ok(footer)
    }

    pub fn to_bytes(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.secret);
        bytes[32..40].copy_from_slice(&self.seqs.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.seqs.last.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.entries.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.filter_crc.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.fences_crc.to_le_bytes());
        let sum = crc(&bytes[..76]);
        bytes[76..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub fn pages(&self) -> u64 {
        self.entries.div_ceil(PAGE_ENTRIES as u64)
    }

    /// Bytes of the file; `None` if no file is so long.
    fn length(&self) -> Option<u64> {
        let pages = self.pages().checked_mul(PAGE_BYTES as u64 + 8)?;
        self.pages_at()?.checked_add(pages)?.checked_add(FOOTER_BYTES as u64)
    }

    fn pages_at(&self) -> Option<u64> {
        self.blocks.checked_mul(BLOCK_BYTES as u64)
    }
}

impl Run {
    /// Opens a run whose footer was read. An error if its filter or its fences are damaged; its pages are checked
    /// when they are read.
    pub fn open(path: PathBuf, file: File, footer: Footer, step: usize) -> io::Result<Self> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let folding = Folding { blocks: footer.blocks, step };
        let filter = Filter::read(&file, 0, folding, footer.filter_crc)?
            .ok_or_else(|| invalid("the checksum of its filter does not match"))?;
        // The length of the file was compared with the footer's counts, so that these are true.
        let mut fences = vec![0; footer.pages() as usize * 8];
        file.read_exact_at(&mut fences, footer.blocks * BLOCK_BYTES as u64 + footer.pages() * PAGE_BYTES as u64)?;
        if crc(&fences) != footer.fences_crc {
            return Err(invalid("the checksum of its fences does not match"));
        }
        let fences = fences.chunks_exact(8).map(|bytes| word(bytes, 0)).collect();
        let (filter, damaged) = (RwLock::new(Arc::new(filter)), AtomicBool::new(false));
        Ok(Self { path, file, footer, fences, filter, damaged })
    }

    /// The name of the file of a run.
    pub fn name(seqs: Seqs) -> String {
        format!("{:016x}-{:016x}.run", seqs.first, seqs.last)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn seqs(&self) -> Seqs {
        self.footer.seqs
    }

    pub fn entries(&self) -> u64 {
        self.footer.entries
    }

    pub fn pages(&self) -> usize {
        self.fences.len()
    }

    pub fn folding(&self) -> Folding {
        self.filter().folding()
    }

    pub fn fences_bytes(&self) -> usize {
        self.fences.len() * 8
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.filter().bytes() + self.fences_bytes()
    }

    /// Takes less memory from now on; lookups go on meanwhile. If the filter cannot be read again, what is in memory stays:
    /// it is right.
    pub fn fold(&self, step: usize) {
        let folding = Folding { blocks: self.footer.blocks, step };
        if let Ok(Some(folded)) = Filter::read(&self.file, 0, folding, self.footer.filter_crc) {
            *self.filter.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(folded);
        }
    }

    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub fn get(&self, key: SeenKey) -> Result<Option<SeenAt>, Error> {
        if !self.filter().contains(key) {
            return Ok(None);
        }
        PageReader::new(self).find(key)
    }

    /// Looks up those keys that are not found yet.
    pub fn find(&self, keys: &[SeenKey], found: &mut [Option<SeenAt>], passed: &mut Vec<u32>) -> Result<(), Error> {
        self.filter().pass(keys, passed);
        // In the order of the file: neighbours share a page, and the disk is read in one direction.
        passed.sort_unstable_by_key(|index| keys[*index as usize]);
        let mut reader = PageReader::new(self);
        for index in passed.iter().map(|index| *index as usize) {
            if found[index].is_none() {
                found[index] = reader.find(keys[index])?;
            }
        }
        Ok(())
    }

    /// Reads pages `first..` into `pages`, and checks them.
    pub fn read_pages(&self, first: usize, pages: &mut [Page]) -> Result<(), Error> {
        let offset = self.footer.blocks * BLOCK_BYTES as u64 + (first * PAGE_BYTES) as u64;
        if let Err(error) = self.file.read_exact_at(pages.as_flattened_mut(), offset) {
            return Err(self.set_aside(first, &error.to_string()));
        }
        for (number, page) in (first..).zip(pages.iter()) {
            let fence = self.fences.get(number).copied();
            if crc(&page[..CRC_AT]) != crc_at(page, CRC_AT) || fence != Some(word(page, 0)) {
                return Err(self.set_aside(number, "its checksum does not match"));
            }
        }
        Ok(())
    }

    /// How many entries a page holds.
    pub fn entries_of(&self, page: usize) -> usize {
        let before = page.saturating_mul(PAGE_ENTRIES) as u64;
        self.footer.entries.saturating_sub(before).min(PAGE_ENTRIES as u64) as usize
    }

    fn filter(&self) -> Arc<Filter> {
        self.filter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first page that may hold a key.
    fn page_of(&self, high: u64) -> usize {
        // Keys are uniform, so that a guess is only a few pages off: wider and wider steps from it enclose the place.
        let guess = ((u128::from(high) * self.fences.len() as u128) >> 64) as usize;
        let (mut low, mut step) = (guess, 1_usize);
        while low > 0 && self.fences[low] >= high {
            low = low.saturating_sub(step);
            step = step.saturating_mul(2);
        }
        let (mut above, mut step) = (guess, 1_usize);
        while above < self.fences.len() && self.fences[above] < high {
            above = above.saturating_add(step).min(self.fences.len());
            step = step.saturating_mul(2);
        }
        let between = &self.fences[low..above];
        (low + between.partition_point(|fence| *fence < high)).saturating_sub(1)
    }

    /// Puts the file out of the way, so that the next start rebuilds what it held from the log.
    fn set_aside(&self, page: usize, reason: &str) -> Error {
        let file = self.path.display().to_string();
        if !self.damaged.swap(true, Ordering::Relaxed) {
            tracing::error!("{file} of the seen index is damaged: page {page}: {reason}");
            if let Err(error) = std::fs::rename(&self.path, self.path.with_extension("bad")) {
                tracing::error!("{file} cannot be put aside, delete it: {error}");
            }
        }
        Error::Damaged { file, reason: format!("page {page}: {reason}") }
    }
}

/// Looks keys up in a run's pages, and remembers the page that was read last.
struct PageReader<'a> {
    run: &'a Run,
    page: [Page; 1],
    number: Option<usize>,
}

impl<'a> PageReader<'a> {
    fn new(run: &'a Run) -> Self {
        Self { run, page: [[0; PAGE_BYTES]], number: None }
    }

    fn find(&mut self, key: SeenKey) -> Result<Option<SeenAt>, Error> {
        let (high, low) = entry::halves(key);
        let first = self.run.page_of(high);
        // Nearly always one page: more only if keys that share their upper half fill pages.
        let fences = self.run.fences.get(first..).unwrap_or_default();
        for number in (first..).zip(fences).take_while(|(_, fence)| **fence <= high).map(|(number, _)| number) {
            if self.number != Some(number) {
                self.number = None;
                self.run.read_pages(number, &mut self.page)?;
                self.number = Some(number);
            }
            let (entries, _) = self.page[0].as_chunks::<ENTRY_BYTES>();
            let entries = &entries[..self.run.entries_of(number)];
            let key_of = |bytes: &[u8; ENTRY_BYTES]| (word(bytes, 0), word(bytes, 8));
            if let Ok(index) = entries.binary_search_by(|bytes| key_of(bytes).cmp(&(high, low))) {
                return Ok(Some(entry::unpack(Entry::from_bytes(&entries[index]).place)));
            }
        }
        Ok(None)
    }
}

/// Puts the checksum into the end of a page.
pub(in crate::metering::seen) fn seal_page(page: &mut Page) {
    let sum = crc(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
}

pub(in crate::metering::seen) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The 32 bits at an offset that the caller knows to lie within `bytes`.
pub(in crate::metering::seen) fn crc_at(bytes: &[u8], offset: usize) -> u32 {
    let mut sum = [0; 4];
    sum.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(sum)
}
