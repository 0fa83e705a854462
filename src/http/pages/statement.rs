//! The statement as a page: what a period comes to, why each line is what it is, and what was used day by day.

use askama::Template;
use axum::response::Response;
use rust_decimal::Decimal;

use crate::domain::consumer::Consumer;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::statement::Day;
use crate::domain::document::statement::MeterDays;
use crate::domain::document::statement::Statement;
use crate::domain::document::statement::StatementState;
use crate::domain::money::Currency;
use crate::domain::rating::explain;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::TierStep;
use crate::domain::show;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::api::consumers::unknown_consumer;
use crate::http::auth::Caller;
use crate::http::pages::Frame;
use crate::http::pages::chart::Chart;
use crate::http::pages::render;
use crate::http::problem::Problem;
use crate::store::documents::Wanted;

/// Subscriptions whose plans are named at the top.
const PLANS_MAX: i64 = 20;

#[derive(Template)]
#[template(path = "statement.html")]
struct Page {
    frame: Frame,
    /// Whether the consumer itself is looking.
    is_own: bool,
    consumer: Consumer,
    plans: Vec<String>,
    period: String,
    zone: String,
    /// The last day, while the statement is not final.
    open_until: Option<String>,
    currency: &'static str,
    verdict: &'static str,
    net: String,
    sum: Vec<Part>,
    sections: Vec<Section>,
    charts: Vec<Measured>,
    documents: Vec<Document>,
    holds: Vec<Hold>,
    links: Links,
}

/// A part of the net: `+` if it makes it larger, `−` if it makes it smaller.
struct Part {
    name: &'static str,
    sign: &'static str,
    amount: String,
}

struct Links {
    previous: Option<String>,
    next: Option<String>,
    pdf: String,
    csv: String,
    json: String,
}

/// A table of lines and what they come to.
struct Section {
    id: &'static str,
    title: &'static str,
    /// What is said if there are no lines.
    empty: &'static str,
    total: Option<String>,
    lines: Vec<Row>,
}

struct Row {
    description: String,
    /// `origin JFK`
    details: Vec<String>,
    /// If it is for other days than the statement's.
    days: Option<String>,
    quantity: String,
    amount: String,
    steps: Vec<Step>,
    /// Where the quantity comes from.
    source: Option<String>,
}

struct Step {
    name: &'static str,
    text: String,
    tiers: Vec<Tier>,
}

struct Tier {
    range: String,
    units: String,
    unit_amount: String,
    flat_amount: Option<String>,
    amount: String,
}

/// A meter's days.
struct Measured {
    title: String,
    meter: String,
    chart: Chart,
    days: Vec<(String, String)>,
}

struct Document {
    kind: &'static str,
    path: String,
    number: String,
    issued: String,
    state: String,
    /// Taxes of an invoice.
    taxes: Vec<String>,
    total: String,
}

struct Hold {
    program: String,
    amount: String,
    state: String,
}

/// What the page shows beside the statement itself.
struct Beside {
    consumer: Consumer,
    subscriptions: Vec<Subscription>,
    invoices: Vec<Invoice>,
    payouts: Vec<Payout>,
}

/// The page of a statement.
pub async fn page(app: &App, caller: &Caller, statement: Statement, now: Instant) -> Result<Response, Problem> {
    let mut tx = app.db.read().await?;
    let consumer = tx.consumer(&statement.consumer).await?.ok_or_else(|| unknown_consumer(&statement.consumer))?;
    let subscriptions = tx.subscriptions(Some(&consumer.id), None, PLANS_MAX).await?;
    let dated = Wanted::Dated { consumer: &consumer.id, period: statement.period };
    let (mut invoices, mut payouts) = (tx.invoices(dated).await?, tx.payouts(dated).await?);
    drop(tx);
    // What was finalised between the two readings is not shown in one half of the page only.
    invoices.retain(|invoice| statement.documents.iter().any(|id| id == invoice.id.as_str()));
    payouts.retain(|payout| statement.documents.iter().any(|id| id == payout.id.as_str()));
    let plans = plan_names(app, &subscriptions, &statement);
    let beside = Beside { consumer, subscriptions, invoices, payouts };
    let page = composed(Frame::of(Some(caller)), caller.consumer().is_some(), plans, statement, beside, now);
    render(&page)
}

/// The plans that run in the period, as the price book of then names them.
fn plan_names(app: &App, subscriptions: &[Subscription], statement: &Statement) -> Vec<String> {
    let versions = app.metering.versions();
    let period = statement.period;
    let runs = |one: &&Subscription| one.starts_at < period.to() && one.ends_at.is_none_or(|end| period.from() < end);
    let name = |one: &Subscription| {
        let version = versions.at(period.from().max(one.starts_at));
        let plan = version.and_then(|version| version.book.plans.get(&one.plan));
        plan.map_or_else(|| one.plan.clone(), |plan| plan.name.clone())
    };
    let mut names: Vec<String> = subscriptions.iter().filter(runs).map(name).collect();
    names.dedup();
    names
}

fn composed(
    frame: Frame,
    is_own: bool,
    plans: Vec<String>,
    statement: Statement,
    beside: Beside,
    now: Instant,
) -> Page {
    let zone = &statement.timezone;
    let (_, after) = show::days(statement.period, zone);
    let verdict = match statement.net.minor() {
        0 => "Nothing is due",
        1.. => "You owe",
        _ => "We owe you",
    };
    Page {
        frame,
        is_own,
        plans,
        period: show::period(statement.period, zone),
        zone: zone.name().to_owned(),
        open_until: (statement.state == StatementState::Open).then(|| show::date(after.yesterday().unwrap_or(after))),
        currency: statement.net.currency().code(),
        verdict,
        net: show::amount(statement.net).trim_start_matches('-').to_owned(),
        sum: sum(&statement),
        sections: sections(&statement),
        charts: charts(&statement),
        documents: documents(&beside, zone),
        holds: beside.payouts.iter().flat_map(|payout| holds(payout, zone)).collect(),
        links: links(&statement, &beside.subscriptions, now),
        consumer: beside.consumer,
    }
}

/// What the net is made of, seen from who owes it; the first part stands without its sign.
fn sum(statement: &Statement) -> Vec<Part> {
    let (owed, earned) = if statement.net.is_negative() { ("−", "+") } else { ("+", "−") };
    let mut parts = vec![
        ("Charges", owed, statement.charged),
        ("Tax", owed, statement.tax),
        ("Rewards", earned, statement.rewarded),
    ];
    parts.retain(|(.., amount)| !amount.is_zero());
    parts.sort_by_key(|(_, sign, _)| *sign != "+");
    let part = |(place, (name, sign, amount))| Part {
        name,
        sign: if place == 0 && sign == "+" { "" } else { sign },
        amount: show::amount(amount),
    };
    parts.into_iter().enumerate().map(part).collect()
}

fn sections(statement: &Statement) -> Vec<Section> {
    let rows = |lines: &[Line]| lines.iter().map(|line| row(line, statement)).collect::<Vec<_>>();
    let mut sections = vec![
        Section {
            id: "charges",
            title: "Charges",
            empty: "Nothing was charged, and nothing was earned.",
            total: Some(show::amount(statement.charged)),
            lines: rows(&statement.charges),
        },
        Section {
            id: "rewards",
            title: "Rewards",
            empty: "",
            total: Some(show::amount(statement.rewarded)),
            lines: rows(&statement.rewards),
        },
        Section {
            id: "adjustments",
            title: "Adjustments",
            empty: "",
            total: None,
            lines: rows(&statement.adjustments),
        },
    ];
    // Where a plan only charges or only pays, the other half would be a heading above nothing.
    let is_empty = sections.iter().all(|section| section.lines.is_empty());
    sections.retain(|section| !section.lines.is_empty() || (is_empty && section.id == "charges"));
    sections
}

fn row(line: &Line, statement: &Statement) -> Row {
    let zone = &statement.timezone;
    let is_elsewhen = (line.from, line.to) != (statement.period.from(), statement.period.to());
    let days = is_elsewhen.then(|| crate::domain::period::Period::new(line.from, line.to).ok()).flatten();
    let is_measured = line.explanation.meter.is_some();
    Row {
        description: line.description.clone(),
        details: line.dimensions.iter().map(|(name, value)| format!("{name} {value}")).collect(),
        days: days.map(|days| show::period(days, zone)),
        quantity: if is_measured { show::number(line.quantity) } else { String::new() },
        amount: show::amount(line.amount),
        steps: line.explanation.steps.iter().map(|one| step(one, line.amount.currency())).collect(),
        source: source(&line.explanation, line.program.as_deref()),
    }
}

fn step(step: &crate::domain::rating::line::Step, currency: Currency) -> Step {
    // A price in one tier is said in the sentence already.
    let tiers =
        if step.tiers.len() > 1 { step.tiers.iter().map(|one| tier(one, currency)).collect() } else { Vec::new() };
    Step { name: step_name(step.step), text: step.text.clone(), tiers }
}

fn step_name(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Usage => "Measured",
        StepKind::Transform => "Converted",
        StepKind::UnitCap => "Capped",
        StepKind::Allowance => "Included",
        StepKind::Carried => "Carried",
        StepKind::FreeQuantity => "Free",
        StepKind::Price => "Priced",
        StepKind::Proration => "Prorated",
        StepKind::Trial => "Trial",
        StepKind::Credit => "Credited",
        StepKind::Adjustment => "Adjusted",
        StepKind::BaseAmount => "Base",
        StepKind::Discount => "Discounted",
        StepKind::Overage => "Overage",
        StepKind::Maximum => "Maximum",
        StepKind::Commitment => "Commitment",
        StepKind::Minimum => "Minimum",
        StepKind::AmountCap => "Capped",
        StepKind::Budget => "Budget",
        StepKind::Rounding => "Rounded",
        StepKind::Share => "Shared",
    }
}

fn tier(tier: &TierStep, currency: Currency) -> Tier {
    let from = show::number(tier.from);
    Tier {
        range: match tier.up_to {
            _ if !tier.label.is_empty() => tier.label.clone(),
            Some(up_to) if tier.from.is_zero() => format!("up to {}", show::number(up_to)),
            Some(up_to) => format!("above {from} up to {}", show::number(up_to)),
            None => format!("above {from}"),
        },
        units: show::number(tier.units),
        unit_amount: show::exact(tier.unit_amount, currency),
        flat_amount: (tier.flat_amount != Decimal::ZERO).then(|| show::exact(tier.flat_amount, currency)),
        amount: show::exact(tier.amount, currency),
    }
}

fn source(explanation: &Explanation, program: Option<&str>) -> Option<String> {
    let meter = explanation.meter.as_ref()?;
    let events = explain::plural(Decimal::from(explanation.events), "event", "events");
    let paid = program.map_or_else(String::new, |program| format!("; paid by the program {program}"));
    Some(format!("From {events} on the meter {meter}{paid}."))
}

/// A chart for each meter, those first that lines were priced by.
fn charts(statement: &Statement) -> Vec<Measured> {
    let mut meters: Vec<&MeterDays> = statement.usage.iter().collect();
    meters.sort_by_key(|days| lines_of(statement, &days.meter).next().is_none());
    meters.into_iter().enumerate().map(|(place, days)| measured(place, days, statement)).collect()
}

fn lines_of<'s>(statement: &'s Statement, meter: &'s str) -> impl Iterator<Item = &'s Line> {
    let lines = statement.charges.iter().chain(&statement.rewards).chain(&statement.adjustments);
    lines.filter(move |line| line.explanation.meter.as_deref() == Some(meter))
}

/// A meter's chart, named after the lines that it is the reason for.
fn measured(place: usize, measured: &MeterDays, statement: &Statement) -> Measured {
    let mut names: Vec<&str> = lines_of(statement, &measured.meter).map(|line| line.description.as_str()).collect();
    names.dedup();
    let title = if names.is_empty() { spelled_out(&measured.meter) } else { names.join(", ") };
    let day = |day: &Day| (show::date(day.date), show::number(day.value));
    Measured {
        chart: Chart::of(&format!("usage-{place}"), &title, &measured.days),
        title,
        meter: measured.meter.clone(),
        days: measured.days.iter().map(day).collect(),
    }
}

/// `slowest_request_ms` is `Slowest request ms`.
fn spelled_out(id: &str) -> String {
    let text = id.replace(['_', '-', '.'], " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn documents(beside: &Beside, zone: &Zone) -> Vec<Document> {
    let invoice = |invoice: &Invoice| Document {
        kind: "Invoice",
        path: format!("/v1/invoices/{}", invoice.id),
        number: invoice.number.to_string(),
        issued: show::day(invoice.issued_at, zone),
        state: match invoice.state {
            InvoiceState::Open => match invoice.due_on {
                Some(due_on) => format!("To be paid by {due_on}: {}", show::amount(invoice.outstanding)),
                None => format!("To be paid: {}", show::amount(invoice.outstanding)),
            },
            InvoiceState::Paid => "Paid".to_owned(),
            InvoiceState::Uncollectible => "Given up".to_owned(),
            InvoiceState::Void => "Void".to_owned(),
        },
        taxes: invoice
            .totals
            .taxes
            .iter()
            .map(|tax| format!("{} % {}: {}", tax.rate.normalize(), tax.jurisdiction, show::money(tax.amount)))
            .collect(),
        total: show::amount(invoice.totals.total),
    };
    let payout = |payout: &Payout| Document {
        kind: "Payout statement",
        path: format!("/v1/payouts/{}", payout.id),
        number: payout.number.to_string(),
        issued: show::day(payout.issued_at, zone),
        state: match payout.state {
            PayoutState::Held { held_until } => format!("Held until {}", show::day(held_until, zone)),
            PayoutState::Available => "Can be paid out".to_owned(),
        },
        taxes: Vec::new(),
        total: show::amount(payout.total),
    };
    beside.invoices.iter().map(invoice).chain(beside.payouts.iter().map(payout)).collect()
}

fn holds(payout: &Payout, zone: &Zone) -> Vec<Hold> {
    let hold = |hold: &crate::domain::document::payout::Hold| Hold {
        program: hold.program.clone(),
        amount: show::amount(hold.amount),
        state: match hold.passed_at {
            Some(at) => format!("can be paid out since {}", show::day(at, zone)),
            None => format!("held until {}", show::day(hold.held_until, zone)),
        },
    };
    payout.holds.iter().map(hold).collect()
}

/// The statements before and after, as far as there are any, and this one for programs.
fn links(statement: &Statement, subscriptions: &[Subscription], now: Instant) -> Links {
    let (period, zone) = (statement.period, &statement.timezone);
    let (previous, next) = show::neighbours(period, zone);
    let asked = show::asked(period, zone);
    let began = subscriptions.iter().map(|subscription| subscription.starts_at).min();
    Links {
        previous: began.is_some_and(|began| began < period.from()).then(|| format!("?period={previous}")),
        next: (period.to() <= now).then(|| format!("?period={next}")),
        pdf: format!("?period={asked}&format=pdf"),
        csv: format!("?period={asked}&format=csv"),
        json: format!("?period={asked}&format=json"),
    }
}
