//! A parcel: the copy of a pushed record that one recipient may have, from the moment it was accepted to its end.
//!
//! What is here can be told and kept: who, for what, which fields at which view, and what happened. The copy itself is
//! kept apart from it, under lock, and only until it is handed over.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::case::Operator;
use crate::code::Code;
use crate::id::{
    AgencyId, CaseId, ExchangeId, FieldId, OfficeId, Pseudonym, PurposeId, RecordTypeId, ViewId,
};
use crate::time::Timestamp;
use crate::wire::{Evidence, LevelOfAssurance};

/// A recipient's system that cannot be reached is tried so long: a weekend and the Monday after it.
pub const SYSTEM_TERM: Duration = Duration::from_secs(72 * 3600);
/// A parcel lies in the inbox so long: a month's holidays.
pub const INBOX_TERM: Duration = Duration::from_secs(30 * 24 * 3600);
/// After the first failure; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_LAST: Duration = Duration::from_secs(3600);
/// Who sends holds the parcel for so long; longer than any system's time to answer. Then it is taken for crashed.
pub const HOLD: Duration = Duration::from_secs(120);
/// 30 s doubled up to an hour makes 8 attempts in the first hour and 71 in the rest of 72: with their results 158, and
/// as many again for those that other replicas cut short.
pub const MOST_EVENTS: usize = 512;

/// The parcel's immutable part. Its identifier is the exchange's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub exchange: ExchangeId,
    /// The request it came with.
    pub push: ExchangeId,
    pub sender: Operator,
    pub location: String,
    pub assurance: LevelOfAssurance,
    pub recipient: AgencyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    pub subject: Pseudonym,
    /// The views the copy was made at.
    pub views: BTreeMap<FieldId, ViewId>,
    pub accepted: Timestamp,
}

/// How the recipient gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// It fetches it.
    Inbox,
    /// It is brought to its system.
    System,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// Always the first.
    Accepted {
        at: Timestamp,
        route: Route,
    },
    /// It is on its way to the recipient's system; the log has an entry for it.
    Attempted {
        at: Timestamp,
        entry: ExchangeId,
        replica: String,
    },
    Cancelled {
        at: Timestamp,
        code: String,
    },
    /// It was never taken over, and never will be.
    Dead {
        at: Timestamp,
        code: String,
    },
    /// The recipient has said so.
    Delivered {
        at: Timestamp,
        entry: ExchangeId,
    },
    /// The last attempt failed.
    Failed {
        at: Timestamp,
        code: String,
        next: Timestamp,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Accepted,
    Cancelled,
    Dead,
    Delivered,
    Delivering,
    Waiting,
}

impl State {
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Cancelled | Self::Dead | Self::Delivered => true,
            Self::Accepted | Self::Delivering | Self::Waiting => false,
        }
    }
}

/// A parcel as its events leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub header: Header,
    route: Route,
    state: State,
    changed: Timestamp,
    /// Why it failed, was cancelled or is dead.
    code: Option<String>,
    attempts: u32,
    /// Who sends it at the moment.
    holder: Option<String>,
    next: Option<Timestamp>,
    epoch: u64,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParcelFault {
    #[error("the delivery has ended before")]
    Ended,
    #[error("a delivery is accepted first, and once")]
    NotAccepted,
    #[error("there is no such push or delivery among those your agency may know")]
    Unknown,
}

impl ParcelFault {
    pub const fn code(self) -> Code {
        match self {
            Self::Ended => Code::PushConflict,
            Self::NotAccepted | Self::Unknown => Code::PushUnknown,
        }
    }
}

impl Parcel {
    pub fn accept(header: Header, route: Route) -> (Self, Event) {
        let at = header.accepted;
        let state = match route {
            Route::Inbox => State::Waiting,
            Route::System => State::Accepted,
        };
        let parcel = Self {
            header,
            route,
            state,
            changed: at,
            code: None,
            attempts: 0,
            holder: None,
            next: None,
            epoch: 1,
        };
        (parcel, Event::Accepted { at, route })
    }

    /// A parcel as it was stored; every event is checked again.
    pub fn replay(header: Header, events: Vec<Event>) -> Result<Self, ParcelFault> {
        let mut events = events.into_iter();
        let Some(Event::Accepted { route, .. }) = events.next() else { return Err(ParcelFault::NotAccepted) };
        events.try_fold(Self::accept(header, route).0, Self::record)
    }

    pub fn record(mut self, event: Event) -> Result<Self, ParcelFault> {
        if self.state.has_ended() || self.epoch >= MOST_EVENTS as u64 {
            return Err(ParcelFault::Ended);
        }
        (self.holder, self.next) = (None, None);
        let (at, state) = match event {
            Event::Accepted { .. } => return Err(ParcelFault::NotAccepted),
            Event::Attempted { at, replica, .. } => {
                self.attempts += 1;
                self.holder = Some(replica);
                (at, State::Delivering)
            }
            Event::Cancelled { at, code } => {
                self.code = Some(code);
                (at, State::Cancelled)
            }
            Event::Dead { at, code } => {
                self.code = Some(code);
                (at, State::Dead)
            }
            Event::Delivered { at, .. } => {
                self.code = None;
                (at, State::Delivered)
            }
            Event::Failed { at, code, next } => {
                (self.code, self.next) = (Some(code), Some(next));
                (at, State::Waiting)
            }
        };
        (self.changed, self.state) = (at, state);
        self.epoch += 1;
        Ok(self)
    }

    pub const fn state(&self) -> State {
        self.state
    }

    /// The number of its events.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub const fn changed(&self) -> Timestamp {
        self.changed
    }

    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When the next attempt is made.
    pub const fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// When somebody must look at it first: a system's is brought at once, an inbox's waits for its end.
    pub fn due(&self) -> Timestamp {
        match self.route {
            Route::Inbox => self.ends(),
            Route::System => self.header.accepted,
        }
    }

    /// When nobody tries any more.
    pub fn ends(&self) -> Timestamp {
        let term = match self.route {
            Route::Inbox => INBOX_TERM,
            Route::System => SYSTEM_TERM,
        };
        self.header.accepted.plus(term)
    }

    /// Whether somebody is sending it: another replica, or this one. A holder that said nothing for [`HOLD`] has crashed.
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.state == State::Delivering && now < self.changed.plus(HOLD)
    }

    pub fn is_held_by(&self, replica: &str) -> bool {
        self.holder.as_deref() == Some(replica)
    }

    /// When to try again after one more failure: doubled each time, between three quarters and five quarters of it, so that
    /// what failed together does not come back together.
    pub fn retry_at(&self, now: Timestamp, random: u8) -> Timestamp {
        let doubled = RETRY_FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(16));
        let delay = doubled.min(RETRY_LAST);
        now.plus(delay * (192 + u32::from(random) / 2) / 256)
    }

    /// Who sent it, for the recipient's own evidence.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            operator: self.header.sender.operator.clone(),
            location: self.header.location.clone(),
            loa: self.header.assurance,
        }
    }
}

/// A copy under lock: neither half says anything without the key that lies apart from the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Locked {
    /// The copy's own key, itself under the key that lies apart.
    pub key: Vec<u8>,
    pub copy: Vec<u8>,
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({} bytes)", self.copy.len())
    }
}

/// Fresh random bytes for one lock: 32 for the copy's key, 12 for the nonce under which that key is wrapped.
pub type LockEntropy = Zeroizing<[u8; 44]>;

/// The copy could not be locked, or what was kept does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the copy does not lock or open")]
pub struct LockFault;

/// Locks copies away and opens them again. Bound to the exchange: no copy opens as another's.
pub trait Keeper: Send + Sync {
    fn lock(&self, parcel: &ExchangeId, copy: &[u8], random: &LockEntropy) -> Result<Locked, LockFault>;
    fn open(&self, parcel: &ExchangeId, locked: &Locked) -> Result<Zeroizing<Vec<u8>>, LockFault>;
}

/// What becomes of a locked copy, in the transaction of the entry that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// It is dead: the copy is deleted, and the parcel counts as dead.
    Bury,
    /// A replica is sending it; if it says nothing more until then, somebody else may.
    Hold {
        replica: String,
        until: Timestamp,
    },
    /// It was accepted; `due` is when somebody must look at it.
    Keep {
        recipient: AgencyId,
        accepted: Timestamp,
        due: Timestamp,
        locked: Locked,
    },
    /// It was handed over or cancelled: the copy is deleted.
    Remove,
    Wait {
        due: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParcelChange {
    pub parcel: ExchangeId,
    pub custody: Custody,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn header() -> Header {
        let text = serde_json::json!({
            "exchange": "00000000-0000-7000-8000-000000000001",
            "push": "00000000-0000-7000-8000-000000000002",
            "sender": { "agency": "comune-capannori", "operator": "op-1" },
            "location": "sportello",
            "assurance": "substantial",
            "recipient": "cpi-lucca",
            "record_type": "segnalazione_bisogno",
            "purpose": "F01",
            "subject": "s1.abcdefghijklmnopqrstuvwxyz",
            "views": { "motivi_comuni": "intero" },
            "accepted": NOW,
        });
        serde_json::from_value(text).unwrap()
    }

    fn entry(n: u8) -> ExchangeId {
        ExchangeId::new(NOW, [n; 10])
    }

    #[test]
    fn what_has_ended_changes_no_more() {
        let (parcel, _) = Parcel::accept(header(), Route::Inbox);
        assert_eq!(parcel.state(), State::Waiting);
        let delivered = parcel.record(Event::Delivered { at: NOW, entry: entry(1) }).unwrap();
        assert_eq!(delivered.state(), State::Delivered);
        for event in [
            Event::Cancelled { at: NOW, code: "exchange.denied".to_owned() },
            Event::Delivered { at: NOW, entry: entry(2) },
            Event::Attempted { at: NOW, entry: entry(2), replica: "a".to_owned() },
        ] {
            assert_eq!(delivered.clone().record(event).unwrap_err(), ParcelFault::Ended);
        }
    }

    #[test]
    fn events_read_back_lead_to_the_same_parcel() {
        let (mut parcel, accepted) = Parcel::accept(header(), Route::System);
        let events = [
            Event::Attempted { at: NOW, entry: entry(1), replica: "a".to_owned() },
            Event::Failed { at: NOW, code: "adapter.timeout".to_owned(), next: NOW },
            Event::Dead { at: NOW, code: "push.expired".to_owned() },
        ];
        let mut stored = vec![serde_json::to_string(&accepted).unwrap()];
        for event in events {
            stored.push(serde_json::to_string(&event).unwrap());
            parcel = parcel.record(event).unwrap();
        }
        let read = stored.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        assert_eq!(Parcel::replay(header(), read), Ok(parcel));
        assert_eq!(Parcel::replay(header(), Vec::new()), Err(ParcelFault::NotAccepted));
    }

    #[test]
    fn a_holder_that_says_nothing_is_taken_for_crashed() {
        let (parcel, _) = Parcel::accept(header(), Route::System);
        let attempted = Event::Attempted { at: NOW, entry: entry(1), replica: "a".to_owned() };
        let parcel = parcel.record(attempted).unwrap();
        assert!(parcel.is_held(NOW) && parcel.is_held_by("a") && !parcel.is_held_by("b"));
        assert!(!parcel.is_held(NOW.plus(HOLD)));
    }

    proptest! {
        #[test]
        fn retries_come_later_and_later_up_to_an_hour(attempts in 1_u32..400, random: u8) {
            let (mut parcel, _) = Parcel::accept(header(), Route::System);
            parcel.attempts = attempts;
            let wait = parcel.retry_at(NOW, random).since(NOW);
            let plain = Duration::from_secs(30 * (1 << (attempts - 1).min(16))).min(RETRY_LAST);
            prop_assert!(wait >= plain * 3 / 4 && wait <= plain * 5 / 4, "{wait:?}");
        }
    }
}
