//! Adjustments: what closed periods come to now, less what documents said of them.
//!
//! A period is rated again under the plan and the price book that it was closed under, from the usage of now, and the
//! difference goes on the next document of its subscription. So all documents together say what rating everything on time
//! would have said, in whatever order events arrive.
//!
//! A budget is shared by everybody. If what one consumer earned changes, the budget is spent again from there on, closing by
//! closing, and others get more or less too. What is theirs waits for their own next document.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::charges;
use crate::domain::document::closing::plan_of;
use crate::domain::document::closing::rewards;
use crate::domain::document::closing::settle;
use crate::domain::document::share;
use crate::domain::document::share::Share;
use crate::domain::document::share::Source;
use crate::domain::document::share::Terms;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::rating::Explained;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::explain;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::domain::time::Zone;

/// A period that was closed, and what it depends on.
#[derive(Clone, Debug)]
pub struct Past {
    /// The closing that it was rated in.
    pub closing: i64,
    pub subscription: Arc<Subscription>,
    /// As it was then.
    pub consumer: Consumer,
    pub period: BillingPeriod,
    /// The price book that it was closed under.
    pub version: Arc<BookVersion>,
    /// As it is now.
    pub usage: BTreeMap<String, Vec<Usage>>,
    /// The lines of usage that documents have for it so far.
    pub said: Vec<Line>,
    /// What producers have of its charges so far.
    pub shared: Vec<Share>,
    /// Whether its own usage may have changed. If not, it is here because it shares a budget with one of which that is so.
    pub is_changed: bool,
}

/// What periods come to less than documents said, or more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjusted {
    /// For each of the periods the differences, in the order in which they were given.
    pub lines: Vec<Vec<Line>>,
    /// What producers get of them, or give back.
    pub shares: Vec<Share>,
    /// What programs have granted in all closings so far, as it comes to now.
    pub granted: BTreeMap<String, i64>,
}

/// The programs with a budget that pay rewards of a period's plan: all that share it must be spent again together.
pub fn budgets_of<'a>(
    subscription: &Subscription,
    period: BillingPeriod,
    version: &'a BookVersion,
) -> Result<BTreeSet<&'a str>, ClosingError> {
    let plan = plan_of(subscription, period.covered.from(), version)?;
    let programs = plan.components.iter().filter_map(|component| version.book.programs.get(component.program()?));
    Ok(programs.filter(|program| program.budget.is_some()).map(|program| &*program.id).collect())
}

/// Rates closed periods again. Of every program with a budget that one of those that changed names, all periods of its
/// closing and of every later one must be there; they come in the order of their closings.
pub fn adjust(past: &[Past], granted: &BTreeMap<String, i64>, terms: &Terms) -> Result<Adjusted, ClosingError> {
    let mut granted = granted.clone();
    let mut shared: BTreeSet<&str> = BTreeSet::new();
    for past in past.iter().filter(|past| past.is_changed) {
        shared.extend(budgets_of(&past.subscription, past.period, &past.version)?);
    }
    let counts = |past: &Past, program: &str| past.is_changed || shared.contains(program);
    let mut now: Vec<Vec<Line>> = Vec::with_capacity(past.len());
    let mut unsettled: BTreeMap<(i64, &str), Vec<(usize, UnbudgetedReward)>> = BTreeMap::new();
    for (index, past) in past.iter().enumerate() {
        for line in past.said.iter().filter(|line| line.program.as_deref().is_some_and(|id| counts(past, id))) {
            add(&mut granted, line, Sign::Minus).map_err(|source| past.money(source))?;
        }
        let lines = if past.is_changed { charges(&past.due(), Explained::Yes)? } else { Vec::new() };
        now.push(lines.into_iter().filter(|line| line.kind != LineKind::Fee).collect());
        let earned = rewards(&past.due(), Explained::Yes)?;
        for (program, reward) in earned.into_iter().filter(|(program, _)| counts(past, program)) {
            unsettled.entry((past.closing, program)).or_default().push((index, reward));
        }
    }
    for ((_, program), rewards) in unsettled {
        let versions = rewards.iter().filter_map(|(index, _)| past.get(*index)).map(|past| &past.version);
        let Some(latest) = versions.max_by_key(|version| version.effective_from) else { continue };
        for (index, line) in settle(program, latest, rewards, &granted)? {
            if let (Some(past), Some(lines)) = (past.get(index), now.get_mut(index)) {
                add(&mut granted, &line, Sign::Plus).map_err(|source| past.money(source))?;
                lines.push(line);
            }
        }
    }
    let mut lines = Vec::with_capacity(past.len());
    let mut shares = Vec::new();
    for (past, now) in past.iter().zip(now) {
        if past.is_changed {
            let divided = terms.divide(&past.source()?, &now);
            let divided = divided.and_then(|divided| share::differences(divided, &past.shared));
            shares.extend(divided.map_err(|source| past.money(source))?);
        }
        let said = past.said.iter().filter(|line| match &line.program {
            Some(program) => counts(past, program),
            None => past.is_changed,
        });
        lines.push(differences(past, said, now).map_err(|source| past.money(source))?);
    }
    Ok(Adjusted { lines, shares, granted })
}

impl Past {
    /// What its charges are divided by.
    pub fn source(&self) -> Result<Source<'_>, ClosingError> {
        Ok(Source {
            subscription: &self.subscription.id,
            period: self.period.covered,
            plan: plan_of(&self.subscription, self.period.covered.from(), &self.version)?,
            book_version: &self.version.id,
            usage: &self.usage,
        })
    }

    fn due(&self) -> Due<'_> {
        Due {
            subscription: &self.subscription,
            consumer: &self.consumer,
            tax: None,
            occasion: Occasion::Closing,
            at: self.period.covered.to(),
            period: self.period,
            version: &self.version,
            advance_through: None,
            next: None,
            adjustments: &[],
            usage: &self.usage,
        }
    }

    fn money(&self, source: MoneyError) -> ClosingError {
        ClosingError::Money { subscription: self.subscription.id.to_string(), source }
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

fn add(granted: &mut BTreeMap<String, i64>, line: &Line, sign: Sign) -> Result<(), MoneyError> {
    let Some(program) = &line.program else { return Ok(()) };
    let sum = granted.entry(program.clone()).or_default();
    let minor = line.amount.minor();
    let added = match sign {
        Sign::Plus => sum.checked_add(minor),
        Sign::Minus => sum.checked_sub(minor),
    };
    *sum = added.ok_or(MoneyError::Overflow)?;
    Ok(())
}

/// What a line is of, whatever it comes to.
type Of = (LineKind, String, BTreeMap<String, String>, Option<String>);

fn of(line: &Line) -> Of {
    (line.kind, line.component.clone(), line.dimensions.clone(), line.program.clone())
}

/// A line for each thing that comes to something else now than all lines said of it so far.
fn differences<'a>(past: &Past, said: impl Iterator<Item = &'a Line>, now: Vec<Line>) -> Result<Vec<Line>, MoneyError> {
    let mut before: BTreeMap<Of, (Line, Money, Decimal)> = BTreeMap::new();
    for line in said {
        let nothing = Money::zero(line.amount.currency());
        let (_, amount, quantity) = before.entry(of(line)).or_insert_with(|| (line.clone(), nothing, Decimal::ZERO));
        *amount = amount.checked_add(line.amount)?;
        *quantity = quantity.checked_add(line.quantity).ok_or(MoneyError::Overflow)?;
    }
    let mut adjusted = Vec::new();
    for line in now {
        let said = before.remove(&of(&line)).map(|(_, amount, quantity)| (amount, quantity));
        adjusted.extend(difference(past, line, said)?);
    }
    // What was said of something that is not there any more is taken back.
    for (line, amount, quantity) in before.into_values() {
        let mut gone = Line { quantity: Decimal::ZERO, amount: Money::zero(amount.currency()), ..line };
        gone.explanation.steps.clear();
        adjusted.extend(difference(past, gone, Some((amount, quantity)))?);
    }
    Ok(adjusted)
}

fn difference(past: &Past, now: Line, said: Option<(Money, Decimal)>) -> Result<Option<Line>, MoneyError> {
    let currency = now.amount.currency();
    let (before, quantity) = said.unwrap_or((Money::zero(currency), Decimal::ZERO));
    let amount = now.amount.checked_sub(before)?;
    if amount.is_zero() {
        return Ok(None);
    }
    let words = format!(
        "{} rated again: {} instead of {}",
        days_of(past),
        explain::amount(now.amount.decimal(), currency),
        explain::amount(before.decimal(), currency),
    );
    let (before, after) = (now.amount.decimal(), amount.decimal());
    let step = Step { step: StepKind::Adjustment, text: words, before, after, tiers: Vec::new() };
    let quantity = now.quantity.checked_sub(quantity).ok_or(MoneyError::Overflow)?;
    let mut line = Line { quantity, amount, ..now };
    line.explanation.steps.push(step);
    Ok(Some(line))
}

/// From which day until which a period was, in words.
fn days_of(past: &Past) -> String {
    let covered = past.period.covered;
    let plan = plan_of(&past.subscription, covered.from(), &past.version);
    let zone = plan.map_or_else(|_| Zone::utc(), |plan| plan.calendar.zone.clone());
    format!("{} until {}", covered.from().date_in(&zone), covered.to().date_in(&zone))
}
