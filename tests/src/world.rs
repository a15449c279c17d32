//! A whole deployment in one process: its own certificate authorities and genesis, a gateway on a port of loopback,
//! the agencies' systems and desks, all over real mutual TLS. The clock stands still until a test moves it, and every
//! random byte follows from a seed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use varco::app::{App, Clock, Entropy};
use varco::config::{self, Config};
use varco::demo::agency::{self, Keys, System};
use varco::demo::ceremony;
use varco::demo::people::Population;
use varco::pki::dev::Kit;
use varco::start::{self, Running};
use varco_core::exchange::{Past, Replayed, replay};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId};
use varco_core::log::entry::Slots;
use varco_core::log::leaf::Leaf;
use varco_core::policy::Policy;
use varco_core::registry::Registry;
use varco_core::time::Timestamp;

pub mod asks;
pub mod client;
pub mod desk;
pub mod family;
pub mod provider;

use client::Client;
use desk::Desk;
use provider::{Play, Provider};

/// 18 November 2026: within the agreement, and no test depends on today.
pub const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

/// Keys take longer to make than most tests to run, so that all worlds of a process share them.
pub static KIT: LazyLock<Kit> = LazyLock::new(|| Kit::make(NOW, |_| ()).unwrap());

/// The same of today: processes, and software by others, have no clock but the machine's.
pub static TODAY: LazyLock<Kit> = LazyLock::new(|| Kit::make(varco::app::system_now(), |_| ()).unwrap());

pub static PEOPLE: LazyLock<Arc<Population>> = LazyLock::new(|| Arc::new(Population::generate(1, 100)));

/// What a peer needs to know of a gateway.
#[derive(Clone)]
pub struct Ends {
    pub kit: &'static Kit,
    pub address: SocketAddr,
    pub clock: Clock,
}

/// What a test wants otherwise than usual.
pub struct Setup {
    /// One system, played. Otherwise all three systems are the demonstration's.
    pub play: Option<Play>,
    /// Whose system is played.
    pub plays: &'static str,
    /// Another bundle than the shipped one, laid into the folder.
    pub policies: Option<fn(&Folder) -> PathBuf>,
    pub registry: fn(&mut Registry),
    pub config: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self { play: None, plays: "comune-capannori", policies: None, registry: |_| (), config: |_| () }
    }
}

/// Everything runs until the world is dropped; [`World::stop`] ends it as an operator would.
pub struct World {
    pub folder: Folder,
    clock: Arc<AtomicI64>,
    entropy: Entropy,
    config: Config,
    running: Option<Running>,
    pub provider: Option<Provider>,
    _systems: JoinSet<()>,
}

impl World {
    pub async fn start() -> Self {
        Self::of(Setup::default()).await
    }

    /// A world in which Capannori's system does as it is told.
    pub async fn played(play: Play) -> Self {
        Self::of(Setup { play: Some(play), ..Setup::default() }).await
    }

    pub async fn of(setup: Setup) -> Self {
        let folder = Folder::new();
        let mut registry = ceremony::registry(&KIT, NOW).unwrap();
        (setup.registry)(&mut registry);
        let bundle = setup.policies.map(|lay| lay(&folder));
        lay_with(&folder, &KIT, registry, bundle.as_deref(), NOW);
        let clock = Arc::new(AtomicI64::new(NOW.millis()));
        let entropy = seeded(1);
        let (mut systems, mut addresses) = (JoinSet::new(), Vec::new());
        let provider = match setup.play {
            Some(play) => {
                let provider = Provider::start(&KIT, setup.plays, play, reading(&clock)).await;
                addresses.push((provider.agency.clone(), provider.port));
                Some(provider)
            }
            None => None,
        };
        for id in ["asl-toscana-nord-ovest", "comune-capannori", "cpi-lucca"] {
            let id: AgencyId = id.parse().unwrap();
            if addresses.iter().any(|(known, _)| *known == id) {
                continue;
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push((id.clone(), listener.local_addr().unwrap().port()));
            let keys = Keys::from_kit(&KIT, &id, reading(&clock)).unwrap();
            let system = Arc::new(System::new(id, Arc::clone(&PEOPLE), keys));
            systems.spawn(system.serve(listener, std::future::pending()));
        }
        std::fs::write(folder.path("varco.toml"), configuration(&addresses)).unwrap();
        let mut config = config::load(&folder.path("varco.toml")).unwrap();
        if let Some(bundle) = bundle {
            config.deployment.policies = bundle;
        }
        (setup.config)(&mut config);
        let mut world = Self { folder, clock, entropy, config, running: None, provider, _systems: systems };
        world.start_gateway().await;
        world
    }

    pub async fn start_gateway(&mut self) {
        let running = start::start(self.config.clone(), reading(&self.clock), self.entropy.clone()).await;
        self.running = Some(running.unwrap());
    }

    /// Ends the gateway as an operator would. The folder stays until the world is dropped.
    pub async fn stop_gateway(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// An agency's software, with somebody in front of it.
    pub fn desk(&self, agency: &str, operator: &str) -> Desk {
        Desk::new(&self.ends(), agency, operator)
    }

    /// A client with an agency's channel certificate and nothing else.
    pub fn client(&self, agency: &str) -> Client {
        let party = &KIT.agency(&agency.parse().unwrap()).unwrap().party;
        self.client_with(Some(&party.channel))
    }

    pub fn client_with(&self, certificate: Option<&varco::pki::Issued>) -> Client {
        Client::new(&self.ends(), certificate)
    }

    pub fn ends(&self) -> Ends {
        Ends { kit: &KIT, address: self.address(), clock: self.clock() }
    }

    pub fn address(&self) -> SocketAddr {
        self.running().exchange
    }

    pub fn app(&self) -> &App {
        &self.running().app
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub const fn config(&self) -> &Config {
        &self.config
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::SeqCst))
    }

    pub fn clock(&self) -> Clock {
        reading(&self.clock)
    }

    pub fn advance(&self, by: Duration) {
        self.clock.store(self.now().plus(by).millis(), Ordering::SeqCst);
    }

    pub async fn log_size(&self) -> u64 {
        self.app().store.read().log().await.unwrap().unwrap().size
    }

    /// The decision again, under the policy that is in force, with the keys of all owners.
    pub fn replayed(&self, leaf: &Leaf, body: &str) -> Replayed {
        let policy = self.app().policy_at(self.now());
        let keepers = self.app().keepers.load();
        replay(leaf, body, Past { policy: &policy, keys: &keepers.owners }, &policy)
    }

    /// The entries of an exchange with their bodies.
    pub async fn entries_of(&self, exchange: &str) -> Vec<(Leaf, Slots)> {
        let exchange: ExchangeId = exchange.parse().unwrap();
        let mut found = Vec::new();
        for leaf in self.app().store.read().entries_of(&exchange).await.unwrap() {
            let slots = self.app().store.read().slots(leaf.index()).await.unwrap();
            found.push((leaf, slots));
        }
        found
    }

    /// All entries from `from` on.
    pub async fn entries(&self, from: u64) -> Vec<Leaf> {
        let leaves = self.app().store.read().leaves(from, from + 1024).await.unwrap();
        leaves.iter().map(|leaf| Leaf::parse(leaf).unwrap()).collect()
    }
}

/// A temporary folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("varco-world-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The policy bundle as it is shipped.
pub fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca")
}

/// The shipped bundle, laid into the folder with one text of one file changed.
pub fn altered(folder: &Folder, (file, from, to): (&str, &str, &str)) -> PathBuf {
    let copy = folder.path("policies");
    copied(&policies(), &copy);
    let file = copy.join(file);
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "`{from}` is written otherwise");
    std::fs::write(file, changed).unwrap();
    copy
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copied(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Keys, ceremony and an empty place for the log.
pub fn lay(folder: &Folder, kit: &Kit, registry: Registry, now: Timestamp) {
    lay_with(folder, kit, registry, None, now);
}

/// The same with another bundle than the shipped one.
fn lay_with(folder: &Folder, kit: &Kit, registry: Registry, bundle: Option<&Path>, now: Timestamp) {
    static SHIPPED: LazyLock<Sha256> = LazyLock::new(|| hash_of(&policies()));
    let policy = bundle.map_or_else(|| *SHIPPED, hash_of);
    kit.write(&folder.path("pki")).unwrap();
    ceremony::hold_for(kit, registry, policy, &folder.path("genesis"), now).unwrap();
    std::fs::create_dir(folder.path("anchor")).unwrap();
}

fn hash_of(bundle: &Path) -> Sha256 {
    Policy::load(&start::bundle(bundle).unwrap()).unwrap().sha256()
}

/// The gateway's configuration, its paths relative to the folder. Limits are such that only a test of limits meets them.
pub fn configuration(systems: &[(AgencyId, u16)]) -> String {
    let mut text = format!(
        r#"
[deployment]
genesis = "genesis/genesis.json"
policies = "{}"
subject_keys = "pki/gateway/subject.keys"
log_key = "pki/gateway/log.key.pem"

[storage]
database = "sqlite:varco.db"
anchor = "anchor/checkpoint"

[listen.exchange]
address = "127.0.0.1:0"

[listen.log]
address = "127.0.0.1:0"

[tls]
certificate = "pki/gateway/channel.pem"
key = "pki/gateway/channel.key.pem"
client_authorities = ["pki/ca/channel.pem"]
client_revocations = ["pki/ca/channel.crl.pem"]
reload_every = "50ms"

[seal]
certificate = "pki/gateway/seal.pem"
key = "pki/gateway/seal.key.pem"
authorities = ["pki/ca/seal.pem"]
revocations = ["pki/ca/seal.crl.pem"]

[outbound]
certificate = "pki/gateway/channel.pem"
key = "pki/gateway/channel.key.pem"
authorities = ["pki/ca/channel.pem"]
revocations = ["pki/ca/channel.crl.pem"]

[rates.agency]
requests = 100000
[rates.operator]
requests = 100000
"#,
        policies().display()
    );
    for (id, port) in systems {
        let (base, audience) = (agency::BASE, agency::audience(id));
        text.push_str(&format!(
            "[providers.{id}]\nkind = \"rest\"\nurl = \"https://localhost:{port}{base}\"\naudience = \"{audience}\"\n"
        ));
    }
    text
}

/// Bytes that follow from a seed.
pub fn seeded(seed: u64) -> Entropy {
    let count = AtomicU64::new(0);
    Arc::new(move |bytes| {
        for chunk in bytes.chunks_mut(32) {
            let count = count.fetch_add(1, Ordering::SeqCst);
            let block = Sha256::of_parts(&[&seed.to_be_bytes(), &count.to_be_bytes()]);
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
    })
}

/// Waits for something that comes by itself within moments: asks again and again, at most ten seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "never came: {what}");
}

/// What an entry's decision slot says.
pub fn decision(slots: &Slots) -> Value {
    serde_json::from_str(&slots.decision.as_ref().unwrap().body).unwrap()
}

fn reading(clock: &Arc<AtomicI64>) -> Clock {
    let clock = Arc::clone(clock);
    Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)))
}
