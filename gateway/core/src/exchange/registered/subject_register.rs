//! `/subjects/report` and `/corrections`: what a person is told of the past, and what the past turned out to be.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::notice_register::issue;
use super::restriction_register::WordAsk;
use super::{Done, Refusal, Registered, settle};
use crate::code::Code;
use crate::consent::{Capacity, Consent, Method};
use crate::correction::{Corrected, Ground, MOST_EXCHANGES};
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::{Account, End, Outcome};
use crate::exchange::verify::VerifiedRequest;
use crate::hash::Sha256;
use crate::id::{ExchangeId, FieldId, Pseudonym, PurposeId, RecordTypeId};
use crate::json;
use crate::log::entry::{Kind, Slots};
use crate::log::leaf::Leaf;
use crate::notice::{About, Past, notices};
use crate::policy::Policy;
use crate::registry::AgencyKind;
use crate::report::{self, Language, Reader, Report, Sources, StaffGround};

/// The purpose under which a person asks.
const RIGHTS: &str = "F12";

/// The body of `POST /subjects/report`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportAsk {
    pub subject: SubjectName,
    pub word: WordAsk,
    #[serde(default)]
    pub language: Language,
    /// Also which of the asking agency's own operators it was, and why that must be known.
    #[serde(default)]
    pub operators: Option<OperatorsAsk>,
}

/// An agency answers for its own staff only: who the others' operators were is asked at the others' desks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorsAsk {
    pub ground: StaffGround,
}

/// What a report is made from, besides what the rules know.
pub struct PersonPast<'a> {
    pub entries: &'a [(Leaf, Slots)],
    pub consents: &'a [Consent],
    pub policy: &'a dyn Fn(&Sha256) -> Option<std::sync::Arc<Policy>>,
}

/// The body of `POST /corrections`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectionAsk {
    /// As whom the person is in the log.
    pub subject: SubjectName,
    pub ground: Ground,
    pub record_type: RecordTypeId,
    /// Absent: all that was disclosed.
    #[serde(default)]
    pub fields: Option<Vec<FieldId>>,
    /// Absent: every disclosure of that record type by the sender.
    #[serde(default)]
    pub exchanges: Option<Vec<ExchangeId>>,
    /// Whose data they were, where that is known: they are told, too, when they ask.
    #[serde(default)]
    pub right_subject: Option<SubjectName>,
}

impl Registered<'_> {
    /// `POST /subjects/report`: to a person who stands at a desk and was identified there.
    pub fn report(&self, request: VerifiedRequest, ask: ReportAsk, past: &PersonPast<'_>) -> Outcome {
        match self.reader(&request, &ask) {
            Ok((subject, reader)) => {
                let sources = Sources {
                    registry: self.registry,
                    policy: past.policy,
                    current: self.policy,
                    entries: past.entries,
                    consents: past.consents,
                    staff_of: ask.operators.as_ref().map(|_| &request.sender.agency),
                };
                let report = report::report(&sources, reader);
                told(request, subject, &report, &ask)
            }
            Err(Refusal(code, detail)) => Outcome::fail(request, code, detail),
        }
    }

    fn reader(&self, request: &VerifiedRequest, ask: &ReportAsk) -> Result<(Pseudonym, Reader), Refusal> {
        let subject = self.subject(&ask.subject)?;
        if !matches!(request.sender.kind, AgencyKind::Asl | AgencyKind::Comune | AgencyKind::Cpi) {
            let detail = "a report is asked for at a Comune, an employment centre or a health authority";
            return Err(Refusal(Code::ExchangeNotAllowed, detail.into()));
        }
        let invalid = |detail: &str| Err(Refusal(Code::RequestInvalid, detail.to_owned()));
        if ask.word.method == Method::OralRecordedByOperator {
            return invalid("a report is given to a person who was identified by a document or a signature");
        }
        let is_parent = matches!(ask.word.capacity, Capacity::Parent | Capacity::ParentsBoth);
        if is_parent && !ask.subject.codice_fiscale.may_be_minor(request.at.date()) {
            return invalid("a parent speaks for a minor only");
        }
        if !self.word_of(&ask.word, request).is_entitled(request.at) {
            return invalid("this capacity does not speak for a person, or needs a mandate in force");
        }
        Ok((subject, Reader { capacity: ask.word.capacity, at: request.at }))
    }

    /// `POST /corrections`: by the owner of what was disclosed. `past` are the disclosures logged of the person.
    pub fn correct(&self, request: VerifiedRequest, ask: CorrectionAsk, past: &[Past]) -> Outcome {
        let right = ask.right_subject.as_ref().map(|person| self.keys.pseudonym(&person.codice_fiscale));
        let mut corrected = None;
        let mut outcome = settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            let concerned = |past: &Past| ask.concerns(past, request);
            let (about, mut changes) = (ask.about(), Vec::new());
            let found: Vec<&Past> = past.iter().filter(|past| concerned(past).is_some()).collect();
            if found.is_empty() || found.len() > MOST_EXCHANGES {
                let detail = format!(
                    "your agency has disclosed nothing such of this person, or more than {MOST_EXCHANGES} times"
                );
                return Err(Refusal(Code::RequestInvalid, detail));
            }
            let told = notices((&request.exchange, request.at), about, past, concerned);
            let mut recipients: Vec<_> = told.iter().map(|notice| notice.to.clone()).collect();
            recipients.dedup();
            let exchanges: Vec<_> = found.iter().map(|past| past.exchange.clone()).collect();
            let view = json!({ "ground": ask.ground, "exchanges": exchanges, "told": recipients });
            corrected = Some(Corrected {
                ground: ask.ground,
                exchanges,
                fields: ask.fields.clone().unwrap_or_default(),
                recipients,
            });
            changes.extend(told.into_iter().map(issue));
            let body = Map::from_iter([("correction".to_owned(), view)]);
            Ok(Done {
                subject: Some(subject),
                case: None,
                kind: Kind::Correction,
                changes,
                status: 201,
                body,
            })
        });
        if let Some(corrected) = corrected {
            let account = &mut outcome.account;
            account.decision.insert("corrects", json!(corrected));
            account.provider = Some(account.request.sender.agency.clone());
            account.record_type = Some(ask.record_type);
            account.also = right.into_iter().collect();
        }
        outcome
    }
}

impl CorrectionAsk {
    const fn about(&self) -> About {
        match self.ground {
            Ground::Rectification => About::Rectification,
            Ground::WrongPerson => About::WrongPerson,
        }
    }

    /// The fields of a past disclosure that are corrected; `None` for one that is not meant.
    fn concerns(&self, past: &Past, request: &VerifiedRequest) -> Option<Vec<FieldId>> {
        let is_meant = past.provider.as_ref() == Some(&request.sender.agency)
            && past.record_type.as_ref() == Some(&self.record_type)
            && self.exchanges.as_ref().is_none_or(|named| named.contains(&past.exchange));
        let is_named = |field: &&FieldId| self.fields.as_ref().is_none_or(|named| named.contains(field));
        let fields: Vec<_> = past.shown.iter().filter(is_named).cloned().collect();
        // Where the body was erased, nobody knows the fields, and the recipient is told all the same.
        (is_meant && (past.shown.is_empty() || !fields.is_empty())).then_some(fields)
    }
}

/// The report as the outcome of the request; the log keeps its hash.
fn told(request: VerifiedRequest, subject: Pseudonym, report: &Report, ask: &ReportAsk) -> Outcome {
    let document = json::canonical_of(report);
    let mut account = Account::new(request);
    account.subject = Some(subject);
    account.purpose = RIGHTS.parse::<PurposeId>().ok();
    let mut said =
        json!({ "sha256": Sha256::of(document.as_bytes()), "disclosures": report.disclosures.len() });
    if let (Value::Object(said), Some(operators)) = (&mut said, &ask.operators) {
        said.insert("operators".into(), json!(operators.ground));
    }
    account.decision.insert("report", said);
    let body = Map::from_iter([
        ("exchange".to_owned(), json!(account.request.exchange)),
        ("report".to_owned(), json!(report)),
        ("report_html".to_owned(), Value::String(report::html(report, ask.language))),
    ]);
    Outcome { account, end: End::Report { body } }
}
