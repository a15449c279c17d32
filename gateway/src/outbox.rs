//! What waits for delivery: brought to the recipients' systems, tried again, cancelled when it may not be handed over any
//! more, and buried with a word to the officers when nobody took it in time.
//!
//! Every step is an entry of the log in one transaction with the change it tells of, and names the parcel's epoch: of
//! two replicas that reach for one parcel, one finds it changed and lets it be. A step that a crash cuts short is taken
//! again, and the recipient tells a repetition by the delivery's identifier.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use varco_adapters::{Accepted, Context, Delivery, FetchError};
use varco_core::code::Code;
use varco_core::exchange::{
    Attempt, AuthorizedParcel, Handover, OpenParcel, Rechecked, Released, Stamp, Turn, turn,
};
use varco_core::id::{AgencyId, CaseId, ExchangeId, Pseudonym};
use varco_core::parcel::Parcel;
use varco_core::time::Timestamp;
use varco_store::submission::AppendError;

use crate::app::App;
use crate::basis::PushBasis;
use crate::registers::{self, Unreadable};
use crate::tasks::Stop;
use crate::telemetry::metrics;

/// How often it is looked whether something is due. What was just accepted is looked at immediately.
const TICK: Duration = Duration::from_secs(1);
/// How often everything that waits is decided again: what ends by the clock (a consent, an agreement) is noticed by then.
/// Nothing is handed over in between, because each hand-over is decided anyway.
const SWEEP: Duration = Duration::from_secs(300);
/// Deliveries to one recipient at once, and in all. A recipient that hangs holds up its own and no other's.
const PER_RECIPIENT: usize = 4;
const AT_ONCE: usize = 64;
/// How many of a recipient's parcels are looked at to find some that can be worked on.
const LOOKED_AT: u32 = 64;
/// Parcels of one page of a sweep.
const PAGE: u32 = 256;
/// What cannot be worked on now is let be for so long: its system is left alone, or the log cannot be written.
const LATER: Duration = Duration::from_secs(5);
/// A route that is no system's any more: the parcel waits in the inbox until it ends.
const IN_THE_INBOX: Duration = Duration::from_secs(300);

/// What others know of the outbox: a bell, and what to look at when it rings.
#[derive(Default)]
pub struct Outbox {
    hints: Mutex<Hints>,
    bell: Notify,
}

#[derive(Default)]
struct Hints {
    people: BTreeSet<Pseudonym>,
    cases: BTreeSet<CaseId>,
    parcels: BTreeSet<ExchangeId>,
    everything: bool,
}

impl Outbox {
    /// Something about a person or a case has changed: what waits may rest on it.
    pub fn touch(&self, person: Option<Pseudonym>, case: Option<CaseId>) {
        if person.is_some() || case.is_some() {
            self.hint(|hints| {
                hints.people.extend(person);
                hints.cases.extend(case);
            });
        }
    }

    pub fn look_at(&self, parcel: ExchangeId) {
        self.hint(|hints| {
            hints.parcels.insert(parcel);
        });
    }

    /// The rules have changed: everything that waits may rest on them.
    pub fn look_at_everything(&self) {
        self.hint(|hints| hints.everything = true);
    }

    /// Something was accepted.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    fn hint(&self, add: impl FnOnce(&mut Hints)) {
        add(&mut self.hints.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    fn take(&self) -> Hints {
        std::mem::take(&mut *self.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What looking at a parcel has shown.
pub enum Checked {
    /// The copy does not open any more.
    Damaged(Box<Parcel>),
    /// There is no copy: it was handed over or cancelled meanwhile.
    Gone,
    Ruled(Rechecked),
}

/// Opens a parcel in memory and decides it again, with what is known now.
pub async fn check(app: &App, parcel: Parcel) -> Result<Checked, Unreadable> {
    let id = parcel.header.exchange.clone();
    let Some(locked) = app.store.read().parcel(&id).await? else { return Ok(Checked::Gone) };
    let Ok(opened) = OpenParcel::open(parcel.clone(), &locked, &app.keepers.load().copies) else {
        return Ok(Checked::Damaged(Box::new(parcel)));
    };
    let pseudonyms = opened.pseudonyms(&app.keys.load());
    let basis = PushBasis::read(app, pseudonyms, parcel.header.case.as_ref()).await?;
    let now = app.now();
    let (in_force, policy) = (app.in_force.load_full(), app.policy_at(now));
    let known = basis.known(&in_force.registry, &policy);
    Ok(Checked::Ruled(opened.recheck(&known, now)))
}

/// Works until told to stop; what is being sent then is sent to its end.
pub async fn run(app: Arc<App>, mut stop: Stop) {
    let mut desk =
        Desk { app: app.clone(), work: JoinSet::new(), busy: HashMap::new(), later: BTreeMap::new() };
    desk.resume().await;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept = app.now();
    loop {
        tokio::select! {
            () = stop.called() => break,
            _ = ticks.tick() => {}
            () = app.outbox.bell.notified() => {}
            Some(done) = desk.work.join_next(), if !desk.work.is_empty() => desk.done(done),
        }
        let now = app.now();
        let mut hints = app.outbox.take();
        if hints.everything || swept.plus(SWEEP) <= now {
            (hints.everything, swept) = (true, now);
        }
        if let Err(unreadable) = desk.turn(hints, now).await {
            tracing::error!(%unreadable, "what waits for delivery cannot be read");
        }
    }
    while let Some(done) = desk.work.join_next().await {
        desk.done(done);
    }
}

/// The one who works: what is in hand, and what is let be for a while.
struct Desk {
    app: Arc<App>,
    work: JoinSet<Worked>,
    busy: HashMap<ExchangeId, AgencyId>,
    later: BTreeMap<ExchangeId, Timestamp>,
}

/// A parcel that was worked on, and when to look at it again, where the database does not say.
type Worked = (ExchangeId, Option<Timestamp>);

impl Desk {
    /// What this replica was sending when it ended: nobody is sending that now.
    async fn resume(&mut self) {
        let app = self.app.clone();
        let held = match app.store.read().parcels_held(&app.replica).await {
            Ok(held) => held,
            Err(error) => return tracing::error!(%error, "what was being delivered cannot be read"),
        };
        for id in held {
            match registers::parcel(&app, &id).await {
                Ok(Some(parcel)) => self.begin(id, parcel.header.recipient),
                Ok(None) => {}
                Err(unreadable) => tracing::error!(parcel = %id, %unreadable, "a delivery cannot be read"),
            }
        }
    }

    fn done(&mut self, done: Result<Worked, tokio::task::JoinError>) {
        match done {
            Ok((id, later)) => {
                self.busy.remove(&id);
                match later {
                    Some(at) => self.later.insert(id, at),
                    None => self.later.remove(&id),
                };
            }
            // Which one it was is not known: the next round finds whatever is still due.
            Err(error) => {
                tracing::error!(%error, "a delivery ended in a panic");
                if self.work.is_empty() {
                    self.busy.clear();
                }
            }
        }
    }

    async fn turn(&mut self, hints: Hints, now: Timestamp) -> Result<(), Unreadable> {
        self.reconsider(hints).await?;
        self.later.retain(|_, until| *until > now);
        let app = self.app.clone();
        let reader = app.store.read();
        for recipient in reader.recipients_due(now).await? {
            let mut free = PER_RECIPIENT
                .saturating_sub(self.busy.values().filter(|agency| **agency == recipient).count())
                .min(AT_ONCE.saturating_sub(self.busy.len()));
            if free == 0 {
                continue;
            }
            for id in reader.parcels_due(&recipient, now, LOOKED_AT).await? {
                if free == 0 {
                    break;
                }
                if !self.busy.contains_key(&id) && !self.later.contains_key(&id) {
                    self.begin(id, recipient.clone());
                    free -= 1;
                }
            }
        }
        let backlog = reader.backlog().await?;
        metrics::outbox(backlog.waiting, backlog.oldest.map(|oldest| now.since(oldest)), backlog.dead);
        Ok(())
    }

    fn begin(&mut self, id: ExchangeId, recipient: AgencyId) {
        self.busy.insert(id.clone(), recipient);
        let app = self.app.clone();
        self.work.spawn(async move {
            let later = deliver(&app, &id).await;
            (id, later)
        });
    }

    /// Cancels what may not be handed over any more.
    async fn reconsider(&self, hints: Hints) -> Result<(), Unreadable> {
        let app = &self.app;
        let reader = app.store.read();
        let mut people: Vec<Pseudonym> = hints.people.into_iter().collect();
        for id in &hints.cases {
            let case = registers::case(app, id).await?;
            people.extend(case.iter().flat_map(|case| case.subjects().iter().cloned()));
        }
        let mut parcels = hints.parcels;
        for some in people.chunks(varco_store::read::SUBJECTS_MAX) {
            parcels.extend(reader.parcels_about(some).await?);
        }
        for id in parcels {
            self.cancel_if_void(&id).await?;
        }
        if hints.everything { self.sweep().await } else { Ok(()) }
    }

    async fn sweep(&self) -> Result<(), Unreadable> {
        let mut after = None;
        loop {
            let page = self.app.store.read().parcels_after(after.as_ref(), PAGE).await?;
            for id in &page {
                self.cancel_if_void(id).await?;
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn cancel_if_void(&self, id: &ExchangeId) -> Result<(), Unreadable> {
        let Some(parcel) = registers::parcel(&self.app, id).await? else { return Ok(()) };
        // What is on its way was logged before; how that ends is told first.
        if self.busy.contains_key(id) || parcel.state().has_ended() || parcel.is_held(self.app.now()) {
            return Ok(());
        }
        if let Checked::Ruled(Rechecked::Halt(halt)) = check(&self.app, parcel).await? {
            settle(&self.app, Turn::Cancelled(halt)).await;
        }
        Ok(())
    }
}

/// One parcel that is due. Gives back when to look at it again, where its row does not say.
async fn deliver(app: &App, id: &ExchangeId) -> Option<Timestamp> {
    let now = app.now();
    let later = Some(now.plus(LATER));
    let parcel = match registers::parcel(app, id).await {
        Ok(parcel) => parcel?,
        Err(unreadable) => {
            tracing::error!(parcel = %id, %unreadable, "a delivery cannot be read");
            return later;
        }
    };
    let is_others = parcel.is_held(now) && !parcel.is_held_by(&app.replica);
    if parcel.state().has_ended() || is_others {
        return later;
    }
    let recipient = parcel.header.recipient.clone();
    if parcel.ends() <= now {
        settle(app, Turn::Dead { parcel, code: Code::PushExpired }).await;
        return None;
    }
    match check(app, parcel).await {
        Err(unreadable) => {
            tracing::error!(parcel = %id, %unreadable, "a delivery cannot be decided");
            later
        }
        Ok(Checked::Gone) => later,
        Ok(Checked::Damaged(parcel)) => {
            tracing::error!(parcel = %id, "a copy does not open with the keys this gateway has");
            settle(app, Turn::Dead { parcel: *parcel, code: Code::Internal }).await;
            None
        }
        Ok(Checked::Ruled(Rechecked::Halt(halt))) => {
            settle(app, Turn::Cancelled(halt)).await;
            None
        }
        Ok(Checked::Ruled(Rechecked::Permit(_))) if !app.systems.contains(&recipient) => {
            Some(now.plus(IN_THE_INBOX))
        }
        // Nothing is logged as handed over to a system that is left alone at the moment.
        Ok(Checked::Ruled(Rechecked::Permit(_))) if !app.sources.is_open(&recipient) => later,
        Ok(Checked::Ruled(Rechecked::Permit(parcel))) => attempt(app, *parcel).await,
    }
}

/// One attempt: logged, sent, and what came of it logged as well.
async fn attempt(app: &App, parcel: AuthorizedParcel) -> Option<Timestamp> {
    let later = Some(app.now().plus(LATER));
    let (id, entry) = (parcel.parcel().header.exchange.clone(), app.new_exchange(app.now()));
    let keepers = app.keepers.load_full();
    let (salts, replica, seal) = (app.salts(), app.replica.as_str(), &keepers.owners);
    let (pending, sealed) = parcel.attempt(Attempt { entry: entry.clone(), salts, replica, seal });
    let logged = match app.store.append(registers::submission(sealed)).await {
        Ok(committed) => match pending.release(committed.receipt, &app.log) {
            Ok(Released::Logged(logged)) => logged,
            // A withdrawal came first: the parcel is cancelled in the next round.
            Ok(Released::Overtaken) => return None,
            Err(error) => {
                tracing::error!(parcel = %id, %error, "the log's receipt does not open a delivery");
                return later;
            }
        },
        // Another replica has it.
        Err(AppendError::Conflict(_)) => return later,
        Err(error) => {
            tracing::warn!(parcel = %id, %error, "a delivery waits for the log");
            return later;
        }
    };
    let in_force = app.in_force.load_full();
    let token = app.new_token().ok()?;
    let written = {
        let gateway = &in_force.registry.gateway;
        logged.write(&Stamp { seal: &*app.seal, gateway, now: app.now(), token })
    };
    let sent = match (written, registers::parcel(app, &id).await) {
        (Ok(handover), Ok(Some(parcel))) => (send(app, &parcel, &handover).await, parcel),
        (Err(error), _) => {
            tracing::error!(parcel = %id, %error, "a delivery cannot be signed");
            return later;
        }
        (Ok(_), Ok(None) | Err(_)) => return later,
    };
    conclude(app, sent.1, entry, sent.0).await;
    None
}

async fn send(app: &App, parcel: &Parcel, handover: &Handover) -> Result<Accepted, FetchError> {
    let header = &parcel.header;
    let in_force = app.in_force.load_full();
    let (clock, evidence) = (app.clock.clone(), parcel.evidence());
    let context = Context { registry: &in_force.registry, clock: &move || clock() };
    let jtis = app.new_tokens().map_err(|_| FetchError::Busy)?;
    let delivery = Delivery {
        exchange: &handover.exchange,
        provider: &header.sender.agency,
        purpose: &header.purpose,
        record_type: &header.record_type,
        subject: &handover.subject,
        record: &handover.record,
        document: &handover.document,
        evidence: &evidence,
        jtis: &jtis,
    };
    app.sources.deliver(&header.recipient, &delivery, &context).await
}

async fn conclude(app: &App, parcel: Parcel, entry: ExchangeId, sent: Result<Accepted, FetchError>) {
    let turn = match sent {
        Ok(accepted) => Turn::Delivered { parcel, entry, answer: accepted.said.digest },
        Err(error) => {
            tracing::warn!(parcel = %parcel.header.exchange, recipient = %parcel.header.recipient, %error,
                attempts = parcel.attempts(), "a delivery failed");
            let (code, [random]) = (error.code(), app.random());
            if error.is_final() {
                Turn::Dead { parcel, code }
            } else {
                let next = parcel.retry_at(app.now(), random).min(parcel.ends());
                Turn::Failed { parcel, entry, code, next }
            }
        }
    };
    settle(app, turn).await;
}

/// Enters what became of a parcel. Where that cannot be logged now, the parcel stays as it is and is worked on again.
async fn settle(app: &App, done: Turn) {
    let (name, id, recipient) = match &done {
        Turn::Cancelled(halt) => ("cancelled", &halt.parcel.header.exchange, &halt.parcel.header.recipient),
        Turn::Dead { parcel, .. } => ("dead", &parcel.header.exchange, &parcel.header.recipient),
        Turn::Delivered { parcel, .. } => ("delivered", &parcel.header.exchange, &parcel.header.recipient),
        Turn::Failed { parcel, .. } => ("failed", &parcel.header.exchange, &parcel.header.recipient),
    };
    let (id, recipient) = (id.clone(), recipient.clone());
    if let Turn::Dead { code, .. } = &done {
        tracing::error!(parcel = %id, %recipient, code = code.text(), "a delivery was never taken over");
    }
    let sealed = turn(done, app.salts(), &app.keepers.load().owners, app.now());
    match app.store.append(registers::submission(sealed)).await {
        Ok(_) => metrics::parcel(name),
        // Somebody was quicker: acknowledged in the inbox, or another replica.
        Err(AppendError::Conflict(_) | AppendError::Duplicate) => {}
        Err(error) => tracing::warn!(parcel = %id, %error, "what became of a delivery waits for the log"),
    }
}
