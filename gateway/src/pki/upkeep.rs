//! What happens to a development folder afterwards: a certificate is revoked, an agency gets its next keys.

use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use varco_core::id::AgencyId;
use varco_core::time::Timestamp;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::dev::{DevError, Party, Secrecy, write_file};
use super::{Authority, PkiError, Serial, crl_pem};

/// Why a development folder could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error("agency `{0}` is not one of this folder's")]
    AgencyUnknown(AgencyId),
    #[error(transparent)]
    Dev(#[from] DevError),
    #[error("`{0}` was not issued by a CA of this folder")]
    IssuerUnknown(PathBuf),
    #[error("`{0}` is not what its name says")]
    Malformed(PathBuf),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("`{0}` could not be read or replaced")]
    File(PathBuf, #[source] std::io::Error),
}

/// Writes the revocation list of the certificate's CA anew, with the certificate on it and the next number.
/// Returns the path of the list, relative to the folder.
pub fn revoke(folder: &Path, certificate: &Path, now: Timestamp) -> Result<PathBuf, UpkeepError> {
    let path = folder.join(certificate);
    let pem = read(&path)?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed(&path))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| malformed(&path))?;
    let serial = Serial::try_from(parsed.raw_serial()).map_err(|_| malformed(&path))?;
    for name in ["channel", "seal"] {
        let ca_path = folder.join(format!("ca/{name}.pem"));
        let ca_pem = read(&ca_path)?;
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| malformed(&ca_path))?;
        let (_, ca) = X509Certificate::from_der(&ca).map_err(|_| malformed(&ca_path))?;
        if ca.subject().as_raw() == parsed.issuer().as_raw() {
            let authority = Authority::from_pem(&ca_pem, &read(&folder.join(format!("ca/{name}.key.pem")))?)?;
            let list = PathBuf::from(format!("ca/{name}.crl.pem"));
            reissue(&authority, &folder.join(&list), serial, now)?;
            return Ok(list);
        }
    }
    Err(UpkeepError::IssuerUnknown(path))
}

/// Makes new keys and certificates for an agency beside its present ones: `channel.<suffix>.pem`, `seal.<suffix>.pem`.
pub fn renew(folder: &Path, agency: &AgencyId, suffix: &str, now: Timestamp) -> Result<(), UpkeepError> {
    let authority = |name: &str| -> Result<Authority, UpkeepError> {
        let certificate = read(&folder.join(format!("ca/{name}.pem")))?;
        Ok(Authority::from_pem(&certificate, &read(&folder.join(format!("ca/{name}.key.pem")))?)?)
    };
    let (channels, seals) = (authority("channel")?, authority("seal")?);
    let party = Party::of_agency((&channels, &seals), agency, now)?
        .ok_or_else(|| UpkeepError::AgencyUnknown(agency.clone()))?;
    for file in party.files(&format!("agencies/{agency}"), &format!(".{suffix}")) {
        write_file(&folder.join(&file.path), &file)?;
    }
    Ok(())
}

fn reissue(authority: &Authority, path: &Path, serial: Serial, now: Timestamp) -> Result<(), UpkeepError> {
    let pem = read(path)?;
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed(path))?;
    let (_, old) = CertificateRevocationList::from_der(&der).map_err(|_| malformed(path))?;
    let mut revoked = vec![serial];
    for entry in old.iter_revoked_certificates() {
        revoked.push(Serial::try_from(entry.raw_serial()).map_err(|_| malformed(path))?);
    }
    revoked.sort_unstable();
    revoked.dedup();
    let number = old.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
    let text = crl_pem(&authority.crl(&revoked, number.saturating_add(1), now)?);
    // Replaced in one step: a gateway that watches the file never reads half a list.
    let fresh = path.with_extension("pem.new");
    let file =
        super::dev::File { path: fresh.clone(), contents: Zeroizing::new(text), secrecy: Secrecy::Public };
    write_file(&fresh, &file)?;
    std::fs::rename(&fresh, path).map_err(|error| UpkeepError::File(path.to_owned(), error))
}

fn read(path: &Path) -> Result<Zeroizing<String>, UpkeepError> {
    let text = std::fs::read_to_string(path).map_err(|error| UpkeepError::File(path.to_owned(), error))?;
    Ok(Zeroizing::new(text))
}

fn malformed(path: &Path) -> UpkeepError {
    UpkeepError::Malformed(path.to_owned())
}
