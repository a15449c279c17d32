//! Fetches what waits in the gateway's inbox and brings it to local software: a file each, or a POST each.
//!
//! A delivery is acknowledged only once it is safe here; what is fetched again after a crash has the same identifier, and
//! so the same file. Nothing of its content is logged.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::Value;
use varco_core::id::ExchangeId;
use varco_core::json;
use varco_core::wire::Message;

use super::Agent;
use super::client::{Answer, Call};
use super::outward::{Ask, Sealed};
use crate::config::agent::{Inbox, Into};
use crate::http::exchange::BASE;
use crate::tasks::Stop;

/// Local software gets as long as a person would wait.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Deliveries asked for at a time: what the gateway gives at most.
const PAGE: usize = 20;
/// Pages of one round. What is left waits for the next.
const PAGES_MAX: usize = 50;

/// Why a round ended early. The next one begins where this one did.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("a delivery could not be written: {0}")]
    Folder(#[from] std::io::Error),
    #[error("the gateway refused: {code}, {detail}")]
    Gateway { code: String, detail: String },
    #[error("the gateway's answer is not of the form of an inbox")]
    Malformed,
    #[error("the local software answered {0} and not 2xx")]
    Refused(u16),
    #[error("the local software could not be reached: {0}")]
    Unreachable(String),
}

/// Looks into the inbox every so often, until told to stop.
pub async fn fetch(agent: Arc<Agent>, mut stop: Stop) {
    let Some(inbox) = agent.settings.inbox.clone() else { return };
    let mut ticks = tokio::time::interval(inbox.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        match round(&agent, &inbox, &stop).await {
            Ok(0) => {}
            Ok(brought) => tracing::info!(brought, "deliveries brought from the inbox"),
            Err(error) => tracing::error!(%error, "the inbox was not emptied; tried again later"),
        }
    }
}

async fn round(agent: &Agent, inbox: &Inbox, stop: &Stop) -> Result<usize, RoundError> {
    let (mut after, mut brought) = (None, 0_usize);
    for _ in 0..PAGES_MAX {
        let page = read(agent, inbox, after.as_deref()).await?;
        let deliveries = page.get("deliveries").and_then(Value::as_array).ok_or(RoundError::Malformed)?;
        for delivery in deliveries {
            if stop.is_called() {
                return Ok(brought);
            }
            let id = delivery.get("delivery").and_then(Value::as_str);
            // An identifier becomes a file's name: it must be one.
            let id: ExchangeId = id.and_then(|id| id.parse().ok()).ok_or(RoundError::Malformed)?;
            bring(agent, inbox, &id, delivery).await?;
            acknowledge(agent, inbox, &id).await?;
            brought = brought.saturating_add(1);
        }
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    Ok(brought)
}

async fn read(agent: &Agent, inbox: &Inbox, after: Option<&str>) -> Result<Value, RoundError> {
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
    let refused = |code: &str, detail: &str| RoundError::Gateway { code: code.into(), detail: detail.into() };
    let asked = agent.ask(ask, agent.itself(inbox)).await;
    let (sealed, Answer { status, message }) =
        asked.map_err(|problem| refused(problem.code().text(), problem.code().title()))?;
    let body = json::parse(&message.body).map_err(|_| RoundError::Malformed)?;
    if status >= 400 {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        return Err(refused(text("code"), text("title")));
    }
    match sealed {
        Sealed::By(_) => Ok(body),
        Sealed::No => Err(RoundError::Malformed),
    }
}

async fn bring(agent: &Agent, inbox: &Inbox, id: &ExchangeId, delivery: &Value) -> Result<(), RoundError> {
    let body = json::canonical(delivery).into_bytes();
    match &inbox.into {
        Into::Folder(folder) => Ok(file(folder, id, &body)?),
        Into::Url(url) => {
            let headers = vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("idempotency-key".to_owned(), id.to_string()),
            ];
            let call = Call {
                method: Method::POST,
                url: url.clone(),
                message: Message { headers, body },
                timeout: LOCAL_TIMEOUT,
            };
            let answer = agent.local.send(call).await;
            let answer = answer.map_err(|error| RoundError::Unreachable(error.to_string()))?;
            if (200..300).contains(&answer.status) { Ok(()) } else { Err(RoundError::Refused(answer.status)) }
        }
    }
}

/// Whole or not at all: written beside, made durable, then given its name.
fn file(folder: &Path, id: &ExchangeId, body: &[u8]) -> std::io::Result<()> {
    let (part, whole) = (folder.join(format!("{id}.part")), folder.join(format!("{id}.json")));
    let mut file = std::fs::File::create(&part)?;
    file.write_all(body)?;
    file.sync_all()?;
    std::fs::rename(&part, &whole)?;
    std::fs::File::open(folder)?.sync_all()
}
