//! What is kept back so that no small number can be had, not even by subtraction.
//!
//! Every number below the threshold is kept back, zero too: that nobody is in a class says something about everybody who
//! could have been. Then each of them gets a box: along every dimension a second place is chosen, another class or the
//! total, and all corners of the box are kept back. Counts can be moved round the corners of a box, up at one and down at
//! the next, and every total that is told stays as it is; so whoever reads finds at least as many numbers possible for
//! each corner as the threshold says, however they add and subtract. This is the hypercube method (Repsilber; GHMITER), in
//! which totals are places like any other. Of all boxes that are wide enough the one is taken that costs fewest people.

use super::cube::{Cube, Place, Shape};

/// The numbers that may be told, in the order of the cells; `None` is kept back. Which of these are small and which are kept
/// back for their sake cannot be seen, and must not be.
pub fn suppress(cube: &Cube, threshold: u32) -> Vec<Option<u64>> {
    let (shape, counts, least) = (&cube.shape, cube.counts(), u64::from(threshold));
    let mut kept_back: Vec<bool> = counts.iter().map(|count| *count < least).collect();
    let small: Vec<usize> = (0..counts.len()).filter(|at| kept_back.get(*at) == Some(&true)).collect();
    for at in small {
        let table = Table { shape, counts, kept_back: &kept_back };
        let corners = table.best(&shape.place(at), least);
        for corner in corners {
            if let Some(mark) = kept_back.get_mut(corner) {
                *mark = true;
            }
        }
    }
    counts.iter().zip(kept_back).map(|(count, kept_back)| (!kept_back).then_some(*count)).collect()
}

struct Table<'a> {
    shape: &'a Shape,
    counts: &'a [u64],
    kept_back: &'a [bool],
}

/// What a box takes, to be as small as can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// People in the cells that are kept back for its sake: totals cost most, as they should.
    people: u64,
    cells: usize,
}

impl Table<'_> {
    /// The corners of the cheapest box round a cell that is wide enough. There is always one: with the total along every
    /// dimension nothing need go down where something goes up.
    fn best(&self, cell: &Place, width: u64) -> Vec<usize> {
        let mut best: Option<(Cost, Vec<usize>)> = None;
        let mut other = vec![0; cell.len()];
        loop {
            let differs = other.iter().zip(cell).all(|(other, own)| other != own);
            if differs && let Some((cost, corners)) = self.look(cell, &other, width) {
                if cost.cells == 0 {
                    return corners;
                }
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, corners));
                }
            }
            if !self.step(&mut other) {
                break;
            }
        }
        // Without dimensions there are no boxes; then nothing is told at all.
        best.map_or_else(|| (0..self.counts.len()).collect(), |(_, corners)| corners)
    }

    /// The box between two places, if counts can be moved round it by enough.
    fn look(&self, cell: &[usize], other: &[usize], width: u64) -> Option<(Cost, Vec<usize>)> {
        // How far the cell can go down and up: as far as the corners that go with it, and those that go against it, hold.
        let (mut down, mut up) = (u64::MAX, u64::MAX);
        let mut cost = Cost { people: 0, cells: 0 };
        let mut corners = Vec::with_capacity(1 << cell.len());
        for chosen in 0..1_usize << cell.len() {
            let (mut at, mut is_against) = (0, false);
            for (dimension, (own, other)) in cell.iter().zip(other).enumerate() {
                let is_other = chosen >> dimension & 1 == 1;
                let place = if is_other { *other } else { *own };
                // From class to class one goes up and the other down; a class and its total go together.
                let is_total = self.shape.is_total(dimension, *own) || self.shape.is_total(dimension, *other);
                is_against ^= is_other && !is_total;
                at = at * (self.shape.classes().get(dimension).copied().unwrap_or_default() + 1) + place;
            }
            let count = self.counts.get(at).copied()?;
            let side = if is_against { &mut up } else { &mut down };
            *side = count.min(*side);
            if self.kept_back.get(at) == Some(&false) {
                cost = Cost { people: cost.people.saturating_add(count), cells: cost.cells + 1 };
            }
            corners.push(at);
        }
        (down.saturating_add(up) >= width).then_some((cost, corners))
    }

    /// The next place after this one; `false` after the last.
    fn step(&self, place: &mut [usize]) -> bool {
        for (at, classes) in place.iter_mut().zip(self.shape.classes()).rev() {
            if *at < *classes {
                *at += 1;
                return true;
            }
            *at = 0;
        }
        false
    }
}
