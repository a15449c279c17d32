//! A table of counts with all its totals, in a row.
//!
//! Along each dimension the classes are counted from 0, and one more place after them is the total over all of them. So the
//! margins of every kind are cells like any other.

/// How many classes each dimension has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

/// A place in a table: along each dimension a class, or the total.
pub type Place = Vec<usize>;

impl Shape {
    pub fn new(classes: impl IntoIterator<Item = usize>) -> Self {
        Self(classes.into_iter().collect())
    }

    pub fn classes(&self) -> &[usize] {
        &self.0
    }

    /// All cells, totals included.
    pub fn size(&self) -> usize {
        self.0.iter().map(|classes| classes + 1).product()
    }

    pub fn index(&self, place: &[usize]) -> usize {
        self.0.iter().zip(place).fold(0, |index, (classes, at)| index * (classes + 1) + at)
    }

    pub fn place(&self, mut index: usize) -> Place {
        let mut place = vec![0; self.0.len()];
        for (at, classes) in place.iter_mut().zip(&self.0).rev() {
            *at = index % (classes + 1);
            index /= classes + 1;
        }
        place
    }

    /// All places in their order.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.size()).map(|index| self.place(index))
    }

    pub fn is_total(&self, dimension: usize, at: usize) -> bool {
        self.0.get(dimension) == Some(&at)
    }
}

/// How many people stand in each cell. It holds small numbers: neither `Serialize` nor told by `Debug`.
pub struct Cube {
    pub shape: Shape,
    counts: Vec<u64>,
}

impl std::fmt::Debug for Cube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cube({} cells)", self.counts.len())
    }
}

impl Cube {
    /// From the cells without totals, which are added up here: an owner's own totals are not asked for.
    pub fn of(shape: Shape, cells: impl IntoIterator<Item = (Place, u64)>) -> Self {
        let mut counts = vec![0_u64; shape.size()];
        for (place, count) in cells {
            // The cell itself, and the totals it is part of: each dimension either kept or summed over.
            for sums in 0..1_usize << place.len() {
                let sum = |(dimension, at): (usize, &usize)| {
                    let total = shape.classes().get(dimension).copied().unwrap_or_default();
                    if sums >> dimension & 1 == 1 { total } else { *at }
                };
                let of: Place = place.iter().enumerate().map(sum).collect();
                if let Some(cell) = counts.get_mut(shape.index(&of)) {
                    *cell = cell.saturating_add(count);
                }
            }
        }
        Self { shape, counts }
    }

    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}
