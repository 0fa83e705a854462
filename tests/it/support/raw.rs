//! HTTP byte by byte, for clients that do not behave: slow ones, rude ones, and those that break off.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::server::OPERATOR_KEY;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server, with the operator's key at hand.
pub struct Raw {
    stream: TcpStream,
    /// Read, and not yet looked at.
    rest: Vec<u8>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self { stream, rest: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// As [`Raw::send`], for a server that may have hung up. Says whether it has not.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends the head of a body of events, with more header lines, and the beginning of the body.
    #[track_caller]
    pub fn begin(&mut self, headers: &str, body: &[u8]) {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {OPERATOR_KEY}\r\n\
             content-type: application/x-ndjson\r\n{headers}\r\n"
        );
        self.send(&[head.as_bytes(), body].concat());
    }

    /// Sends a whole body of events.
    #[track_caller]
    pub fn events(&mut self, body: &[u8]) {
        self.begin(&format!("content-length: {}\r\n", body.len()), body);
    }

    /// Says that nothing more will come.
    pub fn end(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection that is open");
    }

    /// The next answer. Panics if there is none.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let head = loop {
            match self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break self.rest.drain(..end + 4).collect::<Vec<u8>>(),
                None => assert!(self.read_more(), "no answer: {}", String::from_utf8_lossy(&self.rest)),
            }
        };
        let head = String::from_utf8(head).expect("a head is text").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        while self.rest.len() < length {
            assert!(self.read_more(), "the answer breaks off: {head}");
        }
        Answer { status, head, body: self.rest.drain(..length).collect() }
    }

    /// Waits until the server hangs up; whatever it still says is thrown away.
    pub fn wait_for_end(&mut self) {
        while self.read_more() {}
    }

    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.rest.extend(&bytes[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("the server neither answers nor hangs up: {error}"),
        }
    }
}

impl Answer {
    /// The problem of an answer with this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        for said in ["detail", "fix"] {
            assert!(problem[said].as_str().is_some_and(|text| !text.is_empty()), "{said}: {problem}");
        }
        problem
    }
}
