//! The durable side of Varco: the access log, claims, and the documents whose every change is entered in the log.
//!
//! Owns all SQL of the gateway, on SQLite and PostgreSQL. One task writes, in group commits; an entry is acknowledged
//! only when it is durable, read back, signed, and held fast by the anchor file. Must not know what is in a document,
//! who may see what, or any value of a record: pseudonyms, digests, identifiers and times are all it sees.
//!
//! Imports go down: `submission`, `db`, `anchor`, `keyring` < `fault`, `setup`, `bodies` < `rows`, `plan`, `nodes`, `stored` <
//! `holds` < `read` < `trees` < `parcels`, `signals` < `entry_rows`, `claims` < `statements` < `shards` < `ledger` < `renewal` < `recover` < `status` <
//! `linger` < `writer` < `store`.

pub mod anchor;
mod bodies;
pub mod bulk;
mod claims;
pub mod db;
mod entry_rows;
pub mod fault;
mod holds;
pub mod kept;
pub mod keyring;
mod ledger;
mod linger;
mod nodes;
pub mod parcels;
mod plan;
pub mod read;
pub mod recover;
mod renewal;
pub mod retention;
mod rows;
pub mod search;
pub mod setup;
mod shards;
pub mod signals;
mod statements;
pub mod status;
pub mod store;
mod stored;
pub mod submission;
pub mod trees;
mod writer;
