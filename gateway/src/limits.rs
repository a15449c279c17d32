//! How often an agency, and each of its operators, may ask.
//!
//! Counters live in memory, one set per replica. Must not know what is asked for.

use std::time::Duration;

/// Rates of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub agency: Rate,
    pub operator: Rate,
}

/// So many requests in a period; unused ones add up to at most one period's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub period: Duration,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            // 100 a second: above the whole country's average, below what one replica carries.
            agency: Rate { requests: 6000, period: Duration::from_secs(60) },
            // One a second: far above what a person at a desk can read.
            operator: Rate { requests: 60, period: Duration::from_secs(60) },
        }
    }
}
