//! Rewards that paid for invoices, on both engines: what is kept of them, and what the database refuses.

use std::collections::HashMap;

use jiff::civil::date;

use super::payouts::granted;
use super::recording::usd;
use super::subscriptions::hour;
use super::*;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Settlement;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::payout::Part;

fn part(of: &str, program: &str, minor: i64) -> Part {
    let statement = PayoutId::parse(&format!("po_{of}")).expect("an id");
    Part { statement, program: program.to_owned(), amount: usd(minor) }
}

/// Pays for the invoice of UA with parts, which come to an amount.
async fn net(db: &Db, seq: i64, parts: &[Part], minor: i64) -> Result<()> {
    let invoice = InvoiceId::parse("inv_UA").expect("an id");
    let settlement = Settlement {
        means: Means::Rewards,
        amount: usd(minor),
        source: None,
        reason: None,
        effective_on: date(2013, 3, 1),
        recorded_at: hour(50),
        recorded_by: None,
    };
    let mut tx = db.write().await?;
    tx.record_netting(&[(invoice.clone(), seq, parts.to_vec())]).await?;
    tx.record_settlements(&[(invoice, seq, settlement)]).await?;
    tx.commit().await
}

fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(reason)) => reason,
        other => panic!("should have been refused: {other:?}"),
    }
}

async fn rewards_pay_for_invoices_of_their_consumer_with_what_is_available(db: Db) {
    granted(&db).await;
    let free = async || db.read().await.expect("begins").available(Some("UA")).await.expect("reads").pop();
    let before = free().await.expect("has some");
    let first = before.parts.iter().find(|part| part.amount.minor() > 1).expect("above zero").clone();
    let of_first = |minor| vec![Part { amount: usd(minor), ..first.clone() }];
    let all = first.amount.minor();

    assert!(reason(net(&db, 1, &of_first(all + 1), all + 1).await).contains("what is available"));
    assert!(reason(net(&db, 1, &of_first(1), 2).await).contains("do not add up"));
    assert!(reason(net(&db, 1, &[part("AA", "bounty", 1)], 1).await).contains("of their consumer"));
    net(&db, 1, &of_first(1), 1).await.expect("pays");
    assert!(net(&db, 1, &of_first(1), 1).await.is_err(), "it is final");
    let after = free().await.expect("has some");
    assert_eq!(after.total, usd(before.total.minor() - 1));
    let mut tx = db.read().await.expect("begins");
    let netted = tx.netted_of(&first.statement).await.expect("reads");
    let said = netted.iter().map(|of| (of.program.as_str(), of.amount, of.invoice.ordinal, of.on)).collect::<Vec<_>>();
    assert_eq!(said, [(first.program.as_str(), usd(1), 1, date(2013, 3, 1))]);
    let sums = HashMap::from([(("inv_UA".to_owned(), 1), 1)]);
    assert_eq!(tx.netted().await.expect("reads"), sums);
    drop(tx);

    // A payout takes what is left, and while it has it, nothing of it pays for an invoice.
    let whole = super::payouts::pay("1", &before);
    assert!(reason(super::payouts::propose(&db, &whole).await).contains("available to its consumer"));
    super::payouts::propose(&db, &super::payouts::pay("2", &after)).await.expect("is proposed");
    assert!(reason(net(&db, 2, &of_first(1), 1).await).contains("in a payout"));
    for statement in ["update netting set amount = 2", "delete from netting"] {
        refused(&db, &[statement]).await;
    }
}

both_engines!(rewards_pay_for_invoices_of_their_consumer_with_what_is_available);
