//! Usage as it was flushed, and how far into the log that reaches.
//!
//! Values are read, added in Rust and written back inside the flush's one transaction: SQLite would add them as floats.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use sqlx::QueryBuilder;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::nano::Nano;
use crate::domain::period::Period;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;
use crate::store::Db;
use crate::store::Engine;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::columns::Measured;
use crate::store::engine::Pools;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many keys of five values in one statement.
const ROWS_A_STATEMENT: usize = 1_000;

type Row = (String, String, i64, String, String, Measured, i64);

fn keyed((meter, party, bucket, dimensions, item, value, count): Row) -> (Key, Delta) {
    let key = Key {
        meter: meter.into(),
        party: party.into(),
        bucket: Instant::from_micros(bucket),
        dimensions: dimensions.into(),
        item: item.into(),
    };
    (key, Delta { value: value.0, count })
}

/// Between the values of many rows that are packed into one. No key holds it: see [`Key::check`].
const SEPARATOR: char = '\u{1f}';

/// The rows of one party in one: what a row of its own costs is most of what a long answer costs, in both engines.
macro_rules! packed {
    ($which:literal) => {
        concat!(
            "
            select applied_seq, party, buckets, dimensions, items, amounts, counts
            from partition left join (
                select party,
                       string_agg(cast(bucket as text), $5) as buckets,
                       string_agg(dimensions, $5) as dimensions,
                       string_agg(item, $5) as items,
                       string_agg(cast(value as text), $5) as amounts,
                       string_agg(cast(count as text), $5) as counts
                from usage
                where meter = $1 and bucket >= $2 and bucket < $3 and ",
            $which,
            "
                group by party
            ) as packed on true
            where partition.id = 0"
        )
    };
}

type PackedRow = (i64, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
/// Whose rows are packed together where those of many are asked for: enough that a row of the answer costs nothing, and few
/// enough that it is never large.
const PARTIES_A_PACK: i64 = 64;

/// A meter, and whose each row is.
type PackedUsage = (String, String, String, String, String, String, String);

/// How far usage is folded, and the stored rows of `$meter`: one statement, so that both are of one moment.
macro_rules! usage_in {
    ($conn:expr, $meter:expr, $party:expr, $period:expr) => {{
        const OF_ONE: &str = packed!("party = $4");
        const OF_ALL: &str = packed!("cast($4 as text) is null");
        let sql = if $party.is_some() { OF_ONE } else { OF_ALL };
        let rows: Vec<PackedRow> = sqlx::query_as(sql)
            .bind($meter)
            .bind($period.from().micros())
            .bind($period.to().micros())
            .bind($party)
            .bind(SEPARATOR.to_string())
            .fetch_all($conn)
            .await?;
        unpacked($meter, rows)?
    }};
}

impl Db {
    /// One meter's stored rows in a period, of one party or of all, in no order; and the last batch that is folded into
    /// them.
    pub async fn usage_in(&self, meter: &str, party: Option<&str>, period: Period) -> Result<(i64, Vec<(Key, Delta)>)> {
        Ok(match &self.books {
            Pools::Sqlite { readers, .. } => usage_in!(readers, meter, party, period),
            Pools::Postgres(pool) => usage_in!(pool, meter, party, period),
        })
    }
}

fn unpacked(meter: &str, packed: Vec<PackedRow>) -> Result<(i64, Vec<(Key, Delta)>)> {
    let meter: Arc<str> = meter.into();
    let applied_seq = packed.first().map_or(0, |row| row.0);
    let damaged = || Error::Damaged(format!("the usage of {meter}"));
    // The same few dimensions and items come again and again.
    let mut known: hashbrown::HashMap<String, Arc<str>> = hashbrown::HashMap::new();
    let mut shared = |text: &str| match known.get(text) {
        Some(known) => known.clone(),
        None => known.entry(text.to_owned()).or_insert(text.into()).clone(),
    };
    let mut rows = Vec::new();
    for row in packed {
        let (_, Some(party), Some(buckets), Some(dimensions), Some(items), Some(amounts), Some(counts)) = row else {
            continue;
        };
        let party: Arc<str> = party.into();
        let each = |bucket, dimensions: &str, item: &str, delta| {
            let (meter, party) = (meter.clone(), party.clone());
            rows.push((Key { meter, party, bucket, dimensions: shared(dimensions), item: shared(item) }, delta));
            Some(())
        };
        unpack([&buckets, &dimensions, &items, &amounts, &counts], each).ok_or_else(damaged)?;
    }
    Ok((applied_seq, rows))
}

/// Gives each row that is packed in buckets, dimensions, items, amounts and counts; nothing if they are not as many of each:
/// an item with a separator in it would have moved all that follow.
fn unpack(packed: [&str; 5], mut each: impl FnMut(Instant, &str, &str, Delta) -> Option<()>) -> Option<()> {
    let [buckets, dimensions, items, amounts, counts] = packed.map(|values| values.split(SEPARATOR));
    let [mut dimensions, mut items, mut amounts, mut counts] = [dimensions, items, amounts, counts];
    for bucket in buckets {
        let bucket = Instant::from_micros(bucket.parse().ok()?);
        let (dimensions, item) = (dimensions.next()?, items.next()?);
        let delta = Delta { value: Nano::parse(amounts.next()?)?, count: counts.next()?.parse().ok()? };
        each(bucket, dimensions, item, delta)?;
    }
    [dimensions, items, amounts, counts].iter_mut().all(|rest| rest.next().is_none()).then_some(())
}

impl Db {
    /// The last batch that is folded into stored usage, when no flush is under way any more: a connection that was lost, or
    /// a process that was killed, may leave a commit behind.
    pub async fn settled_applied_seq(&self) -> Result<i64> {
        let mut tx = self.write().await?;
        if let Engine::Postgres(tx) = &mut tx.0 {
            sqlx::raw_sql("lock table partition in share row exclusive mode").execute(&mut **tx).await?;
        }
        tx.applied_seq().await
    }
}

impl<Mode> Tx<Mode> {
    /// The last batch that is folded into stored usage.
    pub async fn applied_seq(&mut self) -> Result<i64> {
        const SQL: &str = "select applied_seq from partition where id = 0";
        let (seq,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(seq)
    }

    /// The stored rows of these keys; keys without a row are left out.
    pub async fn usage_at(&mut self, keys: &[&Key]) -> Result<HashMap<Key, Delta>> {
        // `cross join` keeps SQLite from scanning `usage`: it looks each wanted row up by the primary key.
        const FROM_WANTED: &str = ")
            select usage.meter, usage.party, usage.bucket, usage.dimensions, usage.item, usage.value, usage.count
            from wanted cross join usage
            where usage.meter = wanted.meter and usage.party = wanted.party
              and usage.bucket = wanted.bucket and usage.dimensions = wanted.dimensions
              and usage.item = wanted.item";
        let mut found = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(ROWS_A_STATEMENT) {
            let rows: Vec<Row> = on!(self, conn => {
                let mut query = QueryBuilder::new("with wanted (meter, party, bucket, dimensions, item) as (");
                query.push_values(chunk, |mut row, key| {
                    row.push_bind(&*key.meter)
                        .push_bind(&*key.party)
                        .push_bind(key.bucket.micros())
                        .push_bind(&*key.dimensions)
                        .push_bind(&*key.item);
                });
                query.push(FROM_WANTED).build_query_as().fetch_all(conn).await?
            });
            found.extend(rows.into_iter().map(keyed));
        }
        Ok(found)
    }

    /// One meter's stored rows in a period, of one party or of all, in no order.
    pub async fn usage_in(&mut self, meter: &str, party: Option<&str>, period: Period) -> Result<Vec<(Key, Delta)>> {
        Ok(on!(self, conn => usage_in!(conn, meter, party, period)).1)
    }

    /// Everything that one party used in a period, by meter, in the order of time.
    pub async fn usage_of(&mut self, party: &str, period: Period) -> Result<BTreeMap<String, Vec<Usage>>> {
        // `cross join`: one range of the primary key for each meter, never a scan.
        const SQL: &str = "
            select usage.meter, usage.party, usage.bucket, usage.dimensions, usage.item, usage.value, usage.count
            from meter cross join usage
            where usage.meter = meter.id and usage.party = $1 and usage.bucket >= $2 and usage.bucket < $3
            order by usage.meter, usage.bucket, usage.dimensions, usage.item";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL)
            .bind(party).bind(period.from().micros()).bind(period.to().micros()).fetch_all(conn).await?);
        let mut meters: BTreeMap<String, Vec<Usage>> = BTreeMap::new();
        for (meter, _, bucket, dimensions, item, value, count) in rows {
            let dimensions = serde_json::from_str(&dimensions)
                .map_err(|error| Error::Damaged(format!("dimensions of usage of {meter} by {party}: {error}")))?;
            let bucket = Instant::from_micros(bucket);
            meters.entry(meter).or_default().push(Usage { bucket, dimensions, item, value: value.0, count });
        }
        Ok(meters)
    }

    /// What each of these parties used in a period by these meters, by party and meter. Those without usage are left out.
    pub async fn usage_of_parties(
        &mut self,
        parties: &[&str],
        meters: &[&str],
        period: Period,
    ) -> Result<HashMap<String, BTreeMap<String, Vec<Usage>>>> {
        let mut found: HashMap<String, BTreeMap<String, Vec<Usage>>> = HashMap::with_capacity(parties.len());
        if meters.is_empty() {
            return Ok(found);
        }
        for parties in parties.chunks(ROWS_A_STATEMENT) {
            let packed: Vec<PackedUsage> = on!(self, conn => {
                let mut query = QueryBuilder::new("with party (id, pack) as (");
                query.push_values(parties.iter().zip(0_i64..), |mut row, (party, number)| {
                    row.push_bind(*party).push_bind(number / PARTIES_A_PACK);
                });
                query.push("), wanted (id) as (").push_values(meters, |mut row, meter| {
                    row.push_bind(*meter);
                });
                query.push(") select usage.meter, string_agg(usage.party, ").push_bind(SEPARATOR.to_string())
                    .push("), string_agg(cast(usage.bucket as text), ").push_bind(SEPARATOR.to_string())
                    .push("), string_agg(usage.dimensions, ").push_bind(SEPARATOR.to_string())
                    .push("), string_agg(usage.item, ").push_bind(SEPARATOR.to_string())
                    .push("), string_agg(cast(usage.value as text), ").push_bind(SEPARATOR.to_string())
                    .push("), string_agg(cast(usage.count as text), ").push_bind(SEPARATOR.to_string())
                    // `cross join`: one range of the primary key for each meter and party, never a scan.
                    .push(") from wanted cross join party cross join usage
                        where usage.meter = wanted.id and usage.party = party.id and usage.bucket >= ")
                    .push_bind(period.from().micros())
                    .push(" and usage.bucket < ").push_bind(period.to().micros())
                    .push(" group by usage.meter, party.pack");
                query.build_query_as().fetch_all(conn).await?
            });
            let mut known: HashMap<String, BTreeMap<String, String>> = HashMap::new();
            for (meter, parties, buckets, dimensions, items, amounts, counts) in packed {
                let mut parties = parties.split(SEPARATOR).peekable();
                let mut rows = Vec::new();
                let each = |bucket, dimensions: &str, item: &str, delta: Delta| {
                    if !known.contains_key(dimensions) {
                        known.insert(dimensions.to_owned(), serde_json::from_str(dimensions).ok()?);
                    }
                    let dimensions = known.get(dimensions)?.clone();
                    let (item, value, count) = (item.to_owned(), delta.value, delta.count);
                    rows.push(Usage { bucket, dimensions, item, value, count });
                    let party = parties.next()?;
                    if parties.peek() != Some(&party) {
                        let of_party = found.entry(party.to_owned()).or_default().entry(meter.clone()).or_default();
                        of_party.append(&mut rows);
                    }
                    Some(())
                };
                unpack([&buckets, &dimensions, &items, &amounts, &counts], each)
                    .ok_or_else(|| Error::Damaged(format!("usage of {meter}")))?;
            }
        }
        Ok(found)
    }

    /// All stored usage, for `verify`.
    pub async fn usage_all(&mut self) -> Result<BTreeMap<Key, Delta>> {
        const SQL: &str = "select meter, party, bucket, dimensions, item, value, count from usage";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().map(keyed).collect())
    }

    /// Published meters, each with the last batch that was folded before it existed.
    pub async fn meters(&mut self) -> Result<BTreeMap<Arc<str>, i64>> {
        const SQL: &str = "select id, after_seq from meter";
        let rows: Vec<(String, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().map(|(id, after_seq)| (id.into(), after_seq)).collect())
    }
}

impl Tx<Write> {
    /// Writes rows over what is stored for their keys.
    pub async fn put_usage(&mut self, rows: &[(&Key, Delta)]) -> Result<()> {
        insert_rows!(
            self,
            "insert into usage (meter, party, bucket, dimensions, item, value, count) ",
            rows.iter().map(Ok),
            |mut row, (key, delta)| {
                row.push_bind(&*key.meter)
                    .push_bind(&*key.party)
                    .push_bind(key.bucket.micros())
                    .push_bind(&*key.dimensions)
                    .push_bind(&*key.item)
                    .push_bind(Measured(delta.value))
                    .push_bind(delta.count);
            },
            " on conflict (meter, party, bucket, dimensions, item)
                      do update set value = excluded.value, count = excluded.count"
        );
        Ok(())
    }

    /// Removes rows that came to nothing.
    pub async fn drop_usage(&mut self, keys: &[&Key]) -> Result<()> {
        const SQL: &str = "
            delete from usage
            where meter = $1 and party = $2 and bucket = $3 and dimensions = $4 and item = $5";
        for key in keys {
            on!(self, conn => sqlx::query(SQL)
                .bind(&*key.meter)
                .bind(&*key.party)
                .bind(key.bucket.micros())
                .bind(&*key.dimensions)
                .bind(&*key.item)
                .execute(conn)
                .await?
                .rows_affected());
        }
        Ok(())
    }

    /// Moves the fold's position on, if it still stands at `from`.
    pub async fn advance_applied_seq(&mut self, from: i64, to: i64) -> Result<bool> {
        const SQL: &str = "update partition set applied_seq = $2 where id = 0 and applied_seq = $1";
        let moved = on!(self, conn => sqlx::query(SQL).bind(from).bind(to).execute(conn).await?.rows_affected());
        Ok(moved == 1)
    }

    /// Records a meter that counts every batch after `after_seq`. One that is known keeps its own.
    pub async fn add_meter(&mut self, id: &str, after_seq: i64) -> Result<()> {
        const SQL: &str = "insert into meter (id, after_seq) values ($1, $2) on conflict do nothing";
        on!(self, conn => sqlx::query(SQL).bind(id).bind(after_seq).execute(conn).await?.rows_affected());
        Ok(())
    }
}
