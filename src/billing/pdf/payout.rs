//! A payout statement on paper.

use crate::billing::pdf::Around;
use crate::billing::pdf::PdfError;
use crate::billing::pdf::amount;
use crate::billing::pdf::bytes;
use crate::billing::pdf::sheet;
use crate::billing::pdf::sheet::Fact;
use crate::billing::pdf::sheet::Figure;
use crate::billing::pdf::sheet::Note;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Sum;
use crate::billing::pdf::table;
use crate::billing::pdf::unsigned;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::show;

/// The PDF of a payout statement.
pub fn payout(payout: &Payout, around: Around<'_>) -> Result<Vec<u8>, PdfError> {
    bytes(&composed(payout, around))
}

pub fn composed(payout: &Payout, around: Around<'_>) -> Sheet {
    let Around { consumer, zone, .. } = around;
    let currency = payout.total.currency().code();
    let remark = match payout.state {
        _ if payout.total.is_zero() => String::new(),
        PayoutState::Held { held_until } => format!("held until {}", show::day(held_until, zone)),
        PayoutState::Available => "can be paid out".to_owned(),
    };
    let hold = |hold: &Hold| {
        let until = match hold.passed_at {
            Some(at) => format!("can be paid out since {}", show::day(at, zone)),
            None => format!("held until {}", show::day(hold.held_until, zone)),
        };
        format!("{} {currency} of {}: {until}", amount(hold.amount), hold.program)
    };
    let when = Note { title: "When it is paid".to_owned(), lines: payout.holds.iter().map(hold).collect() };
    Sheet {
        facts: vec![
            Fact::new("Issued", show::day(payout.issued_at, zone)),
            Fact::new("Period", show::period(payout.period, zone)),
            Fact::new("Account", consumer.id.clone()),
        ],
        figure: Figure {
            label: if payout.total.is_negative() { "Taken back" } else { "You earned" }.to_owned(),
            amount: unsigned(payout.total),
            currency: currency.to_owned(),
            remark,
        },
        tables: table(None, &payout.lines, payout.period, zone).into_iter().collect(),
        sums: vec![Sum { label: format!("Total in {currency}"), amount: amount(payout.total), is_total: true }],
        notes: Some(when).filter(|when| !when.lines.is_empty()).into_iter().collect(),
        created: Some(payout.issued_at.date_in(zone)),
        ..sheet("Payout statement", payout.number.to_string(), around)
    }
}
