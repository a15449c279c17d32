//! Views: how much of a field is shown, and the transformations that make less of more.
//!
//! Owns the kinds of value a field may have, the transformations (named after ISO/IEC 20889) and the ladders that
//! order views. It must not know agencies' rules, purposes or consents.

pub mod expression;
pub mod kind;
pub mod ladder;
pub mod pseudonym;
pub mod sample;
pub mod transform;
