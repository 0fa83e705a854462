//! Closes periods: usage and fees into invoices, payout statements and journal entries.
//!
//! Promise: every period is closed once, all of it or nothing, however often closing is repeated or killed.
//!
//! How: everything that falls due at one instant is one closing, the oldest first. Its inputs are gathered in one read
//! transaction, and written in one write transaction: `closed_through` by compare-and-set, then documents and entries, which
//! are made as they are written down ([`record`]). Ids follow from what is closed. What a closing saw (how far usage was
//! folded, the consumers as they were) is kept with it, so that `verify` can repeat it.
//!
//! - A period is rated under the price book in effect when it begins.
//! - **Fees in advance** stand on the invoice that closes the period before theirs. Those of the first period stand on
//!   an invoice of their own, of the occasion `opening`, which is due when the subscription begins; and so do those of a
//!   period within which its trial ends, which are due then.
//! - **Nothing to say**: a period without usage and without an amount has no invoice, one without rewards no payout
//!   statement. It is closed all the same.
//! - **Budgets** of programs are spent in the order of closings, and inside one by bucket time over all parties. So
//!   where plans have periods of different lengths, the one that ends first is served first.
//! - **Shares** of what is charged here are earned here, and paid by the next payout statement of the producer's subscription:
//!   one of this closing, if it is due too (`domain::document::share`).
//! - **Holds** pass when they end by the time that is closed through; each is booked on the day on which it passed.
//! - **Netting**: where the price book allows it, what is available of rewards then pays for what is open of their consumers'
//!   invoices (`billing::netting`).
//! - **Locked days** take no entry any more: what is booked later counts on the first day that is open
//!   (`domain::ledger::lock`).
//! - **Late events**, retractions and replayed history that change a closed period: it is rated again with the next document
//!   of its subscription, and the difference stands there ([`late`](crate::billing::late), `domain::document::adjust`). Of a
//!   subscription that has ended the next closing makes one for it, for the time since its last one.
//!
//! Usage that is not flushed is not seen: flush metering first.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::billing::booking::BookingError;
use crate::billing::holds::pass_holds;
use crate::billing::late::Late;
use crate::billing::lock;
use crate::billing::netting;
use crate::billing::prepaid;
use crate::billing::record;
use crate::billing::record::Made;
use crate::billing::schedule::Item;
use crate::billing::schedule::Schedule;
pub use crate::billing::schedule::Through;
use crate::billing::settle;
use crate::billing::sharing::Producers;
use crate::billing::usage::Together;
use crate::billing::usage::UsageOfAll;
use crate::domain::book::Tax;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::Unpaid;
use crate::domain::document::closing::earned;
use crate::domain::document::closing::plan_of;
use crate::domain::document::share::Share;
use crate::domain::document::share::Sharer;
use crate::domain::document::share::Terms;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::closings::ClosedPeriod;
use crate::store::closings::Closing;
use crate::store::shares::Which;
use crate::store::subscriptions::Advance;

/// What was closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub closings: Vec<Summary>,
    /// How many holds passed.
    pub holds_passed: usize,
    /// How many grants of prepaid credit expired with something left.
    pub credits_expired: usize,
    /// How many invoices rewards paid for, or for a part of.
    pub invoices_netted: usize,
}

/// One closing in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Where the periods end that were closed, and where the fees begin that were charged by openings.
    pub due_at: Instant,
    pub periods: usize,
    pub invoices: usize,
    pub payouts: usize,
    /// Totals of the invoices, with tax, by currency.
    pub invoiced: Vec<Money>,
    /// Totals of the payout statements, by currency.
    pub rewarded: Vec<Money>,
}

impl Summary {
    fn of(due_at: Instant, periods: usize) -> Self {
        Self { due_at, periods, invoices: 0, payouts: 0, invoiced: Vec::new(), rewarded: Vec::new() }
    }

    pub(in crate::billing) fn add(&mut self, made: &Made) -> Result<(), MoneyError> {
        self.invoices += made.invoices.len();
        self.payouts += made.payouts.len();
        add(&mut self.invoiced, made.invoices.iter().map(|invoice| invoice.totals.total))?;
        add(&mut self.rewarded, made.payouts.iter().map(|payout| payout.total))
    }
}

/// How far a closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The time over which something was due, and how far of it is closed.
    pub from: Instant,
    pub at: Instant,
    pub to: Instant,
    pub periods: usize,
}

#[derive(Debug, Error)]
pub enum CloseError {
    #[error("no price book is in effect at {at}, where subscription {subscription} begins a period")]
    NoBook { subscription: SubscriptionId, at: Instant },
    #[error(
        "somebody else is closing, or locks the ledger, at the same time; what is closed is closed, the rest is as it was"
    )]
    Overtaken,
    #[error("consumer {0} of a subscription is not known")]
    UnknownConsumer(String),
    #[error("credit cannot be used: {0}")]
    Credit(#[from] settle::Error),
    #[error(transparent)]
    Closing(#[from] ClosingError),
    #[error(transparent)]
    Booking(#[from] BookingError),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What a closing is rated from, as one snapshot.
struct Gathered {
    last_closing: i64,
    usage_seq: i64,
    replayed: i64,
    late: Late,
    /// Who shares in what is charged now, and what waits for its statement.
    terms: Terms,
    waiting: Vec<Share>,
    consumers: BTreeMap<String, Consumer>,
    usage: BTreeMap<Period, UsageOfAll>,
    nothing: BTreeMap<String, Vec<Usage>>,
}

impl Gathered {
    /// What is rated for an item, by meter.
    fn used(&self, item: &Item) -> &BTreeMap<String, Vec<Usage>> {
        let is_rated = item.occasion == Occasion::Closing && item.runs();
        let of_all = self.usage.get(&item.period.covered).filter(|_| is_rated);
        of_all.and_then(|of_all| of_all.get(&item.subscription.consumer)).unwrap_or(&self.nothing)
    }
}

/// Closes every period that ended by `through`, oldest first, lets holds pass that ended by then, and nets rewards.
pub async fn close(
    db: &Db,
    versions: &Versions,
    through: Through,
    now: Instant,
    mut progress: impl FnMut(Progress),
) -> Result<Closed, CloseError> {
    let mut schedule = Schedule::read(db, versions, through, now).await?;
    let span = schedule.span();
    let mut closed = Closed::default();
    let mut periods = 0;
    while let Some((at, items)) = schedule.pop() {
        let summary = close_together(db, versions, at, &items, now).await?;
        periods += summary.periods;
        closed.closings.push(summary);
        schedule.follow(items)?;
        if let Some((from, to)) = span {
            progress(Progress { from, at, to, periods });
        }
    }
    closed.holds_passed = pass_holds(db, versions, through, now).await?;
    closed.credits_expired = prepaid::expire(db, versions, through, now).await?;
    closed.invoices_netted = netting::net(db, versions, now).await?;
    Ok(closed)
}

/// Closes everything that is due at one instant: all of it, or none.
async fn close_together(
    db: &Db,
    versions: &Versions,
    at: Instant,
    items: &[Item],
    now: Instant,
) -> Result<Summary, CloseError> {
    // Before usage is read: what a flush adds meanwhile to what is closed here is noted.
    let mut tx = db.write().await?;
    tx.announce_closing(at).await?;
    tx.commit().await?;
    let gathered = gather(db, versions, items).await?;
    let due = items.iter().map(|item| due(versions, item, at, &gathered)).collect::<Result<Vec<_>, _>>()?;
    let Gathered { last_closing, usage_seq, replayed, late, terms, waiting, .. } = &gathered;
    let earned = earned(&due, &late.granted)?;

    let (usage_seq, replayed) = (*usage_seq, *replayed);
    let closing = Closing { seq: last_closing + 1, due_at: at, usage_seq, replayed, closed_at: now };
    let mut tx = db.write().await?;
    tx.record_closing(&closing, &due.iter().map(closed_period).collect::<Vec<_>>()).await.map_err(overtaken)?;
    let advances: Vec<Advance<'_>> = items.iter().filter(|item| item.runs()).map(advance).collect();
    if usize::try_from(tx.advance_closed_through(&advances).await?) != Ok(advances.len()) {
        return Err(CloseError::Overtaken);
    }
    late.record(&mut tx).await?;
    let locks = lock::hold(&mut tx, now).await.map_err(overtaken)?;
    let mut summary = Summary::of(at, items.len());
    let mut shares = late.shares.clone();
    shares.extend(record::invoices(&mut tx, &closing, &due, (terms, &locks), &mut summary).await?);
    record_shares(&mut tx, &closing, &due, &shares, &gathered).await?;
    let unpaid = Unpaid::new(waiting.iter().chain(&shares));
    record::payouts(&mut tx, &closing, &due, earned, unpaid, &locks, &mut summary).await?;
    tx.commit().await?;
    Ok(summary)
}

/// Keeps what producers earned, and who they were.
async fn record_shares(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: &[Due<'_>],
    shares: &[Share],
    gathered: &Gathered,
) -> Result<(), store::Error> {
    let mut sharers: Vec<&Sharer> = gathered.terms.sharers().chain(gathered.late.terms.sharers()).collect();
    sharers.sort_unstable();
    sharers.dedup();
    tx.record_sharers(closing.seq, &sharers).await?;
    let closed = due.iter().filter(|due| due.occasion == Occasion::Closing);
    let paid: BTreeSet<&SubscriptionId> = closed.map(|due| &due.subscription.id).collect();
    tx.record_shares(closing.seq, shares, &paid).await?;
    let waited: BTreeSet<&SubscriptionId> = gathered.waiting.iter().map(|share| &share.to).collect();
    for producer in waited.intersection(&paid) {
        tx.take_shares(closing.seq, producer).await?;
    }
    Ok(())
}

async fn gather(db: &Db, versions: &Versions, items: &[Item]) -> Result<Gathered, CloseError> {
    let mut tx = db.read().await?;
    let mut ids: Vec<&str> = items.iter().map(|item| item.subscription.consumer.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut together: BTreeMap<Period, Together<'_>> = BTreeMap::new();
    for item in items.iter().filter(|item| item.occasion == Occasion::Closing && item.runs()) {
        let of_period = together.entry(item.period.covered).or_default();
        of_period.add(&item.subscription, item.period.covered.from(), &item.version, |_| true)?;
    }
    let mut usage: BTreeMap<Period, UsageOfAll> = BTreeMap::new();
    for (period, together) in &together {
        usage.insert(*period, together.read(&mut tx, *period).await?);
    }
    let granted = tx.granted_by_program().await?;
    let mut gathered = Gathered {
        last_closing: tx.last_closing().await?,
        usage_seq: tx.applied_seq().await?,
        replayed: tx.last_replayed().await?,
        late: Late::read(&mut tx, versions, items, granted).await?,
        terms: Terms::default(),
        waiting: tx.shares(Which::Waiting).await?,
        consumers: tx.consumers_named(&ids).await?,
        usage,
        nothing: BTreeMap::new(),
    };
    let mut producers = Producers::default();
    for item in items.iter().filter(|item| item.occasion == Occasion::Closing) {
        let covered = item.period.covered;
        let plan = plan_of(&item.subscription, covered.from(), &item.version)?;
        producers.add(&item.version, plan, covered.to(), gathered.used(item));
    }
    gathered.terms = producers.look_up(&mut tx).await?;
    Ok(gathered)
}

/// What a consumer is subject to. It must be known: to charge none would be to guess.
pub(in crate::billing) fn tax_of<'v>(
    versions: &'v Versions,
    consumer: &Consumer,
    version: &BookVersion,
) -> Result<Option<&'v Tax>, ClosingError> {
    let Some(tax) = &consumer.tax else { return Ok(None) };
    let unknown = || ClosingError::UnknownTax { consumer: consumer.id.clone(), tax: tax.clone() };
    versions.tax(tax, version).ok_or_else(unknown).map(Some)
}

fn due<'a>(versions: &'a Versions, item: &'a Item, at: Instant, gathered: &'a Gathered) -> Result<Due<'a>, CloseError> {
    let id = &item.subscription.consumer;
    let consumer = gathered.consumers.get(id).ok_or_else(|| CloseError::UnknownConsumer(id.clone()))?;
    Ok(Due {
        subscription: &item.subscription,
        consumer,
        tax: tax_of(versions, consumer, &item.version)?,
        occasion: item.occasion,
        at,
        period: item.period,
        version: &item.version,
        advance_through: item.advance_through,
        next: item.charged_next(),
        adjustments: match item.occasion {
            Occasion::Opening => &[],
            Occasion::Closing => gathered.late.lines.get(&item.subscription.id).map_or(&[], Vec::as_slice),
        },
        usage: gathered.used(item),
    })
}

fn advance(item: &Item) -> Advance<'_> {
    let period = item.period.covered;
    let (to, charged) = match item.occasion {
        Occasion::Opening => (period.from(), Some((period.to(), &*item.version.id))),
        Occasion::Closing => {
            let next = item.next.as_ref();
            (period.to(), next.map(|next| (next.charged_through, &*next.version.id)))
        }
    };
    Advance { read: &item.subscription, from: period.from(), to, charged }
}

fn closed_period(due: &Due<'_>) -> ClosedPeriod {
    ClosedPeriod {
        subscription: due.subscription.id.clone(),
        occasion: due.occasion,
        period: due.period.covered,
        book_version: due.version.id.clone(),
        next_book_version: due.next.map(|(_, version)| version.id.clone()),
        next_period_to: due.next.map(|(period, _)| period.covered.to()),
        consumer: due.consumer.clone(),
    }
}

pub(in crate::billing) fn overtaken(error: store::Error) -> CloseError {
    match error {
        store::Error::Taken => CloseError::Overtaken,
        error => error.into(),
    }
}

/// Adds amounts to sums, of which each currency has one, in the order of their codes.
fn add(sums: &mut Vec<Money>, amounts: impl Iterator<Item = Money>) -> Result<(), MoneyError> {
    for amount in amounts {
        match sums.binary_search_by_key(&amount.currency().code(), |sum| sum.currency().code()) {
            Ok(place) => sums[place] = sums[place].checked_add(amount)?,
            Err(place) => sums.insert(place, amount),
        }
    }
    Ok(())
}
