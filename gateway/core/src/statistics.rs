//! Statistics: counts of people by fixed classes, and what of them may be known.
//!
//! Owns the questions that can be put at all (a [`Tabulation`] of the policy and a whole [`Period`]), the table with all its
//! totals ([`cube::Cube`]), what is kept back of it ([`suppress`]) and the [`release::Release`] that holds the rest. Knows
//! nothing of people: only counts come in, and small ones stop here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::Sha256;
use crate::id::{AgencyId, FieldId, RecordTypeId, ViewId};
use crate::time::{Date, Month, Timestamp, rome};

pub mod counts;
pub mod cube;
pub mod release;
pub mod suppress;

/// Below this nobody may go (regole deontologiche SISTAN 2018, art. 5).
pub const FLOOR: u32 = 3;
/// Where the policy says nothing.
pub const THRESHOLD: u32 = 5;
/// Where a dimension is special data (GDPR art. 9), or belonging to the record type says such data by itself.
pub const THRESHOLD_SPECIAL: u32 = 10;
/// Nobody reads a table of more.
pub const DIMENSIONS_MAX: usize = 4;
pub const CLASSES_MAX: usize = 64;
/// Cells with all totals. What is kept back is found in the square of this times the 16 corners of a box: some 67 million
/// steps, which is a second.
pub const CELLS_MAX: usize = 2048;
/// Bodies that are asked for counts: each has an entry of its own in the log, in one transaction.
pub const OWNERS_MAX: usize = 32;
/// The last class of every dimension: what the owner does not know, or what falls into no other.
pub const UNKNOWN: &str = "non_noto";

/// What may be counted of one record type. The policy names it; nobody asks for anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tabulation {
    pub record_type: RecordTypeId,
    pub title: String,
    /// What is counted, in words: the owners count by it.
    pub counts: String,
    pub unit: Unit,
    /// No number below it is told.
    pub threshold: u32,
    pub dimensions: Vec<Dimension>,
}

/// A field at one of its views, in fixed classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dimension {
    pub field: FieldId,
    pub view: ViewId,
    /// INVARIANT: the last one is [`UNKNOWN`].
    pub classes: Vec<String>,
}

/// Owners whose counts are told only together: small Comuni.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    pub name: String,
    pub owners: Vec<AgencyId>,
}

/// How long a tabulation's periods are. One length only, since a year less its first half is its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    HalfYear,
    Year,
}

/// A whole period of the calendar: `2026-S1`, `2026`. Never a free date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    year: i32,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    First,
    Second,
    Whole,
}

/// The text is no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a half year such as `2026-S1`, or a year such as `2026`")]
pub struct PeriodFault;

impl Tabulation {
    /// What two releases must have in common to be the same.
    pub fn form(&self) -> Sha256 {
        Sha256::of(crate::json::canonical_of(self).as_bytes())
    }

    pub fn dimension(&self, field: &FieldId) -> Option<usize> {
        self.dimensions.iter().position(|dimension| dimension.field == *field)
    }

    pub fn shape(&self) -> cube::Shape {
        cube::Shape::new(self.dimensions.iter().map(|dimension| dimension.classes.len()))
    }
}

impl Period {
    pub const fn unit(self) -> Unit {
        match self.part {
            Part::First | Part::Second => Unit::HalfYear,
            Part::Whole => Unit::Year,
        }
    }

    /// The half years it is made of: by these it is known what has been released before.
    pub fn halves(self) -> Vec<Self> {
        let half = |part| Self { part, ..self };
        match self.part {
            Part::First | Part::Second => vec![self],
            Part::Whole => vec![half(Part::First), half(Part::Second)],
        }
    }

    /// Whether its last day in Italy is over: only then do counts stand still.
    pub fn is_over(self, now: Timestamp) -> bool {
        let (year, month) = match self.part {
            Part::First => (self.year, Month::July),
            Part::Second | Part::Whole => (self.year + 1, Month::January),
        };
        Date::from_calendar_date(year, month, 1).is_ok_and(|next| rome(now) >= Timestamp::start_of(next))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::First => write!(f, "{:04}-S1", self.year),
            Part::Second => write!(f, "{:04}-S2", self.year),
            Part::Whole => write!(f, "{:04}", self.year),
        }
    }
}

impl FromStr for Period {
    type Err = PeriodFault;

    fn from_str(text: &str) -> Result<Self, PeriodFault> {
        let (year, part) = match text.split_once('-') {
            None => (text, Part::Whole),
            Some((year, "S1")) => (year, Part::First),
            Some((year, "S2")) => (year, Part::Second),
            Some(_) => return Err(PeriodFault),
        };
        let is_year = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
        let year = year.parse().map_err(|_| PeriodFault)?;
        if is_year && (1970..9999).contains(&year) { Ok(Self { year, part }) } else { Err(PeriodFault) }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
