//! Documents on paper: an invoice, a credit note, a payout statement and a statement as PDF, read back by `pdftotext` and `qpdf`.

use std::process::Command;

use serde_json::json;

use crate::support::books::Book;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::http::Reply;
use crate::support::server::Server;

crate::support::both_engines!(documents_are_files_that_others_can_read);

const ISSUER: &str = r#"
[issuer]
name = "Port Authority"
address = ["4 World Trade Center", "New York, NY 10007"]
tax_id = "13-6400654"
email = "billing@airports.example"
bank = ["Account 0417 1643 00 at First Bank"]
footer = "Airports of New York, on both sides of the river"

[[tax]]
id = "ny"
jurisdiction = "US-NY"
rate = "8.875"
"#;

const STATEMENT: &str = "/v1/consumers/UA/statement?period=2013-01";

/// A consumer whose name no typeface has whole is charged for more lines than a page holds.
fn billed(engine: Engine) -> (Server, Book) {
    let zone = "timezone = \"America/New_York\"\n";
    let book = Book::flights().with("book.toml", zone, &format!("{zone}{ISSUER}"));
    let server = Server::start(engine, book.path());
    let flight = |number: u32| {
        let event = json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/tests", "type": "flight.completed",
            "subject": "UA", "time": format!("2013-01-{:02}T12:00:00Z", number % 28 + 2),
            "data": { "origin": format!("{}", 100 + number), "distance": 1000, "dep_delay": 0, "arr_delay": -5 },
        });
        format!("{event}\n")
    };
    server.events(&(0..80).map(flight).collect::<String>()).ok();
    let consumer = json!({
        "name": "United <Air> Авиалинии 联合", "currency": "USD", "email": "pay@united.example", "tax": "ny",
    });
    server.put("/v1/consumers/UA", &consumer).ok();
    server.post("/v1/subscriptions", &json!({ "consumer": "UA", "plan": "airline", "start": "2013-01-01" })).ok();
    (server, book)
}

fn id(client: &Client, list: &str) -> String {
    client.get(list).ok()["data"][0]["id"].as_str().expect("an id").to_owned()
}

/// The text of a PDF, which has to be a sound one.
#[track_caller]
fn read(server: &Server, reply: &Reply) -> String {
    assert!(reply.status == 200 && reply.content_type == "application/pdf", "{} {}", reply.status, reply.content_type);
    let file = server.data.folder().join("document.pdf");
    std::fs::write(&file, &reply.body).expect("a file");
    let run = |program: &str, arguments: &[&str], last: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&file).args(last).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed (scripts/test installs it): {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{program}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("qpdf", &["--check"], &[]);
    run("pdftotext", &["-layout"], &["-"])
}

#[track_caller]
fn assert_shows(text: &str, shown: &[&str]) {
    for shown in shown {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}

fn documents_are_files_that_others_can_read(engine: Engine) {
    let (server, _book) = billed(engine);
    let pdf = |path: &str| server.send("GET", path, &[("accept", "application/pdf")], b"");
    let open = read(&server, &pdf(STATEMENT));
    assert_shows(&open, &["Statement", "so far", "Not final"]);

    server.post("/v1/close", &json!({ "through": "2013-02-01" })).ok();
    let (invoice, payout) = (id(&server, "/v1/invoices"), id(&server, "/v1/payouts"));
    let path = format!("/v1/invoices/{invoice}");
    let answered = pdf(&path);
    assert_eq!(answered.body, pdf(&format!("{path}?format=pdf")).body, "the same document is the same bytes");
    assert_eq!(answered.disposition, "inline; filename=\"INV-000001.pdf\"");
    let json = server.get(&path).ok();
    let money = |field: &str| json[field]["amount"].as_str().expect("an amount").replacen('1', "1,", 1);
    let text = read(&server, &answered);
    assert_shows(
        &text,
        &["Port Authority", "13-6400654", "4 World Trade Center", "Account 0417 1643 00", "8.875 % US-NY"],
    );
    assert_shows(
        &text,
        &["INV-000001", "United <Air> Авиалинии 联合", "pay@united.example", "January 2013", "origin 179"],
    );
    // 80,000 miles at 1 cent, 80 flights at 12.375, each rounded; 8.875 % of each line.
    assert_shows(
        &text,
        &["800.00", "12.38", &money("net"), &money("total"), json["tax"]["amount"].as_str().expect("an amount")],
    );
    let pages = text.matches("Page ").count();
    assert!(pages > 2 && text.matches("Description").count() == pages, "each page has the head of the table:\n{text}");
    assert_shows(&text, &[&format!("Page 2 of {pages}"), "both sides of the river"]);

    let text = read(&server, &pdf(&format!("/v1/payouts/{payout}")));
    assert_shows(&text, &["Payout statement", "held until", "punctuality", "120.00"]);
    let text = read(&server, &server.get(&format!("{STATEMENT}&format=pdf")));
    assert_shows(&text, &["Statement", "January 2013", "Charges", "Rewards", "−120.00", "You owe"]);
    assert!(!text.contains("Not final"));

    let wanted = json!({
        "invoice": invoice, "reason": "Gate 4 was closed for a day", "refund": true,
        "lines": [{ "line": 1 }, { "line": 2, "amount": { "amount": "2.00", "currency": "USD" } }],
    });
    let note = server.post("/v1/credit-notes", &wanted).json();
    let path = format!("/v1/credit-notes/{}", note["id"].as_str().expect("an id"));
    let answered = pdf(&path);
    assert_eq!(answered.disposition, "inline; filename=\"CN-000001.pdf\"");
    let text = read(&server, &answered);
    assert_shows(
        &text,
        &["Credit note", "CN-000001", "INV-000001 of", "Port Authority", "13-6400654", "line 2", "2.00"],
    );
    let total = note["total"]["amount"].as_str().expect("an amount");
    assert_shows(&text, &["8.875 % US-NY", total, "taken off what invoice INV-000001", "Gate 4 was closed for a day"]);
    assert_eq!(server.get(&path).ok(), note, "programs get what they got");

    let path = format!("/v1/invoices/{invoice}");
    assert_eq!(server.get(&path).content_type, "application/json", "programs get what they got");
    assert_eq!(server.get(&format!("{path}?format=docx")).problem(400)["code"], "invalid_parameter");
    let picture = server.send("GET", &path, &[("accept", "image/png")], b"");
    assert_eq!(picture.problem(406)["code"], "not_acceptable");
    let page = server.get(&format!("{STATEMENT}&format=html")).text();
    assert_shows(&page, &[&format!("href=\"{path}?format=pdf\""), "format=pdf\">PDF</a>"]);
}
