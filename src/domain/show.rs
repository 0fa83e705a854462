//! How values are written for people, on pages and on paper.

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::explain;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// `1,234.50`, without its currency.
pub fn amount(money: Money) -> String {
    exact(money.decimal(), money.currency())
}

/// `0.008`: an amount that may have more decimals than its currency, without it.
pub fn exact(amount: Decimal, currency: Currency) -> String {
    let text = explain::amount(amount, currency);
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// `1,234.50 EUR`
pub fn money(money: Money) -> String {
    explain::amount(money.decimal(), money.currency())
}

/// `1,234.5`
pub fn number(decimal: Decimal) -> String {
    explain::number(decimal)
}

/// `14 February 2013`
pub fn date(date: Date) -> String {
    date.strftime("%-d %B %Y").to_string()
}

/// `14 Feb`
pub fn short_date(date: Date) -> String {
    date.strftime("%-d %b").to_string()
}

/// The day of an instant, written out.
pub fn day(at: Instant, zone: &Zone) -> String {
    date(at.date_in(zone))
}

/// The days of a period: the first one, and the one after the last.
pub fn days(period: Period, zone: &Zone) -> (Date, Date) {
    let last = Instant::from_micros(period.to().micros().saturating_sub(1)).date_in(zone);
    (period.from().date_in(zone), last.tomorrow().unwrap_or(last))
}

/// A period as it is called: `January 2013`, `2013`, `15 January 2013`, or `15 January to 14 February 2013`.
pub fn period(period: Period, zone: &Zone) -> String {
    let (from, to) = days(period, zone);
    let last = to.yesterday().unwrap_or(to);
    match () {
        () if is_year(from, to) => from.strftime("%Y").to_string(),
        () if is_month(from, to) => from.strftime("%B %Y").to_string(),
        () if from == last => date(from),
        () if from.year() == last.year() => format!("{} to {}", from.strftime("%-d %B"), date(last)),
        () => format!("{} to {}", date(from), date(last)),
    }
}

/// The period as one asks for it.
pub fn asked(period: Period, zone: &Zone) -> String {
    let (from, to) = days(period, zone);
    match () {
        () if is_year(from, to) => from.strftime("%Y").to_string(),
        () if is_month(from, to) => from.strftime("%Y-%m").to_string(),
        () => format!("{from}..{to}"),
    }
}

/// The periods before and after, as one asks for them.
pub fn neighbours(period: Period, zone: &Zone) -> (String, String) {
    let (from, to) = days(period, zone);
    let before = from.yesterday().unwrap_or(from);
    let pattern = match () {
        () if is_year(from, to) => "%Y",
        () if is_month(from, to) => "%Y-%m",
        // Whatever billing period holds the day.
        () => "%Y-%m-%d",
    };
    (before.strftime(pattern).to_string(), to.strftime(pattern).to_string())
}

fn is_month(from: Date, to: Date) -> bool {
    from.day() == 1 && from.checked_add(1.month()).is_ok_and(|end| end == to)
}

fn is_year(from: Date, to: Date) -> bool {
    from.day_of_year() == 1 && from.checked_add(1.year()).is_ok_and(|end| end == to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str) -> (String, String, (String, String)) {
        let zone = Zone::named("America/New_York").expect("a zone");
        let at = |text: &str| Instant::parse_in(text, &zone).expect("a date");
        let shown = Period::new(at(from), at(to)).expect("a period");
        (period(shown, &zone), asked(shown, &zone), neighbours(shown, &zone))
    }

    #[test]
    fn periods_have_the_names_that_people_give_them() {
        let cases = [
            ("2013-03-01", "2013-04-01", "March 2013", "2013-03", "2013-02", "2013-04"),
            ("2013-01-01", "2014-01-01", "2013", "2013", "2012", "2014"),
            (
                "2013-01-15",
                "2013-02-15",
                "15 January to 14 February 2013",
                "2013-01-15..2013-02-15",
                "2013-01-14",
                "2013-02-15",
            ),
            (
                "2012-12-15",
                "2013-01-15",
                "15 December 2012 to 14 January 2013",
                "2012-12-15..2013-01-15",
                "2012-12-14",
                "2013-01-15",
            ),
            ("2013-01-15", "2013-01-16", "15 January 2013", "2013-01-15..2013-01-16", "2013-01-14", "2013-01-16"),
        ];
        for (from, to, name, asked, before, after) in cases {
            assert_eq!(of(from, to), (name.to_owned(), asked.to_owned(), (before.to_owned(), after.to_owned())));
        }
    }
}
