//! `/restrictions`: opposition, restriction and concealment by the person, and their lifting.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::notice_register::issue;
use super::{Done, Refusal, Registered, StreamChange, StreamKind, settle};
use crate::code::Code;
use crate::consent;
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::Outcome;
use crate::exchange::verify::VerifiedRequest;
use crate::id::{FieldId, RestrictionId};
use crate::json;
use crate::log::entry::Kind;
use crate::notice::{About, Past, notices};
use crate::restriction::{Change, Event, Extent, Ground, Imposed, RestrictionFault, Restrictions, Word};

/// The body of `POST /restrictions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestrictionAsk {
    pub subject: SubjectName,
    pub ground: Ground,
    #[serde(default)]
    pub extent: Extent,
    pub word: WordAsk,
}

/// The body of `POST /restrictions/{id}/events`: whoever imposed it lifts it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftAsk {
    pub subject: SubjectName,
    pub state: Lifted,
    pub word: WordAsk,
}

/// The only thing that can still happen to a restriction.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifted {
    Lifted,
}

/// Who says so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordAsk {
    pub capacity: consent::Capacity,
    #[serde(default)]
    pub by: Option<SubjectName>,
    #[serde(default)]
    pub mandate: Option<consent::Mandate>,
    pub method: consent::Method,
    pub access_point: String,
}

impl Registered<'_> {
    /// `POST /restrictions`, at any access point. `held` is what stands in the person's current stream.
    pub fn restrict(
        &self,
        request: VerifiedRequest,
        ask: RestrictionAsk,
        held: Restrictions,
        past: &[Past],
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            let (id, ground, extent) = (RestrictionId::from(request.exchange()), ask.ground, ask.extent);
            let told = notices_of(request, ground, &extent, past);
            let change = Change::Impose { id: id.clone(), ground, extent };
            let event = Event { at: request.at, word: self.word_of(&ask.word, request), change };
            let mut changes = vec![restriction_change(&held, &event)];
            held.record(event)?;
            changes.extend(told);
            let view = json!({ "id": id, "ground": ground, "at": request.at });
            let body = Map::from_iter([("restriction".to_owned(), view)]);
            Ok(Done { subject: Some(subject), case: None, kind: Kind::Consent, changes, status: 201, body })
        })
    }

    /// `POST /restrictions/{id}/events`: only where it was recorded, and only by whoever imposed it. `held` are the
    /// person's streams under every pseudonym.
    pub fn lift(
        &self,
        request: VerifiedRequest,
        id: RestrictionId,
        ask: LiftAsk,
        held: Vec<Restrictions>,
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            let Lifted::Lifted = ask.state;
            let mine = |imposed: &Imposed| {
                imposed.id == id && imposed.word.collected_by.agency == request.sender.agency
            };
            let stream = held.into_iter().find(|stream| stream.standing().iter().any(mine));
            let stream = stream.ok_or_else(|| Refusal::unknown(Code::RestrictionUnknown))?;
            let word = self.word_of(&ask.word, request);
            let event = Event { at: request.at, word, change: Change::Lift { id: id.clone() } };
            let changes = vec![restriction_change(&stream, &event)];
            stream.record(event)?;
            let view = json!({ "id": id, "lifted": request.at });
            let body = Map::from_iter([("restriction".to_owned(), view)]);
            Ok(Done { subject: Some(subject), case: None, kind: Kind::Consent, changes, status: 200, body })
        })
    }

    /// `POST /restrictions/search`: what stands for the person and was recorded by the asking agency. Others do not
    /// learn of it: a concealment is itself concealed.
    pub fn search_restrictions(
        &self,
        request: VerifiedRequest,
        ask: &SubjectName,
        held: &[Restrictions],
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(ask)?;
            let standing = held.iter().flat_map(Restrictions::standing);
            let mine = standing.filter(|imposed| imposed.word.collected_by.agency == request.sender.agency);
            let items: Vec<Value> = mine
                .map(|imposed| {
                    let Imposed { id, ground, extent, at, .. } = imposed;
                    json!({ "id": id, "ground": ground, "extent": extent, "at": at })
                })
                .collect();
            let body = Map::from_iter([("items".to_owned(), Value::Array(items))]);
            let (subject, changes) = (Some(subject), Vec::new());
            Ok(Done { subject, case: None, kind: Kind::Read, changes, status: 200, body })
        })
    }

    pub(super) fn word_of(&self, ask: &WordAsk, request: &VerifiedRequest) -> Word {
        Word {
            capacity: ask.capacity,
            by: ask.by.as_ref().map(|by| self.keys.pseudonym(&by.codice_fiscale)),
            mandate: ask.mandate.clone(),
            method: ask.method,
            collected_by: consent::Collector {
                agency: request.sender.agency.clone(),
                operator: request.sender.operator.clone(),
                access_point: ask.access_point.clone(),
            },
            request: request.digest,
        }
    }
}

/// Art. 19: whoever received restricted data is told. Of an opposition past recipients need not know, of a concealment
/// they must not.
fn notices_of(
    request: &VerifiedRequest,
    ground: Ground,
    extent: &Extent,
    past: &[Past],
) -> Vec<StreamChange> {
    if ground != Ground::Restriction {
        return Vec::new();
    }
    let concerned = |past: &Past| -> Option<Vec<FieldId>> {
        let fits = |kind: Option<&str>, wanted: Option<&str>| wanted.is_none() || kind == wanted;
        let kind = extent.record_type.as_ref().map(crate::id::RecordTypeId::as_str);
        let purpose = extent.purpose.as_ref().map(crate::id::PurposeId::as_str);
        let is_meant = fits(past.record_type.as_ref().map(crate::id::RecordTypeId::as_str), kind)
            && fits(past.purpose.as_ref().map(crate::id::PurposeId::as_str), purpose)
            && extent.recipients.as_ref().is_none_or(|recipients| recipients.contains(&past.consumer));
        let shown = past
            .shown
            .iter()
            .filter(|field| extent.fields.as_ref().is_none_or(|fields| fields.contains(field)));
        let fields: Vec<_> = shown.cloned().collect();
        (is_meant && (past.shown.is_empty() || !fields.is_empty())).then_some(fields)
    };
    let cause = (request.exchange(), request.at);
    notices(cause, About::Restriction, past, concerned).into_iter().map(issue).collect()
}

fn restriction_change(held: &Restrictions, event: &Event) -> StreamChange {
    let is_new = held.epoch() == 0;
    StreamChange {
        kind: StreamKind::Restriction,
        stream: held.stream(),
        expected: held.epoch(),
        header: is_new.then(|| json::canonical_of(&held.header)),
        event: json::canonical_of(event),
        subjects: if is_new { vec![held.header.subject.clone()] } else { Vec::new() },
        waits_for: None,
    }
}

impl From<RestrictionFault> for Refusal {
    fn from(fault: RestrictionFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}
