//! The Merkle tree of RFC 6962 section 2.1: hashes, the frontier an appender keeps, and both kinds of proof.
//!
//! A *node* `(level, index)` is the hash of the perfect subtree over the leaves `index * 2^level .. (index + 1) * 2^level`.

use crate::hash::Sha256;

mod verify;

pub use verify::{Head, PathFault, root_from_path, verify_consistency, verify_inclusion};

/// SHA-256 of a zero byte and the entry.
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    Sha256::of_parts(&[&[0], entry])
}

/// SHA-256 of a one byte and both children.
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    Sha256::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of a tree without entries: the hash of nothing.
pub fn empty_root() -> Sha256 {
    Sha256::of(b"")
}

/// What an appender must remember of a tree: the roots of its perfect subtrees, largest first, one for each set bit
/// of the size. At most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Sha256>,
}

/// The bytes are not a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a frontier: eight bytes of size, then one hash for each set bit of it")]
pub struct FrontierFault;

impl Frontier {
    /// The frontier of the empty tree.
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The frontier of the tree of this size; `None` when a node is not known.
    pub fn at(hashes: &dyn Hashes, size: u64) -> Option<Self> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| hashes.node(level, (size >> level) - 1)).collect::<Option<_>>()?;
        Some(Self { size, peaks })
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Sha256 {
        fold_right(self.peaks.iter().rev().copied()).unwrap_or_else(empty_root)
    }

    pub fn push(&mut self, leaf: Sha256) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// Appends all leaf hashes of a batch and keeps what their inclusion paths at the new size need.
    pub fn append(&mut self, leaves: &[Sha256]) -> Batch {
        let before = self.clone();
        for leaf in leaves {
            self.push(*leaf);
        }
        Batch::new(before, leaves, self.size)
    }

    /// Size as eight big-endian bytes, then the peaks, largest first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for peak in &self.peaks {
            bytes.extend_from_slice(peak.as_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierFault> {
        let (size, peaks) = bytes.split_first_chunk::<8>().ok_or(FrontierFault)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, rest) = peaks.as_chunks::<32>();
        if !rest.is_empty() || u32::try_from(hashes.len()) != Ok(size.count_ones()) {
            return Err(FrontierFault);
        }
        Ok(Self { size, peaks: hashes.iter().map(|hash| Sha256::from_bytes(*hash)).collect() })
    }
}

impl Hashes for Frontier {
    /// Knows its peaks and nothing else.
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let above = self.size.checked_shr(level)?;
        // The peak of a level is its last complete node, and there is one only where the size has that bit.
        if above & 1 == 0 || index != above - 1 {
            return None;
        }
        let position = usize::try_from((above >> 1).count_ones()).ok()?;
        self.peaks.get(position).copied()
    }
}

/// The leaves just appended, with every node they completed.
#[derive(Clone, Debug)]
pub struct Batch {
    before: Frontier,
    size: u64,
    /// For each level the new nodes; the first has index `before.size >> level`.
    levels: Vec<Vec<Sha256>>,
}

impl Batch {
    fn new(before: Frontier, leaves: &[Sha256], size: u64) -> Self {
        let mut batch = Self { before, size, levels: vec![leaves.to_vec()] };
        for level in 1..u64::BITS {
            let nodes = batch.parents(level);
            if nodes.is_empty() {
                break;
            }
            batch.levels.push(nodes);
        }
        batch
    }

    fn parents(&self, level: u32) -> Vec<Sha256> {
        let range = (self.before.size >> level)..(self.size >> level);
        let child = |index| self.node(level - 1, index);
        range.filter_map(|i| Some(node_hash(&child(2 * i)?, &child(2 * i + 1)?))).collect()
    }

    /// The index of the batch's first leaf.
    pub const fn first(&self) -> u64 {
        self.before.size
    }

    /// The size of the tree after the batch; the paths hold at this size.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The inclusion path of the batch's `position`-th leaf, at the new size. `None` beyond the batch.
    pub fn path(&self, position: usize) -> Option<Vec<Sha256>> {
        let index = self.before.size.checked_add(u64::try_from(position).ok()?)?;
        inclusion_path(self, index, self.size).ok()
    }
}

impl Hashes for Batch {
    /// Knows the peaks of the tree before the batch and every node the batch completed.
    fn node(&self, level: u32, index: u64) -> Option<Sha256> {
        let first = self.before.size.checked_shr(level)?;
        match index.checked_sub(first) {
            Some(offset) => {
                self.levels.get(usize::try_from(level).ok()?)?.get(usize::try_from(offset).ok()?).copied()
            }
            None => self.before.node(level, index),
        }
    }
}

/// Something that knows nodes of a tree: tiles, a batch, a table in memory.
pub trait Hashes {
    /// The node `(level, index)`; `None` when it is not known here.
    fn node(&self, level: u32, index: u64) -> Option<Sha256>;
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    #[error("the node {index} of level {level} is not there")]
    Missing { level: u32, index: u64 },
    #[error("the tree is too small for what is asked")]
    OutOfRange,
}

/// The root of the tree of this size.
pub fn root(hashes: &dyn Hashes, size: u64) -> Result<Sha256, ProveError> {
    if size == 0 { Ok(empty_root()) } else { range_root(hashes, 0, size) }
}

/// RFC 6962 section 2.1.1: the siblings from the leaf up to the children of the root.
pub fn inclusion_path(hashes: &dyn Hashes, index: u64, size: u64) -> Result<Vec<Sha256>, ProveError> {
    if index >= size {
        return Err(ProveError::OutOfRange);
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_root(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(hashes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// RFC 6962 section 2.1.2: what shows that the tree of size `old` is a beginning of the tree of size `new`.
/// Empty when `old` is zero or equal to `new`.
pub fn consistency_proof(hashes: &dyn Hashes, old: u64, new: u64) -> Result<Vec<Sha256>, ProveError> {
    if old > new {
        return Err(ProveError::OutOfRange);
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range_root(hashes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(hashes, start, middle)?);
            start = middle;
        }
    }
    // A verifier of the whole left edge knows this root already: it is the old root.
    if start != 0 {
        proof.push(range_root(hashes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `n`, for `n > 1`: where RFC 6962 splits a tree.
fn split(n: u64) -> u64 {
    1 << (n - 1).checked_ilog2().unwrap_or(0)
}

/// The hash over the leaves `start..end`, where `start` is a multiple of the power of two at or above `end - start`,
/// as in every subtree that [`split`] makes.
fn range_root(hashes: &dyn Hashes, start: u64, end: u64) -> Result<Sha256, ProveError> {
    let mut peaks = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        let index = at >> level;
        peaks.push(hashes.node(level, index).ok_or(ProveError::Missing { level, index })?);
        at += 1 << level;
    }
    fold_right(peaks.into_iter().rev()).ok_or(ProveError::OutOfRange)
}

/// Joins subtree roots, smallest first.
fn fold_right(mut peaks: impl Iterator<Item = Sha256>) -> Option<Sha256> {
    let last = peaks.next()?;
    Some(peaks.fold(last, |right, left| node_hash(&left, &right)))
}

#[cfg(test)]
mod tests;
