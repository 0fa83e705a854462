//! Whether a consumer is due to be paid, and every reason why not.

use std::fmt;

use crate::domain::book::payouts::Payouts;
use crate::domain::ids::PayId;
use crate::domain::money::Money;
use crate::domain::payee::Gate;
use crate::domain::payee::Payee;
use crate::domain::payout::State;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::PeriodError;
use crate::domain::period::Rhythm;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Why what is available is not paid out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Gate(Gate),
    /// Not above zero: what was paid out before is owed back first.
    Nothing {
        available: Money,
    },
    /// Too little: it waits for what comes to it.
    Below {
        available: Money,
        threshold: Money,
    },
    /// SEPA moves euros only.
    NotInEuros {
        available: Money,
    },
    /// There is a payout in this interval already.
    NotYet {
        next: Instant,
        zone: Zone,
    },
    /// One at a time: another payout of the consumer is not at its end.
    UnderWay {
        payout: PayId,
        state: State,
    },
}

/// What is in the way of a payout of what is available, whoever asks for it.
pub fn obstacles(available: Money, payee: &Payee, terms: &Payouts) -> Vec<Why> {
    let mut why: Vec<Why> = payee.gates().into_iter().map(Why::Gate).collect();
    let is_sepa = payee.method.as_ref().is_some_and(|method| method.name() == "sepa");
    if is_sepa && available.currency().code() != "EUR" {
        why.push(Why::NotInEuros { available });
    }
    let threshold = terms.threshold(available.currency());
    if available.minor() <= 0 {
        why.push(Why::Nothing { available });
    } else if available.minor() < threshold.minor() {
        why.push(Why::Below { available, threshold });
    }
    why
}

/// When the schedule lets the next payout be proposed, if it does not now. `last` is when the last one was.
pub fn next(terms: &Payouts, zone: &Zone, last: Option<Instant>, now: Instant) -> Result<Option<Instant>, PeriodError> {
    let (Some(interval), Some(last)) = (terms.schedule, last) else { return Ok(None) };
    let calendar = Calendar { rhythm: Rhythm::each(interval), anchor: Anchor::Calendar, zone: zone.clone() };
    let running = calendar.period_at(now, now)?;
    Ok(running.contains(last).then_some(running.to()))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate(gate) => gate.fmt(f),
            Self::Nothing { available } => {
                write!(f, "all in all {available} is available, since more was taken back than has been earned since")
            }
            Self::Below { available, threshold } => {
                write!(f, "{available} is below the threshold of {threshold}: it rolls forward")
            }
            Self::NotInEuros { available } => {
                write!(f, "SEPA moves euros, not {}: another payout method is needed", available.currency())
            }
            Self::NotYet { next, zone } => {
                write!(f, "there was a payout in this interval: the next is due on {}", next.date_in(zone))
            }
            Self::UnderWay { payout, state: State::Proposed } => {
                write!(f, "payout {payout} is proposed and waits for a second key")
            }
            Self::UnderWay { payout, state } => write!(f, "payout {payout} is {state}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::payout::tests::eur;
    use crate::domain::payout::tests::open;
    use crate::domain::period::Interval;

    fn terms() -> Payouts {
        let threshold = BTreeMap::from([("EUR".to_owned(), eur(2500))]);
        Payouts { schedule: Some(Interval::Month), threshold, debtor: None, net_invoices: false }
    }

    fn words(why: &[Why]) -> Vec<String> {
        why.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_below_the_threshold_rolls_forward_and_says_so() {
        assert_eq!(obstacles(eur(2500), &open(), &terms()), []);
        let below = obstacles(eur(2499), &open(), &terms());
        assert_eq!(words(&below), ["24.99 EUR is below the threshold of 25.00 EUR: it rolls forward"]);
        assert_eq!(obstacles(eur(1), &open(), &Payouts::default()), []);
        assert_eq!(obstacles(eur(-3), &open(), &terms()), [Why::Nothing { available: eur(-3) }]);
    }

    #[test]
    fn every_obstacle_is_named() {
        let why = words(&obstacles(eur(1), &Payee { sanctioned: true, ..Payee::default() }, &terms()));
        assert_eq!(why.len(), 5, "{why:?}");
        assert!(why[0].contains("sanctions") && why[1].contains("no payout method") && why[3].contains("tax form"));
    }

    #[test]
    fn one_payout_an_interval() {
        let zone = Zone::named("Europe/Amsterdam").expect("a zone");
        let at = |text: &str| Instant::parse(text).expect("a time");
        let next = |last: Option<&str>, now: &str| next(&terms(), &zone, last.map(at), at(now)).expect("a calendar");
        assert_eq!(next(None, "2026-11-30T12:00:00Z"), None);
        assert_eq!(next(Some("2026-10-31T22:00:00Z"), "2026-11-30T12:00:00Z"), None);
        let december = Some(at("2026-11-30T23:00:00Z"));
        assert_eq!(next(Some("2026-10-31T23:00:00Z"), "2026-11-30T12:00:00Z"), december);
    }
}
