//! The access log: entries that name no one, an RFC 6962 tree over them, and the proofs that go to other people.
//!
//! Formats are those of C2SP (signed notes, checkpoints, tiles, proofs), so that tools we did not write can check them.
//! Everything here is pure: it must not know how entries are stored, what time it is, or who holds the keys.
//! Inside, imports only go down: `tree` < `entry`, `leaf`, `note` < `checkpoint` < `tile`, `proof`, `audit`,
//! `quorum`, `witness`, `sealing` < `bodies`, `stamp`, `summary` < `alert`, `incident`,
//! `mapping`.

pub mod alert;
pub mod audit;
pub mod bodies;
pub mod checkpoint;
pub mod entry;
pub mod incident;
pub mod leaf;
pub mod mapping;
pub mod note;
pub mod proof;
pub mod quorum;
pub mod sealing;
pub mod shard;
pub mod stamp;
pub mod summary;
pub mod tile;
pub mod tree;
pub mod witness;

#[cfg(test)]
mod oracles;
