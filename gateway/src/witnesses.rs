//! Those who cosign our log: asked again and again, never waited for. What they sign is served with the checkpoint.
//!
//! The policy file says who they are and how many are enough; each of their keys must stand in the registry, which
//! officers sign. Without a quorum for longer than the configuration allows there is an alarm, and, where it says so,
//! no further exchange.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use varco_core::log::note::{Note, NoteVerifier as _, Signature};
use varco_core::log::quorum::{Policy, Witness};
use varco_core::log::tree::Head;
use varco_core::log::witness::{AddCheckpoint, split_cosignature};
use varco_core::registry::Registry;
use varco_core::time::Timestamp;
use varco_jose::CosignatureVerifier;
use varco_store::kept::Record;
use varco_store::read::ReadError;
use varco_store::recover::Signed;
use varco_store::trees::Ending;

use crate::app::App;
use crate::config;
use crate::fetch::{FetchError, Fetcher};
use crate::start::{StartError, fault, read};
use crate::tasks::Stop;

/// Cosignatures of an unchanged log are renewed, so that their time shows that it still is watched.
const RENEW: Duration = Duration::from_secs(600);

/// Everybody who cosigns, and what they have cosigned.
pub struct Witnesses {
    policy: Policy,
    parties: Vec<Party>,
    fetcher: Fetcher,
    settings: config::Witnesses,
    state: Mutex<State>,
}

struct Party {
    witness: Witness,
    url: String,
    verifier: CosignatureVerifier,
}

struct State {
    /// The newest checkpoint with a quorum of cosignatures.
    cosigned: Option<Signed>,
    /// When the quorum was last reached, and at first when the gateway started.
    reached: Timestamp,
    /// For each party the size it cosigned last and why it did not since.
    parties: Vec<Standing>,
    /// The shard whose sizes these are.
    shard: u32,
    /// The last closed shard whose final checkpoint a quorum has cosigned.
    ended: Option<u32>,
}

/// How it stands with one witness.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub name: String,
    pub size: u64,
    pub fault: Option<String>,
    /// How far its clock was from ours when it cosigned last.
    pub skew: Option<Duration>,
}

/// How it stands with the quorum.
#[derive(Clone, Debug)]
pub struct Quorum {
    pub cosigned: Option<u64>,
    pub reached: Timestamp,
    /// It has not been reached for longer than the configuration allows.
    pub alarm: bool,
    pub parties: Vec<Standing>,
}

/// Why one witness gave no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("its answer holds no good cosignature of its own")]
    Answer,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it has seen {0} entries, more than there are")]
    Ahead(u64),
    #[error("no consistency proof can be made: {0}")]
    Proof(#[from] ReadError),
    #[error("it refused with status {0}")]
    Refused(u16),
}

impl Witnesses {
    /// From the configuration; every witness of the policy must be in the registry.
    pub fn open(
        settings: &config::Witnesses,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<Self, StartError> {
        let text = String::from_utf8(read(&settings.policy)?).map_err(fault(&settings.policy))?;
        let policy = Policy::parse(&text).map_err(fault(&settings.policy))?;
        let mut parties = Vec::new();
        for witness in &policy.witnesses {
            if !registry.witnesses.contains(&witness.key.to_string()) {
                let what = format!("the witness `{}` is not in the registry", witness.name);
                return Err(StartError::File { path: settings.policy.clone(), what });
            }
            let verifier = CosignatureVerifier::new(witness.key.clone()).map_err(fault(&settings.policy))?;
            if let Some(url) = &witness.url {
                let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
                parties.push(Party { witness: witness.clone(), url, verifier });
            }
        }
        let standing = |party: &Party| Standing { name: party.witness.name.clone(), ..Standing::default() };
        let standings = parties.iter().map(standing).collect();
        let state = State { cosigned: None, reached: now, parties: standings, shard: 0, ended: None };
        let fetcher = Fetcher::new(&settings.authorities, None).map_err(fault(&settings.policy))?;
        Ok(Self { policy, parties, fetcher, settings: settings.clone(), state: Mutex::new(state) })
    }

    /// The newest checkpoint that enough witnesses have cosigned, with their cosignatures.
    pub fn cosigned(&self) -> Option<Signed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cosigned.clone()
    }

    pub fn quorum(&self, now: Timestamp) -> Quorum {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Quorum {
            cosigned: state.cosigned.as_ref().map(Signed::end),
            reached: state.reached,
            alarm: state.reached.plus(self.settings.alarm) < now,
            parties: state.parties.clone(),
        }
    }

    /// Whether exchanges must stop until there is a quorum again.
    pub fn stops(&self, now: Timestamp) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.settings.stop_after.is_some_and(|after| state.reached.plus(after) < now)
    }

    /// Asks every witness about the newest checkpoint. `true` when enough have cosigned it.
    pub async fn round(&self, app: &App) -> bool {
        let signed = app.store.checkpoint();
        if let Err(error) = self.end(app, &signed).await {
            tracing::warn!(error, "the final checkpoint of the last year's log is not cosigned yet");
        }
        let Ok(mut note) = Note::parse(signed.note.as_bytes()) else { return false };
        let mut enough = BTreeSet::new();
        self.begin(signed.shard.number);
        for (position, party) in self.parties.iter().enumerate() {
            let asked = self.ask(app, party, &signed, self.seen(position)).await;
            let fault = match asked {
                Ok(cosignature) => {
                    self.note_skew(position, &cosignature, app.now());
                    let at = self.policy.witnesses.iter().position(|other| other == &party.witness);
                    enough.extend(at.filter(|_| note.attach(cosignature)));
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            self.note_standing(position, signed.head.size, fault);
        }
        let met = self.policy.is_met(&enough);
        if met {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.cosigned = Some(Signed { note: note.to_string().into(), ..signed });
            state.reached = app.now();
        }
        met
    }

    /// Sizes are counted anew in every shard.
    fn begin(&self, shard: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.shard != shard {
            state.shard = shard;
            state.parties.iter_mut().for_each(|standing| standing.size = 0);
        }
    }

    /// Has the final checkpoint of the shard before cosigned, until a quorum has, and keeps it so.
    async fn end(&self, app: &App, newest: &Signed) -> Result<(), String> {
        let Some(number) = newest.shard.number.checked_sub(1) else { return Ok(()) };
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).ended == Some(number) {
            return Ok(());
        }
        let shards = app.store.read().shards().await.map_err(|error| error.to_string())?;
        let closed = shards.into_iter().find(|standing| standing.shard.number == number);
        let Some((Ending::Closed(Some(note)), shard, head)) =
            closed.map(|one| (one.state, one.shard, one.head))
        else {
            return Err("it is not signed".to_owned());
        };
        let mut cosigned = Note::parse(note.as_bytes()).map_err(|fault| fault.to_string())?;
        let signed = Signed { shard, head, note };
        let mut enough = BTreeSet::new();
        for party in &self.parties {
            let cosignature = self.ask(app, party, &signed, 0).await.map_err(|error| error.to_string())?;
            let at = self.policy.witnesses.iter().position(|other| other == &party.witness);
            enough.extend(at.filter(|_| cosigned.attach(cosignature)));
        }
        if !self.policy.is_met(&enough) {
            return Err("there is no quorum".to_owned());
        }
        let record = Record::Final { shard: number, note: cosigned.to_string() };
        app.store.keep(vec![record]).await.map_err(|error| error.to_string())?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(number);
        Ok(())
    }

    fn seen(&self, position: usize) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.parties.get(position).map_or(0, |standing| standing.size)
    }

    /// A cosignature says when it was made, by the witness's clock.
    fn note_skew(&self, position: usize, cosignature: &Signature, now: Timestamp) {
        let Some((seconds, _)) = split_cosignature(cosignature.bytes()) else { return };
        let at = Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = state.parties.get_mut(position) {
            standing.skew = Some(now.since(at).max(at.since(now)));
        }
    }

    fn note_standing(&self, position: usize, size: u64, fault: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = state.parties.get_mut(position) else { return };
        if let Some(fault) = &fault
            && standing.fault.is_none()
        {
            tracing::warn!(witness = standing.name, fault, "a witness does not cosign");
        }
        if fault.is_none() {
            standing.size = size;
        }
        standing.fault = fault;
    }

    async fn ask(&self, app: &App, party: &Party, signed: &Signed, seen: u64) -> Result<Signature, AskError> {
        let answer = self.submit(app, party, signed, seen).await?;
        // It remembers another size: after a restart we know none, and others may have asked it.
        let remembered = std::str::from_utf8(&answer.body).ok().and_then(|text| text.trim_end().parse().ok());
        let answer = match (answer.status, remembered) {
            (409, Some(size)) if size != seen => self.submit(app, party, signed, size).await?,
            _ => answer,
        };
        if answer.status != 200 {
            return Err(AskError::Refused(answer.status));
        }
        let lines = std::str::from_utf8(&answer.body).map_err(|_| AskError::Answer)?;
        let text = signed.note.split_once("\n\n").map_or("", |(text, _)| text).to_owned() + "\n";
        let own = |signature: &Signature| {
            signature.name() == party.verifier.name()
                && signature.key_id() == party.verifier.key_id()
                && party.verifier.verify(text.as_bytes(), signature.bytes())
        };
        lines.lines().filter_map(Signature::parse).find(own).ok_or(AskError::Answer)
    }

    async fn submit(
        &self,
        app: &App,
        party: &Party,
        signed: &Signed,
        old: u64,
    ) -> Result<crate::fetch::Fetched, AskError> {
        let Head { size, .. } = signed.head;
        if old > size {
            return Err(AskError::Ahead(old));
        }
        let proof = app.store.read().of(&signed.shard).consistency_proof(old, size).await?;
        let note = Note::parse(signed.note.as_bytes()).map_err(|_| AskError::Answer)?;
        let request = AddCheckpoint { old, proof, note };
        Ok(self.fetcher.post(&party.url, request.to_string()).await?)
    }
}

/// Asks whenever the log has grown, and now and then when it has not, until told to stop.
pub async fn watch(app: Arc<App>, mut stop: Stop) {
    let Some(witnesses) = &app.witnesses else { return };
    let mut ticks = tokio::time::interval(witnesses.settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alarmed = false;
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        let now = app.now();
        let quorum = witnesses.quorum(now);
        let grown = quorum.cosigned != Some(app.store.checkpoint().end());
        if grown || quorum.reached.plus(RENEW) < now {
            witnesses.round(&app).await;
        }
        let alarm = witnesses.quorum(app.now()).alarm;
        if alarm && !alarmed {
            tracing::error!("the log's checkpoints have not been cosigned by a quorum for too long");
        }
        alarmed = alarm;
    }
}
