//! Money that leaves: two keys, every reason why it waits, and one file for the bank.

use serde_json::Value;
use serde_json::json;

use crate::support::airlines::documents;
use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::money;
use crate::support::schema;
use crate::support::server::Server;

crate::support::both_engines!(
    a_payout_takes_two_keys_and_says_what_it_waits_for,
    approved_sepa_payouts_stand_in_one_bank_file,
    a_payout_method_is_checked_and_stays_until_it_is_changed,
);

const PAYOUTS: &str = r#"
[payouts]
schedule = "month"
threshold = { EUR = "2.00" }

[payouts.debtor]
name = "Platform & Søns"
iban = "NL91 ABNA 0417 1643 00"
"#;

/// Two airlines that are paid in euros: UA has 3.00 available, AA 1.50.
fn rewarded(engine: Engine) -> (Server, Book) {
    let book = Book::flights();
    for file in ["book.toml", "plans/airline.toml", "programs/punctuality.toml"] {
        let path = book.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file of the book").replace("\"USD\"", "\"EUR\"");
        let text = if file == "book.toml" { format!("{text}{PAYOUTS}") } else { text };
        std::fs::write(&path, text).expect("is written");
    }
    let server = Server::start(engine, book.path());
    for (number, carrier) in ["UA", "UA", "AA"].into_iter().enumerate() {
        let event = json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/tests", "type": "flight.completed",
            "subject": carrier, "time": "2013-01-15T12:00:00Z",
            "data": { "origin": "EWR", "distance": 1000, "arr_delay": -1, "dep_delay": 0 },
        });
        server.events(&event.to_string()).ok();
    }
    for carrier in ["AA", "UA"] {
        server.put(&format!("/v1/consumers/{carrier}"), &json!({ "name": carrier, "currency": "EUR" })).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": "2013-01-01" });
        server.post("/v1/subscriptions", &subscription).ok();
    }
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    (server, book)
}

fn finance(server: &Server) -> Client {
    let printed = server.cli(&["key", "create", "--role", "finance", "--name", "checker", "--json"]).done();
    let key: Value = serde_json::from_str(&printed).expect("JSON");
    server.client(Some(key["secret"].as_str().expect("a secret")))
}

fn statement_of(server: &Server, carrier: &str) -> String {
    let found = documents(server, "payouts").into_iter().find(|payout| payout["consumer"] == carrier);
    found.expect("has a statement")["id"].as_str().expect("an id").to_owned()
}

fn put(server: &Server, carrier: &str, more: &Value) {
    let mut consumer = json!({ "name": carrier, "currency": "EUR" });
    consumer.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    server.put(&format!("/v1/consumers/{carrier}"), &consumer).ok();
}

fn sepa() -> Value {
    let account = json!({ "method": "sepa", "name": "Jürgen Größe", "iban": "DE89 3704 0044 0532 0130 00", "bic": "COBADEFFXXX" });
    json!({ "payout": account, "verified": true, "tax_form": true })
}

#[track_caller]
fn step(client: &Client, id: &str, action: &str) -> Value {
    client.send("POST", &format!("/v1/payouts/{id}/{action}"), &[], b"").ok()
}

#[track_caller]
fn refused(client: &Client, id: &str, action: &str) -> Value {
    client.send("POST", &format!("/v1/payouts/{id}/{action}"), &[], b"").problem(409)
}

fn why(server: &Server, id: &str) -> String {
    let payment = server.get(&format!("/v1/payouts/{id}")).ok()["payment"].clone();
    format!("{}: {}", payment["state"].as_str().expect("a state"), payment["why"].as_str().expect("a sentence"))
}

/// What stands on the accounts with this number together, debit less credit, in cents.
fn balance(server: &Server, account: &str) -> i64 {
    let answer = server.get("/v1/ledger/trial-balance").ok();
    let rows = answer["accounts"].as_array().expect("rows").iter().filter(|row| row["account"] == account);
    let cents = |row: &Value, side: &str| row[side].as_str().and_then(money::read).expect("an amount");
    rows.map(|row| cents(row, "debit") - cents(row, "credit")).sum()
}

fn a_payout_takes_two_keys_and_says_what_it_waits_for(engine: Engine) {
    let (mut server, _book) = rewarded(engine);
    let checker = finance(&server);
    let (of_ua, of_aa) = (statement_of(&server, "UA"), statement_of(&server, "AA"));
    let blocked = refused(&server, &of_ua, "approve");
    assert_eq!(blocked["code"], "payout_blocked");
    let reasons = why(&server, &of_ua);
    for reason in ["pending", "no payout method is on file", "not verified", "tax form is missing"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
    for carrier in ["AA", "UA"] {
        put(&server, carrier, &json!({ "payout": { "method": "manual" }, "verified": true, "tax_form": true }));
    }
    let rolls = "pending: 1.50 EUR is below the threshold of 2.00 EUR: it rolls forward";
    assert_eq!(why(&server, &of_aa), rolls);

    let proposed = step(&server, &of_ua, "approve");
    assert_eq!((&proposed["state"], &proposed["amount"]["amount"]), (&json!("proposed"), &json!("3.00")));
    assert!(proposed["next"].as_str().expect("a text").contains("another key must approve"), "{proposed}");
    let pay = proposed["id"].as_str().expect("an id").to_owned();
    assert_eq!(refused(&server, &of_ua, "approve")["code"], "needs_another_key");
    assert_eq!(refused(&server, &pay, "send")["code"], "payout_not_ready");
    assert!(why(&server, &of_ua).contains("second key"));
    assert_eq!(step(&checker, &of_ua, "approve")["state"], "approved");
    let in_flight = |account: &str| balance(&server, account);
    assert_eq!((in_flight("2020"), in_flight("2010")), (-300, -150));

    put(&server, "UA", &sepa());
    assert_eq!(refused(&server, &pay, "send")["code"], "destination_changed");
    put(&server, "UA", &json!({ "payout": { "method": "manual" }, "sanctioned": true }));
    assert!(refused(&server, &pay, "send")["detail"].as_str().expect("a text").contains("sanctions"));
    put(&server, "UA", &json!({ "sanctioned": false }));
    let sent = server.post(&format!("/v1/payouts/{pay}/send"), &json!({ "reference": "B1" })).ok();
    assert_eq!((&sent["state"], &sent["attempts"][0]["reference"]), (&json!("sent"), &json!("B1")));
    let failed = json!({ "reason": "account closed", "retry": true });
    assert_eq!(server.post(&format!("/v1/payouts/{of_ua}/fail"), &failed).ok()["state"], "approved");
    assert!(why(&server, &of_ua).contains("account closed"));
    step(&server, &pay, "send");
    assert_eq!(step(&server, &of_ua, "paid")["state"], "paid");
    assert_eq!((in_flight("1000"), in_flight("1020"), in_flight("2020")), (-300, 0, 0));
    assert!(why(&server, &of_ua).starts_with("paid: paid on "));
    assert_eq!(server.get(&format!("/v1/payouts/{pay}")).ok()["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(refused(&server, &of_ua, "cancel")["code"], "payout_not_ready");
    server.get("/v1/payouts/pay_nobody").problem(404);

    let list = |query: &str| server.get(&format!("/v1/payouts/money{query}")).ok()["data"].clone();
    assert_eq!(list(""), json!([server.get(&format!("/v1/payouts/{pay}")).ok()]));
    assert_eq!((list("?state=paid&consumer=UA"), list("?state=sent")), (list(""), json!([])));
    assert_eq!((list("?consumer=AA"), list(&format!("?cursor={pay}"))), (json!([]), json!([])));
    assert_eq!(server.get("/v1/payouts/money?state=gone").problem(400)["code"], "invalid_parameter");

    let run = server.send("POST", "/v1/payouts/run", &[], b"").ok();
    assert_eq!((run["proposed"].as_array().map(Vec::len), &run["waiting"][0]["consumer"]), (Some(0), &json!("AA")));
    let printed = server.cli(&["payouts", "run"]).done();
    assert!(printed.contains("AA") && printed.contains("rolls forward"), "{printed}");
    server.stop();
    server.data.run(&["verify"]).done();
}

fn approved_sepa_payouts_stand_in_one_bank_file(engine: Engine) {
    let (mut server, _book) = rewarded(engine);
    let checker = finance(&server);
    let file = |server: &Server| server.send("POST", "/v1/exports/pain.001.xml", &[], b"");
    let made = |server: &Server| server.get("/v1/exports/pain.001.xml");
    assert_eq!(file(&server).problem(409)["code"], "nothing_to_send");
    put(&server, "UA", &sepa());
    let run = server.post("/v1/payouts/run", &json!({ "consumer": "UA" })).ok();
    let pay = run["proposed"][0]["payout"].as_str().expect("an id").to_owned();
    assert_eq!(file(&server).problem(409)["code"], "nothing_to_send", "it is not approved yet");
    step(&checker, &pay, "approve");
    assert_eq!(made(&server).problem(404)["code"], "unknown_export", "reading makes none");

    let reply = file(&server);
    let text = reply.text();
    assert!(reply.status == 200 && reply.content_type.starts_with("application/xml"), "{text}");
    schema::assert_valid(server.data.folder(), &text);
    assert_eq!(made(&server).text(), text);
    for part in [
        "<NbOfTxs>1</NbOfTxs>",
        "<CtrlSum>3.00</CtrlSum>",
        "<Nm>Platform + Sons</Nm>",
        "<IBAN>NL91ABNA0417164300</IBAN>",
        "<InstdAmt Ccy=\"EUR\">3.00</InstdAmt>",
        "<Nm>Jurgen Grosse</Nm>",
        "<IBAN>DE89370400440532013000</IBAN>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let end_to_end = text.split("<EndToEndId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a reference");
    assert!(end_to_end.len() <= 35 && end_to_end.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    assert_eq!(file(&server).text(), text, "the same file, to the byte");
    assert_eq!(refused(&server, &pay, "cancel")["code"], "in_bank_file");
    step(&server, &pay, "send");
    assert_eq!(file(&server).text(), text, "nothing new");
    step(&server, &pay, "fail");
    let message = text.split("<MsgId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a message");
    assert_eq!(server.get(&format!("/v1/exports/pain.001.xml?message={message}")).text(), text);
    server.get("/v1/exports/pain.001.xml?message=TSnone").problem(404);
    assert_eq!(server.cli(&["export", "pain.001.xml"]).done(), text);
    server.stop();
    assert_eq!(server.data.run(&["export", "pain.001.xml"]).done(), text);
    server.data.run(&["verify"]).done();
}

fn a_payout_method_is_checked_and_stays_until_it_is_changed(engine: Engine) {
    let (server, _book) = rewarded(engine);
    let consumer = |payout: Value| json!({ "name": "UA", "currency": "EUR", "payout": payout });
    let wrong = [
        (json!({ "method": "cash" }), "/payout/method"),
        (json!({ "method": "sepa", "name": "Jan", "iban": "DE88370400440532013000" }), "/payout/iban"),
        (json!({ "method": "sepa", "iban": "DE89370400440532013000" }), "/payout/name"),
        (json!({ "method": "sepa", "name": "Jan", "iban": "DE89370400440532013000", "bic": "X" }), "/payout/bic"),
        (json!({ "method": "manual", "name": "Jan" }), "/payout"),
    ];
    for (payout, at) in wrong {
        let problem = server.put("/v1/consumers/UA", &consumer(payout)).problem(422);
        assert_eq!((&problem["code"], &problem["errors"][0]["at"]), (&json!("unusable_payout_method"), &json!(at)));
    }
    let dollars = json!({ "name": "DL", "currency": "USD", "payout": sepa()["payout"] });
    assert_eq!(server.put("/v1/consumers/DL", &dollars).problem(422)["code"], "unusable_payout_method");
    put(&server, "UA", &sepa());
    put(&server, "UA", &json!({}));
    let known = server.get("/v1/consumers/UA").ok();
    assert_eq!((&known["payout"]["iban"], &known["verified"]), (&json!("DE89370400440532013000"), &json!(true)));
    put(&server, "UA", &json!({ "payout": null, "verified": false }));
    let known = server.get("/v1/consumers/UA").ok();
    assert_eq!((&known["payout"], &known["verified"], &known["tax_form"]), (&json!(null), &json!(false), &json!(true)));
}
