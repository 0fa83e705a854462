//! `plans/*.toml`: one plan a file.

use std::num::NonZero;

use rust_decimal::Decimal;

use crate::domain::book::parse::Known;
use crate::domain::book::parse::commitment;
use crate::domain::book::parse::component;
use crate::domain::book::parse::component::Terms;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::When;
use crate::domain::money::Currency;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Interval;
use crate::domain::period::Rhythm;

pub(super) const INTERVALS: [(&str, Interval); 6] = [
    ("day", Interval::Day),
    ("week", Interval::Week),
    ("month", Interval::Month),
    ("quarter", Interval::Quarter),
    ("half_year", Interval::HalfYear),
    ("year", Interval::Year),
];
/// The most intervals that one period lasts.
const EVERY_MAX: u16 = 120;
/// Ten years.
const TRIAL_DAYS_MAX: u32 = 3_660;
const ANCHORS: [(&str, Anchor); 2] = [("calendar", Anchor::Calendar), ("subscription", Anchor::Subscription)];

pub fn read(root: &mut Table<'_>, known: &mut Known) {
    root.required("plan", |value| {
        value.table("plan", |table| {
            let id = table.required("id", Some);
            let plan = plan(table, id.as_ref(), known);
            known.plans.define(id, plan);
            Some(())
        })
    });
}

fn plan(table: &mut Table<'_>, id: Option<&Value<'_>>, known: &Known) -> Option<Plan> {
    let name = table.optional("name", Value::owned_text);
    let own = table.optional_exact("currency", Value::currency);
    let currency = own.and_then(|own| own.or(known.settings.currency));
    let own = table.optional_exact("timezone", Value::zone);
    let zone = own.and_then(|own| own.or(known.settings.zone.clone()));
    let interval = table.optional("interval", |value| value.one_of(&INTERVALS, &[])).unwrap_or(Interval::Month);
    let (anchor, every) = anchor(table, interval);
    let minimum = table.optional("minimum", |value| value.money(currency));
    let maximum = table.optional("maximum", |value| maximum(value, minimum, currency));
    let commitment = commitment::read(table, currency, maximum);
    let minimum_prorate = component::prorate(table, "minimum_prorate", interval);
    let trial_days = table.optional("trial", |value| value.days(TRIAL_DAYS_MAX)).unwrap_or(0);
    let mut allowances = Named::new("allowance", "unknown_allowance");
    table.each("allowance", |value| value.table("allowance", |table| allowance(table, &mut allowances)));
    let terms = Terms { currency, zone: zone.as_ref(), interval, allowances: &allowances, known };
    let components = components(table, &terms);
    maximum.iter().for_each(|maximum| holds_fees(table, *maximum, &components));
    let id = id?.raw_text()?;
    let allowances = allowances.into_values()?;
    Some(Plan {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        currency: currency?,
        calendar: Calendar { rhythm: Rhythm { interval, every }, anchor, zone: zone? },
        minimum,
        maximum,
        commitment,
        minimum_prorate,
        trial_days,
        allowances,
        components,
    })
}

fn maximum(value: Value<'_>, minimum: Option<Decimal>, currency: Option<Currency>) -> Option<Decimal> {
    let maximum = value.clone().money(currency)?;
    match minimum.filter(|minimum| *minimum > maximum) {
        Some(minimum) => {
            let message = format!("the maximum {maximum} is below the minimum {minimum}");
            value.wrong("minimum_above_maximum", message, "raise the maximum or lower the minimum")
        }
        None => Some(maximum),
    }
}

/// What fees in advance are above a maximum, no document of their period could take off.
fn holds_fees(table: &mut Table<'_>, maximum: Decimal, components: &[Component]) {
    let in_advance = |component: &Component| match component {
        Component::Fee(fee) if fee.when == When::Advance => Some(fee.amount),
        _ => None,
    };
    let fees = components.iter().filter_map(in_advance).try_fold(Decimal::ZERO, |sum, fee| sum.checked_add(fee));
    if let (Some(fees), Some(value)) = (fees.filter(|fees| *fees > maximum), table.get("maximum")) {
        let message = format!("the fees in advance come to {fees}, above the maximum {maximum}");
        value.wrong::<()>("fees_above_maximum", message, "raise the maximum or lower the fees");
    }
}

/// Units that are included for all components together that name them.
fn allowance(table: &mut Table<'_>, allowances: &mut Named<Decimal>) -> Option<()> {
    let id = table.required("id", Some);
    let units = table.required("units", Value::above_zero);
    allowances.define(id, units);
    Some(())
}

/// Where periods begin, and how many intervals each of them lasts.
fn anchor(table: &mut Table<'_>, interval: Interval) -> (Anchor, NonZero<u16>) {
    let anchor = table.optional("anchor", |value| value.one_of(&ANCHORS, &[])).unwrap_or(Anchor::Calendar);
    if anchor == Anchor::Calendar {
        let (why, fix) = ("the calendar says when a period begins", "add anchor = \"subscription\", or leave it out");
        table.refuse("every", "calendar_anchor", why, fix);
        table.refuse("anchor_day", "calendar_anchor", why, fix);
        return (anchor, NonZero::<u16>::MIN);
    }
    let every = table.optional("every", |value| value.whole_up_to(EVERY_MAX)).unwrap_or(NonZero::<u16>::MIN);
    if matches!(interval, Interval::Day | Interval::Week) {
        let fix = "leave it out, or use an interval of months";
        table.refuse("anchor_day", "anchor_day_without_months", "this interval has no days of the month", fix);
        return (anchor, every);
    }
    let day = table.optional("anchor_day", |value| value.whole_up_to(31));
    (day.and_then(|day| i8::try_from(day.get()).ok()).map_or(anchor, Anchor::Day), every)
}

/// The components in the order in which they are written, which is the order of lines on a document.
fn components(table: &mut Table<'_>, terms: &Terms<'_>) -> Vec<Component> {
    let mut names = Named::<()>::new("component", "unknown_component");
    table.each("component", |value| {
        value.table("component", |table| {
            let id = table.required("id", Some);
            let component = component::read(table, id.as_ref(), terms);
            names.define(id, None);
            component
        })
    })
}
