//! Trials: fees begin when they end and are charged then, and whoever leaves before that owes usage alone. Figures that name a
//! case are those of other billing systems, worked out in their own tests.

use std::collections::BTreeSet;
use std::num::NonZero;

use jiff::civil::date;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::changes::to_end;
use super::*;
use crate::billing::booking;
use crate::billing::simulate;
use crate::billing::tests::changes::changed;
use crate::billing::tests::changes::to_plan;
use crate::domain::document::Occasion;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::documents as made;
use crate::domain::document::share::Sharing;
use crate::domain::ledger::lock::Locks;
use crate::domain::money::Money;
use crate::domain::time::Zone;
use crate::store::balances::AsOf;
use crate::store::closings::ClosedPeriod;
use crate::store::closings::Closing;
use crate::store::subscriptions::Advance;
use crate::store::tests::both_engines;
use crate::store::tests::sqlite;

/// The book of two carriers, with a trial.
fn with_trial(days: u32) -> [(&'static str, String); 5] {
    let trial = format!("interval = \"month\"\n        trial = \"{days}d\"");
    BOOK.map(|(path, text)| (path, text.replace("interval = \"month\"", &trial)))
}

/// Plans in UTC that are a monthly fee in advance: each its name, the fee and the days of its trial.
pub(super) fn plans(anchor: &str, plans: &[(&str, &str, u32)]) -> Vec<SourceFile> {
    let plan = |(id, amount, trial): &(&str, &str, u32)| {
        let text = format!(
            "[plan]\nid = \"{id}\"\nname = \"{id}\"\n{anchor}\ntrial = \"{trial}d\"\n[[plan.component]]\nid = \"{id}\"\nkind = \"fee\"\namount = \"{amount}\"\nwhen = \"advance\"\nprorate = \"day\"\n"
        );
        let text = if *trial == 0 { text.replace("trial = \"0d\"\n", "") } else { text };
        SourceFile { path: format!("plans/{id}.toml"), text }
    };
    let book = "name = \"Case\"\ncurrency = \"USD\"\ntimezone = \"UTC\"\n".to_owned();
    [SourceFile { path: "book.toml".to_owned(), text: book }].into_iter().chain(plans.iter().map(plan)).collect()
}

fn body(invoice: &Invoice) -> String {
    let lines = invoice.totals.lines.iter().map(|line| format!("{} {}", line.component, line.amount.minor()));
    format!("{} {}: {}", invoice.consumer, invoice.occasion.as_str(), lines.collect::<Vec<_>>().join(", "))
}

async fn bodies(db: &Db) -> Vec<String> {
    documents(db).await.0.iter().map(body).collect()
}

/// When each invoice was due, and its lines with the days that they are for.
pub(super) async fn bills(db: &Db) -> Vec<String> {
    let mut bills = Vec::new();
    for invoice in documents(db).await.0 {
        let mut tx = db.read().await.expect("begins");
        let due_at = tx.closing_of(invoice.id.as_str()).await.expect("reads").expect("was made").due_at;
        let day = |at: Instant| at.to_string()[..10].to_owned();
        let lines = invoice.totals.lines.iter().filter(|line| !line.amount.is_zero());
        let line = |line: &crate::domain::rating::line::Line| {
            format!("{} {}..{} {}", line.component, day(line.from), day(line.to), line.amount.minor())
        };
        bills.push(format!("{}: {}", day(due_at), lines.map(line).collect::<Vec<_>>().join(", ")));
    }
    bills
}

async fn fees_begin_after_the_trial_and_usage_from_the_first_day(db: Db) {
    let metering = metering_under(&db, with_trial(14)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    sign_up(&db, "AA", "bronze", None, Some(at("2013-01-10T05:00:00Z"))).await;
    for carrier in ["UA", "AA"] {
        fly(&metering, carrier, "2013-01-05T15:10:00Z", 1, 1000).await;
    }
    // 17 of 31 days of the fee that is prorated, and all of the one that is not.
    let leaves = "AA closing: platform 0, miles 1010";
    let opens = "UA opening: gate 5484";
    closed(&db, &metering, "2013-01-14").await;
    assert_eq!(bodies(&db).await, [leaves]);
    closed(&db, &metering, "2013-01-15").await;
    assert_eq!(bodies(&db).await, [leaves, opens]);
    assert_eq!(closed(&db, &metering, "2013-01-31").await, Closed::default());
    closed(&db, &metering, "2013-02-01").await;
    assert_eq!(bodies(&db).await, [leaves, opens, "UA closing: platform 1000, miles 1010, gate 10000"]);
    let mut tx = db.read().await.expect("begins");
    for (day, booked) in [(14, false), (15, true)] {
        let balance =
            tx.trial_balance(AsOf { effective_on: jiff::civil::date(2013, 1, day), ..AsOf::NOW }).await.expect("reads");
        assert_eq!(balance.iter().any(|total| total.account.to_string() == "4000:gate:USD"), booked, "{day}");
    }
    drop(tx);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_trial_over_several_periods_is_free_in_each_and_charged_in_the_last(db: Db) {
    let metering = metering_under(&db, with_trial(45)).await;
    sign_up(&db, "UA", "bronze", None, Some(at("2013-02-10T05:00:00Z"))).await;
    closed(&db, &metering, "2013-02-01").await;
    assert_eq!(bodies(&db).await, [""; 0]);
    // It was to end in the trial, and goes on.
    changed(&db, &metering, to_end(None)).await.expect("goes on");
    closed(&db, &metering, "2013-03-01").await;
    let expected = ["UA opening: gate 5000", "UA closing: platform 1000, miles 0, gate 10000"];
    assert_eq!(bodies(&db).await, expected, "14 of 28 days");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_trial_that_ends_with_a_period_has_no_document_of_its_own(db: Db) {
    let metering = metering_under(&db, with_trial(31)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    assert_eq!(bodies(&db).await, ["UA closing: platform 0, miles 0, gate 10000"]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_was_charged_at_the_end_of_a_trial_comes_back_from_who_left_within_it(db: Db) {
    let metering = metering_under(&db, with_trial(14)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    closed(&db, &metering, "2013-01-20").await;
    changed(&db, &metering, to_end(Some("2013-01-10".to_owned()))).await.expect("ends");
    // Late, and of the trial.
    fly(&metering, "UA", "2013-01-05T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-02-01").await;
    let expected = ["UA opening: gate 5484", "UA closing: platform 0, miles 1010, gate -5484"];
    assert_eq!(bodies(&db).await, expected);
    fly(&metering, "UA", "2013-01-06T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-02-02").await;
    assert_eq!(bodies(&db).await[2], "UA closing: miles 1010", "and what comes later is corrected");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn the_statement_of_a_month_has_the_fees_that_begin_in_it(db: Db) {
    let metering = metering_under(&db, with_trial(45)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    let gates = async |month: &str, now: &str| {
        let of_month = statement(&db, &metering.versions(), "UA", Some(month), at(now)).await.expect("is made");
        let lines = of_month.charges.iter().filter(|line| line.component == "gate");
        lines.map(|line| line.amount.minor()).filter(|minor| *minor != 0).collect::<Vec<_>>()
    };
    assert_eq!(gates("2013-01", "2013-01-20T05:00:00Z").await, [0; 0]);
    assert_eq!(gates("2013-02", "2013-02-02T05:00:00Z").await, [5000, 10000], "to come, and of March");
    closed(&db, &metering, "2013-02-20").await;
    assert_eq!(gates("2013-01", "2013-02-20T05:00:00Z").await, [0; 0]);
    assert_eq!(gates("2013-02", "2013-02-20T05:00:00Z").await, [5000, 10000]);
    closed(&db, &metering, "2013-03-01").await;
    assert_eq!(gates("2013-02", "2013-03-01T05:00:00Z").await, [5000, 10000]);
}

async fn a_plan_with_a_longer_trial_takes_back_what_was_charged_and_charges_when_that_ends(db: Db) {
    let files = plans("anchor = \"calendar\"", &[("short", "31.00", 10), ("long", "62.00", 20)]);
    let metering = metering_of(&db, files).await;
    sign_up_at(&db, "short", "UA", ("bronze", None), (at("2013-01-01T00:00:00Z"), None)).await;
    closed(&db, &metering, "2013-01-12").await;
    changed(&db, &metering, to_plan(Some("long"), "2013-01-13")).await.expect("changes");
    closed(&db, &metering, "2013-02-01").await;
    let expected = [
        "2013-01-11: short 2013-01-11..2013-02-01 2100",
        "2013-01-13: short 2013-01-13..2013-02-01 -1900",
        "2013-01-21: long 2013-01-21..2013-02-01 2200",
        "2013-02-01: long 2013-02-01..2013-03-01 6200",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// lago-scenario-12: changed on the first day, and the trial of the new plan counts from the first start.
async fn a_trial_counts_from_the_first_plan(db: Db) {
    let files = plans("anchor = \"calendar\"", &[("p", "50000.00", 10), ("q", "100000.00", 13)]);
    let metering = metering_of(&db, files).await;
    sign_up_at(&db, "p", "UA", ("bronze", None), (at("2024-03-05T12:00:00Z"), None)).await;
    changed(&db, &metering, to_plan(Some("q"), "2024-03-05T14:00:00Z")).await.expect("changes");
    let close_at = async |time: &str| {
        let through = Through::parse(time).expect("a time");
        close(&db, &metering.versions(), through, at(time), |_| {}).await.expect("closes");
    };
    close_at("2024-03-18T11:00:00Z").await;
    assert_eq!(bills(&db).await, [""; 0]);
    close_at("2024-03-18T13:00:00Z").await;
    close_at("2024-04-01T12:00:00Z").await;
    let expected = ["2024-03-18: q 2024-03-18..2024-04-01 4516129", "2024-04-01: q 2024-04-01..2024-05-01 10000000"];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// killbill-scenario-01 and -02: a trial of 30 days before a billing day at the end of the month, and before the 3rd.
async fn a_trial_ends_within_a_month_of_the_billing_day(db: Db) {
    let rifle = [("rifle", "599.95", 30), ("pistol", "29.95", 0)];
    let month_end = plans("anchor = \"subscription\"\nanchor_day = \"31\"", &rifle);
    let metering = metering_of(&db, month_end).await;
    sign_up_at(&db, "rifle", "UA", ("bronze", None), (at("2012-02-01T00:00:00Z"), None)).await;
    closed(&db, &metering, "2012-03-02").await;
    changed(&db, &metering, to_plan(Some("pistol"), "2012-03-31")).await.expect("changes");
    closed(&db, &metering, "2012-05-01").await;
    let expected = [
        "2012-03-02: rifle 2012-03-02..2012-03-31 56124",
        "2012-03-31: pistol 2012-03-31..2012-04-30 2995",
        "2012-04-30: pistol 2012-04-30..2012-05-31 2995",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    let (db, _folder) = sqlite().await;
    let third = plans("anchor = \"subscription\"\nanchor_day = \"3\"", &rifle);
    let metering = metering_of(&db, third).await;
    sign_up_at(&db, "rifle", "UA", ("bronze", None), (at("2012-02-01T00:00:00Z"), None)).await;
    closed(&db, &metering, "2012-03-04").await;
    let expected = ["2012-03-02: rifle 2012-03-02..2012-03-03 2069", "2012-03-03: rifle 2012-03-03..2012-04-03 59995"];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// killbill-scenario-04: a change within the trial costs nothing, one after it is a change like others.
async fn a_change_within_a_trial_costs_nothing(db: Db) {
    let four = [("shotgun", "249.95", 30), ("rifle", "599.95", 30), ("blowdart", "9.95", 0), ("pistol", "29.95", 0)];
    let metering = metering_of(&db, plans("anchor = \"subscription\"\nanchor_day = \"1\"", &four)).await;
    sign_up_at(&db, "shotgun", "UA", ("bronze", None), (at("2012-04-01T00:00:00Z"), None)).await;
    for (plan, day, next) in [
        ("rifle", "2012-04-04", "2012-05-01"),
        ("blowdart", "2012-05-07", "2012-05-07"),
        ("pistol", "2012-05-08", "2012-06-01"),
    ] {
        changed(&db, &metering, to_plan(Some(plan), day)).await.expect("changes");
        closed(&db, &metering, next).await;
    }
    let expected = [
        "2012-05-01: rifle 2012-05-01..2012-06-01 59995",
        "2012-05-07: rifle 2012-05-07..2012-06-01 -48383, blowdart 2012-05-07..2012-06-01 802",
        "2012-05-08: blowdart 2012-05-08..2012-06-01 -770, pistol 2012-05-08..2012-06-01 2319",
        "2012-06-01: pistol 2012-06-01..2012-07-01 2995",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// Once such a document was made when the subscription began, and said to be of the whole period.
async fn what_was_charged_before_the_trial_is_not_charged_again(db: Db) {
    let metering = metering_under(&db, with_trial(14)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    let (versions, mut tx) = (metering.versions(), db.write().await.expect("begins"));
    let subscription = tx.subscriptions(None, None, 1).await.expect("reads").remove(0);
    let consumer = tx.consumer("UA").await.expect("reads").expect("is known");
    let (starts, version) = (subscription.starts_at, versions.at(subscription.starts_at).expect("a book"));
    let calendar = &version.book.plans["airline"].calendar;
    let period = subscription.period_from(starts, calendar).expect("is found").expect("runs");
    let due = Due {
        subscription: &subscription,
        consumer: &consumer,
        tax: None,
        occasion: Occasion::Opening,
        at: starts,
        period,
        version,
        advance_through: None,
        next: None,
        adjustments: &[],
        usage: &BTreeMap::new(),
    };
    let made = made(&[due], &BTreeMap::new(), &Sharing::default()).expect("is made");
    let mut draft = made.documents.into_iter().next().and_then(|made| made.invoice).expect("an invoice");
    draft.totals.lines[0].from = starts;
    let closed_period = ClosedPeriod {
        subscription: subscription.id.clone(),
        occasion: Occasion::Opening,
        period: period.covered,
        book_version: version.id.clone(),
        next_book_version: None,
        next_period_to: None,
        consumer: consumer.clone(),
    };
    let closing = Closing { seq: 1, due_at: starts, usage_seq: 0, replayed: 0, closed_at: NOW };
    tx.record_closing(&closing, &[closed_period]).await.expect("is recorded");
    let charged = Some((period.covered.to(), &*version.id));
    tx.advance_closed_through(&[Advance { read: &subscription, from: starts, to: starts, charged }])
        .await
        .expect("moves");
    let number = tx.next_invoice_number(&version.book.invoice_prefix).await.expect("counts");
    let invoice = draft.finalize(number, NOW, date(2013, 5, 1));
    let zone = Zone::named("America/New_York").expect("a zone");
    tx.record_invoices(1, std::slice::from_ref(&invoice)).await.expect("is recorded");
    tx.post(
        &booking::of_invoice(&invoice, starts, &zone, &Locks::default())
            .expect("is booked")
            .into_iter()
            .collect::<Vec<_>>(),
    )
    .await
    .expect("is posted");
    tx.commit().await.expect("commits");

    assert_eq!(closed(&db, &metering, "2013-01-31").await, Closed::default());
    closed(&db, &metering, "2013-02-01").await;
    let expected = ["UA opening: gate 5484", "UA closing: platform 1000, miles 0, gate 10000"];
    assert_eq!(bodies(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn verify_compares_the_day_on_which_a_fee_begins_after_a_trial(db: Db) {
    let metering = metering_under(&db, with_trial(14)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    closed(&db, &metering, "2013-01-15").await;
    let on = if is_sqlite(&db) { "" } else { " on document_line" };
    let unguarded = format!("drop trigger document_line_is_never_changed{on}");
    let later = "update document_line set period_from = period_from + 86400000000 where component = 'gate'";
    sent(&db, &[&unguarded, later]).await.expect("is tampered with");
    let found = words(&verified(&db, &metering).await);
    let is_named = |found: &String| found.contains("the explanation of line 1 (gate)") && found.contains("2013-01-16");
    assert!(found.len() == 1 && found.iter().all(is_named), "{found:?}");
}

/// What comes late for a closed period waits for the next closing of its subscription, and an opening is none.
async fn late_usage_waits_for_a_closing_and_not_for_an_opening(db: Db) {
    let metering = metering_under(&db, with_trial(45)).await;
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up(&db, "AA", "gold", None, Some(at("2013-02-20T05:00:00Z"))).await;
    fly(&metering, "UA", "2013-01-05T15:10:00Z", 2, 1000).await;
    closed(&db, &metering, "2013-02-01").await;
    fly(&metering, "UA", "2013-01-02T15:10:00Z", 5, 1000).await;
    fly(&metering, "AA", "2013-02-05T15:10:00Z", 5, 1000).await;
    closed(&db, &metering, "2013-02-16").await;
    closed(&db, &metering, "2013-02-21").await;
    closed(&db, &metering, "2013-03-01").await;
    let expected = [
        "UA closing: platform 0, miles 2020",
        "AA opening: gate 1786",
        "UA opening: gate 5000",
        "AA closing: platform 1000, miles 5050",
        "UA closing: platform 1000, miles 0, gate 10000, miles 5050",
    ];
    assert_eq!(bodies(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// A book tried on what was billed under a trial, against itself and against shorter ones.
async fn a_simulation_has_the_trials_of_each_side(db: Db) {
    let metering = metering_under(&db, with_trial(45)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    sign_up(&db, "AA", "bronze", None, Some(at("2013-02-10T05:00:00Z"))).await;
    for carrier in ["UA", "AA"] {
        fly(&metering, carrier, "2013-01-05T15:10:00Z", 1, 1000).await;
    }
    closed(&db, &metering, "2013-04-01").await;
    let revenue = async |trial: u32| {
        let files = with_trial(trial).map(|(path, text)| SourceFile { path: path.to_owned(), text });
        let candidate = BookVersion::new(files.to_vec(), Instant::BEGINNING).expect("is a book");
        let [from, to] = ["2013-01-01", "2013-04-01"].map(|day| Through::parse(day).expect("a date"));
        let request = simulate::Request { candidate, from, to, largest: 5, threads: NonZero::<usize>::MIN };
        let (simulated, _) = simulate::simulate(&db, &metering.versions(), request, NOW, |_| {}).await.expect("rates");
        let revenue = &simulated.outcome.currencies[0].revenue;
        (revenue.before.minor(), revenue.after.minor())
    };
    let all: i64 = documents(&db).await.0.iter().map(|invoice| invoice.totals.net.minor()).sum();
    // All but the fee of April: 14 of 28 days of February and all of March, a fee that is whole for each, and the miles.
    let billed = 5_000 + 10_000 + 2 * 1_000 + 2 * 1_010;
    assert_eq!(all - 10_000, billed);
    assert_eq!(revenue(45).await, (billed, billed));
    // UA owes 17 of 31 days of January and all of February more than before, and AA the same days and 9 of 28.
    let (earlier, left) = (5_484 + 5_000 + 1_000, 5_484 + 3_214 + 2 * 1_000);
    assert_eq!(revenue(14).await, (billed, billed + earlier + left));
    assert_eq!(revenue(365).await, (billed, 2 * 1_010));
}

both_engines!(
    fees_begin_after_the_trial_and_usage_from_the_first_day,
    a_trial_over_several_periods_is_free_in_each_and_charged_in_the_last,
    a_trial_that_ends_with_a_period_has_no_document_of_its_own,
    what_was_charged_at_the_end_of_a_trial_comes_back_from_who_left_within_it,
    the_statement_of_a_month_has_the_fees_that_begin_in_it,
    a_plan_with_a_longer_trial_takes_back_what_was_charged_and_charges_when_that_ends,
    a_trial_counts_from_the_first_plan,
    a_trial_ends_within_a_month_of_the_billing_day,
    a_change_within_a_trial_costs_nothing,
    what_was_charged_before_the_trial_is_not_charged_again,
    verify_compares_the_day_on_which_a_fee_begins_after_a_trial,
    late_usage_waits_for_a_closing_and_not_for_an_opening,
    a_simulation_has_the_trials_of_each_side,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often closing runs and wherever the trial and the subscription end: the fees of all documents are the fee for the
    /// days after the trial, month by month, and none is there before the trial is over.
    #[test]
    fn fees_are_of_the_days_after_the_trial_and_never_before(
        trial in 1_u32..80, end in prop::option::of(1_i64..110), stops in prop::collection::btree_set(1_i64..120, 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(async {
            let (db, _folder) = sqlite().await;
            let metering = metering_under(&db, with_trial(trial)).await;
            let zone = Zone::named("America/New_York").expect("a zone");
            let first = jiff::civil::date(2013, 1, 1);
            let day = |days: i64| first.checked_add(jiff::Span::new().days(days)).expect("in the calendar");
            let ends_at = end.map(|end| Instant::start_of(day(end), &zone).expect("in the calendar"));
            sign_up(&db, "UA", "bronze", None, ends_at).await;
            let gates = async || -> Vec<i64> {
                let invoices = documents(&db).await.0;
                let lines = invoices.iter().flat_map(|invoice| &invoice.totals.lines);
                lines.filter(|line| line.component == "gate").map(|line| line.amount.minor()).collect()
            };
            for stop in stops {
                closed(&db, &metering, &day(stop).to_string()).await;
                let is_charged = gates().await.iter().any(|minor| *minor != 0);
                let is_due = stop >= i64::from(trial) && end.is_none_or(|end| end > i64::from(trial));
                prop_assert_eq!(is_charged, is_due, "after {} days", stop);
            }
            // All that is due by 1 May, with the fee of May.
            closed(&db, &metering, "2013-05-01").await;
            let months = [(0, 31), (31, 59), (59, 90), (90, 120), (120, 151)];
            let owed = months.map(|(from, to): (i64, i64)| {
                let days = (to.min(end.unwrap_or(to)) - from.max(i64::from(trial))).max(0);
                Money::round(Decimal::from(100 * days) / Decimal::from(to - from), Currency::from_code("USD").expect("USD exists"))
            });
            let owed: i64 = owed.map(|owed| owed.expect("fits").minor()).iter().sum();
            prop_assert_eq!(gates().await.iter().sum::<i64>(), owed);
            prop_assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
            Ok(())
        })?;
    }

    /// Whatever the trials, with changes between plans and whoever leaves: closing again and again makes the documents that
    /// closing once makes, long after the trials ended.
    #[test]
    fn closing_late_makes_the_same_documents(
        trials in prop::array::uniform2(0_u32..70), changes in prop::collection::btree_map(1_i64..130, 0_usize..3, 0..4),
        end in prop::option::of(1_i64..130), stops in prop::collection::btree_set(1_i64..150, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        let day = |days: i64| jiff::civil::date(2013, 1, 20).checked_add(jiff::Span::new().days(days)).expect("in the calendar");
        let made = |stops: BTreeSet<i64>| async {
            let (db, _folder) = sqlite().await;
            let of = [("p", "31.00", trials[0]), ("q", "62.00", trials[1]), ("r", "93.00", 0)];
            let metering = metering_of(&db, plans("anchor = \"subscription\"\nanchor_day = \"31\"", &of)).await;
            sign_up_at(&db, "p", "UA", ("bronze", None), (at("2013-01-20T15:00:00Z"), None)).await;
            for (days, plan) in &changes {
                changed(&db, &metering, to_plan(Some(of[*plan].0), &day(*days).to_string())).await.expect("changes");
            }
            changed(&db, &metering, to_end(end.map(|days| day(days).to_string()))).await.expect("ends");
            for stop in stops {
                closed(&db, &metering, &day(stop).to_string()).await;
            }
            (bills(&db).await, words(&verified(&db, &metering).await))
        };
        let (often, once) = runtime.block_on(async {
            (made(stops.into_iter().chain([150]).collect()).await, made(BTreeSet::from([150])).await)
        });
        prop_assert_eq!(&often, &once);
        prop_assert_eq!(often.1, [""; 0]);
    }
}
