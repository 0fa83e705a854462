//! What the chain finds on both engines when the database does not refuse: rows changed, removed and swapped behind its back.

use super::journal::JANUARY;
use super::journal::dated;
use super::journal::eur;
use super::journal::filled;
use super::journal::payout_id;
use super::journal::post;
use super::journal::rewards;
use super::*;
use crate::domain::ledger::audit::Difference;
use crate::domain::ledger::templates;

/// Sends statements with every guard of the database taken away, and says what is wrong then.
async fn tampered(db: &Db, statements: &[&str]) -> Vec<Difference> {
    if let Pools::Sqlite { writer, .. } = &db.books {
        // It is the only connection that writes; no transaction is open, so the pragma takes effect.
        let mut conn = writer.acquire().await.expect("is free");
        sqlx::raw_sql("pragma foreign_keys = off").execute(&mut *conn).await.expect("is set");
        let triggers: Vec<(String,)> = sqlx::query_as("select name from sqlite_master where type = 'trigger'")
            .fetch_all(&mut *conn)
            .await
            .expect("reads");
        for (trigger,) in triggers {
            let drop = format!("drop trigger {trigger}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *conn).await.expect("is dropped");
        }
        drop(conn);
        sent(db, statements).await.expect("nothing stops it");
    } else {
        sent(db, &[&["set local session_replication_role = replica"], statements].concat())
            .await
            .expect("nothing stops it");
    }
    db.read().await.expect("begins").verify_journal().await.expect("reads")
}

async fn the_chain_finds_a_changed_row(db: Db) {
    filled(&db).await;
    let found = tampered(&db, &["update journal_entry set description = 'Invoice 1 to nobody' where seq = 1"]).await;
    assert!(matches!(found[..], [Difference::EntryChanged(1), Difference::HeadDiffers { batch: 1, .. }]), "{found:?}");
}

async fn the_chain_finds_changed_postings_that_still_balance(db: Db) {
    filled(&db).await;
    // Whoever knows how also mends the hash of the entry; the head gives it away.
    let found = tampered(&db, &["update posting set amount = amount * 2 where entry = 3"]).await;
    assert!(matches!(found[..], [Difference::EntryChanged(3), Difference::HeadDiffers { batch: 2, .. }]), "{found:?}");
    let found = tampered(&db, &["update posting set amount = amount + 1 where entry = 3 and line = 1"]).await;
    assert!(
        matches!(found[..], [Difference::EntryDamaged { seq: 3, .. }, Difference::HeadDiffers { batch: 2, .. }]),
        "{found:?}"
    );
}

async fn the_chain_finds_a_removed_row(db: Db) {
    filled(&db).await;
    let found =
        tampered(&db, &["delete from posting where entry = 3", "delete from journal_entry where seq = 3"]).await;
    assert!(
        matches!(found[..], [Difference::EntriesMissing { from: 3, to: 3 }, Difference::HeadDiffers { batch: 2, .. }]),
        "{found:?}"
    );
}

async fn the_chain_finds_a_swapped_pair(db: Db) {
    filled(&db).await;
    let swap = |table: &str, column: &str| {
        [(1, -1), (2, 1), (-1, 2)]
            .map(|(from, to)| format!("update {table} set {column} = {to} where {column} = {from}"))
    };
    let statements = [swap("journal_entry", "seq"), swap("posting", "entry")].concat();
    let found = tampered(&db, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(matches!(found[..], [Difference::HeadDiffers { batch: 1, .. }]), "{found:?}");
}

async fn the_chain_finds_a_removed_batch(db: Db) {
    filled(&db).await;
    let statements = [
        "delete from posting where entry <= 2",
        "delete from journal_entry where seq <= 2",
        "delete from journal_batch where seq = 1",
    ];
    let found = tampered(&db, &statements).await;
    assert!(found.contains(&Difference::BatchesMissing { from: 1, to: 1 }), "{found:?}");
}

async fn what_belongs_to_no_batch_is_found(db: Db) {
    filled(&db).await;
    let found = tampered(&db, &["update journal_entry set batch = 1 where seq = 4"]).await;
    assert!(found.contains(&Difference::EntryOutOfPlace(4)), "{found:?}");
    let found = tampered(&db, &["update journal_entry set batch = 9 where seq = 4"]).await;
    assert!(found.contains(&Difference::Stray { what: "entries", found: 4, reached: 3 }), "{found:?}");
}

async fn a_changed_account_is_found(db: Db) {
    filled(&db).await;
    let found = tampered(&db, &["update account set party = 'BB' where id = '1100:UA:EUR'"]).await;
    assert_eq!(found, [Difference::AccountChanged("1100:UA:EUR".to_owned())]);
}

async fn a_changed_balance_is_found(db: Db) {
    filled(&db).await;
    let passed = templates::hold_passed(&payout_id("1"), "UA", "bounty", (eur(300), eur(0)), dated(JANUARY));
    post(&db, &[passed.expect("balances").expect("moves")]).await.expect("is posted");
    post(&db, &[rewards("2", "UA", 5, dated(JANUARY))]).await.expect("is posted");
    let differs = |found: &[Difference]| match found {
        [Difference::BalanceDiffers { account, kept, recomputed }] => {
            format!("{account}: {kept}; {recomputed}")
        }
        _ => panic!("{found:?}"),
    };
    let found = tampered(&db, &["update account_balance set credit = credit + 1"]).await;
    let said = "2010:UA:EUR: 0 debited and 301 credited by 1 batches; 0 debited and 300 credited by 1 batches";
    assert_eq!(differs(&found), said);
    let found = tampered(&db, &["delete from account_balance"]).await;
    let said = "2010:UA:EUR: 0 debited and 0 credited by 0 batches; 0 debited and 300 credited by 1 batches";
    assert_eq!(differs(&found), said);
}

both_engines!(
    the_chain_finds_a_changed_row,
    the_chain_finds_changed_postings_that_still_balance,
    the_chain_finds_a_removed_row,
    the_chain_finds_a_swapped_pair,
    the_chain_finds_a_removed_batch,
    what_belongs_to_no_batch_is_found,
    a_changed_account_is_found,
    a_changed_balance_is_found,
);
