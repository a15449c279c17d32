//! From a configuration to a running gateway: everything is read, checked and wired here, and nowhere else.
//!
//! The order matters. The root of trust comes first (ceremony, registry, policy), then the log, which must continue
//! what its anchor says and begin with this very ceremony; only then do the listeners open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::log::note::NoteVerifier;
use varco_core::log::proof::LogVerifier;
use varco_core::registry::Registry;
use varco_core::subject::SubjectKeys;
use varco_core::time::Timestamp;
use varco_core::wire;
use varco_jose::{AesBodyCipher, Ed25519NoteKey, Ed25519NoteVerifier, SealSigner, SealTrust};
use varco_store::db::Address;
use varco_store::keyring::Keyring;
use varco_store::read::Reader;
use varco_store::recover::OpenError;
use varco_store::status::Health;
use varco_store::store::{self, MissingAnchor, Store};
use varco_store::submission::{Artifact, ArtifactKind, Submission};

use crate::administration;
use crate::alerts::{self, Alerts};
use crate::app::{App, Clock, Entropy};
use crate::config::Config;
use crate::documents::Documents;
use crate::genesis::{self, Ceremony};
use crate::keepers::Keepers;
use crate::limits::{self, Limiter};
use crate::outbound::{self, Means, Trusts};
use crate::outbox::{self, Outbox};
use crate::policies::{Bundle, OpenEntry};
use crate::rotation;
use crate::rules::{self, Rules, RulesError};
use crate::server::{self, Server, Transport};
use crate::siem::{self, Siem};
use crate::stamps::{self, Stamps};
use crate::tasks::{Tasks, Unfinished};
use crate::telemetry::metrics::LogHealth;
use crate::tls::{self, Channel};
use crate::witness::Witness;
use crate::witnesses::{self, Witnesses};
use crate::{http, retention, systems, telemetry};

/// Why a gateway did not start. Each says which part and why.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("the genesis is not accepted: {0}")]
    Genesis(#[from] genesis::TrustFault),
    #[error("the genesis is {found}, but the configuration demands {wanted}")]
    GenesisOther { found: String, wanted: String },
    #[error("the log's key is not the registry's")]
    LogKey,
    #[error("the rules in force cannot be read: {0}")]
    Rules(#[from] RulesError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("the policy bundle is not accepted:\n{0}")]
    Policy(String),
    #[error("the policy bundle is {found}, but {wanted} is in force")]
    PolicyOther { found: String, wanted: String },
    #[error("provider `{0}`: {1}")]
    Provider(String, String),
    #[error("the log cannot be opened: {0}")]
    Store(#[from] OpenError),
    #[error("the log cannot be read or written: {0}")]
    Log(String),
    #[error(transparent)]
    Tls(#[from] tls::LoadError),
}

/// A gateway that serves. Dropping it does not stop it; [`Running::stop`] does.
pub struct Running {
    pub app: Arc<App>,
    pub exchange: SocketAddr,
    pub log: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    tasks: Tasks,
    shutdown: Duration,
}

impl Running {
    /// Takes no further connections, finishes the exchanges under way, and closes the log.
    pub async fn stop(self) -> Result<(), Unfinished> {
        self.tasks.call_stop();
        // The listeners wait for their own exchanges as long as `shutdown`; a little more, so that they can say so.
        let finished = self.tasks.finish(self.shutdown + Duration::from_secs(2)).await;
        self.app.store.close().await;
        finished
    }
}

/// Starts a gateway. The clock and the entropy are the machine's, except in tests.
pub async fn start(config: Config, clock: Clock, entropy: Entropy) -> Result<Running, StartError> {
    let ceremony = ceremony(&config)?;
    let channel = Channel::load(config.tls.clone(), clock.clone())?;
    let trusts = Trusts::read(&config.seal, &config.outbound, clock())?;
    let registry = registry_before(&config, &ceremony).await?;
    let parts = Parts::read(&config, &registry, (&trusts, clock()))?;
    let store = open_store(&config, &parts, clock.clone()).await?;
    if store.status().head.size == 0 {
        let bundle = founding_bundle(&config, &ceremony)?;
        let founding =
            Founding { ceremony: &ceremony, policy: bundle.policy.sha256(), archive: bundle.archive() };
        founding.enter(&store, &entropy, &clock).await?;
    }
    let Rules { in_force, schedule } = Rules::read(store.read(), &ceremony).await?;
    let client = trusts.client(&config.outbound, &clock)?;
    let means = Means { signer: parts.seal.clone(), seals: parts.seals.clone(), client };
    let policy = schedule.at(clock());
    let opening = systems::Opening {
        registry: &in_force.registry,
        records: policy.record_types(),
        means: &means,
        entropy: &entropy,
    };
    let sources = systems::sources(&config, &opening)?;
    let witnesses = match &config.witnesses {
        Some(settings) => Some(Witnesses::open(settings, &in_force.registry, clock())?),
        None => None,
    };
    let witness = config.witness.as_ref().map(Witness::open).transpose()?.map(Arc::new);
    let alerts = Alerts::open(&config.alerts)?;
    let stamps = config.timestamps.as_ref().map(|settings| Stamps::open(settings, clock())).transpose()?;
    let siem = config.siem.as_ref().map(Siem::open).transpose()?;
    let app = Arc::new(App {
        entropy,
        store,
        documents: Documents::default(),
        in_force: ArcSwap::from_pointee(in_force),
        schedule: ArcSwap::from_pointee(schedule),
        policy_refused: ArcSwap::from_pointee(None),
        rules_turn: Mutex::new(()),
        seals: parts.seals,
        rules: wire::Rules::default(),
        keepers: ArcSwap::from_pointee(
            Keepers::of(&parts.keys).map_err(|fault| StartError::Log(fault.to_string()))?,
        ),
        outbox: Outbox::default(),
        systems: config.systems(),
        replica: config.storage.replica.clone(),
        keys: ArcSwap::from_pointee(parts.keys),
        keys_refused: ArcSwap::default(),
        sources,
        seal: parts.seal,
        log: parts.log,
        limiter: Arc::new(Limiter::new(&config.rates)),
        channel: channel.clone(),
        witnesses,
        alerts,
        stamps,
        siem,
        witness,
        clock,
    });
    listen(app, channel, &config, (trusts, ceremony)).await
}

async fn listen(
    app: Arc<App>,
    channel: Arc<Channel>,
    config: &Config,
    (trusts, ceremony): (Trusts, Ceremony),
) -> Result<Running, StartError> {
    let tasks = Tasks::new();
    tasks.spawn("channel-watch", tls::watch(channel.clone(), config.reload_every, tasks.stop()));
    tasks.spawn("trust-watch", outbound::watch(app.clone(), config.clone(), trusts, tasks.stop()));
    tasks.spawn("drop-folders", systems::tend(app.clone(), tasks.stop()));
    let (keys, every) = (config.deployment.subject_keys.clone(), config.reload_every);
    tasks.spawn("subject-keys-watch", rotation::watch(app.clone(), keys, (every, tasks.stop())));
    tasks.spawn("witnesses", witnesses::watch(app.clone(), tasks.stop()));
    tasks.spawn("rules", rules::follow(app.clone(), ceremony, tasks.stop()));
    tasks.spawn("retention", retention::watch(app.clone(), config.retention.clone(), tasks.stop()));
    tasks.spawn("outbox", outbox::run(app.clone(), tasks.stop()));
    watching(&tasks, &app, config);
    tasks.spawn("limits", limits::keep_tidy(app.limiter.clone(), tasks.stop()));
    let exchange = Open { tasks: &tasks, config };
    let (hosts, address) = (&config.listen.exchange.hosts, config.listen.exchange.address);
    let address =
        exchange.on(address, hosts, Transport::Tls(channel), http::exchange::routes(app.clone())).await?;
    let log = match &config.listen.log {
        Some(listener) => {
            let material = tls::Material { clients: tls::Clients::Anyone, ..config.tls.clone() };
            let open = Channel::load(material, app.clock.clone())?;
            tasks.spawn("log-channel-watch", tls::watch(open.clone(), config.reload_every, tasks.stop()));
            let routes = http::public::routes(app.clone());
            Some(exchange.on(listener.address, &listener.hosts, Transport::Tls(open), routes).await?)
        }
        None => None,
    };
    let metrics = match config.listen.metrics {
        Some(address) => {
            let metrics = telemetry::metrics::start().map_err(|error| StartError::Log(error.to_string()))?;
            tasks.spawn("metrics", metrics.clone().keep(sample(app.clone()), tasks.stop()));
            Some(exchange.on(address, &[], Transport::Loopback, metrics.router()).await?)
        }
        None => None,
    };
    Ok(Running { app, exchange: address, log, metrics, tasks, shutdown: config.limits.shutdown })
}

/// What follows the log beside the exchanges. None of it is ever waited for.
fn watching(tasks: &Tasks, app: &Arc<App>, config: &Config) {
    let database = config.storage.database.clone();
    tasks.spawn("administration", administration::watch(app.clone(), database, tasks.stop()));
    tasks.spawn("alerts", alerts::watch(app.clone(), tasks.stop()));
    for hook in app.alerts.settings.webhooks.keys() {
        tasks.spawn("webhook", alerts::deliver(app.clone(), hook.clone(), tasks.stop()));
    }
    tasks.spawn("timestamps", stamps::watch(app.clone(), tasks.stop()));
    tasks.spawn("siem", siem::watch(app.clone(), tasks.stop()));
}

/// What metrics must be asked for rather than counted.
fn sample(app: Arc<App>) -> impl Fn() {
    move || {
        let log = app.store.status();
        let health = match log.health {
            Health::Healthy => LogHealth::Healthy,
            Health::Closed(_) | Health::Slow(_) => LogHealth::Unavailable,
        };
        telemetry::metrics::log_state(log.entries, log.queue, health);
        if let Some(witnesses) = &app.witnesses {
            let quorum = witnesses.quorum(app.now());
            telemetry::metrics::quorum(quorum.cosigned.unwrap_or(0), quorum.reached, quorum.alarm.into());
        }
        telemetry::metrics::channel("exchange", &app.channel.status());
    }
}

/// What opening a listener takes besides its address.
struct Open<'a> {
    tasks: &'a Tasks,
    config: &'a Config,
}

impl Open<'_> {
    async fn on(
        &self,
        address: SocketAddr,
        hosts: &[String],
        transport: Transport,
        router: Router,
    ) -> Result<SocketAddr, StartError> {
        let listener =
            TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
        let bound = listener.local_addr().map_err(|error| StartError::Listen(address, error))?;
        let server = Server {
            transport,
            router,
            hosts: http::hygiene::Hosts::new(hosts.iter().cloned()),
            limits: self.config.limits,
        };
        self.tasks.spawn("listener", {
            let stop = self.tasks.stop();
            async move {
                if let Err(unfinished) = server::serve(listener, server, stop).await {
                    tracing::error!(%unfinished, "a listener was cut off at shutdown");
                }
            }
        });
        Ok(bound)
    }
}

fn ceremony(config: &Config) -> Result<Ceremony, StartError> {
    let ceremony = Ceremony::read(&config.deployment.genesis)?;
    match config.deployment.genesis_sha256 {
        Some(wanted) if wanted != ceremony.sha256 => {
            Err(StartError::GenesisOther { found: ceremony.sha256.to_string(), wanted: wanted.to_string() })
        }
        Some(_) | None => Ok(ceremony),
    }
}

/// The bundle of the folder, which must be the one the founders signed. Read once in a deployment's life; every later
/// version comes with its officers' signatures and is read from the log.
fn founding_bundle(config: &Config, ceremony: &Ceremony) -> Result<Bundle, StartError> {
    let folder = &config.deployment.policies;
    let texts = bundle(folder)?.into_iter().map(|(path, bytes)| Ok((path, String::from_utf8(bytes)?)));
    let files = texts.collect::<Result<_, std::string::FromUtf8Error>>().map_err(fault(folder))?;
    let bundle = Bundle::compile(files).map_err(|refusal| StartError::Policy(refusal.to_string()))?;
    if bundle.policy.sha256() != ceremony.genesis.policy {
        let (found, wanted) = (bundle.policy.sha256().to_string(), ceremony.genesis.policy.to_string());
        return Err(StartError::PolicyOther { found, wanted });
    }
    Ok(bundle)
}

/// A bundle's files, as `varco policy check` reads them.
pub fn bundle(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, StartError> {
    crate::cli::policy::files::bundle(folder)
        .map_err(|(path, error)| StartError::File { path, what: error.to_string() })
}

/// What is read from files once.
struct Parts {
    seal: Arc<SealSigner>,
    seals: Arc<ArcSwap<SealTrust>>,
    keys: SubjectKeys,
    log_key: Arc<Ed25519NoteKey>,
    log_verifiers: Vec<Arc<dyn NoteVerifier>>,
    origin: String,
    log: LogVerifier,
}

impl Parts {
    fn read(
        config: &Config,
        registry: &Registry,
        (trusts, now): (&Trusts, Timestamp),
    ) -> Result<Self, StartError> {
        let (certificate, key) = (read(&config.seal.certificate)?, read(&config.seal.key)?);
        let seal = SealSigner::from_pem(&key, &certificate).map_err(fault(&config.seal.key))?;
        let keys = String::from_utf8(read(&config.deployment.subject_keys)?);
        let keys = keys.map_err(fault(&config.deployment.subject_keys))?;
        let keys = SubjectKeys::parse(&keys).map_err(fault(&config.deployment.subject_keys))?;
        let (origin, verifiers) = log_keys(registry)?;
        let pem = read(&config.deployment.log_key)?;
        let log_key = Ed25519NoteKey::from_pem(&origin, &pem).map_err(fault(&config.deployment.log_key))?;
        let ours = log_key.verifier_key().to_string();
        if !registry.log_keys.iter().any(|key| key.verifier == ours && key.from <= now) {
            return Err(StartError::LogKey);
        }
        Ok(Self {
            seal: Arc::new(seal),
            seals: Arc::new(ArcSwap::from_pointee(trusts.seals(&config.seal)?)),
            keys,
            log_key: Arc::new(log_key),
            log: LogVerifier::new(origin.clone(), verifiers.clone()),
            log_verifiers: verifiers,
            origin,
        })
    }
}

/// The registry in force when the log was last written, from which its keys are known; in an empty log the founders'. That
/// the database is the newest one is shown only afterwards, against the anchor.
async fn registry_before(config: &Config, ceremony: &Ceremony) -> Result<Registry, StartError> {
    let url = config.storage.database.url().map_err(fault(&config.storage.anchor))?;
    let address: Address = url.parse().map_err(OpenError::from)?;
    address.prepare().await.map_err(OpenError::from)?;
    let reader = Reader::open(&url).await.map_err(OpenError::from)?;
    let is_empty = reader.log().await.map_err(OpenError::from)?.is_none_or(|log| log.size == 0);
    let registry = if is_empty {
        ceremony.genesis.registry.clone()
    } else {
        Rules::read(&reader, ceremony).await?.in_force.registry
    };
    reader.close().await;
    Ok(registry)
}

/// The log's origin, which is the name of its newest key, and the verifiers of all its keys.
fn log_keys(registry: &Registry) -> Result<(String, Vec<Arc<dyn NoteVerifier>>), StartError> {
    let mut verifiers: Vec<Arc<dyn NoteVerifier>> = Vec::new();
    let mut origin = None;
    for key in &registry.log_keys {
        let verifier = Ed25519NoteVerifier::from_text(&key.verifier).map_err(|_| StartError::LogKey)?;
        origin = Some(verifier.name().to_owned());
        verifiers.push(Arc::new(verifier));
    }
    Ok((origin.ok_or(StartError::LogKey)?, verifiers))
}

async fn open_store(config: &Config, parts: &Parts, clock: Clock) -> Result<Store, StartError> {
    let url = config.storage.database.url().map_err(fault(&config.storage.anchor))?;
    let keyring = Keyring::open(config.storage.body_keys.clone(), Arc::new(AesBodyCipher));
    let keyring = keyring.map_err(fault(&config.storage.body_keys))?;
    let options = store::Options {
        url: url.to_string(),
        anchor: config.storage.anchor.clone(),
        origin: parts.origin.clone(),
        replica: config.storage.replica.clone(),
        signer: parts.log_key.clone(),
        verifiers: parts.log_verifiers.clone(),
        clock,
        missing_anchor: MissingAnchor::Refuse,
        keyring: Arc::new(keyring),
        limits: store::Limits::default(),
        on_commit: Arc::new(telemetry::metrics::commit),
    };
    Ok(Store::open(options).await?)
}

/// What the log begins with.
struct Founding<'a> {
    ceremony: &'a Ceremony,
    policy: Sha256,
    archive: Artifact,
}

impl Founding<'_> {
    /// An empty log begins with the ceremony.
    async fn enter(self, store: &Store, entropy: &Entropy, clock: &Clock) -> Result<(), StartError> {
        let entry =
            OpenEntry { genesis: self.ceremony.sha256, policy: self.policy, archive: self.archive.sha256() };
        let body = json!(entry);
        let (mut random, mut salt) = ([0; 10], [0; 32]);
        entropy(&mut random);
        entropy(&mut salt);
        let mut draft = Draft::new(Kind::Open, ExchangeId::new(clock(), random));
        draft.policy = Some(self.policy);
        draft.slots.decision = Some(Slot::new(salt, &body));
        let mut submission = Submission::new(draft);
        let bytes = self.ceremony.bytes.clone();
        submission.artifacts.push(Artifact { kind: ArtifactKind::Genesis, bytes });
        submission.artifacts.push(self.archive);
        store.append(submission).await.map_err(log_fault)?;
        Ok(())
    }
}

fn log_fault(error: impl std::fmt::Display) -> StartError {
    StartError::Log(error.to_string())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(fault(path))
}

pub(crate) fn fault<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> StartError {
    let path = path.to_owned();
    move |error| StartError::File { path, what: error.to_string() }
}
