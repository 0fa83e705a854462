//! Documents on both engines: what is kept of them, and what the database refuses.

use std::collections::BTreeMap;

use jiff::civil::date;
use rust_decimal::Decimal;

use super::closings::VERSION;
use super::closings::closed;
use super::closings::closing;
use super::closings::period;
use super::closings::prepare;
use super::subscriptions::hour;
use super::subscriptions::subscription;
use super::*;
use crate::domain::book::Tax;
use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::invoice;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Totals;
use crate::domain::document::payout;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::time::Instant;
use crate::store::documents::Wanted;

pub(super) fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
}

fn line(component: &str, minor: i64, program: Option<&str>) -> Line {
    let step = Step {
        step: StepKind::Price,
        text: "1.5 units".to_owned(),
        before: Decimal::new(15, 1),
        after: Decimal::new(1005, 3),
        tiers: Vec::new(),
    };
    Line {
        component: component.to_owned(),
        kind: if program.is_some() { LineKind::Reward } else { LineKind::Charge },
        description: "Miles, \"flown\"".to_owned(),
        dimensions: BTreeMap::from([("origin".to_owned(), "JFK".to_owned())]),
        from: hour(0),
        to: hour(10),
        quantity: Decimal::from_str_exact("12345678901234567.891").expect("a decimal"),
        amount: usd(minor),
        program: program.map(str::to_owned),
        explanation: Explanation { meter: Some("miles".to_owned()), buckets: 2, events: 3, steps: vec![step] },
    }
}

pub(super) fn invoice_of(consumer: &str, ordinal: i64) -> Invoice {
    let tax = Tax { id: "ny".to_owned(), jurisdiction: "US-NY".to_owned(), rate: Decimal::new(8875, 3) };
    let lines = vec![line("miles", 1000, None), line("gates", 500, None)];
    let draft = invoice::Draft {
        id: InvoiceId::parse(&format!("inv_{consumer}")).expect("an id"),
        consumer: consumer.to_owned(),
        subscription: subscription(consumer, consumer).id,
        occasion: Occasion::Closing,
        period: period(),
        book_version: VERSION.to_owned(),
        totals: Totals::of(usd(0).currency(), lines, Some(&tax)).expect("fits"),
    };
    draft.finalize(Number { prefix: "INV-".to_owned(), ordinal }, hour(11), date(2013, 3, 1))
}

pub fn payout_of(consumer: &str, ordinal: i64) -> Payout {
    let hold = |program: &str, minor, until| Hold {
        program: program.to_owned(),
        amount: usd(minor),
        held_until: hour(until),
        passed_at: None,
    };
    let draft = payout::Draft {
        id: PayoutId::parse(&format!("po_{consumer}")).expect("an id"),
        consumer: consumer.to_owned(),
        subscription: subscription(consumer, consumer).id,
        period: period(),
        book_version: VERSION.to_owned(),
        lines: vec![line("punctual", 70, Some("loyalty")), line("tidy", 30, Some("bounty"))],
        holds: vec![hold("bounty", 30, 20), hold("loyalty", 70, 30)],
        total: usd(100),
    };
    draft.finalize(Number { prefix: "PO-".to_owned(), ordinal }, hour(11))
}

/// Records a closing with these documents.
pub(super) async fn record(db: &Db, invoices: &[Invoice], payouts: &[Payout]) -> Result<()> {
    let mut tx = db.write().await?;
    let periods = [closed("AA", "AA", Occasion::Closing), closed("UA", "UA", Occasion::Closing)];
    tx.record_closing(&closing(1), &periods).await?;
    tx.next_invoice_number("INV-").await?;
    tx.next_payout_number("PO-").await?;
    tx.record_invoices(1, invoices).await?;
    tx.record_payouts(1, payouts).await?;
    tx.commit().await
}

async fn documents_read_back_as_they_were_recorded(db: Db) {
    prepare(&db).await;
    let invoices = [invoice_of("AA", 1), invoice_of("UA", 2)];
    let payouts = [payout_of("AA", 1)];
    record(&db, &invoices, &payouts).await.expect("are recorded");

    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.invoices(Wanted::Id("inv_UA")).await.expect("reads"), [invoices[1].clone()]);
    assert_eq!(tx.invoices(Wanted::Closing(1)).await.expect("reads"), invoices);
    assert_eq!(tx.payouts(Wanted::Closing(1)).await.expect("reads"), payouts);
    assert!(tx.payouts(Wanted::Id("inv_UA")).await.expect("reads").is_empty());
    let lines = invoices.iter().map(|invoice| invoice.totals.lines.len());
    let lines = lines.chain(payouts.iter().map(|payout| payout.lines.len())).sum::<usize>();
    assert_eq!(tx.count_lines().await.expect("reads"), i64::try_from(lines).expect("few"));
    let granted = tx.granted_by_program().await.expect("reads");
    assert_eq!(granted, BTreeMap::from([("bounty".to_owned(), 30), ("loyalty".to_owned(), 70)]));
    let due_at = closing(1).due_at;
    let just_before = Instant::from_micros(due_at.micros() - 1);
    let until = tx.granted_until(due_at).await.expect("reads");
    assert_eq!(until.iter().map(|of| (of.program.clone(), of.amount)).collect::<BTreeMap<_, _>>(), granted);
    assert!(until.iter().all(|of| of.plan == "airline" && of.due_at == due_at), "{until:?}");
    assert!(tx.granted_until(just_before).await.expect("reads").is_empty());
}

async fn pages_go_from_the_newest_to_the_oldest(db: Db) {
    prepare(&db).await;
    let invoices = [invoice_of("AA", 1), invoice_of("UA", 2)];
    record(&db, &invoices, &[]).await.expect("are recorded");
    let mut tx = db.read().await.expect("begins");
    let mut page = async |consumer, before, limit| {
        let found = tx.invoices(Wanted::Page { consumer, before, limit }).await.expect("reads");
        found.into_iter().map(|invoice| invoice.consumer).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None, 9).await, ["UA", "AA"]);
    assert_eq!(page(None, None, 1).await, ["UA"]);
    assert_eq!(page(None, Some("inv_UA"), 9).await, ["AA"]);
    assert_eq!(page(Some("UA"), None, 9).await, ["UA"]);
    assert!(page(Some("AA"), Some("inv_AA"), 9).await.is_empty());
}

async fn a_closing_document_is_dated_by_the_end_of_its_period(db: Db) {
    prepare(&db).await;
    record(&db, &[invoice_of("UA", 1)], &[]).await.expect("is recorded");
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.closing_of("inv_UA").await.expect("reads"), Some(closing(1)));
    assert_eq!(tx.closing_of("inv_nobody").await.expect("reads"), None);
    for (from, to, found) in [(0, 10, 1), (9, 10, 1), (0, 9, 0), (10, 20, 0)] {
        let period = Period::new(hour(from), hour(to)).expect("a period");
        let dated = tx.invoices(Wanted::Dated { consumer: "UA", period }).await.expect("reads");
        assert_eq!(dated.len(), found, "{from} to {to}");
    }
}

async fn numbers_have_no_gaps_and_are_used_once(db: Db) {
    prepare(&db).await;
    for ordinals in [[2, 3], [1, 3], [1, 1], [0, 1]] {
        let invoices = [invoice_of("AA", ordinals[0]), invoice_of("UA", ordinals[1])];
        let recorded = record(&db, &invoices, &[]).await;
        assert!(matches!(recorded, Err(Error::Refused(_) | Error::Taken)), "{ordinals:?}: {recorded:?}");
    }
    record(&db, &[invoice_of("AA", 1), invoice_of("UA", 2)], &[]).await.expect("are recorded");
    let mut tx = db.write().await.expect("begins");
    let next = tx.next_invoice_number("INV-").await.expect("reads");
    assert_eq!(
        (next.to_string(), tx.next_payout_number("PO-").await.expect("reads").ordinal),
        ("INV-000003".to_owned(), 1)
    );
    tx.commit().await.expect("commits");

    let skip = "update number_series set last = last + 1 where kind = 'invoice'";
    assert!(refused(&db, &[skip]).await.contains("no gaps"));
    assert!(refused(&db, &["delete from number_series"]).await.len() > 3);
    let ahead = "insert into number_series (kind, prefix, last) values ('invoice', 'X', 5)";
    assert!(refused(&db, &[ahead]).await.contains("begin at one"));
}

async fn a_document_that_does_not_add_up_is_refused(db: Db) {
    prepare(&db).await;
    let mut wrong_net = invoice_of("UA", 1);
    wrong_net.totals.lines.pop();
    let mut wrong_tax = invoice_of("UA", 1);
    wrong_tax.totals.taxes.clear();
    let mut reward = invoice_of("UA", 1);
    reward.totals.lines = vec![line("punctual", 1500, Some("loyalty"))];
    for (invoice, reason) in [(wrong_net, "its net"), (wrong_tax, "its tax"), (reward, "rewards on a payout")] {
        let refused = record(&db, &[invoice], &[]).await;
        assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains(reason)), "{reason}: {refused:?}");
    }
    let mut payout = payout_of("UA", 1);
    payout.holds.pop();
    let refused = record(&db, &[], &[payout]).await;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("holds")), "{refused:?}");
}

async fn a_recorded_document_is_final(db: Db) {
    prepare(&db).await;
    record(&db, &[invoice_of("UA", 1)], &[payout_of("UA", 1)]).await.expect("are recorded");
    let forbidden = [
        "update document set total = total + 1, net = net + 1",
        "update document_line set amount = 1",
        "update document_tax set amount = 1",
        "update closing set usage_seq = 9",
        "update closed_period set consumer_as_of = '{}'",
        "delete from document_line",
        "delete from document_tax",
        "delete from payout_hold",
        "delete from document",
        "delete from closed_period",
        "delete from closing",
        "update payout_hold set amount = 1",
        "update payout_hold set passed_at = 1",
        "insert into document_line select document, line + 9, component, kind, description, dimensions, period_from,
            period_to, quantity, 0, program, explanation from document_line",
        "insert into document_tax select document, 'x', jurisdiction, rate, 0 from document_tax",
        "insert into payout_hold select document, 'x', 0, held_until, passed_at from payout_hold where program = 'bounty'",
        "insert into document_line (document, line, component, kind, description, dimensions, period_from, period_to,
            quantity, amount, program, explanation) select 'inv_stray', 1, component, kind, description, dimensions,
            period_from, period_to, quantity, amount, program, explanation from document_line where line = 1
            and kind = 'charge'",
    ];
    for statement in forbidden {
        refused(&db, &[statement]).await;
    }
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.invoices(Wanted::Closing(1)).await.expect("reads"), [invoice_of("UA", 1)]);
}

async fn holds_pass_once_each_and_then_all_is_available(db: Db) {
    prepare(&db).await;
    record(&db, &[], &[payout_of("UA", 1)]).await.expect("is recorded");
    let id = PayoutId::parse("po_UA").expect("an id");
    let waiting = async |by| db.read().await.expect("begins").holds_ending_by(hour(by)).await.expect("reads");
    assert!(waiting(19).await.is_empty());
    let held = waiting(30).await;
    let programs: Vec<_> = held.iter().map(|held| (held.hold.program.as_str(), held.hold.amount)).collect();
    assert_eq!(programs, [("bounty", usd(30)), ("loyalty", usd(70))]);
    assert_eq!(
        (&held[0].payout, &*held[0].consumer, &*held[0].plan, &*held[0].book_version),
        (&id, "UA", "airline", VERSION)
    );

    for (program, at, left) in
        [("bounty", 21, PayoutState::Held { held_until: hour(30) }), ("loyalty", 30, PayoutState::Available)]
    {
        let mut tx = db.write().await.expect("begins");
        assert!(tx.pass_hold(&id, program, hour(at)).await.expect("writes"));
        assert!(!tx.pass_hold(&id, program, hour(at)).await.expect("writes"));
        tx.commit().await.expect("commits");
        let found = db.read().await.expect("begins").payouts(Wanted::Id("po_UA")).await.expect("reads");
        assert_eq!(found[0].state, left);
    }
    assert!(waiting(99).await.is_empty());
}

async fn what_documents_say_of_the_usage_of_a_period_is_read_together(db: Db) {
    prepare(&db).await;
    let mut invoice = invoice_of("UA", 1);
    let of_later = Line { from: hour(10), to: hour(20), ..line("late", 0, None) };
    let fee = Line { kind: LineKind::Fee, ..line("gate", 0, None) };
    invoice.totals.lines.extend([of_later.clone(), fee]);
    let payout = payout_of("UA", 1);
    record(&db, std::slice::from_ref(&invoice), std::slice::from_ref(&payout)).await.expect("is recorded");
    let mut tx = db.read().await.expect("begins");
    let said = tx.said_of(&invoice.subscription, period()).await.expect("reads");
    let lines = invoice.totals.lines[..2].iter().chain(&payout.lines);
    assert_eq!(said, lines.cloned().collect::<Vec<_>>());
    let later = Period::new(hour(10), hour(20)).expect("a period");
    assert_eq!(tx.said_of(&invoice.subscription, later).await.expect("reads"), [of_later]);
    assert_eq!(tx.said_of(&subscription("AA", "AA").id, period()).await.expect("reads"), []);
}

both_engines!(
    what_documents_say_of_the_usage_of_a_period_is_read_together,
    documents_read_back_as_they_were_recorded,
    pages_go_from_the_newest_to_the_oldest,
    a_closing_document_is_dated_by_the_end_of_its_period,
    numbers_have_no_gaps_and_are_used_once,
    a_document_that_does_not_add_up_is_refused,
    a_recorded_document_is_final,
    holds_pass_once_each_and_then_all_is_available,
);
