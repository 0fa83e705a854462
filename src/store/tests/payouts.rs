//! Payouts, payees and clawbacks on both engines: what is kept of them, and what the database refuses.

use std::collections::BTreeMap;

use jiff::civil::date;

use super::closings::VERSION;
use super::closings::prepare;
use super::recording::invoice_of;
use super::recording::payout_of;
use super::recording::record;
use super::recording::usd;
use super::subscriptions::hour;
use super::*;
use crate::domain::bank::BankAccount;
use crate::domain::bank::Iban;
use crate::domain::document::payout::Hold;
use crate::domain::ids::PayId;
use crate::domain::ids::PayoutId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Payout;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::store::clawbacks::Repaid;
use crate::store::payouts::Available;
use crate::store::payouts::BankFile;
use crate::store::payouts::Sought;

fn sepa() -> Method {
    let iban = Iban::parse("DE89370400440532013000").expect("an IBAN");
    Method::Sepa(BankAccount { name: "Jan Jansen".to_owned(), iban, bic: None })
}

fn payee() -> Payee {
    Payee { method: Some(sepa()), verified: true, tax_form: true, sanctioned: false }
}

fn signed(by: &str, at: i64) -> Signed {
    Signed { at: hour(at), by: by.to_owned() }
}

pub(super) fn pay(name: &str, available: &Available) -> Payout {
    Payout {
        id: PayId::parse(&format!("pay_{name}")).expect("an id"),
        consumer: available.consumer.clone(),
        amount: available.total,
        state: State::Proposed,
        destination: sepa(),
        parts: available.parts.clone(),
        attempts: Vec::new(),
        proposed: signed("maker", 40),
        approved: None,
        ended: None,
        book_version: VERSION.to_owned(),
    }
}

/// A statement of UA of 0.30 and 0.70, of which both holds have passed; and one of AA that takes 0.30 back. UA has an invoice.
pub(super) async fn granted(db: &Db) {
    prepare(db).await;
    let mut taken = payout_of("AA", 1);
    taken.lines.truncate(1);
    taken.lines[0].amount = usd(-30);
    taken.holds = vec![Hold { amount: usd(-30), ..taken.holds[0].clone() }];
    taken.total = usd(-30);
    record(db, &[invoice_of("UA", 1)], &[taken, payout_of("UA", 2)]).await.expect("are recorded");
    let mut tx = db.write().await.expect("begins");
    for (statement, program) in [("po_AA", "bounty"), ("po_UA", "bounty"), ("po_UA", "loyalty")] {
        let statement = PayoutId::parse(statement).expect("an id");
        assert!(tx.pass_hold(&statement, program, hour(30)).await.expect("writes"));
    }
    tx.commit().await.expect("commits");
}

async fn available(db: &Db, consumer: Option<&str>) -> Vec<Available> {
    db.read().await.expect("begins").available(consumer).await.expect("reads")
}

pub(super) async fn propose(db: &Db, payout: &Payout) -> Result<()> {
    let mut tx = db.write().await?;
    tx.propose_payouts(std::slice::from_ref(payout)).await?;
    tx.commit().await
}

async fn step(db: &Db, read: &Payout, action: Action, at: i64) -> Payout {
    let note = Note { reference: Some("B1".to_owned()), reason: Some("closed".to_owned()) };
    let after = read.after(action, signed("checker", at), note, &payee()).expect("may");
    let mut tx = db.write().await.expect("begins");
    assert!(tx.move_payout(read, &after).await.expect("moves"));
    tx.commit().await.expect("commits");
    let found = of_id(db, &after.id).await;
    assert_eq!(found, after, "reads back as it was moved");
    assert!(!db.write().await.expect("begins").move_payout(read, &after).await.expect("does nothing"));
    after
}

async fn of_id(db: &Db, id: &PayId) -> Payout {
    let mut tx = db.read().await.expect("begins");
    tx.payouts_of_money(Sought::Id(id)).await.expect("reads").pop().expect("is known")
}

async fn what_is_on_file_of_a_payee_is_replaced(db: Db) {
    prepare(&db).await;
    let put = async |payee: &Payee| {
        let mut tx = db.write().await.expect("begins");
        tx.put_payee("UA", payee, hour(1)).await.expect("is put");
        tx.commit().await.expect("commits");
    };
    let found = async || db.read().await.expect("begins").payees(&["AA", "UA", "nobody"]).await.expect("reads");
    assert!(found().await.is_empty());
    for payee in [payee(), Payee { sanctioned: true, ..Payee::default() }] {
        put(&payee).await;
        assert_eq!(found().await, BTreeMap::from([("UA".to_owned(), payee)]));
    }
    assert!(db.write().await.expect("begins").put_payee("nobody", &payee(), hour(1)).await.is_err());
}

async fn what_is_available_is_taken_once_and_let_go_again(db: Db) {
    granted(&db).await;
    let [of_aa, of_ua] = &*available(&db, None).await else { panic!("two consumers") };
    assert_eq!((of_aa.total, of_ua.total, of_ua.parts.len()), (usd(-30), usd(100), 2));
    assert_eq!(available(&db, Some("UA")).await, std::slice::from_ref(of_ua));

    let first = pay("1", of_ua);
    propose(&db, &first).await.expect("is proposed");
    assert_eq!(of_id(&db, &first.id).await, first);
    assert_eq!(available(&db, Some("UA")).await, []);
    let again = propose(&db, &pay("2", of_ua)).await;
    assert!(matches!(again, Err(Error::Taken)), "{again:?}");
    let mut tx = db.read().await.expect("begins");
    let key = ("UA".to_owned(), "USD".to_owned());
    assert_eq!(tx.last_payouts(None).await.expect("reads"), BTreeMap::from([(key, hour(40))]));
    drop(tx);

    step(&db, &first, Action::Cancel, 41).await;
    assert!(db.read().await.expect("begins").last_payouts(None).await.expect("reads").is_empty());
    assert_eq!(available(&db, Some("UA")).await, std::slice::from_ref(of_ua));
    let second = pay("2", of_ua);
    propose(&db, &second).await.expect("may take it now");
    let mut tx = db.read().await.expect("begins");
    let statement = PayoutId::parse("po_UA").expect("an id");
    let of = tx.payouts_of_money(Sought::OfStatement(&statement)).await.expect("reads");
    assert_eq!(of.iter().map(|payout| payout.state).collect::<Vec<_>>(), [State::Cancelled, State::Proposed]);
    let page = tx.payouts_of_money(Sought::Page { after: Some("pay_1"), limit: 9 }).await.expect("reads");
    assert_eq!(page, std::slice::from_ref(&second));
    for (consumer, state, before, found) in [
        (None, None, None, &["pay_2", "pay_1"][..]),
        (None, Some(State::Cancelled), None, &["pay_1"]),
        (Some("UA"), Some(State::Proposed), None, &["pay_2"]),
        (Some("UA"), None, Some("pay_2"), &["pay_1"]),
        (Some("AA"), None, None, &[]),
    ] {
        let sought = Sought::Newest { consumer, state, before, limit: 9 };
        let page = tx.payouts_of_money(sought).await.expect("reads");
        assert_eq!(page.iter().map(|payout| payout.id.as_str()).collect::<Vec<_>>(), found);
    }
}

async fn a_payout_moves_step_by_step_and_each_try_is_kept(db: Db) {
    granted(&db).await;
    let payout = pay("1", &available(&db, Some("UA")).await[0]);
    propose(&db, &payout).await.expect("is proposed");
    let mut payout = payout;
    for (at, action) in (41..).zip([Action::Approve, Action::Send, Action::Retry, Action::Send, Action::Pay]) {
        payout = step(&db, &payout, action, at).await;
    }
    assert_eq!((payout.state, payout.attempts.len()), (State::Paid, 2));
    assert_eq!(available(&db, Some("UA")).await, [], "what was paid stays taken");
    for statement in [
        "update payout_attempt set returned_at = 50, return_reason = 'x' where n = 2",
        "update payout_attempt set state = 'failed', reason = 'x' where n = 2",
        "update payout set state = 'cancelled'",
    ] {
        refused(&db, &[statement]).await;
    }
    let returned = step(&db, &payout, Action::Return, 46).await;
    assert_eq!((returned.state, returned.attempts[1].returned_at), (State::Failed, Some(hour(46))));
    assert_eq!(available(&db, Some("UA")).await[0].total, payout.amount);
    refused(&db, &["update payout_attempt set returned_at = 50 where n = 2"]).await;
}

async fn a_failed_payout_lets_go_of_what_it_took(db: Db) {
    granted(&db).await;
    let before = available(&db, Some("UA")).await;
    let mut payout = pay("1", &before[0]);
    propose(&db, &payout).await.expect("is proposed");
    for (at, action) in (41..).zip([Action::Approve, Action::Send, Action::Fail]) {
        payout = step(&db, &payout, action, at).await;
    }
    assert_eq!(available(&db, Some("UA")).await, before);
}

async fn what_was_paid_may_come_back_once(db: Db) {
    granted(&db).await;
    let mut payout = pay("1", &available(&db, Some("UA")).await[0]);
    propose(&db, &payout).await.expect("is proposed");
    for (at, action) in (41..).zip([Action::Approve, Action::Send, Action::Pay, Action::Return]) {
        payout = step(&db, &payout, action, at).await;
    }
    let returned = &payout.attempts[0];
    let came_back = (payout.state, returned.returned_at, returned.return_reason.as_deref());
    assert_eq!(came_back, (State::Failed, Some(hour(44)), Some("closed")));
    assert_eq!(available(&db, Some("UA")).await[0].total, payout.amount, "the next payout takes it");
    for statement in [
        "update payout set state = 'paid', ended_at = 1, ended_by = 'x'",
        "update payout_attempt set returned_at = 1",
        "update payout_attempt set returned_at = null, return_reason = null",
        "update payout_attempt set state = 'failed', reason = 'x'",
    ] {
        refused(&db, &[statement]).await;
    }
}

async fn a_payout_stands_in_one_bank_file(db: Db) {
    granted(&db).await;
    let payout = pay("1", &available(&db, Some("UA")).await[0]);
    propose(&db, &payout).await.expect("is proposed");
    let for_bank = async || db.read().await.expect("begins").payouts_of_money(Sought::ForBank).await.expect("reads");
    assert_eq!(for_bank().await, []);
    let approved = step(&db, &payout, Action::Approve, 41).await;
    assert_eq!(for_bank().await, std::slice::from_ref(&approved));
    let give = async |id: &str| {
        let file = BankFile { id: id.to_owned(), made_at: hour(42), body: format!("<{id}/>") };
        let mut tx = db.write().await.expect("begins");
        let given = tx.give_to_bank(&file, std::slice::from_ref(&approved)).await.expect("writes");
        if given {
            tx.commit().await.expect("commits");
        }
        given
    };
    assert!(give("TS1").await);
    assert!(!give("TS2").await, "it stands in another");
    let mut tx = db.read().await.expect("begins");
    let last = tx.bank_file(None).await.expect("reads").expect("is known");
    assert_eq!(tx.bank_file(Some("TS1")).await.expect("reads"), Some(last));
    assert_eq!(tx.bank_file(Some("TS2")).await.expect("reads"), None);
    drop(tx);
    assert_eq!(for_bank().await, []);
    let read = of_id(&db, &approved.id).await;
    assert_eq!(read.attempts[0].file.as_deref(), Some("TS1"));
    let reason = refused(&db, &["update payout_attempt set state = 'cancelled', ended_at = 1"]).await;
    assert!(reason.contains("does not move"), "{reason}");
    step(&db, &read, Action::Send, 43).await;
}

async fn the_database_keeps_payouts_as_they_were_approved(db: Db) {
    granted(&db).await;
    let of_ua = available(&db, Some("UA")).await.remove(0);
    let wrong = Payout { amount: usd(101), ..pay("1", &of_ua) };
    assert!(matches!(propose(&db, &wrong).await, Err(Error::Refused(why)) if why.contains("add up")));
    let of_other = Payout { consumer: "AA".to_owned(), ..pay("1", &of_ua) };
    assert!(
        matches!(propose(&db, &of_other).await, Err(Error::Refused(why)) if why.contains("available to its consumer"))
    );
    let ahead = Payout { state: State::Approved, approved: Some(signed("checker", 1)), ..pay("1", &of_ua) };
    assert!(propose(&db, &ahead).await.is_err());

    let payout = pay("1", &of_ua);
    propose(&db, &payout).await.expect("is proposed");
    let same_key = "update payout set state = 'approved', approved_at = 1, approved_by = 'maker'";
    refused(&db, &[same_key]).await;
    let forbidden = [
        "update payout set state = 'sent'",
        "update payout set state = 'approved'",
        "update payout set state = 'paid', ended_at = 1, ended_by = 'x'",
        "update payout set amount = 1",
        "update payout set method = '{}'",
        "update payout set created_by = 'x', state = 'cancelled', ended_at = 1, ended_by = 'x'",
        "update payout_part set amount = 1",
        "update payout_part set released_at = 1",
        "delete from payout_part",
        "delete from payout",
        "insert into payout_part (payout, document, program, amount) values ('pay_1', 'po_AA', 'bounty', -30)",
        "insert into payout_attempt (payout, n, method, state, at) values ('pay_1', 1, '{}', 'ready', 1)",
    ];
    for statement in forbidden {
        refused(&db, &[statement]).await;
    }
    let approved = step(&db, &payout, Action::Approve, 41).await;
    let forbidden = [
        "update payout set approved_by = 'other', state = 'sent'",
        "update payout set state = 'proposed', approved_at = null, approved_by = null",
        "update payout_attempt set method = '{}', state = 'sent', sent_at = 1",
        "update payout_attempt set state = 'paid', sent_at = 1, ended_at = 1",
        "update payout_attempt set state = 'sent'",
        "insert into payout_attempt (payout, n, method, state, at) select payout, 2, method, state, at from payout_attempt",
        "delete from payout_attempt",
    ];
    for statement in forbidden {
        refused(&db, &[statement]).await;
    }
    assert_eq!(of_id(&db, &payout.id).await, approved);
}

async fn what_is_owed_back_is_paid_back_and_no_more(db: Db) {
    granted(&db).await;
    let statement = PayoutId::parse("po_AA").expect("an id");
    let write = async |owed: i64| {
        let mut tx = db.write().await?;
        tx.hold_journal().await?;
        tx.record_clawback(&statement, "bounty", usd(owed)).await?;
        tx.commit().await
    };
    assert!(matches!(write(31).await, Err(Error::Refused(_))), "more than was taken back");
    write(20).await.expect("is recorded");
    let owed = async || db.read().await.expect("begins").owed_back().await.expect("reads");
    assert_eq!(owed().await, BTreeMap::from([(("AA".to_owned(), "USD"), usd(20))]));
    let clawbacks = db.read().await.expect("begins").clawbacks().await.expect("reads");
    assert_eq!(clawbacks, BTreeMap::from([(("po_AA".to_owned(), "bounty".to_owned()), 20)]));

    let repaid = |cause: &str, minor| Repaid {
        cause: cause.to_owned(),
        consumer: "AA".to_owned(),
        amount: usd(minor),
        effective_on: date(2013, 2, 15),
        at: hour(50),
    };
    let pay_back = async |repaid: &Repaid| {
        let mut tx = db.write().await?;
        tx.record_repaid(repaid).await?;
        tx.commit().await
    };
    pay_back(&repaid("a", 15)).await.expect("is recorded");
    assert!(matches!(pay_back(&repaid("a", 1)).await, Err(Error::Taken)), "once out of each");
    assert!(matches!(pay_back(&repaid("b", 6)).await, Err(Error::Refused(_))), "no more than is owed");
    assert_eq!(owed().await.into_values().collect::<Vec<_>>(), [usd(5)]);
    pay_back(&repaid("b", 5)).await.expect("is recorded");
    assert!(owed().await.is_empty());
    assert_eq!(db.read().await.expect("begins").repaid().await.expect("reads"), [repaid("a", 15), repaid("b", 5)]);
    for statement in ["update clawback set amount = 1", "delete from clawback", "delete from clawback_repaid"] {
        refused(&db, &[statement]).await;
    }
    let account = Account::new(Chart::RewardsAvailable, Some("AA"), usd(0).currency()).expect("an account");
    assert_eq!(db.read().await.expect("begins").balance(&account).await.expect("reads"), usd(0));
}

both_engines!(
    what_is_on_file_of_a_payee_is_replaced,
    what_is_available_is_taken_once_and_let_go_again,
    a_payout_moves_step_by_step_and_each_try_is_kept,
    a_failed_payout_lets_go_of_what_it_took,
    what_was_paid_may_come_back_once,
    a_payout_stands_in_one_bank_file,
    the_database_keeps_payouts_as_they_were_approved,
    what_is_owed_back_is_paid_back_and_no_more,
);
