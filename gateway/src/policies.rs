//! Policy bundles over time: how the log keeps them, who must approve a change, and which one is in force when.
//!
//! A change is a document that says exactly what it widens, signed by officers. Narrowing a body's own data takes one
//! officer of that body; anything else takes officers of two agencies, and whatever is widened needs one of an owner of
//! the data among them. Rollback is a new version like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::json;
use varco_core::policy::questions::diff::{Diff, Moved};
use varco_core::policy::{Category, Policy};
use varco_core::registry::Registry;
use varco_core::time::Timestamp;
use varco_store::read::{ReadError, Reader};
use varco_store::submission::{Artifact, ArtifactKind};

use crate::genesis::{self, OfficerStatement, TrustFault};

/// The act of an officer's statement on a policy document.
pub const ACT_POLICY: &str = "approve-policy";
/// From one review to the next: a year, and the day for the ceremony.
const REVIEW_EVERY: Duration = Duration::from_secs(366 * 24 * 3600);
/// Where a body's own regulation lies in a bundle.
const REGULATIONS: &str = "regolamenti/";

/// A bundle's files: path and text.
pub type Files = BTreeMap<String, String>;

/// A bundle with its files, compiled.
pub struct Bundle {
    pub files: Files,
    pub policy: Arc<Policy>,
}

/// A bundle and the instant from which it counts.
#[derive(Clone)]
pub struct Version {
    pub from: Timestamp,
    pub bundle: Arc<Bundle>,
}

/// Every version that was or will be in force, in the order of their approval. There is always a first.
#[derive(Clone)]
pub struct Schedule {
    first: Arc<Bundle>,
    later: Vec<Version>,
}

/// A change of policy as it is brought to the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyProposal {
    /// What the officers signed, exactly: see [`document`].
    pub document: String,
    /// Files that are new or have another text than in the version before.
    #[serde(default)]
    pub changed: Files,
    #[serde(default)]
    pub removed: Vec<String>,
    pub statements: Vec<OfficerStatement>,
}

/// The decision slot of entry 0, as far as it names the first bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenEntry {
    pub genesis: Sha256,
    /// The bundle's own hash ([`Policy::hash`]).
    pub policy: Sha256,
    /// The hash of its archive, under which the artifact is kept.
    pub archive: Sha256,
}

/// The decision slot of an entry of kind `policy`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyEntry {
    /// One officer's approval of a document.
    Approved { document: Sha256, statement: OfficerStatement },
    /// A version with all its approvals: it counts from the instant the document says.
    Scheduled { archive: Sha256, document: String, statements: Vec<OfficerStatement> },
}

/// What a document says, as far as it is read back; it is compared whole.
#[derive(Deserialize)]
struct Document {
    from: Timestamp,
    policy: Sha256,
}

impl Document {
    fn read(text: &str) -> Result<Self, PolicyRefusal> {
        json::parse_as(text.as_bytes()).map_err(|fault| PolicyRefusal::Malformed(fault.to_string()))
    }
}

/// Why a change of policy is not accepted. The version in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyRefusal {
    #[error("the version would count before the one it follows, which counts from {0}")]
    BeforeAnother(Timestamp),
    #[error("the bundle does not compile:\n{0}")]
    Compile(String),
    #[error(
        "the document is not the one that follows from the bundle and the version in force; it must be:\n{0}"
    )]
    Document(String),
    #[error("the document cannot be read: {0}")]
    Malformed(String),
    #[error("nobody of {0} has signed, and the change widens their data")]
    OwnerMissing(String),
    #[error("the version would count from {0}, which is past")]
    Past(Timestamp),
    #[error(
        "the bundle must name the day of its next review (`riesame`), after it begins to count and within a year"
    )]
    Review,
    #[error("a statement is not accepted: {0}")]
    Statement(#[from] TrustFault),
    #[error("officers of two agencies must sign")]
    TwoAgencies,
}

impl Schedule {
    pub fn new(first: Bundle) -> Self {
        Self { first: Arc::new(first), later: Vec::new() }
    }

    /// The policy in force at an instant: the last approved one that counts by then.
    pub fn at(&self, now: Timestamp) -> Arc<Policy> {
        let later = self.later.iter().rev().find(|version| version.from <= now);
        later.map_or(&self.first, |version| &version.bundle).policy.clone()
    }

    /// Every bundle ever approved, by the hash log entries name it with.
    pub fn policy(&self, sha256: &Sha256) -> Option<Arc<Policy>> {
        let all = std::iter::once(&self.first).chain(self.later.iter().map(|version| &version.bundle));
        all.map(|bundle| &bundle.policy).find(|policy| policy.sha256() == *sha256).cloned()
    }

    /// Versions approved that do not count yet.
    pub fn awaited(&self, now: Timestamp) -> impl Iterator<Item = &Version> {
        self.later.iter().filter(move |version| version.from > now)
    }

    /// The paths of the last version that a whole bundle does not have any more.
    pub fn paths_without(&self, whole: &Files) -> Vec<String> {
        self.last().files.keys().filter(|path| !whole.contains_key(*path)).cloned().collect()
    }

    #[must_use]
    pub fn with(&self, version: Version) -> Self {
        Self { first: self.first.clone(), later: self.later.iter().cloned().chain([version]).collect() }
    }

    /// Checks a proposal against the last approved version and the registry in force.
    pub fn check(
        &self,
        proposal: &PolicyProposal,
        registry: &Registry,
        now: Option<Timestamp>,
    ) -> Result<Version, PolicyRefusal> {
        let before = self.last();
        let mut files = before.files.clone();
        files.extend(proposal.changed.clone());
        files.retain(|path, _| !proposal.removed.contains(path));
        let after = Bundle::compile(files)?;
        let said = Document::read(&proposal.document)?;
        if now.is_some_and(|now| said.from < now) {
            return Err(PolicyRefusal::Past(said.from));
        }
        // Brought forward, an earlier approval would take effect before the day its signers agreed to.
        if let Some(last) = self.later.last().filter(|last| said.from < last.from) {
            return Err(PolicyRefusal::BeforeAnother(last.from));
        }
        let diff = before.policy.diff_from(&after.policy, said.from);
        let wanted = document_of(before, &after, &diff, said.from);
        if said.policy != after.policy.sha256() || wanted != proposal.document {
            return Err(PolicyRefusal::Document(wanted));
        }
        let about = (ACT_POLICY, Sha256::of(proposal.document.as_bytes()));
        let signers = genesis::signers(registry, &proposal.statements, about, now)?;
        check_signers(&signers, before, &after, &diff)?;
        check_review(before, &after, &diff, said.from)?;
        Ok(Version { from: said.from, bundle: Arc::new(after) })
    }

    fn last(&self) -> &Bundle {
        self.later.last().map_or(&self.first, |version| &version.bundle)
    }
}

impl PolicyProposal {
    /// What brings one bundle to another: the files that are new or different, and those that are gone.
    pub fn between(before: &Files, after: &Files) -> Self {
        let new = |(path, text): &(&String, &String)| before.get(*path) != Some(*text);
        let changed = after.iter().filter(new).map(|(path, text)| (path.clone(), text.clone())).collect();
        let removed = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
        Self { document: String::new(), changed, removed, statements: Vec::new() }
    }
}

impl Bundle {
    pub fn compile(files: Files) -> Result<Self, PolicyRefusal> {
        let bytes: Vec<_> =
            files.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect();
        let policy = Policy::load(&bytes).map_err(|faults| {
            PolicyRefusal::Compile(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        Ok(Self { files, policy: Arc::new(policy) })
    }

    /// The bundle as one artifact: a JSON object of its files' texts by path.
    pub fn archive(&self) -> Artifact {
        Artifact { kind: ArtifactKind::Policy, bytes: json::canonical_of(&self.files).into_bytes() }
    }

    /// Reads an archive back. `None` when it is not there or not one.
    pub async fn restore(log: &Reader, archive: &Sha256) -> Result<Option<Self>, ReadError> {
        let Some(artifact) = log.artifact(archive).await? else { return Ok(None) };
        let files = json::parse_as::<Files>(&artifact.bytes).ok();
        Ok(files.and_then(|files| Self::compile(files).ok()))
    }
}

/// What officers sign for a change: both bundles' hashes, the instant, every cell and term that widens, and what they
/// should know. Canonical JSON.
pub fn document(before: &Bundle, after: &Bundle, from: Timestamp) -> String {
    document_of(before, after, &before.policy.diff_from(&after.policy, from), from)
}

fn document_of(before: &Bundle, after: &Bundle, diff: &Diff, from: Timestamp) -> String {
    let widened: Vec<&Moved> = diff.cells.iter().filter(|cell| cell.direction.widens()).collect();
    let terms: Vec<_> = diff.terms.iter().filter(|term| term.direction.widens()).collect();
    let narrowed = diff.cells.len().saturating_sub(widened.len());
    json::canonical(&json!({
        "from": from,
        "narrowed_cells": narrowed,
        "policy": after.policy.sha256(),
        "previous": before.policy.sha256(),
        "version": after.policy.version(),
        "warnings": warnings(before, after, &widened),
        "widened_cells": widened,
        "widened_terms": terms,
    }))
}

/// Special categories that widen although nobody assessed the impact anew.
fn warnings(before: &Bundle, after: &Bundle, widened: &[&Moved]) -> Vec<String> {
    let is_special = |cell: &&&Moved| {
        let record = after.policy.record_type(&cell.key.record_type);
        let field = record.and_then(|record| record.field(record.find(&cell.key.field)?));
        field.is_some_and(|field| field.category != Category::Common)
    };
    let same_dpia = |cell: &&&Moved| {
        let dpia =
            |policy: &Policy| policy.purpose(&cell.key.purpose).and_then(|purpose| purpose.dpia.clone());
        dpia(&before.policy) == dpia(&after.policy)
    };
    let warn = |cell: &&Moved| {
        format!(
            "{}.{} ({}): dato particolare o giudiziario allargato senza una nuova valutazione d'impatto",
            cell.key.record_type, cell.key.field, cell.key.purpose
        )
    };
    widened
        .iter()
        .filter(is_special)
        .filter(same_dpia)
        .map(warn)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn check_signers(
    signers: &BTreeSet<AgencyId>,
    before: &Bundle,
    after: &Bundle,
    diff: &Diff,
) -> Result<(), PolicyRefusal> {
    if !diff.widens()
        && own_regulation(before, after).is_some_and(|agency| signers.iter().any(|s| s.as_str() == agency))
    {
        return Ok(());
    }
    if signers.len() < 2 {
        return Err(PolicyRefusal::TwoAgencies);
    }
    for cell in diff.cells.iter().filter(|cell| cell.direction.widens()) {
        if !signers.iter().any(|signer| cell.owners.contains(signer.as_str())) {
            let owners: Vec<_> = cell.owners.iter().map(String::as_str).collect();
            return Err(PolicyRefusal::OwnerMissing(owners.join(", ")));
        }
    }
    Ok(())
}

/// Once a year the bodies confirm their rules: whatever they bring has the day of its next review, at most a year ahead.
/// A body may narrow its own data at any time without that.
fn check_review(before: &Bundle, after: &Bundle, diff: &Diff, from: Timestamp) -> Result<(), PolicyRefusal> {
    let is_ahead = |review: Timestamp| from < review && review <= from.plus(REVIEW_EVERY);
    let narrows_own = !diff.widens() && own_regulation(before, after).is_some();
    if narrows_own || after.policy.review.is_some_and(is_ahead) { Ok(()) } else { Err(PolicyRefusal::Review) }
}

/// The body whose own regulation is all that changed.
fn own_regulation(before: &Bundle, after: &Bundle) -> Option<String> {
    let paths: BTreeSet<&String> = before.files.keys().chain(after.files.keys()).collect();
    let mut changed = paths.into_iter().filter(|path| before.files.get(*path) != after.files.get(*path));
    let path = changed.next()?;
    let agency = path.strip_prefix(REGULATIONS)?.strip_suffix(".txt")?.to_owned();
    // The compiler takes any section from any file: one officer's file must not speak for another body.
    let own = format!("[regolamento {agency}]");
    let speaks_for_itself = |bundle: &Bundle| {
        let lines = bundle.files.get(path).map(String::as_str).unwrap_or_default().lines();
        lines
            .map(|line| line.trim_start_matches('\u{feff}').trim())
            .filter(|line| line.starts_with('['))
            .all(|line| line == own)
    };
    (changed.next().is_none() && speaks_for_itself(before) && speaks_for_itself(after)).then_some(agency)
}

#[cfg(test)]
mod tests;
