//! What a simulation found: sums, who pays more and who less, component by component.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::rating::line::LineKind;
use crate::domain::simulation::tally::Pair;
use crate::domain::simulation::tally::Side;
use crate::domain::simulation::tally::Tally;

/// An amount under the published books and under the one that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub before: Money,
    pub after: Money,
    pub change: Money,
}

/// How much what a consumer pays net (charges less rewards) changes, in percent of what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    Down50OrMore,
    Down10To50,
    Down1To10,
    /// By less than one percent.
    AboutTheSame,
    Up1To10,
    Up10To50,
    Up50OrMore,
    /// It came to nothing before.
    FromNothing,
}

/// The consumers of one band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InBand {
    pub band: Band,
    pub consumers: u64,
    pub change: Money,
}

/// One consumer, and what changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mover {
    pub consumer: String,
    #[serde(flatten)]
    pub amounts: Difference,
}

/// Consumers whose amount moves one way, and by how much together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub consumers: u64,
    pub change: Money,
}

/// Everything in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfCurrency {
    pub currency: Currency,
    /// Fees, charges and minimums, without tax.
    pub revenue: Difference,
    pub rewards: Difference,
    /// Revenue less rewards.
    pub net: Difference,
    pub consumers: u64,
    /// Every band, also those that nobody is in.
    pub distribution: Vec<InBand>,
    /// Who pays more, or gets less, the largest change first.
    pub pay_more: Vec<Mover>,
    /// Who pays less, or gets more.
    pub pay_less: Vec<Mover>,
}

/// One component of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfComponent {
    pub plan: String,
    pub component: String,
    pub kind: LineKind,
    #[serde(flatten)]
    pub amounts: Difference,
    /// Consumers for whom it comes to less, and to more.
    pub less: Moved,
    pub more: Moved,
    /// The consumer for whom it changes most.
    pub largest: Option<Mover>,
}

/// The comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub currencies: Vec<OfCurrency>,
    pub components: Vec<OfComponent>,
}

impl Difference {
    pub fn new(before: Money, after: Money) -> Result<Self, MoneyError> {
        Ok(Self { before, after, change: after.checked_sub(before)? })
    }

    fn of(pair: Pair, currency: Currency) -> Result<Self, MoneyError> {
        Self::new(Money::from_minor(pair.before, currency), Money::from_minor(pair.after, currency))
    }
}

impl Band {
    pub const ALL: [Self; 8] = [
        Self::Down50OrMore,
        Self::Down10To50,
        Self::Down1To10,
        Self::AboutTheSame,
        Self::Up1To10,
        Self::Up10To50,
        Self::Up50OrMore,
        Self::FromNothing,
    ];

    /// Each bound belongs to the band that is farther from zero.
    pub fn of(amounts: &Difference) -> Self {
        let change = i128::from(amounts.change.minor());
        let base = i128::from(amounts.before.minor()).abs();
        if change == 0 {
            return Self::AboutTheSame;
        }
        if base == 0 {
            return Self::FromNothing;
        }
        let reaches = |percent: i128| {
            change.abs().saturating_mul(100).checked_sub(base.saturating_mul(percent)).is_some_and(|over| over >= 0)
        };
        match (change < 0, reaches(50), reaches(10), reaches(1)) {
            (_, _, _, false) => Self::AboutTheSame,
            (true, true, ..) => Self::Down50OrMore,
            (true, _, true, _) => Self::Down10To50,
            (true, ..) => Self::Down1To10,
            (false, true, ..) => Self::Up50OrMore,
            (false, _, true, _) => Self::Up10To50,
            (false, ..) => Self::Up1To10,
        }
    }

    /// `-50 … -10 %`
    pub fn label(self) -> &'static str {
        match self {
            Self::Down50OrMore => "-50 % or more",
            Self::Down10To50 => "-50 … -10 %",
            Self::Down1To10 => "-10 … -1 %",
            Self::AboutTheSame => "about the same",
            Self::Up1To10 => "+1 … +10 %",
            Self::Up10To50 => "+10 … +50 %",
            Self::Up50OrMore => "+50 % or more",
            Self::FromNothing => "from nothing",
        }
    }
}

impl Moved {
    fn nobody(currency: Currency) -> Self {
        Self { consumers: 0, change: Money::zero(currency) }
    }

    fn add(&mut self, change: Money) -> Result<(), MoneyError> {
        self.consumers = self.consumers.saturating_add(1);
        self.change = self.change.checked_add(change)?;
        Ok(())
    }
}

/// What one consumer pays and gets in one currency.
#[derive(Clone, Copy, Default)]
struct Bill {
    revenue: Pair,
    rewards: Pair,
}

/// Consumers with theirs.
type Bills<'a> = Vec<(&'a str, Bill)>;

impl Outcome {
    /// Compares both sides, and names the `largest` changes each way.
    pub fn of(tally: &Tally, largest: usize) -> Result<Self, MoneyError> {
        let mut currencies: BTreeMap<&str, (Currency, Bills<'_>)> = BTreeMap::new();
        let mut components: Vec<OfComponent> = Vec::with_capacity(tally.parts.len());
        for (part, currency) in &tally.parts {
            components.push(OfComponent {
                plan: part.plan.clone(),
                component: part.component.clone(),
                kind: part.kind,
                amounts: Difference::of(Pair::default(), *currency)?,
                less: Moved::nobody(*currency),
                more: Moved::nobody(*currency),
                largest: None,
            });
        }
        for (consumer, amounts) in tally.consumers() {
            let mut bills: BTreeMap<&str, (Currency, Bill)> = BTreeMap::new();
            for (number, pair) in amounts {
                let Some((part, currency)) = tally.parts.get(*number) else { continue };
                if let Some(component) = components.get_mut(*number) {
                    component.add(consumer, Difference::of(*pair, *currency)?)?;
                }
                let (_, bill) = bills.entry(part.currency).or_insert((*currency, Bill::default()));
                let sum = if part.kind == LineKind::Reward { &mut bill.rewards } else { &mut bill.revenue };
                sum.add(Side::Before, pair.before)?;
                sum.add(Side::After, pair.after)?;
            }
            for (code, (currency, bill)) in bills {
                currencies.entry(code).or_insert_with(|| (currency, Vec::new())).1.push((consumer, bill));
            }
        }
        components.sort_by(|a, b| (&a.plan, &a.component, a.kind).cmp(&(&b.plan, &b.component, b.kind)));
        let currencies = currencies.into_values().map(|(currency, bills)| of_currency(currency, &bills, largest));
        Ok(Self { currencies: currencies.collect::<Result<_, _>>()?, components })
    }
}

impl OfComponent {
    fn add(&mut self, consumer: &str, amounts: Difference) -> Result<(), MoneyError> {
        self.amounts = self.amounts.plus(&amounts)?;
        let change = amounts.change;
        if change.is_zero() {
            return Ok(());
        }
        if change.is_negative() {
            self.less.add(change)?
        } else {
            self.more.add(change)?
        }
        let size = |mover: &Mover| mover.amounts.change.minor().unsigned_abs();
        if self.largest.as_ref().is_none_or(|largest| size(largest) < change.minor().unsigned_abs()) {
            self.largest = Some(Mover { consumer: consumer.to_owned(), amounts });
        }
        Ok(())
    }
}

impl Difference {
    fn plus(&self, other: &Self) -> Result<Self, MoneyError> {
        Self::new(self.before.checked_add(other.before)?, self.after.checked_add(other.after)?)
    }

    fn minus(&self, other: &Self) -> Result<Self, MoneyError> {
        Self::new(self.before.checked_sub(other.before)?, self.after.checked_sub(other.after)?)
    }
}

fn of_currency(currency: Currency, bills: &[(&str, Bill)], largest: usize) -> Result<OfCurrency, MoneyError> {
    let nothing = Difference::of(Pair::default(), currency)?;
    let (mut revenue, mut rewards) = (nothing, nothing);
    let mut distribution = Band::ALL.map(|band| InBand { band, consumers: 0, change: Money::zero(currency) });
    let mut movers: Vec<(&str, Difference)> = Vec::new();
    for (consumer, bill) in bills {
        let (paid, got) = (Difference::of(bill.revenue, currency)?, Difference::of(bill.rewards, currency)?);
        (revenue, rewards) = (revenue.plus(&paid)?, rewards.plus(&got)?);
        let net = paid.minus(&got)?;
        let band = Band::of(&net);
        for in_band in distribution.iter_mut().filter(|in_band| in_band.band == band) {
            in_band.consumers = in_band.consumers.saturating_add(1);
            in_band.change = in_band.change.checked_add(net.change)?;
        }
        if !net.change.is_zero() {
            movers.push((consumer, net));
        }
    }
    // Equal changes by name, so that the same is said every time.
    movers.sort_by_key(|(consumer, net)| (Reverse(net.change.minor()), *consumer));
    let mover =
        |(consumer, amounts): &(&str, Difference)| Mover { consumer: (*consumer).to_owned(), amounts: *amounts };
    let more = movers.iter().take_while(|(_, net)| !net.change.is_negative()).take(largest).map(mover).collect();
    movers.sort_by_key(|(consumer, net)| (net.change.minor(), *consumer));
    let less = movers.iter().take_while(|(_, net)| net.change.is_negative()).take(largest).map(mover).collect();
    Ok(OfCurrency {
        currency,
        revenue,
        rewards,
        net: revenue.minus(&rewards)?,
        consumers: u64::try_from(bills.len()).unwrap_or(u64::MAX),
        distribution: distribution.to_vec(),
        pay_more: more,
        pay_less: less,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::from_minor(minor, Currency::from_code("EUR").expect("EUR exists"))
    }

    fn tally(amounts: &[(&str, &str, LineKind, i64, i64)]) -> Tally {
        let mut tally = Tally::default();
        for (consumer, component, kind, before, after) in amounts {
            let consumer = tally.consumer(consumer);
            tally.add(consumer, "pro", (component, *kind), Side::Before, eur(*before)).expect("fits");
            tally.add(consumer, "pro", (component, *kind), Side::After, eur(*after)).expect("fits");
        }
        tally
    }

    #[test]
    fn a_bound_of_a_band_is_in_the_one_that_is_farther_from_zero() {
        let band = |before, after| Band::of(&Difference::new(eur(before), eur(after)).expect("fits"));
        for (before, after, expected) in [
            (10_000, 5_000, Band::Down50OrMore),
            (10_000, 5_001, Band::Down10To50),
            (10_000, 9_000, Band::Down10To50),
            (10_000, 9_001, Band::Down1To10),
            (10_000, 9_900, Band::Down1To10),
            (10_000, 9_901, Band::AboutTheSame),
            (10_000, 10_099, Band::AboutTheSame),
            (10_000, 10_100, Band::Up1To10),
            (10_000, 11_000, Band::Up10To50),
            (10_000, 15_000, Band::Up50OrMore),
            (0, 1, Band::FromNothing),
            (0, 0, Band::AboutTheSame),
            // Who is paid 100.00 and then 60.00 is worse off by 40 %.
            (-10_000, -6_000, Band::Up10To50),
        ] {
            assert_eq!(band(before, after), expected, "{before} → {after}");
        }
    }

    #[test]
    fn charges_less_rewards_is_what_a_consumer_pays() {
        let outcome = Outcome::of(
            &tally(&[
                ("acme", "calls", LineKind::Charge, 1_000, 1_500),
                ("acme", "bonus", LineKind::Reward, 200, 100),
                ("blue", "calls", LineKind::Charge, 300, 100),
                ("cara", "calls", LineKind::Charge, 50, 50),
            ]),
            10,
        )
        .expect("fits");
        let all = &outcome.currencies[0];
        assert_eq!((all.revenue.before, all.revenue.after, all.revenue.change), (eur(1_350), eur(1_650), eur(300)));
        assert_eq!((all.rewards.change, all.net.change, all.consumers), (eur(-100), eur(400), 3));
        let named = |movers: &[Mover]| -> Vec<(String, i64)> {
            movers.iter().map(|mover| (mover.consumer.clone(), mover.amounts.change.minor())).collect()
        };
        assert_eq!(named(&all.pay_more), [("acme".to_owned(), 600)]);
        assert_eq!(named(&all.pay_less), [("blue".to_owned(), -200)]);
        let calls = outcome.components.iter().find(|component| component.component == "calls").expect("is there");
        assert_eq!(
            (calls.less, calls.more),
            (Moved { consumers: 1, change: eur(-200) }, Moved { consumers: 1, change: eur(500) })
        );
        assert_eq!(calls.largest.as_ref().map(|mover| mover.consumer.as_str()), Some("acme"));
    }

    proptest! {
        /// Nothing is lost between the rows and the sums: components, bands and currencies all add up to the same change.
        #[test]
        fn every_sum_adds_up_to_the_same_change(amounts in prop::collection::vec((0_usize..5, 0_usize..3, -1_000_i64..1_000, -1_000_i64..1_000), 0..40)) {
            let consumers = ["a", "b", "c", "d", "e"];
            let components = [("x", LineKind::Fee), ("y", LineKind::Charge), ("z", LineKind::Reward)];
            let amounts: Vec<_> = amounts.into_iter().map(|(consumer, component, before, after)| {
                let (component, kind) = components[component];
                (consumers[consumer], component, kind, before, after)
            }).collect();
            let tally = tally(&amounts);
            let outcome = Outcome::of(&tally, 2).expect("fits");
            let signed = |kind, change: Money| if kind == LineKind::Reward { -change.minor() } else { change.minor() };
            let by_row: i64 = tally.rows().map(|row| row.expect("fits")).map(|row| signed(row.kind, row.amounts.change)).sum();
            let by_component: i64 = outcome.components.iter().map(|part| signed(part.kind, part.amounts.change)).sum();
            let moved: i64 = outcome.components.iter().map(|part| signed(part.kind, part.less.change) + signed(part.kind, part.more.change)).sum();
            let by_currency: i64 = outcome.currencies.iter().map(|all| all.net.change.minor()).sum();
            let by_band: i64 = outcome.currencies.iter().flat_map(|all| &all.distribution).map(|band| band.change.minor()).sum();
            let in_bands: u64 = outcome.currencies.iter().flat_map(|all| &all.distribution).map(|band| band.consumers).sum();
            prop_assert_eq!([by_component, moved, by_currency, by_band], [by_row; 4]);
            prop_assert_eq!(in_bands, outcome.currencies.iter().map(|all| all.consumers).sum::<u64>());
        }
    }
}
