//! Authorities and revocation lists read from files, for trust that is not a listener's: seals on messages, and the
//! servers that the gateway calls. The same rules hold as for the channel.

use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use varco_core::time::Timestamp;

use super::LoadError;
use super::crl::{self, Crls};
use super::load::{anchors, certificates};

/// Where trust is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFiles {
    /// PEM files of certificates.
    pub authorities: Vec<PathBuf>,
    /// Revocation lists: files, or folders of `.crl`, `.pem` and `.der` files.
    pub revocations: Vec<PathBuf>,
}

/// One reading. Of each issuer and scope only the newest list is in it.
pub struct Trust {
    pub authorities: Vec<CertificateDer<'static>>,
    crls: Crls,
}

impl TrustFiles {
    /// Reads everything for the first time.
    pub fn read(&self, now: Timestamp) -> Result<Trust, LoadError> {
        let crls = Crls::read(&self.revocations, &anchors(&self.authorities, now)?, now)?;
        let mut authorities = Vec::new();
        for path in &self.authorities {
            authorities.extend(certificates(path)?);
        }
        Ok(Trust { authorities, crls })
    }

    /// Reads everything again. A list that vanished or went back in time is an error: it would un-revoke.
    pub fn read_after(&self, before: &Trust, now: Timestamp) -> Result<Trust, LoadError> {
        let next = self.read(now)?;
        before.crls.may_be_followed_by(&next.crls)?;
        Ok(next)
    }

    /// The files there are now, for [`watch_files`](super::watch_files).
    pub fn files(&self) -> Vec<PathBuf> {
        let lists = self.revocations.iter().flat_map(|path| crl::files_of(path));
        self.authorities.iter().cloned().chain(lists).collect()
    }
}

impl Trust {
    pub fn revocations(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.crls.ders()
    }
}
