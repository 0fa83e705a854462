//! Too much, too slow, too long, and a disk that is full: each is refused with its reason, costs nobody else anything,
//! and leaves nothing behind.

use std::io::Read;
use std::time::Duration;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::books;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::raw::Raw;
use crate::support::server::Server;

fn start(limits: &[&str]) -> Server {
    Server::start_with(Data::new(Engine::Sqlite), &books::flights(), limits)
}

fn event(id: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/tests","type":"flight.completed","subject":"UA","time":"2013-01-15T12:00:00Z","data":{{"origin":"EWR","distance":100,"dep_delay":0,"arr_delay":-1}}}}"#
    )
}

/// `count` events, a line each.
fn events(run: &str, count: usize) -> String {
    (0..count).map(|number| event(&format!("{run} {number}")) + "\n").collect()
}

/// A good body that is a little longer than this many bytes.
fn body_of(run: &str, bytes: usize) -> Vec<u8> {
    let events = events(run, bytes / event(run).len() + 1);
    assert!(events.len() >= bytes);
    events.into_bytes()
}

/// How many events are counted.
fn counted(server: &Server) -> u64 {
    let usage = server.get("/v1/usage?meter=flights&from=1970-01-01&to=3000-01-01&window=total").ok();
    let rows = usage["data"].as_array().expect("rows").iter();
    rows.map(|row| row["value"].as_str().and_then(|value| value.parse::<u64>().ok()).expect("a whole number")).sum()
}

/// A number that `/metrics` shows.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a whole number")
}

/// Waits until a metric has a value, since connections end a little after their clients have gone.
#[track_caller]
fn wait_for(server: &Server, name: &str, value: u64) {
    let begin = Instant::now();
    while metric(server, name) != value {
        assert!(begin.elapsed() < Duration::from_secs(10), "{name} stays {}", metric(server, name));
        std::thread::sleep(Duration::from_millis(20));
    }
}

const MEMORY: &str = "tallystick_ingest_memory_bytes";
const CONNECTIONS: &str = "tallystick_connections_open";

#[test]
fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let server = start(&["--header-timeout", "1"]);
    let begin = Instant::now();
    let mut slow: Vec<Raw> = (0..50).map(|_| Raw::open(server.url())).collect();
    for raw in &mut slow {
        raw.send(b"POST /v1/events HTTP/1.1\r\nx-slow: ");
    }
    let mut quick = Raw::open(server.url());
    quick.send(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(quick.answer().status, 200);
    // A byte now and then does not help: the whole head has its time.
    while !slow.is_empty() {
        slow.retain_mut(|raw| raw.try_send(b"x"));
        assert!(begin.elapsed() < Duration::from_secs(5), "slow heads are waited for");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begin.elapsed() > Duration::from_millis(900), "they had their second");
    quick.events(event("good").as_bytes());
    assert_eq!(quick.answer().status, 200, "who only idles may go on");
    quick.send(b"GET /healthz HTTP/1.1\r\n");
    quick.wait_for_end();
    assert_eq!(counted(&server), 1);
}

#[test]
fn a_connection_that_idles_too_long_is_closed_and_one_that_works_is_not() {
    let server = start(&["--idle-timeout", "1"]);
    let mut silent = Raw::open(server.url());
    let mut idle = Raw::open(server.url());
    let mut busy = Raw::open(server.url());
    let body = events("busy", 5);
    busy.begin(&format!("content-length: {}\r\n", body.len()), b"");
    idle.send(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    let begin = Instant::now();
    idle.wait_for_end();
    silent.wait_for_end();
    assert!((900..5000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    busy.send(body.as_bytes());
    assert_eq!(busy.answer().status, 200);
}

#[test]
fn a_body_that_pauses_too_long_is_answered_and_forgotten() {
    let server = start(&["--body-timeout", "1"]);
    let mut raw = Raw::open(server.url());
    raw.begin("content-length: 100000\r\n", events("pause", 100).as_bytes());
    let answer = raw.answer();
    assert!(answer.problem(408, "body_timeout")["detail"].as_str().is_some_and(|text| text.contains("1 s")));
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    raw.wait_for_end();
    assert_eq!((counted(&server), metric(&server, MEMORY)), (0, 0));

    // Slow, but without such a pause.
    let mut raw = Raw::open(server.url());
    let body = events("slow", 3);
    raw.begin(&format!("content-length: {}\r\n", body.len()), b"");
    for piece in body.as_bytes().chunks(body.len() / 4) {
        std::thread::sleep(Duration::from_millis(400));
        raw.send(piece);
    }
    assert_eq!(raw.answer().status, 200);
    assert_eq!(counted(&server), 3);
}

#[test]
fn a_body_that_breaks_off_counts_nothing_and_keeps_nothing() {
    let server = start(&[]);
    // All events but the last are whole, and still none of them is taken.
    let body = body_of("half", 1 << 20);
    let half = &body[..body.len() / 2];
    let mut raw = Raw::open(server.url());
    raw.begin(&format!("content-length: {}\r\n", body.len()), half);
    raw.end();
    raw.answer().problem(400, "body_cut_off");
    raw.wait_for_end();
    let mut chunked = Raw::open(server.url());
    chunked.begin("transfer-encoding: chunked\r\n", format!("{:x}\r\n", half.len()).as_bytes());
    chunked.send(half);
    chunked.end();
    chunked.answer().problem(400, "body_cut_off");
    drop((raw, chunked));

    let mut gone: Vec<Raw> = (0..20).map(|_| Raw::open(server.url())).collect();
    for raw in &mut gone {
        raw.begin(&format!("content-length: {}\r\n", body.len()), half);
    }
    drop(gone);
    wait_for(&server, MEMORY, 0);
    assert_eq!(counted(&server), 0);
    assert_eq!(server.events(&String::from_utf8(body).expect("text")).status, 200);
}

#[test]
fn a_body_over_a_limit_is_refused_before_it_is_read_to_its_end() {
    let server =
        start(&["--max-body", "100KiB", "--max-decoded", "1MiB", "--max-batch", "1000", "--body-timeout", "5"]);
    let long = body_of("long", 200 << 10);

    // Announced: refused without a byte of it.
    let mut raw = Raw::open(server.url());
    raw.begin("content-length: 204800\r\n", b"");
    let answer = raw.answer();
    let problem = answer.problem(413, "body_too_large");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("102400")), "{problem}");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    raw.wait_for_end();
    // An honest client that sends all of it hears why.
    assert_eq!(server.send("POST", "/v1/events", &[("content-type", "application/x-ndjson")], &long).status, 413);

    // Not announced: refused where the limit is passed.
    let mut chunked = Raw::open(server.url());
    chunked.begin("transfer-encoding: chunked\r\n", format!("{:x}\r\n", long.len()).as_bytes());
    chunked.send(&long);
    chunked.answer().problem(413, "body_too_large");

    // Small, and large once decompressed.
    let spaces = |bytes| std::io::repeat(b' ').take(bytes);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut spaces(50 << 20), &mut gzip).expect("memory");
    let bombs =
        [("gzip", gzip.finish().expect("memory")), ("zstd", zstd::encode_all(spaces(1 << 30), 1).expect("memory"))];
    for (encoding, bomb) in bombs {
        assert!(bomb.len() < 100 << 10, "{}", bomb.len());
        let headers = [("content-type", "application/x-ndjson"), ("content-encoding", encoding)];
        let problem = server.send("POST", "/v1/events", &headers, &bomb).problem(413);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("decompressed")), "{problem}");
    }

    // Too many, in every layout.
    let many: Vec<serde_json::Value> =
        (0..1001).map(|number| serde_json::from_str(&event(&format!("many {number}"))).expect("JSON")).collect();
    let lines = events("many", 1001);
    let batch = json!(many).to_string();
    for (kind, body) in [("application/x-ndjson", &lines), ("application/cloudevents-batch+json", &batch)] {
        let small = zstd::encode_all(body.as_bytes(), 1).expect("memory");
        let headers = [("content-type", kind), ("content-encoding", "zstd")];
        let problem = server.send("POST", "/v1/events", &headers, &small).problem(413);
        assert_eq!(problem["code"], "too_many_events");
        let (detail, fix) = (problem["detail"].as_str().expect("text"), problem["fix"].as_str().expect("text"));
        assert!(detail.contains("1001") && detail.contains("1000"), "{detail}");
        assert!(fix.contains("--max-batch"), "{fix}");
    }
    assert_eq!((counted(&server), metric(&server, MEMORY)), (0, 0));
    let exactly = zstd::encode_all(json!(many[1..]).to_string().as_bytes(), 1).expect("memory");
    let headers = [("content-type", "application/cloudevents-batch+json"), ("content-encoding", "zstd")];
    assert_eq!(server.send("POST", "/v1/events", &headers, &exactly).ok()["accepted"], 1000);
}

#[test]
fn large_bodies_sent_by_halves_keep_out_large_ones_only_and_only_while_they_last() {
    let server = start(&["--ingest-memory", "1MiB"]);
    let body = body_of("large", 400 << 10);
    let half = &body[..300 << 10];
    let mut halves: Vec<Raw> = (0..2).map(|_| Raw::open(server.url())).collect();
    for raw in &mut halves {
        raw.begin(&format!("content-length: {}\r\n", body.len()), half);
    }
    let begin = Instant::now();
    while metric(&server, MEMORY) < 600 << 10 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", metric(&server, MEMORY));
        std::thread::sleep(Duration::from_millis(20));
    }

    // What was announced is refused at once, without a byte of it.
    let mut raw = Raw::open(server.url());
    raw.begin(&format!("content-length: {}\r\n", body.len()), b"");
    let answer = raw.answer();
    answer.problem(429, "busy");
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    // What was not, once it needs more than there is.
    let mut chunked = Raw::open(server.url());
    chunked.begin("transfer-encoding: chunked\r\n", format!("{:x}\r\n", body.len()).as_bytes());
    chunked.send(&body);
    chunked.answer().problem(429, "busy");
    // Single events go on, from the part that only small bodies get.
    for number in 0..10 {
        assert_eq!(server.events(&event(&format!("small {number}"))).ok()["accepted"], 1);
    }
    // The first two are finished as if nothing had been.
    halves[0].send(&body[half.len()..]);
    assert_eq!(halves[0].answer().status, 200);
    drop(halves);
    wait_for(&server, MEMORY, 0);
    assert_eq!(server.events(&String::from_utf8(body_of("later", 400 << 10)).expect("text")).status, 200);

    // What can never fit is too large, and not to be sent again.
    let never = body_of("never", 1 << 20);
    assert_eq!(server.send("POST", "/v1/events", &[("content-type", "application/x-ndjson")], &never).status, 413);
}

#[test]
fn a_connection_goes_on_after_an_error_wherever_the_body_was_read() {
    let server = start(&[]);
    let mut raw = Raw::open(server.url());
    raw.events(b"nonsense\n");
    raw.answer().problem(422, "invalid_events");
    raw.begin("content-encoding: br\r\ncontent-length: 3\r\n", b"abc");
    raw.answer().problem(415, "unsupported_encoding");
    raw.send(b"POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc");
    raw.answer().problem(401, "unauthorized");
    raw.send(b"GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n");
    raw.answer().problem(404, "unknown_address");
    // Two at once, answered in their order.
    let (first, second) = (events("first", 2), events("second", 3));
    raw.events(first.as_bytes());
    raw.events(second.as_bytes());
    assert!(String::from_utf8_lossy(&raw.answer().body).contains("\"accepted\":2"));
    assert!(String::from_utf8_lossy(&raw.answer().body).contains("\"accepted\":3"));
    assert_eq!(metric(&server, "tallystick_connections_total"), 2, "this one, and the one that asks");
}

#[test]
fn an_answer_that_nobody_fetches_is_given_up() {
    let server = start(&["--body-timeout", "1"]);
    let mut raw = Raw::open(server.url());
    // Answers of megabytes, until the system keeps no more of them.
    for _ in 0..2000 {
        raw.send(b"GET /docs HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    wait_for(&server, CONNECTIONS, 1);
}

#[test]
fn more_connections_than_there_may_be_wait_their_turn() {
    let server = start(&["--max-connections", "3"]);
    let ask = |raw: &mut Raw| raw.send(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut open: Vec<Raw> = (0..3).map(|_| Raw::open(server.url())).collect();
    for raw in &mut open {
        ask(raw);
        assert_eq!(raw.answer().status, 200);
    }
    let mut waiting = Raw::open(server.url());
    ask(&mut waiting);
    std::thread::sleep(Duration::from_millis(200));
    for raw in &mut open {
        ask(raw);
        assert_eq!(raw.answer().status, 200, "those that are open go on");
    }
    open.pop();
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn a_server_that_is_told_to_stop_finishes_what_is_under_way() {
    let mut server = start(&[]);
    let body = events("late", 10);
    let mut idle = Raw::open(server.url());
    idle.send(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    let mut raw = Raw::open(server.url());
    raw.begin(&format!("content-length: {}\r\n", body.len()), &body.as_bytes()[..500]);
    wait_for(&server, MEMORY, u64::try_from(body.len()).expect("fits"));
    let finish = std::thread::spawn(move || {
        // It is told to stop meanwhile, which ends what is idle.
        idle.wait_for_end();
        raw.send(&body.as_bytes()[500..]);
        let answer = raw.answer();
        raw.wait_for_end();
        answer
    });
    let stopped = Instant::now();
    let (status, said) = server.stop();
    assert!(status.success(), "{said}");
    assert!(stopped.elapsed() < Duration::from_secs(10), "it does not wait for those that are idle");
    assert_eq!(finish.join().expect("is answered").status, 200);
    server.start_again();
    assert_eq!(counted(&server), 10);
}

#[test]
fn a_full_disk_refuses_events_reads_on_and_forgets_nothing() {
    let mut server = start(&[]);
    assert_eq!(server.events(&events("before", 5)).ok()["accepted"], 5);
    server.limit_files(Some(4096));
    for run in 0..3 {
        let mut raw = Raw::open(server.url());
        raw.events(events("full", 5).as_bytes());
        let answer = raw.answer();
        answer.problem(503, "store_unavailable");
        assert!(answer.head.contains("retry-after: "), "{run}: {}", answer.head);
        assert_eq!(counted(&server), 5, "what was there before is still read");
    }
    server.limit_files(None);
    let answer = server.events(&(events("full", 5) + &events("after", 5))).ok();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(10), &json!(0)), "{answer}");
    assert_eq!(counted(&server), 15);
    let (status, said) = server.stop();
    assert!(status.success(), "{said}");
    server.start_again();
    assert_eq!(counted(&server), 15);
    assert_eq!(server.events(&events("full", 5)).ok()["duplicates"], 5);
}

#[test]
fn the_server_tells_prometheus_what_it_does_if_prometheus_has_a_key() {
    let server = start(&[]);
    server.client(None).get("/metrics").problem(401);
    let ingest = server.cli(&["key", "create", "--role", "ingest", "--json"]).json();
    server.client(ingest["secret"].as_str()).get("/metrics").problem(403);

    server.events(&events("a", 3)).ok();
    server.events(&(events("a", 3) + &event("b"))).ok();
    server.events(&event("a 0").replace("100", "200")).ok();
    server.events("nonsense").problem(422);
    for (name, value) in [
        ("tallystick_events_total{outcome=\"accepted\"}", 4),
        ("tallystick_events_total{outcome=\"duplicate\"}", 4),
        ("tallystick_events_total{outcome=\"rejected\"}", 1),
        ("tallystick_event_conflicts_total", 1),
        ("tallystick_events_known", 4),
        ("tallystick_event_bodies_total{status=\"200\"}", 3),
        ("tallystick_event_bodies_total{status=\"422\"}", 1),
        ("tallystick_event_body_seconds_count", 4),
        ("tallystick_event_body_seconds_bucket{le=\"+Inf\"}", 4),
        (MEMORY, 0),
    ] {
        assert_eq!(metric(&server, name), value, "{name}");
    }
    assert!(metric(&server, "tallystick_event_body_bytes_total") > 1000);
}
