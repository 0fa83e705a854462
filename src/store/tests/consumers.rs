//! Consumers on both engines.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::*;
use crate::domain::consumer::Consumer;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;

pub fn consumer(id: &str) -> Consumer {
    Consumer {
        id: id.to_owned(),
        name: format!("Consumer {id}"),
        email: None,
        currency: Currency::from_code("USD").expect("USD exists"),
        tax: None,
        tags: BTreeMap::new(),
        spend_cap: None,
        alerts: Vec::new(),
        created_at: Instant::from_micros(1),
        updated_at: Instant::from_micros(1),
    }
}

pub async fn put(db: &Db, consumer: &Consumer) -> Result<()> {
    let mut tx = db.write().await?;
    tx.put_consumer(consumer).await?;
    tx.commit().await
}

async fn a_consumer_is_described_again_and_keeps_the_time_of_its_creation(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    let tags = BTreeMap::from([("tier".to_owned(), "gold \"1\"".to_owned())]);
    let currency = Currency::from_code("EUR").expect("EUR exists");
    let later = Instant::from_micros(2);
    let changed = Consumer {
        email: Some("a@example.org".to_owned()),
        tax: Some("nl".to_owned()),
        tags,
        currency,
        spend_cap: Some(Money::from_minor(12_345, currency)),
        alerts: vec![Decimal::from(50), Decimal::new(995, 1)],
        created_at: later,
        updated_at: later,
        ..consumer("UA")
    };
    put(&db, &changed).await.expect("is put");
    let found = db.read().await.expect("begins").consumer("UA").await.expect("reads");
    assert_eq!(found, Some(Consumer { created_at: Instant::from_micros(1), ..changed }));
    assert_eq!(db.read().await.expect("begins").consumer("AA").await.expect("reads"), None);
}

async fn consumers_are_listed_by_id_in_the_order_of_bytes(db: Db) {
    for id in ["b", "é", "B", "a"] {
        put(&db, &consumer(id)).await.expect("is put");
    }
    let mut tx = db.read().await.expect("begins");
    let ids = |page: Vec<Consumer>| page.into_iter().map(|consumer| consumer.id).collect::<Vec<_>>();
    assert_eq!(ids(tx.consumers(None, 3).await.expect("reads")), ["B", "a", "b"]);
    assert_eq!(ids(tx.consumers(Some("b"), 3).await.expect("reads")), ["é"]);
    let named = tx.consumers_named(&["a", "x", "é"]).await.expect("reads");
    assert_eq!(named.into_keys().collect::<Vec<_>>(), ["a", "é"]);
    assert!(tx.consumers_named(&[]).await.expect("reads").is_empty());
}

both_engines!(
    a_consumer_is_described_again_and_keeps_the_time_of_its_creation,
    consumers_are_listed_by_id_in_the_order_of_bytes,
);
