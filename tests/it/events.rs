//! Events in every form that CloudEvents has, taken once each whatever is repeated.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::server::Server;

crate::support::both_engines!(
    every_mode_and_encoding_takes_events,
    a_repeated_event_counts_once_and_a_changed_one_is_named,
    a_body_with_one_bad_event_is_refused_whole_or_the_bad_one_is_set_aside,
    an_event_without_time_happened_when_it_was_received,
    only_what_passes_the_tests_of_a_meter_counts,
    bodies_that_overlap_and_arrive_together_count_once,
    a_stored_event_can_be_read_back,
);

const SINGLE: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=utf-8");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn flight(id: &str, miles: i64) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "flight.completed", "subject": "UA",
        "time": "2013-01-15T12:00:00Z",
        "data": { "origin": "EWR", "distance": miles, "dep_delay": 0, "arr_delay": -1 },
    })
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn receipt(accepted: u64, duplicates: u64, conflicts: &[u64]) -> Value {
    json!({ "accepted": accepted, "duplicates": duplicates, "conflicts": conflicts, "rejected": [] })
}

/// What the server says was used of a meter by everybody, ever.
fn used(client: &Client, meter: &str) -> i64 {
    let answer = client.get(&format!("/v1/usage?meter={meter}&from=1990-01-01&to=2100-01-01&window=total")).ok();
    let rows = answer["data"].as_array().expect("rows");
    rows.iter().map(|row| row["value"].as_str().and_then(|text| text.parse::<i64>().ok()).expect("a number")).sum()
}

fn every_mode_and_encoding_takes_events(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let taken = |headers: &[(&str, &str)], body: &[u8], accepted| {
        let answer = server.send("POST", "/v1/events", headers, body).ok();
        assert_eq!(answer, receipt(accepted, 0, &[]), "{headers:?}");
    };
    taken(&[SINGLE], flight("single", 1).to_string().as_bytes(), 1);
    taken(&[SINGLE], serde_json::to_string_pretty(&flight("single on many lines", 2)).expect("JSON").as_bytes(), 1);
    taken(&[BATCH], json!([flight("batch 1", 4), flight("batch 2", 8)]).to_string().as_bytes(), 2);
    taken(&[NDJSON], format!("\n{}\r\n\n", lines(&[flight("line 1", 16), flight("line 2", 32)])).as_bytes(), 2);
    let attributes = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "binary"),
        ("ce-source", "/tests"),
        ("ce-type", "flight.completed"),
        ("ce-subject", "UA"),
        ("ce-time", "2013-01-15T12:00:00Z"),
    ];
    taken(&attributes, br#"{ "origin": "JFK", "distance": 64 }"#, 1);

    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines(&[flight("gzip", 128)]).as_bytes()).expect("memory");
    taken(&[NDJSON, ("content-encoding", "gzip")], &gzip.finish().expect("memory"), 1);
    let zstd = zstd::encode_all(json!([flight("zstd", 256)]).to_string().as_bytes(), 1).expect("memory");
    taken(&[BATCH, ("content-encoding", "zstd")], &zstd, 1);

    assert_eq!(used(&server, "miles"), 511, "each has its own power of two");
    assert_eq!(used(&server, "longest_miles"), 256);
}

fn a_repeated_event_counts_once_and_a_changed_one_is_named(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    let take = |server: &Server, events: &[Value]| server.events(&lines(events)).ok();

    // Within one body, and in the next.
    assert_eq!(take(&server, &[flight("a", 100), flight("a", 100), flight("b", 10)]), receipt(2, 1, &[]));
    assert_eq!(take(&server, &[flight("c", 1), flight("b", 10)]), receipt(1, 1, &[]));
    // One that says something else: the first stands.
    assert_eq!(take(&server, &[flight("d", 1000), flight("a", 101), flight("d", 1001)]), receipt(1, 2, &[1, 2]));
    // The same values in another order and with other spacing say the same.
    let again = r#" {"data":{"arr_delay":-1,  "dep_delay":0,"distance":100,"origin":"EWR"}, "time":"2013-01-15T12:00:00Z",
        "subject":"UA","type":"flight.completed","source":"/tests","id":"a","specversion":"1.0"}"#;
    assert_eq!(server.send("POST", "/v1/events", &[SINGLE], again.as_bytes()).ok(), receipt(0, 1, &[]));
    // The same id of another source is another event.
    let mut elsewhere = flight("a", 10_000);
    elsewhere["source"] = json!("/elsewhere");
    assert_eq!(take(&server, &[elsewhere]), receipt(1, 0, &[]));
    assert_eq!(used(&server, "miles"), 11_111);

    // All of it is still known after an end without warning.
    server.kill();
    server.start_again();
    assert_eq!(take(&server, &[flight("a", 100), flight("d", 1001)]), receipt(0, 2, &[1]));
    assert_eq!(used(&server, "miles"), 11_111);
}

fn a_body_with_one_bad_event_is_refused_whole_or_the_bad_one_is_set_aside(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let mut bad = flight("bad", 0);
    bad["data"]["distance"] = json!("far");
    let body = lines(&[flight("first", 1), bad, flight("last", 2)]);

    let problem = server.events(&body).problem(422);
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{problem}");
    assert_eq!(problem["errors"][0]["at"], "/1/data/distance");
    assert_eq!(used(&server, "flights"), 0);

    let answer = server.send("POST", "/v1/events?invalid=quarantine", &[NDJSON], body.as_bytes()).ok();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(2), &json!(0)));
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["rejected"][0]["at"], "/1/data/distance");
    assert_eq!(answer["rejected"][0]["code"], "not_a_number");
    assert_eq!(used(&server, "miles"), 3);

    // What was set aside was never taken: mended, it is new.
    assert_eq!(server.events(&lines(&[flight("bad", 4)])).ok(), receipt(1, 0, &[]));
    assert_eq!(used(&server, "miles"), 7);
}

fn an_event_without_time_happened_when_it_was_received(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let hours = "/v1/usage?meter=miles&from=2020-01-01&to=2100-01-01&window=hour";
    let before = server.get(hours).ok();
    let mut timeless = flight("timeless", 7);
    timeless.as_object_mut().expect("an object").remove("time");
    assert_eq!(server.events(&lines(&[timeless.clone()])).ok(), receipt(1, 0, &[]));
    let after = server.get(hours).ok();

    let rows = after["data"].as_array().expect("rows");
    assert!(rows.len() == 1 && rows[0]["value"] == "7", "{rows:?}");
    // RFC 3339 in UTC: the hour is the first 13 characters, and texts sort as times do.
    let hour = |time: &Value| time.as_str().expect("a time")[..13].to_owned();
    let counted = hour(&rows[0]["from"]);
    assert!(hour(&before["as_of"]) <= counted && counted <= hour(&after["as_of"]), "{after}");
    // Sent again, later: still the same event.
    assert_eq!(server.events(&lines(&[timeless])).ok(), receipt(0, 1, &[]));
}

fn only_what_passes_the_tests_of_a_meter_counts(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let delays = [json!(null), json!(-5), json!(0), json!("0"), json!(0.5), json!(1), json!("early")];
    let mut events: Vec<Value> = Vec::new();
    for (number, delay) in delays.iter().enumerate() {
        let mut event = flight(&format!("delay {number}"), 100);
        event["data"]["arr_delay"] = delay.clone();
        events.push(event);
    }
    let mut unknown = flight("no delay", 100);
    unknown["data"].as_object_mut().expect("an object").remove("arr_delay");
    events.push(unknown);
    assert_eq!(server.events(&lines(&events)).ok(), receipt(8, 0, &[]));
    assert_eq!(used(&server, "flights"), 8);
    assert_eq!(used(&server, "on_time"), 3, "-5, 0 and \"0\" are at most 0; null, missing and text are not");
}

fn bodies_that_overlap_and_arrive_together_count_once(engine: Engine) {
    const SENDERS: usize = 6;
    let server = Server::start(engine, &books::flights());
    // Each sender sends 300 events, of which the next one sends 200 as well.
    let sent = |sender: usize| (sender * 100..sender * 100 + 300).map(|number| flight(&format!("{number}"), 1));
    let accepted: u64 = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let client = &*server;
                scope.spawn(move || {
                    let events: Vec<Value> = sent(sender).collect();
                    let answers = events.chunks(50).map(|events| client.events(&lines(events)).ok());
                    answers.map(|answer| answer["accepted"].as_u64().expect("a count")).sum::<u64>()
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("every body is taken")).sum()
    });
    assert_eq!(accepted, 800, "0 to 799, each accepted from one sender only");
    assert_eq!(used(&server, "miles"), 800);
}

fn a_stored_event_can_be_read_back(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let event = flight("UA 1/2013", 1400);
    server.events(&event.to_string()).ok();
    let stored = server.get("/v1/events/%2Ftests/UA%201%2F2013").ok();
    assert_eq!(stored["event"], event);
    server.get("/v1/events/%2Ftests/UA%202").problem(404);
}
