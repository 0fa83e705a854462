//! Getting paid: payments, credit notes and the states of invoices, over HTTP as finance uses it.

use serde_json::Value;
use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::money::cents;
use crate::support::server::Server;

crate::support::both_engines!(
    an_invoice_is_paid_credited_and_given_up_and_the_ledger_follows,
    prepaid_credit_is_bought_given_used_and_taken_back,
    what_cannot_be_is_refused_and_says_what_to_do,
);

/// A server on which UA owes for two months, and its invoices, oldest first.
fn billed(engine: Engine) -> (Server, Vec<Value>) {
    let zone = "timezone = \"America/New_York\"\n";
    let with = format!(
        "{zone}\n[invoice]\ndue_after = \"14d\"\nreminders = [\"3d\", \"10d\"]\n\n[[tax]]\nid = \"ny\"\njurisdiction = \"US-NY\"\nrate = \"8.875\"\n"
    );
    let book = Book::flights().with("book.toml", zone, &with);
    let server = Server::start(engine, book.path());
    for month in ["01", "02", "03"] {
        let event = json!({
            "specversion": "1.0", "id": month, "source": "/tests", "type": "flight.completed", "subject": "UA",
            "time": format!("2013-{month}-15T12:00:00Z"), "data": { "origin": "EWR", "distance": 777, "arr_delay": -1 },
        });
        server.events(&event.to_string()).ok();
    }
    server.put("/v1/consumers/UA", &json!({ "name": "United", "currency": "USD", "tax": "ny" })).ok();
    server.post("/v1/subscriptions", &json!({ "consumer": "UA", "plan": "airline", "start": "2013-01-01" })).ok();
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let mut invoices = server.get("/v1/invoices").ok()["data"].as_array().expect("a list").clone();
    invoices.sort_by_key(|invoice| invoice["number"].as_str().map(str::to_owned));
    (server, invoices)
}

fn path(invoice: &Value, action: &str) -> String {
    format!("/v1/invoices/{}{action}", invoice["id"].as_str().expect("an id"))
}

/// What stands on accounts with this code, debit less credit.
fn standing(server: &Server, code: &str) -> i64 {
    let balance = server.get("/v1/ledger/trial-balance").ok();
    let accounts = balance["accounts"].as_array().expect("accounts").iter();
    let cents = |text: &Value| (text.as_str().expect("a decimal").replace('.', "")).parse::<i64>().expect("cents");
    accounts.filter(|account| account["account"] == code).map(|of| cents(&of["debit"]) - cents(&of["credit"])).sum()
}

fn an_invoice_is_paid_credited_and_given_up_and_the_ledger_follows(engine: Engine) {
    let (mut server, invoices) = billed(engine);
    let [first, second, ..] = invoices.as_slice() else { panic!("{invoices:?}") };
    let owed: i64 = invoices.iter().map(|invoice| cents(&invoice["outstanding"])).sum();
    assert_eq!(standing(&server, "1100"), owed);
    let issued: jiff::Timestamp = first["issued_at"].as_str().expect("a time").parse().expect("a time");
    let due = issued.in_tz("America/New_York").expect("a zone").date().saturating_add(jiff::ToSpan::days(14));
    assert_eq!((first["state"].as_str(), first["due_on"].as_str()), (Some("open"), Some(&*due.to_string())));

    assert_eq!(server.get("/v1/dunning").ok()["data"], json!([]));
    let later = due.saturating_add(jiff::ToSpan::days(4));
    let overdue = server.get(&format!("/v1/dunning?consumer=UA&limit=1&on={later}")).ok();
    assert_eq!((&overdue["data"][0]["days"], &overdue["data"][0]["reminders"]), (&json!(4), &json!(1)), "{overdue}");
    let cursor = overdue["next_cursor"].as_str().expect("there are more");
    let rest = server.get(&format!("/v1/dunning?on={later}&cursor={cursor}")).ok();
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(invoices.len() - 1));
    assert_eq!(server.get("/v1/dunning?cursor=x").problem(400)["code"], "invalid_parameter");

    // Too much, twice with one key: what is left over is credit, and pays for the next invoice by the next closing.
    let total = cents(&first["total"]);
    let dollars = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
    let body = json!({ "amount": { "amount": dollars(total + 500), "currency": "USD" }, "reference": "wire 7" });
    let pay =
        || server.send("POST", &path(first, "/pay"), &[("idempotency-key", "wire-7")], body.to_string().as_bytes());
    let (once, twice) = (pay().ok(), pay().ok());
    assert_eq!((once["id"].clone(), cents(&once["credited"])), (twice["id"].clone(), 500));
    assert_eq!(server.get(&path(first, "")).ok()["state"], "paid");
    assert_eq!((standing(&server, "1000"), standing(&server, "2110")), (total + 500, -500));
    let found = server.get(&format!("/v1/payments/{}", once["id"].as_str().expect("an id"))).ok();
    assert_eq!((&found["reference"], cents(&found["settled"][0]["amount"])), (&json!("wire 7"), total));

    let line = json!({ "line": 1, "amount": { "amount": "1.00", "currency": "USD" } });
    let note = json!({ "invoice": second["id"], "lines": [line], "reason": "a bumpy flight" });
    let note = server.post("/v1/credit-notes", &note).json();
    assert_eq!((&note["number"], cents(&note["net"]), cents(&note["tax"])), (&json!("CN-000001"), 100, 9));
    assert_eq!(server.get("/v1/credit-notes?consumer=UA").ok()["data"], json!([note]));
    let after = server.get(&path(second, "")).ok();
    assert_eq!(cents(&after["outstanding"]), cents(&second["total"]) - 109);
    let given_up = server.post(&path(second, "/uncollectible"), &json!({ "reason": "bankrupt" })).ok();
    assert_eq!(given_up["state"], "uncollectible");
    assert_eq!(standing(&server, "5200"), cents(&second["total"]) - 109);

    server.post("/v1/close", &json!({ "through": "2013-04-01" })).ok();
    let newest = &server.get("/v1/invoices").ok()["data"][0];
    let credit = &newest["settlements"][0];
    assert_eq!(
        (&credit["means"], cents(&credit["amount"]), &credit["recorded_by"]),
        (&json!("credit"), 500, &Value::Null)
    );
    assert_eq!(standing(&server, "2110"), 0);
    let rest = json!({ "consumer": "UA", "amount": { "amount": "1000.00", "currency": "USD" } });
    server.post("/v1/payments", &rest).ok();
    assert_eq!(standing(&server, "1100"), 0);

    server.stop();
    server.data.run(&["verify"]).done();
}

fn prepaid_credit_is_bought_given_used_and_taken_back(engine: Engine) {
    let (mut server, invoices) = billed(engine);
    let credit = |amount: &str, source: &str, expires_at: Value| {
        json!({
            "consumer": "UA", "amount": { "amount": amount, "currency": "USD" }, "source": source,
            "effective_at": "2013-01-01", "expires_at": expires_at, "reason": "a package",
        })
    };
    let post = |key: &str, body: &Value| {
        let reply = server.send("POST", "/v1/credits", &[("idempotency-key", key)], body.to_string().as_bytes());
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()
    };
    let bought = credit("100.00", "purchased", Value::Null);
    let bought = [post("a", &bought), post("a", &bought)];
    assert_eq!(bought[0], bought[1]);
    let given = post("b", &credit("5.00", "granted", json!("2013-04-02")));
    let short = post("c", &credit("3.00", "purchased", json!("2013-03-15")));
    let owed: i64 = invoices.iter().map(|invoice| cents(&invoice["outstanding"])).sum();
    let balance = server.get("/v1/consumers/UA/balance").ok();
    assert_eq!((cents(&balance["outstanding"]), cents(&balance["prepaid"])), (owed, 10_000), "the others have expired");

    let wish = |below: &str| json!({ "below": { "amount": below, "currency": "USD" }, "amount": { "amount": "50.00", "currency": "USD" } });
    server.put("/v1/consumers/UA/top-up", &wish("100.00")).ok();
    assert_eq!(server.get("/v1/top-ups").ok()["data"], json!([]), "100.00 are left");
    server.put("/v1/consumers/UA/top-up", &wish("100.01")).ok();
    assert_eq!(server.get("/v1/consumers/UA/balance").ok()["is_low"], true);
    let low = &server.get("/v1/top-ups").ok()["data"][0];
    assert_eq!((&low["consumer"], cents(&low["amount"]), cents(&low["left"])), (&json!("UA"), 5_000, 10_000));
    assert_eq!(server.send("DELETE", "/v1/consumers/UA/top-up", &[], b"").status, 204);

    let closed = server.post("/v1/close", &json!({ "through": "2013-04-01" })).ok();
    assert_eq!(closed["credits_expired"], 1, "what could not be used in all of March");
    let newest = &server.get("/v1/invoices").ok()["data"][0];
    assert_eq!((&newest["state"], &newest["settlements"][0]["means"]), (&json!("paid"), &json!("prepaid")));
    let path = |credit: &Value| format!("/v1/credits/{}", credit["id"].as_str().expect("an id"));
    let given = server.get(&path(&given)).ok();
    assert_eq!((cents(&given["left"]), &given["movements"][0]["kind"]), (0, &json!("drawn")));
    assert_eq!(server.get(&path(&short)).ok()["movements"][0]["kind"], "expired");
    let used = cents(&newest["total"]) - 500;
    let voided = server.post(&format!("{}/void", path(&bought[0])), &json!({ "reason": "moved away" })).ok();
    assert_eq!((cents(&voided["left"]), cents(&voided["movements"][1]["amount"])), (0, 10_000 - used));
    assert_eq!((standing(&server, "2100"), standing(&server, "4010"), standing(&server, "4095")), (0, -300, 500));
    assert_eq!(standing(&server, "1000"), 10_000 + 300 - (10_000 - used));

    for (change, at) in [
        (json!({ "source": "stolen" }), "/source"),
        (json!({ "expires_at": "2012-01-01" }), "/expires_at"),
        (json!({ "effective_at": "soon" }), "/effective_at"),
        (json!({ "consumer": "nobody" }), "/consumer"),
    ] {
        let mut body = credit("1.00", "granted", Value::Null);
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        assert_eq!(server.post("/v1/credits", &body).problem(422)["errors"][0]["at"], at, "{change}");
    }
    server.stop();
    server.data.run(&["verify"]).done();
}

fn what_cannot_be_is_refused_and_says_what_to_do(engine: Engine) {
    let (server, invoices) = billed(engine);
    let first = &invoices[0];
    let post = |action: &str, body: Value| server.post(&path(first, action), &body);
    let amount = |amount: &str, currency: &str| json!({ "amount": { "amount": amount, "currency": currency } });
    for (body, at) in [
        (amount("0.00", "USD"), "/amount/amount"),
        (amount("-1.00", "USD"), "/amount/amount"),
        (amount("1.001", "USD"), "/amount/amount"),
        (amount("1.00", "XXX"), "/amount/currency"),
        (amount("1.00", "EUR"), "/amount"),
        (json!({ "received_on": "yesterday" }), "/received_on"),
    ] {
        let problem = post("/pay", body.clone()).problem(422);
        assert_eq!(problem["errors"][0]["at"], at, "{body}: {problem}");
    }
    assert_eq!(post("/pay", json!({ "received_on": "2999-01-01" })).problem(422)["code"], "invalid_time");
    assert_eq!(post("/void", json!({ "reason": " " })).problem(422)["code"], "unusable_text");
    assert_eq!(server.post("/v1/invoices/inv_0/pay", &json!({})).problem(404)["code"], "unknown_invoice");
    let key = server.cli(&["key", "create", "--role", "consumer:UA", "--json"]).done();
    let key: Value = serde_json::from_str(&key).expect("JSON");
    let own = server.client(key["secret"].as_str());
    assert_eq!(own.post(&path(first, "/pay"), &json!({})).status, 403);
    assert_eq!(own.get("/v1/payments").ok()["data"], json!([]));

    let void = post("/void", json!({ "reason": "billed twice" })).ok();
    assert_eq!((&void["state"], cents(&void["outstanding"])), (&json!("void"), 0));
    let problem = post("/pay", json!({})).problem(409);
    assert_eq!(problem["code"], "invoice_is_settled");
    let whole = json!({ "invoice": first["id"], "reason": "late" });
    assert_eq!(server.post("/v1/credit-notes", &whole).problem(422)["code"], "cannot_credit");
    assert_eq!(post("/finalize", json!({})).ok()["state"], "void");
    let nobody = json!({ "consumer": "nobody", "amount": { "amount": "1.00", "currency": "USD" } });
    assert_eq!(server.post("/v1/payments", &nobody).problem(422)["code"], "unknown_consumer");
}
