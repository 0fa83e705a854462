//! What each component came to for each consumer, before and after.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::rating::line::LineKind;
use crate::domain::simulation::outcome::Difference;

/// Which price book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The published ones.
    Before,
    /// The one that is tried.
    After,
}

/// An amount on both sides, in the minor unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::domain::simulation) struct Pair {
    pub before: i64,
    pub after: i64,
}

/// A part of a plan that lines come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::domain::simulation) struct Part {
    pub plan: String,
    pub component: String,
    pub kind: LineKind,
    pub currency: &'static str,
}

/// What one consumer's part came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub consumer: String,
    pub plan: String,
    pub component: String,
    pub kind: LineKind,
    #[serde(flatten)]
    pub amounts: Difference,
}

/// The sums of a simulation. Memory goes with consumers × components, whatever time there is.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub(in crate::domain::simulation) parts: Vec<(Part, Currency)>,
    by_part: BTreeMap<Part, usize>,
    /// By number, each with the parts that it has something of.
    consumers: Vec<Vec<(usize, Pair)>>,
    by_consumer: BTreeMap<String, usize>,
}

impl Pair {
    pub fn add(&mut self, side: Side, minor: i64) -> Result<(), MoneyError> {
        let sum = match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        };
        *sum = sum.checked_add(minor).ok_or(MoneyError::Overflow)?;
        Ok(())
    }
}

impl Tally {
    /// The number that a consumer's amounts are added by.
    pub fn consumer(&mut self, id: &str) -> usize {
        if let Some(number) = self.by_consumer.get(id) {
            return *number;
        }
        let number = self.consumers.len();
        self.by_consumer.insert(id.to_owned(), number);
        self.consumers.push(Vec::new());
        number
    }

    /// Adds what a plan's component came to for a consumer.
    pub fn add(
        &mut self,
        consumer: usize,
        plan: &str,
        (component, kind): (&str, LineKind),
        side: Side,
        amount: Money,
    ) -> Result<(), MoneyError> {
        let (currency, minor) = (amount.currency(), amount.minor());
        let Some(amounts) = self.consumers.get_mut(consumer) else { return Ok(()) };
        // A consumer has few parts, and looking at each costs less than finding one among all.
        let parts = &self.parts;
        let is_it = |number: usize| {
            parts.get(number).is_some_and(|(part, of)| {
                part.component == component && part.kind == kind && part.plan == plan && *of == currency
            })
        };
        if let Some((_, pair)) = amounts.iter_mut().find(|(number, _)| is_it(*number)) {
            return pair.add(side, minor);
        }
        let part = Part { plan: plan.to_owned(), component: component.to_owned(), kind, currency: currency.code() };
        let next = self.parts.len();
        let number = *self.by_part.entry(part.clone()).or_insert(next);
        if number == next {
            self.parts.push((part, currency));
        }
        let mut pair = Pair::default();
        pair.add(side, minor)?;
        amounts.push((number, pair));
        Ok(())
    }

    /// Every consumer's amounts by the numbers of their parts, in the order of consumers.
    pub(in crate::domain::simulation) fn consumers(&self) -> impl Iterator<Item = (&String, &Vec<(usize, Pair)>)> {
        self.by_consumer.iter().filter_map(|(id, number)| Some((id, self.consumers.get(*number)?)))
    }

    /// Every consumer's parts, in the order of consumers, plans and components.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, MoneyError>> {
        self.consumers().flat_map(|(consumer, amounts)| {
            let mut rows: Vec<(&Part, Currency, Pair)> = amounts
                .iter()
                .filter_map(|(part, pair)| self.parts.get(*part).map(|(part, currency)| (part, *currency, *pair)))
                .collect();
            rows.sort_by_key(|(part, ..)| *part);
            rows.into_iter().map(move |(part, currency, pair)| {
                Ok(Row {
                    consumer: consumer.clone(),
                    plan: part.plan.clone(),
                    component: part.component.clone(),
                    kind: part.kind,
                    amounts: Difference::new(
                        Money::from_minor(pair.before, currency),
                        Money::from_minor(pair.after, currency),
                    )?,
                })
            })
        })
    }
}
