//! Money that leaves, and what is owed back of it: from the closing to the bank, with every cent on its account.

use super::late::flight;
use super::late::retraction;
use super::late::send;
use super::*;
use crate::billing::payouts::PayoutError;
use crate::billing::payouts::act;
use crate::billing::payouts::look;
use crate::billing::payouts::propose;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::payout;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Refusal;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::domain::payout::standing::Place;
use crate::store::tests::both_engines;

pub(super) fn signed(by: &str) -> Signed {
    Signed { at: NOW, by: by.to_owned() }
}

pub(super) async fn on_file(db: &Db, consumer: &str, payee: &Payee) {
    let mut tx = db.write().await.expect("begins");
    tx.put_payee(consumer, payee, NOW).await.expect("is put");
    tx.commit().await.expect("commits");
}

pub(super) fn open() -> Payee {
    Payee { method: Some(Method::Manual), verified: true, tax_form: true, sanctioned: false }
}

pub(super) async fn step(
    db: &Db,
    metering: &Meter,
    id: &str,
    action: Action,
    by: &str,
) -> Result<payout::Payout, PayoutError> {
    let note = Note { reference: None, reason: Some("account closed".to_owned()) };
    act(db, &metering.versions(), id, action, (signed(by), note)).await
}

/// What stands on the accounts of one currency that payouts move, in cents, debit less credit; zeros are left out.
async fn accounts(db: &Db) -> Vec<(String, i64)> {
    let balances = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let moved = balances.iter().map(|of| (of.account.to_string(), of.debit.minor() - of.credit.minor()));
    let is_ours = |id: &str| ["1000", "1020", "1200", "2000", "2010", "2020"].iter().any(|code| id.starts_with(code));
    moved.filter(|(id, balance)| *balance != 0 && is_ours(id)).collect()
}

fn balances<const N: usize>(expected: [(&str, i64); N]) -> Vec<(String, i64)> {
    expected.map(|(account, minor)| (account.to_owned(), minor)).to_vec()
}

pub(super) async fn where_it_is(db: &Db, metering: &Meter, statement: &Payout) -> (Place, String) {
    let mut tx = db.read().await.expect("begins");
    let standing = look::standing(&mut tx, &metering.versions(), statement, NOW).await.expect("is made");
    (standing.state, standing.why)
}

/// UA and AA have 5.00 each available.
async fn available(db: &Db) -> (Meter, Vec<Payout>) {
    let metering = january(db).await;
    closed(db, &metering, "2013-03-01").await;
    let (_, statements) = documents(db).await;
    (metering, statements)
}

async fn money_leaves_with_two_keys_and_every_step_is_booked(db: Db) {
    let (metering, statements) = available(&db).await;
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    let id = of_ua.id.as_str();
    let refused = step(&db, &metering, id, Action::Approve, "maker").await.expect_err("nothing is on file");
    assert!(refused.to_string().contains("no payout method") && refused.to_string().contains("tax form"), "{refused}");
    assert!(matches!(where_it_is(&db, &metering, of_ua).await, (Place::Pending, why) if why.contains("not verified")));
    on_file(&db, "UA", &open()).await;
    assert!(where_it_is(&db, &metering, of_ua).await.1.starts_with("available"));

    let proposed = step(&db, &metering, id, Action::Approve, "maker").await.expect("is proposed");
    assert_eq!((proposed.state, proposed.amount.minor()), (State::Proposed, 500));
    assert_eq!(accounts(&db).await, balances([("2010:AA:USD", -500), ("2010:UA:USD", -500)]), "nothing moved yet");
    assert!(where_it_is(&db, &metering, of_ua).await.1.contains("waits for a second key"));
    let same = step(&db, &metering, id, Action::Approve, "maker").await;
    assert!(matches!(same, Err(PayoutError::Refused(Refusal::SameKey { .. }))), "{same:?}");
    // From here on, either id.
    let pay = proposed.id.as_str();
    let steps = [
        (id, Action::Approve, State::Approved, "2020:USD"),
        (pay, Action::Send, State::Sent, "1020:USD"),
        (id, Action::Retry, State::Approved, "2020:USD"),
        (pay, Action::Send, State::Sent, "1020:USD"),
        (id, Action::Pay, State::Paid, "1000:USD"),
    ];
    for (id, action, state, account) in steps {
        assert_eq!(step(&db, &metering, id, action, "checker").await.expect("moves on").state, state);
        let mut expected = balances([(account, -500), ("2010:AA:USD", -500)]);
        expected.sort();
        assert_eq!(accounts(&db).await, expected, "{state}");
        assert_eq!(words(&verified(&db, &metering).await), [""; 0], "{state}");
    }
    let over = step(&db, &metering, pay, Action::Cancel, "checker").await;
    assert!(matches!(over, Err(PayoutError::Refused(Refusal::NotNow { .. }))), "{over:?}");
    assert!(matches!(where_it_is(&db, &metering, of_ua).await, (Place::Paid, why) if why.starts_with("paid on")));
}

async fn what_comes_back_is_paid_by_another_payout(db: Db) {
    let (metering, statements) = available(&db).await;
    on_file(&db, "UA", &open()).await;
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    let id = of_ua.id.as_str();
    for (action, by) in
        [(Action::Approve, "maker"), (Action::Approve, "checker"), (Action::Send, "maker"), (Action::Fail, "maker")]
    {
        step(&db, &metering, id, action, by).await.expect("moves on");
    }
    assert_eq!(accounts(&db).await, balances([("2010:AA:USD", -500), ("2010:UA:USD", -500)]));
    let (place, why) = where_it_is(&db, &metering, of_ua).await;
    assert!(place == Place::Pending && why.contains("account closed"), "{why}");
    let nothing = step(&db, &metering, id, Action::Send, "maker").await;
    assert!(matches!(nothing, Err(PayoutError::NotUnderWay { .. })), "{nothing:?}");
    let later = Signed { at: Instant::from_micros(NOW.micros() + 1_000_000), by: "maker".to_owned() };
    let again = act(&db, &metering.versions(), id, Action::Approve, (later, Note::default())).await;
    let again = again.expect("is proposed anew");
    assert_eq!((again.state, again.amount.minor()), (State::Proposed, 500));
    step(&db, &metering, again.id.as_str(), Action::Approve, "checker").await.expect("is approved");
    step(&db, &metering, id, Action::Cancel, "maker").await.expect("is cancelled");
    assert_eq!(accounts(&db).await, balances([("2010:AA:USD", -500), ("2010:UA:USD", -500)]));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let destination = Payee { method: None, ..open() };
    on_file(&db, "UA", &destination).await;
    let gone = step(&db, &metering, id, Action::Approve, "maker").await;
    assert!(matches!(gone, Err(PayoutError::Blocked { .. })), "{gone:?}");
}

async fn what_the_bank_sends_back_after_it_had_booked_it_is_paid_again(db: Db) {
    let (metering, statements) = available(&db).await;
    on_file(&db, "UA", &open()).await;
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    let id = of_ua.id.as_str();
    for (action, by) in
        [(Action::Approve, "maker"), (Action::Approve, "checker"), (Action::Send, "maker"), (Action::Pay, "maker")]
    {
        assert!(step(&db, &metering, id, Action::Return, "maker").await.is_err(), "it was not paid yet");
        step(&db, &metering, id, action, by).await.expect("moves on");
    }
    assert_eq!(accounts(&db).await, balances([("1000:USD", -500), ("2010:AA:USD", -500)]));
    let returned = step(&db, &metering, id, Action::Return, "maker").await.expect("comes back");
    assert_eq!((returned.state, returned.attempts[0].state.as_str()), (State::Failed, "paid"));
    assert_eq!(accounts(&db).await, balances([("2010:AA:USD", -500), ("2010:UA:USD", -500)]));
    let (place, why) = where_it_is(&db, &metering, of_ua).await;
    assert!(place == Place::Pending && why.contains("came back on") && why.contains("account closed"), "{why}");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let twice = step(&db, &metering, returned.id.as_str(), Action::Return, "maker").await;
    assert!(matches!(twice, Err(PayoutError::Refused(Refusal::NotNow { .. }))), "{twice:?}");

    let later = Signed { at: Instant::from_micros(NOW.micros() + 1_000_000), by: "maker".to_owned() };
    let run = propose::run(&db, &metering.versions(), None, &later).await.expect("runs");
    assert_eq!(run.proposed.iter().map(|of| of.amount.minor()).collect::<Vec<_>>(), [500], "the next payout takes it");
}

async fn a_run_proposes_for_everybody_who_is_due_and_says_who_waits(db: Db) {
    let (metering, _) = available(&db).await;
    on_file(&db, "UA", &open()).await;
    let run = async || propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    let first = run().await;
    assert_eq!(first.proposed.iter().map(|of| (&*of.consumer, of.amount.minor())).collect::<Vec<_>>(), [("UA", 500)]);
    assert_eq!(first.waiting.iter().map(|of| &*of.consumer).collect::<Vec<_>>(), ["AA"]);
    assert_eq!(first.waiting[0].why.len(), 3, "{:?}", first.waiting[0].why);
    let again = run().await;
    assert!(again.proposed.is_empty() && again.waiting == first.waiting, "{again:?}");
    let nobody = propose::run(&db, &metering.versions(), Some("nobody"), &signed("maker")).await.expect("runs");
    assert_eq!(nobody, propose::Run::default());
}

/// Its three stages: out of what is held, out of what is available, and after it was paid out.
async fn what_is_taken_back_after_it_was_paid_is_owed_and_kept_back_of_what_comes_next(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    on_file(&db, "UA", &open()).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 1), flight("UA", 2, "2013-01-11T12:00:00Z", 1)]).await;
    closed(&db, &metering, "2013-03-01").await;
    let (_, statements) = documents(&db).await;
    let id = statements[0].id.as_str();
    let proposed = step(&db, &metering, id, Action::Approve, "maker").await.expect("is proposed");
    assert_eq!(proposed.amount.minor(), 300);
    for action in [Action::Approve, Action::Send, Action::Pay] {
        step(&db, &metering, id, action, "checker").await.expect("moves on");
    }
    // One of the two flights never was: in March 1.50 is taken back, and held until the middle of April.
    send(&metering, &[retraction("UA", 1)]).await;
    closed(&db, &metering, "2013-04-01").await;
    assert_eq!(accounts(&db).await, balances([("1000:USD", -300), ("2000:UA:USD", 150)]), "out of what is held");
    assert_eq!(closed(&db, &metering, "2013-04-20").await.holds_passed, 1);
    assert_eq!(accounts(&db).await, balances([("1000:USD", -300), ("1200:UA:USD", 150)]), "nothing is there to take");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    assert!(run.waiting[0].why[0].contains("taken back"), "{run:?}");

    // Two flights in April earn 3.00, of which 1.50 pays that back.
    send(&metering, &[flight("UA", 3, "2013-04-10T12:00:00Z", 1), flight("UA", 4, "2013-04-11T12:00:00Z", 1)]).await;
    closed(&db, &metering, "2013-05-20").await;
    assert_eq!(accounts(&db).await, balances([("1000:USD", -300), ("2010:UA:USD", -150)]));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    assert_eq!(run.proposed.iter().map(|of| of.amount.minor()).collect::<Vec<_>>(), [150], "{run:?}");
    let pay = run.proposed[0].payout.as_str();
    step(&db, &metering, pay, Action::Approve, "checker").await.expect("is approved");

    // While it is on its way another flight is taken back; the payout fails, and what comes back pays for that.
    step(&db, &metering, pay, Action::Send, "checker").await.expect("is sent");
    send(&metering, &[retraction("UA", 3)]).await;
    closed(&db, &metering, "2013-06-20").await;
    let on_its_way = balances([("1000:USD", -300), ("1020:USD", -150), ("1200:UA:USD", 150)]);
    assert_eq!(accounts(&db).await, on_its_way);
    step(&db, &metering, pay, Action::Fail, "checker").await.expect("fails");
    assert_eq!(accounts(&db).await, balances([("1000:USD", -300)]));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_was_taken_back_since_the_proposal_stops_the_approval(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    on_file(&db, "UA", &open()).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 1), flight("UA", 2, "2013-01-11T12:00:00Z", 1)]).await;
    closed(&db, &metering, "2013-03-01").await;
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    let pay = run.proposed[0].payout.as_str();
    send(&metering, &[retraction("UA", 1)]).await;
    closed(&db, &metering, "2013-04-20").await;
    assert_eq!(accounts(&db).await, balances([("2010:UA:USD", -150)]), "out of what is available");
    let refused = step(&db, &metering, pay, Action::Approve, "checker").await;
    assert!(matches!(refused, Err(PayoutError::NotCovered { .. })), "{refused:?}");
    step(&db, &metering, pay, Action::Cancel, "maker").await.expect("is cancelled");
    let run = propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
    assert_eq!(run.proposed.iter().map(|of| of.amount.minor()).collect::<Vec<_>>(), [150]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn verify_names_a_payout_that_was_tampered_with(db: Db) {
    let (metering, statements) = available(&db).await;
    on_file(&db, "UA", &open()).await;
    let of_ua = statements.iter().find(|statement| statement.consumer == "UA").expect("has one");
    for by in ["maker", "checker"] {
        step(&db, &metering, of_ua.id.as_str(), Action::Approve, by).await.expect("goes on");
    }
    let unlock = match is_sqlite(&db) {
        true => "drop trigger payout_only_moves_on",
        false => "drop trigger payout_only_moves_on on payout",
    };
    sent(&db, &[unlock, "update payout set amount = 499"]).await.expect("is tampered with");
    let found = words(&verified(&db, &metering).await);
    assert!(found.iter().any(|difference| difference.contains("reserved, is not what payout pay_")), "{found:?}");
}

both_engines!(
    money_leaves_with_two_keys_and_every_step_is_booked,
    what_comes_back_is_paid_by_another_payout,
    what_the_bank_sends_back_after_it_had_booked_it_is_paid_again,
    a_run_proposes_for_everybody_who_is_due_and_says_who_waits,
    what_is_taken_back_after_it_was_paid_is_owed_and_kept_back_of_what_comes_next,
    what_was_taken_back_since_the_proposal_stops_the_approval,
    verify_names_a_payout_that_was_tampered_with,
);
