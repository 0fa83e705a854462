//! Caps for a lifetime, from one closed period to the next.

use crate::billing::statement::statement;
use crate::billing::tests::BOOK;
use crate::billing::tests::Meter;
use crate::billing::tests::at;
use crate::billing::tests::closed;
use crate::billing::tests::documents;
use crate::billing::tests::fly;
use crate::billing::tests::metering_under;
use crate::billing::tests::sign_up;
use crate::billing::tests::summary;
use crate::billing::tests::verified;
use crate::billing::tests::words;
use crate::store::Db;
use crate::store::tests::both_engines;

/// Miles cost at most 50.00 in all, and the first five flights on time are rewarded.
async fn metering(db: &Db) -> Meter {
    let capped = |(path, text): (&'static str, &str)| {
        let text = text
            .replace("\"0.0101\"", "\"0.0101\"\ncap = [{ amount = \"50.00\", per = \"lifetime\" }]")
            .replace("\"1.50\"", "\"1.50\"\ncap = [{ units = \"5\", per = \"lifetime\" }]")
            .replace("\"10.00\"\n        exhausted", "\"1000.00\"\n        exhausted");
        (path, text)
    };
    metering_under(db, BOOK.map(capped)).await
}

async fn a_lifetime_is_used_up_over_the_periods(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up(&db, "AA", "silver", None, None).await;
    // Before the subscription begins: that is not its life.
    fly(&metering, "AA", "2012-12-20T15:10:00Z", 3, 1000).await;
    fly(&metering, "UA", "2013-01-05T15:10:00Z", 4, 1000).await;
    fly(&metering, "AA", "2013-01-06T15:10:00Z", 4, 500).await;
    closed(&db, &metering, "2013-02-01").await;
    // Too late for UA's January, which is adjusted with the next document; it has used up a part of the lifetime.
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 1, 700).await;
    fly(&metering, "UA", "2013-02-10T15:10:00Z", 2, 1000).await;
    fly(&metering, "AA", "2013-02-10T15:10:00Z", 4, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    fly(&metering, "AA", "2013-03-10T15:10:00Z", 1, 1000).await;
    let march = statement(&db, &metering.versions(), "AA", Some("2013-03"), at("2013-03-20T12:00:00Z")).await;
    let march = march.expect("is made");
    let miles = march.charges.iter().find(|line| line.component == "miles").expect("is charged");
    assert_eq!((miles.amount.minor(), march.rewarded.minor()), (0, 0), "so far too");
    closed(&db, &metering, "2013-04-01").await;

    let (invoices, payouts) = documents(&db).await;
    let miles = |consumer: &str| {
        let of = invoices.iter().filter(|invoice| invoice.consumer == consumer).map(summary);
        of.filter_map(|said| Some(said.split_once("miles ")?.1.split(',').next()?.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(miles("AA"), ["2020", "2980", "0"]);
    assert_eq!(miles("UA"), ["4040", "253", "0"], "4,700 miles of January are 47.47");
    let earned: Vec<_> = payouts.iter().map(|payout| (payout.consumer.as_str(), payout.total.minor())).collect();
    assert_eq!(earned, [("AA", 600), ("UA", 600), ("AA", 150), ("UA", 150)], "the last is January's");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

both_engines!(a_lifetime_is_used_up_over_the_periods);
