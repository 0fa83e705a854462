//! Tries a price book on real usage: every subscription's periods between two times, under the published books and under
//! the one that is tried.
//!
//! Promise: both sides are rated from the same usage by the code that closings use, budgets of programs included, and
//! nothing is written. A book against itself changes nothing.
//!
//! How: a period counts if it ends after `from` and by `to`, as a closing would find it due, on each side by that side's
//! calendar. What ends at one instant is cut into chunks of subscriptions; some chunks are read and rated at once, each
//! on a thread of its own, and merged in their order, so that rewards spend budgets as closings do. So memory goes with
//! the chunks in flight, the rewards of one instant, and the sums. Budgets begin with what closings until `from` have
//! granted. Usage that is not flushed is not seen.

mod agenda;
mod merger;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::billing::close::CloseError;
use crate::billing::schedule::Through;
use crate::billing::simulate::agenda::Agenda;
use crate::billing::simulate::agenda::Half;
use crate::billing::simulate::agenda::Item;
use crate::billing::simulate::agenda::Overlap;
use crate::billing::simulate::merger::Merger;
use crate::billing::simulate::sharing::Sharing;
use crate::billing::usage::Together;
use crate::billing::usage::UsageOfAll;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::plan_of;
use crate::domain::document::share::Share;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::cliff::Cliff;
use crate::domain::rating::cliff::cliffs;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Usage;
use crate::domain::simulation;
use crate::domain::simulation::Candidate;
use crate::domain::simulation::LeftOut;
use crate::domain::simulation::Outcome;
use crate::domain::simulation::Side;
use crate::domain::simulation::Tally;
use crate::domain::simulation::Trial;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering;
use crate::metering::publish;
use crate::metering::replay;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::Read;
use crate::store::Tx;
use crate::store::closings::Granted;

/// Subscriptions that are read and rated together: enough that a question to the store is worth it, and few enough that
/// the usage of some chunks is no burden, also where each has a row an hour. One in tests, so that there are several.
const CHUNK: usize = if cfg!(test) { 1 } else { 256 };
const PAGE: i64 = 10_000;
const BEFORE: &[Side] = &[Side::Before];
const AFTER: &[Side] = &[Side::After];
const BOTH: &[Side] = &[Side::Before, Side::After];

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Request {
    pub candidate: BookVersion,
    pub from: Through,
    pub to: Through,
    /// How many consumers are named whose amounts change most, each way.
    pub largest: usize,
    pub threads: NonZero<usize>,
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    pub periods: Periods,
    /// Subscriptions of which no period ends in this time.
    pub without_period: usize,
    /// Components that have no price here, since nothing is counted by their meters.
    pub left_out: Vec<LeftOut>,
    /// Prices of the candidate that fall where there is one unit more.
    pub cliffs: Vec<Cliff>,
    /// Meters that did not count everything that happened in this time: they are younger, and it was not replayed.
    pub partly_counted: Vec<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How many periods were rated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Periods {
    pub before: u64,
    pub after: u64,
}

/// How far a simulation has come: the time over which periods end, and the number of those that were rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub from: Instant,
    pub at: Instant,
    pub to: Instant,
    pub periods: u64,
}

#[derive(Debug, Error)]
pub enum SimulateError {
    #[error("there is no time between: `to` has to come after `from`")]
    Empty,
    /// Each names a subscription.
    #[error("running subscriptions would break: {}", .0.join("; "))]
    Breaks(Vec<String>),
    #[error("the simulation was stopped")]
    Stopped,
    #[error(transparent)]
    Close(#[from] CloseError),
    #[error(transparent)]
    Closing(#[from] ClosingError),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Metering(#[from] metering::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A subscription and whose it is.
struct Subscribed {
    subscription: Subscription,
    consumer: Arc<Consumer>,
}

/// What all chunks are rated from.
struct Context {
    db: Db,
    subscribed: Vec<Subscribed>,
    sharing: Sharing,
}

/// What one subscription's period came to, before budgets.
struct RatedItem {
    subscription: usize,
    periods: Periods,
    /// Each with the sides that it is on.
    lines: Vec<(&'static [Side], Came)>,
    rewards: Vec<(Side, String, Arc<BookVersion>, UnbudgetedReward)>,
    /// Of what it is charged, each with the subscription that gets it.
    shares: Vec<(Side, usize, Share)>,
}

/// What is added up of a line. The rest of it is freed where it was made, which is cheaper than elsewhere.
struct Came {
    component: String,
    kind: LineKind,
    from: Instant,
    amount: Money,
}

/// A chunk that is being rated, of what ends at one instant.
struct Running {
    at: Instant,
    rated: JoinHandle<Result<Vec<RatedItem>, SimulateError>>,
}

/// Tries a price book. The sums by consumer and component come beside what they add up to.
pub async fn simulate(
    db: &Db,
    versions: &Versions,
    request: Request,
    now: Instant,
    mut progress: impl FnMut(Progress),
) -> Result<(Simulated, Tally), SimulateError> {
    let Request { candidate, from, to, largest, threads } = request;
    let (first, last) = (from.in_zone(&Zone::utc()), to.latest().min(now));
    if to.in_zone(&Zone::utc()) <= first {
        return Err(SimulateError::Empty);
    }
    let breaks = publish::breaks(db, versions, &candidate.book, first).await?;
    if !breaks.is_empty() {
        return Err(SimulateError::Breaks(breaks));
    }
    let cliffs = cliffs(&candidate.book);
    let mut tx = db.read().await?;
    let counted = tx.meters().await?;
    let Candidate { version, left_out } = Candidate::new(candidate, &counted.keys().map(|id| &**id).collect());
    let granted = granted(tx.granted_until(from.latest()).await?, versions, from);
    let subscribed = subscribed(&mut tx).await?;
    drop(tx);
    let candidate = Arc::new(version);
    let partly_counted = partly_counted(db, versions, &candidate, first, last).await?;
    let sharing = Sharing::of(versions.iter().chain([&candidate]), &subscribed);
    let context = Arc::new(Context { db: db.clone(), subscribed, sharing });
    let mut agenda = Agenda::new(&context.subscribed, versions, candidate, (from, to), now)?;
    let without_period = agenda.without_period();

    let mut merger = Merger::new(context.clone(), granted);
    let mut running: VecDeque<Running> = VecDeque::new();
    while let Some((at, items)) = agenda.pop()? {
        for (period, items) in chunks(items) {
            // Twice as many as threads, so that none waits for the store or for what is added up.
            if running.len() > threads.get().saturating_mul(2)
                && let Some(oldest) = running.pop_front()
            {
                merger = merger.take(oldest).await?;
                progress(Progress { from: first, at, to: last, periods: merger.periods() });
            }
            running.push_back(Running { at, rated: tokio::spawn(rate_chunk(context.clone(), period, items)) });
        }
    }
    for chunk in running {
        merger = merger.take(chunk).await?;
    }
    let (tally, periods) = merger.finish().await?;
    let outcome = Outcome::of(&tally, largest)?;
    Ok((Simulated { periods, without_period, left_out, cliffs, partly_counted, outcome }, tally))
}

/// What programs had granted when this time began, in the zone of each plan.
fn granted(granted: Vec<Granted>, versions: &Versions, from: Through) -> BTreeMap<String, i64> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for Granted { program, plan, due_at, amount } in granted {
        let plan = versions.iter().rev().find_map(|version| version.book.plans.get(&plan));
        if plan.is_some_and(|plan| due_at <= from.in_zone(&plan.calendar.zone)) {
            let sum = sums.entry(program).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
    sums
}

/// Every subscription with its consumer, in the order of their ids: that is the order in which budgets are shared out.
async fn subscribed(tx: &mut Tx<Read>) -> Result<Vec<Subscribed>, SimulateError> {
    let mut all: Vec<Subscribed> = Vec::new();
    let mut consumers: HashMap<String, Arc<Consumer>> = HashMap::new();
    loop {
        let after = all.last().map(|last| &last.subscription.id);
        let page = tx.subscriptions(None, after, PAGE).await?;
        let mut unknown: Vec<&str> = page.iter().map(|subscription| subscription.consumer.as_str()).collect();
        unknown.retain(|id| !consumers.contains_key(*id));
        unknown.sort_unstable();
        unknown.dedup();
        let named = tx.consumers_named(&unknown).await?;
        consumers.extend(named.into_iter().map(|(id, consumer)| (id, Arc::new(consumer))));
        let is_last = i64::try_from(page.len()).is_ok_and(|rows| rows < PAGE);
        for subscription in page {
            let consumer = consumers.get(&subscription.consumer).cloned();
            let consumer = consumer.ok_or_else(|| CloseError::UnknownConsumer(subscription.consumer.clone()))?;
            all.push(Subscribed { subscription, consumer });
        }
        if is_last {
            return Ok(all);
        }
    }
}

/// Meters of either side that are younger than events of this time, which were not replayed into them.
async fn partly_counted(
    db: &Db,
    versions: &Versions,
    candidate: &BookVersion,
    from: Instant,
    to: Instant,
) -> Result<Vec<String>, SimulateError> {
    let Ok(period) = Period::new(from, to) else { return Ok(Vec::new()) };
    let books = versions.iter().map(|version| &version.book).chain([&candidate.book]);
    let plans = books.flat_map(|book| book.plans.keys().map(move |plan| (book, plan)));
    let meters: BTreeSet<&str> = plans.flat_map(|(book, plan)| simulation::meters_of(book, plan)).collect();
    Ok(replay::without_history(db, &meters, period).await?)
}

/// Items whose usage is of the same time, some at a time.
fn chunks(items: Vec<Item>) -> Vec<(Period, Vec<Item>)> {
    let mut by_period: BTreeMap<Period, Vec<Item>> = BTreeMap::new();
    for item in items {
        if let Some(period) = item.period() {
            by_period.entry(period).or_default().push(item);
        }
    }
    let mut chunks = Vec::new();
    for (period, items) in by_period {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            chunks.push((period, items.by_ref().take(CHUNK).collect()));
        }
    }
    chunks
}

async fn rate_chunk(context: Arc<Context>, period: Period, items: Vec<Item>) -> Result<Vec<RatedItem>, SimulateError> {
    let usage = read_usage(&context, period, &items).await?;
    let rated = tokio::task::spawn_blocking(move || {
        items.iter().map(|item| rate_item(&context, &usage, item)).collect::<Result<_, _>>()
    });
    Ok(rated.await.map_err(|_| SimulateError::Stopped)??)
}

/// What the consumers of a chunk used in its time, and before it by meters that carry over.
async fn read_usage(context: &Context, period: Period, items: &[Item]) -> Result<UsageOfAll, SimulateError> {
    let mut together = Together::default();
    let mut used: HashMap<(&str, &str), BTreeSet<&str>> = HashMap::new();
    for item in items {
        let subscription = &context.subscribed[item.subscription].subscription;
        for half in [&item.before, &item.after].into_iter().flatten() {
            let from = half.period.covered.from();
            let plan = subscription.plan_at(from);
            let meters = used.entry((plan, &half.version.id));
            let meters = meters.or_insert_with(|| simulation::meters_of(&half.version.book, plan));
            together.add(subscription, from, &half.version, |meter| meters.contains(meter))?;
        }
    }
    let mut tx = context.db.read().await?;
    Ok(together.read(&mut tx, period).await?)
}

fn trial<'a>(of: &'a Subscribed, usage: &'a BTreeMap<String, Vec<Usage>>, half: &'a Half) -> Trial<'a> {
    let Subscribed { subscription, consumer } = of;
    Trial { subscription, consumer, period: half.period, version: &half.version, usage }
}

fn rate_item(context: &Context, usage: &UsageOfAll, item: &Item) -> Result<RatedItem, ClosingError> {
    let subscribed = &context.subscribed[item.subscription];
    let nothing = BTreeMap::new();
    let usage = usage.get(&subscribed.subscription.consumer).unwrap_or(&nothing);
    let (before, after) = (item.before.as_ref(), item.after.as_ref());
    let periods = Periods { before: u64::from(before.is_some()), after: u64::from(after.is_some()) };
    let (lines, rewards, shares) = (Vec::new(), Vec::new(), Vec::new());
    let mut rated = RatedItem { subscription: item.subscription, periods, lines, rewards, shares };
    match (before, after, &item.overlap) {
        (Some(before), Some(after), Overlap::Part(part)) if !context.sharing.is_of([before, after]) => {
            let found = simulation::rate(&trial(subscribed, usage, before))?;
            let rest = simulation::rate(&Trial { version: &part.rest, ..trial(subscribed, usage, after) })?;
            let is_shared = |line: &Line| part.components.contains(&line.component);
            let mut rewards: Vec<_> = found
                .rewards
                .iter()
                .filter(|(_, reward)| is_shared(&reward.line))
                .cloned()
                .chain(rest.rewards)
                .collect();
            // In the order of the plan, which decides about the last of a budget.
            let plan = plan_of(&subscribed.subscription, after.period.covered.from(), &after.version)?;
            let place = |id: &str| plan.components.iter().position(|component| component.id() == id);
            rewards.sort_by_key(|(_, reward)| place(&reward.line.component));
            rated.earn(Side::Before, before, found.rewards);
            rated.earn(Side::After, after, rewards);
            for line in found.lines {
                rated.come_to(if is_shared(&line) { BOTH } else { BEFORE }, [line]);
            }
            rated.come_to(AFTER, rest.lines);
        }
        (Some(before), Some(after), Overlap::Whole) => {
            let found = simulation::rate(&trial(subscribed, usage, before))?;
            // Both sides charge the same, and may share it otherwise.
            for (side, half) in [(Side::Before, before), (Side::After, after)] {
                let trial = trial(subscribed, usage, half);
                rated.share(side, context.sharing.divide(&context.subscribed, &trial, &found.lines)?);
                rated.earn(side, half, found.rewards.clone());
            }
            rated.come_to(BOTH, found.lines);
        }
        (before, after, _) => {
            for (side, sides, half) in [(Side::Before, BEFORE, before), (Side::After, AFTER, after)] {
                let Some(half) = half else { continue };
                let trial = trial(subscribed, usage, half);
                let found = simulation::rate(&trial)?;
                rated.share(side, context.sharing.divide(&context.subscribed, &trial, &found.lines)?);
                rated.earn(side, half, found.rewards);
                rated.come_to(sides, found.lines);
            }
        }
    }
    Ok(rated)
}

impl RatedItem {
    fn come_to(&mut self, sides: &'static [Side], lines: impl IntoIterator<Item = Line>) {
        let came = |Line { component, kind, from, amount, .. }| (sides, Came { component, kind, from, amount });
        self.lines.extend(lines.into_iter().map(came));
    }

    fn earn(&mut self, side: Side, half: &Half, rewards: Vec<(&str, UnbudgetedReward)>) {
        let earned =
            rewards.into_iter().map(|(program, reward)| (side, program.to_owned(), half.version.clone(), reward));
        self.rewards.extend(earned);
    }

    fn share(&mut self, side: Side, shares: Vec<(usize, Share)>) {
        self.shares.extend(shares.into_iter().map(|(to, share)| (side, to, share)));
    }
}
