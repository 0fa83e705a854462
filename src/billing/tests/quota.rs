//! Quotas: current without a flush, of the periods that run, and with the fees that these have.

use rust_decimal::Decimal;

use super::*;
use crate::billing::quota::QuotaError;
use crate::billing::quota::Standing;
use crate::billing::quota::quota;
use crate::billing::statement::StatementError;
use crate::domain::money::Money;
use crate::domain::spend::SpendState;
use crate::store::tests::both_engines;

async fn standing(db: &Db, metering: &Metering, consumer: &str, now: &str) -> Standing {
    quota(db, metering, consumer, at(now)).await.expect("is rated")
}

async fn what_is_spent_is_current_and_of_the_periods_that_run(db: Db) {
    let metering = january(&db).await;
    // Not flushed: known to memory alone.
    let event = r#"{"specversion":"1.0","id":"last","source":"/t","type":"flight.completed","subject":"UA","time":"2013-01-09T10:00:00Z","data":{"distance":500,"delay":0}}"#;
    metering.ingest(Format::Ndjson, event.into(), Invalid::Reject, NOW).await.expect("is taken");
    let running = standing(&db, &metering, "UA", "2013-01-10T00:00:00Z").await;
    // Two fees, and 4,500 miles at 1.01 cents.
    assert_eq!((running.spend.so_far.minor(), running.spend.state), (10_000 + 1_000 + 4_545, SpendState::Ok));
    let components: Vec<_> = running.subscriptions[0].components.iter().collect();
    let used: Vec<_> = components.iter().map(|quota| (quota.component.as_str(), quota.used.to_string())).collect();
    assert_eq!(used, [("miles", "4500".to_owned()), ("punctuality", "5".to_owned())]);

    let mut tx = db.write().await.expect("begins");
    let consumer = tx.consumer("UA").await.expect("reads").expect("is known");
    let alerts = vec![Decimal::from(50), Decimal::from(90)];
    let spend_cap = Some(Money::from_minor(20_000, consumer.currency));
    tx.put_consumer(&Consumer { spend_cap, alerts, ..consumer }).await.expect("is put");
    tx.commit().await.expect("commits");
    let running = standing(&db, &metering, "UA", "2013-01-10T00:00:00Z").await.spend;
    assert_eq!((running.state, running.left.map(Money::minor)), (SpendState::Alert, Some(4_455)));
    assert_eq!(running.alerts.iter().map(|alert| alert.reached).collect::<Vec<_>>(), [true, false]);

    // Before January is closed and after, February is the same: its fees.
    let february = standing(&db, &metering, "UA", "2013-02-10T00:00:00Z").await;
    assert_eq!((february.spend.so_far.minor(), february.subscriptions.len()), (11_000, 1));
    metering.flush().await.expect("is flushed");
    closed(&db, &metering, "2013-02-01").await;
    let again = standing(&db, &metering, "UA", "2013-02-10T00:00:00Z").await;
    assert_eq!(again.spend, february.spend);

    // AA has left in the middle of February.
    let left = standing(&db, &metering, "AA", "2013-02-20T00:00:00Z").await;
    assert_eq!((left.spend.so_far.minor(), left.subscriptions.len()), (0, 0));
    let unknown = quota(&db, &metering, "XX", NOW).await;
    assert!(matches!(unknown, Err(QuotaError::Statement(StatementError::UnknownConsumer(_)))), "{unknown:?}");
}

both_engines!(what_is_spent_is_current_and_of_the_periods_that_run);
