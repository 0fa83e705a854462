//! A server that is killed in the middle of taking events in loses nothing, and counts nothing twice.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::flights;
use crate::support::flights::FLIGHTS;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::server::Server;

crate::support::both_engines!(ten_kills_in_the_middle_of_an_import_lose_nothing);

const KILLS: u64 = 10;
const BODY_EVENTS: usize = 250;

fn ten_kills_in_the_middle_of_an_import_lose_nothing(engine: Engine) {
    let mut random = Random::from_environment();
    let bodies: Vec<String> = flights::events().chunks(BODY_EVENTS).map(|events| events.join("\n")).collect();
    let mut server = Server::start(engine, &books::flights());
    // Bodies before this one were answered with 200.
    let mut acknowledged = 0;
    for kill in 1..=KILLS {
        let before = AtomicUsize::new(acknowledged);
        // After up to 25 more answers, and a moment that falls anywhere in the next one or two.
        let answers = acknowledged + usize::try_from(random.below(25)).expect("a small number");
        let moment = Duration::from_micros(random.below(20_000));
        let client = server.client(Some(crate::support::server::OPERATOR_KEY));
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| post_until_the_server_is_gone(&client, &bodies, &before));
            while before.load(Ordering::SeqCst) < answers && !posting.is_finished() {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(moment);
            server.kill();
        });
        acknowledged = before.into_inner();
        assert!(acknowledged < bodies.len(), "kill {kill} came after the import: it proves nothing");
        server.start_again();
        // A body is stored whole or not at all; the one that was not answered may be either.
        let stored = stored(&server);
        let (least, most) = (acknowledged * BODY_EVENTS, (acknowledged + 1) * BODY_EVENTS);
        assert!(stored == least || stored == most, "kill {kill}: {stored} stored, {least} acknowledged");
    }

    let answer = server.cli(&["events", "import", "--json", &flights::events_file()]).done();
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["accepted"].as_i64().zip(answer["duplicates"].as_i64()).map(|(a, d)| a + d), Some(FLIGHTS));
    assert_eq!(answer["conflicts"], 0);
    flights::assert_all_counted(&server);
    server.stop();
    server.data.run(&["verify"]).done();
}

fn post_until_the_server_is_gone(client: &Client, bodies: &[String], acknowledged: &AtomicUsize) {
    let ndjson = [("content-type", "application/x-ndjson")];
    for body in &bodies[acknowledged.load(Ordering::SeqCst)..] {
        match client.try_send("POST", "/v1/events", &ndjson, body.as_bytes()) {
            Ok(reply) => reply.ok(),
            Err(_) => return,
        };
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many events have been counted.
fn stored(client: &Client) -> usize {
    let answer = client.get("/v1/usage?meter=flights&from=2013-01-01&to=2013-04-01&window=total").ok();
    let rows = answer["data"].as_array().expect("rows");
    rows.iter().map(|row| row["value"].as_str().and_then(|text| text.parse::<usize>().ok()).expect("a count")).sum()
}
