//! The settings of `varco agent`: one TOML file beside an agency's own software.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use varco_core::id::{AgencyId, OperatorId};
use varco_core::wire::LevelOfAssurance;

use super::reader::{Reader, Section};
use super::sections::{RELOAD_EVERY, log, not_empty, outbound, present, read_whole, seal};
use super::value::{HttpsUrl, LoopbackUrl};
use super::{ConfigFault, Outbound, Seal, of_file};
use crate::telemetry;

/// A person waits for a push no longer than for a letter; a request costs the gateway one signature.
const FETCH_EVERY: Duration = Duration::from_secs(10);
/// What a local system gets to answer: less than the five seconds that the gateway waits unless agreed otherwise.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(4);

/// A whole, checked configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Who we are: `iss` of what we send, `aud` of what we get.
    pub agency: AgencyId,
    pub gateway: Gateway,
    pub seal: Seal,
    /// Our client certificate towards the gateway, and whose server certificates we accept.
    pub channel: Outbound,
    pub local: Local,
    /// Set when the gateway may ask us for records and deliver to us.
    pub answers: Option<Answers>,
    /// Set when what waits in the gateway's inbox is to be fetched.
    pub inbox: Option<Inbox>,
    /// How often the files of keys and trust are looked at for changes.
    pub reload_every: Duration,
    pub log: telemetry::Settings,
}

/// The one peer an agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// `https://gateway.piana.example:8443`, without the path of the API.
    pub url: String,
    /// What tokens to it carry in `aud`.
    pub audience: String,
    /// The gateway's identifier: `iss` of what it sends.
    pub issuer: String,
    /// PEM files of the certificates whose keys it may seal with: two of them during a roll-over.
    pub seals: Vec<PathBuf>,
    /// The same of its channel, when it connects to us.
    pub channels: Vec<PathBuf>,
    /// The verifier key of its log. With it no answer without a good receipt is handed on.
    pub log: Option<String>,
}

/// Where the agency's own software finds us, in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    pub listen: LocalListener,
    /// Secret: a file with a token that local programs must send as `Authorization: Bearer`.
    pub token: Option<PathBuf>,
    /// The `userLocation` of calls that do not say theirs.
    pub location: Option<String>,
    /// The `LoA` of calls that do not say theirs.
    pub assurance: LevelOfAssurance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalListener {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket that only the agent's user and group can open.
    Unix(PathBuf),
}

/// How the gateway reaches the agency's own software through us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub address: SocketAddr,
    pub certificate: PathBuf,
    /// Secret.
    pub key: PathBuf,
    /// Whose client certificates may connect at all; of these only the gateway's is answered.
    pub authorities: Vec<PathBuf>,
    pub revocations: Vec<PathBuf>,
    /// What tokens for us carry in `aud`: agreed when the agency joined.
    pub audience: String,
    /// Where the agency's own software answers, in the clear on this machine: `http://127.0.0.1:8090/varco`.
    pub url: String,
    pub timeout: Duration,
}

/// Where deliveries go that wait in the gateway's inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    pub into: Into,
    pub every: Duration,
    /// The operator code under which the agent itself fetches: a program's, not a person's.
    pub operator: OperatorId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    /// One JSON file a delivery, written whole or not at all.
    Folder(PathBuf),
    /// One POST a delivery, on this machine. `state` is where the agent remembers which were taken.
    Url { url: String, state: PathBuf },
}

impl Into {
    /// The folder in which the agent remembers what it has handed over. Beside files it is below their folder, because a
    /// file is moved out of it in one step.
    pub fn state(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(".varco"),
            Self::Url { state, .. } => state.clone(),
        }
    }
}

/// Reads and checks a file. All faults at once.
pub fn load(path: &Path) -> Result<Agent, Vec<ConfigFault>> {
    of_file(path, read)
}

fn read(
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Agent, Vec<ConfigFault>> {
    read_whole(&Reader::new(text, folder, environment), text, whole)
}

fn whole(mut root: Section<'_, '_>) -> Option<Agent> {
    let agency = root.required("agency");
    let reload_every = root.or("reload_every", RELOAD_EVERY);
    let gateway = gateway(root.section("gateway"));
    let seal = seal(root.section("seal"));
    let channel = outbound(root.section("channel"));
    let local = local(root.section("local"));
    let answers = root.optional_section("answers").map(answers);
    let inbox = root.optional_section("inbox").map(inbox);
    let log = log(root.section("log"));
    root.finish();
    Some(Agent {
        agency: agency?,
        gateway: gateway?,
        seal: seal?,
        channel: channel?,
        local: local?,
        answers: present(answers)?,
        inbox: present(inbox)?,
        reload_every,
        log,
    })
}

fn gateway(mut s: Section<'_, '_>) -> Option<Gateway> {
    let url: Option<HttpsUrl> = s.required("url");
    let audience = s.required("audience");
    let issuer = s.required("issuer");
    let seals = not_empty(&mut s, "seals");
    let channels = s.or("channels", Vec::new());
    let log = s.optional("log");
    s.finish();
    Some(Gateway { url: url?.0, audience: audience?, issuer: issuer?, seals: seals?, channels, log })
}

fn local(mut s: Section<'_, '_>) -> Option<Local> {
    let address: Option<SocketAddr> = s.optional("address");
    let socket: Option<PathBuf> = s.optional("socket");
    let token = s.optional_secret("token_file");
    let location = s.optional("location");
    let assurance = s.or("assurance", LevelOfAssurance::Low);
    let listen = match (address, socket) {
        (Some(address), None) if address.ip().is_loopback() => Some(LocalListener::Tcp(address)),
        (Some(_), None) => {
            s.fault_at("address", "must be a loopback address such as `127.0.0.1:8480`: it is in the clear");
            None
        }
        (None, Some(socket)) => Some(LocalListener::Unix(socket)),
        (Some(_), Some(_)) => {
            s.fault_at("socket", "give an address or a socket, not both");
            None
        }
        (None, None) => {
            if !s.has("address") && !s.has("socket") {
                s.fault_at("address", "is missing: an address of this machine, or `socket` and a path");
            }
            None
        }
    };
    s.finish();
    Some(Local { listen: listen?, token, location, assurance })
}

fn answers(mut s: Section<'_, '_>) -> Option<Answers> {
    let address = s.required("address");
    let certificate = s.required("certificate");
    let key = s.secret("key");
    let authorities = not_empty(&mut s, "client_authorities");
    let revocations = not_empty(&mut s, "client_revocations");
    let audience = s.required("audience");
    let url: Option<LoopbackUrl> = s.required("url");
    let timeout = s.or("timeout", LOCAL_TIMEOUT);
    s.finish();
    Some(Answers {
        address: address?,
        certificate: certificate?,
        key: key?,
        authorities: authorities?,
        revocations: revocations?,
        audience: audience?,
        url: url?.0,
        timeout,
    })
}

fn inbox(mut s: Section<'_, '_>) -> Option<Inbox> {
    let folder: Option<PathBuf> = s.optional("folder");
    let url: Option<LoopbackUrl> = s.optional("url");
    let state: Option<PathBuf> = s.optional("state");
    let every = s.or("every", FETCH_EVERY);
    let operator = s.required("operator");
    let into = match (folder, url, state) {
        (Some(folder), None, None) => Some(Into::Folder(folder)),
        (None, Some(url), Some(state)) => Some(Into::Url { url: url.0, state }),
        (Some(_), None, Some(_)) => {
            s.fault_at(
                "state",
                "goes with `url`; beside a folder the agent keeps its own below it, `.varco`",
            );
            None
        }
        (None, Some(_), None) => {
            if !s.has("state") {
                s.fault_at("state", "is missing: a folder in which the agent remembers what `url` has taken");
            }
            None
        }
        (Some(_), Some(_), _) => {
            s.fault_at("folder", "give a folder or a url, not both");
            None
        }
        (None, None, _) => {
            if !s.has("folder") && !s.has("url") {
                s.fault_at(
                    "folder",
                    "is missing: where deliveries go, or `url` and an address of this machine",
                );
            }
            None
        }
    };
    s.finish();
    Some(Inbox { into: into?, every, operator: operator? })
}
