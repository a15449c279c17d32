//! From files to a TLS configuration, or to the reason why not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use varco_core::time::Timestamp;
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::crl::{CrlFault, Crls, Issuer};
use super::verifier::{Anchor, ClientVerifier};
use super::{Clients, Clock, Loaded, Material, Versions, unix};

/// Why a channel's files cannot be used. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("authority in `{path}`: {what}")]
    Authority { path: PathBuf, what: &'static str },
    #[error("certificate `{path}`: {what}")]
    Certificate { path: PathBuf, what: &'static str },
    #[error("revocation list `{path}`: {fault}")]
    Crl { path: PathBuf, fault: CrlFault },
    #[error("the revocation list of `{issuer}` is gone; it would un-revoke what it revokes")]
    CrlGone { issuer: String },
    #[error("the revocation list of `{issuer}` is older than the one in use")]
    CrlOlder { issuer: String },
    #[error("private key `{path}`: {what}")]
    Key { path: PathBuf, what: &'static str },
    #[error("no authority is configured")]
    NoAuthority,
    #[error("the TLS library refuses the configuration: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot read `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
}

/// The one crypto provider, with the hybrid post-quantum key exchange first: what is exchanged here must stay secret
/// for decades, so that a recording of today must not be opened by a machine of tomorrow.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let groups =
            vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
        Arc::new(CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() })
    })
}

pub(super) fn load(material: &Material, clock: &Clock, generation: u64) -> Result<Loaded, LoadError> {
    let chain = certificates(&material.certificate)?;
    let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf).map(|(_, leaf)| leaf));
    let certificate_until = match leaf {
        Some(Ok(leaf)) => Timestamp::from_seconds(leaf.validity().not_after.timestamp()),
        Some(Err(_)) | None => {
            return Err(LoadError::Certificate {
                path: material.certificate.clone(),
                what: "not an X.509 certificate",
            });
        }
    };
    if certificate_until <= clock() {
        return Err(LoadError::Certificate { path: material.certificate.clone(), what: "it has expired" });
    }
    let verifier = client_verifier(&material.clients, clock())?;
    let key = private_key(&material.key)?;
    let config = config(material, clock, verifier.clone())?;
    let mut config = config.with_single_cert(chain, key).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            LoadError::Key { path: material.key.clone(), what: "it does not belong to the certificate" }
        } else {
            LoadError::Tls(error)
        }
    })?;
    harden(&mut config);
    Ok(Loaded { generation, config: Arc::new(config), verifier, certificate_until })
}

type WantsCertificate = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

fn config(
    material: &Material,
    clock: &Clock,
    verifier: Option<Arc<ClientVerifier>>,
) -> Result<WantsCertificate, LoadError> {
    let versions: &[&SupportedProtocolVersion] = match material.versions {
        Versions::Tls13 => &[&TLS13],
        Versions::Tls12And13 => &[&TLS13, &TLS12],
    };
    let time = Arc::new(ShellTime(clock.clone()));
    let builder =
        ServerConfig::builder_with_details(provider().clone(), time).with_protocol_versions(versions)?;
    Ok(match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
    })
}

/// No resumption of any kind: a resumed session skips the client certificate and its revocation.
fn harden(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.require_ems = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
}

fn client_verifier(clients: &Clients, now: Timestamp) -> Result<Option<Arc<ClientVerifier>>, LoadError> {
    let files = match clients {
        Clients::Anyone => return Ok(None),
        Clients::Certified(files) => files,
    };
    let anchors = anchors(&files.authorities, now)?;
    let crls = Crls::read(&files.revocations, &anchors, now)?;
    Ok(Some(Arc::new(ClientVerifier::new(anchors, crls))))
}

pub(super) fn anchors(authorities: &[PathBuf], now: Timestamp) -> Result<Vec<Anchor>, LoadError> {
    let mut anchors = Vec::new();
    for path in authorities {
        for der in &certificates(path)? {
            let anchor =
                anchor(der, now).map_err(|what| LoadError::Authority { path: path.clone(), what })?;
            anchors.push(anchor);
        }
    }
    if anchors.is_empty() { Err(LoadError::NoAuthority) } else { Ok(anchors) }
}

fn anchor(der: &CertificateDer<'_>, now: Timestamp) -> Result<Anchor, &'static str> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "not an X.509 certificate")?;
    if !certificate.is_ca() {
        return Err("it is not a certification authority (basicConstraints)");
    }
    let until = Timestamp::from_seconds(certificate.validity().not_after.timestamp());
    if until <= now {
        return Err("it has expired");
    }
    let trust = anchor_from_trusted_cert(der).map_err(|_| "it cannot serve as a trust anchor")?.to_owned();
    Ok(Anchor { trust, issuer: Issuer::of(&certificate), until })
}

/// The certificates of a PEM file, at least one, in its order.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let fault = |what| LoadError::Certificate { path: path.into(), what };
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(fault("there is no certificate in it")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(fault("it is not PEM")),
    }
}

/// The private key of a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadError> {
    let bytes = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| LoadError::Key { path: path.into(), what: "there is no PEM private key in it" })
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Unreadable { path: path.into(), source })
}

/// The shell's clock as rustls wants it.
pub(super) struct ShellTime(pub Clock);

impl TimeProvider for ShellTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix((self.0)()))
    }
}

impl std::fmt::Debug for ShellTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShellTime")
    }
}
