//! Keys and sessions, on both engines.

use crate::domain::ids::KeyId;
use crate::domain::time::Instant;
use crate::store::Db;
use crate::store::Error;
use crate::store::keys::ApiKey;
use crate::store::keys::Role;
use crate::store::tests::both_engines;
use crate::store::tests::refused;

both_engines!(
    a_key_is_found_by_its_hash_until_it_is_revoked,
    a_session_lasts_until_it_ends_or_its_key_is_revoked,
    a_role_is_one_of_four_and_only_a_consumer_has_a_consumer,
);

fn at(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

fn key(number: u8, role: Role) -> ApiKey {
    ApiKey { id: KeyId::new(at(0), [number; 10]), name: "ci".to_owned(), role, created_at: at(1), revoked_at: None }
}

async fn add(db: &Db, key: &ApiKey, hash: &str) -> Result<(), Error> {
    let mut tx = db.write().await?;
    tx.add_key(key, hash).await?;
    tx.commit().await
}

async fn a_key_is_found_by_its_hash_until_it_is_revoked(db: Db) {
    let (mine, other) = (key(1, Role::Consumer("UA".to_owned())), key(2, Role::Operator));
    add(&db, &mine, "h1").await.expect("adds");
    add(&db, &other, "h2").await.expect("adds");
    assert!(matches!(add(&db, &key(3, Role::Ingest), "h1").await, Err(Error::Taken)));
    assert_eq!(db.read().await.expect("reads").key_by_hash("h1").await.expect("reads"), Some(mine.clone()));
    let mut tx = db.write().await.expect("writes");
    tx.revoke_key(&mine.id, at(9)).await.expect("revokes");
    assert!(matches!(tx.revoke_key(&mine.id, at(9)).await, Err(Error::Missing)));
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(tx.key_by_hash("h1").await.expect("reads"), None);
    assert_eq!(tx.keys().await.expect("reads"), [ApiKey { revoked_at: Some(at(9)), ..mine }, other]);
}

async fn a_session_lasts_until_it_ends_or_its_key_is_revoked(db: Db) {
    let finance = key(1, Role::Finance);
    add(&db, &finance, "h1").await.expect("adds");
    let mut tx = db.write().await.expect("writes");
    tx.open_session("s1", &finance.id, at(0), at(10)).await.expect("opens");
    tx.open_session("s2", &finance.id, at(0), at(20)).await.expect("opens");
    assert_eq!(tx.key_of_session("s1", at(9)).await.expect("reads"), Some(finance.clone()));
    assert_eq!(tx.key_of_session("s1", at(10)).await.expect("reads"), None);
    tx.end_session("s1").await.expect("ends");
    assert_eq!(tx.key_of_session("s1", at(0)).await.expect("reads"), None);
    tx.revoke_key(&finance.id, at(5)).await.expect("revokes");
    assert_eq!(tx.key_of_session("s2", at(6)).await.expect("reads"), None);
}

async fn a_role_is_one_of_four_and_only_a_consumer_has_a_consumer(db: Db) {
    for (role, consumer) in [("root", "null"), ("operator", "'UA'"), ("consumer", "null")] {
        let row = format!(
            "insert into api_key (id, hash, name, role, consumer, created_at)
             values ('key_1', 'h', '', '{role}', {consumer}, 0)"
        );
        refused(&db, &[&row]).await;
    }
}
