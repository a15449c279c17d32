//! `varco call`: a signed call over mutual TLS (a pull, a push, an inbox), so that an integrator can try a gateway and
//! compare their own tokens.
//!
//! Persons are read from a file or standard input, never from an argument, which other users of the machine can see.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::{Method, Uri};
use serde_json::{Value, json};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, CaseId, ExchangeId, FieldId, OperatorId, PurposeId, RecordTypeId};
use varco_core::json;
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_core::wire::{
    Algorithm, Evidence, Expectation, Jtis, LevelOfAssurance, Message, RequestClaims, Rules, SIGNATURE,
    WireError, sign_request, verify_response,
};
use varco_jose::{SealSigner, SealTrust};

use super::language::Language;
use super::wire::capture::{Capture, Kind, Trust};
use super::{NO, USAGE};
use channel::{Answer, CallError, Channel};

pub mod channel;
pub mod show;

/// Where pulls are made, when the gateway's address has no path.
const PULLS: &str = "/rest/varco/v1/pulls";
/// A push as large as a gateway takes one.
const PUSH_MAX: u64 = 256 * 1024;
/// One codice fiscale and the white space around it.
const SUBJECT_MAX: u64 = 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    pushes: Pushes,
    #[command(flatten)]
    dry: Dry,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

/// Who calls which gateway, with which keys and for which operator: what every signed call needs.
#[derive(clap::Args)]
pub struct Caller {
    /// The gateway: `https://gateway.example:8443`, with or without the path of its pulls.
    #[arg(long)]
    gateway: Uri,
    /// What tokens to it carry in `aud`; its documentation says so. The address itself when not given.
    #[arg(long)]
    audience: Option<String>,
    /// Our identifier in its registry: goes into `iss`.
    #[arg(long)]
    issuer: AgencyId,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    operator: Operator,
}

/// All files are PEM.
#[derive(clap::Args)]
struct Keys {
    /// Our client certificate, with its chain.
    #[arg(long, value_name = "PEM")]
    cert: PathBuf,
    /// Its private key.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The authority of the gateway's server certificate.
    #[arg(long, value_name = "PEM")]
    ca: PathBuf,
    /// Our seal's certificate, with its chain.
    #[arg(long, value_name = "PEM")]
    seal_cert: PathBuf,
    /// Its private key, PKCS#8.
    #[arg(long, value_name = "PEM")]
    seal_key: PathBuf,
    /// The authority of the seals, by which the answer is judged.
    #[arg(long, value_name = "PEM")]
    seal_ca: PathBuf,
    /// Its revocation list.
    #[arg(long, value_name = "PEM")]
    seal_crl: PathBuf,
    /// Accept an answer only with the seal of this organization, such as `PA:IT-xx_gateway`.
    #[arg(long, value_name = "ORGANIZATION")]
    sealed_by: Option<String>,
}

#[derive(clap::Args)]
struct Question {
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack"])]
    record_type: Option<RecordTypeId>,
    /// The agency that holds the record.
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack"])]
    provider: Option<AgencyId>,
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack"])]
    purpose: Option<PurposeId>,
    #[arg(long)]
    case: Option<CaseId>,
    /// Only these fields, separated by commas; otherwise whatever may be released.
    #[arg(long, value_delimiter = ',')]
    fields: Vec<FieldId>,
    /// A file with the person's codice fiscale; standard input when not given.
    #[arg(long, value_name = "FILE")]
    subject: Option<PathBuf>,
}

/// Something else than a pull.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Pushes {
    /// Send a push: the body of `POST /pushes`, from a file, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    push: Option<PathBuf>,
    /// Ask how far a push has come.
    #[arg(long, value_name = "PUSH")]
    pushed: Option<ExchangeId>,
    /// Fetch what waits for our agency.
    #[arg(long)]
    inbox: bool,
    /// Say that our agency has a delivery.
    #[arg(long, value_name = "DELIVERY")]
    ack: Option<ExchangeId>,
}

/// One call, before it is signed.
struct Planned {
    method: Method,
    /// Below the base of the API.
    path: String,
    body: Vec<u8>,
}

impl Pushes {
    fn plan(&self) -> Result<Option<Planned>, PullError> {
        let get = |path: String| Planned { method: Method::GET, path, body: Vec::new() };
        let post = |path: String, body| Planned { method: Method::POST, path, body };
        Ok(if let Some(file) = &self.push {
            let dash = Path::new("-");
            let text = if file == dash { from_stdin(PUSH_MAX)? } else { read_within(file, PUSH_MAX)? };
            let body = json::parse(&text).map_err(|_| PullError::Push)?;
            Some(post("/pushes".to_owned(), json::canonical(&body).into_bytes()))
        } else if let Some(push) = &self.pushed {
            Some(get(format!("/pushes/{push}")))
        } else if let Some(delivery) = &self.ack {
            Some(post(format!("/inbox/{delivery}/ack"), b"{}".to_vec()))
        } else {
            self.inbox.then(|| get("/inbox".to_owned()))
        })
    }
}

/// Who asks, inside the agency (AUDIT_REST_01).
#[derive(clap::Args)]
struct Operator {
    /// The operator's code, not a name.
    #[arg(long)]
    operator: OperatorId,
    /// Office or workstation.
    #[arg(long)]
    location: String,
    /// How well the operator was authenticated: low, substantial, high.
    #[arg(long, default_value = "substantial")]
    loa: LevelOfAssurance,
}

#[derive(clap::Args)]
struct Dry {
    /// Send nothing and print the headers; with --json the whole request, as `varco wire check` reads it.
    #[arg(long)]
    show_request: bool,
}

/// Why a signed call came to nothing.
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
    seal: AnswerSeal,
    pub body: Vec<u8>,
}

enum AnswerSeal {
    Good {
        organization: Option<String>,
        issuer: Option<String>,
    },
    /// Only on refusals: a gateway that does not know yet who asks does not sign.
    None,
}

pub fn run(args: &Args) -> ExitCode {
    let now = crate::app::system_now();
    let outcome = signed(args, now).and_then(|(method, url, message)| {
        if args.dry.show_request {
            return Ok((request_text(args, &message, now)?, true));
        }
        let received = send(args, (&method, &url), message)?;
        let text = if args.json { show::as_json(&received) } else { show::as_text(&received, args.lang) };
        Ok((text, received.status < 400))
    });
    match outcome {
        Ok((text, good)) => {
            // A reader that closed the pipe has seen what it wanted.
            let _ = writeln!(std::io::stdout(), "{text}");
            if good { ExitCode::SUCCESS } else { ExitCode::from(NO) }
        }
        Err(error) => {
            eprintln!("varco call: {error}");
            ExitCode::from(error.exit())
        }
    }
}

impl PullError {
    /// Our own files and arguments are usage; what the other side did is a "no".
    pub const fn exit(&self) -> u8 {
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

/// The request, ready to send, and where to.
fn signed(args: &Args, now: Timestamp) -> Result<(Method, Uri, Message), PullError> {
    let caller = &args.caller;
    let url = if caller.gateway.path() == "/" { caller.url(PULLS)? } else { caller.gateway.clone() };
    let (method, url, body) = match args.pushes.plan()? {
        Some(Planned { method, path, body }) => {
            let address = url.to_string();
            let base = address.strip_suffix("/pulls").unwrap_or(&address).trim_end_matches('/');
            (method, format!("{base}{path}").parse().map_err(|_| CallError::Url)?, body)
        }
        None => (Method::POST, url, json::canonical(&question(&args.question)?).into_bytes()),
    };
    let message = caller.sign(body, now)?;
    Ok((method, url, message))
}

impl Caller {
    /// Where a path below the gateway's address is.
    pub fn url(&self, path: &str) -> Result<Uri, PullError> {
        let base = self.gateway.to_string();
        format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|_| CallError::Url.into())
    }

    /// The three tokens over a body; an empty one has no content type.
    pub fn sign(&self, body: Vec<u8>, now: Timestamp) -> Result<Message, PullError> {
        let signer = SealSigner::from_pem(&read(&self.keys.seal_key)?, &read(&self.keys.seal_cert)?)?;
        let claims = RequestClaims {
            issuer: self.issuer.to_string(),
            audience: self.audience(),
            content_type: (!body.is_empty()).then(|| "application/json".to_owned()),
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
        let headers = sign_request(&body, &claims, &signer, now, &Jtis::new(now, random))
            .map_err(|_| PullError::Sign)?;
        Ok(Message { headers, body })
    }

    fn audience(&self) -> String {
        self.audience.clone().unwrap_or_else(|| self.gateway.to_string().trim_end_matches('/').to_owned())
    }

    /// Sends a signed message and judges the answer by its seal.
    pub fn send(&self, to: (&Method, &Uri), message: Message) -> Result<Received, PullError> {
        let asked = Sha256::of(&message.body);
        let keys = &self.keys;
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

/// The person, from a file or standard input.
pub fn person(file: Option<&Path>) -> Result<CodiceFiscale, PullError> {
    let text = match file {
        Some(path) => read_within(path, SUBJECT_MAX)?,
        None => from_stdin(SUBJECT_MAX)?,
    };
    std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).ok_or(PullError::Subject)
}

fn question(question: &Question) -> Result<Value, PullError> {
    let subject = person(question.subject.as_deref())?;
    let mut body = json!({
        "provider": question.provider,
        "purpose": question.purpose,
        "record_type": question.record_type,
        "subject": {"codice_fiscale": subject.expose()},
    });
    if let Value::Object(members) = &mut body {
        if let Some(case) = &question.case {
            members.insert("case".to_owned(), json!(case));
        }
        if !question.fields.is_empty() {
            members.insert("fields".to_owned(), json!(question.fields));
        }
    }
    Ok(body)
}

fn from_stdin(largest: u64) -> Result<Vec<u8>, PullError> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(largest)
        .read_to_end(&mut text)
        .map_err(|source| PullError::Unreadable { path: PathBuf::from("-"), source })?;
    Ok(text)
}

fn send(args: &Args, to: (&Method, &Uri), message: Message) -> Result<Received, PullError> {
    args.caller.send(to, message)
}

fn request_text(args: &Args, message: &Message, now: Timestamp) -> Result<String, PullError> {
    if !args.json {
        let lines: Vec<_> = message.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        return Ok(lines.join("\n"));
    }
    let pem = |path| Ok::<_, PullError>(vec![String::from_utf8_lossy(&read(path)?).into_owned()]);
    let capture = Capture {
        about: None,
        kind: Kind::Request,
        at: now,
        audience: vec![args.caller.audience()],
        trust: Trust {
            roots: pem(&args.caller.keys.seal_ca)?,
            crls: pem(&args.caller.keys.seal_crl)?,
            algorithms: Algorithm::DEFAULT.to_vec(),
        },
        headers: message.headers.clone(),
        body: Some(String::from_utf8_lossy(&message.body).into_owned()),
        body_base64: None,
        request_digest: None,
        verdict: None,
    };
    Ok(json::canonical_of(&capture))
}

pub fn read(path: &Path) -> Result<Vec<u8>, PullError> {
    /// Revocation lists are the largest of these files: 100,000 entries are 5 MB of PEM.
    const FILE_MAX: u64 = 16 * 1024 * 1024;
    read_within(path, FILE_MAX)
}

fn read_within(path: &Path, largest: u64) -> Result<Vec<u8>, PullError> {
    let unreadable = |source| PullError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(largest).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
