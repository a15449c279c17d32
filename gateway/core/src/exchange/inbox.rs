//! The sender's view of a push, and the recipient's inbox: what waits for it, and that it has it.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::id::ExchangeId;
use crate::log::entry::Kind;
use crate::parcel::{self, Custody, Parcel, ParcelChange, ParcelFault, State};

use super::delivery::{AuthorizedParcel, parcel_change};
use super::outcome::{Account, End, Fetched, Outcome, Salts};
use super::pushed::{Addressed, PushHeader};
use super::registered::{Done, Refusal, Registered, settle};
use super::verify::VerifiedRequest;

/// Copies in one answer: each is decided again, logged and signed. Twenty of the largest are 5 MiB.
pub const PAGE_MAX: usize = 20;

/// What is random about one hand-over of an inbox's answer.
pub struct FetchSeed {
    pub entry: ExchangeId,
    pub salts: [[u8; 32]; 3],
}

/// `GET /inbox`: the copies that wait for the agency and may still be handed over. `next` is where the following page
/// begins. Nothing has been handed over before the log has an entry for each.
pub fn inbox(
    request: VerifiedRequest,
    found: Vec<(Box<AuthorizedParcel>, FetchSeed)>,
    next: Option<ExchangeId>,
) -> Outcome {
    let mut account = Account::new(request);
    let mut parcels = Vec::with_capacity(found.len());
    let mut told = Vec::with_capacity(found.len());
    for (parcel, FetchSeed { entry, salts }) in found {
        // Whoever asks gets their own and no other's, whatever the shell has found.
        if parcel.parcel.header.recipient == account.request.sender.agency {
            told.push(json!({ "delivers": parcel.parcel.header.exchange, "entry": entry }));
            parcels.push(Fetched { parcel: *parcel, entry, salts: Salts(salts) });
        }
    }
    account.decision.insert("deliveries", Value::Array(told));
    Outcome { account, end: End::Fetch { parcels, next } }
}

impl Registered<'_> {
    /// `POST /inbox/{id}/ack`: the recipient has it, durably. Said twice it is said once.
    pub fn acknowledge_delivery(&self, request: VerifiedRequest, parcel: Option<Parcel>) -> Outcome {
        let mine = parcel.filter(|parcel| parcel.header.recipient == request.sender.agency);
        let Some(parcel) = mine else {
            return Outcome::fail(request, Code::PushUnknown, ParcelFault::Unknown.to_string());
        };
        let entry = request.exchange.clone();
        let mut outcome = settle(request, |request| {
            let (mut changes, mut after) = (Vec::new(), parcel.clone());
            if parcel.state() != State::Delivered {
                let event = parcel::Event::Delivered { at: request.at, entry };
                changes.push(parcel_change(&parcel, &event, Some(Vec::new())));
                after = parcel.clone().record(event)?;
            }
            let view = json!({ "id": parcel.header.exchange, "state": after.state() });
            let body = Map::from_iter([("delivery".to_owned(), view)]);
            let subject = Some(parcel.header.subject.clone());
            let case = parcel.header.case.clone();
            Ok(Done { subject, case, kind: Kind::Delivery, changes, status: 200, body })
        });
        let (account, header) = (&mut outcome.account, &parcel.header);
        account.provider = Some(header.sender.agency.clone());
        account.purpose = Some(header.purpose.clone());
        account.record_type = Some(header.record_type.clone());
        account.decision.insert("acknowledged", json!(header.exchange));
        if let End::Register { changes, parcels, .. } = &mut outcome.end
            && !changes.is_empty()
        {
            parcels.push(ParcelChange { parcel: header.exchange.clone(), custody: Custody::Remove });
        }
        outcome
    }

    /// `GET /pushes/{id}`: how far each recipient's copy has come, for the agency that sent it.
    pub fn read_push(
        &self,
        request: VerifiedRequest,
        push: Option<PushHeader>,
        parcels: &[Parcel],
    ) -> Outcome {
        settle(request, |request| {
            let mine = push.filter(|push| push.sender.agency == request.sender.agency);
            let push = mine.ok_or_else(|| Refusal::unknown(Code::PushUnknown))?;
            let body = push_view(&push, parcels);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 200, body })
        })
    }

    /// The same push again under its key: what became of it, and nothing is sent twice. With another content it is refused.
    pub fn repeat_push(
        &self,
        request: VerifiedRequest,
        fingerprint: &str,
        push: Option<PushHeader>,
        parcels: &[Parcel],
    ) -> Outcome {
        let is_same = request.fingerprint(self.keys).iter().any(|own| own == fingerprint);
        settle(request, |request| {
            let mine = push.filter(|push| push.sender.agency == request.sender.agency);
            let push = mine.filter(|_| is_same).ok_or_else(|| {
                let detail = "another push was sent under this key".to_owned();
                Refusal(Code::PushConflict, detail)
            })?;
            let body = push_view(&push, parcels);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 202, body })
        })
    }
}

fn push_view(push: &PushHeader, parcels: &[Parcel]) -> Map<String, Value> {
    let recipients = push.recipients.iter();
    let recipients = recipients
        .map(|to| recipient_view(to, parcels.iter().find(|parcel| parcel.header.exchange == to.exchange)));
    Map::from_iter([
        ("push".to_owned(), json!(push.push)),
        ("accepted".to_owned(), json!(push.accepted)),
        ("recipients".to_owned(), recipients.collect()),
    ])
}

fn recipient_view(to: &Addressed, parcel: Option<&Parcel>) -> Value {
    let mut view = Map::from_iter([
        ("agency".to_owned(), json!(to.agency)),
        ("office".to_owned(), json!(to.office)),
        ("exchange".to_owned(), json!(to.exchange)),
    ]);
    let mut say = |name: &str, value: Value| view.insert(name.to_owned(), value);
    match (&to.denied, parcel) {
        (Some(code), _) => {
            say("state", json!("denied"));
            say("code", json!(code));
        }
        (None, Some(parcel)) => {
            say("state", json!(parcel.state()));
            say("code", json!(parcel.code()));
            say("changed", json!(parcel.changed()));
            say("attempts", json!(parcel.attempts()));
            say("next", json!(parcel.next()));
            say("ends", json!(parcel.ends()));
        }
        // The log had a denial in its place: something it rested on changed as it was accepted.
        (None, None) => {
            say("state", json!("cancelled"));
            say("code", json!(Code::ExchangeDenied.text()));
        }
    }
    Value::Object(view)
}

impl From<ParcelFault> for Refusal {
    fn from(fault: ParcelFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}
