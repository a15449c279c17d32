//! Every cell of the table as one flat list: the ground of the exhaustive questions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Effect, effect, level_text};
use crate::id::{AgencyId, FieldId, PurposeId, RecordTypeId};
use crate::policy::Policy;
use crate::policy::record::RecordType;
use crate::policy::table::{Block, Ceiling, Epoch, Needs};
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

/// A cell by names, so that those of two bundles can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CellKey {
    pub record_type: RecordTypeId,
    pub field: FieldId,
    pub purpose: PurposeId,
    /// `cpi` or `cpi/collocamento-mirato`.
    pub audience: String,
    pub level: &'static str,
}

/// Two bodies: who owns, who receives.
pub type Pair = (AgencyId, AgencyId);

impl Policy {
    /// What agreement and law give in every situation, at an instant.
    pub fn cells(&self, now: Timestamp) -> BTreeMap<CellKey, Effect> {
        let mut cells = BTreeMap::new();
        let Some(epoch) = self.epoch(now) else { return cells };
        for (at, kind) in self.records.iter().enumerate() {
            for block in epoch.blocks(at) {
                let standing = epoch.standing(at, kind, block, [None, None, None, None]);
                self.name(kind, block, &standing, &mut cells);
            }
        }
        cells
    }

    /// The same between two bodies, their regulations included.
    pub fn cells_between(&self, pair: &Pair, now: Timestamp) -> BTreeMap<CellKey, Effect> {
        let mut cells = BTreeMap::new();
        let Some(epoch) = self.epoch(now) else { return cells };
        let kind_of = |agency: &AgencyId| {
            self.agreement.parties.iter().find(|party| party.agency == *agency).map(|party| party.kind)
        };
        let (Some(provider), Some(consumer)) = (kind_of(&pair.0), kind_of(&pair.1)) else { return cells };
        let owned = self.records.iter().enumerate().filter(|(_, kind)| kind.owners.contains(&provider));
        for (at, kind) in owned {
            let of = |ceilings: &'_ crate::policy::table::Ceilings, key| -> Option<Vec<Ceiling>> {
                ceilings.get(&key).cloned()
            };
            let lists = [
                of(&epoch.owner, (at, pair.0.clone(), None)),
                of(&epoch.owner, (at, pair.0.clone(), Some(pair.1.clone()))),
                of(&epoch.recipient, (at, pair.1.clone(), None)),
                of(&epoch.recipient, (at, pair.1.clone(), Some(pair.0.clone()))),
            ];
            for block in epoch.blocks(at) {
                let may_ask = self.audiences.get(block.audience).is_some_and(|who| who.kind == consumer);
                let purpose = self.purposes.get(block.purpose);
                let holds = purpose.is_some_and(|purpose| provider != consumer || purpose.same_kind);
                if may_ask && holds {
                    let lists = lists.each_ref().map(Option::as_deref);
                    let standing = epoch.standing(at, kind, block, lists);
                    self.name(kind, block, &standing, &mut cells);
                }
            }
        }
        cells
    }

    /// Every two bodies that may exchange something.
    pub fn pairs(&self) -> Vec<Pair> {
        let parties = &self.agreement.parties;
        let owns = |kind| self.records.iter().any(|record| record.owners.contains(&kind));
        let providers = parties.iter().filter(|party| owns(party.kind));
        providers
            .flat_map(|a| parties.iter().filter(move |b| b.agency != a.agency).map(move |b| (a, b)))
            .map(|(a, b)| (a.agency.clone(), b.agency.clone()))
            .collect()
    }

    fn name(
        &self,
        kind: &RecordType,
        block: &Block,
        standing: &[(ViewIndex, Needs)],
        cells: &mut BTreeMap<CellKey, Effect>,
    ) {
        let (Some(purpose), Some(audience)) =
            (self.purposes.get(block.purpose), self.audiences.get(block.audience))
        else {
            return;
        };
        for (field, (view, needs)) in kind.fields.iter().zip(standing) {
            let key = CellKey {
                record_type: kind.id.clone(),
                field: field.id.clone(),
                purpose: purpose.id.clone(),
                audience: audience.text(),
                level: level_text(block.level),
            };
            let needs = if view.shows() { *needs } else { Needs::NONE };
            cells.insert(key, effect(field, *view, needs));
        }
    }
}

impl Epoch {
    /// The meet of the layers that do not depend on a case or a person, closed under implication.
    fn standing(
        &self,
        record: usize,
        kind: &RecordType,
        block: &Block,
        regulations: [Option<&[Ceiling]>; 4],
    ) -> Vec<(ViewIndex, Needs)> {
        let mut granted = Vec::new();
        let mut standing = Vec::new();
        for (i, (field, cell)) in self.block(record, kind, block).enumerate() {
            let mut view = field.ladder.meet(cell.view, cell.law.view);
            let mut needs = cell.needs.and(cell.law.needs);
            for list in regulations.into_iter().flatten() {
                if let Some(ceiling) = list.get(block.start + i) {
                    view = field.ladder.meet(view, ceiling.view);
                    needs = needs.and(ceiling.needs);
                }
            }
            granted.push(cell.view);
            standing.push((view, needs));
        }
        for one in &kind.implications {
            let (Some(told), Some(to)) = (standing.get(one.to.at()).copied(), kind.field(one.to)) else {
                continue;
            };
            let (Some(grant), Some(from)) = (granted.get(one.from.at()), kind.field(one.from)) else {
                continue;
            };
            if to.ladder.is_within(one.at_least, told.0) {
                continue;
            }
            let cap = one.caps.get(grant.at()).copied().unwrap_or(ViewIndex::WITHHOLD);
            if let Some(slot) = standing.get_mut(one.from.at()) {
                slot.0 = from.ladder.meet(slot.0, cap);
            }
        }
        standing
    }
}
