//! Copies of pushed records that wait, under lock: written and deleted in the transaction of the entry that says so, and
//! found by who must look at them.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;
use varco_core::id::{AgencyId, ExchangeId, Pseudonym};
use varco_core::parcel::{Custody, Locked, ParcelChange};
use varco_core::time::Timestamp;

use crate::db::{Link, on};
use crate::fault::StatementError;
use crate::read::{ReadError, Reader, SUBJECTS_MAX, Stream, StreamRow, streams};
use crate::rows::{Cell, Insert, Length, ROWS_MAX, Script, among, execute, padded};

/// How much waits, for `GET /status` and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub waiting: u64,
    /// When the oldest that waits was accepted.
    pub oldest: Option<Timestamp>,
    /// What was never taken over, of the last month.
    pub dead: u64,
}

/// Part of the writer's transaction.
pub(crate) async fn write(
    link: &mut Link,
    changes: &[&ParcelChange],
    now: Timestamp,
) -> Result<(), StatementError> {
    const KEEP: Insert =
        Insert { head: "INSERT INTO parcel (id, recipient, accepted_at, due, lock_key, copy)", tail: "" };
    const BURY: &str = "UPDATE parcel SET holder = NULL, due = NULL, lock_key = NULL, copy = NULL, dead_at = ? \
         WHERE id = ?";
    for chunk in changes.chunks(ROWS_MAX) {
        let mut script = Script::default();
        for change in chunk {
            let id = Cell::Text(change.parcel.as_str().to_owned());
            match &change.custody {
                Custody::Bury => script.say(BURY, vec![Cell::Int(now.millis()), id]),
                Custody::Hold { replica, until } => script.say(
                    "UPDATE parcel SET holder = ?, due = ? WHERE id = ?",
                    vec![Cell::Text(replica.clone()), Cell::Int(until.millis()), id],
                ),
                Custody::Keep { recipient, accepted, due, locked } => {
                    let row = [
                        id,
                        Cell::Text(recipient.to_string()),
                        Cell::Int(accepted.millis()),
                        Cell::Int(due.millis()),
                        Cell::Bytes(locked.key.clone()),
                        Cell::Bytes(locked.copy.clone()),
                    ];
                    script.insert(&KEEP, vec![row], Length::Exact);
                }
                Custody::Remove => script.say("DELETE FROM parcel WHERE id = ?", vec![id]),
                Custody::Wait { due } => script.say(
                    "UPDATE parcel SET holder = NULL, due = ? WHERE id = ?",
                    vec![Cell::Int(due.millis()), id],
                ),
            }
        }
        execute(link, script).await?;
    }
    Ok(())
}

/// Forgets the dead that were buried before an instant.
pub(crate) async fn forget(link: &mut Link, before: Timestamp) -> Result<(), sqlx::Error> {
    const FORGET: &str = "DELETE FROM parcel WHERE dead_at < $1";
    on!(link, at => sqlx::query(FORGET).bind(before.millis()).execute(at).await.map(drop))
}

impl Reader {
    /// The locked copy of a parcel that waits.
    pub async fn parcel(&self, id: &ExchangeId) -> Result<Option<Locked>, ReadError> {
        const COPY: &str = "SELECT lock_key, copy FROM parcel WHERE id = $1 AND copy IS NOT NULL";
        let id = id.as_str().to_owned();
        let row: Option<(Vec<u8>, Vec<u8>)> =
            on!(&*self.pools, pool => sqlx::query_as(COPY).bind(id).fetch_optional(pool).await?);
        Ok(row.map(|(key, copy)| Locked { key, copy }))
    }

    /// The recipients for whom something is due.
    pub async fn recipients_due(&self, now: Timestamp) -> Result<Vec<AgencyId>, ReadError> {
        const DUE: &str = "SELECT DISTINCT recipient FROM parcel WHERE due <= $1 ORDER BY recipient";
        let found: Vec<String> =
            on!(&*self.pools, pool => sqlx::query_scalar(DUE).bind(now.millis()).fetch_all(pool).await?);
        found.iter().map(|id| id.parse().map_err(|_| ReadError::Damaged("recipient of a parcel"))).collect()
    }

    /// What is due for one recipient, the longest due first.
    pub async fn parcels_due(
        &self,
        recipient: &AgencyId,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<ExchangeId>, ReadError> {
        const DUE: &str =
            "SELECT id FROM parcel WHERE recipient = $1 AND due <= $2 ORDER BY due, id LIMIT $3";
        let (recipient, now, most) = (recipient.to_string(), now.millis(), i64::from(most));
        let found: Vec<String> = on!(&*self.pools, pool => {
            sqlx::query_scalar(DUE).bind(recipient).bind(now).bind(most).fetch_all(pool).await?
        });
        parcels(&found)
    }

    /// What a replica was sending when it said nothing more.
    pub async fn parcels_held(&self, replica: &str) -> Result<Vec<ExchangeId>, ReadError> {
        const HELD: &str = "SELECT id FROM parcel WHERE holder = $1 ORDER BY id";
        let replica = replica.to_owned();
        let found: Vec<String> =
            on!(&*self.pools, pool => sqlx::query_scalar(HELD).bind(replica).fetch_all(pool).await?);
        parcels(&found)
    }

    /// All that wait, in the order of their identifiers, from the one after `after` on.
    pub async fn parcels_after(
        &self,
        after: Option<&ExchangeId>,
        most: u32,
    ) -> Result<Vec<ExchangeId>, ReadError> {
        const WAITING: &str = "SELECT id FROM parcel WHERE id > $1 AND due IS NOT NULL ORDER BY id LIMIT $2";
        let (after, most) = (text(after), i64::from(most));
        let found: Vec<String> = on!(&*self.pools, pool => {
            sqlx::query_scalar(WAITING).bind(after).bind(most).fetch_all(pool).await?
        });
        parcels(&found)
    }

    /// What waits and is about one of these people. At most [`SUBJECTS_MAX`] of them.
    pub async fn parcels_about(&self, subjects: &[Pseudonym]) -> Result<BTreeSet<ExchangeId>, ReadError> {
        const ABOUT: &str = "SELECT p.id FROM parcel p JOIN stream_subject s ON s.stream = p.id \
             WHERE p.due IS NOT NULL AND s.subject";
        if subjects.is_empty() {
            return Ok(BTreeSet::new());
        }
        if subjects.len() > SUBJECTS_MAX {
            return Err(ReadError::TooMuch);
        }
        let keys = padded(subjects);
        let sql = AssertSqlSafe(among(ABOUT, keys.len(), ""));
        let found: Vec<String> = on!(&*self.pools, pool => {
            let mut query = sqlx::query_scalar(sql);
            for subject in keys {
                query = query.bind(subject.as_str().to_owned());
            }
            query.fetch_all(pool).await?
        });
        Ok(parcels(&found)?.into_iter().collect())
    }

    /// A page of an agency's inbox: what waits for it, in the order of their identifiers.
    pub async fn inbox(
        &self,
        agency: &AgencyId,
        after: Option<&ExchangeId>,
        most: u32,
    ) -> Result<Vec<Stream>, ReadError> {
        const INBOX: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id IN (SELECT w.stream FROM stream_waits w \
             JOIN parcel p ON p.id = w.stream WHERE w.agency = $1 AND w.stream > $2 AND p.due IS NOT NULL \
             ORDER BY w.stream LIMIT $3) ORDER BY s.id, e.seq";
        let (agency, after, most) = (agency.to_string(), text(after), i64::from(most));
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => {
            sqlx::query_as(INBOX).bind(agency).bind(after).bind(most).fetch_all(pool).await?
        });
        streams(rows)
    }

    pub async fn backlog(&self) -> Result<Backlog, ReadError> {
        const BACKLOG: &str = "SELECT count(due), min(CASE WHEN due IS NOT NULL THEN accepted_at END), \
             count(dead_at) FROM parcel";
        let (waiting, oldest, dead): (i64, Option<i64>, i64) =
            on!(&*self.pools, pool => sqlx::query_as(BACKLOG).fetch_one(pool).await?);
        Ok(Backlog {
            waiting: waiting.unsigned_abs(),
            oldest: oldest.map(Timestamp::from_millis),
            dead: dead.unsigned_abs(),
        })
    }
}

/// Before all identifiers comes the empty text.
fn text(after: Option<&ExchangeId>) -> String {
    after.map(ToString::to_string).unwrap_or_default()
}

fn parcels(found: &[String]) -> Result<Vec<ExchangeId>, ReadError> {
    found.iter().map(|id| id.parse().map_err(|_| ReadError::Damaged("parcel"))).collect()
}
