//! Values of every kind, to try ladders on when a policy is loaded. They belong to nobody.

use serde_json::{Map, Value, json};

use super::kind::{CodeList, Kind, Member};

/// More codes than this tell nothing new about a ladder.
const MOST_CODES: usize = 64;

/// A few telling values of a kind: small and large, around band edges, empty and full.
pub fn values(kind: &Kind) -> Vec<Value> {
    match kind {
        Kind::Bool => vec![json!(false), json!(true)],
        Kind::Code(list) => codes(list),
        Kind::Date => {
            texts(&["1939-12-31", "1985-02-28", "1989-12-31", "1990-01-01", "2008-02-29", "2024-07-15"])
        }
        Kind::Decimal { .. } => {
            texts(&["0", "0.01", "2999.99", "3000", "3000.01", "9360", "15000.50", "250000"])
        }
        Kind::Email => texts(&["anna@esempio.example", "a@b.example"]),
        Kind::Instant => texts(&["2026-03-02T08:41:07Z", "2026-11-23T00:00:00Z"]),
        Kind::Integer { least, most } => {
            [0, 1, 2, 5, 6, 7, 11, 12, 13, 24, 25, 46, 66, 67, 74, 99, 100, *least, *most]
                .into_iter()
                .filter(|n| (*least..=*most).contains(n))
                .map(Value::from)
                .collect()
        }
        Kind::List(item) => {
            let all = values(item);
            let one = all.iter().take(1).cloned().collect();
            vec![Value::Array(Vec::new()), Value::Array(one), Value::Array(all)]
        }
        Kind::Phone => texts(&["+390583000001", "+393330000042"]),
        Kind::Struct(members) => {
            vec![Value::Object(Map::new()), nth(members, 0), nth(members, 1), nth(members, 2)]
        }
        Kind::TaxCode => texts(&["XXQNNA85B68E715K", "XXQMRA08M29B648P"]),
        Kind::Text { longest } => ["", "A", "Xxquercia", "D'Angelo \u{e8}"]
            .into_iter()
            .filter(|text| text.chars().count() <= *longest)
            .map(Value::from)
            .collect(),
    }
}

/// An object whose members take the n-th of their own samples.
fn nth(members: &[Member], n: usize) -> Value {
    let member = |member: &Member| {
        let of = values(&member.kind);
        of.get(n.checked_rem(of.len())?).map(|value| (member.name.clone(), value.clone()))
    };
    Value::Object(members.iter().filter_map(member).collect())
}

fn codes(list: &CodeList) -> Vec<Value> {
    let of_form = |form: &String| Value::from(form.replace('A', "K").replace('9', "4"));
    let written = list.groups.keys().take(MOST_CODES).map(|code| Value::from(code.as_str()));
    written.chain(list.forms.iter().map(of_form)).collect()
}

fn texts(of: &[&str]) -> Vec<Value> {
    of.iter().map(|text| Value::from(*text)).collect()
}
