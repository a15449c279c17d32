//! The leaf: the bytes that enter the tree. Canonical ASCII JSON with commitments only: no pseudonym, no value.
//!
//! Verifiers hash the bytes they were given. That parsing and printing gives the same bytes is a check of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, PurposeId, RecordTypeId};
use crate::json;
use crate::log::entry::{Commitments, Draft, Erases, Kind, Reason, SlotName};
use crate::log::shard::Link;
use crate::log::tree;
use crate::time::Timestamp;

/// The version of the leaf's form, its member `v`.
const VERSION: u8 = 1;

/// The largest integer every JSON reader holds exactly (RFC 8785 section 3.2.2.3, RFC 7493): 2^53 - 1.
pub const INDEX_MAX: u64 = (1 << 53) - 1;

/// What a leaf says. Public, because it only mirrors the bytes of the [`Leaf`] it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub index: u64,
    pub at: Timestamp,
    pub kind: Kind,
    pub id: ExchangeId,
    pub consumer: Option<AgencyId>,
    pub provider: Option<AgencyId>,
    pub purpose: Option<PurposeId>,
    pub record_type: Option<RecordTypeId>,
    /// A code's text. Not [`crate::code::Code`]: a verifier must read logs with codes younger than itself.
    pub code: Option<CodeText>,
    pub policy: Option<Sha256>,
    pub erases: Option<Erases>,
    /// The shard before or after, in entries of kind `open` and `freeze`.
    pub link: Option<Link>,
    pub commitments: Commitments,
}

/// The text of an error code: 1 to 64 lower-case letters, digits, dots and hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeText(Box<str>);

impl CodeText {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        ((1..=64).contains(&text.len()) && text.bytes().all(known)).then(|| Self(text.into()))
    }
}

/// One leaf: its bytes and what they say. INVARIANT: `text` is the canonical form of `content`.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    text: Box<str>,
    content: Content,
}

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafFault {
    #[error("the leaf is not the canonical form of what it says")]
    NotCanonical,
    #[error("the leaf is not JSON of the expected form: {0}")]
    NotJson(json::JsonFault),
    #[error("the leaf is larger than {} bytes", Leaf::MAX)]
    TooLarge,
    #[error("the leaf is of version {0}, which this program does not know")]
    UnknownVersion(u64),
    #[error("the member `{0}` of the leaf has a value it cannot have")]
    WrongMember(&'static str),
}

impl Leaf {
    /// 1 KiB. The longest that can be meant: an order to erase with all kinds (170), its hash (64) and the rest of it
    /// (150), three hashes more (192), id (36), the rest and all names (240): 852 bytes. An order has no parties.
    pub const MAX: usize = 1024;

    pub(super) fn of(draft: &Draft, index: u64, at: Timestamp) -> Self {
        let content = Content {
            index,
            at,
            kind: draft.kind,
            id: draft.id.clone(),
            consumer: draft.consumer.clone(),
            provider: draft.provider.clone(),
            purpose: draft.purpose.clone(),
            record_type: draft.record_type.clone(),
            code: draft.code.and_then(|code| CodeText::parse(code.text())),
            policy: draft.policy,
            erases: draft.erases.clone(),
            link: draft.link.clone(),
            commitments: draft.slots.commitments(),
        };
        let text = content.canonical().into();
        Self { text, content }
    }

    /// Reads a leaf strictly: known members only, every value in its own form, and exactly the canonical bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafFault> {
        if bytes.len() > Self::MAX {
            return Err(LeafFault::TooLarge);
        }
        // Bytes that are the canonical form of what they say need no stricter reading: an auditor reads millions.
        if let Ok(raw) = serde_json::from_slice::<Raw>(bytes)
            && raw.v == VERSION
            && let Ok(content) = Content::try_from(raw)
        {
            let text = content.canonical();
            if text.as_bytes() == bytes {
                return Ok(Self { text: text.into(), content });
            }
        }
        Err(Self::fault(bytes))
    }

    /// What is wrong with bytes that are not a leaf.
    fn fault(bytes: &[u8]) -> LeafFault {
        let value = match json::parse(bytes) {
            Ok(value) => value,
            Err(fault) => return LeafFault::NotJson(fault),
        };
        if let Some(version) = value.get("v").and_then(serde_json::Value::as_u64)
            && version != u64::from(VERSION)
        {
            return LeafFault::UnknownVersion(version);
        }
        match json::parse_as::<Raw>(bytes) {
            Ok(raw) => Content::try_from(raw).err().unwrap_or(LeafFault::NotCanonical),
            Err(fault) => LeafFault::NotJson(fault),
        }
    }

    pub const fn content(&self) -> &Content {
        &self.content
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The RFC 6962 leaf hash of the bytes.
    pub fn hash(&self) -> Sha256 {
        tree::leaf_hash(self.as_bytes())
    }

    pub const fn index(&self) -> u64 {
        self.content.index
    }

    pub const fn at(&self) -> Timestamp {
        self.content.at
    }

    pub const fn kind(&self) -> Kind {
        self.content.kind
    }

    pub const fn id(&self) -> &ExchangeId {
        &self.content.id
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Content {
    /// The one text of this leaf: [`json::canonical_of`] of its members, written without making a value of them first.
    fn canonical(&self) -> String {
        let mut out = String::with_capacity(640);
        let number = |name: &str, value: &dyn fmt::Display, out: &mut String| {
            use fmt::Write as _;
            out.push_str(if out.is_empty() { "{\"" } else { ",\"" });
            // Writing to a String cannot fail.
            let _ = write!(out, "{name}\":{value}");
        };
        let text = |name: &str, value: Option<&str>, out: &mut String| {
            if let Some(value) = value {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                json::write_text(value, out);
            }
        };
        let hash = |hash: Option<Sha256>| hash.map(|hash| hash.to_string());
        let (decision, operator, subject) = (
            hash(self.commitments.decision),
            hash(self.commitments.operator),
            hash(self.commitments.subject),
        );
        number("at", &self.at.millis(), &mut out);
        text("code", self.code.as_ref().map(CodeText::as_str), &mut out);
        text("consumer", self.consumer.as_ref().map(AgencyId::as_str), &mut out);
        text("decision", decision.as_deref(), &mut out);
        if let Some(erases) = &self.erases {
            // Few entries are orders.
            number("erases", &json::canonical_of(&RawErases::from(erases)), &mut out);
        }
        text("id", Some(self.id.as_str()), &mut out);
        number("index", &self.index, &mut out);
        text("kind", Some(self.kind.text()), &mut out);
        text("operator", operator.as_deref(), &mut out);
        text("policy", hash(self.policy).as_deref(), &mut out);
        text("provider", self.provider.as_ref().map(AgencyId::as_str), &mut out);
        text("purpose", self.purpose.as_ref().map(PurposeId::as_str), &mut out);
        text("record_type", self.record_type.as_ref().map(RecordTypeId::as_str), &mut out);
        if let Some(link) = &self.link {
            number("shard", &json::canonical_of(link), &mut out);
        }
        text("subject", subject.as_deref(), &mut out);
        number("v", &VERSION, &mut out);
        out.push('}');
        out
    }
}

/// The leaf's members as JSON has them. Absent members are left out, never `null`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields)]
struct Raw {
    v: u8,
    index: u64,
    /// Milliseconds since 1970, because an integer has one form only.
    at: i64,
    kind: Kind,
    id: ExchangeId,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    consumer: Option<AgencyId>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    provider: Option<AgencyId>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    purpose: Option<PurposeId>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    record_type: Option<RecordTypeId>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    code: Option<String>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    policy: Option<Sha256>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    erases: Option<RawErases>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    shard: Option<Link>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    decision: Option<Sha256>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    operator: Option<Sha256>,
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    subject: Option<Sha256>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawErases {
    first: u64,
    last: u64,
    slots: Vec<SlotName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<Kind>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Sha256>,
}

impl From<&Erases> for RawErases {
    fn from(erases: &Erases) -> Self {
        Self {
            first: erases.first(),
            last: erases.last(),
            slots: erases.slots().to_vec(),
            kinds: erases.kinds().map(<[Kind]>::to_vec),
            reason: erases.reason(),
            order: erases.order(),
        }
    }
}

#[cfg(test)]
impl From<&Content> for Raw {
    fn from(content: &Content) -> Self {
        Self {
            v: VERSION,
            index: content.index,
            at: content.at.millis(),
            kind: content.kind,
            id: content.id.clone(),
            consumer: content.consumer.clone(),
            provider: content.provider.clone(),
            purpose: content.purpose.clone(),
            record_type: content.record_type.clone(),
            code: content.code.as_ref().map(|code| code.as_str().to_owned()),
            policy: content.policy,
            erases: content.erases.as_ref().map(RawErases::from),
            shard: content.link.clone(),
            decision: content.commitments.decision,
            operator: content.commitments.operator,
            subject: content.commitments.subject,
        }
    }
}

impl TryFrom<Raw> for Content {
    type Error = LeafFault;

    fn try_from(raw: Raw) -> Result<Self, LeafFault> {
        if raw.index > INDEX_MAX {
            return Err(LeafFault::WrongMember("index"));
        }
        let code = match raw.code {
            Some(text) => Some(CodeText::parse(&text).ok_or(LeafFault::WrongMember("code"))?),
            None => None,
        };
        if raw.shard.as_ref().is_some_and(|link| !link.fits(raw.kind)) {
            return Err(LeafFault::WrongMember("shard"));
        }
        Ok(Self {
            index: raw.index,
            // An instant outside the years that can be written is clamped, and then the bytes differ.
            at: Timestamp::from_millis(raw.at),
            kind: raw.kind,
            id: raw.id,
            consumer: raw.consumer,
            provider: raw.provider,
            purpose: raw.purpose,
            record_type: raw.record_type,
            code,
            policy: raw.policy,
            erases: raw.erases.map(|e| erases(e, raw.index)).transpose()?,
            link: raw.shard,
            commitments: Commitments { decision: raw.decision, operator: raw.operator, subject: raw.subject },
        })
    }
}

/// An order reaches back only: the entry that gives it stands after what it erases.
fn erases(raw: RawErases, index: u64) -> Result<Erases, LeafFault> {
    let wrong = || LeafFault::WrongMember("erases");
    let mut erases = Erases::new(raw.first, raw.last, &raw.slots).ok_or_else(wrong)?;
    if let Some(kinds) = &raw.kinds {
        erases = erases.of_kinds(kinds).ok_or_else(wrong)?;
    }
    if let Some(reason) = raw.reason {
        erases = erases.because(reason);
    }
    if let Some(order) = raw.order {
        erases = erases.ordered_in(order);
    }
    let sorted = erases.slots() == raw.slots && erases.kinds() == raw.kinds.as_deref();
    if erases.last() >= index || !sorted { Err(wrong()) } else { Ok(erases) }
}

#[cfg(test)]
pub(super) mod tests;
