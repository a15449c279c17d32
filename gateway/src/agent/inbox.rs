//! Fetches what waits in the gateway's inbox and brings it to local software: a file each, or a POST each.
//!
//! A delivery is acknowledged only once local software has it, and that is remembered first ([`Handed`]). A file is put
//! into its folder once; a POST is made again if the agent ends before it has noted the answer, under the same
//! `Idempotency-Key`. What local software refuses is tried again, ever more rarely, and holds up nothing behind it.
//! Nothing of a delivery's content is logged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::Value;
use varco_core::id::ExchangeId;
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::Message;

use super::Agent;
use super::client::{Answer, Call, ClientError};
use super::handed::Handed;
use super::outward::{Ask, Sealed};
use crate::config::agent::{Inbox, Into};
use crate::http::exchange::BASE;
use crate::tasks::Stop;

/// Local software gets as long as a person would wait.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Deliveries asked for at a time: what the gateway gives at most.
const PAGE: usize = 20;
/// A refused delivery is tried again after one interval, then two, four, up to this: each time it is read is an entry of
/// the log, and thirty days of these are 720.
const REFUSED_MAX: Duration = Duration::from_secs(3600);
/// The same when there is nobody to bring anything to, or no gateway to fetch from.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How often it is looked for what need not be remembered any more.
const SWEEP: Duration = Duration::from_secs(24 * 3600);

/// Why a round ended early: what is left would fare no better.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("what was handed over cannot be remembered, or no file be written: {0}")]
    Folder(#[from] std::io::Error),
    #[error("there was no answer of the gateway: {0}")]
    Gateway(&'static str),
    #[error("the gateway's answer is not of the form of an inbox")]
    Malformed,
    #[error("the gateway refused: {code}, {title}")]
    Refused { code: String, title: String },
    #[error("there is nobody at the local address: {0}")]
    Unreachable(String),
}

/// Why one delivery was not handed over. Others may be.
#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("the gateway took no acknowledgement: {0}")]
    Acknowledgement(String),
    #[error("local software gave no answer: {0}")]
    Broken(ClientError),
    #[error("local software answered {0} and not 2xx")]
    Refused(u16),
}

/// How long something that failed is let be: twice as long each time.
struct Wait {
    length: Duration,
    until: Timestamp,
}

impl Wait {
    fn after(before: Option<&Self>, (first, most): (Duration, Duration), now: Timestamp) -> Self {
        let length = before.map_or(first, |before| before.length.saturating_mul(2).min(most.max(first)));
        Self { length, until: now.plus(length) }
    }
}

/// Brings deliveries, and knows what is let be for a while.
pub struct Courier {
    inbox: Inbox,
    handed: Handed,
    refused: BTreeMap<ExchangeId, Wait>,
    pause: Option<Wait>,
    swept: Option<Timestamp>,
}

/// Looks into the inbox every so often, until told to stop.
pub async fn fetch(agent: Arc<Agent>, mut courier: Courier, mut stop: Stop) {
    let mut ticks = tokio::time::interval(courier.inbox.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        let now = (agent.clock)();
        if courier.pause.as_ref().is_some_and(|pause| now < pause.until) {
            continue;
        }
        match courier.round(&agent, &stop).await {
            Ok(brought) => {
                courier.pause = None;
                if brought > 0 {
                    tracing::info!(brought, "deliveries brought from the inbox");
                }
            }
            Err(error) => {
                let lengths = (courier.inbox.every, PAUSE_MAX);
                courier.pause = Some(Wait::after(courier.pause.as_ref(), lengths, now));
                tracing::error!(%error, "the inbox was not emptied; tried again later");
            }
        }
    }
}

impl Courier {
    /// Opens what is remembered of earlier rounds.
    pub fn open(inbox: Inbox) -> std::io::Result<Self> {
        let handed = Handed::open(&inbox.into.state())?;
        Ok(Self { inbox, handed, refused: BTreeMap::new(), pause: None, swept: None })
    }

    async fn round(&mut self, agent: &Agent, stop: &Stop) -> Result<usize, RoundError> {
        let now = (agent.clock)();
        if self.swept.is_none_or(|swept| swept.plus(SWEEP) <= now) {
            self.handed.forget_old(now)?;
            self.swept = Some(now);
        }
        let (mut after, mut brought, mut offered) = (self.begin(now), 0_usize, BTreeSet::new());
        let is_whole = after.is_none();
        loop {
            let page = read(agent, &self.inbox, after.as_ref()).await?;
            let deliveries = page.get("deliveries").and_then(Value::as_array).ok_or(RoundError::Malformed)?;
            for delivery in deliveries {
                if stop.is_called() {
                    return Ok(brought);
                }
                // An identifier becomes a file's name: it must be one.
                let id = identifier(delivery, "delivery").ok_or(RoundError::Malformed)?;
                brought = brought.saturating_add(self.carry(agent, &id, delivery).await?);
                offered.insert(id);
            }
            let next = identifier(&page, "next");
            if next.is_none() || next <= after {
                break;
            }
            after = next;
        }
        if is_whole {
            self.refused.retain(|id, _| offered.contains(id));
        }
        Ok(brought)
    }

    /// Where to begin: what was refused is passed over, unless one of them is due again, because every delivery that is read is
    /// an entry of the log. One that another replica named by a clock that is behind is found when the first wait is over.
    fn begin(&self, now: Timestamp) -> Option<ExchangeId> {
        let is_due = self.refused.values().any(|wait| wait.until <= now);
        self.refused.keys().next_back().filter(|_| !is_due).cloned()
    }

    /// One delivery, unless it is let be for now: how many were brought.
    async fn carry(&mut self, agent: &Agent, id: &ExchangeId, delivery: &Value) -> Result<usize, RoundError> {
        let now = (agent.clock)();
        let before = self.refused.get(id);
        if before.is_some_and(|wait| now < wait.until) {
            return Ok(0);
        }
        let Err(error) = self.bring(agent, id, delivery).await? else {
            self.refused.remove(id);
            return Ok(1);
        };
        let wait = Wait::after(before, (self.inbox.every, REFUSED_MAX), now);
        tracing::error!(delivery = %id, %error, again_ms = wait.length.as_millis(), "a delivery was not handed over");
        self.refused.insert(id.clone(), wait);
        Ok(0)
    }

    /// Hands over what was not handed over before, and tells the gateway.
    async fn bring(
        &self,
        agent: &Agent,
        id: &ExchangeId,
        delivery: &Value,
    ) -> Result<Result<(), HandOverError>, RoundError> {
        if !self.handed.holds(id)? {
            let (body, now) = (json::canonical(delivery).into_bytes(), (agent.clock)());
            match &self.inbox.into {
                Into::Folder(folder) => self.handed.file(folder, (id, &body), now)?,
                Into::Url { url, .. } => {
                    if let Err(error) = post(agent, url, id, body).await? {
                        return Ok(Err(error));
                    }
                    self.handed.remember(id, now)?;
                }
            }
        }
        match acknowledge(agent, &self.inbox, id).await {
            Err(RoundError::Refused { code, .. }) => Ok(Err(HandOverError::Acknowledgement(code))),
            done => done.map(Ok),
        }
    }
}

fn identifier(value: &Value, name: &str) -> Option<ExchangeId> {
    value.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok())
}

async fn read(agent: &Agent, inbox: &Inbox, after: Option<&ExchangeId>) -> Result<Value, RoundError> {
    let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
    let path = format!("{BASE}/inbox?limit={PAGE}{after}");
    let ask = Ask { method: Method::GET, path, content_type: None, body: Vec::new() };
    call(agent, inbox, ask).await
}

async fn acknowledge(agent: &Agent, inbox: &Inbox, id: &ExchangeId) -> Result<(), RoundError> {
    let path = format!("{BASE}/inbox/{id}/ack");
    let content_type = Some("application/json".to_owned());
    let ask = Ask { method: Method::POST, path, content_type, body: b"{}".to_vec() };
    call(agent, inbox, ask).await.map(|_| ())
}

/// A call of the agent's own. Only a sealed answer counts.
async fn call(agent: &Agent, inbox: &Inbox, ask: Ask) -> Result<Value, RoundError> {
    let asked = agent.ask(ask, agent.itself(inbox)).await;
    let (sealed, Answer { status, message }) =
        asked.map_err(|problem| RoundError::Gateway(problem.code().title()))?;
    let body = json::parse(&message.body).map_err(|_| RoundError::Malformed)?;
    if status >= 400 {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        return Err(RoundError::Refused { code: text("code"), title: text("title") });
    }
    match sealed {
        Sealed::By(_) => Ok(body),
        Sealed::No => Err(RoundError::Malformed),
    }
}

/// One POST. Where nobody listens, the next delivery would fare the same; a delivery that breaks the connection may be the
/// only one that does.
async fn post(
    agent: &Agent,
    url: &str,
    id: &ExchangeId,
    body: Vec<u8>,
) -> Result<Result<(), HandOverError>, RoundError> {
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("idempotency-key".to_owned(), id.to_string()),
    ];
    let message = Message { headers, body };
    let call = Call { method: Method::POST, url: url.to_owned(), message, timeout: LOCAL_TIMEOUT };
    match agent.local.send(call).await {
        Ok(Answer { status: 200..300, .. }) => Ok(Ok(())),
        Ok(Answer { status, .. }) => Ok(Err(HandOverError::Refused(status))),
        Err(error) if error.is_connect() => Err(RoundError::Unreachable(error.to_string())),
        Err(error) => Ok(Err(HandOverError::Broken(error))),
    }
}
