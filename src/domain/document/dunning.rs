//! Dunning: which invoices are overdue, and which reminder of them is due. Pure.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;

use crate::domain::document::date_text;
use crate::domain::document::some_date_text;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Money;

/// An invoice of which something is outstanding after the day on which it was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overdue {
    pub invoice: InvoiceId,
    pub number: String,
    pub consumer: String,
    pub outstanding: Money,
    #[serde(serialize_with = "date_text")]
    pub due_on: Date,
}

/// How far dunning of an invoice has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    #[serde(flatten)]
    pub overdue: Overdue,
    /// Days since it was due.
    pub days: i32,
    /// How many reminders are due by now.
    pub reminders: usize,
    /// When the next one is; none after the last.
    #[serde(serialize_with = "some_date_text")]
    pub next_on: Option<Date>,
}

/// Where an invoice stands on a day. A reminder is due so many days after the invoice was, as `after` says, rising.
pub fn stage(overdue: Overdue, on: Date, after: &[u32]) -> Stage {
    let days = overdue.due_on.until(on).map_or(0, |span| span.get_days());
    let is_due = |reminder: &&u32| i64::from(**reminder) <= i64::from(days);
    let reminders = after.iter().take_while(is_due).count();
    let next_on = after.get(reminders).map(|next| overdue.due_on.saturating_add(i64::from(*next).days()));
    Stage { overdue, days, reminders, next_on }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::document::invoice::tests::usd;

    #[test]
    fn reminders_are_due_one_after_the_other() {
        let overdue = Overdue {
            invoice: InvoiceId::parse("inv_1").expect("an id"),
            number: "INV-000001".to_owned(),
            consumer: "UA".to_owned(),
            outstanding: usd(5),
            due_on: date(2013, 2, 25),
        };
        for (day, days, reminders, next) in [
            (date(2013, 2, 26), 1, 0, Some(date(2013, 2, 28))),
            (date(2013, 2, 28), 3, 1, Some(date(2013, 3, 7))),
            (date(2013, 3, 6), 9, 1, Some(date(2013, 3, 7))),
            (date(2013, 3, 7), 10, 2, None),
            (date(2014, 3, 7), 375, 2, None),
        ] {
            let stage = stage(overdue.clone(), day, &[3, 10]);
            assert_eq!((stage.days, stage.reminders, stage.next_on), (days, reminders, next), "{day}");
        }
        assert_eq!(stage(overdue, date(2013, 3, 1), &[]).next_on, None);
    }
}
