//! Golden vectors for the wire: each file in `tests/wire` is a captured message with the verdict every verifier must
//! reach. Anyone may use them; `varco wire check tests/wire/<name>.json` tells the steps.
//!
//! The files hold certificates and signed tokens, no private key: the keys end with the run that wrote them. To write
//! them anew (the verdicts are fixed by `cases.rs`, only keys and signatures change):
//! `VARCO_WRITE_VECTORS=1 cargo nextest run -p varco-tests wire::`

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use varco::cli::wire::capture::{Capture, Kind};
use varco_core::wire::{Expectation, Rules, WireError, parse_digest, verify_request, verify_response};

mod cases;
pub mod scene;

use cases::{Case, Verdict};
use scene::Kit;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("wire")
}

fn as_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Accepted => json!({"accepted": true}),
        Verdict::Refused { part, step, code } => {
            json!({"accepted": false, "code": code.text(), "header": part.header(), "step": step.text()})
        }
    }
}

fn reached(error: Option<&WireError>) -> Value {
    error.map_or(json!({"accepted": true}), |error| {
        json!({
            "accepted": false, "code": error.code().text(), "header": error.part.header(),
            "step": error.step.text(),
        })
    })
}

/// Both ways of checking: the diagnosis that goes on, and the gateway's own that stops at the first failure.
fn verdicts(capture: &Capture) -> [Value; 2] {
    let diagnosed = capture.check().unwrap();
    let (message, trust) = (capture.message().unwrap(), capture.seal_trust().unwrap());
    let expectation = Expectation { audiences: &capture.audience, now: capture.at, rules: Rules::default() };
    let strict = match capture.kind {
        Kind::Request => verify_request(&message, &expectation, &trust).err(),
        Kind::Response => {
            let digest = parse_digest(capture.request_digest.as_ref().unwrap()).unwrap();
            verify_response(&message, &expectation, &digest, &trust).err()
        }
    };
    [reached(diagnosed.verdict.as_ref().err()), reached(strict.as_ref())]
}

fn check(name: &str, capture: &Capture, expected: &Value) {
    for verdict in verdicts(capture) {
        assert_eq!(verdict, *expected, "{name}");
    }
}

#[test]
fn every_case_gets_its_verdict_with_new_keys() {
    let kit = Kit::new();
    let write = std::env::var_os("VARCO_WRITE_VECTORS").is_some();
    for Case { name, verdict, change } in cases::all() {
        let mut capture = kit.capture(change);
        let expected = as_json(&verdict);
        check(name, &capture, &expected);
        capture.about = Some(name.replace('-', " "));
        capture.verdict = Some(expected);
        if write {
            let text = serde_json::to_string_pretty(&capture).unwrap() + "\n";
            std::fs::write(folder().join(format!("{name}.json")), text).unwrap();
        }
    }
}

#[test]
fn every_golden_vector_gets_its_verdict() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let capture = Capture::parse(&std::fs::read(&path).unwrap()).unwrap();
        let expected = capture.verdict.clone().unwrap();
        check(&name, &capture, &expected);
        found.insert(name);
    }
    let wanted: BTreeSet<_> = cases::all().into_iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(found, wanted, "files and cases must be the same set");
}

#[test]
fn a_diagnosis_goes_on_where_it_can() {
    let kit = Kit::new();
    let capture = kit.capture(|scene| {
        scene.bearer.claims["aud"] = json!("elsewhere");
        scene.evidence.claims["userLocation"] = json!("");
        scene.body = b"changed".to_vec();
    });
    let finding = capture.check().unwrap();
    let failed: Vec<_> = finding
        .steps
        .iter()
        .filter(|checked| matches!(checked.outcome, varco_core::wire::Outcome::Failed(_)))
        .map(|checked| (checked.part.header(), checked.step.text()))
        .collect();
    assert_eq!(
        failed,
        [
            ("authorization", "audience"),
            ("agid-jwt-signature", "body"),
            ("agid-jwt-trackingevidence", "evidence")
        ]
    );
    assert_eq!(finding.verdict.unwrap_err().step.text(), "audience", "the first failure is the verdict");
}

#[test]
fn every_fault_is_explained_in_both_languages() {
    use varco::cli::language::Language;
    use varco::cli::wire::as_text;
    let kit = Kit::new();
    for Case { name, verdict, change } in cases::all() {
        let capture = kit.capture(change);
        let finding = capture.check().unwrap();
        let (italian, english) =
            (as_text(&capture, &finding, Language::It), as_text(&capture, &finding, Language::En));
        let lines: Vec<_> = italian.lines().zip(english.lines()).collect();
        match verdict {
            Verdict::Accepted => assert!(italian.contains("Accettato: iss "), "{name}"),
            Verdict::Refused { code, .. } => {
                assert!(
                    italian.ends_with(&format!("Rifiutato: {} ({})", code.text(), code.status())),
                    "{name}"
                );
                for pair in lines.windows(2).filter(|pair| pair[0].0.starts_with("  NO  ")) {
                    assert_ne!(pair[1].0, pair[1].1, "{name}");
                    let english = [" must ", " the ", " is not ", "letters", "integer", "printable"];
                    assert!(!english.iter().any(|word| pair[1].0.contains(word)), "{name}: {}", pair[1].0);
                }
            }
        }
    }
}
