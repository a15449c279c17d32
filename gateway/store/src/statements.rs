//! The statements of the writer's transaction, each one text for both databases.
//!
//! A batch makes three trips: begin and look, write, commit and read back.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::log::tree::Frontier;
use varco_core::time::Timestamp;

use crate::db::{Backend, Link, on};
use crate::entry_rows::{self, Sealing};
use crate::fault::StatementError;
use crate::holds;
use crate::parcels;
use crate::plan::{Known, Plan, StreamHead};
use crate::rows::{Cell, Insert, Length, ROWS_MAX, Script, execute, fetch, insert};
use crate::signals;
use crate::submission::{Claim, StreamEpoch, StreamKind};
use crate::trees::Shard;

/// The row of `log_state`.
#[derive(Clone, Debug)]
pub struct State {
    /// The open one.
    pub shard: Shard,
    pub frontier: Frontier,
    pub root: Sha256,
    pub last_at: Timestamp,
    pub epoch: i64,
    /// The epoch under which bodies are sealed.
    pub body_epoch: u32,
}

impl State {
    /// The position of the next entry.
    pub const fn end(&self) -> u64 {
        self.shard.first.saturating_add(self.frontier.size())
    }
}

/// How the state is read.
#[derive(Clone, Copy)]
pub enum Lock {
    /// Nobody else can append until this transaction ends.
    Held,
    None,
}

/// What a look has found.
#[derive(Debug, Default)]
pub struct Looked {
    pub state: Option<State>,
    pub known: Known,
    /// The tokens that were not remembered before.
    pub new_tokens: HashSet<Sha256>,
    /// The leaves asked for, with newlines between them.
    pub leaves: Option<String>,
}

/// The rows of every look: what it is, two texts, three numbers, two byte strings.
type Row = (
    String,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
);

/// The beginning of a transaction.
pub fn begin(link: &Link) -> Script {
    let mut script = Script::default();
    script.say(
        match link {
            Backend::Postgres(_) => "BEGIN",
            // One that began by reading could not write any more once another process has written.
            Backend::Sqlite(_) => "BEGIN IMMEDIATE",
        },
        Vec::new(),
    );
    script
}

pub fn ask_state(script: &mut Script, link: &Link, lock: Lock) {
    const STATE: &str = "SELECT 'state', origin, CAST(body_epoch AS TEXT) || ' ' || CAST(shard AS TEXT) || ' ' || \
         CAST(first AS TEXT), size, last_at, epoch, frontier, root FROM log_state WHERE id = 1";
    const LOCKED: &str = "SELECT 'state', origin, CAST(body_epoch AS TEXT) || ' ' || CAST(shard AS TEXT) || ' ' || \
         CAST(first AS TEXT), size, last_at, epoch, frontier, root FROM log_state WHERE id = 1 FOR UPDATE";
    let sql = match (link, lock) {
        (Backend::Postgres(_), Lock::Held) => LOCKED,
        // An SQLite transaction holds the only lock there is.
        (Backend::Postgres(_), Lock::None) | (Backend::Sqlite(_), Lock::Held | Lock::None) => STATE,
    };
    script.say(sql, Vec::new());
}

/// Everything the database holds of what a batch names.
pub fn ask_known(script: &mut Script, ids: &BTreeSet<&str>, streams: &BTreeSet<&str>) {
    const ENTRIES: &str = "SELECT 'entry', id, kind, NULL, NULL, NULL, NULL, NULL FROM log_entry WHERE id";
    const STREAMS: &str = "SELECT 'stream', id, kind, epoch, NULL, NULL, NULL, NULL FROM stream WHERE id";
    let cells = |keys: &BTreeSet<&str>| -> Vec<Cell> {
        keys.iter().map(|key| Cell::Text((*key).to_owned())).collect()
    };
    script.among(ENTRIES, &cells(ids), "");
    script.among(STREAMS, &cells(streams), "");
}

/// The documents that decide about these people.
pub fn ask_found(script: &mut Script, subjects: &BTreeSet<&str>) {
    const FOUND: &str = "SELECT 'found', f.subject, s.id, s.epoch, NULL, NULL, NULL, NULL \
         FROM stream_subject f JOIN stream s ON s.id = f.stream \
         WHERE s.kind IN ('appeal', 'consent', 'restriction') AND f.subject";
    let subjects: Vec<Cell> = subjects.iter().map(|subject| Cell::Text((*subject).to_owned())).collect();
    script.among(FOUND, &subjects, "");
}

/// Remembers tokens and tells which were new.
pub fn remember(script: &mut Script, tokens: &BTreeMap<Sha256, &Claim>) {
    const REMEMBER: Insert = Insert {
        head: "INSERT INTO replay (token, expires)",
        tail: "ON CONFLICT DO NOTHING RETURNING 'token', NULL, NULL, NULL, NULL, NULL, token, NULL",
    };
    let row = |(token, claim): (&Sha256, &&Claim)| {
        [Cell::Bytes(token.as_bytes().to_vec()), Cell::Int(claim.expires.millis())]
    };
    let rows: Vec<[Cell; 2]> = tokens.iter().map(row).collect();
    for chunk in rows.chunks(ROWS_MAX) {
        script.insert(&REMEMBER, chunk.to_vec(), Length::Padded(chunk.len().next_power_of_two()));
    }
}

pub fn commit(script: &mut Script) {
    script.say("COMMIT", Vec::new());
}

/// The leaves `from..to`, one after the other with newlines between them: one row, since each row costs.
pub fn ask_leaves(script: &mut Script, from: u64, to: u64) {
    const LEAVES: &str = "SELECT 'leaves', string_agg(leaf, ? ORDER BY idx), NULL, NULL, NULL, NULL, NULL, NULL \
         FROM log_entry WHERE idx >= ? AND idx < ?";
    script.say(LEAVES, vec![Cell::Text("\n".to_owned()), Cell::Int(int(from)), Cell::Int(int(to))]);
}

/// Runs a script and sorts what it finds.
pub async fn look(link: &mut Link, script: Script) -> Result<Looked, StatementError> {
    let mut looked = Looked::default();
    for row in fetch::<Row>(link, script).await? {
        match row {
            (
                what,
                Some(origin),
                Some(numbers),
                Some(size),
                Some(at),
                Some(epoch),
                Some(frontier),
                Some(root),
            ) if what == "state" => {
                let (frontier, root) = tree(size, &frontier, &root)?;
                let last_at = Timestamp::from_millis(at);
                let (body_epoch, number, first) = three(&numbers)?;
                let shard = Shard { number, origin, first };
                looked.state = Some(State { shard, frontier, root, last_at, epoch, body_epoch });
            }
            (what, Some(id), Some(kind), None, ..) if what == "entry" => {
                looked.known.entries.insert((id, kind));
            }
            (what, Some(id), Some(kind), Some(epoch), ..) if what == "stream" => {
                let kind = StreamKind::parse(&kind).ok_or(StatementError::Damaged("kind of a stream"))?;
                let epoch = u64::try_from(epoch).map_err(|_| StatementError::Damaged("epoch of a stream"))?;
                looked.known.streams.insert(id, StreamHead { kind, epoch });
            }
            (what, Some(subject), Some(stream), Some(epoch), ..) if what == "found" => {
                let epoch = u64::try_from(epoch).map_err(|_| StatementError::Damaged("epoch of a stream"))?;
                looked.known.found.entry(subject).or_default().push(StreamEpoch { stream, epoch });
            }
            (what, .., Some(token), None) if what == "token" => {
                let token = Sha256::from_slice(&token).ok_or(StatementError::Damaged("token"))?;
                looked.new_tokens.insert(token);
            }
            (what, Some(id), None, Some(first), Some(last), ..) if what == "hold" => {
                looked.known.holds.push(holds::held(id, first, last)?);
            }
            (what, leaves, ..) if what == "leaves" => looked.leaves = leaves,
            _ => return Err(StatementError::Damaged("row")),
        }
    }
    Ok(looked)
}

/// The epoch of the bodies, the number of the shard and the position of its first entry.
fn three(numbers: &str) -> Result<(u32, u32, u64), StatementError> {
    let mut numbers = numbers.split(' ');
    let found = (|| {
        let body_epoch = numbers.next()?.parse().ok()?;
        let number = numbers.next()?.parse().ok()?;
        Some((body_epoch, number, numbers.next()?.parse().ok()?))
    })();
    found.ok_or(StatementError::Damaged("epoch of the bodies"))
}

fn tree(size: i64, frontier: &[u8], root: &[u8]) -> Result<(Frontier, Sha256), StatementError> {
    let frontier = Frontier::from_bytes(frontier).map_err(|_| StatementError::Damaged("frontier"))?;
    let root = Sha256::from_slice(root).ok_or(StatementError::Damaged("root"))?;
    if i64::try_from(frontier.size()) == Ok(size) && frontier.root() == root {
        Ok((frontier, root))
    } else {
        Err(StatementError::Damaged("size, frontier and root of the log differ"))
    }
}

/// The state, outside any transaction.
pub async fn state(link: &mut Link) -> Result<State, StatementError> {
    let mut script = Script::default();
    ask_state(&mut script, link, Lock::None);
    look(link, script).await?.state.ok_or(StatementError::Damaged("no state of the log"))
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

/// The log as it is after the batch.
pub fn advance(script: &mut Script, state: &State) {
    const ADVANCE: &str = "UPDATE log_state SET size = ?, frontier = ?, root = ?, last_at = ? WHERE id = 1";
    let cells = vec![
        Cell::Int(int(state.frontier.size())),
        Cell::Bytes(state.frontier.to_bytes()),
        Cell::Bytes(state.root.as_bytes().to_vec()),
        Cell::Int(state.last_at.millis()),
    ];
    script.say(ADVANCE, cells);
}

/// Everything a plan writes, except the tiles and the state.
pub async fn write(
    link: &mut Link,
    plan: &Plan<'_>,
    hashes: &[Sha256],
    sealing: &Sealing<'_>,
) -> Result<(), StatementError> {
    const ARTIFACTS: Insert =
        Insert { head: "INSERT INTO artifact (sha256, kind, bytes)", tail: "ON CONFLICT DO NOTHING" };
    entry_rows::write(link, plan, hashes, sealing).await?;
    write_streams(link, plan).await?;
    parcels::write(link, &plan.parcels, plan.at()).await?;
    signals::write(link, &plan.signals).await?;
    let artifacts = plan.artifacts.iter().map(|(sha256, artifact)| {
        [
            Cell::Bytes(sha256.as_bytes().to_vec()),
            Cell::Text(artifact.kind.text().to_owned()),
            Cell::Bytes(artifact.bytes.clone()),
        ]
    });
    insert(link, &ARTIFACTS, artifacts.collect()).await?;
    for (kind, erases) in &plan.erases {
        entry_rows::erase(link, (*kind, erases), plan.at(), sealing.keyring).await?;
    }
    holds::write(link, &plan.holds).await
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
    insert(link, &SUBJECTS, rows.collect()).await?;
    write_waits(link, plan).await
}

/// What waits for whom, after the batch.
async fn write_waits(link: &mut Link, plan: &Plan<'_>) -> Result<(), sqlx::Error> {
    const WAITS: Insert =
        Insert { head: "INSERT INTO stream_waits (agency, stream)", tail: "ON CONFLICT DO NOTHING" };
    if plan.waits.is_empty() {
        return Ok(());
    }
    let mut script = Script::default();
    let streams: Vec<Cell> = plan.waits.keys().map(|id| Cell::Text((*id).to_owned())).collect();
    script.among("DELETE FROM stream_waits WHERE stream", &streams, "");
    execute(link, script).await?;
    let row = |id: &str, agency: &AgencyId| [Cell::Text(agency.to_string()), Cell::Text(id.to_owned())];
    let rows = plan.waits.iter().flat_map(|(id, agencies)| agencies.iter().map(|agency| row(id, agency)));
    insert(link, &WAITS, rows.collect()).await
}

/// What becomes of SQLite's WAL once it is copied into the database.
#[derive(Clone, Copy)]
pub enum Wal {
    Empty,
    Keep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    /// A reader still needs some of it.
    Partly,
    Whole,
}

/// From the writer's own connection, because two that checkpoint at once are what broke older SQLites. PostgreSQL looks
/// after its WAL itself.
pub async fn checkpoint(link: &mut Link, wal: Wal) -> Result<Emptied, sqlx::Error> {
    let Backend::Sqlite(at) = link else { return Ok(Emptied::Whole) };
    let sql = match wal {
        Wal::Empty => "PRAGMA wal_checkpoint(TRUNCATE)",
        Wal::Keep => "PRAGMA wal_checkpoint(PASSIVE)",
    };
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as(sql).fetch_one(at).await?;
    Ok(if busy == 0 { Emptied::Whole } else { Emptied::Partly })
}

/// Bodies are sealed under this epoch from now on; erasures of before are accounted for.
pub fn begin_epoch(script: &mut Script, epoch: u32, check: String) {
    const BEGIN: &str = "UPDATE log_state SET body_epoch = ?, body_check = ?, erased_at = NULL WHERE id = 1";
    script.say(BEGIN, vec![Cell::Int(i64::from(epoch)), Cell::Text(check)]);
}

/// What tells the key of the bodies' epoch from another; whoever comes first says it.
pub async fn body_check(link: &mut Link, own: &str) -> Result<Option<String>, sqlx::Error> {
    const CLAIM: &str = "UPDATE log_state SET body_check = $1 WHERE id = 1 AND body_check IS NULL";
    const CHECK: &str = "SELECT body_check FROM log_state WHERE id = 1";
    on!(&mut *link, at => sqlx::query(CLAIM).bind(own.to_owned()).execute(at).await.map(drop))?;
    on!(link, at => sqlx::query_scalar(CHECK).fetch_one(at).await)
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
    (shard, level): (u32, u32),
    from: u64,
    to: u64,
) -> Result<Vec<Sha256>, StatementError> {
    const ROOTS: &str =
        "SELECT root FROM log_tile WHERE level = $1 AND n >= $2 AND n < $3 AND shard = $4 ORDER BY n";
    let (level, from, to) = (i64::from(level), int(from), int(to));
    let shard = i64::from(shard);
    let roots: Vec<Vec<u8>> = on!(link, at => {
        sqlx::query_scalar(ROOTS).bind(level).bind(from).bind(to).bind(shard).fetch_all(at).await?
    });
    roots
        .iter()
        .map(|hash| Sha256::from_slice(hash).ok_or(StatementError::Damaged("root of a tile")))
        .collect()
}

pub async fn write_tile(
    link: &mut Link,
    (shard, level, n): (u32, u32, u64),
    hashes: &[Sha256],
    root: &Sha256,
) -> Result<(), sqlx::Error> {
    const TILES: Insert = Insert { head: "INSERT INTO log_tile (shard, level, n, hashes, root)", tail: "" };
    let hashes = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    let root = Cell::Bytes(root.as_bytes().to_vec());
    let [shard, level] = [shard, level].map(|number| Cell::Int(i64::from(number)));
    insert(link, &TILES, vec![[shard, level, Cell::Int(int(n)), Cell::Bytes(hashes), root]]).await
}

/// Forgets tokens that expired before an instant, at most so many.
pub async fn forget(link: &mut Link, before: Timestamp, most: i64) -> Result<(), sqlx::Error> {
    const FORGET: &str = "DELETE FROM replay WHERE token IN \
         (SELECT token FROM replay WHERE expires < $1 ORDER BY expires LIMIT $2)";
    on!(link, at => sqlx::query(FORGET).bind(before.millis()).bind(most).execute(at).await.map(drop))
}

/// Indices, epochs and sizes stay below 2^53.
pub fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
