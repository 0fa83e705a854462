//! What Stripe is asked, and what it tells, on both engines: what is kept of it, and what the database refuses.

use super::closings::prepare;
use super::recording::usd;
use super::subscriptions::hour;
use super::*;
use crate::store::stripe::Answer;
use crate::store::stripe::Asked;
use crate::store::stripe::BankPayout;
use crate::store::stripe::Call;
use crate::store::stripe::Event;
use crate::store::stripe::Kind;

fn call(id: &str, subject: &str, at: i64) -> Call {
    Call {
        id: id.to_owned(),
        kind: Kind::Transfer,
        subject: subject.to_owned(),
        amount: Some(usd(300)),
        target: Some("acct_1".to_owned()),
        asked_at: hour(at),
        tries: 0,
        last_error: None,
        answer: Answer::None,
    }
}

async fn ask(db: &Db, call: &Call) -> Result<()> {
    let mut tx = db.write().await?;
    tx.ask_stripe(call).await?;
    tx.commit().await
}

async fn answer(db: &Db, id: &str, answer: Answer) -> bool {
    let mut tx = db.write().await.expect("begins");
    let is_new = tx.stripe_answered(id, &answer).await.expect("writes");
    tx.commit().await.expect("commits");
    is_new
}

async fn calls(db: &Db, asked: Asked<'_>) -> Vec<Call> {
    db.read().await.expect("begins").stripe_calls(asked).await.expect("reads")
}

async fn a_call_is_written_down_before_and_answered_once(db: Db) {
    let (first, second) = (call("a-1", "a", 1), call("b-1", "b", 2));
    let reversal = Call { kind: Kind::Reversal, amount: None, target: None, ..call("a-back-1", "a", 3) };
    for call in [&first, &second, &reversal] {
        ask(&db, call).await.expect("is kept");
    }
    assert!(matches!(ask(&db, &first).await, Err(Error::Taken)), "one key, one call");
    assert!(matches!(ask(&db, &call("a-2", "a", 4)).await, Err(Error::Taken)), "the first is not answered yet");
    assert_eq!(calls(&db, Asked::All).await, [first.clone(), second.clone(), reversal.clone()]);
    let mut tx = db.write().await.expect("begins");
    tx.stripe_did_not_answer("a-1", "it hung up").await.expect("writes");
    tx.stripe_did_not_answer("a-1", "it was busy").await.expect("writes");
    tx.commit().await.expect("commits");
    let tried = Call { tries: 2, last_error: Some("it was busy".to_owned()), ..first };
    assert_eq!(calls(&db, Asked::For("a")).await, [tried.clone(), reversal.clone()]);

    assert!(!answer(&db, "a-1", Answer::None).await);
    assert!(answer(&db, "a-1", Answer::Refused("closed".to_owned())).await);
    assert!(!answer(&db, "a-1", Answer::Done("tr_1".to_owned())).await, "once");
    assert!(answer(&db, "b-1", Answer::Done("tr_2".to_owned())).await);
    let refused_one = Call { answer: Answer::Refused("closed".to_owned()), ..tried };
    assert_eq!(calls(&db, Asked::Id("a-1")).await, [refused_one]);
    assert_eq!(calls(&db, Asked::Unanswered).await, [reversal]);
    ask(&db, &call("a-2", "a", 4)).await.expect("another try, under another key");
    for statement in [
        "update stripe_call set amount = 1",
        "update stripe_call set id = 'x' where state = 'asked'",
        "update stripe_call set tries = -1 where state = 'asked'",
        "update stripe_call set state = 'done' where state = 'asked'",
        "update stripe_call set state = 'asked', reason = null where state = 'refused'",
        "update stripe_call set object = 'tr_3' where state = 'done'",
        "delete from stripe_call",
        "insert into stripe_call (id, kind, subject, asked_at, tries, state, object)
         values ('x', 'transfer', 'x', 1, 0, 'done', 'tr_9')",
    ] {
        refused(&db, &[statement]).await;
    }
}

async fn an_event_is_kept_as_it_came_and_understood_once(db: Db) {
    let event = |id: &str, at: i64| Event {
        id: id.to_owned(),
        kind: "transfer.created".to_owned(),
        account: (id == "evt_2").then(|| "acct_1".to_owned()),
        created_at: hour(1),
        received_at: hour(at),
        body: format!("{{\"id\": \"{id}\"}}"),
        understood: None,
    };
    let keep = async |event: &Event| {
        let mut tx = db.write().await.expect("begins");
        let is_new = tx.keep_stripe_event(event).await.expect("writes");
        tx.commit().await.expect("commits");
        is_new
    };
    assert!(keep(&event("evt_2", 2)).await);
    assert!(keep(&event("evt_1", 3)).await);
    assert!(!keep(&Event { body: "{}".to_owned(), ..event("evt_1", 4) }).await, "the first stands");
    let waiting = async || db.read().await.expect("begins").stripe_events_to_understand(10).await.expect("reads");
    assert_eq!(waiting().await, [event("evt_2", 2), event("evt_1", 3)]);
    let understand = async |outcome: &str| {
        let mut tx = db.write().await.expect("begins");
        let is_new = tx.understood_stripe_event("evt_2", hour(5), outcome).await.expect("writes");
        tx.commit().await.expect("commits");
        is_new
    };
    assert!(understand("it was made").await);
    assert!(!understand("something else").await);
    assert_eq!(waiting().await, [event("evt_1", 3)]);
    let found = db.read().await.expect("begins").stripe_event("evt_2").await.expect("reads").expect("is known");
    assert_eq!(found, Event { understood: Some((hour(5), "it was made".to_owned())), ..event("evt_2", 2) });
    for statement in [
        "update stripe_event set body = ''",
        "update stripe_event set outcome = 'x' where id = 'evt_2'",
        "update stripe_event set understood_at = 1 where id = 'evt_1'",
        "delete from stripe_event",
    ] {
        refused(&db, &[statement]).await;
    }
}

async fn what_is_between_two_steps_is_found(db: Db) {
    prepare(&db).await;
    let step = |kind: Kind| Call { kind, ..call(&format!("inv_1-{}", kind.as_str()), "inv_1", 1) };
    for (kind, answered, is_left) in [
        (Kind::Invoice, Answer::Done("in_1".to_owned()), true),
        (Kind::Item, Answer::Done("ii_1".to_owned()), true),
        (Kind::Finalize, Answer::None, false),
    ] {
        ask(&db, &step(kind)).await.expect("is kept");
        answer(&db, &step(kind).id, answered).await;
        assert_eq!(!calls(&db, Asked::NotFinal).await.is_empty(), is_left, "{kind:?}");
    }
    let mut tx = db.write().await.expect("begins");
    assert_eq!(tx.stripe_customer("UA").await.expect("reads"), None);
    for customer in ["cus_1", "cus_2"] {
        tx.put_stripe_customer("UA", customer).await.expect("writes");
        assert_eq!(tx.stripe_customer("UA").await.expect("reads").as_deref(), Some(customer));
    }
}

async fn a_payout_to_a_bank_is_kept_as_it_is_now(db: Db) {
    let payout = |state: &str, reason: Option<&str>| BankPayout {
        id: "po_1".to_owned(),
        account: "acct_1".to_owned(),
        amount: usd(300),
        state: state.to_owned(),
        reason: reason.map(str::to_owned),
        at: hour(1),
    };
    for payout in [payout("paid", None), payout("failed", Some("closed"))] {
        let mut tx = db.write().await.expect("begins");
        tx.put_stripe_bank_payout(&payout).await.expect("writes");
        tx.commit().await.expect("commits");
        assert_eq!(db.read().await.expect("begins").stripe_bank_payouts().await.expect("reads"), [payout]);
    }
    refused(&db, &["update stripe_bank_payout set state = 'lost'"]).await;
}

both_engines!(
    a_call_is_written_down_before_and_answered_once,
    an_event_is_kept_as_it_came_and_understood_once,
    what_is_between_two_steps_is_found,
    a_payout_to_a_bank_is_kept_as_it_is_now,
);
