//! API keys: each role may do its own part, and no key can be read back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::support::airlines::documents;
use crate::support::books;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::server::OPERATOR_KEY;
use crate::support::server::Server;

crate::support::both_engines!(
    each_role_may_do_its_part_and_no_more,
    a_consumer_sees_itself_only,
    a_revoked_key_opens_nothing,
    keys_are_kept_as_hashes_only,
);

const FLIGHTS: &str = r#"{"specversion":"1.0","id":"1","source":"/tests","type":"flight.completed","subject":"UA","time":"2013-01-15T12:00:00Z","data":{"origin":"EWR","distance":1000,"arr_delay":-1}}
{"specversion":"1.0","id":"2","source":"/tests","type":"flight.completed","subject":"AA","time":"2013-01-15T12:00:00Z","data":{"origin":"JFK","distance":2000,"arr_delay":-1}}
"#;

const USAGE: &str = "/v1/usage?meter=miles&from=2013-01-01&to=2013-02-01";

/// Makes a key, and returns what the command printed of it.
fn create(server: &Server, role: &str) -> Value {
    let printed = server.cli(&["key", "create", "--role", role, "--name", "a test", "--json"]).done();
    serde_json::from_str(&printed).expect("JSON")
}

fn client(server: &Server, key: &Value) -> Client {
    server.client(Some(key["secret"].as_str().expect("the key is shown when it is made")))
}

/// A server on which two airlines have flown a little and been billed.
fn billed(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    server.events(FLIGHTS).ok();
    for carrier in ["AA", "UA"] {
        server.put(&format!("/v1/consumers/{carrier}"), &json!({ "name": carrier, "currency": "USD" })).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": "2013-01-01" });
        server.post("/v1/subscriptions", &subscription).ok();
    }
    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    server
}

fn each_role_may_do_its_part_and_no_more(engine: Engine) {
    let server = billed(engine);
    let consumer = json!({ "name": "Delta", "currency": "USD" });
    let close = json!({ "through": "2013-02-01" });
    // What is tried, and with what answer: operator, finance, ingest, a consumer, nobody.
    type Try<'a> = (&'a str, &'a dyn Fn(&Client) -> u16, [u16; 5]);
    let tries: [Try<'_>; 6] = [
        ("send events", &|client| client.events(FLIGHTS).status, [200, 403, 200, 403, 401]),
        ("read usage", &|client| client.get(USAGE).status, [200, 200, 403, 200, 401]),
        ("read the books", &|client| client.get("/v1/ledger/trial-balance").status, [200, 200, 403, 403, 401]),
        ("export", &|client| client.get("/v1/exports/journal.csv").status, [200, 200, 403, 403, 401]),
        ("change a consumer", &|client| client.put("/v1/consumers/DL", &consumer).status, [200, 200, 403, 403, 401]),
        ("close", &|client| client.post("/v1/close", &close).status, [200, 200, 403, 403, 401]),
    ];
    let keys = ["operator", "finance", "ingest", "consumer:UA"].map(|role| create(&server, role));
    let mut clients: Vec<Client> = keys.iter().map(|key| client(&server, key)).collect();
    clients.push(server.client(None));
    for (what, answer, expected) in tries {
        let answers: Vec<u16> =
            clients.iter().map(answer).map(|status| if status == 201 { 200 } else { status }).collect();
        assert_eq!(answers, expected, "{what}");
    }
    let problem = clients[2].get(USAGE).problem(403);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("ingest")), "says which role: {problem}");
    server.client(Some("tsk_nobody")).get(USAGE).problem(401);
    for open in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
        assert_eq!(server.client(None).get(open).status, 200, "{open}");
    }
}

fn a_consumer_sees_itself_only(engine: Engine) {
    let server = billed(engine);
    let united = client(&server, &create(&server, "consumer:UA"));

    let usage = united.get(USAGE).ok();
    let parties: Vec<&Value> = usage["data"].as_array().expect("rows").iter().map(|row| &row["consumer"]).collect();
    assert_eq!(parties, ["UA"]);
    for kind in ["invoices", "payouts"] {
        let theirs = documents(&united, kind);
        assert!(theirs.len() == 1 && theirs[0]["consumer"] == "UA", "{kind}: {theirs:?}");
        for document in documents(&server, kind) {
            let own = document["consumer"] == "UA";
            let status = united.get(&format!("/v1/{kind}/{}", document["id"].as_str().expect("an id"))).status;
            assert!(if own { status == 200 } else { [403, 404].contains(&status) }, "{status} for {document}");
        }
    }
    for own in ["/v1/consumers/UA", "/v1/consumers/UA/statement?period=2013-01", &format!("{USAGE}&consumer=UA")] {
        assert_eq!(united.get(own).status, 200, "{own}");
    }
    for other in ["/v1/consumers/AA", "/v1/consumers/AA/statement?period=2013-01", &format!("{USAGE}&consumer=AA")] {
        let reply = united.get(other);
        assert!([403, 404].contains(&reply.status), "{other}: {}", reply.status);
        assert!(!reply.text().contains("2000"), "{other} tells nothing of the other: {}", reply.text());
    }
    // Whether somebody exists is not told either.
    assert_eq!(united.get("/v1/consumers/AA").status, united.get("/v1/consumers/ZZ").status);
}

fn a_revoked_key_opens_nothing(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    let key = create(&server, "finance");
    let finance = client(&server, &key);
    assert_eq!(finance.get(USAGE).status, 200);
    let id = key["id"].as_str().expect("an id");
    server.cli(&["key", "revoke", id]).done();
    finance.get(USAGE).problem(401);

    server.stop();
    server.start_again();
    client(&server, &key).get(USAGE).problem(401);
    assert_eq!(server.get(USAGE).status, 200, "the operator's key still works");
}

fn keys_are_kept_as_hashes_only(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    let made = create(&server, "ingest");
    let key = made["secret"].as_str().expect("the key is shown when it is made").to_owned();
    assert!(key.len() >= 32, "nobody guesses it: {key}");
    assert_ne!(create(&server, "ingest")["secret"], made["secret"]);

    let list = server.cli(&["key", "list", "--json"]).done();
    assert!(list.contains(made["id"].as_str().expect("an id")), "{list}");
    assert!(!list.contains(&key) && !list.contains(OPERATOR_KEY), "a list shows no key: {list}");

    let (_, said) = server.stop();
    assert!(!said.contains(&key) && !said.contains(OPERATOR_KEY), "a key that was given is not printed: {said}");
    let kept = everything_kept(&server.data);
    let holds = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(made["id"].as_str().expect("an id")), "this is where keys are kept");
    assert!(!holds(&key) && !holds(OPERATOR_KEY), "the key itself is not");
}

/// All bytes that a stopped server leaves: its files, or a dump of its database.
fn everything_kept(data: &Data) -> Vec<u8> {
    let arguments = data.arguments();
    let [option, place, ..] = arguments.as_slice() else { panic!("a place: {arguments:?}") };
    if option == "--database-url" {
        let dump = Command::new("pg_dump").args(["--inserts", "--dbname", place]).output().expect("pg_dump runs");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        return dump.stdout;
    }
    let (mut kept, mut folders) = (Vec::new(), vec![Path::new(&place).to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                kept.extend(std::fs::read(path).expect("a file"));
            }
        }
    }
    kept
}

#[test]
fn the_first_start_makes_an_operator_key_and_tells_it_once() {
    let mut server = Server::start_without_key(Data::new(Engine::Sqlite), &books::flights());
    let arguments = server.data.arguments();
    let [_, folder] = arguments.as_slice() else { panic!("a folder: {arguments:?}") };
    let file = Path::new(&folder).join("operator.key");
    let key = std::fs::read_to_string(&file).expect("the key is in a file").trim().to_owned();
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "only its owner may read it");
    assert_eq!(server.client(Some(&key)).get(USAGE).status, 200);
    let (_, said) = server.stop();
    assert_eq!(said.matches(&key).count(), 1, "told once: {said}");

    server.start_again();
    assert_eq!(server.client(Some(&key)).get(USAGE).status, 200, "and it stays the same");
    let (_, said) = server.stop();
    assert!(!said.contains(&key), "not told again: {said}");
}
