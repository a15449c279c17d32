//! Certificate revocation lists (RFC 5280 section 5): which of the files counts for which issuer.
//!
//! For each issuer and scope the newest list counts, whatever the order of the files. rustls alone would take the
//! first it meets, so that a forgotten old file could hide a revocation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateRevocationListDer, SignatureVerificationAlgorithm};
use varco_core::time::Timestamp;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::prelude::{CertificateRevocationList, X509Certificate};

use super::load::LoadError;
use super::verifier::Anchor;
use super::{IssuerStatus, Revocation};

/// The largest revocation list read: about 900,000 entries of 36 bytes.
pub const LARGEST_LIST: u64 = 32 * 1024 * 1024;

/// The lists that count.
pub struct Crls {
    by_scope: BTreeMap<Scope, List>,
}

/// What a list covers: an issuer, and where it says so a part of its certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    /// The issuer's name as DER.
    issuer: Vec<u8>,
    /// The issuingDistributionPoint extension as DER, empty if there is none.
    part: Vec<u8>,
}

struct List {
    name: String,
    this_update: Timestamp,
    next_update: Timestamp,
    /// cRLNumber, big-endian without leading zeros: longer is greater.
    number: Vec<u8>,
    revoked: CertRevocationList<'static>,
    der: CertificateRevocationListDer<'static>,
}

/// An authority whose certificates we accept, as far as its lists are concerned.
pub(super) struct Issuer {
    /// Its name as DER.
    pub subject: Vec<u8>,
    pub name: String,
    /// Its SubjectPublicKeyInfo as DER.
    pub key: Vec<u8>,
}

impl Crls {
    /// Reads every list in `paths` and keeps the newest of each issuer and scope.
    ///
    /// A list that cannot be read, is a delta, lies in the future, or is not signed by the authority it names is an
    /// error: the operator believes it is in force.
    pub(super) fn read(paths: &[PathBuf], anchors: &[Anchor], now: Timestamp) -> Result<Self, LoadError> {
        let mut by_scope: BTreeMap<Scope, List> = BTreeMap::new();
        for path in paths.iter().flat_map(|path| files_of(path)) {
            for der in lists_in(&path)? {
                let (scope, list) =
                    parse(der, anchors).map_err(|fault| LoadError::Crl { path: path.clone(), fault })?;
                if list.this_update > now {
                    return Err(LoadError::Crl { path, fault: CrlFault::FromTheFuture });
                }
                match by_scope.get(&scope) {
                    Some(known) if !list.is_newer_than(known) => {}
                    Some(_) | None => {
                        by_scope.insert(scope, list);
                    }
                }
            }
        }
        Ok(Self { by_scope })
    }

    /// Refuses a step back: every list must still be there, and none may be older than before.
    pub(super) fn may_be_followed_by(&self, next: &Self) -> Result<(), LoadError> {
        for (scope, before) in &self.by_scope {
            match next.by_scope.get(scope) {
                None => return Err(LoadError::CrlGone { issuer: before.name.clone() }),
                Some(after) if before.is_newer_than(after) => {
                    return Err(LoadError::CrlOlder { issuer: before.name.clone() });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Newest first: where scopes overlap, webpki takes the first list that covers a certificate.
    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        let mut lists: Vec<&List> = self.by_scope.values().collect();
        lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        lists.into_iter().map(|list| &list.revoked).collect()
    }

    pub(super) fn ders(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.by_scope.values().map(|list| list.der.clone()).collect()
    }

    /// The state of every authority and of every other issuer of a list.
    pub(super) fn status<'a>(
        &'a self,
        issuers: impl Iterator<Item = &'a Issuer>,
        now: Timestamp,
    ) -> Vec<IssuerStatus> {
        let mut states: BTreeMap<(&str, &[u8]), Revocation> = BTreeMap::new();
        for issuer in issuers {
            states.insert((&issuer.name, &issuer.subject), Revocation::Missing);
        }
        for (scope, list) in &self.by_scope {
            let state = states.entry((&list.name, &scope.issuer)).or_insert(Revocation::Missing);
            *state = worst(*state, list.state(now));
        }
        let status = |((name, _), revocation): ((&str, _), _)| IssuerStatus { name: name.into(), revocation };
        states.into_iter().map(status).collect()
    }
}

impl List {
    fn is_newer_than(&self, other: &Self) -> bool {
        let age = |list: &Self| (list.this_update, list.number.len(), list.number.clone());
        age(self) > age(other)
    }

    fn state(&self, now: Timestamp) -> Revocation {
        if now < self.next_update {
            Revocation::Current { until: self.next_update }
        } else {
            Revocation::Expired { since: self.next_update }
        }
    }
}

/// With several scopes of one issuer the one that ends first, or ended first, tells the issuer's state.
fn worst(a: Revocation, b: Revocation) -> Revocation {
    match (a, b) {
        (Revocation::Missing, other) | (other, Revocation::Missing) => other,
        (Revocation::Expired { since: a }, Revocation::Expired { since: b }) => {
            Revocation::Expired { since: a.min(b) }
        }
        (expired @ Revocation::Expired { .. }, Revocation::Current { .. })
        | (Revocation::Current { .. }, expired @ Revocation::Expired { .. }) => expired,
        (Revocation::Current { until: a }, Revocation::Current { until: b }) => {
            Revocation::Current { until: a.min(b) }
        }
    }
}

/// What is wrong with one revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlFault {
    #[error("it is a delta list; only complete lists are used")]
    Delta,
    #[error("its thisUpdate lies in the future: check the clocks")]
    FromTheFuture,
    #[error("it is not a version 2 certificate revocation list with nextUpdate")]
    NotACrl,
    #[error("it is not signed by the authority it names")]
    Signature,
    #[error("it is larger than {LARGEST_LIST} bytes")]
    TooLarge,
}

/// A file itself, or the lists in a folder, sorted by name. A path that cannot be listed counts as a file, so that
/// reading it reports why.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_path_buf()];
    };
    let is_list = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| ["crl", "pem", "der"].iter().any(|known| e.eq_ignore_ascii_case(known)))
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_list).collect();
    files.sort();
    files
}

/// The DER of every list in a PEM or DER file.
fn lists_in(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST_LIST {
        return Err(LoadError::Crl { path: path.to_path_buf(), fault: CrlFault::TooLarge });
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    // A DER SEQUENCE starts with 0x30, which is `0`: no PEM file does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        Ok(_) | Err(_) => Err(LoadError::Crl { path: path.to_path_buf(), fault: CrlFault::NotACrl }),
    }
}

fn parse(der: CertificateRevocationListDer<'static>, anchors: &[Anchor]) -> Result<(Scope, List), CrlFault> {
    let owned = OwnedCertRevocationList::from_der(&der).map_err(|error| {
        if error == webpki::Error::UnsupportedDeltaCrl { CrlFault::Delta } else { CrlFault::NotACrl }
    })?;
    let (_, crl) = CertificateRevocationList::from_der(&der).map_err(|_| CrlFault::NotACrl)?;
    let subject = crl.issuer().as_raw().to_vec();
    let known: Vec<&Issuer> =
        anchors.iter().map(|anchor| &anchor.issuer).filter(|i| i.subject == subject).collect();
    // A list of an intermediate, whose key we see only in a handshake, is verified there (and every list again).
    if !known.is_empty() && !known.iter().any(|issuer| is_signed_by(&der, &crl, &issuer.key)) {
        return Err(CrlFault::Signature);
    }
    let part = crl
        .extensions()
        .iter()
        .find(|extension| extension.oid == x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
        .map(|extension| extension.value.to_vec())
        .unwrap_or_default();
    let next_update = crl.next_update().ok_or(CrlFault::NotACrl)?;
    let list = List {
        name: crl.issuer().to_string(),
        this_update: Timestamp::from_seconds(crl.last_update().timestamp()),
        next_update: Timestamp::from_seconds(next_update.timestamp()),
        number: crl.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
        revoked: owned.into(),
        der: der.clone(),
    };
    Ok((Scope { issuer: subject, part }, list))
}

fn is_signed_by(der: &[u8], crl: &CertificateRevocationList<'_>, key: &[u8]) -> bool {
    let verify = || {
        let (_, whole) = Any::from_der(der).ok()?;
        let after_tbs = whole.data.get(crl.tbs_cert_list.as_ref().len()..)?;
        let (_, algorithm) = Any::from_der(after_tbs).ok()?;
        let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(key).ok()?;
        let (_, inside) = Any::from_der(key.raw).ok()?;
        let (_, key_algorithm) = Any::from_der(inside.data).ok()?;
        let fits = |engine: &&&dyn SignatureVerificationAlgorithm| {
            *engine.signature_alg_id() == *algorithm.data
                && *engine.public_key_alg_id() == *key_algorithm.data
        };
        let engine = super::load::provider().signature_verification_algorithms.all.iter().find(fits)?;
        let (bits, message) = (&key.subject_public_key.data, crl.tbs_cert_list.as_ref());
        engine.verify_signature(bits, message, &crl.signature_value.data).ok()
    };
    verify().is_some()
}

impl Issuer {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            subject: certificate.subject().as_raw().to_vec(),
            name: certificate.subject().to_string(),
            key: certificate.public_key().raw.to_vec(),
        }
    }
}
