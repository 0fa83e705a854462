//! A disk that fails when it is told to: `faults.c`, loaded into a server, makes calls that write fail.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The order of the words in the file that is shared with the server, and where a text follows them.
const CALLS: u64 = 0;
const FROM: u64 = 8;
const UNTIL: u64 = 16;
const ERROR: u64 = 24;
const FAILED: u64 = 32;
const FIRST: u64 = 40;
const FILE_BYTES: u64 = 256;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Io,
    Full,
    ReadOnly,
    /// The half is written; a call that writes no bytes fails as with `Io`.
    Short,
}

/// The disk below one folder.
pub struct Disk {
    control: File,
    environment: Vec<(String, String)>,
}

impl Disk {
    /// Files below `folder`, which fail as soon as it is told. `None`, and a line that says so, without a C compiler.
    pub fn new(folder: &Path) -> Option<Self> {
        let library = library()?;
        let path = folder.join("faults");
        let control = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let control = control.expect("a file for the faults");
        control.set_len(FILE_BYTES).expect("room for the faults");
        let below = folder.join("data");
        let environment = [("LD_PRELOAD", library), ("FAULTS_CONTROL", &path), ("FAULTS_BELOW", &below)];
        let environment = environment.map(|(name, path)| (name.to_owned(), path.display().to_string())).to_vec();
        let disk = Self { control, environment };
        disk.mend();
        Some(disk)
    }

    /// What a server needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// How many calls there were so far.
    pub fn calls(&self) -> u64 {
        self.get(CALLS)
    }

    /// Calls `from..=until` fail, counted from the first of all.
    pub fn fail(&self, from: u64, until: u64, error: Error) {
        let number = match error {
            Error::Io => 5,
            Error::Full => 28,
            Error::ReadOnly => 30,
            Error::Short => 10_000,
        };
        self.set(ERROR, number);
        self.set(UNTIL, until);
        self.set(FROM, from);
    }

    /// Every call fails from now on.
    pub fn fail_all(&self, error: Error) {
        self.fail(0, u64::MAX, error);
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        self.set(FROM, u64::MAX);
        self.set(UNTIL, 0);
    }

    /// How many calls failed, and which was the first.
    pub fn failed(&self) -> (u64, String) {
        let mut text = [0; 216];
        self.control.read_exact_at(&mut text, FIRST).expect("a text");
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        (self.get(FAILED), String::from_utf8_lossy(&text[..end]).into_owned())
    }

    fn get(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.control.read_exact_at(&mut word, offset).expect("a word");
        u64::from_ne_bytes(word)
    }

    fn set(&self, offset: u64, word: u64) {
        self.control.write_all_at(&word.to_ne_bytes(), offset).expect("a word");
    }
}

/// The library, compiled once for a test process.
fn library() -> Option<&'static PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&target).arg(source);
        match cc.output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(target)
            }
            Err(error) => {
                println!("SKIPPED: a disk cannot be made to fail without a C compiler (cc: {error})");
                None
            }
        }
    };
    LIBRARY.get_or_init(compile).as_ref()
}
