//! What of one area and period may be known: made once, kept, and the same for everybody ever after.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::counts::AgencyCounts;
use super::cube::{Cube, Place, Shape};
use super::suppress::suppress;
use super::{Area, Period, Tabulation};
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, FieldId, RecordTypeId};
use crate::time::Timestamp;

/// One area's table for one period, with all its totals. Every smaller table is a part of it, so that no two tables of the
/// same people ever tell more than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The exchange it was made for.
    pub exchange: ExchangeId,
    pub at: Timestamp,
    pub tabulation: Tabulation,
    pub period: Period,
    pub area: Area,
    /// In the order of the cells; `null` is kept back.
    cells: Vec<Option<u64>>,
}

/// For what and when a release is made.
pub struct Occasion<'a> {
    pub exchange: &'a ExchangeId,
    pub at: Timestamp,
    pub period: Period,
}

/// The stream that remembers what has been told of one owner's records of a type in one half year. There is room for one
/// release in it, whatever its form.
pub fn stream(record_type: &RecordTypeId, owner: &AgencyId, half: Period) -> String {
    let (record_type, half) = (record_type.as_str().as_bytes(), half.to_string());
    let owner = owner.as_str().as_bytes();
    let parts = [b"varco/statistics/v1\0", record_type, b"\0", owner, b"\0", half.as_bytes()];
    format!("statistics:{}", Sha256::of_parts(&parts))
}

impl Release {
    /// Adds up what the owners of an area counted, and keeps back what is small. The counts end here.
    pub fn make(
        tabulation: &Tabulation,
        area: Area,
        counts: Vec<AgencyCounts>,
        occasion: &Occasion<'_>,
    ) -> Self {
        let cells = counts.into_iter().flat_map(AgencyCounts::into_cells);
        let cells = suppress(&Cube::of(tabulation.shape(), cells), tabulation.threshold);
        let &Occasion { exchange, at, period } = occasion;
        Self { exchange: exchange.clone(), at, tabulation: tabulation.clone(), period, area, cells }
    }

    /// The streams that hold it.
    pub fn streams(&self) -> Vec<String> {
        let of = |owner: &AgencyId| {
            let halves = self.period.halves().into_iter();
            let streams = halves.map(|half| stream(&self.tabulation.record_type, owner, half));
            streams.collect::<Vec<_>>()
        };
        self.area.owners.iter().flat_map(of).collect()
    }

    /// Whether it is what is asked for now, by the same words and with the same threshold.
    pub fn is(&self, tabulation: &Tabulation, area: &Area, period: Period) -> bool {
        self.tabulation == *tabulation
            && self.area.owners == area.owners
            && self.period == period
            && self.cells.len() == tabulation.shape().size()
    }

    /// How many cells are kept back, of how many.
    pub fn kept_back(&self) -> (usize, usize) {
        (self.cells.iter().filter(|cell| cell.is_none()).count(), self.cells.len())
    }

    /// The part of it with these dimensions, over which the others are summed.
    fn part(&self, dimensions: &[usize]) -> Vec<(Place, Option<u64>)> {
        let shape = self.tabulation.shape();
        let classes = shape.classes();
        let chosen = Shape::new(dimensions.iter().map(|at| classes.get(*at).copied().unwrap_or_default()));
        let cell = |small: Place| {
            let mut whole: Place = classes.to_vec();
            for (dimension, at) in dimensions.iter().zip(&small) {
                if let Some(place) = whole.get_mut(*dimension) {
                    *place = *at;
                }
            }
            let count = self.cells.get(shape.index(&whole)).copied().flatten();
            (small, count)
        };
        chosen.places().map(cell).collect()
    }
}

/// Releases side by side, as an answer shows them: of one tabulation, at some of its dimensions.
pub struct Table<'a> {
    pub tabulation: &'a Tabulation,
    /// Which of the tabulation's dimensions, in its order.
    pub dimensions: Vec<usize>,
    pub releases: Vec<&'a Release>,
}

/// In CSV: a total, and a number that is kept back.
const TOTAL: &str = "totale";
const KEPT_BACK: &str = "*";

impl<'a> Table<'a> {
    /// `None` when one of the fields is no dimension. Without a choice, all of them.
    pub fn dimensions(tabulation: &Tabulation, chosen: Option<&[FieldId]>) -> Result<Vec<usize>, FieldId> {
        let Some(chosen) = chosen else { return Ok((0..tabulation.dimensions.len()).collect()) };
        let of = |field: &FieldId| tabulation.dimension(field).ok_or_else(|| field.clone());
        let mut found: Vec<usize> = chosen.iter().map(of).collect::<Result<_, _>>()?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Class by class; `null` stands for all of them.
    fn classes(&self, place: &[usize]) -> Vec<Option<&'a str>> {
        let dimensions = self.dimensions.iter().filter_map(|at| self.tabulation.dimensions.get(*at));
        let classes = dimensions.zip(place).map(|(one, at)| one.classes.get(*at).map(String::as_str));
        classes.collect()
    }

    fn rows(&self, cells: &[(Place, Option<u64>)]) -> Value {
        let row = |(place, people): &(Place, Option<u64>)| json!({ "classes": self.classes(place), "people": people });
        cells.iter().map(row).collect()
    }

    /// One area.
    pub fn area(&self, release: &Release) -> Value {
        let (kept_back, cells) = release.kept_back();
        json!({
            "area": release.area.name,
            "bodies": release.area.owners,
            "released": release.at,
            "release": release.exchange,
            "kept_back": kept_back,
            "cells": cells,
            "rows": self.rows(&release.part(&self.dimensions)),
        })
    }

    /// The areas added up, from what is told of each and nothing else: a number that is kept back anywhere is kept back here.
    pub fn together(&self) -> Value {
        self.rows(&self.sum())
    }

    fn sum(&self) -> Vec<(Place, Option<u64>)> {
        let mut parts = self.releases.iter().map(|release| release.part(&self.dimensions));
        let mut sum = parts.next().unwrap_or_default();
        for part in parts {
            for ((_, sum), (_, more)) in sum.iter_mut().zip(part) {
                *sum = sum.zip(more).map(|(one, other)| one.saturating_add(other));
            }
        }
        sum
    }

    /// The same for a spreadsheet. Names and classes are words of the policy, which has no semicolons in them.
    pub fn csv(&self) -> String {
        let fields = self.dimensions.iter().filter_map(|at| self.tabulation.dimensions.get(*at));
        let fields: Vec<&str> = fields.map(|dimension| dimension.field.as_str()).collect();
        let mut csv = ["area"].into_iter().chain(fields).chain(["persone"]).collect::<Vec<_>>().join(";");
        csv.push_str("\r\n");
        for release in &self.releases {
            self.lines(&release.area.name, &release.part(&self.dimensions), &mut csv);
        }
        if self.releases.len() > 1 {
            self.lines(TOTAL, &self.sum(), &mut csv);
        }
        csv
    }

    fn lines(&self, area: &str, cells: &[(Place, Option<u64>)], csv: &mut String) {
        for (place, people) in cells {
            csv.push_str(area);
            for class in self.classes(place) {
                csv.push(';');
                csv.push_str(class.unwrap_or(TOTAL));
            }
            // Writing to a text cannot fail.
            let _ = match people {
                Some(people) => write!(csv, ";{people}\r\n"),
                None => write!(csv, ";{KEPT_BACK}\r\n"),
            };
        }
    }
}
