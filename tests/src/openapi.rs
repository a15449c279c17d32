//! The contract that is served and the routes that exist say the same.

use std::collections::BTreeSet;
use std::path::Path;

use varco_core::consent::State;

/// Method and path, such as `post /pulls`.
type Route = (String, String);

#[test]
fn every_route_is_in_the_contract_and_the_other_way_round() {
    let (served, promised) = (served(), promised());
    assert!(served.len() > 10, "the routes are not written as this test expects: {served:?}");
    assert_eq!(served, promised, "left: served, right: in gateway/openapi.yaml");
}

#[test]
fn every_reference_of_the_contract_leads_somewhere() {
    let contract = contract();
    let parts = parts(&contract);
    for reference in contract.split("\"#/components/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(parts.contains(reference), "{reference}");
    }
}

#[test]
fn the_contract_knows_every_state_of_a_consent() {
    let contract = contract();
    let states =
        contract.split("    ConsentState:\n").nth(1).unwrap().split("    Capacity:\n").next().unwrap();
    let listed: BTreeSet<&str> = states.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let known: Vec<String> = State::ALL
        .iter()
        .map(|state| serde_json::to_value(state).unwrap().as_str().unwrap().into())
        .collect();
    assert_eq!(listed, known.iter().map(String::as_str).collect());
}

/// The routes as `gateway/src/http/exchange.rs` registers them: `.route("<path>", get(..).post(..))`.
pub fn served() -> BTreeSet<Route> {
    let source = read("gateway/src/http/exchange.rs");
    let routes = source.split("pub fn routes(").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut found = BTreeSet::new();
    for route in routes.split(".route(").skip(1) {
        // A part that may hold slashes is `{*name}` to axum and `{name}` in the contract, which cannot say it.
        let path = route.split('"').nth(1).unwrap().replace("{*", "{");
        for method in ["delete", "get", "patch", "post", "put"] {
            let call = format!("{method}(");
            let before = |at: usize| route.split_at(at).0.chars().next_back();
            // A method stands alone or after a dot; `name_get(` is something else.
            let is_method = |at: usize| before(at).is_none_or(|c| c == '.' || c.is_whitespace());
            if route.match_indices(&call).any(|(at, _)| is_method(at)) {
                found.insert((method.to_owned(), path.clone()));
            }
        }
    }
    found
}

/// The paths of the contract. Its form is ours, so its indentation is known.
fn promised() -> BTreeSet<Route> {
    let contract = contract();
    let paths = contract.split("\npaths:\n").nth(1).unwrap().split("\ncomponents:\n").next().unwrap();
    let mut found = BTreeSet::new();
    let mut path = "";
    for line in paths.lines() {
        if let Some(name) = line.strip_prefix("  /").and_then(|rest| rest.strip_suffix(':')) {
            path = name;
        } else if let Some(method) = line.strip_prefix("    ").and_then(|rest| rest.strip_suffix(':'))
            && ["delete", "get", "patch", "post", "put"].contains(&method)
        {
            found.insert((method.to_owned(), format!("/{path}")));
        }
    }
    found
}

/// `schemas/Pull`, `headers/Digest` and so on.
fn parts(contract: &str) -> BTreeSet<String> {
    let components = contract.split("\ncomponents:\n").nth(1).unwrap();
    let (mut section, mut found) = ("", BTreeSet::new());
    for line in components.lines() {
        let indent = line.len() - line.trim_start().len();
        match (indent, line.trim().strip_suffix(':')) {
            (2, Some(name)) => section = name,
            (4, Some(name)) => {
                found.insert(format!("{section}/{name}"));
            }
            _ => {}
        }
    }
    found
}

fn contract() -> String {
    read("gateway/openapi.yaml")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
