//! Real input: 77,910 flights, counted, priced both ways and booked, against numbers that were worked out elsewhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use serde_json::json;

use crate::support::airlines;
use crate::support::books;
use crate::support::books::Book;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::flights;
use crate::support::flights::FLIGHTS;
use crate::support::flights::PerMonth;
use crate::support::money::cents;
use crate::support::server::Server;

/// Carrier → cents.
type PerCarrier = BTreeMap<String, i64>;

crate::support::both_engines!(
    usage_is_exactly_what_the_table_says,
    importing_again_accepts_nothing,
    documents_equal_a_separate_calculation_and_closing_again_changes_nothing,
    without_a_server_and_with_a_budget_that_runs_out,
);

/// A server into which the flights have been imported through HTTP: one for each engine, since it takes seconds.
fn imported(engine: Engine) -> &'static Server {
    static SQLITE: LazyLock<Server> = LazyLock::new(|| import(Engine::Sqlite));
    static POSTGRES: LazyLock<Server> = LazyLock::new(|| import(Engine::Postgres));
    match engine {
        Engine::Sqlite => &SQLITE,
        Engine::Postgres => &POSTGRES,
    }
}

fn import(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    let answer = server.cli(&["events", "import", "--json", &flights::events_file()]).done();
    assert_eq!(parsed(&answer), json!({ "accepted": FLIGHTS, "duplicates": 0, "conflicts": 0, "rejected": [] }));
    server
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

fn usage_is_exactly_what_the_table_says(engine: Engine) {
    let server = imported(engine);
    flights::assert_all_counted(server);

    // Hawaiian flew once a day from New York to Honolulu, 4,983 miles away.
    let path = "/v1/usage?meter=miles&consumer=HA&from=2013-01-01&to=2013-04-01&window=total";
    let total = server.get(path).ok();
    let row = json!({
        "consumer": "HA", "from": "2013-01-01T05:00:00Z", "to": "2013-04-01T04:00:00Z",
        "dimensions": {}, "value": (90 * 4983).to_string(), "count": 90,
    });
    assert_eq!(total["data"], json!([row]));
    // It is a flight a day, but the one of 9 January left after midnight, on the day of the next.
    let days = server.get(&path.replace("window=total", "window=day")).ok();
    let days = days["data"].as_array().expect("rows");
    let (double, single): (Vec<&Value>, Vec<&Value>) = days.iter().partition(|day| day["count"] == 2);
    assert!(single.len() == 88 && single.iter().all(|day| day["value"] == "4983" && day["count"] == 1), "{single:?}");
    assert!(double.len() == 1 && double[0]["value"] == "9966" && double[0]["from"] == "2013-01-10T05:00:00Z");
}

fn importing_again_accepts_nothing(engine: Engine) {
    let server = imported(engine);
    let answer = server.cli(&["events", "import", "--json", &flights::events_file()]).done();
    assert_eq!(parsed(&answer), json!({ "accepted": 0, "duplicates": FLIGHTS, "conflicts": 0, "rejected": [] }));
    flights::assert_all_counted(server);
}

fn documents_equal_a_separate_calculation_and_closing_again_changes_nothing(engine: Engine) {
    let server = imported(engine);
    airlines::sign_up(server);
    server.cli(&["close", "--through", "2013-04-01"]).done();

    let invoices = airlines::documents(server, "invoices");
    let payouts = airlines::documents(server, "payouts");
    assert_eq!(airlines::totals(&invoices), airlines::charged());
    assert_eq!(airlines::totals(&payouts), airlines::earned());
    airlines::assert_no_gaps(&invoices);
    for document in invoices.iter().chain(&payouts) {
        lines_add_up_and_say_why(document);
    }
    one_invoice_in_full(&invoices);

    let balance = airlines::trial_balance(server);
    let (charged, earned) = (sum(&airlines::charged()), sum(&airlines::earned()));
    assert_eq!(airlines::sum_of(&balance, &["1100"]), charged, "receivables are what was invoiced");
    assert_eq!(airlines::sum_of(&balance, &["4000"]), -charged, "and so is revenue");
    assert_eq!(airlines::sum_of(&balance, &["2000", "2010"]), -earned, "rewards are owed, held or available");
    assert_eq!(airlines::sum_of(&balance, &["4090"]), earned, "and are contra revenue: airlines are customers");
    for (carrier, cents) in per_carrier(&airlines::charged()) {
        assert_eq!(balance[&("1100".to_owned(), carrier.clone())], cents, "receivable of {carrier}");
    }

    server.cli(&["close", "--through", "2013-04-01"]).done();
    assert_eq!(airlines::documents(server, "invoices"), invoices);
    assert_eq!(airlines::documents(server, "payouts"), payouts);
    assert_eq!(airlines::trial_balance(server), balance);
}

/// Nothing but the command line, month by month, and 20,000 dollars for punctuality where 48,579 would be earned.
fn without_a_server_and_with_a_budget_that_runs_out(engine: Engine) {
    const BUDGET: i64 = 2_000_000;
    let book = Book::flights().with("programs/punctuality.toml", "250000.00", "20000.00");
    let data = Data::new(engine);
    data.run(&["pricing", "apply", "--pricing", &book.path().display().to_string()]).done();
    let answer = data.run(&["events", "import", "--json", &flights::events_file()]).done();
    assert_eq!(parsed(&answer)["accepted"], FLIGHTS);

    let mut server = Server::start_with(data, book.path(), &[]);
    flights::assert_all_counted(&server);
    airlines::sign_up(&server);
    server.stop();
    for through in ["2013-02-01", "2013-03-01", "2013-04-01"] {
        server.data.run(&["close", "--through", through]).done();
    }
    server.data.run(&["verify"]).done();
    server.start_again();

    assert_eq!(airlines::totals(&airlines::documents(&server, "invoices")), airlines::charged());
    let paid = airlines::totals(&airlines::documents(&server, "payouts"));
    let unbudgeted = airlines::earned();
    assert_eq!(sum(&paid), BUDGET, "all of the budget is paid, and not a cent more: {paid:?}");
    for (key, cents) in &paid {
        assert!(cents <= &unbudgeted[key], "{key:?} is paid {cents}, above the {} it earned", unbudgeted[key]);
    }
    // January earns 16,129.00, all before the budget runs out; February gets what is left, March nothing.
    assert_eq!(of_month(&paid, 1), of_month(&unbudgeted, 1));
    assert!(of_month(&paid, 3).is_empty(), "{paid:?}");
}

fn of_month(amounts: &PerMonth, wanted: u32) -> PerCarrier {
    let rows = amounts.iter().filter(|((_, month), _)| *month == wanted);
    rows.map(|((carrier, _), cents)| (carrier.clone(), *cents)).collect()
}

/// All months of a carrier together.
fn per_carrier(amounts: &PerMonth) -> PerCarrier {
    let mut sums = PerCarrier::new();
    for ((carrier, _), cents) in amounts {
        *sums.entry(carrier.clone()).or_default() += cents;
    }
    sums
}

fn sum(amounts: &PerMonth) -> i64 {
    amounts.values().sum()
}

#[track_caller]
fn lines_add_up_and_say_why(document: &Value) {
    let lines = document["lines"].as_array().expect("lines");
    let sum: i64 = lines.iter().map(|line| cents(&line["amount"])).sum();
    assert_eq!(sum, cents(&document["total"]), "lines add up to the total: {document}");
    for line in lines {
        assert!(line["description"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
        assert!(line["explanation"].as_object().is_some_and(|explanation| !explanation.is_empty()), "{line}");
    }
}

/// Endeavor (9E) in January: 694,923 miles, 77 flights from Newark, 1,338 from JFK and 65 from LaGuardia, 170 late.
fn one_invoice_in_full(invoices: &[Value]) {
    let invoice = invoices
        .iter()
        .find(|invoice| invoice["consumer"] == "9E" && flights::month(&invoice["period"]["from"]) == 1)
        .expect("Endeavor has an invoice for January");
    let lines = invoice["lines"].as_array().expect("lines");
    let mut found: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|line| {
            (
                line["component"].as_str().expect("a component"),
                line["quantity"].as_str().expect("a quantity"),
                line["amount"]["amount"].as_str().expect("an amount"),
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("delays", "170", "680.00"),
            ("gates", "1338", "16557.75"),
            ("gates", "65", "804.38"),
            ("gates", "77", "952.88"),
            ("miles", "694923", "5759.38"),
        ]
    );
    assert_eq!(invoice["total"], json!({ "amount": "24754.39", "currency": "USD" }));
}
