//! What a line of a document was rated from: which usage, and as which closing saw it.
//!
//! The line's own explanation goes from its quantity to its amount. Here is where the quantity comes from; the rows and the
//! events behind it are [`crate::metering::trace`]'s to find.

use crate::domain::book::plan::Component;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::version::BookVersion;
use crate::domain::document::closing::plan_of;
use crate::domain::document::share::Share;
use crate::domain::ids::SubscriptionId;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering::trace::Question;
use crate::metering::trace::Saw;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::closings::Closing;
use crate::store::shares::Which;

/// What a document says of all its lines.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    pub id: &'a str,
    pub consumer: &'a str,
    pub subscription: &'a SubscriptionId,
    pub book_version: &'a str,
}

/// The usage that a line was rated from.
#[derive(Clone, Debug)]
pub struct Behind {
    pub question: Question,
    /// When the closing looked.
    pub closed_at: Instant,
}

/// What is behind a line; nothing if no usage is: behind a fee, a minimum, a commitment or a maximum.
pub async fn behind(
    db: &Db,
    versions: &Versions,
    document: Document<'_>,
    line: &Line,
) -> store::Result<Option<Behind>> {
    if line.explanation.meter.is_none() {
        return Ok(None);
    }
    let mut tx = db.read().await?;
    let closing = tx.closing_of(document.id).await?.ok_or(store::Error::Missing)?;
    let subscription = tx.subscription(document.subscription).await?.ok_or(store::Error::Missing)?;
    let mut rated_under = document.book_version.to_owned();
    if line.is_adjustment() {
        // What corrects another period was rated under the price book of that.
        let closed = tx.closed_periods_of(document.subscription).await?;
        let of_line = closed.into_iter().find(|(_, closed)| closed.period.contains(line.from));
        rated_under = of_line.map_or(rated_under, |(_, closed)| closed.book_version);
    }
    let version = versions.by_id(&rated_under);
    let question = version.and_then(|version| question(&subscription, version, line, &closing, document.consumer));
    Ok(question.map(|question| Behind { question, closed_at: closing.closed_at }))
}

/// The shares that a line of a payout statement is the sum of, in the order in which they were earned; none if it is another
/// line.
pub async fn shares_behind(db: &Db, document: Document<'_>, line: &Line) -> store::Result<Vec<Share>> {
    if !line.is_share() {
        return Ok(Vec::new());
    }
    let mut tx = db.read().await?;
    let closing = tx.closing_of(document.id).await?.ok_or(store::Error::Missing)?;
    let mut shares = tx.shares(Which::Taken(closing.seq, document.subscription)).await?;
    shares.retain(|share| {
        let is_of_before = share.period.to() <= if line.is_adjustment() { line.to } else { line.from };
        share.component == line.component && is_of_before == line.is_adjustment()
    });
    Ok(shares)
}

fn question(
    subscription: &Subscription,
    version: &BookVersion,
    line: &Line,
    closing: &Closing,
    consumer: &str,
) -> Option<Question> {
    let plan = plan_of(subscription, line.from, version).ok()?;
    let component = plan.components.iter().find_map(|component| match component {
        Component::Usage(usage) if usage.id == line.component => Some(usage),
        Component::Usage(_) | Component::Fee(_) | Component::Share(_) => None,
    })?;
    let meter = version.book.meters.get(&component.meter)?.clone();
    let from = match (meter.carries_over(), &component.milestones) {
        (true, _) => Instant::BEGINNING,
        (false, Some(_)) => life_from(subscription, version, component).min(line.from),
        (false, None) => line.from,
    };
    Some(Question {
        party: consumer.to_owned(),
        group_by: component.group_by.clone(),
        dimensions: line.dimensions.clone(),
        span: Period::new(from, line.to).ok()?,
        saw: Saw { seq: closing.usage_seq, replayed: closing.replayed },
        meter,
    })
}

/// From where milestones are counted.
fn life_from(subscription: &Subscription, version: &BookVersion, component: &UsageComponent) -> Instant {
    let program = component.program().and_then(|program| version.book.programs.get(program));
    program.map_or(subscription.starts_at, |program| subscription.starts_at.max(program.window.from()))
}
