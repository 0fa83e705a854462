//! What is exported is read by hledger and beancount themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use jiff::civil::date;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::domain::ids::EntryId;
use crate::domain::ids::InvoiceId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::entry::Heading;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::InvoiceTotals;
use crate::domain::money::Money;
use crate::domain::time::Instant;

/// Ids that would break a format, and pairs that would meet if they were only cleaned.
const PARTIES: [&str; 14] = [
    "UA",
    "sub_42",
    "Sub_42",
    "X-sub-5f42",
    "x-sub-5f42",
    "a:b",
    "a b",
    "a  b",
    "é",
    "=1+1",
    "\"q\\",
    "; no comment",
    "(x)",
    "1",
];

fn money(minor: i64, code: &str) -> Money {
    Money::from_minor(minor, Currency::from_code(code).expect("a currency"))
}

fn invoice(number: &str, party: &str, net: Money, tax: Money) -> Entry {
    let id = InvoiceId::derive(Instant::from_micros(0), &[number]);
    let totals = InvoiceTotals { id: &id, number, party, net: vec![("miles_flown", net)], tax: vec![("NL", tax)] };
    let dates = Dates { effective_on: date(2013, 1, 31), recorded_at: Instant::from_micros(1_360_000_000_000_000) };
    templates::invoice_finalized(&totals, dates).expect("balances").expect("owes something")
}

/// An invoice in four currencies to every party, the void of the first, and an account of every place in the chart.
fn entries() -> Vec<Booked> {
    let mut entries = Vec::new();
    for (at, party) in PARTIES.into_iter().enumerate() {
        for (minor, code) in [(123_456, "EUR"), (99_999_999, "JPY"), (1_234, "KWD"), (-5, "USD")] {
            let number = format!("INV-{at}-{code}; \"|\n");
            entries.push(invoice(&number, party, money(minor + at as i64, code), money(1, code)));
        }
    }
    let id = InvoiceId::parse("inv_1").expect("an id");
    let dates = Dates { effective_on: date(2013, 2, 1), recorded_at: Instant::from_micros(1_360_000_000_000_001) };
    entries.push(templates::invoice_voided(&id, &entries[0], dates));
    entries.push(whole_chart());
    (1..).zip(entries).map(|(seq, entry)| Booked { seq, entry }).collect()
}

fn whole_chart() -> Entry {
    let amount = money(7, "EUR");
    let bank = Account::new(Chart::Bank, None, amount.currency()).expect("an account");
    let postings = Chart::ALL.into_iter().flat_map(|chart| {
        let of = chart.dimension().map(|_| "of_it");
        let account = Account::new(chart, of, amount.currency()).expect("an account");
        [Posting { account, side: Side::Debit, amount }, Posting { account: bank.clone(), side: Side::Credit, amount }]
    });
    let recorded_at = Instant::from_micros(1_360_000_000_000_002);
    let heading = Heading {
        id: EntryId::derive(recorded_at, &["chart"]),
        kind: EntryKind::InvoiceFinalized,
        key: "chart".to_owned(),
        effective_on: date(2013, 2, 28),
        recorded_at,
        description: "Everything".to_owned(),
        reverses: None,
    };
    Entry::new(heading, postings.collect()).expect("balances")
}

/// Debits less credits by account id, zeros left out.
fn balances(entries: &[Booked]) -> BTreeMap<String, Decimal> {
    let mut balances = BTreeMap::new();
    for posting in postings(entries) {
        let amount = posting.amount.decimal();
        let signed = if posting.side == Side::Debit { amount } else { -amount };
        *balances.entry(posting.account.to_string()).or_insert(Decimal::ZERO) += signed;
    }
    balances.retain(|_, balance| !balance.is_zero());
    balances
}

fn written(kind: Kind, entries: &[Booked]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(kind.name()), kind.text(entries)).expect("is written");
    folder
}

fn run(program: &str, arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).arg(file).env("LC_ALL", "C.UTF-8").output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} is needed (apt-get install hledger beancount): {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The account id of an hledger name and a currency, by what the export declares.
fn code_by_name(text: &str) -> BTreeMap<&str, &str> {
    let declared = text.lines().filter_map(|line| line.strip_prefix("account ")?.split_once("  ; "));
    declared.filter_map(|(name, tags)| Some((name, tags.split_once("code:")?.1))).collect()
}

#[test]
fn hledger_accepts_the_journal_and_finds_our_balances_account_by_account() {
    let entries = entries();
    let folder = written(Kind::JournalHledger, &entries);
    let file = folder.path().join("journal.hledger");
    run("hledger", &["check", "-s", "-f"], &file);
    let table = run("hledger", &["bal", "--flat", "--layout=tidy", "-N", "-O", "csv", "-f"], &file);
    let text = Kind::JournalHledger.text(&entries);
    let codes = code_by_name(&text);
    let mut found = BTreeMap::new();
    let mut reader = ::csv::Reader::from_reader(table.as_bytes());
    for row in reader.records().map(|row| row.expect("a row")) {
        let (name, currency, value) = (&row[0], &row[row.len() - 2], &row[row.len() - 1]);
        let of = name.splitn(3, ':').nth(2).map(|of| format!("{of}:")).unwrap_or_default();
        let value = Decimal::from_str_exact(value).expect("an amount");
        if !value.is_zero() {
            found.insert(format!("{}:{of}{currency}", codes[name]), value);
        }
    }
    assert_eq!(found, balances(&entries));
}

#[test]
fn beancount_accepts_the_journal() {
    let folder = written(Kind::JournalBeancount, &entries());
    assert_eq!(run("bean-check", &[], &folder.path().join("journal.beancount")), "");
}

#[test]
fn an_empty_journal_is_a_journal() {
    for (kind, program, arguments) in
        [(Kind::JournalHledger, "hledger", &["check", "-s", "-f"][..]), (Kind::JournalBeancount, "bean-check", &[])]
    {
        let folder = written(kind, &[]);
        run(program, arguments, &folder.path().join(kind.name()));
    }
    assert_eq!(Kind::JournalCsv.text(&[]).lines().count(), 1);
}

#[test]
fn the_csv_has_a_row_for_each_posting_and_they_add_up() {
    let entries = entries();
    let text = Kind::JournalCsv.text(&entries);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("columns").clone();
    let at = |name: &str| columns.iter().position(|column| column == name).expect("a column");
    let mut found: BTreeMap<String, Decimal> = BTreeMap::new();
    let mut parties = BTreeSet::new();
    for row in reader.records().map(|row| row.expect("a row")) {
        let amount = |column: &str| row[at(column)].parse::<Decimal>().unwrap_or_default();
        *found.entry(row[at("account")].to_owned()).or_default() += amount("debit") - amount("credit");
        parties.insert(row[at("party")].to_owned());
    }
    found.retain(|_, balance| !balance.is_zero());
    assert_eq!(found, balances(&entries));
    assert!(PARTIES.iter().all(|party| parties.contains(*party)));
}

#[test]
fn an_entry_reads_well_in_each_format() {
    let booked = Booked { seq: 12, entry: invoice("INV-7", "sub_42", money(1000, "EUR"), money(210, "EUR")) };
    let end = |kind: Kind| {
        let text = kind.text(std::slice::from_ref(&booked));
        let from = text.find("\n2013-01-31 * ").expect("an entry");
        text[from + 1..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (id, key) = (booked.entry.id(), &booked.entry.heading().key);
    assert_eq!(
        end(Kind::JournalHledger),
        format!(
            "2013-01-31 * (12) Invoice INV-7 to sub_42 ; entry:{id} ; kind:invoice_finalized ; key:{key} \
             assets:receivable:sub_42 12.10 EUR liabilities:tax-payable:NL -2.10 EUR \
             income:usage-revenue:miles_flown -10.00 EUR"
        )
    );
    assert_eq!(
        end(Kind::JournalBeancount),
        format!(
            "2013-01-31 * \"Invoice INV-7 to sub_42\" number: \"12\" entry: \"{id}\" kind: \"invoice_finalized\" \
             key: \"{key}\" Assets:Receivable:X-sub-5f42 12.10 EUR Liabilities:Tax-payable:NL -2.10 EUR \
             Income:Usage-revenue:X-miles-5fflown -10.00 EUR"
        )
    );
}

proptest! {
    /// Two ids never become the same part of a beancount account, and every part is one that beancount takes.
    #[test]
    fn beancount_parts_stay_apart(one in "(X-)?[a-zA-Z0-9_é -]{0,4}", other in "(X-)?[a-zA-Z0-9_é -]{0,4}") {
        let (first, second) = (beancount::part(&one), beancount::part(&other));
        prop_assert_eq!(one == other, first == second);
        prop_assert!(first.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()));
        prop_assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }
}
