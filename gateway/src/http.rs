//! To come.

pub mod framing;
pub mod hygiene;
pub mod problem;
