//! A disk that fails at any call that writes, once or for a while: what cannot be stored is refused, what was
//! acknowledged stays, reads go on, and so does everything else as soon as the disk works again.
//!
//! In the suite every so many calls; `TALLYSTICK_TEST_FAULTS=all` fails each of them, once and for a while.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::support::books;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::faults::Disk;
use crate::support::faults::Error;
use crate::support::http::Reply;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::streams;
use crate::support::streams::Counted;
use crate::support::streams::Stream;

/// Bodies of the workload, and the one before which a price book is published.
const BODIES: u64 = 24;
const PUBLISH_BEFORE: u64 = 12;
/// Faults that are tried in the suite.
const FAULTS: u64 = 24;
/// Within this it works again.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// For how long the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    /// One call.
    Once,
    /// From then on, until something was refused.
    Refused,
    /// From then on, until the server was killed after something was refused.
    Killed,
}

/// A server on a disk that fails, and what it has to know.
struct Workload {
    server: Server,
    disk: Disk,
    stream: Stream,
    fails: While,
    /// A body that was refused before a kill: it may have been stored.
    doubtful: bool,
    refusals: u32,
}

#[test]
fn a_disk_that_fails_at_any_call_loses_nothing() {
    let Some(calls) = Workload::new(While::Once).map(Workload::calls) else { return };
    assert!(calls > 100, "the calls are counted: {calls}");
    let all = std::env::var("TALLYSTICK_TEST_FAULTS").is_ok_and(|which| which == "all");
    let whiles = [While::Once, While::Refused, While::Killed];
    let errors = [Error::Io, Error::Full, Error::Short];
    let mut random = Random::from_environment();
    let began = Instant::now();
    let (mut tried, mut refusals) = (0, 0);
    // Some more than were counted, since a few calls are a matter of timing.
    let every: Vec<u64> = match all {
        true => (1..=calls + 5).collect(),
        false => (0..FAULTS).map(|part| 1 + part * calls / FAULTS + random.below(calls / FAULTS)).collect(),
    };
    for (number, call) in every.into_iter().enumerate() {
        let whiles = if all { whiles.as_slice() } else { &whiles[number % 3..][..1] };
        for (other, fails) in whiles.iter().enumerate() {
            refusals += try_fault(call, *fails, errors[(number / 3 + number + other) % 3]);
            tried += 1;
        }
    }
    println!("faults: {tried} at {calls} calls, {refusals} refusals, {:.0} s", began.elapsed().as_secs_f64());
    assert!(refusals > 0, "faults refuse something");
}

fn try_fault(call: u64, fails: While, error: Error) -> u32 {
    let mut workload = Workload::new(fails).expect("a C compiler");
    workload.disk.fail(call, if fails == While::Once { call } else { u64::MAX }, error);
    println!("call {call}: {error:?}, {fails:?}");
    workload.run();
    workload.finish()
}

#[test]
fn a_disk_that_can_only_be_read_refuses_events_and_reads_on() {
    let Some(mut workload) = Workload::new(While::Refused) else { return };
    workload.start();
    for _ in 0..5 {
        workload.body();
    }
    workload.disk.fail_all(Error::ReadOnly);
    let Workload { server, stream, .. } = &mut workload;
    for _ in 0..3 {
        assert_eq!(server.events(&stream.body(stream.next).text).problem(503)["code"], "store_unavailable");
        assert_eq!(streams::counted(server, std::slice::from_ref(stream)), [stream.counted]);
        for page in ["/v1/pricing/versions", "/v1/consumers", "/docs", "/metrics", "/v1/ledger/accounts"] {
            assert_eq!(server.get(page).status, 200, "{page}");
        }
        let consumer = json!({ "name": "K", "currency": "USD" });
        assert_eq!(server.put("/v1/consumers/K0", &consumer).problem(503)["code"], "store_unavailable");
    }
    let (status, said) = server.stop();
    assert!(said.contains("read") || status.success(), "{status}: {said}");
    server.try_start().expect_err("nothing can be opened to be written");
    workload.disk.mend();
    workload.start();
    workload.finish();
}

impl Workload {
    fn new(fails: While) -> Option<Self> {
        let data = Data::new(Engine::Sqlite);
        let disk = Disk::new(data.folder())?;
        // Tables of 56 entries.
        let arguments = ["--seen-memory", "0"];
        let server = Server::prepared(data, &books::flights(), &arguments, disk.environment());
        let stream = Stream::new(&Random::seeded(7), 0);
        Some(Self { server, disk, stream, fails, doubtful: false, refusals: 0 })
    }

    /// How many calls the workload makes.
    fn calls(mut self) -> u64 {
        self.run();
        let calls = self.disk.calls();
        self.finish();
        calls
    }

    /// Start, bodies, a price book, bodies, stop.
    fn run(&mut self) {
        self.start();
        for number in 0..BODIES {
            if number == PUBLISH_BEFORE {
                self.publish();
            }
            self.body();
        }
        self.assert_counted();
        self.stop();
    }

    /// A server that cannot be started says why, and starts as soon as it can.
    fn start(&mut self) {
        if let Err((status, said)) = self.server.try_start() {
            assert!(matches!(status.code(), Some(1 | 3)), "{status}: {said}");
            assert!(said.contains("tallystick: "), "{said}");
            self.assert_failed(&said);
            self.refusals += 1;
            self.disk.mend();
            self.server.start_again();
        }
    }

    fn body(&mut self) {
        let before = self.stream.next;
        self.until_done(|server, stream| stream.send_next(server).expect("an answer, in time"));
        assert_eq!(self.stream.next, before + 1);
    }

    fn publish(&mut self) {
        let mut files = books::files(&books::flights());
        let meter = "[[meter]]\nid = \"far\"\nevent_type = \"flight.completed\"\naggregation = \"count\"\n";
        files.insert("meters/far.toml".to_owned(), meter.to_owned());
        let book = json!({ "files": files });
        self.until_done(|server, _| server.post("/v1/pricing/versions", &book));
    }

    /// Tries until it is answered with 200; it may be refused only while the disk fails, or failed a moment ago.
    fn until_done(&mut self, attempt: impl Fn(&Server, &mut Stream) -> Reply) {
        let mut mended = (self.fails == While::Once).then(Instant::now);
        loop {
            let sent = Instant::now();
            let reply = attempt(&self.server, &mut self.stream);
            assert!(sent.elapsed() < AGAIN_WITHIN, "an answer after {:?}: {}", sent.elapsed(), reply.text());
            if reply.status == 200 {
                return;
            }
            assert_eq!(reply.problem(503)["code"], "store_unavailable", "{}", reply.text());
            self.assert_failed(&reply.text());
            self.refusals += 1;
            self.assert_counted();
            match mended {
                Some(since) => assert!(since.elapsed() < AGAIN_WITHIN, "it does not go on: {}", reply.text()),
                None => {
                    mended = Some(Instant::now());
                    if self.fails == While::Killed {
                        self.server.kill();
                        self.disk.mend();
                        self.server.start_again();
                        self.doubtful = self.stream.in_flight;
                        self.assert_counted();
                    }
                    self.disk.mend();
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// If the end fails, it says so, and the next start has a little more to read.
    fn stop(&mut self) {
        let (status, said) = self.server.stop();
        if !status.success() {
            assert!(said.contains("tallystick: "), "{status}: {said}");
            self.assert_failed(&said);
            self.refusals += 1;
        }
        self.disk.mend();
    }

    /// What is left, on a disk that works.
    fn finish(mut self) -> u32 {
        let (failed, first) = self.disk.failed();
        println!("  {failed} calls failed, the first was {first}; {} refusals", self.refusals);
        self.server.set_environment(Vec::new());
        if self.server.is_running() {
            self.stop();
        }
        self.server.start_again();
        self.assert_counted();
        for number in 0..self.stream.next {
            let body = self.stream.body(number);
            let answer = streams::send(&self.server, &body.text).expect("an answer").ok();
            let found = json!([answer["accepted"], answer["duplicates"], answer["conflicts"]]);
            assert_eq!(found, json!([0, body.good, []]), "body {number}, again");
        }
        self.assert_counted();
        let (status, said) = self.server.stop();
        assert!(status.success(), "{said}");
        let verified = self.server.data.run(&["verify", "--json"]);
        assert_eq!(verified.json()["differences"], json!([]));
        self.refusals
    }

    /// What was acknowledged is counted, and nothing else.
    #[track_caller]
    fn assert_counted(&mut self) {
        let counted = streams::counted(&self.server, std::slice::from_ref(&self.stream))[0];
        let maybe = if self.doubtful { self.stream.body(self.stream.next).counted } else { Counted::default() };
        self.doubtful = false;
        assert!(
            counted == self.stream.counted || counted == self.stream.counted + maybe,
            "{counted:?} is counted, {:?} acknowledged, {:?} failed",
            self.stream.counted,
            self.disk.failed()
        );
    }

    #[track_caller]
    fn assert_failed(&self, said: &str) {
        assert!(self.disk.failed().0 > 0, "the disk works: {said}");
    }
}
