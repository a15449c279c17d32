//! Checking proofs, after RFC 9162 sections 2.1.3.2 and 2.1.4.2, which spell out what RFC 6962 leaves to the reader.

use crate::hash::Sha256;

use super::{empty_root, node_hash};

/// Why a path proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("the path does not lead to the root")]
    RootDiffers,
    #[error("the tree is too small for what the path claims")]
    OutOfRange,
    #[error("the path has too few or too many hashes for its place in the tree")]
    WrongLength,
}

/// Whether the leaf stands at `index` in the tree of this size and root.
pub fn verify_inclusion(
    leaf: &Sha256,
    index: u64,
    size: u64,
    path: &[Sha256],
    root: &Sha256,
) -> Result<(), PathFault> {
    if root_from_path(leaf, index, size, path)? == *root { Ok(()) } else { Err(PathFault::RootDiffers) }
}

/// The root to which a leaf at `index` and its path lead in a tree of this size.
pub fn root_from_path(leaf: &Sha256, index: u64, size: u64, path: &[Sha256]) -> Result<Sha256, PathFault> {
    if index >= size {
        return Err(PathFault::OutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(PathFault::WrongLength);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            if node & 1 == 0 {
                // The right edge: levels where the node has no sibling give the path no hash.
                let skip = node.trailing_zeros();
                node = node.checked_shr(skip).unwrap_or(0);
                last = last.checked_shr(skip).unwrap_or(0);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(PathFault::WrongLength) }
}

/// A tree head as consistency proofs compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: Sha256,
}

/// Whether the tree `old` is a beginning of the tree `new`.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Sha256]) -> Result<(), PathFault> {
    if old.size > new.size {
        return Err(PathFault::OutOfRange);
    }
    if old.size == new.size || old.size == 0 {
        let same = if old.size == 0 { old.root == empty_root() } else { old.root == new.root };
        return match (proof.is_empty(), same) {
            (true, true) => Ok(()),
            (true, false) => Err(PathFault::RootDiffers),
            (false, _) => Err(PathFault::WrongLength),
        };
    }
    // A perfect old tree is a node of the new one; its root is then left out of the proof.
    let (seed, rest) = if old.size.is_power_of_two() {
        (old.root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(PathFault::WrongLength)?;
        (*first, rest)
    };
    let shift = (old.size - 1).trailing_ones();
    let (mut node, mut last) = ((old.size - 1) >> shift, (new.size - 1) >> shift);
    let (mut old_root, mut new_root) = (seed, seed);
    for hash in rest {
        if last == 0 {
            return Err(PathFault::WrongLength);
        }
        if node & 1 == 1 || node == last {
            old_root = node_hash(hash, &old_root);
            new_root = node_hash(hash, &new_root);
            if node & 1 == 0 {
                let skip = node.trailing_zeros();
                node = node.checked_shr(skip).unwrap_or(0);
                last = last.checked_shr(skip).unwrap_or(0);
            }
        } else {
            new_root = node_hash(&new_root, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(PathFault::WrongLength);
    }
    if old_root == old.root && new_root == new.root { Ok(()) } else { Err(PathFault::RootDiffers) }
}
