//! Endpoints and deliveries, on both engines.

use crate::domain::ids::DeliveryId;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::store::Db;
use crate::store::Error;
use crate::store::endpoints::Delivery;
use crate::store::endpoints::Endpoint;
use crate::store::endpoints::EndpointState;
use crate::store::endpoints::SealedSecret;
use crate::store::endpoints::Which;
use crate::store::tests::both_engines;
use crate::store::tests::consumers::consumer;

both_engines!(
    an_endpoint_is_found_until_it_is_removed,
    an_endpoint_only_gets_further,
    secrets_are_those_of_active_endpoints_and_end,
    a_delivery_is_tried_again_when_it_is_due_and_forgotten_when_it_arrived,
    deliveries_of_each_endpoint_get_their_turn,
);

fn at(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

fn endpoint(number: u8, consumer: &str) -> Endpoint {
    Endpoint {
        id: EndpointId::new(at(i64::from(number) * 1_000), [number; 10]),
        consumer: consumer.to_owned(),
        url: "https://example.com/hook".to_owned(),
        description: String::new(),
        filters: "[]".to_owned(),
        state: EndpointState::Active,
        reason: None,
        made_at: at(1),
        changed_at: at(1),
        through: 7,
        failing_since: None,
    }
}

fn delivery(endpoint: &Endpoint, place: i64, next_at: Option<i64>) -> Delivery {
    Delivery {
        endpoint: endpoint.id.clone(),
        batch: 9,
        place,
        id: DeliveryId::derive(at(1), &[endpoint.id.as_str(), &place.to_string()]),
        event_type: "order.paid".to_owned(),
        attempts: 1,
        next_at: next_at.map(at),
        first_at: at(5),
        last_at: at(5),
        status: Some(500),
        failure: "it answered 500".to_owned(),
    }
}

/// Endpoints of UA, UA and BB.
async fn three(db: &Db) -> [Endpoint; 3] {
    let three = [endpoint(1, "UA"), endpoint(2, "UA"), endpoint(3, "BB")];
    let mut tx = db.write().await.expect("writes");
    for id in ["UA", "BB"] {
        tx.put_consumer(&consumer(id)).await.expect("is kept");
    }
    for endpoint in &three {
        tx.add_endpoint(endpoint).await.expect("adds");
    }
    tx.commit().await.expect("commits");
    three
}

async fn found(db: &Db, which: Which<'_>) -> Vec<Endpoint> {
    db.read().await.expect("reads").endpoints(which).await.expect("reads")
}

async fn changed(db: &Db, endpoint: &Endpoint) -> Result<(), Error> {
    let mut tx = db.write().await?;
    tx.change_endpoint(endpoint).await?;
    tx.commit().await
}

async fn an_endpoint_is_found_until_it_is_removed(db: Db) {
    let [first, second, other] = three(&db).await;
    let page = |consumer, before| Which::Page { consumer, before, limit: 10 };
    assert_eq!(found(&db, Which::Id(first.id.as_str())).await, std::slice::from_ref(&first));
    assert_eq!(found(&db, page(Some("UA"), None)).await, [second.clone(), first.clone()]);
    assert_eq!(found(&db, page(None, Some(other.id.as_str()))).await, [second.clone(), first.clone()]);
    assert_eq!(found(&db, Which::Page { consumer: None, before: None, limit: 1 }).await, std::slice::from_ref(&other));
    let paused = Endpoint {
        url: "https://example.com/other".to_owned(),
        state: EndpointState::Paused,
        reason: Some("their holiday".to_owned()),
        changed_at: at(2),
        ..second
    };
    changed(&db, &paused).await.expect("changes");
    assert_eq!(found(&db, Which::Active).await, [other, first.clone()]);
    assert_eq!(found(&db, Which::Id(paused.id.as_str())).await, [paused]);
    let removed = Endpoint { state: EndpointState::Removed, reason: Some("not wanted".to_owned()), ..first };
    changed(&db, &removed).await.expect("removes");
    assert_eq!(found(&db, Which::Id(removed.id.as_str())).await, []);
    assert!(matches!(changed(&db, &removed).await, Err(Error::Missing)), "it does not come back");
    let unfounded = Endpoint { id: endpoint(9, "UA").id, reason: Some("of what?".to_owned()), ..endpoint(1, "UA") };
    let mut tx = db.write().await.expect("writes");
    assert!(matches!(tx.add_endpoint(&unfounded).await, Err(Error::Refused(_))), "an active one has no reason");
}

async fn an_endpoint_only_gets_further(db: Db) {
    let [first, ..] = three(&db).await;
    for (through, failing_since, expected) in [(9, Some(4), 9), (8, None, 9)] {
        let mut tx = db.write().await.expect("writes");
        tx.advance_endpoint(&first.id, through, failing_since.map(at)).await.expect("advances");
        tx.commit().await.expect("commits");
        let found = found(&db, Which::Id(first.id.as_str())).await;
        assert_eq!((found[0].through, found[0].failing_since), (expected, failing_since.map(at)));
    }
}

async fn secrets_are_those_of_active_endpoints_and_end(db: Db) {
    let [first, second, _] = three(&db).await;
    let secret = |of: &Endpoint, seq: i64| SealedSecret {
        endpoint: of.id.clone(),
        seq,
        key_id: "k1".to_owned(),
        sealed: vec![7; 3],
        made_at: at(1),
        until: None,
    };
    let mut tx = db.write().await.expect("writes");
    tx.add_endpoint_secret(&secret(&first, 1)).await.expect("adds");
    tx.add_endpoint_secret(&secret(&second, 1)).await.expect("adds");
    tx.end_endpoint_secrets(&first.id, at(50)).await.expect("ends");
    tx.end_endpoint_secrets(&first.id, at(90)).await.expect("ends");
    tx.add_endpoint_secret(&secret(&first, 2)).await.expect("adds");
    tx.commit().await.expect("commits");
    let ended = SealedSecret { until: Some(at(50)), ..secret(&first, 1) };
    changed(&db, &Endpoint { state: EndpointState::Paused, reason: Some("rest".to_owned()), ..second.clone() })
        .await
        .expect("pauses");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(tx.endpoint_secrets(None).await.expect("reads"), [secret(&first, 2), ended]);
    assert_eq!(tx.endpoint_secrets(Some(&second.id)).await.expect("reads"), [secret(&second, 1)]);
}

async fn a_delivery_is_tried_again_when_it_is_due_and_forgotten_when_it_arrived(db: Db) {
    let [first, ..] = three(&db).await;
    let (waits, given_up) = (delivery(&first, 0, Some(100)), delivery(&first, 1, None));
    let mut tx = db.write().await.expect("writes");
    tx.put_delivery(&waits).await.expect("keeps");
    tx.put_delivery(&given_up).await.expect("keeps");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(tx.due_deliveries(at(99), 5).await.expect("reads"), []);
    assert_eq!(tx.due_deliveries(at(100), 5).await.expect("reads"), std::slice::from_ref(&waits));
    assert_eq!(tx.deliveries(&first.id, (0, 0), 5).await.expect("reads"), [waits.clone(), given_up.clone()]);
    assert_eq!(tx.deliveries(&first.id, (9, 0), 5).await.expect("reads"), std::slice::from_ref(&given_up));
    drop(tx);
    let again = Delivery { attempts: 2, next_at: Some(at(300)), last_at: at(101), status: None, ..waits };
    let mut tx = db.write().await.expect("writes");
    tx.put_delivery(&again).await.expect("keeps");
    tx.remove_delivery(&first.id, 9, 1).await.expect("forgets");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(tx.deliveries(&first.id, (0, 0), 5).await.expect("reads"), [again]);
}

async fn deliveries_of_each_endpoint_get_their_turn(db: Db) {
    let [first, second, other] = three(&db).await;
    let mut tx = db.write().await.expect("writes");
    for place in 0..5 {
        tx.put_delivery(&delivery(&first, place, Some(10 + place))).await.expect("keeps");
        tx.put_delivery(&delivery(&second, place, Some(20))).await.expect("keeps");
    }
    tx.put_delivery(&delivery(&other, 0, Some(90))).await.expect("keeps");
    tx.change_endpoint(&Endpoint { state: EndpointState::Paused, reason: Some("rest".to_owned()), ..second })
        .await
        .expect("pauses");
    tx.commit().await.expect("commits");
    let due = db.read().await.expect("reads").due_deliveries(at(100), 2).await.expect("reads");
    let due: Vec<_> = due.into_iter().map(|delivery| (delivery.endpoint, delivery.place)).collect();
    assert_eq!(due, [(first.id.clone(), 0), (first.id, 1), (other.id, 0)]);
}
