//! The agencies' systems as the configuration names them, opened with their mappings.
//!
//! A mapping is checked against the record types of the policy in force when the gateway starts; every fault is told at once, with
//! file and line. A record that no longer fits a later policy is refused when it is read: `exchange::AgencyRecord` checks it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use varco_adapters::http::Address;
use varco_adapters::mapping::Mappings;
use varco_adapters::rest::{Endpoint, Ours};
use varco_adapters::{Source, Sources, fhir, file, rest, soap, sql};
use varco_core::policy::record::RecordType;
use varco_core::registry::Registry;
use zeroize::Zeroizing;

use crate::app::{App, Entropy};
use crate::cli::policy::files::Files;
use crate::config::{
    Config, Drop, Engine, Fhir, FhirDoor, Provider, ProviderKind, Rest, ServerAt, Soap, Sql, SqlDatabase,
};
use crate::outbound::{CurrentSeals, Means};
use crate::start::{StartError, fault, read};
use crate::tasks::Stop;

/// What opening a system takes.
pub struct Opening<'a> {
    pub registry: &'a Registry,
    pub records: &'a [Arc<RecordType>],
    pub means: &'a Means,
    pub entropy: &'a Entropy,
}

/// Every provider of the configuration.
pub fn sources(config: &Config, opening: &Opening<'_>) -> Result<Sources, StartError> {
    let mut sources = Vec::with_capacity(config.providers.len());
    for (agency, provider) in &config.providers {
        if opening.registry.agency(agency).is_none() {
            return Err(StartError::Provider(agency.to_string(), "is not in the registry".to_owned()));
        }
        let wrong = |what: String| StartError::Provider(agency.to_string(), what);
        let source = open(provider, opening).map_err(wrong)?;
        sources.push((agency.clone(), source, provider.limits()));
    }
    Ok(Sources::new(sources))
}

/// Drop folders are looked into this often without anybody asking.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// Looks after the systems until the gateway stops.
pub async fn tend(app: Arc<App>, mut stop: Stop) {
    let mut ticks = tokio::time::interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.called() => return,
            () = app.sources.tend() => {}
        }
    }
}

/// One agency's system. The text of a failure is for the person who starts the gateway.
pub fn open(provider: &Provider, opening: &Opening<'_>) -> Result<Source, String> {
    match &provider.kind {
        ProviderKind::Fhir(settings) => {
            let mappings = mappings(provider, opening.records, &fhir::WORDS)?;
            fhir_source(settings, mappings, opening.means)
        }
        ProviderKind::File(drop) => {
            let mappings = mappings(provider, opening.records, &file::WORDS)?;
            file_source(drop, mappings, opening.entropy)
        }
        ProviderKind::Rest(rest) => rest_source(rest, opening),
        ProviderKind::Soap(settings) => {
            let mappings = mappings(provider, opening.records, &soap::WORDS)?;
            soap_source(settings, mappings, opening)
        }
        ProviderKind::Sql(sql) => {
            let mappings = mappings(provider, opening.records, &[])?;
            sql_source(sql, provider, mappings)
        }
    }
}

/// Who we are towards systems that see our signature.
fn ours(opening: &Opening<'_>) -> Ours {
    let (registry, means) = (opening.registry, opening.means);
    Ours {
        issuer: registry.gateway.clone(),
        audiences: vec![registry.gateway.clone(), registry.audience.clone()],
        signer: means.signer.clone(),
        verifier: Arc::new(CurrentSeals(means.seals.clone())),
    }
}

/// A FHIR server. Nothing is connected yet.
fn fhir_source(settings: &Fhir, mappings: Mappings, means: &Means) -> Result<Source, String> {
    let address = |url: &str| Address::parse(url).map_err(|fault| fault.to_string());
    let door = match &settings.door {
        FhirDoor::Backend { token_url, client, key, scope } => {
            let signer = means.signer.clone();
            let backend = fhir::Backend::new(address(token_url)?, client, key, scope, signer);
            fhir::Door::Backend(Box::new(backend))
        }
        FhirDoor::Bearer(file) => fhir::Door::Bearer(fhir::Secret::new(&password(file)?)),
        FhirDoor::Certificate => fhir::Door::Certificate,
    };
    let url = address(&settings.url)?;
    Ok(Source::Fhir(fhir::Fhir::new(url, settings.answer_bytes, mappings, door, &means.client)))
}

/// A SOAP service. Nothing is connected yet.
fn soap_source(settings: &Soap, mappings: Mappings, opening: &Opening<'_>) -> Result<Source, String> {
    let service = soap::Service {
        address: Address::parse(&settings.url).map_err(|fault| fault.to_string())?,
        audience: settings.audience.clone(),
        version: settings.version,
        security: settings.security,
        answer_max: settings.answer_bytes,
    };
    let soap = soap::Soap::new(ours(opening), service, mappings, &opening.means.client);
    soap.map(Source::Soap).map_err(|fault| fault.to_string())
}

fn rest_source(settings: &Rest, opening: &Opening<'_>) -> Result<Source, String> {
    let (ours, means) = (ours(opening), opening.means);
    let endpoint = Endpoint::new(&settings.url, &settings.audience).map_err(|fault| fault.to_string())?;
    let endpoint = endpoint.with_answer_max(settings.answer_bytes);
    Ok(Source::Rest(rest::Rest::new(ours, endpoint, &means.client)))
}

/// Opens a view in a database. Nothing is connected yet.
fn sql_source(settings: &Sql, provider: &Provider, mappings: Mappings) -> Result<Source, String> {
    let place = match &settings.database {
        SqlDatabase::Sqlite(path) => sql::Place::Sqlite(path.clone()),
        SqlDatabase::Server { engine, at, user, name } => {
            let server = sql::Server {
                at: address(at, settings)?,
                database: name.clone(),
                user: user.clone(),
                password: settings.password.as_deref().map(password).transpose()?,
            };
            match engine {
                Engine::Mysql => sql::Place::Mysql(server),
                Engine::Postgres => sql::Place::Postgres(server),
            }
        }
    };
    let connections = u32::try_from(provider.concurrent).unwrap_or(u32::MAX);
    let settings = sql::Settings { place, statement_timeout: provider.timeout, connections };
    sql::Sql::new(&settings, mappings).map(Source::Sql).map_err(|faults| lines(&faults))
}

fn address(at: &ServerAt, settings: &Sql) -> Result<sql::Address, String> {
    Ok(match at {
        ServerAt::Loopback(port) => sql::Address::Loopback { port: *port },
        ServerAt::Socket(path) => sql::Address::Socket(path.clone()),
        ServerAt::Remote(host, port) => {
            let mut authorities = Vec::new();
            for path in &settings.authorities {
                authorities.extend(read(path).map_err(|error| error.to_string())?);
            }
            sql::Address::Remote { host: host.clone(), port: *port, authorities }
        }
    })
}

fn password(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| fault::<std::io::Error>(path)(error).to_string())?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Opens a drop folder. Nothing is read yet.
fn file_source(settings: &Drop, mappings: Mappings, entropy: &Entropy) -> Result<Source, String> {
    let mut key = [0; 32];
    entropy(&mut key);
    let settings = file::Settings {
        place: settings.place.clone(),
        encoding: settings.encoding,
        separator: settings.separator,
        look_every: settings.look_every,
        key,
    };
    file::File::new(settings, mappings).map(Source::File).map_err(|faults| lines(&faults))
}

/// A provider's mapping files, read and checked.
fn mappings(provider: &Provider, records: &[Arc<RecordType>], words: &[&str]) -> Result<Mappings, String> {
    let mut files = Vec::new();
    for path in &provider.mappings {
        files.extend(mapping_files(path).map_err(|(path, error)| format!("{}: {error}", path.display()))?);
    }
    Mappings::read(&files, records, words).map_err(|faults| lines(&faults))
}

/// A file, or the `.txt` files of a folder in the order of their names.
fn mapping_files(path: &Path) -> Result<Files, (PathBuf, std::io::Error)> {
    let mut paths = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| (path.to_path_buf(), error))?;
        paths = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
        paths.sort();
    }
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok((path.display().to_string(), bytes)),
        Err(error) => Err((path, error)),
    };
    paths.into_iter().map(read).collect()
}

fn lines<F: std::fmt::Display>(faults: &[F]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}
