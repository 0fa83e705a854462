//! Tiers that carry on over a change of plan within a month, and over what comes late for its first part.

use super::*;
use crate::billing::statement::statement;
use crate::billing::subscribe::Change;
use crate::billing::subscribe::change;
use crate::store::tests::both_engines;

const TIERS: &str = r#"model = "graduated"
        tiers = [{ up_to = "10000", unit_amount = "0.0100", flat_amount = "5.00" }, { unit_amount = "0.0050" }]
        carry_tiers = true"#;

/// Two plans with the same tiers of miles.
async fn metering(db: &Db) -> Meter {
    let priced = |(path, text): (&str, &str)| {
        let text = text.replace("model = \"per_unit\"\n        unit_amount = \"0.0101\"", TIERS);
        SourceFile { path: path.to_owned(), text }
    };
    let mut files: Vec<SourceFile> = BOOK.map(priced).to_vec();
    let airline = files.iter().find(|file| file.path == "plans/airline.toml").expect("is there").text.clone();
    assert!(airline.contains("carry_tiers"), "{airline}");
    let text = airline.replace("id = \"airline\"", "id = \"alliance\"");
    files.push(SourceFile { path: "plans/alliance.toml".to_owned(), text });
    metering_of(db, files).await
}

/// What miles came to on each invoice.
async fn miles(db: &Db) -> Vec<Vec<i64>> {
    let lines = |invoice: &Invoice| {
        let miles = invoice.totals.lines.iter().filter(|line| line.component == "miles");
        miles.map(|line| line.amount.minor()).collect::<Vec<_>>()
    };
    documents(db).await.0.iter().map(lines).filter(|lines| !lines.is_empty()).collect()
}

async fn tiers_go_on_where_the_plan_before_left_them(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    let id = SubscriptionId::parse("sub_UA").expect("an id");
    let wanted = Change::Plan { plan: Some("alliance".to_owned()), at: "2013-01-15".to_owned() };
    change(&db, &metering.versions(), &id, wanted, at("2013-01-02T00:00:00Z")).await.expect("changes");
    fly(&metering, "UA", "2013-01-10T15:10:00Z", 8, 1000).await;
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 4, 1000).await;
    let so_far = statement(&db, &metering.versions(), "UA", Some("2013-01"), at("2013-01-25T12:00:00Z")).await;
    let so_far: Vec<i64> = so_far
        .expect("is made")
        .charges
        .iter()
        .filter(|line| line.component == "miles")
        .map(|line| line.amount.minor())
        .collect();
    assert_eq!(so_far, [8_500, 3_000], "8,000 of the first tier; 2,000 of it, and 2,000 of the second");
    closed(&db, &metering, "2013-02-01").await;
    assert_eq!(miles(&db).await, [[8_500], [3_000]]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    // Late for the first part, and it moves the second part up in its tiers.
    fly(&metering, "UA", "2013-01-11T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    assert_eq!(miles(&db).await[2], [500, 1_000, -500], "February's, and what January's parts differ by");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

both_engines!(tiers_go_on_where_the_plan_before_left_them);
