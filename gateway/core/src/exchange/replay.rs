//! Replaying a decision: the same policy, the same facts, the same question must give the same outcomes, byte for byte.
//!
//! Everything but the policy is in the entry's decision slot; no value of a record is needed, because what values said
//! about themselves (controls, absences) was written down as findings.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::id::{FieldId, PurposeId, RecordTypeId, ViewId};
use crate::json;
use crate::log::leaf::Leaf;
use crate::policy::reduce::{self, Findings, Made};
use crate::policy::{Facts, Policy, Question};
use crate::time::Timestamp;

use super::authorize::outcome_value;

/// What came of replaying one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same decision, byte for byte.
    Same,
    /// Another decision: what the log says and what the policy gives now, as canonical JSON.
    Different { logged: String, given: String },
    /// The entry tells of no decision of the policy: it was refused before, failed, or was overtaken by a change.
    Undecided,
    /// The decision slot was erased or does not hold what a replay needs.
    Unreadable,
}

/// The part of a decision slot that a replay reads. What else is there tells of the request, not of the decision.
#[derive(Deserialize)]
struct Inputs {
    at: Timestamp,
    record_type: RecordTypeId,
    purpose: PurposeId,
    requested: Option<Vec<FieldId>>,
    facts: Facts,
    #[serde(default)]
    findings: Findings,
    /// Of a copy that was made before: the views it was made at.
    held: Option<BTreeMap<FieldId, ViewId>>,
    outcomes: Option<Value>,
    #[serde(default)]
    refused: Option<String>,
}

/// Decides again. `body` is the decision slot's, `policy` the one whose hash is in the leaf.
pub fn replay(leaf: &Leaf, body: &str, policy: &Policy) -> Replayed {
    let Ok(Value::Object(mut decision)) = json::parse(body.as_bytes()) else { return Replayed::Unreadable };
    // Of a subscription and its signals no field leaves; what one would show was decided all the same.
    if let Some(would_show) = decision.remove("would_show") {
        decision.insert("outcomes".into(), would_show);
    }
    if !decision.contains_key("facts") || !decision.contains_key("outcomes") {
        return Replayed::Undecided;
    }
    let Ok(inputs) = serde_json::from_value::<Inputs>(Value::Object(decision)) else {
        return Replayed::Unreadable;
    };
    let question = Question {
        record_type: &inputs.record_type,
        purpose: &inputs.purpose,
        requested: inputs.requested.as_deref(),
        facts: &inputs.facts,
        now: inputs.at,
    };
    let given = match policy.decide(&question) {
        Ok(plan) => {
            let outcomes = match &inputs.held {
                Some(views) => reduce::outcomes_of_copy(&plan, Made { findings: &inputs.findings, views }),
                None => reduce::outcomes(&plan, &inputs.findings),
            };
            outcomes.iter().map(outcome_value).collect()
        }
        // A request refused as a whole has no fields, and its code is in the leaf; a household's member is refused with one
        // code whatever the cause, which the body tells.
        Err(refusal)
            if inputs.refused.as_deref().or(leaf.content().code.as_ref().map(|code| code.as_str()))
                == Some(refusal.code().text()) =>
        {
            Vec::new()
        }
        Err(refusal) => {
            vec![Value::Object(Map::from_iter([("refused".to_owned(), refusal.code().text().into())]))]
        }
    };
    let (logged, given) =
        (json::canonical(&inputs.outcomes.unwrap_or_default()), json::canonical(&Value::Array(given)));
    if logged == given { Replayed::Same } else { Replayed::Different { logged, given } }
}
