//! Identifiers of tokens that were used, each until it expires.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use varco_core::id::TokenId;
use varco_core::time::Timestamp;

/// With fewer identifiers than these, the expired ones need not be looked for: about 10 MB.
const SWEEP_MIN: usize = 100_000;

#[derive(Default)]
pub struct Seen {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    until: HashMap<TokenId, Timestamp>,
    /// When there are so many, the expired ones are forgotten.
    sweep_at: usize,
}

/// The token was used before and has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token was used before")]
pub struct Replayed;

impl Seen {
    /// Enters a token that is good until `until`, once.
    pub fn enter(&self, token: &TokenId, until: Timestamp, now: Timestamp) -> Result<(), Replayed> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.until.len() >= inner.sweep_at.max(SWEEP_MIN) {
            inner.until.retain(|_, until| *until > now);
            // Twice what is left, so that the sweeps cost each request the same however many there are.
            inner.sweep_at = inner.until.len().saturating_mul(2);
        }
        match inner.until.insert(token.clone(), until) {
            Some(until) if until > now => Err(Replayed),
            Some(_) | None => Ok(()),
        }
    }
}
