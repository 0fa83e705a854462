//! `book.toml`: what holds for the whole book.

use crate::domain::book::Issuer;
use crate::domain::book::Tax;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::payouts;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::payouts::Payouts;
use crate::domain::money::Currency;
use crate::domain::time::Zone;

const INVOICE_PREFIX: &str = "INV-";
const PREFIX_BYTES_MAX: usize = 16;
const DUE_DAYS: u32 = 30;
const DUE_DAYS_MAX: u32 = 366;
const REMINDERS_MAX: usize = 12;
/// Of an issuer's address, and of its bank details: more would not leave room for the lines of an invoice.
const ISSUER_LINES_MAX: usize = 8;

pub struct Settings {
    pub name: Option<String>,
    pub currency: Option<Currency>,
    pub zone: Option<Zone>,
    pub invoice_prefix: String,
    pub due_days: u32,
    pub reminders: Vec<u32>,
    pub issuer: Issuer,
    pub taxes: Named<Tax>,
    pub payouts: Payouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            currency: None,
            zone: None,
            invoice_prefix: INVOICE_PREFIX.to_owned(),
            due_days: DUE_DAYS,
            reminders: Vec::new(),
            issuer: Issuer::default(),
            taxes: Named::new("tax", "unknown_tax"),
            payouts: Payouts::default(),
        }
    }
}

impl Settings {
    pub fn read(root: &mut Table<'_>) -> Self {
        let mut settings = Self {
            name: root.required("name", Value::owned_text),
            currency: root.required("currency", Value::currency),
            zone: root.required("timezone", Value::zone),
            ..Self::default()
        };
        root.optional("invoice", |value| {
            value.table("invoice table", |invoice| {
                settings.invoice_prefix =
                    invoice.optional("prefix", invoice_prefix).unwrap_or(INVOICE_PREFIX.to_owned());
                settings.due_days = invoice.optional("due_after", |value| value.days(DUE_DAYS_MAX)).unwrap_or(DUE_DAYS);
                settings.reminders = invoice.optional("reminders", reminders).unwrap_or_default();
                Some(())
            })
        });
        let issuer = root.optional("issuer", |value| value.table("issuer", |table| Some(issuer(table))));
        settings.issuer = issuer.unwrap_or_default();
        root.each("tax", |value| {
            value.table("tax", |table| {
                let id = table.required("id", Some);
                let tax = tax(table, id.as_ref());
                settings.taxes.define(id, tax);
                Some(())
            })
        });
        let payouts =
            root.optional("payouts", |value| value.table("payouts table", |table| Some(payouts::read(table))));
        settings.payouts = payouts.unwrap_or_default();
        root.not_yet(&["grace", "ledger"]);
        settings
    }
}

fn tax(table: &mut Table<'_>, id: Option<&Value<'_>>) -> Option<Tax> {
    let jurisdiction = table.required("jurisdiction", Value::owned_text);
    let rate = table.required("rate", Value::percent);
    Some(Tax { id: id?.raw_text()?, jurisdiction: jurisdiction?, rate: rate? })
}

/// Days after an invoice was due, each later than the one before.
fn reminders(value: Value<'_>) -> Option<Vec<u32>> {
    let items = value.clone().items()?;
    let days = items.into_iter().map(|item| item.days(DUE_DAYS_MAX)).collect::<Option<Vec<u32>>>()?;
    if days.len() <= REMINDERS_MAX && days.is_sorted_by(|one, next| one < next) {
        return Some(days);
    }
    let message = format!("the reminders do not come one after the other, or are more than {REMINDERS_MAX}");
    value.wrong("reminders_out_of_order", message, "write them like [\"3d\", \"10d\", \"21d\"]")
}

fn issuer(table: &mut Table<'_>) -> Issuer {
    Issuer {
        name: table.optional("name", Value::owned_text).unwrap_or_default(),
        address: table.optional("address", lines).unwrap_or_default(),
        tax_id: table.optional("tax_id", Value::owned_text),
        email: table.optional("email", Value::owned_text),
        bank: table.optional("bank", lines).unwrap_or_default(),
        footer: table.optional("footer", Value::owned_text),
    }
}

fn lines(value: Value<'_>) -> Option<Vec<String>> {
    let lines: Vec<String> = value.clone().items()?.into_iter().filter_map(Value::owned_text).collect();
    if lines.len() <= ISSUER_LINES_MAX {
        return Some(lines);
    }
    let message = format!("`{}` has {} lines", value.key, lines.len());
    value.wrong("too_many_lines", message, format!("use at most {ISSUER_LINES_MAX}"))
}

fn invoice_prefix(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    if text.len() <= PREFIX_BYTES_MAX && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` cannot begin an invoice number");
    value.wrong(
        "invalid_prefix",
        message,
        format!("use up to {PREFIX_BYTES_MAX} letters, digits, `-`, `_`, `/` or `.`"),
    )
}
