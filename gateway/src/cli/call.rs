//! `varco call`: a signed call over mutual TLS (a pull, a push, an inbox), so that an integrator can try a gateway and
//! compare their own tokens.
//!
//! Persons are read from a file or standard input, never from an argument, which other users of the machine can see.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};
use varco_core::id::{AgencyId, CaseId, ExchangeId, FieldId, PurposeId, RecordTypeId};
use varco_core::json;
use varco_core::statistics::Period;
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_core::wire::{Algorithm, Message};

use super::NO;
use super::language::Language;
use super::wire::capture::{Capture, Kind, Trust};
use caller::{Caller, Planned, PullError, read, read_within};

pub mod caller;
pub mod channel;
pub mod show;

/// A push as large as a gateway takes one.
const PUSH_MAX: u64 = 256 * 1024;
/// One codice fiscale and the white space around it.
const SUBJECT_MAX: u64 = 1024;
/// A household of 32, a line of 32 bytes each, and comments.
const MEMBERS_MAX: u64 = 8 * 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    instead: Instead,
    #[command(flatten)]
    dry: Dry,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(clap::Args)]
struct Question {
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack"])]
    record_type: Option<RecordTypeId>,
    /// The agency that holds the record.
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack", "statistics"])]
    provider: Option<AgencyId>,
    #[arg(long, required_unless_present_any = ["push", "pushed", "inbox", "ack"])]
    purpose: Option<PurposeId>,
    #[arg(long)]
    case: Option<CaseId>,
    /// Only these fields, separated by commas; otherwise whatever may be released. Of statistics, only these dimensions.
    #[arg(long, value_delimiter = ',')]
    fields: Vec<FieldId>,
    /// A file with the person's codice fiscale; standard input when not given.
    #[arg(long, value_name = "FILE")]
    subject: Option<PathBuf>,
    /// A file with the codici fiscali of a household, one a line: all are asked for in one request.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    members: Option<PathBuf>,
}

/// Something else than a pull.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Instead {
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
    /// Ask how many people there are in the classes of the record type's tabulation: in `2026-S1`, or in `2026`.
    #[arg(long, value_name = "PERIOD", conflicts_with_all = ["provider", "case", "subject", "members"])]
    statistics: Option<Period>,
}

impl Instead {
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

#[derive(clap::Args)]
struct Dry {
    /// Send nothing and print the headers; with --json the whole request, as `varco wire check` reads it.
    #[arg(long)]
    show_request: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let now = crate::app::system_now();
    let signed = planned(args).and_then(|call| args.caller.signed(call, now));
    let outcome = signed.and_then(|(method, url, message)| {
        if args.dry.show_request {
            return Ok((request_text(args, &message, now)?, true));
        }
        let received = args.caller.send((&method, &url), message)?;
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

fn planned(args: &Args) -> Result<Planned, PullError> {
    if let Some(call) = args.instead.plan()? {
        return Ok(call);
    }
    if let Some(period) = args.instead.statistics {
        return Ok(Planned::post("/statistics".to_owned(), &counting(&args.question, period)));
    }
    let path = if args.question.members.is_some() { "/pulls/household" } else { "/pulls" };
    Ok(Planned::post(path.to_owned(), &question(&args.question)?))
}

fn question(question: &Question) -> Result<Value, PullError> {
    let mut body = json!({
        "provider": question.provider,
        "purpose": question.purpose,
        "record_type": question.record_type,
    });
    if let Value::Object(members) = &mut body {
        match &question.members {
            Some(path) => members.insert("members".to_owned(), household(path)?),
            None => members.insert("subject".to_owned(), subject(question.subject.as_deref())?),
        };
        if let Some(case) = &question.case {
            members.insert("case".to_owned(), json!(case));
        }
        if !question.fields.is_empty() {
            members.insert("fields".to_owned(), json!(question.fields));
        }
    }
    Ok(body)
}

fn counting(question: &Question, period: Period) -> Value {
    let dimensions = Some(&question.fields).filter(|fields| !fields.is_empty());
    json!({
        "dimensions": dimensions,
        "period": period,
        "purpose": question.purpose,
        "record_type": question.record_type,
    })
}

fn from_stdin(largest: u64) -> Result<Vec<u8>, PullError> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(largest)
        .read_to_end(&mut text)
        .map_err(|source| PullError::Unreadable { path: PathBuf::from("-"), source })?;
    Ok(text)
}

/// The person of a file or of standard input, as messages name one.
pub fn subject(path: Option<&Path>) -> Result<Value, PullError> {
    let text = match path {
        Some(path) => read_within(path, SUBJECT_MAX)?,
        None => from_stdin(SUBJECT_MAX)?,
    };
    named(std::str::from_utf8(&text).map_err(|_| PullError::Subject)?)
}

/// Empty lines and those that begin with `#` are passed over.
fn household(path: &Path) -> Result<Value, PullError> {
    let text = String::from_utf8(read_within(path, MEMBERS_MAX)?).map_err(|_| PullError::Subject)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(named).collect()
}

fn named(text: &str) -> Result<Value, PullError> {
    let person: CodiceFiscale = text.trim().parse().map_err(|_| PullError::Subject)?;
    Ok(json!({ "codice_fiscale": person.expose() }))
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

#[cfg(test)]
mod tests;
