//! What a certificate says of its holder: the `organizationIdentifier` and the key. Nothing else is used, never the
//! common name.

use varco_core::hash::Sha256;
use varco_core::registry::{Identity, OrganizationIdentifier};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The bytes are not an X.509 certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate")]
pub struct IdentityFault;

/// Reads a certificate's DER. It must have been verified before.
///
/// An `organizationIdentifier` (2.5.4.97) that has none of the registry's forms, or that occurs twice, counts as
/// none: such a holder can be recognised by a pinned key only.
pub fn read(der: &[u8]) -> Result<Identity, IdentityFault> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityFault)?;
    let organizations = certificate.subject().iter_attributes().filter(|attribute| {
        attribute.attr_type().iter().is_some_and(|mut arcs| {
            [2, 5, 4, 97].into_iter().all(|arc| arcs.next() == Some(arc)) && arcs.next().is_none()
        })
    });
    let texts: Vec<&str> = organizations.filter_map(|attribute| attribute.as_str().ok()).collect();
    let organization = match texts.as_slice() {
        [text] => text.parse::<OrganizationIdentifier>().ok(),
        _ => None,
    };
    Ok(Identity { certificate: Sha256::of(der), key: Sha256::of(certificate.public_key().raw), organization })
}
