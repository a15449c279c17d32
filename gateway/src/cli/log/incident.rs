//! `varco log incident`: whose fields a key, an operator, an office or an agency obtained in a period. Asks the gateway,
//! which enters the question and its reason in the log, and writes what the notices within 48 and 72 hours need.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use serde_json::{Value, json};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, OfficeId, OperatorId};
use varco_core::log::incident::{Inquiry, csv};
use varco_core::log::mapping::local;
use varco_core::time::Timestamp;

use super::source::Channel;
use super::{Answer, Failure, Language, read_file, wait, words};

#[derive(clap::Args)]
pub struct Args {
    /// The address of the log: `https://<host>/rest/varco/v1/log`.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    channel: Channel,
    /// From this instant on.
    #[arg(long, value_name = "INSTANT")]
    from: Timestamp,
    /// Before this instant.
    #[arg(long, value_name = "INSTANT")]
    until: Timestamp,
    /// Who obtained it: an agency of the registry.
    #[arg(long)]
    agency: Option<AgencyId>,
    /// An office.
    #[arg(long)]
    office: Option<OfficeId>,
    /// An operator, by the agency's code.
    #[arg(long)]
    operator: Option<OperatorId>,
    /// A seal's key: SHA-256 of its SubjectPublicKeyInfo.
    #[arg(long, value_name = "SHA-256")]
    key_sha256: Option<Sha256>,
    /// Why it is asked; it is entered in the log.
    #[arg(long)]
    reason: String,
    /// An agency's document with its operators' names; its officer's statement is beside it, with `.jws` at the end.
    #[arg(long, value_name = "FILE")]
    names: Vec<PathBuf>,
    /// Where to write one line for each disclosure.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

/// Exits 0 when the question was answered, also when nobody's fields were obtained; 1 when the gateway refuses it.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut names = Vec::new();
    for path in &args.names {
        let text = |path: &PathBuf| -> Result<String, Failure> {
            let not_text = |_| Failure::Usage(format!("{}: not a text", path.display()));
            String::from_utf8(read_file(path)?).map_err(not_text)
        };
        let mut beside = path.clone().into_os_string();
        beside.push(".jws");
        let statement = text(&beside.into())?.trim().to_owned();
        names.push(json!({ "document": text(path)?, "statement": statement }));
    }
    let inquiry = Inquiry {
        from: args.from,
        until: args.until,
        agency: args.agency.clone(),
        office: args.office.clone(),
        operator: args.operator.clone(),
        key: args.key_sha256,
    };
    inquiry.check().map_err(|fault| Failure::Usage(fault.to_string()))?;
    let ask = json!({ "inquiry": inquiry, "reason": args.reason, "names": names });
    let (status, answer) = wait(async {
        let fetcher = args.channel.fetcher()?;
        let url = format!("{}/incidents", args.url.trim_end_matches('/'));
        let fetched = fetcher.post_as("application/json", &url, Bytes::from(ask.to_string())).await?;
        Ok((fetched.status, serde_json::from_slice::<Value>(&fetched.body).unwrap_or_default()))
    })?;
    if status != 200 {
        let detail = answer.get("detail").or_else(|| answer.get("title")).and_then(Value::as_str);
        eprintln!("varco log incident: {status}: {}", detail.unwrap_or_default());
        return Ok(ExitCode::from(super::super::NO));
    }
    let names = names_of(&answer);
    if let Some(path) = &args.csv {
        std::fs::write(path, csv(&answer, &names)).map_err(|error| Failure::File(path.clone(), error))?;
    }
    if args.answer.json {
        println!("{answer}");
    } else {
        print!("{}", text(&answer, &names, args.answer.lang));
    }
    Ok(ExitCode::SUCCESS)
}

type Names = BTreeMap<(String, String), String>;

fn names_of(answer: &Value) -> Names {
    let mut names = Names::new();
    for (agency, operators) in answer.get("names").and_then(Value::as_object).into_iter().flatten() {
        for (code, name) in operators.as_object().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default().to_owned();
            names.insert((agency.clone(), code.clone()), name);
        }
    }
    names
}

/// What a notice must say (GDPR article 33), as far as the log knows it.
fn text(answer: &Value, names: &Names, lang: Language) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut out, answer, names, lang);
    out
}

fn write_text(out: &mut String, answer: &Value, names: &Names, lang: Language) -> std::fmt::Result {
    let number =
        |member: &str| words::number(lang, answer.get(member).and_then(Value::as_u64).unwrap_or_default());
    let instant = |member: &str| {
        let at = answer.get(member).and_then(Value::as_str).and_then(|at| at.parse().ok());
        at.map_or_else(|| "—".to_owned(), local)
    };
    writeln!(out, "{:<24} {}", lang.choose("Interessati", "People"), number("people"))?;
    writeln!(out, "{:<24} {}", lang.choose("Comunicazioni", "Disclosures"), number("disclosures"))?;
    writeln!(
        out,
        "{:<24} {}",
        lang.choose("Prima e ultima", "First and last"),
        [instant("first"), instant("last")].join(" – ")
    )?;
    let owners: Vec<&str> = answer
        .get("owners")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    writeln!(out, "{:<24} {}", lang.choose("Titolari dei dati", "Owners of the data"), owners.join(", "))?;
    let erased = answer.get("erased").and_then(Value::as_u64).unwrap_or_default();
    if erased > 0 {
        let gone =
            lang.choose("con parti cancellate: non si sa di chi", "with erased bodies: whose is not known");
        writeln!(out, "{:<24} {} {gone}", "", words::number(lang, erased))?;
    }
    writeln!(out, "\n{}", lang.choose("Dati ottenuti (persone)", "Data obtained (people)"))?;
    for (record_type, fields) in answer.get("fields").and_then(Value::as_object).into_iter().flatten() {
        writeln!(out, "  {record_type}")?;
        for (field, count) in fields.as_object().into_iter().flatten() {
            writeln!(out, "    {field:<32} {}", words::number(lang, count.as_u64().unwrap_or_default()))?;
        }
    }
    writeln!(out, "\n{}", lang.choose("Operatori (comunicazioni)", "Operators (disclosures)"))?;
    for row in answer.get("operators").and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = names.get(&(text("agency"), text("operator"))).cloned();
        let name =
            name.unwrap_or_else(|| lang.choose("nome noto all'ente", "known to the agency").to_owned());
        let count = row.get("disclosures").and_then(Value::as_u64).unwrap_or_default();
        writeln!(out, "  {} {} ({name}): {}", text("agency"), text("operator"), words::number(lang, count))?;
    }
    Ok(())
}
