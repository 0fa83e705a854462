//! The exported journal: read by two programs that know nothing of ours, and equal to our own trial balance.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::airlines;
use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::money;
use crate::support::server::Server;

crate::support::both_engines!(
    hledger_and_beancount_accept_the_journal_and_agree_with_the_trial_balance,
    the_same_journal_comes_from_the_command_line_and_over_http,
);

/// Two airlines and one consumer whose id is everything that a file format dislikes.
const CONSUMERS: [&str; 3] = ["9E", "UA", "acme south:\"näh\"; (x) 100%"];

/// Account code, what tells its accounts apart → debit less credit, in cents.
type Balances = BTreeMap<(String, String), i64>;

/// A server on which three consumers have been charged, taxed and rewarded for two months.
fn billed(engine: Engine) -> (Server, Book) {
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
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    (server, book)
}

fn percent_encoded(text: &str) -> String {
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
    std::fs::write(&hledger, export(&server, "journal.hledger")).expect("a file");
    accepted("hledger", &["check", "-s", "-f"], &hledger);
    let balances = accepted("hledger", &["bal", "--flat", "-N", "-E", "-O", "csv", "-f"], &hledger);
    assert_eq!(hledger_balances(&balances), ours);

    let beancount = folder.join("journal.beancount");
    std::fs::write(&beancount, export(&server, "journal.beancount")).expect("a file");
    accepted("bean-check", &[], &beancount);
    let query = "select account, sum(position) group by account";
    let queried = Command::new("bean-query").args(["-q", "-f", "csv"]).arg(&beancount).arg(query).output();
    let queried = queried.expect("bean-query comes with beancount");
    let mut theirs: Vec<i64> = amounts(&String::from_utf8_lossy(&queried.stdout));
    let mut all: Vec<i64> = ours.values().copied().filter(|cents| *cents != 0).collect();
    theirs.retain(|cents| *cents != 0);
    theirs.sort_unstable();
    all.sort_unstable();
    assert_eq!(theirs, all, "beancount comes to the same balances");
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
    let to_stdout =
        server.data.run(&["export", "journal.csv", "--from", "2013-01-01", "--to", "2100-01-01", "-o", "-"]);
    assert_eq!(to_stdout.done(), over_http[0]);
}

/// Our own trial balance, by the code of the account and what tells its accounts apart.
fn trial_balance(server: &Server) -> Balances {
    let mut balances = Balances::new();
    for ((code, party), cents) in airlines::trial_balance(server) {
        balances.insert((code, party), cents);
    }
    balances
}

/// `"account","balance"` with accounts such as `assets:1100 Receivable:UA` and balances such as `USD -12.34`.
fn hledger_balances(csv: &str) -> Balances {
    let rows = csv.lines().skip(1).map(|row| {
        let cells = row.trim_matches('"').rsplit_once("\",\"");
        let (account, balance) = cells.unwrap_or_else(|| panic!("an account and a balance: {row}"));
        let amount = balance.trim().trim_start_matches("USD").trim_end_matches("USD").trim();
        let amount = if amount == "0" { "0.00" } else { amount };
        (key_of(account), money::read(amount).unwrap_or_else(|| panic!("an amount in dollars: {row}")))
    });
    added_up(rows)
}

/// Adds debits and takes off credits, by account. The columns are found by their names.
fn csv_balances(csv: &str) -> Balances {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a line of names").split(',').collect();
    let column =
        |name: &str| names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
    let (code, party) = (column("account"), column("party"));
    let (debit, credit) = (column("debit"), column("credit"));
    added_up(lines.map(|line| {
        let cells = cells(line);
        let cents = |cell: &str| if cell.is_empty() { 0 } else { money::read(cell).expect("an amount") };
        ((cells[code].clone(), cells[party].clone()), cents(&cells[debit]) - cents(&cells[credit]))
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

/// The sums of each account that are not zero.
fn added_up(rows: impl Iterator<Item = ((String, String), i64)>) -> Balances {
    let mut balances = Balances::new();
    for (key, cents) in rows {
        *balances.entry(key).or_default() += cents;
    }
    balances
}

/// `assets:1100 Receivable:UA` is account 1100 of UA.
fn key_of(account: &str) -> (String, String) {
    let mut parts = account.split(':').skip_while(|part| !part.starts_with(|c: char| c.is_ascii_digit()));
    let code = parts.next().and_then(|part| part.get(..4)).unwrap_or_else(|| panic!("no code in {account}"));
    (code.to_owned(), parts.next().unwrap_or_default().to_owned())
}

/// Every amount in dollars that a table shows, in cents.
fn amounts(table: &str) -> Vec<i64> {
    let words = table.split(|c: char| c.is_whitespace() || c == ',' || c == '"');
    words.filter_map(money::read).collect()
}
