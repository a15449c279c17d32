//! The tree's nodes as the database holds them: full tiles, and for the right edge the hashes below them.
//!
//! A tile holds 256 hashes of one level in eight (c2sp.org/tlog-tiles), so a proof needs at most two tiles a level.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use varco_core::hash::Sha256;
use varco_core::log::tile;
use varco_core::log::tree::{Frontier, Hashes, node_hash};

use crate::db::{Pools, on};

/// Levels in one tile.
const HEIGHT: u32 = 8;

/// Hashes in a full tile.
pub const WIDTH: u64 = 1 << HEIGHT;

/// Why nodes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    #[error("a hash in the database is not one, or is not there")]
    Damaged,
}

/// Where a tile is: its level, counted in tiles, and its place in the level.
pub type Place = (u32, u64);

/// Whose tiles are meant: a shard by its number, and the position of its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub shard: u32,
    pub first: u64,
}

/// Nodes read from the database.
#[derive(Debug, Default)]
pub struct Nodes {
    tiles: BTreeMap<Place, Vec<Sha256>>,
}

impl Nodes {
    /// What the inclusion path of `index` in a tree of this size needs.
    pub async fn for_path((pools, tree): (&Pools, Tree), index: u64, size: u64) -> Result<Self, NodesError> {
        let mut places = edge(size);
        places.extend((0..).map_while(|level| {
            let below = size.checked_shr(level * HEIGHT)?;
            (below > 0).then(|| (level, (index >> (level * HEIGHT)) / WIDTH))
        }));
        Self::read((pools, tree), places, size).await
    }

    /// What the frontier and the root of a tree of this size need.
    pub async fn for_frontier((pools, tree): (&Pools, Tree), size: u64) -> Result<Self, NodesError> {
        Self::read((pools, tree), edge(size), size).await
    }

    /// What a consistency proof between two sizes needs.
    pub async fn for_consistency(
        (pools, tree): (&Pools, Tree),
        old: u64,
        size: u64,
    ) -> Result<Self, NodesError> {
        let places = tile::for_consistency(old, size).into_iter();
        Self::read((pools, tree), places.map(|tile| (u32::from(tile.level), tile.n)).collect(), size).await
    }

    async fn read(
        (pools, tree): (&Pools, Tree),
        places: BTreeSet<Place>,
        size: u64,
    ) -> Result<Self, NodesError> {
        let mut tiles = BTreeMap::new();
        for place in places {
            if let Some(hashes) = self::tile((pools, tree), place, size).await? {
                tiles.insert(place, hashes);
            }
        }
        Ok(Self { tiles })
    }

    /// The frontier of the tree of this size; `None` when a tile is missing.
    pub fn frontier(&self, size: u64) -> Option<Frontier> {
        Frontier::at(self, size)
    }
}

impl Hashes for Nodes {
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let within = level % HEIGHT;
        let first = index.checked_shl(within)?;
        let hashes = self.tiles.get(&(level / HEIGHT, first / WIDTH))?;
        let offset = usize::try_from(first % WIDTH).ok()?;
        fold(hashes.get(offset..offset.checked_add(1 << within)?)?)
    }
}

/// The incomplete tiles at the right edge of a tree of this size.
fn edge(size: u64) -> BTreeSet<Place> {
    let levels =
        (0..).map_while(|level| size.checked_shr(level * HEIGHT).filter(|n| *n > 0).map(|n| (level, n)));
    levels.filter(|(_, hashes)| hashes % WIDTH > 0).map(|(level, hashes)| (level, hashes / WIDTH)).collect()
}

/// How many hashes a tile has in a tree of this size; 0 when the tree has no such tile.
pub fn width(place: Place, size: u64) -> u64 {
    let (level, n) = place;
    let hashes = level.checked_mul(HEIGHT).and_then(|levels| size.checked_shr(levels)).unwrap_or(0);
    hashes.saturating_sub(n.saturating_mul(WIDTH)).min(WIDTH)
}

/// The hashes of a tile in a tree of this size; `None` when the tree has no such tile.
pub async fn tile(
    (pools, tree): (&Pools, Tree),
    place: Place,
    size: u64,
) -> Result<Option<Vec<Sha256>>, NodesError> {
    let width = width(place, size);
    if width == 0 {
        return Ok(None);
    }
    let hashes = if width == WIDTH {
        full(pools, tree, place).await?
    } else {
        partial(pools, tree, place, width).await?
    };
    if u64::try_from(hashes.len()) == Ok(width) { Ok(Some(hashes)) } else { Err(NodesError::Damaged) }
}

async fn full(pools: &Pools, tree: Tree, (level, n): Place) -> Result<Vec<Sha256>, NodesError> {
    const TILE: &str = "SELECT hashes FROM log_tile WHERE level = $1 AND n = $2 AND shard = $3";
    let shard = i64::from(tree.shard);
    let (level, n) = (i64::from(level), int(n)?);
    let bytes: Option<Vec<u8>> = on!(pools, pool => sqlx::query_scalar(TILE).bind(level).bind(n).bind(shard).fetch_optional(pool).await?);
    let bytes = bytes.ok_or(NodesError::Damaged)?;
    bytes.chunks(32).map(|hash| Sha256::from_slice(hash).ok_or(NodesError::Damaged)).collect()
}

/// A tile that is not complete is not stored: its hashes are the leaves', or the roots of the tiles below.
async fn partial(
    pools: &Pools,
    tree: Tree,
    (level, n): Place,
    width: u64,
) -> Result<Vec<Sha256>, NodesError> {
    const LEAVES: &str = "SELECT leaf_hash FROM log_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx";
    const ROOTS: &str =
        "SELECT root FROM log_tile WHERE n >= $1 AND n < $2 AND level = $3 AND shard = $4 ORDER BY n";
    let shard = i64::from(tree.shard);
    let first = n.saturating_mul(WIDTH);
    let base = if level == 0 { tree.first } else { 0 };
    let first = first.saturating_add(base);
    let (from, to) = (int(first)?, int(first.saturating_add(width))?);
    let hashes: Vec<Vec<u8>> = match level.checked_sub(1).map(i64::from) {
        None => on!(pools, pool => {
            let rows = sqlx::query(LEAVES).bind(from).bind(to).fetch_all(pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }),
        Some(below) => on!(pools, pool => {
            let rows = sqlx::query(ROOTS).bind(from).bind(to).bind(below).bind(shard).fetch_all(pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }),
    };
    hashes.iter().map(|hash| Sha256::from_slice(hash).ok_or(NodesError::Damaged)).collect()
}

/// The root over a power of two of hashes.
fn fold(hashes: &[Sha256]) -> Option<Sha256> {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied()
}

/// Indices stay below 2^53.
fn int(n: u64) -> Result<i64, NodesError> {
    i64::try_from(n).map_err(|_| NodesError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_as_many_hashes_as_the_tree_gives_it() {
        assert_eq!(width((0, 0), 0), 0);
        assert_eq!(width((0, 0), 70_000), 256);
        assert_eq!(width((0, 273), 70_000), 112);
        assert_eq!(width((0, 274), 70_000), 0);
        assert_eq!(width((1, 1), 70_000), 17);
        assert_eq!(width((2, 0), 70_000), 1);
        assert_eq!(width((3, 0), 70_000), 0);
        assert_eq!(width((60, 0), u64::MAX), 0);
    }

    #[test]
    fn the_edge_is_made_of_incomplete_tiles() {
        assert!(edge(0).is_empty());
        assert_eq!(edge(256), BTreeSet::from([(1, 0)]));
        assert_eq!(edge(70_000), BTreeSet::from([(0, 273), (1, 1), (2, 0)]));
    }
}
