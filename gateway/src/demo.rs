//! What the demonstration needs besides the gateway: people who do not exist, and agencies' systems that hold them.

pub mod agency;
pub mod people;
