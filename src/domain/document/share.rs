//! Shares: what producers get of what others were charged.
//!
//! A charge belongs to producers by their parts of its quantity, as the meter counted it. Each of them has a percentage of
//! its part. All that is shared of one line is rounded together by largest remainder, so it never comes to more than was
//! charged. A share is earned by the document that says the charge, and paid by the next payout statement of the producer's
//! subscription. Where a charge is corrected, the shares of it are divided again, and the differences are earned, or taken
//! back, in the same way: so all of them together are the shares of what the charge comes to in the end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rust_decimal::Decimal;

use crate::domain::book::Book;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::SharedCharge;
use crate::domain::book::plan::UsageComponent;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::nano::Nano;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::money::round_together;
use crate::domain::period::Period;
use crate::domain::rating::explain;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// What a producer gets of one charge of one period, or gives back of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who was charged, for which period, by which component.
    pub charged: SubscriptionId,
    pub period: Period,
    pub charge: String,
    /// The producer's subscription, and the component of its plan.
    pub to: SubscriptionId,
    pub component: String,
    pub program: String,
    /// In percent.
    pub rate: Decimal,
    /// How much of the charge was for what is the producer's.
    pub base: Money,
    pub amount: Money,
}

/// A producer who gets a part of a charge of some plan, as a price book had it where the charge's period ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharer {
    pub book_version: String,
    pub until: Instant,
    pub plan: String,
    pub charge: String,
    /// The dimension that names the producer, and the name.
    pub dimension: String,
    pub producer: String,
    pub subscription: SubscriptionId,
    pub component: String,
    pub program: String,
    pub rate: Decimal,
}

/// Who gets a part of which charge.
#[derive(Clone, Debug, Default)]
pub struct Terms(BTreeMap<(String, Instant, SharedCharge), Vec<Sharer>>);

/// The shares that a closing has to do with.
#[derive(Clone, Debug, Default)]
pub struct Sharing {
    /// Who shares what is charged now.
    pub terms: Terms,
    /// What corrections of closed periods give and take.
    pub corrected: Vec<Share>,
    /// What was earned before and is on no payout statement yet.
    pub waiting: Vec<Share>,
}

/// A period whose charges are shared.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub subscription: &'a SubscriptionId,
    pub period: Period,
    pub plan: &'a Plan,
    pub book_version: &'a str,
    /// By meter.
    pub usage: &'a BTreeMap<String, Vec<Usage>>,
}

/// The charges that somebody has a share of, each with the dimensions that name producers.
pub fn shared_charges(book: &Book) -> BTreeMap<SharedCharge, BTreeSet<String>> {
    let mut shared: BTreeMap<SharedCharge, BTreeSet<String>> = BTreeMap::new();
    for component in book.plans.values().flat_map(|plan| &plan.components) {
        if let Component::Share(share) = component {
            for charge in &share.of {
                shared.entry(charge.clone()).or_default().insert(share.producer.clone());
            }
        }
    }
    shared
}

/// Whom the usage names that a period under a plan is charged for, where charges of it are shared.
pub fn producers<'a>(
    plan: &Plan,
    shared: &BTreeMap<SharedCharge, BTreeSet<String>>,
    usage: &'a BTreeMap<String, Vec<Usage>>,
) -> BTreeSet<&'a str> {
    let mut named = BTreeSet::new();
    for component in plan.components.iter().filter(|_| !shared.is_empty()) {
        let Component::Usage(charge) = component else { continue };
        let key = SharedCharge { plan: plan.id.clone(), charge: charge.id.clone() };
        let Some(dimensions) = shared.get(&key) else { continue };
        for row in usage.get(&charge.meter).into_iter().flatten() {
            named.extend(dimensions.iter().filter_map(|name| row.dimensions.get(name)).map(String::as_str));
        }
    }
    named
}

/// What a producer's subscription shares in at the end of a time, by the plan that it is billed under then.
pub fn sharers_of(subscription: &Subscription, book_version: &str, book: &Book, until: Instant) -> Vec<Sharer> {
    let last = Instant::from_micros(until.micros().saturating_sub(1));
    let runs = subscription.starts_at <= last && subscription.ends_at.is_none_or(|end| last < end);
    let plan = book.plans.get(subscription.plan_at(last)).filter(|_| runs);
    let mut sharers = Vec::new();
    for component in plan.into_iter().flat_map(|plan| &plan.components) {
        let Component::Share(share) = component else { continue };
        sharers.extend(share.of.iter().map(|of| Sharer {
            book_version: book_version.to_owned(),
            until,
            plan: of.plan.clone(),
            charge: of.charge.clone(),
            dimension: share.producer.clone(),
            producer: subscription.consumer.clone(),
            subscription: subscription.id.clone(),
            component: share.id.clone(),
            program: share.program.clone(),
            rate: share.rate,
        }));
    }
    sharers
}

impl Terms {
    /// Of several subscriptions of one producer that share in the same charge by the same dimension, the first by id counts.
    pub fn new(mut sharers: Vec<Sharer>) -> Self {
        sharers.sort_by(|a, b| a.subscription.cmp(&b.subscription));
        let mut terms: BTreeMap<_, Vec<Sharer>> = BTreeMap::new();
        for sharer in sharers {
            let charge = SharedCharge { plan: sharer.plan.clone(), charge: sharer.charge.clone() };
            let all = terms.entry((sharer.book_version.clone(), sharer.until, charge)).or_default();
            let is_same = |known: &Sharer| known.dimension == sharer.dimension && known.producer == sharer.producer;
            if !all.iter().any(is_same) {
                all.push(sharer);
            }
        }
        Self(terms)
    }

    /// Everybody who counts, in a fixed order.
    pub fn sharers(&self) -> impl Iterator<Item = &Sharer> {
        self.0.values().flatten()
    }

    /// Divides what a period was charged. `charges` are all of it, once.
    pub fn divide(&self, source: &Source<'_>, charges: &[Line]) -> Result<Vec<Share>, MoneyError> {
        let mut shares = Vec::new();
        if self.0.is_empty() {
            return Ok(shares);
        }
        for component in &source.plan.components {
            let Component::Usage(component) = component else { continue };
            let charge = SharedCharge { plan: source.plan.id.clone(), charge: component.id.clone() };
            let Some(sharers) = self.0.get(&(source.book_version.to_owned(), source.period.to(), charge)) else {
                continue;
            };
            let mut of_charge: BTreeMap<(&SubscriptionId, &str), Share> = BTreeMap::new();
            let of_component = |line: &&Line| line.kind == LineKind::Charge && line.component == component.id;
            for line in charges.iter().filter(of_component) {
                for (sharer, base, amount) in divide_line(line, component, source.usage, sharers)? {
                    let share = of_charge
                        .entry((&sharer.subscription, &sharer.component))
                        .or_insert_with(|| nothing(source, component, sharer, line.amount));
                    share.base = share.base.checked_add(base)?;
                    share.amount = share.amount.checked_add(amount)?;
                }
            }
            shares.extend(of_charge.into_values());
        }
        Ok(shares)
    }
}

fn nothing(source: &Source<'_>, component: &UsageComponent, sharer: &Sharer, like: Money) -> Share {
    Share {
        charged: source.subscription.clone(),
        period: source.period,
        charge: component.id.clone(),
        to: sharer.subscription.clone(),
        component: sharer.component.clone(),
        program: sharer.program.clone(),
        rate: sharer.rate,
        base: Money::zero(like.currency()),
        amount: Money::zero(like.currency()),
    }
}

/// What of a line is each producer's, and what each gets of it.
fn divide_line<'s>(
    line: &Line,
    component: &UsageComponent,
    usage: &BTreeMap<String, Vec<Usage>>,
    sharers: &'s [Sharer],
) -> Result<Vec<(&'s Sharer, Money, Money)>, MoneyError> {
    if line.amount.is_zero() || line.amount.is_negative() {
        return Ok(Vec::new());
    }
    let is_of_line = |row: &&Usage| {
        line.from <= row.bucket
            && row.bucket < line.to
            && line.dimensions.iter().all(|(name, value)| row.dimensions.get(name) == Some(value))
    };
    let rows: Vec<&Usage> = usage.get(&component.meter).into_iter().flatten().filter(is_of_line).collect();
    let (currency, charged) = (line.amount.currency(), line.amount.decimal());
    let mut parts = Vec::with_capacity(sharers.len());
    let dimensions: BTreeSet<&str> = sharers.iter().map(|sharer| &*sharer.dimension).collect();
    for dimension in dimensions {
        let weights = weights(line, dimension, &rows)?;
        let whole = weights.values().try_fold(Decimal::ZERO, |sum, weight| sum.checked_add(*weight));
        let whole = whole.ok_or(MoneyError::Overflow)?;
        for sharer in sharers.iter().filter(|sharer| sharer.dimension == dimension) {
            let Some(weight) = weights.get(sharer.producer.as_str()).filter(|weight| !weight.is_zero()) else {
                continue;
            };
            let base = charged.checked_mul(*weight).and_then(|of| of.checked_div(whole)).ok_or(MoneyError::Overflow)?;
            let amount = base.checked_mul(sharer.rate).and_then(|of| of.checked_div(Decimal::ONE_HUNDRED));
            parts.push((sharer, Money::round(base, currency)?, amount.ok_or(MoneyError::Overflow)?));
        }
    }
    let exact: Vec<Decimal> = parts.iter().map(|(.., amount)| *amount).collect();
    let rounded = round_together(&exact, currency)?;
    Ok(parts.into_iter().zip(rounded).map(|((sharer, base, _), amount)| (sharer, base, amount)).collect())
}

/// Each producer's part of a line's quantity. Less than nothing counts as nothing, as it does for a quantity.
fn weights<'a>(line: &'a Line, dimension: &str, rows: &[&'a Usage]) -> Result<BTreeMap<&'a str, Decimal>, MoneyError> {
    // A line that is one producer's alone needs no parts, whatever its meter measures.
    if let Some(producer) = line.dimensions.get(dimension) {
        return Ok([(producer.as_str(), Decimal::ONE)].into());
    }
    let mut sums: BTreeMap<&str, Nano> = BTreeMap::new();
    for row in rows {
        let producer = row.dimensions.get(dimension).map_or("", String::as_str);
        let sum = sums.entry(producer).or_insert(Nano::ZERO);
        *sum = sum.checked_add(row.value).map_err(|_| MoneyError::Overflow)?;
    }
    let weight = |(producer, sum): (&'a str, Nano)| {
        let sum = sum.decimal().map_err(|_| MoneyError::Overflow)?;
        Ok((producer, sum.max(Decimal::ZERO)))
    };
    sums.into_iter().map(weight).collect()
}

/// What shares come to now, less what was said of them: what the next payout statements give and take.
pub fn differences(now: Vec<Share>, said: &[Share]) -> Result<Vec<Share>, MoneyError> {
    let of = |share: &Share| (share.charge.clone(), share.to.clone(), share.component.clone());
    let mut differences: BTreeMap<_, Share> = now.into_iter().map(|share| (of(&share), share)).collect();
    for said in said {
        let zero = Money::zero(said.amount.currency());
        let share = differences.entry(of(said)).or_insert_with(|| Share { base: zero, amount: zero, ..said.clone() });
        share.base = share.base.checked_sub(said.base)?;
        share.amount = share.amount.checked_sub(said.amount)?;
    }
    differences.retain(|_, share| !share.amount.is_zero() || !share.base.is_zero());
    Ok(differences.into_values().collect())
}

/// The lines of a payout statement of a period: for each component what is of charges whose periods ended in it, and what is
/// of those that ended before, which corrects what earlier statements said.
pub fn lines<'a>(
    shares: impl Iterator<Item = &'a Share>,
    period: Period,
    zone: &Zone,
    name_of: impl Fn(&str) -> String,
) -> Result<Vec<Line>, MoneyError> {
    let mut by_line: BTreeMap<(&str, bool), Vec<&Share>> = BTreeMap::new();
    for share in shares {
        by_line.entry((&share.component, share.period.to() <= period.from())).or_default().push(share);
    }
    let mut lines = Vec::with_capacity(by_line.len());
    for ((component, is_of_before), shares) in by_line {
        let Some(first) = shares.first() else { continue };
        let currency = first.amount.currency();
        let amount = Money::sum(currency, shares.iter().map(|share| share.amount))?;
        let base = Money::sum(currency, shares.iter().map(|share| share.base))?;
        if amount.is_zero() && base.is_zero() {
            continue;
        }
        let mut steps = steps(&shares)?;
        let mut of = (period.from(), period.to());
        if is_of_before {
            let from = shares.iter().map(|share| share.period.from()).min();
            let to = shares.iter().map(|share| share.period.to()).max();
            of = (from.unwrap_or(of.0), to.unwrap_or(of.1));
            let days = format!("of charges for {} until {}", of.0.date_in(zone), of.1.date_in(zone));
            let sum = amount.decimal();
            let step = Step { step: StepKind::Adjustment, text: days, before: sum, after: sum, tiers: Vec::new() };
            steps.push(step);
        }
        lines.push(Line {
            component: component.to_owned(),
            kind: LineKind::Reward,
            description: name_of(component),
            dimensions: BTreeMap::new(),
            from: of.0,
            to: of.1,
            quantity: base.decimal(),
            amount,
            program: Some(first.program.clone()),
            explanation: Explanation { steps, ..Explanation::default() },
        });
    }
    Ok(lines)
}

/// A step for each charge and rate.
fn steps(shares: &[&Share]) -> Result<Vec<Step>, MoneyError> {
    let mut of_charge: BTreeMap<(&str, Decimal), Vec<&Share>> = BTreeMap::new();
    for share in shares {
        of_charge.entry((&share.charge, share.rate)).or_default().push(share);
    }
    let mut steps = Vec::with_capacity(of_charge.len());
    for ((charge, rate), shares) in of_charge {
        let currency = shares.first().map(|share| share.amount.currency());
        let Some(currency) = currency else { continue };
        let base = Money::sum(currency, shares.iter().map(|share| share.base))?;
        let amount = Money::sum(currency, shares.iter().map(|share| share.amount))?;
        let charged: BTreeSet<&SubscriptionId> = shares.iter().map(|share| &share.charged).collect();
        let many = if charged.len() == 1 { "subscription" } else { "subscriptions" };
        let text = format!(
            "{} % of {} that {} {many} were charged for {charge}: {}",
            rate.normalize(),
            explain::amount(base.decimal(), currency),
            charged.len(),
            explain::amount(amount.decimal(), currency),
        );
        let (before, after) = (base.decimal(), amount.decimal());
        steps.push(Step { step: StepKind::Share, text, before, after, tiers: Vec::new() });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::book::plan::Direction;
    use crate::domain::book::plan::Model;
    use crate::domain::book::plan::Modifiers;
    use crate::domain::document::invoice::tests::line;
    use crate::domain::document::invoice::tests::usd;

    fn reads() -> UsageComponent {
        UsageComponent {
            id: "reads".to_owned(),
            name: "Reads".to_owned(),
            direction: Direction::Charge,
            meter: "reads".to_owned(),
            model: Model::PerUnit { unit_amount: Decimal::ONE },
            milestones: None,
            modifiers: Modifiers::default(),
            caps: Vec::new(),
            allowance: None,
            carry_tiers: false,
            group_by: Vec::new(),
        }
    }

    fn used(publisher: &str, count: i64) -> Usage {
        Usage {
            bucket: Instant::from_micros(0),
            dimensions: [("publisher".to_owned(), publisher.to_owned())].into(),
            item: String::new(),
            value: Nano::from_decimal(Decimal::from(count)).expect("fits"),
            count: 1,
        }
    }

    fn sharer(producer: &str, rate: i64) -> Sharer {
        Sharer {
            book_version: "v1".to_owned(),
            until: Instant::from_micros(3_600_000_000),
            plan: "reader".to_owned(),
            charge: "reads".to_owned(),
            dimension: "publisher".to_owned(),
            producer: producer.to_owned(),
            subscription: SubscriptionId::parse(&format!("sub_{producer}")).expect("an id"),
            component: "royalty".to_owned(),
            program: "royalties".to_owned(),
            rate: Decimal::new(rate, 2),
        }
    }

    fn divided(charged: i64, counts: &[i64], rates: &[i64]) -> Vec<(String, i64)> {
        let sharers: Vec<Sharer> =
            (0..).zip(rates).map(|(number, rate)| sharer(&format!("p{number}"), *rate)).collect();
        let rows = (0..).zip(counts).map(|(number, count)| used(&format!("p{number}"), *count)).collect();
        let usage = BTreeMap::from([("reads".to_owned(), rows)]);
        let charged = line("reads", LineKind::Charge, charged);
        let parts = divide_line(&charged, &reads(), &usage, &sharers).expect("fits");
        parts.into_iter().map(|(sharer, _, amount)| (sharer.producer.clone(), amount.minor())).collect()
    }

    #[test]
    fn cents_go_to_whoever_was_cut_most() {
        let thirds = [("p0".to_owned(), 34), ("p1".to_owned(), 33), ("p2".to_owned(), 33)];
        assert_eq!(divided(100, &[7, 7, 7], &[10_000, 10_000, 10_000]), thirds);
        assert_eq!(divided(100, &[1, 0, -5], &[5_000, 5_000, 5_000]), [("p0".to_owned(), 50)]);
        assert_eq!(divided(-100, &[1], &[5_000]), []);
        assert_eq!(divided(100, &[0], &[5_000]), []);
    }

    #[test]
    fn what_is_said_already_is_taken_off_and_what_is_gone_is_taken_back() {
        let of = |producer: &str, minor: i64| Share {
            charged: SubscriptionId::parse("sub_ann").expect("an id"),
            period: Period::new(Instant::from_micros(0), Instant::from_micros(1)).expect("a period"),
            charge: "reads".to_owned(),
            to: SubscriptionId::parse(&format!("sub_{producer}")).expect("an id"),
            component: "royalty".to_owned(),
            program: "royalties".to_owned(),
            rate: Decimal::TEN,
            base: usd(minor),
            amount: usd(minor),
        };
        let said = [of("a", 5), of("b", 7), of("a", -1), of("c", 3)];
        let differences = differences(vec![of("a", 10), of("b", 7)], &said).expect("fits");
        assert_eq!(differences, [of("a", 6), of("c", -3)]);
    }

    proptest! {
        /// Whatever is used and whatever the rates are: nobody gets less than nothing, each is within a cent of what is
        /// exact, and all together get no more than was charged.
        #[test]
        fn shares_never_come_to_more_than_was_charged(
            charged in 0_i64..1_000_000,
            producers in prop::collection::vec((0_i64..1_000, 0_i64..=10_000), 1..8),
            others in 0_i64..1_000,
        ) {
            let (mut counts, rates): (Vec<i64>, Vec<i64>) = producers.iter().copied().unzip();
            counts.push(others);
            let whole: i64 = counts.iter().sum();
            let shares = divided(charged, &counts, &rates);
            prop_assert!(shares.iter().map(|(_, amount)| amount).sum::<i64>() <= charged);
            for (producer, amount) in shares {
                let number: usize = producer[1..].parse().expect("a number");
                let exact = i128::from(charged) * i128::from(counts[number]) * i128::from(rates[number]);
                let of = i128::from(whole) * 10_000;
                prop_assert!(amount >= 0 && (i128::from(amount) * of - exact).abs() < of);
            }
        }
    }
}
