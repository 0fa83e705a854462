//! Data of one test, on either engine, and the command line run on it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::postgres::Leash;
use crate::support::postgres::fresh_database;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A place for data that is empty at first, and gone when this is dropped or the test process ends.
pub struct Data {
    folder: PathBuf,
    database: Option<String>,
    _leash: Leash,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Data {
    pub fn new(engine: Engine) -> Self {
        let folder = tempfile::Builder::new().prefix("tallystick-it-").tempdir().expect("a temporary folder").keep();
        let database = (engine == Engine::Postgres).then(fresh_database);
        Self { _leash: Leash::new(r#"rm -rf "$1""#, &[folder.as_os_str()]), folder, database }
    }

    /// A folder for whatever the test writes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The arguments that say where the data is.
    pub fn arguments(&self) -> Vec<String> {
        let folder = |name| self.folder.join(name).display().to_string();
        match &self.database {
            Some(url) => vec!["--database-url".to_owned(), url.clone(), "--cache".to_owned(), folder("cache")],
            None => vec!["--data".to_owned(), folder("data")],
        }
    }

    /// Runs a command that opens the data itself.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let place = self.arguments();
        run(arguments.iter().copied().chain(place.iter().map(String::as_str)), "")
    }
}

impl Ran {
    /// Standard output, of a command that has done what it was asked.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output as JSON, whatever the exit code.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// The binary under test, with nothing of the caller's own settings.
pub fn tallystick() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TALLYSTICK_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, stdin: &str) -> Ran {
    let mut command = tallystick();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    let mut input = child.stdin.take().expect("standard input is a pipe");
    let output = std::thread::scope(|scope| {
        // A command that answers before it has read everything closes the pipe: that is its right.
        scope.spawn(move || input.write_all(stdin.as_bytes()).ok());
        child.wait_with_output().expect("the binary can be waited for")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ran = Ran {
        // A command that was ended by a signal has its number, below zero.
        code: output.status.code().or(output.status.signal().map(|signal| -signal)).expect("a command ends in one way"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    };
    assert!(!ran.stderr.contains("panicked at"), "the command panicked: {ran:?}");
    ran
}

/// Starts the binary, and kills it after a while unless it has ended by then. Says whether it was killed.
pub fn run_and_kill(arguments: &[String], after: Duration) -> bool {
    let mut command = tallystick();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary can be started");
    std::thread::sleep(after);
    let ended = child.try_wait().expect("the binary can be asked").is_some();
    if !ended {
        child.kill().expect("the binary can be killed");
        child.wait().expect("the binary can be waited for");
    }
    !ended
}
