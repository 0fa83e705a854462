//! `…/lines/{n}/explain`: from a line of a document down to the events that it was rated from.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::explain::Behind;
use crate::billing::explain::Document;
use crate::billing::explain::behind;
use crate::billing::explain::shares_behind;
use crate::domain::document::share::Share;
use crate::domain::hex::hex;
use crate::domain::hex::unhex;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::item::Place;
use crate::domain::money::Money;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::documents::unknown;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::metering::trace::RowKey;
use crate::metering::trace::TracedEvent;
use crate::metering::trace::TracedRow;
use crate::store::documents::Wanted;

/// Where the events begin.
const EVENTS: &str = "events";
const BUCKETS: &str = "buckets";
const SHARES: &str = "shares";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(invoice_line)).routes(routes!(payout_line))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Buckets and events of one page, 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before. `events` leaves the buckets out.
    cursor: Option<String>,
}

/// A line, and a page of what it was rated from.
#[derive(Serialize)]
struct Explained {
    document: String,
    /// Counted from 1.
    number: usize,
    line: Line,
    usage: Option<Usage>,
    buckets: Vec<Bucket>,
    events: Vec<Event>,
    /// What others were charged, behind a share.
    shares: Vec<ShareOf>,
    next_cursor: Option<String>,
}

/// What a producer got of one charge of one period, or gave back.
#[derive(Serialize)]
struct ShareOf {
    subscription: SubscriptionId,
    charge: String,
    from: Instant,
    to: Instant,
    /// How much of the charge was for what is the producer's.
    base: Money,
    /// In percent.
    rate: String,
    amount: Money,
}

/// Which usage it is.
#[derive(Serialize)]
struct Usage {
    meter: String,
    from: Instant,
    to: Instant,
    closed_at: Instant,
}

/// A row of usage as the closing saw it.
#[derive(Serialize)]
struct Bucket {
    #[serde(flatten)]
    row: Row,
    changed: bool,
    /// As it is, if that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Measured>,
}

#[derive(Serialize)]
struct Row {
    bucket: Instant,
    dimensions: Box<RawValue>,
    /// What the aggregation keeps apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    item: String,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Serialize)]
struct Measured {
    value: String,
    count: i64,
}

#[derive(Serialize)]
struct Event {
    source: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    time: Instant,
    received_at: Instant,
    batch: i64,
    state: Standing,
    added: Vec<Row>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// The closing counted it, and it counts.
    Counted,
    /// It came after the closing, or was replayed after it.
    Late,
    /// The closing counted it, and it was taken back since.
    TakenBack,
}

/// Where a page begins: first the rows, then the events.
enum Cursor {
    Rows(Option<RowKey>),
    Events(Place),
    /// After so many of them.
    Shares(usize),
}

/// Explain a line of an invoice: the usage that it was rated from, and the events behind that.
///
/// First come the buckets as the closing saw them, in order of time, then the events in the order of the log, each with
/// what it added. Go on as long as there is a `next_cursor`: a page may hold less than its limit, or nothing, where much
/// had to be read for it. Behind a fee, a minimum, a commitment or a maximum is no usage.
#[utoipa::path(
    get, path = "/v1/invoices/{id}/lines/{n}/explain", tag = "documents",
    params(("id" = String, Path), ("n" = String, Path, description = "The line, counted from 1"), PageQuery),
    responses(
        (status = 200, description = "The line, and a page of what is behind it", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such invoice, or no such line of it", body = Problem),
    ),
)]
async fn invoice_line(
    State(app): State<App>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Explained>, Problem> {
    let found = app.db.read().await?.invoices(Wanted::Id(&id)).await?.pop();
    let invoice = found.ok_or_else(|| unknown("invoice", &id))?;
    caller.require_consumer(&invoice.consumer, &[Role::Finance])?;
    let document = Document {
        id: &id,
        consumer: &invoice.consumer,
        subscription: &invoice.subscription,
        book_version: &invoice.book_version,
    };
    explained(&app, document, &invoice.totals.lines, &number, &query).await
}

/// Explain a line of a payout statement, as a line of an invoice is explained.
///
/// Behind a share are the charges that it is of, each with what of it was the producer's.
#[utoipa::path(
    get, path = "/v1/payouts/{id}/lines/{n}/explain", tag = "documents",
    params(("id" = String, Path), ("n" = String, Path, description = "The line, counted from 1"), PageQuery),
    responses(
        (status = 200, description = "The line, and a page of what is behind it", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such payout statement, or no such line of it", body = Problem),
    ),
)]
async fn payout_line(
    State(app): State<App>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Explained>, Problem> {
    let found = app.db.read().await?.payouts(Wanted::Id(&id)).await?.pop();
    let payout = found.ok_or_else(|| unknown("payout", &id))?;
    caller.require_consumer(&payout.consumer, &[Role::Finance])?;
    let document = Document {
        id: &id,
        consumer: &payout.consumer,
        subscription: &payout.subscription,
        book_version: &payout.book_version,
    };
    explained(&app, document, &payout.lines, &number, &query).await
}

async fn explained(
    app: &App,
    document: Document<'_>,
    lines: &[Line],
    number: &str,
    query: &PageQuery,
) -> Result<Json<Explained>, Problem> {
    let found = number.parse::<usize>().ok().and_then(|number| Some((number, lines.get(number.checked_sub(1)?)?)));
    let (number, line) = found.ok_or_else(|| unknown_line(document.id, number, lines.len()))?;
    let limit = usize::try_from(limit(query.limit.as_deref())?).unwrap_or(usize::MAX);
    let cursor = Cursor::read(query.cursor.as_deref())?;
    let shares = shares_behind(&app.db, document, line).await?;
    let behind = behind(&app.db, &app.metering.versions(), document, line).await?;
    let mut explained = Explained {
        document: document.id.to_owned(),
        number,
        line: line.clone(),
        usage: behind.as_ref().map(Usage::of),
        buckets: Vec::new(),
        events: Vec::new(),
        shares: Vec::new(),
        next_cursor: None,
    };
    if !shares.is_empty() {
        let before = if let Cursor::Shares(before) = cursor { before } else { 0 };
        let end = before.saturating_add(limit);
        explained.next_cursor = (end < shares.len()).then(|| format!("{SHARES}.{end}"));
        explained.shares = shares.into_iter().skip(before).take(limit).map(ShareOf::of).collect();
        return Ok(Json(explained));
    }
    let Some(Behind { question, .. }) = behind else { return Ok(Json(explained)) };
    let place = match cursor {
        Cursor::Events(place) => place,
        Cursor::Shares(_) => Place { seq: 0, index: 0 },
        Cursor::Rows(after) => {
            let (rows, next) = app.metering.rows_behind(&question, after, limit).await?;
            explained.buckets = rows.into_iter().map(Bucket::of).collect::<Result<_, _>>()?;
            let is_full = explained.buckets.len() >= limit;
            explained.next_cursor = next.as_ref().map(row_cursor).or(is_full.then(|| EVENTS.to_owned()));
            if explained.next_cursor.is_some() {
                return Ok(Json(explained));
            }
            Place { seq: 0, index: 0 }
        }
    };
    let room = limit - explained.buckets.len();
    let (events, next) = app.metering.events_behind(&question, place, room).await?;
    explained.events = events.into_iter().map(Event::of).collect::<Result<_, _>>()?;
    explained.next_cursor = next.map(|Place { seq, index }| format!("{EVENTS}.{seq}.{index}"));
    Ok(Json(explained))
}

fn unknown_line(document: &str, number: &str, count: usize) -> Problem {
    let detail = format!("{document} has no line `{number}`");
    Problem::new(StatusCode::NOT_FOUND, "unknown_line", detail).fix(format!("ask for one from 1 to {count}"))
}

fn row_cursor(row: &RowKey) -> String {
    format!("{BUCKETS}.{}.{}.{}", row.bucket.micros(), hex(row.dimensions.as_bytes()), hex(row.item.as_bytes()))
}

impl Cursor {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else { return Ok(Self::Rows(None)) };
        let parts: Vec<&str> = text.split('.').collect();
        let text_of = |digits: &str| Some(String::from_utf8(unhex(digits)?).ok()?.into());
        let cursor = match *parts {
            [EVENTS] => Some(Self::Events(Place { seq: 0, index: 0 })),
            [EVENTS, seq, index] => {
                let place = seq.parse().ok().zip(index.parse().ok());
                place.map(|(seq, index)| Self::Events(Place { seq, index }))
            }
            [BUCKETS, bucket, dimensions, item] => {
                let bucket = bucket.parse().ok().map(Instant::from_micros);
                let texts = text_of(dimensions).zip(text_of(item));
                bucket
                    .zip(texts)
                    .map(|(bucket, (dimensions, item))| Self::Rows(Some(RowKey { bucket, dimensions, item })))
            }
            [SHARES, before] => before.parse().ok().map(Self::Shares),
            _ => None,
        };
        cursor.ok_or_else(|| {
            invalid("cursor", &format!("`{text}` is not a cursor"), "use next_cursor as it was given, or `events`")
        })
    }
}

impl ShareOf {
    fn of(share: Share) -> Self {
        Self {
            subscription: share.charged,
            charge: share.charge,
            from: share.period.from(),
            to: share.period.to(),
            base: share.base,
            rate: share.rate.normalize().to_string(),
            amount: share.amount,
        }
    }
}

impl Usage {
    fn of(behind: &Behind) -> Self {
        let Behind { question, closed_at } = behind;
        let (from, to) = (question.span.from(), question.span.to());
        Self { meter: question.meter.id.clone(), from, to, closed_at: *closed_at }
    }
}

impl Measured {
    fn of(delta: Delta) -> Self {
        Self { value: delta.value.to_string(), count: delta.count }
    }
}

impl Row {
    fn of(bucket: Instant, dimensions: &str, item: &str, delta: Delta) -> Result<Self, Problem> {
        let dimensions = RawValue::from_string(dimensions.to_owned()).map_err(|_| Problem::internal())?;
        Ok(Self { bucket, dimensions, item: item.to_owned(), measured: Measured::of(delta) })
    }
}

impl Bucket {
    fn of(row: TracedRow) -> Result<Self, Problem> {
        let TracedRow { key: RowKey { bucket, dimensions, item }, saw, now } = row;
        let row = Row::of(bucket, &dimensions, &item, saw)?;
        Ok(Self { row, changed: saw != now, now: (saw != now).then(|| Measured::of(now)) })
    }
}

impl Event {
    fn of(event: TracedEvent) -> Result<Self, Problem> {
        let row = |(key, delta): &(Key, Delta)| Row::of(key.bucket, &key.dimensions, &key.item, *delta);
        Ok(Self {
            state: match (event.saw, event.now) {
                (true, true) => Standing::Counted,
                (false, _) => Standing::Late,
                (true, false) => Standing::TakenBack,
            },
            added: event.added.iter().map(row).collect::<Result<_, _>>()?,
            source: event.source,
            id: event.id,
            kind: event.kind,
            time: event.at,
            received_at: event.received_at,
            batch: event.place.seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_given() {
        let row =
            RowKey { bucket: Instant::from_micros(-7), dimensions: r#"{"a":"é."}"#.into(), item: "/s\n1".into() };
        let read = Cursor::read(Some(&row_cursor(&row))).ok();
        assert!(matches!(read, Some(Cursor::Rows(Some(found))) if found == row));
        let begin = RowKey { bucket: Instant::from_micros(0), dimensions: "".into(), item: "".into() };
        let read = Cursor::read(Some(&row_cursor(&begin))).ok();
        assert!(matches!(read, Some(Cursor::Rows(Some(found))) if found == begin));
        let read = Cursor::read(Some("events.3.4")).ok();
        assert!(matches!(read, Some(Cursor::Events(Place { seq: 3, index: 4 }))));
        for wrong in ["", "rows", "events.3", "events.x.4", "buckets.1.g.", "buckets.1..0"] {
            assert!(Cursor::read(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
