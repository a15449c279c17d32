//! `varco subject`: what a person is entitled to know, asked for them at a desk.
//!
//! `report` asks a gateway for the answer to art. 15 and keeps it as a signed document and as a page to be printed. The
//! request is signed and logged like any other, and shows in the person's next report.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use varco_core::json;

use super::call::caller::{Caller, Planned, PullError};
use super::call::{show, subject};
use super::language::Language;
use super::{NO, USAGE};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What was disclosed of a person, when, to whom, why, and which consents stand.
    Report(Box<Report>),
}

#[derive(clap::Args)]
struct Report {
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    person: Person,
    /// Also which operators of our own agency asked or sent, by their codes; says why the person's rights depend on it.
    /// Logged. Of other agencies' operators nothing is told.
    #[arg(long, value_enum, value_name = "GROUND")]
    with_operators: Option<Ground>,
    #[command(flatten)]
    files: Files,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

/// Why it must be known which operator it was.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Ground {
    /// For a claim before a court or a supervisory authority.
    Claim,
    /// Somebody may have looked without a reason.
    SuspectedMisuse,
}

/// Who asks, and how they were identified.
#[derive(clap::Args)]
struct Person {
    /// A file with the person's codice fiscale; standard input when not given.
    #[arg(long, value_name = "FILE")]
    subject: Option<PathBuf>,
    /// `self`, or in which capacity somebody speaks for them: `parent`, `tutor`, `ads_representation`, …
    #[arg(long, default_value = "self")]
    capacity: String,
    /// How they were identified: `handwritten`, `cie`, `spid_session`, `fea`.
    #[arg(long, default_value = "handwritten")]
    method: String,
    /// The desk.
    #[arg(long)]
    access_point: String,
    /// A JSON file with the dispositive extract of the decree, for who speaks by one.
    #[arg(long, value_name = "FILE")]
    mandate: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Files {
    /// Where the signed document goes: a compact JWS.
    #[arg(long, value_name = "FILE")]
    jws: Option<PathBuf>,
    /// Where the page to be printed goes.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Ground {
    const fn text(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::SuspectedMisuse => "suspected_misuse",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("{0}")]
    Call(#[from] PullError),
    #[error("the mandate is not a JSON object")]
    Mandate,
    #[error("`{}`: {source}", .path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
}

pub fn run(args: &Args) -> ExitCode {
    let Command::Report(args) = &args.command;
    match report(args) {
        Ok((text, code)) => {
            // A reader that closed the pipe has seen what it wanted.
            let _ = writeln!(std::io::stdout(), "{text}");
            code
        }
        Err(error) => {
            eprintln!("varco subject report: {error}");
            match error {
                ReportError::Call(error) => ExitCode::from(error.exit()),
                ReportError::Mandate | ReportError::Unwritable { .. } => ExitCode::from(USAGE),
            }
        }
    }
}

fn report(args: &Report) -> Result<(String, ExitCode), ReportError> {
    let body = question(args)?;
    let call = Planned::post("/subjects/report".to_owned(), &body);
    let (method, url, message) = args.caller.signed(call, crate::app::system_now())?;
    let received = args.caller.send((&method, &url), message)?;
    if received.status >= 400 {
        let text = if args.json { show::as_json(&received) } else { show::as_text(&received, args.lang) };
        return Ok((text, ExitCode::from(NO)));
    }
    let answer = match json::parse(&received.body) {
        Ok(Value::Object(answer)) => answer,
        Ok(_) | Err(_) => Map::new(),
    };
    for (file, member) in [(&args.files.jws, "report_jws"), (&args.files.html, "report_html")] {
        if let (Some(path), Some(text)) = (file, answer.get(member).and_then(Value::as_str)) {
            write(path, text)?;
        }
    }
    let text = if args.json { show::as_json(&received) } else { summary(&answer, args.lang) };
    Ok((text, ExitCode::SUCCESS))
}

fn question(args: &Report) -> Result<Value, ReportError> {
    let person = &args.person;
    let mut word = json!({
        "capacity": person.capacity, "method": person.method, "access_point": person.access_point,
    });
    if let (Some(path), Value::Object(word)) = (&person.mandate, &mut word) {
        /// A decree's dispositive extract is a few lines.
        const MANDATE_MAX: u64 = 16 * 1024;
        let bytes = super::call::caller::read_within(path, MANDATE_MAX)?;
        let mandate = json::parse(&bytes).map_err(|_| ReportError::Mandate)?;
        word.insert("mandate".to_owned(), mandate);
    }
    let language = args.lang.choose("it", "en");
    let subject = subject(person.subject.as_deref())?;
    let mut body = json!({ "subject": subject, "word": word, "language": language });
    if let (Value::Object(body), Some(ground)) = (&mut body, args.with_operators) {
        body.insert("operators".to_owned(), json!({ "ground": ground.text() }));
    }
    Ok(body)
}

/// What there is, in three lines; the details are in the files, because a screen is read by others.
fn summary(answer: &Map<String, Value>, language: Language) -> String {
    let count = |member: &str| {
        let list = answer.get("report").and_then(|report| report.get(member)).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    };
    [
        (count("disclosures"), language.choose("comunicazioni", "disclosures")),
        (count("mistaken"), language.choose("comunicazioni errate", "mistaken disclosures")),
        (count("consents"), language.choose("consensi", "consents")),
    ]
    .map(|(count, what)| format!("{count} {what}"))
    .join("\n")
}

/// For the person and the desk only.
fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let unwritable = |source| ReportError::Unwritable { path: path.to_owned(), source };
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(unwritable)?.write_all(text.as_bytes()).map_err(unwritable)
}
