//! The journal on both engines: what it keeps, what the database refuses, and what the chain finds.

use jiff::civil::Date;
use jiff::civil::date;

use super::*;
use crate::domain::book::program::AccountingClass;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::ledger::chain::Head;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::InvoiceTotals;
use crate::domain::ledger::templates::RewardTotals;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::balances::AsOf;
use crate::store::journal::Posted;

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn eur(minor: i64) -> Money {
    Money::from_minor(minor, Currency::from_code("EUR").expect("EUR exists"))
}

pub(super) fn dated(effective_on: Date) -> Dates {
    Dates { effective_on, recorded_at: Instant::from_micros(1_360_000_000_000_000) }
}

pub(super) fn invoice_id(name: &str) -> InvoiceId {
    InvoiceId::parse(&format!("inv_{name}")).expect("an id")
}

/// An invoice of `net` and a fifth of it as tax.
pub(super) fn invoice(name: &str, party: &str, net: i64, dates: Dates) -> Entry {
    let id = invoice_id(name);
    let (net, tax) = (vec![("miles", eur(net))], vec![("NL", eur(net / 5))]);
    let totals = InvoiceTotals { id: &id, number: name, party, net, tax };
    templates::invoice_finalized(&totals, dates).expect("balances").expect("owes something")
}

pub(super) fn rewards(name: &str, party: &str, amount: i64, dates: Dates) -> Entry {
    let id = payout_id(name);
    let totals = RewardTotals { id: &id, party, rewards: vec![("bounty", AccountingClass::Expense, eur(amount))] };
    templates::rewards_earned(&totals, dates).expect("balances").expect("earned something")
}

pub(super) fn payout_id(name: &str) -> PayoutId {
    PayoutId::parse(&format!("po_{name}")).expect("an id")
}

pub(super) const JANUARY: Date = date(2013, 1, 31);
pub(super) const FEBRUARY: Date = date(2013, 2, 28);

pub(super) async fn post(db: &Db, entries: &[Entry]) -> Result<Vec<Posted>> {
    let mut tx = db.write().await?;
    let posted = tx.post(entries).await?;
    tx.commit().await?;
    Ok(posted)
}

fn as_of(at: Option<Date>) -> AsOf {
    AsOf { effective_on: at.unwrap_or(Date::MAX), ..AsOf::NOW }
}

/// `account debit credit`, a line each.
pub(super) async fn balance(db: &Db, at: Option<Date>) -> Vec<String> {
    let totals = db.read().await.expect("begins").trial_balance(as_of(at)).await.expect("reads");
    totals.iter().map(|t| format!("{} {} {}", t.account, t.debit.minor(), t.credit.minor())).collect()
}

/// Two batches: an invoice and rewards in January; an invoice and the void of the first in February.
pub(super) async fn filled(db: &Db) -> Vec<Entry> {
    let first = invoice("1", "UA", 1000, dated(JANUARY));
    let entries = vec![
        first.clone(),
        rewards("1", "UA", 300, dated(JANUARY)),
        invoice("2", "AA: b", 500, dated(FEBRUARY)),
        templates::invoice_voided(&invoice_id("1"), &first, dated(FEBRUARY)),
    ];
    post(db, &entries[..2]).await.expect("is posted");
    post(db, &entries[2..]).await.expect("is posted");
    entries
}

async fn what_was_posted_is_read_back_in_order(db: Db) {
    let entries = filled(&db).await;
    let mut tx = db.read().await.expect("begins");
    let all = tx.journal_entries(0, 100).await.expect("reads");
    assert_eq!(all.iter().map(|booked| booked.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(all.iter().map(|booked| &booked.entry).eq(&entries));
    assert_eq!(tx.journal_entries(1, 2).await.expect("reads"), all[1..3]);
    assert_eq!(tx.journal_between(JANUARY, FEBRUARY).await.expect("reads"), all[..2]);
    let key = templates::invoice_finalized_key(&invoice_id("2"));
    assert_eq!(tx.journal_entry_with_key(&key).await.expect("reads").as_ref(), Some(&all[2]));
    assert_eq!(tx.journal_entry_with_key("nothing").await.expect("reads"), None);
    let head = tx.journal_head().await.expect("reads");
    assert_eq!((head.batch, head.last_entry), (2, 4));
    assert_eq!(head.head, Head::GENESIS.after(&entries[..2]).after(&entries[2..]));
    assert_eq!(tx.verify_journal().await.expect("reads"), []);
}

async fn an_empty_journal_is_sound(db: Db) {
    assert_eq!(post(&db, &[]).await.expect("nothing to do"), []);
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.journal_head().await.expect("reads").head, Head::GENESIS);
    assert_eq!(tx.verify_journal().await.expect("reads"), []);
    assert_eq!(tx.trial_balance(AsOf::NOW).await.expect("reads"), []);
}

async fn the_trial_balance_is_as_of_the_end_of_a_day(db: Db) {
    filled(&db).await;
    assert_eq!(balance(&db, Some(date(2013, 1, 30))).await, [""; 0]);
    let january = [
        "1100:UA:EUR 1200 0",
        "2000:UA:EUR 0 300",
        "2200:NL:EUR 0 200",
        "4000:miles:EUR 0 1000",
        "5000:bounty:EUR 300 0",
    ];
    assert_eq!(balance(&db, Some(JANUARY)).await, january);
    let all = [
        "1100:AA%3A%20b:EUR 600 0",
        "1100:UA:EUR 1200 1200",
        "2000:UA:EUR 0 300",
        "2200:NL:EUR 200 300",
        "4000:miles:EUR 1000 1500",
        "5000:bounty:EUR 300 0",
    ];
    assert_eq!(balance(&db, None).await, all);
}

async fn the_same_content_under_one_key_is_posted_once(db: Db) {
    let entry = invoice("1", "UA", 1000, dated(JANUARY));
    let first = post(&db, std::slice::from_ref(&entry)).await.expect("is posted");
    assert_eq!(first, [Posted { id: entry.id().clone(), seq: 1, new: true }]);
    let later = Dates { recorded_at: Instant::from_micros(1_400_000_000_000_000), ..dated(JANUARY) };
    let again = [invoice("1", "UA", 1000, later), invoice("2", "UA", 5, later), invoice("2", "UA", 5, later)];
    let posted = post(&db, &again).await.expect("is posted");
    let expected = [(entry.id(), 1, false), (again[1].id(), 2, true), (again[1].id(), 2, false)];
    assert!(posted.iter().map(|posted| (&posted.id, posted.seq, posted.new)).eq(expected));
}

async fn other_content_under_one_key_is_refused_and_changes_nothing(db: Db) {
    filled(&db).await;
    let before = balance(&db, None).await;
    let entries = [invoice("3", "UA", 7, dated(JANUARY)), invoice("1", "UA", 1001, dated(JANUARY))];
    match post(&db, &entries).await {
        Err(Error::Refused(reason)) => assert!(reason.contains("invoice:inv_1:finalized"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(balance(&db, None).await, before);
}

async fn nothing_that_was_posted_is_kept_without_a_commit(db: Db) {
    filled(&db).await;
    let before = balance(&db, None).await;
    let mut tx = db.write().await.expect("begins");
    tx.post(&[invoice("3", "UA", 7, dated(JANUARY))]).await.expect("is posted");
    drop(tx);
    assert_eq!(balance(&db, None).await, before);
}

async fn a_large_batch_is_posted_as_one(db: Db) {
    let entries: Vec<_> =
        (1..=2_500).map(|at| invoice(&at.to_string(), &format!("party {at}"), at, dated(JANUARY))).collect();
    let posted = post(&db, &entries).await.expect("is posted");
    assert_eq!(posted.last().map(|posted| posted.seq), Some(2_500));
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.journal_head().await.expect("reads").batch, 1);
    assert_eq!(tx.journal_between(JANUARY, FEBRUARY).await.expect("reads").len(), 2_500);
    assert_eq!(tx.verify_journal().await.expect("reads"), []);
}

async fn nobody_gets_below_the_floor(db: Db) {
    let release = |amount, name: &str| {
        templates::hold_passed(&payout_id("1"), "UA", name, (eur(amount), eur(0)), dated(FEBRUARY))
            .expect("balances")
            .expect("moves")
    };
    post(&db, &[rewards("1", "UA", 300, dated(JANUARY)), release(300, "bounty")]).await.expect("is posted");
    let before = balance(&db, None).await;
    match post(&db, &[release(-200, "a"), release(-101, "b")]).await {
        Err(Error::Refused(reason)) => assert!(reason.contains("floor"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(balance(&db, None).await, before);
    post(&db, &[release(-200, "a"), release(-100, "b")]).await.expect("just reaches the floor");
}

async fn two_writers_at_once_both_get_in(db: Db) {
    let one = |name: &'static str| {
        let db = db.clone();
        tokio::spawn(async move { post(&db, &[invoice(name, "UA", 7, dated(JANUARY))]).await })
    };
    for writer in ["a", "b", "c", "d"].map(one) {
        writer.await.expect("does not panic").expect("is posted");
    }
    assert_eq!(db.read().await.expect("begins").verify_journal().await.expect("reads"), []);
}

// What the database refuses by itself.

pub(super) const ACCOUNTS: &str = "
    insert into account (id, code, party, purpose, currency)
    values ('1100:UA:EUR', 1100, 'UA', null, 'EUR'), ('4000:miles:EUR', 4000, null, 'miles', 'EUR'),
           ('4000:miles:USD', 4000, null, 'miles', 'USD'), ('2010:UA:EUR', 2010, 'UA', null, 'EUR'),
           ('2100:UA:EUR', 2100, 'UA', null, 'EUR'), ('1000:EUR', 1000, null, null, 'EUR')
    on conflict do nothing";

pub(super) fn entry_row(seq: i64, batch: i64, key: &str, reverses: &str) -> String {
    format!(
        "insert into journal_entry
         (seq, batch, id, kind, key, hash, effective_on, recorded_at, description, reverses)
         values ({seq}, {batch}, 'je_raw{seq}', 'invoice_finalized', '{key}', 'h', '2013-03-01', 0, 'raw', {reverses})"
    )
}

pub(super) fn postings(entry: i64, rows: &[(&str, &str, i64)]) -> String {
    let row = |(line, (account, side, amount)): (usize, &(&str, &str, i64))| {
        let currency = &account[account.len() - 3..];
        format!("({entry}, {line}, '{account}', '{currency}', '{side}', {amount})")
    };
    let rows: Vec<_> = rows.iter().enumerate().map(row).collect();
    format!("insert into posting (entry, line, account, currency, side, amount) values {}", rows.join(", "))
}

pub(super) fn batch_row(seq: i64, first: i64, last: i64, previous: &str) -> String {
    format!(
        "insert into journal_batch (seq, first_entry, last_entry, previous, head)
         values ({seq}, {first}, {last}, '{previous}', 'head {seq}')"
    )
}

/// Everything in the four tables, as text.
async fn everything(db: &Db) -> Vec<String> {
    let mut tx = db.read().await.expect("begins");
    let mut all = Vec::new();
    for sql in [
        "select id || code || coalesce(party, '-') || coalesce(purpose, '-') || currency from account order by id",
        "select seq || ' ' || first_entry || ' ' || last_entry || previous || head from journal_batch order by seq",
        "select seq || ' ' || batch || id || kind || key || hash || effective_on || recorded_at || description
         || coalesce(reverses, '-') from journal_entry order by seq",
        "select entry || ' ' || line || account || currency || side || amount from posting order by entry, line",
    ] {
        let rows: Vec<(String,)> = on!(tx, conn => sqlx::query_as(sql).fetch_all(conn).await.expect("reads"));
        all.extend(rows.into_iter().map(|(row,)| row));
    }
    all
}

/// Sends what would be entry 5 and batch 3 after [`filled`], which must be refused for `reason`, without a trace.
pub(super) async fn refuses(db: &Db, reason: &str, statements: &[String]) {
    let before = everything(db).await;
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let said = refused(db, &statements).await;
    assert!(said.to_lowercase().contains(reason), "{statements:?} was refused because: {said}");
    assert_eq!(everything(db).await, before, "{statements:?} left a trace");
}

pub(super) async fn head(db: &Db) -> String {
    db.read().await.expect("begins").journal_head().await.expect("reads").head.to_string()
}

const DEBIT: (&str, &str, i64) = ("1100:UA:EUR", "debit", 5);
const CREDIT: (&str, &str, i64) = ("4000:miles:EUR", "credit", 5);

async fn the_database_refuses_what_is_not_an_entry(db: Db) {
    filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let head = head(&db).await;
    let with =
        |rows: &[(&str, &str, i64)]| vec![entry_row(5, 3, "raw", "null"), postings(5, rows), batch_row(3, 5, 5, &head)];
    refuses(&db, "not balanced", &with(&[DEBIT, ("4000:miles:EUR", "credit", 4)])).await;
    refuses(&db, "not balanced", &with(&[DEBIT, ("4000:miles:USD", "credit", 5)])).await;
    refuses(&db, "not balanced", &with(&[DEBIT])).await;
    refuses(&db, "no postings", &[entry_row(5, 3, "raw", "null"), batch_row(3, 5, 5, &head)]).await;
    refuses(&db, "check", &with(&[DEBIT, ("4000:miles:EUR", "credit", 0)])).await;
    refuses(&db, "check", &with(&[DEBIT, ("4000:miles:EUR", "credit", -5)])).await;
    refuses(&db, "check", &with(&[DEBIT, ("4000:miles:EUR", "kredit", 5)])).await;
    refuses(&db, "foreign key", &with(&[DEBIT, ("4000:gates:EUR", "credit", 5)])).await;
    let mut other_currency = with(&[DEBIT, CREDIT]);
    other_currency[1] = other_currency[1].replace("'EUR', 'credit'", "'USD', 'credit'");
    refuses(&db, "check", &other_currency).await;
    refuses(&db, "foreign key", &[postings(6, &[DEBIT, CREDIT])]).await;
    let account = "insert into account (id, code, currency) values ('2010:BB:EUR', 1100, 'EUR')".to_owned();
    refuses(&db, "check", &[account]).await;
    sent(&db, &with(&[DEBIT, CREDIT]).iter().map(String::as_str).collect::<Vec<_>>())
        .await
        .expect("a good one is let in");
}

async fn the_database_refuses_what_is_not_a_batch(db: Db) {
    filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let head = head(&db).await;
    let good = || vec![entry_row(5, 3, "raw", "null"), postings(5, &[DEBIT, CREDIT])];
    let sealed = |batch: String| [good(), vec![batch]].concat();
    refuses(&db, "foreign key", &good()).await;
    refuses(&db, "not those", &[batch_row(3, 5, 5, &head)]).await;
    refuses(&db, "not those", &sealed(batch_row(3, 5, 6, &head))).await;
    refuses(&db, "check", &sealed(batch_row(3, 5, 4, &head))).await;
    refuses(&db, "follow", &sealed(batch_row(3, 4, 5, &head))).await;
    refuses(&db, "follow", &sealed(batch_row(4, 5, 5, &head))).await;
    refuses(&db, "follow", &sealed(batch_row(3, 5, 5, &head.to_uppercase().replace('0', "1")))).await;
    let mut gap = sealed(batch_row(3, 5, 5, &head));
    gap[0] = entry_row(6, 3, "raw", "null");
    gap[1] = postings(6, &[DEBIT, CREDIT]);
    refuses(&db, "not those", &gap).await;
    refuses(&db, "sealed", &[entry_row(5, 2, "raw", "null")]).await;
    refuses(&db, "sealed", &[postings(4, &[DEBIT, CREDIT]).replace("(4, 0,", "(4, 8,").replace("(4, 1,", "(4, 9,")])
        .await;
}

async fn the_first_batch_follows_the_zeros(db: Db) {
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let with = |batch| vec![entry_row(1, 1, "raw", "null"), postings(1, &[DEBIT, CREDIT]), batch];
    refuses(&db, "follow", &with(batch_row(1, 1, 1, "x"))).await;
    sent(&db, &with(batch_row(1, 1, 1, ZEROS)).iter().map(String::as_str).collect::<Vec<_>>())
        .await
        .expect("is let in");
}

async fn the_database_refuses_a_second_key_and_a_second_reversal(db: Db) {
    let entries = filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let head = head(&db).await;
    let with = |key: &str, reverses: &str, rows: &[(&str, &str, i64)]| {
        vec![entry_row(5, 3, key, reverses), postings(5, rows), batch_row(3, 5, 5, &head)]
    };
    refuses(&db, "taken", &with("invoice:inv_1:finalized", "null", &[DEBIT, CREDIT])).await;
    refuses(&db, "taken", &with("raw", &format!("'{}'", entries[0].id()), &[DEBIT, CREDIT])).await;
    refuses(&db, "mirror", &with("raw", &format!("'{}'", entries[2].id()), &[DEBIT, CREDIT])).await;
    refuses(&db, "foreign key", &with("raw", "'je_nothing'", &[DEBIT, CREDIT])).await;
}

async fn the_database_keeps_the_floors(db: Db) {
    filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let head = head(&db).await;
    for account in ["2010:UA:EUR", "2100:UA:EUR"] {
        let rows = postings(5, &[(account, "debit", 1), ("1000:EUR", "credit", 1)]);
        refuses(&db, "floor", &[entry_row(5, 3, "raw", "null"), rows, batch_row(3, 5, 5, &head)]).await;
    }
}

async fn the_database_changes_and_deletes_nothing(db: Db) {
    filled(&db).await;
    let mut statements: Vec<String> = Vec::new();
    for (table, change) in [
        ("account", "code = code"),
        ("journal_batch", "head = 'x'"),
        ("journal_entry", "description = 'x'"),
        ("posting", "amount = amount + 1"),
    ] {
        statements.push(format!("update {table} set {change}"));
        statements.push(format!("delete from {table}"));
        if is_sqlite(&db) {
            statements.push(format!("insert or replace into {table} select * from {table}"));
            statements.push(format!("update or replace {table} set {change}"));
        } else {
            statements.push(format!("truncate {table} cascade"));
        }
    }
    for statement in statements {
        // `or replace` may meet a sealed batch before it meets the row that it would replace.
        let reason = if statement.starts_with("insert") { "" } else { "only appended to" };
        refuses(&db, reason, &[statement]).await;
    }
}

/// In SQLite the `or` of a statement rules inside the triggers that it sets off, except over what they raise.
async fn no_other_conflict_clause_slips_past_the_seal(db: Db) {
    if !is_sqlite(&db) {
        return;
    }
    filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let head = head(&db).await;
    for or in ["or ignore", "or replace", "or fail", "or rollback"] {
        let rows = postings(5, &[("2010:UA:EUR", "debit", 1), ("1000:EUR", "credit", 1)]);
        let statements = [entry_row(5, 3, "raw", "null"), rows, batch_row(3, 5, 5, &head)];
        refuses(&db, "floor", &statements.map(|sql| sql.replacen("insert", &format!("insert {or}"), 1))).await;
    }
}

both_engines!(
    what_was_posted_is_read_back_in_order,
    an_empty_journal_is_sound,
    the_trial_balance_is_as_of_the_end_of_a_day,
    the_same_content_under_one_key_is_posted_once,
    other_content_under_one_key_is_refused_and_changes_nothing,
    nothing_that_was_posted_is_kept_without_a_commit,
    a_large_batch_is_posted_as_one,
    nobody_gets_below_the_floor,
    two_writers_at_once_both_get_in,
    the_database_refuses_what_is_not_an_entry,
    the_database_refuses_what_is_not_a_batch,
    the_first_batch_follows_the_zeros,
    the_database_refuses_a_second_key_and_a_second_reversal,
    the_database_keeps_the_floors,
    the_database_changes_and_deletes_nothing,
    no_other_conflict_clause_slips_past_the_seal,
);
