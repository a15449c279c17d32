//! Time stamps over our checkpoints (RFC 3161), from authorities that know nothing of us. They say that what the log held
//! then was there then; witnesses say that it is the same for everybody.
//!
//! Never waited for: without a stamp there is an alarm, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use varco_core::hash::Sha256;
use varco_core::log::note::Note;
use varco_core::log::stamp::{self, RESPONSE_MAX, StampFault};
use varco_core::time::Timestamp;
use varco_store::kept::{Record, Stamp};
use varco_store::recover::Signed;
use varco_store::submission::Unavailable;

use crate::app::App;
use crate::config;
use crate::fetch::{FetchError, Fetcher};
use crate::start::{StartError, fault};
use crate::tasks::Stop;

/// The authorities and how it stands with each.
pub struct Stamps {
    settings: config::Timestamps,
    fetcher: Fetcher,
    state: Mutex<Vec<Standing>>,
}

/// How it stands with one authority.
#[derive(Clone, Debug)]
pub struct Standing {
    pub name: String,
    /// When it stamped last, by our clock, and at first when the gateway started.
    pub last: Timestamp,
    /// The size of the log it stamped last.
    pub size: Option<u64>,
    pub fault: Option<String>,
    /// How far its clock was from ours.
    skew: Option<Duration>,
}

/// Why there is no stamp.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keep(#[from] Unavailable),
    #[error("the checkpoint cannot be read")]
    Note,
    #[error("it answered with status {0}")]
    Refused(u16),
    #[error(transparent)]
    Stamp(#[from] StampFault),
    #[error("its answer is too large")]
    TooLarge,
}

impl Stamps {
    pub fn open(settings: &config::Timestamps, now: Timestamp) -> Result<Self, StartError> {
        let path = settings.server_authorities.first().cloned().unwrap_or_default();
        let fetcher = Fetcher::new(&settings.server_authorities, None).map_err(fault(&path))?;
        let standing =
            |name: &String| Standing { name: name.clone(), last: now, size: None, fault: None, skew: None };
        let state = Mutex::new(settings.authorities.keys().map(standing).collect());
        Ok(Self { settings: settings.clone(), fetcher, state })
    }

    pub fn standing(&self) -> Vec<Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The authorities that have given nothing for longer than the configuration allows, and since when.
    pub fn late(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let late = |standing: &Standing| standing.last.plus(self.settings.alarm) < now;
        self.standing().into_iter().filter(late).map(|standing| (standing.name, standing.last)).collect()
    }

    /// How far each authority's clock was from ours.
    pub fn skews(&self) -> Vec<(String, Duration)> {
        self.standing().into_iter().filter_map(|standing| Some((standing.name, standing.skew?))).collect()
    }

    /// Asks every authority for a stamp over the newest checkpoint.
    pub async fn round(&self, app: &App) {
        let signed = app.store.checkpoint();
        for (name, url) in &self.settings.authorities {
            let asked = self.ask(app, (name.as_str(), url.as_str()), &signed).await;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(standing) = state.iter_mut().find(|standing| standing.name == *name) else { continue };
            match asked {
                Ok(at) => {
                    let now = app.now();
                    standing.last = now;
                    standing.size = Some(signed.end());
                    standing.skew = Some(now.since(at).max(at.since(now)));
                    standing.fault = None;
                }
                Err(error) => {
                    if standing.fault.is_none() {
                        tracing::warn!(authority = name, %error, "an authority gave no time stamp");
                    }
                    standing.fault = Some(error.to_string());
                }
            }
        }
    }

    async fn ask(
        &self,
        app: &App,
        (name, url): (&str, &str),
        signed: &Signed,
    ) -> Result<Timestamp, AskError> {
        let note = Note::parse(signed.note.as_bytes()).map_err(|_| AskError::Note)?;
        let imprint = Sha256::of(note.text().as_bytes());
        let nonce = stamp::nonce(app.random());
        let request = Bytes::from(stamp::request(&imprint, nonce));
        let answer = self.fetcher.post_signed("application/timestamp-query", url, request).await?;
        if answer.status != 200 {
            return Err(AskError::Refused(answer.status));
        }
        if answer.body.len() > RESPONSE_MAX {
            return Err(AskError::TooLarge);
        }
        let given = stamp::check(&answer.body, &imprint, Some(nonce))?;
        let record = Stamp {
            // Through all shards, so that the sizes of two of them do not meet.
            size: signed.end(),
            authority: name.to_owned(),
            at: given.at,
            note: signed.note.to_string(),
            response: answer.body.to_vec(),
        };
        app.store.keep(vec![Record::Stamp(record)]).await?;
        Ok(given.at)
    }
}

/// Asks now and again and again, until told to stop. A log that has not grown is stamped too: its time then shows that
/// nothing came meanwhile.
pub async fn watch(app: Arc<App>, mut stop: Stop) {
    let Some(stamps) = &app.stamps else { return };
    let mut ticks = tokio::time::interval(stamps.settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => stamps.round(&app).await,
        }
    }
}
