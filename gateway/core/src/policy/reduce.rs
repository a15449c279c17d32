//! From an agency's record to what may leave: views applied, values that conceal others obeyed.
//!
//! Values can only narrow the plan further. What they said is returned as findings, so that a replay can repeat the
//! outcome without any value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{AgencyValues, Field, FieldIndex, RecordType, put_part, take_part};
use super::{Layer, Plan, Planned, Reason, Ruling};
use crate::id::{FieldId, ViewId};
use crate::view::ladder::{Technique, ViewIndex};
use crate::view::transform::Context;

/// What became of one field, as answered and logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOutcome {
    pub field: FieldId,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It may be shown, but the source holds nothing.
    Absent,
    Shown {
        view: ViewId,
        technique: Technique,
    },
    /// No more is said, whatever the cause.
    Unavailable,
    Withheld {
        layer: Layer,
        reason: Reason,
    },
}

/// What the values told besides themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Control fields that were `true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<FieldId>,
    /// Fields the source holds nothing for, among those the plan shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<FieldId>,
    /// Fields whose value could not be brought to the view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<FieldId>,
}

/// What leaves. `Debug` prints no value.
#[derive(Clone, PartialEq)]
pub struct Reduced {
    values: Vec<(FieldId, Value)>,
    pub outcomes: Vec<FieldOutcome>,
    pub findings: Findings,
}

impl fmt::Debug for Reduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.values.iter().map(|(field, _)| field).collect();
        f.debug_struct("Reduced").field("shown", &names).field("outcomes", &self.outcomes).finish()
    }
}

impl Reduced {
    /// The values, in the order of the record type. Whoever takes them sends them to the consumer and nowhere else.
    pub fn values(&self) -> &[(FieldId, Value)] {
        &self.values
    }

    /// The record as the answer carries it.
    pub fn into_record(self) -> Map<String, Value> {
        self.values.into_iter().map(|(field, value)| (field.to_string(), value)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Applies a plan to the record it was made for. A record of another type shows nothing.
pub fn reduce(plan: &Plan, record: AgencyValues, context: &Context<'_>) -> Reduced {
    reduce_among(plan, record, context, &[])
}

/// The same for one member of a household: what a control field of one of them hides is hidden for all, so `told` are
/// those that hold for the others.
pub fn reduce_among(plan: &Plan, record: AgencyValues, context: &Context<'_>, told: &[FieldId]) -> Reduced {
    let kind = &plan.record_type;
    let mut source = if record.record_type == kind.id { record.values } else { Vec::new() };
    for index in &plan.concealed {
        source.get_mut(index.at()).and_then(Option::take);
    }
    let mut controls = true_controls(kind, &source);
    controls.extend(told.iter().filter(|field| !controls.contains(field)).cloned().collect::<Vec<_>>());
    let mut findings = Findings { controls, ..Findings::default() };
    let rulings = obey(plan, &findings);
    let mut values = Vec::new();
    for (index, field) in kind.indices().zip(&kind.fields).filter(|(_, field)| field.parent.is_none()) {
        let Some(view) = shown(&rulings, index) else { continue };
        let found = source.get_mut(index.at()).and_then(Option::take);
        let work = Reduction { kind, rulings: &rulings, context };
        if let Some(value) = work.field(index, view, found, &mut findings) {
            values.push((field.id.clone(), value));
        }
    }
    Reduced { values, outcomes: outcomes(plan, &findings), findings }
}

struct Reduction<'a> {
    kind: &'a RecordType,
    rulings: &'a [Planned],
    context: &'a Context<'a>,
}

impl Reduction<'_> {
    /// One field with its parts. What cannot be brought to its view does not leave.
    fn field(
        &self,
        index: FieldIndex,
        view: ViewIndex,
        found: Option<Value>,
        findings: &mut Findings,
    ) -> Option<Value> {
        let field = self.kind.field(index)?;
        let Some(mut value) = found else {
            findings.absent.push(field.id.clone());
            let parts = self.kind.parts(index).filter(|(part, _)| shown(self.rulings, *part).is_some());
            findings.absent.extend(parts.map(|(_, part)| part.id.clone()));
            return None;
        };
        let mut parts = Vec::new();
        for (part, inner) in self.kind.parts(index) {
            let name = inner.member().unwrap_or_default();
            let taken = take_part(&mut value, name);
            if let Some(view) = shown(self.rulings, part) {
                parts.push((inner, name, view, taken));
            }
        }
        let Some(mut reduced) = self.view(field, view, value) else {
            findings.unfit.push(field.id.clone());
            findings.unfit.extend(parts.iter().map(|(inner, ..)| inner.id.clone()));
            return None;
        };
        for (inner, name, view, taken) in parts {
            if taken.iter().all(Option::is_none) {
                findings.absent.push(inner.id.clone());
                continue;
            }
            let fit: Option<Vec<Option<Value>>> = taken
                .into_iter()
                .map(|part| match part {
                    Some(value) => self.view(inner, view, value).map(Some),
                    None => Some(None),
                })
                .collect();
            match fit {
                Some(fit) => put_part(&mut reduced, name, fit),
                None => findings.unfit.push(inner.id.clone()),
            }
        }
        Some(reduced)
    }

    fn view(&self, field: &Field, view: ViewIndex, value: Value) -> Option<Value> {
        if view == ViewIndex::WHOLE { Some(value) } else { field.ladder.apply(view, &value, self.context) }
    }
}

fn shown(rulings: &[Planned], index: FieldIndex) -> Option<ViewIndex> {
    match rulings.get(index.at())?.ruling {
        Ruling::Show { view, .. } => Some(view),
        Ruling::Unavailable | Ruling::Withhold { .. } => None,
    }
}

/// The control fields of a record that hold.
pub fn controls_of(kind: &RecordType, record: &AgencyValues) -> Vec<FieldId> {
    if record.record_type == kind.id { true_controls(kind, &record.values) } else { Vec::new() }
}

/// The control fields that hold.
fn true_controls(kind: &RecordType, source: &[Option<Value>]) -> Vec<FieldId> {
    let holds = |index: FieldIndex| matches!(source.get(index.at()), Some(Some(Value::Bool(true))));
    let controls = kind.controls.iter().map(|control| control.field).filter(|index| holds(*index));
    controls.filter_map(|index| kind.field(index)).map(|field| field.id.clone()).collect()
}

/// The plan's rulings after the control fields have spoken. All fields they may conceal, and whatever tells those,
/// are of the kind that is `unavailable` whenever it is not shown; the compiler sees to it.
fn obey(plan: &Plan, findings: &Findings) -> Vec<Planned> {
    let kind = &plan.record_type;
    let mut rulings = plan.fields.clone();
    let mut hidden = vec![false; rulings.len()];
    for control in &kind.controls {
        if kind.field(control.field).is_some_and(|field| findings.controls.contains(&field.id)) {
            for index in &control.conceals {
                hidden.get_mut(index.at()).into_iter().for_each(|mark| *mark = true);
            }
        }
    }
    for implication in &kind.implications {
        let granted = shown(&rulings, implication.from);
        let tells = granted.is_some_and(|view| implication.caps.get(view.at()) != Some(&view));
        if tells && hidden.get(implication.to.at()).copied().unwrap_or_default() {
            hidden.get_mut(implication.from.at()).into_iter().for_each(|mark| *mark = true);
        }
    }
    for (planned, hidden) in rulings.iter_mut().zip(hidden) {
        if hidden {
            planned.ruling = Ruling::Unavailable;
        }
    }
    rulings
}

/// How a copy was made: what its values told, and the view each of its fields has.
#[derive(Clone, Copy)]
pub struct Made<'a> {
    pub findings: &'a Findings,
    pub views: &'a BTreeMap<FieldId, ViewId>,
}

/// A copy brought to what a plan allows now. `Debug` prints no value.
#[derive(Clone, PartialEq)]
pub struct Carried {
    pub record: Map<String, Value>,
    pub outcomes: Vec<FieldOutcome>,
    pub findings: Findings,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("outcomes", &self.outcomes).finish_non_exhaustive()
    }
}

/// Applies a plan to a copy that another plan made before. A field stays as it was made where the plan still allows as
/// much, and goes where it does not: a copy only ever narrows.
pub fn carry(plan: &Plan, made: Made<'_>, mut record: Map<String, Value>) -> Carried {
    let kind = &plan.record_type;
    let mut findings = made.findings.clone();
    let concealed = plan.concealed.iter().filter_map(|index| kind.field(*index));
    findings.absent.extend(concealed.map(|field| field.id.clone()));
    let is_shown = |outcomes: &[FieldOutcome], id: &FieldId| {
        outcomes.iter().any(|said| said.field == *id && matches!(said.outcome, Outcome::Shown { .. }))
    };
    let first = outcomes_of_copy(plan, Made { findings: &findings, ..made });
    for (index, field) in kind.indices().zip(&kind.fields).filter(|(_, field)| field.parent.is_none()) {
        if !is_shown(&first, &field.id) {
            // Parts are inside their list, and gone with it.
            findings.absent.extend(kind.parts(index).map(|(_, part)| part.id.clone()));
        }
    }
    let outcomes = outcomes_of_copy(plan, Made { findings: &findings, ..made });
    record.retain(|name, _| name.parse().is_ok_and(|id| is_shown(&outcomes, &id)));
    for part in kind.fields.iter().filter(|field| !is_shown(&outcomes, &field.id)) {
        let list = part.parent.and_then(|parent| kind.field(parent));
        if let (Some(list), Some(member)) = (list, part.member())
            && let Some(value) = record.get_mut(list.id.as_str())
        {
            take_part(value, member);
        }
    }
    Carried { record, outcomes, findings }
}

/// The outcome of every field of a copy: what a replay recomputes.
pub fn outcomes_of_copy(plan: &Plan, made: Made<'_>) -> Vec<FieldOutcome> {
    let narrowed = |said: FieldOutcome| {
        let field = plan.record_type.find(&said.field).and_then(|index| plan.record_type.field(index));
        let (Some(field), Outcome::Shown { view, .. }) = (field, &said.outcome) else { return said };
        let held = made.views.get(&said.field);
        let known = held.and_then(|held| field.ladder.find(held.as_str()));
        let allowed = field.ladder.find(view.as_str());
        let outcome = match (held, known.zip(allowed)) {
            (None, _) => Outcome::Absent,
            (Some(_), Some((known, allowed))) if field.ladder.is_within(known, allowed) => {
                match field.ladder.view(known) {
                    Some(view) => Outcome::Shown { view: view.id.clone(), technique: view.technique },
                    None => Outcome::Absent,
                }
            }
            (Some(_), _) => Outcome::Withheld { layer: Layer::Owner, reason: Reason::Unfit },
        };
        let hides = field.conceal && !matches!(outcome, Outcome::Shown { .. });
        FieldOutcome { field: said.field, outcome: if hides { Outcome::Unavailable } else { outcome } }
    };
    outcomes(plan, made.findings).into_iter().map(narrowed).collect()
}

/// What could leave of a record that nobody has looked at, as if its source held everything, and the findings that stand
/// for the looking. `controls` are the control fields said to hold; where nothing was said, each of them may.
pub fn unseen(plan: &Plan, controls: Option<&[FieldId]>) -> (Findings, Vec<FieldOutcome>) {
    let kind = &plan.record_type;
    let name = |index: FieldIndex| kind.field(index).map(|field| field.id.clone());
    let holds = |id: &FieldId| controls.is_none_or(|said| said.contains(id));
    let controls = kind.controls.iter().filter_map(|control| name(control.field)).filter(holds).collect();
    let absent = plan.concealed.iter().filter_map(|index| name(*index)).collect();
    let findings = Findings { controls, absent, unfit: Vec::new() };
    let outcomes = outcomes(plan, &findings);
    (findings, outcomes)
}

/// The outcome of every field, from the plan and what the values told: what a replay recomputes.
pub fn outcomes(plan: &Plan, findings: &Findings) -> Vec<FieldOutcome> {
    let outcome = |planned: &Planned| {
        let field = plan.record_type.field(planned.field)?;
        let outcome = match planned.ruling {
            Ruling::Unavailable => Outcome::Unavailable,
            Ruling::Withhold { layer, reason } => Outcome::Withheld { layer, reason },
            Ruling::Show { .. } if findings.unfit.contains(&field.id) => {
                Outcome::Withheld { layer: Layer::Owner, reason: Reason::Unfit }
            }
            Ruling::Show { .. } if findings.absent.contains(&field.id) => Outcome::Absent,
            Ruling::Show { view, .. } => {
                let view = field.ladder.view(view)?;
                Outcome::Shown { view: view.id.clone(), technique: view.technique }
            }
        };
        let hides = field.conceal && !matches!(outcome, Outcome::Shown { .. });
        let outcome = if hides { Outcome::Unavailable } else { outcome };
        Some(FieldOutcome { field: field.id.clone(), outcome })
    };
    obey(plan, findings).iter().filter_map(outcome).collect()
}
