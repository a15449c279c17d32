//! Many rows in one statement, and several statements in one trip: to SQLite's thread or PostgreSQL's server each trip
//! costs as much as the work of some ten rows.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::db::{Backend, Link};

/// Rows in one statement. 64 rows of 14 columns stay far below the limits on parameters (SQLite 32,766, PostgreSQL
/// 65,535), and 64 lengths of each statement can all stay prepared.
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

/// An insertion: `head VALUES rows tail`.
pub struct Insert {
    /// Table and columns: `INSERT INTO t (a, b)`.
    pub head: &'static str,
    /// What follows the rows: nothing, or `ON CONFLICT ...`.
    pub tail: &'static str,
}

/// How many rows an insertion has.
#[derive(Clone, Copy)]
pub enum Length {
    /// Just as many as are given.
    Exact,
    /// The last one repeated up to this many, so that few different texts are prepared. Only for insertions that pass
    /// over what is there.
    Padded(usize),
}

/// Statements to run one after the other. Their texts have `?` for every value.
///
/// SQLite takes them all in one trip. It takes `$1` as well, but keeps a list of the numbered ones and searches it for
/// each value that is bound. PostgreSQL takes them one by one, numbered.
#[derive(Default)]
pub struct Script(Vec<(String, Vec<Cell>)>);

impl Script {
    pub fn say(&mut self, sql: &str, cells: Vec<Cell>) {
        self.0.push((sql.to_owned(), cells));
    }

    /// What another script says, after this one.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// One insertion of all rows, at most [`ROWS_MAX`] of them; nothing when there are none.
    pub fn insert<const N: usize>(&mut self, insert: &Insert, rows: Vec<[Cell; N]>, length: Length) {
        let Some(last) = rows.last().cloned() else { return };
        let missing = match length {
            Length::Exact => 0,
            Length::Padded(to) => to.saturating_sub(rows.len()),
        };
        let count = rows.len() + missing;
        let cells: Vec<Cell> = rows.into_iter().chain(std::iter::repeat_n(last, missing)).flatten().collect();
        self.0.push((values(insert, count, N), cells));
    }

    /// `head IN (keys) tail` for keys of any number, at most [`ROWS_MAX`] in each statement.
    pub fn among(&mut self, head: &str, keys: &[Cell], tail: &str) {
        for chunk in keys.chunks(ROWS_MAX) {
            let chunk = padded(chunk);
            let mut sql = format!("{head} IN (");
            marks(&mut sql, chunk.len());
            sql.push_str(") ");
            sql.push_str(tail);
            self.0.push((sql, chunk));
        }
    }

    /// All statements as one text with all values, for SQLite.
    fn joined(self) -> (String, Vec<Cell>) {
        let (mut sql, mut cells) = (String::new(), Vec::new());
        for (text, values) in self.0 {
            sql.push_str(&text);
            sql.push_str(";\n");
            cells.extend(values);
        }
        (sql, cells)
    }
}

/// A query with its values bound, whichever database and kind of query it is.
macro_rules! bound {
    ($query:expr, $cells:expr) => {{
        let mut query = $query;
        for cell in $cells {
            query = match cell {
                Cell::Bytes(value) => query.bind(value),
                Cell::Int(value) => query.bind(value),
                Cell::MaybeBytes(value) => query.bind(value),
                Cell::MaybeText(value) => query.bind(value),
                Cell::Text(value) => query.bind(value),
            };
        }
        query
    }};
}

/// Runs a script for its effect; gives back how many rows it touched in all.
pub async fn execute(link: &mut Link, script: Script) -> Result<u64, sqlx::Error> {
    match link {
        Backend::Postgres(at) => {
            let mut touched = 0;
            for (sql, cells) in script.0 {
                let query = bound!(sqlx::query(AssertSqlSafe(numbered(&sql))), cells);
                touched += query.execute(&mut *at).await?.rows_affected();
            }
            Ok(touched)
        }
        Backend::Sqlite(_) if script.0.is_empty() => Ok(0),
        Backend::Sqlite(at) => {
            let (sql, cells) = script.joined();
            Ok(bound!(sqlx::query(AssertSqlSafe(sql)), cells).execute(at).await?.rows_affected())
        }
    }
}

/// Runs a script for its rows, which must all have the same columns.
pub async fn fetch<Row>(link: &mut Link, script: Script) -> Result<Vec<Row>, sqlx::Error>
where
    Row: for<'r> sqlx::FromRow<'r, PgRow> + for<'r> sqlx::FromRow<'r, SqliteRow> + Send + Unpin,
{
    match link {
        Backend::Postgres(at) => {
            let mut rows = Vec::new();
            for (sql, cells) in script.0 {
                let query = bound!(sqlx::query_as(AssertSqlSafe(numbered(&sql))), cells);
                rows.extend(query.fetch_all(&mut *at).await?);
            }
            Ok(rows)
        }
        Backend::Sqlite(_) if script.0.is_empty() => Ok(Vec::new()),
        Backend::Sqlite(at) => {
            let (sql, cells) = script.joined();
            bound!(sqlx::query_as(AssertSqlSafe(sql)), cells).fetch_all(at).await
        }
    }
}

/// Inserts any number of rows, at most [`ROWS_MAX`] with each statement.
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
        let mut script = Script::default();
        script.insert(insert, chunk, Length::Exact);
        execute(link, script).await?;
    }
}

/// The keys, the last one repeated up to a power of four: a key too many costs little, and a trip with several lists
/// would else have more different texts than stay prepared.
pub fn padded<T: Clone>(keys: &[T]) -> Vec<T> {
    let mut padded = keys.to_vec();
    if let Some(last) = keys.last() {
        let power = keys.len().next_power_of_two();
        let odd = power.ilog2() % 2;
        padded.resize(power << odd, last.clone());
    }
    padded
}

/// `head IN ($1,$2) tail`, for a reader.
pub fn among(head: &str, keys: usize, tail: &str) -> String {
    let mut sql = format!("{head} IN (");
    marks(&mut sql, keys);
    numbered(&sql) + ") " + tail
}

/// `INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT ...`
fn values(insert: &Insert, rows: usize, columns: usize) -> String {
    let mut sql =
        String::with_capacity(insert.head.len() + insert.tail.len() + rows * (columns + 1) * 2 + 16);
    sql.push_str(insert.head);
    sql.push_str(" VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        marks(&mut sql, columns);
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(insert.tail);
    sql
}

fn marks(sql: &mut String, count: usize) {
    for n in 0..count {
        sql.push_str(if n == 0 { "?" } else { ",?" });
    }
}

/// The text as PostgreSQL takes it: `$1`, `$2` and so on for each `?`.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (n, part) in (1_u32..).zip(parts) {
        // Writing to a String cannot fail.
        let _ = write!(out, "${n}{part}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: Insert = Insert { head: "INSERT INTO t (a, b)", tail: "ON CONFLICT DO NOTHING" };

    #[test]
    fn values_are_numbered_through_for_postgres() {
        let sql = values(&INSERT, 2, 2);
        assert_eq!(sql, "INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING");
        assert_eq!(numbered(&sql), "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT DO NOTHING");
        assert_eq!(
            among("SELECT a FROM t WHERE a", 3, "AND b"),
            "SELECT a FROM t WHERE a IN ($1,$2,$3) AND b"
        );
    }

    #[test]
    fn lists_and_insertions_are_padded_with_their_last_element() {
        assert_eq!(padded(&[1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(&[7]), [7]);
        assert_eq!(padded(&[1, 2]), [1, 2, 2, 2]);
        assert_eq!(padded(&[0; 64]).len(), 64);
        assert_eq!(padded(&[0; 65]).len(), 256);
        assert!(padded::<u8>(&[]).is_empty());
        let mut script = Script::default();
        script.insert(
            &INSERT,
            vec![[Cell::Int(1), Cell::Int(2)], [Cell::Int(3), Cell::Int(4)]],
            Length::Padded(3),
        );
        script.insert::<2>(&INSERT, Vec::new(), Length::Padded(3));
        script.among("DELETE FROM t WHERE a", &[Cell::Int(5)], "");
        let (sql, cells) = script.joined();
        assert_eq!(
            sql,
            "INSERT INTO t (a, b) VALUES (?,?),(?,?),(?,?) ON CONFLICT DO NOTHING;\nDELETE FROM t WHERE a IN (?) ;\n"
        );
        let numbers: Vec<i64> =
            cells.iter().map(|cell| if let Cell::Int(n) = cell { *n } else { 0 }).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 3, 4, 5]);
    }
}
