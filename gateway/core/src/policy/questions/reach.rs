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

    /// Rules that take nothing away, and cells of the matrix that no purpose reaches.
    pub fn dead(&self) -> Vec<Dead> {
        let mut dead: BTreeSet<Dead> = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| !self.bites(rule)) {
            let place = format!("{}:{}", rule.file, rule.line);
            dead.insert(Dead { place, what: format!("non restringe nulla: {}", rule.source) });
        }
        for row in &self.rows {
            let Some(record) = self.records.get(row.record) else { continue };
            for (column, cell) in self.columns.iter().zip(&row.cells).filter(|(_, cell)| cell.view.shows()) {
                let reaches = |purpose: &crate::policy::Purpose| {
                    row.purpose.as_ref().is_none_or(|only| *only == purpose.id)
                        && purpose.columns.contains(&column.id)
                        && purpose.records.iter().any(|given| given.record_type == record.id)
                };
                // Bodies do not ask themselves: a column of the owner's kind alone needs a purpose between equals.
                let asks = |purpose: &crate::policy::Purpose| {
                    purpose.same_kind || !column.kinds.iter().all(|kind| record.owners == [*kind])
                };
                if !self.purposes.iter().any(|purpose| reaches(purpose) && asks(purpose)) {
                    let field = record.field(row.field).map(|f| f.id.to_string()).unwrap_or_default();
                    let view = record
                        .field(row.field)
                        .and_then(|f| f.ladder.view(cell.view))
                        .map(|view| view.id.to_string())
                        .unwrap_or_default();
                    let what = format!("`{field}` {view} per {}: nessuna finalità ci arriva", column.id);
                    dead.insert(Dead { place: row.place.to_string(), what });
                }
            }
        }
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
    /// Law stands over grants alone; regulations over what law has left of them.
    fn takes_from(&self, field: &Field, cell: &Cell) -> bool {
        let (view, needs) = if self.layer == Layer::Law {
            (cell.view, cell.needs)
        } else {
            (field.ladder.meet(cell.view, cell.law.view), cell.needs.and(cell.law.needs))
        };
        let most = field.ladder.find(self.at_most.as_str());
        let narrows = most.is_none_or(|most| !field.ladder.is_within(view, most));
        view.shows() && (narrows || !needs.covers(self.needs))
    }
}
