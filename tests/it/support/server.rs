//! A running `tallystick serve`: started on a free port, stopped or killed, and started again on the same data.

use std::io::BufRead;
use std::io::BufReader;
use std::ops::Deref;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::data::Ran;
use crate::support::data::run;
use crate::support::data::tallystick;
use crate::support::http::Client;
use crate::support::postgres::Leash;

/// The key that every test server's operator has.
pub const OPERATOR_KEY: &str = "tsk_the-operator-of-the-tests-0123456789";

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Talks as the operator when it is used as a [`Client`].
pub struct Server {
    pub data: Data,
    settings: Settings,
    running: Option<Running>,
    client: Client,
}

/// How it is started.
struct Settings {
    book: PathBuf,
    /// Arguments besides those that all servers have.
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    /// Whether the operator's key is ours, and not one that the server makes.
    own_key: bool,
}

struct Running {
    child: Child,
    url: String,
    /// Everything it has printed, both ways.
    said: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
    /// Kills the server, at the latest when the test process ends.
    leash: Leash,
}

impl Server {
    /// Starts a server on new data.
    pub fn start(engine: Engine, book: &Path) -> Self {
        Self::start_with(Data::new(engine), book, &[])
    }

    /// Starts a server on this data, with more arguments.
    pub fn start_with(data: Data, book: &Path, extra: &[&str]) -> Self {
        let mut server = Self::prepared(data, book, extra, Vec::new());
        server.start_again();
        server
    }

    /// Starts a server that is not told an operator's key, so that it makes one.
    pub fn start_without_key(data: Data, book: &Path) -> Self {
        let mut server = Self::prepared(data, book, &[], Vec::new());
        server.settings.own_key = false;
        server.start_again();
        server
    }

    /// A server that does not run yet.
    pub fn prepared(data: Data, book: &Path, extra: &[&str], environment: Vec<(String, String)>) -> Self {
        let settings = Settings { book: book.to_owned(), extra: Vec::new(), environment, own_key: true };
        let mut server = Self { data, settings, running: None, client: Client::new("", None) };
        server.set_arguments(extra);
        server
    }

    /// Starts it again on the data that it left.
    pub fn start_again(&mut self) {
        self.try_start().unwrap_or_else(|(status, said)| panic!("the server ends with {status}; it said:\n{said}"));
    }

    /// As [`Server::start_again`]; if it ends before it is ready, how, and everything it has printed.
    pub fn try_start(&mut self) -> Result<(), (ExitStatus, String)> {
        assert!(self.running.is_none(), "it runs already");
        let running = Running::start(&self.data, &self.settings)?;
        self.client = Client::new(&running.url, Some(OPERATOR_KEY));
        self.running = Some(running);
        Ok(())
    }

    /// SIGKILL: no time to say anything, or to write anything down.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// Starts it on the data that it left, and kills it after this time, wherever it stands then.
    pub fn kill_while_starting(&self, after: Duration) {
        assert!(self.running.is_none(), "it runs already");
        let (running, _ready) = Running::spawn(&self.data, &self.settings);
        std::thread::sleep(after);
        running.kill();
    }

    /// Tells it to stop, and kills it after this time, wherever it stands then.
    pub fn kill_while_stopping(&mut self, after: Duration) {
        self.hang_up();
        let running = self.running.take().expect("it runs");
        terminate(&running.child);
        std::thread::sleep(after);
        running.kill();
    }

    /// The arguments with which it is started the next time, besides those that all servers have.
    pub fn set_arguments(&mut self, extra: &[&str]) {
        self.settings.extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// The environment in which it is started the next time, besides what all servers have in theirs.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.settings.environment = environment;
    }

    /// SIGTERM, and everything it has printed by its end.
    pub fn stop(&mut self) -> (ExitStatus, String) {
        self.hang_up();
        let running = self.running.take().expect("it runs");
        terminate(&running.child);
        running.ended()
    }

    /// Closes our own connections, which it would wait for a moment.
    fn hang_up(&mut self) {
        self.client = Client::new("", None);
    }

    /// Lets no file of the server grow beyond this many bytes: the next best thing to a full disk. `None` ends it.
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        let pid = self.running.as_ref().expect("it runs").child.id().to_string();
        let limit = bytes_max.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
        assert!(status.expect("prlimit can be run").success(), "the limit can be set");
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn url(&self) -> &str {
        &self.running.as_ref().expect("it runs").url
    }

    /// The API as somebody else sees it.
    pub fn client(&self, key: Option<&str>) -> Client {
        Client::new(self.url(), key)
    }

    /// Runs a command that talks to this server.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        self.cli_with_input(arguments, "")
    }

    pub fn cli_with_input(&self, arguments: &[&str], stdin: &str) -> Ran {
        let place = ["--server", self.url(), "--key", OPERATOR_KEY];
        run(arguments.iter().copied().chain(place), stdin)
    }
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // While a test fails, a second panic would hide the first.
        if let Some(running) = self.running.take().filter(|_| !std::thread::panicking()) {
            running.kill();
        }
    }
}

impl Running {
    fn start(data: &Data, settings: &Settings) -> Result<Self, (ExitStatus, String)> {
        let (mut running, ready) = Self::spawn(data, settings);
        match ready.recv_timeout(READY_WITHIN) {
            Ok(url) => running.url = url,
            Err(RecvTimeoutError::Disconnected) => return Err(running.ended()),
            Err(RecvTimeoutError::Timeout) => panic!("the server does not get ready; it said:\n{}", running.kill()),
        }
        Ok(running)
    }

    /// Starts it, and gives a receiver of its URL, for when it listens.
    fn spawn(data: &Data, settings: &Settings) -> (Self, mpsc::Receiver<String>) {
        let mut command = refused_by_a_full_disk(&tallystick());
        command
            .arg("serve")
            .args(data.arguments())
            .args(["--listen", "127.0.0.1:0", "--pricing"])
            .arg(&settings.book)
            .args(&settings.extra)
            .envs(settings.environment.iter().map(|(name, value)| (name, value)));
        if settings.own_key {
            command.env("TALLYSTICK_OPERATOR_KEY", OPERATOR_KEY);
        }
        command.current_dir(data.folder());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let leash = Leash::new(r#"kill -9 "$1""#, &[child.id().to_string().as_ref()]);
        let said = Arc::new(Mutex::new(String::new()));
        let (found, ready) = mpsc::channel();
        let listeners = vec![
            listen(child.stdout.take().expect("a pipe"), said.clone(), Some(found)),
            listen(child.stderr.take().expect("a pipe"), said.clone(), None),
        ];
        (Self { child, url: String::new(), said, listeners, leash }, ready)
    }

    /// Kills it, and returns everything it has printed.
    fn kill(mut self) -> String {
        self.child.kill().expect("a server can be killed");
        self.ended().1
    }

    /// Waits for its end; how it ended, and everything it has printed. Whatever a test does to a server, it never
    /// panics.
    fn ended(self) -> (ExitStatus, String) {
        let Self { mut child, said, listeners, leash, .. } = self;
        // Its pipes close when it ends. Its number is another process's to have only once it has been waited for, and
        // then nothing may kill that number any more: so the leash goes in between.
        for listener in listeners {
            listener.join().expect("a listener reads to the end");
        }
        drop(leash);
        let status = child.wait().expect("a server can be waited for");
        let said = text(&said);
        assert!(!said.contains("panicked at"), "the server panicked:\n{said}");
        (status, said)
    }
}

fn text(said: &Mutex<String>) -> String {
    said.lock().expect("nothing panics while it holds this").clone()
}

/// Collects what a pipe says, and passes on the URL in the line that says the server listens.
fn listen(
    pipe: impl std::io::Read + Send + 'static,
    said: Arc<Mutex<String>>,
    found: Option<mpsc::Sender<String>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let url = line.split_once("listening on ").and_then(|(_, rest)| rest.split_whitespace().next());
            if let (Some(url), Some(found)) = (url, &found) {
                let _ = found.send(url.to_owned());
            }
            let mut said = said.lock().expect("nothing panics while it holds this");
            said.push_str(&line);
            said.push('\n');
        }
    })
}

/// A command that is told when its files may not grow, as it would be by a full disk, and not ended for it.
fn refused_by_a_full_disk(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(command.get_program());
    for (name, _) in command.get_envs() {
        shell.env_remove(name);
    }
    shell
}

fn terminate(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill can be run");
    assert!(status.success(), "the server was gone before it was told to stop");
}
