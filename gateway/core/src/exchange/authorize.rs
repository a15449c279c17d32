//! From a verified request to what may be released, field by field: one pure function of the request, what is known
//! of the person, and the compiled policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::appeal::{self, Appeal};
use crate::case::{self, Case, CaseFact};
use crate::code::Code;
use crate::consent::{self, Asked, Consent, RestrictionEffect};
use crate::emergency::{Emergency, SealedReason};
use crate::id::{AgencyId, ConsentId, FieldId, Pseudonym, PurposeId, RecordTypeId};
use crate::json;
use crate::policy::record::{AgencyValues, RecordType};
use crate::policy::reduce::{self, FieldOutcome, Findings, Reduced};
use crate::policy::{Facts, MemberFacts, Party, Plan, Policy, Question, Ruling};
use crate::registry::{Deployment, Registry};
use crate::restriction::{self, Restrictions};
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::Timestamp;
use crate::view::pseudonym::PairKey;
use crate::view::transform::Context;
use crate::wire::Evidence;

use super::ask::Pull;
use super::grounds::{Grounds, Topic};
use super::outcome::{Account, Disclosed, End, Outcome, PolicyStamp, Refused};
use super::record::AgencyRecord;
use super::registered::{alert, wrong_world};
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
    /// The person's appeals, whatever became of them.
    pub appeals: &'a [Appeal],
    /// The case the request names, if it exists.
    pub case: Option<&'a Case>,
    /// The others of the household, as far as the gateway knows it: the people of the case, and those asked for together.
    pub household: &'a [Housemate],
    /// An emergency's reason, sealed to each officer of the provider who can read it.
    pub reasons: &'a [SealedReason],
}

/// Another member of the household. Fields that tell of all of them need every one's agreement.
#[derive(Clone, Debug)]
pub enum Housemate {
    Known {
        consents: Vec<Consent>,
        restrictions: Vec<Restrictions>,
    },
    /// Recorded under a key epoch that may not be all there is of the person: nothing about them may be shown, because
    /// what they have restricted cannot be looked up.
    Unknown,
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
    /// Told to the owner if anything is disclosed.
    pub(in crate::exchange) emergency: Option<Emergency>,
}

/// Decides. Every denial names its code; a denied field names its layer and reason, unless it must not be told apart
/// from an absent one.
pub fn authorize(request: VerifiedRequest, pull: Pull, known: &Known<'_>) -> Authorized {
    authorize_as(request, pull, known, Concealment::Counts)
}

/// Whether what a person asked to be concealed takes part in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concealment {
    Counts,
    /// Nothing is fetched or shown on the strength of this decision, so that an answer that depended on concealments would
    /// tell of them what an absent value never can.
    Unseen,
}

/// The same decision, for a pull or for what stands for later ones.
pub(super) fn authorize_as(
    request: VerifiedRequest,
    pull: Pull,
    known: &Known<'_>,
    concealment: Concealment,
) -> Authorized {
    let now = request.at;
    let mut account = Account::new(request);
    account.provider = Some(pull.provider.clone());
    account.purpose = Some(pull.purpose.clone());
    account.record_type = Some(pull.record_type.clone());
    account.case.clone_from(&pull.case);
    account.policy = Some(policy_stamp(known));
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
    let emergency = match emergency(&account.request, &pull, known) {
        Ok(emergency) => emergency,
        Err(code) => return fail(account, code),
    };
    let sender = &account.request.sender;
    let asks = case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() };
    let asks = Asks {
        record_type: &pull.record_type,
        purpose: &pull.purpose,
        consumer: Party { agency: sender.agency.clone(), kind: sender.kind, office: sender.office.clone() },
        provider: Party { agency: provider.id.clone(), kind: provider.kind, office: None },
        case: known.case.and_then(|case| case.fact(&known.pseudonyms, &asks, now)),
    };
    let facts = facts(asks, known, now).seen(concealment);
    let topic =
        Topic { record_type: &pull.record_type, purpose: &pull.purpose, requested: pull.fields.as_deref() };
    account.decision = Grounds::of(topic, &facts, known.policy, now);
    if let Some(emergency) = &emergency {
        let said = json!({ "declared": emergency, "reason": known.reasons });
        account.decision.insert("emergency", said);
    }
    let question = Question {
        requested: pull.fields.as_deref(),
        ..question(&pull.record_type, &pull.purpose, &facts, now)
    };
    match known.policy.decide(&question) {
        Err(refusal) => deny(account, refusal.code(), &refusal.to_string()),
        Ok(plan) if plan.is_empty() => {
            let outcomes = reduce::outcomes(&plan, &Findings::default()).iter().map(outcome_value).collect();
            deny_fields(account, outcomes)
        }
        Ok(plan) => {
            let epochs = epochs(&plan, &facts, known);
            account.also = concerned(&plan, known, account.subject.as_ref());
            let household = known.case.map(|case| case.subjects().clone()).unwrap_or_default();
            let permitted = AuthorizedExchange { account, pull, plan, epochs, household, emergency };
            Authorized::Permit(Box::new(permitted))
        }
    }
}

/// Who would receive what from whom: one pull, or one recipient of a push.
pub(super) struct Asks<'a> {
    pub record_type: &'a RecordTypeId,
    pub purpose: &'a PurposeId,
    pub consumer: Party,
    pub provider: Party,
    pub case: Option<CaseFact>,
}

pub(super) fn facts(asks: Asks<'_>, known: &Known<'_>, now: Timestamp) -> Facts {
    let Asks { record_type, purpose, consumer, provider, case } = asks;
    let (agency, office) = (&consumer.agency, consumer.office.as_ref());
    let asked = Asked { purpose, record_type, consumer: agency, office };
    let narrows = restriction::Asked { purpose, record_type, consumer: agency };
    let appealed = appeal::Asked {
        provider: &provider.agency,
        consumer: agency,
        record_type,
        purpose,
        case: case.as_ref().map(|fact| &fact.case),
    };
    let openings = known.appeals.iter().flat_map(|held| held.openings(&appealed, now)).collect();
    let shares = known.policy.record_type(record_type).is_some_and(|kind| kind.shares());
    let member = |mate: &Housemate| match mate {
        Housemate::Known { consents, restrictions } => MemberFacts {
            consents: consents.iter().flat_map(|consent| consent.facts(&asked, now)).collect(),
            restrictions: restrictions.iter().flat_map(|held| held.facts(&narrows, now)).collect(),
        },
        Housemate::Unknown => MemberFacts {
            consents: Vec::new(),
            restrictions: vec![consent::Restriction { fields: None, effect: RestrictionEffect::Withhold }],
        },
    };
    let household = known.household.iter().filter(|_| shares).map(member).collect();
    let consents = known.consents.iter().flat_map(|consent| consent.facts(&asked, now)).collect();
    let restrictions = known.restrictions.iter().flat_map(|held| held.facts(&narrows, now)).collect();
    let under = known.case.filter(|_| case.is_some());
    let about = (&provider.agency, record_type);
    let acts = under.map(|case| case.acts(&known.pseudonyms, about, now)).unwrap_or_default();
    Facts { provider, consumer, case, consents, restrictions, acts, openings, household }
}

impl Facts {
    pub(super) fn seen(mut self, concealment: Concealment) -> Self {
        if concealment == Concealment::Unseen {
            let stays = |held: &consent::Restriction| held.effect != RestrictionEffect::Conceal;
            self.restrictions.retain(stays);
            self.household.iter_mut().for_each(|member| member.restrictions.retain(stays));
        }
        self
    }
}

/// Whatever is allowed.
pub(super) const fn question<'a>(
    record_type: &'a RecordTypeId,
    purpose: &'a PurposeId,
    facts: &'a Facts,
    now: Timestamp,
) -> Question<'a> {
    Question { record_type, purpose, requested: None, facts, now }
}

pub(super) fn policy_stamp(known: &Known<'_>) -> PolicyStamp {
    PolicyStamp { version: known.policy.version().to_owned(), sha256: known.policy.sha256() }
}

/// What is declared, where the purpose asks for it; a declaration without such a purpose is a mistake.
fn emergency(request: &VerifiedRequest, pull: &Pull, known: &Known<'_>) -> Result<Option<Emergency>, Code> {
    let hours = known.policy.purpose(&pull.purpose).and_then(|purpose| purpose.review_hours);
    let (hours, ask) = match (hours, &pull.emergency) {
        (None, None) => return Ok(None),
        (Some(hours), Some(ask)) => (hours, ask),
        (Some(_), None) | (None, Some(_)) => return Err(Code::EmergencyUndeclared),
    };
    if known.reasons.is_empty() {
        return Err(Code::EmergencyNoOfficer);
    }
    Ok(Some(Emergency {
        danger: ask.danger,
        cannot_consent: ask.cannot_consent,
        by: request.sender.agency.clone(),
        review_by: request.at.plus(Duration::from_secs(u64::from(hours) * 3600)),
    }))
}

fn fail(account: Account, code: Code) -> Authorized {
    let end = End::Fail { code, detail: code.title().to_owned() };
    Authorized::Deny(Box::new(Outcome { account, end }))
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

/// What the decision rests on: the consents it uses, the case it was asked under, what the owner has opened, and that the
/// person has restricted nothing more. If any of them has another epoch when the log commits, the decision is void.
pub(super) fn epochs(plan: &Plan, facts: &Facts, known: &Known<'_>) -> Vec<(String, u64)> {
    let consents = plan.consents().iter().map(|(id, epoch)| (id.to_string(), *epoch));
    let case = facts.case.iter().map(|case| (case.case.to_string(), case.epoch));
    let shares = plan.record_type.shares();
    let others = known.household.iter().filter(|_| shares).flat_map(|mate| match mate {
        Housemate::Known { restrictions, .. } => restrictions.as_slice(),
        Housemate::Unknown => &[],
    });
    let restrictions = known.restrictions.iter().chain(others);
    let openings = facts.openings.iter().map(|opening| (opening.appeal.to_string(), opening.epoch));
    let all =
        consents.chain(case).chain(openings).chain(restrictions.map(|held| (held.stream(), held.epoch())));
    // A person may be named twice, under two epochs of the keys; a stream is compared once.
    let mut seen = BTreeSet::new();
    all.filter(|(stream, _)| seen.insert(stream.clone())).collect()
}

/// Under which other pseudonyms an entry must be found: those of the consents it rests on, given by others of the household, or
/// by the person under another epoch. Otherwise a withdrawal would not find whom to tell.
pub(super) fn concerned(plan: &Plan, known: &Known<'_>, subject: Option<&Pseudonym>) -> Vec<Pseudonym> {
    let of_mates = known.household.iter().flat_map(|mate| match mate {
        Housemate::Known { consents, .. } => consents.as_slice(),
        Housemate::Unknown => &[],
    });
    let is_used = |consent: &&Consent| plan.consents().iter().any(|(id, _)| *id == consent.header.id);
    let used = known.consents.iter().chain(of_mates).filter(is_used).map(|consent| &consent.header.subject);
    let others: BTreeSet<&Pseudonym> = used.filter(|person| Some(*person) != subject).collect();
    others.into_iter().cloned().collect()
}

/// Which of the fields that left rest on which consent: whom to tell when it ends.
pub(super) fn rests_on(plan: &Plan, views: &Map<String, Value>) -> BTreeMap<ConsentId, Vec<FieldId>> {
    let mut found: BTreeMap<ConsentId, Vec<FieldId>> = BTreeMap::new();
    for planned in &plan.fields {
        let Ruling::Show { consent, .. } = planned.ruling else { continue };
        let Some(field) = plan.record_type.field(planned.field) else { continue };
        let own = consent.and_then(|consent| plan.consents().get(consent));
        for (id, _) in own.into_iter().chain(plan.shared(planned.field)) {
            if views.contains_key(field.id.as_str()) {
                found.entry(id.clone()).or_default().push(field.id.clone());
            }
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
        self.reduce_among(record, keys, &[])
    }

    /// The same for one member of a household; `told` are the control fields that hold for the others.
    pub(in crate::exchange) fn reduce_among(
        self,
        record: AgencyRecord,
        keys: &SubjectKeys,
        told: &[FieldId],
    ) -> Outcome {
        let Self { mut account, pull, plan, epochs, household, emergency } = self;
        let towards = Towards {
            keys,
            provider: &pull.provider,
            recipient: &account.request.sender.agency,
            subject: &pull.subject.codice_fiscale,
            household: &household,
            told,
        };
        let reduced = reduce_for(&plan, record.values, &towards);
        account.decision.find(&plan.record_type, &reduced.findings);
        account.decision.insert("source", json!(record.said.digest));
        account.decision.insert("source_by", json!(record.said.by));
        account.decision.insert("source_of", json!(record.said.of));
        let fields: Vec<Value> = reduced.outcomes.iter().map(outcome_value).collect();
        let views: Map<String, Value> = reduced.outcomes.iter().filter_map(shown).collect();
        if views.is_empty() {
            return nothing_left(account, fields);
        }
        account.decision.insert("rests_on", json!(rests_on(&plan, &views)));
        let told = emergency.map(|emergency| alert(&account.request, &pull, emergency, &views));
        let changes = told.into_iter().collect();
        let record = json::canonical(&Value::Object(reduced.into_record()));
        Outcome { account, end: End::Disclose(Disclosed { record, fields, views, epochs, changes }) }
    }

    /// The provider could not be asked, or did not answer as it must.
    pub fn fail(self, code: Code, detail: impl Into<String>) -> Outcome {
        Outcome { account: self.account, end: End::Fail { code, detail: detail.into() } }
    }
}

/// Whom a record is reduced for, and what its views depend on.
pub(super) struct Towards<'a> {
    pub keys: &'a SubjectKeys,
    pub provider: &'a AgencyId,
    pub recipient: &'a AgencyId,
    pub subject: &'a CodiceFiscale,
    /// The people of the case, whom list fields may name.
    pub household: &'a BTreeSet<Pseudonym>,
    /// The control fields that hold for others of the household.
    pub told: &'a [FieldId],
}

pub(super) fn reduce_for(plan: &Plan, values: AgencyValues, towards: &Towards<'_>) -> Reduced {
    let (epoch, owner_key) = towards.keys.owner_key(towards.provider);
    let pair = PairKey::new(owner_key, towards.provider.clone(), towards.recipient.clone(), epoch.into());
    let context = Context {
        recipient: towards.recipient,
        pair: Some(&pair),
        is_subject: &|text| text.parse::<CodiceFiscale>().is_ok_and(|person| person == *towards.subject),
        is_in_case: &|text| {
            let person = text.parse::<CodiceFiscale>();
            person.is_ok_and(|person| {
                towards.keys.all(&person).iter().any(|pseudonym| towards.household.contains(pseudonym))
            })
        },
    };
    reduce::reduce_among(plan, values, &context, towards.told)
}

pub(super) fn shown(outcome: &FieldOutcome) -> Option<(String, Value)> {
    match &outcome.outcome {
        reduce::Outcome::Shown { view, .. } => Some((outcome.field.to_string(), json!(view))),
        reduce::Outcome::Absent | reduce::Outcome::Unavailable | reduce::Outcome::Withheld { .. } => None,
    }
}
