//! Shares, over HTTP: who publishes is paid a part of what readers are charged, and sees of which charges.

use serde_json::Value;
use serde_json::json;

use crate::support::data::Engine;
use crate::support::server::Server;

crate::support::both_engines!(a_publisher_is_paid_a_part_and_sees_of_what);

const FILES: [(&str, &str); 6] = [
    ("book.toml", "name = \"Papers\"\ncurrency = \"EUR\"\ntimezone = \"Europe/Berlin\"\n"),
    ("catalog/read.toml", "[[event_type]]\ntype = \"article.read\"\ntitle = \"Read\"\nlifecycle = \"published\"\n"),
    (
        "meters/reads.toml",
        r#"
        [[meter]]
        id = "reads"
        event_type = "article.read"
        aggregation = "count"
        dimensions = { publisher = "data.publisher" }
        "#,
    ),
    (
        "plans/reader.toml",
        r#"
        [plan]
        id = "reader"
        [[plan.component]]
        id = "reads"
        kind = "charge"
        meter = "reads"
        model = "per_unit"
        unit_amount = "0.25"
        "#,
    ),
    (
        "plans/publisher.toml",
        r#"
        [plan]
        id = "publisher"
        [[plan.component]]
        id = "royalty"
        name = "Royalties"
        kind = "share"
        of = [ { plan = "reader", charge = "reads" } ]
        producer = "publisher"
        rate = "60"
        program = "royalties"
        "#,
    ),
    (
        "programs/royalties.toml",
        r#"
        [[program]]
        id = "royalties"
        from = "2026-01-01"
        to = "2036-01-01"
        hold = "14d"
        accounting = "producer_share"
        "#,
    ),
];

fn read(reader: &str, number: u32, publisher: &str) -> String {
    let event = json!({
        "specversion": "1.0", "id": number.to_string(), "source": format!("/{reader}"), "type": "article.read",
        "subject": reader, "time": "2026-01-15T12:00:00Z", "data": { "publisher": publisher },
    });
    format!("{event}\n")
}

fn a_publisher_is_paid_a_part_and_sees_of_what(engine: Engine) {
    let book = tempfile::tempdir().expect("a folder");
    for (path, text) in FILES {
        let path = book.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
        std::fs::write(path, text).expect("is written");
    }
    let server = Server::start(engine, book.path());
    for (id, plan) in [("ann", "reader"), ("ben", "reader"), ("cid", "reader"), ("post", "publisher")] {
        server.put(&format!("/v1/consumers/{id}"), &json!({ "name": id, "currency": "EUR" })).ok();
        server.post("/v1/subscriptions", &json!({ "consumer": id, "plan": plan, "start": "2026-01-01" })).ok();
    }
    for (reader, own, others) in [("ann", 3, 1), ("ben", 1, 0), ("cid", 0, 5)] {
        let body = (0..own).map(|number| read(reader, number, "post"));
        let body: String = body.chain((10..10 + others).map(|number| read(reader, number, "else"))).collect();
        server.events(&body).ok();
    }
    server.post("/v1/close", &json!({ "through": "2026-02-01" })).ok();

    let payouts = server.get("/v1/payouts").ok()["data"].as_array().expect("a list").clone();
    assert_eq!(payouts.len(), 1, "{payouts:?}");
    let line = &payouts[0]["lines"][0];
    // Four reads of the post at 0.25, and 60 % of that.
    assert_eq!((&line["amount"]["amount"], &line["quantity"]), (&json!("0.60"), &json!("1")), "{line}");
    assert_eq!(
        (&line["kind"], &line["component"], &line["program"]),
        (&json!("reward"), &json!("royalty"), &json!("royalties"))
    );
    assert_eq!(line["explanation"]["steps"][0]["step"], "share");

    let created = ["key", "create", "--role", "consumer:post", "--name", "post", "--json"];
    let key: Value = serde_json::from_str(&server.cli(&created).done()).expect("JSON");
    let publisher = server.client(Some(key["secret"].as_str().expect("a secret")));
    let path = format!("/v1/payouts/{}/lines/1/explain?limit=1", payouts[0]["id"].as_str().expect("an id"));
    let first = publisher.get(&path).ok();
    let second = publisher.get(&format!("{path}&cursor={}", first["next_cursor"].as_str().expect("a cursor"))).ok();
    assert_eq!(second["next_cursor"], Value::Null);
    let mut found: Vec<(String, String)> = [&first, &second]
        .map(|page| {
            let share = &page["shares"][0];
            assert_eq!((&share["charge"], &share["rate"]), (&json!("reads"), &json!("60")), "{page}");
            let text = |value: &Value| value["amount"].as_str().expect("an amount").to_owned();
            (text(&share["base"]), text(&share["amount"]))
        })
        .to_vec();
    found.sort();
    assert_eq!(found, [("0.25".to_owned(), "0.15".to_owned()), ("0.75".to_owned(), "0.45".to_owned())]);
    server.data.run(&["verify"]).done();
}
