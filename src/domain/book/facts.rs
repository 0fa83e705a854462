//! A price book as plain facts, each a name and a value in the words of its files: what a comparison compares.
//!
//! Every struct is taken apart by name, so that a new field cannot be forgotten here.

mod payouts;

use std::collections::BTreeMap;
use std::fmt::Display;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::book::Book;
use crate::domain::book::Issuer;
use crate::domain::book::Tax;
use crate::domain::book::catalog::EventType;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Operand;
use crate::domain::book::meter::Operation;
use crate::domain::book::meter::Test;
use crate::domain::book::payouts::Payouts;
use crate::domain::book::plan::ByEvent;
use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::Milestones;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::ShareComponent;
use crate::domain::book::plan::Tiers;
use crate::domain::book::plan::Transform;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::program::Program;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Rhythm;

/// Names and values, in the order of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(pub Vec<(String, String)>);

/// What facts are about: `plan api` as a whole (no part), or its `component requests`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub thing: String,
    pub part: String,
}

impl Facts {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn say(&mut self, name: impl Into<String>, value: impl Display) {
        self.0.push((name.into(), value.to_string()));
    }

    fn say_if_any(&mut self, name: impl Into<String>, value: Option<impl Display>) {
        if let Some(value) = value {
            self.say(name, value);
        }
    }

    fn say_if_not_zero(&mut self, name: impl Into<String>, value: Decimal) {
        self.say_if_any(name, Some(value).filter(|value| !value.is_zero()));
    }
}

/// Everything that a book says.
pub fn of(book: &Book) -> BTreeMap<Subject, Facts> {
    let Book {
        name,
        currency,
        zone,
        invoice_prefix,
        due_days,
        reminders,
        issuer,
        taxes,
        payouts,
        event_types,
        meters,
        plans,
        programs,
    } = book;
    let mut whole = Facts::default();
    whole.say("name", name);
    whole.say("currency", currency);
    whole.say("timezone", zone.name());
    whole.say("invoice prefix", invoice_prefix);
    whole.say("days to pay an invoice", due_days);
    let reminders = reminders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    whole.say_if_any("days until reminders", Some(reminders).filter(|reminders| !reminders.is_empty()));
    say_issuer(&mut whole, issuer, name);
    let mut facts = BTreeMap::from([(subject("book", ""), whole)]);
    if *payouts != Payouts::default() {
        facts.insert(subject("payouts", ""), payouts::of(payouts));
    }
    facts.extend(taxes.values().map(|item| (subject("tax", &item.id), tax(item))));
    facts.extend(event_types.values().map(|item| (subject("event type", &item.id), event_type(item))));
    facts.extend(meters.values().map(|item| (subject("meter", &item.id), meter(item))));
    facts.extend(programs.values().map(|item| (subject("program", &item.id), program(item))));
    for item in plans.values() {
        let whole = subject("plan", &item.id);
        let part = |component: &Component| Subject { part: format!("component {}", component.id()), ..whole.clone() };
        facts.extend(item.components.iter().map(|item| (part(item), component(item))));
        facts.insert(whole, plan(item));
    }
    facts
}

fn say_issuer(facts: &mut Facts, issuer: &Issuer, book: &str) {
    let Issuer { name, address, tax_id, email, bank, footer } = issuer;
    let lines = |lines: &[String]| Some(lines.join(", ")).filter(|text| !text.is_empty());
    facts.say_if_any("issuer name", Some(name).filter(|name| *name != book));
    facts.say_if_any("issuer address", lines(address));
    facts.say_if_any("issuer tax_id", tax_id.as_ref());
    facts.say_if_any("issuer email", email.as_ref());
    facts.say_if_any("issuer bank", lines(bank));
    facts.say_if_any("issuer footer", footer.as_ref());
}

/// What a meter counts, without its id.
pub fn meter(meter: &Meter) -> Facts {
    let Meter { id: _, event_type, aggregation, value, operation, party, tests, dimensions, bucket } = meter;
    let mut facts = Facts::default();
    facts.say("event_type", event_type);
    facts.say("aggregation", aggregation.name());
    if let Aggregation::Percentile(rank) = aggregation {
        facts.say("percentile", rank.percent());
    }
    facts.say_if_any("value", value.as_ref());
    facts.say_if_any("operation", operation.as_ref());
    facts.say("party", party);
    facts.say_if_any("where", conditions(tests));
    for (name, path) in dimensions {
        facts.say(format!("dimension {name}"), path);
    }
    facts.say("bucket", word(bucket));
    facts
}

fn subject(kind: &str, id: &str) -> Subject {
    Subject { thing: format!("{kind} {id}").trim_end().to_owned(), part: String::new() }
}

/// An enum value as it is written in a file.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn tax(tax: &Tax) -> Facts {
    let Tax { id: _, jurisdiction, rate } = tax;
    let mut facts = Facts::default();
    facts.say("jurisdiction", jurisdiction);
    facts.say("rate", rate);
    facts
}

fn event_type(event_type: &EventType) -> Facts {
    let EventType { id: _, title, description, lifecycle, owner, audience, validation, schema, example } = event_type;
    let mut facts = Facts::default();
    facts.say("title", title);
    facts.say("description", description);
    facts.say("lifecycle", word(lifecycle));
    facts.say_if_any("owner", owner.as_ref());
    facts.say("audience", word(audience));
    facts.say("validation", word(validation));
    facts.say_if_any("schema", schema.as_ref());
    facts.say_if_any("example", example.as_ref());
    facts
}

pub fn program(program: &Program) -> Facts {
    let Program { id: _, name, currency, window, budget, exhausted, hold_days, accounting, eligible } = program;
    let mut facts = Facts::default();
    facts.say("name", name);
    facts.say("currency", currency);
    facts.say("from", window.from());
    facts.say("to", window.to());
    facts.say_if_any("budget", *budget);
    facts.say("exhausted", word(exhausted));
    facts.say("hold", format!("{hold_days}d"));
    facts.say("accounting", word(accounting));
    facts.say_if_any("eligible", conditions(eligible));
    facts
}

fn plan(plan: &Plan) -> Facts {
    let Plan {
        id: _,
        name,
        currency,
        calendar,
        minimum,
        maximum,
        commitment,
        minimum_prorate,
        trial_days,
        allowances,
        components: _,
    } = plan;
    let Calendar { rhythm: Rhythm { interval, every }, anchor, zone } = calendar;
    let mut facts = Facts::default();
    facts.say("name", name);
    facts.say("currency", currency);
    facts.say("interval", word(interval));
    facts.say_if_any("every", Some(every.get()).filter(|every| *every > 1));
    match anchor {
        Anchor::Calendar => facts.say("anchor", "calendar"),
        Anchor::Subscription => facts.say("anchor", "subscription"),
        Anchor::Day(day) => {
            facts.say("anchor", "subscription");
            facts.say("anchor_day", day);
        }
    }
    facts.say("timezone", zone.name());
    facts.say_if_any("minimum", *minimum);
    facts.say_if_any("maximum", *maximum);
    say_commitment(&mut facts, commitment.as_ref());
    if *minimum_prorate != Prorate::None {
        say_prorate(&mut facts, "minimum_prorate", *minimum_prorate);
    }
    facts.say_if_any("trial", Some(trial_days).filter(|days| **days > 0).map(|days| format!("{days}d")));
    for (id, units) in allowances {
        facts.say(format!("allowance {id}"), units);
    }
    facts
}

fn say_commitment(facts: &mut Facts, commitment: Option<&Commitment>) {
    if let Some(Commitment { amount, overage_factor, true_up }) = commitment {
        facts.say("commitment amount", amount);
        facts.say("commitment overage_factor", overage_factor);
        facts.say("commitment true_up", true_up);
    }
}

fn component(component: &Component) -> Facts {
    match component {
        Component::Fee(item) => fee(item),
        Component::Usage(item) => usage(item),
        Component::Share(item) => share(item),
    }
}

fn fee(fee: &Fee) -> Facts {
    let Fee { id: _, name, amount, each, when, prorate } = fee;
    let mut facts = Facts::default();
    facts.say("name", name);
    facts.say("kind", "fee");
    facts.say(if *each { "unit_amount" } else { "amount" }, amount);
    facts.say("when", word(when));
    say_prorate(&mut facts, "prorate", *prorate);
    facts
}

fn say_prorate(facts: &mut Facts, name: &str, prorate: Prorate) {
    match prorate {
        Prorate::None => facts.say(name, "none"),
        Prorate::Day => facts.say(name, "day"),
        Prorate::Second => facts.say(name, "second"),
        Prorate::FixedMonth { days } => {
            facts.say(name, "fixed_month");
            facts.say("fixed_days", days);
        }
    }
}

fn usage(component: &UsageComponent) -> Facts {
    let UsageComponent {
        id: _,
        name,
        direction,
        meter,
        model,
        milestones,
        modifiers,
        caps,
        allowance,
        carry_tiers,
        group_by,
    } = component;
    let mut facts = Facts::default();
    facts.say("name", name);
    match direction {
        Direction::Charge => facts.say("kind", "charge"),
        Direction::Reward { program } => {
            facts.say("kind", "reward");
            facts.say("program", program);
        }
    }
    facts.say("meter", meter);
    milestones.iter().for_each(|milestones| say_milestones(&mut facts, milestones));
    say_model(&mut facts, model);
    say_modifiers(&mut facts, modifiers);
    for Cap { limit, per } in caps {
        match limit {
            CapLimit::Units(units) => facts.say(format!("cap units per {}", word(per)), units),
            CapLimit::Amount(amount) => facts.say(format!("cap amount per {}", word(per)), amount),
        }
    }
    facts.say_if_any("allowance", allowance.as_ref());
    facts.say_if_any("carry_tiers", carry_tiers.then_some("true"));
    facts.say_if_any("group_by", (!group_by.is_empty()).then(|| group_by.join(", ")));
    facts
}

fn share(component: &ShareComponent) -> Facts {
    let ShareComponent { id: _, name, of, producer, rate, program } = component;
    let mut facts = Facts::default();
    facts.say("name", name);
    facts.say("kind", "share");
    let charges = of.iter().map(|of| format!("{} of plan {}", of.charge, of.plan));
    facts.say("of", charges.collect::<Vec<_>>().join(", "));
    facts.say("producer", producer);
    facts.say("rate", rate);
    facts.say("program", program);
    facts
}

fn say_milestones(facts: &mut Facts, milestones: &Milestones) {
    match milestones {
        Milestones::Every(units) => facts.say("milestones every", units),
        Milestones::At(quantities) => {
            let quantities: Vec<String> = quantities.iter().map(ToString::to_string).collect();
            facts.say("milestones at", quantities.join(", "));
        }
        Milestones::DaysInARow { days, at_least } => {
            facts.say("milestones days_in_a_row", days);
            facts.say("milestones at_least", at_least);
        }
    }
}

fn say_model(facts: &mut Facts, model: &Model) {
    match model {
        Model::Flat { amount } => {
            facts.say("model", "flat");
            facts.say("amount", amount);
        }
        Model::PerUnit { unit_amount } => {
            facts.say("model", "per_unit");
            facts.say("unit_amount", unit_amount);
        }
        Model::Package { package_size, package_amount, round } => {
            facts.say("model", "package");
            facts.say("package_size", package_size);
            facts.say("package_amount", package_amount);
            facts.say_if_any("round", Some(round).filter(|round| **round != Rounding::Up).map(word));
        }
        Model::Graduated(tiers) => say_tiers(facts, "graduated", tiers),
        Model::Volume(tiers) => say_tiers(facts, "volume", tiers),
        Model::GraduatedPercentage(tiers) => say_rates(facts, tiers),
        Model::Stairstep(tiers) => say_stairs(facts, tiers),
        Model::Dynamic { multiplier } => {
            facts.say("model", "dynamic");
            facts.say("multiplier", multiplier);
        }
        Model::Percentage(percentage) => say_percentage(facts, percentage),
        Model::Capacity(tiers) => say_capacity(facts, tiers),
        Model::Matrix(matrix) => say_matrix(facts, matrix),
        Model::PerBucket { per, inner } => {
            facts.say("model", "per_bucket");
            facts.say("per", word(per));
            let mut each = Facts::default();
            say_model(&mut each, &inner.model);
            each.say_if_not_zero("free_quantity", inner.free_quantity);
            facts.0.extend(each.0.into_iter().map(|(name, value)| (format!("each {name}"), value)));
        }
        Model::GraduatedProrated { tiers, prorate } => {
            say_tiers(facts, "graduated_prorated", tiers);
            facts.say("prorate", word(prorate));
        }
    }
}

fn say_rates(facts: &mut Facts, tiers: &Tiers) {
    facts.say("model", "graduated_percentage");
    for (number, tier) in (1..).zip(tiers.iter()) {
        facts.say_if_any(format!("tier {number} up_to"), tier.up_to);
        let rate = tier.unit_amount.checked_mul(Decimal::ONE_HUNDRED).unwrap_or(Decimal::MAX);
        facts.say(format!("tier {number} rate"), rate.normalize());
        facts.say_if_not_zero(format!("tier {number} flat_amount"), tier.flat_amount);
    }
}

fn say_stairs(facts: &mut Facts, tiers: &Tiers) {
    facts.say("model", "stairstep");
    for (number, tier) in (1..).zip(tiers.iter()) {
        facts.say_if_any(format!("tier {number} up_to"), tier.up_to);
        facts.say(format!("tier {number} flat_amount"), tier.flat_amount);
    }
}

fn say_percentage(facts: &mut Facts, percentage: &Percentage) {
    let Percentage { rate, fixed_amount, by_event } = percentage;
    let ByEvent { free_events, free_amount, minimum, maximum } = by_event;
    facts.say("model", "percentage");
    facts.say("rate", rate);
    facts.say_if_not_zero("fixed_amount", *fixed_amount);
    facts.say_if_any("free_events", *free_events);
    facts.say_if_any("free_amount", *free_amount);
    facts.say_if_any("per_transaction_min_amount", *minimum);
    facts.say_if_any("per_transaction_max_amount", *maximum);
}

fn say_capacity(facts: &mut Facts, tiers: &[CapacityTier]) {
    facts.say("model", "capacity");
    for (number, CapacityTier { limits, amount }) in (1..).zip(tiers) {
        for (meter, up_to) in limits {
            facts.say(format!("tier {number} limit of {meter}"), up_to);
        }
        facts.say(format!("tier {number} amount"), amount);
    }
}

fn say_matrix(facts: &mut Facts, matrix: &Matrix) {
    let Matrix { rates, default_unit_amount } = matrix;
    facts.say("model", "matrix");
    for rate in rates {
        facts.say(format!("rate of {}", rate.label()), rate.unit_amount);
    }
    facts.say_if_any("default_unit_amount", *default_unit_amount);
}

fn say_tiers(facts: &mut Facts, model: &str, tiers: &Tiers) {
    facts.say("model", model);
    for (number, tier) in (1..).zip(tiers.iter()) {
        facts.say_if_any(format!("tier {number} up_to"), tier.up_to);
        facts.say(format!("tier {number} unit_amount"), tier.unit_amount);
        facts.say_if_not_zero(format!("tier {number} flat_amount"), tier.flat_amount);
        facts.say_if_any(format!("tier {number} package_size"), tier.package_size);
        facts.say_if_any(format!("tier {number} max_amount"), tier.max_amount);
    }
}

fn say_modifiers(facts: &mut Facts, modifiers: &Modifiers) {
    let Modifiers {
        transform,
        free_quantity,
        base_amount,
        percentage_discount,
        commitment,
        maximum_amount,
        minimum_amount,
        minimum_prorate,
    } = modifiers;
    if let Some(Transform { divide_by, round }) = transform {
        facts.say("transform divide_by", divide_by);
        facts.say_if_any("transform round", round.as_ref().map(word));
    }
    facts.say_if_not_zero("free_quantity", *free_quantity);
    facts.say_if_not_zero("base_amount", *base_amount);
    facts.say_if_not_zero("percentage_discount", *percentage_discount);
    say_commitment(facts, commitment.as_ref());
    facts.say_if_any("maximum_amount", *maximum_amount);
    facts.say_if_any("minimum_amount", *minimum_amount);
    if *minimum_prorate != Prorate::None {
        say_prorate(facts, "minimum_prorate", *minimum_prorate);
    }
}

/// `data.distance gt 0 and data.origin in EWR, JFK`; nothing if nothing is asked.
fn conditions(tests: &[Test]) -> Option<String> {
    let tests: Vec<String> =
        tests.iter().map(|test| format!("{} {}", test.field, operation(&test.operation))).collect();
    (!tests.is_empty()).then(|| tests.join(" and "))
}

fn operation(operation: &Operation) -> String {
    let list = |operands: &[Operand]| operands.iter().map(|one| one.text.clone()).collect::<Vec<_>>().join(", ");
    match operation {
        Operation::Eq(operand) => format!("eq {}", operand.text),
        Operation::Ne(operand) => format!("ne {}", operand.text),
        Operation::In(operands) => format!("in {}", list(operands)),
        Operation::Gt(number) => format!("gt {number}"),
        Operation::Ge(number) => format!("ge {number}"),
        Operation::Lt(number) => format!("lt {number}"),
        Operation::Le(number) => format!("le {number}"),
        Operation::Exists(flag) => format!("exists {flag}"),
        Operation::Prefix(prefix) => format!("prefix {prefix}"),
    }
}
