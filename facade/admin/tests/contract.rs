//! The OpenAPI document and the router say the same.

mod common;

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use common::{app, request, send};
use serde_json::Value;

const METHODS: [&str; 6] = ["get", "put", "post", "delete", "patch", "options"];

fn document() -> Value {
    serde_json::to_value(trimtab_admin::openapi()).expect("JSON")
}

/// The methods of a path by the header `Allow`, which the router fills from its own table.
async fn allowed(path: &str) -> BTreeSet<String> {
    let unknown = Method::from_bytes(b"QUERY").expect("a method");
    let answer = send(&app(), request(unknown, path).body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path} is in the document, but not in the router");
    answer.header("allow").split(',').map(str::to_lowercase).filter(|method| method != "head").collect()
}

#[tokio::test]
async fn every_operation_of_the_document_is_routed_and_no_other() {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 20, "{}", paths.len());
    for (path, item) in paths {
        let documented: BTreeSet<String> = item.as_object().expect("operations").keys().cloned().collect();
        assert!(documented.iter().all(|method| METHODS.contains(&method.as_str())), "{documented:?}");
        let real = path
            .replace("{name}", "a")
            .replace("{id}", "1")
            .replace("{key}", "k/l")
            .replace("{file}", "app.js")
            .replace("{code}", "bad-name");
        assert!(!real.contains('{'), "{real}");
        assert_eq!(allowed(&real).await, documented, "{path}");
    }
}

/// The router's table is visible only in its debug output; every path in it must be documented.
#[tokio::test]
async fn every_path_of_the_router_is_in_the_document() {
    let document = document();
    let debug = format!("{:?}", app());
    let mut found = BTreeSet::new();
    for part in debug.split('"').filter(|part| part.starts_with('/')) {
        // Axum's own entry for the fallback.
        if part.contains("__private") || part == "/{*" {
            continue;
        }
        found.insert(part.replace("{*", "{"));
    }
    let documented: BTreeSet<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(found, documented);
}

#[test]
fn every_operation_says_what_it_answers() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{method} {path}: {operation}");
            assert!(!operation["responses"].as_object().expect("responses").is_empty());
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(schemas.contains_key(name), "{name}");
    }
}
