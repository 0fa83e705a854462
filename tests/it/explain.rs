//! From a line of a document down to its events: they add up to its quantity, and what changed since says so.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::server::Server;

crate::support::both_engines!(
    the_events_behind_a_line_add_up_to_its_quantity,
    what_changed_after_the_closing_says_so,
    who_may_ask_and_for_what,
);

fn flight(id: u32, carrier: &str, day: u32, origin: &str, distance: u32) -> String {
    let event = json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": "flight.completed",
        "subject": carrier, "time": format!("2013-01-{day:02}T12:{:02}:00Z", id % 60),
        "data": { "origin": origin, "distance": distance, "dep_delay": 0, "arr_delay": -5 },
    });
    format!("{event}\n")
}

/// January of two airlines, in several batches and among flights of other months; closed.
fn closed(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    for carrier in ["UA", "AA"] {
        server.put(&format!("/v1/consumers/{carrier}"), &json!({ "name": carrier, "currency": "USD" })).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": "2013-01-01" });
        server.post("/v1/subscriptions", &subscription).ok();
    }
    for day in 1..=30 {
        let origin = ["EWR", "JFK", "LGA"][day as usize % 3];
        let body = flight(day, "UA", 1 + day % 28, origin, 100 + day)
            + &flight(100 + day, "AA", 1 + day % 28, origin, 1_000)
            + &flight(200 + day, "UA", 1, "JFK", 7).replace("2013-01-01T", "2013-02-11T");
        server.events(&body).ok();
    }
    // Taken back before the closing: as if it had never been.
    take_back(&server, 200, 7);
    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    server
}

fn take_back(server: &Server, id: u32, taken_back: u32) {
    let retraction = json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/mend", "type": "tallystick.event.retracted",
        "data": { "source": "/tests", "id": taken_back.to_string() },
    });
    assert_eq!(server.events(&retraction.to_string()).ok()["accepted"], 1);
}

fn document(client: &Client, kind: &str) -> Value {
    client.get(&format!("/v1/{kind}?consumer=UA")).ok()["data"][0].clone()
}

/// Every page of an explanation: its buckets and its events.
fn explained(client: &Client, path: &str, limit: usize) -> (Vec<Value>, Vec<Value>) {
    let (mut buckets, mut events) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}?limit={limit}{cursor}")).ok();
        let rows = |name: &str| page[name].as_array().expect("a list").clone();
        assert!(rows("buckets").len() + rows("events").len() <= limit, "{page}");
        buckets.extend(rows("buckets"));
        events.extend(rows("events"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (buckets, events),
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_str().expect("a number as text").parse().expect("a whole number")
}

/// What events added, by bucket and dimensions, but for those of a state.
fn added(events: &[Value], without: &str) -> BTreeMap<(String, String), (i64, i64)> {
    let mut sums = BTreeMap::new();
    for row in events.iter().filter(|event| event["state"] != without).flat_map(|event| event["added"].as_array()) {
        for row in row {
            let (value, count): &mut (i64, i64) = sums.entry(place(row)).or_default();
            *value += number(&row["value"]);
            *count += row["count"].as_i64().expect("a count");
        }
    }
    sums
}

fn place(row: &Value) -> (String, String) {
    (row["bucket"].as_str().expect("a time").to_owned(), row["dimensions"].to_string())
}

fn the_events_behind_a_line_add_up_to_its_quantity(engine: Engine) {
    let server = closed(engine);
    for kind in ["invoices", "payouts"] {
        let document = document(&server, kind);
        let lines = document["lines"].as_array().expect("lines");
        assert!(!lines.is_empty());
        for (index, line) in lines.iter().enumerate() {
            let path = format!("/v1/{kind}/{}/lines/{}/explain", document["id"].as_str().expect("an id"), index + 1);
            let whole = server.get(&format!("{path}?limit=1000")).ok();
            assert_eq!(&whole["line"], line);
            assert_eq!((&whole["usage"]["from"], &whole["usage"]["to"]), (&line["from"], &line["to"]));
            assert_eq!(whole["usage"]["meter"], line["explanation"]["meter"]);
            let (buckets, events) = explained(&server, &path, 4);
            assert_eq!(whole["buckets"], json!(buckets), "pages have what the whole has");
            assert_eq!(whole["events"], json!(events));
            let sums = added(&events, "late");
            assert_eq!(sums.values().map(|(value, _)| value).sum::<i64>(), number(&line["quantity"]), "{line}");
            assert_eq!(line["explanation"]["events"], events.len());
            assert_eq!(line["explanation"]["buckets"], buckets.len());
            for bucket in &buckets {
                assert_eq!(bucket["changed"], false);
                assert_eq!(
                    (number(&bucket["value"]), bucket["count"].as_i64().expect("a count")),
                    sums[&place(bucket)]
                );
            }
            for event in &events {
                assert_eq!((&event["state"], &event["source"]), (&json!("counted"), &json!("/tests")));
                assert_ne!(event["id"], "7", "what was taken back before the closing is left out");
            }
        }
    }
}

fn what_changed_after_the_closing_says_so(engine: Engine) {
    let server = closed(engine);
    let invoice = document(&server, "invoices");
    let id = invoice["id"].as_str().expect("an id");
    let lines = invoice["lines"].as_array().expect("lines");
    let number_of = |component: &str| {
        1 + lines.iter().position(|line| line["component"] == component).expect("the invoice has the line")
    };
    let path = format!("/v1/invoices/{id}/lines/{}/explain", number_of("miles"));
    let quantity = number(&lines[number_of("miles") - 1]["quantity"]);
    // One more in the hour of flight 3, one in an hour of its own, and flight 4, alone in its hour, is taken back.
    server.events(&(flight(500, "UA", 4, "EWR", 50) + &flight(501, "UA", 31, "EWR", 60))).ok();
    take_back(&server, 201, 4);
    let (buckets, events) = explained(&server, &path, 7);
    let state = |id: &str| events.iter().find(|event| event["id"] == id).expect("is there")["state"].clone();
    assert_eq!([state("500"), state("501"), state("4"), state("3")], ["late", "late", "taken_back", "counted"]);
    assert_eq!(added(&events, "late").values().map(|(value, _)| value).sum::<i64>(), quantity, "what the line saw");
    let changed: Vec<_> = buckets
        .iter()
        .filter(|bucket| bucket["changed"] == true)
        .map(|bucket| {
            let day = bucket["bucket"].as_str().expect("a time")[8..10].to_owned();
            (day, number(&bucket["value"]), number(&bucket["now"]["value"]), bucket["now"]["count"].clone())
        })
        .collect();
    let expected = [("04", 103, 153, 2), ("05", 104, 0, 0), ("31", 0, 60, 1)];
    assert_eq!(changed, expected.map(|(day, saw, now, count)| (day.to_owned(), saw, now, json!(count))));
    let now = server.get("/v1/usage?meter=miles&consumer=UA&from=2013-01-01&to=2013-02-01").ok();
    let summed = added(&events, "taken_back").values().map(|(value, _)| value).sum::<i64>();
    assert_eq!(number(&now["data"][0]["value"]), summed, "what there is now");
    let page = server.get(&format!("{path}?cursor=events&limit=1000")).ok();
    assert_eq!((&page["buckets"], &page["events"]), (&json!([]), &json!(events)));

    // The next closing corrects January, and has seen all of it.
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let invoice = document(&server, "invoices");
    let mut lines = invoice["lines"].as_array().expect("lines").iter();
    let number = 1 + lines
        .position(|line| line["component"] == "miles" && line["from"] == january())
        .expect("January's miles are corrected");
    let path = format!("/v1/invoices/{}/lines/{number}/explain", invoice["id"].as_str().expect("an id"));
    let corrected = server.get(&format!("{path}?limit=1000")).ok();
    assert_eq!(corrected["usage"]["from"], january());
    assert_eq!(self::number(&corrected["line"]["quantity"]), summed - quantity);
    let (_, events) = explained(&server, &path, 50);
    assert!(events.iter().all(|event| event["state"] == "counted"), "{events:?}");
    assert_eq!(added(&events, "late").values().map(|(value, _)| value).sum::<i64>(), summed);
}

fn january() -> Value {
    json!("2013-01-01T05:00:00Z")
}

fn who_may_ask_and_for_what(engine: Engine) {
    let server = closed(engine);
    let invoice = document(&server, "invoices");
    let path = format!("/v1/invoices/{}/lines", invoice["id"].as_str().expect("an id"));
    let answers = ["finance", "consumer:UA", "consumer:AA", "ingest"].map(|role| {
        let printed = server.cli(&["key", "create", "--role", role, "--name", "a test", "--json"]).done();
        let key: Value = serde_json::from_str(&printed).expect("JSON");
        server.client(key["secret"].as_str()).get(&format!("{path}/1/explain")).status
    });
    assert_eq!(answers, [200, 200, 403, 403]);
    let count = invoice["lines"].as_array().expect("lines").len();
    for wrong in ["0", "99", "first"] {
        let problem = server.get(&format!("{path}/{wrong}/explain")).problem(404);
        assert_eq!(problem["code"], "unknown_line");
        assert_eq!(problem["fix"], format!("ask for one from 1 to {count}"));
    }
    assert_eq!(server.get("/v1/payouts/po_1/lines/1/explain").problem(404)["code"], "unknown_payout");
    for wrong in ["cursor=nothing", "limit=0"] {
        let problem = server.get(&format!("{path}/1/explain?{wrong}")).problem(400);
        assert_eq!(problem["code"], "invalid_parameter", "{wrong}");
    }
}
