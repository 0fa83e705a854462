//! A throw-away Postgres of the installed binaries: one cluster for a test process, a new database for every test.
//!
//! The cluster stops and its folder goes when the process ends, even if it is killed. Only the standard library is
//! used, since the store's own tests include this file. Nothing is skipped: without Postgres, tests fail.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Speed, not safety: the cluster lives for one run, and it is never the one that is killed.
const SETTINGS: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 \
                        -c shared_buffers=64MB -c listen_addresses=127.0.0.1";

/// A shell that waits until this is dropped, or until the process ends however it ends, and then runs a script.
pub struct Leash(Child);

struct Cluster {
    bin: PathBuf,
    port: u16,
    _leash: Leash,
}

/// The URL of a new, empty database.
pub fn fresh_database() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static DATABASES: AtomicU32 = AtomicU32::new(1);
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let port = cluster.port.to_string();
    let mut psql = Command::new(cluster.bin.join("psql"));
    psql.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", &format!("create database {name}")]);
    output(&mut psql);
    format!("postgres://postgres@127.0.0.1:{port}/{name}")
}

impl Cluster {
    fn start() -> Self {
        let bin = binaries();
        let folder = PathBuf::from(output(as_postgres("mktemp").args(["-d", "--suffix=.tallystick-postgres"])));
        let data = folder.join("data");
        let stop = r#""$1/pg_ctl" stop -s -m immediate -D "$2/data"; rm -rf "$2""#;
        let stop =
            if is_root() { format!("runuser -u postgres -- sh -c '{stop}' sh \"$1\" \"$2\"") } else { stop.into() };
        let leash = Leash::new(&stop, &[bin.as_os_str(), folder.as_os_str()]);
        let initdb = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        output(as_postgres(bin.join("initdb")).args(initdb).arg(&data));
        // Another process may take a port between the moment it is found free and the moment Postgres binds it.
        for _ in 0..5 {
            let port = free_port();
            let options = format!("-p {port} -k {} {SETTINGS}", folder.display());
            let mut start = as_postgres(bin.join("pg_ctl"));
            start.args(["start", "-s", "-w", "-o", &options, "-l"]).arg(folder.join("log")).arg("-D").arg(&data);
            if run(&mut start).is_ok() {
                return Self { bin, port, _leash: leash };
            }
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("the throw-away Postgres does not start; its log says:\n{log}");
    }
}

impl Leash {
    /// The script finds the arguments in `$1`, `$2` ….
    pub fn new(script: &str, arguments: &[&OsStr]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("cat >/dev/null; {script}"), "sh"]).args(arguments).current_dir("/");
        // A group of its own, so that an interrupt from the keyboard does not end it before its work is done.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().expect("sh can be started"))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // The script begins when its standard input ends.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The folder of the newest installed Postgres, as Debian lays it out, or wherever `initdb` is found.
fn binaries() -> PathBuf {
    let version =
        |folder: &PathBuf| folder.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.filter(|folder| folder.join("bin/initdb").exists()).max_by_key(version);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|folder| folder.join("bin"))
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()))
        .expect("these tests need Postgres: apt-get install postgresql (no cluster needs to run)")
}

/// A command that runs as `postgres` when the tests run as root, since Postgres refuses root.
fn as_postgres(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(if is_root() { Path::new("runuser") } else { program.as_ref() });
    if is_root() {
        command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    }
    // Whoever we become may not be allowed to stand where we stand.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| output(Command::new("id").arg("-u")) == "0")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface is free");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// What a command prints, once it has succeeded.
fn output(command: &mut Command) -> String {
    run(command).unwrap_or_else(|complaint| panic!("{complaint}"))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}
