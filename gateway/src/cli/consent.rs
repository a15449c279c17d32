//! `varco consent`: consent records as ISO/IEC TS 27560 writes them, for whoever runs the registry and whoever receives one.
//!
//! Only from the registry's own database, because a record names the person by the pseudonym that every entry has: no agency
//! gets it over the wire. A record that came from elsewhere is checked, and recorded anew by whoever has the person in front of
//! them (`take-over` writes what they send to `POST /consents`); it enters no registry by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use varco_core::consent::Consent;
use varco_core::consent::interchange::{ImportError, Setting, TakeOverError, export, import, take_over};
use varco_core::id::{AgencyId, ConsentId};
use varco_core::json;
use varco_core::registry::Registry;
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_store::read::Reader;
use varco_store::submission::StreamKind;
use zeroize::Zeroizing;

use super::language::Language;
use super::{NO, USAGE};
use crate::app::system_now;
use crate::registers::consent_of;

/// How a consent is withdrawn, wherever it was given.
const WITHDRAWAL: &str = "At any desk of any party to the agreement, without giving a reason.";
/// A record with its events is far smaller.
const FILE_MAX: u64 = 1024 * 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a record of the registry as TS 27560 JSON with DPV terms.
    Export(Export),
    /// Check a record in that form, event by event, and say how it stands.
    Read(Read),
    /// Write the body of `POST /consents` that records in this registry what stands of a record that came from elsewhere.
    TakeOver(TakeOver),
}

#[derive(clap::Args)]
struct Export {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read; the gateway may be running.
    #[arg(long, value_name = "URL")]
    database: String,
    /// A version of the registry, for the names of the parties.
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Where to write it, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The record's identifier, as the answer to `POST /consents` has it.
    id: ConsentId,
}

#[derive(clap::Args)]
struct TakeOver {
    /// The record.
    file: PathBuf,
    /// A file with the codice fiscale of the person in front of you.
    #[arg(long, value_name = "FILE")]
    subject: PathBuf,
    /// The instant at which choices must stand; now, if not given.
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
}

#[derive(clap::Args)]
struct Read {
    /// The record.
    file: PathBuf,
    /// The instant at which to say how it stands; now, if not given.
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// The language of the text.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

/// Why a command cannot be carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database cannot be opened")]
    Connect(#[from] varco_store::db::ConnectError),
    #[error("the file `{0}` cannot be read or written")]
    File(PathBuf, #[source] std::io::Error),
    #[error("`{0}` is not JSON as it should be: {1}")]
    Json(PathBuf, String),
    #[error("the database cannot be read")]
    Read(#[from] varco_store::read::ReadError),
    #[error("the record cannot be read")]
    Record(#[from] crate::registers::Unreadable),
    #[error("nothing can be run")]
    Runtime(#[source] std::io::Error),
    #[error("`{0}` holds no codice fiscale")]
    Subject(PathBuf),
    #[error("the record is not taken over: {0}")]
    TakeOver(#[from] TakeOverError),
    #[error("the registry has no consent record `{0}`")]
    Unknown(ConsentId),
    #[error("the record is not accepted: {0}")]
    Refused(#[from] ImportError),
}

/// Exits 0 when the record is there and holds, 1 when it is not or does not, 2 when it cannot be looked at.
pub fn run(args: &Args) -> ExitCode {
    let done = match &args.command {
        Command::Export(args) => exported(args),
        Command::Read(args) => read(args),
        Command::TakeOver(args) => taken_over(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("varco consent: {}", super::reasons(&failure));
            let is_answer =
                matches!(failure, Failure::Refused(_) | Failure::TakeOver(_) | Failure::Unknown(_));
            ExitCode::from(if is_answer { NO } else { USAGE })
        }
    }
}

fn exported(args: &Export) -> Result<(), Failure> {
    let registry: Option<Registry> =
        args.registry.as_deref().map(|path| of_json(path, &text(path)?)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let consent = runtime.map_err(Failure::Runtime)?.block_on(stored(args))?;
    let named = registry.iter().flat_map(|registry| &registry.agencies);
    let parties: Vec<(&AgencyId, &str)> = named.map(|agency| (&agency.id, agency.name.as_str())).collect();
    let setting = Setting { parties: &parties, withdrawal: WITHDRAWAL };
    let document = format!("{:#}\n", export(&consent, setting, system_now()));
    match &args.out {
        Some(path) => std::fs::write(path, document).map_err(|error| Failure::File(path.clone(), error)),
        None => {
            print!("{document}");
            Ok(())
        }
    }
}

async fn stored(args: &Export) -> Result<Consent, Failure> {
    super::log::noted(&args.database).await;
    let reader = Reader::open(&args.database).await?;
    let stream = reader.stream(args.id.as_str()).await?;
    let stream = stream.filter(|stream| stream.kind == StreamKind::Consent);
    Ok(consent_of(stream.ok_or_else(|| Failure::Unknown(args.id.clone()))?)?)
}

fn read(args: &Read) -> Result<(), Failure> {
    let document: Value = of_json(&args.file, &text(&args.file)?)?;
    let consent = import(&document)?;
    let at = args.at.unwrap_or_else(system_now);
    let states = consent.header.scope.iter().map(|item| (item, consent.state(&item.item, at)));
    if args.json {
        let items: Vec<Value> = states
            .map(|(item, state)| {
                json!({
                    "item": item.item, "purpose": item.purpose, "record_type": item.record_type,
                    "state": state, "valid_until": item.valid_until,
                })
            })
            .collect();
        let told = json!({ "id": consent.header.id, "events": consent.epoch(), "at": at, "items": items });
        println!("{}", json::canonical(&told));
        return Ok(());
    }
    let lang = args.lang;
    println!("{} {}", lang.choose("Consenso", "Consent"), consent.header.id);
    println!("{}: {}", lang.choose("eventi, ricontrollati", "events, checked again"), consent.epoch());
    for (item, state) in states {
        println!(
            "  {:<24} {} {:<32} {} ({} {})",
            item.item,
            item.purpose,
            item.record_type.as_str(),
            state.dpv(),
            lang.choose("fino al", "until"),
            item.valid_until,
        );
    }
    Ok(())
}

fn taken_over(args: &TakeOver) -> Result<(), Failure> {
    let document: Value = of_json(&args.file, &text(&args.file)?)?;
    let mut body = take_over(&import(&document)?, args.at.unwrap_or_else(system_now))?;
    let named = Zeroizing::new(text(&args.subject)?);
    let person = std::str::from_utf8(&named).ok().and_then(|text| text.trim().parse::<CodiceFiscale>().ok());
    let person = person.ok_or_else(|| Failure::Subject(args.subject.clone()))?;
    if let Value::Object(members) = &mut body {
        members.insert("subject".to_owned(), json!({ "codice_fiscale": person.expose() }));
    }
    println!("{}", json::canonical(&body));
    Ok(())
}

fn text(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let fault = |error| Failure::File(path.to_owned(), error);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fault)?.take(FILE_MAX).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

fn of_json<T: serde::de::DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, Failure> {
    json::parse_as(text).map_err(|fault| Failure::Json(path.to_owned(), fault.to_string()))
}
