//! `varco wire`: check a captured message step by step, for whoever writes the other end.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use varco_core::time::Timestamp;
use varco_core::wire::{Checked, Outcome};

use super::language::Language;
use super::{NO, USAGE};
use capture::{Capture, CaptureError, Finding};

pub mod capture;
mod found;
mod words;

/// A message with the largest body anybody agreed on, its trust and some air.
const CAPTURE_MAX: u64 = 16 * 1024 * 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say which checks a captured request or answer passes, which fail, and why.
    ///
    /// The file is JSON: `at`, `audience`, `trust` {roots, crls}, `headers` [[name, value]…], `body` or `body_base64`;
    /// for an answer also `kind`: "response" and `request_digest`. `-` reads it from standard input.
    Check(Check),
}

#[derive(clap::Args)]
struct Check {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The receiver's audience, instead of the file's; may be repeated.
    #[arg(long)]
    audience: Vec<String>,
    /// The instant of arrival, instead of the file's: `2026-03-02T08:41:07Z`.
    #[arg(long)]
    at: Option<Timestamp>,
    /// PEM file with the roots of the seals, instead of the file's.
    #[arg(long, value_name = "PEM", requires = "crls")]
    roots: Option<PathBuf>,
    /// PEM file with the revocation lists, instead of the file's.
    #[arg(long, value_name = "PEM", requires = "roots")]
    crls: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("{0}")]
    Capture(#[from] CaptureError),
    #[error("`{}`: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

pub fn run(args: Args) -> ExitCode {
    let Command::Check(check) = args.command;
    match find(&check) {
        Ok((capture, finding)) => {
            let text = if check.json { as_json(&finding) } else { as_text(&capture, &finding, check.lang) };
            println!("{text}");
            if finding.verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
        }
        Err(error) => {
            eprintln!("varco wire check: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn find(check: &Check) -> Result<(Capture, Finding), CheckError> {
    let mut capture = Capture::parse(&read(&check.file)?)?;
    if !check.audience.is_empty() {
        capture.audience.clone_from(&check.audience);
    }
    capture.at = check.at.unwrap_or(capture.at);
    if let (Some(roots), Some(crls)) = (&check.roots, &check.crls) {
        capture.trust.roots = vec![String::from_utf8_lossy(&read(roots)?).into_owned()];
        capture.trust.crls = vec![String::from_utf8_lossy(&read(crls)?).into_owned()];
    }
    let finding = capture.check()?;
    Ok((capture, finding))
}

fn read(path: &Path) -> Result<Vec<u8>, CheckError> {
    let unreadable = |source| CheckError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(CAPTURE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(CAPTURE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    Ok(bytes)
}

fn as_json(finding: &Finding) -> String {
    let step = |checked: &Checked| match &checked.outcome {
        Outcome::Passed => json!({
            "header": checked.part.header(), "step": checked.step.text(), "passed": true,
        }),
        Outcome::Failed(fault) => json!({
            "header": checked.part.header(), "step": checked.step.text(), "passed": false,
            "code": fault.code().text(), "detail": fault.to_string(), "remedy": fault.code().remedy(),
        }),
    };
    let verdict = match &finding.verdict {
        Ok(sender) => json!({
            "accepted": true, "issuer": sender.issuer, "organization": sender.organization,
            "certificate": sender.certificate,
        }),
        Err(error) => json!({
            "accepted": false, "code": error.code().text(), "status": error.code().status(),
            "header": error.part.header(), "step": error.step.text(), "detail": error.fault.to_string(),
        }),
    };
    json!({ "steps": finding.steps.iter().map(step).collect::<Vec<_>>(), "verdict": verdict }).to_string()
}

/// The finding for people: every step, and for a failed one why, what was found and what was wanted.
pub fn as_text(capture: &Capture, finding: &Finding, language: Language) -> String {
    let message = capture.message().ok();
    let mut lines = Vec::new();
    let mut part = None;
    for checked in &finding.steps {
        if part != Some(checked.part) {
            lines.push(words::part(checked.part, language).to_owned());
            part = Some(checked.part);
        }
        let step = words::step(checked.step, language);
        let Outcome::Failed(fault) = &checked.outcome else {
            lines.push(format!("  ok  {step}"));
            continue;
        };
        lines.push(format!("  NO  {step}"));
        lines.push(format!("      {}", words::fault(fault, language)));
        let Some(message) = &message else { continue };
        let explained = found::explain(capture, message, checked.part, fault);
        let (found, wanted) = (language.choose("trovato", "found"), language.choose("atteso", "expected"));
        lines.extend(explained.found.map(|text| format!("      {found}: {text}")));
        lines.extend(explained.wanted.map(|text| format!("      {wanted}: {text}")));
    }
    lines.push(String::new());
    lines.push(match &finding.verdict {
        Ok(sender) => {
            let nobody = language.choose("nessuna organizzazione", "no organization");
            let organization = sender.organization.as_deref().unwrap_or(nobody);
            let issuer = sender.issuer.as_deref().unwrap_or("-");
            let accepted = language.choose("Accettato", "Accepted");
            format!("{accepted}: iss {issuer}, {organization}")
        }
        Err(error) => {
            let refused = language.choose("Rifiutato", "Refused");
            format!("{refused}: {} ({})", error.code().text(), error.code().status())
        }
    });
    lines.join("\n")
}
