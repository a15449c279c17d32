//! Who can see a field, what an audience can see, what is dead and what never leaves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Effect;
use super::cells::CellKey;
use crate::id::{FieldId, PurposeId, RecordTypeId};
use crate::policy::record::Field;
use crate::policy::table::{Block, Cell, Rule};
use crate::policy::{Layer, Policy};
use crate::time::Timestamp;

/// One way a field can leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    #[serde(flatten)]
    pub key: CellKey,
    #[serde(flatten)]
    pub effect: Effect,
}

/// What an audience can obtain of a field, pooled over purposes: recipients put together what they receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pooled {
    pub record_type: RecordTypeId,
    pub field: FieldId,
    /// The finest views it can get, each with the purposes that give it.
    pub views: BTreeMap<String, BTreeSet<PurposeId>>,
}

/// Something written that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dead {
    pub place: String,
    pub what: String,
}

impl Policy {
    /// Every way a field can leave, at an instant.
    pub fn who(&self, record_type: &RecordTypeId, field: &FieldId, now: Timestamp) -> Vec<Way> {
        let mine = |key: &CellKey| key.record_type == *record_type && key.field == *field;
        let cells = self.cells(now).into_iter();
        cells
            .filter(|(key, effect)| mine(key) && effect.view.as_str() != "withhold")
            .map(|(key, effect)| Way { key, effect })
            .collect()
    }

    /// All an audience (`cpi`, `cpi/collocamento-mirato`) can obtain, at an instant.
    pub fn sees(&self, audience: &str, now: Timestamp) -> Vec<Pooled> {
        let mut pooled: BTreeMap<(RecordTypeId, FieldId), BTreeMap<String, BTreeSet<PurposeId>>> =
            BTreeMap::new();
        let cells = self.cells(now).into_iter();
        for (key, effect) in cells.filter(|(key, _)| key.audience == audience) {
            if effect.view.as_str() == "withhold" {
                continue;
            }
            let views = pooled.entry((key.record_type, key.field)).or_default();
            views.entry(effect.view.to_string()).or_default().insert(key.purpose);
        }
        let finest = |((record_type, field), mut views): (
            (RecordTypeId, FieldId),
            BTreeMap<String, BTreeSet<PurposeId>>,
        )| {
            let ladder =
                self.record_type(&record_type).and_then(|r| r.field(r.find(&field)?)).map(|f| &f.ladder);
            if let Some(ladder) = ladder {
                let names: Vec<String> = views.keys().cloned().collect();
                views.retain(|view, _| {
                    let mine = ladder.find(view);
                    !names.iter().any(|other| {
                        other != view
                            && mine.zip(ladder.find(other)).is_some_and(|(a, b)| ladder.is_within(a, b))
                    })
                });
            }
            Pooled { record_type, field, views }
        };
        pooled.into_iter().map(finest).collect()
    }

    /// Rows of regulations that take nothing away. What the law forbids stands there for the grants of tomorrow; cells
    /// that no purpose reaches are faults when the bundle is compiled.
    pub fn dead(&self) -> Vec<Dead> {
        let written = self.rules.iter().filter(|rule| rule.layer != Layer::Law && !self.bites(rule));
        let dead: BTreeSet<Dead> = written
            .map(|rule| Dead {
                place: format!("{}:{}", rule.file, rule.line),
                what: format!("non restringe nulla: {}", rule.source),
            })
            .collect();
        dead.into_iter().collect()
    }

    /// Fields that leave in no situation at all.
    pub fn uncovered(&self, now: Timestamp) -> Vec<(RecordTypeId, FieldId)> {
        let cells = self.cells(now);
        let leaves: BTreeSet<(&RecordTypeId, &FieldId)> = cells
            .iter()
            .filter(|(_, effect)| effect.view.as_str() != "withhold")
            .map(|(key, _)| (&key.record_type, &key.field))
            .collect();
        let all = self
            .records
            .iter()
            .flat_map(|record| record.fields.iter().map(move |field| (&record.id, &field.id)));
        all.filter(|pair| !leaves.contains(pair))
            .map(|(record, field)| (record.clone(), field.clone()))
            .collect()
    }

    /// Whether a rule takes something from some cell that is granted.
    fn bites(&self, rule: &Rule) -> bool {
        let concerned = |block: &&Block| {
            let purpose = self.purposes.get(block.purpose);
            let who = self.audiences.get(block.audience);
            rule.on.concerns(block, purpose, who, self.columns.get(block.column))
        };
        self.epochs.iter().any(|epoch| {
            let kinds = self.records.iter().enumerate().filter(|(_, kind)| rule.on.has_record(kind));
            kinds.into_iter().any(|(at, kind)| {
                let mut blocks = epoch.blocks(at).iter().filter(concerned);
                blocks.any(|block| {
                    let mut cells = kind.indices().zip(epoch.block(at, kind, block));
                    cells.any(|(index, (field, cell))| {
                        rule.on.has_field(index, field.category) && rule.takes_from(field, cell)
                    })
                })
            })
        })
    }
}

impl Rule {
    /// Regulations stand over what law has left of the grants.
    fn takes_from(&self, field: &Field, cell: &Cell) -> bool {
        let (view, needs) = (field.ladder.meet(cell.view, cell.law.view), cell.needs.and(cell.law.needs));
        let most = field.ladder.find(self.at_most.as_str());
        let narrows = most.is_none_or(|most| !field.ladder.is_within(view, most));
        view.shows() && (narrows || !needs.covers(self.needs))
    }
}
