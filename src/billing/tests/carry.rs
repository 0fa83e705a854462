//! Tiers that carry on over a change of plan or of price book within a month, and over what comes late for its first part:
//! on documents, in what is asked of a running period, in explanations and in simulations.

use std::num::NonZero;

use rust_decimal::Decimal;

use super::late::Dice;
use super::late::flight;
use super::late::retraction;
use super::late::said;
use super::late::send;
use super::*;
use crate::billing::explain::Document;
use crate::billing::explain::behind;
use crate::billing::quota::quota;
use crate::billing::simulate::Request;
use crate::billing::simulate::simulate;
use crate::billing::subscribe::Change;
use crate::billing::subscribe::change;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::StepKind;
use crate::store::tests::both_engines;
use crate::store::tests::sqlite;

const TIERS: &str = r#"model = "graduated"
        tiers = [{ up_to = "10000", unit_amount = "0.0100", flat_amount = "5.00" }, { unit_amount = "0.0050" }]
        carry_tiers = true"#;
const REWARDED: &str = r#"model = "graduated"
        tiers = [{ up_to = "2", unit_amount = "1.50" }, { unit_amount = "0.75" }]
        carry_tiers = true"#;

/// Two plans with the same tiers of miles, and of flights on time.
fn book() -> Vec<SourceFile> {
    let priced = |(path, text): (&str, &str)| {
        let text = text.replace("model = \"per_unit\"\n        unit_amount = \"0.0101\"", TIERS);
        let text = text.replace("model = \"per_unit\"\n        unit_amount = \"1.50\"", REWARDED);
        SourceFile { path: path.to_owned(), text }
    };
    let mut files: Vec<SourceFile> = BOOK.map(priced).to_vec();
    let airline = files.iter().find(|file| file.path == "plans/airline.toml").expect("is there").text.clone();
    assert_eq!(airline.matches("carry_tiers").count(), 2, "{airline}");
    let text = airline.replace("id = \"airline\"", "id = \"alliance\"");
    files.push(SourceFile { path: "plans/alliance.toml".to_owned(), text });
    files
}

/// The same with one text replaced in both plans.
fn book_with(text: &str, by: &str) -> Vec<SourceFile> {
    let replaced = |file: SourceFile| SourceFile { text: file.text.replace(text, by), ..file };
    let files: Vec<SourceFile> = book().into_iter().map(replaced).collect();
    assert_ne!(files, book(), "{text} is in the book");
    files
}

async fn changed(db: &Db, metering: &Metering, carrier: &str, plan: Option<&str>, day: &str) {
    let id = SubscriptionId::parse(&format!("sub_{carrier}")).expect("an id");
    let wanted = Change::Plan { plan: plan.map(str::to_owned), at: day.to_owned() };
    change(db, &metering.versions(), &id, wanted, at("2013-01-02T00:00:00Z")).await.expect("changes");
}

/// The lines of miles, by invoice.
async fn lines(db: &Db) -> Vec<(Invoice, Vec<Line>)> {
    let miles = |invoice: Invoice| {
        let lines = invoice.totals.lines.iter().filter(|line| line.component == "miles").cloned().collect();
        (invoice, lines)
    };
    let all = documents(db).await.0.into_iter().map(miles);
    all.filter(|(_, lines): &(_, Vec<Line>)| !lines.is_empty()).collect()
}

/// What they come to.
async fn miles(db: &Db) -> Vec<Vec<i64>> {
    let amounts = |(_, lines): (Invoice, Vec<Line>)| lines.iter().map(|line| line.amount.minor()).collect();
    lines(db).await.into_iter().map(amounts).collect()
}

/// UA has flown 8,000 miles under the plan `airline`, and then 4,000 under the other one.
async fn divided(db: &Db) -> Meter {
    let metering = metering_of(db, book()).await;
    sign_up(db, "UA", "gold", None, None).await;
    changed(db, &metering, "UA", Some("alliance"), "2013-01-15").await;
    fly(&metering, "UA", "2013-01-10T15:10:00Z", 8, 1000).await;
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 4, 1000).await;
    metering
}

async fn tiers_go_on_where_the_plan_before_left_them(db: Db) {
    let metering = divided(&db).await;
    let so_far = statement(&db, &metering.versions(), "UA", Some("2013-01"), at("2013-01-25T12:00:00Z")).await;
    let so_far = so_far.expect("is made").charges;
    let so_far: Vec<i64> =
        so_far.iter().filter(|line| line.component == "miles").map(|line| line.amount.minor()).collect();
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

async fn a_running_part_stands_in_the_tiers_that_came_before_it(db: Db) {
    let metering = divided(&db).await;
    let standing = quota(&db, &metering, "UA", at("2013-01-25T12:00:00Z")).await.expect("is rated");
    let running = &standing.subscriptions[0];
    let miles = running.components.iter().find(|quota| quota.component == "miles").expect("is there");
    assert_eq!((miles.used, miles.units), (Decimal::from(4_000), Decimal::from(12_000)));
    // 17 of 31 days of 100.00, and 10.00.
    assert_eq!(running.spent.minor(), 5_484 + 1_000 + 3_000);
}

async fn a_line_says_what_came_before_and_is_traced_to_its_own_events(db: Db) {
    let metering = divided(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    fly(&metering, "UA", "2013-01-11T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    let all = lines(&db).await;
    let second = &all[1].1[0];
    let carried: Vec<&str> = second
        .explanation
        .steps
        .iter()
        .filter(|step| step.step == StepKind::Carried)
        .map(|step| step.text.as_str())
        .collect();
    assert_eq!(carried, ["after 8,000 earlier in the period: 12,000 in all", "less 85.00 USD, what it came to before"]);
    // The line itself, what corrects the first part, and what corrects the second though nothing was late for that.
    for (invoice, line, events) in
        [(&all[1].0, second, (4, 4)), (&all[2].0, &all[2].1[1], (9, 9)), (&all[2].0, &all[2].1[2], (4, 4))]
    {
        let document = Document {
            id: invoice.id.as_str(),
            consumer: &invoice.consumer,
            subscription: &invoice.subscription,
            book_version: &invoice.book_version,
        };
        let found =
            behind(&db, &metering.versions(), document, line).await.expect("reads").expect("usage is behind it");
        assert_eq!((found.question.span.from(), found.question.span.to()), (line.from, line.to));
        let (rows, _) = metering.rows_behind(&found.question, None, 100).await.expect("reads");
        let counted = rows.iter().fold((0, 0), |(saw, now), row| (saw + row.saw.count, now + row.now.count));
        assert_eq!(counted, events);
    }
}

/// Another price is for what comes after it, at the place in its own tiers.
async fn tiers_go_on_under_another_price_book(db: Db) {
    let metering = metering_of(&db, book()).await;
    sign_up(&db, "UA", "gold", None, None).await;
    let dearer = book_with("unit_amount = \"0.0", "unit_amount = \"0.1");
    let version = BookVersion::new(dearer, at("2013-01-15T05:00:00Z")).expect("is a book");
    metering.publish(version, "test", "", NOW).await.expect("is published");
    changed(&db, &metering, "UA", None, "2013-01-15").await;
    fly(&metering, "UA", "2013-01-10T15:10:00Z", 8, 1000).await;
    closed(&db, &metering, "2013-01-20").await;
    // Between the parts: late for the first, and in time for what the second is rated from.
    fly(&metering, "UA", "2013-01-11T15:10:00Z", 1, 1000).await;
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 4, 1000).await;
    closed(&db, &metering, "2013-02-01").await;
    // 1,000 at 0.11 and 3,000 at 0.105; and 1,000 at 0.01 more.
    assert_eq!(miles(&db).await, [vec![8_500], vec![42_500, 1_000]]);
    fly(&metering, "UA", "2013-01-12T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    assert_eq!(miles(&db).await[2], [500, 1_000, -500]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn simulations_carry_on_as_closings_do(db: Db) {
    let metering = divided(&db).await;
    let tried = async |files: Vec<SourceFile>, from: &str| {
        let candidate = BookVersion::new(files, Instant::BEGINNING).expect("is a book");
        let time = |text| Through::parse(text).expect("a date");
        let threads = NonZero::new(2).expect("not zero");
        let request = Request { candidate, from: time(from), to: time("2013-02-01"), largest: 5, threads };
        let simulated = simulate(&db, &metering.versions(), request, NOW, |_| {}).await.expect("rates").0;
        let miles = simulated.outcome.components.into_iter().filter(|of| of.component == "miles");
        miles.map(|of| (of.plan, of.amounts.before.minor(), of.amounts.after.minor())).collect::<Vec<_>>()
    };
    let (first, second) = ("airline".to_owned(), "alliance".to_owned());
    let alike = [(first.clone(), 8_500, 8_500), (second.clone(), 3_000, 3_000)];
    assert_eq!(tried(book(), "2013-01-01").await, alike);
    let other_fee = book_with("amount = \"10.00\"", "amount = \"20.00\"");
    assert_eq!(tried(other_fee, "2013-01-01").await, alike, "what both sides have in common");
    let apart = book_with("carry_tiers = true", "");
    assert_eq!(tried(apart.clone(), "2013-01-01").await, [(first, 8_500, 8_500), (second.clone(), 3_000, 4_500)]);
    assert_eq!(tried(apart, "2013-01-20").await, [(second, 3_000, 4_500)], "the second part alone");
}

/// Closings between the parts of periods, and after them.
const CLOSINGS: [&str; 7] =
    ["2013-01-20", "2013-02-01", "2013-02-12", "2013-03-01", "2013-04-01", "2013-05-01", "2013-06-01"];

/// Whatever comes late for whichever part, or is taken back, all documents say what everything on time would have; and of all
/// parts of a month what they would say of it undivided.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_late_for_a_part_all_documents_say_what_everything_on_time_would_have() {
    for seed in 1..=8 {
        let mut dice = Dice(seed);
        let mut arrivals: [Vec<String>; 7] = Default::default();
        let mut all = Vec::new();
        for number in 0..60 {
            let carrier = ["UA", "AA", "DL"][dice.roll(3) as usize];
            let (month, day) = (dice.roll(2) + 1, dice.roll(26) + 2);
            let event = flight(
                carrier,
                number,
                &format!("2013-0{month}-{day:02}T{:02}:30:00Z", dice.roll(24)),
                dice.roll(3) + 1,
            );
            let arrives = (month * 2 - 2 + dice.roll(5)).min(6);
            arrivals[arrives as usize].push(event.clone());
            all.push(event);
            if dice.roll(5) == 0 {
                let taken_back = retraction(carrier, number);
                arrivals[(arrives + dice.roll(3)).min(6) as usize].push(taken_back.clone());
                all.push(taken_back);
            }
        }
        let ((late, _late), (on_time, _on_time), (whole, _whole)) = (sqlite().await, sqlite().await, sqlite().await);
        for (db, arrives_late, is_divided) in [(&late, true, true), (&on_time, false, true), (&whole, false, false)] {
            let metering = metering_of(db, book()).await;
            for carrier in ["UA", "AA", "DL"] {
                sign_up(db, carrier, "gold", None, None).await;
            }
            if is_divided {
                changed(db, &metering, "UA", Some("alliance"), "2013-01-15").await;
                changed(db, &metering, "UA", Some("airline"), "2013-02-10").await;
                changed(db, &metering, "UA", None, "2013-02-20").await;
                changed(db, &metering, "AA", Some("alliance"), "2013-01-08").await;
            }
            if !arrives_late {
                send(&metering, &all).await;
            }
            for (closing, events) in CLOSINGS.iter().zip(&arrivals) {
                if arrives_late {
                    send(&metering, events).await;
                }
                closed(db, &metering, closing).await;
            }
            assert_eq!(words(&verified(db, &metering).await), [""; 0], "seed {seed}");
        }
        assert_eq!(said(&late).await, said(&on_time).await, "seed {seed}");
        assert_eq!(miles_by_month(&late).await, miles_by_month(&whole).await, "seed {seed}");
    }
}

/// What all documents say of miles, by consumer and month: of all parts together, whose prices are of whole cents.
async fn miles_by_month(db: &Db) -> BTreeMap<(String, String), i64> {
    let mut months = BTreeMap::new();
    for ((consumer, component, from), amount) in said(db).await {
        if component == "miles" {
            *months.entry((consumer, from.to_string()[..7].to_owned())).or_insert(0) += amount;
        }
    }
    months
}

both_engines!(
    tiers_go_on_where_the_plan_before_left_them,
    a_running_part_stands_in_the_tiers_that_came_before_it,
    a_line_says_what_came_before_and_is_traced_to_its_own_events,
    tiers_go_on_under_another_price_book,
    simulations_carry_on_as_closings_do,
);
