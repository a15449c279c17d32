//! What an entry says once its bodies are opened, flat and typed: what alerts, inquiries and other people's formats are
//! made from. A body that is erased, or of another form, leaves its members empty.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, ExchangeId, FieldId, OfficeId, OperatorId, Pseudonym, PurposeId};
use crate::id::{CaseId, RecordTypeId, ViewId};
use crate::log::entry::{Kind, Slot, Slots};
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
    /// The entry never had such a body: it is about no person.
    pub is_nobody: bool,
}

impl Summary {
    pub fn of(leaf: &Leaf, slots: &Slots) -> Self {
        let content = leaf.content();
        let decision: Decision<'_> = opened(slots.decision.as_ref());
        let operator: Operator<'_> = opened(slots.operator.as_ref());
        let subject: Subject<'_> = opened(slots.subject.as_ref());
        let mut layers: Vec<String> = decision.layers().map(str::to_owned).collect();
        layers.sort();
        layers.dedup();
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
                agency: parsed(operator.agency.as_ref()),
                office: parsed(operator.office.as_ref()),
                operator: parsed(operator.operator.as_ref()),
                location: parsed(operator.location.as_ref()),
                seal: parsed(operator.seal.as_ref()),
                carrier: parsed(operator.carrier.as_ref()),
            },
            whose: Whose {
                subject: parsed(subject.subject.as_ref()),
                case: parsed(subject.case.as_ref()),
                is_nobody: content.commitments.subject.is_none(),
            },
            shown: decision.shown().collect(),
            layers,
            consents: decision.rests_on.keys().filter_map(|id| id.parse().ok()).collect(),
        }
    }
}

/// What entries are found by besides what they say openly: each field that left (`field:<name>`) and each layer that
/// withheld something (`layer:<name>`), from the body of a decision. Sorted, without repetition.
pub fn facets(decision: &str) -> Vec<String> {
    let decision: Decision<'_> = serde_json::from_str(decision).unwrap_or_default();
    let fields = decision.shown().map(|(field, _)| format!("field:{field}"));
    let layers = decision.layers().map(|layer| format!("layer:{layer}"));
    let mut facets: Vec<String> = fields.chain(layers).collect();
    facets.sort();
    facets.dedup();
    facets
}

/// What is read of a decision's body. Every entry is read so once or twice, hence without a tree.
#[derive(Default, Deserialize)]
struct Decision<'a> {
    #[serde(borrow, default)]
    outcomes: Vec<Told<'a>>,
    #[serde(borrow, default)]
    rests_on: BTreeMap<Cow<'a, str>, IgnoredAny>,
}

/// One field's outcome.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    layer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    view: Option<Cow<'a, str>>,
}

impl Decision<'_> {
    fn shown(&self) -> impl Iterator<Item = (FieldId, ViewId)> {
        let shown = self.outcomes.iter().filter(|told| told.outcome == "shown");
        shown.filter_map(|told| Some((told.name.parse().ok()?, told.view.as_ref()?.parse().ok()?)))
    }

    fn layers(&self) -> impl Iterator<Item = &str> {
        self.outcomes.iter().filter_map(|told| told.layer.as_deref())
    }
}

/// What is read of an operator's body.
#[derive(Default, Deserialize)]
struct Operator<'a> {
    agency: Option<Cow<'a, str>>,
    office: Option<Cow<'a, str>>,
    operator: Option<Cow<'a, str>>,
    location: Option<Cow<'a, str>>,
    seal: Option<Cow<'a, str>>,
    carrier: Option<Cow<'a, str>>,
}

/// What is read of a subject's body.
#[derive(Default, Deserialize)]
struct Subject<'a> {
    subject: Option<Cow<'a, str>>,
    case: Option<Cow<'a, str>>,
}

fn opened<'a, T: Default + Deserialize<'a>>(slot: Option<&'a Slot>) -> T {
    slot.and_then(|slot| serde_json::from_str(&slot.body).ok()).unwrap_or_default()
}

fn parsed<T: std::str::FromStr>(member: Option<&Cow<'_, str>>) -> Option<T> {
    member?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::log::entry::Draft;
    use crate::log::leaf::tests::disclosure;

    fn summarised(decision: &Value) -> Summary {
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
        let summary = summarised(
            &json!({ "outcomes": outcomes, "rests_on": { disclosure(9).id.as_str(): ["isee_fascia"] } }),
        );
        assert_eq!(summary.shown, [("isee_fascia".parse().unwrap(), "intero".parse().unwrap())]);
        assert_eq!(summary.layers, ["consent", "law"]);
        assert_eq!(summary.consents.len(), 1);
        assert_eq!(summary.who.operator.unwrap().as_str(), "op-1");
        assert_eq!((summary.who.seal, summary.who.carrier), (Some(Sha256::of(b"key")), None));
        assert!(summary.whose.subject.is_some() && summary.whose.case.is_some());
        let found = facets(&json!({ "outcomes": outcomes }).to_string());
        assert_eq!(found, ["field:isee_fascia", "layer:consent", "layer:law"]);
    }

    #[test]
    fn what_is_erased_or_of_another_form_is_empty() {
        let draft = Draft::new(Kind::Denial, disclosure(1).id);
        let summary = Summary::of(&draft.leaf(0, Timestamp::from_millis(0)), &draft.slots);
        assert_eq!((summary.who, summary.whose.subject), (Who::default(), None));
        assert!(summary.whose.is_nobody, "it never had a body that says whose it is");
        assert!(summarised(&json!([1])).shown.is_empty());
        assert!(summarised(&json!({ "outcomes": [{ "name": 3, "outcome": "shown" }] })).shown.is_empty());
    }
}
