//! What each proration case comes to: shares of periods, and where periods begin and end.

use std::num::NonZero;

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use serde_json::Value;

use crate::domain::book::plan::Prorate;
use crate::domain::document::invoice::creditable;
use crate::domain::golden::with_decimals;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Money;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Interval;
use crate::domain::period::Origin;
use crate::domain::period::Period;
use crate::domain::period::Rhythm;
use crate::domain::rating::fees::prorated;
use crate::domain::rating::golden::Any;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn decimal(value: &Value, name: &str) -> Decimal {
    Decimal::from_str_exact(text(value, name)).expect("a decimal")
}

fn zone(case: &Any) -> Zone {
    let name = case.parameters["timezone"].as_str();
    name.map_or_else(Zone::utc, |name| Zone::named(name).expect("a zone"))
}

fn instant(value: &Value, name: &str, zone: &Zone) -> Instant {
    Instant::parse_in(text(value, name), zone).expect("a time")
}

/// None if it is empty, or not there.
fn period(value: &Value, zone: &Zone) -> Option<Period> {
    value.as_object()?;
    Period::new(instant(value, "start", zone), instant(value, "end", zone)).ok()
}

fn interval(case: &Any) -> Interval {
    match text(&case.parameters, "interval") {
        "semiannual" => Interval::HalfYear,
        name => serde_json::from_value(Value::from(name)).expect("an interval"),
    }
}

fn rhythm(case: &Any) -> Rhythm {
    let every = case.parameters["interval_count"].as_u64().and_then(|every| NonZero::new(u16::try_from(every).ok()?));
    Rhythm { interval: interval(case), every: every.unwrap_or(NonZero::<u16>::MIN) }
}

fn anchor(case: &Any) -> Anchor {
    let day = case.parameters["anchor_day"].as_i64();
    match (case.parameters["billing_cycle"].as_str(), day) {
        (Some("calendar"), _) => Anchor::Calendar,
        (_, Some(day)) => Anchor::Day(i8::try_from(day).expect("a day")),
        (_, None) => Anchor::Subscription,
    }
}

fn prorate(case: &Any) -> Prorate {
    match text(&case.parameters, "unit") {
        "day" => Prorate::Day,
        "second" => Prorate::Second,
        "fixed_month" => {
            let days = case.parameters["fixed_days"].as_u64().expect("days");
            Prorate::FixedMonth { days: u8::try_from(days).expect("few") }
        }
        other => panic!("{other} is no unit"),
    }
}

fn rounded(amount: Decimal, scale: &Value) -> Decimal {
    let decimals = scale.as_u64().map(|scale| u32::try_from(scale).expect("small"));
    decimals.map_or(amount, |decimals| amount.round_dp_with_strategy(decimals, MidpointAwayFromZero))
}

/// The share of an amount that the used part of the period comes to.
fn share(case: &Any, amount: Decimal, used: Option<Period>, whole: Period, zone: &Zone) -> Decimal {
    used.map_or(Decimal::ZERO, |used| prorated(amount, prorate(case), (used, whole), zone).expect("fits"))
}

/// What a case comes to, by the names of what it expects.
fn results(case: &Any) -> Vec<(&'static str, String)> {
    let zone = zone(case);
    let (input, parameters) = (&case.input, &case.parameters);
    let number = |name, amount: Decimal| (name, amount.normalize().to_string());
    let money = |amount: Decimal| rounded(amount, &parameters["currency_precision"]);
    match case.model.as_str() {
        "factor" => {
            let used = period(&input["used"], &zone);
            let length = |period: Period| match prorate(case) {
                Prorate::FixedMonth { days } => period.days_of_fixed_months(days, &zone),
                _ => period.dates(&zone),
            };
            let whole = period(&input["period"], &zone);
            let fixed = || parameters["fixed_days"].as_i64().expect("days of a fixed month");
            let denominator = Decimal::from(whole.map_or_else(fixed, length));
            let numerator = Decimal::from(used.map_or(0, length));
            let factor = rounded(numerator / denominator, &case.expected["scale"]);
            vec![number("numerator", numerator), number("denominator", denominator), number("factor", factor)]
        }
        "amount" => {
            let whole = period(&input["period"], &zone).expect("a period");
            let exact = share(case, decimal(parameters, "amount"), period(&input["used"], &zone), whole, &zone);
            vec![number("amount", money(exact)), number("unrounded", rounded(exact, &case.expected["scale"]))]
        }
        "minimum" => {
            let whole = period(&input["period"], &zone).expect("a period");
            let minimum =
                share(case, decimal(parameters, "minimum_amount"), period(&input["used"], &zone), whole, &zone);
            vec![number("true_up", money((minimum - decimal(input, "billed_amount")).max(Decimal::ZERO)))]
        }
        "plan_change" => {
            let whole = period(&input["period"], &zone).expect("a period");
            let rest = Period::new(instant(input, "change_at", &zone), whole.to()).ok();
            let amounts = |name: &str| {
                let amounts = parameters[name].as_array().expect("amounts").iter();
                amounts
                    .map(|amount| Decimal::from_str_exact(amount.as_str().expect("a text")).expect("a decimal"))
                    .collect::<Vec<_>>()
            };
            let of_rest = |amount: &Decimal| money(share(case, *amount, rest, whole, &zone));
            let credit: Decimal = amounts("old_amounts").iter().map(of_rest).sum();
            let charge: Decimal = match parameters["new_period_starts_at_change"].as_bool() {
                Some(true) => amounts("new_amounts").into_iter().map(money).sum(),
                _ => amounts("new_amounts").iter().map(of_rest).sum(),
            };
            vec![number("credit", credit), number("charge", charge), number("net", charge - credit)]
        }
        "day_count" => {
            let period = Period::new(instant(input, "start", &zone), instant(input, "end", &zone)).expect("a period");
            vec![number("days", Decimal::from(period.dates(&zone)))]
        }
        "billing_period" => {
            let start = instant(input, "subscription_start", &zone);
            let calendar = Calendar { rhythm: rhythm(case), anchor: anchor(case), zone: zone.clone() };
            let whole = calendar.period_at(start, instant(input, "at", &zone)).expect("a period");
            let begins = Instant::start_of(start.date_in(&zone), &zone).expect("a time");
            vec![("period_start", whole.from().max(begins).to_string()), ("period_end", whole.to().to_string())]
        }
        "next_boundary" => {
            let origin = Origin::moment(instant(input, "anchor", &zone), &zone);
            let from = instant(input, "current_period_start", &zone);
            vec![("next_boundary", rhythm(case).end_of(origin, from, &zone).expect("an end").to_string())]
        }
        "credit_cap" => {
            let currency = with_decimals(&Value::from(2));
            let amount = |name| Money::round(decimal(input, name), currency).expect("fits");
            let [wanted, paid, credited] = ["potential_credit", "original_amount_paid", "previous_credits"].map(amount);
            vec![number("credit", creditable(wanted, paid, credited).expect("fits").decimal())]
        }
        "billing_cycles" => vec![number("cycles", cycles(case, &zone))],
        other => panic!("{}: {other} is not known", case.id),
    }
}

/// The shares of the periods that begin by the target date, which is when fees in advance are due.
fn cycles(case: &Any, zone: &Zone) -> Decimal {
    let target = instant(&case.input, "target_date", zone);
    let starts_at = instant(&case.input, "start", zone);
    let ends_at = case.input["end"].is_string().then(|| instant(&case.input, "end", zone));
    let id = SubscriptionId::parse("sub_1").expect("an id");
    let subscription = Subscription::new(id, "c".to_owned(), "p".to_owned(), (starts_at, ends_at), starts_at);
    let calendar = Calendar { rhythm: rhythm(case), anchor: anchor(case), zone: zone.clone() };
    let (mut cycles, mut from) = (Decimal::ZERO, starts_at);
    while from <= target
        && let Some(period) = subscription.period_from(from, &calendar).expect("in the calendar")
    {
        let share = prorated(Decimal::ONE, Prorate::Day, (period.covered, period.whole), zone).expect("fits");
        cycles += share.round_dp_with_strategy(9, MidpointAwayFromZero);
        from = period.covered.to();
    }
    cycles
}

/// As results are written: decimals without trailing zeros, instants in UTC.
fn written(case: &Any, name: &str) -> Option<String> {
    let zone = zone(case);
    let expected = case.expected[name].as_str()?;
    Some(match name {
        "period_start" | "period_end" | "next_boundary" => instant(&case.expected, name, &zone).to_string(),
        _ => Decimal::from_str_exact(expected).expect("a decimal").normalize().to_string(),
    })
}

/// What differs from the expected numbers, in words.
pub fn differences(case: &Any) -> Vec<String> {
    let differs = |(name, got): (&str, String)| {
        let expected = written(case, name)?;
        (expected != got).then(|| format!("{name}: expected {expected}, got {got}"))
    };
    results(case).into_iter().filter_map(differs).collect()
}
