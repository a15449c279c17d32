//! `varco appeal`: ask the owner of a record for a field that was refused, with a reason; list, read and decide on such
//! requests. Persons and reasons are read from files or standard input, never from an argument.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use varco_core::id::{AppealId, ExchangeId};
use varco_core::json;
use varco_core::time::Timestamp;
use varco_jose::Reader;

use super::call::caller::{Caller, Planned, PullError, Received, read};
use super::call::{show, subject};
use super::language::Language;
use super::{NO, USAGE};

const APPEALS: &str = "/appeals";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Approve as one of two people of the owner; the second word opens.
    Approve(Box<Approve>),
    /// Close a request of one's own that is not needed any more, or whose answer was read.
    Close(Box<One>),
    /// Ask for fields that an exchange withheld.
    File(Box<File>),
    /// Those in which the agency has something to do or to learn.
    List(Box<List>),
    /// Open the sealed words of an answer of `show --json`, as the officer whose key it is.
    Read(Read),
    /// Reject, with a text that whoever asked will read.
    Reject(Box<Worded>),
    /// Take back what was opened, with a text.
    Revoke(Box<Worded>),
    /// One request with its sealed words.
    Show(Box<One>),
}

#[derive(clap::Args)]
struct File {
    #[command(flatten)]
    list: List,
    /// The exchange in which the fields were withheld.
    #[arg(long)]
    exchange: ExchangeId,
    /// The fields, separated by commas, each with the view that is needed after a colon: `isee_tipo,data_nascita:anno`.
    #[arg(long, value_delimiter = ',', required = true)]
    fields: Vec<String>,
    /// A file with the reason.
    #[arg(long, value_name = "FILE")]
    reason: PathBuf,
    /// A file with the person's codice fiscale; standard input when not given.
    #[arg(long, value_name = "FILE")]
    subject: Option<PathBuf>,
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    caller: Caller,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(clap::Args)]
struct One {
    #[command(flatten)]
    list: List,
    appeal: AppealId,
}

#[derive(clap::Args)]
struct Approve {
    #[command(flatten)]
    one: One,
    /// Until when: at most thirty days; of two words the shorter counts.
    #[arg(long)]
    until: Timestamp,
}

#[derive(clap::Args)]
struct Worded {
    #[command(flatten)]
    one: One,
    /// A file with the text.
    #[arg(long, value_name = "FILE")]
    reason: PathBuf,
}

#[derive(clap::Args)]
struct Read {
    /// The answer of `show --json`.
    answer: PathBuf,
    /// The officer's private key (PKCS#8 PEM, P-256).
    #[arg(long)]
    key: PathBuf,
}

pub fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Approve(asked) => asked.one.event(&json!({ "change": "approve", "until": asked.until })),
        Command::Close(one) => one.event(&json!({ "change": "close" })),
        Command::File(asked) => file(&asked),
        Command::List(list) => list.call(Method::GET, APPEALS, None),
        Command::Read(asked) => return open(&asked),
        Command::Reject(asked) => asked.event("reject"),
        Command::Revoke(asked) => asked.event("revoke"),
        Command::Show(one) => one.list.call(Method::GET, &format!("{APPEALS}/{}", one.appeal), None),
    };
    done.unwrap_or_else(|error| {
        eprintln!("varco appeal: {error}");
        ExitCode::from(error.exit())
    })
}

fn file(asked: &File) -> Result<ExitCode, PullError> {
    let field = |text: &String| match text.split_once(':') {
        Some((name, view)) => json!({ "name": name, "view": view }),
        None => json!({ "name": text }),
    };
    let body = json!({
        "exchange": asked.exchange,
        "subject": subject(asked.subject.as_deref())?,
        "fields": asked.fields.iter().map(field).collect::<Vec<_>>(),
        "reason": words(&asked.reason)?,
    });
    asked.list.call(Method::POST, APPEALS, Some(&body))
}

fn words(path: &Path) -> Result<String, PullError> {
    Ok(String::from_utf8_lossy(&read(path)?).trim().to_owned())
}

impl Worded {
    fn event(&self, change: &str) -> Result<ExitCode, PullError> {
        self.one.event(&json!({ "change": change, "reason": words(&self.reason)? }))
    }
}

impl One {
    fn event(&self, body: &Value) -> Result<ExitCode, PullError> {
        self.list.call(Method::POST, &format!("{APPEALS}/{}/events", self.appeal), Some(body))
    }
}

impl List {
    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<ExitCode, PullError> {
        let body = body.map(|body| json::canonical(body).into_bytes()).unwrap_or_default();
        let planned = Planned { method, path: path.to_owned(), body };
        let (method, url, message) = self.caller.signed(planned, crate::app::system_now())?;
        let received = self.caller.send((&method, &url), message)?;
        println!("{}", if self.json { show::as_json(&received) } else { self.text(&received) });
        Ok(if received.status < 400 { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    }

    fn text(&self, received: &Received) -> String {
        let mut text = show::as_text(received, self.lang);
        let Ok(body) = json::parse(&received.body) else { return text };
        let one = body.get("appeal").into_iter();
        let many = ["received", "filed"].into_iter().filter_map(|side| body.get(side)?.as_array()).flatten();
        for appeal in one.chain(many) {
            text.push('\n');
            text.push_str(&line(appeal, self.lang));
        }
        text
    }
}

/// One request in one line: state, who asks whom for what.
fn line(appeal: &Value, lang: Language) -> String {
    let said = |name: &str| appeal.get(name).and_then(Value::as_str).unwrap_or("-");
    let fields = appeal.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let field = |one: &Value| {
        let part = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        format!("{}:{}", part("name"), part("view"))
    };
    let fields: Vec<String> = fields.iter().map(field).collect();
    let until = match appeal.get("until").and_then(Value::as_str) {
        Some(until) => format!(", {} {until}", lang.choose("fino al", "until")),
        None => String::new(),
    };
    format!(
        "  {} {}{until}: {} → {}, {} {}: {}",
        said("id"),
        state(said("state"), lang),
        said("consumer"),
        said("provider"),
        said("record_type"),
        said("purpose"),
        fields.join(", ")
    )
}

fn state(state: &str, lang: Language) -> String {
    let italian = match state {
        "approved_once" => "approvata da una persona",
        "closed" => "chiusa",
        "expired" => "scaduta",
        "filed" => "presentata",
        "lapsed" => "decaduta",
        "open" => "aperta",
        "rejected" => "respinta",
        "revoked" => "revocata",
        other => other,
    };
    match lang {
        Language::It => italian.to_owned(),
        Language::En => state.to_owned(),
    }
}

/// Prints every text that the key opens. Exit code 1 if it opens none.
fn open(asked: &Read) -> ExitCode {
    let told = |text: &dyn std::fmt::Display| {
        eprintln!("varco appeal read: {text}");
        ExitCode::from(USAGE)
    };
    let (answer, key) = match (read(&asked.answer), read(&asked.key)) {
        (Ok(answer), Ok(key)) => (answer, key),
        (Err(error), _) | (_, Err(error)) => return told(&error),
    };
    let reader = match Reader::from_pem(&key) {
        Ok(reader) => reader,
        Err(fault) => return told(&fault),
    };
    let Ok(answer) = json::parse(&answer) else { return told(&"the answer is not JSON") };
    let answer = answer.get("body").unwrap_or(&answer);
    let words = answer.get("words").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let sealed = words.iter().filter_map(|one| one.get("sealed")?.as_array()).flatten();
    let opened = sealed.filter_map(|text| reader.open(text.as_str()?).ok());
    let mut count = 0;
    for text in opened {
        println!("{}", String::from_utf8_lossy(&text));
        count += 1;
    }
    if count > 0 { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}
