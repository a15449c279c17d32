//! The gateway as a client of the agencies' systems, and the trust in seals both ways.
//!
//! Certificates, authorities and revocation lists are read again when their files change; what cannot be read leaves
//! the material in use as it is, and says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use varco_adapters::rest::{Endpoint, Ours, Rest};
use varco_adapters::{Limits, Source, Sources, breaker};
use varco_core::registry::Registry;
use varco_core::time::Timestamp;
use varco_core::wire::{KeyReference, Seal, SealFault, Verifier};
use varco_jose::{SealSigner, SealTrust};

use crate::app::{App, Clock};
use crate::config::{self, Config, Outbound, Provider};
use crate::start::{StartError, fault, read};
use crate::tasks::Stop;

/// The trust in seals as it is now: requests and answers under way go on with what they began with.
pub struct CurrentSeals(pub Arc<ArcSwap<SealTrust>>);

impl Verifier for CurrentSeals {
    fn seal(&self, reference: &KeyReference, now: Timestamp) -> Result<Arc<dyn Seal>, SealFault> {
        self.0.load().seal(reference, now)
    }
}

/// What every provider is called with.
pub struct Means {
    pub signer: Arc<SealSigner>,
    pub seals: Arc<ArcSwap<SealTrust>>,
    pub clock: Clock,
}

/// Every provider of the configuration, over one client certificate.
pub fn sources(config: &Config, registry: &Registry, parts: &Means) -> Result<Sources, StartError> {
    let tls = client(&config.outbound, &parts.clock)?;
    let ours = Ours {
        issuer: registry.gateway.clone(),
        audiences: vec![registry.gateway.clone(), registry.audience.clone()],
        signer: parts.signer.clone(),
        verifier: Arc::new(CurrentSeals(parts.seals.clone())),
    };
    let mut sources = Vec::with_capacity(config.providers.len());
    for (agency, provider) in &config.providers {
        if registry.agency(agency).is_none() {
            return Err(StartError::Provider(agency.to_string(), "is not in the registry".to_owned()));
        }
        let endpoint = Endpoint::new(&provider.url, &provider.audience)
            .map_err(|fault| StartError::Provider(agency.to_string(), fault.to_string()))?
            .with_answer_max(provider.answer_bytes);
        let rest = match provider.kind {
            config::ProviderKind::Rest => Source::Rest(Rest::new(ours.clone(), endpoint, &tls)),
        };
        sources.push((agency.clone(), rest, limits(provider)));
    }
    Ok(Sources::new(sources))
}

fn limits(provider: &Provider) -> Limits {
    Limits {
        timeout: provider.timeout,
        concurrent: provider.concurrent,
        breaker: breaker::Rules {
            failures: provider.failures,
            pause: provider.pause,
            ..breaker::Rules::default()
        },
        ..Limits::default()
    }
}

/// Our end of mutual TLS, read from the files.
pub fn client(outbound: &Outbound, clock: &Clock) -> Result<Arc<ClientConfig>, StartError> {
    let pem = read(&outbound.certificate)?;
    let chain = varco_jose::certificates(&pem).map_err(fault(&outbound.certificate))?;
    let key = varco_jose::private_key(&read(&outbound.key)?).map_err(fault(&outbound.key))?;
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(fault(&outbound.key))?;
    let roots = pem_files(&outbound.authorities, varco_jose::certificates)?;
    let crls = pem_files(&outbound.revocations, varco_jose::crls)?;
    let trust = varco_adapters::tls::Trust {
        roots: roots.into_iter().map(CertificateDer::from).collect(),
        crls: crls.into_iter().map(CertificateRevocationListDer::from).collect(),
    };
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    varco_adapters::tls::client(trust, chain, key, clock.clone()).map_err(fault(&outbound.certificate))
}

/// The trust in seals, read from the files.
pub fn seal_trust(seal: &config::Seal) -> Result<SealTrust, StartError> {
    let roots = pem_files(&seal.authorities, varco_jose::certificates)?;
    let crls = pem_files(&seal.revocations, varco_jose::crls)?;
    SealTrust::new(&roots, &crls, &seal.algorithms).map_err(fault(&seal.certificate))
}

fn pem_files<E: std::fmt::Display>(
    paths: &[PathBuf],
    parse: impl Fn(&[u8]) -> Result<Vec<Vec<u8>>, E>,
) -> Result<Vec<Vec<u8>>, StartError> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(parse(&read(path)?).map_err(fault(path))?);
    }
    Ok(all)
}

/// Reads seals' trust and our client certificate again when a file changes.
pub async fn watch(app: Arc<App>, config: Config, mut stop: Stop) {
    let mut seen = fingerprint(&config);
    let mut ticks = tokio::time::interval(config.reload_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        let found = fingerprint(&config);
        if found == seen {
            continue;
        }
        seen = found;
        match (seal_trust(&config.seal), client(&config.outbound, &app.clock)) {
            (Ok(trust), Ok(tls)) => {
                app.seals.store(Arc::new(trust));
                app.sources.renew(&tls);
                tracing::info!("seal trust and client certificate reloaded");
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "reload refused; the material in use stays in use");
            }
        }
    }
}

fn fingerprint(config: &Config) -> Vec<Option<(SystemTime, u64)>> {
    let (seal, outbound) = (&config.seal, &config.outbound);
    let lists = [&seal.authorities, &seal.revocations, &outbound.authorities, &outbound.revocations];
    let own = [&outbound.certificate, &outbound.key];
    let look = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    lists.into_iter().flatten().chain(own).map(look).collect()
}
