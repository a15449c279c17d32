//! The gateway as a client of the agencies' systems, and the trust in seals both ways.
//!
//! Certificates, authorities and revocation lists are read again when their files change; what cannot be read leaves
//! the material in use as it is, and says so.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use varco_core::time::Timestamp;
use varco_core::wire::{KeyReference, Seal, SealFault, Verifier};
use varco_jose::{SealSigner, SealTrust};

use crate::app::{App, Clock};
use crate::config::{self, Config, Outbound};
use crate::start::{StartError, fault, read};
use crate::tasks::Stop;
use crate::tls::{self, Trust};

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
    pub client: Arc<ClientConfig>,
}

/// What the files of trust said when they were last read, to which the next reading is compared: a list that vanished or
/// went back in time would un-revoke.
pub struct Trusts {
    seals: Trust,
    systems: Trust,
}

impl Trusts {
    pub fn read(seal: &config::Seal, outbound: &Outbound, now: Timestamp) -> Result<Self, StartError> {
        Ok(Self { seals: seal.trust().read(now)?, systems: outbound.trust().read(now)? })
    }

    /// Reads everything again, once something changed.
    pub fn read_after(
        &self,
        seal: &config::Seal,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<Self, StartError> {
        let seals = seal.trust().read_after(&self.seals, now)?;
        Ok(Self { seals, systems: outbound.trust().read_after(&self.systems, now)? })
    }

    /// The files that are read, to be watched.
    pub fn files(seal: &config::Seal, outbound: &Outbound) -> Vec<PathBuf> {
        let own = [outbound.certificate.clone(), outbound.key.clone()];
        let trusted = seal.trust().files().into_iter().chain(outbound.trust().files());
        trusted.chain(own).collect()
    }

    /// The trust in seals.
    pub fn seals(&self, seal: &config::Seal) -> Result<SealTrust, StartError> {
        let roots: Vec<_> = self.seals.authorities.iter().map(|root| root.to_vec()).collect();
        let crls: Vec<_> = self.seals.revocations().iter().map(|crl| crl.to_vec()).collect();
        SealTrust::new(&roots, &crls, &seal.algorithms).map_err(fault(&seal.certificate))
    }

    /// Our end of mutual TLS towards the agencies' systems.
    pub fn client(&self, outbound: &Outbound, clock: &Clock) -> Result<Arc<ClientConfig>, StartError> {
        let pem = read(&outbound.certificate)?;
        let chain = varco_jose::certificates(&pem).map_err(fault(&outbound.certificate))?;
        let key = varco_jose::private_key(&read(&outbound.key)?).map_err(fault(&outbound.key))?;
        let key = PrivateKeyDer::try_from(key.to_vec()).map_err(fault(&outbound.key))?;
        let trust = varco_adapters::tls::Trust {
            roots: self.systems.authorities.clone(),
            crls: self.systems.revocations(),
        };
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        varco_adapters::tls::client(trust, chain, key, clock.clone()).map_err(fault(&outbound.certificate))
    }
}

/// Reads seals' trust and our client certificate again when a file changes, or at SIGHUP.
pub async fn watch(app: Arc<App>, config: Config, mut trusts: Trusts, stop: Stop) {
    let files = || Trusts::files(&config.seal, &config.outbound);
    let changed = || match reload(&app, &config, &trusts) {
        Ok(next) => {
            trusts = next;
            tracing::info!("seal trust and client certificate reloaded");
        }
        Err(error) => tracing::error!(%error, "reload refused; the material in use stays in use"),
    };
    tls::watch_files(files, config.reload_every, stop, changed).await;
}

/// Everything is read before anything is replaced.
fn reload(app: &App, config: &Config, trusts: &Trusts) -> Result<Trusts, StartError> {
    let next = trusts.read_after(&config.seal, &config.outbound, app.now())?;
    let (seals, client) = (next.seals(&config.seal)?, next.client(&config.outbound, &app.clock)?);
    app.seals.store(Arc::new(seals));
    app.sources.renew(&client);
    Ok(next)
}
