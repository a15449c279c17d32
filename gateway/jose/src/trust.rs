//! Which seals are trusted: roots, revocation lists, allowed algorithms, and a small cache of what was checked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use varco_core::hash::Sha256;
use varco_core::registry::Identity;
use varco_core::time::Timestamp;
use varco_core::wire::{Algorithm, KeyReference, Seal, SealFault, Verifier};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, aws_lc_rs,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::{self, Facts, Usage, instant};
use crate::key::PublicKey;
use crate::pem;

/// Leaf, two intermediates and a root, at most.
const CHAIN_MAX: usize = 4;
/// A certificate with an RSA-4096 key and many extensions stays under this.
const CERTIFICATE_MAX: usize = 4 * 1024;
/// Agencies have two seals while they roll over; a thousand agencies stay under this. About 2 KB each.
const CACHE_MAX: usize = 2048;
/// A checked chain is checked again after a minute; new trust material starts an empty cache anyway.
const CACHE_AGE: Duration = Duration::from_secs(60);

/// What signatures on certificates and revocation lists may be made with.
static CHAIN_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    aws_lc_rs::ECDSA_P256_SHA256,
    aws_lc_rs::ECDSA_P256_SHA384,
    aws_lc_rs::ECDSA_P384_SHA256,
    aws_lc_rs::ECDSA_P384_SHA384,
    aws_lc_rs::ED25519,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
];

/// Why trust material cannot be used. Nothing is trusted then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustFault {
    #[error("no algorithm is allowed")]
    NoAlgorithms,
    #[error("there is no revocation list, so nothing could be said to be valid")]
    NoCrls,
    #[error("there is no root")]
    NoRoots,
    #[error("{0}")]
    Pem(#[from] pem::PemFault),
    #[error("root number {0} cannot be read as a certificate")]
    Root(usize),
    #[error("revocation list number {0} cannot be used: malformed, a delta, or without an end")]
    Crl(usize),
}

/// The trust in seals. Immutable: new roots or lists make a new one.
pub struct SealTrust {
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<Root>,
    crls: Vec<CertRevocationList<'static>>,
    crl_ends: Vec<Timestamp>,
    allowed: Vec<Algorithm>,
    known: HashMap<Sha256, Vec<Vec<u8>>>,
    cache: Mutex<HashMap<Sha256, Cached>>,
}

/// A trust anchor carries no dates, so we keep them beside it.
struct Root {
    subject: Vec<u8>,
    key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

struct Cached {
    seal: Arc<CheckedSeal>,
    from: Timestamp,
    until: Timestamp,
}

/// A certificate that passed every check, with its key ready for use.
struct CheckedSeal {
    identity: Identity,
    key: PublicKey,
    allowed: Vec<Algorithm>,
}

impl SealTrust {
    /// From DER. Of several revocation lists of one issuer and scope only the newest counts, because the check would
    /// otherwise stop at whichever comes first.
    pub fn new(roots: &[Vec<u8>], crls: &[Vec<u8>], allowed: &[Algorithm]) -> Result<Self, TrustFault> {
        if roots.is_empty() {
            return Err(TrustFault::NoRoots);
        }
        if crls.is_empty() {
            return Err(TrustFault::NoCrls);
        }
        if allowed.is_empty() {
            return Err(TrustFault::NoAlgorithms);
        }
        let mut anchors = Vec::new();
        let mut dated = Vec::new();
        for (i, der) in roots.iter().enumerate() {
            let (anchor, root) = root(der).ok_or(TrustFault::Root(i))?;
            anchors.push(anchor);
            dated.push(root);
        }
        let newest = newest(crls)?;
        Ok(Self {
            anchors,
            roots: dated,
            crl_ends: newest.iter().map(|(_, end)| *end).collect(),
            crls: newest.into_iter().map(|(crl, _)| crl).collect(),
            allowed: allowed.to_vec(),
            known: HashMap::new(),
            cache: Mutex::new(HashMap::new()),
        })
    }

    /// From PEM texts.
    pub fn from_pem(roots: &[u8], crls: &[u8], allowed: &[Algorithm]) -> Result<Self, TrustFault> {
        Self::new(&pem::certificates(roots)?, &pem::crls(crls)?, allowed)
    }

    /// Adds a chain that tokens may name by `x5t#S256` alone. It is checked like any other when it is used.
    pub fn with_known(mut self, chain: Vec<Vec<u8>>) -> Self {
        if let Some(leaf) = chain.first() {
            self.known.insert(Sha256::of(leaf), chain);
        }
        self
    }

    /// When the first revocation list or root runs out, after which its certificates are refused.
    pub fn runs_out(&self) -> Option<Timestamp> {
        self.crl_ends.iter().chain(self.roots.iter().map(|root| &root.not_after)).min().copied()
    }

    fn check(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<Arc<CheckedSeal>, SealFault> {
        let size = chain.len() > CHAIN_MAX || chain.iter().any(|der| der.len() > CERTIFICATE_MAX);
        if size {
            return Err(SealFault::ChainTooLarge);
        }
        let hashes: Vec<_> = chain.iter().map(|der| Sha256::of(der)).collect();
        let parts: Vec<&[u8]> = hashes.iter().map(|hash| hash.as_bytes().as_slice()).collect();
        let name = Sha256::of_parts(&parts);
        if let Some(seal) = self.cached(&name, now) {
            return Ok(seal);
        }
        let (seal, until) = self.check_anew(chain, now)?;
        let seal = Arc::new(seal);
        self.keep(name, Cached { seal: Arc::clone(&seal), from: now, until });
        Ok(seal)
    }

    fn cached(&self, name: &Sha256, now: Timestamp) -> Option<Arc<CheckedSeal>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.get(name).filter(|cached| cached.from <= now && now < cached.until)?;
        Some(Arc::clone(&found.seal))
    }

    fn keep(&self, name: Sha256, checked: Cached) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            let now = checked.from;
            cache.retain(|_, cached| cached.from <= now && now < cached.until);
        }
        if cache.len() >= CACHE_MAX {
            let oldest = cache.iter().min_by_key(|(_, cached)| cached.from).map(|(name, _)| *name);
            oldest.and_then(|name| cache.remove(&name));
        }
        cache.insert(name, checked);
    }

    /// The checks themselves, and until when their outcome may be reused.
    fn check_anew(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<(CheckedSeal, Timestamp), SealFault> {
        let (leaf, others) = chain.split_first().ok_or(SealFault::Malformed)?;
        let facts = certificate::read(leaf).map_err(|_| SealFault::Malformed)?;
        let others_facts: Vec<Facts> = others
            .iter()
            .map(|der| certificate::read(der))
            .collect::<Result<_, _>>()
            .map_err(|_| SealFault::Malformed)?;
        let root_end = self.path(leaf, others, now)?;
        if !facts.may_sign {
            return Err(SealFault::KeyUsage);
        }
        if facts.usage == Usage::TlsOnly {
            return Err(SealFault::TlsOnly);
        }
        let key = PublicKey::from_spki(&facts.spki).map_err(|_| SealFault::KeyWeak)?;
        // Dates already past belong to material that took no part in this chain.
        let until = std::iter::once(facts.not_after)
            .chain(others_facts.iter().map(|facts| facts.not_after))
            .chain(self.crl_ends.iter().copied())
            .chain([root_end, now.plus(CACHE_AGE)])
            .filter(|end| *end > now)
            .min()
            .unwrap_or(now);
        Ok((CheckedSeal { identity: facts.identity, key, allowed: self.allowed.clone() }, until))
    }

    /// Path building, validity and revocation by webpki; the end of the root's validity by us.
    fn path(&self, leaf: &[u8], others: &[Vec<u8>], now: Timestamp) -> Result<Timestamp, SealFault> {
        let leaf = CertificateDer::from(leaf);
        let others: Vec<_> = others.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let end_entity = EndEntityCert::try_from(&leaf).map_err(seal_fault)?;
        let crls: Vec<_> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls)
            .map_err(|_| SealFault::RevocationUnknown)?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let path = end_entity
            .verify_for_usage(
                CHAIN_ALGORITHMS,
                &self.anchors,
                &others,
                time,
                AnyUsage,
                Some(revocation),
                None,
            )
            .map_err(seal_fault)?;
        let anchor = path.anchor();
        let same = |root: &&Root| {
            root.subject == anchor.subject.as_ref() && root.key == anchor.subject_public_key_info.as_ref()
        };
        let root = self.roots.iter().find(same).ok_or(SealFault::UnknownIssuer)?;
        if now < root.not_before {
            return Err(SealFault::NotYetValid);
        }
        if now > root.not_after {
            return Err(SealFault::Expired);
        }
        Ok(root.not_after)
    }
}

impl Verifier for SealTrust {
    fn seal(&self, reference: &KeyReference, now: Timestamp) -> Result<Arc<dyn Seal>, SealFault> {
        let seal = match reference {
            KeyReference::Chain(chain) => self.check(chain, now)?,
            KeyReference::Thumbprint(hash) => {
                self.check(self.known.get(hash).ok_or(SealFault::Unknown)?, now)?
            }
        };
        Ok(seal)
    }
}

impl Seal for CheckedSeal {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        self.allowed.contains(&algorithm) && self.key.algorithms().any(|own| own == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.allows(algorithm) && self.key.verify(algorithm, signed, signature)
    }
}

/// extendedKeyUsage is judged by us: no purpose of RFC 5280 means "electronic seal".
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(|_| ()))
    }
}

fn root(der: &[u8]) -> Option<(TrustAnchor<'static>, Root)> {
    let facts = certificate::read(der).ok()?;
    let der = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&der).ok()?.to_owned();
    let root = Root {
        subject: anchor.subject.as_ref().to_vec(),
        key: anchor.subject_public_key_info.as_ref().to_vec(),
        not_before: facts.not_before,
        not_after: facts.not_after,
    };
    Some((anchor, root))
}

/// The lists that count, with the end of each. Newest first, so that of two that both speak for a certificate the
/// newer one is asked.
fn newest(ders: &[Vec<u8>]) -> Result<Vec<(CertRevocationList<'static>, Timestamp)>, TrustFault> {
    struct Dated {
        crl: OwnedCertRevocationList,
        number: Vec<u8>,
        from: Timestamp,
        until: Timestamp,
    }
    let mut dated = Vec::new();
    for (i, der) in ders.iter().enumerate() {
        let crl = OwnedCertRevocationList::from_der(der).map_err(|_| TrustFault::Crl(i))?;
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| TrustFault::Crl(i))?;
        let until = parsed.next_update().map(instant).ok_or(TrustFault::Crl(i))?;
        let number = parsed.crl_number().map(|n| n.to_bytes_be()).unwrap_or_default();
        dated.push(Dated { crl, number, from: instant(parsed.last_update()), until });
    }
    // The issuer's own count decides; its date does where it does not count.
    dated.sort_by(|a, b| (b.number.len(), &b.number, b.from).cmp(&(a.number.len(), &a.number, a.from)));
    let mut kept: Vec<(CertRevocationList<'static>, Timestamp)> = Vec::new();
    for Dated { crl, until, .. } in dated {
        let crl = CertRevocationList::from(crl);
        let replaced = kept.iter().any(|(newer, _)| {
            newer.issuer() == crl.issuer()
                && newer.issuing_distribution_point() == crl.issuing_distribution_point()
        });
        if !replaced {
            kept.push((crl, until));
        }
    }
    Ok(kept)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "webpki's errors are not exhaustive")]
fn seal_fault(error: webpki::Error) -> SealFault {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => SealFault::Expired,
        Error::CertNotValidYet { .. } => SealFault::NotYetValid,
        Error::CertRevoked => SealFault::Revoked,
        Error::CrlExpired { .. } => SealFault::CrlExpired,
        Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnknownRevocationStatus
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => SealFault::RevocationUnknown,
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => SealFault::UnknownIssuer,
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => SealFault::ChainTooLarge,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => SealFault::KeyWeak,
        _ => SealFault::Malformed,
    }
}

#[cfg(test)]
mod tests;
