//! The gateway: the only crate that wires things together, and the one binary `varco`.

pub mod agent;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod fetch;
pub mod genesis;
pub mod http;
pub mod inbound;
pub mod limits;
pub mod orders;
pub mod outbound;
pub mod outbox;
pub mod pki;
pub mod policies;
pub mod pushes;
pub mod registers;
pub mod retention;
pub mod rules;
pub mod server;
pub mod start;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod witness;
pub mod witnesses;
