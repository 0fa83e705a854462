//! The ledger as finance uses it: books that are closed, journals that two people post, accounts that can be read; and what
//! was done to it behind the program's back, found by `verify`.

use serde_json::Value;
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::journal::billed;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::server::Server;

crate::support::both_engines!(
    a_closed_month_takes_no_entry_any_more,
    a_journal_is_posted_when_another_key_approves_it,
    an_account_is_read_with_its_running_balance,
    the_trial_balance_is_as_of_two_dates,
    verify_finds_what_was_changed_removed_and_swapped_behind_its_back,
);

fn key(server: &Server, role: &str) -> Client {
    let printed = server.cli(&["key", "create", "--role", role, "--name", "a test", "--json"]).done();
    let key: Value = serde_json::from_str(&printed).expect("JSON");
    server.client(Some(key["secret"].as_str().expect("the key is shown when it is made")))
}

fn texts<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    let list = list["data"].as_array().unwrap_or_else(|| panic!("a list: {list}"));
    list.iter().map(|item| item[name].as_str().unwrap_or_else(|| panic!("{name}: {item}"))).collect()
}

/// The trial balance adds up, and `verify` finds nothing.
#[track_caller]
fn is_sound(server: &Server) {
    let verified = server.data.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}

fn a_closed_month_takes_no_entry_any_more(engine: Engine) {
    let (server, _book) = billed(engine);
    let finance = key(&server, "finance");
    assert_eq!(finance.get("/v1/ledger/lock").ok(), json!({ "through": null, "history": [] }));
    let lock = |through: &str| finance.post("/v1/ledger/lock", &json!({ "through": through }));
    lock("2013-01-31").ok();
    let locked = lock("2013-03-31").ok();
    assert_eq!(locked["through"], "2013-03-31");
    assert_eq!(locked["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(lock("2013-02-28").problem(422)["code"], "reason_is_missing");
    assert_eq!(lock("2999-01-01").problem(422)["code"], "day_has_not_ended");
    assert_eq!(lock("January").problem(422)["code"], "invalid_time");
    key(&server, "ingest").post("/v1/ledger/lock", &json!({ "through": "2013-04-30" })).problem(403);
    assert_eq!(finance.get("/v1/ledger/lock").ok(), locked, "what was refused changed nothing");

    let shown: Value = serde_json::from_str(&server.cli(&["lock", "--json"]).done()).expect("JSON");
    assert_eq!(shown, locked, "on the command line too");
    let again = server.cli(&["lock", "--through", "2013-03-31"]).done();
    assert!(again.starts_with("The books are closed through 2013-03-31.\n"), "{again}");
    let back = server.cli(&["lock", "--through", "2013-02-28"]);
    assert!(back.code == 1 && back.stderr.contains("needs a reason"), "{back:?}");

    let before = finance.get("/v1/ledger/head").ok()["last_entry"].clone();
    server.post("/v1/close", &json!({ "through": "2013-04-01" })).ok();
    let march = server.get(&format!("/v1/ledger/entries?cursor={before}")).ok();
    let dates = texts(&march, "effective_on");
    assert!(!dates.is_empty() && dates.iter().all(|date| *date == "2013-04-01"), "the first open day: {dates:?}");
    let reopened = json!({ "through": "2012-12-31", "reason": "the auditor asked" });
    let reopened = finance.post("/v1/ledger/lock", &reopened).ok();
    assert_eq!(
        (&reopened["through"], &reopened["history"][2]["reason"]),
        (&json!("2012-12-31"), &json!("the auditor asked"))
    );
    let before = finance.get("/v1/ledger/head").ok()["last_entry"].clone();
    server.post("/v1/close", &json!({ "through": "2013-05-01" })).ok();
    let april = server.get(&format!("/v1/ledger/entries?cursor={before}")).ok();
    assert!(texts(&april, "effective_on").iter().all(|date| *date == "2013-04-30"), "as ever: {april}");
    is_sound(&server);
}

fn charges() -> Value {
    json!({
        "effective_on": "2013-02-28",
        "description": "Bank charges of February",
        "postings": [
            { "account": "5100:USD", "side": "debit", "amount": "12.50" },
            { "account": "1000:USD", "side": "credit", "amount": "12.50" },
        ],
    })
}

fn a_journal_is_posted_when_another_key_approves_it(engine: Engine) {
    let (server, _book) = billed(engine);
    let (maker, checker) = (key(&server, "finance"), key(&server, "finance"));
    let headers = [("content-type", "application/json"), ("idempotency-key", "charges 2013-02")];
    let send = |body: &Value| maker.send("POST", "/v1/ledger/journals", &headers, body.to_string().as_bytes());
    let draft = send(&charges()).ok();
    assert_eq!(send(&charges()).ok(), draft, "the same key and body give the same answer");
    let mut other = charges();
    other["description"] = json!("Another");
    assert_eq!(send(&other).problem(422)["code"], "idempotency_key_reused");
    assert_eq!((&draft["state"], &draft["entry"]), (&json!("draft"), &Value::Null));
    let path = format!("/v1/ledger/journals/{}", draft["id"].as_str().expect("an id"));
    let does = |client: &Client, what: &str, body: &Value| client.post(&format!("{path}/{what}"), body);
    assert_eq!(does(&maker, "approve", &Value::Null).problem(409)["code"], "journal_is_your_own");
    let reverse = json!({ "effective_on": "2013-03-01" });
    assert_eq!(does(&maker, "reverse", &reverse).problem(409)["code"], "journal_is_not_posted");
    key(&server, "ingest").post(&format!("{path}/approve"), &Value::Null).problem(403);
    let posted = does(&checker, "approve", &Value::Null).ok();
    assert_eq!((&posted["state"], &posted["made_by"]), (&json!("posted"), &draft["made_by"]));
    assert_ne!(posted["decided_by"], draft["made_by"]);
    assert_eq!(maker.get(&path).ok(), posted);
    assert_eq!(does(&checker, "reject", &json!({ "reason": "no" })).problem(409)["code"], "journal_is_decided");
    let postings = server.get("/v1/ledger/accounts/5100:USD/postings").ok();
    assert_eq!(
        (&postings["data"][0]["entry"], &postings["data"][0]["kind"]),
        (&posted["entry"], &json!("manual_journal"))
    );

    let reversal = does(&maker, "reverse", &reverse).ok();
    assert_eq!(reversal["reverses"], draft["id"]);
    assert_eq!(does(&checker, "reverse", &reverse).problem(409)["code"], "taken_back_already");
    let reversal = format!("/v1/ledger/journals/{}", reversal["id"].as_str().expect("an id"));
    assert_eq!(
        checker.post(&format!("{reversal}/reject"), &json!({ "reason": " " })).problem(422)["code"],
        "reason_is_missing"
    );
    checker.post(&format!("{reversal}/reject"), &json!({ "reason": "the wrong day" })).ok();
    let again = does(&checker, "reverse", &reverse).ok();
    let again = format!("/v1/ledger/journals/{}", again["id"].as_str().expect("an id"));
    maker.post(&format!("{again}/approve"), &Value::Null).ok();
    let mirrored = server.get("/v1/ledger/accounts/5100:USD/postings").ok();
    assert_eq!(mirrored["data"][1]["balance"], "0.00", "{mirrored}");
    for (state, count) in [("draft", 0), ("posted", 2), ("rejected", 1)] {
        let listed = maker.get(&format!("/v1/ledger/journals?state={state}")).ok();
        assert_eq!(texts(&listed, "state"), vec![state; count]);
    }
    assert_eq!(texts(&maker.get("/v1/ledger/journals?limit=2").ok(), "id").len(), 2);

    let faulty = json!({ "effective_on": "2013-02-28", "description": "", "postings": [
        { "account": "5100", "side": "left", "amount": "1" }, { "account": "1000:USD", "side": "credit", "amount": "0.005" },
    ] });
    let problem = maker.post("/v1/ledger/journals", &faulty).problem(422);
    let places: Vec<&str> =
        problem["errors"].as_array().expect("places").iter().filter_map(|place| place["at"].as_str()).collect();
    assert_eq!(places, ["/description", "/postings/0/account", "/postings/0/side", "/postings/1/amount"]);
    for (account, code) in [("2010:UA:USD", "account_has_a_floor"), ("5900:EUR", "invalid_journal")] {
        let mut faulty = charges();
        faulty["postings"][0]["account"] = json!(account);
        assert_eq!(maker.post("/v1/ledger/journals", &faulty).problem(422)["code"], code, "{account}");
    }
    maker.get("/v1/ledger/journals/nobody").problem(404);
    server.post("/v1/ledger/lock", &json!({ "through": "2013-02-28" })).ok();
    assert_eq!(maker.post("/v1/ledger/journals", &charges()).problem(409)["code"], "day_is_locked");
    is_sound(&server);
}

fn an_account_is_read_with_its_running_balance(engine: Engine) {
    let (server, _book) = billed(engine);
    let totals = server.get("/v1/ledger/trial-balance").ok();
    let standing = totals["accounts"].as_array().expect("accounts");
    for row in standing {
        let id = row["id"].as_str().expect("an id").replace('%', "%25");
        let (mut balance, mut pages, mut cursor) = ("0.00".to_owned(), 0, String::new());
        loop {
            let page = server.get(&format!("/v1/ledger/accounts/{id}/postings?limit=1{cursor}")).ok();
            assert_eq!(page["opening"], json!(balance), "a page goes on where the one before ended: {page}");
            for posting in page["data"].as_array().expect("postings") {
                balance = posting["balance"].as_str().expect("a balance").to_owned();
                pages += 1;
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let side = if row["debit"] == "0.00" { "credit" } else { "debit" };
        assert!(pages > 0 && balance.trim_start_matches('-') == row[side], "{row}: {balance} after {pages}");
    }
    let january = "/v1/ledger/accounts/1100:UA:USD/postings?from=2013-01-01&to=2013-02-01";
    let january = server.get(january).ok();
    assert!(!texts(&january, "description").is_empty() && january["normal_side"] == "debit", "{january}");
    assert!(texts(&january, "effective_on").iter().all(|date| date.starts_with("2013-01")), "{january}");
    server.get("/v1/ledger/accounts/nobody/postings").problem(404);
    server.get("/v1/ledger/accounts/1100:UA:USD/postings?cursor=x").problem(400);
    assert_eq!(texts(&server.get("/v1/ledger/accounts/1100:nobody:USD/postings").ok(), "entry"), [""; 0]);
}

fn the_trial_balance_is_as_of_two_dates(engine: Engine) {
    let (server, _book) = billed(engine);
    let rows = |query: &str| {
        let answer = server.get(&format!("/v1/ledger/trial-balance{query}")).ok();
        answer["accounts"].as_array().expect("accounts").len()
    };
    let all = rows("");
    assert!(all > 0);
    assert_eq!(rows("?recorded_by=2999-12-31"), all);
    assert_eq!(rows("?recorded_by=2013-12-31"), 0, "it was all written down just now");
    assert_eq!(rows("?at=2013-12-31&recorded_by=2999-01-01T00:00:00Z"), all);
    assert_eq!(rows("?at=2012-12-31&recorded_by=2999-01-01"), 0);
    server.get("/v1/ledger/trial-balance?recorded_by=yesterday").problem(400);
}

/// Sends statements past every guard of the database.
fn tamper(data: &Data, engine: Engine, statements: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match engine {
            Engine::Sqlite => {
                let file = data.folder().join("data/tallystick.db");
                let options = SqliteConnectOptions::new().filename(file).foreign_keys(false);
                let mut connection = options.connect().await.expect("opens");
                let triggers: Vec<(String,)> = sqlx::query_as("select name from sqlite_master where type = 'trigger'")
                    .fetch_all(&mut connection)
                    .await
                    .expect("reads");
                for (trigger,) in triggers {
                    let drop = sqlx::AssertSqlSafe(format!("drop trigger {trigger}"));
                    sqlx::raw_sql(drop).execute(&mut connection).await.expect("is dropped");
                }
                for statement in statements {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(*statement)).execute(&mut connection).await.expect("is done");
                }
                connection.close().await.expect("closes");
            }
            Engine::Postgres => {
                let options: PgConnectOptions = data.arguments()[1].parse().expect("a URL");
                let mut connection = options.connect().await.expect("opens");
                let unguarded = "set session_replication_role = replica";
                for statement in [&[unguarded], statements].concat() {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("is done");
                }
                connection.close().await.expect("closes");
            }
        }
    });
}

fn verify_finds_what_was_changed_removed_and_swapped_behind_its_back(engine: Engine) {
    const SWAP: [&str; 6] = [
        "update journal_entry set seq = -1 where seq = 1",
        "update journal_entry set seq = 1 where seq = 2",
        "update journal_entry set seq = 2 where seq = -1",
        "update posting set entry = -1 where entry = 1",
        "update posting set entry = 1 where entry = 2",
        "update posting set entry = 2 where entry = -1",
    ];
    let (mut server, _book) = billed(engine);
    server.stop();
    is_sound(&server);
    // Each is done, found, and undone, but for the last.
    let tamperings: [(&[&str], &str, &[&str]); 5] = [
        (
            &["update journal_entry set description = description || '!' where seq = 2"],
            "entry 2 of the journal is not what was posted under its key",
            &["update journal_entry set description = substr(description, 1, length(description) - 1) where seq = 2"],
        ),
        (
            &["update posting set amount = amount * 2 where entry = 1"],
            "batch 1 of the journal does not hash to its head",
            &["update posting set amount = amount / 2 where entry = 1"],
        ),
        (&SWAP, "batch 1 of the journal does not hash to its head", &SWAP),
        (
            &["update account_balance set credit = credit + 100"],
            "the balance of account 2010:UA:USD is kept as",
            &["update account_balance set credit = credit - 100"],
        ),
        (
            &["delete from posting where entry = 2", "delete from journal_entry where seq = 2"],
            "entries 2 to 2 of the journal are missing",
            &[],
        ),
    ];
    for (done, named, undone) in tamperings {
        tamper(&server.data, engine, done);
        let verified = server.data.run(&["verify"]);
        let said = format!("{}{}", verified.stdout, verified.stderr);
        assert!(verified.code == 1 && said.contains(named), "{named}: {said}");
        if !undone.is_empty() {
            tamper(&server.data, engine, undone);
            is_sound(&server);
        }
    }
}
