//! What the writer tells the rest of the program: where the log stands and whether it is well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use varco_core::log::tree::Head;
use varco_core::time::Timestamp;

use crate::recover::Signed;
use crate::submission::Unavailable;

/// A batch that takes longer than this is a fault, whatever becomes of it.
const SLOW: Duration = Duration::from_secs(2);

/// The truth about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The tree this process has signed last: that of the open year.
    pub head: Head,
    /// Entries of all years up to there.
    pub entries: u64,
    /// The last transaction of this process; `None` when it has made none.
    pub last_commit: Option<Timestamp>,
    /// Jobs that wait.
    pub queue: usize,
    pub health: Health,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Nothing can be entered; why.
    Closed(String),
    /// The batch in hand has taken this long.
    Slow(Duration),
}

/// Shared between the writer and its callers.
#[derive(Debug)]
pub struct Shared(Mutex<Facts>);

#[derive(Debug)]
struct Facts {
    signed: Signed,
    last_commit: Option<Timestamp>,
    busy_since: Option<Instant>,
    closed: Option<String>,
}

impl Shared {
    pub const fn new(signed: Signed) -> Self {
        Self(Mutex::new(Facts { signed, last_commit: None, busy_since: None, closed: None }))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self) {
        self.facts().busy_since = Some(Instant::now());
    }

    pub fn end(&self) {
        self.facts().busy_since = None;
    }

    pub fn committed(&self, at: Timestamp) {
        self.facts().last_commit = Some(at);
    }

    pub fn signed(&self, signed: Signed) {
        self.facts().signed = signed;
    }

    pub fn close(&self, why: String) {
        self.facts().closed = Some(why);
    }

    pub fn open(&self, signed: Signed) {
        let mut facts = self.facts();
        facts.closed = None;
        facts.signed = signed;
    }

    pub fn closed(&self) -> Unavailable {
        let why = self.facts().closed.clone();
        Unavailable::Closed(why.unwrap_or_else(|| "the writer has ended".to_owned()))
    }

    pub fn last_signed(&self) -> Signed {
        self.facts().signed.clone()
    }

    pub fn status(&self, queue: usize) -> Status {
        let facts = self.facts();
        let busy = facts.busy_since.map(|since| since.elapsed()).filter(|busy| *busy > SLOW);
        let health = match (&facts.closed, busy) {
            (Some(why), _) => Health::Closed(why.clone()),
            (None, Some(busy)) => Health::Slow(busy),
            (None, None) => Health::Healthy,
        };
        let (head, entries) = (facts.signed.head, facts.signed.end());
        Status { head, entries, last_commit: facts.last_commit, queue, health }
    }
}
