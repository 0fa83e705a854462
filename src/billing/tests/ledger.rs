//! The ledger as finance uses it: what closings do when days are locked, and manual journals from draft to reversal.

use jiff::civil::Date;
use jiff::civil::date;

use super::*;
use crate::billing::export::Format;
use crate::billing::export::Kind;
use crate::billing::export::Range;
use crate::billing::export::batches::seal;
use crate::billing::export::export;
use crate::billing::lock::LockError;
use crate::billing::lock::lock;
use crate::billing::manual::Draft;
use crate::billing::manual::JournalError;
use crate::billing::manual::approve;
use crate::billing::manual::draft;
use crate::billing::manual::reject;
use crate::billing::manual::reverse;
use crate::domain::ids::JournalId;
use crate::domain::ids::KeyId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::money::Money;
use crate::store::keys::ApiKey;
use crate::store::keys::Role;

const FEBRUARY: Date = date(2013, 2, 28);

/// So many seconds after everything else.
fn after(seconds: i64) -> Instant {
    Instant::from_micros(NOW.micros() + seconds * 1_000_000)
}

async fn key(db: &Db, number: u8) -> KeyId {
    let id = KeyId::new(NOW, [number; 10]);
    let key = ApiKey { id: id.clone(), name: String::new(), role: Role::Finance, created_at: NOW, revoked_at: None };
    let mut tx = db.write().await.expect("begins");
    tx.add_key(&key, &format!("hash {number}")).await.expect("is new");
    tx.commit().await.expect("commits");
    id
}

async fn closed_at(db: &Db, metering: &Metering, through: &str, now: Instant) -> Result<Closed, CloseError> {
    close(db, &metering.versions(), Through::parse(through).expect("a date"), now, |_| {}).await
}

/// The dates of all entries after one, without those that are the same.
async fn dates(db: &Db, after: i64) -> Vec<Date> {
    let entries = db.read().await.expect("begins").journal_entries(after, 1_000).await.expect("reads");
    let mut dates: Vec<Date> = entries.iter().map(|booked| booked.entry.heading().effective_on).collect();
    dates.sort_unstable();
    dates.dedup();
    dates
}

async fn last_entry(db: &Db) -> i64 {
    db.read().await.expect("begins").journal_head().await.expect("reads").last_entry
}

async fn what_is_closed_when_its_days_are_locked_counts_on_the_first_open_day(db: Db) {
    let metering = january(&db).await;
    let finance = key(&db, 1).await;
    closed(&db, &metering, "2013-02-01").await;
    assert_eq!(dates(&db, 0).await, [date(2013, 1, 1), date(2013, 1, 31)]);
    lock(&db, FEBRUARY, None, &finance, after(10)).await.expect("is locked");
    let before = last_entry(&db).await;
    // A closing that began before the lock cannot know how to date its entries.
    let overtaken = closed_at(&db, &metering, "2013-03-01", after(9)).await;
    assert!(matches!(overtaken, Err(CloseError::Overtaken)), "{overtaken:?}");
    let closed = closed_at(&db, &metering, "2013-04-01", after(11)).await.expect("closes");
    assert_eq!(closed.holds_passed, 2, "on the 15th of February, which is locked");
    assert_eq!(dates(&db, before).await, [date(2013, 3, 1), date(2013, 3, 31)]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    // What is exported is dated as it was booked, so that each receivable is explained by its invoices on each day.
    for (to, invoices) in [(date(2013, 3, 1), 4), (date(2013, 3, 2), 6), (date(2013, 4, 1), 7)] {
        let range = Range { from: Date::MIN, to, consumer: None };
        let file = export(&db, &metering.versions(), Kind::Aging, range, after(12)).await.expect("is exported");
        let text = String::from_utf8(file.bytes).expect("text");
        let numbers: Vec<&str> = text.lines().skip(1).filter_map(|row| row.split(',').nth(2)).collect();
        assert!(numbers.len() == invoices && numbers.iter().all(|number| !number.is_empty()), "{to}: {text}");
    }

    // Opened again, and what comes now is dated as ever. What was moved stays where it is.
    lock(&db, date(2012, 12, 31), Some("an invoice was missing"), &finance, after(20)).await.expect("is opened");
    let before = last_entry(&db).await;
    closed_at(&db, &metering, "2013-05-01", after(21)).await.expect("closes");
    assert_eq!(dates(&db, before).await, [date(2013, 4, 30)]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_lock_moves_on_and_back_only_for_a_reason(db: Db) {
    let finance = key(&db, 1).await;
    let today = lock(&db, date(2014, 5, 13), None, &finance, NOW).await;
    assert!(matches!(today, Err(LockError::NotOver { .. })), "{today:?}");
    let first = lock(&db, FEBRUARY, None, &finance, after(1)).await.expect("is locked");
    assert_eq!(lock(&db, FEBRUARY, None, &finance, after(2)).await.expect("is locked already"), first);
    let back = lock(&db, date(2013, 1, 31), None, &finance, after(3)).await;
    assert!(matches!(back, Err(LockError::MovesBack { standing: FEBRUARY, .. })), "{back:?}");
    let opened = lock(&db, date(2013, 1, 31), Some("a mistake"), &finance, after(0)).await.expect("is opened");
    let last = opened.last().expect("there is one");
    assert_eq!((last.through, last.reason.as_deref()), (date(2013, 1, 31), Some("a mistake")));
    assert_eq!(last.locked_at, after(1), "never before the one that it follows, whatever the clock says");
}

fn charges(effective_on: Date) -> Draft {
    let posting = |side, account: &str| {
        let account = Account::parse(account).expect("an account");
        Posting { side, amount: Money::from_minor(1250, account.currency()), account }
    };
    let postings = vec![posting(Side::Debit, "5100:USD"), posting(Side::Credit, "1000:USD")];
    Draft { effective_on, description: "Bank charges".to_owned(), postings }
}

fn journal_id(name: &str) -> JournalId {
    JournalId::parse(&format!("mj_{name}")).expect("an id")
}

async fn a_journal_is_posted_by_two_and_verified(db: Db) {
    let metering = january(&db).await;
    let (maker, checker) = (key(&db, 1).await, key(&db, 2).await);
    let (a, r) = (journal_id("a"), journal_id("r"));
    let made = draft(&db, a.clone(), charges(FEBRUARY), &maker, NOW).await.expect("is kept");
    let again = draft(&db, a.clone(), charges(FEBRUARY), &maker, after(1)).await.expect("is kept already");
    assert_eq!(made, again);
    let other = draft(&db, a.clone(), charges(date(2013, 3, 1)), &maker, NOW).await;
    assert!(matches!(other, Err(JournalError::OtherRequest(_))), "{other:?}");
    assert_eq!(last_entry(&db).await, 0, "nothing is posted yet");
    assert!(matches!(approve(&db, &a, &maker, NOW).await, Err(JournalError::Own(_))));
    assert!(matches!(reject(&db, &a, "no".to_owned(), &maker, NOW).await, Err(JournalError::Own(_))));
    let early = reverse(&db, r.clone(), &a, (FEBRUARY, None), &maker, NOW).await;
    assert!(matches!(early, Err(JournalError::NotPosted { .. })), "{early:?}");
    approve(&db, &a, &checker, after(2)).await.expect("is posted");
    for decided in [approve(&db, &a, &checker, NOW).await, reject(&db, &a, "no".to_owned(), &checker, NOW).await] {
        assert!(matches!(decided, Err(JournalError::Decided { state: "posted", .. })), "{decided:?}");
    }
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    let reversal = reverse(&db, r.clone(), &a, (date(2013, 3, 5), None), &maker, after(3)).await.expect("is kept");
    assert_eq!(reversal.description, "Taken back: Bank charges");
    let twice = reverse(&db, journal_id("s"), &a, (date(2013, 3, 5), None), &maker, after(3)).await;
    assert!(matches!(twice, Err(JournalError::TakenBack(_))), "{twice:?}");
    approve(&db, &r, &checker, after(4)).await.expect("is posted");
    let totals = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    assert!(totals.iter().all(|total| total.debit == total.credit), "{totals:?}");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_journal_is_refused_on_locked_days_and_on_accounts_with_a_floor(db: Db) {
    let (maker, checker) = (key(&db, 1).await, key(&db, 2).await);
    draft(&db, journal_id("a"), charges(FEBRUARY), &maker, NOW).await.expect("is kept");
    lock(&db, FEBRUARY, None, &checker, after(1)).await.expect("is locked");
    let approved = approve(&db, &journal_id("a"), &checker, after(2)).await;
    assert!(matches!(approved, Err(JournalError::Locked { through: FEBRUARY, .. })), "{approved:?}");
    let drafted = draft(&db, journal_id("b"), charges(FEBRUARY), &maker, after(2)).await;
    assert!(matches!(drafted, Err(JournalError::Locked { .. })), "{drafted:?}");
    reject(&db, &journal_id("a"), "too late".to_owned(), &checker, after(2)).await.expect("is turned down");
    let mut floor = charges(date(2013, 3, 1));
    floor.postings[0].account = Account::parse("2110:UA:USD").expect("an account");
    let drafted = draft(&db, journal_id("c"), floor, &maker, after(3)).await;
    assert!(matches!(drafted, Err(JournalError::Floor(_))), "{drafted:?}");
    let mut unbalanced = charges(date(2013, 3, 1));
    unbalanced.postings.pop();
    let drafted = draft(&db, journal_id("c"), unbalanced, &maker, after(3)).await;
    assert!(matches!(drafted, Err(JournalError::Entry(_))), "{drafted:?}");
    assert_eq!(last_entry(&db).await, 0);
}

async fn verify_names_journals_that_are_not_what_was_approved(db: Db) {
    let metering = january(&db).await;
    let (maker, checker) = (key(&db, 1).await, key(&db, 2).await);
    draft(&db, journal_id("a"), charges(FEBRUARY), &maker, NOW).await.expect("is kept");
    draft(&db, journal_id("b"), charges(FEBRUARY), &maker, NOW).await.expect("is kept");
    approve(&db, &journal_id("a"), &checker, after(1)).await.expect("is posted");
    let drop = |trigger: &str, table: &str| match is_sqlite(&db) {
        true => format!("drop trigger {trigger}"),
        false => format!("drop trigger {trigger} on {table}"),
    };
    let unlock = drop("manual_journal_is_decided_once", "manual_journal");
    let changed = "update manual_journal set description = 'Rent' where id = 'mj_a'";
    let by_nobody = format!(
        "update manual_journal set state = 'posted', decided_by = '{checker}', decided_at = 1 where id = 'mj_b'"
    );
    sent(&db, &[&unlock, changed, &by_nobody]).await.expect("is tampered with");
    let found = words(&verified(&db, &metering).await);
    let expected = [
        "entry 1 of the journal, manual:mj_a, is not what manual journal mj_a comes to",
        "the entry manual:mj_b of manual journal mj_b is missing from the journal",
    ];
    assert_eq!(found, expected);
}

async fn verify_names_a_sealed_export_that_was_changed(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-03-01").await;
    for (format, through) in [(Format::Quickbooks, "2013-01-31"), (Format::Quickbooks, "2013-12-31")] {
        seal(&db, format, through.parse().expect("a date"), NOW).await.expect("is sealed");
    }
    let sound = verified(&db, &metering).await;
    assert_eq!((sound.exports, words(&sound)), (2, Vec::new()));
    let drop = |trigger: &str, table: &str| match is_sqlite(&db) {
        true => format!("drop trigger {trigger}"),
        false => format!("drop trigger {trigger} on {table}"),
    };
    let unlock = drop("export_batch_is_never_changed", "export_batch");
    let other = "(select file from export_batch where number = 2)";
    let tamperings = [
        (format!("update export_batch set file = {other} where number = 1"), "1 of quickbooks.csv: the SHA-256 of the"),
        ("update export_batch set first_entry = 2 where number = 1".to_owned(), "the first entry is 2, recomputed 1"),
        ("update export_batch set last_entry = 99 where number = 2".to_owned(), "the last entry is 99, recomputed"),
        ("update export_batch set entries = 99 where number = 2".to_owned(), "the number of entries is 99, recomputed"),
        ("update export_batch set through = '2013-01-30' where number = 1".to_owned(), "the last day is 2013-01-30"),
        (
            "update export_batch set totals = '[]' where number = 2".to_owned(),
            "2 of quickbooks.csv: the total is , rec",
        ),
        ("update export_batch set totals = 'x' where number = 2".to_owned(), "cannot be read: the totals of export ba"),
    ];
    let mut statements = vec![unlock];
    for (tamper, named) in tamperings {
        assert!(statements.is_empty() || sent(&db, &[&tamper]).await.is_err(), "{tamper} is refused");
        let before = words(&verified(&db, &metering).await);
        statements.push(tamper);
        sent(&db, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("is tampered with");
        statements.clear();
        let mut found = words(&verified(&db, &metering).await);
        found.retain(|difference| !before.contains(difference));
        assert!(found.iter().any(|difference| difference.contains(named)), "{named}: {found:#?}");
    }
}

both_engines!(
    what_is_closed_when_its_days_are_locked_counts_on_the_first_open_day,
    a_lock_moves_on_and_back_only_for_a_reason,
    a_journal_is_posted_by_two_and_verified,
    a_journal_is_refused_on_locked_days_and_on_accounts_with_a_floor,
    verify_names_journals_that_are_not_what_was_approved,
    verify_names_a_sealed_export_that_was_changed,
);
