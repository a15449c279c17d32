//! The answer to "who has my data" (GDPR art. 15): what the log says was disclosed of one person, told to that person.
//!
//! Made from the log's entries and nothing else. It names agencies, never their staff, and nobody but the person. What a
//! purpose keeps from the person by law, and what protects somebody from their own representative, is left out without a
//! trace. The log may say more than was received, never less: an answer that was lost on its way is in it too.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case;
use crate::consent::{Capacity, Consent, State};
use crate::correction::{Corrected, Ground};
use crate::emergency::{Danger, Emergency};
use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, ExchangeId, FieldId, OperatorId, PurposeId, RecordTypeId, ViewId};
use crate::json;
use crate::log::entry::{Kind, Slots};
use crate::log::leaf::Leaf;
use crate::policy::record::RecordType;
use crate::policy::reduce::Outcome;
use crate::policy::{Category, ConsentRole, Policy, Visibility};
use crate::registry::Registry;
use crate::time::Timestamp;

mod html;

pub use html::{Language, html};

/// The newest disclosures that one report tells: some every week, over ten years.
pub const MOST_LINES: usize = 1000;

/// What a report is made from.
pub struct Sources<'a> {
    pub registry: &'a Registry,
    /// The policy an entry was decided by.
    pub policy: &'a dyn Fn(&Sha256) -> Option<Arc<Policy>>,
    /// The one in force, for what a policy does not concern.
    pub current: &'a Policy,
    /// Everything the log has about the person, in its order.
    pub entries: &'a [(Leaf, Slots)],
    pub consents: &'a [Consent],
    /// Whose operators' codes are told, if anybody's.
    pub staff_of: Option<&'a AgencyId>,
}

/// Why a person must know which operator it was (CJEU C-579/21: only where their rights depend on it). In codes, because it
/// is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaffGround {
    /// For a claim before a court or a supervisory authority.
    Claim,
    /// Somebody may have looked without a reason.
    SuspectedMisuse,
}

/// Who the report is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub capacity: Capacity,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub made: Timestamp,
    /// The log knows everything from here on.
    pub from: Option<Timestamp>,
    /// The newest first.
    pub disclosures: Vec<Line>,
    /// Older disclosures that found no place: they are told on request.
    pub older: u64,
    /// What was disclosed under another's name and was about this person.
    pub mistaken: Vec<Mistaken>,
    pub consents: Vec<Choice>,
    /// Earlier reports: when and where somebody asked.
    pub reports: Vec<Asked>,
}

/// A name for people beside the identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named<T> {
    pub id: T,
    pub name: String,
}

/// One disclosure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub exchange: ExchangeId,
    /// When it left; of a copy that waits, when its owner sent it.
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Pushed>,
    /// Whose data they were.
    pub owner: Option<Named<AgencyId>>,
    /// Who received them.
    pub recipient: Option<Named<AgencyId>>,
    /// The code of the operator who asked or sent, which their agency knows by name. Only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
    pub purpose: Option<Named<PurposeId>>,
    pub record_type: Option<Named<RecordTypeId>>,
    /// The acts the purpose rests on.
    pub basis: Vec<String>,
    pub consent: Option<ConsentRole>,
    /// The consents it rested on.
    pub consents: Vec<ConsentId>,
    pub fields: Vec<Shown>,
    /// Only that the record had changed was told, and no field of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change_only: bool,
    /// Absent: the details have been erased, as the rules ask after a time.
    pub policy: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Danger>,
    /// What was found to be wrong with it since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Note>,
}

/// A copy that its owner sent: one disclosure, however often it was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pushed {
    /// When its owner gave it to the gateway; absent where the details of that entry have been erased.
    pub sent: Option<Timestamp>,
    /// When it was first handed to the recipient; absent while it waits.
    pub handed_over: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    pub name: FieldId,
    pub label: String,
    /// How much of it: a view of the field's ladder.
    pub view: ViewId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub at: Timestamp,
    pub ground: Ground,
    /// Empty: the whole disclosure.
    pub fields: Vec<FieldId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistaken {
    pub corrected: Timestamp,
    pub owner: Option<Named<AgencyId>>,
    pub recipients: Vec<Named<AgencyId>>,
    pub record_type: Option<Named<RecordTypeId>>,
}

/// One choice of one consent record, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub consent: ConsentId,
    pub item: String,
    pub state: State,
    pub purpose: Named<PurposeId>,
    pub record_type: Named<RecordTypeId>,
    pub recipients: Vec<Named<AgencyId>>,
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub at: Timestamp,
    pub by: Option<Named<AgencyId>>,
}

/// The parts of a decision slot that a report reads; every one may have been erased.
#[derive(Default, Deserialize)]
struct Body {
    /// Set where a recipient says that it has a copy: nothing leaves by that.
    #[serde(default)]
    acknowledged: Option<ExchangeId>,
    /// The copy that a hand-over delivers.
    #[serde(default)]
    delivers: Option<ExchangeId>,
    #[serde(default)]
    outcomes: Option<Vec<Value>>,
    /// The push an entry belongs to.
    #[serde(default)]
    push: Option<ExchangeId>,
    #[serde(default)]
    rests_on: BTreeMap<ConsentId, Vec<FieldId>>,
    #[serde(default)]
    emergency: Option<Declared>,
    #[serde(default)]
    corrects: Option<Corrected>,
    /// What a provider told the gateway, and nobody else yet.
    #[serde(default)]
    signalled: Option<Value>,
    /// A change that an agency was told of, without any field.
    #[serde(default)]
    signal: Option<Value>,
    /// Set in the entry of an earlier report.
    #[serde(default)]
    report: Option<Value>,
    /// Who asked or sent, from the slot of its own.
    #[serde(skip)]
    operator: Option<case::Operator>,
}

/// The parts of an operator slot that a report may tell.
#[derive(Deserialize)]
struct By {
    agency: AgencyId,
    operator: OperatorId,
}

#[derive(Deserialize)]
struct Declared {
    declared: Emergency,
}

impl Body {
    fn of(slots: &Slots) -> Self {
        let text = slots.decision.as_ref().map(|slot| slot.body.as_bytes());
        let body = text.and_then(|text| json::parse(text).ok());
        let body: Self = body.and_then(|body| serde_json::from_value(body).ok()).unwrap_or_default();
        let by = slots.operator.as_ref().and_then(|slot| json::parse(slot.body.as_bytes()).ok());
        let by = by.and_then(|by| serde_json::from_value::<By>(by).ok());
        Self { operator: by.map(|By { agency, operator }| case::Operator { agency, operator }), ..body }
    }

    fn pushed(&self, leaf: &Leaf) -> Option<Pushed> {
        self.push.as_ref()?;
        let at = leaf.content().at;
        let is_handed_over = leaf.kind() == Kind::Delivery;
        Some(Pushed { sent: (!is_handed_over).then_some(at), handed_over: is_handed_over.then_some(at) })
    }
}

impl Line {
    /// The same copy, handed over: what left is told, not what might have. Of several times everything that left in any.
    fn hand_over(&mut self, mut again: Line) {
        let sent = self.pushed.and_then(|pushed| pushed.sent);
        if let Some(first) = self.pushed.and_then(|pushed| pushed.handed_over) {
            again.fields.retain(|field| !self.fields.contains(field));
            again.consents.retain(|id| !self.consents.contains(id));
            self.fields.append(&mut again.fields);
            self.consents.append(&mut again.consents);
            self.pushed = Some(Pushed { sent, handed_over: Some(first) });
            return;
        }
        again.pushed = again.pushed.map(|pushed| Pushed { sent, ..pushed });
        *self = again;
    }
}

/// Makes the report.
pub fn report(sources: &Sources<'_>, reader: Reader) -> Report {
    let bodies: Vec<(&Leaf, Body)> =
        sources.entries.iter().map(|(leaf, slots)| (leaf, Body::of(slots))).collect();
    let mut corrections: BTreeMap<&ExchangeId, Vec<Note>> = BTreeMap::new();
    let mut mistaken = Vec::new();
    let own: Vec<&ExchangeId> = sources.entries.iter().map(|(leaf, _)| &leaf.content().id).collect();
    for (leaf, corrected) in bodies.iter().filter_map(|(leaf, body)| Some((leaf, body.corrects.as_ref()?))) {
        let at = leaf.content().at;
        for exchange in &corrected.exchanges {
            let note = Note { at, ground: corrected.ground, fields: corrected.fields.clone() };
            corrections.entry(exchange).or_default().push(note);
        }
        // What was disclosed under another's name is not among the person's own entries.
        if corrected.ground == Ground::WrongPerson && !corrected.exchanges.iter().any(|id| own.contains(&id))
        {
            mistaken.push(Mistaken {
                corrected: at,
                owner: leaf.content().provider.as_ref().map(|id| sources.agency(id)),
                recipients: corrected.recipients.iter().map(|id| sources.agency(id)).collect(),
                record_type: leaf.content().record_type.as_ref().map(|id| sources.record_type(id, None)),
            });
        }
    }
    let mut lines = sources.lines(&bodies, reader);
    for line in &mut lines {
        line.corrections = corrections.remove(&line.exchange).unwrap_or_default();
    }
    lines.reverse();
    let older = lines.len().saturating_sub(MOST_LINES) as u64;
    lines.truncate(MOST_LINES);
    let reports = bodies.iter().filter(|(_, body)| body.report.is_some()).map(|(leaf, _)| Asked {
        at: leaf.content().at,
        by: leaf.content().consumer.as_ref().map(|id| sources.agency(id)),
    });
    Report {
        made: reader.at,
        from: sources.entries.first().map(|(leaf, _)| leaf.content().at),
        disclosures: lines,
        older,
        mistaken,
        consents: sources.consents.iter().flat_map(|consent| sources.choices(consent, reader)).collect(),
        reports: reports.collect(),
    }
}

impl Sources<'_> {
    /// The disclosures in their order. What became of a pushed copy is one line: sent, handed over, and taken over.
    fn lines(&self, bodies: &[(&Leaf, Body)], reader: Reader) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (leaf, body) in bodies {
            let copy = body.delivers.as_ref().unwrap_or(&leaf.content().id);
            let known = lines.iter().position(|line| line.exchange == *copy);
            // A copy that was cancelled, or that nobody took, was disclosed only if it had been handed over.
            if matches!(leaf.kind(), Kind::Denial | Kind::Failure) {
                let waits = |line: &Line| line.pushed.is_some_and(|pushed| pushed.handed_over.is_none());
                lines.retain(|line| line.exchange != *copy || !waits(line));
                continue;
            }
            // Where its body was erased, that a copy arrived is known by its name.
            let is_arrival = leaf.kind() == Kind::Delivery && body.outcomes.is_none() && known.is_some();
            if is_arrival || body.acknowledged.is_some() {
                continue;
            }
            let Some(line) = self.line(leaf, body, reader) else { continue };
            match known.and_then(|place| lines.get_mut(place)) {
                Some(found) => found.hand_over(line),
                None => lines.push(line),
            }
        }
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// A disclosure the reader may know of; `None` for everything else.
    fn line(&self, leaf: &Leaf, body: &Body, reader: Reader) -> Option<Line> {
        let content = leaf.content();
        let is_to_somebody = content.consumer.is_some() && body.signalled.is_none();
        if !matches!(content.kind, Kind::Delivery | Kind::Disclosure) || !is_to_somebody {
            return None;
        }
        let policy = content.policy.as_ref().and_then(|sha256| (self.policy)(sha256));
        let policy = policy.as_deref().unwrap_or(self.current);
        let purpose = content.purpose.as_ref().and_then(|id| policy.purpose(id));
        if purpose.is_some_and(|purpose| purpose.visibility == Visibility::Withheld) {
            return None;
        }
        let kind = content.record_type.as_ref().and_then(|id| policy.record_type(id));
        // What protects somebody is not told to whoever speaks for them.
        let is_for = |field: &FieldId| {
            let category = kind.and_then(|kind| kind.field(kind.find(field)?)).map(|field| field.category);
            reader.capacity == Capacity::Subject || category != Some(Category::Protected)
        };
        // That a record has changed tells of all its fields.
        let protects = |kind: &Arc<RecordType>| kind.fields.iter().any(|field| !is_for(&field.id));
        if body.signal.is_some() && kind.is_some_and(protects) {
            return None;
        }
        let label = |field: &FieldId| {
            let found = kind.and_then(|kind| kind.field(kind.find(field)?));
            found.map_or_else(|| field.to_string(), |field| field.label.clone())
        };
        let outcomes = body.outcomes.iter().flatten();
        let all: Vec<Shown> = outcomes.filter_map(|outcome| shown(outcome, &label)).collect();
        let fields: Vec<Shown> = all.iter().filter(|field| is_for(&field.name)).cloned().collect();
        if fields.is_empty() && !all.is_empty() {
            return None;
        }
        let title = |id: &String| policy.acts.iter().find(|act| act.id == *id).map(|act| act.title.clone());
        let consents =
            body.rests_on.iter().filter(|(id, _)| self.consents.iter().any(|c| c.header.id == **id));
        Some(Line {
            exchange: body.delivers.clone().unwrap_or_else(|| content.id.clone()),
            at: content.at,
            pushed: body.pushed(leaf),
            owner: content.provider.as_ref().map(|id| self.agency(id)),
            recipient: content.consumer.as_ref().map(|id| self.agency(id)),
            operator: body
                .operator
                .as_ref()
                .filter(|by| self.staff_of == Some(&by.agency))
                .map(|by| by.operator.clone()),
            purpose: content.purpose.clone().map(|id| Named {
                name: purpose.map_or_else(|| id.to_string(), |purpose| purpose.name.clone()),
                id,
            }),
            record_type: content.record_type.as_ref().map(|id| self.record_type(id, Some(policy))),
            basis: purpose.iter().flat_map(|purpose| purpose.acts.iter().filter_map(title)).collect(),
            consent: purpose.map(|purpose| purpose.consent),
            consents: consents.map(|(id, _)| id.clone()).collect(),
            change_only: body.signal.is_some(),
            policy: content.policy.filter(|_| !all.is_empty() || body.signal.is_some()),
            fields,
            emergency: body.emergency.as_ref().map(|said| said.declared.danger),
            corrections: Vec::new(),
        })
    }

    fn choices(&self, consent: &Consent, reader: Reader) -> Vec<Choice> {
        let choice = |item: &crate::consent::ScopeItem| Choice {
            consent: consent.header.id.clone(),
            item: item.item.clone(),
            state: consent.state(&item.item, reader.at),
            purpose: Named {
                name: self
                    .current
                    .purpose(&item.purpose)
                    .map_or_else(String::new, |found| found.name.clone()),
                id: item.purpose.clone(),
            },
            record_type: self.record_type(&item.record_type, None),
            recipients: item.recipients.iter().map(|recipient| self.agency(&recipient.agency)).collect(),
            until: item.valid_until,
        };
        consent.header.scope.iter().map(choice).collect()
    }

    fn agency(&self, id: &AgencyId) -> Named<AgencyId> {
        let name = self.registry.agency(id).map_or_else(|| id.to_string(), |agency| agency.name.clone());
        Named { id: id.clone(), name }
    }

    fn record_type(&self, id: &RecordTypeId, policy: Option<&Policy>) -> Named<RecordTypeId> {
        let found = policy.unwrap_or(self.current).record_type(id);
        Named { id: id.clone(), name: found.map_or_else(|| id.to_string(), |kind| kind.title.clone()) }
    }
}

/// A field that was shown, from an outcome as the log says it.
fn shown(outcome: &Value, label: &impl Fn(&FieldId) -> String) -> Option<Shown> {
    let name: FieldId = outcome.get("name")?.as_str()?.parse().ok()?;
    match serde_json::from_value::<Outcome>(outcome.clone()) {
        Ok(Outcome::Shown { view, .. }) => Some(Shown { label: label(&name), name, view }),
        Ok(Outcome::Absent | Outcome::Unavailable | Outcome::Withheld { .. }) | Err(_) => None,
    }
}
