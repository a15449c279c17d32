//! Many rows in one statement: each statement is a trip to the database's thread or server, so a batch makes few.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;

use crate::db::{Backend, Link, on};

/// Rows in one statement. 64 rows of 8 columns stay far below the limits on parameters (SQLite 32,766,
/// PostgreSQL 65,535), and 64 lengths of each statement can all stay prepared.
pub const ROWS_MAX: usize = 64;

/// A value of a row, in the types both databases have.
#[derive(Clone, Debug)]
pub enum Cell {
    Bytes(Vec<u8>),
    Int(i64),
    MaybeBytes(Option<Vec<u8>>),
    MaybeText(Option<String>),
    Text(String),
}

/// An insertion: `head (columns) VALUES rows tail`.
pub struct Insert {
    /// Table and columns: `INSERT INTO t (a, b)`.
    pub head: &'static str,
    /// What follows the rows: nothing, or `ON CONFLICT ...`.
    pub tail: &'static str,
}

/// Inserts all rows, at most [`ROWS_MAX`] with each statement. All rows have `N` cells.
pub async fn insert<const N: usize>(
    link: &mut Link,
    insert: &Insert,
    rows: Vec<[Cell; N]>,
) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter();
    loop {
        let chunk: Vec<[Cell; N]> = rows.by_ref().take(ROWS_MAX).collect();
        if chunk.is_empty() {
            return Ok(());
        }
        let sql = AssertSqlSafe(values(Marks::of(link), insert, chunk.len(), N));
        on!(&mut *link, at => {
            let mut query = sqlx::query(sql);
            for cell in chunk.into_iter().flatten() {
                query = match cell {
                    Cell::Bytes(value) => query.bind(value),
                    Cell::Int(value) => query.bind(value),
                    Cell::MaybeBytes(value) => query.bind(value),
                    Cell::MaybeText(value) => query.bind(value),
                    Cell::Text(value) => query.bind(value),
                };
            }
            query.execute(at).await?;
        });
    }
}

/// How the parameters of a generated statement are written.
#[derive(Clone, Copy)]
pub enum Marks {
    /// `$1`, as everywhere else.
    Numbered,
    /// `?`: SQLite keeps a list of the numbered ones and searches it for every value that is bound.
    Plain,
}

impl Marks {
    pub const fn of<P, S>(backend: &Backend<P, S>) -> Self {
        match backend {
            Backend::Postgres(_) => Self::Numbered,
            Backend::Sqlite(_) => Self::Plain,
        }
    }
}

/// `INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT ...`
pub fn values(marks: Marks, insert: &Insert, rows: usize, columns: usize) -> String {
    let mut sql = String::with_capacity(insert.head.len() + insert.tail.len() + rows * columns * 5 + 16);
    sql.push_str(insert.head);
    sql.push_str(" VALUES ");
    for row in 0..rows {
        sql.push(if row == 0 { '(' } else { ',' });
        if row > 0 {
            sql.push('(');
        }
        placeholders(&mut sql, marks, row * columns, columns);
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(insert.tail);
    sql
}

/// `head IN ($1,$2) tail` for a list as long as [`padded`] makes it.
pub fn among(marks: Marks, head: &str, keys: usize, tail: &str) -> String {
    let mut sql = String::with_capacity(head.len() + tail.len() + keys * 5 + 8);
    sql.push_str(head);
    sql.push_str(" IN (");
    placeholders(&mut sql, marks, 0, keys);
    sql.push_str(") ");
    sql.push_str(tail);
    sql
}

/// The keys, the last one repeated up to a power of two, so that few different statements are prepared.
pub fn padded<T: Clone>(keys: &[T]) -> Vec<T> {
    let mut padded = keys.to_vec();
    if let Some(last) = keys.last() {
        padded.resize(keys.len().next_power_of_two(), last.clone());
    }
    padded
}

fn placeholders(sql: &mut String, marks: Marks, after: usize, count: usize) {
    for n in 1..=count {
        let comma = if n == 1 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match marks {
            Marks::Numbered => write!(sql, "{comma}${}", after + n),
            Marks::Plain => write!(sql, "{comma}?"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        let insert = Insert { head: "INSERT INTO t (a, b)", tail: "ON CONFLICT DO NOTHING" };
        assert_eq!(
            values(Marks::Numbered, &insert, 2, 2),
            "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            values(Marks::Plain, &insert, 2, 2),
            "INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            among(Marks::Numbered, "SELECT a FROM t WHERE a", 3, "ORDER BY a"),
            "SELECT a FROM t WHERE a IN ($1,$2,$3) ORDER BY a"
        );
    }

    #[test]
    fn lists_are_padded_to_a_power_of_two() {
        assert_eq!(padded(&[1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(&[7]), [7]);
        assert!(padded::<u8>(&[]).is_empty());
    }
}
