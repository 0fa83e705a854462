//! Components of a plan: fees, charges and rewards.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use crate::domain::book::meter::Meter;
use crate::domain::book::parse::Known;
use crate::domain::book::parse::calendar;
use crate::domain::book::parse::carry;
use crate::domain::book::parse::commitment;
use crate::domain::book::parse::milestones;
use crate::domain::book::parse::model;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::share;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::Transform;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::plan::When;
use crate::domain::book::program::AccountingClass;
use crate::domain::book::program::Program;
use crate::domain::money::Currency;
use crate::domain::period::Interval;
use crate::domain::time::Zone;

const KINDS: [(&str, Kind); 4] =
    [("fee", Kind::Fee), ("charge", Kind::Charge), ("reward", Kind::Reward), ("share", Kind::Share)];
const WHEN: [(&str, When); 2] = [("advance", When::Advance), ("arrears", When::Arrears)];
const PRORATE: [(&str, Prorate); 4] = [
    ("none", Prorate::None),
    ("day", Prorate::Day),
    ("second", Prorate::Second),
    ("fixed_month", Prorate::FixedMonth { days: FIXED_DAYS }),
];
/// Days of a fixed month, where the book does not say.
const FIXED_DAYS: u8 = 30;
const WINDOWS: [(&str, CapWindow); 5] = [
    ("day", CapWindow::Day),
    ("week", CapWindow::Week),
    ("month", CapWindow::Month),
    ("period", CapWindow::Period),
    ("lifetime", CapWindow::Lifetime),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fee,
    Charge,
    Reward,
    Share,
}

/// What a component needs to know of its plan and of the book. Nothing where there is a mistake.
pub struct Terms<'k> {
    pub currency: Option<Currency>,
    pub zone: Option<&'k Zone>,
    pub interval: Interval,
    pub allowances: &'k Named<Decimal>,
    pub known: &'k Known,
}

pub fn read(table: &mut Table<'_>, id: Option<&Value<'_>>, terms: &Terms<'_>) -> Option<Component> {
    let name = table.optional("name", Value::owned_text);
    let kind = table.required("kind", |value| value.one_of(&KINDS, &[]));
    let id = id.and_then(Value::raw_text);
    let name = name.or_else(|| id.clone());
    match kind {
        Some(Kind::Fee) => fee(table, id, name, terms).map(Component::Fee),
        Some(Kind::Share) => share::read(table, id, name, terms).map(Component::Share),
        Some(kind) => usage(table, kind, id, name, terms).map(Component::Usage),
        None => {
            table.accept_rest();
            None
        }
    }
}

fn fee(table: &mut Table<'_>, id: Option<String>, name: Option<String>, terms: &Terms<'_>) -> Option<Fee> {
    table.call_it("fee");
    let each = table.has("unit_amount");
    if each {
        let why = "a fee is stated for a period, or for each unit of a subscription's quantity";
        table.refuse("amount", "fee_of_two_amounts", why, "keep one of `amount` and `unit_amount`");
    }
    let amount = match each {
        // Of so many units, a part of a cent counts.
        true => table.required("unit_amount", Value::not_negative),
        false => table.required("amount", |value| value.money(terms.currency)),
    };
    let when = table.optional("when", |value| value.one_of(&WHEN, &[])).unwrap_or(When::Arrears);
    let prorate = prorate(table, "prorate", terms.interval);
    table.refuse("program", "program_without_reward", "only a reward is paid from a program", "leave it out");
    Some(Fee { id: id?, name: name?, amount: amount?, each, when, prorate })
}

/// How an amount is prorated, none if the book does not say.
pub fn prorate(table: &mut Table<'_>, key: &'static str, interval: Interval) -> Prorate {
    let prorate = table.optional(key, |value| {
        let prorate = value.clone().one_of(&PRORATE, &[])?;
        let is_short = matches!(interval, Interval::Day | Interval::Week);
        if is_short && matches!(prorate, Prorate::FixedMonth { .. }) {
            let message = "the plan's periods are shorter than a month".to_owned();
            return value.wrong("fixed_month_of_short_periods", message, "use \"day\" or \"second\"");
        }
        Some(prorate)
    });
    let prorate = prorate.unwrap_or(Prorate::None);
    let Prorate::FixedMonth { .. } = prorate else {
        let fix = "leave it out, or prorate by \"fixed_month\"";
        table.refuse("fixed_days", "fixed_days_of_real_months", "months have the days that they have", fix);
        return prorate;
    };
    let days = table.optional("fixed_days", |value| value.whole_up_to(31));
    let days = days.and_then(|days| u8::try_from(days.get()).ok()).unwrap_or(FIXED_DAYS);
    Prorate::FixedMonth { days }
}

fn usage(
    table: &mut Table<'_>,
    kind: Kind,
    id: Option<String>,
    name: Option<String>,
    terms: &Terms<'_>,
) -> Option<UsageComponent> {
    table.call_it(if kind == Kind::Reward { "reward" } else { "charge" });
    let meter = table.required("meter", |value| meter(value, kind, terms));
    let direction = direction(table, kind, terms);
    let model = model::read(table, meter.and_then(|(_, meter)| meter), terms.known);
    model.iter().for_each(|model| fits_plan(table, model, kind, terms));
    let milestones = milestones::read(table, model.as_ref(), meter.and_then(|(_, meter)| meter));
    let modifiers = modifiers(table, kind, terms);
    let caps = table.each("cap", |value| value.table("cap", |table| cap(table, terms)));
    if model.as_ref().is_some_and(|model| !model.is_of_quantity())
        && caps.iter().any(|cap| matches!(cap.limit, CapLimit::Units(_)))
    {
        let message = "this model prices more of the usage than its sum, so units cannot be capped".to_owned();
        if let Some(caps) = table.get("cap") {
            caps.wrong::<()>("unit_cap_without_quantity", message, "cap the amount");
        }
    }
    let group_by = table.each("group_by", |value| dimension(value, meter?.1));
    let allowance = allowance(table, kind, model.as_ref(), terms);
    let is_life = |cap: &Cap| cap.per == CapWindow::Lifetime && matches!(cap.limit, CapLimit::Amount(_));
    if allowance.is_some() && caps.iter().any(is_life) {
        // What an allowance included in the periods before depends on every other component that shares it.
        let why = "what it costs in a lifetime depends on what else used the allowance in every period";
        table.refuse(
            "allowance",
            "allowance_with_lifetime_amount",
            why,
            "cap the units for a lifetime, or leave it out",
        );
    }
    let carry_tiers = carry::read(table, model.as_ref(), meter.and_then(|(_, meter)| meter));
    Some(UsageComponent {
        id: id?,
        name: name?,
        direction: direction?,
        meter: meter?.0.to_owned(),
        model: model?,
        milestones,
        modifiers,
        caps,
        allowance,
        carry_tiers,
        group_by,
    })
}

/// The plan's allowance that a charge of a quantity uses up.
fn allowance(table: &mut Table<'_>, kind: Kind, model: Option<&Model>, terms: &Terms<'_>) -> Option<String> {
    let allowance = table.get("allowance")?;
    if kind == Kind::Reward {
        let message = "an allowance includes units that would cost something".to_owned();
        return allowance.wrong("allowance_of_reward", message, "leave it out, or make this a charge");
    }
    if model.is_some_and(|model| !model.is_of_quantity()) {
        let message = "this model prices more of the usage than its sum, so no units of it can be included".to_owned();
        return allowance.wrong("allowance_without_quantity", message, "leave it out");
    }
    terms.allowances.known(allowance).map(|(id, _)| id.to_owned())
}

/// A meter whose buckets fit the days of the plan's zone and, for a reward, of the book's, in which programs live.
fn meter<'a, 'k>(value: Value<'a>, kind: Kind, terms: &Terms<'k>) -> Option<(&'a str, Option<&'k Meter>)> {
    let (id, meter) = terms.known.meters.known(value.clone())?;
    if let Some(meter) = meter {
        fits_zones(&value, meter, kind, terms);
    }
    Some((id, meter))
}

/// Notes a meter whose buckets days begin in: of the plan's zone and, for a reward, of the book's, in which programs live.
fn fits_zones(value: &Value<'_>, meter: &Meter, kind: Kind, terms: &Terms<'_>) {
    let book_zone = terms.known.settings.zone.as_ref().filter(|_| kind == Kind::Reward);
    let zones = terms.zone.into_iter().chain(book_zone);
    for zone in zones.filter(|zone| !calendar::fits(meter.bucket, zone)) {
        let message = format!("days of {} begin inside the buckets of meter `{}`", zone.name(), meter.id);
        let fix = format!("give the meter bucket = \"{}\", or use another time zone", calendar::fitting_bucket(zone));
        value.wrong::<()>("bucket_does_not_fit_zone", message, fix);
    }
}

/// What a model says that the plan's zone and interval decide about.
fn fits_plan(table: &mut Table<'_>, model: &Model, kind: Kind, terms: &Terms<'_>) {
    match model {
        Model::Capacity(tiers) => {
            let others = tiers.iter().flat_map(|tier| tier.limits.keys()).collect::<BTreeSet<_>>();
            let own = table.get("meter").and_then(|meter| meter.raw_text());
            for meter in others.into_iter().filter(|id| Some(*id) != own.as_ref()) {
                if let (Some(value), Some(meter)) = (table.get("tiers"), terms.known.meters.get(meter)) {
                    fits_zones(&value, meter, kind, terms);
                }
            }
        }
        Model::PerBucket { per, .. } => {
            let window = match per {
                Each::Bucket | Each::Day => CapWindow::Day,
                Each::Week => CapWindow::Week,
                Each::Month => CapWindow::Month,
            };
            if let Some(value) = table.get("per").filter(|_| is_longer(window, terms.interval)) {
                let message = "these windows are longer than the plan's billing period".to_owned();
                value.wrong::<()>("window_longer_than_period", message, "use shorter ones, or a longer interval");
            }
        }
        _ => {}
    }
}

fn direction(table: &mut Table<'_>, kind: Kind, terms: &Terms<'_>) -> Option<Direction> {
    if kind == Kind::Reward {
        let program = table.required("program", |value| program(value, terms))?;
        return Some(Direction::Reward { program });
    }
    let fix = "leave it out, or make this a component of kind \"reward\"";
    table.refuse("program", "program_without_reward", "only a reward is paid from a program", fix);
    Some(Direction::Charge)
}

fn program(value: Value<'_>, terms: &Terms<'_>) -> Option<String> {
    let (id, program) = terms.known.programs.known(value.clone())?;
    if program.is_some_and(|program| program.accounting == AccountingClass::ProducerShare) {
        let message = format!("program `{id}` pays shares, by its accounting class");
        return value.wrong("program_of_shares", message, "name another program, or make this a share");
    }
    in_currency(value, id, program, terms)
}

/// The id of a program that pays in the plan's currency.
pub fn in_currency(value: Value<'_>, id: &str, program: Option<&Program>, terms: &Terms<'_>) -> Option<String> {
    if let (Some(program), Some(currency)) = (program, terms.currency)
        && program.currency != currency
    {
        let message = format!("program `{id}` pays in {}, and the plan is in {currency}", program.currency);
        return value.wrong("currencies_differ", message, format!("name a program in {currency}"));
    }
    Some(id.to_owned())
}

fn modifiers(table: &mut Table<'_>, kind: Kind, terms: &Terms<'_>) -> Modifiers {
    let minimum_amount = table.optional("minimum_amount", Value::not_negative);
    let maximum_amount = table.optional("maximum_amount", |value| {
        let maximum = value.clone().not_negative()?;
        match minimum_amount.filter(|minimum| *minimum > maximum) {
            Some(minimum) => {
                let message = format!("the maximum {maximum} is below the minimum {minimum}");
                value.wrong("minimum_above_maximum", message, "raise the maximum or lower the minimum")
            }
            None => Some(maximum),
        }
    });
    Modifiers {
        transform: table.optional("transform", |value| value.table("transform", transform)),
        free_quantity: table.optional("free_quantity", Value::not_negative).unwrap_or(Decimal::ZERO),
        base_amount: table.optional("base_amount", Value::not_negative).unwrap_or(Decimal::ZERO),
        percentage_discount: table.optional("percentage_discount", Value::percent).unwrap_or(Decimal::ZERO),
        commitment: commitment(table, kind, maximum_amount, terms),
        maximum_amount,
        minimum_amount,
        minimum_prorate: prorate(table, "minimum_prorate", terms.interval),
    }
}

/// What a charge commits its party to; one line's worth.
fn commitment(table: &mut Table<'_>, kind: Kind, maximum: Option<Decimal>, terms: &Terms<'_>) -> Option<Commitment> {
    if kind == Kind::Reward {
        let fix = "leave it out, or make this a charge";
        table.refuse("commitment", "commitment_of_reward", "a party commits to what it spends", fix);
        return None;
    }
    if table.has("group_by") {
        let why = "each of the lines that `group_by` makes would be committed to it";
        table.refuse("commitment", "commitment_of_groups", why, "give it to the plan, or leave `group_by` out");
        return None;
    }
    commitment::read(table, terms.currency, maximum)
}

fn transform(table: &mut Table<'_>) -> Option<Transform> {
    let divide_by = table.required("divide_by", Value::above_zero);
    let round = table.optional("round", model::rounding);
    Some(Transform { divide_by: divide_by?, round })
}

fn cap(table: &mut Table<'_>, terms: &Terms<'_>) -> Option<Cap> {
    let per = table.required("per", |value| window(value, terms.interval));
    let units = table.optional("units", Value::above_zero);
    let amount = table.optional("amount", Value::above_zero);
    if table.has("units") == table.has("amount") {
        let message = "a cap limits either `units` or `amount`".to_owned();
        table.note(
            "cap",
            "cap_without_one_limit",
            message,
            "give it one of the two; a component can have several caps",
        );
    }
    let limit = units.map(CapLimit::Units).or(amount.map(CapLimit::Amount));
    Some(Cap { limit: limit?, per: per? })
}

/// A window is cut off at the ends of a billing period, so a longer one would not limit what it says.
fn window(value: Value<'_>, interval: Interval) -> Option<CapWindow> {
    let window = value.clone().one_of(&WINDOWS, &[])?;
    if is_longer(window, interval) {
        let message = "the window of this cap is longer than the plan's billing period".to_owned();
        return value.wrong("cap_longer_than_period", message, "use per = \"period\", or a longer interval");
    }
    Some(window)
}

fn is_longer(window: CapWindow, interval: Interval) -> bool {
    match window {
        CapWindow::Day | CapWindow::Period | CapWindow::Lifetime => false,
        CapWindow::Week => interval == Interval::Day,
        CapWindow::Month => matches!(interval, Interval::Day | Interval::Week),
    }
}

fn dimension(value: Value<'_>, meter: Option<&Meter>) -> Option<String> {
    let name = value.clone().text()?;
    let Some(meter) = meter else { return Some(name.to_owned()) };
    if meter.dimensions.contains_key(name) {
        return Some(name.to_owned());
    }
    let known = meter.dimensions.keys().map(String::as_str);
    value.unknown_name("unknown_dimension", format!("meter `{}` has no dimension `{name}`", meter.id), name, known)
}
