//! From a verified request to what may be released, field by field: one pure function of the request, what is known
//! of the person, and the compiled policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::case::{self, Case};
use crate::code::Code;
use crate::consent::{Asked, Consent};
use crate::id::{AgencyId, ConsentId, FieldId, Pseudonym};
use crate::json;
use crate::policy::record::RecordType;
use crate::policy::reduce::{self, FieldOutcome, Findings};
use crate::policy::{Facts, Party, Plan, Policy, Question, Ruling};
use crate::registry::{Deployment, Registry};
use crate::restriction::{self, Restrictions};
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::Timestamp;
use crate::view::pseudonym::PairKey;
use crate::view::transform::Context;
use crate::wire::Evidence;

use super::ask::Pull;
use super::outcome::{Account, Disclosed, End, Outcome, PolicyStamp, Refused};
use super::record::AgencyRecord;
use super::registered::wrong_world;
use super::verify::VerifiedRequest;

/// What the gateway knows when it decides, read by the shell.
pub struct Known<'a> {
    pub registry: &'a Registry,
    pub policy: &'a Policy,
    /// The subject's pseudonyms in every epoch, the current one first.
    pub pseudonyms: Vec<Pseudonym>,
    pub consents: &'a [Consent],
    /// The person's restrictions under each of the pseudonyms, also where there are none.
    pub restrictions: &'a [Restrictions],
    /// The case the request names, if it exists.
    pub case: Option<&'a Case>,
}

/// The answer of [`authorize`].
#[derive(Debug)]
pub enum Authorized {
    Deny(Box<Outcome>),
    Permit(Box<AuthorizedExchange>),
}

/// A pull of which at least one field may be released. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct AuthorizedExchange {
    pub(in crate::exchange) account: Account,
    pub(in crate::exchange) pull: Pull,
    pub(in crate::exchange) plan: Plan,
    /// Streams and epochs the decision rests on.
    pub(in crate::exchange) epochs: Vec<(String, u64)>,
    /// The people of the case, whom list fields may name.
    pub(in crate::exchange) household: BTreeSet<Pseudonym>,
}

/// Decides. Every denial names its code; a denied field names its layer and reason, unless it must not be told apart
/// from an absent one.
pub fn authorize(request: VerifiedRequest, pull: Pull, known: &Known<'_>) -> Authorized {
    let now = request.at;
    let mut account = Account::new(request);
    account.provider = Some(pull.provider.clone());
    account.purpose = Some(pull.purpose.clone());
    account.record_type = Some(pull.record_type.clone());
    account.case.clone_from(&pull.case);
    account.policy =
        Some(PolicyStamp { version: known.policy.version().to_owned(), sha256: known.policy.sha256() });
    if pull.subject.codice_fiscale.is_synthetic() != (known.registry.deployment == Deployment::Test) {
        return deny(account, Code::SubjectWrongWorld, wrong_world(known.registry.deployment));
    }
    account.subject = known.pseudonyms.first().cloned();
    // An unknown provider and a suspended one look like any other refusal.
    let provider = known.registry.agency(&pull.provider);
    let provider = provider
        .filter(|agency| agency.is_active(now) && !known.registry.is_suspended(&agency.id, None, now));
    let Some(provider) = provider else {
        return deny(account, Code::ExchangeNotAllowed, "there is no such provider to ask");
    };
    let facts = facts(
        &account.request,
        &pull,
        known,
        Party { agency: provider.id.clone(), kind: provider.kind, office: None },
    );
    account.decision = decision(now, &pull, &facts);
    let question = Question {
        record_type: &pull.record_type,
        purpose: &pull.purpose,
        requested: pull.fields.as_deref(),
        facts: &facts,
        now,
    };
    match known.policy.decide(&question) {
        Err(refusal) => deny(account, refusal.code(), &refusal.to_string()),
        Ok(plan) if plan.is_empty() => {
            let outcomes = reduce::outcomes(&plan, &Findings::default()).iter().map(outcome_value).collect();
            deny_fields(account, outcomes)
        }
        Ok(plan) => {
            let epochs = epochs(&plan, &facts, known.restrictions);
            let household = known.case.map(|case| case.subjects().clone()).unwrap_or_default();
            Authorized::Permit(Box::new(AuthorizedExchange { account, pull, plan, epochs, household }))
        }
    }
}

fn facts(request: &VerifiedRequest, pull: &Pull, known: &Known<'_>, provider: Party) -> Facts {
    let sender = &request.sender;
    let asked = Asked {
        purpose: &pull.purpose,
        record_type: &pull.record_type,
        consumer: &sender.agency,
        office: sender.office.as_ref(),
    };
    let narrows = restriction::Asked {
        purpose: &pull.purpose,
        record_type: &pull.record_type,
        consumer: &sender.agency,
    };
    let asks = case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() };
    Facts {
        provider,
        consumer: Party { agency: sender.agency.clone(), kind: sender.kind, office: sender.office.clone() },
        case: known.case.and_then(|case| case.fact(&known.pseudonyms, &asks, request.at)),
        consents: known.consents.iter().flat_map(|consent| consent.facts(&asked, request.at)).collect(),
        restrictions: known.restrictions.iter().flat_map(|held| held.facts(&narrows, request.at)).collect(),
        acts: Vec::new(),
    }
}

/// What replay needs, apart from the policy, which the entry names by hash.
fn decision(now: Timestamp, pull: &Pull, facts: &Facts) -> Map<String, Value> {
    let mut decision = Map::new();
    decision.insert("at".into(), json!(now));
    decision.insert("record_type".into(), json!(pull.record_type));
    decision.insert("purpose".into(), json!(pull.purpose));
    decision.insert("requested".into(), json!(pull.fields));
    decision.insert("facts".into(), json!(facts));
    decision
}

fn deny(account: Account, code: Code, detail: &str) -> Authorized {
    let refused = Refused { code, detail: detail.to_owned(), fields: Vec::new() };
    Authorized::Deny(Box::new(Outcome { account, end: End::Deny(refused) }))
}

fn deny_fields(account: Account, fields: Vec<Value>) -> Authorized {
    Authorized::Deny(Box::new(nothing_left(account, fields)))
}

fn nothing_left(account: Account, fields: Vec<Value>) -> Outcome {
    let detail = "no field of the record may be released".to_owned();
    Outcome { account, end: End::Deny(Refused { code: Code::ExchangeDenied, detail, fields }) }
}

/// What the decision rests on: the consents it uses, the case it was asked under, and that the person has restricted
/// nothing more. If any of them has another epoch
/// when the log commits, the decision is void.
fn epochs(plan: &Plan, facts: &Facts, restrictions: &[Restrictions]) -> Vec<(String, u64)> {
    let consents = plan.consents().iter().map(|(id, epoch)| (id.to_string(), *epoch));
    let case = facts.case.iter().map(|case| (case.case.to_string(), case.epoch));
    consents.chain(case).chain(restrictions.iter().map(|held| (held.stream(), held.epoch()))).collect()
}

/// Which of the fields that left rest on which consent: whom to tell when it ends.
fn rests_on(plan: &Plan, views: &Map<String, Value>) -> BTreeMap<ConsentId, Vec<FieldId>> {
    let mut found: BTreeMap<ConsentId, Vec<FieldId>> = BTreeMap::new();
    for planned in &plan.fields {
        let Ruling::Show { consent: Some(consent), .. } = planned.ruling else { continue };
        let (Some(field), Some((id, _))) =
            (plan.record_type.field(planned.field), plan.consents().get(consent))
        else {
            continue;
        };
        if views.contains_key(field.id.as_str()) {
            found.entry(id.clone()).or_default().push(field.id.clone());
        }
    }
    found
}

/// A field's outcome as answer and log say it.
pub(super) fn outcome_value(outcome: &FieldOutcome) -> Value {
    let mut said = json!(outcome.outcome);
    if let Value::Object(members) = &mut said {
        members.insert("name".into(), json!(outcome.field));
    }
    said
}

impl AuthorizedExchange {
    pub const fn at(&self) -> Timestamp {
        self.account.request.at
    }

    pub const fn exchange(&self) -> &crate::id::ExchangeId {
        &self.account.request.exchange
    }

    pub const fn consumer(&self) -> &AgencyId {
        &self.account.request.sender.agency
    }

    pub const fn provider(&self) -> &AgencyId {
        &self.pull.provider
    }

    pub const fn pull(&self) -> &Pull {
        &self.pull
    }

    /// Who is meant. Only for the message to the provider.
    pub const fn subject(&self) -> &CodiceFiscale {
        &self.pull.subject.codice_fiscale
    }

    /// Who asks, for the provider's own evidence.
    pub fn evidence(&self) -> Evidence {
        let sender = &self.account.request.sender;
        Evidence {
            operator: sender.operator.clone(),
            location: sender.location.clone(),
            loa: sender.assurance,
        }
    }

    /// The fields to ask the provider for: those that may be released, and the control fields of the record type.
    pub fn to_fetch(&self) -> Vec<FieldId> {
        self.plan.to_fetch()
    }

    pub const fn record_type(&self) -> &Arc<RecordType> {
        &self.plan.record_type
    }

    /// Reduces what the provider answered to what may leave. Values may narrow further, never widen.
    pub fn reduce(self, record: AgencyRecord, keys: &SubjectKeys) -> Outcome {
        let Self { mut account, pull, plan, epochs, household } = self;
        let (epoch, owner_key) = keys.owner_key(&pull.provider);
        let recipient = account.request.sender.agency.clone();
        let pair = PairKey::new(owner_key, pull.provider.clone(), recipient.clone(), epoch.into());
        let subject = &pull.subject.codice_fiscale;
        let context = Context {
            recipient: &recipient,
            pair: Some(&pair),
            is_subject: &|text| text.parse::<CodiceFiscale>().is_ok_and(|person| person == *subject),
            is_in_case: &|text| {
                let person = text.parse::<CodiceFiscale>();
                person.is_ok_and(|person| {
                    keys.all(&person).iter().any(|pseudonym| household.contains(pseudonym))
                })
            },
        };
        let reduced = reduce::reduce(&plan, record.values, &context);
        account.decision.insert("findings".into(), json!(reduced.findings));
        account.decision.insert("source".into(), json!(record.said.digest));
        account.decision.insert("source_by".into(), json!(record.said.by));
        account.decision.insert("source_of".into(), json!(record.said.of));
        let fields: Vec<Value> = reduced.outcomes.iter().map(outcome_value).collect();
        let views: Map<String, Value> = reduced.outcomes.iter().filter_map(shown).collect();
        if views.is_empty() {
            return nothing_left(account, fields);
        }
        account.decision.insert("rests_on".into(), json!(rests_on(&plan, &views)));
        let record = json::canonical(&Value::Object(reduced.into_record()));
        Outcome { account, end: End::Disclose(Disclosed { record, fields, views, epochs }) }
    }

    /// The provider could not be asked, or did not answer as it must.
    pub fn fail(self, code: Code, detail: impl Into<String>) -> Outcome {
        Outcome { account: self.account, end: End::Fail { code, detail: detail.into() } }
    }
}

fn shown(outcome: &FieldOutcome) -> Option<(String, Value)> {
    match &outcome.outcome {
        reduce::Outcome::Shown { view, .. } => Some((outcome.field.to_string(), json!(view))),
        reduce::Outcome::Absent | reduce::Outcome::Unavailable | reduce::Outcome::Withheld { .. } => None,
    }
}
