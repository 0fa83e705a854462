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
use crate::domain::book::program::Program;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::Rated;
use crate::domain::document::closing::rated;
use crate::domain::rating::line::Usage;
use crate::domain::rating::rate_unexplained;
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

/// Whether a plan comes to the same under both books: it, what it measures by, and what pays its rewards.
pub fn is_same(before: &Book, after: &Book, plan: &str) -> bool {
    let programs = |book: &Book| -> Vec<Option<Program>> {
        let components = book.plans.get(plan).into_iter().flat_map(|plan| &plan.components);
        let named = components.filter_map(Component::program);
        named.map(|program| book.programs.get(program).cloned()).collect()
    };
    before.plans.get(plan) == after.plans.get(plan)
        && meters_of(before, plan).iter().all(|meter| before.meters.get(*meter) == after.meters.get(*meter))
        && programs(before) == programs(after)
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

/// What a period comes to by itself. Rewards wait for the budgets of their programs.
pub fn rate<'a>(trial: &Trial<'a>) -> Result<Rated<'a>, ClosingError> {
    let Trial { subscription, consumer, period, version, usage } = *trial;
    let due = |occasion| Due {
        subscription,
        consumer,
        tax: None,
        occasion,
        period,
        version,
        advance_through: None,
        next: None,
        adjustments: &[],
        usage,
    };
    let mut all = rated(&due(Occasion::Opening), rate_unexplained)?;
    let Rated { lines, rewards } = rated(&due(Occasion::Closing), rate_unexplained)?;
    all.lines.extend(lines);
    all.rewards.extend(rewards);
    Ok(all)
}
