//! A changed price book tried on real usage: `pricing simulate` and `pricing plan`, here and through a server, with numbers
//! worked out by hand.
//!
//! In January UA flies 30 times 1,000 miles and AA 10 times 2,000, all on time. A mile costs 1.00 cent, then 1.10.

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::data::Ran;
use crate::support::server::Server;

crate::support::both_engines!(
    a_changed_book_is_compared_with_the_published_one,
    a_plan_says_what_changes_in_words_and_money,
    a_plan_looks_at_the_month_before_a_trial_ended,
    a_book_that_would_break_a_subscription_is_refused,
);

const JANUARY: [&str; 4] = ["--from", "2013-01-01", "--to", "2013-02-01"];

fn january(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    let mut events = Vec::new();
    for (carrier, flights, miles) in [("UA", 30, 1_000), ("AA", 10, 2_000)] {
        server.put(&format!("/v1/consumers/{carrier}"), &json!({ "name": carrier, "currency": "USD" })).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": "2013-01-01" });
        assert_eq!(server.post("/v1/subscriptions", &subscription).status, 201);
        events.extend((0..flights).map(|number| {
            json!({
                "specversion": "1.0", "id": format!("{carrier}-{number}"), "source": "/tests", "subject": carrier,
                "type": "flight.completed", "time": format!("2013-01-{:02}T12:00:00Z", 1 + number % 28),
                "data": { "origin": "JFK", "dest": "LAX", "distance": miles, "arr_delay": -5, "dep_delay": 0 },
            })
            .to_string()
        }));
    }
    server.events(&events.join("\n")).ok();
    server
}

/// The book with dearer miles.
fn dearer() -> Book {
    Book::flights().with("plans/airline.toml", "unit_amount = \"0.0100\"", "unit_amount = \"0.0110\"")
}

fn pricing(ran: impl Fn(&[&str]) -> Ran, command: &str, book: &Book, more: &[&str]) -> Ran {
    let folder = book.path().display().to_string();
    ran(&[&["pricing", command, "--pricing", &folder], more].concat())
}

fn body(book: &Book) -> Value {
    json!({ "files": books::files(book.path()), "from": "2013-01-01", "to": "2013-02-01", "largest": 5 })
}

fn amount(of: &Value) -> &str {
    of["amount"].as_str().expect("an amount")
}

fn a_changed_book_is_compared_with_the_published_one(engine: Engine) {
    let server = january(engine);
    let book = dearer();
    let answer = server.post("/v1/pricing/simulate", &body(&book)).ok();
    assert_eq!(answer["periods"], json!({ "before": 2, "after": 2 }));
    let all = &answer["currencies"][0];
    // 300.00 and 371.25, 200.00 and 123.75; 60.00 for 40 flights on time.
    for (what, expected) in [
        ("revenue", ["995.00", "1045.00", "50.00"]),
        ("rewards", ["60.00", "60.00", "0.00"]),
        ("net", ["935.00", "985.00", "50.00"]),
    ] {
        assert_eq!(["before", "after", "change"].map(|side| amount(&all[what][side])), expected, "{what}");
    }
    let named = |movers: &Value| -> Vec<(String, String)> {
        let named = |mover: &Value| {
            (mover["consumer"].as_str().expect("a name").to_owned(), amount(&mover["change"]).to_owned())
        };
        movers.as_array().expect("a list").iter().map(named).collect()
    };
    assert_eq!(named(&all["pay_more"]), [("UA".to_owned(), "30.00".to_owned()), ("AA".to_owned(), "20.00".to_owned())]);
    assert_eq!(all["pay_less"], json!([]));
    let bands: Vec<&Value> =
        all["distribution"].as_array().expect("bands").iter().filter(|band| band["consumers"] != 0).collect();
    // 30.00 of 626.25 and 20.00 of 308.75.
    assert!(bands.len() == 1 && bands[0]["band"] == "up1_to10" && bands[0]["consumers"] == 2, "{bands:?}");

    // Through the server and on the data itself it is the same, and so is what is written for each consumer.
    let through = |arguments: &[&str]| server.cli(arguments);
    let here = |arguments: &[&str]| server.data.run(arguments);
    let file = server.data.folder().join("rows.csv").display().to_string();
    let csv = [&JANUARY[..], &["--json", "--csv", &file]].concat();
    let expected = "consumer,plan,component,kind,currency,before,after,change\n\
        AA,airline,delays,charge,USD,0.00,0.00,0.00\n\
        AA,airline,gates,charge,USD,123.75,123.75,0.00\n\
        AA,airline,miles,charge,USD,200.00,220.00,20.00\n\
        AA,airline,punctuality,reward,USD,15.00,15.00,0.00\n\
        UA,airline,delays,charge,USD,0.00,0.00,0.00\n\
        UA,airline,gates,charge,USD,371.25,371.25,0.00\n\
        UA,airline,miles,charge,USD,300.00,330.00,30.00\n\
        UA,airline,punctuality,reward,USD,45.00,45.00,0.00\n";
    let same = |told: Ran| {
        assert_eq!(serde_json::from_str::<Value>(&told.done()).expect("JSON"), answer);
        assert_eq!(std::fs::read_to_string(&file).expect("was written"), expected);
        std::fs::remove_file(&file).expect("was there");
    };
    same(pricing(through, "simulate", &book, &csv));
    same(pricing(here, "simulate", &book, &csv));
    let told = pricing(here, "simulate", &book, &JANUARY).done();
    for said in ["2 periods", "revenue", "+50.00", "+5.0 %", "pays more", "airline/miles", "about the same"] {
        assert!(told.contains(said), "{said} in\n{told}");
    }
    let told = pricing(here, "simulate", &book, &["--from", "2013-02-02", "--to", "2013-02-20"]).done();
    assert!(told.contains("nothing to compare"), "{told}");

    // What is wrong is said, and nothing was written by any of it.
    let mut without = body(&book);
    without["files"]["plans/airline.toml"] = json!("[plan]\nid = \"airline\"\nintervall = \"month\"\n");
    assert_eq!(server.post("/v1/pricing/simulate", &without).problem(422)["code"], "price_book_has_mistakes");
    for (from, to) in [("soon", "2013-02-01"), ("2013-02-01", "2013-01-01"), ("2013-02-01", "2013-02-01")] {
        let mut asked = body(&book);
        (asked["from"], asked["to"]) = (json!(from), json!(to));
        assert_eq!(server.post("/v1/pricing/simulate", &asked).problem(422)["code"], "invalid_time", "{from} {to}");
    }
    let finance = server.post("/v1/keys", &json!({ "role": "finance", "name": "books" })).json();
    let finance = server.client(finance["secret"].as_str());
    assert_eq!(finance.post("/v1/pricing/simulate", &body(&book)).status, 403);
    assert_eq!(server.get("/v1/pricing/versions").ok()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/v1/invoices").ok()["data"], json!([]));
}

fn a_plan_says_what_changes_in_words_and_money(engine: Engine) {
    let server = january(engine);
    let book = dearer();
    let through = |arguments: &[&str]| server.cli(arguments);
    let here = |arguments: &[&str]| server.data.run(arguments);
    let told = pricing(here, "plan", &book, &[]).done();
    let words = "plan airline: component miles tier 1 unit_amount 0.0100 → 0.0110\n";
    assert!(told.starts_with(words) && told.contains("nothing is closed yet"), "{told}");

    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    let expected = format!(
        "{words}    that month: 2 consumers +50.00 USD, largest +30.00 USD UA\n\
         All of 2013-01: revenue +50.00 USD, rewards 0.00 USD; net 935.00 → 985.00 USD (+50.00)\n"
    );
    for told in [
        pricing(through, "plan", &book, &[]),
        pricing(here, "plan", &book, &[]),
        pricing(here, "plan", &book, &["--month", "2013-01"]),
    ] {
        assert_eq!(told.done(), expected);
    }
    let told = pricing(here, "plan", &Book::flights(), &[]).done();
    assert!(told.starts_with("Nothing changes.\n"), "{told}");
    let flights = books::flights().display().to_string();
    let told = pricing(here, "plan", &book, &["--against", &flights]).done();
    assert!(told.starts_with(words) && told.contains("Only in words"), "{told}");
    let refused = pricing(here, "plan", &book, &["--month", "January"]);
    assert!(refused.code == 2 && refused.stderr.contains("2013-03"), "{refused:?}");

    let cheaper_above = book.with("plans/airline.toml", "model = \"graduated\"", "model = \"volume\"");
    let cliff = "plan airline: component miles: 100000 units come to 1100.00 USD, ";
    for told in [pricing(here, "plan", &cheaper_above, &[]), pricing(here, "check", &cheaper_above, &[])] {
        // `check` takes no data.
        assert!(told.code == 2 || told.stdout.contains(cliff), "{told:?}");
    }
}

/// UA's month is closed, and then AA's trial ends, in a period that began before that.
fn a_plan_looks_at_the_month_before_a_trial_ended(engine: Engine) {
    let with_trial = "anchor = \"subscription\"\ntrial = \"14d\"";
    let fee = "[[plan.component]]\nid = \"seat\"\nkind = \"fee\"\namount = \"31.00\"\nwhen = \"advance\"\nprorate = \"day\"\n\n";
    let miles = "[[plan.component]]\nid = \"miles\"\n";
    let book = Book::flights().with("plans/airline.toml", "anchor = \"calendar\"", with_trial).with(
        "plans/airline.toml",
        miles,
        &format!("{fee}{miles}"),
    );
    let server = Server::start(engine, book.path());
    for (carrier, start) in [("UA", "2013-01-01"), ("AA", "2013-01-25")] {
        server.put(&format!("/v1/consumers/{carrier}"), &json!({ "name": carrier, "currency": "USD" })).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": start });
        assert_eq!(server.post("/v1/subscriptions", &subscription).status, 201);
    }
    server.post("/v1/close", &json!({ "through": "2013-02-09" })).ok();
    let dearer = book.with("plans/airline.toml", "31.00", "62.00");
    let through = |arguments: &[&str]| server.cli(arguments);
    let here = |arguments: &[&str]| server.data.run(arguments);
    for told in [pricing(through, "plan", &dearer, &[]), pricing(here, "plan", &dearer, &[])] {
        let told = told.done();
        assert!(told.contains("All of 2013-01: revenue +17.00 USD"), "{told}");
    }
}

fn a_book_that_would_break_a_subscription_is_refused(engine: Engine) {
    let server = january(engine);
    let book = Book::flights().with("plans/airline.toml", "id = \"airline\"", "id = \"carrier\"");
    let through = |arguments: &[&str]| server.cli(arguments);
    let here = |arguments: &[&str]| server.data.run(arguments);
    for (command, ran) in [
        ("plan", pricing(here, "plan", &book, &["--month", "2013-01"])),
        ("plan", pricing(through, "plan", &book, &["--month", "2013-01"])),
        ("apply", pricing(through, "apply", &book, &[])),
        ("simulate", pricing(through, "simulate", &book, &JANUARY)),
        ("simulate", pricing(here, "simulate", &book, &JANUARY)),
    ] {
        assert_eq!(ran.code, 1, "{command}: {ran:?}");
        let said = ran.stderr.contains("plan airline is removed, on which sub_") && ran.stderr.contains(" of UA");
        assert!(said, "{command}: {}", ran.stderr);
    }
    assert_eq!(server.get("/v1/pricing/versions").ok()["data"].as_array().map(Vec::len), Some(1));
    let problem = server.post("/v1/pricing/simulate", &body(&book)).problem(422);
    assert_eq!(problem["code"], "subscriptions_break");
}
