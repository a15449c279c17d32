//! `/notices`: who is told that what they received has ended, and who has not acknowledged it yet.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Done, Refusal, Registered, StreamChange, StreamKind, operator, settle};
use crate::code::Code;
use crate::consent::{Consent, ScopeItem, State};
use crate::emergency::{Emergency, SealedReason, Verdict};
use crate::exchange::ask::Pull;
use crate::exchange::outcome::Outcome;
use crate::exchange::verify::VerifiedRequest;
use crate::id::{AgencyId, FieldId, NoticeId};
use crate::json;
use crate::log::entry::Kind;
use crate::notice::{self, About, Notice, NoticeFault, Past, Served};
use crate::time::Timestamp;

/// The body of `POST /notices/{id}/ack`: nothing, but signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckAsk {}

/// The body of `POST /notices/{id}/review`: what the owner found of an emergency.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewAsk {
    pub verdict: Verdict,
}

/// A notice that waits, and what the log keeps sealed for whoever it was issued to.
#[derive(Debug)]
pub struct Waiting {
    pub served: Served,
    pub reasons: Vec<SealedReason>,
}

/// A record before and after an event.
pub(super) struct Closing<'a> {
    pub before: &'a Consent,
    pub after: &'a Consent,
}

impl Closing<'_> {
    /// The items that were open and are not any more.
    fn items(&self, now: Timestamp) -> impl Iterator<Item = &ScopeItem> {
        let closes = move |item: &&ScopeItem| {
            self.before.state(&item.item, now).is_valid() && !self.after.state(&item.item, now).is_valid()
        };
        self.before.header.scope.iter().filter(closes)
    }

    /// What of a past disclosure rested on them.
    fn concerns(&self, past: &Past, now: Timestamp) -> Option<Vec<FieldId>> {
        let is_same = |item: &ScopeItem| {
            past.purpose.as_ref() == Some(&item.purpose)
                && past.record_type.as_ref() == Some(&item.record_type)
        };
        if !self.items(now).any(is_same) {
            return None;
        }
        let is_erased = past.shown.is_empty();
        let fields = past.rested_on.get(&self.before.header.id);
        if is_erased { Some(Vec::new()) } else { fields.cloned() }
    }
}

/// The notices that closing these records calls for, and a word to the collecting agency's officer where a withdrawal
/// only suspends.
pub(super) fn notices_of(
    closed: &[Closing<'_>],
    past: &[Past],
    request: &VerifiedRequest,
) -> Vec<StreamChange> {
    let (cause, now) = ((request.exchange(), request.at), request.at);
    let concerned = |past: &Past| {
        let fields: Vec<_> = closed.iter().filter_map(|closing| closing.concerns(past, now)).collect();
        (!fields.is_empty()).then(|| fields.concat())
    };
    let mut notices = notice::notices(cause, About::Withdrawal, past, concerned);
    for closing in closed {
        let is_suspended = |item: &&ScopeItem| closing.after.state(&item.item, now) == State::Suspended;
        let collector = closing.before.events().first().map(|event| event.collected_by.agency.clone());
        if let (Some(item), Some(to)) = (closing.items(now).find(is_suspended), collector) {
            notices.push(Notice {
                id: NoticeId::of(request.exchange(), &["suspension", closing.before.header.id.as_str()]),
                about: About::Suspension,
                issued: now,
                to,
                provider: None,
                record_type: Some(item.record_type.clone()),
                purpose: Some(item.purpose.clone()),
                fields: Vec::new(),
                exchanges: Vec::new(),
                emergency: None,
            });
        }
    }
    notices.into_iter().map(issue).collect()
}

/// An emergency, told to the owner of the data in the same transaction: it waits until it is reviewed.
pub(in crate::exchange) fn alert(
    request: &VerifiedRequest,
    pull: &Pull,
    emergency: Emergency,
    views: &Map<String, Value>,
) -> StreamChange {
    issue(Notice {
        id: NoticeId::of(request.exchange(), &["emergency"]),
        about: About::Emergency,
        issued: request.at,
        to: pull.provider.clone(),
        provider: Some(pull.provider.clone()),
        record_type: Some(pull.record_type.clone()),
        purpose: Some(pull.purpose.clone()),
        fields: views.keys().filter_map(|field| field.parse().ok()).collect(),
        exchanges: vec![request.exchange().clone()],
        emergency: Some(emergency),
    })
}

/// A notice as a stream that waits for its recipient, and shows up at the provider's until it is acknowledged.
pub(in crate::exchange) fn issue(notice: Notice) -> StreamChange {
    let by = notice.emergency.as_ref().map(|emergency| emergency.by.clone());
    let waits_for: BTreeSet<AgencyId> =
        std::iter::once(notice.to.clone()).chain(notice.provider.clone()).chain(by).collect();
    let header = json::canonical_of(&notice);
    let (served, event) = Served::issue(notice);
    StreamChange {
        kind: stream_kind(&served.notice),
        stream: served.notice.id.to_string(),
        expected: 0,
        header: Some(header),
        event: json::canonical_of(&event),
        subjects: Vec::new(),
        waits_for: Some(waits_for.into_iter().collect()),
    }
}

fn stream_kind(notice: &Notice) -> StreamKind {
    if notice.about == About::Emergency { StreamKind::Emergency } else { StreamKind::Notice }
}

/// A notice as its list shows it: with what became of it, and for its addressee what is sealed to their officers.
fn shown(waiting: &Waiting, reader: &AgencyId, now: Timestamp) -> Value {
    let served = &waiting.served;
    let mut view = json!(served.notice);
    if let (Value::Object(view), Some(emergency)) = (&mut view, &served.notice.emergency) {
        view.insert("acknowledged".into(), json!(served.acknowledged));
        view.insert("overdue".into(), json!(emergency.review_by <= now));
        if served.notice.to == *reader {
            view.insert("reason".into(), json!(waiting.reasons));
        }
    }
    view
}

impl Registered<'_> {
    /// `GET /notices`: those the agency must acknowledge, and those about its data that others have not acknowledged
    /// yet, for its data protection officer.
    pub fn list_notices(&self, request: VerifiedRequest, waiting: &[Waiting]) -> Outcome {
        settle(request, |request| {
            let me = &request.sender.agency;
            let (received, sent): (Vec<&Waiting>, Vec<&Waiting>) =
                waiting.iter().partition(|waiting| waiting.served.notice.to == *me);
            let view = |waiting: Vec<&Waiting>| -> Value {
                waiting.into_iter().map(|waiting| shown(waiting, me, request.at)).collect()
            };
            let body = Map::from_iter([
                ("received".to_owned(), view(received)),
                ("unacknowledged".to_owned(), view(sent)),
            ]);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 200, body })
        })
    }

    /// `POST /notices/{id}/ack`.
    pub fn acknowledge(&self, request: VerifiedRequest, served: Option<Served>) -> Outcome {
        settle(request, |request| {
            let mine = served.filter(|served| served.notice.to == request.sender.agency);
            let served = mine.ok_or_else(|| Refusal::unknown(Code::NoticeUnknown))?;
            let by = operator(&request.sender);
            let event = notice::Event::Acknowledged { at: request.at, by, request: request.digest };
            // Knowing of an emergency is not reviewing it.
            let is_done = served.notice.emergency.is_none();
            let change = notice_change(&served, &event, is_done.then(Vec::new));
            let served = served.record(&event)?;
            let view = json!({ "id": served.notice.id, "acknowledged": served.acknowledged });
            let body = Map::from_iter([("notice".to_owned(), view)]);
            let changes = vec![change];
            Ok(Done { subject: None, case: None, kind: Kind::Consent, changes, status: 200, body })
        })
    }
}

impl Registered<'_> {
    /// `POST /notices/{id}/review`: by the owner of the data. What was not justified is told to the agency that asked.
    pub fn review(&self, request: VerifiedRequest, ask: &ReviewAsk, served: Option<Served>) -> Outcome {
        settle(request, |request| {
            let mine = served.filter(|served| served.notice.to == request.sender.agency);
            let served = mine.ok_or_else(|| Refusal::unknown(Code::NoticeUnknown))?;
            let by = operator(&request.sender);
            let (at, verdict) = (request.at, ask.verdict);
            let event = notice::Event::Reviewed { at, by, request: request.digest, verdict };
            let mut changes = vec![notice_change(&served, &event, Some(Vec::new()))];
            let served = served.record(&event)?;
            if let (Verdict::Unjustified, Some(emergency)) = (verdict, &served.notice.emergency) {
                changes.push(issue(Notice {
                    id: NoticeId::of(request.exchange(), &["unjustified"]),
                    about: About::Unjustified,
                    issued: at,
                    to: emergency.by.clone(),
                    emergency: None,
                    ..served.notice.clone()
                }));
            }
            let view = json!({ "id": served.notice.id, "reviewed": at, "verdict": verdict });
            let body = Map::from_iter([("notice".to_owned(), view)]);
            Ok(Done { subject: None, case: None, kind: Kind::Consent, changes, status: 200, body })
        })
    }
}

fn notice_change(served: &Served, event: &notice::Event, waits_for: Option<Vec<AgencyId>>) -> StreamChange {
    StreamChange {
        kind: stream_kind(&served.notice),
        stream: served.notice.id.to_string(),
        expected: served.epoch,
        header: None,
        event: json::canonical_of(event),
        subjects: Vec::new(),
        waits_for,
    }
}

impl From<NoticeFault> for Refusal {
    fn from(fault: NoticeFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}
