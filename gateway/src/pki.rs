//! A small certificate authority, for development and for tests.
//!
//! Two of them make the public key infrastructure of a test deployment: one for channels (mutual TLS), one for seals
//! (signatures on messages), as ModI keeps them apart. In production certificates come from elsewhere: `certs/README.md`.
//! Everything here works in memory; [`dev`] lays it out as files.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};
use varco_core::hash::Sha256;
use varco_core::registry::OrganizationIdentifier;
use varco_core::time::Timestamp;
use zeroize::Zeroizing;

pub mod dev;
pub mod upkeep;

/// Certificates of channels and seals live between 90 and 366 days (ModI, ID_AUTH_CHANNEL).
pub const LIFETIME: Duration = Duration::days(365);
/// A development CA outlives the five years of an agreement by one.
const CA_LIFETIME: Duration = Duration::days(6 * 366);
/// In development nobody renews revocation lists by a timer, so they last as long as a folder is likely to be kept.
const CRL_LIFETIME: Duration = Duration::days(90);
/// Clocks of machines that have just been started may be a little behind ours.
const BACKDATED: Duration = Duration::hours(1);
/// organizationIdentifier (X.520, 2.5.4.97).
const ORGANIZATION_IDENTIFIER: [u64; 4] = [2, 5, 4, 97];

/// A certificate authority with its key in memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Whom a certificate is for, and for what.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The common name, for people to read; nothing is decided by it.
    pub name: String,
    pub organization: Option<OrganizationIdentifier>,
    pub purpose: Purpose,
}

/// What a certificate may be used for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Both ends of mutual TLS: extended key usage serverAuth and clientAuth. The names are DNS names or IP addresses.
    Channel { names: Vec<String> },
    /// Only the calling end of mutual TLS.
    Client,
    /// An electronic seal on messages: key usage digitalSignature, no extended key usage.
    Seal,
}

/// A certificate with its key.
pub struct Issued {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    serial: Serial,
}

/// A certificate's serial number, as revocation lists name it.
pub type Serial = [u8; 16];

/// Why a certificate, key or revocation list could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the instant is outside what a certificate can say")]
    Time(#[from] time::error::ComponentRange),
}

impl Authority {
    /// A new CA, valid from now.
    pub fn new(name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity(now, CA_LIFETIME)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial(&key)));
        params.distinguished_name = distinguished_name(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A CA whose certificate and key were written before, both as PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let der = pem_body(certificate).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&der, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate: der })
    }

    /// A certificate with a new ECDSA P-256 key, valid for [`LIFETIME`].
    pub fn issue(&self, holder: &Holder, now: Timestamp) -> Result<Issued, PkiError> {
        self.issue_for(holder, (now, LIFETIME), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    /// [`Authority::issue`] with a validity that tests choose: from an instant, for a time.
    pub fn issue_between(
        &self,
        holder: &Holder,
        validity: (Timestamp, std::time::Duration),
    ) -> Result<Issued, PkiError> {
        let length = Duration::try_from(validity.1).unwrap_or(LIFETIME);
        self.issue_for(holder, (validity.0, length), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    /// A certificate for a key that already exists.
    pub fn issue_for(
        &self,
        holder: &Holder,
        (from, length): (Timestamp, Duration),
        key: KeyPair,
    ) -> Result<Issued, PkiError> {
        let serial = serial(&key);
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity(from, length)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = distinguished_name(&holder.name, holder.organization.as_ref());
        params.use_authority_key_identifier_extension = true;
        // A certificate that says it is no CA cannot be mistaken for one by lenient readers.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match &holder.purpose {
            Purpose::Channel { names } => {
                params.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
                params.subject_alt_names =
                    names.iter().map(|name| alt_name(name)).collect::<Result<_, _>>()?;
            }
            Purpose::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Seal => {}
        }
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.der().clone(), key, serial })
    }

    /// A revocation list that replaces all with a lower number.
    pub fn crl(
        &self,
        revoked: &[Serial],
        number: u64,
        now: Timestamp,
    ) -> Result<CertificateRevocationListDer<'static>, PkiError> {
        let (this_update, next_update) = validity(now, CRL_LIFETIME)?;
        let revoked_certs = revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: this_update,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.into())
    }

    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn certificate_pem(&self) -> String {
        pem_text("CERTIFICATE", &self.certificate)
    }

    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }
}

impl Issued {
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn certificate_pem(&self) -> String {
        pem_text("CERTIFICATE", &self.certificate)
    }

    /// The private key, PKCS#8.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// SHA-256 of the SubjectPublicKeyInfo's DER: what the registry pins.
    pub fn pin(&self) -> Sha256 {
        pin(&self.key)
    }
}

/// SHA-256 of a key's SubjectPublicKeyInfo DER.
pub fn pin(key: &KeyPair) -> Sha256 {
    use rcgen::PublicKeyData as _;
    Sha256::of(&key.subject_public_key_info())
}

/// The PEM text of a revocation list.
pub fn crl_pem(crl: &CertificateRevocationListDer<'_>) -> String {
    pem_text("X509 CRL", crl)
}

fn validity(from: Timestamp, length: Duration) -> Result<(OffsetDateTime, OffsetDateTime), PkiError> {
    let from = OffsetDateTime::from_unix_timestamp(from.seconds())?;
    Ok((from - BACKDATED, from - BACKDATED + length))
}

fn distinguished_name(name: &str, organization: Option<&OrganizationIdentifier>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "IT");
    subject.push(DnType::OrganizationName, name);
    if let Some(organization) = organization {
        subject.push(DnType::CustomDnType(ORGANIZATION_IDENTIFIER.to_vec()), organization.as_str());
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn alt_name(name: &str) -> Result<SanType, PkiError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

/// Follows from the new random key, so it is as unpredictable as CAs owe and never repeats.
fn serial(key: &KeyPair) -> Serial {
    let digest = *pin(key).as_bytes();
    let mut serial = Serial::default();
    for (to, from) in serial.iter_mut().zip(digest) {
        *to = from;
    }
    // A serial number is a positive integer without leading zeros (RFC 5280 section 4.1.2.2): first bits 01.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    serial
}

fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines =
        body.as_bytes().chunks(64).map(|line| line.iter().copied().map(char::from).collect::<String>());
    let lines = lines.map(|line| format!("{line}\n")).collect::<String>();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

fn pem_body(pem: &str) -> Option<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
