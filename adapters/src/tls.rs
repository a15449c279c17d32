//! Our end of mutual TLS towards the agencies' systems.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use varco_core::time::Timestamp;

/// What tells the instant that certificates are checked for.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why no TLS configuration can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("there is no revocation list, and without one nothing would be checked against any")]
    NoRevocationList,
    #[error("a CA certificate is not acceptable")]
    Root(#[source] rustls::Error),
    #[error("the trusted CAs and their revocation lists do not fit together")]
    Trust(#[from] rustls::client::VerifierBuilderError),
    #[error("our certificate or key is not acceptable")]
    Own(#[from] rustls::Error),
}

/// Whom we trust at the other end. One current list for each CA: an old one beside a new one would count.
pub struct Trust {
    pub roots: Vec<CertificateDer<'static>>,
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// TLS 1.3 with our certificate, their CAs and revocation lists, hybrid post-quantum key exchange first.
///
/// The server's name must be in its certificate; who it *is* is decided by the seal of its answers. Resumption is
/// off: it would skip the revocation check.
pub fn client(
    trust: Trust,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    if trust.crls.is_empty() {
        return Err(TlsError::NoRevocationList);
    }
    let mut roots = RootCertStore::empty();
    for root in trust.roots {
        roots.add(root).map_err(TlsError::Root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls(trust.crls)
        .enforce_revocation_expiration()
        .build()?;
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Instants(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
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
