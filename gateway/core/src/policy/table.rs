//! The compiled table: for every record type a block of cells per purpose, level and audience, field by field.

use std::collections::BTreeMap;

use super::record::FieldIndex;
use super::{Category, Layer};
use crate::case::Level;
use crate::id::{AgencyId, OfficeId, PurposeId, RecordTypeId, ViewId};
use crate::registry::AgencyKind;
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

/// Conditions a cell asks for besides being granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Needs(u8);

impl Needs {
    pub const NONE: Self = Self(0);
    /// The person has agreed, at least to the record type.
    pub const AGREED: Self = Self(1);
    /// The person has named this field.
    pub const EXPLICIT: Self = Self(2);
    /// An act of the guardian or the judge names this field.
    pub const ACT: Self = Self(4);
    /// Either of the last two.
    pub const EXPLICIT_OR_ACT: Self = Self(8);
    /// The asking member's scopes include the field's.
    pub const SCOPE: Self = Self(16);

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether whoever satisfies `self` satisfies `other`.
    pub const fn covers(self, other: Self) -> bool {
        let mut mine = self.0;
        if self.has(Self::EXPLICIT) {
            mine |= Self::EXPLICIT_OR_ACT.0 | Self::AGREED.0;
        }
        if self.has(Self::ACT) {
            mine |= Self::EXPLICIT_OR_ACT.0;
        }
        mine & other.0 == other.0
    }
}

/// What the agreement and the law say of one field in one situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub view: ViewIndex,
    pub needs: Needs,
    pub law: Ceiling,
    /// Into the policy's grants; meaningless where nothing is granted.
    pub grant: u32,
    /// The agreement grants it for this purpose and audience at another level.
    pub at_other_level: bool,
}

/// What a narrowing layer says of one field in one situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    pub view: ViewIndex,
    pub needs: Needs,
}

impl Ceiling {
    pub const OPEN: Self = Self { view: ViewIndex::WHOLE, needs: Needs::NONE };
}

/// A level, or none: three places.
pub(super) fn slot(level: Option<Level>) -> usize {
    match level {
        None => 0,
        Some(Level::First) => 1,
        Some(Level::Second) => 2,
    }
}

pub(super) const SLOTS: [Option<Level>; 3] = [None, Some(Level::First), Some(Level::Second)];

/// The blocks of one record type. A block is missing where the audience may not ask at all.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordTable {
    /// `starts[(purpose * 3 + slot) * audiences + audience]`.
    pub starts: Vec<Option<u32>>,
    pub blocks: Vec<Block>,
    pub cells: Vec<Cell>,
}

/// One situation: who asks, under which purpose, at which level, and the column of the matrix that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub purpose: usize,
    pub level: Option<Level>,
    pub audience: usize,
    pub column: usize,
    pub start: usize,
}

/// The ceilings of one body's regulation in one role, for one record type, towards everybody or towards one agency:
/// same places as the record's cells.
pub(super) type Ceilings = BTreeMap<(usize, AgencyId, Option<AgencyId>), Vec<Ceiling>>;

/// The table for a span of time in which no row begins or ends.
#[derive(Clone, Debug)]
pub struct Epoch {
    pub(super) from: Timestamp,
    pub(super) records: Vec<RecordTable>,
    pub(super) owner: Ceilings,
    pub(super) recipient: Ceilings,
}

impl Epoch {
    pub(super) fn size(&self) -> usize {
        let cells: usize = self.records.iter().map(|record| record.cells.len()).sum();
        let ceilings = |of: &Ceilings| of.values().map(Vec::len).sum::<usize>();
        cells + ceilings(&self.owner) + ceilings(&self.recipient)
    }
}

/// Whom a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toward {
    Agency(AgencyId),
    Column(String),
    Kind(AgencyKind),
    Office(AgencyKind, OfficeId),
}

/// Which cells a rule or an assertion speaks of; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub records: Vec<RecordTypeId>,
    /// With one record type: its fields.
    pub fields: Vec<FieldIndex>,
    pub categories: Vec<Category>,
    pub owners: Vec<AgencyKind>,
    pub toward: Vec<Toward>,
    pub levels: Vec<Level>,
    pub purposes: Vec<PurposeId>,
}

/// A ceiling as an officer wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub layer: Layer,
    /// Whose regulation it is.
    pub body: Option<AgencyId>,
    pub on: Selection,
    /// By name, since a selection may span ladders.
    pub at_most: ViewId,
    pub needs: Needs,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub source: String,
    pub file: String,
    pub line: u32,
}

/// A promise about the whole table, checked when the bundle is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    pub name: String,
    pub on: Selection,
    pub at_most: ViewId,
    /// Cells that ask for this may exceed `at_most`.
    pub unless: Needs,
    pub file: String,
    pub line: u32,
}
