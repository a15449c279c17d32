//! The root of trust: which registry and which policy the founding officers signed, and every registry version since.
//!
//! A deployment begins with a ceremony. Its folder holds `genesis.json` (the first registry, the hash of the first policy
//! bundle, the founders) and one statement a founder, `<officer>.jws`, over the SHA-256 of that file's bytes. The hash is in
//! entry 0 of the log. Nothing in a configuration file can add a signer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, OfficerId};
use varco_core::json;
use varco_core::registry::{Registry, RegistryFault, Role, Suspension};
use varco_core::time::Timestamp;
use varco_core::wire::StatementError;
use varco_jose::OfficerVerifier;
use varco_jose::SignerFault;

/// The act of a founder's statement.
pub const ACT_GENESIS: &str = "genesis";
/// The act of an officer's statement on a later registry version.
pub const ACT_REGISTRY: &str = "approve-registry";
/// The act of an officer's statement on a suspension.
pub const ACT_SUSPENSION: &str = "suspend";
/// A registry of hundreds of agencies stays far below.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The ceremony file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    pub genesis: u32,
    pub created: Timestamp,
    /// The officers who must all have signed.
    pub founders: Vec<OfficerId>,
    /// The first policy bundle.
    pub policy: Sha256,
    pub registry: Registry,
}

/// A ceremony whose every signature was checked, with the bytes that were signed.
#[derive(Debug)]
pub struct Ceremony {
    pub genesis: Genesis,
    pub sha256: Sha256,
    pub bytes: Vec<u8>,
}

/// Why a document of the root of trust is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("the founders must be officers of at least two agencies")]
    FewAgencies,
    #[error("the public key of officer `{0}` cannot be used: {1}")]
    Key(OfficerId, SignerFault),
    #[error("the public key of officer `{0}` is not the one its hash names")]
    KeyMismatch(OfficerId),
    #[error("officer `{0}` is not an officer of the registry, or may not sign")]
    NotAnOfficer(OfficerId),
    #[error("officer `{0}` does not stand in for `{1}`, or not now")]
    NotADeputy(OfficerId, AgencyId),
    #[error("officer `{0}` has signed more than once")]
    SignedTwice(OfficerId),
    #[error("the statement of `{0}` is not accepted: {1}")]
    Statement(OfficerId, StatementError),
    #[error("the statement of `{0}` is about another document or another act")]
    StatementOfOther(OfficerId),
    #[error("the registry is not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Registry(Vec<RegistryFault>),
    #[error("the registry is not the next version: {0}")]
    NotNext(&'static str),
}

impl Ceremony {
    /// Reads and checks a ceremony file and the founders' statements beside it.
    pub fn read(path: &Path) -> Result<Self, TrustFault> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let bytes = read(path)?;
        let genesis: Genesis = json::parse_as(&bytes)
            .map_err(|fault| TrustFault::File { path: path.to_owned(), what: fault.to_string() })?;
        let sha256 = Sha256::of(&bytes);
        let faults = genesis.registry.faults();
        if !faults.is_empty() {
            return Err(TrustFault::Registry(faults));
        }
        let mut agencies = BTreeSet::new();
        for founder in &genesis.founders {
            let path = folder.join(format!("{founder}.jws"));
            let text = String::from_utf8_lossy(&read(&path)?).trim().to_owned();
            let (agency, _) = check_statement(&genesis.registry, founder, &text, (ACT_GENESIS, sha256))?;
            agencies.insert(agency);
        }
        if agencies.len() < 2 {
            return Err(TrustFault::FewAgencies);
        }
        Ok(Self { genesis, sha256, bytes })
    }
}

/// A registry version with the statements of the officers who approved it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryProposal {
    /// The document, exactly as signed.
    pub document: String,
    pub statements: Vec<OfficerStatement>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficerStatement {
    pub officer: OfficerId,
    /// The agency for which a named deputy signs; their own when absent.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<AgencyId>,
    pub jws: String,
}

impl RegistryProposal {
    /// The next registry, if two officers of different agencies of the *current* one approved it.
    /// `now` is absent for what is read back from the log.
    pub fn check(
        &self,
        current: &Registry,
        current_sha256: Sha256,
        now: Option<Timestamp>,
    ) -> Result<Registry, TrustFault> {
        let bytes = self.document.as_bytes();
        let next: Registry = json::parse_as(bytes)
            .map_err(|fault| TrustFault::File { path: "registry".into(), what: fault.to_string() })?;
        let faults = next.faults();
        if !faults.is_empty() {
            return Err(TrustFault::Registry(faults));
        }
        if next.previous != Some(current_sha256) || Some(next.version) != current.version.checked_add(1) {
            return Err(TrustFault::NotNext("version and previous must follow the registry in force"));
        }
        if next.deployment != current.deployment || next.gateway != current.gateway {
            return Err(TrustFault::NotNext("deployment and gateway are chosen once, at the genesis"));
        }
        if log_names(&next) != log_names(current) {
            return Err(TrustFault::NotNext("the log keeps its name; only its keys change"));
        }
        let about = (ACT_REGISTRY, Sha256::of(bytes));
        if signers(current, &self.statements, about, now)?.len() < 2 {
            return Err(TrustFault::FewAgencies);
        }
        Ok(next)
    }
}

/// The names under which the log's keys sign: one, whatever the keys.
fn log_names(registry: &Registry) -> BTreeSet<&str> {
    registry.log_keys.iter().filter_map(|key| key.verifier.split('+').next()).collect()
}

/// A suspension as it is brought to the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuspensionProposal {
    /// A [`Suspension`], exactly as signed.
    pub document: String,
    pub statements: Vec<OfficerStatement>,
}

impl SuspensionProposal {
    /// One officer of the agency concerned is enough, because nothing widens; for somebody else's agency it takes officers
    /// of two agencies, so that nobody can silence another alone.
    pub fn check(&self, registry: &Registry, now: Option<Timestamp>) -> Result<Suspension, TrustFault> {
        let bytes = self.document.as_bytes();
        let suspension: Suspension = json::parse_as(bytes)
            .map_err(|fault| TrustFault::File { path: "suspension".into(), what: fault.to_string() })?;
        let about = (ACT_SUSPENSION, Sha256::of(bytes));
        let agencies = signers(registry, &self.statements, about, now)?;
        if agencies.contains(&suspension.agency) || agencies.len() >= 2 {
            return Ok(suspension);
        }
        Err(TrustFault::FewAgencies)
    }
}

/// The decision slot of an entry of kind `registry`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum RegistryEntry {
    Suspension { document: String, statements: Vec<OfficerStatement> },
    Version { registry: Sha256, version: u32, statements: Vec<OfficerStatement> },
}

/// The agencies for which a document was signed, one for each officer: who stands in for another agency speaks for that
/// one and not also for their own, so that two agencies are always two people.
pub fn signers(
    registry: &Registry,
    statements: &[OfficerStatement],
    about: (&str, Sha256),
    now: Option<Timestamp>,
) -> Result<BTreeSet<AgencyId>, TrustFault> {
    let (mut officers, mut agencies) = (BTreeSet::new(), BTreeSet::new());
    for statement in statements {
        let id = &statement.officer;
        if !officers.insert(id) {
            return Err(TrustFault::SignedTwice(id.clone()));
        }
        let (own, signed) = check_statement(registry, id, &statement.jws, about)?;
        let agency = statement.in_place_of.clone().unwrap_or(own);
        let may = |at| registry.officer(id).is_some_and(|officer| officer.speaks_for(&agency, at));
        // Signed within the mandate, and brought within it too: a date on a signature is its signer's word.
        if !may(signed) || !now.is_none_or(may) {
            return Err(TrustFault::NotADeputy(id.clone(), agency));
        }
        agencies.insert(agency);
    }
    Ok(agencies)
}

/// The agency of the officer and the instant of signing, if the statement is theirs and about this document.
fn check_statement(
    registry: &Registry,
    id: &OfficerId,
    text: &str,
    about: (&str, Sha256),
) -> Result<(AgencyId, Timestamp), TrustFault> {
    let officer = registry.officer(id).filter(|officer| officer.role == Role::Officer);
    let officer = officer.ok_or_else(|| TrustFault::NotAnOfficer(id.clone()))?;
    let verifier =
        OfficerVerifier::from_pem(&officer.public_key).map_err(|fault| TrustFault::Key(id.clone(), fault))?;
    if *verifier.key() != officer.key {
        return Err(TrustFault::KeyMismatch(id.clone()));
    }
    let statement = verifier.verify(text).map_err(|error| TrustFault::Statement(id.clone(), error))?;
    if (statement.act.as_str(), statement.sha256) != about {
        return Err(TrustFault::StatementOfOther(id.clone()));
    }
    Ok((officer.agency.clone(), statement.at))
}

fn read(path: &Path) -> Result<Vec<u8>, TrustFault> {
    let fault = |what: String| TrustFault::File { path: path.to_owned(), what };
    let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if size > LARGEST {
        return Err(fault(format!("larger than {LARGEST} bytes")));
    }
    std::fs::read(path).map_err(|error| fault(error.to_string()))
}
