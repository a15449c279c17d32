//! What an entry says once its bodies are opened, flat and typed: what alerts, inquiries and other people's formats are
//! made from. A body that is erased, or of another form, leaves its members empty.

use serde_json::Value;

use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, ExchangeId, FieldId, OfficeId, OperatorId, Pseudonym, PurposeId};
use crate::id::{CaseId, RecordTypeId, ViewId};
use crate::log::entry::{Kind, Slots};
use crate::log::leaf::Leaf;
use crate::time::Timestamp;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub index: u64,
    pub hash: Sha256,
    pub at: Timestamp,
    pub kind: Kind,
    pub id: ExchangeId,
    pub consumer: Option<AgencyId>,
    pub provider: Option<AgencyId>,
    pub purpose: Option<PurposeId>,
    pub record_type: Option<RecordTypeId>,
    /// The code of a denial or failure.
    pub code: Option<String>,
    pub policy: Option<Sha256>,
    pub who: Who,
    pub whose: Whose,
    /// The fields that left, each at its view.
    pub shown: Vec<(FieldId, ViewId)>,
    /// The layers that withheld something, sorted.
    pub layers: Vec<String>,
    /// The consents that something rests on.
    pub consents: Vec<ConsentId>,
}

/// From the operator's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub agency: Option<AgencyId>,
    pub office: Option<OfficeId>,
    pub operator: Option<OperatorId>,
    pub location: Option<String>,
    /// The key of the seal on the request.
    pub seal: Option<Sha256>,
    /// Another agency's channel, where one carried the request.
    pub carrier: Option<AgencyId>,
}

/// From the subject's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    pub subject: Option<Pseudonym>,
    pub case: Option<CaseId>,
}

impl Summary {
    pub fn of(leaf: &Leaf, slots: &Slots) -> Self {
        let content = leaf.content();
        let open = |slot: Option<&crate::log::entry::Slot>| -> Value {
            slot.and_then(|slot| serde_json::from_str(&slot.body).ok()).unwrap_or_default()
        };
        let decision = open(slots.decision.as_ref());
        let (operator, subject) = (open(slots.operator.as_ref()), open(slots.subject.as_ref()));
        let outcomes = decision.get("outcomes").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut layers: Vec<String> = outcomes.iter().filter_map(layer).map(str::to_owned).collect();
        layers.sort();
        layers.dedup();
        let rests_on = decision.get("rests_on").and_then(Value::as_object);
        Self {
            index: content.index,
            hash: leaf.hash(),
            at: content.at,
            kind: content.kind,
            id: content.id.clone(),
            consumer: content.consumer.clone(),
            provider: content.provider.clone(),
            purpose: content.purpose.clone(),
            record_type: content.record_type.clone(),
            code: content.code.as_ref().map(|code| code.as_str().to_owned()),
            policy: content.policy,
            who: Who {
                agency: parsed(&operator, "agency"),
                office: parsed(&operator, "office"),
                operator: parsed(&operator, "operator"),
                location: parsed(&operator, "location"),
                seal: parsed(&operator, "seal"),
                carrier: parsed(&operator, "carrier"),
            },
            whose: Whose { subject: parsed(&subject, "subject"), case: parsed(&subject, "case") },
            shown: outcomes.iter().filter_map(shown).collect(),
            layers,
            consents: rests_on
                .into_iter()
                .flat_map(|on| on.keys())
                .filter_map(|id| id.parse().ok())
                .collect(),
        }
    }
}

/// What entries are found by besides what they say openly: each field that left (`field:<name>`) and each layer that
/// withheld something (`layer:<name>`), from the field outcomes of a decision. Sorted, without repetition.
pub fn facets(outcomes: &[Value]) -> Vec<String> {
    let fields = outcomes.iter().filter_map(shown).map(|(field, _)| format!("field:{field}"));
    let layers = outcomes.iter().filter_map(layer).map(|layer| format!("layer:{layer}"));
    let mut facets: Vec<String> = fields.chain(layers).collect();
    facets.sort();
    facets.dedup();
    facets
}

fn parsed<T: std::str::FromStr>(body: &Value, member: &str) -> Option<T> {
    body.get(member)?.as_str()?.parse().ok()
}

fn shown(outcome: &Value) -> Option<(FieldId, ViewId)> {
    let is_shown = outcome.get("outcome")?.as_str()? == "shown";
    is_shown.then(|| Some((parsed(outcome, "name")?, parsed(outcome, "view")?))).flatten()
}

fn layer(outcome: &Value) -> Option<&str> {
    outcome.get("layer")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::log::entry::{Draft, Slot};
    use crate::log::leaf::tests::disclosure;

    fn opened(decision: &Value) -> Summary {
        let mut draft = disclosure(1);
        let who = json!({ "agency": "cpi-lucca", "office": "servizi-lavoro", "operator": "op-1", "location": "ws-3",
            "seal": Sha256::of(b"key"), "carrier": null, "tokens": [] });
        let whose = json!({ "subject": format!("s1.{}", "a".repeat(26)), "case": draft.id });
        draft.slots.decision = Some(Slot::new([1; 32], decision));
        draft.slots.operator = Some(Slot::new([2; 32], &who));
        draft.slots.subject = Some(Slot::new([3; 32], &whose));
        Summary::of(&draft.leaf(7, Timestamp::from_millis(5)), &draft.slots)
    }

    #[test]
    fn an_entry_is_opened_into_what_it_says() {
        let outcomes = json!([
            { "name": "isee_fascia", "outcome": "shown", "view": "intero", "technique": "identity" },
            { "name": "sesso", "outcome": "withheld", "layer": "law", "reason": "x" },
            { "name": "indirizzo", "outcome": "unavailable" },
            { "name": "nome", "outcome": "withheld", "layer": "consent", "reason": "x" },
        ]);
        let summary = opened(
            &json!({ "outcomes": outcomes, "rests_on": { disclosure(9).id.as_str(): ["isee_fascia"] } }),
        );
        assert_eq!(summary.shown, [("isee_fascia".parse().unwrap(), "intero".parse().unwrap())]);
        assert_eq!(summary.layers, ["consent", "law"]);
        assert_eq!(summary.consents.len(), 1);
        assert_eq!(summary.who.operator.unwrap().as_str(), "op-1");
        assert_eq!((summary.who.seal, summary.who.carrier), (Some(Sha256::of(b"key")), None));
        assert!(summary.whose.subject.is_some() && summary.whose.case.is_some());
        let found = facets(outcomes.as_array().unwrap());
        assert_eq!(found, ["field:isee_fascia", "layer:consent", "layer:law"]);
    }

    #[test]
    fn what_is_erased_or_of_another_form_is_empty() {
        let draft = Draft::new(Kind::Denial, disclosure(1).id);
        let summary = Summary::of(&draft.leaf(0, Timestamp::from_millis(0)), &draft.slots);
        assert_eq!((summary.who, summary.whose), (Who::default(), Whose::default()));
        assert!(opened(&json!([1])).shown.is_empty());
        assert!(opened(&json!({ "outcomes": [{ "name": 3, "outcome": "shown" }] })).shown.is_empty());
    }
}
