//! History into a meter that was published after it: each event once, whatever is repeated, interrupted or closed.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support::airlines;
use crate::support::books;
use crate::support::data::Engine;
use crate::support::data::run_and_kill;
use crate::support::flights;
use crate::support::flights::PerMonth;
use crate::support::flights::column;
use crate::support::flights::used;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::server::Server;

crate::support::both_engines!(
    overlapping_and_killed_replays_count_every_event_once,
    what_is_replayed_into_closed_periods_changes_no_document,
    a_replay_is_a_job_that_can_be_watched,
);

const KILLS: u64 = 12;

/// A server that has counted all flights, and then learned of the younger meter.
fn server(engine: Engine) -> Server {
    let server = Server::start(engine, &books::flights());
    server.cli(&["events", "import", &flights::events_file()]).done();
    airlines::sign_up(&server);
    let book = books::younger();
    let book = book.path().display().to_string();
    server.cli(&["pricing", "apply", "--pricing", &book, "--effective", "2013-02-01T05:00:00Z"]).done();
    server
}

fn of_months(months: &[u32]) -> PerMonth {
    column("late_60").into_iter().filter(|((_, month), _)| months.contains(month)).collect()
}

fn watched(client: &Client, meter: &str) -> Value {
    loop {
        let job = client.get(&format!("/v1/meters/{meter}/replay")).ok();
        if job["state"] != "running" {
            return job;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn overlapping_and_killed_replays_count_every_event_once(engine: Engine) {
    let mut random = Random::from_environment();
    let mut server = server(engine);
    assert_eq!(used(&server, "late_again", None), PerMonth::new());
    // A retraction of an event of January before, of one of February after: both times the replay agrees with it.
    let late = |month: &str| {
        let is = |event: &&Value| {
            let delay = event["data"]["dep_delay"].as_i64().unwrap_or_default();
            delay >= 60 && event["time"].as_str().is_some_and(|time| time.starts_with(month))
        };
        let events: Vec<Value> =
            flights::events().iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
        events.iter().find(is).expect("somebody was late").clone()
    };
    let take_back = |server: &Server, event: &Value| {
        let data = json!({ "source": event["source"], "id": event["id"] });
        let kind = "tallystick.event.retracted";
        let retraction =
            json!({ "specversion": "1.0", "id": event["id"], "source": "/mend", "type": kind, "data": data });
        assert_eq!(server.events(&retraction.to_string()).ok()["accepted"], 1);
    };
    let (january, february) = (late("2013-01-10"), late("2013-02-10"));
    take_back(&server, &january);

    let day = ["events", "replay", "--meter", "late_again", "--from", "2013-01-01", "--to", "2013-02-01", "--json"];
    let answer: Value = serde_json::from_str(&server.cli(&day).done()).expect("JSON");
    assert_eq!(answer["taken_back"], 1);
    assert!(answer["events"].as_i64() < Some(flights::FLIGHTS / 2), "only January: {answer}");
    let mut expected = of_months(&[1]);
    *expected.get_mut(&(flights::text(&january["subject"]), 1)).expect("was late") -= 1;
    assert_eq!(used(&server, "late_again", None), expected);
    assert_eq!(serde_json::from_str::<Value>(&server.cli(&day).done()).expect("JSON")["events"], 0);

    // Killed while it runs on a server.
    server.post("/v1/meters/late_again/replay", &json!({ "from": "2013-01-20", "to": "2013-02-10" })).ok();
    std::thread::sleep(Duration::from_millis(random.below(300)));
    server.kill();
    // Killed while it runs on the data, over ranges that overlap.
    for kill in 0..KILLS {
        let (from, to) = (1 + random.below(20), 21 + random.below(8));
        let month = 1 + kill % 3;
        let range = [format!("2013-0{month}-{from:02}"), format!("2013-0{month}-{to:02}")];
        let mut arguments = server.data.arguments();
        arguments.splice(
            0..0,
            ["events", "replay", "--meter", "late_again", "--from", &range[0], "--to", &range[1]].map(str::to_owned),
        );
        run_and_kill(&arguments, Duration::from_millis(random.below(1_500)));
    }
    let arguments = ["events", "replay", "--meter", "late_again"];
    let said = server.data.run(&arguments).done();
    assert!(said.starts_with("late_again counts") || said.starts_with("Nothing to replay"), "{said}");
    assert!(server.data.run(&arguments).done().starts_with("Nothing to replay"));
    server.data.run(&["verify"]).done();

    server.start_again();
    expected = of_months(&[1, 2, 3]);
    *expected.get_mut(&(flights::text(&january["subject"]), 1)).expect("was late") -= 1;
    assert_eq!(used(&server, "late_again", None), expected);
    let encode =
        |event: &Value, name: &str| event[name].as_str().expect("text").replace('/', "%2F").replace(' ', "%20");
    let address = format!("/v1/events/{}/{}", encode(&february, "source"), encode(&february, "id"));
    let counted = |server: &Server| {
        let event = server.get(&address).ok();
        event["counted"].as_array().expect("a list").iter().any(|counted| counted["meter"] == "late_again")
    };
    assert!(counted(&server));
    take_back(&server, &february);
    assert!(!counted(&server));
    *expected.get_mut(&(flights::text(&february["subject"]), 2)).expect("was late") -= 1;
    assert_eq!(used(&server, "late_again", None), expected);
    assert_eq!(used(&server, "late_60", None), expected, "the older meter says the same");
    server.stop();
    server.data.run(&["verify"]).done();
}

fn what_is_replayed_into_closed_periods_changes_no_document(engine: Engine) {
    let mut server = server(engine);
    // February is closed before its late flights are counted by the meter that the plan asks, March after.
    server.post("/v1/close", &json!({ "through": "2013-03-01" })).ok();
    let invoices = |server: &Server| server.get("/v1/invoices?limit=1000").ok()["data"].clone();
    let before = invoices(&server);
    server.cli(&["events", "replay", "--meter", "late_again"]).done();
    assert_eq!(used(&server, "late_again", None), column("late_60"));
    assert_eq!(invoices(&server), before);
    server.post("/v1/close", &json!({ "through": "2013-04-01" })).ok();
    let after = invoices(&server);
    let delays = |invoices: &Value, month: &str| {
        let of_month =
            |invoice: &&Value| invoice["period"]["from"].as_str().is_some_and(|from| from.starts_with(month));
        let invoices = invoices.as_array().expect("invoices").iter().filter(of_month);
        let lines = invoices.flat_map(|invoice| invoice["lines"].as_array().expect("lines"));
        lines.filter(|line| line["component"] == "delays" && line["quantity"] != "0").count()
    };
    assert_eq!(delays(&after, "2013-02"), 0);
    assert!(delays(&after, "2013-03") > 5, "{}", delays(&after, "2013-03"));
    server.stop();
    server.data.run(&["verify"]).done();
}

fn a_replay_is_a_job_that_can_be_watched(engine: Engine) {
    let server = server(engine);
    let path = "/v1/meters/late_again/replay";
    assert_eq!(server.get(path).problem(404)["code"], "unknown_replay");
    assert_eq!(server.post("/v1/meters/nothing/replay", &json!({})).problem(404)["code"], "unknown_meter");
    assert_eq!(server.post(path, &json!({ "from": "soon" })).problem(422)["errors"][0]["at"], "/from");
    let backwards = json!({ "from": "2013-02-01", "to": "2013-01-01" });
    assert_eq!(server.post(path, &backwards).problem(422)["errors"][0]["at"], "/to");
    assert_eq!(server.client(None).post(path, &json!({})).problem(401)["code"], "unauthorized");

    let reply = server.post(path, &json!({ "to": "2013-02-01" }));
    assert_eq!((reply.status, reply.ok()["state"].clone()), (202, json!("running")));
    // Events go on coming in.
    let event = flights::events()[0].replace("2013-01-01T", "2013-03-31T").replacen("\"id\":\"", "\"id\":\"again-", 1);
    assert_eq!(server.events(&event).ok()["accepted"], 1);
    let job = watched(&server, "late_again");
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!((&job["from"], &job["to"]), (&Value::Null, &json!("2013-02-01T05:00:00Z")));
    assert_eq!(job["counted"].as_i64(), Some(of_months(&[1]).values().sum::<i64>()));
    assert_eq!(server.get("/v1/meters/miles/replay").problem(404)["code"], "unknown_replay");
    let error = server.cli(&["events", "replay", "--meter", "nothing"]);
    assert_eq!(error.code, 1);
    assert!(error.stderr.contains("there is no meter `nothing`"), "{}", error.stderr);
}
