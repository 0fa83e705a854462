//! Manual journals. The lines of a draft come before it, so that the database sees it whole; nothing of it changes after,
//! except that somebody else decides on it.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use crate::domain::ids::JournalId;
use crate::domain::ids::KeyId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::manual::Decision;
use crate::domain::ledger::manual::JournalState;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

type Row = (String, String, String, Option<String>, String, i64, String, Option<String>, Option<i64>, Option<String>);
type LineRow = (String, String, String, i64);

impl<Mode> Tx<Mode> {
    /// Journals by id, which is the order in which they were made, from the first one after `after`; in one state or in any.
    pub async fn manual_journals(
        &mut self,
        state: Option<&str>,
        after: Option<&JournalId>,
        limit: i64,
    ) -> Result<Vec<ManualJournal>> {
        let rows: Vec<Row> = on!(self, conn => {
            let mut query = QueryBuilder::new(
                "select id, effective_on, description, reverses, made_by, made_at, state, decided_by, decided_at, reason
                 from manual_journal where id > ",
            );
            query.push_bind(after.map_or("", JournalId::as_str));
            if let Some(state) = state {
                query.push(" and state = ").push_bind(state);
            }
            query.push(" order by id limit ").push_bind(limit).build_query_as().fetch_all(conn).await?
        });
        self.with_lines(rows).await
    }

    pub async fn manual_journal(&mut self, id: &JournalId) -> Result<Option<ManualJournal>> {
        const SQL: &str = "
            select id, effective_on, description, reverses, made_by, made_at, state, decided_by, decided_at, reason
            from manual_journal where id = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(id.as_str()).fetch_optional(conn).await?);
        Ok(self.with_lines(row.into_iter().collect()).await?.pop())
    }

    async fn with_lines(&mut self, rows: Vec<Row>) -> Result<Vec<ManualJournal>> {
        let mut lines: HashMap<String, Vec<LineRow>> = HashMap::new();
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            const SQL: &str = "
                select journal, account, side, amount
                from manual_journal_line where journal >= $1 and journal <= $2 order by journal, line";
            let found: Vec<LineRow> =
                on!(self, conn => sqlx::query_as(SQL).bind(&first.0).bind(&last.0).fetch_all(conn).await?);
            found.into_iter().for_each(|line| lines.entry(line.0.clone()).or_default().push(line));
        }
        let journal = |row: Row| {
            let lines = lines.remove(&row.0).unwrap_or_default();
            journal(row, lines)
        };
        rows.into_iter().map(journal).collect()
    }
}

impl Tx<Write> {
    /// Keeps a draft. `Taken` if it takes back what another draft or entry takes back already.
    pub async fn add_manual_journal(&mut self, journal: &ManualJournal) -> Result<()> {
        const SQL: &str = "
            insert into manual_journal (id, effective_on, description, reverses, made_by, made_at, state)
            values ($1, $2, $3, $4, $5, $6, 'draft')";
        on!(self, conn => {
            let mut lines =
                QueryBuilder::new("insert into manual_journal_line (journal, line, account, currency, side, amount) ");
            lines.push_values((1_i64..).zip(&journal.postings), |mut row, (line, posting)| {
                row.push_bind(journal.id.as_str())
                    .push_bind(line)
                    .push_bind(posting.account.to_string())
                    .push_bind(posting.amount.currency().code())
                    .push_bind(posting.side.as_str())
                    .push_bind(posting.amount.minor());
            });
            lines.build().execute(&mut *conn).await?;
            sqlx::query(SQL)
                .bind(journal.id.as_str())
                .bind(journal.effective_on.to_string())
                .bind(&journal.description)
                .bind(journal.reverses.as_ref().map(JournalId::as_str))
                .bind(journal.made_by.as_str())
                .bind(journal.made_at.micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Decides on a draft. False if it is none, or no more.
    pub async fn decide_manual_journal(&mut self, id: &JournalId, state: &JournalState) -> Result<bool> {
        const SQL: &str = "
            update manual_journal set state = $2, decided_by = $3, decided_at = $4, reason = $5
            where id = $1 and state = 'draft'";
        let decided = on!(self, conn => sqlx::query(SQL)
            .bind(id.as_str())
            .bind(state.name())
            .bind(state.decision().map(|decision| decision.by.as_str()))
            .bind(state.decision().map(|decision| decision.at.micros()))
            .bind(state.reason())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(decided == 1)
    }
}

fn journal(row: Row, lines: Vec<LineRow>) -> Result<ManualJournal> {
    let (id, effective_on, description, reverses, made_by, made_at, state, decided_by, decided_at, reason) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of manual journal {id}"));
    let decision = decided_by.as_deref().and_then(KeyId::parse).zip(decided_at);
    let decision = decision.map(|(by, at)| Decision { by, at: Instant::from_micros(at) });
    let state = match (state.as_str(), decision, reason) {
        ("draft", None, None) => JournalState::Draft,
        ("posted", Some(decision), None) => JournalState::Posted(decision),
        ("rejected", Some(decision), Some(reason)) => JournalState::Rejected { decision, reason },
        _ => return Err(damaged("state")),
    };
    let posting = |(_, account, side, amount): LineRow| {
        let account = Account::parse(&account).map_err(|_| damaged("account"))?;
        let amount = Money::from_minor(amount, account.currency());
        Ok(Posting { side: Side::parse(&side).ok_or_else(|| damaged("side"))?, account, amount })
    };
    Ok(ManualJournal {
        effective_on: effective_on.parse().map_err(|_| damaged("date"))?,
        description,
        postings: lines.into_iter().map(posting).collect::<Result<_>>()?,
        reverses: reverses.map(|id| JournalId::parse(&id).ok_or_else(|| damaged("original"))).transpose()?,
        made_by: KeyId::parse(&made_by).ok_or_else(|| damaged("maker"))?,
        made_at: Instant::from_micros(made_at),
        state,
        id: JournalId::parse(&id).ok_or_else(|| damaged("id"))?,
    })
}
