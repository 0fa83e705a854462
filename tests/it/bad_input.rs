//! Bad input of every kind: each error says what is wrong, where, and how to mend it; nothing of it is kept, and the
//! server goes on answering.

use std::io::Read;

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::books::Book;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::data::Ran;
use crate::support::data::run;
use crate::support::http::Client;
use crate::support::http::Reply;
use crate::support::server::Server;

crate::support::both_engines!(
    bad_events_are_named_with_their_place_and_nothing_is_stored,
    bodies_that_cannot_be_read_are_refused,
    other_calls_say_what_is_wrong_with_them,
    a_file_with_a_bad_line_is_refused_by_its_line,
);

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

/// A good event as text, for the parts of it to be spoiled.
const GOOD: &str = r#"{"specversion":"1.0","id":"good","source":"/tests","type":"flight.completed","subject":"UA","time":"2013-01-15T12:00:00Z","data":{"origin":"EWR","distance":100,"dep_delay":0,"arr_delay":-1}}"#;

/// [`GOOD`] with one text in it exchanged.
fn spoiled(part: &str, instead: &str) -> String {
    assert_eq!(GOOD.matches(part).count(), 1, "`{part}` stands once in the good event");
    GOOD.replace(part, instead)
}

/// `count` good events, a line each.
fn good(count: usize) -> String {
    (0..count).map(|number| spoiled(r#""id":"good""#, &format!(r#""id":"good {number}""#)) + "\n").collect()
}

/// A body of NDJSON, where the fault is, its code, and a word that the remedy has.
type BadEvent = (String, &'static str, &'static str, &'static str);

fn bad_events() -> Vec<BadEvent> {
    let long_line = spoiled("EWR", &"E".repeat(10_000_000));
    let long_id = format!(r#""id":"{}""#, "x".repeat(600));
    vec![
        // Seven lines, of which the last breaks off.
        (good(6) + r#"{"specversion":"1.0","id":"#, "/6", "invalid_json", "JSON"),
        (spoiled(r#""id":"good","#, ""), "/0/id", "missing_attribute", "id"),
        (spoiled(r#""id":"good""#, r#""id":17"#), "/0/id", "wrong_type", "quotes"),
        (spoiled(r#""id":"good""#, &long_id), "/0/id", "unusable_attribute", "512"),
        (spoiled(r#""source":"/tests""#, r#""source":"""#), "/0/source", "empty_attribute", "value"),
        (
            spoiled(r#""specversion":"1.0""#, r#""specversion":"0.3""#),
            "/0/specversion",
            "unsupported_specversion",
            "1.0",
        ),
        (spoiled(r#""type":"flight.completed","#, ""), "/0/type", "missing_attribute", "type"),
        (spoiled("flight.completed", "flight.complete"), "/0/type", "unknown_event_type", "`flight.completed`"),
        (spoiled("flight.completed", "tallystick.event.retracted"), "/0/data", "invalid_retraction", "source"),
        (
            spoiled("flight.completed", "tallystick.delivery.acknowledged"),
            "/0/type",
            "reserved_event_type",
            "type of your own",
        ),
        (spoiled(r#""subject":"UA","#, ""), "/0/subject", "missing_party", "whose"),
        (spoiled("2013-01-15T12:00:00Z", "2999-01-01T00:00:00Z"), "/0/time", "time_in_future", "happened"),
        (spoiled("2013-01-15T12:00:00Z", "yesterday"), "/0/time", "invalid_time", "offset"),
        (spoiled("2013-01-15T12:00:00Z", "2013-01-15T12:00:00"), "/0/time", "invalid_time", "offset"),
        (spoiled("2013-01-15T12:00:00Z", "2013-02-30T12:00:00Z"), "/0/time", "invalid_time", "offset"),
        (spoiled(r#""distance":100"#, r#""distance":"far""#), "/0/data/distance", "not_a_number", "number"),
        (spoiled(r#""distance":100,"#, ""), "/0/data/distance", "missing_value", "number"),
        (spoiled(r#""distance":100"#, r#""distance":null"#), "/0/data/distance", "missing_value", "number"),
        (
            spoiled(r#""distance":100"#, r#""distance":1000000000000"#),
            "/0/data/distance",
            "value_out_of_range",
            "10^12",
        ),
        (
            spoiled(r#""distance":100"#, r#""distance":0.0000000001"#),
            "/0/data/distance",
            "value_out_of_range",
            "decimals",
        ),
        (spoiled(r#""id":"good""#, r#""id":"good","id":"twice""#), "/0", "not_an_event", "once"),
        ("[1, 2]".to_owned(), "/0", "not_an_event", "object"),
        (long_line, "/0", "event_too_large", "bytes"),
    ]
}

fn bad_events_are_named_with_their_place_and_nothing_is_stored(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    for (body, at, code, remedy) in bad_events() {
        let problem = server.events(&body).problem(422);
        let errors = problem["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 1, "one thing is wrong: {problem}");
        assert_says_what_where_and_how(&errors[0], at, code, remedy);
        assert_nothing_is_stored(&server);
    }

    // A line that is not UTF-8.
    let latin1 = GOOD.replace("EWR", "Z\u{fc}rich").chars().map(|c| c as u8).collect::<Vec<u8>>();
    let problem = server.send("POST", "/v1/events", &[NDJSON], &latin1).problem(422);
    assert_says_what_where_and_how(&problem["errors"][0], "/0", "not_utf8", "UTF-8");

    // All that is wrong is said at once: two faults in one event, one in another, none in the good ones.
    let body = format!(
        "{}{}\n{}",
        good(1),
        spoiled(r#""id":"good""#, r#""id":17"#).replace(r#""source":"/tests","#, ""),
        spoiled("100", "\"far\"")
    );
    let problem = server.events(&body).problem(422);
    let places: Vec<&str> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["at"].as_str().expect("a place"))
        .collect();
    assert_eq!(places, ["/1/id", "/1/source", "/2/data/distance"]);
    assert_nothing_is_stored(&server);

    // The same events, good, are taken: nothing of them was remembered.
    assert_eq!(server.events(&good(7)).ok()["accepted"], 7);
}

fn bodies_that_cannot_be_read_are_refused(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let post = |headers: &[(&str, &str)], body: &[u8]| server.send("POST", "/v1/events", headers, body);
    let refused = |reply: Reply, status: u16, code: &str, remedy: &str| {
        assert_problem(&reply, status, code, remedy);
        assert_nothing_is_stored(&server);
    };
    let good = good(1).into_bytes();
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(200 << 20), 1).expect("memory");
    assert!(bomb.len() < 100_000, "small as it comes, 200 MiB once decompressed");

    refused(post(&[("content-type", "text/csv")], &good), 415, "unsupported_media_type", "application/x-ndjson");
    refused(post(&[NDJSON, ("content-encoding", "br")], &good), 415, "unsupported_encoding", "gzip");
    refused(post(&[NDJSON, ("content-encoding", "gzip")], &good), 400, "broken_encoding", "compress");
    refused(post(&[NDJSON, ("content-encoding", "zstd")], &good), 400, "broken_encoding", "compress");
    let zstd = zstd::encode_all(&good[..], 1).expect("memory");
    let half = &zstd[..zstd.len() / 2];
    refused(post(&[NDJSON, ("content-encoding", "zstd")], half), 400, "broken_encoding", "all of it");
    refused(post(&[NDJSON, ("content-encoding", "zstd")], &bomb), 413, "body_too_large", "smaller");
    let too_long = vec![b' '; (32 << 20) + 1];
    refused(post(&[NDJSON], &too_long), 413, "body_too_large", "smaller");

    let not_a_list = post(&[BATCH], br#"{"specversion":"1.0"}"#).problem(422);
    assert_says_what_where_and_how(&not_a_list["errors"][0], "/0", "invalid_json", "ndjson");
    let binary = [("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-type", "flight.completed")];
    let problem = post(&binary, br#"{"distance": 1}"#).problem(422);
    let places: Vec<&Value> = problem["errors"].as_array().expect("errors").iter().map(|error| &error["at"]).collect();
    assert_eq!(places, ["/0/id", "/0/source"]);
    assert_nothing_is_stored(&server);

    // The way in.
    let nobody = server.client(None);
    assert_problem(&nobody.events(GOOD), 401, "unauthorized", "Authorization");
    assert_problem(&server.client(Some("tsk_wrong")).events(GOOD), 401, "unauthorized", "key");
    assert_nothing_is_stored(&server);
}

fn other_calls_say_what_is_wrong_with_them(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let consumer = json!({ "name": "United", "currency": "USD" });
    server.put("/v1/consumers/UA", &consumer).ok();

    let put = |changed: Value| server.put("/v1/consumers/XX", &changed);
    assert_problem(&put(json!({ "name": "X", "currency": "USX" })), 422, "unknown_currency", "ISO 4217");
    assert_problem(&put(json!({ "name": "X", "curency": "USD" })), 400, "invalid_body", "currency");
    assert_problem(&put(json!({ "name": 5, "currency": "USD" })), 400, "invalid_body", "string");
    server.get("/v1/consumers/XX").problem(404);

    let subscribe = |consumer: &str, plan: &str, start: &str| {
        server.post("/v1/subscriptions", &json!({ "consumer": consumer, "plan": plan, "start": start }))
    };
    assert_problem(&subscribe("ZZ", "airline", "2013-01-01"), 422, "unknown_consumer", "PUT /v1/consumers/ZZ");
    assert_problem(&subscribe("UA", "airlines", "2013-01-01"), 422, "unknown_plan", "airline");
    assert_problem(&subscribe("UA", "airline", "soon"), 422, "invalid_time", "2013");
    assert_problem(&subscribe("UA", "airline", "2013-01-01T05:30:00Z"), 422, "not_on_the_hour", "full hour");
    assert_eq!(server.get("/v1/subscriptions").ok()["data"], json!([]));

    let broken = server.send("POST", "/v1/subscriptions", &[("content-type", "application/json")], b"{\"consumer\": ");
    assert_problem(&broken, 400, "invalid_json", "JSON");
    assert_problem(&server.post("/v1/close", &json!({ "through": "soon" })), 422, "invalid_time", "2013");

    let usage = |query: &str| server.get(&format!("/v1/usage?{query}"));
    assert_problem(&usage("meter=milse"), 404, "unknown_meter", "miles");
    assert_problem(&usage("meter=miles&from=yesterday"), 400, "invalid_parameter", "2013-01-31");
    assert_problem(&usage("meter=miles&from=2013-02-01&to=2013-01-01"), 400, "invalid_parameter", "");
    assert_problem(&usage("meter=miles&window=fortnight"), 400, "invalid_parameter", "");
    assert_problem(&usage("meter=flights&group_by=dest"), 400, "invalid_parameter", "");
    assert_problem(&usage(""), 400, "invalid_parameter", "meter");

    for list in ["consumers", "subscriptions", "invoices", "payouts", "ledger/entries"] {
        assert_problem(&server.get(&format!("/v1/{list}?limit=0")), 400, "invalid_parameter", "1000");
        assert_problem(&server.get(&format!("/v1/{list}?limit=1001")), 400, "invalid_parameter", "1000");
    }
    for list in ["invoices", "payouts", "ledger/entries"] {
        assert_problem(&server.get(&format!("/v1/{list}?cursor=nowhere")), 400, "invalid_parameter", "next_cursor");
    }
    assert_problem(&server.get("/v1/invoices/inv_nothing"), 404, "unknown_invoice", "");
    assert_problem(
        &server.get("/v1/exports/journal.doc?from=2013-01-01&to=2013-02-01"),
        404,
        "unknown_export",
        "journal.csv",
    );
    assert_problem(&server.get("/v1/consumers/UA/statement?period=2013-13"), 400, "invalid_parameter", "2013-01");
    assert_problem(&server.get("/v1/nowhere"), 404, "unknown_address", "/docs");
    assert_problem(&server.send("DELETE", "/v1/events", &[], b""), 405, "wrong_method", "/docs");
}

fn a_file_with_a_bad_line_is_refused_by_its_line(engine: Engine) {
    let server = Server::start(engine, &books::flights());
    let file = server.data.folder().join("march.ndjson");
    // A blank line counts as a line, since editors count it.
    std::fs::write(&file, format!("{}\n{}\n{GOOD}", good(5), spoiled("100", "\"far\""))).expect("a file");
    let path = file.display().to_string();
    let ran = server.cli(&["events", "import", "--json", &path]);
    assert_eq!(ran.code, 1);
    let errors = ran.json()["rejected"].clone();
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
    assert_says_what_where_and_how(&errors[0], &format!("{path}:7 /data/distance"), "not_a_number", "number");
    assert_nothing_is_stored(&server);
    let ran = server.cli(&["events", "import", &path]);
    assert!(ran.code == 1 && ran.stderr.contains(&format!("{path}:7")) && ran.stderr.contains("number"), "{ran:?}");
    assert_nothing_is_stored(&server);
}

/// `{"at", "code", "detail", "fix"}`: every error has all four, and the fix says something of use.
#[track_caller]
fn assert_says_what_where_and_how(error: &Value, at: &str, code: &str, remedy: &str) {
    assert_eq!((error["at"].as_str(), error["code"].as_str()), (Some(at), Some(code)), "{error:.1000}");
    assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.len() < 1000), "{error:.1000}");
    assert!(
        error["fix"].as_str().is_some_and(|fix| !fix.is_empty() && fix.contains(remedy)),
        "{remedy}: {error:.1000}"
    );
}

/// A problem with this status and code, whose remedies (its own or its errors') have this word.
#[track_caller]
fn assert_problem(reply: &Reply, status: u16, code: &str, remedy: &str) {
    let problem = reply.problem(status);
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
    for said in ["type", "title", "detail"] {
        assert!(problem[said].as_str().is_some_and(|text| !text.is_empty()), "{said}: {problem}");
    }
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said = errors.iter().chain([&problem]).flat_map(|error| [&error["fix"], &error["detail"], &error["at"]]);
    let said: String = said.filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    assert!(said.contains(remedy), "`{remedy}` is not in {problem}");
    let fixes = errors.iter().chain([&problem]).filter_map(|error| error["fix"].as_str());
    assert!(fixes.clone().count() > 0 && fixes.clone().all(|fix| !fix.is_empty()), "how to mend it: {problem}");
}

#[track_caller]
fn assert_nothing_is_stored(client: &Client) {
    for meter in ["flights", "miles", "on_time"] {
        let answer = client.get(&format!("/v1/usage?meter={meter}&from=1970-01-01&to=3000-01-01")).ok();
        assert_eq!(answer["data"], json!([]), "{meter}");
    }
}

/// A mistake in a book: the file, a text that stands in it once, what stands there instead; then the text whose line
/// is named, its code, and a word of the remedy.
type BadBook = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const BAD_BOOKS: [BadBook; 16] = [
    ("book.toml", "currency = \"USD\"", "currency = \"USX\"", "USX", "unknown_currency", "ISO 4217"),
    ("book.toml", "America/New_York", "America/New_Yrok", "Yrok", "unknown_time_zone", "America/New_York"),
    ("book.toml", "name = ", "title = ", "title", "unknown_key", "name"),
    ("catalog/flights.toml", "\"published\"", "\"public\"", "public", "unknown_value", "published"),
    (
        "meters/flights.toml",
        "\"data.distance\"\nparty = \"subject\"\n\n[[meter]]\nid = \"longest_miles\"",
        "\"data.distance\"\npartei = \"subject\"\n\n[[meter]]\nid = \"longest_miles\"",
        "partei",
        "unknown_key",
        "party",
    ),
    ("meters/flights.toml", "id = \"longest_miles\"", "id = \"miles\" # again", "again", "duplicate_id", "another id"),
    ("meters/flights.toml", "aggregation = \"max\"", "aggregation = \"mex\"", "mex", "unknown_value", "max"),
    (
        "plans/airline.toml",
        "up_to = \"1000000\"",
        "up_to = \"10000\"",
        "up_to = \"10000\"",
        "tier_out_of_order",
        "rise",
    ),
    ("plans/airline.toml", "meter = \"late_60\"", "meter = \"late60\"", "late60", "unknown_meter", "late_60"),
    (
        "plans/airline.toml",
        "unit_amount = \"12.375\"",
        "unit_amount = 12.375",
        "12.375\n",
        "not_a_decimal_string",
        "\"12.375\"",
    ),
    ("plans/airline.toml", "unit_amount = \"1.50\"", "unit_amount = \"-1.50\"", "-1.50", "negative_number", "reward"),
    ("plans/airline.toml", "[\"origin\"]", "[\"orgin\"]", "orgin", "unknown_dimension", "origin"),
    ("plans/airline.toml", "\"graduated\"", "\"gradated\"", "gradated", "unknown_value", "graduated"),
    (
        "plans/airline.toml",
        "\"punctuality-2013\"",
        "\"punctuality\"",
        "\"punctuality\"\ncap",
        "unknown_program",
        "punctuality-2013",
    ),
    ("programs/punctuality.toml", "to = \"2014-01-01\"", "to = \"2012-01-01\"", "2012", "period_out_of_order", "`to`"),
    ("programs/punctuality.toml", "hold = \"14d\"", "hold = \"14d", "\"14d", "invalid_toml", ""),
];

#[test]
fn each_mistake_in_a_book_is_named_with_its_line() {
    for (file, text, instead, mark, code, remedy) in BAD_BOOKS {
        let book = Book::flights().with(file, text, instead);
        let at = format!("{file}:{}", line_of(&book, file, mark));
        let checked = check(&book, &["--json"]);
        let errors = checked.json()["errors"].clone();
        assert_eq!((checked.code, errors.as_array().map(Vec::len)), (1, Some(1)), "{code}: {errors:#}");
        assert_says_what_where_and_how(&errors[0], &at, code, remedy);
        let read = check(&book, &[]);
        assert!(read.code == 1 && read.stderr.contains(&at) && read.stderr.contains(remedy), "{code}: {read:?}");
    }
    assert_eq!(check(&Book::flights(), &[]).code, 0, "the book itself is right");
}

#[test]
fn all_mistakes_in_a_book_are_named_at_once() {
    let mut book = Book::flights();
    for (file, text, instead, ..) in [BAD_BOOKS[1], BAD_BOOKS[5], BAD_BOOKS[7], BAD_BOOKS[9], BAD_BOOKS[14]] {
        book = book.with(file, text, instead);
    }
    let errors = check(&book, &["--json"]).json()["errors"].clone();
    let codes: Vec<&str> =
        errors.as_array().expect("errors").iter().filter_map(|error| error["code"].as_str()).collect();
    for code in ["unknown_time_zone", "duplicate_id", "tier_out_of_order", "not_a_decimal_string"] {
        assert!(codes.contains(&code), "{code} is missing: {errors:#}");
    }
    assert!(check(&book, &[]).stderr.lines().filter(|line| line.contains(".toml:")).count() >= 4);
}

#[test]
fn a_server_does_not_start_on_a_bad_book_and_publishes_nothing_of_it() {
    let bad = Book::flights().with("plans/airline.toml", "\"graduated\"", "\"gradated\"");
    let data = Data::new(Engine::Sqlite);
    let path = bad.path().display().to_string();
    let refused = data.run(&["serve", "--listen", "127.0.0.1:0", "--pricing", &path]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("plans/airline.toml:") && refused.stderr.contains("graduated"), "{refused:?}");
    assert_eq!(data.run(&["pricing", "apply", "--pricing", &path]).code, 1);
    // The next start publishes the good book, as on data that never saw another.
    let server = Server::start_with(data, &books::flights(), &[]);
    assert_eq!(server.events(GOOD).ok()["accepted"], 1);
}

#[test]
fn commands_that_cannot_work_say_why_and_exit_with_a_code_of_their_own() {
    let data = Data::new(Engine::Sqlite);
    let says = |ran: Ran, code: i32, words: &[&str]| {
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {ran:?}");
    };
    // 2: wrong usage.
    says(run(["evnts", "import"], ""), 2, &["events"]);
    says(run(["events", "import"], ""), 2, &["FILE"]);
    says(data.run(&["close"]), 2, &["--through"]);
    says(data.run(&["close", "--through", "soon"]), 2, &["soon"]);
    says(data.run(&["key", "create", "--role", "king"]), 2, &["king", "operator"]);
    says(run(["verify", "--data"], ""), 2, &["--data"]);
    // 3: cannot be reached or opened.
    let gone = ["--server", "http://127.0.0.1:9", "--key", "tsk_x"];
    let file = data.folder().join("events.ndjson");
    std::fs::write(&file, GOOD).expect("a file");
    let file = file.display().to_string();
    says(run([["events", "import"].as_slice(), &gone, &[&file]].concat(), ""), 3, &["127.0.0.1:9"]);
    says(data.run(&["events", "import", "no-such-file.ndjson"]), 3, &["no-such-file.ndjson"]);
    says(run(["pricing", "check", "--pricing", "no-such-folder"], ""), 3, &["no-such-folder"]);
    says(run(["verify", "--data", "no-such-folder"], ""), 3, &["no-such-folder"]);
    says(run(["verify", "--database-url", "postgres://127.0.0.1:9/nothing"], ""), 3, &[]);

    // Data that a server holds is left alone.
    let server = Server::start_with(data, &books::flights(), &[]);
    says(server.data.run(&["events", "import", &file]), 3, &["in use", "--server"]);
    assert_nothing_is_stored(&server);
    let wrong_key = ["events", "import", &file, "--server", server.url(), "--key", "tsk_wrong"];
    says(run(wrong_key, ""), 1, &["401"]);
}

fn check(book: &Book, more: &[&str]) -> Ran {
    let path = book.path().display().to_string();
    run(["pricing", "check", "--pricing", &path].into_iter().chain(more.iter().copied()), "")
}

/// The line, from 1, of a text that stands once in a file of a book.
#[track_caller]
fn line_of(book: &Book, file: &str, text: &str) -> usize {
    let content = std::fs::read_to_string(book.path().join(file)).expect("a file of the book");
    assert_eq!(content.matches(text).count(), 1, "`{text}` stands once in {file}");
    content[..content.find(text).expect("it stands there")].matches('\n').count() + 1
}
