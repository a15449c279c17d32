//! Change signals as requests: an agency subscribes, a provider signals, the agency reads what waits for it. Each goes
//! through the chain that `inbound` walks. Nothing here decides: what is known is read, and `core` looks at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use varco_core::appeal::Appeal;
use varco_core::case::Case;
use varco_core::consent::Consent;
use varco_core::exchange::{
    AckAsk, AuthorizedSignal, FetchSeed, Housemate, Known, Listed, Locking, More, Sight, SignalAsk,
    Subscribing, SubscriptionAsk, VerifiedRequest, Waits, look, recheck, signals as answer_with,
    subscribe as decide, unlock,
};
use varco_core::id::{AgencyId, CaseId, OfficeId, Pseudonym, SubscriptionId};
use varco_core::policy::Policy;
use varco_core::restriction::Restrictions;
use varco_core::signal::{KEPT, LIST_MAX, PAGE, PAGE_MAX, Signal, Subscription};
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_store::submission::Submission;

use crate::app::{App, InForce};
use crate::inbound::{Done, known, with_rules};
use crate::registers::{self, Unreadable};
use crate::telemetry::metrics;

/// How many waiting signals are looked at for one answer. Only those that may not be told any more are passed over, and
/// they go with the answer, so that the next one begins after them.
const LOOKED_AT: usize = 256;

/// Where a page of signals begins and how long it is. Neither says anything of a person.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalPage {
    /// The `last` of the answer before.
    #[serde(default)]
    pub after: u64,
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The same of a list of subscriptions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionPage {
    #[serde(default)]
    pub after: Option<SubscriptionId>,
    #[serde(default)]
    pub limit: Option<usize>,
}

pub async fn subscribe(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<SubscriptionAsk>()?;
    let (agency, now) = (request.sender().agency.clone(), request.at());
    let (request, about) = known(request, About::of(app, &ask.subject.codice_fiscale, now).await)?;
    let (request, held) = known(request, registers::subscriptions_about(app, &about.pseudonyms).await)?;
    let count = app.store.read().subscription_count(&agency, now).await;
    let (request, count) = known(request, count.map_err(Unreadable::from))?;
    let (request, under) = known(request, about.under(app, ask.case.as_ref()).await)?;
    let keys = app.keys.load_full();
    let lock = zeroize::Zeroizing::new(app.random());
    let keepers = app.keepers.load_full();
    let means = Subscribing { keys: &keys, keeper: &keepers.copies, lock, held: &held, count };
    let outcome = decide(request, ask, &about.known(&under), &means);
    metrics::subscription(if outcome.code().is_some() { "refused" } else { "opened" });
    Ok(outcome)
}

pub async fn end(app: &App, id: SubscriptionId, request: VerifiedRequest) -> Done {
    let (request, AckAsk {}) = request.ask::<AckAsk>()?;
    let (request, found) = known(request, registers::subscription(app, &id).await)?;
    let outcome = with_rules(app, |rules| rules.end_subscription(request, found));
    if outcome.code().is_none() {
        metrics::subscription("ended");
    }
    Ok(outcome)
}

pub async fn list(app: &App, page: SubscriptionPage, request: VerifiedRequest) -> Done {
    let most = page.limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
    let (agency, now) = (request.sender().agency.clone(), request.at());
    let found = registers::subscriptions_of(app, (&agency, now), page.after.as_ref(), most + 1).await;
    let (mut request, mut found) = known(request, found)?;
    let has_more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| has_more).map(|one| one.header.id.clone());
    let mut listed = Vec::with_capacity(found.len());
    for subscription in found {
        let (asked, watched) = known(request, Watched::of(app, subscription.clone(), now).await)?;
        request = asked;
        listed.push(Listed { subscription, stands: watched.is_some_and(|watched| watched.stands(now)) });
    }
    Ok(with_rules(app, |rules| rules.list_subscriptions(request, &listed, next)))
}

/// A provider's signal is kept for each subscription that stands now; the answer knows nothing of them.
pub async fn signal(app: &App, request: VerifiedRequest) -> Done {
    let (mut request, ask) = request.ask::<SignalAsk>()?;
    let (provider, now) = (request.sender().agency.clone(), request.at());
    if let Some(stream) = ask.stream(&provider) {
        let (asked, held) = known(request, registers::signal_key(app, &stream).await)?;
        request = asked;
        if let Some(held) = held {
            return Ok(with_rules(app, |rules| rules.repeat_signal(request, &held)));
        }
    }
    let (request, about) = known(request, About::of(app, &ask.subject.codice_fiscale, now).await)?;
    let (request, told) = known(request, standing(app, &about, (&provider, &ask), now).await)?;
    metrics::signals("made", told.len());
    let keepers = app.keepers.load_full();
    let means = Locking { keeper: &keepers.copies, lock: zeroize::Zeroizing::new(app.random()) };
    let outcome = with_rules(app, |rules| rules.signal(request, &ask, &told, &means));
    metrics::signals(if outcome.code().is_some() { "refused" } else { "accepted" }, 1);
    Ok(outcome)
}

/// What waits for the agency, each decided again. Numbers of what may not be told show in nothing, not even in where the
/// page ends.
pub async fn signals(app: &App, page: SignalPage, request: VerifiedRequest) -> Done {
    let most = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let sender = request.sender();
    let whose = (sender.agency.clone(), sender.office.clone());
    let mut desk = Desk { app, now: request.at(), watched: BTreeMap::new() };
    let found = desk.look(whose, page.after, most).await;
    let (request, (mut told, gone)) = known(request, found)?;
    let more = if told.len() > most { More::Follows } else { More::Nothing };
    told.truncate(most);
    metrics::signals("told", told.len());
    metrics::signals("withheld", gone.len());
    let seed = |signal| (signal, FetchSeed { entry: app.new_exchange(request.at()), salts: app.salts() });
    let told = told.into_iter().map(seed).collect();
    Ok(answer_with(request, Waits { told, gone, after: page.after, more }))
}

/// What is known of a person, and the rules of the instant.
struct About {
    pseudonyms: Vec<Pseudonym>,
    consents: Vec<Consent>,
    restrictions: Vec<Restrictions>,
    appeals: Vec<Appeal>,
    in_force: Arc<InForce>,
    policy: Arc<Policy>,
}

/// What depends on the case that is named.
struct Under {
    case: Option<Case>,
    household: Vec<Housemate>,
}

impl About {
    async fn of(app: &App, person: &CodiceFiscale, now: Timestamp) -> Result<Self, Unreadable> {
        let pseudonyms = app.keys.load().all(person);
        Ok(Self {
            consents: registers::consents_given(app, &pseudonyms).await,
            restrictions: registers::restrictions_of(app, &pseudonyms).await?,
            appeals: registers::appeals_of(app, &pseudonyms).await?,
            in_force: app.in_force.load_full(),
            policy: app.policy_at(now),
            pseudonyms,
        })
    }

    async fn under(&self, app: &App, case: Option<&CaseId>) -> Result<Under, Unreadable> {
        let case = match case {
            Some(id) => registers::case(app, id).await?,
            None => None,
        };
        let household = registers::housemates(app, case.as_ref(), &self.pseudonyms, &[]).await?;
        Ok(Under { case, household })
    }

    fn known<'a>(&'a self, under: &'a Under) -> Known<'a> {
        Known {
            registry: &self.in_force.registry,
            policy: &self.policy,
            pseudonyms: self.pseudonyms.clone(),
            consents: &self.consents,
            restrictions: &self.restrictions,
            appeals: &self.appeals,
            case: under.case.as_ref(),
            household: &under.household,
            reasons: &[],
        }
    }
}

/// A subscription with what is known of its person.
struct Watched {
    subscription: Subscription,
    about: About,
    under: Under,
}

impl Watched {
    /// `None` once it has ended: then there is nobody in its lock.
    async fn of(app: &App, subscription: Subscription, now: Timestamp) -> Result<Option<Self>, Unreadable> {
        let id = &subscription.header.id;
        let Some(locked) = app.store.read().subscription_person(id).await? else { return Ok(None) };
        let Ok(person) = unlock(id, &locked, &app.keepers.load().copies) else {
            tracing::error!(subscription = %id, "whom a subscription is about cannot be read: nothing of it is told");
            return Ok(None);
        };
        let about = About::of(app, &person, now).await?;
        let under = about.under(app, subscription.header.case.as_ref()).await?;
        Ok(Some(Self { subscription, about, under }))
    }

    fn stands(&self, now: Timestamp) -> bool {
        look(&self.subscription, &self.about.known(&self.under), Sight::Owner, now).is_some()
    }
}

/// The subscriptions that a signal reaches at this instant.
async fn standing(
    app: &App,
    about: &About,
    (provider, ask): (&AgencyId, &SignalAsk),
    now: Timestamp,
) -> Result<Vec<Subscription>, Unreadable> {
    let is_meant = |held: &Subscription| {
        held.header.provider == *provider
            && held.header.record_type == ask.record_type
            && held.runs(None, now)
    };
    let mut held = registers::subscriptions_about(app, &about.pseudonyms).await?;
    held.retain(is_meant);
    let mut cases: BTreeMap<Option<CaseId>, Under> = BTreeMap::new();
    let mut told = Vec::new();
    for subscription in held {
        let case = subscription.header.case.clone();
        if !cases.contains_key(&case) {
            let under = about.under(app, case.as_ref()).await?;
            cases.insert(case.clone(), under);
        }
        let Some(under) = cases.get(&case) else { continue };
        let sight = Sight::Signal(ask.controls.as_deref());
        if look(&subscription, &about.known(under), sight, now).is_some() {
            told.push(subscription);
        }
    }
    if told.len() > Submission::SIGNALS_MAX {
        tracing::error!(told = told.len(), "more subscriptions to one record than a signal reaches");
        told.truncate(Submission::SIGNALS_MAX);
    }
    Ok(told)
}

/// Whoever reads: each subscription is read once for all its signals.
struct Desk<'a> {
    app: &'a App,
    now: Timestamp,
    watched: BTreeMap<SubscriptionId, Option<Watched>>,
}

impl Desk<'_> {
    /// Up to one more than are wanted that may be told, and the numbers of those before them that may not.
    async fn look(
        &mut self,
        (agency, office): (AgencyId, Option<OfficeId>),
        mut after: u64,
        most: usize,
    ) -> Result<(Vec<AuthorizedSignal>, Vec<u64>), Unreadable> {
        let (mut told, mut gone, mut looked_at) = (Vec::new(), Vec::new(), 0);
        while looked_at < LOOKED_AT && told.len() <= most {
            let whose = (&agency, office.as_ref());
            let since = self.now.minus(KEPT);
            let page = self.app.store.read().signals_for(whose, since, after, most + 1).await?;
            let is_last = page.len() <= most;
            for signal in page.into_iter().take(most + 1 - told.len()) {
                (after, looked_at) = (signal.id, looked_at + 1);
                match self.decide(&signal).await? {
                    Some(one) => told.push(one),
                    None => gone.push(signal.id),
                }
            }
            if is_last {
                break;
            }
        }
        Ok((told, gone))
    }

    async fn decide(&mut self, signal: &Signal) -> Result<Option<AuthorizedSignal>, Unreadable> {
        if !self.watched.contains_key(&signal.subscription) {
            let watched = match registers::subscription(self.app, &signal.subscription).await? {
                Some(subscription) => Watched::of(self.app, subscription, self.now).await?,
                None => None,
            };
            self.watched.insert(signal.subscription.clone(), watched);
        }
        let Some(Some(watched)) = self.watched.get(&signal.subscription) else { return Ok(None) };
        let known = watched.about.known(&watched.under);
        let keepers = self.app.keepers.load();
        Ok(recheck(&watched.subscription, signal, &keepers.copies, &known, self.now))
    }
}
