//! Whether a client certificate is acceptable: chain, validity, purpose and revocation, all fail-closed.
//!
//! webpki is used directly rather than through rustls' own verifier, because that one checks nothing at all when it
//! holds no revocation list, accepts certificates without a purpose, and never looks at an authority's dates.

use std::cell::Cell;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use varco_core::time::Timestamp;
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder, VerifiedPath};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::crl::{Crls, Issuer};
use super::{IssuerStatus, load};

/// One reading of authorities and revocation lists.
pub(super) struct ClientVerifier {
    pub anchors: Vec<Anchor>,
    pub crls: Crls,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// An authority whose certificates are accepted.
pub(super) struct Anchor {
    pub trust: TrustAnchor<'static>,
    pub issuer: Issuer,
    pub until: Timestamp,
}

/// Why a client certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("an authority above the certificate has expired")]
    AuthorityExpired,
    #[error("the certificate is expired or not yet valid")]
    Expired,
    #[error("the certificate is malformed or breaks a rule of RFC 5280")]
    Malformed,
    #[error("there is no certificate")]
    Missing,
    #[error("the certificate is not made for client authentication")]
    Purpose,
    #[error("the revocation list of the issuer has expired, so nothing it issued is accepted")]
    RevocationExpired,
    #[error("there is no revocation list of the issuer, so nothing it issued is accepted")]
    RevocationUnknown,
    #[error("the certificate is revoked")]
    Revoked,
    #[error("the certificate was not issued by an accepted authority")]
    UnknownIssuer,
}

impl ClientVerifier {
    pub fn new(anchors: Vec<Anchor>, crls: Crls) -> Self {
        let hints = anchors.iter().map(|anchor| DistinguishedName::from(anchor.issuer.subject.clone()));
        let hints = hints.collect();
        let algorithms = load::provider().signature_verification_algorithms;
        Self { anchors, crls, hints, algorithms }
    }

    pub fn issuers(&self, now: Timestamp) -> Vec<IssuerStatus> {
        self.crls.status(self.anchors.iter().map(|anchor| &anchor.issuer), now)
    }

    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|_| VerifyError::Malformed)?;
        let lists = self.crls.lists();
        // With no list at all the builder refuses: exactly what must happen.
        let revocation = RevocationOptionsBuilder::new(&lists)
            .map_err(|_| VerifyError::RevocationUnknown)?
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let anchors: Vec<TrustAnchor<'_>> = self.anchors.iter().map(|anchor| anchor.trust.clone()).collect();
        let stale_anchor = Cell::new(false);
        let in_date = |path: &VerifiedPath<'_>| {
            stale_anchor.set(!self.anchor_in_date(path, now));
            if stale_anchor.get() { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
        };
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &anchors,
                intermediates,
                now,
                KeyUsage::client_auth(),
                Some(revocation),
                Some(&in_date),
            )
            .map_err(|error| match stale_anchor.get() {
                true => VerifyError::AuthorityExpired,
                false => refusal(&error),
            })?;
        // webpki asks for the purpose only where the extension is present.
        if is_for_clients(leaf) { Ok(()) } else { Err(VerifyError::Purpose) }
    }

    /// Trust anchors carry no dates in webpki; ours keep theirs.
    fn anchor_in_date(&self, path: &VerifiedPath<'_>, now: UnixTime) -> bool {
        let used = path.anchor();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.anchors.iter().any(|anchor| {
            anchor.trust.subject == used.subject
                && anchor.trust.subject_public_key_info == used.subject_public_key_info
                && Timestamp::from_seconds(seconds) <= anchor.until
        })
    }
}

fn is_for_clients(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf)
        .ok()
        .and_then(|(_, certificate)| Some(certificate.extended_key_usage().ok()??.value.client_auth))
        .unwrap_or(false)
}

fn refusal(error: &webpki::Error) -> VerifyError {
    use webpki::Error as E;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "webpki's errors grow; what we do not know is malformed"
    )]
    match error {
        E::CertExpired { .. } | E::CertNotValidYet { .. } | E::InvalidCertValidity => VerifyError::Expired,
        E::CertRevoked => VerifyError::Revoked,
        E::CrlExpired { .. } => VerifyError::RevocationExpired,
        E::RequiredEkuNotFoundContext(_) => VerifyError::Purpose,
        E::UnknownIssuer => VerifyError::UnknownIssuer,
        E::InvalidCrlSignatureForPublicKey | E::IssuerNotCrlSigner | E::UnknownRevocationStatus => {
            VerifyError::RevocationUnknown
        }
        _ => VerifyError::Malformed,
    }
}

impl From<VerifyError> for Error {
    /// Chooses the alert the peer sees (RFC 8446 section 6.2).
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::AuthorityExpired | VerifyError::UnknownIssuer => {
                CertificateError::UnknownIssuer.into()
            }
            VerifyError::Expired => CertificateError::Expired.into(),
            VerifyError::Malformed => CertificateError::BadEncoding.into(),
            VerifyError::Missing => Self::NoCertificatesPresented,
            VerifyError::Purpose => CertificateError::InvalidPurpose.into(),
            VerifyError::RevocationExpired => CertificateError::ExpiredRevocationList.into(),
            VerifyError::RevocationUnknown => CertificateError::UnknownRevocationStatus.into(),
            VerifyError::Revoked => CertificateError::Revoked.into(),
        }
    }
}

impl std::fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientVerifier").field("authorities", &self.anchors.len()).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
