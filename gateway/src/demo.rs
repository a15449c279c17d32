//! The demonstration: people who do not exist, agencies' systems that hold them, a genesis, and the story of one
//! exchange told with real calls between real processes.

pub mod agency;
pub mod ceremony;
pub mod desk;
pub mod people;
pub mod stage;
pub mod story;
