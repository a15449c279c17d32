//! Openings: what the owner of a record lets one consumer see of one person for a time, after a motivated request.
//!
//! An opening stands where the agreement's grant would stand, and over the owner's own regulation; it creates no purpose
//! and no level. Law, the bundle's promises, the recipient's regulation, the case and the person narrow it like any grant,
//! and what is extra-protected or can be concealed is never opened this way.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::compile::check;
use super::decide::Place;
use super::record::{FieldIndex, RecordType};
use super::table::{Block, Cell, Epoch, Needs};
use super::{Act, Category, ConsentRole, Gives, Layer, Policy, Question, Refusal};
use crate::id::{AppealId, FieldId, ViewId};
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

/// One opened field, as decisions are told of it and as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    pub appeal: AppealId,
    /// Compared by the log's writer, like a consent's: a revocation bites at once.
    pub epoch: u64,
    pub field: FieldId,
    pub view: ViewId,
}

/// Why the owner's word alone cannot open a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    #[error("the agreement shows as much already: what is missing is not the owner's to give")]
    Granted,
    #[error("the request as a whole may not be made: {0}")]
    Request(#[from] Refusal),
    #[error("the law does not allow it")]
    Law,
    #[error("the agreement shows another view; ask for one that contains it")]
    OtherView,
    #[error("the policy promises the contrary: {0}")]
    Promise(String),
    #[error("such data are only opened by the person or by an act, never by the owner")]
    Protected,
    #[error("the regulation of the agency that asks forbids it to receive this")]
    Recipient,
    #[error("no act of the purpose gives a source for GDPR art. {0}")]
    Source(u8),
    #[error("the record type has no such field, or the field no such view")]
    Unknown,
}

/// Where a question stands in the table, with the cells that answer it.
pub(super) struct Site<'a> {
    pub place: Place,
    pub epoch: &'a Epoch,
    pub record: &'a RecordType,
    pub cells: &'a [Cell],
    pub start: usize,
}

/// The cells after the owner has spoken, and which of them the owner opened.
pub(super) struct Opened<'a> {
    pub cells: Cow<'a, [Cell]>,
    pub by_owner: Vec<bool>,
}

impl Policy {
    /// Whether the owner's word alone opens a field, at a view, for what is asked here.
    pub fn may_open(&self, question: &Question<'_>, field: &FieldId, view: &ViewId) -> Result<(), Barred> {
        let site = self.site(question, Gives::Records)?;
        let index = site.record.find(field).ok_or(Barred::Unknown)?;
        let raised = self.raise(&site, question, index, view)?;
        let ladder = &site.record.field(index).ok_or(Barred::Unknown)?.ladder;
        if !ladder.is_within(raised.view, raised.law.view) {
            return Err(Barred::Law);
        }
        let regulations = site.epoch.ceilings(site.place.record, site.start, question.facts);
        let refuses = |(layer, list): &(Layer, &[super::table::Ceiling])| {
            let ceiling = list.get(index.at()).filter(|_| *layer == Layer::Recipient);
            ceiling.is_some_and(|ceiling| !ladder.is_within(raised.view, ceiling.view))
        };
        if regulations.iter().any(refuses) { Err(Barred::Recipient) } else { Ok(()) }
    }

    /// The cells with what the owner has opened. What may not be opened stays as it was.
    pub(super) fn open<'a>(&self, site: &Site<'a>, question: &Question<'_>) -> Opened<'a> {
        let mut opened = Opened { cells: Cow::Borrowed(site.cells), by_owner: Vec::new() };
        for opening in &question.facts.openings {
            let Some(index) = site.record.find(&opening.field) else { continue };
            let Ok(raised) = self.raise(site, question, index, &opening.view) else { continue };
            if let Some(cell) = opened.cells.to_mut().get_mut(index.at()) {
                *cell = raised;
            }
            opened.by_owner.resize(site.cells.len(), false);
            opened.by_owner.get_mut(index.at()).into_iter().for_each(|mark| *mark = true);
        }
        opened
    }

    /// The cell as it would be with the view granted by the owner.
    fn raise(
        &self,
        site: &Site<'_>,
        question: &Question<'_>,
        index: FieldIndex,
        view: &ViewId,
    ) -> Result<Cell, Barred> {
        let field = site.record.field(index).ok_or(Barred::Unknown)?;
        let view = field.ladder.find(view.as_str()).filter(|view| view.shows()).ok_or(Barred::Unknown)?;
        if field.conceal || field.category == Category::Protected {
            return Err(Barred::Protected);
        }
        let cell = site.cells.get(index.at()).ok_or(Barred::Unknown)?;
        if field.ladder.is_within(view, cell.view) {
            return Err(Barred::Granted);
        }
        if !field.ladder.is_within(cell.view, view) {
            return Err(Barred::OtherView);
        }
        let acts = self.acts_of(&site.place, index, question.now);
        if let Some((article, _)) = check::missing_source(&acts, field.category) {
            return Err(Barred::Source(article));
        }
        let role =
            self.purposes.get(site.place.purpose).map_or(ConsentRole::Basis, |purpose| purpose.consent);
        let agreed = if role == ConsentRole::None { Needs::NONE } else { Needs::AGREED };
        let raised = Cell { view, needs: cell.needs.and(agreed), at_other_level: false, ..*cell };
        match self.broken_promise(site, question, index, &raised) {
            Some(promise) => Err(Barred::Promise(promise)),
            None => Ok(raised),
        }
    }

    /// The acts that a grant for this field and purpose would cite.
    fn acts_of(&self, place: &Place, field: FieldIndex, now: Timestamp) -> Vec<&Act> {
        let purpose = self.purposes.get(place.purpose);
        let fits = |row: &&super::bundle::matrix::MatrixRow| {
            row.record == place.record
                && row.field == field
                && row.is_in_force(now)
                && row.purpose.as_ref().is_none_or(|own| purpose.is_some_and(|purpose| purpose.id == *own))
        };
        let rows: Vec<_> = self.rows.iter().filter(fits).collect();
        let cites = |act: &&Act| {
            rows.iter().any(|row| row.acts.contains(&act.id))
                || purpose.is_some_and(|purpose| purpose.acts.contains(&act.id))
        };
        self.acts.iter().filter(cites).collect()
    }

    /// The promise of the bundle that such a cell would break.
    fn broken_promise(
        &self,
        site: &Site<'_>,
        question: &Question<'_>,
        index: FieldIndex,
        raised: &Cell,
    ) -> Option<String> {
        let field = site.record.field(index)?;
        let block: &Block = site.epoch.block_at(&site.place)?;
        let view: ViewIndex = field.ladder.meet(raised.view, raised.law.view);
        let needs = raised.needs.and(raised.law.needs);
        let breaks = |promise: &&super::table::Assertion| {
            let most = field.ladder.find(promise.at_most.as_str()).unwrap_or(ViewIndex::WITHHOLD);
            let excused = promise.unless != Needs::NONE && needs.covers(promise.unless);
            let owner = question.facts.provider.kind;
            promise.on.has_record(site.record)
                && promise.on.has_field(index, field.category)
                && (promise.on.owners.is_empty() || promise.on.owners.contains(&owner))
                && self.selects(&promise.on, block)
                && !excused
                && !field.ladder.is_within(view, most)
        };
        self.assertions.iter().find(breaks).map(|promise| promise.name.clone())
    }
}
