//! Billing days of a subscription's own, over HTTP: given when it is made, changed later, and refused where there is none.

use serde_json::Value;
use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::http::Reply;
use crate::support::server::Server;

crate::support::both_engines!(a_billing_day_is_given_and_changes, a_billing_day_that_cannot_be_is_refused);

const LOUNGE: &str = r#"
[plan]
id = "lounge"
anchor = "subscription"
anchor_day = "1"

[[plan.component]]
id = "seats"
kind = "fee"
amount = "310.00"
when = "advance"
prorate = "day"
"#;

fn server(engine: Engine) -> Server {
    let book = Book::flights();
    std::fs::write(book.path().join("plans/lounge.toml"), LOUNGE).expect("is written");
    let server = Server::start(engine, book.path());
    server.put("/v1/consumers/UA", &json!({ "name": "United", "currency": "USD" })).ok();
    server
}

fn subscribe(server: &Server, plan: &str, anchor_day: &Value, key: &str) -> Reply {
    let body = json!({ "consumer": "UA", "plan": plan, "start": "2013-01-01", "anchor_day": anchor_day }).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    server.send("POST", "/v1/subscriptions", &headers, body.as_bytes())
}

fn change(server: &Server, subscription: &Value, change: &Value) -> Reply {
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().expect("an id"));
    server.send("PATCH", &path, &[("content-type", "application/json")], change.to_string().as_bytes())
}

/// What was charged for which days, the oldest first.
fn charged(server: &Server) -> Vec<String> {
    let invoices = server.get("/v1/invoices").ok()["data"].as_array().expect("a list").clone();
    let day = |value: &Value| value.as_str().expect("a time")[..10].to_owned();
    let line = |line: &Value| {
        let amount = line["amount"]["amount"].as_str().expect("an amount");
        format!("{} to {}: {amount}", day(&line["from"]), day(&line["to"]))
    };
    let mut lines: Vec<String> =
        invoices.iter().flat_map(|invoice| invoice["lines"].as_array().expect("lines").iter().map(line)).collect();
    lines.sort();
    lines
}

fn a_billing_day_is_given_and_changes(engine: Engine) {
    let server = server(engine);
    let made = subscribe(&server, "lounge", &json!(11), "one").ok();
    assert_eq!((&made["anchor_day"], &made["anchor_days"]), (&json!(11), &Value::Null));
    assert_eq!(subscribe(&server, "lounge", &json!("11"), "one").ok(), made, "a text as in a plan is the same");
    let other = subscribe(&server, "lounge", &json!(12), "one").problem(422);
    assert_eq!(other["code"], "idempotency_key_reused");

    server.post("/v1/close", &json!({ "through": "2013-02-11" })).ok();
    let changed = change(&server, &made, &json!({ "at": "2013-02-20", "anchor_day": 26 })).ok();
    let kept = &changed["anchor_days"][0];
    assert_eq!((&kept["anchor_day"], &kept["at"]), (&json!(26), &json!("2013-02-20T05:00:00Z")));
    server.post("/v1/close", &json!({ "through": "2013-03-26" })).ok();
    change(&server, &made, &json!({ "at": "2013-04-01", "anchor_day": null })).ok();
    server.post("/v1/close", &json!({ "through": "2013-05-01" })).ok();
    assert_eq!(
        charged(&server),
        [
            // 10 of the 31 days since 11 December.
            "2013-01-01 to 2013-01-11: 100.00",
            "2013-01-11 to 2013-02-11: 310.00",
            "2013-02-11 to 2013-03-11: 310.00",
            // 15 of the 28 days since 26 February.
            "2013-03-11 to 2013-03-26: 166.07",
            "2013-03-26 to 2013-04-26: 310.00",
            // The plan's own day again: 5 of the 30 days of April.
            "2013-04-26 to 2013-05-01: 51.67",
            "2013-05-01 to 2013-06-01: 310.00",
        ]
    );
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"));
    let known = server.get(&path).ok();
    assert_eq!(known["anchor_day"], 11);
    assert_eq!(known["anchor_days"].as_array().map(Vec::len), Some(2));
    assert_eq!(known["anchor_days"][1]["anchor_day"], Value::Null);
    server.data.run(&["verify"]).done();
}

fn a_billing_day_that_cannot_be_is_refused(engine: Engine) {
    let server = server(engine);
    for (plan, day, code) in [
        ("airline", json!(3), "anchor_day_is_fixed"),
        ("lounge", json!(0), "unusable_anchor_day"),
        ("lounge", json!("32"), "unusable_anchor_day"),
    ] {
        let refused = subscribe(&server, plan, &day, "refused").problem(422);
        assert_eq!(refused["code"], code, "{refused}");
        assert!(refused.to_string().contains("/anchor_day"), "says where: {refused}");
    }
    assert_eq!(subscribe(&server, "lounge", &json!([3]), "refused").problem(400)["code"], "invalid_body");
    assert_eq!(server.get("/v1/subscriptions").ok()["data"], json!([]));

    let made = subscribe(&server, "lounge", &Value::Null, "made").ok();
    assert_eq!(made["anchor_day"], Value::Null);
    for (wanted, code) in [
        (json!({ "at": "2013-02-20", "anchor_day": 40 }), "unusable_anchor_day"),
        (json!({ "at": "2013-02-20", "plan": "airline", "anchor_day": 4 }), "anchor_day_is_fixed"),
        (json!({ "at": "2013-01-01", "anchor_day": 4 }), "period_is_closed"),
        (json!({ "anchor_day": 4 }), "unclear_change"),
        (json!({ "at": "2013-02-20", "anchor_day": 4, "end": null }), "unclear_change"),
        (json!({ "at": "2013-02-20", "anchor_day": 4, "quantity": 3 }), "unclear_change"),
        (json!({ "at": "2013-02-20", "quantity": -1 }), "unusable_quantity"),
        (json!({ "at": "2013-01-01", "paused": true }), "period_is_closed"),
        (json!({ "paused": true }), "unclear_change"),
        (json!({ "at": "2013-02-20", "end_charges": false }), "unclear_change"),
        (json!({ "end": null, "end_credits": false }), "unclear_change"),
    ] {
        assert_eq!(change(&server, &made, &wanted).problem(422)["code"], code, "{wanted}");
    }
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"));
    assert_eq!(server.get(&path).ok(), made, "nothing changed");
    let both = change(&server, &made, &json!({ "at": "2013-02-20", "plan": "lounge", "anchor_day": 4 })).ok();
    assert_eq!((&both["changes"][0]["plan"], &both["anchor_days"][0]["anchor_day"]), (&json!("lounge"), &json!(4)));
}
