//! A chart of daily values: from numbers to markup, and nothing else.
//!
//! Bars and days are placed in percent of the width and everything else in pixels, so that one drawing fits a phone and
//! a desk and its text is as large as the page's. Colours come from the style sheet. The drawing has a title and a
//! description; the page shows the numbers in a table beside it.

use askama::Template;
use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::domain::document::statement::Day;
use crate::domain::show;

/// Pixels from the top to the highest line, and to the base line.
const TOP: i64 = 14;
const BASE: i64 = 174;
/// A value that is not zero is never invisible.
const BAR_PIXELS_MIN: Decimal = Decimal::from_parts(15, 0, 0, false, 1);
/// Part of its day's width that a bar takes, in percent.
const BAR_SHARE: i64 = 72;
/// About how many lines stand above the base line.
const LINES: i64 = 4;

/// A bar for each day.
#[derive(Template)]
#[template(path = "chart.svg")]
pub struct Chart {
    /// Unique on the page.
    id: String,
    title: String,
    description: String,
    lines: Vec<Line>,
    bars: Vec<Bar>,
    labels: Vec<Label>,
    base: i64,
}

struct Line {
    y: Decimal,
    text_y: Decimal,
    text: String,
}

/// Places and widths in percent, heights in pixels.
struct Bar {
    x: Decimal,
    width: Decimal,
    y: Decimal,
    height: Decimal,
    title: String,
}

struct Label {
    x: Decimal,
    text: String,
}

impl Chart {
    /// Days must follow each other. A value below zero is drawn as zero.
    pub fn of(id: &str, title: &str, days: &[Day]) -> Self {
        let highest = days.iter().map(|day| day.value).max().unwrap_or_default().max(Decimal::ZERO);
        let step = step(highest, days.iter().all(|day| day.value.is_integer()));
        let top = ceiling(highest, step);
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            description: description(days),
            lines: lines(step, top),
            bars: bars(days, top),
            labels: labels(days),
            base: BASE,
        }
    }
}

/// What a reader hears instead of seeing bars.
fn description(days: &[Day]) -> String {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return "No days.".to_owned() };
    let span = format!("{} to {}", show::date(first.date), show::date(last.date));
    match days.iter().max_by_key(|day| day.value).filter(|day| day.value > Decimal::ZERO) {
        None => format!("One bar a day, {span}. Nothing was used."),
        Some(highest) => {
            let used = days.iter().filter(|day| day.value > Decimal::ZERO).count();
            let (most, on) = (show::number(highest.value), show::date(highest.date));
            format!(
                "One bar a day, {span}. The highest is {most}, on {on}. There was use on {used} of {} days.",
                days.len()
            )
        }
    }
}

/// The distance of two lines: 1, 2 or 5 times a power of ten, so that about four of them reach the highest value.
fn step(highest: Decimal, whole: bool) -> Decimal {
    let wanted = highest.checked_div(Decimal::from(LINES)).unwrap_or_default();
    if wanted.is_zero() {
        return Decimal::ONE;
    }
    let mut power = Decimal::ONE;
    while let Some(larger) = power.checked_mul(Decimal::TEN).filter(|larger| *larger <= wanted) {
        power = larger;
    }
    while power > wanted && !whole && power.scale() < 12 {
        power = power.checked_div(Decimal::TEN).unwrap_or(power);
    }
    [1, 2, 5, 10]
        .into_iter()
        .filter_map(|times| power.checked_mul(Decimal::from(times)))
        .find(|step| *step >= wanted)
        .unwrap_or(power)
}

/// The lowest line that is not below the highest value.
fn ceiling(highest: Decimal, step: Decimal) -> Decimal {
    let steps = highest.checked_div(step).map_or(Decimal::ONE, |steps| steps.ceil()).max(Decimal::ONE);
    steps.checked_mul(step).unwrap_or(highest)
}

/// How far above the base line a value is, in pixels.
fn height(value: Decimal, top: Decimal) -> Decimal {
    let pixels = Decimal::from(BASE.saturating_sub(TOP));
    let share = value.checked_div(top).unwrap_or_default().max(Decimal::ZERO).min(Decimal::ONE);
    share.saturating_mul(pixels).round_dp(1)
}

fn lines(step: Decimal, top: Decimal) -> Vec<Line> {
    let count = top.checked_div(step).and_then(|count| count.to_i64()).unwrap_or(0);
    let line = |index: i64| {
        let value = step.saturating_mul(Decimal::from(index));
        let y = Decimal::from(BASE).saturating_sub(height(value, top));
        Line { y, text_y: y.saturating_add(Decimal::from(4)), text: short(value) }
    };
    (1..=count).map(line).collect()
}

/// `950`, `12k`, `3.5M`
fn short(value: Decimal) -> String {
    let units = [(1_000_000_000_000_i64, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")];
    let fitting = units.into_iter().find(|(unit, _)| value >= Decimal::from(*unit));
    match fitting {
        Some((unit, letter)) => {
            let scaled = value.checked_div(Decimal::from(unit)).unwrap_or(value);
            format!("{}{letter}", show::number(scaled.round_dp(2)))
        }
        None => show::number(value),
    }
}

fn percent(part: i64, of: usize) -> Decimal {
    let whole = Decimal::from(of.max(1));
    Decimal::from(part).checked_div(whole).unwrap_or_default().round_dp(3)
}

fn bars(days: &[Day], top: Decimal) -> Vec<Bar> {
    let bar = |(index, day): (i64, &Day)| {
        let height = height(day.value, top).max(BAR_PIXELS_MIN);
        Bar {
            x: percent(index.saturating_mul(100).saturating_add((100 - BAR_SHARE) / 2), days.len()),
            width: percent(BAR_SHARE, days.len()),
            y: Decimal::from(BASE).saturating_sub(height),
            height,
            title: format!("{}: {}", show::date(day.date), show::number(day.value)),
        }
    };
    (0..).zip(days).filter(|(_, day)| day.value > Decimal::ZERO).map(bar).collect()
}

/// A few days by name: weekly in a month, the first of each month in a year.
fn labels(days: &[Day]) -> Vec<Label> {
    let is_named: fn(i64, Date) -> bool = match days.len() {
        0..=8 => |_, _| true,
        9..=16 => |index, _| index % 3 == 0,
        17..=45 => |index, _| index % 7 == 0,
        46..=130 => |_, date| date.day() == 1,
        _ => |_, date| date.day() == 1 && date.month() % 3 == 1,
    };
    let label = |(index, day): (i64, &Day)| Label {
        x: percent(index.saturating_mul(100).saturating_add(50), days.len()),
        text: show::short_date(day.date),
    };
    (0..).zip(days).filter(|(index, day)| is_named(*index, day.date)).map(label).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn days(values: &[&str]) -> Vec<Day> {
        let start = date(2013, 1, 1);
        let day = |(date, value): (Date, &&str)| Day { date, value: value.parse().expect("a decimal") };
        start.series(jiff::Span::new().days(1)).zip(values).map(day).collect()
    }

    fn drawn(values: &[&str]) -> String {
        Chart::of("m", "Requests <a day>", &days(values)).render().expect("renders")
    }

    #[test]
    fn it_has_a_title_a_description_and_a_bar_for_each_day_with_use() {
        let svg = drawn(&["10", "0", "30.5"]);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("aria-labelledby=\"m-title m-about\"") && svg.contains("id=\"m-title\""), "{svg}");
        assert!(svg.contains("The highest is 30.5, on 3 January 2013. There was use on 2 of 3 days."), "{svg}");
        assert!(!svg.contains("<a day>"), "names are escaped: {svg}");
        assert!(!svg.contains("style="), "the content security policy would drop it: {svg}");
    }

    #[test]
    fn lines_are_round_numbers_that_reach_the_highest_value() {
        let lines = |values: &[&str]| -> Vec<String> {
            Chart::of("m", "m", &days(values)).lines.into_iter().map(|line| line.text).collect()
        };
        assert_eq!(lines(&["30.5"]), ["10", "20", "30", "40"]);
        assert_eq!(lines(&["3"]), ["1", "2", "3"]);
        assert_eq!(lines(&["0.03"]), ["0.01", "0.02", "0.03"]);
        assert_eq!(lines(&["61234"]), ["20k", "40k", "60k", "80k"]);
        assert_eq!(lines(&["0", "0"]), ["1"]);
        assert_eq!(lines(&["-5"]), ["1"]);
        assert!(lines(&["79228162514264337593543950335"]).len() <= 5);
        assert!(drawn(&[]).contains("No days."));
    }

    #[test]
    fn heights_are_in_proportion_and_nothing_that_was_used_is_invisible() {
        let chart = Chart::of("m", "m", &days(&["1", "2", "0.0001", "4"]));
        let heights: Vec<String> = chart.bars.iter().map(|bar| bar.height.normalize().to_string()).collect();
        assert_eq!(heights, ["40", "80", "1.5", "160"]);
        let last = chart.bars.last().expect("a bar");
        assert_eq!(
            (last.x.normalize().to_string(), last.width.normalize().to_string()),
            ("78.5".to_owned(), "18".to_owned())
        );
    }
}
