//! The stage of the demonstration: a fresh folder with keys, genesis and configuration, and the processes that play.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use varco_core::id::AgencyId;
use varco_core::policy::Policy;
use varco_core::time::Timestamp;

use super::agency::{BASE, audience};
use super::ceremony::{self, CeremonyError};
use crate::pki::dev::{DevError, Kit};
use crate::start::{self, StartError};

/// Marks a folder as ours, so that nothing else is ever emptied.
const MARK: &str = ".varco-demo";
/// The agencies that have a system in the story.
pub const SYSTEMS: [&str; 3] = ["asl-toscana-nord-ovest", "comune-capannori", "cpi-lucca"];
/// How many people there are, in all systems together.
pub const PEOPLE: usize = 100;
/// Every system makes the same population from it.
pub const SEED: u64 = 1;

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error("`{0}` is not a folder of the demonstration: choose another with --data")]
    Foreign(PathBuf),
    #[error(transparent)]
    Keys(#[from] DevError),
    #[error("{0} did not start: {1}")]
    Process(String, String),
    #[error(transparent)]
    Policy(#[from] StartError),
    #[error("the policy bundle does not compile; `varco policy check` says where")]
    PolicyFaults,
}

/// The folder, with everything in it that a gateway and its agencies need.
pub struct Stage {
    pub folder: PathBuf,
    pub log_key: String,
}

impl Stage {
    /// Makes the folder anew. `progress` is told what is being made.
    pub fn set(
        folder: &Path,
        policies: &Path,
        now: Timestamp,
        progress: impl FnMut(&str),
    ) -> Result<Self, StageError> {
        empty(folder)?;
        let policies =
            policies.canonicalize().map_err(|error| StageError::File(policies.to_owned(), error))?;
        let policy = Policy::load(&start::bundle(&policies)?).map_err(|_| StageError::PolicyFaults)?;
        let kit = Kit::make(now, progress)?;
        kit.write(&folder.join("pki"))?;
        ceremony::hold(&kit, policy.sha256(), &folder.join("genesis"), now)?;
        std::os::unix::fs::symlink(&policies, folder.join("policies"))
            .map_err(|error| StageError::File(folder.join("policies"), error))?;
        let anchor = folder.join("anchor");
        std::fs::create_dir_all(&anchor).map_err(|error| StageError::File(anchor, error))?;
        Ok(Self { folder: folder.to_owned(), log_key: kit.log_verifier() })
    }

    pub fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    pub fn database(&self) -> PathBuf {
        self.folder.join("varco.db")
    }

    pub fn anchor(&self) -> PathBuf {
        self.folder.join("anchor/checkpoint")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("varco.toml")
    }

    /// Writes the gateway's configuration with the addresses its systems have.
    pub fn configure(&self, systems: &[(AgencyId, SocketAddr)]) -> Result<(), StageError> {
        let mut text = CONFIG.to_owned();
        for (agency, address) in systems {
            text.push_str(&format!(
                "\n[providers.{agency}]\nkind = \"rest\"\nurl = \"https://localhost:{}{BASE}\"\naudience = \"{}\"\n",
                address.port(),
                audience(agency)
            ));
        }
        std::fs::write(self.config(), text).map_err(|error| StageError::File(self.config(), error))
    }
}

/// Every path is relative to the folder of the file.
const CONFIG: &str = r#"# The gateway of the demonstration. Made anew at every start of `varco demo`.
[deployment]
genesis = "genesis/genesis.json"
policies = "policies"
subject_keys = "pki/gateway/subject.keys"
log_key = "pki/gateway/log.key.pem"

[storage]
database = "sqlite:varco.db"
anchor = "anchor/checkpoint"

[listen]
metrics = "127.0.0.1:0"

[listen.exchange]
address = "127.0.0.1:0"

[listen.log]
address = "127.0.0.1:0"

[tls]
certificate = "pki/gateway/channel.pem"
key = "pki/gateway/channel.key.pem"
client_authorities = ["pki/ca/channel.pem"]
client_revocations = ["pki/ca/channel.crl.pem"]
reload_every = "1s"

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
level = "warn"
"#;

/// A process of the demonstration. It is stopped when it is dropped: by the end of its input, or, if it does not hear
/// that, killed.
pub struct Player {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    /// What it said before it was ready: name and address of each listener.
    pub listening: Vec<(String, SocketAddr)>,
}

impl Player {
    /// Starts this very program with other arguments and reads what it says until it is ready.
    pub fn start(name: &str, args: &[String]) -> Result<Self, StageError> {
        let fault = |what: String| StageError::Process(name.to_owned(), what);
        let program = std::env::current_exe().map_err(|error| fault(error.to_string()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| fault(error.to_string()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| fault("it has no output".to_owned()))?;
        let mut player = Self { name: name.to_owned(), child, input, listening: Vec::new() };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| fault(error.to_string()))?;
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("ready"), None, _) => return Ok(player),
                (Some("listening"), Some(listener), Some(address)) => {
                    let address = address.parse().map_err(|_| fault(format!("it said `{line}`")))?;
                    player.listening.push((listener.to_owned(), address));
                }
                // A simulated system has one listener and is ready at once.
                (Some("listening"), Some(address), None) => {
                    let address = address.parse().map_err(|_| fault(format!("it said `{line}`")))?;
                    player.listening.push(("exchange".to_owned(), address));
                    return Ok(player);
                }
                _ => return Err(fault(format!("it said `{line}`"))),
            }
        }
        Err(fault("it ended before it was ready".to_owned()))
    }

    pub fn address(&self, listener: &str) -> Result<SocketAddr, StageError> {
        let found = self.listening.iter().find(|(name, _)| name == listener);
        found.map(|(_, address)| *address).ok_or_else(|| {
            StageError::Process(self.name.clone(), format!("it does not listen on `{listener}`"))
        })
    }

    /// Asks it to end as an operator would, and waits.
    pub fn stop(mut self) -> bool {
        self.input = None;
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.input = None;
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn empty(folder: &Path) -> Result<(), StageError> {
    let fault = |error| StageError::File(folder.to_owned(), error);
    if folder.exists() {
        let mut inside = std::fs::read_dir(folder).map_err(fault)?.peekable();
        if inside.peek().is_some() && !folder.join(MARK).is_file() {
            return Err(StageError::Foreign(folder.to_owned()));
        }
        std::fs::remove_dir_all(folder).map_err(fault)?;
    }
    std::fs::create_dir_all(folder).map_err(fault)?;
    std::fs::write(folder.join(MARK), "made by `varco demo`, emptied at its next start\n").map_err(fault)
}
