//! The exported journal: read by two programs that know nothing of ours, and equal to our own trial balance.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::money;
use crate::support::server::Server;

crate::support::both_engines!(
    hledger_and_beancount_accept_the_journal_and_agree_with_the_trial_balance,
    the_same_journal_comes_from_the_command_line_and_over_http,
);

/// Two airlines and one consumer whose id is everything that a file format dislikes.
pub const CONSUMERS: [&str; 3] = ["9E", "UA", "acme south:\"näh\"; (x) 100%"];

/// Account code, whose or what for → debit less credit, in cents.
pub type Balances = BTreeMap<(String, String), i64>;

/// A server on which three consumers have been charged, taxed and rewarded for two months.
pub fn billed(engine: Engine) -> (Server, Book) {
    let (server, book) = flown(engine);
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    (server, book)
}

/// A server on which three consumers have flown for two months, and nothing is closed.
pub fn flown(engine: Engine) -> (Server, Book) {
    let zone = "timezone = \"America/New_York\"\n";
    let taxed = format!("{zone}\n[[tax]]\nid = \"ny\"\njurisdiction = \"US-NY\"\nrate = \"8.875\"\n");
    let book = Book::flights().with("book.toml", zone, &taxed);
    let server = Server::start(engine, book.path());
    let mut events = String::new();
    for (number, consumer) in CONSUMERS.iter().enumerate() {
        for month in ["01", "02"] {
            for flight in 0..=number {
                let event = json!({
                    "specversion": "1.0", "id": format!("{consumer} {month} {flight}"), "source": "/tests",
                    "type": "flight.completed", "subject": consumer, "time": format!("2013-{month}-15T12:00:00Z"),
                    "data": { "origin": "EWR", "distance": 777, "dep_delay": 0, "arr_delay": -1 },
                });
                events.push_str(&format!("{event}\n"));
            }
        }
    }
    server.events(&events).ok();
    for consumer in CONSUMERS {
        let account = json!({ "name": format!("\"{consumer}\"\n; Inc."), "currency": "USD", "tax": "ny" });
        server.put(&format!("/v1/consumers/{}", percent_encoded(consumer)), &account).ok();
        let subscription = json!({ "consumer": consumer, "plan": "airline", "start": "2013-01-01" });
        server.post("/v1/subscriptions", &subscription).ok();
    }
    (server, book)
}

pub fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn export(server: &Server, kind: &str) -> String {
    let reply = server.get(&format!("/v1/exports/{kind}?from=2013-01-01&to=2100-01-01"));
    assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
    String::from_utf8(reply.body).expect("an export is text")
}

/// Runs a program on a file, and returns what it prints once it has accepted it.
#[track_caller]
fn accepted(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("these tests need {program}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}:\n{stdout}\n{stderr}");
    assert!(stderr.trim().is_empty(), "{program} {arguments:?} warns:\n{stderr}");
    stdout.into_owned()
}

fn hledger_and_beancount_accept_the_journal_and_agree_with_the_trial_balance(engine: Engine) {
    let (server, _book) = billed(engine);
    let ours = trial_balance(&server);
    // Three receivables, three payables, three components' revenue at most, the program, and the tax.
    assert!(ours.len() >= 9, "{ours:?}");
    let tax = ours.iter().find(|((code, _), _)| code == "2200").map(|(_, cents)| *cents);
    assert!(tax.is_some_and(|cents| cents < 0), "tax is owed: {ours:?}");

    let folder = server.data.folder();
    let hledger = folder.join("journal.hledger");
    let journal = export(&server, "journal.hledger");
    std::fs::write(&hledger, &journal).expect("a file");
    accepted("hledger", &["check", "-s", "-f"], &hledger);
    let balances = accepted("hledger", &["bal", "--flat", "-N", "-E", "-O", "csv", "-f"], &hledger);
    assert_eq!(balances_by(&balances, &hledger_accounts(&journal)), ours);

    let beancount = folder.join("journal.beancount");
    let journal = export(&server, "journal.beancount");
    std::fs::write(&beancount, &journal).expect("a file");
    accepted("bean-check", &[], &beancount);
    let query = "select account, sum(position) group by account";
    let balances = Command::new("bean-query").args(["-q", "-f", "csv"]).arg(&beancount).arg(query).output();
    let balances = balances.expect("bean-query comes with beancount").stdout;
    assert_eq!(balances_by(&String::from_utf8_lossy(&balances), &beancount_accounts(&journal)), ours);
}

fn the_same_journal_comes_from_the_command_line_and_over_http(engine: Engine) {
    let (mut server, _book) = billed(engine);
    let kinds = ["journal.csv", "journal.hledger", "journal.beancount"];
    let over_http: Vec<String> = kinds.iter().map(|kind| export(&server, kind)).collect();
    let ours = trial_balance(&server);
    assert_eq!(csv_balances(&over_http[0]), ours);

    server.stop();
    for (kind, expected) in kinds.iter().zip(&over_http) {
        let file = server.data.folder().join(format!("exported.{kind}"));
        let path = file.display().to_string();
        server.data.run(&["export", kind, "--from", "2013-01-01", "--to", "2100-01-01", "-o", &path]).done();
        assert_eq!(&std::fs::read_to_string(&file).expect("an export"), expected, "{kind}");
    }
    let to_stdout = server.data.run(&["export", "journal.csv", "--from", "2013-01-01", "--to", "2100-01-01"]);
    assert_eq!(to_stdout.done(), over_http[0]);
}

/// Our own trial balance.
fn trial_balance(server: &Server) -> Balances {
    trial_balance_at(server, "9999-01-01")
}

/// Our own trial balance at the end of a day.
pub fn trial_balance_at(server: &Server, day: &str) -> Balances {
    let answer = server.get(&format!("/v1/ledger/trial-balance?at={day}")).ok();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let cents = |side: &str| money::read(&text(side)).unwrap_or_else(|| panic!("{side}: {row}"));
        ((text("account"), text("party") + &text("purpose")), cents("debit") - cents("credit"))
    };
    answer["accounts"].as_array().expect("rows").iter().map(row).collect()
}

/// What an account is called in a file → its code, and whose or what for.
type Names = BTreeMap<String, (String, String)>;

/// Reads `account assets:receivable:UA  ; type:A, code:1100`, whose last part has `%` and two hex digits for
/// bytes that could be misread.
fn hledger_accounts(journal: &str) -> Names {
    let declared = journal.lines().filter_map(|line| line.strip_prefix("account "));
    let account = |line: &str| {
        let (name, tags) = line.split_once("  ; ").unwrap_or_else(|| panic!("an account with tags: {line}"));
        let code = tags.split(", ").find_map(|tag| tag.strip_prefix("code:")).expect("a code");
        let of = name.splitn(3, ':').nth(2).map(percent_decoded).unwrap_or_default();
        (name.to_owned(), (code.to_owned(), of))
    };
    declared.map(account).collect()
}

/// Reads `2013-01-31 open Assets:Receivable:UA USD` and the metadata `code` and `of` below it.
fn beancount_accounts(journal: &str) -> Names {
    let mut names = Names::new();
    let mut lines = journal.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((_, rest)) = line.split_once(" open ") else { continue };
        let mut metadata = |key: &str| -> String {
            let value = lines.next_if(|line| line.trim_start().starts_with(key));
            let value = value.and_then(|line| line.split_once(": ")).map(|(_, value)| value).unwrap_or("\"\"");
            serde_json::from_str(value).unwrap_or_else(|error| panic!("a text: {value} ({error})"))
        };
        let account = (metadata("code"), metadata("of"));
        names.insert(rest.split(' ').next().expect("a name").to_owned(), account);
    }
    names
}

/// Reads rows of an account's name and a balance such as `-12.34 USD`.
fn balances_by(csv: &str, names: &Names) -> Balances {
    let rows = csv.lines().skip(1).map(cells).filter(|row| row.len() == 2);
    let balances = rows.map(|row| {
        let key = names.get(row[0].trim()).unwrap_or_else(|| panic!("{} is not declared", row[0]));
        let amount = row[1].trim().trim_end_matches("USD").trim();
        let amount = if matches!(amount, "" | "0") { "0.00" } else { amount };
        (key.clone(), money::read(amount).unwrap_or_else(|| panic!("an amount in dollars: {row:?}")))
    });
    balances.collect()
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("an id is text")
}

/// Adds debits and takes off credits, by account. The columns are found by their names.
fn csv_balances(csv: &str) -> Balances {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a line of names").split(',').collect();
    let column =
        |name: &str| names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
    let (code, of) = (column("code"), [column("party"), column("purpose")]);
    let (debit, credit) = (column("debit"), column("credit"));
    added_up(lines.map(|line| {
        let cells = cells(line);
        let cents = |cell: &str| if cell.is_empty() { 0 } else { money::read(cell).expect("an amount") };
        (
            (cells[code].clone(), of.map(|column| cells[column].as_str()).concat()),
            cents(&cells[debit]) - cents(&cells[credit]),
        )
    }))
}

/// The cells of a row of CSV, unquoted.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    let mut characters = row.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cells.last_mut().expect("never empty").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            character => cells.last_mut().expect("never empty").push(character),
        }
    }
    cells
}

/// The sum of each account.
fn added_up(rows: impl Iterator<Item = ((String, String), i64)>) -> Balances {
    let mut balances = Balances::new();
    for (key, cents) in rows {
        *balances.entry(key).or_default() += cents;
    }
    balances
}
