//! What has been kept for as long as it may.

use std::ops::Range;

use sqlx::AssertSqlSafe;
use varco_core::log::entry::{Kind, SlotName};

use crate::db::on;
use crate::read::{ReadError, Reader};

/// Rows looked at in one statement: some 20 ms.
pub const WINDOW: u64 = 16_384;

impl Reader {
    /// The first and the last entry of these kinds among `range`, at most [`WINDOW`] of them, whose body of this name is
    /// still there.
    pub async fn bodies_left(
        &self,
        range: Range<u64>,
        slot: SlotName,
        kinds: &[Kind],
    ) -> Result<Option<(u64, u64)>, ReadError> {
        if range.end.saturating_sub(range.start) > WINDOW {
            return Err(ReadError::TooMuch);
        }
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
        let kinds = if kinds.is_empty() { "NULL".to_owned() } else { kinds.join(",") };
        let sql = AssertSqlSafe(format!(
            "SELECT MIN(b.idx), MAX(b.idx) FROM log_body b JOIN log_entry e ON e.idx = b.idx \
             WHERE b.idx >= $1 AND b.idx < $2 AND b.{slot} IS NOT NULL AND e.kind IN ({kinds})"
        ));
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (from, to) = (number(range.start), number(range.end));
        let found: (Option<i64>, Option<i64>) =
            on!(&*self.pools, pool => sqlx::query_as(sql).bind(from).bind(to).fetch_one(pool).await?);
        let index = |n: i64| u64::try_from(n).map_err(|_| ReadError::Damaged("index"));
        found.0.zip(found.1).map(|(first, last)| Ok((index(first)?, index(last)?))).transpose()
    }
}
