//! `plans/*.toml`: one plan a file.

use crate::domain::book::parse::Known;
use crate::domain::book::parse::component;
use crate::domain::book::parse::component::Terms;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Interval;

const INTERVALS: [(&str, Interval); 5] = [
    ("day", Interval::Day),
    ("week", Interval::Week),
    ("month", Interval::Month),
    ("quarter", Interval::Quarter),
    ("year", Interval::Year),
];
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
    let anchor = table.optional("anchor", |value| value.one_of(&ANCHORS, &[])).unwrap_or(Anchor::Calendar);
    let minimum = table.optional("minimum", |value| value.money(currency));
    let terms = Terms { currency, zone: zone.as_ref(), interval, known };
    let components = components(table, &terms);
    let id = id?.raw_text()?;
    Some(Plan {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        currency: currency?,
        calendar: Calendar { interval, anchor, zone: zone? },
        minimum,
        components,
    })
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
