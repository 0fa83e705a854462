//! Every model that prices more than a quantity, through the binary: from events over HTTP to the lines of a statement,
//! with numbers computed by hand.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use crate::support::data::Engine;
use crate::support::data::run;
use crate::support::server::Server;

crate::support::both_engines!(every_model_comes_to_its_number_and_says_why);

fn payment(id: u32, day: u32, amount: &str, scheme: &str, region: Option<&str>) -> Value {
    json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": "payment.settled", "subject": "acme",
        "time": format!("2026-10-{day:02}T10:00:00Z"),
        "data": { "amount": amount, "scheme": scheme, "region": region },
    })
}

fn seats(id: u32, time: &str, change: i64) -> Value {
    json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": "seat.changed", "subject": "acme",
        "time": time, "data": { "change": change },
    })
}

fn every_model_comes_to_its_number_and_says_why(engine: Engine) {
    let book = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/books/payments");
    let server = Server::start(engine, &book);
    server.put("/v1/consumers/acme", &json!({ "name": "Acme", "currency": "USD" })).ok();
    let subscription = json!({ "consumer": "acme", "plan": "pay", "start": "2026-10-01" });
    assert_eq!(server.post("/v1/subscriptions", &subscription).status, 201);
    let events = [
        payment(1, 1, "100", "visa", Some("eu")),
        payment(2, 1, "50", "mc", Some("us")),
        payment(3, 2, "80.5", "amex", Some("eu")),
        payment(4, 2, "500", "visa", Some("eu")),
        payment(5, 3, "20", "visa", None),
        seats(6, "2026-10-01T00:00:00Z", 4),
        seats(7, "2026-10-16T09:00:00Z", 3),
        seats(8, "2026-10-22T00:00:00Z", -2),
        // Seats of a later period change nothing in this one, and payments before it neither.
        seats(9, "2026-11-01T00:00:00Z", 50),
    ];
    server.events(&events.map(|event| event.to_string()).join("\n")).ok();
    server.post("/v1/close", &json!({ "through": "2026-11-01" })).ok();
    let statement = server.get("/v1/consumers/acme/statement?period=2026-10").ok();
    let lines = statement["charges"].as_array().expect("lines");
    let told = lines.iter().map(|line| {
        let steps = line["explanation"]["steps"].as_array().expect("steps");
        let price = steps.iter().find(|step| step["step"] == "price").expect("a price");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&line["component"]), text(&line["amount"]["amount"]), text(&price["text"]))
    });
    let expected = [
        // 100 is free; 50 and 80.5 and 20 pay 2.9 % and 0.30; 500 would pay 14.80.
        (
            "card",
            "10.26",
            "2.9 % of 650.50 USD and 0.30 USD for each of 4 events, at most 5.00 USD each, 1 event free = 10.2645 USD",
        ),
        ("volume", "6.75", "200.00 USD at 1 % + 550.50 USD at 0.5 % and 2.00 USD = 6.7525 USD"),
        ("schemes", "0.05", "1 unit at 0.05 USD (scheme visa or mc) = 0.05 USD"),
        (
            "schemes",
            "0.10",
            "2 units at 0.05 USD (scheme visa or mc) + 1 unit without a price, so not billed = 0.10 USD",
        ),
        ("schemes", "0.05", "1 unit at 0.05 USD (scheme visa or mc) = 0.05 USD"),
        // Two on the first day, two on the second, one on the third: three packages of two.
        ("daily", "3.00", "each day on its own, 3 windows = 3.00 USD"),
        ("step", "20.00", "the step for 5 units = 20.00 USD"),
        ("cap", "9.00", "the capacity without a limit = 9.00 USD"),
        ("dyn", "7.51", "the amounts of the events, 750.50 USD, times 0.01 = 7.505 USD"),
        // 4 for 31 days, then one at 10.00 and two at 5.00 for 16 days, and two at 5.00 back for 10; 1.00 flat.
        ("seats", "48.10", "each unit for the time that it was there, 5 at the end = 48.09677419 USD"),
    ];
    let expected = expected.map(|(id, amount, text)| (id.to_owned(), amount.to_owned(), text.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let page = server.send("GET", "/v1/consumers/acme/statement?period=2026-10", &[("accept", "text/html")], b"");
    assert!(page.text().contains("without a price, so not billed"), "{}", page.text());

    let Server { data, .. } = &server;
    let verify: Vec<String> = [vec!["verify".to_owned()], data.arguments()].concat();
    let verified = run(&verify, "");
    assert_eq!(verified.code, 0, "{verified:?}");
}
