//! What settles invoices on both engines: what is kept of it, and what the database refuses.

use jiff::civil::date;
use rust_decimal::Decimal;

use super::closings::prepare;
use super::recording::invoice_of;
use super::recording::record;
use super::recording::usd;
use super::subscriptions::hour;
use super::*;
use crate::domain::document::Number;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::credit_note::Credited;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Taxed;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Payment;
use crate::domain::document::settlement::Settlement;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::store::documents;
use crate::store::settlements::Wanted;

const ALL: Wanted<'static> = Wanted::Page { consumer: None, before: None, limit: 10 };

fn settlement(means: Means, minor: i64, source: Option<&str>) -> Settlement {
    Settlement {
        means,
        amount: usd(minor),
        source: source.map(str::to_owned),
        reason: Some("because".to_owned()),
        effective_on: date(2013, 3, 1),
        recorded_at: hour(12),
        recorded_by: Some("key_1".to_owned()),
    }
}

fn payment(id: &str, consumer: &str, minor: i64) -> Payment {
    Payment {
        id: PaymentId::parse(id).expect("an id"),
        consumer: consumer.to_owned(),
        amount: usd(minor),
        method: "bank".to_owned(),
        reference: "INV 1, \"thanks\"".to_owned(),
        received_on: date(2013, 3, 1),
        recorded_at: hour(12),
        recorded_by: "key_1".to_owned(),
        stripe_fee: (id == "pmt_2").then(|| usd(3)),
    }
}

fn note(ordinal: i64, minor: i64) -> CreditNote {
    let rate = Decimal::new(8875, 3);
    let taxed = Taxed { tax: "ny".to_owned(), jurisdiction: "US-NY".to_owned(), rate, amount: usd(9) };
    CreditNote {
        id: CreditNoteId::parse(&format!("cn_{ordinal}")).expect("an id"),
        number: Number { prefix: "CN-".to_owned(), ordinal },
        invoice: InvoiceId::parse("inv_UA").expect("an id"),
        consumer: "UA".to_owned(),
        lines: vec![Credited { line: 1, amount: usd(minor) }],
        net: usd(minor),
        taxes: vec![taxed],
        tax: usd(9),
        total: usd(minor + 9),
        settled: usd(minor),
        credited: usd(4),
        refunded: usd(5),
        reason: "outage".to_owned(),
        effective_on: date(2013, 3, 1),
        recorded_at: hour(12),
        recorded_by: "key_1".to_owned(),
    }
}

/// Invoices of 16.33 each.
async fn invoiced(db: &Db) -> Invoice {
    prepare(db).await;
    let invoice = invoice_of("UA", 1);
    record(db, &[invoice.clone(), invoice_of("AA", 2)], &[]).await.expect("is recorded");
    invoice
}

async fn settled(db: &Db, seq: i64, settlement: &Settlement) -> Result<()> {
    let mut tx = db.write().await?;
    tx.hold_journal().await?;
    tx.record_settlements(&[(InvoiceId::parse("inv_UA").expect("an id"), seq, settlement.clone())]).await?;
    tx.commit().await
}

#[track_caller]
fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(reason)) => reason,
        other => panic!("should have been refused: {other:?}"),
    }
}

async fn what_is_settled_reads_back_with_the_invoice(db: Db) {
    let invoice = invoiced(&db).await;
    let total = invoice.totals.total.minor();
    let (first, rest) =
        (settlement(Means::Payment, 600, Some("pmt_1")), settlement(Means::Uncollectible, total - 600, None));
    settled(&db, 1, &first).await.expect("is settled");
    let read = async || {
        let mut tx = db.read().await.expect("begins");
        let found = tx.invoices(documents::Wanted::Id("inv_UA")).await.expect("reads").pop().expect("is there");
        (found.outstanding.minor(), found.state, tx.owed("UA").await.expect("reads"))
    };
    let overdue = async |on, consumer| {
        let mut tx = db.read().await.expect("begins");
        let first = tx.overdue(on, consumer, None, 9).await.expect("reads");
        let after = first.first().map(|first| (first.due_on, first.invoice.clone()));
        let rest = tx.overdue(on, consumer, after.as_ref(), 9).await.expect("reads");
        (first.iter().map(|overdue| overdue.outstanding.minor()).collect::<Vec<_>>(), rest.len())
    };
    assert_eq!(overdue(date(2013, 3, 2), None).await, (vec![total, total - 600], 1));
    assert_eq!(overdue(date(2013, 3, 2), Some("UA")).await, (vec![total - 600], 0));
    assert_eq!(overdue(date(2013, 3, 1), None).await, (vec![], 0), "on the day itself it is in time");
    assert_eq!(read().await, (total - 600, InvoiceState::Open, vec![(invoice.id.clone(), usd(total - 600))]));
    settled(&db, 2, &rest).await.expect("is settled");
    assert_eq!(read().await, (0, InvoiceState::Uncollectible, vec![]));
    assert_eq!(db.read().await.expect("begins").wrong_outstanding().await.expect("reads"), []);
    let mut tx = db.read().await.expect("begins");
    let usd = usd(0).currency();
    let found = tx.settlements(&[("inv_UA", usd), ("inv_AA", usd)]).await.expect("reads");
    assert_eq!((found.len(), found.get("inv_UA")), (1, Some(&vec![first, rest])));
    assert_eq!(tx.customer_credit(None).await.expect("reads"), []);
}

async fn no_more_is_settled_than_an_invoice_comes_to(db: Db) {
    let total = invoiced(&db).await.totals.total.minor();
    let pays = |minor| settlement(Means::Payment, minor, Some("pmt_1"));
    assert!(reason(settled(&db, 1, &pays(total + 1)).await).contains("more would be settled"));
    assert!(reason(settled(&db, 1, &pays(-1)).await).contains("more would be settled"));
    assert!(reason(settled(&db, 2, &pays(1)).await).contains("not the next settlement"));
    assert!(reason(settled(&db, 1, &settlement(Means::Void, total - 1, None)).await).contains("as a whole"));
    settled(&db, 1, &pays(1)).await.expect("is settled");
    assert!(reason(settled(&db, 2, &settlement(Means::Void, total - 1, None)).await).contains("voided before"));
    assert!(reason(settled(&db, 2, &settlement(Means::Uncollectible, 1, None)).await).contains("all that is owed"));
    assert!(reason(settled(&db, 2, &settlement(Means::Uncollectible, -1, None)).await).contains("of the sign"));
    assert!(reason(settled(&db, 2, &settlement(Means::Rewards, 1, None)).await).contains("do not add up"));
    let rest = total - 1;
    settled(&db, 2, &settlement(Means::Uncollectible, rest, None)).await.expect("is given up");
    assert!(reason(settled(&db, 3, &pays(1)).await).contains("more would be settled"));
    // Some of it is paid after all.
    let back = |minor: i64| settlement(Means::Uncollectible, -minor, None);
    assert!(reason(settled(&db, 3, &back(total)).await).contains("given up once"));
    settled(&db, 3, &back(rest)).await.expect("is owed again");
    assert!(reason(settled(&db, 4, &settlement(Means::Uncollectible, rest, None)).await).contains("given up once"));
    assert!(reason(settled(&db, 4, &back(1)).await).contains("given up once"));
    settled(&db, 4, &pays(rest)).await.expect("is paid");
    for statement in [
        "update settlement set amount = 2",
        "delete from settlement",
        "insert into settlement (invoice, seq, means, amount, source, effective_on, recorded_at)
         values ('inv_AA', 1, 'credit', 1, 'pmt_1', '2013-03-01', 0)",
    ] {
        refused(&db, &[statement]).await;
    }
}

async fn payments_read_back_as_they_were_recorded(db: Db) {
    invoiced(&db).await;
    let (first, second) = (payment("pmt_1", "UA", 700), payment("pmt_2", "AA", 5));
    let mut tx = db.write().await.expect("begins");
    tx.record_payment(&first).await.expect("is recorded");
    tx.record_payment(&second).await.expect("is recorded");
    let ids = ["inv_UA", "inv_AA"].map(|id| InvoiceId::parse(id).expect("an id"));
    let of_first = settlement(Means::Payment, 500, Some("pmt_1"));
    tx.record_settlements(&ids.clone().map(|id| (id, 1, of_first.clone()))).await.expect("is settled");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.payments(ALL).await.expect("reads"), [second.clone(), first.clone()]);
    assert_eq!(tx.payments(Wanted::Id("pmt_1")).await.expect("reads"), std::slice::from_ref(&first));
    let page = Wanted::Page { consumer: Some("AA"), before: Some("pmt_3"), limit: 1 };
    assert_eq!(tx.payments(page).await.expect("reads"), std::slice::from_ref(&second));
    let [ua, aa] = ids;
    let settled = tx.settled_by(&[first.clone(), second]).await.expect("reads");
    assert_eq!(settled.get("pmt_1"), Some(&vec![(aa, usd(500)), (ua, usd(500))]));
    assert_eq!(settled.len(), 1, "the other settles nothing");
    drop(tx);
    let mut tx = db.write().await.expect("begins");
    assert!(matches!(tx.record_payment(&first).await, Err(Error::Taken)));
    drop(tx);
    for statement in ["update payment set amount = 2", "delete from payment"] {
        refused(&db, &[statement]).await;
    }
}

async fn credit_notes_read_back_and_credit_no_more_than_there_was(db: Db) {
    invoiced(&db).await;
    let recorded = async |note: &CreditNote| {
        let mut tx = db.write().await?;
        assert_eq!(tx.next_credit_note_number().await?.ordinal, if note.net == usd(600) { 1 } else { 2 });
        tx.record_credit_note(note).await?;
        tx.commit().await
    };
    let first = note(1, 600);
    recorded(&first).await.expect("is recorded");
    // Of the line of 10.00 4.00 are left.
    assert!(reason(recorded(&note(2, 401)).await).contains("more would be credited"));
    assert!(reason(recorded(&note(3, 400)).await).contains("not the next one"));
    let wrong = CreditNote { lines: vec![Credited { line: 1, amount: usd(399) }], ..note(2, 400) };
    assert!(reason(recorded(&wrong).await).contains("do not add up to its net"));
    let wrong = CreditNote { taxes: vec![], ..note(2, 400) };
    assert!(reason(recorded(&wrong).await).contains("do not add up to its tax"));
    let wrong = CreditNote { lines: vec![Credited { line: 7, amount: usd(400) }], ..note(2, 400) };
    assert!(reason(recorded(&wrong).await).contains("more would be credited"));
    let second = note(2, 400);
    recorded(&second).await.expect("is recorded");
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.credit_notes(ALL).await.expect("reads"), [second.clone(), first.clone()]);
    assert_eq!(tx.credit_notes(Wanted::Id("cn_1")).await.expect("reads"), std::slice::from_ref(&first));
    assert_eq!(tx.credit_notes(Wanted::Invoice("inv_UA")).await.expect("reads"), [first, second]);
    assert_eq!(tx.credit_notes(Wanted::Invoice("inv_AA")).await.expect("reads"), []);
    drop(tx);
    for statement in [
        "update credit_note set reason = 'none'",
        "delete from credit_note",
        "update credit_note_line set amount = 1",
        "delete from credit_note_tax",
        "insert into credit_note_line (note, line, amount) values ('cn_1', 2, 1)",
        "insert into credit_note_tax (note, tax, jurisdiction, rate, amount) values ('cn_1', 'x', 'X', 1, 1)",
    ] {
        refused(&db, &[statement]).await;
    }
}

both_engines!(
    what_is_settled_reads_back_with_the_invoice,
    no_more_is_settled_than_an_invoice_comes_to,
    payments_read_back_as_they_were_recorded,
    credit_notes_read_back_and_credit_no_more_than_there_was,
);
