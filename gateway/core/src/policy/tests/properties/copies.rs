//! A copy that was made under one decision and is handed over under another.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::*;
use crate::policy::reduce::{self, Findings, Made, Outcome};

/// The copy a plan makes of a record that holds everything: its views, and a value for each field with its parts.
fn copy(plan: &Plan) -> (BTreeMap<FieldId, ViewId>, Map<String, Value>) {
    let mut made = BTreeMap::new();
    let mut record = Map::new();
    for said in reduce::outcomes(plan, &Findings::default()) {
        let Outcome::Shown { view, .. } = said.outcome else { continue };
        match said.field.as_str().split_once('.') {
            None => drop(record.entry(said.field.to_string()).or_insert_with(|| json!([{}]))),
            Some((list, part)) => {
                let items = record.entry(list).or_insert_with(|| json!([{}]));
                items[0][part] = json!("part");
            }
        }
        made.insert(said.field, view);
    }
    (made, record)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever was agreed, opposed or opened in between: nothing is added, nothing is shown finer than it was made or than
    /// it may be now, what is concealed looks absent, and a replay comes to the same outcomes.
    #[test]
    fn a_copy_only_ever_narrows(first in draw(), later in draw()) {
        let first = Draw { requested: None, ..first };
        let second = Draw {
            consents: later.consents,
            restrictions: later.restrictions,
            scoped: later.scoped,
            acts: later.acts,
            ..first.clone()
        };
        let (Ok(accepted), Ok(now)) = (first.asked().put(&POLICY), second.asked().put(&POLICY)) else {
            return Ok(());
        };
        let (made, record) = copy(&accepted);
        let findings = Findings::default();
        let carried = reduce::carry(&now, Made { findings: &findings, views: &made }, record.clone());
        for (name, value) in &carried.record {
            let was = &record[name];
            let kept = value[0].as_object().unwrap();
            prop_assert!(kept.iter().all(|(part, value)| was[0].get(part) == Some(value)), "{name} grew");
        }
        for said in &carried.outcomes {
            let field = now.record_type.field(now.record_type.find(&said.field).unwrap()).unwrap();
            let (root, part) = said.field.as_str().split_once('.').unwrap_or((said.field.as_str(), ""));
            let held = carried.record.get(root);
            let is_there = held.is_some_and(|list| part.is_empty() || list[0].get(part).is_some());
            if let Outcome::Shown { view, .. } = &said.outcome {
                prop_assert_eq!(Some(view), made.get(&said.field));
                let allowed = views(&now).find(|(_, other, _)| other.id == field.id).unwrap().2;
                let view = field.ladder.find(view.as_str()).unwrap();
                prop_assert!(field.ladder.is_within(view, allowed), "{} is finer than allowed", field.id);
                prop_assert!(is_there, "{} is said to be shown and is not there", field.id);
            } else {
                prop_assert!(!is_there, "{} is there and not said to be", field.id);
                let looks_absent = said.outcome == Outcome::Unavailable;
                prop_assert!(!field.conceal || looks_absent, "{} tells why it is not there", field.id);
            }
        }
        let replayed = reduce::outcomes_of_copy(&now, Made { findings: &carried.findings, views: &made });
        prop_assert_eq!(replayed, carried.outcomes);
    }
}
