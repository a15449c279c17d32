//! The yearly shards of a log as a reader finds them, and the proofs that tie each to the one before.

use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::Kind;
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_core::log::shard::{Link, year_of};
use varco_core::log::tree::Head;
use varco_store::trees::{Ending, Shard, Standing};

use super::Failure;

/// One shard. Nothing of it is believed before it is held against what was signed.
#[derive(Clone, Debug)]
pub struct Tree {
    pub shard: Shard,
    /// Where it stands as the database says; elsewhere its checkpoint says it.
    pub head: Option<Head>,
    /// What its paths begin with, below the log's address.
    pub prefix: String,
    /// Its checkpoint, as the list of shards has it.
    pub note: Option<String>,
    /// The proofs of its last and its first entry.
    freeze: Option<String>,
    open: Option<String>,
}

impl Tree {
    /// A log that has one shard only, or an export, which holds one.
    pub fn alone(origin: &str, first: u64) -> Self {
        let shard = Shard { number: 0, origin: origin.to_owned(), first };
        Self { shard, head: None, prefix: String::new(), note: None, freeze: None, open: None }
    }

    pub fn stored(standing: Standing) -> Self {
        let note = match &standing.state {
            Ending::Closed(note) => note.as_ref().map(ToString::to_string),
            Ending::Open => None,
        };
        let alone = Self::alone(&standing.shard.origin, standing.shard.first);
        Self { shard: standing.shard, head: Some(standing.head), note, ..alone }
    }
}

/// What `GET /log/shards` answers.
#[derive(serde::Deserialize)]
struct Listed {
    shards: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    origin: String,
    first: u64,
    checkpoint: String,
    freeze: Option<String>,
    open: Option<String>,
}

/// The shards of a list, the oldest first.
pub fn listed(bytes: &[u8]) -> Result<Vec<Tree>, Failure> {
    let listed: Listed = serde_json::from_slice(bytes)
        .map_err(|error| Failure::Usage(format!("the list of the log's shards: {error}")))?;
    let mut trees = Vec::new();
    for (number, entry) in (0_u32..).zip(listed.shards) {
        let prefix = match (number, year_of(&entry.origin)) {
            (0, _) => String::new(),
            (_, Some(year)) => format!("{year:04}/"),
            (_, None) => {
                let why = format!("the shard `{}` has no year in its name", entry.origin);
                return Err(Failure::Usage(why));
            }
        };
        let shard = Shard { number, origin: entry.origin, first: entry.first };
        let (note, freeze, open) = (Some(entry.checkpoint), entry.freeze, entry.open);
        trees.push(Tree { shard, head: None, prefix, note, freeze, open });
    }
    if trees.is_empty() { Err(Failure::NoLog) } else { Ok(trees) }
}

/// The positions at which one shard is not shown to continue the one before: a seam where the log may have been cut.
pub fn broken(verifier: &LogVerifier, trees: &[Tree]) -> Vec<u64> {
    let seams = trees.iter().zip(trees.iter().skip(1));
    seams.filter(|(one, next)| !continues(verifier, one, next)).map(|(_, next)| next.shard.first).collect()
}

/// Whether the proofs at a seam hold: the last entry of one shard names the next, whose first entry says how it ended.
fn continues(verifier: &LogVerifier, one: &Tree, next: &Tree) -> bool {
    seam(verifier, one, next).is_some_and(|holds| holds)
}

fn seam(verifier: &LogVerifier, one: &Tree, next: &Tree) -> Option<bool> {
    let last = verifier.open(one.note.as_ref()?.as_bytes()).ok()?;
    let (freeze, frozen) = proved(verifier, one.freeze.as_ref()?)?;
    let (open, opened) = proved(verifier, next.open.as_ref()?)?;
    let position = one.shard.first.checked_add(last.size)?;
    let ends = frozen == last
        && last.origin == one.shard.origin
        && freeze.proof.index == last.size.checked_sub(1)?
        && freeze.leaf.kind() == Kind::Freeze
        && freeze.leaf.content().link == Some(Link::to(&next.shard.origin));
    let begins = opened.origin == next.shard.origin
        && open.proof.index == 0
        && open.leaf.kind() == Kind::Open
        && open.leaf.content().link == Some(Link::after(&last))
        && open.leaf.index() == position
        && next.shard.first == position;
    Some(ends && begins)
}

/// A receipt that holds, and its checkpoint.
fn proved(verifier: &LogVerifier, text: &str) -> Option<(Receipt, Checkpoint)> {
    let receipt = Receipt::parse(text.as_bytes()).ok()?;
    verifier.check(&receipt).ok()?;
    let checkpoint = verifier.open(receipt.proof.checkpoint.as_bytes()).ok()?;
    Some((receipt, checkpoint))
}
