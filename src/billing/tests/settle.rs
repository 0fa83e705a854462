//! What settles invoices, with numbers worked out by hand, on both engines.

mod model;

use jiff::civil::Date;
use jiff::civil::date;

use super::*;
use crate::billing::prepaid;
use crate::billing::prepaid::GrantRequest;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::CreditNoteRequest;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::domain::credit::Source;
use crate::domain::document::credit_note;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::GrantId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
}

fn act(on: Date) -> Act {
    Act { by: "key_1".to_owned(), on: Some(on), now: NOW }
}

fn today() -> Act {
    act(date(2014, 5, 13))
}

fn payment(id: &str, pays: Pays) -> PaymentRequest {
    let id = PaymentId::parse(&format!("pmt_{id}")).expect("an id");
    PaymentRequest { id, pays, method: "bank".to_owned(), reference: "thanks".to_owned(), stripe_fee: None }
}

fn note(id: &str, invoice: &InvoiceId, wanted: credit_note::Wanted, refund: bool) -> CreditNoteRequest {
    let id = CreditNoteId::parse(&format!("cn_{id}")).expect("an id");
    CreditNoteRequest { id, invoice: invoice.clone(), wanted, refund, reason: "outage".to_owned() }
}

fn credit(id: &str, carrier: &str, minor: i64, source: Source, expires_at: Option<Instant>) -> GrantRequest {
    GrantRequest {
        id: GrantId::parse(&format!("cg_{id}")).expect("an id"),
        consumer: carrier.to_owned(),
        amount: usd(minor),
        source,
        priority: 0,
        effective_at: Some(at("2013-01-01T00:00:00Z")),
        expires_at,
        reference: "wire".to_owned(),
        reason: "a package".to_owned(),
    }
}

async fn balances(db: &Db) -> BTreeMap<String, i64> {
    let totals = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let balance = |total: AccountTotal| (total.account.to_string(), total.debit.minor() - total.credit.minor());
    totals.into_iter().map(balance).filter(|(_, minor)| *minor != 0).collect()
}

fn balance(balances: &BTreeMap<String, i64>, account: &str) -> i64 {
    balances.get(account).copied().unwrap_or(0)
}

/// INV-000002 of UA is 108.88 with 8.88 of tax; INV-000004 is 163.76.
async fn what_is_paid_too_much_pays_for_the_next_invoice(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-01-31").await;
    let (invoices, _) = documents(&db).await;
    let ua = invoices[1].id.clone();
    assert_eq!((invoices[1].state, invoices[1].due_on), (InvoiceState::Open, Some(date(2014, 6, 12))));

    let too_much = payment("1", Pays::Invoice(ua.clone(), Some(usd(15_000))));
    let paid = settle::pay(&db, too_much.clone(), &today()).await.expect("is paid");
    assert_eq!((paid.settled[0].amount, paid.credited), (usd(10_888), usd(4_112)));
    let again = settle::pay(&db, too_much, &today()).await.expect("is the same");
    assert_eq!(again, paid, "the same request makes nothing new");
    let other = payment("1", Pays::Invoice(ua.clone(), Some(usd(14_999))));
    assert!(matches!(settle::pay(&db, other, &today()).await, Err(settle::Error::OtherRequest(_))));
    let more = payment("2", Pays::Invoice(ua, None));
    assert!(matches!(settle::pay(&db, more, &today()).await, Err(settle::Error::Settlement { .. })));

    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let next = &invoices[3];
    assert_eq!((next.totals.total, next.outstanding, next.state), (usd(16_376), usd(12_264), InvoiceState::Open));
    assert_eq!((next.settlements[0].means, next.settlements[0].amount), (Means::Credit, usd(4_112)));
    let balances = balances(&db).await;
    assert_eq!((balance(&balances, "2110:UA:USD"), balance(&balances, "1100:UA:USD")), (0, 12_264));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    // By consumer: what was due first is paid first.
    let rest = payment("3", Pays::Consumer("UA".to_owned(), usd(12_264)));
    let rest = settle::pay(&db, rest, &today()).await.expect("is paid");
    assert_eq!((rest.settled.len(), rest.credited), (1, usd(0)));
    assert_eq!(documents(&db).await.0[3].state, InvoiceState::Paid);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn credit_notes_take_back_lines_with_their_tax(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let ua = &invoices[3];
    // 10.00, 40.40 and 100.00, with 0.89, 3.59 and 8.88 of tax.
    let some = credit_note::Wanted::Lines(vec![(2, None), (3, Some(usd(5_000)))]);
    let first = settle::credit(&db, note("1", &ua.id, some, false), &today()).await.expect("is credited");
    assert_eq!((first.net, first.tax, first.total), (usd(9_040), usd(803), usd(9_843)));
    assert_eq!((first.number.to_string(), first.settled, first.credited), ("CN-000001".to_owned(), usd(9_843), usd(0)));
    let tomorrow = Act { on: None, now: at("2014-05-14T00:00:00Z"), ..today() };
    let same = || credit_note::Wanted::Lines(vec![(2, None), (3, Some(usd(5_000)))]);
    let again = settle::credit(&db, note("1", &ua.id, same(), false), &tomorrow).await.expect("is the same");
    assert_eq!(again, first, "a day later, too");
    let other =
        settle::credit(&db, note("1", &ua.id, credit_note::Wanted::Lines(vec![(2, None)]), false), &tomorrow).await;
    assert!(matches!(other, Err(settle::Error::OtherRequest(_))), "{other:?}");
    settle::pay(&db, payment("1", Pays::Invoice(ua.id.clone(), None)), &today()).await.expect("is paid");
    let rest = settle::credit(&db, note("2", &ua.id, credit_note::Wanted::Whole, true), &today()).await;
    let rest = rest.expect("is credited");
    assert_eq!((rest.total, rest.settled, rest.refunded), (usd(16_376 - 9_843), usd(0), usd(16_376 - 9_843)));
    assert_eq!(rest.tax, usd(1_336 - 803));
    let more = settle::credit(&db, note("3", &ua.id, credit_note::Wanted::Whole, true), &today()).await;
    assert!(matches!(more, Err(settle::Error::CreditNote { .. })), "{more:?}");
    let balances = balances(&db).await;
    assert_eq!(balance(&balances, "1000:USD"), 0, "what came in went back");
    assert_eq!(balance(&balances, "1100:UA:USD"), 10_888, "the other invoice");
    assert_eq!(balance(&balances, "4095:USD"), 15_040);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn an_invoice_is_voided_whole_or_given_up(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let [first, second, third, ..] = invoices.as_slice() else { panic!("{invoices:?}") };
    let void = settle::void(&db, &first.id, "twice", &today()).await.expect("is voided");
    assert_eq!((void.state, void.outstanding), (InvoiceState::Void, usd(0)));
    let again = settle::void(&db, &first.id, "twice", &today()).await.expect("is void");
    assert_eq!(again, void);
    settle::pay(&db, payment("1", Pays::Invoice(second.id.clone(), Some(usd(1)))), &today()).await.expect("is paid");
    let partly = settle::void(&db, &second.id, "twice", &today()).await;
    assert!(matches!(partly, Err(settle::Error::Settlement { .. })), "{partly:?}");
    let given_up = settle::give_up(&db, &second.id, "bankrupt", &today()).await.expect("is given up");
    assert_eq!((given_up.state, given_up.settlements[1].amount), (InvoiceState::Uncollectible, usd(10_887)));
    let future = settle::give_up(&db, &third.id, "bankrupt", &act(date(2014, 5, 15))).await;
    assert!(matches!(future, Err(settle::Error::Future(_))), "{future:?}");
    let balances = balances(&db).await;
    assert_eq!(balance(&balances, "5200:USD"), 10_887);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let void = payment("2", Pays::Invoice(first.id.clone(), Some(usd(1))));
    assert!(matches!(settle::pay(&db, void, &today()).await, Err(settle::Error::Settlement { .. })));
}

async fn what_is_paid_after_it_was_given_up_takes_the_bad_debt_back(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    let id = documents(&db).await.0[1].id.clone();
    settle::give_up(&db, &id, "bankrupt", &today()).await.expect("is given up");
    let some = payment("1", Pays::Invoice(id.clone(), Some(usd(5_000))));
    let paid = settle::pay(&db, some.clone(), &today()).await.expect("is paid");
    assert_eq!((paid.settled[0].amount, paid.credited), (usd(5_000), usd(0)));
    assert_eq!(settle::pay(&db, some, &today()).await.expect("is the same"), paid);
    let invoice = async || documents(&db).await.0[1].clone();
    assert_eq!((invoice().await.state, invoice().await.outstanding), (InvoiceState::Uncollectible, usd(0)));
    let bad_debt = async || balance(&balances(&db).await, "5200:USD");
    assert_eq!(bad_debt().await, 5_888);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    // A payment for the consumer pays what is open; only one for the invoice is for what was given up.
    let rest = payment("2", Pays::Invoice(id.clone(), Some(usd(6_000))));
    let rest = settle::pay(&db, rest, &today()).await.expect("is paid");
    assert_eq!((rest.settled[0].amount, rest.credited), (usd(5_888), usd(112)));
    assert_eq!((invoice().await.state, bad_debt().await), (InvoiceState::Paid, 0));
    let more = settle::pay(&db, payment("3", Pays::Invoice(id.clone(), None)), &today()).await;
    assert!(matches!(more, Err(settle::Error::Settlement { .. })), "{more:?}");
    let again = settle::give_up(&db, &id, "bankrupt", &today()).await;
    assert!(matches!(again, Err(settle::Error::Settlement { .. })), "{again:?}");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// January of UA comes to 108.88 and then 163.76, with tax.
async fn prepaid_credit_pays_expires_and_is_voided(db: Db) {
    let metering = january(&db).await;
    let march = Some(at("2013-03-01T05:00:00Z"));
    for request in [
        credit("1", "UA", 10_000, Source::Purchased, None),
        credit("2", "UA", 5_000, Source::Granted, march),
        credit("3", "UA", 30_000, Source::Purchased, march),
    ] {
        let once = prepaid::grant(&db, request.clone(), &today()).await.expect("is granted");
        let twice = prepaid::grant(&db, request.clone(), &today()).await.expect("is the same");
        assert_eq!(once, twice);
        let other = GrantRequest { amount: usd(1), ..request };
        assert!(matches!(prepaid::grant(&db, other, &today()).await, Err(settle::Error::OtherRequest(_))));
    }
    assert_eq!(balance(&balances(&db).await, "2100:UA:USD"), -40_000, "what was given is owed to nobody");
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let ua: Vec<_> = invoices.iter().filter(|invoice| invoice.consumer == "UA").collect();
    assert!(ua.iter().all(|invoice| invoice.state == InvoiceState::Paid), "{ua:?}");
    assert_eq!((ua[1].settlements[0].means, ua[1].settlements[0].amount), (Means::Prepaid, usd(16_376)));
    // 50.00 of what was given went first, then 222.64 of what expires.
    let after = balances(&db).await;
    let left = 30_000 - (10_888 + 16_376 - 5_000);
    assert_eq!((balance(&after, "2100:UA:USD"), balance(&after, "4095:USD")), (-10_000 - left, 5_000));
    assert_eq!(balance(&after, "1100:UA:USD"), 0);

    // 119.77 of February: the rest of what expires with it, and some of what does not.
    assert_eq!(closed(&db, &metering, "2013-03-01").await.credits_expired, 0);
    assert_eq!(balance(&balances(&db).await, "2100:UA:USD"), -10_000 - left + 11_977);
    let id = GrantId::parse("cg_1").expect("an id");
    let voided = prepaid::void(&db, &id, "moved away", &today()).await.expect("is voided").expect("is known");
    assert_eq!((voided.left(), voided.movements.len()), (Ok(usd(0)), 2));
    assert_eq!(prepaid::void(&db, &id, "again", &today()).await.expect("is void"), Some(voided));
    assert_eq!(balance(&balances(&db).await, "1000:USD"), 40_000 - (10_000 + left - 11_977));

    let late = credit("4", "AA", 700, Source::Purchased, Some(at("2013-04-01T04:00:00Z")));
    prepaid::grant(&db, late, &today()).await.expect("is granted");
    assert_eq!(closed(&db, &metering, "2013-04-01").await.credits_expired, 1);
    assert_eq!(balance(&balances(&db).await, "4010:USD"), -700);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// 108.88 are paid in parts of 50.00 by six at once, while a closing makes the next invoice and others buy credit.
async fn whoever_pays_at_the_same_time_pays_one_after_the_other(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-01-31").await;
    let ua = documents(&db).await.0[1].id.clone();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (db, ua) = (db.clone(), ua.clone());
        tasks.spawn(async move {
            let paid =
                settle::pay(&db, payment(&number.to_string(), Pays::Invoice(ua, Some(usd(5_000)))), &today()).await;
            let bought = credit(&number.to_string(), "UA", 100, Source::Purchased, None);
            prepaid::grant(&db, bought, &today()).await.expect("is granted");
            match paid {
                Ok(paid) => paid.settled[0].amount.minor(),
                Err(settle::Error::Settlement { .. }) => 0,
                Err(other) => panic!("{other}"),
            }
        });
    }
    let closing = async {
        // Somebody else may hold the same rows: the loser of a deadlock would say so here.
        closed(&db, &metering, "2013-02-01").await
    };
    let (mut settled, _) = tokio::join!(tasks.join_all(), closing);
    settled.sort_unstable();
    assert_eq!(settled, [0, 0, 0, 888, 5_000, 5_000]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// Of what is settled, what somebody changes behind our back is found.
async fn a_payment_that_is_not_in_the_ledger_is_found(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-01-31").await;
    sent(
        &db,
        &["insert into payment (id, consumer, currency, amount, method, reference, received_on, recorded_at, recorded_by)
           values ('pmt_9', 'UA', 'USD', 5, 'bank', '', '2014-05-13', 0, 'key_1')"],
    )
    .await
    .expect("is let in");
    let found = words(&verified(&db, &metering).await);
    assert!(found.len() == 1 && found[0].contains("payment pmt_9"), "{found:?}");
}

both_engines!(
    what_is_paid_too_much_pays_for_the_next_invoice,
    credit_notes_take_back_lines_with_their_tax,
    an_invoice_is_voided_whole_or_given_up,
    what_is_paid_after_it_was_given_up_takes_the_bad_debt_back,
    prepaid_credit_pays_expires_and_is_voided,
    a_payment_that_is_not_in_the_ledger_is_found,
    whoever_pays_at_the_same_time_pays_one_after_the_other,
);
