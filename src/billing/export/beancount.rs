//! `journal.beancount`: the journal for beancount, clean under `bean-check`.
//!
//! Accounts are named `Assets:Receivable:UA`. Beancount wants parts of letters, digits and `-` that begin with a capital
//! or a digit: an id that is not like that is written `X-` and then, for each byte that is not a letter or digit, `-` and
//! two hex digits, so `sub_42` is `X-sub-5f42` and no two ids meet. The id itself is in the metadata `of`, and the
//! place in the chart in `code`. Each entry has its number, id, kind and key as metadata.
//!
//! Beancount opens an account once, before anything is booked to it. So a sealed batch opens those that no batch before
//! it did, long before everything, for what comes late, and in any currency: include all batches in one file.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::civil::date;

use crate::billing::export::journal::Journal;
use crate::billing::export::journal::signed;
use crate::billing::export::journal::slug;
use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::AccountType;
use crate::store::journal::Booked;

const NAME_WIDTH: usize = 48;

/// Before everything that a batch can hold.
const LONG_AGO: Date = date(1900, 1, 1);

pub(super) fn text(journal: &Journal<'_>) -> String {
    let mut text = String::new();
    for line in journal.preamble() {
        let _ = writeln!(text, "; {line}");
    }
    text.push_str("option \"title\" \"Tallystick\"\n\n");
    let dates = journal.entries.iter().map(|booked| booked.entry.heading().effective_on);
    let Some(first) = dates.min() else { return text };
    let opened_on = if journal.batch.is_some() { first.min(LONG_AGO) } else { first };
    let known = journal.batch.as_ref().map(|batch| &batch.known);
    for (code, currency) in journal.currencies() {
        if known.into_iter().flatten().all(|account| account.currency() != currency) {
            let _ = writeln!(text, "{opened_on} commodity {code}");
        }
    }
    text.push('\n');
    let opened: BTreeSet<_> = known.into_iter().flatten().map(|account| (account.chart(), account.of())).collect();
    for (which, same) in journal.accounts() {
        let Some(account) = same.first().filter(|_| !opened.contains(&which)) else { continue };
        let currencies: Vec<_> = same.iter().map(|account| account.currency().code()).collect();
        let currencies = if known.is_some() { String::new() } else { format!(" {}", currencies.join(",")) };
        let _ = writeln!(text, "{opened_on} open {}{currencies}", name(account));
        let _ = writeln!(text, "  code: \"{}\"", account.chart().code());
        if let Some(of) = account.of() {
            let _ = writeln!(text, "  of: {}", quoted(of));
        }
    }
    journal.entries.iter().for_each(|booked| write_entry(&mut text, booked));
    text
}

fn write_entry(text: &mut String, Booked { seq, entry }: &Booked) {
    let heading = entry.heading();
    let _ = writeln!(text, "\n{} * {}", heading.effective_on, quoted(&heading.description));
    let _ = writeln!(text, "  number: \"{seq}\"");
    let _ = writeln!(text, "  entry: \"{}\"", heading.id);
    let _ = writeln!(text, "  kind: \"{}\"", heading.kind);
    let _ = writeln!(text, "  key: {}", quoted(&heading.key));
    if let Some(reverses) = heading.reverses.as_ref().map(EntryId::as_str) {
        let _ = writeln!(text, "  reverses: \"{reverses}\"");
    }
    for posting in entry.postings() {
        let _ = writeln!(text, "  {:<NAME_WIDTH$}  {:>16}", name(&posting.account), signed(posting));
    }
}

fn name(account: &Account) -> String {
    let root = match account.chart().account_type() {
        AccountType::Asset => "Assets",
        AccountType::Liability => "Liabilities",
        AccountType::Income => "Income",
        AccountType::Expense => "Expenses",
    };
    let slug = slug(account.chart());
    let (first, rest) = slug.split_at(1);
    let leaf = account.of().map(|of| format!(":{}", part(of))).unwrap_or_default();
    format!("{root}:{}{rest}{leaf}", first.to_uppercase())
}

/// An id as one part of an account name. Different ids make different parts.
pub(super) fn part(id: &str) -> String {
    let begins_well = id.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if begins_well && is_plain && !id.starts_with("X-") {
        return id.to_owned();
    }
    let mut part = String::from("X-");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() {
            part.push(char::from(byte));
        } else {
            let _ = write!(part, "-{byte:02x}");
        }
    }
    part
}

fn quoted(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(plain).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
