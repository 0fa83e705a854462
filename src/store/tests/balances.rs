//! Balances on both engines: as of two dates, of one account, and those that floors are held against.

use jiff::civil::Date;
use jiff::civil::date;

use super::journal::ACCOUNTS;
use super::journal::FEBRUARY;
use super::journal::JANUARY;
use super::journal::balance;
use super::journal::batch_row;
use super::journal::dated;
use super::journal::entry_row;
use super::journal::eur;
use super::journal::filled;
use super::journal::head;
use super::journal::invoice;
use super::journal::payout_id;
use super::journal::post;
use super::journal::postings;
use super::journal::refuses;
use super::journal::rewards;
use super::*;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::audit::FoundBalance;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::time::Instant;
use crate::store::balances::AsOf;
use crate::store::balances::Place;

fn later(effective_on: Date) -> Dates {
    Dates { recorded_at: Instant::from_micros(1_370_000_000_000_000), effective_on }
}

/// Makes `amount` of what `name` grants available, or takes it back.
fn passed(name: &str, amount: i64) -> Entry {
    let entry = templates::hold_passed(&payout_id("1"), "UA", name, (eur(amount), eur(0)), dated(FEBRUARY));
    entry.expect("balances").expect("moves")
}

fn account(id: &str) -> Account {
    Account::parse(id).expect("an account")
}

async fn the_trial_balance_is_as_of_a_recorded_time_too(db: Db) {
    filled(&db).await;
    post(&db, &[invoice("9", "UA", 10, later(JANUARY))]).await.expect("is posted");
    let at = async |effective_on, micros| {
        let as_of = AsOf { effective_on, recorded_before: Instant::from_micros(micros) };
        let totals = db.read().await.expect("begins").trial_balance(as_of).await.expect("reads");
        let of = totals.iter().find(|total| total.account.to_string() == "1100:UA:EUR");
        of.map(|total| (total.debit.minor(), total.credit.minor()))
    };
    assert_eq!(at(JANUARY, 1_360_000_000_000_000).await, None, "before is exclusive");
    assert_eq!(at(JANUARY, 1_360_000_000_000_001).await, Some((1200, 0)));
    assert_eq!(at(JANUARY, i64::MAX).await, Some((1212, 0)));
    assert_eq!(at(FEBRUARY, 1_370_000_000_000_000).await, Some((1200, 1200)));
}

async fn the_general_ledger_of_an_account_is_by_date_and_goes_on_where_it_ended(db: Db) {
    filled(&db).await;
    post(&db, &[invoice("9", "UA", 10, later(JANUARY))]).await.expect("is posted");
    let receivable = account("1100:UA:EUR");
    let mut tx = db.read().await.expect("begins");
    let all = tx.account_postings(&receivable, Place::start_of(JANUARY), Date::MAX, 10).await.expect("reads");
    let told: Vec<_> =
        all.iter().map(|p| (p.place.entry, p.side.as_str(), p.amount.minor(), &*p.description)).collect();
    let expected = [
        (1, "debit", 1200, "Invoice 1 to UA"),
        (5, "debit", 12, "Invoice 9 to UA"),
        (4, "credit", 1200, "Void: Invoice 1 to UA"),
    ];
    assert_eq!(told, expected);
    let page = tx.account_postings(&receivable, all[0].place, FEBRUARY, 10).await.expect("reads");
    assert_eq!(page, all[1..2], "after the first, and before the last day");
    assert_eq!(tx.account_postings(&receivable, all[0].place, Date::MAX, 1).await.expect("reads"), all[1..2]);
    for (place, minor) in
        [(Place::start_of(JANUARY), 0), (all[0].place, 1200), (all[1].place, 1212), (all[2].place, 12)]
    {
        assert_eq!(tx.account_balance(&receivable, place).await.expect("reads").minor(), minor);
    }
    assert_eq!(tx.account_balance(&receivable, Place::start_of(FEBRUARY)).await.expect("reads").minor(), 1212);
    let nobody = account("1100:BB:EUR");
    assert_eq!(tx.account_postings(&nobody, Place::start_of(Date::MIN), Date::MAX, 10).await.expect("reads"), []);
}

async fn the_database_keeps_balances_of_accounts_with_a_floor(db: Db) {
    let kept = async || db.read().await.expect("begins").account_balances().await.expect("reads");
    post(&db, &[rewards("1", "UA", 500, dated(JANUARY))]).await.expect("is posted");
    assert_eq!(kept().await, [], "none of these has a floor");
    post(&db, &[passed("a", 300), passed("b", 100)]).await.expect("is posted");
    post(&db, &[passed("c", -400), passed("d", 7)]).await.expect("the end of the batch counts");
    let account = "2010:UA:EUR".to_owned();
    assert_eq!(kept().await, [FoundBalance { account: account.clone(), debit: 400, credit: 407, version: 2 }]);
    assert!(matches!(post(&db, &[passed("e", -8)]).await, Err(Error::Refused(reason)) if reason.contains("floor")));
    assert_eq!(kept().await, [FoundBalance { account, debit: 400, credit: 407, version: 2 }]);
    assert_eq!(db.read().await.expect("begins").verify_journal().await.expect("reads"), []);
}

async fn the_database_holds_every_floor_and_lets_nobody_touch_what_it_kept(db: Db) {
    filled(&db).await;
    post(&db, &[passed("a", 300)]).await.expect("is posted");
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let customer =
        "insert into account (id, code, party, purpose, currency) values ('2110:UA:EUR', 2110, 'UA', null, 'EUR')";
    sent(&db, &[customer]).await.expect("is new");
    let head = head(&db).await;
    for (account, amount) in [("2010:UA:EUR", 301), ("2100:UA:EUR", 1), ("2110:UA:EUR", 1)] {
        let rows = postings(6, &[(account, "debit", amount), ("1000:EUR", "credit", amount)]);
        refuses(&db, "floor", &[entry_row(6, 4, "raw", "null"), rows, batch_row(4, 6, 6, &head)]).await;
    }
    for statement in [
        "update account_balance set credit = credit - 1, version = version + 1",
        "update account_balance set credit = credit + 1",
        "delete from account_balance",
    ] {
        refuses(&db, "only appended to", &[statement.to_owned()]).await;
    }
}

/// They meet on four accounts, one of which has a floor that half of them lean on.
async fn thirty_two_writers_on_hot_accounts_lose_nothing(db: Db) {
    const WRITERS: i64 = 32;
    const ROUNDS: i64 = 6;
    let write = |writer: i64| {
        let db = db.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let name = format!("{writer}x{round}");
                let earned = rewards(&name, "UA", 10, dated(JANUARY));
                post(&db, &[invoice(&name, "UA", 100, dated(JANUARY)), earned, passed(&name, 10)]).await?;
                if writer % 2 == 0 {
                    post(&db, &[passed(&format!("{name} back"), -10)]).await?;
                }
            }
            Ok::<_, Error>(())
        })
    };
    for writer in (0..WRITERS).map(write).collect::<Vec<_>>() {
        writer.await.expect("does not panic").expect("is posted");
    }
    let (times, back) = (WRITERS * ROUNDS, WRITERS / 2 * ROUNDS);
    let expected = [
        format!("1100:UA:EUR {} 0", 120 * times),
        format!("2000:UA:EUR {} {}", 10 * times, 10 * times + 10 * back),
        format!("2010:UA:EUR {} {}", 10 * back, 10 * times),
        format!("2200:NL:EUR 0 {}", 20 * times),
        format!("4000:miles:EUR 0 {}", 100 * times),
        format!("5000:bounty:EUR {} 0", 10 * times),
    ];
    assert_eq!(balance(&db, None).await, expected);
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.journal_head().await.expect("reads").batch, times + back);
    assert_eq!(tx.verify_journal().await.expect("reads"), []);
}

async fn a_day_is_the_last_that_counts(db: Db) {
    filled(&db).await;
    let day = AsOf { effective_on: date(2013, 1, 30), ..AsOf::NOW };
    assert_eq!(db.read().await.expect("begins").trial_balance(day).await.expect("reads"), []);
}

both_engines!(
    the_trial_balance_is_as_of_a_recorded_time_too,
    the_general_ledger_of_an_account_is_by_date_and_goes_on_where_it_ended,
    the_database_keeps_balances_of_accounts_with_a_floor,
    the_database_holds_every_floor_and_lets_nobody_touch_what_it_kept,
    thirty_two_writers_on_hot_accounts_lose_nothing,
    a_day_is_the_last_that_counts,
);
