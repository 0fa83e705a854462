//! `usage.csv`: what every meter measured, by consumer, day and dimensions.

use crate::billing::csv::csv;
use crate::billing::export::ExportError;
use crate::billing::export::Range;
use crate::domain::book::meter::Meter;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::metering::usage::Measured;
use crate::metering::usage::Query;
use crate::metering::usage::Window;
use crate::metering::usage::stored;
use crate::metering::versions::Versions;
use crate::store::Db;

const COLUMNS: [&str; 7] = ["meter", "consumer", "from", "to", "dimensions", "value", "events"];

/// Usage on the days of the range, in the zone of the book, as far as it is flushed. It ends with what there is at `now`
/// or a little later: a meter that carries over has a value on every day.
pub(super) async fn text(db: &Db, versions: &Versions, range: Range<'_>, now: Instant) -> Result<String, ExportError> {
    let zone = versions.zone_at(now);
    let begins = |date| Instant::start_of(date, &zone);
    let tomorrow = now.date_in(&zone).tomorrow().ok().and_then(|date| begins(date.tomorrow().ok()?));
    let to = begins(range.to).into_iter().chain(tomorrow).min().unwrap_or(now);
    let from = begins(range.from).map_or(Instant::BEGINNING, |from| from.max(Instant::BEGINNING));
    let mut rows = Vec::new();
    if let Ok(period) = Period::new(from, to) {
        let meters = versions.meters_by_id();
        for meter in meters.into_values() {
            let group_by: Vec<String> = meter.dimensions.keys().cloned().collect();
            let (window, zone) = (Window::Day, zone.clone());
            let query = Query { meter, consumer: range.consumer, period, window, zone, group_by: &group_by };
            rows.extend(stored(db, &query).await?.into_iter().map(|measured| row(meter, measured)));
        }
    }
    Ok(csv(COLUMNS, rows))
}

fn row(meter: &Meter, measured: Measured) -> [String; 7] {
    let Measured { consumer, from, to, dimensions, value, count } = measured;
    [
        meter.id.clone(),
        consumer,
        from.to_string(),
        to.to_string(),
        serde_json::Value::from_iter(dimensions).to_string(),
        value.to_string(),
        count.to_string(),
    ]
}
