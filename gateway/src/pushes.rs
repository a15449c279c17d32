//! Pushes as requests: a sender hands a record over and asks how far it has come; a recipient empties its inbox. Each
//! goes through the chain that `inbound` walks.

use serde::Deserialize;
use varco_core::exchange::{
    AckAsk, FetchSeed, Means, PAGE_MAX, Push, RECIPIENTS_MAX, Rechecked, Seed, VerifiedRequest, consign,
    inbox as answer_with,
};
use varco_core::id::ExchangeId;

use crate::app::App;
use crate::basis::PushBasis;
use crate::inbound::{Done, known, with_rules};
use crate::outbox::{self, Checked};
use crate::registers;

/// Where a page of the inbox begins and how long it is. Neither says anything of a person.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The last delivery of the page before.
    #[serde(default)]
    pub after: Option<ExchangeId>,
    /// At most, and otherwise, [`PAGE_MAX`].
    #[serde(default)]
    pub limit: Option<usize>,
}

pub async fn push(app: &App, request: VerifiedRequest) -> Done {
    let (mut request, push) = request.ask::<Push>()?;
    if let Some(key) = &push.key {
        let stream = key.stream(&request.sender().agency);
        let (asked, held) = known(request, registers::push_key(app, &stream).await)?;
        request = asked;
        if let Some(held) = held {
            let (request, found) = known(request, registers::push(app, &held.push).await)?;
            let (push, parcels) = found.unzip();
            let parcels = parcels.unwrap_or_default();
            return Ok(with_rules(app, |rules| {
                rules.repeat_push(request, &held.fingerprint, push, &parcels)
            }));
        }
    }
    let pseudonyms = app.keys.load().all(&push.subject.codice_fiscale);
    let basis = PushBasis::read(app, pseudonyms, push.case.as_ref()).await;
    let (request, basis) = known(request, basis)?;
    let (in_force, policy) = (app.in_force.load_full(), app.policy_at(request.at()));
    let known = basis.known(&in_force.registry, &policy);
    let seed = |_| Seed {
        exchange: app.new_exchange(request.at()),
        lock: zeroize::Zeroizing::new(app.random()),
        salts: app.salts(),
    };
    let seeds = (0..push.recipients.len().min(RECIPIENTS_MAX)).map(seed).collect();
    let keys = app.keys.load_full();
    let keepers = app.keepers.load();
    let means = Means { keys: &keys, keeper: &keepers.copies, seeds, systems: &app.systems };
    Ok(consign(request, push, &known, means))
}

pub async fn read_push(app: &App, id: ExchangeId, request: VerifiedRequest) -> Done {
    let (request, found) = known(request, registers::push(app, &id).await)?;
    let (push, parcels) = found.unzip();
    let parcels = parcels.unwrap_or_default();
    Ok(with_rules(app, |rules| rules.read_push(request, push, &parcels)))
}

/// Every copy is decided again before it is handed over; what may not be any more is left to the outbox to cancel.
pub async fn inbox(app: &App, page: Page, request: VerifiedRequest) -> Done {
    let most = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let agency = request.sender().agency.clone();
    let waiting = registers::inbox(app, &agency, page.after.as_ref(), most + 1).await;
    let (mut request, mut waiting) = known(request, waiting)?;
    let has_more = waiting.len() > most;
    waiting.truncate(most);
    let next = waiting.last().filter(|_| has_more).map(|parcel| parcel.header.exchange.clone());
    let mut found = Vec::with_capacity(waiting.len());
    for parcel in waiting {
        let id = parcel.header.exchange.clone();
        let (asked, checked) = known(request, outbox::check(app, parcel).await)?;
        request = asked;
        match checked {
            Checked::Ruled(Rechecked::Permit(parcel)) => {
                let seed = FetchSeed { entry: app.new_exchange(request.at()), salts: app.salts() };
                found.push((parcel, seed));
            }
            Checked::Damaged(_) | Checked::Ruled(Rechecked::Halt(_)) => app.outbox.look_at(id),
            Checked::Gone => {}
        }
    }
    Ok(answer_with(request, found, next))
}

pub async fn acknowledge(app: &App, id: ExchangeId, request: VerifiedRequest) -> Done {
    let (request, AckAsk {}) = request.ask::<AckAsk>()?;
    let (request, parcel) = known(request, registers::parcel(app, &id).await)?;
    Ok(with_rules(app, |rules| rules.acknowledge_delivery(request, parcel)))
}
