//! What an entry says of what is concealed, and to whom.

use serde_json::Value;

use super::super::grounds::{Grounds, Topic, restore};
use super::*;
use crate::consent::{Restriction, RestrictionEffect};
use crate::id::FieldId;
use crate::policy::reduce::{self, Findings};
use crate::policy::{Facts, MemberFacts, Party, Question};

const RECORD: &str = "anagrafica_nucleo";

/// Opens what was sealed for one owner.
struct Key(&'static str);

impl OwnerKey for Key {
    fn open(&self, owner: &AgencyId, _: &ExchangeId, sealed: &str) -> Option<Vec<u8>> {
        (owner.as_str() == self.0).then(|| sealed.as_bytes().to_vec())
    }
}

const OWNER: Key = Key("comune-capannori");
const OTHER: Key = Key("cpi-lucca");

fn facts(restrictions: Vec<Restriction>, household: Vec<MemberFacts>) -> Facts {
    let party = |agency: &str, kind| Party { agency: agency.parse().unwrap(), kind, office: None };
    Facts {
        provider: party("comune-capannori", AgencyKind::Comune),
        consumer: party("cpi-lucca", AgencyKind::Cpi),
        case: None,
        consents: Vec::new(),
        restrictions,
        acts: Vec::new(),
        openings: Vec::new(),
        household,
    }
}

fn conceals(fields: Option<&[&str]>) -> Restriction {
    let named = |fields: &[&str]| fields.iter().map(|field| field.parse().unwrap()).collect();
    Restriction { fields: fields.map(named), effect: RestrictionEffect::Conceal }
}

/// The entry of a pull under a purpose that needs no consent, and what it says.
fn entry(facts: &Facts, holds: &Value) -> (Draft, String) {
    let (record_type, purpose) = (RECORD.parse().unwrap(), "F01".parse().unwrap());
    let topic = Topic { record_type: &record_type, purpose: &purpose, requested: None };
    let question =
        Question { record_type: &record_type, purpose: &purpose, requested: None, facts, now: NOW };
    let plan = POLICY.decide(&question).unwrap();
    let record = plan.record_type.check(holds.clone()).unwrap();
    let keys = keys();
    let person = person();
    let reduced = reduce_for_test(&plan, record, (&keys, &person));
    let mut grounds = Grounds::of(topic, facts, &POLICY, NOW);
    grounds.find(&plan.record_type, &reduced.findings);
    let said = reduced.outcomes.iter().map(super::super::authorize::outcome_value);
    grounds.insert("outcomes", said.collect());
    let mut draft = Draft::new(Kind::Disclosure, ExchangeId::new(NOW, [1; 10]));
    draft.policy = Some(POLICY.sha256());
    let body = grounds.body(&draft.id, &Unsealed);
    (draft, crate::json::canonical(&body))
}

fn reduce_for_test(
    plan: &crate::policy::Plan,
    record: crate::policy::record::AgencyValues,
    (keys, person): (&SubjectKeys, &CodiceFiscale),
) -> reduce::Reduced {
    let (provider, recipient) = ("comune-capannori".parse().unwrap(), "cpi-lucca".parse().unwrap());
    let household = std::collections::BTreeSet::new();
    let towards = super::super::authorize::Towards {
        keys,
        provider: &provider,
        recipient: &recipient,
        subject: person,
        household: &household,
        told: &[],
    };
    super::super::authorize::reduce_for(plan, record, &towards)
}

fn replayed((draft, body): &(Draft, String), keys: &dyn OwnerKey) -> Replayed {
    let leaf = draft.leaf(0, NOW);
    replay(&leaf, body, Past { policy: &POLICY, keys }, &POLICY)
}

/// The body without what is sealed, and that.
fn halves(body: &str) -> (String, String) {
    let Value::Object(mut body) = serde_json::from_str(body).unwrap() else { panic!("{body}") };
    let sealed = body.remove("for_owner").unwrap().as_str().unwrap().to_owned();
    (crate::json::canonical(&Value::Object(body)), sealed)
}

fn protected() -> Value {
    json!({ "cognome": "Xxquercia", "residenza_comune": "046017", "riservatezza_indirizzo": true })
}

#[test]
fn only_the_owners_key_tells_what_is_concealed_from_what_is_not_there() {
    let nothing = facts(Vec::new(), Vec::new());
    let absent = entry(&nothing, &json!({ "cognome": "Xxquercia" }));
    let others = [
        entry(&nothing, &protected()),
        entry(
            &facts(vec![conceals(Some(&["residenza_comune"]))], Vec::new()),
            &json!({ "cognome": "Xxquercia" }),
        ),
        entry(
            &facts(vec![conceals(Some(&["residenza_comune"]))], Vec::new()),
            &json!({ "cognome": "Xxquercia", "residenza_comune": "046017" }),
        ),
    ];
    let (open, sealed) = halves(&absent.1);
    for other in &others {
        let (its_open, its_sealed) = halves(&other.1);
        assert_eq!(its_open, open);
        assert_eq!(its_sealed.len(), sealed.len());
        assert_ne!(its_sealed, sealed);
        assert_eq!(replayed(other, &OWNER), Replayed::Same);
        assert_eq!(replayed(other, &OTHER), Replayed::SameButSealed);
    }
    assert_eq!(replayed(&absent, &OWNER), Replayed::Same);
    assert_eq!(replayed(&absent, &OTHER), Replayed::SameButSealed);
}

#[test]
fn an_entry_that_shows_what_was_concealed_is_found_out_with_the_owners_key() {
    let hidden = entry(&facts(Vec::new(), Vec::new()), &protected());
    let shown = entry(
        &facts(Vec::new(), Vec::new()),
        &json!({ "cognome": "Xxquercia", "residenza_comune": "046017" }),
    );
    let (sealed, open) = (halves(&hidden.1).1, shown.1.clone());
    let forged = (shown.0, open.replace(&halves(&shown.1).1, &sealed));
    assert!(matches!(replayed(&forged, &OWNER), Replayed::Different { .. }));
    // Whoever has no key still sees that the rules of then allowed no more than was shown.
    assert_eq!(replayed(&forged, &OTHER), Replayed::SameButSealed);
}

#[test]
fn what_was_sealed_comes_back_as_it_was_whoever_concealed_it() {
    let kind = POLICY.record_type(&RECORD.parse().unwrap()).unwrap();
    let shared: Vec<&str> = vec!["residenza_indirizzo"];
    let mate = MemberFacts { consents: Vec::new(), restrictions: vec![conceals(Some(&shared))] };
    let all = facts(vec![conceals(None)], vec![MemberFacts::default(), mate]);
    let record_type = RECORD.parse().unwrap();
    let purpose = "F01".parse().unwrap();
    let topic = Topic { record_type: &record_type, purpose: &purpose, requested: None };
    let field = |name: &str| name.parse::<FieldId>().unwrap();
    let findings = Findings {
        controls: vec![field("riservatezza_indirizzo")],
        absent: vec![field("residenza_comune"), field("cognome")],
        unfit: vec![field("residenza_indirizzo"), field("sesso")],
    };
    let mut grounds = Grounds::of(topic, &all, &POLICY, NOW);
    grounds.find(kind, &findings);
    let body = grounds.body(&ExchangeId::new(NOW, [1; 10]), &Unsealed);
    assert_eq!(body["findings"], json!({ "absent": ["cognome"], "unfit": ["sesso"] }));
    assert!(!body["facts"].to_string().contains("conceal"), "{body}");
    let (mut facts, mut found) = (facts(Vec::new(), vec![MemberFacts::default(); 2]), Findings::default());
    restore(body["for_owner"].as_str().unwrap().as_bytes(), kind, &mut facts, &mut found).unwrap();
    let every: Vec<FieldId> = kind.fields.iter().map(|field| field.id.clone()).collect();
    assert_eq!(facts.restrictions[0].fields, Some(every));
    assert_eq!(facts.household[0].restrictions, [conceals(Some(&shared))]);
    assert_eq!(found.controls, [field("riservatezza_indirizzo")]);
    assert_eq!(
        (found.absent, found.unfit),
        (vec![field("residenza_comune")], vec![field("residenza_indirizzo")])
    );
    // Words of another record type are none.
    assert!(restore(b"0", kind, &mut facts, &mut Findings::default()).is_none());
    assert!(restore(&[b'z'; 3], kind, &mut facts, &mut Findings::default()).is_none());
}
