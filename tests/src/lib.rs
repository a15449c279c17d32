//! Drives Varco from outside: what the tests need, and the tests themselves.

pub mod postgres;
