//! The description of the API, and what it says of itself elsewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{
    api::{Code, PROBLEM},
    routes,
};
use crate::policy::golden;

fn document() -> Value {
    serde_json::from_str(&routes::of_the_api().described()).unwrap()
}

/// Every request of the document, such as `GET /v1/runs`.
fn requests(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let requests = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    requests.collect()
}

#[test]
fn the_document_is_the_golden_one() {
    golden::check("openapi.json", &routes::of_the_api().described());
}

#[test]
fn the_table_of_the_protocol_has_every_request_of_the_document_and_no_other() {
    let text = include_str!("../api/mod.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let mut table = BTreeSet::new();
    for row in rows {
        let cell = row.split(" |").next().unwrap();
        let mut method = "";
        for word in cell.split(['`', ' ', ',']).filter(|word| !word.is_empty()) {
            match word {
                "GET" | "POST" => method = word,
                path if path.starts_with("/v1/") => {
                    let path = path
                        .split('?')
                        .next()
                        .unwrap()
                        .replace("/ID", "/{id}")
                        .replace("/NAME[@DIGEST]", "/{name}");
                    table.insert(format!("{method} {path}"));
                }
                _ => {}
            }
        }
    }
    assert_eq!(table, requests(&document()));
}

#[test]
fn every_problem_of_a_route_is_told_with_its_status() {
    let document = document();
    let mut told = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status == "200" {
                    continue;
                }
                let problem = &response["content"][PROBLEM]["schema"]["properties"];
                assert_eq!(problem["status"]["const"].to_string(), *status);
                for name in problem["code"]["enum"].as_array().unwrap() {
                    let code: Code = serde_json::from_value(name.clone()).unwrap();
                    assert_eq!(code.status().to_string(), *status);
                    told.insert(code);
                }
            }
        }
    }
    // That of what is no operation is told nowhere else.
    let untold: Vec<Code> = Code::ALL.iter().copied().filter(|code| !told.contains(code)).collect();
    assert_eq!(untold, [Code::BadMethod]);
}

#[test]
fn what_is_refused_when_unknown_is_said_to_be_closed() {
    let schemas = &document()["components"]["schemas"];
    for name in ["LaunchRequest", "DelegateRequest", "Selector", "RevokeRequest", "Endpoint"] {
        assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
    }
    let required = &schemas["LaunchRequest"]["required"];
    assert_eq!(*required, serde_json::json!(["policy", "agent", "owner", "task"]));
    // Answers may gain members.
    assert!(schemas["RunView"].get("additionalProperties").is_none());
}
