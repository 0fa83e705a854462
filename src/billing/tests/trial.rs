//! Trials: fees begin when they end, and whoever leaves before that owes usage alone.

use super::*;
use crate::store::tests::both_engines;

async fn fees_begin_after_the_trial_and_usage_from_the_first_day(db: Db) {
    let with_trial = |(path, text): (&'static str, &str)| {
        (path, text.replace("interval = \"month\"", "interval = \"month\"\n        trial = \"14d\""))
    };
    let metering = metering_under(&db, BOOK.map(with_trial)).await;
    sign_up(&db, "UA", "bronze", None, None).await;
    sign_up(&db, "AA", "bronze", None, Some(at("2013-01-10T05:00:00Z"))).await;
    for carrier in ["UA", "AA"] {
        fly(&metering, carrier, "2013-01-05T15:10:00Z", 1, 1000).await;
    }
    closed(&db, &metering, "2013-02-01").await;
    let lines = |invoice: &Invoice| {
        let lines = invoice.totals.lines.iter().map(|line| format!("{} {}", line.component, line.amount.minor()));
        format!("{} {}: {}", invoice.consumer, invoice.occasion.as_str(), lines.collect::<Vec<_>>().join(", "))
    };
    let mut found: Vec<String> = documents(&db).await.0.iter().map(lines).collect();
    found.sort();
    // 17 of 31 days of the fee that is prorated, and all of the one that is not.
    let expected = [
        "AA closing: platform 0, miles 1010",
        "UA closing: platform 1000, miles 1010, gate 10000",
        "UA opening: gate 5484",
    ];
    assert_eq!(found, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

both_engines!(fees_begin_after_the_trial_and_usage_from_the_first_day);
