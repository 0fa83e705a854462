//! Shares: components that pay a part of what others are charged.
//!
//! A charge may stand in any plan. So a share is read with its plan, and what it is of is looked up when all plans are read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::parse::Known;
use crate::domain::book::parse::component::Terms;
use crate::domain::book::parse::component::in_currency;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::ShareComponent;
use crate::domain::book::plan::SharedCharge;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::program::AccountingClass;

pub fn read(
    table: &mut Table<'_>,
    id: Option<String>,
    name: Option<String>,
    terms: &Terms<'_>,
) -> Option<ShareComponent> {
    table.call_it("share");
    if !table.has("of") {
        table.lacks("of", "add of = [ { plan = \"…\", charge = \"…\" } ]".to_owned());
    }
    let of = table.each("of", |value| {
        value.table("charge", |table| {
            let plan = table.required("plan", Value::owned_text);
            let charge = table.required("charge", Value::owned_text);
            Some(SharedCharge { plan: plan?, charge: charge? })
        })
    });
    let producer = table.required("producer", Value::owned_text);
    let rate = table.required("rate", Value::percent);
    let program = table.required("program", |value| program(value, terms));
    Some(ShareComponent { id: id?, name: name?, of, producer: producer?, rate: rate?, program: program? })
}

fn program(value: Value<'_>, terms: &Terms<'_>) -> Option<String> {
    let (id, program) = terms.known.programs.known(value.clone())?;
    if program.is_some_and(|program| program.accounting != AccountingClass::ProducerShare) {
        let message = format!("program `{id}` pays rewards, and this is a share");
        let fix = "name a program with accounting = \"producer_share\"";
        return value.wrong("program_of_rewards", message, fix);
    }
    in_currency(value, id, program, terms)
}

/// Notes what is wrong with the charges that the shares of a plan file are of.
pub fn check(root: &mut Table<'_>, known: &Known) {
    root.accept_rest();
    root.optional("plan", |value| {
        value.table("plan", |table| {
            table.accept_rest();
            let plan = table.get("id").and_then(|id| id.raw_text()).and_then(|id| known.plans.get(&id))?;
            let mut taken = BTreeSet::new();
            table.each("component", |value| {
                value.table("component", |table| {
                    table.accept_rest();
                    let id = table.get("id").and_then(|id| id.raw_text())?;
                    let share = shares(plan).find(|share| share.id == id)?;
                    table.each("of", |value| charge(value, share, plan, known, &mut taken));
                    Some(())
                })
            });
            Some(())
        })
    });
}

fn shares(plan: &Plan) -> impl Iterator<Item = &ShareComponent> {
    plan.components.iter().filter_map(|component| match component {
        Component::Share(share) => Some(share),
        Component::Fee(_) | Component::Usage(_) => None,
    })
}

fn charge(
    value: Value<'_>,
    share: &ShareComponent,
    of_share: &Plan,
    known: &Known,
    taken: &mut BTreeSet<SharedCharge>,
) -> Option<()> {
    let place = value.clone();
    value.table("charge", |table| {
        table.accept_rest();
        let (id, plan) = known.plans.known(table.get("plan")?)?;
        let plan = plan?;
        let charge = table.get("charge")?;
        let Some(usage) = find(plan, charge.clone().text()?) else {
            let message = format!("plan `{id}` has no charge `{}`", charge.clone().text()?);
            let charges = charges(plan).map(|charge| charge.id.as_str()).collect::<Vec<_>>();
            return charge.unknown_name("unknown_charge", message, charge.clone().text()?, charges.iter().copied());
        };
        if plan.currency != of_share.currency {
            let message = format!("plan `{id}` is in {}, and the share's in {}", plan.currency, of_share.currency);
            return place.wrong("currencies_differ", message, "share what is charged in the same currency");
        }
        let of = SharedCharge { plan: id.to_owned(), charge: usage.id.clone() };
        if let Some(meter) = known.meters.get(&usage.meter) {
            divides(&place, &share.producer, meter, usage)?;
        }
        leaves_something(&place, &of, known)?;
        if !taken.insert(of) {
            let message = format!("another share of this plan is of charge `{}` too", usage.id);
            return place.wrong("shared_twice", message, "leave one of the two out");
        }
        Some(())
    })
}

fn charges(plan: &Plan) -> impl Iterator<Item = &UsageComponent> {
    plan.components.iter().filter_map(|component| match component {
        Component::Usage(usage) if usage.direction == Direction::Charge => Some(usage),
        Component::Usage(_) | Component::Fee(_) | Component::Share(_) => None,
    })
}

fn find<'a>(plan: &'a Plan, charge: &str) -> Option<&'a UsageComponent> {
    charges(plan).find(|usage| usage.id == charge)
}

/// A charge is divided by what each producer's part of the quantity is, so there must be such parts.
fn divides(place: &Value<'_>, producer: &str, meter: &Meter, usage: &UsageComponent) -> Option<()> {
    if !meter.dimensions.contains_key(producer) {
        let message = format!("meter `{}` of this charge has no dimension `{producer}`", meter.id);
        return place.wrong("unknown_dimension", message, "give the meter a dimension that names the producer");
    }
    let adds_up = matches!(meter.aggregation, Aggregation::Count | Aggregation::Sum);
    if !adds_up && !usage.group_by.iter().any(|name| name == producer) {
        let message = format!("meter `{}` of this charge neither counts nor sums, so it has no parts", meter.id);
        return place.wrong("share_without_parts", message, format!("give the charge group_by = [\"{producer}\"]"));
    }
    Some(())
}

/// Producers named by different dimensions get their shares of the same charge, which must not come to more than it.
fn leaves_something(place: &Value<'_>, of: &SharedCharge, known: &Known) -> Option<()> {
    let mut highest: BTreeMap<&str, Decimal> = BTreeMap::new();
    let plans = known.plans.ids().filter_map(|id| known.plans.get(id));
    for share in plans.flat_map(shares).filter(|share| share.of.contains(of)) {
        let rate = highest.entry(&share.producer).or_default();
        *rate = share.rate.max(*rate);
    }
    let sum = highest.values().try_fold(Decimal::ZERO, |sum, rate| sum.checked_add(*rate))?;
    if sum > Decimal::ONE_HUNDRED {
        let message = format!("shares of charge `{}` can come to {} percent of it", of.charge, sum.normalize());
        return place.wrong("shares_above_charge", message, "lower the rates");
    }
    Some(())
}
