//! The pure heart of Varco: what may leave, to whom, why, and the proof that it was logged.
//!
//! Nothing here reads a clock, a file, the network, the environment or randomness; time and random bytes are
//! arguments. Imports only go down, in this order (a tidy test holds us to it):
//! `time`, `hash`, `id`, `code` < `correction`, `emergency`, `json`, `subject`, `registry` < `view`, `wire`, `consent`,
//! `case`, `statistics` < `restriction`, `policy`, `log` < `notice`, `parcel`, `appeal`, `report` < `signal` < `exchange`.

pub mod appeal;
pub mod case;
pub mod code;
pub mod consent;
pub mod correction;
pub mod emergency;
pub mod exchange;
pub mod hash;
pub mod id;
pub mod json;
pub mod log;
pub mod notice;
pub mod parcel;
pub mod policy;
pub mod registry;
pub mod report;
pub mod restriction;
pub mod signal;
pub mod statistics;
pub mod subject;
pub mod time;
pub mod view;
pub mod wire;
