//! Webhooks: what is asked for arrives, signed, at least once, whatever fails or is killed; and each delivery counts once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use serde_json::json;
use sha2::Sha256;

use crate::support::books::Book;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::receiver::Received;
use crate::support::receiver::Receiver;
use crate::support::server::Server;

crate::support::both_engines!(
    what_is_asked_for_arrives_signed_and_is_counted_once,
    what_does_not_arrive_at_once_is_tried_again,
    nothing_is_lost_when_the_server_is_killed,
    one_that_never_answers_keeps_nobody_waiting,
    a_pause_delays_and_a_new_secret_overlaps,
);

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The book for flights, in which everybody may hear of landings, and deliveries are counted.
fn server(engine: Engine) -> (Server, Book) {
    let file = "catalog/flights.toml";
    let catalogued = "lifecycle = \"published\"\nowner = \"operations\"";
    let more = "[[event_type]]\ntype = \"tallystick.delivery.acknowledged\"\n\n\
                [[event_type]]\ntype = \"flight.cancelled\"\n\n[[event_type]]";
    let meter = "[[meter]]\nid = \"delivered\"\nevent_type = \"tallystick.delivery.acknowledged\"\naggregation = \"count\"\n\
                 party = \"subject\"\ndimensions = { kind = \"data.event_type\" }\n\n[[meter]]\nid = \"flights\"";
    let book = Book::flights()
        .with(file, catalogued, &format!("{catalogued}\naudience = \"public\""))
        .with(file, "[[event_type]]", more)
        .with("meters/flights.toml", "[[meter]]\nid = \"flights\"", meter);
    let environment = vec![("TALLYSTICK_WEBHOOK_KEYS".to_owned(), KEY.to_owned())];
    let arguments = ["--webhook-allow", "127.0.0.0/8", "--webhook-timeout", "2"];
    let mut server = Server::prepared(Data::new(engine), book.path(), &arguments, environment);
    server.start_again();
    for consumer in ["UA", "BB"] {
        server.put(&format!("/v1/consumers/{consumer}"), &json!({ "name": consumer, "currency": "USD" })).ok();
    }
    (server, book)
}

fn endpoint(server: &Client, consumer: &str, url: &str, filters: &Value) -> Value {
    server.post("/v1/endpoints", &json!({ "consumer": consumer, "url": url, "filters": filters })).ok()
}

fn event(kind: &str, id: u32) -> String {
    let data = json!({ "origin": "EWR", "distance": 1000, "dep_delay": 0, "arr_delay": -5 });
    json!({ "specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": kind, "subject": "UA", "data": data })
        .to_string()
}

/// So many flights of UA.
fn fly(server: &Client, ids: std::ops::Range<u32>) {
    server.events(&ids.map(|id| event("flight.completed", id) + "\n").collect::<String>()).ok();
}

fn ids(received: &[Received]) -> BTreeSet<String> {
    received.iter().map(Received::id).collect()
}

fn numbers(ids: std::ops::Range<u32>) -> BTreeSet<String> {
    ids.map(|id| id.to_string()).collect()
}

/// As the standard has it, from the secret as its owner has it.
fn signature(secret: &Value, received: &Received) -> String {
    let secret = secret.as_str().and_then(|secret| secret.strip_prefix("whsec_")).expect("a secret");
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(secret).expect("base64")).expect("a key");
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    mac.update(format!("{id}.{at}.{}", received.body).as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// How many deliveries to a consumer were counted, once nothing is missing any more.
#[track_caller]
fn counted(server: &Client, consumer: &str, expected: usize) {
    let since = Instant::now();
    loop {
        let path = format!("/v1/usage?meter=delivered&consumer={consumer}&from=2020-01-01&to=2100-01-01&window=total");
        let usage = server.get(&path).ok();
        let rows = usage["data"].as_array().expect("a list");
        let count = rows.first().map_or(0, |row| row["value"].as_str().expect("a number").parse().expect("whole"));
        if count == expected {
            return;
        }
        assert!(count < expected && since.elapsed() < Duration::from_secs(60), "{count} of {expected} are counted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn what_is_asked_for_arrives_signed_and_is_counted_once(engine: Engine) {
    let (server, _book) = server(engine);
    let (all, landed, own) = (Receiver::start(), Receiver::start(), Receiver::start());
    fly(&server, 0..3);
    let of_all = endpoint(&server, "BB", &all.url, &json!([]));
    endpoint(
        &server,
        "BB",
        &landed.url,
        &json!([{ "prefix": { "type": "flight." } }, { "not": { "exact": { "id": "4" } } }]),
    );
    endpoint(&server, "UA", &own.url, &json!([{ "exact": { "type": "flight.cancelled" } }]));
    fly(&server, 3..6);
    server.events(&event("flight.cancelled", 6)).ok();
    // What was before is not delivered; what is public or one's own is, if it is asked for.
    let came = all.wait(|came| ids(came).len() >= 3);
    assert_eq!(ids(&landed.wait(|came| came.len() >= 2)), BTreeSet::from(["3".to_owned(), "5".to_owned()]));
    assert_eq!(ids(&own.wait(|came| !came.is_empty())), BTreeSet::from(["6".to_owned()]));
    for came in came.iter().filter(|came| came.event()["type"] == "flight.completed") {
        assert_eq!(came.header("webhook-signature"), signature(&of_all["secret"], came));
        assert_eq!(came.header("content-type"), "application/cloudevents+json");
    }
    counted(&server, "BB", 5);
    counted(&server, "UA", 1);
    let id = of_all["id"].as_str().expect("an id");
    let shown = server.get(&format!("/v1/endpoints/{id}")).ok();
    assert_eq!(shown["secret"], Value::Null, "a secret is shown once");
    assert_eq!(server.get(&format!("/v1/endpoints/{id}/deliveries")).ok()["data"], json!([]));
    let tested = server.post(&format!("/v1/endpoints/{id}/test"), &json!({})).ok();
    assert_eq!((&tested["is_acknowledged"], &tested["status"]), (&json!(true), &json!(204)));
}

fn what_does_not_arrive_at_once_is_tried_again(engine: Engine) {
    let (server, _book) = server(engine);
    let receiver = Receiver::start();
    receiver.answer(503, Duration::ZERO);
    let made = endpoint(&server, "BB", &receiver.url, &json!([]));
    let path = format!("/v1/endpoints/{}/deliveries", made["id"].as_str().expect("an id"));
    fly(&server, 0..1);
    let first = receiver.wait(|came| !came.is_empty());
    let waiting = wait_for(|| server.get(&path).ok()["data"].as_array().expect("a list").first().cloned());
    assert_eq!(
        (&waiting["state"], &waiting["attempts"], &waiting["status"]),
        (&json!("waiting"), &json!(1), &json!(503))
    );
    assert_eq!((&waiting["event_type"], &waiting["failure"]), (&json!("flight.completed"), &json!("it answered 503")));
    receiver.answer(200, Duration::ZERO);
    let all = receiver.wait(|came| came.len() >= 2);
    assert_eq!(all[0].header("webhook-id"), all[1].header("webhook-id"), "every attempt has one id");
    assert_eq!(first[0].body, all[1].body);
    counted(&server, "BB", 1);
    wait_for(|| (server.get(&path).ok()["data"] == json!([])).then_some(()));
    // One that is gone is left alone.
    receiver.answer(410, Duration::ZERO);
    fly(&server, 1..2);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    let disabled = wait_for(|| Some(server.get(&path).ok()).filter(|endpoint| endpoint["state"] == "disabled"));
    assert_eq!(disabled["reason"], "it answered 410: it is gone");
    fly(&server, 2..3);
    receiver.answer(200, Duration::ZERO);
    server.send("PATCH", &path, &[("content-type", "application/json")], b"{\"state\": \"active\"}").ok();
    receiver.wait(|came| came.iter().any(|came| came.id() == "2"));
}

fn nothing_is_lost_when_the_server_is_killed(engine: Engine) {
    const EVENTS: u32 = 600;
    let (mut server, _book) = server(engine);
    let receivers = [Receiver::start(), Receiver::start()];
    for receiver in &receivers {
        // So slow that some are always under way.
        receiver.answer(200, Duration::from_millis(5));
        endpoint(&server, "BB", &receiver.url, &json!([]));
    }
    for from in (0..EVENTS).step_by(100) {
        fly(&server, from..from + 100);
        receivers[0].wait(|came| came.len() > 20);
        server.kill();
        server.start_again();
    }
    for receiver in &receivers {
        receiver.wait(|came| ids(came).len() == EVENTS as usize);
    }
    counted(&server, "BB", 2 * EVENTS as usize);
    // The same delivery has the same id, however often it was made.
    for receiver in &receivers {
        let mut of_events: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for came in receiver.received() {
            of_events.entry(came.id()).or_default().insert(came.header("webhook-id").to_owned());
        }
        assert!(of_events.values().all(|ids| ids.len() == 1));
    }
}

fn one_that_never_answers_keeps_nobody_waiting(engine: Engine) {
    let (server, _book) = server(engine);
    let (dead, healthy) = (Receiver::start(), Receiver::start());
    dead.answer(200, Duration::from_secs(3_600));
    endpoint(&server, "BB", &dead.url, &json!([]));
    endpoint(&server, "BB", &healthy.url, &json!([]));
    fly(&server, 0..500);
    healthy.wait(|came| ids(came) == numbers(0..500));
    let tried = dead.received().len();
    assert!(tried <= 16, "only so many are under way at once: {tried}");
    // It rests after a few, and what it did not get is still there for it.
    dead.answer(200, Duration::ZERO);
    dead.wait(|came| ids(came) == numbers(0..500));
}

fn a_pause_delays_and_a_new_secret_overlaps(engine: Engine) {
    let (server, _book) = server(engine);
    let receiver = Receiver::start();
    let made = endpoint(&server, "BB", &receiver.url, &json!([]));
    let path = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    let change = |change: &Value| {
        let json = [("content-type", "application/json")];
        server.send("PATCH", &path, &json, change.to_string().as_bytes()).ok()
    };
    assert_eq!(change(&json!({ "state": "paused" }))["state"], "paused");
    let renewed = server.post(&format!("{path}/secret"), &json!({})).ok();
    fly(&server, 0..2);
    assert_eq!(receiver.received().len(), 0);
    assert_eq!(change(&json!({ "state": "active" }))["reason"], Value::Null);
    for came in receiver.wait(|came| ids(came).len() == 2) {
        let both = [&renewed["secret"], &made["secret"]].map(|secret| signature(secret, &came));
        assert_eq!(came.header("webhook-signature"), both.join(" "));
    }
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 204);
    server.get(&path).problem(404);
    fly(&server, 2..3);
    let other = Receiver::start();
    endpoint(&server, "BB", &other.url, &json!([]));
    fly(&server, 3..4);
    other.wait(|came| !came.is_empty());
    assert_eq!(ids(&receiver.received()), numbers(0..2));
}

/// Waits until there is something.
#[track_caller]
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Without `--webhook-allow`, nothing around the server is reached, in whatever disguise.
#[test]
fn what_is_around_the_server_is_out_of_reach() {
    let server = Server::start(Engine::Sqlite, Book::flights().path());
    server.put("/v1/consumers/UA", &json!({ "name": "United", "currency": "USD" })).ok();
    let refused = [
        ("http://example.com/", "url_without_tls"),
        ("ftp://example.com/", "invalid_url"),
        ("example.com", "invalid_url"),
        ("https://user:secret@example.com/", "url_with_password"),
        ("https://example.com/#part", "invalid_url"),
        ("https://127.0.0.1/", "blocked_target"),
        ("https://127.1/", "blocked_target"),
        ("https://2130706433/", "blocked_target"),
        ("https://0x7f.1/", "blocked_target"),
        ("https://017700000001/", "blocked_target"),
        ("https://10.0.0.1/", "blocked_target"),
        ("https://169.254.169.254/latest/meta-data", "blocked_target"),
        ("https://[::1]/", "blocked_target"),
        ("https://[::ffff:127.0.0.1]/", "blocked_target"),
        ("https://[64:ff9b::10.0.0.1]/", "blocked_target"),
        ("https://[fd00:ec2::254]/", "blocked_target"),
    ];
    for (url, code) in refused {
        let problem = server.post("/v1/endpoints", &json!({ "consumer": "UA", "url": url })).problem(422);
        assert_eq!(problem["code"], "invalid_endpoint", "{url}");
        assert_eq!(
            (&problem["errors"][0]["at"], &problem["errors"][0]["code"]),
            (&json!("/url"), &json!(code)),
            "{url}"
        );
    }
    // A name is looked up when it is sent to.
    let made = endpoint(&server, "UA", "https://localhost/hook", &json!([]));
    let tested = server.post(&format!("/v1/endpoints/{}/test", made["id"].as_str().expect("an id")), &json!({})).ok();
    assert_eq!(
        (&tested["is_acknowledged"], &tested["failure"]),
        (&json!(false), &json!("its address may not be contacted"))
    );
    let problem = server
        .post("/v1/endpoints", &json!({ "consumer": "UA", "url": "https://example.com", "filters": [{ "sql": "1" }] }))
        .problem(422);
    assert_eq!(problem["errors"][0]["at"], "/filters/0/sql");
    server.post("/v1/endpoints", &json!({ "consumer": "XX", "url": "https://example.com" })).problem(404);
}
