//! The step from one yearly shard to the next, as the writer takes it.

use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::Slots;
use varco_core::log::leaf::Leaf;
use varco_core::log::shard;
use varco_core::log::tree::{Frontier, Head};
use varco_core::time::Timestamp;

use crate::db::{Link, on};
use crate::entry_rows::{self, Sealing};
use crate::fault::StatementError;
use crate::plan::Entry;
use crate::rows::{Cell, Script};
use crate::statements::{State, int};
use crate::submission::Keeping;
use crate::trees::{Row, Shard, Standing, standing};

/// The last entry of a shard and the first one of the next.
pub struct Turn {
    pub freeze: Leaf,
    pub open: Leaf,
    /// The state after both.
    pub after: State,
    /// The tree that ends.
    pub closed: Head,
}

impl Turn {
    /// `frontier` of `before` must be the one with the freeze entry in it, which the caller has appended.
    pub fn freeze(before: &State, next: &str, at: Timestamp) -> Leaf {
        let position = before.shard.first.saturating_add(before.frontier.size());
        shard::freeze(id(next, at), next).leaf(position, at)
    }

    /// `closed` is the state with the freeze entry.
    pub fn after(closed: &State, freeze: Leaf, next: &str, at: Timestamp) -> Self {
        let head = Head { size: closed.frontier.size(), root: closed.frontier.root() };
        let last = Checkpoint { origin: closed.shard.origin.clone(), size: head.size, root: head.root };
        let first = closed.shard.first.saturating_add(head.size);
        let open = shard::open(id(next, at), &last).leaf(first, at);
        let mut frontier = Frontier::new();
        frontier.push(open.hash());
        let shard = Shard { number: closed.shard.number.saturating_add(1), origin: next.to_owned(), first };
        let root = frontier.root();
        let after = State { shard, frontier, root, last_at: at, ..closed.clone() };
        Self { freeze, open, after, closed: head }
    }
}

/// Nothing random: both entries follow from what was there.
fn id(next: &str, at: Timestamp) -> ExchangeId {
    let mut random = [0; 10];
    random.copy_from_slice(Sha256::of(next.as_bytes()).as_bytes().first_chunk::<10>().unwrap_or(&[0; 10]));
    ExchangeId::new(at, random)
}

/// The rows of both entries and of the shard that ends, and the state after it.
pub fn write(
    script: &mut Script,
    (before, turn): (&Shard, &Turn),
    sealing: &Sealing<'_>,
) -> Result<(), StatementError> {
    const CLOSE: &str = "INSERT INTO log_shard (number, origin, first, size, root) VALUES (?, ?, ?, ?, ?)";
    const OPEN: &str = "UPDATE log_state SET origin = ?, shard = ?, first = ?, size = ?, frontier = ?, root = ?, \
         last_at = ? WHERE id = 1";
    let none = Slots::default();
    let entry =
        |leaf: &Leaf| Entry { leaf: leaf.clone(), slots: &none, subjects: &[], keeping: Keeping::ForEver };
    let hashes = [turn.freeze.hash(), turn.open.hash()];
    script.append(entry_rows::script(&[entry(&turn.freeze), entry(&turn.open)], &hashes, sealing)?);
    let cells = vec![
        Cell::Int(i64::from(before.number)),
        Cell::Text(before.origin.clone()),
        Cell::Int(int(before.first)),
        Cell::Int(int(turn.closed.size)),
        Cell::Bytes(turn.closed.root.as_bytes().to_vec()),
    ];
    script.say(CLOSE, cells);
    let after = &turn.after;
    let cells = vec![
        Cell::Text(after.shard.origin.clone()),
        Cell::Int(i64::from(after.shard.number)),
        Cell::Int(int(after.shard.first)),
        Cell::Int(int(after.frontier.size())),
        Cell::Bytes(after.frontier.to_bytes()),
        Cell::Bytes(after.root.as_bytes().to_vec()),
        Cell::Int(after.last_at.millis()),
    ];
    script.say(OPEN, cells);
    Ok(())
}

/// How the shard of this number has ended; `None` while it is open.
pub async fn closed(link: &mut Link, number: u32) -> Result<Option<Standing>, StatementError> {
    const CLOSED: &str = "SELECT number, origin, first, size, root, note FROM log_shard WHERE number = $1";
    let number = i64::from(number);
    let row: Option<Row> = on!(link, at => sqlx::query_as(CLOSED).bind(number).fetch_optional(at).await?);
    row.map(|row| standing(row).ok_or(StatementError::Damaged("shard"))).transpose()
}

/// Keeps the final checkpoint of a shard. Whoever comes first does; all replicas sign the same.
pub async fn keep_note(link: &mut Link, number: u32, note: &str) -> Result<(), sqlx::Error> {
    const KEEP: &str = "UPDATE log_shard SET note = $1 WHERE number = $2 AND note IS NULL";
    let (note, number) = (note.to_owned(), i64::from(number));
    on!(link, at => sqlx::query(KEEP).bind(note).bind(number).execute(at).await.map(drop))
}
