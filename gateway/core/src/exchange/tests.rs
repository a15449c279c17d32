use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use zeroize::Zeroizing;

use super::authorize::Known;
use super::outcome::End;
use super::*;
use crate::case::{self, Case};
use crate::code::Code;
use crate::consent::{self, Consent};
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId};
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::{Draft, Kind};
use crate::log::note::tests::ToyKey;
use crate::log::proof::{LogVerifier, Proof, Receipt};
use crate::log::tree::Frontier;
use crate::policy::Policy;
use crate::registry::{AgencyKind, Registry};
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::Timestamp;
use crate::wire::LevelOfAssurance;

mod concealed;
mod people;
mod signals;
mod statistics;

const ORIGIN: &str = "gateway.piana.example";
const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const PERSON: &str = "XXQNNA85C52B648J";
const CASE: &str = "0198f0c2-aaaa-7fff-bfff-ffffffffffff";
const CONSENT: &str = "0198f0c2-bbbb-7fff-bfff-ffffffffffff";

/// The shipped bundle: what is proved here is proved of the policy that runs.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    fn collect(root: &Path, at: &Path, files: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("cases") {
                collect(root, &path, files);
            } else if path.extension().is_some_and(|kind| kind == "txt") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/piana-di-lucca");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    Policy::load(&files).unwrap()
});

fn keys() -> SubjectKeys {
    SubjectKeys::new(vec![(1, Zeroizing::new([7; 32]))]).unwrap()
}

fn person() -> CodiceFiscale {
    PERSON.parse().unwrap()
}

fn registry() -> Registry {
    let agency = |id: &str, kind: &str| json!({ "id": id, "kind": kind, "name": id, "identifiers": [format!("PA:IT-xx_{kind}")] });
    serde_json::from_value(json!({
        "version": 1,
        "deployment": "test",
        "gateway": ORIGIN,
        "audience": "https://gateway.piana.example/rest/varco/v1",
        "agencies": [agency("comune-capannori", "comune"), agency("cpi-lucca", "cpi")],
        "officers": [],
        "log_keys": [],
    }))
    .unwrap()
}

/// As if [`verify`] had made it.
fn request(number: u8) -> VerifiedRequest {
    let body = json!({
        "record_type": "condizione_economica_prestazioni",
        "subject": { "codice_fiscale": PERSON },
        "provider": "comune-capannori",
        "purpose": "F02",
        "case": CASE,
    });
    let body = body.to_string().into_bytes();
    VerifiedRequest {
        sender: Sender {
            agency: "cpi-lucca".parse().unwrap(),
            kind: AgencyKind::Cpi,
            office: None,
            operator: "op-117".parse().unwrap(),
            location: "sportello".to_owned(),
            assurance: LevelOfAssurance::High,
            carrier: None,
        },
        exchange: ExchangeId::new(NOW, [number; 10]),
        at: NOW,
        digest: Sha256::of(&body),
        body,
        seal: Sha256::of(b"seal"),
        issuer: "cpi-lucca".to_owned(),
        tokens: vec![format!("token-{number}").parse().unwrap()],
        expires: NOW,
        within: None,
    }
}

/// The operator's case, of which the person is the subject.
fn open_case() -> Case {
    let by = json!({ "agency": "cpi-lucca", "operator": "op-117" });
    let header: case::Header = serde_json::from_value(json!({ "id": CASE, "purposes": ["F02"] })).unwrap();
    let first: case::Event = serde_json::from_value(json!({
        "at": NOW,
        "by": by,
        "request": Sha256::of(b"case"),
        "change": {
            "change": "open",
            "subjects": [keys().pseudonym(&person())],
            "responsible": { "agency": "cpi-lucca", "operator": "op-117", "role": "operatore", "from": NOW },
        },
    }))
    .unwrap();
    Case::open(header, &first).unwrap()
}

fn given() -> Consent {
    let header: consent::Header = serde_json::from_value(json!({
        "id": CONSENT,
        "subject": keys().pseudonym(&person()),
        "class": "adult",
        "agreement": { "id": "piana", "version": "1", "sha256": Sha256::of(b"a") },
        "notice": { "id": "informativa", "version": "1", "sha256": Sha256::of(b"n"), "language": "it" },
        "scope": [{
            "item": "economica",
            "purpose": "F02",
            "record_type": "condizione_economica_prestazioni",
            "recipients": [{ "agency": "cpi-lucca" }],
            "valid_from": NOW,
            "valid_until": NOW.plus(std::time::Duration::from_secs(3600)),
        }],
    }))
    .unwrap();
    let event: consent::Event = serde_json::from_value(json!({
        "state": "given",
        "at": NOW,
        "effective_at": NOW,
        "capacity": "self",
        "method": "handwritten",
        "collected_by": { "agency": "comune-capannori", "operator": "op-42", "access_point": "sportello" },
        "request": Sha256::of(b"consent"),
    }))
    .unwrap();
    Consent::open(header, event).unwrap()
}

/// A request walked down to the provider's answer, which holds more than may leave.
fn disclosure(number: u8) -> Outcome {
    let (request, pull) = request(number).ask::<Pull>().unwrap();
    let (registry, case, consents) = (registry(), open_case(), [given()]);
    let known = Known {
        registry: &registry,
        policy: &POLICY,
        pseudonyms: keys().all(&person()),
        consents: &consents,
        restrictions: &[],
        appeals: &[],
        case: Some(&case),
        household: &[],
        reasons: &[],
    };
    let exchange = match authorize(request, pull, &known) {
        Authorized::Permit(exchange) => exchange,
        Authorized::Deny(outcome) => panic!("{outcome:?}"),
    };
    let asked: Vec<String> = exchange.to_fetch().iter().map(ToString::to_string).collect();
    assert!(asked.contains(&"isee_fascia".to_owned()));
    assert!(!asked.contains(&"isee_valore".to_owned()), "what may not leave is not even asked for");
    let answered = json!({
        "isee_fascia": "3",
        "isee_valore": "12345.67",
        "isee_protocollo_dsu": "INPS-ISEE-2026-CANARINO",
        "isee_scadenza": "2026-12-31",
    });
    let record = AgencyRecord::check(answered, said(b"answer"), exchange.record_type()).unwrap();
    exchange.reduce(record, &keys())
}

fn said(bytes: &[u8]) -> Said {
    Said { digest: Sha256::of(bytes), of: SaidOf::Bytes, by: Assurance::Seal }
}

/// No seal at all: what is under it is read here.
struct Unsealed;

impl OwnerSeal for Unsealed {
    fn seal(&self, _: &AgencyId, _: &ExchangeId, words: &[u8]) -> Option<String> {
        String::from_utf8(words.to_vec()).ok()
    }
}

/// A log in memory with a key of its own.
struct Log {
    frontier: Frontier,
    key: ToyKey,
}

impl Log {
    fn new(secret: u8) -> Self {
        Self { frontier: Frontier::new(), key: ToyKey::new(ORIGIN, secret) }
    }

    fn commit(&mut self, draft: &Draft) -> Receipt {
        let leaf = draft.leaf(self.frontier.size(), NOW);
        let batch = self.frontier.append(&[leaf.hash()]);
        let root = self.frontier.root();
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: batch.size(), root };
        let note = checkpoint.sign(&[&self.key]).unwrap().to_string().into();
        Receipt { proof: Proof { index: leaf.index(), path: batch.path(0).unwrap(), checkpoint: note }, leaf }
    }
}

fn trusting(secret: u8) -> LogVerifier {
    LogVerifier::new(ORIGIN.to_owned(), vec![Arc::new(ToyKey::new(ORIGIN, secret))])
}

#[test]
fn only_permitted_fields_leave() {
    let mut log = Log::new(1);
    let (pending, sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let logged = pending.release(log.commit(&sealed.draft), &trusting(1)).unwrap();
    let End::Disclose(disclosed) = logged.outcome.end else { panic!("not disclosed") };
    assert_eq!(disclosed.record, r#"{"isee_fascia":"3"}"#);
    let said = serde_json::to_string(&disclosed.fields).unwrap();
    assert!(!said.contains("12345") && !said.contains("CANARINO"));
}

#[test]
fn the_log_learns_which_fields_left_and_no_value() {
    let (_, sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let slots: Vec<&str> = sealed.draft.slots.iter().map(|(_, slot)| slot.body.as_str()).collect();
    let written = format!("{} {}", slots.join(" "), sealed.draft.leaf(0, NOW).as_str());
    assert!(written.contains("isee_fascia"));
    for secret in [PERSON, "12345", "CANARINO", "\"3\""] {
        assert!(!written.contains(secret), "{secret}");
    }
}

#[test]
fn a_receipt_opens_only_its_own_outcome() {
    let mut log = Log::new(1);
    let (first, first_sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let (second, second_sealed) = disclosure(2).seal([[4; 32], [5; 32], [6; 32]], &Unsealed);
    let (of_first, of_second) = (log.commit(&first_sealed.draft), log.commit(&second_sealed.draft));
    let refused = first.release(of_second, &trusting(1)).unwrap_err();
    assert!(matches!(refused, ReleaseError::OtherEntry));
    let refused = second.release(of_first, &trusting(1)).unwrap_err();
    assert!(matches!(refused, ReleaseError::OtherEntry));
}

#[test]
fn a_receipt_of_the_same_exchange_with_another_content_opens_nothing() {
    let mut log = Log::new(1);
    let (pending, _) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    // The same request, sealed with other salts: another commitment, and so another entry.
    let (_, other) = disclosure(1).seal([[9; 32], [2; 32], [3; 32]], &Unsealed);
    let refused = pending.release(log.commit(&other.draft), &trusting(1)).unwrap_err();
    assert!(matches!(refused, ReleaseError::OtherEntry));
}

#[test]
fn another_log_key_opens_nothing() {
    let mut forged = Log::new(2);
    let (pending, sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let refused = pending.release(forged.commit(&sealed.draft), &trusting(1)).unwrap_err();
    assert!(matches!(refused, ReleaseError::Proof(_)));
}

#[test]
fn a_receipt_without_a_place_in_the_tree_opens_nothing() {
    let mut log = Log::new(1);
    let (pending, sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let mut receipt = log.commit(&disclosure(2).seal([[4; 32]; 3], &Unsealed).1.draft);
    receipt.leaf = sealed.draft.leaf(0, NOW);
    assert!(matches!(pending.release(receipt, &trusting(1)), Err(ReleaseError::Proof(_))));
}

#[test]
fn a_receipt_of_the_fallback_turns_a_disclosure_into_a_denial() {
    let mut log = Log::new(1);
    let (pending, sealed) = disclosure(1).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let guard = sealed.guard.unwrap();
    let streams: Vec<&str> = guard.epochs.iter().map(|(stream, _)| stream.as_str()).collect();
    assert_eq!(streams, [CONSENT, CASE]);
    assert_eq!((guard.fallback.kind, guard.fallback.code.is_some()), (Kind::Denial, true));
    let logged = pending.release(log.commit(&guard.fallback), &trusting(1)).unwrap();
    let End::Deny(refused) = logged.outcome.end else { panic!("not denied") };
    assert_eq!(refused.code, Code::ExchangeDenied);
    assert!(refused.fields.is_empty());
}

#[test]
fn a_decision_that_rests_on_no_consent_denies_without_a_guard() {
    let (request, pull) = request(1).ask::<Pull>().unwrap();
    let (registry, case) = (registry(), open_case());
    let pseudonyms = keys().all(&person());
    let known = Known {
        registry: &registry,
        policy: &POLICY,
        pseudonyms,
        consents: &[],
        restrictions: &[],
        appeals: &[],
        case: Some(&case),
        household: &[],
        reasons: &[],
    };
    let Authorized::Deny(outcome) = authorize(request, pull, &known) else { panic!("permitted") };
    assert_eq!((outcome.kind(), outcome.code()), (Kind::Denial, Some(Code::ExchangeDenied)));
    let (_, sealed) = outcome.seal([[1; 32]; 3], &Unsealed);
    assert!(sealed.guard.is_none() && sealed.changes.is_empty());
}
