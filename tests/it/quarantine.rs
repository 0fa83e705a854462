//! Events that were set aside: read, mended, sent again, discarded; each counts once, whatever is killed or repeated.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::books::Book;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::server::OPERATOR_KEY;
use crate::support::server::Server;

crate::support::both_engines!(
    an_event_that_was_set_aside_is_mended_and_counts_once,
    events_are_tried_again_by_type_and_code_after_the_catalog_has_changed,
    a_retraction_of_what_is_not_there_yet_waits_in_quarantine,
    what_is_discarded_is_gone_and_was_never_counted,
    the_command_line_does_the_same_on_the_data_and_through_a_server,
    a_kill_while_events_are_tried_again_counts_each_once,
);

const EVENT: (&str, &str) = ("content-type", "application/cloudevents+json");

fn flight(id: &str, miles: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "flight.completed", "subject": "UA",
        "time": "2013-01-15T12:00:00Z", "data": { "origin": "EWR", "distance": miles },
    })
}

fn set_aside(client: &Client, events: &[Value]) -> Value {
    let body: String = events.iter().map(|event| format!("{event}\n")).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    client.send("POST", "/v1/events?invalid=quarantine", &ndjson, body.as_bytes()).ok()
}

fn quarantine(client: &Client) -> Vec<Value> {
    client.get("/v1/quarantine").ok()["data"].as_array().expect("a list").clone()
}

fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id")
}

fn miles(client: &Client) -> i64 {
    let answer = client.get("/v1/usage?meter=miles&from=1990-01-01&to=2100-01-01&window=total").ok();
    let rows = answer["data"].as_array().expect("rows");
    rows.iter().map(|row| row["value"].as_str().and_then(|text| text.parse::<i64>().ok()).expect("a number")).sum()
}

fn an_event_that_was_set_aside_is_mended_and_counts_once(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    set_aside(&server, &[flight("a", &json!("far")), flight("b", &json!(10))]);
    set_aside(&server, &[flight("c", &json!("farther"))]);
    let events = quarantine(&server);
    let [first, second] = &events[..] else { panic!("two: {events:?}") };
    assert!(first["event"].as_str().is_some_and(|text| text.contains("\"far\"")), "oldest first: {first}");
    assert_eq!((&first["type"], &first["faults"][0]["at"]), (&json!("flight.completed"), &json!("/data/distance")));
    assert_eq!(server.get(&format!("/v1/quarantine/{}", id(first))).ok(), *first);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("\ntallystick_quarantined_events 2\n"), "{metrics}");

    // Page by page.
    let page = server.get("/v1/quarantine?limit=1").ok();
    let next = page["next_cursor"].as_str().expect("there is more");
    let page = server.get(&format!("/v1/quarantine?limit=1&cursor={next}")).ok();
    assert_eq!((&page["data"][0], &page["next_cursor"]), (second, &Value::Null));

    // As it is it is still invalid, and so is one that is mended badly; both stay.
    let again = format!("/v1/quarantine/{}/resubmit", id(first));
    let problem = server.send("POST", &again, &[], b"").problem(422);
    assert_eq!((&problem["code"], &problem["errors"][0]["at"]), (&json!("invalid_events"), &json!("/data/distance")));
    server.send("POST", &again, &[EVENT], b"{}").problem(422);
    server.send("POST", &again, &[("content-type", "text/csv")], b"a,b").problem(415);
    assert_eq!(quarantine(&server), events);

    let mended = flight("a", &json!(5)).to_string();
    let answer = server.send("POST", &again, &[EVENT], mended.as_bytes()).ok();
    assert_eq!(answer, json!({ "accepted": 1, "duplicates": 0, "conflicts": [], "rejected": [] }));
    assert_eq!(server.send("POST", &again, &[EVENT], mended.as_bytes()).problem(404)["code"], "unknown_quarantined");
    assert_eq!(server.get(&format!("/v1/quarantine/{}", id(first))).problem(404)["code"], "unknown_quarantined");
    assert_eq!(miles(&server), 15);

    // One that the log has already is a duplicate, which is out of quarantine too.
    server.events(&flight("c", &json!(100)).to_string()).ok();
    let again = format!("/v1/quarantine/{}/resubmit", id(second));
    let answer = server.send("POST", &again, &[EVENT], flight("c", &json!(100)).to_string().as_bytes()).ok();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(1)));
    assert!(quarantine(&server).is_empty());
    assert_eq!(miles(&server), 115);

    // Only operators see what was set aside.
    let made = server.post("/v1/keys", &json!({ "role": "ingest" })).ok();
    let ingest = server.client(made["secret"].as_str());
    assert_eq!(ingest.get("/v1/quarantine").status, 403);
    assert_eq!(ingest.send("POST", "/v1/quarantine/resubmit", &[], b"").status, 403);
    server.stop();
    server.data.run(&["verify"]).done();
}

/// The book for flights with another event type in its catalog.
fn with_delays() -> Book {
    let more = "validation = \"off\"\n\n[[event_type]]\ntype = \"flight.delayed\"";
    Book::flights().with("catalog/flights.toml", "validation = \"off\"", more)
}

fn delayed(id: &str) -> Value {
    let mut event = flight(id, &json!(0));
    event["type"] = json!("flight.delayed");
    event
}

fn publish(server: &Server, book: &Book) {
    server.cli(&["pricing", "apply", "--pricing", &book.path().display().to_string()]).done();
}

fn events_are_tried_again_by_type_and_code_after_the_catalog_has_changed(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let mut timeless = delayed("timeless");
    timeless.as_object_mut().expect("an object").remove("time");
    set_aside(&server, &[delayed("1"), flight("2", &json!("far")), timeless, delayed("3")]);
    let received = quarantine(&server)[0]["received_at"].as_str().expect("a time").to_owned();
    let again = |query: &str| server.send("POST", &format!("/v1/quarantine/resubmit{query}"), &[], b"").ok();
    let none = json!({ "accepted": 0, "duplicates": 0, "conflicts": [], "invalid": 0, "next_cursor": null });
    assert_eq!(again("?code=time_in_future"), none);
    assert_eq!(again("?type=flight.delayed")["invalid"], 3);
    publish(&server, &with_delays());
    // What one call looks at is bounded; the cursor goes on behind what stays.
    let (mut cursor, mut accepted, mut invalid, mut calls) = (String::new(), 0, 0, 0);
    loop {
        let answer = again(&format!("?limit=3&cursor={cursor}"));
        accepted += answer["accepted"].as_i64().expect("a count");
        invalid += answer["invalid"].as_i64().expect("a count");
        calls += 1;
        match answer["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!((accepted, invalid, calls), (3, 1, 2));
    assert_eq!(quarantine(&server).len(), 1);
    let stored = server.get("/v1/events/%2Ftests/timeless").ok();
    // To the second: the rest of the two may be written otherwise.
    assert_eq!(stored["event"]["time"].as_str().map(|time| &time[..19]), Some(&received[..19]), "{stored}");
    assert_eq!(again("?code=unknown_event_type"), none, "what is wrong with what stays was known before");
    assert_eq!(again("?code=not_a_number")["invalid"], 1);
}

fn a_retraction_of_what_is_not_there_yet_waits_in_quarantine(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let retraction = json!({
        "specversion": "1.0", "id": "r", "source": "/tests", "type": "tallystick.event.retracted",
        "time": "2013-01-16T12:00:00Z", "data": { "source": "/tests", "id": "late" },
    });
    let body = [flight("1", &json!(1)), retraction.clone(), flight("2", &json!("far")), flight("3", &json!(2))];
    let refused = server.events(&body.iter().map(|event| format!("{event}\n")).collect::<String>()).problem(422);
    assert_eq!(refused["errors"].as_array().map(Vec::len), Some(1), "{refused}");
    let answer = set_aside(&server, &body);
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(2), &json!(0)), "{answer}");
    let places: Vec<&Value> = answer["rejected"].as_array().expect("a list").iter().map(|fault| &fault["at"]).collect();
    assert_eq!(places, ["/1/data", "/2/data/distance"]);
    assert_eq!(miles(&server), 3);

    let again = |query: &str| server.send("POST", &format!("/v1/quarantine/resubmit{query}"), &[], b"").ok();
    assert_eq!(again("?code=unknown_event")["invalid"], 1);
    server.events(&flight("late", &json!(50)).to_string()).ok();
    assert_eq!(miles(&server), 53);
    assert_eq!(again("?code=unknown_event")["accepted"], 1);
    assert_eq!(miles(&server), 3);
    assert_eq!(quarantine(&server).len(), 1);
}

fn what_is_discarded_is_gone_and_was_never_counted(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    set_aside(&server, &[flight("a", &json!("far"))]);
    let events = quarantine(&server);
    let path = format!("/v1/quarantine/{}", id(&events[0]));
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(server.send("DELETE", &path, &[], b"").problem(404)["code"], "unknown_quarantined");
    let mended = flight("a", &json!(5)).to_string();
    server.send("POST", &format!("{path}/resubmit"), &[EVENT], mended.as_bytes()).problem(404);
    assert_eq!(miles(&server), 0);
    assert_eq!(server.get("/v1/quarantine/nobody").problem(404)["code"], "unknown_quarantined");
    let (_, said) = server.stop();
    assert!(said.contains("discarded the event") && said.contains(id(&events[0])), "it is logged: {said}");
}

fn the_command_line_does_the_same_on_the_data_and_through_a_server(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    set_aside(&server, &[flight("a", &json!("far")), flight("b", &json!("x")), delayed("c"), delayed("d")]);
    let table = server.cli(&["events", "quarantine", "list"]).done();
    assert_eq!(table.lines().count(), 5, "{table}");
    let listed = server.cli(&["events", "quarantine", "list", "--json"]).json();
    let ids: Vec<&str> = listed.as_array().expect("a list").iter().map(id).collect();
    let file = server.data.folder().join("mended.json");
    std::fs::write(&file, flight("a", &json!(5)).to_string()).expect("is written");
    let file = file.display().to_string();
    let of_a = listed.as_array().expect("a list").iter().find(|event| event["event"].to_string().contains("far"));
    let of_a = id(of_a.expect("is listed"));
    let refused = server.cli(&["events", "quarantine", "resubmit", of_a]);
    assert!(refused.code == 1 && refused.stderr.contains("/data/distance"), "{refused:?}");
    let taken = server.cli(&["events", "quarantine", "resubmit", of_a, "--event", &file]).done();
    assert_eq!(taken.trim(), "accepted 1  duplicates 0  conflicts 0  still invalid 0");
    publish(&server, &with_delays());
    server.stop();

    let on_data = |data: &Data, arguments: &[&str]| data.run(&[&["events", "quarantine"], arguments].concat());
    let tried = on_data(&server.data, &["resubmit", "--all", "--json"]);
    assert_eq!(tried.json(), json!({ "accepted": 2, "duplicates": 0, "conflicts": [], "invalid": 1 }));
    assert_eq!(tried.code, 1, "one is still invalid");
    let left = on_data(&server.data, &["list", "--json"]).json();
    let of_b = id(&left[0]);
    assert!(left.as_array().is_some_and(|left| left.len() == 1) && ids.contains(&of_b), "{left}");
    let shown = on_data(&server.data, &["show", of_b]).done();
    assert!(shown.contains("/data/distance: ") && shown.contains("fix: "), "{shown}");
    on_data(&server.data, &["discard", of_b]).done();
    let gone = on_data(&server.data, &["show", of_b]);
    assert!(gone.code == 1 && gone.stderr.contains("quarantine list"), "{gone:?}");
    server.start_again();
    assert_eq!(miles(&server), 5);
    assert!(quarantine(&server).is_empty());
}

fn a_kill_while_events_are_tried_again_counts_each_once(engine: Engine) {
    const EVENTS: usize = 300;
    let mut server = Server::start(engine, &books::flights());
    let mut events: Vec<Value> = (0..EVENTS).map(|number| delayed(&number.to_string())).collect();
    set_aside(&server, &events);
    publish(&server, &with_delays());
    for kill in 1..=3_u64 {
        let client = server.client(Some(OPERATOR_KEY));
        std::thread::scope(|scope| {
            // Whether it is answered or cut off: what counts is what is found afterwards.
            scope.spawn(|| client.try_send("POST", "/v1/quarantine/resubmit?limit=1000", &[], b"").ok());
            std::thread::sleep(Duration::from_millis(30 * kill));
            server.kill();
        });
        server.start_again();
        // Each is in the log or in quarantine, and never in both.
        let waiting = server.get("/v1/quarantine?limit=1000").ok()["data"].as_array().expect("a list").len();
        let stored = stored(&server);
        println!("kill {kill}: {stored} stored, {waiting} wait");
        assert_eq!(stored + waiting, EVENTS, "kill {kill}: {stored} stored, {waiting} wait");
    }
    server.send("POST", "/v1/quarantine/resubmit?limit=1000", &[], b"").ok();
    assert_eq!((stored(&server), quarantine(&server).len()), (EVENTS, 0));
    // All of them are known by now.
    events.truncate(100);
    assert_eq!(set_aside(&server, &events)["duplicates"], 100);
    server.stop();
    server.data.run(&["verify"]).done();
}

/// How many distinct events are in the log.
fn stored(client: &Client) -> usize {
    let metrics = client.get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tallystick_events_known "));
    line.and_then(|count| count.parse().ok()).expect("is counted")
}
