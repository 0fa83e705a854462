//! The statement: what a consumer owes and is owed for a period, so far or for good, and why each line is what it is.

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::server::Server;

crate::support::both_engines!(a_statement_is_the_same_before_and_after_its_period_is_closed);

const STATEMENT: &str = "/v1/consumers/UA/statement?period=2013-01";

/// United has flown three times in January, on time: twice from Newark and once from JFK.
fn flown(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    let flight = |day: u32, origin: &str| {
        let event = json!({
            "specversion": "1.0", "id": day.to_string(), "source": "/tests", "type": "flight.completed",
            "subject": "UA", "time": format!("2013-01-{day:02}T12:00:00Z"),
            "data": { "origin": origin, "distance": 1000, "dep_delay": 0, "arr_delay": -5 },
        });
        format!("{event}\n")
    };
    server.events(&(flight(2, "EWR") + &flight(3, "EWR") + &flight(30, "JFK"))).ok();
    server.put("/v1/consumers/UA", &json!({ "name": "United <Air> & Sons", "currency": "USD" })).ok();
    server.post("/v1/subscriptions", &json!({ "consumer": "UA", "plan": "airline", "start": "2013-01-01" })).ok();
    server
}

/// Component, quantity and amount of each line that is not zero, sorted.
fn lines(statement: &Value, kind: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("a text: {statement}")).to_owned();
    let line = |line: &Value| {
        assert_eq!(line["amount"]["currency"], "USD");
        assert!(!text(&line["description"]).is_empty());
        assert!(line["explanation"].as_object().is_some_and(|why| !why.is_empty()), "says why: {line}");
        (text(&line["component"]), text(&line["quantity"]), text(&line["amount"]["amount"]))
    };
    let lines = statement[kind].as_array().unwrap_or_else(|| panic!("{kind}: {statement}"));
    let mut lines: Vec<_> = lines.iter().map(line).filter(|(_, _, amount)| amount != "0.00").collect();
    lines.sort_unstable();
    lines
}

fn assert_says_what_united_flew(statement: &Value) {
    let line = |component: &str, quantity: &str, amount: &str| (component.into(), quantity.into(), amount.into());
    // 3,000 miles at 1 cent; 12.375 a flight, rounded on each airport's line; 1.50 for each that was on time.
    assert_eq!(
        lines(statement, "charges"),
        [line("gates", "1", "12.38"), line("gates", "2", "24.75"), line("miles", "3000", "30.00")]
    );
    assert_eq!(lines(statement, "rewards"), [line("punctuality", "3", "4.50")]);
    assert_eq!(lines(statement, "adjustments"), []);
    assert_eq!(statement["consumer"], "UA");
    assert_eq!(statement["period"], json!({ "from": "2013-01-01T05:00:00Z", "to": "2013-02-01T05:00:00Z" }));
    assert_eq!(statement["net"], json!({ "amount": "62.63", "currency": "USD" }), "67.13 less 4.50");
}

fn a_statement_is_the_same_before_and_after_its_period_is_closed(engine: Engine) {
    let server = flown(engine);
    let open = server.get(STATEMENT).ok();
    assert_says_what_united_flew(&open);
    assert_eq!(open["documents"], json!([]), "nothing is final yet");

    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    let closed = server.get(STATEMENT).ok();
    assert_says_what_united_flew(&closed);
    let documents = closed["documents"].as_array().expect("ids");
    assert_eq!(documents.len(), 2, "an invoice and a payout statement: {documents:?}");
    for id in documents {
        let id = id.as_str().expect("an id");
        let path = if id.starts_with("inv_") { format!("/v1/invoices/{id}") } else { format!("/v1/payouts/{id}") };
        assert_eq!(server.get(&path).ok()["consumer"], "UA");
    }

    let csv = server.send("GET", STATEMENT, &[("accept", "text/csv")], b"");
    assert!(csv.status == 200 && csv.content_type.starts_with("text/csv"), "{} {}", csv.status, csv.content_type);
    for shown in ["30.00", "24.75", "12.38", "4.50"] {
        assert_eq!(csv.text().lines().filter(|line| line.contains(shown)).count(), 1, "{shown}:\n{}", csv.text());
    }

    let page = server.send("GET", STATEMENT, &[("accept", "text/html")], b"");
    assert!(page.status == 200 && page.content_type.starts_with("text/html"), "{} {}", page.status, page.content_type);
    let page = page.text();
    for shown in ["30.00", "24.75", "12.38", "4.50", "62.63", "<svg", "United &"] {
        assert!(page.contains(shown), "{shown} is on the page");
    }
    assert!(!page.contains("<Air>"), "a name cannot put anything into the page");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "the page loads nothing from elsewhere");
}
