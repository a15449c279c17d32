//! An answer for people: what was released, at which view, and what was withheld by whom.

use serde_json::{Map, Value};
use varco_core::json;

use super::caller::{AnswerSeal, Received};
use crate::cli::language::Language;

/// The answer as one object: status, who sealed it, and the body.
pub fn as_json(received: &Received) -> String {
    let body = json::parse(&received.body).unwrap_or(Value::Null);
    let (sealed, organization, issuer) = match &received.seal {
        AnswerSeal::Good { organization, issuer } => (true, organization.as_deref(), issuer.as_deref()),
        AnswerSeal::None => (false, None, None),
    };
    serde_json::json!({
        "status": received.status, "sealed": sealed, "sealed_by": organization, "issuer": issuer, "body": body,
    })
    .to_string()
}

pub fn as_text(received: &Received, language: Language) -> String {
    let answer = format!("{} {}", language.choose("Risposta", "Answer"), received.status);
    let mut lines = vec![match &received.seal {
        AnswerSeal::Good { organization, .. } => {
            let nobody = language.choose("un ente senza identificativo", "a body without identifier");
            let sealed = language.choose("firma verificata di", "verified seal of");
            format!("{answer}, {sealed} {}", organization.as_deref().unwrap_or(nobody))
        }
        AnswerSeal::None => format!("{answer}, {}", language.choose("non firmata", "not signed")),
    }];
    let Ok(Value::Object(body)) = json::parse(&received.body) else {
        return lines.join("\n");
    };
    if received.status >= 400 {
        lines.extend(problem(&body));
    }
    lines.extend(exchange(&body, language));
    let members = body.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (place, member) in members.iter().filter_map(Value::as_object).enumerate() {
        let outcome = match member.get("outcome").and_then(Value::as_str) {
            Some("disclosed") => language.choose("comunicato", "disclosed"),
            Some("failed") => language.choose("il titolare non ha risposto", "the provider did not answer"),
            Some(_) | None => language.choose("nulla da comunicare", "nothing to release"),
        };
        lines.push(format!("{} {}: {outcome}", language.choose("Componente", "Member"), place + 1));
        lines.extend(exchange(member, language));
    }
    let list = |name: &str| body.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.extend(list("recipients").iter().filter_map(Value::as_object).map(recipient));
    for delivery in list("deliveries").iter().filter_map(Value::as_object) {
        lines.extend(delivered(delivery, language));
    }
    lines.extend(body.get("statistics").and_then(Value::as_object).into_iter().flat_map(statistics));
    if body.contains_key("receipt") {
        lines.push(
            language
                .choose("Ricevuta del registro: con --json", "Receipt of the log: with --json")
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// The table as its CSV has it, and the areas that are not in it.
fn statistics(said: &Map<String, Value>) -> Vec<String> {
    let csv = said.get("csv").and_then(Value::as_str).unwrap_or_default();
    let left_out = said.get("left_out").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let left_out = left_out.iter().filter_map(Value::as_object).map(|area| {
        let text = |name: &str| area.get(name).and_then(Value::as_str).unwrap_or("?");
        format!("  {}: {} ({})", text("area"), text("detail"), text("code"))
    });
    csv.lines().map(str::to_owned).chain(left_out).collect()
}

/// `cpi-lucca: waiting` and why, with the exchange.
fn recipient(said: &Map<String, Value>) -> String {
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let said: Vec<_> = ["state", "code", "next", "exchange"].into_iter().filter_map(text).collect();
    format!("  {}: {}", text("agency").unwrap_or("?"), said.join(", "))
}

/// One delivery of an inbox, with its fields.
fn delivered(delivery: &Map<String, Value>, language: Language) -> Vec<String> {
    let text = |name: &str| delivery.get(name).and_then(Value::as_str).unwrap_or("?");
    let (what, from) = (language.choose("Consegna", "Delivery"), language.choose("da", "from"));
    let mut lines = vec![format!(
        "{what} {} {from} {}: {} ({})",
        text("delivery"),
        text("provider"),
        text("record_type"),
        text("purpose")
    )];
    let empty = Map::new();
    let record = delivery.get("record").and_then(Value::as_object).unwrap_or(&empty);
    let fields = delivery.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.extend(fields.iter().filter_map(Value::as_object).map(|field| line(field, record)));
    lines
}

/// The exchange and what became of its fields.
fn exchange(body: &Map<String, Value>, language: Language) -> Vec<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let mut lines = Vec::new();
    lines.extend(text("exchange").map(|id| format!("{} {id}", language.choose("Scambio", "Exchange"))));
    let empty = Map::new();
    let record = body.get("record").and_then(Value::as_object).unwrap_or(&empty);
    let fields = body.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.extend(fields.iter().filter_map(Value::as_object).map(|field| line(field, record)));
    lines
}

fn problem(body: &Map<String, Value>) -> impl Iterator<Item = String> {
    ["code", "title", "detail"]
        .into_iter()
        .filter_map(|name| body.get(name).and_then(Value::as_str).map(|text| format!("  {name}: {text}")))
}

/// `name: value (view)` or `name: outcome, layer, reason`.
fn line(field: &Map<String, Value>, record: &Map<String, Value>) -> String {
    let text = |name: &str| field.get(name).and_then(Value::as_str);
    let name = text("name").unwrap_or("?");
    match record.get(name) {
        Some(value) => {
            let view = text("view").map(|view| format!(" ({view})")).unwrap_or_default();
            format!("  {name}: {}{view}", plain(value))
        }
        None => {
            let why: Vec<_> = ["outcome", "layer", "reason"].into_iter().filter_map(text).collect();
            format!("  {name}: {}", why.join(", "))
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
