//! A whole household asked for at once: one request, one exchange for each member, each with its own entry in the log, so
//! that one can be erased alone.
//!
//! What one member's control fields hide is hidden for all. Of a member who gets nothing the answer does not say why.

use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, SignError, Stamp, member, sign_body};
use super::ask::{Pull, SubjectName};
use super::authorize::AuthorizedExchange;
use super::outcome::{Account, End, LoggedOutcome, Outcome, Refused};
use super::record::AgencyRecord;
use super::verify::{Sender, VerifiedRequest};
use crate::code::Code;
use crate::id::{AgencyId, CaseId, ExchangeId, FieldId, PurposeId, RecordTypeId};
use crate::json;
use crate::log::entry::Kind;
use crate::policy::reduce;
use crate::subject::SubjectKeys;

/// As many as a case may have subjects; households are far smaller.
pub const MOST_MEMBERS: usize = crate::case::MOST_SUBJECTS;

/// The body of `POST /pulls/household`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HouseholdPull {
    pub record_type: RecordTypeId,
    pub members: Vec<SubjectName>,
    pub provider: AgencyId,
    pub purpose: PurposeId,
    #[serde(default)]
    pub case: Option<CaseId>,
    /// Absent: every field of the record type.
    #[serde(default)]
    pub fields: Option<Vec<FieldId>>,
}

/// A household's request taken apart: the request itself, which waits for the members' outcomes, and one exchange for each.
#[derive(Debug)]
pub struct Gathered {
    request: VerifiedRequest,
    pull: Envelope,
    members: Vec<ExchangeId>,
}

/// What the request says of all members alike.
#[derive(Debug)]
struct Envelope {
    record_type: RecordTypeId,
    provider: AgencyId,
    purpose: PurposeId,
    case: Option<CaseId>,
}

/// The request, and one pull for each member.
pub type Parted = (Gathered, Vec<(VerifiedRequest, Pull)>);

impl HouseholdPull {
    /// One pull for each member, under the identifiers given. A list that is none becomes the request's outcome.
    pub fn part(
        self,
        request: VerifiedRequest,
        ids: impl Iterator<Item = ExchangeId>,
    ) -> Result<Parted, Box<Outcome>> {
        let invalid =
            |request, detail: &str| Err(Box::new(Outcome::fail(request, Code::RequestInvalid, detail)));
        if self.members.is_empty() || self.members.len() > MOST_MEMBERS {
            return invalid(request, &format!("a household has 1 to {MOST_MEMBERS} members"));
        }
        let mut codes: Vec<_> = self.members.iter().map(|member| &member.codice_fiscale).collect();
        codes.sort();
        if codes.iter().zip(codes.iter().skip(1)).any(|(one, next)| one == next) {
            return invalid(request, "a member is listed twice");
        }
        let pull = |subject: SubjectName| Pull {
            record_type: self.record_type.clone(),
            subject,
            provider: self.provider.clone(),
            purpose: self.purpose.clone(),
            case: self.case.clone(),
            fields: self.fields.clone(),
            emergency: None,
        };
        let pulls: Vec<_> = self.members.into_iter().map(pull).collect();
        let parts: Vec<_> = pulls.into_iter().zip(ids).map(|(pull, id)| (request.part(id), pull)).collect();
        let members = parts.iter().map(|(part, _)| part.exchange.clone()).collect();
        let pull = Envelope {
            record_type: self.record_type,
            provider: self.provider,
            purpose: self.purpose,
            case: self.case,
        };
        Ok((Gathered { request, pull, members }, parts))
    }
}

impl VerifiedRequest {
    /// The same request as one member's exchange. Only a household's request is ever taken apart.
    fn part(&self, exchange: ExchangeId) -> Self {
        Self {
            sender: self.sender.clone(),
            exchange,
            at: self.at,
            body: Vec::new(),
            digest: self.digest,
            seal: self.seal,
            issuer: self.issuer.clone(),
            tokens: self.tokens.clone(),
            expires: self.expires,
            within: Some(self.exchange.clone()),
        }
    }
}

impl Gathered {
    pub const fn sender(&self) -> &Sender {
        &self.request.sender
    }

    /// The request cannot be carried through for any member.
    pub fn fail(self, code: Code) -> Outcome {
        Outcome::fail(self.request, code, code.title())
    }

    /// The request's own outcome: which exchanges it became. It names no person.
    pub fn outcome(self) -> Outcome {
        let mut account = Account::new(self.request);
        account.decision.insert("members", json!(self.members));
        account.provider = Some(self.pull.provider);
        account.purpose = Some(self.pull.purpose);
        account.record_type = Some(self.pull.record_type);
        account.case = self.pull.case;
        let body = serde_json::Map::from_iter([("exchange".to_owned(), json!(account.request.exchange))]);
        Outcome {
            account,
            end: End::Register {
                kind: Kind::Read,
                changes: Vec::new(),
                parcels: Vec::new(),
                signals: Vec::new(),
                status: 200,
                body,
            },
        }
    }
}

/// Reduces the records of all members that one was fetched for, in their order.
pub fn reduce_household(
    fetched: Vec<(AuthorizedExchange, AgencyRecord)>,
    keys: &SubjectKeys,
) -> Vec<Outcome> {
    let mut told: Vec<FieldId> = Vec::new();
    for (exchange, record) in &fetched {
        told.extend(reduce::controls_of(exchange.record_type(), &record.values));
    }
    told.sort();
    told.dedup();
    fetched.into_iter().map(|(exchange, record)| exchange.reduce_among(record, keys, &told)).collect()
}

impl Outcome {
    /// Of a household's member who gets nothing, neither the answer nor the leaf says why: not in the case, not agreed,
    /// not known to the provider, all look alike. The body of the entry does say, for those who may read it.
    pub(super) fn left_out(mut self) -> Self {
        if self.account.request.within.is_none() {
            return self;
        }
        let (code, fields) = match self.end {
            End::Deny(refused) => (refused.code, refused.fields),
            End::Fail { code: Code::ExchangeSubjectUnknown, .. } => {
                (Code::ExchangeSubjectUnknown, Vec::new())
            }
            end @ (End::Disclose(_)
            | End::Fail { .. }
            | End::Fetch { .. }
            | End::Push { .. }
            | End::Register { .. }
            | End::Report { .. }
            | End::Signals { .. }
            | End::Statistics { .. }) => {
                return Self { end, ..self };
            }
        };
        self.account.decision.insert("refused", json!(code.text()));
        let detail = "nothing may be released of this member".to_owned();
        Self { end: End::Deny(Refused { code: Code::ExchangeDenied, detail, fields }), ..self }
    }
}

impl LoggedOutcome {
    /// Signs the answer of a household's request: its own receipt, and what became of each member in the order asked.
    pub fn sign_household(self, members: Vec<Self>, stamp: &Stamp<'_>) -> Result<Answer, SignError> {
        let exchange = json::canonical(&json!(self.outcome.account.request.exchange));
        let receipt = json::canonical(&json!(self.receipt.to_text()));
        let members = members.into_iter().map(|one| member(one, stamp)).collect::<Result<Vec<_>, _>>()?;
        let members = format!("[{}]", members.join(","));
        let body = json::object(&[("exchange", &exchange), ("members", &members), ("receipt", &receipt)]);
        sign_body(self.outcome.account, (200, body), "gathered", None, stamp)
    }
}
