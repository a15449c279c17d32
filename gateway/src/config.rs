//! The settings of a gateway: one TOML file, checked as a whole.
//!
//! This is the only place that reads settings from files and the environment. Secrets never stand in the file: it
//! holds their locations, and the environment can override those locations and nothing else. Every fault is reported
//! at once, with its line. A relative path is relative to the folder of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::wire::Algorithm;

use crate::{limits, server, telemetry, tls};

pub mod agent;
mod providers;
mod reader;
mod sections;
#[cfg(test)]
mod tests;
mod value;
mod watching;

pub use watching::{Alerts, Siem, Timestamps, Webhook, is_name};

pub use providers::{
    Deliveries, Drop, Engine, Fhir, FhirDoor, Provider, ProviderKind, Rest, ServerAt, Soap, Sql, SqlDatabase,
};

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub deployment: Deployment,
    pub storage: Storage,
    pub listen: Listen,
    pub tls: tls::Material,
    /// How often the files of `tls` are looked at for changes.
    pub reload_every: Duration,
    pub seal: Seal,
    pub outbound: Outbound,
    pub limits: server::Limits,
    pub rates: limits::Rates,
    pub providers: BTreeMap<AgencyId, Provider>,
    pub log: telemetry::Settings,
    pub retention: Retention,
    /// This gateway as a witness of other logs.
    pub witness: Option<Witness>,
    /// Who cosigns our log.
    pub witnesses: Option<Witnesses>,
    pub alerts: Alerts,
    pub timestamps: Option<Timestamps>,
    pub siem: Option<Siem>,
}

/// How long erasable bodies of the log are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How often is looked for what is over.
    pub every: Duration,
    /// Acts of administrators.
    pub system: Duration,
    /// Who asked, from where, with which trace.
    pub detail: Duration,
    /// Everything else that is about a person: whose record, on which grounds, what was decided.
    pub whole: Duration,
    /// What was told about the log: alerts, which name entries and operators.
    pub alerts: Duration,
    /// From the first erasure to the destruction of the key that backups would need.
    pub destroy_after: Duration,
}

/// This gateway as a witness of other logs, on the listener of the public log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The name its key signs under: `gateway.piana.example/witness`.
    pub name: String,
    /// Secret: an Ed25519 key of its own.
    pub key: PathBuf,
    /// Where it remembers each log's last checkpoint. Keep it out of backups.
    pub folder: PathBuf,
    /// The verifier keys of the logs it watches.
    pub logs: Vec<String>,
}

/// Who cosigns our log, and how many are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    /// A policy file (c2sp.org/tlog-policy) with the witnesses' addresses.
    pub policy: PathBuf,
    /// The authorities of their servers' certificates.
    pub authorities: Vec<PathBuf>,
    /// How often they are asked when the log has grown.
    pub every: Duration,
    /// Without a quorum for longer than this there is an alarm.
    pub alarm: Duration,
    /// Without a quorum for longer than this no exchange is carried out. `None`: never for that reason.
    pub stop_after: Option<Duration>,
}

/// What this gateway is: its root of trust, its policy, its own secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The ceremony file signed by the founding officers.
    pub genesis: PathBuf,
    /// Its SHA-256, so that nobody can exchange the file unnoticed.
    pub genesis_sha256: Option<Sha256>,
    /// The folder of the policy bundle.
    pub policies: PathBuf,
    /// Secret: the keys of the subjects' pseudonyms.
    pub subject_keys: PathBuf,
    /// Secret: the Ed25519 key that signs checkpoints.
    pub log_key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub database: Database,
    /// What tells this replica's claims from the others'. It keeps the name over restarts.
    pub replica: String,
    /// The highest checkpoint signed. Keep it on another disk than the database, and out of its backups.
    pub anchor: PathBuf,
    /// Secret: the keys of erasable bodies. Keep the file out of every backup; replicas of one log share it.
    pub body_keys: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres {
        url: String,
        /// Secret: a file that holds the password and nothing else.
        password: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Exchanges, over mutual TLS.
    pub exchange: Listener,
    /// The public part of the access log, without client certificates.
    pub log: Option<Listener>,
    /// Prometheus metrics, in the clear, on a loopback address only.
    pub metrics: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// The names a Host header may have. Empty: any.
    pub hosts: Vec<String>,
}

/// The gateway's seal, with which it signs, and whose seals it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub certificate: PathBuf,
    /// Secret.
    pub key: PathBuf,
    pub authorities: Vec<PathBuf>,
    pub revocations: Vec<PathBuf>,
    /// JOSE names of the signature algorithms accepted.
    pub algorithms: Vec<Algorithm>,
}

/// How the gateway calls the agencies' systems: its client certificate, and whose server certificates it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    pub certificate: PathBuf,
    /// Secret.
    pub key: PathBuf,
    pub authorities: Vec<PathBuf>,
    pub revocations: Vec<PathBuf>,
}

/// Something wrong in the file, and on which line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ConfigFault {
    /// Counted from 1; 0 when the file cannot be read at all.
    pub line: usize,
    pub what: String,
}

impl Seal {
    /// Where the trust in seals is read from.
    pub fn trust(&self) -> tls::TrustFiles {
        tls::TrustFiles { authorities: self.authorities.clone(), revocations: self.revocations.clone() }
    }
}

impl Outbound {
    /// Where the trust in agencies' servers is read from.
    pub fn trust(&self) -> tls::TrustFiles {
        tls::TrustFiles { authorities: self.authorities.clone(), revocations: self.revocations.clone() }
    }
}

impl Config {
    /// The agencies whose systems deliveries are brought to.
    pub fn systems(&self) -> BTreeSet<AgencyId> {
        let brought = self.providers.iter().filter(|(_, provider)| provider.deliveries == Deliveries::System);
        brought.map(|(agency, _)| agency.clone()).collect()
    }
}

impl Database {
    /// The address as the store takes it. It may hold the password: keep it out of logs.
    pub fn url(&self) -> Result<zeroize::Zeroizing<String>, std::io::Error> {
        let (url, password) = match self {
            Self::Sqlite(path) => return Ok(zeroize::Zeroizing::new(format!("sqlite:{}", path.display()))),
            Self::Postgres { url, password: None } => return Ok(zeroize::Zeroizing::new(url.clone())),
            Self::Postgres { url, password: Some(path) } => {
                (url, zeroize::Zeroizing::new(std::fs::read_to_string(path)?))
            }
        };
        let joint = if url.contains('?') { '&' } else { '?' };
        let password = sections::percent_encoded(password.trim_end_matches(['\r', '\n']));
        Ok(zeroize::Zeroizing::new(format!("{url}{joint}password={}", *password)))
    }
}

/// Reads and checks a file. On error: every fault, in the order of the lines.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigFault>> {
    of_file(path, parse)
}

/// How the text of a file, its folder and the environment become settings.
type Read<T> = fn(&str, &Path, &dyn Fn(&str) -> Option<String>) -> Result<T, Vec<ConfigFault>>;

fn of_file<T>(path: &Path, read: Read<T>) -> Result<T, Vec<ConfigFault>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![ConfigFault { line: 0, what: format!("cannot read `{}`: {error}", path.display()) }]
    })?;
    read(&text, path.parent().unwrap_or_else(|| Path::new(".")), &environment)
}

/// Checks a text; `environment` answers for the locations of secrets, see [`SECRETS`].
pub fn parse(
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<ConfigFault>> {
    sections::read(text, folder, environment)
}

/// The environment variables that override where a secret lies, with the key each overrides.
pub const SECRETS: [(&str, &str); 12] = [
    ("VARCO_ANSWERS_KEY_FILE", "answers.key"),
    ("VARCO_BODY_KEYS_FILE", "storage.body_keys"),
    ("VARCO_CHANNEL_KEY_FILE", "channel.key"),
    ("VARCO_DATABASE_PASSWORD_FILE", "storage.password_file"),
    ("VARCO_LOCAL_TOKEN_FILE", "local.token_file"),
    ("VARCO_LOG_KEY_FILE", "deployment.log_key"),
    ("VARCO_OUTBOUND_KEY_FILE", "outbound.key"),
    ("VARCO_SEAL_KEY_FILE", "seal.key"),
    ("VARCO_SIEM_KEY_FILE", "siem.key"),
    ("VARCO_SUBJECT_KEYS_FILE", "deployment.subject_keys"),
    ("VARCO_TLS_KEY_FILE", "tls.key"),
    ("VARCO_WITNESS_KEY_FILE", "witness.key"),
];

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
