//! `varco log receipt`: a receipt checked with nothing but the log's public key.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use varco_core::log::leaf::Leaf;
use varco_core::log::proof::{LogVerifier, ProofFault, Receipt};

use super::{Answer, Failure, Language, Trust, read_file, words};

#[derive(clap::Args)]
pub struct Args {
    /// The receipt, a `.tlog-proof` file; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    answer: Answer,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let verifier = args.trust.verifier()?;
    let receipt = Receipt::parse(&read_file(&args.file)?)
        .map_err(|fault| Failure::Receipt(args.file.clone(), fault))?;
    let checked = check(&verifier, &receipt);
    if args.answer.json {
        println!("{}", told_json(&receipt, &checked));
    } else {
        print!("{}", told(&receipt, &checked, args.answer.lang));
    }
    Ok(if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(super::super::NO) })
}

/// The size of the log at the checkpoint, if the receipt proves what it says.
fn check(verifier: &LogVerifier, receipt: &Receipt) -> Result<u64, ProofFault> {
    verifier.check(receipt)?;
    Ok(verifier.open(receipt.proof.checkpoint.as_bytes())?.size)
}

fn told_json(receipt: &Receipt, checked: &Result<u64, ProofFault>) -> Value {
    // The leaf is JSON by construction; it is shown as it stands, because its bytes are what was proved.
    let leaf: Value = serde_json::from_str(receipt.leaf.as_str()).unwrap_or_default();
    match checked {
        Ok(size) => json!({ "holds": true, "size": size, "entry": leaf }),
        Err(fault) => json!({ "holds": false, "fault": words::proof_code(fault), "entry": leaf }),
    }
}

fn told(receipt: &Receipt, checked: &Result<u64, ProofFault>, lang: Language) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match checked {
        Ok(size) => write_entry(&mut out, &receipt.leaf, lang).and_then(|()| {
            let holds = lang.choose(
                "La ricevuta è valida: la voce è nel registro, che contava",
                "The receipt holds: the entry is in the log, which had",
            );
            let entries = lang.choose("voci.", "entries.");
            writeln!(out, "\n{holds} {} {entries}", words::number(lang, *size))
        }),
        // What the entry says is not shown: it proves nothing.
        Err(fault) => {
            let wrong = lang.choose("La ricevuta NON è valida", "The receipt does NOT hold");
            writeln!(out, "{wrong}: {}.", words::proof(lang, fault))
        }
    };
    out
}

fn write_entry(out: &mut String, leaf: &Leaf, lang: Language) -> std::fmt::Result {
    let content = leaf.content();
    let mut line =
        |it, en, value: &dyn std::fmt::Display| writeln!(out, "{:<14} {value}", lang.choose(it, en));
    line(
        "Voce",
        "Entry",
        &format!("{}, {}", words::number(lang, content.index), words::kind(lang, content.kind)),
    )?;
    line("Del", "Of", &content.at)?;
    line("Scambio", "Exchange", &content.id)?;
    if let Some(consumer) = &content.consumer {
        line("Richiedente", "Consumer", consumer)?;
    }
    if let Some(provider) = &content.provider {
        line("Titolare", "Provider", provider)?;
    }
    if let Some(record_type) = &content.record_type {
        line("Dati", "Record type", record_type)?;
    }
    if let Some(purpose) = &content.purpose {
        line("Finalità", "Purpose", purpose)?;
    }
    if let Some(code) = &content.code {
        line("Motivo", "Code", &code.as_str())?;
    }
    if let Some(policy) = &content.policy {
        line("Regole", "Policy", policy)?;
    }
    Ok(())
}
