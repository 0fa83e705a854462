//! What finance takes away: every file is read back and compared with the ledger, and no batch holds what another does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;
use sha2::Digest;

use crate::journal::Balances;
use crate::journal::CONSUMERS;
use crate::journal::flown;
use crate::journal::percent_encoded;
use crate::journal::trial_balance_at;
use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::money;
use crate::support::server::Server;

crate::support::both_engines!(
    files_for_accounting_tools_balance_and_agree_with_the_trial_balance,
    documents_aging_and_roll_forward_tie_to_their_accounts,
    usage_by_day_comes_to_what_is_answered_for_all_time,
    a_workbook_opens_and_its_formulas_come_to_the_values_beside_them,
    batches_share_no_entry_and_together_are_the_journal,
);

type Row = BTreeMap<String, String>;

/// Closed to the end of February, and once more with a flight in January that came late.
fn corrected(engine: Engine) -> (Server, Book) {
    let (server, book) = flown(engine);
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let late = json!({
        "specversion": "1.0", "id": "late", "source": "/tests", "type": "flight.completed", "subject": "UA",
        "time": "2013-01-20T12:00:00Z", "data": { "origin": "JFK", "distance": 100, "dep_delay": 0, "arr_delay": -1 },
    });
    server.events(&format!("{late}\n")).ok();
    server.post("/v1/close", &json!({ "through": "2013-04-01" })).ok();
    (server, book)
}

fn file(server: &Server, path: &str) -> Vec<u8> {
    let reply = server.get(&format!("/v1/exports/{path}"));
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    let head = server.get("/v1/ledger/head").ok();
    assert_eq!(reply.ledger_head.as_deref(), head["head"].as_str(), "{path} carries the head of the chain");
    reply.body
}

fn rows(server: &Server, path: &str) -> Vec<Row> {
    read(&file(server, path))
}

fn read(csv: &[u8]) -> Vec<Row> {
    csv::Reader::from_reader(csv).deserialize().map(|row| row.expect("a row")).collect()
}

/// Cents, of a cell that may be empty.
#[track_caller]
fn cents(row: &Row, column: &str) -> i64 {
    let cell = &row[column];
    if cell.is_empty() { 0 } else { money::read(cell).unwrap_or_else(|| panic!("{column} is an amount: {row:?}")) }
}

/// Sums by what `key` makes of a row; those that come to nothing are left out.
fn summed<K: Ord>(rows: &[Row], key: impl Fn(&Row) -> K, amount: impl Fn(&Row) -> i64) -> BTreeMap<K, i64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(key(row)).or_insert(0) += amount(row);
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// What stands on one place in the chart, by whose it is; debits above zero.
fn standing(balances: &Balances, code: &str) -> BTreeMap<String, i64> {
    let of_code = balances.iter().filter(|((of, _), cents)| of == code && **cents != 0);
    of_code.map(|((_, party), cents)| (party.clone(), *cents)).collect()
}

fn files_for_accounting_tools_balance_and_agree_with_the_trial_balance(engine: Engine) {
    let (server, _book) = corrected(engine);
    let mut ours = trial_balance_at(&server, "9999-01-01");
    ours.retain(|_, cents| *cents != 0);

    let xero = rows(&server, "xero.csv");
    let amount = |row: &Row| cents(row, "*Amount");
    let journal = |row: &Row| (row["*Narration"].clone(), row["*Date"].clone());
    assert_eq!(summed(&xero, journal, amount), BTreeMap::new());
    let account =
        |row: &Row| (row["*AccountCode"].clone(), format!("{}{}", row["TrackingOption1"], row["TrackingOption2"]));
    assert_eq!(summed(&xero, account, amount), ours);

    let quickbooks = rows(&server, "quickbooks.csv");
    let amount = |row: &Row| cents(row, "Debits") - cents(row, "Credits");
    assert_eq!(summed(&quickbooks, |row| row["JournalNo"].clone(), amount), BTreeMap::new());
    let accounts = server.get("/v1/ledger/accounts").ok();
    let name = |account: &Value| {
        let text = |field: &str| account[field].as_str().unwrap_or_default().to_owned();
        let sub = if text("purpose").is_empty() { String::new() } else { format!(":{}", text("purpose")) };
        let party = text("party");
        let customer = if party.is_empty() { String::new() } else { format!("\"{party}\"\n; Inc.") };
        ((text("account"), party + &text("purpose")), (text("name") + &sub, customer))
    };
    let names: BTreeMap<_, _> = accounts["data"].as_array().expect("accounts").iter().map(name).collect();
    let ours: BTreeMap<_, _> = ours.iter().map(|(account, cents)| (names[account].clone(), *cents)).collect();
    assert_eq!(summed(&quickbooks, |row| (row["AccountName"].clone(), row["Name"].clone()), amount), ours);
}

fn documents_aging_and_roll_forward_tie_to_their_accounts(engine: Engine) {
    let (server, _book) = corrected(engine);
    tie(&server);

    // A part of United's oldest invoice is paid in February, which leaves January as it was.
    let january = standing(&trial_balance_at(&server, "2013-01-31"), "1100");
    let paid = json!({
        "consumer": "UA", "amount": { "amount": "1.00", "currency": "USD" }, "method": "bank", "reference": "thanks",
        "received_on": "2013-02-15",
    });
    server.post("/v1/payments", &paid).ok();
    for (to, of_it) in [("2013-02-01", january["UA"]), ("2013-02-16", january["UA"] - 100)] {
        let aging = rows(&server, &format!("aging.csv?to={to}"));
        let open: i64 = aging.iter().filter(|row| row["consumer"] == "UA").map(|row| cents(row, "open")).sum();
        assert_eq!(open, of_it, "{to}");
    }
    let today = rows(&server, "aging.csv");
    let consumer = |row: &Row| row["consumer"].clone();
    let balances = trial_balance_at(&server, "9999-01-01");
    assert_eq!(summed(&today, consumer, |row| cents(row, "open")), standing(&balances, "1100"));
}

/// Every day's documents, aging and roll-forward come to what stands on their accounts.
fn tie(server: &Server) {
    for day in ["2013-01-31", "2013-02-28", "2013-03-31"] {
        let balances = trial_balance_at(server, day);
        let next = day.parse::<jiff::civil::Date>().expect("a day").tomorrow().expect("a day");
        let consumer = |row: &Row| row["consumer"].clone();

        let invoices = rows(server, &format!("invoices.csv?to={next}"));
        assert_eq!(summed(&invoices, consumer, |row| cents(row, "total")), standing(&balances, "1100"), "{day}");
        let tax = -standing(&balances, "2200")["US-NY"];
        assert_eq!(invoices.iter().map(|row| cents(row, "tax")).sum::<i64>(), tax, "{day}");

        let aging = rows(server, &format!("aging.csv?to={next}"));
        assert_eq!(summed(&aging, consumer, |row| cents(row, "open")), standing(&balances, "1100"), "{day}");
        let brackets = ["current", "1_to_30", "31_to_60", "61_to_90", "91_to_120", "over_120"];
        for row in &aging {
            let bracketed: Vec<_> = brackets.iter().map(|bracket| cents(row, bracket)).collect();
            assert_eq!(bracketed.iter().sum::<i64>(), cents(row, "open"), "{row:?}");
        }
        assert_eq!(aging.len(), invoices.iter().filter(|row| cents(row, "total") != 0).count(), "{day}");

        let forward = rows(server, &format!("rewards-rollforward.csv?from=2013-02-01&to={next}"));
        let before = trial_balance_at(server, "2013-01-31");
        let after = if day == "2013-01-31" { &before } else { &balances };
        for stage in ["2000", "2010"] {
            let of_stage: Vec<Row> = forward.iter().filter(|row| row["account"] == stage).cloned().collect();
            let owed = |balances| -> BTreeMap<String, i64> {
                standing(balances, stage).into_iter().map(|(party, cents)| (party, -cents)).collect()
            };
            assert_eq!(summed(&of_stage, consumer, |row| cents(row, "opening")), owed(&before), "{stage} {day}");
            assert_eq!(summed(&of_stage, consumer, |row| cents(row, "closing")), owed(after), "{stage} {day}");
        }
        for row in &forward {
            let moved = ["opening", "accrued", "reversed", "released", "paid"].map(|column| cents(row, column));
            assert_eq!(moved.iter().sum::<i64>(), cents(row, "closing"), "{row:?}");
        }
        assert_eq!(forward.iter().map(|row| cents(row, "released")).sum::<i64>(), 0, "{day}");
    }
    let payouts = rows(server, "payouts.csv");
    let balances = trial_balance_at(server, "9999-01-01");
    let owed = |code| -standing(&balances, code).values().sum::<i64>();
    assert_eq!(payouts.iter().map(|row| cents(row, "held")).sum::<i64>(), owed("2000"));
    assert_eq!(payouts.iter().map(|row| cents(row, "total")).sum::<i64>(), owed("2000") + owed("2010"));

    let february = rows(server, "invoices.csv?from=2013-02-01&to=2013-03-01");
    assert_eq!(february.len(), CONSUMERS.len());
    assert!(february.iter().all(|row| row["date"] == "2013-02-28"), "{february:?}");
    let of_one = rows(server, "invoices.csv?consumer=UA");
    assert!(of_one.len() >= 3 && of_one.iter().all(|row| row["consumer"] == "UA"), "{of_one:?}");
    server.get("/v1/exports/journal.csv?consumer=UA").problem(400);
}

fn usage_by_day_comes_to_what_is_answered_for_all_time(engine: Engine) {
    let (server, _book) = corrected(engine);
    let exported = rows(&server, "usage.csv");
    for meter in ["miles", "flights"] {
        let of_meter: Vec<Row> = exported.iter().filter(|row| row["meter"] == meter).cloned().collect();
        let whole = |row: &Row| row["value"].parse::<i64>().expect("a whole number");
        let answer = server.get(&format!("/v1/usage?meter={meter}")).ok();
        let answered = answer["data"].as_array().expect("rows").iter().map(|row| {
            let value = row["value"].as_str().expect("a number").parse::<i64>().expect("a whole number");
            (row["consumer"].as_str().expect("a consumer").to_owned(), value)
        });
        assert_eq!(summed(&of_meter, |row| row["consumer"].clone(), whole), answered.collect(), "{meter}");
    }
    let day = exported.iter().find(|row| row["meter"] == "flights" && row["consumer"] == "9E").expect("a row");
    assert_eq!((&*day["from"], &*day["to"]), ("2013-01-15T05:00:00Z", "2013-01-16T05:00:00Z"));
    assert_eq!((&*day["dimensions"], &*day["value"], &*day["events"]), ("{\"origin\":\"EWR\"}", "1", "1"));
    let february = rows(&server, "usage.csv?from=2013-02-01&to=2013-03-01");
    assert!(!february.is_empty() && february.iter().all(|row| row["from"].starts_with("2013-02")), "{february:?}");
}

/// Reads a workbook twice, with formulas and with values, works each formula out, and prints what it found.
const READ_WORKBOOK: &str = r##"
import json, re, sys
from decimal import Decimal
import openpyxl
from openpyxl.utils import range_boundaries

formulas, values = (openpyxl.load_workbook(sys.argv[1], data_only=it) for it in (False, True))

def cells(sheet, area):
    sheet, area = (values[area.split("!")[0]], area.split("!")[1]) if "!" in area else (sheet, area)
    left, top, right, bottom = range_boundaries(area)
    return [sheet.cell(row, column).value for row in range(top, bottom + 1) for column in range(left, right + 1)]

def money(value):
    return Decimal(str(value)).quantize(Decimal("0.01"))

def worked_out(sheet, formula):
    if found := re.fullmatch(r"=SUM\((.+)\)", formula):
        return sum(map(money, cells(sheet, found[1])))
    if found := re.fullmatch(r'=SUMIFS\((.+),(.+),"(\w+)"\)', formula):
        pairs = zip(cells(sheet, found[1]), cells(sheet, found[2]), strict=True)
        return sum(money(value) for value, of in pairs if of == found[3])
    terms = re.findall(r"([+-]?)([A-Z]\d+)", formula)
    return sum((-1 if sign == "-" else 1) * money(cells(sheet, at)[0]) for sign, at in terms)

said = {}
for sheet in formulas:
    shown, rows, checked = values[sheet.title], [], 0
    for row in sheet.iter_rows():
        for cell in row:
            value = shown[cell.coordinate].value
            if cell.data_type == "f":
                checked += 1
                assert worked_out(shown, cell.value) == money(value), (sheet.title, cell.coordinate, cell.value, value)
                assert cell.number_format == "#,##0.00", cell.number_format
        rows.append([None if cell.value is None else str(cell.value) for cell in shown[row[0].row]])
    said[sheet.title] = {"frozen": sheet.freeze_panes, "formulas": checked, "rows": rows}
print(json.dumps(said))
"##;

/// What openpyxl finds in a workbook.
fn workbook(path: &Path) -> Value {
    // Where several are installed, the one that has it.
    let has_it = |python: &&str| {
        Command::new(python).args(["-c", "import openpyxl"]).output().is_ok_and(|output| output.status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    let python = python.expect("these tests need openpyxl (apt-get install python3-openpyxl)");
    let output = Command::new(python).args(["-W", "error", "-c", READ_WORKBOOK]).arg(path).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn a_workbook_opens_and_its_formulas_come_to_the_values_beside_them(engine: Engine) {
    let (server, _book) = corrected(engine);
    let path = server.data.folder().join("statement.xlsx");
    std::fs::write(&path, file(&server, "statement.xlsx")).expect("a file");
    let read = workbook(&path);
    let names: Vec<&String> = read.as_object().expect("sheets").keys().collect();
    assert_eq!(names, ["Adjustments", "Charges", "Rewards", "Summary"]);
    for sheet in names {
        assert_eq!(read[sheet]["frozen"], "A2", "{sheet}");
        assert!(read[sheet]["formulas"].as_i64() > Some(0), "{sheet} adds itself up");
    }
    // Column by its name in the first row, of the rows that are a consumer's.
    let column = |sheet: &str, row: &Value, name: &str| -> String {
        let header = read[sheet]["rows"][0].as_array().expect("a header");
        let at = header.iter().position(|known| known == name).unwrap_or_else(|| panic!("{name}: {header:?}"));
        row[at].as_str().unwrap_or_default().to_owned()
    };
    let of_consumers = |sheet: &str| -> Vec<Value> {
        let rows = read[sheet]["rows"].as_array().expect("rows");
        rows.iter().filter(|row| CONSUMERS.iter().any(|consumer| row[0] == *consumer)).cloned().collect()
    };
    let whole = |amount: &str| money::read(&format!("{:.2}", amount.parse::<f64>().expect("a number"))).expect("cents");

    let balances = trial_balance_at(&server, "9999-01-01");
    let owes = standing(&balances, "1100");
    let (held, available) = (standing(&balances, "2000"), standing(&balances, "2010"));
    let summary = of_consumers("Summary");
    assert_eq!(summary.len(), CONSUMERS.len());
    for row in &summary {
        let consumer = column("Summary", row, "Consumer");
        let earned = -held.get(&consumer).unwrap_or(&0) - available.get(&consumer).unwrap_or(&0);
        let net = whole(&column("Summary", row, "Net owed"));
        assert_eq!(net, owes[&consumer] - earned, "{consumer}");
    }
    let late = of_consumers("Adjustments");
    assert!(!late.is_empty() && late.iter().all(|row| row[0] == "UA"), "{late:?}");
    let shown: BTreeSet<String> = of_consumers("Charges").iter().map(|row| column("Charges", row, "From")).collect();
    assert!(shown.contains("2013-01-01 00:00:00"), "dates are dates: {shown:?}");

    let of_one = server.get(&format!("/v1/exports/statement.xlsx?consumer={}", percent_encoded(CONSUMERS[2])));
    std::fs::write(&path, of_one.body).expect("a file");
    assert_eq!(workbook(&path)["Summary"]["rows"][1][0], CONSUMERS[2]);
}

fn seal(server: &Server, kind: &str, through: &str) -> Value {
    server.post("/v1/exports/batches", &json!({ "kind": kind, "through": through })).ok()
}

fn batches_share_no_entry_and_together_are_the_journal(engine: Engine) {
    let (mut server, _book) = flown(engine);
    let through = "2013-02-28";
    let nothing = json!({ "kind": "quickbooks.csv", "through": through });
    assert_eq!(server.post("/v1/exports/batches", &nothing).problem(409)["code"], "nothing_to_export");

    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    let first = seal(&server, "quickbooks.csv", through);
    assert_eq!((&first["number"], &first["first_entry"], &first["through"]), (&json!(1), &json!(1), &json!(through)));
    assert_eq!(server.post("/v1/exports/batches", &nothing).problem(409)["code"], "nothing_to_export");
    let path = format!("batches/{}", first["id"].as_str().expect("an id"));
    let before = file(&server, &path);
    assert_eq!(first["sha256"], sha256(&before));

    // The holds of January pass in February, and February is closed: all of it is dated in what was exported.
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let second = seal(&server, "quickbooks.csv", through);
    assert_eq!(server.get(&format!("/v1/exports/{path}")).body, before, "the same bytes again");
    let head = server.get("/v1/ledger/head").ok();
    assert_eq!(second["head"], head["head"]);
    assert_ne!(first["head"], second["head"]);
    let all = head["last_entry"].as_i64().expect("a number");
    assert_eq!(first["entries"].as_i64().expect("a number") + second["entries"].as_i64().expect("a number"), all);

    let after = file(&server, &format!("batches/{}", second["id"].as_str().expect("an id")));
    let (before, after) = (read(&before), read(&after));
    let numbers = |rows: &[Row]| -> BTreeSet<String> { rows.iter().map(|row| row["JournalNo"].clone()).collect() };
    assert!(numbers(&before).is_disjoint(&numbers(&after)), "no number comes twice");
    let both: Vec<Row> = before.into_iter().chain(after).collect();
    let amount = |row: &Row| cents(row, "Debits") - cents(row, "Credits");
    let account = |row: &Row| (row["AccountName"].clone(), row["Name"].clone());
    assert_eq!(summed(&both, account, amount), summed(&rows(&server, "quickbooks.csv"), account, amount));

    let listed = server.get("/v1/exports/batches?kind=quickbooks.csv").ok();
    assert_eq!(listed["data"], json!([second, first]));
    server.get("/v1/exports/batches/exp_none").problem(404);
    let unknown = json!({ "kind": "invoices.csv", "through": through });
    assert_eq!(server.post("/v1/exports/batches", &unknown).problem(422)["code"], "unknown_export");

    // Another kind has everything before it still, on the command line too, with a server and without.
    let xero = server.cli(&["export", "xero.csv", "--batch", "--through", "2013-01-31"]);
    assert!(xero.stderr.contains("Batch 1 (exp_"), "{xero:?}");
    let xero = xero.done();
    let id = server.get("/v1/exports/batches?kind=xero.csv").ok()["data"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.cli(&["export", "xero.csv", "--again", &id]).done(), xero);
    server.stop();
    assert_eq!(server.data.run(&["export", "xero.csv", "--again", &id]).done(), xero);
    let rest = server.data.run(&["export", "xero.csv", "--batch", "--through", "2013-12-31"]);
    let narrations = |csv: &str| -> BTreeSet<String> {
        read(csv.as_bytes()).into_iter().map(|row| row["*Narration"].clone()).collect()
    };
    assert!(narrations(&rest.done()).is_disjoint(&narrations(&xero)));
    let again = server.data.run(&["export", "xero.csv", "--batch", "--through", "2013-12-31"]);
    assert_eq!(again.code, 1, "{again:?}");
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
