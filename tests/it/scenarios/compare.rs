//! Compares the documents of a scenario with what it expects. Only what is named is compared.
//!
//! Ours say some of it otherwise. What is not used of a fee in advance is a line below zero on the next invoice, where others
//! write a credit note or keep a credit in an account: then subtotal and tax are those of the other lines, and an invoice of
//! less than nothing is one of nothing with the rest as a balance. What a minimum adds to a charge is a step of its line. An
//! invoice of nothing is not made.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use serde_json::Value;

use crate::scenarios::book;
use crate::scenarios::documents::Invoice;
use crate::scenarios::documents::Kind;
use crate::scenarios::documents::Line;
use crate::scenarios::documents::Occasion;
use crate::scenarios::documents::Statement;
use crate::scenarios::list;
use crate::scenarios::play::Played;
use crate::scenarios::text;

/// A line as the cases speak of one.
struct Entry {
    /// The local day on which its invoice is due.
    day: String,
    kind: &'static str,
    code: String,
    dimensions: BTreeMap<String, String>,
    from: Timestamp,
    to: Timestamp,
    quantity: Decimal,
    amount: Decimal,
    tax: Decimal,
    matched: bool,
}

struct Bill {
    day: String,
    entries: Vec<Entry>,
    /// With what is credited.
    total: Decimal,
}

struct Terms {
    zone: TimeZone,
    /// Of the currency.
    decimals: u32,
    /// In percent.
    rate: Decimal,
    /// Whether credits are lines, and not documents of their own.
    credits_are_lines: bool,
}

pub fn differences(case: &Value, expected: &Value, played: &Played) -> Vec<String> {
    let rules = &case["parameters"]["rules"];
    let terms = Terms {
        zone: book::zone(case),
        decimals: book::decimals(case),
        rate: book::tax_rate(case).map_or(Decimal::ZERO, |rate| Decimal::from_str_exact(rate).expect("a rate")),
        credits_are_lines: rules["credit_unused"] == "account_credit" || rules["proration_unit"] == "second",
    };
    let last_day_is_used = rules["termination_day"] == "used";
    let mut bills: Vec<Bill> = played
        .invoices
        .iter()
        .map(|invoice| {
            let ends_at = played.subscriptions.iter().find(|other| other.id == invoice.subscription);
            let is_last = ends_at.is_some_and(|subscription| subscription.ends_at == Some(invoice.period.to));
            terms.bill(invoice, is_last && last_day_is_used)
        })
        .collect();
    let mut found: Vec<String> = played.not_verified.iter().map(|what| format!("verify: {what}")).collect();
    for flat in list(&expected["lines"]) {
        terms.line(flat, bills.iter_mut().flat_map(|bill| &mut bill.entries).collect(), &mut found);
    }
    commitments(expected, &bills, &mut found);
    credit_notes(expected, &terms, &bills, &mut found);
    so_far(expected, &terms, &played.so_far, &mut found);
    account_credit(expected, &bills, &mut found);
    outstanding(case, expected, played, &mut found);
    for invoice in list(&expected["invoices"]) {
        terms.invoice(invoice, &mut bills, &mut found);
    }
    let said = !list(&expected["invoices"]).is_empty();
    for bill in bills.iter().filter(|_| said && expected["complete"] == true) {
        if bill.entries.iter().any(|entry| terms.is_on_invoice(entry) && !entry.amount.is_zero()) {
            found.push(format!("there is another invoice of {}: {}", bill.day, shown(&bill.entries)));
        }
    }
    found
}

impl Terms {
    fn day(&self, at: Timestamp) -> String {
        self.zone.to_datetime(at).date().to_string()
    }

    /// As every amount is: once, half away from zero.
    fn round(&self, exact: Decimal) -> Decimal {
        exact.round_dp_with_strategy(self.decimals, MidpointAwayFromZero)
    }

    fn tax_on(&self, amount: Decimal) -> Decimal {
        self.round(amount * self.rate / Decimal::ONE_HUNDRED)
    }

    fn bill(&self, invoice: &Invoice, last_day_is_used: bool) -> Bill {
        let due_at = match invoice.occasion {
            // Where its fees begin, after a trial.
            Occasion::Opening => invoice.lines.iter().map(|line| line.period.from).min().unwrap_or(invoice.period.from),
            Occasion::Closing if last_day_is_used => invoice.period.to - 1.microsecond(),
            Occasion::Closing => invoice.period.to,
        };
        let day = self.day(due_at);
        let entries = invoice.lines.iter().flat_map(|line| self.entries(line, &day)).collect();
        Bill { day, entries, total: invoice.total }
    }

    /// The entries of a line: a matrix has one for each rate, and what a minimum adds is one of its own.
    fn entries(&self, line: &Line, day: &str) -> Vec<Entry> {
        let mut parts = line.component.splitn(3, '.');
        let (kind, plan, code) = (parts.next(), parts.next(), parts.next());
        let is_credit = line.step("credit").is_some();
        let (kind, code) = match (kind, &line.kind) {
            (_, Kind::Minimum) => ("commitment", line.description.trim_start_matches("Minimum of ")),
            (Some("base"), _) if is_credit => ("credit", plan.expect("names its plan")),
            (Some("base"), _) => ("base", plan.expect("names its plan")),
            (Some("fixed"), _) if is_credit => ("credit", code.expect("has a code")),
            (Some("fixed"), _) => ("fixed", code.expect("has a code")),
            (_, _) => ("usage", code.expect("has a code")),
        };
        let entry = |kind, dimensions: &BTreeMap<String, String>, quantity, amount| Entry {
            day: day.to_owned(),
            kind,
            code: code.to_owned(),
            dimensions: dimensions.clone(),
            from: line.period.from,
            to: line.period.to,
            quantity,
            amount,
            tax: self.tax_on(amount),
            matched: false,
        };
        let raised = line.step("minimum").filter(|_| line.kind == Kind::Charge);
        let used = raised.map_or(line.amount, |step| self.round(step.before));
        let rates = line.step("price").map_or(&[][..], |step| &step.tiers).iter();
        let mut entries: Vec<Entry> = rates
            .filter_map(|rate| Some(entry(kind, &dimensions(&rate.label)?, rate.units, self.round(rate.amount))))
            .collect();
        if entries.is_empty() {
            entries.push(entry(kind, &line.dimensions, line.quantity, used));
        }
        if raised.is_some() {
            entries.push(entry("true_up", &BTreeMap::new(), Decimal::ONE, line.amount - used));
        }
        entries
    }

    fn is_on_invoice(&self, entry: &Entry) -> bool {
        self.credits_are_lines || entry.kind != "credit"
    }

    fn invoice(&self, expected: &Value, bills: &mut Vec<Bill>, found: &mut Vec<String>) {
        let lines = list(&expected["lines"]);
        let day = text(&expected["issued_at"]);
        let Some(place) = bills.iter().position(|bill| bill.day == day) else {
            if is_zero(&expected["subtotal"]) && lines.iter().all(|line| is_zero(&line["amount"])) {
                return;
            }
            let days: Vec<&str> = bills.iter().map(|bill| bill.day.as_str()).collect();
            found.push(format!("no invoice of {day}, there are {}", days.join(", ")));
            return;
        };
        let mut bill = bills.remove(place);
        for line in lines {
            let entries = bill.entries.iter_mut().filter(|entry| self.is_on_invoice(entry)).collect();
            self.line(line, entries, found);
        }
        let unnamed: Vec<&Entry> =
            bill.entries.iter().filter(|entry| !entry.matched && !entry.amount.is_zero()).collect();
        for entry in unnamed.into_iter().filter(|entry| !lines.is_empty() && self.is_on_invoice(entry)) {
            found.push(format!("invoice of {day}: another line {}", one_shown(entry)));
        }
        let on_it = || bill.entries.iter().filter(|entry| self.is_on_invoice(entry));
        let noted = || bill.entries.iter().filter(|entry| !self.is_on_invoice(entry));
        let (subtotal, tax) =
            (on_it().map(|entry| entry.amount).sum::<Decimal>(), on_it().map(|entry| entry.tax).sum::<Decimal>());
        let credit = -noted().map(|entry| entry.amount + entry.tax).sum::<Decimal>();
        let total = bill.total;
        let mut is = |name: &str, computed: Decimal| {
            differs(&expected[name], computed, &format!("invoice of {day}: {name}"), found)
        };
        is("subtotal", subtotal);
        is("tax", tax);
        is("credit_notes", credit.min(subtotal + tax));
        is("discount", Decimal::ZERO);
        let account_credit = decimal(&expected["account_credit"]).unwrap_or_default();
        is("total", if self.credits_are_lines { total - account_credit } else { total.max(Decimal::ZERO) });
        is_same(subtotal + tax - credit, total, found, &format!("invoice of {day}: the sum of its lines"));
    }

    /// Finds the line that is meant, and compares it.
    fn line(&self, expected: &Value, mut entries: Vec<&mut Entry>, found: &mut Vec<String>) {
        let dimensions = expected["dimensions"].as_object().map(|values| {
            values.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect::<BTreeMap<_, _>>()
        });
        let is_meant = |entry: &Entry| {
            !entry.matched
                && entry.kind == text(&expected["type"])
                && entry.code == text(&expected["code"])
                && dimensions.as_ref().is_none_or(|dimensions| *dimensions == entry.dimensions)
                && expected["at"].as_str().is_none_or(|day| day == entry.day)
        };
        let said = |what: &str| format!("{what} of {} {}", text(&expected["type"]), text(&expected["code"]));
        // What a source takes off a line is a line of ours.
        let credited: Decimal = entries
            .iter_mut()
            .filter(|entry| {
                entry.kind == "credit" && entry.code == text(&expected["code"]) && entry.kind != expected["type"]
            })
            .filter(|entry| expected["adjusted"] == true && expected["at"].as_str().is_none_or(|day| day == entry.day))
            .map(|entry| entry.amount)
            .sum();
        let meant = entries.iter().position(|entry| is_meant(entry) && is_amount(&expected["amount"], entry.amount));
        let Some(place) = meant.or_else(|| entries.iter().position(|entry| is_meant(entry))) else {
            if !is_zero(&expected["amount"]) {
                found.push(format!(
                    "no {expected}, there are {}",
                    entries.iter().map(|entry| one_shown(entry)).collect::<Vec<_>>().join(", ")
                ));
            }
            return;
        };
        let entry = &mut entries[place];
        entry.matched = true;
        differs(&expected["amount"], entry.amount + credited, &said("amount"), found);
        differs(&expected["tax"], entry.tax, &said("tax"), found);
        differs(&expected["quantity"], entry.quantity, &said("quantity"), found);
        for (name, computed) in [("start", entry.from), ("end", entry.to)] {
            let Some(expected) = expected["period"][name].as_str() else { continue };
            let is_same = match expected.parse::<Timestamp>() {
                Ok(expected) => expected == computed,
                Err(_) => self.day(computed) == expected,
            };
            if !is_same {
                found.push(format!("{}: expected {expected}, got {computed}", said(name)));
            }
        }
    }
}

fn commitments(expected: &Value, bills: &[Bill], found: &mut Vec<String>) {
    if expected["commitment_lines"].is_array() {
        let entries = bills.iter().flat_map(|bill| &bill.entries).filter(|entry| entry.kind == "commitment");
        let computed: Vec<Decimal> = entries.map(|entry| entry.amount).collect();
        let listed: Vec<Decimal> = list(&expected["commitment_lines"]).iter().filter_map(decimal).collect();
        if computed != listed {
            found.push(format!("commitments: expected {listed:?}, got {computed:?}"));
        }
    }
}

/// One for each invoice that takes something back.
fn credit_notes(expected: &Value, terms: &Terms, bills: &[Bill], found: &mut Vec<String>) {
    let listed = list(&expected["credit_notes"]);
    let of_bill = |bill: &Bill| {
        let credits = || bill.entries.iter().filter(|entry| !terms.is_on_invoice(entry));
        let (subtotal, tax) =
            (-credits().map(|entry| entry.amount).sum::<Decimal>(), -credits().map(|entry| entry.tax).sum::<Decimal>());
        (subtotal, tax, (-bill.total).max(Decimal::ZERO))
    };
    let computed: Vec<_> = bills.iter().map(of_bill).filter(|(subtotal, _, _)| !subtotal.is_zero()).collect();
    if !listed.is_empty() && listed.len() != computed.len() {
        found.push(format!("credit notes: expected {}, got {computed:?}", listed.len()));
    }
    for (expected, (subtotal, tax, left)) in listed.iter().zip(computed) {
        // Nothing of it is given back while something is owed: it becomes credit.
        let (total, refund) = (subtotal + tax, Decimal::ZERO);
        for (name, computed) in [
            ("subtotal", subtotal),
            ("tax", tax),
            ("total", total),
            ("credit", total),
            ("refund", refund),
            ("balance_after", left),
        ] {
            differs(&expected[name], computed, &format!("credit note: {name}"), found);
        }
    }
}

/// What is used so far, without fees.
fn so_far(expected: &Value, terms: &Terms, statements: &[Statement], found: &mut Vec<String>) {
    for (expected, statement) in list(&expected["current_usage"]).iter().zip(statements) {
        let used = || statement.charges.iter().filter(|line| line.kind == Kind::Charge).map(|line| line.amount);
        let (amount, tax): (Decimal, Decimal) = (used().sum(), used().map(|amount| terms.tax_on(amount)).sum());
        let fees = statement.charges.iter().filter(|line| line.kind != Kind::Charge);
        let tax_on_fees: Decimal = fees.map(|line| terms.tax_on(line.amount)).sum();
        let said = |name: &str| format!("{name} used by {}", text(&expected["at"]));
        differs(&expected["amount"], amount, &said("amount"), found);
        differs(&expected["tax"], tax, &said("tax"), found);
        differs(&expected["total"], amount + tax, &said("total"), found);
        is_same(tax + tax_on_fees, statement.tax, found, &said("tax of lines"));
    }
}

/// What invoices of less than nothing leave for those after them.
fn account_credit(expected: &Value, bills: &[Bill], found: &mut Vec<String>) {
    let left = bills.iter().fold(Decimal::ZERO, |left, bill| (left - bill.total).max(Decimal::ZERO));
    differs(&expected["account_credit_balance"], left, "credit left", found);
}

/// What is owed once a consumer has paid: the sums of all invoices, less that, and what is given back.
fn outstanding(case: &Value, expected: &Value, played: &Played, found: &mut Vec<String>) {
    let paid = list(&case["input"]["timeline"]).iter().filter(|event| event["action"] == "pay");
    let paid: Vec<Decimal> = paid.filter_map(|event| decimal(&event["amount"])).collect();
    if !paid.is_empty() {
        let invoiced: Decimal = list(&expected["invoices"]).iter().filter_map(|one| decimal(&one["total"])).sum();
        let owed = played.invoices.iter().map(|invoice| invoice.outstanding).sum();
        is_same(invoiced - paid.into_iter().sum::<Decimal>(), owed, found, "outstanding");
    }
}

/// The values that a matrix names: `region us, cloud aws`.
fn dimensions(label: &str) -> Option<BTreeMap<String, String>> {
    match label {
        "" => None,
        "any other" => Some(BTreeMap::new()),
        _ if label.starts_with("without") => None,
        _ => label
            .split(", ")
            .map(|part| part.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect(),
    }
}

fn decimal(value: &Value) -> Option<Decimal> {
    value.as_str().map(|text| Decimal::from_str_exact(text).expect("a decimal"))
}

fn is_amount(expected: &Value, amount: Decimal) -> bool {
    decimal(expected).is_none_or(|expected| expected == amount)
}

fn is_zero(value: &Value) -> bool {
    decimal(value).is_none_or(|value| value.is_zero())
}

fn differs(expected: &Value, computed: Decimal, what: &str, found: &mut Vec<String>) {
    if let Some(expected) = decimal(expected) {
        is_same(expected, computed, found, what);
    }
}

fn is_same(expected: Decimal, computed: Decimal, found: &mut Vec<String>, what: &str) {
    if expected != computed {
        found.push(format!("{what}: expected {expected}, got {computed}"));
    }
}

fn one_shown(entry: &Entry) -> String {
    format!("{} {} {} {}", entry.day, entry.kind, entry.code, entry.amount)
}

fn shown(entries: &[Entry]) -> String {
    entries.iter().map(one_shown).collect::<Vec<_>>().join(", ")
}
