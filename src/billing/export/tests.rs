//! What is exported is read by hledger and beancount themselves.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use jiff::civil::date;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::billing::csv::harmless;
use crate::billing::export::Format;
use crate::billing::export::beancount;
use crate::billing::export::journal::Batch;
use crate::billing::export::journal::Journal;
use crate::domain::ids::EntryId;
use crate::domain::ids::ExportId;
use crate::domain::ids::InvoiceId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::chain::Head;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::entry::Heading;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::InvoiceTotals;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::journal::Booked;
use crate::store::journal::JournalHead;

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
    for posting in entries.iter().flat_map(|booked| booked.entry.postings()) {
        let amount = posting.amount.decimal();
        let signed = if posting.side == Side::Debit { amount } else { -amount };
        *balances.entry(posting.account.to_string()).or_insert(Decimal::ZERO) += signed;
    }
    balances.retain(|_, balance| !balance.is_zero());
    balances
}

const HEAD: JournalHead = JournalHead { batch: 1, last_entry: 99, head: Head::GENESIS };

/// The first two parties have one name.
fn names() -> BTreeMap<String, String> {
    let name =
        |party: &str| if PARTIES[..2].contains(&party) { format!("Air ({party})") } else { format!("\"{party}\"") };
    PARTIES.iter().map(|party| ((*party).to_owned(), name(party))).collect()
}

fn text(format: Format, entries: &[Booked]) -> String {
    format.text(&Journal { entries, head: HEAD, names: names(), batch: None }).expect("fits")
}

fn written(format: Format, entries: &[Booked]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(format.name()), text(format, entries)).expect("is written");
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
    let folder = written(Format::Hledger, &entries);
    let file = folder.path().join("journal.hledger");
    run("hledger", &["check", "-s", "-f"], &file);
    let table = run("hledger", &["bal", "--flat", "--layout=tidy", "-N", "-O", "csv", "-f"], &file);
    let journal = text(Format::Hledger, &entries);
    let codes = code_by_name(&journal);
    let mut found = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(table.as_bytes());
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
    let folder = written(Format::Beancount, &entries());
    assert_eq!(run("bean-check", &[], &folder.path().join("journal.beancount")), "");
}

#[test]
fn an_empty_journal_is_a_journal() {
    for (format, program, arguments) in
        [(Format::Hledger, "hledger", &["check", "-s", "-f"][..]), (Format::Beancount, "bean-check", &[])]
    {
        let folder = written(format, &[]);
        run(program, arguments, &folder.path().join(format.name()));
    }
    assert_eq!(text(Format::Csv, &[]).lines().count(), 1);
}

#[test]
fn the_csv_has_a_row_for_each_posting_and_they_add_up() {
    let entries = entries();
    let journal = text(Format::Csv, &entries);
    let mut reader = csv::Reader::from_reader(journal.as_bytes());
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
    assert!(PARTIES.iter().all(|party| parties.contains(&*harmless(party))));
}

/// The rows of a CSV, each by the names of its columns.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(csv.as_bytes()).deserialize().map(|row| row.expect("a row")).collect()
}

/// Sums of amounts by what `key` makes of a row, zeros left out.
fn summed<K: Ord>(
    rows: &[BTreeMap<String, String>],
    key: impl Fn(&BTreeMap<String, String>) -> K,
    amount: impl Fn(&BTreeMap<String, String>) -> Decimal,
) -> BTreeMap<K, Decimal> {
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(key(row)).or_insert(Decimal::ZERO) += amount(row);
    }
    sums.retain(|_, sum: &mut Decimal| !sum.is_zero());
    sums
}

fn decimal(row: &BTreeMap<String, String>, column: &str) -> Decimal {
    row[column].parse().unwrap_or_default()
}

#[test]
fn quickbooks_gets_entries_that_balance_and_our_balances_account_by_account() {
    let entries = entries();
    let rows = rows(&text(Format::Quickbooks, &entries));
    let moved = |row: &BTreeMap<String, String>| decimal(row, "Debits") - decimal(row, "Credits");
    assert_eq!(summed(&rows, |row| (row["JournalNo"].clone(), row["Currency"].clone()), moved), BTreeMap::new());
    for row in &rows {
        assert!(row["JournalNo"].len() <= 21, "QuickBooks cuts it off: {row:?}");
        assert!(row["Debits"].is_empty() != row["Credits"].is_empty(), "the unused side is blank: {row:?}");
        assert_eq!(
            row["AccountName"] == "Receivable",
            !row["Name"].is_empty()
                && !row["AccountName"].starts_with("Rewards")
                && !["Clawback receivable", "Prepaid credit", "Customer credit"].contains(&&*row["AccountName"]),
            "{row:?}"
        );
    }
    let days: BTreeSet<&str> = rows.iter().map(|row| &*row["JournalDate"]).collect();
    assert_eq!(days, BTreeSet::from(["01/31/2013", "02/01/2013", "02/28/2013"]));
    let names = names();
    let mut ours = BTreeMap::new();
    for (account, balance) in balances(&entries) {
        let account = Account::parse(&account).expect("an account");
        let sub = account.purpose().and(account.escaped()).map(|of| format!(":{of}")).unwrap_or_default();
        let name = account.party().map(|party| names.get(party).map_or(party, String::as_str)).unwrap_or_default();
        let key = (format!("{}{sub}", account.chart().name()), name.to_owned(), account.currency().code().to_owned());
        *ours.entry(key).or_insert(Decimal::ZERO) += balance;
    }
    let key =
        |row: &BTreeMap<String, String>| (row["AccountName"].clone(), row["Name"].clone(), row["Currency"].clone());
    assert_eq!(summed(&rows, key, moved), ours);
}

#[test]
fn xero_gets_journals_that_come_to_nothing_and_our_balances_by_code_and_tracking() {
    let entries = entries();
    let rows = rows(&text(Format::Xero, &entries));
    let amount = |row: &BTreeMap<String, String>| decimal(row, "*Amount");
    let journal = |row: &BTreeMap<String, String>| (row["*Narration"].clone(), row["*Date"].clone());
    assert_eq!(summed(&rows, journal, amount), BTreeMap::new());
    assert!(rows.iter().all(|row| !amount(row).is_zero() && row["*TaxRate"] == "Tax Exempt"));
    let mut ours = BTreeMap::new();
    for (account, balance) in balances(&entries) {
        let account = Account::parse(&account).expect("an account");
        let of = |of: Option<&str>| harmless(of.unwrap_or_default()).into_owned();
        let (code, currency) = (account.chart().code().to_string(), account.currency().code().to_owned());
        ours.insert((code, of(account.party()), of(account.purpose()), currency), balance);
    }
    let key = |row: &BTreeMap<String, String>| {
        let currency = row["*Narration"].rsplit('-').next().expect("a currency").to_owned();
        (row["*AccountCode"].clone(), row["TrackingOption1"].clone(), row["TrackingOption2"].clone(), currency)
    };
    assert_eq!(summed(&rows, key, amount), ours);
}

/// The entries in two batches, the second with one that is dated before everything in the first.
fn batches(format: Format) -> [String; 2] {
    let mut entries = entries();
    let late = entries.remove(0);
    let second: Vec<Booked> = [late].into_iter().chain(entries.split_off(30)).collect();
    let made = |number: i64, entries: &[Booked], known: BTreeSet<Account>| {
        let id = ExportId::derive(Instant::from_micros(0), &[&number.to_string()]);
        let batch = Some(Batch { id, number, through: date(2013, 2, 28), known });
        format.text(&Journal { entries, head: HEAD, names: names(), batch }).expect("fits")
    };
    let known = entries.iter().flat_map(|booked| booked.entry.postings()).map(|posting| posting.account.clone());
    [made(1, &entries, BTreeSet::new()), made(2, &second, known.collect())]
}

#[test]
fn beancount_and_hledger_take_all_batches_together() {
    for (format, program, arguments) in
        [(Format::Hledger, "hledger", &["check", "-s", "-f"][..]), (Format::Beancount, "bean-check", &[])]
    {
        let folder = tempfile::tempdir().expect("a folder");
        for (number, text) in batches(format).iter().enumerate() {
            assert!(text.contains(&format!("; Batch {} (exp_", number + 1)), "{text:.300}");
            std::fs::write(folder.path().join(number.to_string()), text).expect("is written");
        }
        let main = folder.path().join("main");
        let include = |file: &str| match format {
            Format::Beancount => format!("include \"{file}\"\n"),
            _ => format!("include {file}\n"),
        };
        std::fs::write(&main, ["0", "1"].map(include).concat()).expect("is written");
        run(program, arguments, &main);
    }
}

#[test]
fn batches_never_share_a_reference() {
    for (format, column) in [(Format::Quickbooks, "JournalNo"), (Format::Xero, "*Narration")] {
        let references = batches(format).map(|text| -> BTreeSet<String> {
            rows(&text).into_iter().filter_map(|mut row| row.remove(column)).collect()
        });
        assert!(references[0].is_disjoint(&references[1]), "{references:?}");
    }
}

#[test]
fn an_entry_reads_well_in_each_format() {
    let booked = Booked { seq: 12, entry: invoice("INV-7", "sub_42", money(1000, "EUR"), money(210, "EUR")) };
    let end = |format: Format| {
        let text = text(format, std::slice::from_ref(&booked));
        let from = text.find("\n2013-01-31 * ").expect("an entry");
        text[from + 1..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (id, key) = (booked.entry.id(), &booked.entry.heading().key);
    assert_eq!(
        end(Format::Hledger),
        format!(
            "2013-01-31 * (12) Invoice INV-7 to sub_42 ; entry:{id} ; kind:invoice_finalized ; key:{key} \
             assets:receivable:sub_42 12.10 EUR liabilities:tax-payable:NL -2.10 EUR \
             income:usage-revenue:miles_flown -10.00 EUR"
        )
    );
    assert_eq!(
        end(Format::Beancount),
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
