//! `varco adapter`: try an agency's system before anybody depends on it.
//!
//! Nothing here is an exchange: no value leaves towards another agency, and nothing is logged. `check` prints no value at all;
//! `sample` prints one synthetic person's, and only where there are no others.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use clap::Subcommand;
use serde_json::Value;
use varco_adapters::{Context, FetchError, Request, Source};
use varco_core::id::{AgencyId, ExchangeId, FieldId, IdEntropy, OperatorId, PurposeId, RecordTypeId};
use varco_core::policy::Policy;
use varco_core::registry::Registry;
use varco_core::subject::CodiceFiscale;
use varco_core::wire::{Evidence, Jtis, LevelOfAssurance};
use varco_jose::SealSigner;

use super::language::Language;
use super::{USAGE, policy};
use crate::app::{system_clock, system_entropy, system_now};
use crate::config::{self, Config};
use crate::genesis::Ceremony;
use crate::outbound::{Means, Trusts};
use crate::start::{fault, read};
use crate::systems::{self, Opening};

mod check;
mod sample;

/// Who asks when a system is tried: no exchange does.
const OPERATOR: &str = "varco-adapter";
const PURPOSE: &str = "F11";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask an agency's system for records and say, field by field, what it holds and what does not fit; exit code 1 if
    /// anything does not.
    Check(check::Check),
    /// Map one synthetic person's record and print the system's side and ours side by side.
    Sample(sample::Sample),
}

/// Which system, and how to speak of it.
#[derive(clap::Args)]
struct Which {
    /// The agency whose system it is: `comune-capannori`.
    agency: AgencyId,
    /// The configuration, a TOML file.
    #[arg(long, short, value_name = "FILE", default_value = "varco.toml")]
    config: PathBuf,
    /// The person to ask for; a system that cannot list its records needs one.
    #[arg(long, value_name = "CODICE FISCALE", value_parser = person)]
    subject: Option<CodiceFiscale>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// The language of the text.
    #[arg(long, value_enum, default_value_t)]
    language: Language,
}

/// A system, opened as the gateway would open it.
struct Opened {
    source: Source,
    registry: Registry,
    policy: Policy,
}

/// Why a command did not come to its end.
#[derive(Debug)]
struct Failure(String);

pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("varco adapter: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let done = match args.command {
        Command::Check(check) => runtime.block_on(check::run(&check)),
        Command::Sample(sample) => runtime.block_on(sample::run(&sample)),
    };
    done.unwrap_or_else(|Failure(what)| {
        eprintln!("varco adapter: {what}");
        ExitCode::from(USAGE)
    })
}

fn person(text: &str) -> Result<CodiceFiscale, String> {
    text.parse().map_err(|fault: varco_core::subject::CodiceFiscaleFault| fault.to_string())
}

impl Which {
    fn open(&self) -> Result<Opened, Failure> {
        let config = config::load(&self.config).map_err(|faults| {
            let lines = faults.iter().map(|fault| format!("\n{}: {fault}", self.config.display()));
            Failure(lines.collect())
        })?;
        let provider = config.providers.get(&self.agency).ok_or_else(|| {
            let known: Vec<&str> = config.providers.keys().map(AgencyId::as_str).collect();
            Failure(format!(
                "the configuration has no [providers.{}]; it has {}",
                self.agency,
                known.join(", ")
            ))
        })?;
        let ceremony = Ceremony::read(&config.deployment.genesis).map_err(told)?;
        let registry = ceremony.genesis.registry;
        let files = policy::files::bundle(&config.deployment.policies)
            .map_err(|(path, error)| Failure(format!("{}: {error}", path.display())))?;
        let policy = Policy::load(&files)
            .map_err(|faults| Failure(faults.iter().map(|fault| format!("\n  {fault}")).collect()))?;
        let means = means(&config)?;
        let entropy = system_entropy();
        let opening =
            Opening { registry: &registry, records: policy.record_types(), means: &means, entropy: &entropy };
        let source = systems::open(provider, &opening).map_err(Failure)?;
        Ok(Opened { source, registry, policy })
    }
}

/// Keys and trust as a gateway of this configuration has them.
fn means(config: &Config) -> Result<Means, Failure> {
    let clock = system_clock();
    let trusts = Trusts::read(&config.seal, &config.outbound, system_now()).map_err(told)?;
    let (certificate, key) =
        (read(&config.seal.certificate).map_err(told)?, read(&config.seal.key).map_err(told)?);
    let signer = SealSigner::from_pem(&key, &certificate).map_err(fault(&config.seal.key)).map_err(told)?;
    let seals = trusts.seals(&config.seal).map_err(told)?;
    let client = trusts.client(&config.outbound, &clock).map_err(told)?;
    Ok(Means { signer: Arc::new(signer), seals: Arc::new(ArcSwap::from_pointee(seals)), client })
}

impl Opened {
    /// One person's record as the system says it, asked for in the gateway's own name.
    async fn tree(
        &self,
        which: &Which,
        id: &RecordTypeId,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<Option<Value>, FetchError> {
        let (now, entropy) = (system_now(), system_entropy());
        let random = || {
            let mut bytes: IdEntropy = [0; 10];
            entropy(&mut bytes);
            bytes
        };
        let jtis = Jtis::new(now, [random(), random(), random()]);
        let words = (OPERATOR.parse::<OperatorId>(), PURPOSE.parse::<PurposeId>());
        let (Ok(operator), Ok(purpose)) = words else { return Err(FetchError::NoMapping) };
        let evidence =
            Evidence { operator, location: "varco adapter".to_owned(), loa: LevelOfAssurance::Low };
        let request = Request {
            exchange: &ExchangeId::new(now, random()),
            consumer: &which.agency,
            purpose: &purpose,
            record_type: id,
            subject,
            fields,
            evidence: &evidence,
            jtis: &jtis,
        };
        let context = Context { registry: &self.registry, clock: &system_now };
        self.source.tree(&which.agency, &request, &context).await
    }
}

fn told(error: impl std::error::Error) -> Failure {
    Failure(super::reasons(&error))
}

/// The record types to look at: the one named, or all that the source holds.
fn record_types(opened: &Opened, named: Option<&RecordTypeId>) -> Result<Vec<RecordTypeId>, Failure> {
    let known: Vec<RecordTypeId> = match opened.source.mappings() {
        Some(mappings) => mappings.all().map(|mapping| mapping.record.id.clone()).collect(),
        None => opened.policy.record_types().iter().map(|record| record.id.clone()).collect(),
    };
    match named {
        None => Ok(known),
        Some(one) if known.contains(one) => Ok(vec![one.clone()]),
        Some(one) => {
            let nearest =
                varco_core::policy::fault::nearest(one.as_str(), known.iter().map(RecordTypeId::as_str));
            let hint = nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            Err(Failure(format!("the system has no mapping for `{one}`{hint}")))
        }
    }
}
