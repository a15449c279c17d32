//! A simulated system's keys and whom it trusts, from a development folder or straight from memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::wire::Algorithm;
use varco_jose::{SealSigner, SealTrust};
use zeroize::Zeroizing;

use super::Clock;
use crate::pki::dev::{GATEWAY, Kit};

pub struct Keys {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) signer: SealSigner,
    pub(super) trust: SealTrust,
    pub(super) gateway: Gateway,
    pub(super) clock: Clock,
}

/// The one peer a system has, by its registered keys.
pub(super) struct Gateway {
    pub channel: Sha256,
    pub seal: Sha256,
    pub issuer: &'static str,
}

/// Why a system has no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("`{0}` is not acceptable")]
    Malformed(String),
    #[error("`{0}` could not be read")]
    Read(String, #[source] io::Error),
    #[error("the channel's certificates, key and revocation list do not fit together")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Keys {
    /// From the folder that `varco pki dev` made.
    pub fn from_folder(folder: &Path, agency: &AgencyId, clock: Clock) -> Result<Self, KeysError> {
        Self::load(agency, clock, &|path| std::fs::read_to_string(folder.join(path)).map(Zeroizing::new))
    }

    /// From a kit that was never written.
    pub fn from_kit(kit: &Kit, agency: &AgencyId, clock: Clock) -> Result<Self, KeysError> {
        let files =
            kit.files().map_err(|error| KeysError::Read("kit".to_owned(), io::Error::other(error)))?;
        Self::load(agency, clock, &|path| {
            let file = files.iter().find(|file| file.path == Path::new(path));
            file.map(|file| file.contents.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn load(
        agency: &AgencyId,
        clock: Clock,
        open: &dyn Fn(&str) -> io::Result<Zeroizing<String>>,
    ) -> Result<Self, KeysError> {
        let read = |path: &str| open(path).map_err(|error| KeysError::Read(path.to_owned(), error));
        let malformed = |path: &str| KeysError::Malformed(path.to_owned());
        let pin = |path: &str| {
            let der = CertificateDer::from_pem_slice(read(path)?.as_bytes()).map_err(|_| malformed(path))?;
            let identity = varco_jose::certificate::identity(&der).map_err(|_| malformed(path))?;
            Ok::<_, KeysError>(identity.key)
        };
        let folder = format!("agencies/{agency}");
        let (seal, seal_key) = (format!("{folder}/seal.pem"), format!("{folder}/seal.key.pem"));
        let signer = SealSigner::from_pem(read(&seal_key)?.as_bytes(), read(&seal)?.as_bytes())
            .map_err(|_| malformed(&seal_key))?;
        let (roots, crls) = (read("ca/seal.pem")?, read("ca/seal.crl.pem")?);
        let trust = SealTrust::from_pem(roots.as_bytes(), crls.as_bytes(), &Algorithm::DEFAULT)
            .map_err(|_| malformed("ca/seal.crl.pem"))?;
        let gateway =
            Gateway { channel: pin("gateway/channel.pem")?, seal: pin("gateway/seal.pem")?, issuer: GATEWAY };
        Ok(Self { tls: tls(&folder, &clock, &read)?, signer, trust, gateway, clock })
    }
}

/// TLS 1.3 that demands a certificate of the channels' CA. No resumption: it would skip the revocation check.
fn tls(
    folder: &str,
    clock: &Clock,
    read: &dyn Fn(&str) -> Result<Zeroizing<String>, KeysError>,
) -> Result<Arc<ServerConfig>, KeysError> {
    let certificate = |path: &str| {
        CertificateDer::from_pem_slice(read(path)?.as_bytes())
            .map_err(|_| KeysError::Malformed(path.to_owned()))
    };
    let (key_path, crl_path) = (format!("{folder}/channel.key.pem"), "ca/channel.crl.pem");
    let key = PrivateKeyDer::from_pem_slice(read(&key_path)?.as_bytes())
        .map_err(|_| KeysError::Malformed(key_path.clone()))?;
    let crl = CertificateRevocationListDer::from_pem_slice(read(crl_path)?.as_bytes())
        .map_err(|_| KeysError::Malformed(crl_path.to_owned()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca/channel.pem")?).map_err(|error| KeysError::Tls(error.into()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls([crl])
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| KeysError::Tls(error.into()))?;
    let chain = vec![certificate(&format!("{folder}/channel.pem"))?];
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Instants(Arc::clone(clock))))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(|error| KeysError::Tls(error.into()))?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A clock in the form that rustls reads.
struct Instants(Clock);

impl TimeProvider for Instants {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from((self.0)().millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl fmt::Debug for Instants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instants")
    }
}
