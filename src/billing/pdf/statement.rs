//! A consumer's statement on paper.

use crate::billing::pdf::Around;
use crate::billing::pdf::PdfError;
use crate::billing::pdf::bytes;
use crate::billing::pdf::sheet;
use crate::billing::pdf::sheet::Fact;
use crate::billing::pdf::sheet::Figure;
use crate::billing::pdf::sheet::Note;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Sum;
use crate::billing::pdf::table;
use crate::billing::pdf::unsigned;
use crate::domain::document::statement::Statement;
use crate::domain::document::statement::StatementState;
use crate::domain::money::Money;
use crate::domain::show;

/// The PDF of a statement.
pub fn statement(statement: &Statement, around: Around<'_>) -> Result<Vec<u8>, PdfError> {
    bytes(&composed(statement, around))
}

pub fn composed(statement: &Statement, around: Around<'_>) -> Sheet {
    let Around { consumer, zone, .. } = around;
    let period = statement.period;
    let (currency, is_open) = (statement.net.currency().code(), statement.state == StatementState::Open);
    let verdict = match statement.net.minor() {
        0 => "Nothing is due",
        1.. => "You owe",
        _ => "We owe you",
    };
    let sections = [
        ("Charges", &statement.charges),
        ("Rewards", &statement.rewards),
        ("Adjustments of periods closed before", &statement.adjustments),
    ];
    let (_, after) = show::days(period, zone);
    let until = show::date(after.yesterday().unwrap_or(after));
    let not_final = Note {
        title: "Not final".to_owned(),
        lines: vec![format!(
            "The period runs until the end of {until}, or has not been closed yet. Everything is priced as it stands at this moment."
        )],
    };
    Sheet {
        facts: vec![
            Fact::new("Period", show::period(period, zone)),
            Fact::new("Days begin at midnight in", zone.name().to_owned()),
            Fact::new("Account", consumer.id.clone()),
        ],
        figure: Figure {
            label: verdict.to_owned() + if is_open { " so far" } else { "" },
            amount: unsigned(statement.net),
            currency: currency.to_owned(),
            remark: format!("for {}", show::period(period, zone)),
        },
        tables: sections.into_iter().filter_map(|(title, lines)| table(Some(title), lines, period, zone)).collect(),
        sums: sums(statement, verdict),
        notes: is_open.then_some(not_final).into_iter().collect(),
        ..sheet("Statement", show::period(period, zone), around)
    }
}

/// What the net is made of, seen from who owes it. Charges and rewards hold their adjustments.
fn sums(statement: &Statement, verdict: &str) -> Vec<Sum> {
    let is_owed_to_them = statement.net.is_negative();
    let parts = [
        ("Charges", statement.charged, is_owed_to_them),
        ("Tax", statement.tax, is_owed_to_them),
        ("Rewards", statement.rewarded, !is_owed_to_them),
    ];
    let part = |(label, money, is_less): (&str, Money, bool)| {
        let sign = if is_less == money.is_negative() { "" } else { "−" };
        Sum { label: label.to_owned(), amount: format!("{sign}{}", unsigned(money)), is_total: false }
    };
    let shown = parts.into_iter().filter(|(_, money, _)| !money.is_zero()).map(part);
    let net = Sum {
        label: format!("{verdict}, {}", statement.net.currency()),
        amount: unsigned(statement.net),
        is_total: true,
    };
    shown.chain([net]).collect()
}
