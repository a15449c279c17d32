//! What we read from a certificate. Nothing here says that it is trusted.

use varco_core::hash::Sha256;
use varco_core::registry::{Identity, OrganizationIdentifier};
use varco_core::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// The DER is not one X.509 certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read as a certificate")]
pub struct CertificateFault;

/// A certificate's own statements, as far as we use them.
#[derive(Debug, Clone)]
pub struct Facts {
    pub identity: Identity,
    /// The DER of its SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// keyUsage is there and holds digitalSignature.
    pub may_sign: bool,
    pub usage: Usage,
}

/// What extendedKeyUsage restricts a certificate to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// No extendedKeyUsage, or one that is not only about TLS.
    Any,
    /// serverAuth or clientAuth and nothing else.
    TlsOnly,
}

/// Who a certificate names: hashes for pins, and its organizationIdentifier (2.5.4.97) if it has exactly one that is
/// well formed. Two are nobody's: we would have to choose. For channel and seal certificates alike; the chain must
/// have been checked by whoever uses the result.
pub fn identity(der: &[u8]) -> Result<Identity, CertificateFault> {
    read(der).map(|facts| facts.identity)
}

/// Reads a certificate. Trailing bytes are refused.
pub fn read(der: &[u8]) -> Result<Facts, CertificateFault> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateFault)?;
    if !rest.is_empty() {
        return Err(CertificateFault);
    }
    let spki = certificate.public_key().raw.to_vec();
    let key_usage = certificate.key_usage().map_err(|_| CertificateFault)?;
    let extended = certificate.extended_key_usage().map_err(|_| CertificateFault)?;
    let usage = extended.map_or(Usage::Any, |extended| {
        let usage = extended.value;
        let tls = usage.server_auth || usage.client_auth;
        let other = usage.any
            || usage.code_signing
            || usage.email_protection
            || usage.time_stamping
            || usage.ocsp_signing
            || !usage.other.is_empty();
        if tls && !other { Usage::TlsOnly } else { Usage::Any }
    });
    Ok(Facts {
        identity: Identity {
            certificate: Sha256::of(der),
            key: Sha256::of(&spki),
            organization: organization(&certificate),
        },
        not_before: instant(certificate.validity().not_before),
        not_after: instant(certificate.validity().not_after),
        may_sign: key_usage.is_some_and(|usage| usage.value.digital_signature()),
        usage,
        spki,
    })
}

fn organization(certificate: &X509Certificate) -> Option<OrganizationIdentifier> {
    // Oid::from checks its components, so this is the one fallible step; it cannot fail for this constant.
    let oid = Oid::from(&[2, 5, 4, 97]).ok()?;
    let mut found = certificate.subject().iter_by_oid(&oid);
    match (found.next(), found.next()) {
        (Some(attribute), None) => attribute.as_str().ok()?.parse().ok(),
        _ => None,
    }
}

pub(crate) fn instant(time: ASN1Time) -> Timestamp {
    Timestamp::from_seconds(time.timestamp())
}
