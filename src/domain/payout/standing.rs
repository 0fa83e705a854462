//! Where the money of a payout statement is, and why it is not further.

use jiff::civil::Date;
use serde::Serialize;

use crate::domain::document::Number;
use crate::domain::document::payout::Hold;
use crate::domain::ids::PayId;
use crate::domain::money::Money;
use crate::domain::payout::AttemptState;
use crate::domain::payout::Payout;
use crate::domain::payout::State;
use crate::domain::payout::due::Why;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// The least that can be said of all of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Some of it is held.
    Held,
    /// It is available, and in no payout.
    Pending,
    Proposed,
    Approved,
    Sent,
    Paid,
    /// It grants nothing.
    Nothing,
}

/// Where it is, in a word and in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub state: Place,
    pub why: String,
    /// The payout that took it, the newest if there are several.
    pub payout: Option<PayId>,
}

/// What of a statement paid for an invoice of its consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netted {
    pub program: String,
    pub amount: Money,
    pub invoice: Number,
    pub on: Date,
}

/// What is known of a statement.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub statement: &'a str,
    pub holds: &'a [Hold],
    pub netted: &'a [Netted],
    /// Every payout that ever took something of it, in the order in which they were proposed.
    pub payouts: &'a [Payout],
    /// Why what is available to its consumer is not paid out now; none of it if nothing is in the way.
    pub why: &'a [Why],
    pub zone: &'a Zone,
    pub now: Instant,
}

impl Known<'_> {
    pub fn standing(&self) -> Standing {
        let mut said: Vec<(Place, String)> = Vec::new();
        let mut payout = None;
        for hold in self.holds {
            let mut left = hold.amount.minor();
            for netted in self.netted.iter().filter(|netted| netted.program == hold.program) {
                let Netted { amount, invoice, on, .. } = netted;
                left = left.saturating_sub(amount.minor());
                said.push((Place::Paid, format!("{amount} paid for invoice {invoice} on {on}")));
            }
            if left == 0 {
                continue;
            }
            let taken = self.payouts.iter().rev().find(|payout| payout.keeps(self.statement, &hold.program));
            said.push(match taken {
                Some(taken) => {
                    payout = payout.max(Some(taken.id.clone()));
                    self.taken(taken)
                }
                None if hold.passed_at.is_some() => (Place::Pending, self.pending(hold)),
                None if hold.held_until > self.now => {
                    (Place::Held, format!("held until {}", self.day(hold.held_until)))
                }
                None => {
                    let day = self.day(hold.held_until);
                    (Place::Held, format!("its hold ended on {day}: the next closing makes it available"))
                }
            });
        }
        said.sort();
        said.dedup();
        let state = said.first().map_or(Place::Nothing, |(place, _)| *place);
        let why: Vec<String> = said.into_iter().map(|(_, why)| why).collect();
        let why = if why.is_empty() { "it grants nothing".to_owned() } else { why.join("; ") };
        Standing { state, why, payout }
    }

    fn day(&self, at: Instant) -> String {
        at.date_in(self.zone).to_string()
    }

    fn pending(&self, hold: &Hold) -> String {
        let mut why: Vec<String> = self.why.iter().map(ToString::to_string).collect();
        if hold.amount.is_negative() {
            why.insert(0, format!("{} is taken off the next payout", hold.amount));
        } else if why.is_empty() {
            why.push("available: the next run of payouts proposes it".to_owned());
        }
        if let Some(returned) = self.payouts.iter().rev().find(|payout| payout.state == State::Failed) {
            let last = returned.attempts.last();
            let reason =
                last.and_then(|last| last.return_reason.as_deref().or(last.reason.as_deref())).unwrap_or_default();
            let on = returned.ended.as_ref().map(|ended| self.day(ended.at)).unwrap_or_default();
            why.push(format!("payout {} came back on {on}: {reason}", returned.id));
        }
        why.join(", and ")
    }

    fn taken(&self, payout: &Payout) -> (Place, String) {
        let id = &payout.id;
        let last = payout.attempts.last();
        let day = |at: Option<Instant>| at.map(|at| self.day(at)).unwrap_or_default();
        match payout.state {
            State::Proposed => (Place::Proposed, format!("payout {id} is proposed and waits for a second key")),
            State::Approved => {
                let failed = payout.attempts.iter().rev().find(|attempt| attempt.state == AttemptState::Failed);
                let before = failed.map(|attempt| {
                    let reason = attempt.reason.as_deref().unwrap_or_default();
                    format!(" again, since attempt {} failed on {}: {reason}", attempt.n, day(attempt.ended_at))
                });
                (Place::Approved, format!("payout {id} is approved, and is to be sent{}", before.unwrap_or_default()))
            }
            State::Sent => {
                let on = day(last.and_then(|last| last.sent_at));
                (Place::Sent, format!("payout {id} was sent on {on}, and is not booked by the bank yet"))
            }
            State::Paid | State::Failed | State::Cancelled => {
                (Place::Paid, format!("paid on {} by payout {id}", day(last.and_then(|last| last.ended_at))))
            }
        }
    }
}

impl Payout {
    /// Whether it holds this part of a statement, and has not let it go.
    fn keeps(&self, statement: &str, program: &str) -> bool {
        let has = self.parts.iter().any(|part| part.statement.as_str() == statement && part.program == program);
        has && !matches!(self.state, State::Failed | State::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::payee::Gate;
    use crate::domain::payout::Action;
    use crate::domain::payout::tests::eur;
    use crate::domain::payout::tests::proposed;
    use crate::domain::payout::tests::step;

    fn hold(program: &str, minor: i64, until: &str, passed: bool) -> Hold {
        let held_until = Instant::parse(until).expect("a time");
        Hold { program: program.to_owned(), amount: eur(minor), held_until, passed_at: passed.then_some(held_until) }
    }

    fn standing(holds: &[Hold], payouts: &[Payout], why: &[Why]) -> (Place, String) {
        let now = Instant::parse("2026-11-30T12:00:00Z").expect("a time");
        let known = Known { statement: "po_1", holds, netted: &[], payouts, why, zone: &Zone::utc(), now };
        let Standing { state, why, .. } = known.standing();
        (state, why)
    }

    #[test]
    fn a_statement_always_says_why_it_waits() {
        let held = [hold("loyalty", 5000, "2026-12-09T00:00:00Z", false)];
        assert_eq!(standing(&held, &[], &[]), (Place::Held, "held until 2026-12-09".to_owned()));
        let over = [hold("loyalty", 5000, "2026-11-09T00:00:00Z", false)];
        assert!(standing(&over, &[], &[]).1.contains("the next closing"));
        let passed = [hold("loyalty", 5000, "2026-11-09T00:00:00Z", true)];
        assert!(standing(&passed, &[], &[]).1.starts_with("available"));
        let why = [Why::Gate(Gate::NoMethod), Why::Gate(Gate::NotVerified)];
        let gated = "no payout method is on file, and the consumer is not verified";
        assert_eq!(standing(&passed, &[], &why), (Place::Pending, gated.to_owned()));
        assert_eq!(standing(&[], &[], &[]).0, Place::Nothing);
        let both = [passed[0].clone(), hold("bounty", 1, "2026-12-09T00:00:00Z", false)];
        let (state, why) = standing(&both, &[proposed()], &[]);
        let expected = "held until 2026-12-09; payout pay_1 is proposed and waits for a second key";
        assert_eq!((state, &*why), (Place::Held, expected));
    }

    #[test]
    fn what_paid_for_an_invoice_says_so_and_the_rest_waits() {
        let holds = [hold("loyalty", 5000, "2026-11-09T00:00:00Z", true)];
        let now = Instant::parse("2026-11-30T12:00:00Z").expect("a time");
        let netted = |minor| Netted {
            program: "loyalty".to_owned(),
            amount: eur(minor),
            invoice: Number { prefix: "INV-".to_owned(), ordinal: 7 },
            on: jiff::civil::date(2026, 11, 10),
        };
        let of = |netted: &[Netted]| {
            let zone = Zone::utc();
            let known = Known { statement: "po_1", holds: &holds, netted, payouts: &[], why: &[], zone: &zone, now };
            let Standing { state, why, .. } = known.standing();
            (state, why)
        };
        let all = "50.00 EUR paid for invoice INV-000007 on 2026-11-10";
        assert_eq!(of(&[netted(5000)]), (Place::Paid, all.to_owned()));
        let (state, why) = of(&[netted(2000)]);
        assert_eq!(state, Place::Pending);
        assert!(
            why.starts_with("available") && why.ends_with("20.00 EUR paid for invoice INV-000007 on 2026-11-10"),
            "{why}"
        );
    }

    #[test]
    fn a_payout_carries_its_statements_along() {
        let passed = [hold("loyalty", 5000, "2026-11-09T00:00:00Z", true)];
        let day = |day: i64| Instant::parse("2026-11-30T12:00:00Z").expect("a time").micros() + day * 86_400_000_000;
        let approved = step(&proposed(), Action::Approve, day(0)).expect("is approved");
        let sent = step(&approved, Action::Send, day(1)).expect("is sent");
        let of = |payout: &Payout| standing(&passed, std::slice::from_ref(payout), &[]);
        assert_eq!(of(&approved), (Place::Approved, "payout pay_1 is approved, and is to be sent".to_owned()));
        assert!(of(&sent).1.contains("sent on 2026-12-01"), "{:?}", of(&sent));
        let paid = step(&sent, Action::Pay, day(2)).expect("is paid");
        assert_eq!(of(&paid), (Place::Paid, "paid on 2026-12-02 by payout pay_1".to_owned()));
        let again = step(&sent, Action::Retry, day(2)).expect("is tried again");
        assert!(of(&again).1.contains("since attempt 1 failed on 2026-12-02"), "{:?}", of(&again));
        let returned = of(&step(&paid, Action::Return, day(3)).expect("comes back"));
        assert!(returned.0 == Place::Pending && returned.1.contains("came back on 2026-12-03"), "{returned:?}");
        let (state, why) = of(&step(&sent, Action::Fail, day(3)).expect("fails"));
        assert!(state == Place::Pending && why.contains("came back on 2026-12-03"), "{why}");
        let cancelled = step(&approved, Action::Cancel, day(3)).expect("is cancelled");
        assert_eq!(of(&cancelled).0, Place::Pending);
    }
}
