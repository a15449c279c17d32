//! Everything that drives the product from outside, in one test binary; a module for each area.
//!
//! `cfg(test)` always holds here; writing it lets the lints know that helpers may unwrap and index.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod auditor;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod guide;
#[cfg(test)]
mod licences;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod peers;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the store's own tests, which use the rest")]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod systems;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
