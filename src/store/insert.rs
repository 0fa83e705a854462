//! Inserting many rows, some in each statement. The next statement is written out while the engine runs the one before: in
//! SQLite that is another thread, in Postgres another process, and each is as much work.

/// Both engines take so many values in one statement.
const VALUES_A_STATEMENT: usize = 32_000;

/// How many rows of an `insert into table (column, …)` go into one statement: the more, the fewer pages SQLite keeps copies
/// of, to take a statement back.
pub(in crate::store) fn rows_a_statement(into: &str) -> usize {
    let columns = into.matches(',').count().saturating_add(1);
    VALUES_A_STATEMENT / columns
}

/// `insert_rows!(tx, "insert into …", rows, |row, it| …, "on conflict …")`: `rows` is an iterator of results, and what ends
/// the statement may be left out.
macro_rules! insert_rows {
    ($tx:expr, $into:expr, $rows:expr, $bind:expr) => {
        insert_rows!($tx, $into, $rows, $bind, "")
    };
    ($tx:expr, $into:expr, $rows:expr, $bind:expr, $end:expr) => {{
        // Boxed, since a future that keeps closures over references is not known to be `Send`.
        let mut rows: Box<dyn Iterator<Item = $crate::store::Result<_>> + Send + '_> = Box::new($rows.fuse());
        $crate::store::on!($tx, conn => {
            let mut next_statement = || -> $crate::store::Result<_> {
                let rows = rows.by_ref().take($crate::store::insert::rows_a_statement($into));
                let rows = rows.collect::<$crate::store::Result<Vec<_>>>()?;
                if rows.is_empty() {
                    return Ok(None);
                }
                let mut query = ::sqlx::QueryBuilder::new($into);
                query.push_values(rows, $bind).push($end);
                Ok(Some(query))
            };
            let mut next = next_statement()?;
            while let Some(mut statement) = next {
                let (done, following) = ::tokio::join!(biased; statement.build().execute(&mut *conn), async { next_statement() });
                done?;
                next = following?;
            }
        })
    }};
}
pub(in crate::store) use insert_rows;
