//! `[payouts]` of `book.toml`.

use std::collections::BTreeMap;

use crate::domain::bank::BankAccount;
use crate::domain::bank::Bic;
use crate::domain::bank::Iban;
use crate::domain::bank::NotAnAccount;
use crate::domain::book::parse::plans::INTERVALS;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::payouts::Payouts;
use crate::domain::money::Currency;
use crate::domain::money::Money;

pub fn read(table: &mut Table<'_>) -> Payouts {
    Payouts {
        schedule: table.optional("schedule", |value| value.one_of(&INTERVALS, &[])),
        threshold: table.optional("threshold", thresholds).unwrap_or_default(),
        debtor: table.optional("debtor", |value| value.table("debtor", debtor)),
        net_invoices: table.optional("net_invoices", Value::flag).unwrap_or_default(),
    }
}

fn thresholds(value: Value<'_>) -> Option<BTreeMap<String, Money>> {
    value.pairs()?.into_iter().map(threshold).collect()
}

fn threshold(pair: Value<'_>) -> Option<(String, Money)> {
    let Some(currency) = Currency::from_code(pair.key) else {
        let message = format!("`{}` is not a currency", pair.key);
        return pair.wrong("unknown_currency", message, "use an ISO 4217 code such as EUR or USD");
    };
    let amount = pair.money(Some(currency))?;
    Some((currency.code().to_owned(), Money::round(amount, currency).ok()?))
}

fn debtor(table: &mut Table<'_>) -> Option<BankAccount> {
    let name = table.required("name", Value::owned_text);
    let iban = table.required("iban", |value| account_part(value, Iban::parse));
    let bic = table.optional_exact("bic", |value| account_part(value, Bic::parse));
    Some(BankAccount { name: name?, iban: iban?, bic: bic? })
}

fn account_part<T>(value: Value<'_>, parse: fn(&str) -> Result<T, NotAnAccount>) -> Option<T> {
    let text = value.clone().text()?;
    match parse(text) {
        Ok(part) => Some(part),
        Err(why) => value.wrong("invalid_account", why.to_string(), "copy it from a statement of the bank"),
    }
}
