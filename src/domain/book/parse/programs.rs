//! `programs/*.toml`: what rewards are budgeted under.

use crate::domain::book::parse::fields::consumer_field;
use crate::domain::book::parse::fields::tests;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::settings::Settings;
use crate::domain::book::parse::value::Value;
use crate::domain::book::program::AccountingClass;
use crate::domain::book::program::Exhausted;
use crate::domain::book::program::Program;
use crate::domain::period::Period;
use crate::domain::time::Instant;

const EXHAUSTED: [(&str, Exhausted); 2] = [("partial", Exhausted::Partial), ("stop", Exhausted::Stop)];
const ACCOUNTING: [(&str, AccountingClass); 3] = [
    ("contra_revenue", AccountingClass::ContraRevenue),
    ("expense", AccountingClass::Expense),
    ("producer_share", AccountingClass::ProducerShare),
];
/// Ten years: longer is a slip of the pen.
const HOLD_DAYS_MAX: u32 = 3650;

pub fn read(root: &mut Table<'_>, settings: &Settings, programs: &mut Named<Program>) {
    root.each("program", |value| {
        value.table("program", |table| {
            let id = table.required("id", Some);
            let program = program(table, id.as_ref(), settings);
            programs.define(id, program);
            Some(())
        })
    });
}

fn program(table: &mut Table<'_>, id: Option<&Value<'_>>, settings: &Settings) -> Option<Program> {
    let name = table.optional("name", Value::owned_text);
    let own = table.optional_exact("currency", Value::currency);
    let currency = own.and_then(|own| own.or(settings.currency));
    let window = window(table, settings);
    let budget = table.optional("budget", |value| value.money(currency));
    let exhausted = table.optional("exhausted", |value| value.one_of(&EXHAUSTED, &[]));
    let hold_days = table.optional("hold", |value| value.days(HOLD_DAYS_MAX)).unwrap_or(0);
    let accounting = table.optional("accounting", |value| value.one_of(&ACCOUNTING, &[]));
    let eligible = tests(table, "eligible", consumer_field);
    if accounting == Some(AccountingClass::ProducerShare) {
        let fix = "leave it out, or pay a reward";
        table.refuse("budget", "budget_of_shares", "shares are paid from what was charged", fix);
        table.refuse("exhausted", "budget_of_shares", "shares are paid from what was charged", fix);
        table.refuse("eligible", "eligible_for_shares", "whoever has the component gets the share", fix);
    }
    let id = id?.raw_text()?;
    Some(Program {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        currency: currency?,
        window: window?,
        budget,
        exhausted: exhausted.unwrap_or(Exhausted::Partial),
        hold_days,
        // Who has a plan is a customer until somebody says otherwise.
        accounting: accounting.unwrap_or(AccountingClass::ContraRevenue),
        eligible,
    })
}

/// From midnight of one day to midnight of another, in the book's zone.
fn window(table: &mut Table<'_>, settings: &Settings) -> Option<Period> {
    let from = table.required("from", Value::date);
    let until = table.required("to", |value| Some((value.clone(), value.date()?)));
    let (from, (place, to), zone) = (from?, until?, settings.zone.as_ref()?);
    let window = Period::new(Instant::start_of(from, zone)?, Instant::start_of(to, zone)?);
    window.ok().or_else(|| {
        let message = format!("the program ends on {to}, which is not after it begins on {from}");
        place.wrong("period_out_of_order", message, "`to` is the first day on which nothing is earned any more")
    })
}
