//! `journal.hledger`: the journal for hledger, strict enough for `hledger check -s`.
//!
//! Accounts are named `assets:receivable:UA`: type, place in the chart, and whose or what for, which is written as in
//! the account's id. Each is declared with a comment such as `code:1100`, so that with the currency of an amount the id
//! can be put together again: `1100:UA:EUR`. Each entry has its number in parentheses, and its id, kind and key as tags.

use std::fmt::Write as _;

use crate::billing::export::journal::Journal;
use crate::billing::export::journal::signed;
use crate::billing::export::journal::slug;
use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::AccountType;
use crate::domain::money::Money;
use crate::store::journal::Booked;

/// Wide enough for most names; a longer one moves its amount to the right.
const NAME_WIDTH: usize = 48;

pub(super) fn text(journal: &Journal<'_>) -> String {
    let mut text = String::new();
    for line in journal.preamble() {
        let _ = writeln!(text, "; {line}");
    }
    text.push_str("decimal-mark .\n\n");
    for currency in journal.currencies().into_values() {
        let example = Money::from_minor(10_i64.pow(currency.exponent()) * 1000, currency).decimal();
        // Without decimals the mark still has to be there.
        let mark = if currency.exponent() == 0 { "." } else { "" };
        let _ = writeln!(text, "commodity {example}{mark} {currency}");
    }
    text.push('\n');
    for account in journal.accounts().into_values().filter_map(|mut same| same.pop_first()) {
        let tag = account_type(account).0;
        let _ = writeln!(text, "account {}  ; type:{tag}, code:{}", name(account), account.chart().code());
    }
    journal.entries.iter().for_each(|booked| write_entry(&mut text, booked));
    text
}

fn write_entry(text: &mut String, Booked { seq, entry }: &Booked) {
    let heading = entry.heading();
    let _ = writeln!(text, "\n{} * ({seq}) {}", heading.effective_on, one_line(&heading.description));
    let _ = writeln!(text, "    ; entry:{}", heading.id);
    let _ = writeln!(text, "    ; kind:{}", heading.kind);
    let _ = writeln!(text, "    ; key:{}", one_line(&heading.key));
    if let Some(reverses) = heading.reverses.as_ref().map(EntryId::as_str) {
        let _ = writeln!(text, "    ; reverses:{reverses}");
    }
    for posting in entry.postings() {
        let _ = writeln!(text, "    {:<NAME_WIDTH$}  {:>16}", name(&posting.account), signed(posting));
    }
}

fn name(account: &Account) -> String {
    let (_, root) = account_type(account);
    let leaf = account.escaped().map(|of| format!(":{of}")).unwrap_or_default();
    format!("{root}:{}{leaf}", slug(account.chart()))
}

fn account_type(account: &Account) -> (char, &'static str) {
    match account.chart().account_type() {
        AccountType::Asset => ('A', "assets"),
        AccountType::Liability => ('L', "liabilities"),
        AccountType::Income => ('R', "income"),
        AccountType::Expense => ('X', "expenses"),
    }
}

/// A description ends with its line, at a comment, and at a bar.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, ';' | '|' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
    text.chars().map(plain).collect()
}
