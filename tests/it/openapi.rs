//! What the server says of itself: OpenAPI that is true, a page to read it on, and whether it lives.

use serde_json::Value;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::server::Server;

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

#[test]
fn every_route_in_the_description_exists() {
    let server = Server::start(Engine::Sqlite, &books::flights());
    let described = server.client(None).get("/openapi.json").ok();
    assert!(
        described["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")),
        "{}",
        described["openapi"]
    );
    let paths = described["paths"].as_object().expect("paths");
    for named in [
        "/v1/events",
        "/v1/usage",
        "/v1/consumers/{id}",
        "/v1/subscriptions",
        "/v1/close",
        "/v1/invoices",
        "/v1/invoices/{id}",
        "/v1/payouts",
        "/v1/payouts/{id}",
        "/v1/consumers/{id}/statement",
        "/v1/ledger/trial-balance",
        "/v1/exports/{kind}",
    ] {
        assert!(paths.contains_key(named), "{named} is described");
    }

    let nowhere = server.get("/v1/nowhere").problem(404)["code"].clone();
    for (path, operations) in paths {
        for method in METHODS.into_iter().filter(|method| operations.get(method).is_some()) {
            let reply = server.send(&method.to_uppercase(), &filled_in(path), &[], b"");
            assert_ne!(reply.status, 405, "{method} {path}");
            assert!(reply.status < 500, "{method} {path}: {} {}", reply.status, reply.text());
            if reply.status == 404 {
                assert_ne!(reply.problem(404)["code"], nowhere, "{method} {path} leads nowhere");
            }
            let declared = operations[method]["responses"].as_object().expect("responses");
            let status = reply.status.to_string();
            let covered =
                declared.contains_key(&status) || declared.contains_key("default") || declared.contains_key("4XX");
            assert!(covered, "{method} {path} answers {status}, which it does not declare: {:?}", declared.keys());
        }
    }
}

/// Names that nothing has, in the places of a path that are filled in.
fn filled_in(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nobody" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let server = Server::start(Engine::Sqlite, &books::flights());
    let described = server.get("/openapi.json").ok();
    let mut references = Vec::new();
    collect_references(&described, &mut references);
    assert!(!references.is_empty(), "shapes are named");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(described.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[test]
fn the_reading_page_is_html_and_the_server_lives() {
    let server = Server::start(Engine::Sqlite, &books::flights());
    let nobody = server.client(None);
    let docs = nobody.get("/docs");
    assert_eq!(docs.status, 200);
    assert!(docs.content_type.starts_with("text/html"), "{}", docs.content_type);
    let page = docs.text();
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"), "{page:.100}");
    for shown in ["/v1/events", "/v1/usage", "/v1/consumers/{id}/statement"] {
        assert!(page.contains(shown), "{shown} is on the page");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "the page loads nothing from elsewhere");
    assert_eq!(nobody.get("/healthz").status, 200);
    assert_eq!(nobody.get("/readyz").status, 200);
}
