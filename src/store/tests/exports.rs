//! Sealed exports on both engines: what a batch takes, and what the database refuses.

use jiff::civil::Date;
use jiff::civil::date;

use super::journal::FEBRUARY;
use super::journal::JANUARY;
use super::journal::dated;
use super::journal::filled;
use super::journal::invoice;
use super::journal::post;
use super::*;
use crate::domain::ids::ExportId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::exports::ExportBatch;

both_engines!(
    a_batch_takes_what_no_batch_of_its_kind_took_and_reads_back,
    an_entry_is_taken_once_by_each_kind,
    what_comes_late_is_left_for_the_next_batch,
    a_batch_is_what_it_says_or_it_is_not_kept,
    sealed_batches_are_never_changed,
);

const KIND: &str = "quickbooks.csv";

fn at(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

/// The batch of everything that is left through a day, and the entries in it.
async fn batch(db: &Db, kind: &str, through: Date) -> (ExportBatch, Vec<i64>) {
    let mut tx = db.read().await.expect("begins");
    let entries: Vec<i64> =
        tx.unexported(kind, through).await.expect("reads").iter().map(|booked| booked.seq).collect();
    let number = tx.last_export(kind).await.expect("reads") + 1;
    let batch = ExportBatch {
        id: ExportId::derive(at(number * 1_000_000), &[kind, &number.to_string()]),
        kind: kind.to_owned(),
        number,
        through,
        first_entry: *entries.iter().min().expect("something is left"),
        last_entry: *entries.iter().max().expect("something is left"),
        entries: i64::try_from(entries.len()).expect("few"),
        totals: vec![Money::from_minor(1234, Currency::from_code("EUR").expect("EUR exists"))],
        head: tx.journal_head().await.expect("reads").head,
        sha256: "ab".repeat(32),
        sealed_at: at(number * 1_000_000),
    };
    (batch, entries)
}

async fn keep(db: &Db, (batch, entries): &(ExportBatch, Vec<i64>)) -> Result<()> {
    let mut tx = db.write().await?;
    tx.seal_export(batch, entries, &[1, 2, 3]).await?;
    tx.commit().await
}

async fn a_batch_takes_what_no_batch_of_its_kind_took_and_reads_back(db: Db) {
    filled(&db).await;
    let january = batch(&db, KIND, JANUARY).await;
    assert_eq!(january.1, [1, 2]);
    keep(&db, &january).await.expect("is kept");
    let rest = batch(&db, KIND, date(9999, 1, 1)).await;
    assert_eq!((rest.0.number, &*rest.1), (2, &[3, 4][..]));
    keep(&db, &rest).await.expect("is kept");
    let other = batch(&db, "xero.csv", JANUARY).await;
    assert_eq!((other.0.number, &*other.1), (1, &[1, 2][..]));
    keep(&db, &other).await.expect("is kept");

    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.unexported(KIND, date(9999, 1, 1)).await.expect("reads"), []);
    assert_eq!(tx.last_export(KIND).await.expect("reads"), 2);
    let of_kind = tx.export_batches(Some(KIND), None, 10).await.expect("reads");
    assert_eq!(of_kind, [rest.0.clone(), january.0.clone()]);
    let older = tx.export_batches(Some(KIND), Some(rest.0.id.as_str()), 10).await.expect("reads");
    assert_eq!(older, std::slice::from_ref(&january.0));
    assert_eq!(tx.export_batches(None, None, 10).await.expect("reads").len(), 3);
    assert_eq!(tx.export_batches(None, None, 1).await.expect("reads"), std::slice::from_ref(&rest.0));
    let (found, file) = tx.export_batch(&january.0.id).await.expect("reads").expect("is there");
    assert_eq!((&found, &*file), (&january.0, &[1, 2, 3][..]));
    assert_eq!(tx.export_batch(&ExportId::parse("exp_1").expect("an id")).await.expect("reads"), None);
    let entries: Vec<i64> = tx.exported(&rest.0.id).await.expect("reads").iter().map(|booked| booked.seq).collect();
    assert_eq!(entries, rest.1);
    let accounts = tx.exported_accounts("xero.csv").await.expect("reads");
    let accounts: Vec<String> = accounts.iter().map(ToString::to_string).collect();
    assert_eq!(accounts, ["1100:UA:EUR", "2000:UA:EUR", "2200:NL:EUR", "4000:miles:EUR", "5000:bounty:EUR"]);
}

async fn an_entry_is_taken_once_by_each_kind(db: Db) {
    filled(&db).await;
    let first = batch(&db, KIND, JANUARY).await;
    let mut second = batch(&db, KIND, FEBRUARY).await;
    second.0.id = ExportId::parse("exp_other").expect("an id");
    keep(&db, &first).await.expect("is kept");
    assert!(matches!(keep(&db, &second).await, Err(Error::Taken)), "made before the first was sealed");
    keep(&db, &batch(&db, KIND, FEBRUARY).await).await.expect("is kept");
}

async fn what_comes_late_is_left_for_the_next_batch(db: Db) {
    filled(&db).await;
    keep(&db, &batch(&db, KIND, FEBRUARY).await).await.expect("is kept");
    post(&db, &[invoice("9", "UA", 100, dated(JANUARY))]).await.expect("is posted");
    assert_eq!(batch(&db, KIND, JANUARY).await.1, [5]);
}

async fn a_batch_is_what_it_says_or_it_is_not_kept(db: Db) {
    filled(&db).await;
    let sound = batch(&db, KIND, JANUARY).await;
    let wrong = |change: &dyn Fn(&mut ExportBatch)| {
        let mut batch = sound.clone();
        change(&mut batch.0);
        batch
    };
    let batches = [
        wrong(&|batch| batch.number = 2),
        wrong(&|batch| batch.entries = 3),
        wrong(&|batch| batch.first_entry = 2),
        wrong(&|batch| batch.last_entry = 3),
        wrong(&|batch| batch.through = date(2013, 1, 30)),
        wrong(&|batch| batch.head = batch.head.after([])),
        (sound.0.clone(), vec![1]),
        (sound.0.clone(), vec![1, 7]),
    ];
    for batch in &batches {
        assert!(matches!(keep(&db, batch).await, Err(Error::Refused(_))), "{batch:?}");
    }
    keep(&db, &sound).await.expect("is kept");
}

async fn sealed_batches_are_never_changed(db: Db) {
    filled(&db).await;
    let (sealed, entries) = batch(&db, KIND, JANUARY).await;
    keep(&db, &(sealed.clone(), entries)).await.expect("is kept");
    let joins = format!("insert into exported_entry (kind, entry, batch) values ('{KIND}', 3, '{}')", sealed.id);
    for statement in [
        &*joins,
        "update export_batch set through = '2013-12-31'",
        "delete from export_batch",
        "update exported_entry set kind = 'xero.csv'",
        "delete from exported_entry",
    ] {
        refused(&db, &[statement]).await;
    }
}
