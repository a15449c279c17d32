//! `/notices`: who is told that what they received has ended, and who has not acknowledged it yet.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Done, Refusal, Registered, StreamChange, StreamKind, operator, settle};
use crate::code::Code;
use crate::consent::{Consent, ScopeItem, State};
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
            });
        }
    }
    notices.into_iter().map(issue).collect()
}

/// A notice as a stream that waits for its recipient, and shows up at the provider's until it is acknowledged.
pub(in crate::exchange) fn issue(notice: Notice) -> StreamChange {
    let waits_for: Vec<AgencyId> =
        std::iter::once(notice.to.clone()).chain(notice.provider.clone()).collect();
    let header = json::canonical_of(&notice);
    let (served, event) = Served::issue(notice);
    StreamChange {
        kind: StreamKind::Notice,
        stream: served.notice.id.to_string(),
        expected: 0,
        header: Some(header),
        event: json::canonical_of(&event),
        subjects: Vec::new(),
        waits_for: Some(waits_for),
    }
}

impl Registered<'_> {
    /// `GET /notices`: those the agency must acknowledge, and those about its data that others have not acknowledged
    /// yet, for its data protection officer.
    pub fn list_notices(&self, request: VerifiedRequest, waiting: &[Served]) -> Outcome {
        settle(request, |request| {
            let (received, sent): (Vec<&Served>, Vec<&Served>) =
                waiting.iter().partition(|served| served.notice.to == request.sender.agency);
            let view = |served: Vec<&Served>| -> Value {
                served.into_iter().map(|served| json!(served.notice)).collect()
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
            let change = StreamChange {
                kind: StreamKind::Notice,
                stream: served.notice.id.to_string(),
                expected: served.epoch,
                header: None,
                event: json::canonical_of(&event),
                subjects: Vec::new(),
                waits_for: Some(Vec::new()),
            };
            let served = served.record(&event)?;
            let view = json!({ "id": served.notice.id, "acknowledged": served.acknowledged });
            let body = Map::from_iter([("notice".to_owned(), view)]);
            let changes = vec![change];
            Ok(Done { subject: None, case: None, kind: Kind::Consent, changes, status: 200, body })
        })
    }
}

impl From<NoticeFault> for Refusal {
    fn from(fault: NoticeFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}
