//! `varco pki`: keys and certificates for development and for trying things out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use varco_core::id::AgencyId;

use crate::pki::dev::{Kit, STEPS};
use crate::pki::upkeep;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make two CAs and every certificate and key of the demonstration. Never for real data.
    Dev {
        /// The folder to make; it must not exist, or be empty.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make new keys and certificates for an agency, beside its present ones.
    Renew {
        /// The folder that `varco pki dev` made.
        #[arg(long, value_name = "DIR")]
        pki: PathBuf,
        #[arg(long)]
        agency: AgencyId,
        /// What the new files have in their names: `channel.next.pem`.
        #[arg(long = "as", value_name = "SUFFIX", default_value = "next", value_parser = suffix)]
        suffix: String,
    },
    /// Revoke a certificate: write its CA's revocation list anew.
    Revoke {
        /// The folder that `varco pki dev` made.
        #[arg(long, value_name = "DIR")]
        pki: PathBuf,
        /// The certificate, relative to the folder: `agencies/cpi-lucca/channel.pem`.
        certificate: PathBuf,
    },
}

pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Dev { out } => dev(&out),
        Command::Renew { pki, agency, suffix } => {
            match upkeep::renew(&pki, &agency, &suffix, crate::app::system_now()) {
                Ok(()) => {
                    println!(
                        "new keys and certificates in {}",
                        pki.join("agencies").join(agency.as_str()).display()
                    );
                    ExitCode::SUCCESS
                }
                Err(error) => failed("renew", &error),
            }
        }
        Command::Revoke { pki, certificate } => {
            match upkeep::revoke(&pki, &certificate, crate::app::system_now()) {
                Ok(list) => {
                    println!("revoked in {}", pki.join(list).display());
                    ExitCode::SUCCESS
                }
                Err(error) => failed("revoke", &error),
            }
        }
    }
}

fn failed(command: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("varco pki {command}: {}", super::reasons(error));
    ExitCode::from(super::USAGE)
}

/// Becomes part of file names, so only letters and digits.
fn suffix(text: &str) -> Result<String, &'static str> {
    let good =
        (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good { Ok(text.to_owned()) } else { Err("expected 1 to 16 lower-case letters and digits") }
}

fn dev(out: &std::path::Path) -> ExitCode {
    // Drawn on a terminal only; piped output stays quiet.
    let bar = ProgressBar::new(u64::try_from(STEPS).unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let made = Kit::make(crate::app::system_now(), |what| {
        bar.set_message(what.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    match made.and_then(|kit| kit.write(out)) {
        Ok(()) => {
            println!("development keys and certificates in {}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => failed("dev", &error),
    }
}
