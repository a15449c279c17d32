//! From one epoch of body keys to the next: every sealed row is wrapped anew, page by page between batches, and then the
//! old key is destroyed. Whatever was erased before is thereby gone from every copy of the database as well.

use crate::bodies::{self, SealedRow};
use crate::db::{Link, on};
use crate::fault::StatementError;
use crate::keyring::{Keyring, KeyringError};
use crate::rows::{Cell, Insert, Length, ROWS_MAX, Script, execute};
use crate::statements::int;

/// Rows wrapped anew in one transaction: some 20 ms, which a commit can wait.
pub const PAGE: u64 = 256;

/// A renewal under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The epoch that begins.
    pub to: u32,
    /// Rows before this one are done.
    pub next: u64,
    /// Rows from this one on were sealed under the new epoch.
    pub end: u64,
}

/// Whether the log holds any sealed row.
pub async fn any_sealed(link: &mut Link) -> Result<bool, StatementError> {
    const ANY: &str = "SELECT COUNT(*) FROM (SELECT idx FROM log_body LIMIT 1) found";
    let count: i64 = on!(link, at => sqlx::query_scalar(ANY).fetch_one(at).await?);
    Ok(count > 0)
}

type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Wraps the rows of a page anew. Within a transaction that holds the log's lock, so that nobody erases them meanwhile.
pub async fn page(
    link: &mut Link,
    keyring: &Keyring,
    renewal: &Renewal,
    last: &mut Script,
) -> Result<(), StatementError> {
    const ROWS: &str = "SELECT idx, epoch, decision, operator, subject, about FROM log_body \
         WHERE idx >= $1 AND idx < $2 AND epoch < $3 ORDER BY idx";
    const RENEW: &str = "UPDATE log_body SET epoch = ?, decision = ?, operator = ?, subject = ?, about = ?, who = ?, \
         office = ?, in_case = ?, seal = ? WHERE idx = ?";
    const FORGET: Insert = Insert { head: "DELETE FROM log_subject WHERE (subject, idx) IN (", tail: ")" };
    const FOUND: Insert =
        Insert { head: "INSERT INTO log_subject (subject, idx)", tail: "ON CONFLICT DO NOTHING" };
    let (from, to) = (int(renewal.next), int(renewal.next.saturating_add(PAGE).min(renewal.end)));
    let epoch = i64::from(renewal.to);
    let rows: Vec<Row> = on!(&mut *link, at => {
        sqlx::query_as(ROWS).bind(from).bind(to).bind(epoch).fetch_all(at).await?
    });
    let (mut old_terms, mut new_terms) = (Vec::new(), Vec::new());
    let mut script = Script::default();
    for (idx, old, decision, operator, subject, about) in rows {
        let row = SealedRow { decision, operator, subject, about, ..SealedRow::default() };
        let Some((renewed, terms)) = renew(keyring, (idx, old), renewal.to, &row)? else { continue };
        old_terms.extend(terms.into_iter().map(|term| [Cell::Text(term), Cell::Int(idx)]));
        new_terms.extend(renewed.subjects.iter().map(|term| [Cell::Text(term.clone()), Cell::Int(idx)]));
        script.say(
            RENEW,
            vec![
                Cell::Int(epoch),
                Cell::MaybeBytes(renewed.decision),
                Cell::MaybeBytes(renewed.operator),
                Cell::MaybeBytes(renewed.subject),
                Cell::MaybeBytes(renewed.about),
                Cell::MaybeText(renewed.who),
                Cell::MaybeText(renewed.office),
                Cell::MaybeText(renewed.in_case),
                Cell::MaybeText(renewed.seal),
                Cell::Int(idx),
            ],
        );
    }
    execute(link, script).await?;
    for (insert, rows) in [(&FORGET, old_terms), (&FOUND, new_terms)] {
        for chunk in rows.chunks(ROWS_MAX) {
            last.insert(insert, chunk.to_vec(), Length::Padded(chunk.len().next_power_of_two()));
        }
    }
    Ok(())
}

/// A row under the new epoch, and the terms it was found by under the old one. A row that does not open was damaged by
/// somebody; it must not keep the old key alive for ever.
fn renew(
    keyring: &Keyring,
    (idx, old): (i64, i64),
    to: u32,
    row: &SealedRow,
) -> Result<Option<(SealedRow, Vec<String>)>, StatementError> {
    let index = u64::try_from(idx).map_err(|_| StatementError::Damaged("index"))?;
    let old = u32::try_from(old).map_err(|_| StatementError::Damaged("epoch of the bodies"))?;
    let renewed = bodies::renew(keyring, (old, to), index, row).and_then(|renewed| {
        let terms = row.about.as_ref().map(|about| bodies::about_terms(keyring, old, index, about));
        Ok((renewed, terms.transpose()?.unwrap_or_default()))
    });
    match renewed {
        Ok(renewed) => Ok(Some(renewed)),
        Err(KeyringError::Cipher(_) | KeyringError::Damaged | KeyringError::NoKey(_)) => {
            tracing::error!(index, "a sealed body does not open, and is not readable from now on");
            Ok(None)
        }
        Err(fault) => Err(fault.into()),
    }
}
