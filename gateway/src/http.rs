//! HTTP: the routes of each listener, and the rules every request meets before them.

pub mod admin;
pub mod alerts;
pub mod auditor;
pub mod exchange;
pub mod framing;
pub mod hygiene;
pub mod incidents;
pub mod orders;
pub mod problem;
pub mod public;
pub mod receipt;
pub mod search;
pub mod shards;
pub mod status;
pub mod timestamps;
