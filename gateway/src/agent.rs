//! `varco agent`: the gateway's counterpart on an agency's side, for software that has no keys.
//!
//! Local programs call it in the clear, on this machine only; it makes the tokens, keeps the keys, checks what comes
//! back. The other way round it answers the gateway in the name of local software. It decides nothing about people:
//! that is the gateway's. Must not know policies, consents or the log, beyond checking a receipt.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use rustls::ClientConfig;
use tokio::net::TcpListener;
use varco_core::hash::Sha256;
use varco_core::id::{IdFault, TokenId};
use varco_core::log::note::NoteVerifier;
use varco_core::log::proof::LogVerifier;
use varco_core::registry::Identity;
use varco_core::wire::{Evidence, Jtis};
use varco_jose::{Ed25519NoteVerifier, SealSigner, SealTrust};
use zeroize::Zeroizing;

use crate::app::{Clock, Entropy};
use crate::config::agent::{self as settings, LocalListener};
use crate::http::hygiene::Hosts;
use crate::outbound::Trusts;
use crate::server::{self, Limits, Server, Transport};
use crate::start::{StartError, fault, read};
use crate::tasks::{Stop, Tasks, Unfinished};
use crate::tls::{self, Channel};

mod client;
mod handed;
mod inbox;
mod inward;
mod local;
mod outward;
mod seen;

/// How long a stop waits for calls under way.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// A token of fewer characters could be guessed by a program that tries.
const TOKEN_MIN: usize = 32;

/// The wired parts of an agent.
pub struct Agent {
    pub(crate) settings: settings::Agent,
    clock: Clock,
    entropy: Entropy,
    keys: ArcSwap<Keys>,
    /// Set when answers need a receipt of this log.
    log: Option<LogVerifier>,
    /// What local programs must show, where they must show anything.
    token: Option<Zeroizing<String>>,
    local: client::Client,
    seen: seen::Seen,
}

/// What is read again when its files change, swapped as a whole.
struct Keys {
    signer: SealSigner,
    seals: SealTrust,
    /// The keys that the gateway may seal with, and connect to us with.
    gateway_seals: Vec<Sha256>,
    gateway_channels: Vec<Sha256>,
    client: client::Client,
}

/// An agent that serves. Dropping it does not stop it; [`Running::stop`] does.
pub struct Running {
    pub agent: Arc<Agent>,
    /// Where local programs find it: `http://127.0.0.1:8480`, or `unix:/run/varco/agent.sock`.
    pub local: String,
    /// Where the gateway finds it, if it may.
    pub answers: Option<SocketAddr>,
    tasks: Tasks,
}

impl Running {
    /// Takes no further calls and finishes those under way.
    pub async fn stop(self) -> Result<(), Unfinished> {
        self.tasks.call_stop();
        // The listeners wait for their own calls as long as they may; a little more, so that they can say so.
        self.tasks.finish(SHUTDOWN + Duration::from_secs(2)).await
    }
}

/// Reads everything, opens the listeners, and serves until told to stop.
pub async fn start(settings: settings::Agent, clock: Clock, entropy: Entropy) -> Result<Running, StartError> {
    let trusts = Trusts::read(&settings.seal, &settings.channel, clock())?;
    let keys = Keys::read(&settings, &trusts, &clock)?;
    let agent = Arc::new(Agent {
        keys: ArcSwap::from_pointee(keys),
        log: log(&settings.gateway)?,
        token: token(settings.local.token.as_deref())?,
        local: client::Client::local(),
        seen: seen::Seen::default(),
        settings,
        clock,
        entropy,
    });
    let tasks = Tasks::new();
    tasks.spawn("trust-watch", watch(agent.clone(), trusts, tasks.stop()));
    if let Some(inbox) = agent.settings.inbox.clone() {
        let place = inbox.into.state();
        let courier = inbox::Courier::open(inbox).map_err(fault(&place))?;
        tasks.spawn("inbox", inbox::fetch(agent.clone(), courier, tasks.stop()));
    }
    let answers = match &agent.settings.answers {
        Some(answers) => Some(listen_for_gateway(&tasks, agent.clone(), answers).await?),
        None => None,
    };
    let local = listen_for_programs(&tasks, &agent).await?;
    Ok(Running { agent, local, answers, tasks })
}

async fn listen_for_programs(tasks: &Tasks, agent: &Arc<Agent>) -> Result<String, StartError> {
    let router = outward::routes(agent.clone());
    match &agent.settings.local.listen {
        LocalListener::Tcp(address) => {
            let listener = bind(*address).await?;
            let bound = listener.local_addr().map_err(|error| StartError::Listen(*address, error))?;
            // A page in somebody's browser that made its name point here would be another Host.
            let hosts = [format!("{bound}"), format!("localhost:{}", bound.port())];
            serve(tasks, listener, Transport::Loopback, (Hosts::new(hosts), router));
            Ok(format!("http://{bound}"))
        }
        LocalListener::Unix(path) => {
            let listener = local::bind(path).map_err(fault(path))?;
            tasks.spawn("local", local::serve(listener, router, tasks.clone()));
            Ok(format!("unix:{}", path.display()))
        }
    }
}

async fn listen_for_gateway(
    tasks: &Tasks,
    agent: Arc<Agent>,
    answers: &settings::Answers,
) -> Result<SocketAddr, StartError> {
    let trust = tls::TrustFiles {
        authorities: answers.authorities.clone(),
        revocations: answers.revocations.clone(),
    };
    let material = tls::Material {
        certificate: answers.certificate.clone(),
        key: answers.key.clone(),
        clients: tls::Clients::Certified(trust),
        versions: tls::Versions::Tls13,
    };
    let channel = Channel::load(material, agent.clock.clone())?;
    tasks.spawn("channel-watch", tls::watch(channel.clone(), agent.settings.reload_every, tasks.stop()));
    let listener = bind(answers.address).await?;
    let bound = listener.local_addr().map_err(|error| StartError::Listen(answers.address, error))?;
    serve(tasks, listener, Transport::Tls(channel), (Hosts::default(), inward::routes(agent)));
    Ok(bound)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

fn serve(tasks: &Tasks, listener: TcpListener, transport: Transport, (hosts, router): (Hosts, Router)) {
    let limits = Limits { shutdown: SHUTDOWN, ..Limits::default() };
    let server = Server { transport, router, hosts, limits };
    let stop = tasks.stop();
    tasks.spawn("listener", async move {
        if let Err(unfinished) = server::serve(listener, server, stop).await {
            tracing::error!(%unfinished, "a listener was cut off at shutdown");
        }
    });
}

/// Reads keys and trust again when a file changes, or at SIGHUP. What cannot be read leaves everything as it was.
async fn watch(agent: Arc<Agent>, mut trusts: Trusts, stop: Stop) {
    let every = agent.settings.reload_every;
    let files = || agent.settings.files();
    let changed = || {
        let (settings, now) = (&agent.settings, (agent.clock)());
        let next = trusts.read_after(&settings.seal, &settings.channel, now);
        match next.and_then(|next| Ok((Keys::read(settings, &next, &agent.clock)?, next))) {
            Ok((keys, next)) => {
                agent.keys.store(Arc::new(keys));
                trusts = next;
                tracing::info!("keys and trust reloaded");
            }
            Err(error) => tracing::error!(%error, "reload refused; what is in use stays in use"),
        }
    };
    tls::watch_files(files, every, stop, changed).await;
}

impl Keys {
    fn read(settings: &settings::Agent, trusts: &Trusts, clock: &Clock) -> Result<Self, StartError> {
        let (key, certificate) = (read(&settings.seal.key)?, read(&settings.seal.certificate)?);
        let signer = SealSigner::from_pem(&key, &certificate).map_err(fault(&settings.seal.key))?;
        let tls: Arc<ClientConfig> = trusts.client(&settings.channel, clock)?;
        Ok(Self {
            signer,
            seals: trusts.seals(&settings.seal)?,
            gateway_seals: pins(&settings.gateway.seals)?,
            gateway_channels: pins(&settings.gateway.channels)?,
            client: client::Client::remote(&tls),
        })
    }
}

impl settings::Agent {
    /// The files of keys and trust, to be watched.
    fn files(&self) -> Vec<PathBuf> {
        let seal = [self.seal.certificate.clone(), self.seal.key.clone()];
        let pinned = self.gateway.seals.iter().chain(&self.gateway.channels).cloned();
        Trusts::files(&self.seal, &self.channel).into_iter().chain(seal).chain(pinned).collect()
    }
}

impl Agent {
    fn jtis(&self) -> Jtis {
        Jtis::new((self.clock)(), std::array::from_fn(|_| self.random()))
    }

    fn jti(&self) -> Result<TokenId, IdFault> {
        format!("{:032x}", u128::from_be_bytes(self.random())).parse()
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes);
        bytes
    }

    /// Who asks, when the agent asks of its own accord.
    fn itself(&self, inbox: &settings::Inbox) -> Evidence {
        Evidence {
            operator: inbox.operator.clone(),
            location: self.settings.local.location.clone().unwrap_or_else(|| "varco-agent".to_owned()),
            loa: self.settings.local.assurance,
        }
    }
}

/// The keys of certificates, by which the gateway is known: its name proves nothing.
fn pins(files: &[PathBuf]) -> Result<Vec<Sha256>, StartError> {
    let mut keys = Vec::with_capacity(files.len());
    for path in files {
        let certificates = varco_jose::certificates(&read(path)?).map_err(fault(path))?;
        let leaf = certificates.first().ok_or_else(|| StartError::File {
            path: path.clone(),
            what: "there is no certificate in it".to_owned(),
        })?;
        let Identity { key, .. } = varco_jose::certificate::identity(leaf).map_err(fault(path))?;
        keys.push(key);
    }
    Ok(keys)
}

fn log(gateway: &settings::Gateway) -> Result<Option<LogVerifier>, StartError> {
    let Some(text) = &gateway.log else { return Ok(None) };
    let verifier = Ed25519NoteVerifier::from_text(text).map_err(|_| StartError::LogKey)?;
    let origin = verifier.name().to_owned();
    Ok(Some(LogVerifier::new(origin, vec![Arc::new(verifier)])))
}

fn token(path: Option<&Path>) -> Result<Option<Zeroizing<String>>, StartError> {
    let Some(path) = path else { return Ok(None) };
    let text = Zeroizing::new(String::from_utf8(read(path)?).map_err(fault(path))?);
    let token = Zeroizing::new(text.trim().to_owned());
    if token.len() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!("expected a token of at least {TOKEN_MIN} ASCII characters without spaces");
        return Err(StartError::File { path: path.to_owned(), what });
    }
    Ok(Some(token))
}
