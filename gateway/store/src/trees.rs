//! The trees as they are read: which shards there are, how each stands, its tiles and proofs.

use std::sync::Arc;

use varco_core::hash::Sha256;
use varco_core::log::leaf::Leaf;
use varco_core::log::proof::{Proof, Receipt};
use varco_core::log::tree::{Frontier, Head, consistency_proof, inclusion_path};

use crate::db::on;
use crate::nodes::{self, Nodes, Tree};
use crate::read::{ReadError, Reader};

/// One tree of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// 0, 1, 2: in the order of time.
    pub number: u32,
    pub origin: String,
    /// The position of its first entry in the whole history.
    pub first: u64,
}

/// Where a shard stands, or stood at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub shard: Shard,
    pub head: Head,
    pub state: Ending,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing can be entered any more. The final checkpoint, once it is signed.
    Closed(Option<Arc<str>>),
    Open,
}

impl Standing {
    /// The position after its last entry.
    pub const fn end(&self) -> u64 {
        self.shard.first.saturating_add(self.head.size)
    }

    pub const fn is_open(&self) -> bool {
        matches!(self.state, Ending::Open)
    }
}

pub(crate) type Row = (i64, String, i64, i64, Vec<u8>, Option<String>);

pub(crate) fn standing(row: Row) -> Option<Standing> {
    let (number, origin, first, size, root, note) = row;
    let shard = Shard { number: u32::try_from(number).ok()?, origin, first: u64::try_from(first).ok()? };
    let head = Head { size: u64::try_from(size).ok()?, root: Sha256::from_slice(&root)? };
    Some(Standing { shard, head, state: Ending::Closed(note.map(Into::into)) })
}

/// Where the log stands in the database. Says nothing of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Of the open shard.
    pub origin: String,
    /// Entries in all shards.
    pub size: u64,
    /// Of the open shard.
    pub root: Sha256,
    /// The position of the open shard's first entry.
    pub first: u64,
}

impl LogHead {
    /// The tree of the open shard.
    pub const fn head(&self) -> Head {
        Head { size: self.size.saturating_sub(self.first), root: self.root }
    }
}

impl Reader {
    /// All shards, the open one last; none in a database that no store has opened yet.
    pub async fn shards(&self) -> Result<Vec<Standing>, ReadError> {
        // One statement, so that a shard that is closed meanwhile is there once.
        const SHARDS: &str = "SELECT number, origin, first, size, root, note FROM log_shard UNION ALL \
             SELECT shard, origin, first, size, root, NULL FROM log_state WHERE id = 1 ORDER BY 1";
        let rows: Vec<Row> = on!(&*self.pools, pool => sqlx::query_as(SHARDS).fetch_all(pool).await?);
        let standings = rows.into_iter().map(|row| standing(row).ok_or(ReadError::Damaged("shard")));
        let mut found = standings.collect::<Result<Vec<_>, _>>()?;
        if let Some(last) = found.last_mut() {
            last.state = Ending::Open;
        }
        Ok(found)
    }

    /// The shard that holds the entry at this position.
    pub async fn shard_at(&self, position: u64) -> Result<Option<Standing>, ReadError> {
        Ok(self.shards().await?.into_iter().rfind(|standing| standing.shard.first <= position))
    }

    /// The same reader, whose tiles and proofs are those of this shard. Entries are found by their position in the whole
    /// history, whichever shard they are in.
    #[must_use]
    pub fn of(&self, shard: &Shard) -> Self {
        Self { tree: Tree { shard: shard.number, first: shard.first }, ..self.clone() }
    }

    /// Where the log stands; `None` in a database no store has opened yet.
    pub async fn log(&self) -> Result<Option<LogHead>, ReadError> {
        const LOG: &str = "SELECT origin, size, root, first FROM log_state WHERE id = 1";
        let row: Option<(String, i64, Vec<u8>, i64)> =
            on!(&*self.pools, pool => sqlx::query_as(LOG).fetch_optional(pool).await?);
        let Some((origin, size, root, first)) = row else { return Ok(None) };
        let number = |n: i64| u64::try_from(n).map_err(|_| ReadError::Damaged("size"));
        let (size, first) = (number(size)?, number(first)?);
        let root = Sha256::from_slice(&root).ok_or(ReadError::Damaged("root"))?;
        Ok(Some(LogHead { origin, size: first.saturating_add(size), root, first }))
    }

    /// The hashes of a tile (c2sp.org/tlog-tiles) in a tree of this size, 256 or fewer at the right edge; `None` when
    /// the tree has no such tile. The tree must be that large.
    pub async fn tile(&self, level: u32, n: u64, size: u64) -> Result<Option<Vec<Sha256>>, ReadError> {
        Ok(nodes::tile((&self.pools, self.tree), (level, n), size).await?)
    }

    /// The frontier of the tree of this size, from its tiles.
    pub(crate) async fn frontier(&self, size: u64) -> Result<Frontier, ReadError> {
        let nodes = Nodes::for_frontier((&self.pools, self.tree), size).await?;
        nodes.frontier(size).ok_or(ReadError::Damaged("tiles"))
    }

    /// The inclusion path of a leaf of the shard's tree of this size.
    pub async fn inclusion_path(&self, index: u64, size: u64) -> Result<Vec<Sha256>, ReadError> {
        let nodes = Nodes::for_path((&self.pools, self.tree), index, size).await?;
        Ok(inclusion_path(&nodes, index, size)?)
    }

    /// What shows that the tree of size `old` is a beginning of the tree of size `new`.
    pub async fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Sha256>, ReadError> {
        let nodes = Nodes::for_consistency((&self.pools, self.tree), old, new).await?;
        Ok(consistency_proof(&nodes, old, new)?)
    }

    /// The receipt of an entry under a checkpoint of a tree of this size.
    pub async fn receipt(&self, leaf: Leaf, size: u64, note: Arc<str>) -> Result<Receipt, ReadError> {
        let index = leaf.index().checked_sub(self.tree.first).ok_or(ReadError::Damaged("index"))?;
        let path = self.inclusion_path(index, size).await?;
        let proof = Proof { index, path, checkpoint: note };
        Ok(Receipt { leaf, proof })
    }
}
