//! Money through Stripe, against a Stripe of our own that keeps its rules and breaks down like it.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::support::airlines::documents;
use crate::support::books::Book;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::data::tallystick;
use crate::support::http::Client;
use crate::support::http::Reply;
use crate::support::money;
use crate::support::server::Server;
use crate::support::stripe;
use crate::support::stripe::FakeStripe;
use crate::support::stripe::Fault;

crate::support::both_engines!(
    a_payout_is_paid_when_its_transfer_is_made_and_comes_back_when_that_is_reversed,
    whatever_breaks_on_the_way_money_goes_once,
    after_a_day_stripe_is_asked_what_it_did,
    events_are_understood_once_in_any_order,
    an_invoice_is_collected_once_and_its_payment_recorded_with_the_fee,
    after_a_day_a_step_of_an_invoice_is_looked_up,
);

/// A server with Stripe, on which each of these is a consumer who has an approved payout of 3.00 euros by Stripe.
fn approved(engine: Engine, fake: &FakeStripe, consumers: &[&str]) -> (Server, Book, Vec<String>) {
    let book = Book::flights();
    for file in ["book.toml", "plans/airline.toml", "programs/punctuality.toml"] {
        let path = book.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file of the book").replace("\"USD\"", "\"EUR\"");
        std::fs::write(&path, text).expect("is written");
    }
    let mut server = Server::prepared(Data::new(engine), book.path(), &[], fake.environment());
    server.start_again();
    for consumer in consumers {
        for number in 0..2 {
            let event = json!({
                "specversion": "1.0", "id": format!("{consumer}-{number}"), "source": "/tests", "type": "flight.completed",
                "subject": consumer, "time": "2013-01-15T12:00:00Z",
                "data": { "origin": "EWR", "distance": 1000, "arr_delay": -1, "dep_delay": 0 },
            });
            server.events(&event.to_string()).ok();
        }
        let payout = json!({ "method": "stripe", "account": format!("acct_{consumer}") });
        let known =
            json!({ "name": consumer, "currency": "EUR", "payout": payout, "verified": true, "tax_form": true });
        server.put(&format!("/v1/consumers/{consumer}"), &known).ok();
        let subscription = json!({ "consumer": consumer, "plan": "airline", "start": "2013-01-01" });
        server.post("/v1/subscriptions", &subscription).ok();
    }
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let run = server.send("POST", "/v1/payouts/run", &[], b"").ok();
    let printed = server.cli(&["key", "create", "--role", "finance", "--name", "checker", "--json"]).done();
    let key: Value = serde_json::from_str(&printed).expect("JSON");
    let checker = server.client(key["secret"].as_str());
    let ids: Vec<String> = consumers
        .iter()
        .map(|consumer| {
            let proposed = run["proposed"].as_array().expect("a list").iter();
            let of_consumer = proposed.into_iter().find(|proposed| proposed["consumer"] == *consumer);
            of_consumer.expect("is proposed")["payout"].as_str().expect("an id").to_owned()
        })
        .collect();
    for id in &ids {
        assert_eq!(step(&checker, id, "approve").ok()["state"], "approved");
    }
    (server, book, ids)
}

fn step(client: &Client, id: &str, action: &str) -> Reply {
    client.send("POST", &format!("/v1/payouts/{id}/{action}"), &[], b"")
}

fn payout(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/payouts/{id}")).ok()
}

/// Waits until a payout is in this state.
#[track_caller]
fn becomes(server: &Server, id: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let now = payout(server, id);
        if now["state"] == state {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{id} does not become {state}: {now}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What stands on the accounts with this number together, debit less credit, in cents.
fn balance(server: &Server, account: &str) -> i64 {
    let answer = server.get("/v1/ledger/trial-balance").ok();
    let rows = answer["accounts"].as_array().expect("rows").iter().filter(|row| row["account"] == account);
    let cents = |row: &Value, side: &str| row[side].as_str().and_then(money::read).expect("an amount");
    rows.map(|row| cents(row, "debit") - cents(row, "credit")).sum()
}

fn post(server: &Server, (body, signature): &(String, String)) -> Reply {
    server.client(None).send("POST", "/v1/stripe/webhooks", &[("stripe-signature", signature)], body.as_bytes())
}

/// What `tallystick stripe reconcile` says, and its exit code.
fn reconciled(server: &Server, fake: &FakeStripe, more: &[&str]) -> (i32, String) {
    let mut command = tallystick();
    command.args(["stripe", "reconcile"]).args(more).args(server.data.arguments()).envs(fake.environment());
    let output = command.output().expect("runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or_else(|| panic!("{said}{errors}")), said + &errors)
}

fn verified(server: &mut Server) {
    server.stop();
    server.data.run(&["verify"]).done();
}

fn a_payout_is_paid_when_its_transfer_is_made_and_comes_back_when_that_is_reversed(engine: Engine) {
    let fake = FakeStripe::start(100_000);
    let (mut server, _book, ids) = approved(engine, &fake, &["UA", "AA", "DL"]);
    let [ua, aa, dl] = ids.as_slice() else { panic!("{ids:?}") };
    let paid = step(&server, ua, "send").ok();
    let made = fake.transfers(ua);
    assert_eq!((&paid["state"], &paid["attempts"][0]["reference"]), (&json!("paid"), &made[0]["id"]));
    assert_eq!((&made[0]["amount"], &made[0]["destination"], made.len()), (&json!(300), &json!("acct_UA"), 1));
    let accounts = |server: &Server| ["1000", "1010", "1020", "2020"].map(|account| balance(server, account));
    assert_eq!(accounts(&server), [0, -300, 0, -600], "of which 6.00 wait to be sent");
    assert_eq!(step(&server, ua, "send").problem(409)["code"], "payout_not_ready");

    // Nobody says by hand what Stripe did.
    for action in ["paid", "fail"] {
        assert_eq!(step(&server, aa, action).problem(409)["code"], "payout_by_stripe");
    }
    // The money is short: the payout stays approved, and goes with another attempt when there is some.
    fake.put_in(-fake.balance());
    let short = step(&server, aa, "send").ok();
    assert_eq!(short["state"], "approved");
    assert!(short["attempts"][0]["reason"].as_str().expect("a text").contains("balance_insufficient"), "{short}");
    fake.put_in(100_000);
    assert_eq!(step(&server, aa, "send").ok()["state"], "paid");
    // The destination is wrong: the money is the consumer's again.
    fake.close_account("acct_DL");
    let failed = step(&server, dl, "send").ok();
    assert_eq!((&failed["state"], fake.transfers(dl).len()), (&json!("failed"), 0));
    assert!(failed["attempts"][0]["reason"].as_str().expect("a text").contains("closed"), "{failed}");
    assert_eq!((accounts(&server), balance(&server, "2010")), ([0, -600, 0, 0], -300));

    assert_eq!(step(&server, dl, "reverse").problem(409)["code"], "payout_not_ready");
    assert_eq!(step(&server, ua, "return").problem(409)["code"], "payout_by_stripe");
    let back = step(&server, ua, "reverse").ok();
    assert_eq!(back["state"], "failed");
    let attempt = &back["attempts"][0];
    assert!(attempt["return_reason"].as_str().expect("a text").contains("reversed"), "{back}");
    assert_eq!((&attempt["state"], attempt["returned_at"].is_string()), (&json!("paid"), true));
    assert_eq!(reconciled(&server, &fake, &[]).0, 0, "two transfers, and one that came back");
    fake.close_account("acct_AA");
    let problem = step(&server, aa, "reverse").problem(409);
    assert_eq!((&problem["code"], &payout(&server, aa)["state"]), (&json!("stripe_refuses"), &json!("paid")));
    assert_eq!((accounts(&server), balance(&server, "2010")), ([0, -300, 0, 0], -600));
    // Another Stripe has none of it.
    let (code, said) = reconciled(&server, &FakeStripe::start(0), &[]);
    assert_eq!((code, said.matches("booked, and not at Stripe").count()), (1, 3), "{said}");
    let statement = documents(&server, "payouts").into_iter().find(|statement| statement["consumer"] == "UA");
    let statement = statement.expect("has one")["id"].as_str().expect("an id").to_owned();
    let why = server.get(&format!("/v1/payouts/{statement}")).ok()["payment"]["why"].clone();
    assert!(why.as_str().expect("a text").contains("reversed at Stripe"), "{why}");
    verified(&mut server);
}

fn whatever_breaks_on_the_way_money_goes_once(engine: Engine) {
    let fake = FakeStripe::start(100_000);
    let (mut server, _book, ids) = approved(engine, &fake, &["UA", "AA", "DL", "B6", "WN", "EV"]);
    let cases: [&[Fault]; 6] = [
        &[Fault::DoneAndHungUp],
        &[Fault::Conflict, Fault::Busy],
        // Its first answer comes too late, and the second request while the first is under way.
        &[Fault::Slow(Duration::from_millis(2_000))],
        &[Fault::Busy, Fault::Conflict, Fault::DoneAndHungUp],
        &[Fault::Busy; 7],
        &[],
    ];
    for (id, faults) in ids.iter().zip(cases) {
        fake.fail_with(faults);
        let sent = step(&server, id, "send").ok();
        assert!(sent["state"] == "paid" || sent["state"] == "sent", "{faults:?}: {sent}");
        let paid = becomes(&server, id, "paid");
        let made = fake.transfers(id);
        assert_eq!((made.len(), &made[0]["id"]), (1, &paid["attempts"][0]["reference"]), "{faults:?}");
    }
    assert_eq!((fake.balance(), balance(&server, "1010")), (100_000 - 1_800, -1_800));
    assert!(fake.requests() > 15, "each fault was met: {}", fake.requests());
    verified(&mut server);
}

/// What is not known in time is looked up, and not asked for again: Stripe may have forgotten the key by then.
fn after_a_day_stripe_is_asked_what_it_did(engine: Engine) {
    let fake = FakeStripe::start(100_000);
    let (mut server, _book, ids) = approved(engine, &fake, &["UA", "AA"]);
    let [done, not_done] = ids.as_slice() else { panic!("{ids:?}") };
    fake.fail_with(&[Fault::DoneAndBroken, Fault::Broken]);
    for id in &ids {
        assert_eq!(step(&server, id, "send").ok()["state"], "sent", "500 is answered again for the same key");
    }
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(ids.iter().all(|id| payout(&server, id)["state"] == "sent"));
    assert_eq!((balance(&server, "1010"), balance(&server, "1020")), (0, -600));
    assert_eq!([done, not_done].map(|id| fake.transfers(id).len()), [1, 0]);
    server.stop();

    fake.forget_keys();
    let before = fake.requests();
    catch_up_tomorrow(&server.data, &fake);
    assert_eq!(fake.requests(), before, "nothing was asked for again");
    server.start_again();
    assert_eq!(payout(&server, done)["attempts"][0]["reference"], fake.transfers(done)[0]["id"]);
    assert_eq!(payout(&server, done)["state"], "paid");
    let again = payout(&server, not_done);
    assert_eq!(again["state"], "approved");
    assert!(again["attempts"][0]["reason"].as_str().expect("a text").contains("made no transfer"), "{again}");
    assert_eq!(step(&server, not_done, "send").ok()["state"], "paid");
    assert_eq!([done, not_done].map(|id| fake.transfers(id).len()), [1, 1]);
    verified(&mut server);
}

/// Does what the server does every minute, as if it were tomorrow.
fn catch_up_tomorrow(data: &Data, fake: &FakeStripe) {
    use tallystick::metering::versions::Versions;
    use tallystick::settlement::stripe::Settings;
    use tallystick::settlement::stripe::Stripe;
    use tallystick::store::Access;
    use tallystick::store::Db;
    use tallystick::store::Target;
    let place = data.arguments();
    let target = match &*place[0] {
        "--data" => Target::Folder(place[1].clone().into()),
        _ => Target::Url(place[1].clone()),
    };
    let tomorrow = (stripe::now() + 24 * 3_600) * 1_000_000;
    let tomorrow = tallystick::domain::time::Instant::from_micros(tomorrow);
    let settings = Settings {
        key: stripe::KEY.to_owned(),
        webhook_secrets: Vec::new(),
        url: fake.url().to_owned(),
        timeout: Duration::from_secs(1),
    };
    let stripe = Stripe::new(settings).expect("can be used");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let db = Db::open(&target, Access::Owner).await.expect("opens");
        let versions = Versions::load(&db).await.expect("loads");
        stripe.catch_up(&db, &versions, tomorrow).await.expect("catches up");
    });
}

fn events_are_understood_once_in_any_order(engine: Engine) {
    let fake = FakeStripe::start(100_000);
    let (mut server, _book, ids) = approved(engine, &fake, &["UA", "AA", "DL"]);
    let [ua, aa, dl] = ids.as_slice() else { panic!("{ids:?}") };
    fake.fail_with(&[Fault::DoneAndBroken, Fault::DoneAndBroken]);
    for id in [ua, aa] {
        assert_eq!(step(&server, id, "send").ok()["state"], "sent");
    }
    // An event tells what no answer did.
    let made = &fake.transfers(ua)[0];
    let created = stripe::event("evt_1", "transfer.created", None, made);
    post(&server, &created).ok();
    assert_eq!(payout(&server, ua)["state"], "paid");
    // That it was reversed comes before that it was made, and both come again.
    let made_aa = fake.transfers(aa)[0].clone();
    let transfer_of_aa = made_aa["id"].as_str().expect("an id");
    let reversed = stripe::event("evt_3", "transfer.reversed", None, &fake.reverse(transfer_of_aa, 300));
    let created_aa = stripe::event("evt_2", "transfer.created", None, &made_aa);
    for event in [&reversed, &created_aa, &reversed, &created, &created_aa] {
        post(&server, event).ok();
    }
    assert_eq!((&payout(&server, ua)["state"], &payout(&server, aa)["state"]), (&json!("paid"), &json!("failed")));
    assert_eq!((balance(&server, "1010"), balance(&server, "2010"), balance(&server, "1020")), (-300, -300, 0));
    assert_eq!(fake.balance(), 100_000 - 300);

    // Reversed in part: nothing is booked by itself.
    let transfer = made["id"].as_str().expect("an id").to_owned();
    post(&server, &stripe::event("evt_4", "transfer.reversed", None, &fake.reverse(&transfer, 100))).ok();
    assert_eq!(payout(&server, ua)["state"], "paid");
    // A late one of the whole reversal, under another id.
    post(&server, &stripe::event("evt_5", "transfer.updated", None, &fake.transfers(aa)[0])).ok();
    // Another platform's, another ledger's, and of a kind that nobody knows.
    let strange = json!({ "id": "tr_x", "amount": 1, "metadata": {} });
    post(&server, &stripe::event("evt_6", "transfer.created", None, &strange)).ok();
    let strange = json!({ "id": "tr_y", "amount": 1, "metadata": { "tallystick": "pay_elsewhere-1" } });
    post(&server, &stripe::event("evt_7", "transfer.reversed", None, &strange)).ok();
    post(&server, &stripe::event("evt_8", "moon.rose", None, &json!({}))).ok();

    // Paid, then failed; and the other way round, with both late.
    let to_bank = |id: &str, status: &str| {
        json!({ "id": id, "amount": 300, "currency": "eur", "status": status, "failure_message":
            (status == "failed").then_some("the bank account was closed") })
    };
    for (event, kind, object) in [
        ("evt_a1", "payout.paid", to_bank("po_a", "paid")),
        ("evt_a2", "payout.failed", to_bank("po_a", "failed")),
        ("evt_b2", "payout.failed", to_bank("po_b", "failed")),
        ("evt_b1", "payout.paid", to_bank("po_b", "paid")),
        ("evt_c1", "payout.paid", to_bank("po_c", "paid")),
    ] {
        post(&server, &stripe::event(event, kind, Some("acct_UA"), &object)).ok();
    }
    let listed = server.get("/v1/stripe/bank-payouts").ok();
    let states: Vec<_> =
        listed["data"].as_array().expect("a list").iter().map(|of| (&of["id"], &of["state"])).collect();
    let expected =
        [("po_a", "failed"), ("po_b", "failed"), ("po_c", "paid")].map(|(id, state)| (json!(id), json!(state)));
    assert_eq!(states, expected.iter().map(|(id, state)| (id, state)).collect::<Vec<_>>());
    assert_eq!(listed["data"][0]["reason"], "the bank account was closed");

    // Not Stripe's, or not now, or changed on the way: nothing is kept.
    let (body, signature) = stripe::event("evt_9", "transfer.created", None, &fake.transfers(ua)[0]);
    let old = stripe::signature(&body, stripe::now() - 301);
    for (body, signature) in [(&*body, ""), (&*body, "t=1,v1=00"), (&*body, &*old), (&*format!("{body} "), &*signature)]
    {
        let refused = post(&server, &(body.to_owned(), signature.to_owned())).problem(400);
        assert_eq!(refused["code"], "stripe_signature");
    }
    let nothing = "[]";
    let signed = (nothing.to_owned(), stripe::signature(nothing, stripe::now()));
    assert_eq!(post(&server, &signed).problem(400)["code"], "invalid_body");
    assert_eq!(step(&server, dl, "send").ok()["state"], "paid");
    verified(&mut server);
}

fn an_invoice_is_collected_once_and_its_payment_recorded_with_the_fee(engine: Engine) {
    let fake = FakeStripe::start(0);
    let (mut server, _book, _) = approved(engine, &fake, &["UA", "AA"]);
    let mut invoices = documents(&server, "invoices");
    invoices.sort_by_key(|invoice| invoice["number"].as_str().map(str::to_owned));
    let owing = |consumer: &str| {
        let of = invoices.iter().find(|invoice| invoice["consumer"] == consumer && invoice["state"] == "open");
        let of = of.expect("owes something");
        let owed = money::read(of["outstanding"]["amount"].as_str().expect("a text")).expect("an amount");
        (of["id"].as_str().expect("an id").to_owned(), owed)
    };
    let ((of_ua, owed), (of_aa, owed_by_aa)) = (owing("UA"), owing("AA"));
    let collect = |server: &Server, id: &str| server.send("POST", &format!("/v1/invoices/{id}/collect"), &[], b"");

    // Whatever breaks, there is one invoice with one item. A step whose outcome stays unknown goes on by itself.
    fake.fail_with(&[Fault::DoneAndHungUp, Fault::Busy, Fault::DoneAndHungUp, Fault::Conflict, Fault::DoneAndHungUp]);
    fake.fail_with(&[Fault::Busy; 4]);
    let begun = Instant::now();
    let collected = loop {
        let collected = collect(&server, &of_ua).ok();
        if collected["stripe_invoice"].is_string() {
            break collected;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{collected}");
    };
    assert_eq!(collect(&server, &of_ua).ok(), collected, "asking again changes nothing");
    let made = fake.invoices();
    assert_eq!((made.len(), &made[0]["id"]), (1, &collected["stripe_invoice"]));
    assert_eq!((&made[0]["amount_due"], &made[0]["status"]), (&json!(owed), &json!("open")));
    assert_eq!((fake.customers().len(), &fake.customers()[0]["name"]), (1, &json!("UA")));

    // Paid: told twice, and again later under another id.
    let receivable = balance(&server, "1100");
    let of_stripe = made[0]["id"].as_str().expect("an id");
    let failed = stripe::event("evt_0", "invoice.payment_failed", None, &made[0]);
    post(&server, &failed).ok();
    assert_eq!(balance(&server, "1100"), receivable, "nothing came");
    let paid = fake.pay(of_stripe, 31);
    for id in ["evt_1", "evt_1", "evt_2"] {
        post(&server, &stripe::event(id, "invoice.paid", None, &paid)).ok();
    }
    assert_eq!(server.get(&format!("/v1/invoices/{of_ua}")).ok()["state"], "paid");
    let accounts = |server: &Server| ["1010", "5100", "1100"].map(|account| balance(server, account));
    assert_eq!(accounts(&server), [owed - 31, 31, receivable - owed]);
    let payments = server.get("/v1/payments").ok();
    let payment = &payments["data"][0];
    assert_eq!(payments["data"].as_array().map(Vec::len), Some(1));
    assert_eq!((&payment["method"], &payment["stripe_fee"]["amount"]), (&json!("stripe"), &json!("0.31")));
    assert!(payment["reference"].as_str().expect("a text").starts_with("ch_"), "{payment}");
    assert_eq!(collect(&server, &of_ua).ok(), collected, "it is with Stripe, and paid");

    // A customer of somebody's own, who pays by bank as well: what Stripe collected is credit then.
    let customer = |id: &str| server.put("/v1/consumers/AA/stripe-customer", &json!({ "customer": id }));
    assert_eq!(customer("AA").problem(422)["code"], "unusable_id");
    customer("cus_none").ok();
    assert_eq!(collect(&server, &of_aa).problem(409)["code"], "stripe_refuses");
    customer(fake.customers()[0]["id"].as_str().expect("an id")).ok();
    collect(&server, &of_aa).ok();
    server.post(&format!("/v1/invoices/{of_aa}/pay"), &json!({})).ok();
    let paid = fake.pay(fake.invoices()[1]["id"].as_str().expect("an id"), 5);
    post(&server, &stripe::event("evt_3", "invoice.paid", None, &paid)).ok();
    assert_eq!(accounts(&server), [owed - 31 + owed_by_aa - 5, 36, receivable - owed - owed_by_aa]);
    assert_eq!(balance(&server, "2110"), -owed_by_aa);
    let (code, said) = reconciled(&server, &fake, &[]);
    assert_eq!((code, said.contains("2 the same on both sides, 0 not")), (0, true), "{said}");
    let (code, said) = reconciled(&server, &fake, &["--to", "2013-01-01"]);
    assert_eq!((code, said.contains("0 the same on both sides, 0 not")), (0, true), "nothing had happened: {said}");
    let (code, said) = reconciled(&server, &fake, &["--from", "2013-01-01", "--to", "2999-01-01"]);
    assert_eq!((code, said.contains("2 the same on both sides, 0 not")), (0, true), "{said}");
    // What Stripe takes for itself is listed until it is booked, on whatever page it stands.
    for number in 0..120 {
        fake.happens("stripe_fee", &format!("fee_{number}"), -25);
    }
    let (code, said) = reconciled(&server, &fake, &["--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, said["differences"].as_array().map(Vec::len), &said["same"]), (1, Some(120), &json!(2)));
    let sum = |side: &str| money::read(said["sums"][0][side]["amount"].as_str().expect("a text")).expect("an amount");
    assert_eq!((sum("at_stripe"), sum("booked")), (fake.balance(), balance(&server, "1010")), "to the cent");
    // Neither of these is ours.
    let strange = json!({ "id": "in_x", "metadata": {} });
    post(&server, &stripe::event("evt_4", "invoice.paid", None, &strange)).ok();
    assert_eq!(collect(&server, "inv_0").problem(404)["code"], "unknown_invoice");
    assert_eq!(collect(&server, &of_aa).ok()["stripe_invoice"], fake.invoices()[1]["id"]);
    verified(&mut server);
}

fn after_a_day_a_step_of_an_invoice_is_looked_up(engine: Engine) {
    let fake = FakeStripe::start(0);
    let (mut server, _book, _) = approved(engine, &fake, &["UA", "AA"]);
    let open = |consumer: &str| {
        let invoices = documents(&server, "invoices").into_iter();
        let of = invoices.filter(|invoice| invoice["consumer"] == consumer && invoice["state"] == "open");
        of.map(|invoice| invoice["id"].as_str().expect("an id").to_owned()).next().expect("owes something")
    };
    let (done, not_done) = (open("UA"), open("AA"));
    // The customer and the draft are made; of the item it is not known.
    let works = Fault::Slow(Duration::ZERO);
    fake.fail_with(&[works, works, Fault::DoneAndBroken, works, works, Fault::Broken]);
    let collect = |server: &Server, id: &str| server.send("POST", &format!("/v1/invoices/{id}/collect"), &[], b"");
    for id in [&done, &not_done] {
        assert_eq!(collect(&server, id).ok()["stripe_invoice"], Value::Null);
    }
    server.stop();
    fake.forget_keys();
    catch_up_tomorrow(&server.data, &fake);
    let made = fake.invoices();
    let owed = |of: &Value| of["amount_due"].as_i64().expect("an amount");
    assert_eq!((made.len(), &made[0]["status"], &made[1]["status"]), (2, &json!("open"), &json!("draft")));
    assert!(owed(&made[0]) > 0 && owed(&made[1]) == 0, "{made:?}");
    server.start_again();
    assert_eq!(collect(&server, &done).ok()["stripe_invoice"], made[0]["id"]);
    // What was not done is done when somebody asks for it again, on the same draft.
    assert_eq!(collect(&server, &not_done).ok()["stripe_invoice"], made[1]["id"]);
    let after = fake.invoices();
    assert_eq!((after.len(), owed(&after[0]), owed(&after[1])), (2, owed(&made[0]), owed(&made[0])));
    verified(&mut server);
}

#[test]
fn without_its_secrets_stripe_is_not_used_and_says_so() {
    let book = Book::flights();
    let fake = FakeStripe::start(0);
    let mut server = Server::prepared(Data::new(Engine::Sqlite), book.path(), &[], Vec::new());
    server.start_again();
    let event = stripe::event("evt_1", "moon.rose", None, &json!({}));
    assert_eq!(post(&server, &event).problem(409)["code"], "stripe_not_set_up");
    server.stop();
    let without = |left_out: &str| {
        let environment = fake.environment().into_iter().filter(|(name, _)| name != left_out);
        environment.collect::<Vec<_>>()
    };
    let mut wrong_key = without("TALLYSTICK_STRIPE_KEY");
    wrong_key.push(("TALLYSTICK_STRIPE_KEY".to_owned(), "pk_live_x".to_owned()));
    let mut far = without("TALLYSTICK_STRIPE_URL");
    far.push(("TALLYSTICK_STRIPE_URL".to_owned(), "http://stripe.example".to_owned()));
    for (environment, says) in [
        (without("TALLYSTICK_STRIPE_WEBHOOK_SECRET"), "TALLYSTICK_STRIPE_WEBHOOK_SECRET is not set"),
        (without("TALLYSTICK_STRIPE_KEY"), "TALLYSTICK_STRIPE_KEY is not: set both"),
        (wrong_key, "begins with sk_"),
        (far, "neither https nor this machine"),
    ] {
        server.set_environment(environment);
        let (status, said) = server.try_start().expect_err("does not start");
        assert!(!status.success() && said.contains(says), "{said}");
        assert!(!said.contains("sk_test_fake") && !said.contains("pk_live"), "{said}");
    }
}
