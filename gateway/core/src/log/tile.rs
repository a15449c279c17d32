//! Tiles (c2sp.org/tlog-tiles): the tree cut into files of 256 hashes, and the entries in bundles of 256.
//!
//! Level 0 holds leaf hashes; each hash of a higher level is the root of a full tile below.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::hash::Sha256;
use crate::log::checkpoint::decimal;
use crate::log::tree::{self, Frontier, Hashes, node_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// A tile spans so many levels of the tree: 2^8 = 256.
const HEIGHT: u32 = 8;

/// Tiles of level 7 already cover 2^64 leaves.
pub const LEVEL_MAX: u8 = 7;

/// Where a tile is. Prints as its path below the log's address: `tile/0/x001/x234/067.p/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    pub level: u8,
    pub n: u64,
    /// 1 to 256; below 256 the tile is partial.
    pub width: u16,
}

/// Where a bundle of entries is: `tile/entries/x001/x234/067.p/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    pub n: u64,
    /// 1 to 256; below 256 the bundle is partial.
    pub width: u16,
}

/// Why a path or its contents are not those of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileFault {
    #[error("the contents do not have the length that the tile's path says")]
    Length,
    #[error("expected a path such as `tile/0/x001/234` or `tile/entries/000.p/12`")]
    Path,
}

impl TileId {
    /// The tile of this level that holds hash `index` in a tree of this size, as wide as it is then. `None` when the
    /// tree does not reach so far.
    pub fn holding(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(HEIGHT * u32::from(level)).filter(|_| level <= LEVEL_MAX)?;
        let n = index / WIDTH;
        let width = hashes.checked_sub(n * WIDTH)?.min(WIDTH);
        let width = u16::try_from(width).ok().filter(|_| index < hashes)?;
        Some(Self { level, n, width })
    }

    /// Every tile of a tree of this size, level by level.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=LEVEL_MAX).flat_map(move |level| {
            let hashes = size >> (HEIGHT * u32::from(level));
            (0..hashes.div_ceil(WIDTH)).filter_map(move |n| Self::holding(level, n * WIDTH, size))
        })
    }

    /// The tile whose first hashes make the node `(level, index)`, in a tree of this size, and which hash of the tile
    /// comes first, and how many there are.
    fn of_node(level: u32, index: u64, size: u64) -> Option<(Self, usize, usize)> {
        let above = level % HEIGHT;
        let first = index.checked_shl(above).filter(|first| first >> above == index)?;
        let last = first.checked_add((1 << above) - 1)?;
        let tile = Self::holding(u8::try_from(level / HEIGHT).ok()?, last, size)?;
        Some((tile, usize::try_from(first % WIDTH).ok()?, 1 << above))
    }

    pub const fn is_full(&self) -> bool {
        self.width as u64 == WIDTH
    }

    /// The index of the tile's first hash within its level.
    pub const fn first(&self) -> u64 {
        self.n.saturating_mul(WIDTH)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.n, self.width)
    }
}

impl FromStr for TileId {
    type Err = TileFault;

    fn from_str(text: &str) -> Result<Self, TileFault> {
        let (level, place) =
            text.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(TileFault::Path)?;
        let level = decimal(level).and_then(|level| u8::try_from(level).ok()).ok_or(TileFault::Path)?;
        let (n, width) = read_place(place).ok_or(TileFault::Path)?;
        if level > LEVEL_MAX { Err(TileFault::Path) } else { Ok(Self { level, n, width }) }
    }
}

impl BundleId {
    /// Every bundle of a log of this size.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..size.div_ceil(WIDTH)).filter_map(move |n| {
            let tile = TileId::holding(0, n.checked_mul(WIDTH)?, size)?;
            Some(Self { n, width: tile.width })
        })
    }

    /// The index of the bundle's first entry.
    pub const fn first(&self) -> u64 {
        self.n.saturating_mul(WIDTH)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.n, self.width)
    }
}

impl FromStr for BundleId {
    type Err = TileFault;

    fn from_str(text: &str) -> Result<Self, TileFault> {
        let place = text.strip_prefix("tile/entries/").ok_or(TileFault::Path)?;
        let (n, width) = read_place(place).ok_or(TileFault::Path)?;
        Ok(Self { n, width })
    }
}

/// Three digits a directory, all but the last begun with `x`; a partial width at the end.
fn write_place(f: &mut fmt::Formatter<'_>, n: u64, width: u16) -> fmt::Result {
    let mut groups = vec![n % 1000];
    let mut rest = n / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    for (left, group) in groups.iter().enumerate().rev() {
        if left > 0 {
            write!(f, "x{group:03}/")?;
        } else {
            write!(f, "{group:03}")?;
        }
    }
    if u64::from(width) == WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
}

fn read_place(place: &str) -> Option<(u64, u16)> {
    let (path, width) = match place.split_once(".p/") {
        Some((path, width)) => (path, decimal(width).filter(|width| (1..WIDTH).contains(width))?),
        None => (place, WIDTH),
    };
    let mut groups = path.split('/').rev();
    let mut number = groups.next().and_then(group)?;
    let mut weight = 1_u64;
    let mut highest = None;
    for text in groups {
        weight = weight.checked_mul(1000)?;
        let digits = text.strip_prefix('x').and_then(group)?;
        number = digits.checked_mul(weight).and_then(|part| number.checked_add(part))?;
        highest = Some(digits);
    }
    // One path for a tile: no leading `x000`.
    (highest != Some(0)).then_some((number, u16::try_from(width).ok()?))
}

fn group(text: &str) -> Option<u64> {
    (text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A tile's hashes one after another: what is served.
pub fn to_bytes(hashes: &[Sha256]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of a tile, exactly as many as its path says.
pub fn from_bytes(tile: TileId, bytes: &[u8]) -> Result<Vec<Sha256>, TileFault> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() != usize::from(tile.width) {
        return Err(TileFault::Length);
    }
    Ok(hashes.iter().map(|hash| Sha256::from_bytes(*hash)).collect())
}

/// The entries of a bundle, each after its length in two big-endian bytes. `None` when one is longer than 65,535 bytes.
pub fn bundle_to_bytes<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Some(bytes)
}

/// The entries of a bundle, exactly as many as its path says.
pub fn bundle_from_bytes(bundle: BundleId, bytes: &[u8]) -> Result<Vec<&[u8]>, TileFault> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(TileFault::Length)?;
        let (entry, after) =
            after.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(TileFault::Length)?;
        entries.push(entry);
        rest = after;
    }
    if entries.len() == usize::from(bundle.width) { Ok(entries) } else { Err(TileFault::Length) }
}

/// The root of a perfect subtree, a full tile for one. `None` unless the number of hashes is a power of two.
pub fn perfect_root(hashes: &[Sha256]) -> Option<Sha256> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied()
}

/// The tiles needed for a proof in a tree of this size: for inclusion of `index`, at most two for each level.
pub fn for_inclusion(index: u64, size: u64) -> Vec<TileId> {
    wanted(size, |seen| tree::inclusion_path(seen, index, size).is_ok())
}

/// The tiles needed for a consistency proof between two sizes.
pub fn for_consistency(old: u64, new: u64) -> Vec<TileId> {
    wanted(new, |seen| tree::consistency_proof(seen, old, new).is_ok())
}

/// The tiles needed for the frontier of an earlier size.
pub fn for_frontier(old: u64, size: u64) -> Vec<TileId> {
    wanted(size, |seen| Frontier::at(seen, old).is_some())
}

fn wanted(size: u64, prove: impl FnOnce(&Seen) -> bool) -> Vec<TileId> {
    let seen = Seen { size, tiles: std::cell::RefCell::default() };
    if prove(&seen) { seen.tiles.into_inner().into_iter().collect() } else { Vec::new() }
}

/// Pretends to know every node and writes down which tiles they come from.
struct Seen {
    size: u64,
    tiles: std::cell::RefCell<std::collections::BTreeSet<TileId>>,
}

impl Hashes for Seen {
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let (tile, _, _) = TileId::of_node(level, index, self.size)?;
        self.tiles.borrow_mut().insert(tile);
        Some(Sha256::from_bytes([0; 32]))
    }
}

/// Tiles of a tree of one size, as they were fetched. Proofs are made from them; nothing here is checked, because a
/// proof that is made from wrong tiles does not verify.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    size: u64,
    hashes: BTreeMap<(u8, u64), Vec<Sha256>>,
}

impl Tiles {
    pub const fn of(size: u64) -> Self {
        Self { size, hashes: BTreeMap::new() }
    }

    /// Adds a tile's hashes. A wider version of the same tile will do as well.
    pub fn insert(&mut self, tile: TileId, hashes: Vec<Sha256>) {
        self.hashes.insert((tile.level, tile.n), hashes);
    }
}

impl Hashes for Tiles {
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let (tile, first, count) = TileId::of_node(level, index, self.size)?;
        let hashes = self.hashes.get(&(tile.level, tile.n))?;
        perfect_root(hashes.get(first..first.checked_add(count)?)?)
    }
}

#[cfg(test)]
mod tests;
