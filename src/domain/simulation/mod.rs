//! A price book tried on real usage: what the same time comes to under the published books, and under another one.
//!
//! Pure, and in three steps, so that usage can be read a part at a time: each subscription's period is [`rate`]d for
//! itself, the rewards of all that fall due together share the budgets of their programs, and a [`Tally`] keeps what
//! each component came to for each consumer, which [`Outcome`] compares.
//!
//! - A period carries its own fees in advance, though they stand on the invoice before: so each side of the comparison
//!   is what its periods are worth.
//! - Amounts are net of tax, rounded once a line, as on a document.
//! - Components that measure by what is not counted have no price here: [`Candidate`] leaves them out and says so.

mod outcome;
mod tally;

pub use outcome::Band;
pub use outcome::Difference;
pub use outcome::InBand;
pub use outcome::Moved;
pub use outcome::Mover;
pub use outcome::OfComponent;
pub use outcome::OfCurrency;
pub use outcome::Outcome;
pub use tally::Row;
pub use tally::Side;
pub use tally::Tally;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::Book;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::charges;
use crate::domain::document::closing::rewards;
use crate::domain::rating::Explained;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;

/// A component that cannot be simulated: nothing is counted by what it measures by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    pub plan: String,
    pub component: String,
    pub meter: String,
}

/// The price book that is tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub version: BookVersion,
    pub left_out: Vec<LeftOut>,
}

impl Candidate {
    /// Takes out the components of which a meter is not `counted`.
    pub fn new(mut version: BookVersion, counted: &BTreeSet<&str>) -> Self {
        let mut left_out = Vec::new();
        for plan in version.book.plans.values_mut() {
            plan.components.retain(|component| {
                let Component::Usage(usage) = component else { return true };
                let missing = usage.meters().find(|meter| !counted.contains(meter)).map(str::to_owned);
                left_out.extend(missing.iter().map(|meter| LeftOut {
                    plan: plan.id.clone(),
                    component: usage.id.clone(),
                    meter: meter.clone(),
                }));
                missing.is_none()
            });
        }
        Self { version, left_out }
    }
}

/// The meters that a plan's components measure by.
pub fn meters_of<'a>(book: &'a Book, plan: &str) -> BTreeSet<&'a str> {
    book.plans.get(plan).map(Plan::meters).unwrap_or_default()
}

/// What of a plan comes to the same under two books, whatever is used: it need not be rated twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alike {
    Whole,
    /// These of its components, by id.
    Components(BTreeSet<String>),
}

/// Components are alike if they are equal, and so are what they measure by and what pays them. Where something is said of
/// several together, an allowance or what a period comes to at least, either all are alike or none is.
pub fn alike(before: &Book, after: &Book, plan: &str) -> Alike {
    let none = Alike::Components(BTreeSet::new());
    let (Some(old), Some(new)) = (before.plans.get(plan), after.plans.get(plan)) else { return none };
    let around = |plan: &Plan| Plan { name: String::new(), components: Vec::new(), ..plan.clone() };
    if around(old) != around(new) {
        return none;
    }
    let is_alike = |component: &&Component| {
        let of_usage = if let Component::Usage(usage) = component { Some(usage.meters()) } else { None };
        old.components.contains(component)
            && of_usage.into_iter().flatten().all(|meter| before.meters.get(meter) == after.meters.get(meter))
            && component.program().is_none_or(|id| before.programs.get(id) == after.programs.get(id))
    };
    let alike: BTreeSet<String> =
        new.components.iter().filter(is_alike).map(|component| component.id().to_owned()).collect();
    let Plan { minimum, maximum, commitment, allowances, .. } = new;
    if alike.len() == new.components.len() && old.components.len() == new.components.len() {
        Alike::Whole
    } else if minimum.is_some() || maximum.is_some() || commitment.is_some() || !allowances.is_empty() {
        none
    } else {
        Alike::Components(alike)
    }
}

/// A subscription's period under one price book.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    pub subscription: &'a Subscription,
    pub consumer: &'a Consumer,
    pub period: BillingPeriod,
    pub version: &'a BookVersion,
    pub usage: &'a BTreeMap<String, Vec<Usage>>,
}

/// What a period comes to by itself.
#[derive(Clone, Debug, Default)]
pub struct Rated<'a> {
    /// What is charged.
    pub lines: Vec<Line>,
    /// Rewards of programs that the consumer is eligible for, each with its program.
    pub rewards: Vec<(&'a str, UnbudgetedReward)>,
}

/// What a period comes to by itself. Rewards wait for the budgets of their programs.
pub fn rate<'a>(trial: &Trial<'a>) -> Result<Rated<'a>, ClosingError> {
    let Trial { subscription, consumer, period, version, usage } = *trial;
    let due = |occasion| Due {
        subscription,
        consumer,
        tax: None,
        occasion,
        at: period.covered.to(),
        period,
        version,
        advance_through: None,
        next: None,
        adjustments: &[],
        usage,
    };
    let mut lines = charges(&due(Occasion::Opening), Explained::No)?;
    lines.extend(charges(&due(Occasion::Closing), Explained::No)?);
    Ok(Rated { lines, rewards: rewards(&due(Occasion::Closing), Explained::No)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::SourceFile;
    use crate::domain::time::Instant;

    const PLAN: &str = r#"
        [plan]
        id = "pro"
        [[plan.component]]
        id = "base"
        kind = "fee"
        amount = "10.00"
        [[plan.component]]
        id = "calls"
        kind = "charge"
        meter = "calls"
        model = "per_unit"
        unit_amount = "0.01"
    "#;

    fn book(plan: &str, aggregation: &str) -> Book {
        let meter = format!("[[meter]]\nid = \"calls\"\nevent_type = \"called\"\n{aggregation}\n");
        let files = [
            ("book.toml", "name = \"Test\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"),
            ("catalog/called.toml", "[[event_type]]\ntype = \"called\"\n"),
            ("meters/calls.toml", &meter),
            ("plans/pro.toml", plan),
        ];
        let files = files.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
        BookVersion::new(files.to_vec(), Instant::BEGINNING).expect("is a book").book
    }

    #[test]
    fn what_is_said_twice_in_the_same_words_is_alike_unless_something_is_said_of_all_together() {
        const COUNT: &str = "aggregation = \"count\"";
        const SUM: &str = "aggregation = \"sum\"\nvalue = \"data.n\"";
        let components = |ids: &[&str]| Alike::Components(ids.iter().map(|id| (*id).to_owned()).collect());
        let dearer = PLAN.replace("10.00", "11.00");
        let with_minimum = |plan: &str| plan.replace("id = \"pro\"", "id = \"pro\"\nminimum = \"20.00\"");
        let (plain, minimum) = (book(PLAN, COUNT), book(&with_minimum(PLAN), COUNT));
        for (before, after, expected) in [
            (&plain, book(&PLAN.replace("[plan]", "[plan]\nname = \"Pro\""), COUNT), Alike::Whole),
            (&minimum, book(&with_minimum(PLAN), COUNT), Alike::Whole),
            (&plain, book(&dearer, COUNT), components(&["calls"])),
            (&plain, book(PLAN, SUM), components(&["base"])),
            (&minimum, book(&with_minimum(&dearer), COUNT), components(&[])),
            (&plain, book(&with_minimum(PLAN), COUNT), components(&[])),
            (&plain, book(&PLAN.replace("[plan]", "[plan]\ninterval = \"year\""), COUNT), components(&[])),
        ] {
            assert_eq!(alike(before, &after, "pro"), expected, "{:?}", after.plans);
        }
    }
}
