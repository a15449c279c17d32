//! `varco policy`: check a bundle, and ask it what officers ask.
//!
//! Each question is a function of the library; here are only its arguments and how its answer is shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use varco_core::policy::Policy;
use varco_core::policy::fault::PolicyFault;
use varco_core::time::Timestamp;

use super::language::Language;
use super::{NO, USAGE};

mod ask;
mod change;
pub mod files;
mod form;
mod notice;
mod register;
mod simulate;
pub(super) mod table;
mod test;
mod why;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a bundle and verify everything it promises.
    Check(Check),
    /// List what is written and changes nothing; exit code 1 if there is something.
    Dead(ask::Bundle),
    /// List every cell that a change of bundle widens or narrows; exit code 1 if anything widens.
    Diff(ask::Diff),
    /// Print what officers sign for a change: both bundles, the instant, every cell that widens.
    Document(change::Document),
    /// Show what every recipient gets of a record type under a purpose.
    Matrix(Matrix),
    /// Write what people must be told (GDPR arts. 13 and 14), from the table itself.
    Notice(notice::Notice),
    /// Put a changed bundle, its document and the officers' statements into one proposal, ready for `POST /policies`.
    Propose(change::Propose),
    /// The entries of the register of processing (GDPR art. 30), with the fields of PDND's risk analysis.
    Register(ask::Bundle),
    /// List all that a kind of agency or an office can obtain, pooled over purposes.
    Sees(ask::Sees),
    /// Decide the requests of a log again under a draft; exit code 1 if anything would show more.
    Simulate(simulate::Simulate),
    /// List the fields that never leave.
    Uncovered(ask::Bundle),
    /// List every way a field can leave.
    Who(ask::Who),
    /// Decide one request and say which layers spoke, field by field.
    Why(why::Why),
    /// Run the bundle's policy cases.
    Test(test::Test),
}

#[derive(clap::Args)]
struct Check {
    /// The bundle's folder.
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(clap::Args)]
struct Matrix {
    /// The bundle's folder.
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// `anagrafica_nucleo`
    record: String,
    /// `F02`
    purpose: String,
    /// The instant it is asked for; the beginning of the agreement unless given.
    #[arg(long)]
    at: Option<Timestamp>,
    #[command(flatten)]
    form: form::Form,
}

/// Why a question has no answer. Each is told on standard error, with its exit code.
#[derive(Debug, thiserror::Error)]
enum PolicyError {
    #[error("{} errori nel pacchetto:\n{}", .0.len(), lines(.0, Language::It))]
    Faults(Vec<PolicyFault>),
    #[error("{0}")]
    Log(String),
    #[error("{0}")]
    Refused(String),
    #[error("`{}`: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("unknown {what} `{word}`{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { what: &'static str, word: String, nearest: Option<String> },
}

fn lines(faults: &[PolicyFault], lang: Language) -> String {
    let line = |fault: &PolicyFault| match lang {
        Language::It => format!("  {}\n", fault.italian()),
        Language::En => format!("  {fault}\n"),
    };
    faults.iter().map(line).collect()
}

impl PolicyError {
    const fn exit(&self) -> u8 {
        match self {
            Self::Faults(_) | Self::Refused(_) => NO,
            Self::Log(_) | Self::Unreadable { .. } | Self::Unknown { .. } => USAGE,
        }
    }

    fn unknown<'a>(what: &'static str, word: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = varco_core::policy::fault::nearest(word, valid);
        Self::Unknown { what, word: word.to_owned(), nearest }
    }
}

pub fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Check(check) => return run_check(&check),
        Command::Dead(asked) => ask::dead(&asked),
        Command::Diff(asked) => ask::diff(&asked),
        Command::Document(asked) => change::print_document(&asked),
        Command::Matrix(matrix) => run_matrix(&matrix),
        Command::Notice(asked) => notice::run(&asked),
        Command::Propose(asked) => change::propose(&asked),
        Command::Register(asked) => register::run(&asked),
        Command::Sees(asked) => ask::sees(&asked),
        Command::Simulate(asked) => simulate::run(&asked),
        Command::Uncovered(asked) => ask::uncovered(&asked),
        Command::Who(asked) => ask::who(&asked),
        Command::Why(why) => why::run(&why),
        Command::Test(test) => test::run(&test),
    };
    done.unwrap_or_else(|error| {
        eprintln!("varco policy: {error}");
        ExitCode::from(error.exit())
    })
}

fn load(bundle: &Path) -> Result<Policy, PolicyError> {
    Policy::load(&read(bundle)?).map_err(PolicyError::Faults)
}

fn read(bundle: &Path) -> Result<Vec<(String, Vec<u8>)>, PolicyError> {
    files::bundle(bundle).map_err(|(path, source)| PolicyError::Unreadable { path, source })
}

fn run_check(check: &Check) -> ExitCode {
    let loaded = read(&check.bundle).map(|files| Policy::load(&files));
    match loaded {
        Err(error) => {
            eprintln!("varco policy check: {error}");
            ExitCode::from(error.exit())
        }
        Ok(Ok(policy)) => {
            if check.json {
                println!("{}", summary(&policy));
            } else {
                println!(
                    "{} {}: {} tipi di record, {} finalità, {} concessioni, {} celle. Tutto in ordine.\n{}sha256 {}",
                    policy.name,
                    policy.version(),
                    policy.record_types().len(),
                    policy.purposes.len(),
                    policy.grant_count(),
                    policy.size(),
                    promised(&policy),
                    policy.sha256()
                );
            }
            ExitCode::SUCCESS
        }
        Ok(Err(faults)) => {
            if check.json {
                let told = |fault: &PolicyFault| {
                    json!({"file": fault.file, "line": fault.line, "problem": fault.problem.to_string(),
                           "problema": fault.problem.italian(), "nearest": fault.nearest})
                };
                println!(
                    "{}",
                    json!({"valid": false, "faults": faults.iter().map(told).collect::<Vec<_>>()})
                );
            } else {
                eprint!("{}", lines(&faults, check.lang).replace("\n  ", "\n").trim_start());
            }
            ExitCode::from(NO)
        }
    }
}

/// The promises, each verified on every cell, and the day of the next review.
fn promised(policy: &Policy) -> String {
    let each: String = policy.promises().map(|name| format!("  ✓ {name}\n")).collect();
    let review = policy.review.map(|day| format!("Riesame entro il {}\n", day.date())).unwrap_or_default();
    format!("Garanzie, verificate su tutte le celle:\n{each}{review}")
}

fn summary(policy: &Policy) -> serde_json::Value {
    json!({
        "valid": true,
        "name": policy.name,
        "version": policy.version(),
        "sha256": policy.sha256(),
        "record_types": policy.record_types().len(),
        "purposes": policy.purposes.len(),
        "grants": policy.grant_count(),
        "cells": policy.size(),
        "promises": policy.promises().collect::<Vec<_>>(),
        "review": policy.review,
    })
}

fn run_matrix(asked: &Matrix) -> Result<ExitCode, PolicyError> {
    let policy = load(&asked.bundle)?;
    let records = || policy.record_types().iter().map(|record| record.id.as_str());
    let purposes = || policy.purposes.iter().map(|purpose| purpose.id.as_str());
    let record = asked.record.parse().ok().filter(|id| policy.record_type(id).is_some());
    let record = record.ok_or_else(|| PolicyError::unknown("record type", &asked.record, records()))?;
    let purpose = asked.purpose.parse().ok().filter(|id| policy.purpose(id).is_some());
    let purpose = purpose.ok_or_else(|| PolicyError::unknown("purpose", &asked.purpose, purposes()))?;
    let at = asked.at.unwrap_or(policy.agreement.from);
    let matrix = policy
        .matrix(&record, &purpose, at)
        .ok_or_else(|| PolicyError::unknown("record type", &asked.record, records()))?;
    if matrix.recipients.is_empty() && asked.form == form::Form::Text {
        println!("La finalità {purpose} non dà {record} a nessuno.");
        return Ok(ExitCode::SUCCESS);
    }
    let head = matrix.recipients.iter().map(|who| match who.level {
        "-" => who.column.clone(),
        level => format!("{} liv.{level}", who.column),
    });
    let head: Vec<String> = ["campo".to_owned()].into_iter().chain(head).collect();
    let row = |row: &varco_core::policy::questions::matrix::Row| {
        [row.field.to_string()].into_iter().chain(row.cells.iter().map(table::effect)).collect()
    };
    let rows: Vec<_> = matrix.rows.iter().map(row).collect();
    asked.form.print(&json!(matrix), &format!("{record} per {purpose}"), &head, &rows);
    Ok(ExitCode::SUCCESS)
}
