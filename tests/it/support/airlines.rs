//! The airlines as consumers: their accounts and subscriptions, and what they owe and are owed by the book for flights,
//! worked out from `usage.csv` in whole cents, apart from the program under test.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use crate::support::flights::PerMonth;
use crate::support::flights::month;
use crate::support::flights::table;
use crate::support::flights::text;
use crate::support::http::Client;
use crate::support::money::cents;

/// The most that punctuality pays a carrier in a month.
const PUNCTUALITY_CAP: i64 = 200_000;

/// Everyone that flew.
pub fn carriers() -> BTreeSet<String> {
    table().into_iter().map(|flown| flown.carrier).collect()
}

/// Makes each carrier a consumer that is on the plan from the first of January 2013.
pub fn sign_up(client: &Client) {
    for carrier in carriers() {
        let consumer = json!({ "name": format!("Carrier {carrier}"), "currency": "USD" });
        client.put(&format!("/v1/consumers/{carrier}"), &consumer).ok();
        let subscription = json!({ "consumer": carrier, "plan": "airline", "start": "2013-01-01" });
        client.post("/v1/subscriptions", &subscription).ok();
    }
}

/// What each carrier is charged for each month, in cents.
pub fn charged() -> PerMonth {
    per_month(|flown| {
        let miles = flown("miles");
        // 1 cent a mile up to 100,000, then 0.8 up to 1,000,000, then 0.5: in tenths of a cent.
        let tenths = 10 * miles.min(100_000) + 8 * (miles - 100_000).clamp(0, 900_000) + 5 * (miles - 1_000_000).max(0);
        // 1237.5 cents a flight, on a line for each airport: half a cent is rounded up on each.
        let gates: i64 = ["ewr", "jfk", "lga"].into_iter().map(|origin| whole_cents(flown(origin) * 12_375)).sum();
        let delays = (flown("late_60") + 9) / 10 * 4_000;
        whole_cents(tenths) + gates + delays
    })
}

/// What each carrier would earn in each month if the program's budget had no end, in cents.
pub fn earned() -> PerMonth {
    per_month(|flown| (flown("on_time") * 150).min(PUNCTUALITY_CAP))
}

/// Tenths of a cent, none negative, to whole cents; half a cent goes up.
fn whole_cents(tenths: i64) -> i64 {
    (tenths + 5) / 10
}

fn per_month(amount: impl Fn(&dyn Fn(&str) -> i64) -> i64) -> PerMonth {
    let amounts =
        table().into_iter().map(|flown| ((flown.carrier.clone(), flown.month), amount(&|name| flown.get(name))));
    amounts.filter(|(_, amount)| *amount != 0).collect()
}

/// All invoices, or all payouts, as the API lists them.
pub fn documents(client: &Client, kind: &str) -> Vec<Value> {
    let answer = client.get(&format!("/v1/{kind}?limit=1000")).ok();
    assert!(answer["next_cursor"].is_null(), "one page holds all {kind}");
    answer["data"].as_array().expect("a list").clone()
}

/// What documents come to for each carrier and month, in cents. There is at most one for each.
#[track_caller]
pub fn totals(documents: &[Value]) -> PerMonth {
    let mut totals = PerMonth::new();
    for document in documents {
        let key = (text(&document["consumer"]), month(&document["period"]["from"]));
        let before = totals.insert(key, cents(&document["total"]));
        assert_eq!(before, None, "a second document for one carrier and month: {document}");
    }
    totals.retain(|_, total| *total != 0);
    totals
}

/// Asserts that the numbers of documents are an unbroken run of 1, 2, 3 ….
#[track_caller]
pub fn assert_no_gaps(documents: &[Value]) {
    let digits = |number: &str| number.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|last| last.parse().ok());
    let numbers: BTreeSet<usize> =
        documents.iter().map(|document| digits(&text(&document["number"])).expect("a number ends in digits")).collect();
    assert_eq!(numbers, (1..=documents.len()).collect(), "each number once, and none left out");
}

/// The trial balance: account and party → debit less credit, in cents.
#[track_caller]
pub fn trial_balance(client: &Client) -> BTreeMap<(String, String), i64> {
    let answer = client.get("/v1/ledger/trial-balance").ok();
    let mut balance: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in answer["accounts"].as_array().expect("rows") {
        let money = |side: &str| cents(&json!({ "amount": row[side], "currency": row["currency"] }));
        let key = (text(&row["account"]), row["party"].as_str().unwrap_or_default().to_owned());
        *balance.entry(key).or_default() += money("debit") - money("credit");
    }
    assert_eq!(balance.values().sum::<i64>(), 0, "debits equal credits: {balance:?}");
    balance
}

/// What the accounts with these numbers come to together, debit less credit.
pub fn sum_of(balance: &BTreeMap<(String, String), i64>, accounts: &[&str]) -> i64 {
    balance.iter().filter(|((account, _), _)| accounts.contains(&account.as_str())).map(|(_, cents)| cents).sum()
}
