//! A consumer's statement: from documents where the period is closed, else rated as it stands at this moment.
//!
//! A document belongs to the statement of the days that hold its accounting date (the last day of the period that it
//! closes), and so does what is not closed yet. So statements of days that follow each other show everything once.
//! What is so far is rated by the same functions as a closing, one consumer alone: of a program's budget it sees what
//! closed periods have left, and not what others earn at the same time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::billing::close::CloseError;
use crate::billing::close::tax_of;
use crate::billing::csv::csv as table;
use crate::billing::schedule::Item;
use crate::billing::schedule::next_from;
use crate::billing::schedule::opens_at;
use crate::billing::schedule::period_from;
use crate::billing::usage::usage_of;
use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::documents;
use crate::domain::document::closing::reaching_back;
use crate::domain::document::share::Share;
use crate::domain::document::share::Sharing;
use crate::domain::document::statement::Asked;
use crate::domain::document::statement::Contents;
use crate::domain::document::statement::MeterDays;
use crate::domain::document::statement::Statement;
use crate::domain::document::statement::StatementState;
use crate::domain::document::statement::by_day;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::TooLarge;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::period::Rhythm;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::documents::Wanted;
use crate::store::shares::Which;

#[derive(Debug, Error)]
pub enum StatementError {
    #[error("there is no consumer `{0}`")]
    UnknownConsumer(String),
    #[error(
        "`{0}` is not a period; write a month (2013-01), a day of a billing period (2013-01-15), or days from and before (2013-01-01..2013-02-01)"
    )]
    NotAPeriod(String),
    #[error(transparent)]
    SoFar(#[from] CloseError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<PeriodError> for StatementError {
    fn from(error: PeriodError) -> Self {
        Self::SoFar(error.into())
    }
}

impl From<MoneyError> for StatementError {
    fn from(error: MoneyError) -> Self {
        Self::SoFar(error.into())
    }
}

/// The statement of a period as [`Asked`] reads it; without one, of the billing period that runs at `now`.
/// Usage that is not flushed is not seen: flush metering first.
pub async fn statement(
    db: &Db,
    versions: &Versions,
    consumer: &str,
    period: Option<&str>,
    now: Instant,
) -> Result<Statement, StatementError> {
    let asked = period.map(|text| Asked::parse(text).ok_or_else(|| StatementError::NotAPeriod(text.to_owned())));
    let asked = asked.transpose()?;
    let mut tx = db.read().await?;
    let consumer = tx.consumer(consumer).await?.ok_or_else(|| StatementError::UnknownConsumer(consumer.to_owned()))?;
    let subscriptions = tx.subscriptions(Some(&consumer.id), None, i64::MAX).await?;
    let (period, zone) = window(asked, &subscriptions, versions, now)?;

    let mut contents = Contents::default();
    for invoice in tx.invoices(Wanted::Dated { consumer: &consumer.id, period }).await? {
        contents.documents.push(invoice.id.to_string());
        contents.add_charges(invoice.totals);
    }
    for payout in tx.payouts(Wanted::Dated { consumer: &consumer.id, period }).await? {
        contents.documents.push(payout.id.to_string());
        contents.rewards.extend(payout.lines);
    }
    let opened = tx.opened(Some(&consumer.id)).await?;
    let open = open_items(&subscriptions, &opened, versions, period, now)?;
    let state = if open.is_empty() && period.to() <= now { StatementState::Closed } else { StatementState::Open };
    let mut so_far = Vec::with_capacity(open.len());
    for (_, item) in &open {
        let since =
            reaching_back(&item.subscription, item.period.covered.from(), &item.version).map_err(CloseError::from)?;
        so_far.push(usage_of(&mut tx, &consumer.id, item.period.covered, &since).await?);
    }
    let granted = tx.granted_by_program().await?;
    let waiting = tx.shares(Which::Waiting).await?;
    let meters = versions.iter().flat_map(|version| version.book.meters.values());
    let carrying = meters.filter(|meter| meter.carries_over()).map(|meter| (meter.id.as_str(), Instant::BEGINNING));
    let used = usage_of(&mut tx, &consumer.id, period, &carrying.collect()).await?;
    drop(tx);

    add_so_far(&mut contents, versions, &consumer, &open, &so_far, (granted, waiting))?;
    let usage = daily(&used, versions, period, &zone)?;
    Ok(Statement::of(&consumer.id, consumer.currency, (period, zone), state, contents, usage)?)
}

/// The days that are asked for, in the zone of the consumer's plan, else of the book.
fn window(
    asked: Option<Asked>,
    subscriptions: &[Subscription],
    versions: &Versions,
    now: Instant,
) -> Result<(Period, Zone), StatementError> {
    let outside = || StatementError::from(PeriodError::OutOfRange);
    let book_zone = versions.zone_at(now);
    let runs_at = |at: Instant| {
        subscriptions
            .iter()
            .find(move |subscription| subscription.starts_at <= at && subscription.ends_at.is_none_or(|end| at < end))
    };
    let calendar_of = |subscription: &Subscription, at: Instant| {
        let plan = versions.at(at).and_then(|version| version.book.plans.get(subscription.plan_at(at)))?;
        Some(plan.calendar.clone())
    };
    let wanted = match asked {
        None => now,
        Some(asked) => Instant::start_of(asked.days().ok_or_else(outside)?.0, &book_zone).ok_or_else(outside)?,
    };
    let nearest = runs_at(wanted).or_else(|| runs_at(now)).or(subscriptions.last());
    let billed = nearest.and_then(|subscription| {
        let calendar = calendar_of(subscription, wanted.max(subscription.starts_at))?;
        Some((calendar, Some(subscription)))
    });
    let (calendar, subscription) = billed.unwrap_or_else(|| {
        (Calendar { rhythm: Rhythm::MONTH, anchor: Anchor::Calendar, zone: book_zone.clone() }, None)
    });
    let begins = |date| Instant::start_of(date, &calendar.zone).ok_or_else(outside);
    let holding = |at| match subscription {
        Some(subscription) => subscription.period_holding(at, &calendar),
        None => calendar.period_at(wanted, at),
    };
    let period = match asked {
        None => holding(now)?,
        Some(Asked::Day(day)) => holding(begins(day)?)?,
        Some(Asked::Days(from, to)) => Period::new(begins(from)?, begins(to)?)?,
    };
    Ok((period, calendar.zone))
}

/// What is dated in the period, has begun, and is not closed; with when it is due.
fn open_items(
    subscriptions: &[Subscription],
    opened: &BTreeSet<SubscriptionId>,
    versions: &Versions,
    window: Period,
    now: Instant,
) -> Result<Vec<(Instant, Item)>, StatementError> {
    let mut items = Vec::new();
    for subscription in subscriptions.iter().cloned().map(Arc::new) {
        let (mut from, mut advance_through) = (subscription.closed_through, subscription.advance_through);
        while from < window.to() && from <= now {
            let Some((period, version)) = period_from(&subscription, from, versions)? else { break };
            let to = period.covered.to();
            let next = next_from(&subscription, to, versions)?;
            let is_opened = from == subscription.closed_through && opened.contains(&subscription.id);
            let opens_at = opens_at(&subscription, period, &version, (advance_through, is_opened))?;
            let item = |occasion, advance_through, next| Item {
                subscription: subscription.clone(),
                occasion,
                period,
                advance_through,
                version: version.clone(),
                next,
            };
            if let Some(at) = opens_at {
                advance_through = Some(to);
                if window.contains(at) {
                    items.push((at, item(Occasion::Opening, None, None)));
                }
            }
            if window.from() < to && to <= window.to() {
                items.push((to, item(Occasion::Closing, advance_through, next.clone())));
            }
            (from, advance_through) = (to, next.map(|next| next.charged_through));
        }
    }
    Ok(items)
}

/// Rates what is open, one period after the other, so that each leaves less of the budgets to the next. What was earned of
/// others' charges and waits is on the first of a subscription.
fn add_so_far(
    contents: &mut Contents,
    versions: &Versions,
    consumer: &Consumer,
    open: &[(Instant, Item)],
    usage: &[BTreeMap<String, Vec<Usage>>],
    (mut granted, mut waiting): (BTreeMap<String, i64>, Vec<Share>),
) -> Result<(), StatementError> {
    for ((at, item), usage) in open.iter().zip(usage) {
        let due = Due {
            subscription: &item.subscription,
            consumer,
            tax: tax_of(versions, consumer, &item.version).map_err(CloseError::from)?,
            occasion: item.occasion,
            at: *at,
            period: item.period,
            version: &item.version,
            advance_through: item.advance_through,
            next: item.charged_next(),
            adjustments: &[],
            usage,
        };
        let (own, others): (Vec<Share>, Vec<Share>) = std::mem::take(&mut waiting)
            .into_iter()
            .partition(|share| item.occasion == Occasion::Closing && share.to == item.subscription.id);
        waiting = others;
        let sharing = Sharing { waiting: own, ..Sharing::default() };
        for made in documents(&[due], &granted, &sharing).map_err(CloseError::from)?.documents {
            if let Some(invoice) = made.invoice {
                contents.add_charges(invoice.totals);
            }
            for line in made.payout.into_iter().flat_map(|payout| payout.lines) {
                let program = line.program.clone().unwrap_or_default();
                let spent = granted.entry(program).or_default();
                *spent = spent.checked_add(line.amount.minor()).ok_or(MoneyError::Overflow)?;
                contents.rewards.push(line);
            }
        }
    }
    Ok(())
}

fn daily(
    used: &BTreeMap<String, Vec<Usage>>,
    versions: &Versions,
    period: Period,
    zone: &Zone,
) -> Result<Vec<MeterDays>, MoneyError> {
    let of = |(id, rows): (&String, &Vec<Usage>)| {
        versions.meter(id).map(|meter| by_day(meter, rows, period, zone).map_err(|TooLarge| MoneyError::Overflow))
    };
    used.iter().filter_map(of).collect()
}

const COLUMNS: [&str; 11] = [
    "section",
    "component",
    "description",
    "dimensions",
    "from",
    "to",
    "quantity",
    "amount",
    "currency",
    "program",
    "why",
];

/// A statement as CSV: a row for each line, then the tax and the net.
pub fn csv(statement: &Statement) -> String {
    let sections =
        [("charge", &statement.charges), ("reward", &statement.rewards), ("adjustment", &statement.adjustments)];
    let lines = sections.into_iter().flat_map(|(section, lines)| lines.iter().map(move |line| line_row(section, line)));
    // Charges and rewards are summed by whoever reads their rows; tax and net are on none of them.
    let sums = [("tax", statement.tax), ("net", statement.net)];
    let sums = sums.into_iter().map(|(section, amount)| sum_row(section, statement.period, amount));
    table(COLUMNS, lines.chain(sums))
}

fn line_row(section: &str, line: &Line) -> [String; 11] {
    let dimensions: Vec<String> = line.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let why: Vec<&str> = line.explanation.steps.iter().map(|step| step.text.as_str()).collect();
    [
        section.to_owned(),
        line.component.clone(),
        line.description.clone(),
        dimensions.join("; "),
        line.from.to_string(),
        line.to.to_string(),
        line.quantity.to_string(),
        line.amount.decimal().to_string(),
        line.amount.currency().code().to_owned(),
        line.program.clone().unwrap_or_default(),
        why.join("; "),
    ]
}

fn sum_row(section: &str, period: Period, amount: Money) -> [String; 11] {
    let nothing = String::new;
    let (from, to) = (period.from().to_string(), period.to().to_string());
    let (decimal, currency) = (amount.decimal().to_string(), amount.currency().code().to_owned());
    let section = section.to_owned();
    [section, nothing(), nothing(), nothing(), from, to, nothing(), decimal, currency, nothing(), nothing()]
}
