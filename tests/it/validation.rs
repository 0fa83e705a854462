//! Data held against the schema of its event type: not at all, with a warning, or as a condition; and what a policy that
//! changes means for what was taken before.

use serde_json::Value;
use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::data::run;
use crate::support::http::Client;
use crate::support::server::Server;

crate::support::both_engines!(
    without_a_policy_nobody_looks,
    a_warning_takes_the_event_and_says_what_is_wrong,
    an_enforced_schema_refuses_the_event_with_every_violation,
    the_newest_book_counts_and_what_is_in_the_log_is_not_looked_at_again,
);

const CATALOG: &str = "catalog/flights.toml";
const SCHEMA: &str = r#"schema = { type = "object", required = ["distance", "origin"], properties = { distance = { type = "integer", minimum = 1 }, origin = { type = "string", pattern = "^[A-Z]{3}$" } } }"#;

/// The book for flights, with a schema and this policy.
fn book(policy: &str) -> Book {
    Book::flights().with(CATALOG, "validation = \"off\"", &format!("validation = \"{policy}\"\n{SCHEMA}"))
}

fn flight(id: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/tests","type":"flight.completed","subject":"UA","time":"2013-01-15T12:00:00Z","data":{data}}}"#
    )
}

fn counted(client: &Client) -> i64 {
    let answer = client.get("/v1/usage?meter=flights&from=1990-01-01&to=2100-01-01&window=total").ok();
    let rows = answer["data"].as_array().expect("rows");
    rows.iter().map(|row| row["value"].as_str().and_then(|text| text.parse::<i64>().ok()).expect("a number")).sum()
}

const FITS: &str = r#"{"distance":719,"origin":"EWR"}"#;
const BREAKS: &str = r#"{"distance":0,"origin":"Newark"}"#;

fn without_a_policy_nobody_looks(engine: Engine) {
    let server = Server::start(engine, book("off").path());
    let answer = server.events(&[flight("1", FITS), flight("2", BREAKS)].join("\n")).ok();
    assert_eq!(answer, json!({ "accepted": 2, "duplicates": 0, "conflicts": [], "rejected": [] }));
    assert_eq!(server.get("/v1/event-types/flight.completed").ok()["validation"], "off");
}

fn a_warning_takes_the_event_and_says_what_is_wrong(engine: Engine) {
    let server = Server::start(engine, book("warn").path());
    let answer = server.events(&[flight("1", FITS), flight("2", BREAKS)].join("\n")).ok();
    assert_eq!((&answer["accepted"], &answer["warned"]), (&json!(2), &json!(1)), "{answer}");
    let warnings = answer["warnings"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 2, "{answer}");
    assert!(warnings.iter().all(|warning| warning["index"] == 1 && warning["code"] == "schema_violation"));
    let at = |place: &str| warnings.iter().find(|warning| warning["at"] == place).expect("is named").clone();
    assert_eq!(at("/data/distance")["detail"], "0 is too small");
    assert_eq!(at("/data/origin")["detail"], "\"Newark\" does not match the pattern ^[A-Z]{3}$");
    assert_eq!(counted(&server), 2);
    let metrics = server.get("/metrics").text();
    let line = "tallystick_event_schema_warnings_total{type=\"flight.completed\"} 1";
    assert!(metrics.lines().any(|written| written == line), "{metrics}");

    let file = server.data.folder().join("events.ndjson");
    std::fs::write(&file, format!("\n{}\n{}\n", flight("3", FITS), flight("4", BREAKS))).expect("is written");
    let imported = server.cli(&["events", "import", "--json", &file.display().to_string()]);
    let answer = imported.json();
    assert_eq!((&answer["accepted"], &answer["warned"]), (&json!(2), &json!(1)), "{answer}");
    assert!(answer["warnings"][0]["at"].as_str().is_some_and(|at| at.contains("events.ndjson:3 /data/")), "{answer}");
    assert_eq!(imported.code, 0);
}

fn an_enforced_schema_refuses_the_event_with_every_violation(engine: Engine) {
    let server = Server::start(engine, book("enforce").path());
    let body = [flight("1", FITS), flight("2", BREAKS), flight("3", "null")].join("\n");
    let problem = server.events(&body).problem(422);
    let errors = problem["errors"].as_array().expect("errors");
    let places: Vec<&Value> = errors.iter().map(|error| &error["at"]).collect();
    assert!(places.contains(&&json!("/1/data/distance")) && places.contains(&&json!("/1/data/origin")), "{problem}");
    assert_eq!(errors.last().expect("is named")["at"], "/2/data", "no data is null, which is no object");
    assert!(errors.iter().all(|error| error["code"] == "schema_violation" && error["fix"] != ""), "{problem}");
    assert_eq!(counted(&server), 0);

    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = server.send("POST", "/v1/events?invalid=quarantine", &ndjson, body.as_bytes()).ok();
    assert_eq!((&answer["accepted"], answer["rejected"].as_array().map(Vec::len)), (&json!(1), Some(3)), "{answer}");
    assert!(answer.get("warnings").is_none(), "{answer}");
}

fn the_newest_book_counts_and_what_is_in_the_log_is_not_looked_at_again(engine: Engine) {
    let unlooked = book("off");
    let mut server = Server::start(engine, unlooked.path());
    server.events(&flight("1", BREAKS)).ok();
    let enforced = book("enforce");
    let applied = server.cli(&["pricing", "apply", "--pricing", &enforced.path().display().to_string()]).done();
    assert!(applied.contains("event type flight.completed: validation off → enforce"), "{applied}");
    server.events(&flight("2", BREAKS)).problem(422);
    server.events(&flight("3", FITS)).ok();
    // What was not flushed is read from the log again.
    server.kill();
    server.start_again();
    assert_eq!(counted(&server), 2);
    server.events(&flight("4", BREAKS)).problem(422);
    server.stop();
    server.data.run(&["verify"]).done();
}

#[test]
fn a_book_whose_schema_cannot_be_used_is_refused_where_it_is_checked_and_where_it_is_published() {
    let remote = Book::flights().with(
        CATALOG,
        "validation = \"off\"",
        "validation = \"enforce\"\nschema = { \"$ref\" = \"https://example.com/flight.json\" }",
    );
    let checked = run(["pricing", "check", "--pricing", &remote.path().display().to_string()], "");
    assert_eq!(checked.code, 1);
    assert!(checked.stderr.contains("flights.toml:10") && checked.stderr.contains("nothing is fetched"), "{checked:?}");
    let server = Server::start(Engine::Sqlite, &crate::support::books::flights());
    let file = |name: &str| std::fs::read_to_string(remote.path().join(name)).expect("a file of the book");
    let names = ["book.toml", CATALOG, "meters/flights.toml", "plans/airline.toml", "programs/punctuality.toml"];
    let files: Value = names.iter().map(|name| ((*name).to_owned(), Value::from(file(name)))).collect();
    let problem = server.post("/v1/pricing/versions", &json!({ "files": files })).problem(422);
    assert_eq!(problem["errors"][0]["code"], "remote_reference", "{problem}");

    let checked = run(["pricing", "check", "--pricing", &book("enforce").path().display().to_string()], "").done();
    assert!(checked.contains("flight.completed (enforce)"), "{checked}");
}
