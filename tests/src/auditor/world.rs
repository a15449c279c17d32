//! A gateway with real listeners, whose log a test fills as it likes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use varco::app::{Clock, system_clock, system_entropy, system_now};
use varco::demo::ceremony;
use varco::pki::dev::Kit;
use varco::start::{self, Running, StartError};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::log::proof::Receipt;
use varco_core::policy::Policy;
use varco_store::submission::Submission;

/// Keys and folder of a gateway that is not running yet.
pub struct Deployed {
    pub folder: PathBuf,
    pub kit: Kit,
}

impl Deployed {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("varco-auditor-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        for inside in ["anchor", "witness"] {
            std::fs::create_dir_all(folder.join(inside)).unwrap();
        }
        let kit = Kit::make(system_now(), |_| {}).unwrap();
        kit.write(&folder.join("pki")).unwrap();
        Self { folder, kit }
    }

    pub fn log_key(&self) -> String {
        self.kit.log_verifier()
    }

    /// The authority of the listeners' certificates.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("pki/ca/channel.pem")
    }

    /// Starts it, with `more` at the end of its configuration and these witnesses in its registry.
    pub async fn start(self, more: &str, witnesses: &[String]) -> World {
        self.start_on("sqlite:varco.db", more, witnesses).await
    }

    /// The same on another database.
    pub async fn start_on(self, database: &str, more: &str, witnesses: &[String]) -> World {
        self.start_as(database, (more, witnesses), system_clock()).await
    }

    /// The same by another clock than the machine's.
    pub async fn start_as(self, database: &str, (more, witnesses): (&str, &[String]), clock: Clock) -> World {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
        let policy = Policy::load(&start::bundle(&policies).unwrap()).unwrap();
        let now = system_now();
        let mut registry = ceremony::registry(&self.kit, now).unwrap();
        registry.witnesses = witnesses.to_vec();
        ceremony::hold_for(&self.kit, registry, policy.sha256(), &self.folder.join("genesis"), now).unwrap();
        let text =
            CONFIG.replace("POLICIES", policies.to_str().unwrap()).replace("DATABASE", database) + more;
        let config = self.folder.join("varco.toml");
        std::fs::write(&config, text).unwrap();
        let config = varco::config::load(&config).unwrap();
        let running = start::start(config, clock, system_entropy()).await.unwrap();
        World { deployed: self, running }
    }
}

impl Deployed {
    /// Starts the gateway again that was started here before and stopped.
    pub async fn restart(&self) -> Result<Running, StartError> {
        let config = varco::config::load(&self.folder.join("varco.toml")).unwrap();
        start::start(config, system_clock(), system_entropy()).await
    }
}

const CONFIG: &str = r#"
[deployment]
genesis = "genesis/genesis.json"
policies = "POLICIES"
subject_keys = "pki/gateway/subject.keys"
log_key = "pki/gateway/log.key.pem"
[storage]
database = "DATABASE"
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
[log]
level = "error"
"#;

pub struct World {
    pub deployed: Deployed,
    pub running: Running,
}

impl World {
    /// The address of the public log.
    pub fn log(&self) -> String {
        format!("https://localhost:{}/log", self.running.log.unwrap().port())
    }

    /// Where auditors read.
    pub fn exchange(&self) -> String {
        format!("https://localhost:{}/rest/varco/v1", self.running.exchange.port())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.deployed.folder.join(name)
    }

    /// Enters as many disclosures that never were, each with all its bodies. Gives back the receipts.
    pub async fn fill(&self, count: u32) -> Vec<Receipt> {
        let store = &self.running.app.store;
        let mut waiting = Vec::new();
        for n in 0..count {
            waiting.push(store.append(entry(&self.running.app, n)));
        }
        let mut receipts = Vec::new();
        for entered in waiting {
            receipts.push(entered.await.unwrap().receipt);
        }
        receipts
    }

    pub async fn stop(self) {
        self.running.stop().await.unwrap();
        let _ = std::fs::remove_dir_all(&self.deployed.folder);
    }
}

fn entry(app: &varco::app::App, n: u32) -> Submission {
    let now = app.now();
    let mut draft =
        Draft::new(if n % 5 == 4 { Kind::Denial } else { Kind::Disclosure }, app.new_exchange(now));
    draft.consumer = Some(if n.is_multiple_of(2) { "cpi-lucca" } else { "comune-lucca" }.parse().unwrap());
    draft.provider = Some("comune-capannori".parse().unwrap());
    draft.purpose = Some(if n.is_multiple_of(3) { "F02" } else { "F01" }.parse().unwrap());
    draft.record_type = Some("condizione_economica_prestazioni".parse().unwrap());
    for name in SlotName::ALL {
        let body = match name {
            SlotName::Decision => json!({ "n": n }),
            SlotName::Operator => json!({
                "agency": "cpi-lucca",
                "office": if n.is_multiple_of(2) { "servizi-lavoro" } else { "collocamento-mirato" },
                "operator": format!("op-{}", n % 7),
            }),
            SlotName::Subject => json!({ "subject": format!("nobody-{n}") }),
        };
        draft.slots.set(name, Slot::new(app.random(), &body));
    }
    Submission::new(draft)
}
