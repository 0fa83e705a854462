//! Quotas: what is used of what is included, what is spent of what may be, and who is told.

use serde_json::Value;
use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::server::Server;

crate::support::both_engines!(
    a_quota_is_current_and_says_when_a_spend_cap_is_reached,
    a_spend_cap_that_cannot_be_is_refused,
    a_consumer_asks_for_itself_alone,
);

const QUOTA: &str = "/v1/consumers/UA/quota";

/// The first 100,000 miles are free, and so are two gates a month at each airport, of which five a day count.
fn server(engine: Engine) -> Server {
    let gate = "unit_amount = \"12.375\"";
    let free = format!("{gate}\nfree_quantity = \"2\"\ncap = [{{ units = \"5\", per = \"day\" }}]");
    let plan = "plans/airline.toml";
    let book = Book::flights().with(plan, gate, &free).with(plan, "unit_amount = \"0.0100\"", "unit_amount = \"0\"");
    let server = Server::start(engine, book.path());
    server.put("/v1/consumers/UA", &json!({ "name": "United", "currency": "USD" })).ok();
    server.post("/v1/subscriptions", &json!({ "consumer": "UA", "plan": "airline", "start": "2020-01-01" })).ok();
    server
}

/// So many flights from Newark, at this moment.
fn fly(server: &Server, ids: std::ops::Range<u32>) {
    let flight = |id: u32| {
        let data = json!({ "origin": "EWR", "distance": 1000, "dep_delay": 0, "arr_delay": -5 });
        let kind = "flight.completed";
        let event = json!({
            "specversion": "1.0", "id": id.to_string(), "source": "/tests", "type": kind, "subject": "UA", "data": data,
        });
        format!("{event}\n")
    };
    server.events(&ids.map(flight).collect::<String>()).ok();
}

fn put(server: &Server, spend_cap: &Value, alerts: &Value) -> crate::support::http::Reply {
    let consumer = json!({ "name": "United", "currency": "USD", "spend_cap": spend_cap, "alerts": alerts });
    server.put("/v1/consumers/UA", &consumer)
}

fn usd(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn a_quota_is_current_and_says_when_a_spend_cap_is_reached(engine: Engine) {
    let server = server(engine);
    fly(&server, 0..3);
    let quota = server.get(QUOTA).ok();
    let [subscription] = &quota["subscriptions"].as_array().expect("a list")[..] else { panic!("one runs: {quota}") };
    assert_eq!(subscription["plan"], "airline");
    let components = subscription["components"].as_array().expect("a list");
    let of = |id: &str| components.iter().find(|quota| quota["component"] == id).expect("is there");
    let (miles, gates) = (of("miles"), of("gates"));
    let included = |by: &str, quantity: &str, used: &str, left: &str| json!([{ "by": by, "quantity": quantity, "used": used, "left": left }]);
    assert_eq!((&miles["used"], &miles["left"]), (&json!("3000"), &json!("97000")));
    assert_eq!(miles["included"], included("free_tier", "100000", "3000", "97000"));
    assert_eq!(gates["included"], included("free_quantity", "2", "2", "0"));
    assert_eq!(gates["dimensions"], json!({ "origin": "EWR" }));
    assert_eq!(gates["resets_at"], subscription["period"]["to"]);
    let cap = &gates["caps"][0];
    assert_eq!([&cap["of"], &cap["per"], &cap["limit"], &cap["used"], &cap["left"]], ["units", "day", "5", "3", "2"]);
    assert!(cap["resets_at"].as_str() <= gates["resets_at"].as_str(), "{cap}");
    // The program ended with 2013.
    assert!(components.iter().all(|quota| quota["kind"] == "charge"), "{quota}");
    let open = json!({
        "so_far": usd("12.38"), "cap": null, "left": null, "percent": null, "alerts": [], "state": "ok",
    });
    assert_eq!(quota["spend"], open);

    let known = put(&server, &usd("20.00"), &json!(["80", "50"])).ok();
    assert_eq!((&known["spend_cap"], &known["alerts"]), (&usd("20.00"), &json!(["50", "80"])));
    assert_eq!(server.get("/v1/consumers/UA").ok(), known);
    let alert = json!({
        "so_far": usd("12.38"), "cap": usd("20.00"), "left": usd("7.62"), "percent": "61.9", "state": "alert",
        "alerts": [{ "percent": "50", "reached": true }, { "percent": "80", "reached": false }],
    });
    assert_eq!(server.get(QUOTA).ok()["spend"], alert);
    // Counted all the same.
    fly(&server, 3..4);
    let over = server.get(QUOTA).ok()["spend"].clone();
    assert_eq!((&over["state"], &over["so_far"], &over["left"]), (&json!("over"), &usd("24.75"), &usd("0.00")));
    put(&server, &Value::Null, &json!([])).ok();
    assert_eq!(server.get(QUOTA).ok()["spend"]["state"], "ok");
}

fn a_spend_cap_that_cannot_be_is_refused(engine: Engine) {
    let server = server(engine);
    let euro = json!({ "amount": "5.00", "currency": "EUR" });
    for (spend_cap, alerts, at, code) in [
        (euro, json!([]), "/spend_cap/currency", "other_currency"),
        (usd("0"), json!([]), "/spend_cap/amount", "unusable_amount"),
        (usd("1.234"), json!([]), "/spend_cap/amount", "unusable_amount"),
        (usd("much"), json!([]), "/spend_cap/amount", "unusable_amount"),
        (Value::Null, json!(["50"]), "/alerts", "unusable_alert"),
        (usd("5"), json!(["50", "0"]), "/alerts/1", "unusable_alert"),
        (usd("5"), json!(["80", "80.0"]), "/alerts/1", "unusable_alert"),
        (usd("5"), json!(["1001"]), "/alerts/0", "unusable_alert"),
        (usd("5"), json!(["half"]), "/alerts/0", "unusable_alert"),
    ] {
        let problem = put(&server, &spend_cap, &alerts).problem(422);
        assert_eq!((&problem["errors"][0]["at"], &problem["code"]), (&json!(at), &json!(code)), "{spend_cap} {alerts}");
    }
    assert_eq!(server.get("/v1/consumers/UA").ok()["spend_cap"], Value::Null, "nothing of it was kept");
}

fn a_consumer_asks_for_itself_alone(engine: Engine) {
    let server = server(engine);
    let answers = ["finance", "consumer:UA", "consumer:AA", "ingest"].map(|role| {
        let printed = server.cli(&["key", "create", "--role", role, "--name", "a test", "--json"]).done();
        let key: Value = serde_json::from_str(&printed).expect("JSON");
        server.client(key["secret"].as_str()).get(QUOTA).status
    });
    assert_eq!(answers, [200, 200, 403, 403]);
    assert_eq!(server.get("/v1/consumers/nobody/quota").problem(404)["code"], "unknown_consumer");
}
