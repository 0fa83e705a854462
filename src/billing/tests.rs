//! A year's beginning from events to the ledger, on both engines, with numbers worked out by hand.
//!
//! UA and AA fly in January. The plan has a fee in advance, one in arrears, a charge a mile, and a reward for being on
//! time out of a budget of 10.00 that both share. UA is taxed; AA leaves in the middle of February.

mod billing_day;
mod carry;
mod changes;
mod late;
mod ledger;
mod lifetime;
mod money_out;
mod netting;
mod payouts;
mod quota;
mod settle;
mod shares;
mod terms;
mod trial;

use std::collections::BTreeMap;
use std::ops::Deref;

use tempfile::TempDir;

use crate::billing::close::CloseError;
use crate::billing::close::Closed;
use crate::billing::close::Through;
use crate::billing::close::close;
use crate::billing::statement::csv;
use crate::billing::statement::statement;
use crate::billing::verify::Verified;
use crate::billing::verify::verify;
use crate::domain::book::SourceFile;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::document::statement::StatementState;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering::Metering;
use crate::metering::Options;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::ingest::Limits;
use crate::store::Db;
use crate::store::balances::AccountTotal;
use crate::store::balances::AsOf;
use crate::store::documents::Wanted;
use crate::store::tests::both_engines;
use crate::store::tests::is_sqlite;
use crate::store::tests::sent;

/// 2014-05-13: long after everything.
pub(in crate::billing) const NOW: Instant = Instant::from_micros(1_400_000_000_000_000);

pub(in crate::billing) const BOOK: [(&str, &str); 5] = [
    (
        "book.toml",
        r#"
        name = "Flights"
        currency = "USD"
        timezone = "America/New_York"
        [[tax]]
        id = "ny"
        jurisdiction = "US-NY"
        rate = "8.875"
        "#,
    ),
    (
        "catalog/flights.toml",
        r#"
        [[event_type]]
        type = "flight.completed"
        title = "Flight"
        description = "A flight"
        lifecycle = "published"
        "#,
    ),
    (
        "meters/flights.toml",
        r#"
        [[meter]]
        id = "miles"
        event_type = "flight.completed"
        aggregation = "sum"
        value = "data.distance"
        [[meter]]
        id = "on_time"
        event_type = "flight.completed"
        aggregation = "count"
        where = [{ field = "data.delay", le = "0" }]
        "#,
    ),
    (
        "plans/airline.toml",
        r#"
        [plan]
        id = "airline"
        name = "Airline"
        currency = "USD"
        interval = "month"
        anchor = "calendar"
        timezone = "America/New_York"
        [[plan.component]]
        id = "gate"
        kind = "fee"
        amount = "100.00"
        when = "advance"
        prorate = "day"
        [[plan.component]]
        id = "platform"
        kind = "fee"
        amount = "10.00"
        when = "arrears"
        prorate = "none"
        [[plan.component]]
        id = "miles"
        kind = "charge"
        meter = "miles"
        model = "per_unit"
        unit_amount = "0.0101"
        [[plan.component]]
        id = "punctuality"
        kind = "reward"
        meter = "on_time"
        model = "per_unit"
        unit_amount = "1.50"
        program = "punctual"
        "#,
    ),
    (
        "programs/punctual.toml",
        r#"
        [[program]]
        id = "punctual"
        currency = "USD"
        from = "2013-01-01"
        to = "2014-01-01"
        budget = "10.00"
        exhausted = "partial"
        hold = "14d"
        accounting = "contra_revenue"
        eligible = [{ field = "consumer.tags.tier", in = ["gold", "silver"] }]
        "#,
    ),
];

pub(in crate::billing) fn at(text: &str) -> Instant {
    Instant::parse(text).expect("a time")
}

/// A meter, and the folder of its index, which is gone with it.
pub(in crate::billing) struct Meter {
    metering: Metering,
    _seen: TempDir,
}

impl Deref for Meter {
    type Target = Metering;

    fn deref(&self) -> &Metering {
        &self.metering
    }
}

async fn metering(db: &Db) -> Meter {
    metering_under(db, BOOK.map(|(path, text)| (path, text.to_owned()))).await
}

/// With another book, where none is published yet.
async fn metering_under(db: &Db, book: [(&str, String); 5]) -> Meter {
    metering_of(db, book.map(|(path, text)| SourceFile { path: path.to_owned(), text }).to_vec()).await
}

async fn metering_of(db: &Db, files: Vec<SourceFile>) -> Meter {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { limits: Limits::default(), seen: folder.path().to_owned(), seen_memory: 1 << 20 };
    let metering = Metering::open(db.clone(), options, |_| {}).await.expect("opens");
    if metering.versions().iter().next().is_none() {
        let version = BookVersion::new(files, Instant::BEGINNING).expect("is a book");
        metering.publish(version, "test", "", NOW).await.expect("is published");
    }
    Meter { metering, _seen: folder }
}

/// `count` flights on time in one hour.
pub(in crate::billing) async fn fly(metering: &Metering, carrier: &str, time: &str, count: u32, distance: u32) {
    let event = |number| {
        format!(
            r#"{{"specversion":"1.0","id":"{carrier} {time} {number}","source":"/t","type":"flight.completed","subject":"{carrier}","time":"{time}","data":{{"distance":{distance},"delay":0}}}}"#
        )
    };
    let body = (0..count).map(event).collect::<Vec<_>>().join("\n");
    let receipt = metering.ingest(Format::Ndjson, body.into_bytes(), Invalid::Reject, NOW).await.expect("is taken");
    assert_eq!(receipt.accepted, count as usize);
    metering.flush().await.expect("is flushed");
}

async fn sign_up(db: &Db, id: &str, tier: &str, tax: Option<&str>, ends_at: Option<Instant>) {
    sign_up_for(db, "airline", id, (tier, tax, ends_at)).await;
}

async fn sign_up_for(db: &Db, plan: &str, id: &str, (tier, tax, ends_at): (&str, Option<&str>, Option<Instant>)) {
    sign_up_at(db, plan, id, (tier, tax), (at("2013-01-01T05:00:00Z"), ends_at)).await;
}

fn carrier(id: &str, tier: &str, tax: Option<&str>) -> Consumer {
    Consumer {
        id: id.to_owned(),
        name: id.to_owned(),
        email: None,
        currency: Currency::from_code("USD").expect("USD exists"),
        tax: tax.map(str::to_owned),
        tags: BTreeMap::from([("tier".to_owned(), tier.to_owned())]),
        spend_cap: None,
        alerts: Vec::new(),
        created_at: NOW,
        updated_at: NOW,
    }
}

async fn sign_up_at(
    db: &Db,
    plan: &str,
    id: &str,
    (tier, tax): (&str, Option<&str>),
    runs: (Instant, Option<Instant>),
) {
    let subscription = SubscriptionId::parse(&format!("sub_{id}")).expect("an id");
    let subscription = Subscription::new(subscription, id.to_owned(), plan.to_owned(), runs, NOW);
    let mut tx = db.write().await.expect("begins");
    tx.put_consumer(&carrier(id, tier, tax)).await.expect("is put");
    tx.create_subscription(&subscription).await.expect("is created");
    tx.commit().await.expect("commits");
}

/// The two carriers and their January.
pub(in crate::billing) async fn january(db: &Db) -> Meter {
    january_under(db, BOOK.map(|(path, text)| (path, text.to_owned()))).await
}

async fn january_under(db: &Db, book: [(&str, String); 5]) -> Meter {
    let metering = metering_under(db, book).await;
    sign_up(db, "UA", "gold", Some("ny"), None).await;
    sign_up(db, "AA", "silver", None, Some(at("2013-02-15T05:00:00Z"))).await;
    fly(&metering, "UA", "2013-01-05T15:10:00Z", 3, 1000).await;
    fly(&metering, "AA", "2013-01-06T15:10:00Z", 3, 500).await;
    // In this hour the budget has 1.00 left for two flights of 1.50.
    fly(&metering, "UA", "2013-01-07T15:10:00Z", 1, 1000).await;
    fly(&metering, "AA", "2013-01-07T15:50:00Z", 1, 500).await;
    metering
}

pub(in crate::billing) async fn closed(db: &Db, metering: &Metering, through: &str) -> Closed {
    let through = Through::parse(through).expect("a date");
    close(db, &metering.versions(), through, NOW, |_| {}).await.expect("closes")
}

async fn documents(db: &Db) -> (Vec<Invoice>, Vec<Payout>) {
    let mut tx = db.read().await.expect("begins");
    let page = Wanted::Page { consumer: None, before: None, limit: 100 };
    let mut invoices = tx.invoices(page).await.expect("reads");
    let mut payouts = tx.payouts(page).await.expect("reads");
    invoices.sort_by_key(|invoice| invoice.number.ordinal);
    payouts.sort_by_key(|payout| payout.number.ordinal);
    (invoices, payouts)
}

async fn verified(db: &Db, metering: &Metering) -> Verified {
    verify(db, &metering.versions(), |_| {}).await.expect("reads")
}

fn words(verified: &Verified) -> Vec<String> {
    verified.differences.iter().map(ToString::to_string).collect()
}

/// Number, consumer, occasion, components with their amounts, tax and total, in cents.
fn summary(invoice: &Invoice) -> String {
    let lines = invoice.totals.lines.iter().map(|line| format!("{} {}", line.component, line.amount.minor()));
    let (tax, total) = (invoice.totals.tax.minor(), invoice.totals.total.minor());
    format!(
        "{} {} {}: {}; tax {tax}, total {total}",
        invoice.number,
        invoice.consumer,
        invoice.occasion.as_str(),
        lines.collect::<Vec<_>>().join(", ")
    )
}

async fn two_carriers_are_closed_to_the_cent(db: Db) {
    let metering = january(&db).await;
    let first = closed(&db, &metering, "2013-02-01").await;
    assert_eq!(first.closings.iter().map(|closing| closing.invoices).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(first.holds_passed, 0);
    closed(&db, &metering, "2013-03-01").await;

    let (invoices, payouts) = documents(&db).await;
    assert_eq!(
        invoices.iter().map(summary).collect::<Vec<_>>(),
        [
            "INV-000001 AA opening: gate 10000; tax 0, total 10000",
            // 8.875 % of 100.00 is 8.875: half a cent goes up.
            "INV-000002 UA opening: gate 10000; tax 888, total 10888",
            // AA has 14 of the 28 days of February left.
            "INV-000003 AA closing: platform 1000, miles 2020, gate 5000; tax 0, total 8020",
            // 0.8875, 3.5855 and 8.875 of tax, each rounded.
            "INV-000004 UA closing: platform 1000, miles 4040, gate 10000; tax 1336, total 16376",
            "INV-000005 AA closing: platform 1000, miles 0; tax 0, total 1000",
            "INV-000006 UA closing: platform 1000, miles 0, gate 10000; tax 977, total 11977",
        ]
    );
    let earned: Vec<_> = payouts.iter().map(|payout| (payout.consumer.as_str(), payout.total.minor())).collect();
    assert_eq!(earned, [("AA", 500), ("UA", 500)], "4.50 each, and half of the last dollar each");
    assert_eq!(payouts[0].holds[0].held_until, at("2013-02-15T05:00:00Z"));
    assert!(payouts.iter().all(|payout| payout.state == PayoutState::Available), "14 days have passed");

    let balances = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let balance = |total: &AccountTotal| (total.account.to_string(), total.debit.minor() - total.credit.minor());
    let expected = [
        ("1100:AA:USD", 19020),
        ("1100:UA:USD", 39241),
        ("2000:AA:USD", 0),
        ("2000:UA:USD", 0),
        ("2010:AA:USD", -500),
        ("2010:UA:USD", -500),
        ("2200:US-NY:USD", -3201),
        ("4000:gate:USD", -45000),
        ("4000:miles:USD", -6060),
        ("4000:platform:USD", -4000),
        ("4090:punctual:USD", 1000),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(account, minor)| (account.to_owned(), minor)).collect();
    assert_eq!(balances.iter().map(balance).collect::<Vec<_>>(), expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn closing_again_changes_nothing(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-03-01").await;
    let before = (documents(&db).await, db.read().await.expect("begins").journal_head().await.expect("reads"));
    assert_eq!(closed(&db, &metering, "2013-03-01").await, Closed::default());
    assert_eq!(closed(&db, &metering, "2013-01-15").await, Closed::default());
    let after = (documents(&db).await, db.read().await.expect("begins").journal_head().await.expect("reads"));
    assert_eq!(before, after);
}

/// Month by month, or all at once, or two at the same time: the same documents.
async fn however_it_is_closed_the_documents_are_the_same(db: Db) {
    let metering = january(&db).await;
    let through = || Through::parse("2013-04-01").expect("a date");
    let versions = metering.versions();
    let (one, other) =
        tokio::join!(close(&db, &versions, through(), NOW, |_| {}), close(&db, &versions, through(), NOW, |_| {}));
    for result in [one, other] {
        assert!(matches!(result, Ok(_) | Err(CloseError::Overtaken)), "{result:?}");
    }
    closed(&db, &metering, "2013-04-01").await;
    let (invoices, payouts) = documents(&db).await;
    let totals: Vec<_> = invoices.iter().map(|invoice| invoice.totals.total.minor()).collect();
    assert_eq!(totals, [10000, 10888, 8020, 16376, 1000, 11977, 11977]);
    assert_eq!(payouts.len(), 2);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_comes_later_is_no_difference(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    // A late flight, a consumer that changed, and the budget that is spent.
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 1, 700).await;
    let mut tx = db.write().await.expect("begins");
    let consumer = tx.consumer("UA").await.expect("reads").expect("is known");
    let tags = BTreeMap::from([("tier".to_owned(), "none".to_owned())]);
    tx.put_consumer(&Consumer { tax: None, tags, ..consumer }).await.expect("is put");
    tx.commit().await.expect("commits");
    fly(&metering, "UA", "2013-02-20T15:10:00Z", 2, 100).await;
    closed(&db, &metering, "2013-03-01").await;

    let (invoices, payouts) = documents(&db).await;
    let last = invoices.last().map(summary);
    let expected = "INV-000006 UA closing: platform 1000, miles 202, gate 10000, miles 707; tax 0, total 11909";
    assert_eq!(last.as_deref(), Some(expected), "no tax any more");
    assert_eq!(payouts.len(), 2, "not eligible any more");
    // A price book for March, published when its fees in advance were charged already.
    let dearer = |(path, text): (&str, &str)| {
        let text = text.replace("amount = \"100.00\"", "amount = \"200.00\"");
        SourceFile { path: path.to_owned(), text }
    };
    let version = BookVersion::new(BOOK.map(dearer).to_vec(), at("2013-03-01T05:00:00Z")).expect("is a book");
    metering.publish(version, "test", "", Instant::from_micros(0)).await.expect("is published");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_statement_is_so_far_and_then_closed(db: Db) {
    let metering = january(&db).await;
    let of = async |period: Option<&str>, now| {
        statement(&db, &metering.versions(), "UA", period, now).await.expect("is made")
    };
    let so_far = of(Some("2013-01"), at("2013-01-25T12:00:00Z")).await;
    assert_eq!((so_far.state, so_far.charged.minor(), so_far.tax.minor()), (StatementState::Open, 25040, 2224));
    assert_eq!(so_far.rewarded.minor(), 600, "alone, the budget would suffice");
    assert!(so_far.documents.is_empty());
    assert_eq!(so_far, of(None, at("2013-01-25T12:00:00Z")).await, "the running period");
    assert_eq!(so_far, of(Some("2013-01-15"), at("2013-01-25T12:00:00Z")).await, "the period of a day");

    closed(&db, &metering, "2013-02-01").await;
    let statement = of(Some("2013-01"), NOW).await;
    assert_eq!(statement.state, StatementState::Closed);
    assert_eq!((statement.charged.minor(), statement.tax.minor(), statement.rewarded.minor()), (25040, 2224, 500));
    assert_eq!(statement.net.minor(), 25040 + 2224 - 500);
    assert_eq!(statement.documents.len(), 3);
    assert_eq!(statement.charges.len(), so_far.charges.len());
    let miles = statement.usage.iter().find(|usage| usage.meter == "miles").expect("is measured");
    assert_eq!((miles.days.len(), miles.days[4].value.to_string()), (31, "3000".to_owned()));

    let csv = csv(&statement);
    assert!(csv.starts_with("section,component,description"), "{csv}");
    assert!(csv.contains("\ncharge,miles,") && csv.contains("267.64,USD"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + statement.charges.len() + statement.rewards.len() + 2);
}

async fn verify_names_what_was_tampered_with(db: Db) {
    /// For what no trigger guards.
    const OPEN: &str = "select 1";
    let metering = january(&db).await;
    closed(&db, &metering, "2013-03-01").await;
    let drop = |trigger: &str, table: &str| match is_sqlite(&db) {
        true => format!("drop trigger {trigger}"),
        false => format!("drop trigger {trigger} on {table}"),
    };
    let tamperings = [
        (
            drop("document_line_is_never_changed", "document_line"),
            "update document_line set amount = 4041 where component = 'miles' and amount = 4040",
            vec![
                "invoice INV-000004: the amount of line 2 (miles) is 40.41 USD, recomputed 40.40 USD",
                "invoice INV-000004 comes to",
            ],
        ),
        (
            OPEN.to_owned(),
            "update subscription set closed_through = closed_through + 3600000000 where id = 'sub_UA'",
            vec!["subscription sub_UA: the time that it is closed through is 2013-03-01T06:00:00Z, recomputed"],
        ),
        (
            drop("document_is_never_changed", "document"),
            "update document set consumer = 'UA' where number = 'PO-000001'",
            vec!["payout PO-000001: the consumer is UA, recomputed AA", "is not what payout PO-000001 comes to"],
        ),
        (
            OPEN.to_owned(),
            "update usage set count = count + 1 where meter = 'on_time' and party = 'AA'",
            vec![
                "usage of on_time by AA at 2013-01-06T15:00:00Z {}: stored 3 from 4 events, recomputed 3 from 3 events",
            ],
        ),
        (
            OPEN.to_owned(),
            "update outstanding set amount = amount + 1
             where invoice = (select id from document where number = 'INV-000004')",
            vec!["invoice INV-000004: "],
        ),
        (
            drop("posting_is_never_changed", "posting"),
            "update posting set account = '1100:AA:USD' where account = '1100:UA:USD'",
            vec!["batch 1 of the journal does not hash", "is not what invoice INV-000002 comes to"],
        ),
    ];
    for (unlock, tamper, named) in tamperings {
        assert!(unlock == OPEN || sent(&db, &[tamper]).await.is_err(), "{tamper} is refused");
        let before = words(&verified(&db, &metering).await);
        sent(&db, &[&unlock, tamper]).await.expect("is tampered with");
        let mut found = words(&verified(&db, &metering).await);
        found.retain(|difference| !before.contains(difference));
        for name in named {
            assert!(found.iter().any(|difference| difference.contains(name)), "{name}: {found:#?}");
        }
    }
}

async fn what_has_not_ended_is_not_closed(db: Db) {
    let metering = january(&db).await;
    let versions = metering.versions();
    let through = Through::parse("2013-12-01").expect("a date");
    let closed = close(&db, &versions, through, at("2013-02-10T00:00:00Z"), |_| {}).await.expect("closes");
    let due: Vec<_> = closed.closings.iter().map(|closing| closing.due_at.to_string()).collect();
    assert_eq!(due, ["2013-01-01T05:00:00Z", "2013-02-01T05:00:00Z"]);
    assert_eq!(closed.holds_passed, 0);
}

both_engines!(
    two_carriers_are_closed_to_the_cent,
    closing_again_changes_nothing,
    however_it_is_closed_the_documents_are_the_same,
    what_comes_later_is_no_difference,
    a_statement_is_so_far_and_then_closed,
    verify_names_what_was_tampered_with,
    what_has_not_ended_is_not_closed,
);
