//! Payouts: money that leaves, and each try to send it.
//!
//! A payout takes everything that is available to a consumer in one currency: what its payout statements grant, and what they
//! take back. It is proposed with one key and approved with another; what is approved is the amount and the destination that
//! were proposed, to the cent and to the letter, or nothing.
//!
//! A try that fails either ends the payout ([`Action::Fail`]: the money is the consumer's again, and the next payout takes it,
//! after two people have looked at it), or, where it was the way that failed and not the destination, the payout is as it was
//! when it was approved ([`Action::Retry`]) and the next try is another attempt. So the same money is never approved twice by
//! accident, and never sent to a new destination under an old approval. What was paid already and comes back later
//! ([`Action::Return`]) ends as failed too; its attempt says when it was paid, and when it came back.

pub mod due;
pub mod netting;
pub mod standing;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::domain::ids::PayId;
use crate::domain::ids::PayoutId;
use crate::domain::money::Money;
use crate::domain::payee::Gate;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::time::Instant;

/// How far a payout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a second key.
    Proposed,
    /// Its money is set apart, to be sent.
    Approved,
    /// On its way.
    Sent,
    /// Booked by the bank.
    Paid,
    /// It came back, and is the consumer's again.
    Failed,
    /// It never left.
    Cancelled,
}

/// What can be done with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Approve,
    Send,
    Pay,
    Fail,
    /// The attempt failed, the payout did not.
    Retry,
    /// It was paid, and came back all the same.
    Return,
    Cancel,
}

/// A name and a time under a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    pub at: Instant,
    /// A key, or the command that did it.
    pub by: String,
}

/// What a statement grants under one program, as a payout took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub statement: PayoutId,
    pub program: String,
    pub amount: Money,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptState {
    Ready,
    Sent,
    Paid,
    Failed,
    Cancelled,
}

/// One try to send a payout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Counted from 1.
    pub n: i64,
    #[serde(flatten)]
    pub method: Method,
    pub state: AttemptState,
    /// By which whoever carries it knows it.
    pub reference: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    pub at: Instant,
    pub sent_at: Option<Instant>,
    pub ended_at: Option<Instant>,
    /// When and why it came back after it was paid.
    pub returned_at: Option<Instant>,
    pub return_reason: Option<String>,
    /// The bank file that it stands in.
    pub file: Option<String>,
}

/// Money to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payout {
    pub id: PayId,
    pub consumer: String,
    pub amount: Money,
    pub state: State,
    /// What was on file when it was proposed: this is what is approved.
    pub destination: Method,
    pub parts: Vec<Part>,
    pub attempts: Vec<Attempt>,
    pub proposed: Signed,
    pub approved: Option<Signed>,
    /// When it was paid, failed or was cancelled; of a payout that was paid and came back, when it did.
    pub ended: Option<Signed>,
    pub book_version: String,
}

/// What is said with a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub reference: Option<String>,
    pub reason: Option<String>,
}

/// Why a step is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("payout {id} is {state}: it cannot be {} any more, or not yet", action.done())]
    NotNow { id: PayId, state: State, action: Action },
    #[error("payout {id} was proposed with this key: another key must approve it")]
    SameKey { id: PayId },
    #[error("payout {id} cannot be {}: {}", action.done(), gates.iter().map(Gate::to_string).collect::<Vec<_>>().join(", and "))]
    Gated { id: PayId, action: Action, gates: Vec<Gate> },
    #[error("the destination of {consumer} has changed since payout {id} was proposed")]
    OtherDestination { id: PayId, consumer: String },
    #[error("payout {id} stands in bank file {file}, which the bank may have")]
    InFile { id: PayId, file: String },
}

impl State {
    pub const ALL: [Self; 6] = [Self::Proposed, Self::Approved, Self::Sent, Self::Paid, Self::Failed, Self::Cancelled];

    /// Where an action leads from here, if it can be done. The database allows these steps, and no others.
    pub const fn after(self, action: Action) -> Option<Self> {
        match (self, action) {
            (Self::Proposed, Action::Approve) | (Self::Sent, Action::Retry) => Some(Self::Approved),
            (Self::Approved, Action::Send) => Some(Self::Sent),
            (Self::Sent, Action::Pay) => Some(Self::Paid),
            (Self::Sent, Action::Fail) | (Self::Paid, Action::Return) => Some(Self::Failed),
            (Self::Proposed | Self::Approved, Action::Cancel) => Some(Self::Cancelled),
            (Self::Proposed | Self::Approved | Self::Sent | Self::Paid | Self::Failed | Self::Cancelled, _) => None,
        }
    }

    /// Whether nothing comes after it, unless what was paid comes back.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Failed | Self::Cancelled)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Sent => "sent",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl AttemptState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Sent => "sent",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ready, Self::Sent, Self::Paid, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl Action {
    pub const ALL: [Self; 7] =
        [Self::Approve, Self::Send, Self::Pay, Self::Fail, Self::Retry, Self::Return, Self::Cancel];

    /// What a payout is then.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Send => "sent",
            Self::Pay => "paid",
            Self::Fail => "failed",
            Self::Retry => "tried again",
            Self::Return => "returned",
            Self::Cancel => "cancelled",
        }
    }
}

impl Payout {
    /// The payout after an action, and everything that is noted with it. `payee` is what is on file now.
    pub fn after(&self, action: Action, signed: Signed, note: Note, payee: &Payee) -> Result<Self, Refusal> {
        let id = self.id.clone();
        let state = self.state.after(action);
        let state = state.ok_or_else(|| Refusal::NotNow { id: id.clone(), state: self.state, action })?;
        if action == Action::Approve && signed.by == self.proposed.by {
            return Err(Refusal::SameKey { id });
        }
        if matches!(action, Action::Approve | Action::Send) {
            self.may_go(action, payee)?;
        }
        if let Some(file) = self.attempts.last().and_then(|last| last.file.clone()).filter(|_| action == Action::Cancel)
        {
            return Err(Refusal::InFile { id, file });
        }
        let mut after = Self { state, ..self.clone() };
        let at = signed.at;
        if let Some(last) = after.attempts.last_mut() {
            last.step(action, at, note);
        }
        if matches!(action, Action::Approve | Action::Retry) {
            let n = i64::try_from(after.attempts.len()).unwrap_or(i64::MAX).saturating_add(1);
            after.attempts.push(Attempt::ready(n, self.destination.clone(), at));
        }
        if action == Action::Approve {
            after.approved = Some(signed);
        } else if state.is_final() {
            after.ended = Some(signed);
        }
        Ok(after)
    }

    /// Whether it may go where it was proposed to.
    pub fn may_go(&self, action: Action, payee: &Payee) -> Result<(), Refusal> {
        let gates = payee.gates();
        if !gates.is_empty() {
            return Err(Refusal::Gated { id: self.id.clone(), action, gates });
        }
        if payee.method.as_ref() != Some(&self.destination) {
            return Err(Refusal::OtherDestination { id: self.id.clone(), consumer: self.consumer.clone() });
        }
        Ok(())
    }
}

impl Attempt {
    pub fn ready(n: i64, method: Method, at: Instant) -> Self {
        Self {
            n,
            method,
            state: AttemptState::Ready,
            reference: None,
            reason: None,
            at,
            sent_at: None,
            ended_at: None,
            returned_at: None,
            return_reason: None,
            file: None,
        }
    }

    fn step(&mut self, action: Action, at: Instant, note: Note) {
        let reason = || note.reason.unwrap_or_else(|| "no reason was given".to_owned());
        let (state, ended_at) = match action {
            Action::Approve => return,
            Action::Return => {
                (self.returned_at, self.return_reason) = (Some(at), Some(reason()));
                return;
            }
            Action::Send => (AttemptState::Sent, None),
            Action::Pay => (AttemptState::Paid, Some(at)),
            Action::Fail | Action::Retry => (AttemptState::Failed, Some(at)),
            Action::Cancel => (AttemptState::Cancelled, Some(at)),
        };
        if state == AttemptState::Sent {
            self.sent_at = Some(at);
        }
        if state == AttemptState::Failed {
            self.reason = Some(reason());
        }
        (self.state, self.ended_at) = (state, ended_at);
        self.reference = note.reference.or(self.reference.take());
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
pub(in crate::domain) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::Currency;

    pub fn eur(minor: i64) -> Money {
        Money::from_minor(minor, Currency::from_code("EUR").expect("EUR exists"))
    }

    pub fn at(micros: i64) -> Instant {
        Instant::from_micros(micros)
    }

    fn signed(by: &str, micros: i64) -> Signed {
        Signed { at: at(micros), by: by.to_owned() }
    }

    pub fn open() -> Payee {
        Payee { method: Some(Method::Manual), verified: true, tax_form: true, sanctioned: false }
    }

    pub fn proposed() -> Payout {
        let statement = PayoutId::parse("po_1").expect("an id");
        Payout {
            id: PayId::parse("pay_1").expect("an id"),
            consumer: "UA".to_owned(),
            amount: eur(5000),
            state: State::Proposed,
            destination: Method::Manual,
            parts: vec![Part { statement, program: "loyalty".to_owned(), amount: eur(5000) }],
            attempts: Vec::new(),
            proposed: signed("maker", 1),
            approved: None,
            ended: None,
            book_version: "v1".to_owned(),
        }
    }

    pub fn step(payout: &Payout, action: Action, micros: i64) -> Result<Payout, Refusal> {
        payout.after(action, signed("checker", micros), Note::default(), &open())
    }

    #[test]
    fn every_step_that_can_be_taken_and_no_other() {
        use Action::*;
        let table = [
            (State::Proposed, Approve, State::Approved),
            (State::Proposed, Cancel, State::Cancelled),
            (State::Approved, Send, State::Sent),
            (State::Approved, Cancel, State::Cancelled),
            (State::Sent, Pay, State::Paid),
            (State::Sent, Fail, State::Failed),
            (State::Sent, Retry, State::Approved),
            (State::Paid, Return, State::Failed),
        ];
        for state in State::ALL {
            for action in Action::ALL {
                let expected = table.iter().find(|(from, with, _)| (*from, *with) == (state, action));
                assert_eq!(state.after(action), expected.map(|(_, _, to)| *to), "{state} {action:?}");
            }
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn the_key_that_proposed_does_not_approve() {
        let by_maker = proposed().after(Action::Approve, signed("maker", 2), Note::default(), &open());
        assert_eq!(by_maker, Err(Refusal::SameKey { id: proposed().id }));
        let approved = step(&proposed(), Action::Approve, 2).expect("is approved");
        assert_eq!(approved.approved, Some(signed("checker", 2)));
        assert_eq!(approved.attempts, [Attempt::ready(1, Method::Manual, at(2))]);
    }

    #[test]
    fn what_was_approved_goes_where_it_was_approved_to_or_nowhere() {
        let approved = step(&proposed(), Action::Approve, 2).expect("is approved");
        let send = |payee: &Payee| approved.after(Action::Send, signed("maker", 3), Note::default(), payee);
        assert!(send(&open()).is_ok());
        let gates = vec![Gate::Sanctioned];
        let gated = Refusal::Gated { id: approved.id.clone(), action: Action::Send, gates };
        assert_eq!(send(&Payee { sanctioned: true, ..open() }), Err(gated));
        let iban = crate::domain::bank::Iban::parse("DE89370400440532013000").expect("an IBAN");
        let account = crate::domain::bank::BankAccount { name: "Jan".to_owned(), iban, bic: None };
        let elsewhere = Payee { method: Some(Method::Sepa(account)), ..open() };
        assert!(matches!(send(&elsewhere), Err(Refusal::OtherDestination { .. })));
    }

    #[test]
    fn a_try_that_failed_is_followed_by_another_attempt() {
        let sent =
            step(&step(&proposed(), Action::Approve, 2).expect("is approved"), Action::Send, 3).expect("is sent");
        let note = Note { reference: Some("B1".to_owned()), reason: Some("bank closed".to_owned()) };
        let again = sent.after(Action::Retry, signed("maker", 4), note, &open()).expect("may");
        let [failed, ready] = &*again.attempts else { panic!("two attempts: {again:?}") };
        assert_eq!((failed.state, failed.reason.as_deref()), (AttemptState::Failed, Some("bank closed")));
        assert_eq!((failed.sent_at, failed.ended_at, ready.n), (Some(at(3)), Some(at(4)), 2));
        assert_eq!((again.state, again.ended), (State::Approved, None));
    }

    #[test]
    fn what_a_bank_may_have_is_not_cancelled() {
        let mut approved = step(&proposed(), Action::Approve, 2).expect("is approved");
        approved.attempts[0].file = Some("TS1".to_owned());
        assert!(matches!(step(&approved, Action::Cancel, 3), Err(Refusal::InFile { .. })));
        assert!(step(&approved, Action::Send, 3).is_ok());
    }

    proptest! {
        /// Whatever is tried in whatever order: a payout ends at most once, and comes back at most once after it was paid; it
        /// is approved before it is sent, one attempt at most is open, and what is refused changes nothing.
        #[test]
        fn a_payout_goes_one_way(actions in prop::collection::vec(0..Action::ALL.len(), 0..20)) {
            let mut payout = proposed();
            for (micros, action) in (2..).zip(actions) {
                let Ok(after) = step(&payout, Action::ALL[action], micros) else { continue };
                let comes_back = (payout.state, Action::ALL[action]) == (State::Paid, Action::Return);
                prop_assert!(!payout.state.is_final() || comes_back, "nothing follows {}", payout.state);
                let returned = after.attempts.iter().filter(|attempt| attempt.returned_at.is_some()).count();
                prop_assert_eq!(returned, usize::from(comes_back));
                prop_assert_eq!(after.ended.is_some(), after.state.is_final());
                let open = after.attempts.iter().filter(|attempt| attempt.ended_at.is_none()).count();
                prop_assert_eq!(open, usize::from(matches!(after.state, State::Approved | State::Sent)));
                prop_assert!(after.approved.is_some() || matches!(after.state, State::Proposed | State::Cancelled));
                prop_assert_eq!((&after.amount, &after.parts, &after.destination), (&payout.amount, &payout.parts, &payout.destination));
                payout = after;
            }
        }
    }
}
