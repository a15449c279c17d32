//! What officers ask of the table. Every answer is an exhaustive loop over finite cells, never a search.

use serde::Serialize;

use super::decide::Place;
use super::record::{Field, RecordType};
use super::table::{Block, Cell, Epoch, Needs};
use super::{Audience, Policy};
use crate::case::Level;
use crate::id::ViewId;
use crate::view::ladder::{Technique, ViewIndex};

pub mod cells;
pub mod diff;
pub mod matrix;
pub mod reach;
pub mod why;

/// What a cell comes to under agreement and law, before any body's regulation, case or person has spoken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Effect {
    pub view: ViewId,
    pub technique: Technique,
    /// Conditions, in the words of the files.
    pub only_with: Vec<&'static str>,
}

impl Needs {
    /// The conditions in the words of the files.
    pub fn words(self) -> Vec<&'static str> {
        [
            (Self::AGREED, "adesione"),
            (Self::EXPLICIT, "consenso"),
            (Self::ACT, "atto"),
            (Self::EXPLICIT_OR_ACT, "consenso/atto"),
            (Self::SCOPE, "ambito"),
        ]
        .into_iter()
        .filter(|(need, _)| self.has(*need))
        .map(|(_, word)| word)
        .collect()
    }
}

impl Cell {
    pub(super) fn effect(&self, field: &Field) -> Effect {
        let view = field.ladder.meet(self.view, self.law.view);
        let needs = if view.shows() { self.needs.and(self.law.needs) } else { Needs::NONE };
        effect(field, view, needs)
    }
}

pub(super) fn effect(field: &Field, view: ViewIndex, needs: Needs) -> Effect {
    let found = field.ladder.view(view);
    Effect {
        view: found.map_or_else(ViewId::withhold, |view| view.id.clone()),
        technique: found.map_or(Technique::Withhold, |view| view.technique),
        only_with: needs.words(),
    }
}

impl Technique {
    /// For people, in Italian.
    pub const fn italian(self) -> &'static str {
        match self {
            Self::Disclose => "in chiaro",
            Self::Generalise => "generalizzato",
            Self::Mask => "mascherato",
            Self::Pseudonymise => "pseudonimo",
            Self::Withhold => "negato",
        }
    }
}

impl Epoch {
    /// The cells of a block, field by field.
    pub(super) fn block<'a>(
        &'a self,
        record: usize,
        kind: &'a RecordType,
        block: &Block,
    ) -> impl Iterator<Item = (&'a Field, &'a Cell)> + use<'a> {
        let cells =
            self.records.get(record).and_then(|table| table.cells.get(block.start..)).unwrap_or_default();
        kind.fields.iter().zip(cells)
    }

    pub(super) fn blocks(&self, record: usize) -> &[Block] {
        self.records.get(record).map_or(&[], |table| table.blocks.as_slice())
    }

    pub(super) fn block_at(&self, place: &Place) -> Option<&Block> {
        self.blocks(place.record).iter().find(|block| {
            (block.purpose, block.level, block.audience) == (place.purpose, place.level, place.audience)
        })
    }
}

impl Audience {
    /// `cpi` or `cpi/collocamento-mirato`.
    pub fn text(&self) -> String {
        match &self.office {
            None => self.kind.text().to_owned(),
            Some(office) => format!("{}/{office}", self.kind.text()),
        }
    }
}

/// `-`, `1` or `2`.
pub fn level_text(level: Option<Level>) -> &'static str {
    match level {
        None => "-",
        Some(Level::First) => "1",
        Some(Level::Second) => "2",
    }
}

impl Policy {
    /// What the bundle promises of its table, in the words of its officers. Every one holds, or the bundle did not load.
    pub fn promises(&self) -> impl Iterator<Item = &str> {
        self.assertions.iter().map(|promise| promise.name.as_str())
    }

    pub(super) fn column_id(&self, block: &Block) -> &str {
        self.columns.get(block.column).map(|column| column.id.as_str()).unwrap_or_default()
    }
}
