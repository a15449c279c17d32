//! What a push says, and how it is remembered: for its sender to ask after, and to know it again under its key.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::case;
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, ExchangeId, OfficeId, PurposeId, RecordTypeId};
use crate::json;
use crate::time::Timestamp;

use super::ask::SubjectName;
use super::outcome::Account;
use super::push::Consigned;
use super::registered::{StreamChange, StreamKind};

/// The body of `POST /pushes`. The sender owns the record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub record_type: RecordTypeId,
    pub subject: SubjectName,
    pub purpose: PurposeId,
    #[serde(default)]
    pub case: Option<CaseId>,
    pub record: PushedRecord,
    pub recipients: Vec<RecipientName>,
    /// The sender's own name for this push: sent again under it, it is the same push.
    #[serde(default)]
    pub key: Option<PushKey>,
}

/// The record as the sender holds it. Neither `Serialize` nor readable: it leaves through the reduction, or not at all.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct PushedRecord(pub(in crate::exchange) Value);

impl fmt::Debug for PushedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushedRecord(..)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientName {
    pub agency: AgencyId,
    #[serde(default)]
    pub office: Option<OfficeId>,
}

/// A push's name at its sender: 1 to 64 letters, digits, `.`, `_`, `-` or `:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PushKey(String);

impl TryFrom<String> for PushKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
        if (1..=64).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text))
        } else {
            Err("expected a key of 1 to 64 letters, digits, `.`, `_`, `-` or `:`")
        }
    }
}

impl PushKey {
    /// The stream that remembers it: one for each sender and key.
    pub fn stream(&self, sender: &AgencyId) -> String {
        let digest =
            Sha256::of_parts(&[b"varco/push-key/v1\0", sender.as_str().as_bytes(), b"\0", self.0.as_bytes()]);
        format!("push-key:{digest}")
    }
}

/// A push as its sender may read it again: what was accepted for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushHeader {
    pub push: ExchangeId,
    pub sender: case::Operator,
    pub accepted: Timestamp,
    pub recipients: Vec<Addressed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressed {
    pub agency: AgencyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
    pub exchange: ExchangeId,
    /// Why there is no parcel for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
}

/// What a sender's key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyHeader {
    pub push: ExchangeId,
    pub fingerprint: String,
}

/// The push's own stream, and that of its key. A push of which nothing was accepted leaves none.
pub(in crate::exchange) fn streams(
    account: &Account,
    consigned: &[Consigned],
    fingerprint: Option<(String, String)>,
) -> Vec<StreamChange> {
    if !consigned.iter().any(Consigned::is_kept) {
        return Vec::new();
    }
    let request = &account.request;
    let sender = &request.sender;
    let header = PushHeader {
        push: request.exchange.clone(),
        sender: case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() },
        accepted: request.at,
        recipients: consigned.iter().map(Consigned::addressed).collect(),
    };
    let stream = |stream: String, header: String| StreamChange {
        kind: StreamKind::Push,
        stream,
        expected: 0,
        header: Some(header),
        event: json::canonical(&json!({ "at": request.at })),
        subjects: Vec::new(),
        waits_for: None,
    };
    let mut changes = vec![stream(header.push.to_string(), json::canonical_of(&header))];
    changes.extend(fingerprint.map(|(id, fingerprint)| {
        stream(id, json::canonical_of(&KeyHeader { push: header.push.clone(), fingerprint }))
    }));
    changes
}
