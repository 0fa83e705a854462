//! Rewards that pay for their consumers' own invoices, on both engines, with numbers worked out by hand.

use super::late::flight;
use super::late::retraction;
use super::late::send;
use super::payouts::on_file;
use super::payouts::open;
use super::payouts::signed;
use super::payouts::step;
use super::payouts::where_it_is;
use super::*;
use crate::billing::payouts::propose;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;
use crate::domain::payout::Action;
use crate::domain::payout::standing::Place;

/// The book, where rewards pay for invoices.
pub(super) fn netting_book() -> [(&'static str, String); 5] {
    BOOK.map(|(path, text)| {
        (path, if path == "book.toml" { format!("{text}\n[payouts]\nnet_invoices = true\n") } else { text.to_owned() })
    })
}

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
}

/// Pays so much of an invoice, which has this ordinal.
async fn pay(db: &Db, ordinal: usize, minor: i64) {
    let invoice = documents(db).await.0[ordinal - 1].clone();
    let request = PaymentRequest {
        id: PaymentId::parse(&format!("pmt_{ordinal}")).expect("an id"),
        pays: Pays::Invoice(invoice.id, Some(usd(minor))),
        method: "bank".to_owned(),
        reference: String::new(),
        stripe_fee: None,
    };
    settle::pay(db, request, &Act { by: "key_1".to_owned(), on: None, now: NOW }).await.expect("is paid");
}

async fn balance(db: &Db, account: &str) -> i64 {
    let totals = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let found = totals.iter().find(|total| total.account.to_string() == account);
    found.map_or(0, |total| total.debit.minor() - total.credit.minor())
}

/// Of UA's 5.00, 3.00 pay for what is left of INV-000002, and 2.00 for some of INV-000004.
async fn what_is_available_pays_for_what_is_open_the_oldest_first(db: Db) {
    let metering = january_under(&db, netting_book()).await;
    assert_eq!(
        closed(&db, &metering, "2013-02-01").await.invoices_netted,
        0,
        "it is held until the middle of February"
    );
    pay(&db, 2, 10_588).await;
    let march = closed(&db, &metering, "2013-03-01").await;
    assert_eq!((march.holds_passed, march.invoices_netted), (2, 3), "two of UA, one of AA");
    let (invoices, statements) = documents(&db).await;
    let [first, second] = [&invoices[1], &invoices[3]];
    assert_eq!((first.state, first.outstanding), (InvoiceState::Paid, usd(0)));
    let last = |invoice: &Invoice| invoice.settlements.last().map(|of| (of.means, of.amount));
    assert_eq!(last(first), Some((Means::Rewards, usd(300))));
    assert_eq!((second.outstanding, last(second)), (usd(16_176), Some((Means::Rewards, usd(200)))));
    assert_eq!((balance(&db, "2010:UA:USD").await, balance(&db, "1100:UA:USD").await), (0, 39_241 - 10_588 - 500));
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    let said = "2.00 USD paid for invoice INV-000004 on 2014-05-13; 3.00 USD paid for invoice INV-000002 on 2014-05-13";
    assert_eq!(where_it_is(&db, &metering, of_ua).await, (Place::Paid, said.to_owned()));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    on_file(&db, "UA", &open()).await;
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    assert_eq!(run, propose::Run::default(), "nothing is left to be paid out");
    assert_eq!(closed(&db, &metering, "2013-03-01").await, Closed::default());
}

/// What a payout took stays in it, and what it lets go pays for invoices; the rest is paid out.
async fn a_payout_and_an_invoice_never_have_the_same(db: Db) {
    let metering = january_under(&db, netting_book()).await;
    on_file(&db, "UA", &open()).await;
    // UA owes nothing until it is paid out: its invoices are paid too much.
    closed(&db, &metering, "2013-02-01").await;
    pay(&db, 2, 10_888).await;
    pay(&db, 4, 16_376 + 11_777).await;
    assert_eq!(closed(&db, &metering, "2013-02-20").await.invoices_netted, 1, "AA's");
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    let pay_id = run.proposed[0].payout.clone();
    // The next invoice is of 119.77, of which credit leaves 2.00.
    assert_eq!(closed(&db, &metering, "2013-03-01").await.invoices_netted, 0, "it is in a payout");
    assert_eq!(documents(&db).await.0[5].outstanding, usd(200));
    step(&db, &metering, pay_id.as_str(), Action::Cancel, "maker").await.expect("is cancelled");
    assert_eq!(closed(&db, &metering, "2013-03-01").await.invoices_netted, 1);
    assert_eq!(balance(&db, "2010:UA:USD").await, -300);
    let later = crate::domain::payout::Signed { at: Instant::from_micros(NOW.micros() + 1_000_000), ..signed("maker") };
    let run = propose::run(&db, &metering.versions(), None, &later).await.expect("runs");
    assert_eq!(run.proposed.iter().map(|of| of.amount.minor()).collect::<Vec<_>>(), [300], "what is left");
    let id = run.proposed[0].payout.as_str();
    for action in [Action::Approve, Action::Send, Action::Pay] {
        step(&db, &metering, id, action, "checker").await.expect("moves on");
    }
    let (_, statements) = documents(&db).await;
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    let (place, why) = where_it_is(&db, &metering, of_ua).await;
    assert!(place == Place::Paid && why.contains("by payout") && why.contains("2.00 USD paid for"), "{why}");
    assert_eq!(balance(&db, "2010:UA:USD").await, 0);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// What paid for an invoice and is taken back later is owed, and what comes next pays that back before it pays for invoices.
async fn what_was_netted_and_is_taken_back_is_paid_back_first(db: Db) {
    let metering = metering_under(&db, netting_book()).await;
    sign_up(&db, "UA", "gold", None, None).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 1), flight("UA", 2, "2013-01-11T12:00:00Z", 1)]).await;
    assert_eq!(closed(&db, &metering, "2013-03-01").await.invoices_netted, 1);
    send(&metering, &[retraction("UA", 1)]).await;
    closed(&db, &metering, "2013-04-20").await;
    assert_eq!((balance(&db, "1200:UA:USD").await, balance(&db, "2010:UA:USD").await), (150, 0));
    send(&metering, &[flight("UA", 3, "2013-04-10T12:00:00Z", 1), flight("UA", 4, "2013-04-11T12:00:00Z", 1)]).await;
    assert_eq!(closed(&db, &metering, "2013-05-20").await.invoices_netted, 1);
    let (invoices, _) = documents(&db).await;
    let settled = invoices.iter().flat_map(|invoice| &invoice.settlements).filter(|of| of.means == Means::Rewards);
    assert_eq!(settled.map(|of| of.amount.minor()).collect::<Vec<_>>(), [300, 150]);
    assert_eq!((balance(&db, "1200:UA:USD").await, balance(&db, "2010:UA:USD").await), (0, 0));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_book_that_does_not_allow_it_nets_nothing(db: Db) {
    let metering = january(&db).await;
    assert_eq!(closed(&db, &metering, "2013-03-01").await.invoices_netted, 0);
    // A later book allows it for its own invoices, not for those before.
    let files = netting_book().map(|(path, text)| SourceFile { path: path.to_owned(), text }).to_vec();
    let version = BookVersion::new(files, at("2013-03-01T05:00:00Z")).expect("is a book");
    metering.publish(version, "test", "", Instant::from_micros(0)).await.expect("is published");
    assert_eq!(closed(&db, &metering, "2013-03-01").await.invoices_netted, 0);
    // The fee in advance for March had been charged under the old one, which March is rated under.
    assert_eq!(closed(&db, &metering, "2013-04-01").await.invoices_netted, 0);
    assert_eq!(closed(&db, &metering, "2013-05-01").await.invoices_netted, 1);
    let (invoices, _) = documents(&db).await;
    let netted = invoices.iter().filter(|of| of.settlements.iter().any(|of| of.means == Means::Rewards));
    assert_eq!(netted.map(|invoice| invoice.number.ordinal).collect::<Vec<_>>(), [8]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn verify_names_rewards_that_were_tampered_with(db: Db) {
    let metering = january_under(&db, netting_book()).await;
    closed(&db, &metering, "2013-03-01").await;
    let unlock = match is_sqlite(&db) {
        true => "drop trigger netting_is_never_changed",
        false => "drop trigger netting_is_never_changed on netting",
    };
    sent(&db, &[unlock, "update netting set amount = amount - 1"]).await.expect("is tampered with");
    let found = words(&verified(&db, &metering).await);
    assert!(found.iter().any(|difference| difference.contains("invoice INV-")), "{found:?}");
}

both_engines!(
    what_is_available_pays_for_what_is_open_the_oldest_first,
    a_payout_and_an_invoice_never_have_the_same,
    what_was_netted_and_is_taken_back_is_paid_back_first,
    a_book_that_does_not_allow_it_nets_nothing,
    verify_names_rewards_that_were_tampered_with,
);
