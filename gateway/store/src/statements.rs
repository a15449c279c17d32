//! The statements of the writer's transaction, each one text for both databases.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::AssertSqlSafe;
use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::log::entry::{Erases, Slot, SlotName};
use varco_core::log::tree::Frontier;
use varco_core::time::Timestamp;

use crate::db::{Backend, Link, on};
use crate::plan::{Known, Plan, StreamHead};
use crate::rows::{Cell, Insert, Marks, ROWS_MAX, among, insert, padded, values};
use crate::submission::{Claim, StreamKind};

/// The row of `log_state`.
#[derive(Clone, Debug)]
pub struct State {
    pub origin: String,
    pub frontier: Frontier,
    pub root: Sha256,
    pub last_at: Timestamp,
    pub epoch: i64,
}

/// Why a statement did not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    #[error("a claim is gone that this replica holds for open")]
    ClaimGone,
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    /// A row that no program of ours has written.
    #[error("the database holds something that cannot be: {0}")]
    Damaged(&'static str),
}

/// How the state is read.
#[derive(Clone, Copy)]
pub enum Lock {
    /// Nobody else can append until this transaction ends.
    Held,
    None,
}

pub async fn begin(link: &mut Link) -> Result<(), sqlx::Error> {
    match link {
        Backend::Postgres(at) => sqlx::query("BEGIN").execute(at).await.map(drop),
        // A transaction that began by reading could not write any more once another process has written.
        Backend::Sqlite(at) => sqlx::query("BEGIN IMMEDIATE").execute(at).await.map(drop),
    }
}

pub async fn commit(link: &mut Link) -> Result<(), sqlx::Error> {
    on!(link, at => sqlx::query("COMMIT").execute(at).await.map(drop))
}

/// Makes the state of an empty log, unless there is one.
pub async fn found(link: &mut Link, origin: &str) -> Result<(), sqlx::Error> {
    const FOUND: Insert = Insert {
        head: "INSERT INTO log_state (id, origin, size, frontier, root, last_at, epoch)",
        tail: "ON CONFLICT DO NOTHING",
    };
    let empty = Frontier::new();
    let row = [
        Cell::Int(1),
        Cell::Text(origin.to_owned()),
        Cell::Int(0),
        Cell::Bytes(empty.to_bytes()),
        Cell::Bytes(empty.root().as_bytes().to_vec()),
        Cell::Int(0),
        Cell::Int(1),
    ];
    insert(link, &FOUND, vec![row]).await
}

pub async fn state(link: &mut Link, lock: Lock) -> Result<State, StatementError> {
    const STATE: &str = "SELECT origin, size, frontier, root, last_at, epoch FROM log_state WHERE id = 1";
    const LOCKED: &str =
        "SELECT origin, size, frontier, root, last_at, epoch FROM log_state WHERE id = 1 FOR UPDATE";
    type Row = (String, i64, Vec<u8>, Vec<u8>, i64, i64);
    let (origin, size, frontier, root, last_at, epoch): Row = match (link, lock) {
        (Backend::Postgres(at), Lock::Held) => sqlx::query_as(LOCKED).fetch_one(at).await?,
        (Backend::Postgres(at), Lock::None) => sqlx::query_as(STATE).fetch_one(at).await?,
        // Its transaction holds the only lock there is.
        (Backend::Sqlite(at), Lock::Held | Lock::None) => sqlx::query_as(STATE).fetch_one(at).await?,
    };
    let frontier = Frontier::from_bytes(&frontier).map_err(|_| StatementError::Damaged("frontier"))?;
    let root = Sha256::from_slice(&root).ok_or(StatementError::Damaged("root"))?;
    if i64::try_from(frontier.size()) != Ok(size) || frontier.root() != root {
        return Err(StatementError::Damaged("size, frontier and root of the log differ"));
    }
    Ok(State { origin, frontier, root, last_at: Timestamp::from_millis(last_at), epoch })
}

/// Everything the database holds of what the batch names.
pub async fn known(
    link: &mut Link,
    ids: &BTreeSet<&str>,
    streams: &BTreeSet<&str>,
) -> Result<Known, StatementError> {
    let mut known = Known { entries: HashSet::new(), streams: HashMap::new() };
    for (id, kind) in find::<(String, String)>(link, "SELECT id, kind FROM log_entry WHERE id", ids).await? {
        known.entries.insert((id, kind));
    }
    let found =
        find::<(String, String, i64)>(link, "SELECT id, kind, epoch FROM stream WHERE id", streams).await?;
    for (id, kind, epoch) in found {
        let kind = StreamKind::parse(&kind).ok_or(StatementError::Damaged("kind of a stream"))?;
        let epoch = u64::try_from(epoch).map_err(|_| StatementError::Damaged("epoch of a stream"))?;
        known.streams.insert(id, StreamHead { kind, epoch });
    }
    Ok(known)
}

async fn find<Row>(link: &mut Link, head: &str, keys: &BTreeSet<&str>) -> Result<Vec<Row>, sqlx::Error>
where
    Row: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
        + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
        + Send
        + Unpin,
{
    let mut found = Vec::new();
    let keys: Vec<&str> = keys.iter().copied().collect();
    for chunk in keys.chunks(ROWS_MAX) {
        let chunk = padded(chunk);
        let sql = AssertSqlSafe(among(Marks::of(link), head, chunk.len(), ""));
        on!(&mut *link, at => {
            let mut query = sqlx::query_as(sql);
            for key in chunk {
                query = query.bind(key.to_owned());
            }
            found.extend(query.fetch_all(at).await?);
        });
    }
    Ok(found)
}

/// Remembers the tokens and gives back those that were new. `claims` have different tokens.
pub async fn remember(
    link: &mut Link,
    claims: &[(Sha256, &Claim)],
) -> Result<HashSet<Sha256>, StatementError> {
    const REMEMBER: Insert = Insert {
        head: "INSERT INTO replay (token, expires)",
        tail: "ON CONFLICT DO NOTHING RETURNING token",
    };
    let mut new = HashSet::new();
    for chunk in claims.chunks(ROWS_MAX) {
        let sql = AssertSqlSafe(values(Marks::of(link), &REMEMBER, chunk.len(), 2));
        let tokens: Vec<Vec<u8>> = on!(&mut *link, at => {
            let mut query = sqlx::query_scalar(sql);
            for (token, claim) in chunk {
                query = query.bind(token.as_bytes().to_vec()).bind(claim.expires.millis());
            }
            query.fetch_all(at).await?
        });
        for token in tokens {
            new.insert(Sha256::from_slice(&token).ok_or(StatementError::Damaged("token"))?);
        }
    }
    Ok(new)
}

pub async fn open_claims(
    link: &mut Link,
    replica: &str,
    now: Timestamp,
    claims: &[&Claim],
) -> Result<(), sqlx::Error> {
    const OPEN: Insert = Insert {
        head: "INSERT INTO claim (exchange, replica, claimed_at, request_digest, interrupted)",
        // An identifier given twice must not fail the whole batch; the second exchange finds its claim gone.
        tail: "ON CONFLICT DO NOTHING",
    };
    let row = |claim: &&Claim| {
        [
            Cell::Text(claim.exchange.as_str().to_owned()),
            Cell::Text(replica.to_owned()),
            Cell::Int(now.millis()),
            Cell::Bytes(claim.request_digest.as_bytes().to_vec()),
            Cell::Text(crate::stored::write(&claim.interrupted)),
        ]
    };
    insert(link, &OPEN, claims.iter().map(row).collect()).await
}

/// Everything a plan writes, except the tiles.
pub async fn write(
    link: &mut Link,
    plan: &Plan<'_>,
    hashes: &[Sha256],
    state: &State,
) -> Result<(), StatementError> {
    write_entries(link, plan, hashes).await?;
    write_streams(link, plan).await?;
    const ARTIFACTS: Insert =
        Insert { head: "INSERT INTO artifact (sha256, kind, bytes)", tail: "ON CONFLICT DO NOTHING" };
    let artifacts = plan.artifacts.iter().map(|(sha256, artifact)| {
        [
            Cell::Bytes(sha256.as_bytes().to_vec()),
            Cell::Text(artifact.kind.text().to_owned()),
            Cell::Bytes(artifact.bytes.clone()),
        ]
    });
    insert(link, &ARTIFACTS, artifacts.collect()).await?;
    close_claims(link, plan).await?;
    for erases in &plan.erases {
        erase(link, erases).await?;
    }
    const STATE: &str = "UPDATE log_state SET size = $1, frontier = $2, root = $3, last_at = $4 WHERE id = 1";
    let (frontier, root) = (state.frontier.to_bytes(), state.root.as_bytes().to_vec());
    let (size, at) = (int(state.frontier.size()), state.last_at.millis());
    on!(link, db => sqlx::query(STATE).bind(size).bind(frontier).bind(root).bind(at).execute(db).await.map(drop))?;
    Ok(())
}

async fn write_entries(link: &mut Link, plan: &Plan<'_>, hashes: &[Sha256]) -> Result<(), sqlx::Error> {
    const ENTRIES: Insert =
        Insert { head: "INSERT INTO log_entry (idx, id, kind, leaf, leaf_hash)", tail: "" };
    const SLOTS: Insert = Insert {
        head: "INSERT INTO log_slots (idx, decision_salt, decision, operator_salt, operator, subject_salt, subject)",
        tail: "",
    };
    const SUBJECTS: Insert =
        Insert { head: "INSERT INTO log_subject (subject, idx)", tail: "ON CONFLICT DO NOTHING" };
    let rows = plan.entries.iter().zip(hashes).map(|(entry, hash)| {
        [
            Cell::Int(int(entry.leaf.index())),
            Cell::Text(entry.leaf.id().as_str().to_owned()),
            Cell::Text(entry.leaf.kind().text().to_owned()),
            Cell::Text(entry.leaf.as_str().to_owned()),
            Cell::Bytes(hash.as_bytes().to_vec()),
        ]
    });
    insert(link, &ENTRIES, rows.collect()).await?;
    let salt = |slot: Option<&Slot>| Cell::MaybeBytes(slot.map(|slot| slot.salt.to_vec()));
    let body = |slot: Option<&Slot>| Cell::MaybeText(slot.map(|slot| slot.body.clone()));
    let rows = plan.entries.iter().filter(|entry| entry.slots.iter().next().is_some()).map(|entry| {
        let [decision, operator, subject] = SlotName::ALL.map(|name| entry.slots.slot(name));
        let index = Cell::Int(int(entry.leaf.index()));
        [index, salt(decision), body(decision), salt(operator), body(operator), salt(subject), body(subject)]
    });
    insert(link, &SLOTS, rows.collect()).await?;
    let rows = plan.entries.iter().flat_map(|entry| {
        let index = int(entry.leaf.index());
        entry.subjects.iter().map(move |subject| [Cell::Text(subject.as_str().to_owned()), Cell::Int(index)])
    });
    insert(link, &SUBJECTS, rows.collect()).await
}

async fn write_streams(link: &mut Link, plan: &Plan<'_>) -> Result<(), sqlx::Error> {
    const STREAMS: Insert = Insert {
        head: "INSERT INTO stream (id, kind, epoch, header)",
        tail: "ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, \
               header = COALESCE(excluded.header, stream.header)",
    };
    const EVENTS: Insert = Insert { head: "INSERT INTO stream_event (stream, seq, event)", tail: "" };
    const SUBJECTS: Insert =
        Insert { head: "INSERT INTO stream_subject (subject, stream)", tail: "ON CONFLICT DO NOTHING" };
    let rows = plan.streams.iter().map(|(id, changed)| {
        [
            Cell::Text((*id).to_owned()),
            Cell::Text(changed.head.kind.text().to_owned()),
            Cell::Int(int(changed.head.epoch)),
            Cell::MaybeText(changed.header.map(str::to_owned)),
        ]
    });
    insert(link, &STREAMS, rows.collect()).await?;
    let rows = plan.events.iter().map(|event| {
        [Cell::Text(event.stream.to_owned()), Cell::Int(int(event.seq)), Cell::Text(event.text.to_owned())]
    });
    insert(link, &EVENTS, rows.collect()).await?;
    let rows = plan
        .found_by
        .iter()
        .map(|(subject, id)| [Cell::Text(subject.as_str().to_owned()), Cell::Text((*id).to_owned())]);
    insert(link, &SUBJECTS, rows.collect()).await
}

async fn close_claims(link: &mut Link, plan: &Plan<'_>) -> Result<(), StatementError> {
    let mut deleted = 0;
    let closed: Vec<&str> = plan.closes.iter().map(|exchange| exchange.as_str()).collect();
    for chunk in closed.chunks(ROWS_MAX) {
        let chunk = padded(chunk);
        let sql = AssertSqlSafe(among(Marks::of(link), "DELETE FROM claim WHERE exchange", chunk.len(), ""));
        on!(&mut *link, at => {
            let mut query = sqlx::query(sql);
            for exchange in chunk {
                query = query.bind(exchange.to_owned());
            }
            deleted += query.execute(at).await?.rows_affected();
        });
    }
    // Another replica has entered one of them as interrupted: it must not get a second outcome.
    if usize::try_from(deleted) == Ok(closed.len()) { Ok(()) } else { Err(StatementError::ClaimGone) }
}

/// Deletes the bodies an order names, in the transaction of its own entry.
async fn erase(link: &mut Link, erases: &Erases) -> Result<(), sqlx::Error> {
    const DECISION: &str =
        "UPDATE log_slots SET decision_salt = NULL, decision = NULL WHERE idx >= $1 AND idx <= $2";
    const OPERATOR: &str =
        "UPDATE log_slots SET operator_salt = NULL, operator = NULL WHERE idx >= $1 AND idx <= $2";
    const SUBJECT: &str =
        "UPDATE log_slots SET subject_salt = NULL, subject = NULL WHERE idx >= $1 AND idx <= $2";
    const FOUND_BY: &str = "DELETE FROM log_subject WHERE idx >= $1 AND idx <= $2";
    for name in &erases.slots {
        let statements: &[&'static str] = match name {
            SlotName::Decision => &[DECISION],
            SlotName::Operator => &[OPERATOR],
            SlotName::Subject => &[SUBJECT, FOUND_BY],
        };
        for sql in statements {
            let (first, last) = (int(erases.first), int(erases.last));
            on!(&mut *link, at => sqlx::query(*sql).bind(first).bind(last).execute(at).await.map(drop))?;
        }
    }
    Ok(())
}

/// Claims to be entered as interrupted: all of this replica's, or those of any replica older than an instant.
pub async fn left_open(
    link: &mut Link,
    whose: &Whose<'_>,
    most: i64,
) -> Result<Vec<(ExchangeId, String)>, StatementError> {
    const MINE: &str =
        "SELECT exchange, interrupted FROM claim WHERE replica = $1 ORDER BY claimed_at, exchange LIMIT $2";
    const OLD: &str = "SELECT exchange, interrupted FROM claim WHERE claimed_at < $1 ORDER BY claimed_at, exchange LIMIT $2";
    let rows: Vec<(String, String)> = match whose {
        Whose::Before(then) => {
            on!(link, at => sqlx::query_as(OLD).bind(then.millis()).bind(most).fetch_all(at).await?)
        }
        Whose::Replica(name) => {
            on!(link, at => sqlx::query_as(MINE).bind((*name).to_owned()).bind(most).fetch_all(at).await?)
        }
    };
    let exchange = |(id, text): (String, String)| {
        id.parse().map(|id| (id, text)).map_err(|_| StatementError::Damaged("exchange of a claim"))
    };
    rows.into_iter().map(exchange).collect()
}

/// The exchanges a replica has claimed and not closed. At most as many as the gateway carries out at a time.
pub async fn claims_of(link: &mut Link, replica: &str) -> Result<HashSet<ExchangeId>, StatementError> {
    const CLAIMS: &str = "SELECT exchange FROM claim WHERE replica = $1";
    let ids: Vec<String> =
        on!(link, at => sqlx::query_scalar(CLAIMS).bind(replica.to_owned()).fetch_all(at).await?);
    ids.iter().map(|id| id.parse().map_err(|_| StatementError::Damaged("exchange of a claim"))).collect()
}

/// From the writer's own connection, because two that checkpoint at once are what broke older SQLites.
pub async fn checkpoint(link: &mut Link) -> Result<(), sqlx::Error> {
    match link {
        Backend::Postgres(_) => Ok(()),
        Backend::Sqlite(at) => sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(at).await.map(drop),
    }
}

pub enum Whose<'a> {
    Before(Timestamp),
    Replica(&'a str),
}

/// The leaves `from..to`, one after the other with newlines between them: one row, since each row costs.
pub async fn leaves(link: &mut Link, from: u64, to: u64) -> Result<String, sqlx::Error> {
    const LEAVES: &str =
        "SELECT string_agg(leaf, $1 ORDER BY idx) FROM log_entry WHERE idx >= $2 AND idx < $3";
    let text: Option<String> = on!(link, at => sqlx::query_scalar(LEAVES).bind("\n").bind(int(from)).bind(int(to)).fetch_one(at).await?);
    Ok(text.unwrap_or_default())
}

/// The leaf hashes `from..to`.
pub async fn leaf_hashes(link: &mut Link, from: u64, to: u64) -> Result<Vec<Sha256>, StatementError> {
    const HASHES: &str = "SELECT leaf_hash FROM log_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx";
    let hashes: Vec<Vec<u8>> =
        on!(link, at => sqlx::query_scalar(HASHES).bind(int(from)).bind(int(to)).fetch_all(at).await?);
    hashes.iter().map(|hash| Sha256::from_slice(hash).ok_or(StatementError::Damaged("leaf hash"))).collect()
}

/// The roots of the full tiles `from..to` of a level.
pub async fn tile_roots(
    link: &mut Link,
    level: u32,
    from: u64,
    to: u64,
) -> Result<Vec<Sha256>, StatementError> {
    const ROOTS: &str = "SELECT root FROM log_tile WHERE level = $1 AND n >= $2 AND n < $3 ORDER BY n";
    let (level, from, to) = (i64::from(level), int(from), int(to));
    let roots: Vec<Vec<u8>> =
        on!(link, at => sqlx::query_scalar(ROOTS).bind(level).bind(from).bind(to).fetch_all(at).await?);
    roots
        .iter()
        .map(|hash| Sha256::from_slice(hash).ok_or(StatementError::Damaged("root of a tile")))
        .collect()
}

pub async fn write_tile(
    link: &mut Link,
    (level, n): (u32, u64),
    hashes: &[Sha256],
    root: &Sha256,
) -> Result<(), sqlx::Error> {
    const TILES: Insert = Insert { head: "INSERT INTO log_tile (level, n, hashes, root)", tail: "" };
    let hashes = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    let root = Cell::Bytes(root.as_bytes().to_vec());
    insert(link, &TILES, vec![[Cell::Int(i64::from(level)), Cell::Int(int(n)), Cell::Bytes(hashes), root]])
        .await
}

/// Forgets tokens that expired before an instant, at most so many.
pub async fn forget(link: &mut Link, before: Timestamp, most: i64) -> Result<(), sqlx::Error> {
    const FORGET: &str = "DELETE FROM replay WHERE token IN \
         (SELECT token FROM replay WHERE expires < $1 ORDER BY expires LIMIT $2)";
    on!(link, at => sqlx::query(FORGET).bind(before.millis()).bind(most).execute(at).await.map(drop))
}

/// Indices, epochs and sizes stay below 2^53.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
