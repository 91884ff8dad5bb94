//! Whatever the farm can say to a person is explained in the documentation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

use bus_schemas::command::ErrorCode;
use bus_schemas::share::ShareRefusal;
use serde_json::Value;
use std::collections::BTreeSet;
use system_tests::parts::repository;

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// The generated schema of a message; another test keeps the files true.
fn schema(message: &str) -> Value {
    let file = repository().join("bus-schemas/schemas").join(format!("{message}.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The first column of the table under `heading`: names in backquotes.
fn entries(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading:?}"));
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .collect()
}

/// The names that a generated schema allows.
fn variants(schema: &Value) -> BTreeSet<String> {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    let each = alternatives.filter_map(|alternative| alternative["const"].as_str());
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    each.chain(listed).map(str::to_owned).collect()
}

#[test]
fn every_code_of_a_refused_command_is_explained() {
    let codes = ErrorCode::ALL.map(|code| code.as_str().to_owned());
    assert_eq!(entries(&page("codes.md"), "Commands"), BTreeSet::from(codes));
}

#[test]
fn the_list_of_codes_has_every_code_that_can_be_sent() {
    let sent = variants(&schema("CommandError")["$defs"]["ErrorCode"]);
    assert_eq!(sent, ErrorCode::ALL.map(|code| code.as_str().to_owned()).into());
}

#[test]
fn every_reason_to_refuse_a_share_is_explained() {
    let reasons = ShareRefusal::ALL.map(|reason| reason.as_str().to_owned());
    assert_eq!(entries(&page("codes.md"), "Shares"), BTreeSet::from(reasons));
}

#[test]
fn every_reason_of_a_set_point_is_explained() {
    let reasons = variants(&schema("Heartbeat")["$defs"]["Reason"]);
    assert!(reasons.contains("pool-paused"), "{reasons:?}");
    assert_eq!(entries(&page("codes.md"), "Set-points"), reasons);
}

#[test]
fn every_code_with_which_a_worker_refuses_an_algorithm_or_a_catalogue_is_explained() {
    let page = page("codes.md");
    let explained: BTreeSet<String> =
        ["Certificates", "Hosts"].iter().flat_map(|heading| entries(&page, heading)).collect();
    assert_eq!(explained, worker::certificates::codes().map(str::to_owned).collect());
}

#[test]
fn every_shortcoming_of_a_server_is_explained() {
    let codes = nats_adapter::Shortcoming::CODES.map(str::to_owned);
    assert_eq!(entries(&page("codes.md"), "The server"), BTreeSet::from(codes));
}

#[test]
fn every_event_is_explained_with_its_fields() {
    let schema = schema("Event");
    let page = page("events.md");
    let mut told = BTreeSet::new();
    for event in schema["oneOf"].as_array().unwrap() {
        let name = event["properties"]["type"]["const"].as_str().unwrap();
        told.insert(name.to_owned());
        let line = page.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let line = line.unwrap_or_else(|| panic!("docs/events.md has no line for {name}"));
        for field in event["properties"]["data"]["properties"].as_object().into_iter().flatten() {
            assert!(line.contains(&format!("`{}`", field.0)), "docs/events.md: {name} lacks {}", field.0);
        }
    }
    assert!(told.len() > 10, "{told:?}");
    assert_eq!(entries(&page, "List"), told, "docs/events.md tells of events that do not exist");
}
