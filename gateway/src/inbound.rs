//! One request, top to bottom. The only place where the chain of `varco_core::exchange` is walked.

use std::time::Instant;

use varco_adapters::Context;
use varco_core::appeal::Appeal;
use varco_core::code::Code;
use varco_core::consent::Consent;
use varco_core::exchange::{
    AckAsk, AgencyRecord, Answer, AppealAsk, AppealEventAsk, Authorized, AuthorizedExchange, ConsentAsk,
    ConsentEventAsk, CorrectionAsk, Incoming, Known, LiftAsk, LoggedOutcome, Outcome, PersonPast, Pull,
    Registered, ReleaseError, ReportAsk, RestrictionAsk, ReviewAsk, SearchAsk, SignError, Stamp, Trust,
    VerifiedRequest, VerifyError, WithdrawalAsk, authorize, verify,
};
use varco_core::hash::Sha256;
use varco_core::id::{
    AppealId, CaseId, ConsentId, ExchangeId, IdFault, NoticeId, Pseudonym, RestrictionId, SubscriptionId,
};
use varco_core::restriction::Restrictions;
use varco_store::submission::{AppendError, ClaimError, Found, Wanted};

use crate::app::App;
use crate::appeals;
use crate::basis;
use crate::cases;
use crate::household;
use crate::limits::LimitError;
use crate::pushes::{self, Page};
use crate::registers::{self, Unreadable};
use crate::signals::{self, SignalPage, SubscriptionPage};
use crate::statistics;
use crate::telemetry::metrics;

/// What a verified request is for. Identifiers come from the path; persons only ever come from the body.
#[derive(Debug)]
pub enum Call {
    Acknowledge(NoticeId),
    AcknowledgeDelivery(ExchangeId),
    AppealEvent(AppealId),
    Appeals,
    CaseEvent(CaseId),
    ConsentEvent(ConsentId),
    Correct,
    EndSubscription(SubscriptionId),
    FileAppeal,
    Household,
    Inbox(Page),
    Lift(RestrictionId),
    Notices,
    OpenCase,
    OpenConsent,
    Pull,
    Push,
    ReadAppeal(AppealId),
    ReadCase(CaseId),
    ReadConsent(ConsentId),
    ReadPush(ExchangeId),
    Report,
    Restrict,
    Review(NoticeId),
    SearchConsents,
    SearchRestrictions,
    Signal,
    Signals(SignalPage),
    Statistics,
    Subscribe,
    Subscriptions(SubscriptionPage),
    Withdraw,
}

impl Call {
    /// For metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Acknowledge(_) => "acknowledge",
            Self::AcknowledgeDelivery(_) => "acknowledge-delivery",
            Self::AppealEvent(_) => "appeal-event",
            Self::Appeals => "appeals",
            Self::CaseEvent(_) => "case-event",
            Self::ConsentEvent(_) => "consent-event",
            Self::Correct => "correct",
            Self::EndSubscription(_) => "end-subscription",
            Self::FileAppeal => "file-appeal",
            Self::Household => "household",
            Self::Inbox(_) => "inbox",
            Self::Lift(_) => "lift",
            Self::Notices => "notices",
            Self::OpenCase => "open-case",
            Self::OpenConsent => "open-consent",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::ReadAppeal(_) => "read-appeal",
            Self::ReadCase(_) => "read-case",
            Self::ReadConsent(_) => "read-consent",
            Self::ReadPush(_) => "read-push",
            Self::Report => "report",
            Self::Restrict => "restrict",
            Self::Review(_) => "review",
            Self::SearchConsents => "search-consents",
            Self::SearchRestrictions => "search-restrictions",
            Self::Signal => "signal",
            Self::Signals(_) => "signals",
            Self::Statistics => "statistics",
            Self::Subscribe => "subscribe",
            Self::Subscriptions(_) => "subscriptions",
            Self::Withdraw => "withdraw",
        }
    }
}

/// Why a request gets no signed answer: we do not know who asks, or nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("the log could not be written: {0}")]
    Append(#[from] AppendError),
    #[error("the exchange could not be claimed: {0}")]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Exceeded(#[from] LimitError),
    #[error("no quorum of witnesses has cosigned the log for too long")]
    NoQuorum,
    #[error("the log's receipt does not open the outcome: {0}")]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("no token identifier could be made: {0}")]
    Token(#[from] IdFault),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl Unanswered {
    pub fn code(&self) -> Code {
        match self {
            Self::Append(error) => error.code(),
            Self::Claim(error) => error.code(),
            Self::Exceeded(exceeded) => exceeded.code(),
            Self::NoQuorum | Self::Release(_) => Code::LogUnavailable,
            Self::Sign(_) | Self::Token(_) => Code::Internal,
            Self::Verify(error) => error.code(),
        }
    }
}

/// Answers one request, or says why nobody may know the answer.
pub async fn answer(app: &App, call: Call, incoming: Incoming) -> Result<Answer, Unanswered> {
    // Up to the claim we do not know who asks, or whether they asked before; what fails goes to the security log.
    let request = identify(app, incoming)?;
    // What nobody outside has seen could be rewritten: where the configuration says so, that ends exchanges.
    if app.witnesses.as_ref().is_some_and(|witnesses| witnesses.stops(app.now())) {
        return Err(Unanswered::NoQuorum);
    }
    app.limiter.operator(&request.sender().agency, &request.sender().operator)?;
    let wanted = wanted(app, &call, &request);
    let found = app.store.claim_and_look(registers::claim(&request, app.salts()), wanted).await?;
    // From here on nothing returns early: a known sender gets an outcome, and it is logged.
    let (outcome, members) = decide(app, call, request, found).await;
    // A household's request is entered last: until then its claim is open, so that a crash is told.
    let members = household::join(members.into_iter().map(|member| log(app, member))).await;
    let members = members.into_iter().collect::<Result<_, _>>()?;
    let logged = log(app, outcome).await?;
    sign(app, logged, members)
}

fn identify(app: &App, incoming: Incoming) -> Result<VerifiedRequest, VerifyError> {
    let (in_force, seals) = (app.in_force.load(), app.seals.load());
    let trust = Trust { registry: &in_force.registry, verifier: &**seals, rules: app.rules };
    verify(incoming, &trust, app.now())
}

/// What the claim's transaction is to look up. A body that cannot be read wants nothing, and fails as an outcome later.
fn wanted(app: &App, call: &Call, request: &VerifiedRequest) -> Wanted {
    let pull = matches!(call, Call::Pull).then(|| request.read::<Pull>().ok()).flatten();
    pull.map(|pull| basis::wanted(&pull, &app.keys.load())).unwrap_or_default()
}

/// The outcome of a request, and of its parts where it asks for a household.
async fn decide(app: &App, call: Call, request: VerifiedRequest, found: Found) -> (Outcome, Vec<Outcome>) {
    let done = match call {
        Call::Acknowledge(id) => acknowledge(app, id, request).await,
        Call::AcknowledgeDelivery(id) => pushes::acknowledge(app, id, request).await,
        Call::AppealEvent(id) => appeal_event(app, id, request).await,
        Call::Appeals => list_appeals(app, request).await,
        Call::CaseEvent(id) => cases::event(app, id, request).await,
        Call::ConsentEvent(id) => consent_event(app, id, request).await,
        Call::Correct => correct(app, request).await,
        Call::EndSubscription(id) => signals::end(app, id, request).await,
        Call::FileAppeal => file_appeal(app, request).await,
        Call::Household => return household::household(app, request).await,
        Call::Inbox(page) => pushes::inbox(app, page, request).await,
        Call::Lift(id) => lift(app, id, request).await,
        Call::Notices => notices(app, request).await,
        Call::OpenCase => cases::open(app, request),
        Call::OpenConsent => open_consent(app, request).await,
        Call::Pull => pull(app, request, &found).await,
        Call::Push => pushes::push(app, request).await,
        Call::ReadAppeal(id) => read_appeal(app, id, request).await,
        Call::ReadCase(id) => cases::read(app, id, request).await,
        Call::ReadConsent(id) => read_consent(app, id, request).await,
        Call::ReadPush(id) => pushes::read_push(app, id, request).await,
        Call::Report => report(app, request).await,
        Call::Restrict => restrict(app, request).await,
        Call::Review(id) => review(app, id, request).await,
        Call::SearchConsents => search_consents(app, request).await,
        Call::SearchRestrictions => search_restrictions(app, request).await,
        Call::Signal => signals::signal(app, request).await,
        Call::Signals(page) => signals::signals(app, page, request).await,
        Call::Statistics => statistics::statistics(app, request).await,
        Call::Subscribe => signals::subscribe(app, request).await,
        Call::Subscriptions(page) => signals::list(app, page, request).await,
        Call::Withdraw => withdraw(app, request).await,
    };
    (done.unwrap_or_else(|outcome| *outcome), Vec::new())
}

/// An outcome either way; on the right, one that came before the work was done.
pub type Done = Result<Outcome, Box<Outcome>>;

async fn pull(app: &App, request: VerifiedRequest, found: &Found) -> Done {
    let (request, pull) = request.ask::<Pull>()?;
    match authorized(app, request, pull, Asked::Alone(found)).await? {
        Authorized::Deny(outcome) => Ok(*outcome),
        Authorized::Permit(exchange) => Ok(match fetch(app, *exchange).await {
            Ok((exchange, record)) => exchange.reduce(record, &app.keys.load()),
            Err(outcome) => *outcome,
        }),
    }
}

/// Whether a pull is a request of its own, or part of one for a household.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    /// The claim has told which documents it rests on.
    Alone(&'a Found),
    /// Beside others, with the pseudonyms of everybody the request names.
    Household(&'a [Vec<Pseudonym>]),
}

pub async fn authorized(
    app: &App,
    request: VerifiedRequest,
    pull: Pull,
    asked: Asked<'_>,
) -> Result<Authorized, Box<Outcome>> {
    let pseudonyms = app.keys.load().all(&pull.subject.codice_fiscale);
    let (basis, named): (_, &[_]) = match asked {
        Asked::Alone(found) => (basis::basis(app, found, &pseudonyms).await, &[]),
        Asked::Household(named) => (basis::read(app, &pull, &pseudonyms).await, named),
    };
    let (request, basis) = known(request, basis)?;
    let mates = registers::housemates(app, basis.case.as_ref(), &pseudonyms, named).await;
    let (request, household) = known(request, mates)?;
    let (in_force, policy) = (app.in_force.load_full(), app.policy_at(request.at()));
    let known = Known {
        registry: &in_force.registry,
        policy: &policy,
        pseudonyms,
        consents: &basis.consents,
        restrictions: &basis.restrictions,
        appeals: &basis.appeals,
        case: basis.case.as_ref(),
        household: &household,
        reasons: &registers::sealed_reasons(app, &in_force.registry, &pull),
    };
    Ok(authorize(request, pull, &known))
}

/// The provider's record, checked and not yet reduced; on the right, the end of the exchange.
pub async fn fetch(
    app: &App,
    exchange: AuthorizedExchange,
) -> Result<(AuthorizedExchange, AgencyRecord), Box<Outcome>> {
    let Ok(jtis) = app.new_tokens() else {
        return Err(Box::new(exchange.fail(Code::Internal, "no token identifier could be made")));
    };
    let in_force = app.in_force.load_full();
    let now = app.clock.clone();
    let context = Context { registry: &in_force.registry, clock: &move || now() };
    let (fields, evidence) = (exchange.to_fetch(), exchange.evidence());
    let wanted = registers::source_request(&exchange, &fields, &evidence, &jtis);
    let began = Instant::now();
    let fetched = app.sources.fetch(exchange.provider(), &wanted, &context).await;
    let became = fetched.as_ref().map_or_else(|error| error.code().text(), |_| "ok");
    metrics::fetch(exchange.provider(), became, began.elapsed());
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            tracing::warn!(provider = %exchange.provider(), exchange = %exchange.exchange(), %error, "a provider gave no record");
            return Err(Box::new(exchange.fail(error.code(), error.code().title())));
        }
    };
    let said = fetched.said;
    match AgencyRecord::check(fetched.into_fields().into(), said, exchange.record_type()) {
        Ok(record) => Ok((exchange, record)),
        Err(faults) => {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(provider = %exchange.provider(), exchange = %exchange.exchange(), faults, "a record does not fit its type");
            Err(Box::new(exchange.fail(Code::AdapterMismatch, Code::AdapterMismatch.title())))
        }
    }
}

async fn open_consent(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<ConsentAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, held) = known(request, registers::consents_of(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.open_consent(request, ask, &held)))
}

async fn consent_event(app: &App, id: ConsentId, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<ConsentEventAsk>()?;
    let (request, consent) = known::<Option<Consent>>(request, registers::consent(app, &id).await)?;
    let subject: Vec<_> = consent.iter().map(|consent| consent.header.subject.clone()).collect();
    let (request, past) = known(request, registers::past_resting_on(app, &subject).await)?;
    Ok(with_rules(app, |rules| rules.record_consent(request, ask, consent, &past)))
}

async fn read_consent(app: &App, id: ConsentId, request: VerifiedRequest) -> Done {
    let (request, consent) = known::<Option<Consent>>(request, registers::consent(app, &id).await)?;
    Ok(with_rules(app, |rules| rules.read_consent(request, consent)))
}

async fn search_consents(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<SearchAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, consents) = known(request, registers::consents_of(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.search_consents(request, &ask.subject, &consents)))
}

async fn withdraw(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<WithdrawalAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, held) = known(request, registers::consents_of(app, &pseudonyms).await)?;
    let (request, past) = known(request, registers::past_resting_on(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.withdraw(request, ask, &held, &past)))
}

async fn restrict(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<RestrictionAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let current = [app.keys.load().pseudonym(&ask.subject.codice_fiscale)];
    let (request, held) = known(request, registers::restrictions_of(app, &current).await)?;
    let (request, past) = known(request, registers::past_of(app, &pseudonyms).await)?;
    let [subject] = current;
    let held = held.into_iter().next().unwrap_or_else(|| Restrictions::none(subject));
    Ok(with_rules(app, |rules| rules.restrict(request, ask, held, &past)))
}

async fn lift(app: &App, id: RestrictionId, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<LiftAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, held) = known(request, registers::restrictions_of(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.lift(request, id, ask, held)))
}

async fn search_restrictions(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<SearchAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, held) = known(request, registers::restrictions_of(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.search_restrictions(request, &ask.subject, &held)))
}

async fn file_appeal(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<AppealAsk>()?;
    let (request, decided) = known(request, registers::decided(app, &ask.exchange).await)?;
    let owner = decided.as_ref().filter(|decided| decided.consumer == request.sender().agency);
    let sealed = owner.map(|decided| appeals::seal_appeal(app, &decided.provider, &ask)).unwrap_or_default();
    Ok(with_rules(app, |rules| rules.file_appeal(request, &ask, decided, sealed)))
}

async fn appeal_event(app: &App, id: AppealId, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<AppealEventAsk>()?;
    let (request, appeal) = known::<Option<Appeal>>(request, registers::appeal(app, &id).await)?;
    let sealed = match (ask.words(), &appeal) {
        (Some(words), Some(appeal)) => appeals::seal_answer(app, &appeal.header.consumer, words),
        (Some(_) | None, _) => Vec::new(),
    };
    Ok(with_rules(app, |rules| rules.record_appeal(request, &ask, appeal, sealed)))
}

async fn list_appeals(app: &App, request: VerifiedRequest) -> Done {
    let waiting = registers::appeals_for(app, &request.sender().agency).await;
    let (request, waiting) = known(request, waiting)?;
    Ok(with_rules(app, |rules| rules.list_appeals(request, &waiting)))
}

async fn read_appeal(app: &App, id: AppealId, request: VerifiedRequest) -> Done {
    let (request, appeal) = known::<Option<Appeal>>(request, registers::appeal(app, &id).await)?;
    let words = match &appeal {
        Some(appeal) => registers::words_of(app, appeal).await,
        None => Ok(Vec::new()),
    };
    let (request, words) = known(request, words)?;
    Ok(with_rules(app, |rules| rules.read_appeal(request, appeal, words)))
}

async fn report(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<ReportAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, entries) = known(request, registers::told_of(app, &pseudonyms).await)?;
    let (request, consents) = known(request, registers::consents_of(app, &pseudonyms).await)?;
    let schedule = app.schedule.load_full();
    let policy = |sha256: &Sha256| schedule.policy(sha256);
    let past = PersonPast { entries: &entries, consents: &consents, policy: &policy };
    Ok(with_rules(app, |rules| rules.report(request, ask, &past)))
}

async fn correct(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<CorrectionAsk>()?;
    let pseudonyms = app.keys.load().all(&ask.subject.codice_fiscale);
    let (request, past) = known(request, registers::past_of(app, &pseudonyms).await)?;
    Ok(with_rules(app, |rules| rules.correct(request, ask, &past)))
}

async fn notices(app: &App, request: VerifiedRequest) -> Done {
    let waiting = registers::notices_for(app, &request.sender().agency).await;
    let (request, waiting) = known(request, waiting)?;
    Ok(with_rules(app, |rules| rules.list_notices(request, &waiting)))
}

async fn acknowledge(app: &App, id: NoticeId, request: VerifiedRequest) -> Done {
    let (request, AckAsk {}) = request.ask::<AckAsk>()?;
    let (request, served) = known(request, registers::notice(app, &id).await)?;
    Ok(with_rules(app, |rules| rules.acknowledge(request, served)))
}

async fn review(app: &App, id: NoticeId, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<ReviewAsk>()?;
    let (request, served) = known(request, registers::notice(app, &id).await)?;
    Ok(with_rules(app, |rules| rules.review(request, &ask, served)))
}

pub fn with_rules(app: &App, act: impl FnOnce(&Registered<'_>) -> Outcome) -> Outcome {
    let in_force = app.in_force.load_full();
    let policy = app.policy_at(app.now());
    act(&Registered { registry: &in_force.registry, keys: &app.keys.load(), policy: &policy })
}

/// What was read, or the request's end: registers that cannot be read are a failure, and it is logged.
pub fn known<T>(
    request: VerifiedRequest,
    read: Result<T, Unreadable>,
) -> Result<(VerifiedRequest, T), Box<Outcome>> {
    match read {
        Ok(read) => Ok((request, read)),
        Err(unreadable) => {
            tracing::error!(exchange = %request.exchange(), %unreadable, "the registers cannot be read");
            let detail = "the registers of consents and cases cannot be read";
            Err(Box::new(Outcome::fail(request, Code::LogUnavailable, detail)))
        }
    }
}

/// Commits the outcome's entry and opens it with the receipt. If what it would change had changed meanwhile, the
/// conflict becomes the outcome, once.
async fn log(app: &App, outcome: Outcome) -> Result<LoggedOutcome, Unanswered> {
    let (person, case) = outcome.touches();
    let (pending, sealed) = outcome.seal(app.salts(), &app.keepers.load().owners);
    let keeps = !sealed.also.is_empty();
    match app.store.append(registers::submission(sealed)).await {
        Ok(committed) => {
            app.outbox.touch(person, case);
            if keeps {
                app.outbox.ring();
            }
            Ok(pending.release_all(committed.receipt, committed.also, &app.log)?)
        }
        Err(conflict @ AppendError::Conflict(_)) => {
            let (pending, sealed) =
                pending.conflict(conflict.code()).seal(app.salts(), &app.keepers.load().owners);
            let committed = app.store.append(registers::submission(sealed)).await?;
            Ok(pending.release(committed.receipt, &app.log)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn sign(app: &App, logged: LoggedOutcome, members: Vec<LoggedOutcome>) -> Result<Answer, Unanswered> {
    let in_force = app.in_force.load();
    let (gateway, token) = (&in_force.registry.gateway, app.new_token()?);
    let stamp = Stamp { seal: &*app.seal, gateway, now: app.now(), token };
    if members.is_empty() { Ok(logged.sign(&stamp)?) } else { Ok(logged.sign_household(members, &stamp)?) }
}
