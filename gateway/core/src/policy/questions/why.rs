//! Why: one request, field by field, with every layer that spoke and not only the first.

use serde::Serialize;

use super::effect;
use crate::id::{FieldId, ViewId};
use crate::policy::record::{Field, FieldIndex};
use crate::policy::reduce::{FieldOutcome, Findings, outcomes};
use crate::policy::table::{Block, Needs, Rule, Toward};
use crate::policy::{Facts, Gives, GrantIndex, Layer, Plan, Policy, Question, Refusal};
use crate::view::ladder::{Ladder, ViewIndex};

/// A field's outcome with all that was said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub field: FieldId,
    pub label: String,
    #[serde(flatten)]
    pub outcome: FieldOutcome,
    pub said: Vec<Said>,
}

/// What one layer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    pub layer: Layer,
    /// The most it allows.
    pub at_most: ViewId,
    /// On these conditions.
    pub only_with: Vec<&'static str>,
    /// The act, the regulation or the person's own choice.
    pub source: String,
    /// `file:line`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Policy {
    /// Explains a request as if the source held every field.
    pub fn why(&self, question: &Question<'_>) -> Result<Vec<Explained>, Refusal> {
        let plan = self.decide(question)?;
        let found = outcomes(&plan, &Findings::default());
        let place = self.place(question, Gives::Records)?;
        let block = self.epoch(question.now).and_then(|epoch| epoch.block_at(&place).copied());
        let teller = Teller { policy: self, question, plan: &plan, block };
        let explain = |(outcome, (index, field)): (FieldOutcome, (FieldIndex, &Field))| Explained {
            field: field.id.clone(),
            label: field.label.clone(),
            said: teller.said(index, field),
            outcome,
        };
        let fields = plan.record_type.indices().zip(&plan.record_type.fields);
        Ok(found.into_iter().zip(fields).map(explain).collect())
    }
}

struct Teller<'a> {
    policy: &'a Policy,
    question: &'a Question<'a>,
    plan: &'a Plan,
    block: Option<Block>,
}

impl Teller<'_> {
    fn said(&self, index: FieldIndex, field: &Field) -> Vec<Said> {
        let mut said: Vec<Said> = self.rules(index, field).collect();
        said.push(self.agreement(index, field));
        said.extend(self.opened(field));
        said.extend(self.person(field));
        said.extend(self.implied(index, field));
        if let Some(requested) = self.question.requested
            && !requested.contains(&field.id)
        {
            said.push(plain(Layer::Request, ViewId::withhold(), "non richiesto".into()));
        }
        said.sort_by_key(|one| one.layer);
        said
    }

    fn rules(&self, index: FieldIndex, field: &Field) -> impl Iterator<Item = Said> {
        let speaks = move |rule: &&Rule| self.speaks(rule, index, field);
        self.policy.rules.iter().filter(speaks).map(|rule| Said {
            layer: rule.layer,
            at_most: rule.at_most.clone(),
            only_with: rule.needs.words(),
            source: rule.source.clone(),
            place: Some(format!("{}:{}", rule.file, rule.line)),
        })
    }

    fn speaks(&self, rule: &Rule, index: FieldIndex, field: &Field) -> bool {
        let (facts, now) = (self.question.facts, self.question.now);
        let Some(block) = &self.block else { return false };
        let purpose = self.policy.purposes.get(block.purpose);
        let who = self.policy.audiences.get(block.audience);
        let column = self.policy.columns.get(block.column);
        rule.is_of(facts)
            && rule.from.is_none_or(|from| from <= now)
            && rule.until.is_none_or(|until| now < until)
            && rule.on.has_record(&self.plan.record_type)
            && rule.on.has_field(index, field.category)
            && rule.on.concerns(block, purpose, who, column)
    }

    fn agreement(&self, index: FieldIndex, field: &Field) -> Said {
        let record = self.policy.records.iter().position(|record| record.id == self.plan.record_type.id);
        let epoch = self.policy.epoch(self.question.now);
        let cell = epoch.zip(record).zip(self.block).and_then(|((epoch, record), block)| {
            epoch.records.get(record)?.cells.get(block.start + index.at())
        });
        let granted = cell.filter(|cell| cell.view.shows());
        let Some((cell, grant)) = granted.and_then(|c| Some((c, self.policy.grant(GrantIndex(c.grant))?)))
        else {
            let column = self.block.map(|block| self.policy.column_id(&block).to_owned()).unwrap_or_default();
            let source = format!("nessuna concessione nella colonna {column} per {}", self.question.purpose);
            return plain(Layer::Agreement, ViewId::withhold(), source);
        };
        let effect = effect(field, cell.view, cell.needs);
        Said {
            layer: Layer::Agreement,
            at_most: effect.view,
            only_with: effect.only_with,
            source: format!("colonna {}, atti {}", grant.column, grant.acts.join(", ")),
            place: Some(format!("{}:{}", grant.file, grant.line)),
        }
    }

    /// What the owner opened after a motivated request.
    fn opened(&self, field: &Field) -> impl Iterator<Item = Said> {
        let openings = self.question.facts.openings.iter().filter(|opening| opening.field == field.id);
        openings.map(|opening| {
            let source = format!("richiesta motivata {} approvata dal titolare", opening.appeal);
            plain(Layer::Owner, opening.view.clone(), source)
        })
    }

    fn person(&self, field: &Field) -> Vec<Said> {
        let facts = self.question.facts;
        let mut said = Vec::new();
        for consent in facts.consents.iter().filter(|consent| consent.covers(&field.id)) {
            let how = if consent.names(&field.id) { "nomina il dato" } else { "adesione al record" };
            let source = format!("consenso {} ({how})", consent.consent);
            said.push(plain(Layer::Person, ViewId::whole(), source));
        }
        for restriction in &facts.restrictions {
            if restriction.fields.as_ref().is_none_or(|fields| fields.contains(&field.id)) {
                said.push(plain(Layer::Person, ViewId::withhold(), "opposizione o oscuramento".into()));
            }
        }
        said
    }

    /// What the field would tell that is itself not shown enough.
    fn implied(&self, index: FieldIndex, field: &Field) -> Vec<Said> {
        let kind = &self.plan.record_type;
        let tells = kind.implications.iter().filter(|one| one.from == index);
        let hidden = tells.filter_map(|one| {
            let told = kind.field(one.to)?;
            let shown = shown(self.plan, one.to);
            if told.ladder.is_within(one.at_least, shown) || self.is_unasked(told) {
                return None;
            }
            let cap = one.caps.get(ViewIndex::WHOLE.at()).copied()?;
            let source = format!("direbbe `{}`", told.id);
            Some(plain(Layer::Agreement, name(&field.ladder, cap), source))
        });
        hidden.collect()
    }

    fn is_unasked(&self, field: &Field) -> bool {
        self.question.requested.is_some_and(|requested| !requested.contains(&field.id))
    }
}

impl Rule {
    /// Whether the rule is the law's, or that of one of the two bodies, towards the other.
    pub(in crate::policy) fn is_of(&self, facts: &Facts) -> bool {
        let (provider, consumer) = (&facts.provider.agency, &facts.consumer.agency);
        let (body, other) = match self.layer {
            Layer::Owner => (Some(provider), consumer),
            Layer::Recipient => (Some(consumer), provider),
            Layer::Law | Layer::Agreement | Layer::Case | Layer::Person | Layer::Request => (None, consumer),
        };
        let single = |toward: &Toward| match toward {
            Toward::Agency(agency) => agency == other,
            Toward::Column(_) | Toward::Kind(_) | Toward::Office(..) => true,
        };
        self.body.as_ref() == body && self.on.toward.iter().all(single)
    }
}

fn shown(plan: &Plan, index: FieldIndex) -> ViewIndex {
    match plan.fields.get(index.at()).map(|planned| planned.ruling) {
        Some(crate::policy::Ruling::Show { view, .. }) => view,
        Some(crate::policy::Ruling::Unavailable | crate::policy::Ruling::Withhold { .. }) | None => {
            ViewIndex::WITHHOLD
        }
    }
}

fn name(ladder: &Ladder, view: ViewIndex) -> ViewId {
    ladder.view(view).map_or_else(ViewId::withhold, |view| view.id.clone())
}

fn plain(layer: Layer, at_most: ViewId, source: String) -> Said {
    Said { layer, at_most, only_with: Needs::NONE.words(), source, place: None }
}
