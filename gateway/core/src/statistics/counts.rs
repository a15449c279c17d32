//! What one owner counted, checked against what was asked.

use std::collections::BTreeSet;
use std::fmt;

use super::Tabulation;
use super::cube::Place;

/// No tabulation counts more people: Italy has 59 million.
pub const PEOPLE_MAX: u64 = 100_000_000;

/// One owner's counts. Small numbers are among them, so they do not serialise, and their `Debug` prints none.
pub struct AgencyCounts(Vec<(Place, u64)>);

impl fmt::Debug for AgencyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgencyCounts({} cells)", self.0.len())
    }
}

/// Why an owner's answer is no table. The text holds nothing the owner said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountFault {
    #[error("a row names no class of dimension {0}")]
    Class(usize),
    #[error("a row has not as many classes as there are dimensions")]
    Classes,
    #[error("a cell is told twice")]
    Twice,
    #[error("more people than there can be")]
    TooMany,
}

impl AgencyCounts {
    /// Checks rows of classes, in the order of the dimensions, with a count each. A cell that has no row counts nobody.
    pub fn check(
        rows: impl IntoIterator<Item = (Vec<String>, u64)>,
        tabulation: &Tabulation,
    ) -> Result<Self, CountFault> {
        let (mut cells, mut seen, mut people) = (Vec::new(), BTreeSet::new(), 0_u64);
        for (classes, count) in rows {
            if classes.len() != tabulation.dimensions.len() {
                return Err(CountFault::Classes);
            }
            let mut place = Place::new();
            for (number, (class, dimension)) in (1..).zip(classes.iter().zip(&tabulation.dimensions)) {
                let at = dimension.classes.iter().position(|known| known == class);
                place.push(at.ok_or(CountFault::Class(number))?);
            }
            if !seen.insert(place.clone()) {
                return Err(CountFault::Twice);
            }
            people = people.saturating_add(count);
            if people > PEOPLE_MAX {
                return Err(CountFault::TooMany);
            }
            cells.push((place, count));
        }
        Ok(Self(cells))
    }

    pub(super) fn into_cells(self) -> Vec<(Place, u64)> {
        self.0
    }
}
