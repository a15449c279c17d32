//! Change signals: that a record of a person has changed, told to whoever may pull it at that moment. Never a value, never
//! which field, never a name: the person is a pseudonym that the subscriber alone was given.
//!
//! A subscription's own part can be told and kept. Whom it is about lies apart from it under lock, because a decision
//! that nobody asks for must look under every epoch of the pseudonyms' keys.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::{self, Case, Operator};
use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{
    AgencyId, CaseId, ConsentId, ExchangeId, OfficeId, Pseudonym, PurposeId, RecordTypeId, SubscriptionId,
};
use crate::parcel::Locked;
use crate::time::Timestamp;

/// A subscription ends by itself after 80 days: as long as the Signal Hub lets one seed stand for data on health. Whoever
/// still follows the person subscribes anew, and is given a pseudonym of the keys of then.
pub const TERM: Duration = Duration::from_secs(80 * 24 * 3600);
/// A signal is handed over for 30 days, as at the Signal Hub.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// An employment centre follows some thousand people; ten thousand subscriptions are ten MiB.
pub const PER_AGENCY: u64 = 10_000;
/// Those of one agency about one person and record type: some operators, each for some purposes.
pub const PER_PERSON: usize = 16;
/// Signals that wait for one subscription. Whoever has 64 unread changes of a record pulls it once all the same.
pub const PER_SUBSCRIPTION: u32 = 64;
/// Signals in one answer: each is decided, logged and proved. As many entries go into one transaction.
pub const PAGE_MAX: usize = 32;
/// The Signal Hub's own default.
pub const PAGE: usize = 10;
/// Subscriptions in one answer, each of which is decided again.
pub const LIST_MAX: usize = 20;
/// A provider's own number for a signal stays exact in every JSON library.
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// What became of the record, in the words of the Signal Hub. Its fourth word, `SEEDUPDATE`, has no place here: the gateway
/// makes the pseudonyms, and one stands as long as its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignalType {
    Create,
    Delete,
    Update,
}

impl SignalType {
    pub const ALL: [Self; 3] = [Self::Create, Self::Delete, Self::Update];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }
}

/// The period of the agreement that a subscription was opened under. Another one is another agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// The subscription's immutable part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub id: SubscriptionId,
    /// Whose pull it stands for: what this operator may not pull any more is not told any more.
    pub by: Operator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
    pub provider: AgencyId,
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    pub subject: Pseudonym,
    /// What the person is called towards the subscriber.
    pub object: String,
    pub opened: Timestamp,
    pub until: Timestamp,
    /// The consents it may rest on. One that is given later, after these have ended, is another choice and opens nothing here.
    pub rests_on: BTreeSet<ConsentId>,
    pub agreement: Period,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// By an operator of the subscriber, in a request of this digest.
    Ended { at: Timestamp, by: Operator, request: Sha256 },
    /// Always the first.
    Opened { at: Timestamp },
}

/// A subscription as its events leave it. Whether it stands is never stored: it is decided for each instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub header: Header,
    ended: Option<Timestamp>,
    epoch: u64,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    #[error("the subscription was ended before")]
    Ended,
    #[error("a subscription is opened first, and once")]
    NotOpened,
    #[error("there is no such subscription of your agency")]
    Unknown,
}

impl SubscriptionFault {
    pub const fn code(self) -> Code {
        match self {
            Self::Ended => Code::SubscriptionConflict,
            Self::NotOpened | Self::Unknown => Code::SubscriptionUnknown,
        }
    }
}

impl Subscription {
    pub fn open(header: Header) -> (Self, Event) {
        let event = Event::Opened { at: header.opened };
        (Self { header, ended: None, epoch: 1 }, event)
    }

    /// A subscription as it was stored; every event is checked again.
    pub fn replay(header: Header, events: Vec<Event>) -> Result<Self, SubscriptionFault> {
        let mut events = events.into_iter();
        let Some(Event::Opened { .. }) = events.next() else { return Err(SubscriptionFault::NotOpened) };
        events.try_fold(Self::open(header).0, |so_far, event| so_far.record(&event))
    }

    pub fn record(mut self, event: &Event) -> Result<Self, SubscriptionFault> {
        match event {
            Event::Opened { .. } => return Err(SubscriptionFault::NotOpened),
            Event::Ended { .. } if self.ended.is_some() => return Err(SubscriptionFault::Ended),
            Event::Ended { at, .. } => self.ended = Some(*at),
        }
        self.epoch += 1;
        Ok(self)
    }

    /// The number of its events.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub const fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    /// Whether nothing in itself has ended it: nobody's word, no date, and its operator has not left the équipe since.
    /// Coming back to it is a new membership, and a new subscription.
    pub fn runs(&self, case: Option<&Case>, now: Timestamp) -> bool {
        let left = |event: &case::Event| {
            event.at >= self.header.opened
                && matches!(&event.change, case::Change::RemoveMember { operator } if *operator == self.header.by)
        };
        self.ended.is_none()
            && now < self.header.until
            && !case.is_some_and(|case| case.events().iter().any(left))
    }
}

/// A signal that waits for one subscription, under the number it is handed over with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Strictly increasing, over all signals of the gateway.
    pub id: u64,
    pub subscription: SubscriptionId,
    pub kind: SignalType,
    pub at: Timestamp,
    /// The provider's own entry, to which the lock is bound.
    pub exchange: ExchangeId,
    /// Which control fields of the record hold, under lock: they are values of it.
    pub controls: Locked,
}

/// What becomes of subscriptions and signals, in the transaction of the entry that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalChange {
    /// The subscription has ended: with it go its person's lock and whatever still waits.
    End { subscription: SubscriptionId },
    /// A signal for one subscription, at the instant of the entry.
    Keep {
        subscription: SubscriptionId,
        kind: SignalType,
        at: Timestamp,
        exchange: ExchangeId,
        controls: Locked,
    },
    Open {
        subscription: SubscriptionId,
        agency: AgencyId,
        office: Option<OfficeId>,
        until: Timestamp,
        locked: Locked,
    },
    /// It may not be told any more, and never will be.
    Remove { signal: u64 },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn header() -> Header {
        serde_json::from_value(json!({
            "id": "00000000-0000-7000-8000-000000000001",
            "by": { "agency": "cpi-lucca", "operator": "op-117" },
            "provider": "comune-capannori",
            "record_type": "condizione_economica_prestazioni",
            "purpose": "F02",
            "subject": "s1.abcdefghijklmnopqrstuvwxyz",
            "object": "p1.abcdefghijklmnopqrstuvwxyz",
            "opened": NOW,
            "until": NOW.plus(TERM),
            "rests_on": [],
            "agreement": { "from": NOW, "until": NOW.plus(TERM) },
        }))
        .unwrap()
    }

    fn ended(operator: &str) -> Event {
        let by = Operator { agency: "cpi-lucca".parse().unwrap(), operator: operator.parse().unwrap() };
        Event::Ended { at: NOW, by, request: Sha256::of(b"request") }
    }

    #[test]
    fn events_read_back_lead_to_the_same_subscription_and_it_ends_once() {
        let (subscription, opened) = Subscription::open(header());
        let events = [opened, ended("op-117")];
        let texts: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let read = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let over = subscription.record(&ended("op-117")).unwrap();
        assert_eq!(Subscription::replay(header(), read), Ok(over.clone()));
        assert!(over.ended().is_some() && !over.runs(None, NOW));
        assert_eq!(over.record(&ended("op-2")), Err(SubscriptionFault::Ended));
        assert_eq!(Subscription::replay(header(), Vec::new()), Err(SubscriptionFault::NotOpened));
    }

    #[test]
    fn a_subscription_ends_at_its_date_and_not_a_moment_later() {
        let (subscription, _) = Subscription::open(header());
        let until = subscription.header.until;
        assert!(subscription.runs(None, Timestamp::from_millis(until.millis() - 1)));
        assert!(!subscription.runs(None, until));
    }

    #[test]
    fn a_signal_type_is_its_text() {
        for kind in SignalType::ALL {
            assert_eq!(SignalType::parse(kind.text()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.text()));
        }
        assert_eq!(SignalType::parse("SEEDUPDATE"), None);
    }
}
