//! Whoever makes a signed call: where to, with which keys, for which operator. Shared by the commands that ask a gateway.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use hyper::{Method, Uri};
use serde_json::Value;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, OperatorId};
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::{
    Algorithm, Evidence, Expectation, Jtis, LevelOfAssurance, Message, RequestClaims, Rules, SIGNATURE,
    WireError, sign_request, verify_response,
};
use varco_jose::{SealSigner, SealTrust};

use super::channel::{Answer, CallError, Channel};
use crate::cli::{NO, USAGE};

/// Where a gateway's API is, when its address has no path.
const BASE: &str = "/rest/varco/v1";

#[derive(clap::Args)]
pub struct Caller {
    /// The gateway: `https://gateway.example:8443`, with or without the path of what is called.
    #[arg(long)]
    pub gateway: Uri,
    /// What tokens to it carry in `aud`; its documentation says so. The address itself when not given.
    #[arg(long)]
    pub audience: Option<String>,
    /// Our identifier in its registry: goes into `iss`.
    #[arg(long)]
    pub issuer: AgencyId,
    #[command(flatten)]
    pub keys: Keys,
    #[command(flatten)]
    pub operator: Operator,
}

/// All files are PEM.
#[derive(clap::Args)]
pub struct Keys {
    /// Our client certificate, with its chain.
    #[arg(long, value_name = "PEM")]
    pub cert: PathBuf,
    /// Its private key.
    #[arg(long, value_name = "PEM")]
    pub key: PathBuf,
    /// The authority of the gateway's server certificate.
    #[arg(long, value_name = "PEM")]
    pub ca: PathBuf,
    /// Our seal's certificate, with its chain.
    #[arg(long, value_name = "PEM")]
    pub seal_cert: PathBuf,
    /// Its private key, PKCS#8.
    #[arg(long, value_name = "PEM")]
    pub seal_key: PathBuf,
    /// The authority of the seals, by which the answer is judged.
    #[arg(long, value_name = "PEM")]
    pub seal_ca: PathBuf,
    /// Its revocation list.
    #[arg(long, value_name = "PEM")]
    pub seal_crl: PathBuf,
    /// Accept an answer only with the seal of this organization, such as `PA:IT-xx_gateway`.
    #[arg(long, value_name = "ORGANIZATION")]
    pub sealed_by: Option<String>,
}

/// Who asks, inside the agency (AUDIT_REST_01).
#[derive(clap::Args)]
pub struct Operator {
    /// The operator's code, not a name.
    #[arg(long)]
    pub operator: OperatorId,
    /// Office or workstation.
    #[arg(long)]
    pub location: String,
    /// How well the operator was authenticated: low, substantial, high.
    #[arg(long, default_value = "substantial")]
    pub loa: LevelOfAssurance,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("the answer is sealed by another organization")]
    AnotherSeal,
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the push is not JSON")]
    Push,
    #[error("no random bytes, or the seal's key could not sign")]
    Sign,
    #[error("the seal: {0}")]
    Signer(#[from] varco_jose::SignerFault),
    #[error("the subject is not one valid codice fiscale")]
    Subject,
    #[error("the trust in seals: {0}")]
    Trust(#[from] varco_jose::TrustFault),
    #[error("`{}`: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the answer's signature is not good: {0}")]
    Wire(#[from] WireError),
}

/// An answer that may be shown.
pub struct Received {
    pub status: u16,
    pub seal: AnswerSeal,
    pub body: Vec<u8>,
}

pub enum AnswerSeal {
    Good {
        organization: Option<String>,
        issuer: Option<String>,
    },
    /// Only on refusals: a gateway that does not know yet who asks does not sign.
    None,
}

impl PullError {
    /// Our own files and arguments are usage; what the other side did is a "no".
    pub fn exit(&self) -> u8 {
        match self {
            Self::Call(
                CallError::File { .. } | CallError::Request(_) | CallError::Tls(_) | CallError::Url,
            )
            | Self::Push
            | Self::Sign
            | Self::Signer(_)
            | Self::Subject
            | Self::Trust(_)
            | Self::Unreadable { .. } => USAGE,
            Self::AnotherSeal
            | Self::Call(
                CallError::Body
                | CallError::Connect(_)
                | CallError::Header
                | CallError::Http(_)
                | CallError::Timeout,
            )
            | Self::Wire(_) => NO,
        }
    }
}

/// One call, before it is signed.
pub struct Planned {
    pub method: Method,
    /// Below the base of the API.
    pub path: String,
    pub body: Vec<u8>,
}

impl Planned {
    pub fn post(path: String, body: &Value) -> Self {
        Self { method: Method::POST, path, body: json::canonical(body).into_bytes() }
    }
}

impl Caller {
    /// The request, ready to send, and where to.
    pub fn signed(&self, call: Planned, now: Timestamp) -> Result<(Method, Uri, Message), PullError> {
        let Planned { method, path, body } = call;
        let address = self.gateway.to_string();
        let base = if self.gateway.path() == "/" {
            format!("{}{BASE}", address.trim_end_matches('/'))
        } else {
            address.strip_suffix("/pulls").unwrap_or(&address).trim_end_matches('/').to_owned()
        };
        let url = format!("{base}{path}").parse().map_err(|_| CallError::Url)?;
        let signer = SealSigner::from_pem(&read(&self.keys.seal_key)?, &read(&self.keys.seal_cert)?)?;
        let claims = RequestClaims {
            issuer: self.issuer.to_string(),
            audience: self.audience(),
            content_type: (method == Method::POST).then(|| "application/json".to_owned()),
            evidence: Evidence {
                operator: self.operator.operator.clone(),
                location: self.operator.location.clone(),
                loa: self.operator.loa,
            },
        };
        let mut random = [[0; 10]; 3];
        for part in &mut random {
            aws_lc_rs::rand::fill(part).map_err(|_| PullError::Sign)?;
        }
        let jtis = Jtis::new(now, random);
        let headers = sign_request(&body, &claims, &signer, now, &jtis).map_err(|_| PullError::Sign)?;
        Ok((method, url, Message { headers, body }))
    }

    pub fn audience(&self) -> String {
        self.audience.clone().unwrap_or_else(|| self.gateway.to_string().trim_end_matches('/').to_owned())
    }

    pub fn send(&self, to: (&Method, &Uri), message: Message) -> Result<Received, PullError> {
        let keys = &self.keys;
        let asked = Sha256::of(&message.body);
        let trust = SealTrust::from_pem(&read(&keys.seal_ca)?, &read(&keys.seal_crl)?, &Algorithm::DEFAULT)?;
        let channel = Channel::open(&keys.cert, &keys.key, &keys.ca)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CallError::Connect)?;
        let Answer { status, message } = runtime.block_on(channel.send(to, message))?;
        if status >= 400 && message.values(SIGNATURE).next().is_none() {
            return Ok(Received { status, seal: AnswerSeal::None, body: message.body });
        }
        let audiences = [self.issuer.to_string()];
        // The clock again: the answer is younger than the question.
        let expectation =
            Expectation { audiences: &audiences, now: crate::app::system_now(), rules: Rules::default() };
        let verified = verify_response(&message, &expectation, &asked, &trust)?;
        let organization = verified.seal.organization.map(|organization| organization.to_string());
        if keys.sealed_by.is_some() && keys.sealed_by != organization {
            return Err(PullError::AnotherSeal);
        }
        let seal = AnswerSeal::Good { organization, issuer: verified.issuer };
        Ok(Received { status, seal, body: message.body })
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>, PullError> {
    /// Revocation lists are the largest of these files: 100,000 entries are 5 MB of PEM.
    const FILE_MAX: u64 = 16 * 1024 * 1024;
    read_within(path, FILE_MAX)
}

pub fn read_within(path: &Path, largest: u64) -> Result<Vec<u8>, PullError> {
    let unreadable = |source| PullError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(largest).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
