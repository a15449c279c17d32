use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::reduce::{Outcome, Reduced, reduce};
use super::*;
use crate::case::CaseFact;
use crate::consent::{ConsentFact, RestrictionEffect};
use crate::view::pseudonym::PairKey;
use crate::view::transform::Context;

mod decisions;
mod faults;
mod openings;
mod properties;
mod questions;
mod statistics;

/// The shipped bundle, read from the repository.
fn shipped_files() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/piana-di-lucca");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files
}

fn collect(root: &Path, at: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|e| e == "txt") && !at.ends_with("cases") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn the_shipped_cases_decide_as_their_officers_expect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/piana-di-lucca/cases");
    let files: Vec<(String, Vec<u8>)> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    let policy = shipped();
    let cases = policy.read_cases(&files).unwrap();
    assert!(cases.len() > 10);
    let failed: Vec<_> = cases.iter().flat_map(|case| policy.run_case(case)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn load(files: &[(String, Vec<u8>)]) -> Policy {
    Policy::load(files)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|f| format!("{f}\n")).collect::<String>()))
}

fn shipped() -> Policy {
    load(&shipped_files())
}

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn party(agency: &str) -> Party {
    let kind = match agency.split('-').next() {
        Some("comune") => AgencyKind::Comune,
        Some("conferenza") => AgencyKind::Zona,
        Some("cpi") => AgencyKind::Cpi,
        _ => AgencyKind::Asl,
    };
    Party { agency: agency.parse().unwrap(), kind, office: None }
}

fn facts(provider: &str, consumer: &str) -> Facts {
    Facts {
        provider: party(provider),
        consumer: party(consumer),
        case: None,
        consents: Vec::new(),
        restrictions: Vec::new(),
        acts: Vec::new(),
        openings: Vec::new(),
        household: Vec::new(),
    }
}

fn case(level: Level, purposes: &[&str]) -> CaseFact {
    CaseFact {
        case: "0198f0c2-aaaa-7fff-bfff-ffffffffffff".parse().unwrap(),
        epoch: 1,
        level,
        purposes: purposes.iter().map(|id| id.parse().unwrap()).collect(),
        scopes: BTreeSet::new(),
    }
}

fn consent(fields: Option<&[&str]>) -> ConsentFact {
    ConsentFact {
        consent: "0198f0c2-bbbb-7fff-bfff-ffffffffffff".parse().unwrap(),
        epoch: 3,
        item: "s1".into(),
        fields: fields.map(|all| all.iter().map(|field| field.parse().unwrap()).collect()),
        excluded: Vec::new(),
    }
}

fn ask(policy: &Policy, record: &str, purpose: &str, facts: &Facts) -> Result<Plan, Refusal> {
    let (record, purpose) = (record.parse().unwrap(), purpose.parse().unwrap());
    policy.decide(&Question { record_type: &record, purpose: &purpose, requested: None, facts, now: now() })
}

/// The ruling of a field in words: `intero`, `mascherato (Owner)`, `Law: Category`, `unavailable`.
fn word(plan: &Plan, field: &str) -> String {
    let id: FieldId = field.parse().unwrap();
    let ladder = &plan.record_type.field(plan.record_type.find(&id).unwrap()).unwrap().ladder;
    match plan.ruling(&id).unwrap() {
        Ruling::Show { view, limited_by: None, .. } => ladder.view(view).unwrap().id.to_string(),
        Ruling::Show { view, limited_by: Some(layer), .. } => {
            format!("{} ({layer:?})", ladder.view(view).unwrap().id)
        }
        Ruling::Withhold { layer, reason } => format!("{layer:?}: {reason:?}"),
        Ruling::Unavailable => "unavailable".into(),
    }
}

/// Decides nothing by subject or case, and pseudonymises towards the CPI.
fn with_context<T>(work: impl FnOnce(&Context<'_>) -> T) -> T {
    let recipient: AgencyId = "cpi-lucca".parse().unwrap();
    let pair = PairKey::new([9; 32], "comune-capannori".parse().unwrap(), recipient.clone(), 1);
    let is_in_case = |text: &str| text == "XXQNNA85B68E715K";
    let is_subject = |text: &str| text == "XXQNNA85B68E715K";
    work(&Context {
        recipient: &recipient,
        pair: Some(&pair),
        is_subject: &is_subject,
        is_in_case: &is_in_case,
    })
}

fn reduced(plan: &Plan, record: serde_json::Value) -> Reduced {
    let values = plan.record_type.check(record).unwrap();
    with_context(|context| reduce(plan, values, context))
}

fn outcomes(reduced: &Reduced) -> BTreeMap<String, Outcome> {
    reduced.outcomes.iter().map(|one| (one.field.to_string(), one.outcome.clone())).collect()
}
