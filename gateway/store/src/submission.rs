//! What callers hand to the store: claims before an exchange, submissions after it, and what they get back.
//!
//! Texts of streams are opaque here: the core reads and writes them. Nothing here holds a value of a record.

use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId, Pseudonym, TokenId};
use varco_core::log::entry::{Draft, Kind};
use varco_core::log::proof::Receipt;
use varco_core::parcel::ParcelChange;
use varco_core::signal::SignalChange;
use varco_core::time::Timestamp;

/// The right to carry out one exchange for one token. Durable before anything is fetched.
#[derive(Clone, Debug)]
pub struct Claim {
    /// SHA-256 of the key that signed the tokens; together with each `jti` good for one exchange only.
    pub issuer_key: Sha256,
    pub jtis: Vec<TokenId>,
    pub exchange: ExchangeId,
    /// SHA-256 of the request's body.
    pub request_digest: Sha256,
    /// When the token expires; it is remembered a little longer.
    pub expires: Timestamp,
    /// The entry, of kind `interrupted` and with the id `exchange`, to write if the exchange never gets an outcome.
    pub interrupted: Draft,
}

impl Claim {
    /// What may be claimed once: issuer and jti in one digest. The key's length is fixed, so nothing runs together.
    pub fn tokens(&self) -> impl Iterator<Item = Sha256> {
        self.jtis.iter().map(|jti| Sha256::of_parts(&[self.issuer_key.as_bytes(), jti.as_str().as_bytes()]))
    }
}

/// Which documents an exchange will rest on. What the claim's own transaction finds of them is what the exchange begins
/// with: no later trip to the database, and nothing older than the claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The appeals, consents and restrictions that one of these people is found by. At most [`Wanted::SUBJECTS_MAX`].
    pub subjects: Vec<Pseudonym>,
    /// These documents, if they exist. At most [`Wanted::STREAMS_MAX`].
    pub streams: Vec<String>,
}

impl Wanted {
    /// One person under every epoch of the pseudonyms' key.
    pub const SUBJECTS_MAX: usize = 32;
    /// The case.
    pub const STREAMS_MAX: usize = 4;
}

/// Documents in one question by identifier: what is known of one person, several times over.
pub const STREAMS_MAX: usize = 256;

/// A document and the epoch it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamEpoch {
    pub stream: String,
    pub epoch: u64,
}

/// What there is of what was wanted. Kept apart, because whoever names a document has not shown that it is about the person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The documents found by [`Wanted::subjects`], sorted, each once.
    pub of_subjects: Vec<StreamEpoch>,
    /// Those of [`Wanted::streams`], of whatever kind.
    pub named: Vec<StreamEpoch>,
}

/// An entry for the log, with everything that must become durable in the same instant.
#[derive(Clone, Debug)]
pub struct Submission {
    pub draft: Draft,
    pub guard: Option<Guard>,
    /// Applied if `draft` is committed; with the guard's fallback nothing is changed.
    pub changes: Vec<Change>,
    pub artifacts: Vec<Artifact>,
    /// The people the entry is about, for the question "who looked at me". At most [`Submission::SUBJECTS_MAX`].
    pub subjects: Vec<Pseudonym>,
    /// The claimed exchange of which this entry is the outcome.
    pub closes: Option<ExchangeId>,
    /// What becomes of the bodies; without a word the kind of the entry says.
    pub keeping: Option<Keeping>,
    /// What the entry changes about what may be erased.
    pub hold: Option<Hold>,
    /// Copies to keep or to delete if `draft` is committed.
    pub parcels: Vec<ParcelChange>,
    /// Subscriptions and signals to keep or to delete if `draft` is committed. At most [`Submission::SIGNALS_MAX`].
    pub signals: Vec<SignalChange>,
    /// Further entries, each with what belongs to it, that become durable with this one or not at all. They close no
    /// claim, bring no artifact, order no erasure, have no further ones, and change no stream that another changes. At
    /// most [`Submission::ALSO_MAX`].
    pub also: Vec<Self>,
}

/// A legal hold: what it covers is not erased until it is lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    Lift {
        id: String,
    },
    /// At most [`Submission::RANGES_MAX`] ranges, first and last entry of each; they may reach into the future.
    Place {
        id: String,
        ranges: Vec<(u64, u64)>,
    },
}

/// Entries that a hold covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: String,
    pub first: u64,
    pub last: u64,
}

/// What becomes of an entry's bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Sealed, and erased when an order or their age says so.
    Erasable,
    /// In the clear, for ever: how the log and its rules came to be. Must name no person.
    ForEver,
}

impl Keeping {
    const fn of(kind: Kind) -> Self {
        if kind.keeps_bodies() { Self::ForEver } else { Self::Erasable }
    }
}

impl Submission {
    /// A household, and everybody named in a case, fit several times.
    pub const SUBJECTS_MAX: usize = 64;
    /// A withdrawal closes the records of a life, some dozens, and tells every agency for every purpose and record type
    /// they received under: ten agencies, two purposes, four types, and as much again.
    pub const CHANGES_MAX: usize = 192;
    /// An exchange rests on a case, and for each of up to 32 people of a household on a consent and on what they have
    /// restricted, under up to six epochs of the keys.
    pub const EPOCHS_MAX: usize = 256;
    /// A push has 16 recipients, an inbox's page 20 copies, one of signals 32.
    pub const ALSO_MAX: usize = 32;
    /// A record that changed concerns 16 subscriptions of each of some dozen agencies; of signals that may not be told any
    /// more, as many are looked at for one answer.
    pub const SIGNALS_MAX: usize = 512;
    /// A copy is less than the request it came with, which is at most 256 KiB, and its lock adds 100 bytes.
    pub const COPY_MAX: usize = 512 * 1024;
    /// One change: a header with 64 scope items of 1 KiB, and as much again.
    pub const TEXT_MAX: usize = 128 * 1024;
    /// A person's entries, or a case's, lie in some dozens of places.
    pub const RANGES_MAX: usize = 256;
    /// A policy bundle is some hundred files of a few KiB; a registry version is smaller.
    pub const ARTIFACT_MAX: usize = 8 * 1024 * 1024;

    /// An entry and nothing else.
    pub const fn new(draft: Draft) -> Self {
        Self {
            draft,
            guard: None,
            changes: Vec::new(),
            artifacts: Vec::new(),
            subjects: Vec::new(),
            closes: None,
            keeping: None,
            hold: None,
            parcels: Vec::new(),
            signals: Vec::new(),
            also: Vec::new(),
        }
    }

    /// What becomes of the bodies of one of its drafts.
    pub fn keeping(&self, kind: Kind) -> Keeping {
        self.keeping.unwrap_or(Keeping::of(kind))
    }

    /// The entry's own and the further ones.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }
}

/// What a draft rests on. If any stream has another epoch when the entry is committed, `fallback` is entered instead.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Stream and the epoch it had when the decision was made; a stream that does not exist has epoch 0.
    pub epochs: Vec<(String, u64)>,
    pub fallback: Draft,
}

/// The kinds of documents that are kept as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    Appeal,
    Case,
    Consent,
    /// A notice of an emergency, which waits for its review.
    Emergency,
    /// Something an agency is told and must acknowledge.
    Notice,
    /// A copy of a pushed record on its way to one recipient.
    Parcel,
    /// What was pushed to whom, and the keys pushes are known by.
    Push,
    /// What a person asked not to be shown.
    Restriction,
    /// The numbers that providers know their signals by.
    Signal,
    /// What of an owner's records of one type and half year has been told in numbers.
    Statistics,
    /// An agency's wish to be told when a record changes.
    Subscription,
}

impl StreamKind {
    pub const ALL: [Self; 11] = [
        Self::Appeal,
        Self::Case,
        Self::Consent,
        Self::Emergency,
        Self::Notice,
        Self::Parcel,
        Self::Push,
        Self::Restriction,
        Self::Signal,
        Self::Statistics,
        Self::Subscription,
    ];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Appeal => "appeal",
            Self::Case => "case",
            Self::Consent => "consent",
            Self::Emergency => "emergency",
            Self::Notice => "notice",
            Self::Parcel => "parcel",
            Self::Push => "push",
            Self::Restriction => "restriction",
            Self::Signal => "signal",
            Self::Statistics => "statistics",
            Self::Subscription => "subscription",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }
}

/// One more event of a stream.
#[derive(Clone, Debug)]
pub struct Change {
    /// The identifier of the case or consent.
    pub stream: String,
    pub kind: StreamKind,
    /// The epoch the stream has now: the number of its events. 0 makes a new stream.
    pub expected: u64,
    /// Replaces the stream's header when there is one.
    pub header: Option<String>,
    /// Becomes event number `expected + 1`.
    pub event: String,
    /// People to be found by this stream from now on.
    pub subjects: Vec<Pseudonym>,
    /// The agencies this stream waits for from now on, in place of those before; `None` leaves them as they are.
    pub waits_for: Option<Vec<AgencyId>>,
}

/// Bytes kept for ever under their SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub kind: ArtifactKind,
    pub bytes: Vec<u8>,
}

impl Artifact {
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKind {
    Genesis,
    /// What officers ordered about the log itself.
    Order,
    Policy,
    Registry,
}

impl ArtifactKind {
    pub const ALL: [Self; 4] = [Self::Genesis, Self::Order, Self::Policy, Self::Registry];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Order => "order",
            Self::Policy => "policy",
            Self::Registry => "registry",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == text)
    }
}

/// Which of the two drafts was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The guard's fallback: something the draft rested on had changed.
    Fallback,
    /// The draft itself.
    Primary,
}

/// A submission that is durable and signed for.
#[derive(Clone, Debug)]
pub struct Committed {
    pub receipt: Receipt,
    pub branch: Branch,
    /// Of the further entries, in their order.
    pub also: Vec<Receipt>,
}

/// Why nothing can be written now. Nothing may be disclosed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("the log is closed: {0}")]
    Closed(String),
    #[error("the log's queue is full")]
    QueueFull,
    /// The entry may still become durable; whoever asked must not rely on either.
    #[error("the log did not commit in time")]
    TooSlow,
}

/// Why there is no claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the claim is not one: {0}")]
    Invalid(&'static str),
    #[error("the token was used before")]
    Replayed,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl ClaimError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::Internal,
            Self::Replayed => Code::WireReplayed,
            Self::Unavailable(_) => Code::LogUnavailable,
        }
    }
}

/// Why nothing was entered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The exchange had no open claim: it was never claimed, has its outcome, or was entered as interrupted.
    #[error("the exchange is not open")]
    ClaimGone,
    /// A stream to change has another epoch than expected.
    #[error("the {} changed since it was read", .0.text())]
    Conflict(StreamKind),
    /// A hold covers some of what the order names.
    #[error("the hold `{0}` covers some of these entries")]
    Held(String),
    #[error("there is no hold `{0}`")]
    HoldUnknown(String),
    /// The log has an entry of this id and kind.
    #[error("the log has this entry already")]
    Duplicate,
    #[error("the submission is not one: {0}")]
    Invalid(&'static str),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl AppendError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Conflict(StreamKind::Appeal) => Code::AppealConflict,
            Self::Conflict(StreamKind::Case) => Code::CaseConflict,
            Self::Conflict(
                StreamKind::Consent | StreamKind::Emergency | StreamKind::Notice | StreamKind::Restriction,
            ) => Code::ConsentConflict,
            Self::Conflict(StreamKind::Parcel | StreamKind::Push) => Code::PushConflict,
            Self::Conflict(StreamKind::Signal) => Code::SignalConflict,
            Self::Conflict(StreamKind::Statistics) => Code::StatisticsConflict,
            Self::Conflict(StreamKind::Subscription) => Code::SubscriptionConflict,
            Self::ClaimGone | Self::Unavailable(_) => Code::LogUnavailable,
            Self::Held(_) => Code::LogHeld,
            Self::HoldUnknown(_) => Code::LogOrderInvalid,
            Self::Duplicate | Self::Invalid(_) => Code::Internal,
        }
    }
}
