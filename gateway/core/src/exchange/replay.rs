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
use crate::policy::reduce::{self, FieldOutcome, Findings, Made, Outcome};
use crate::policy::{Facts, Policy, Question, Refusal};
use crate::time::Timestamp;

use super::authorize::outcome_value;
use super::grounds::{OwnerKey, restore};

/// What came of replaying one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same decision, byte for byte.
    Same,
    /// The same as far as can be seen without the key of the record's owner: what may be concealed and does not show was
    /// taken for absent.
    SameButSealed,
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
    /// What only the record's owner may know of facts and findings.
    for_owner: Option<String>,
    /// Of a copy that was made before: the views it was made at.
    held: Option<BTreeMap<FieldId, ViewId>>,
    outcomes: Option<Value>,
    #[serde(default)]
    refused: Option<String>,
    /// Of people who were counted.
    statistics: Option<serde::de::IgnoredAny>,
}

/// What was in force when an entry was made, and what opens it.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    /// The policy whose hash is in the leaf.
    pub policy: &'a Policy,
    /// Open what was sealed for the record's owner; without the right one all else is decided again.
    pub keys: &'a dyn OwnerKey,
}

/// Decides again under `policy`: that of then, or a draft. `body` is the decision slot's.
pub fn replay(leaf: &Leaf, body: &str, past: Past<'_>, policy: &Policy) -> Replayed {
    let Ok(Value::Object(mut decision)) = json::parse(body.as_bytes()) else { return Replayed::Unreadable };
    // Of a subscription and its signals no field leaves; what one would show was decided all the same.
    if let Some(would_show) = decision.remove("would_show") {
        decision.insert("outcomes".into(), would_show);
    }
    if !decision.contains_key("facts") || !decision.contains_key("outcomes") {
        return Replayed::Undecided;
    }
    let Ok(mut inputs) = serde_json::from_value::<Inputs>(Value::Object(decision)) else {
        return Replayed::Unreadable;
    };
    let is_whole = inputs.complete(leaf, past);
    let given = match inputs.outcomes(policy) {
        Ok(outcomes) => outcomes.iter().map(outcome_value).collect(),
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
    match logged == given {
        true if is_whole => Replayed::Same,
        true => Replayed::SameButSealed,
        false => Replayed::Different { logged, given },
    }
}

impl Inputs {
    fn outcomes(&self, policy: &Policy) -> Result<Vec<FieldOutcome>, Refusal> {
        let question = Question {
            record_type: &self.record_type,
            purpose: &self.purpose,
            requested: self.requested.as_deref(),
            facts: &self.facts,
            now: self.at,
        };
        let plan = match &self.statistics {
            Some(_) => policy.decide_aggregates(&question)?,
            None => policy.decide(&question)?,
        };
        Ok(match &self.held {
            Some(views) => reduce::outcomes_of_copy(&plan, Made { findings: &self.findings, views }),
            None => reduce::outcomes(&plan, &self.findings),
        })
    }

    /// Puts back what was sealed for the owner. Without its key what the policy of then would have shown, and the entry does
    /// not, is taken for absent, where absence looks like any other cause.
    fn complete(&mut self, leaf: &Leaf, past: Past<'_>) -> bool {
        let (Some(sealed), Some(kind)) = (&self.for_owner, past.policy.record_type(&self.record_type)) else {
            return true;
        };
        let opened = past.keys.open(&self.facts.provider.agency, &leaf.content().id, sealed);
        if opened.and_then(|words| restore(&words, kind, &mut self.facts, &mut self.findings)).is_some() {
            return true;
        }
        let logged = self.outcomes.iter().filter_map(Value::as_array).flatten();
        let unavailable =
            logged.filter(|said| said.get("outcome").is_some_and(|outcome| outcome == "unavailable"));
        let names = unavailable.filter_map(|said| said.get("name")?.as_str()?.parse().ok());
        let unavailable: Vec<FieldId> = names.collect();
        let given = self.outcomes(past.policy).unwrap_or_default().into_iter();
        let would_show = given.filter(|said| matches!(said.outcome, Outcome::Shown { .. }));
        let hidden = would_show.map(|said| said.field).filter(|field| unavailable.contains(field));
        self.findings.absent.extend(hidden.collect::<Vec<_>>());
        false
    }
}
