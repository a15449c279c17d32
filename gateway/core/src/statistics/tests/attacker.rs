//! Somebody who has every number that is told and a linear program: the least and the most that a cell which is kept back
//! can be. Written apart from what it attacks, and knowing only what is told.

use crate::statistics::cube::Shape;

/// More than any count of the tests: a number without an upper end counts as this.
const UNBOUNDED: f64 = 1e6;
const EPSILON: f64 = 1e-7;

pub struct Attacker {
    /// Which cells are unknown, in the order of the variables.
    unknown: Vec<usize>,
    /// Each line of the table: its classes less its total is nothing.
    rows: Vec<(Vec<f64>, f64)>,
}

impl Attacker {
    pub fn new(shape: &Shape, told: &[Option<u64>]) -> Self {
        let unknown: Vec<usize> = (0..told.len()).filter(|at| told[*at].is_none()).collect();
        let mut rows = Vec::new();
        for place in shape.places() {
            for (dimension, classes) in shape.classes().iter().enumerate() {
                if !shape.is_total(dimension, place[dimension]) {
                    continue;
                }
                let (mut row, mut known) = (vec![0.0; unknown.len()], 0.0);
                for at in 0..=*classes {
                    let mut cell = place.clone();
                    cell[dimension] = at;
                    let cell = shape.index(&cell);
                    let sign = if at == *classes { -1.0 } else { 1.0 };
                    match told[cell] {
                        Some(count) => known -= sign * count as f64,
                        None => row[unknown.iter().position(|other| *other == cell).unwrap()] = sign,
                    }
                }
                rows.push((row, known));
            }
        }
        Self { unknown, rows }
    }

    /// What the cell can be at least and at most.
    pub fn range(&self, cell: usize) -> (f64, f64) {
        let at = self.unknown.iter().position(|other| *other == cell).unwrap();
        let most = self.maximum(at, 1.0).min(UNBOUNDED);
        (-self.maximum(at, -1.0), most)
    }

    /// The simplex method in two phases, with Bland's rule: of `sign` times one variable, no variable below zero.
    fn maximum(&self, at: usize, sign: f64) -> f64 {
        let (n, m) = (self.unknown.len(), self.rows.len());
        // Columns: the variables, one artificial variable for each row, the right side.
        let mut table: Vec<Vec<f64>> = Vec::new();
        for (i, (row, known)) in self.rows.iter().enumerate() {
            let turn = if *known < 0.0 { -1.0 } else { 1.0 };
            let mut line: Vec<f64> = row.iter().map(|x| x * turn).collect();
            line.extend((0..m).map(|j| if i == j { 1.0 } else { 0.0 }));
            line.push(known * turn);
            table.push(line);
        }
        let mut basis: Vec<usize> = (n..n + m).collect();
        let artificial: Vec<f64> = (0..n + m).map(|j| if j < n { 0.0 } else { -1.0 }).collect();
        climb(&mut table, &mut basis, &artificial, n + m);
        // What is told has a solution: the true table. Rows that say nothing new keep an artificial variable at zero.
        for i in 0..m {
            if basis[i] >= n
                && let Some(j) = (0..n).find(|j| table[i][*j].abs() > EPSILON)
            {
                pivot(&mut table, &mut basis, i, j);
            }
        }
        let goal: Vec<f64> = (0..n + m).map(|j| if j == at { sign } else { 0.0 }).collect();
        climb(&mut table, &mut basis, &goal, n)
    }
}

/// Climbs by the first `columns` columns. The value reached, or [`UNBOUNDED`].
fn climb(table: &mut [Vec<f64>], basis: &mut [usize], goal: &[f64], columns: usize) -> f64 {
    loop {
        let gain = |j: usize| {
            let spent: f64 = basis.iter().zip(table.iter()).map(|(b, row)| goal[*b] * row[j]).sum();
            goal[j] - spent
        };
        let Some(enters) = (0..columns).find(|j| gain(*j) > EPSILON) else {
            return basis.iter().zip(table.iter()).map(|(b, row)| goal[*b] * row[row.len() - 1]).sum();
        };
        let mut leaves: Option<(f64, usize, usize)> = None;
        for (i, row) in table.iter().enumerate().filter(|(_, row)| row[enters] > EPSILON) {
            let ratio = (row[row.len() - 1] / row[enters], basis[i], i);
            if leaves.is_none_or(|least| (ratio.0, ratio.1) < (least.0, least.1)) {
                leaves = Some(ratio);
            }
        }
        let Some((_, _, leaves)) = leaves else { return UNBOUNDED };
        pivot(table, basis, leaves, enters);
    }
}

fn pivot(table: &mut [Vec<f64>], basis: &mut [usize], row: usize, column: usize) {
    let by = table[row][column];
    table[row].iter_mut().for_each(|x| *x /= by);
    let line = table[row].clone();
    for (_, other) in table.iter_mut().enumerate().filter(|(i, _)| *i != row) {
        let by = other[column];
        if by.abs() > EPSILON {
            other.iter_mut().zip(&line).for_each(|(x, y)| *x -= by * y);
        }
    }
    basis[row] = column;
}
