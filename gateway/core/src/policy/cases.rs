//! Policy cases: a request and the decision that officers expect of it, in the notation of the bundle.
//!
//! ```text
//! [caso al primo livello il CPI riceve la fascia e non l'importo]
//! record = condizione_economica_prestazioni
//! finalita = F02
//! titolare = comune-lucca
//! destinatario = cpi-lucca
//! livello = 1
//! adesione = si
//! campo       | atteso | strato
//! isee_fascia | intero |
//! isee_valore | -      | protocollo
//! ```

use std::collections::BTreeSet;

use super::bundle::{YES_NO, choice, id};
use super::fault::{Faults, Place, PolicyFault, Problem, shown};
use super::opening::Opening;
use super::text::{self, Section, Word};
use super::{Facts, Layer, Party, Plan, Policy, Question, Refusal, Ruling};
use crate::case::{ActFact, CaseFact, Level};
use crate::consent::{ConsentFact, Restriction, RestrictionEffect};
use crate::id::{FieldId, PurposeId, RecordTypeId};
use crate::time::Timestamp;

const WORDS: &[&str] = &[
    "record",
    "finalita",
    "titolare",
    "destinatario",
    "ufficio",
    "livello",
    "adesione",
    "aperti",
    "consenso",
    "atto",
    "ambiti",
    "opposizione",
    "oscurati",
    "richiesti",
    "quando",
    "rifiuto",
];

const LAYERS: &[(&str, Layer)] = &[
    ("legge", Layer::Law),
    ("protocollo", Layer::Agreement),
    ("titolare", Layer::Owner),
    ("destinatario", Layer::Recipient),
    ("presa in carico", Layer::Case),
    ("persona", Layer::Person),
    ("richiesta", Layer::Request),
];

/// A case as written. What it names is looked up in the policy it is run against.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub place: Place,
    record_type: RecordTypeId,
    purpose: PurposeId,
    requested: Option<Vec<FieldId>>,
    facts: Facts,
    now: Timestamp,
    refused: bool,
    expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
struct Expected {
    place: Place,
    field: FieldId,
    view: String,
    layer: Option<Layer>,
}

/// What came out otherwise than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub case: String,
    pub place: Place,
    pub field: Option<FieldId>,
    pub expected: String,
    pub found: String,
}

impl Policy {
    /// Reads cases for this policy: their parties must be parties of its agreement.
    pub fn read_cases(&self, files: &[(String, Vec<u8>)]) -> Result<Vec<Case>, Vec<PolicyFault>> {
        let mut faults = Faults::default();
        let mut cases = Vec::new();
        for (path, bytes) in files {
            for section in text::read(path, bytes, &mut faults) {
                if section.kind.text == "caso" {
                    cases.extend(self.case(&section, &mut faults));
                } else {
                    faults.unknown(&section.kind.place, "section", &section.kind.text, ["caso"]);
                }
            }
        }
        if faults.is_empty() { Ok(cases) } else { Err(faults.into_sorted()) }
    }

    /// Decides a case and compares.
    pub fn run_case(&self, case: &Case) -> Vec<Mismatch> {
        let decided = self.decide(&Question {
            record_type: &case.record_type,
            purpose: &case.purpose,
            requested: case.requested.as_deref(),
            facts: &case.facts,
            now: case.now,
        });
        match (decided, case.refused) {
            (Ok(plan), false) => case.expected.iter().filter_map(|one| case.compare(one, &plan)).collect(),
            (Err(_), true) => Vec::new(),
            (Ok(_), true) => vec![case.mismatch("rifiuto", "decisione campo per campo")],
            (Err(refusal), false) => vec![case.mismatch("decisione campo per campo", &refusal.to_string())],
        }
    }

    /// How a case that expects a refusal is refused.
    pub fn refusal_of(&self, case: &Case) -> Option<Refusal> {
        let question = Question {
            record_type: &case.record_type,
            purpose: &case.purpose,
            requested: case.requested.as_deref(),
            facts: &case.facts,
            now: case.now,
        };
        self.decide(&question).err()
    }

    fn case(&self, section: &Section, faults: &mut Faults) -> Option<Case> {
        section.allow(WORDS, &["campo", "atteso", "strato"], faults);
        let record_type = section.required("record", faults).and_then(|word| id(word, faults));
        let purpose: Option<PurposeId> =
            section.required("finalita", faults).and_then(|word| id(word, faults));
        let provider = section.required("titolare", faults).and_then(|word| self.party(word, None, faults));
        let office = section.entry("ufficio");
        let consumer =
            section.required("destinatario", faults).and_then(|word| self.party(word, office, faults));
        let refused = section.entry("rifiuto").and_then(|word| choice(word, "answer", YES_NO, faults));
        let level = section.entry("livello");
        let level = level.and_then(|word| choice(word, "level", super::bundle::agreement::LEVELS, faults));
        let now = section.entry("quando").map_or(Some(self.agreement.from), |word| {
            let at = word.text.parse().ok();
            if at.is_none() {
                let expected = "an instant such as `2026-11-23T10:00:00Z`";
                faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
            }
            at
        });
        let purpose = purpose?;
        let case = level.and_then(|level| section.case_fact(level, &purpose, faults));
        let facts = Facts {
            provider: provider?,
            consumer: consumer?,
            case,
            consents: section.consents(faults),
            restrictions: section.restrictions(faults),
            acts: section.acts(faults),
            openings: section.openings(faults),
            household: Vec::new(),
        };
        let requested = section.entry("richiesti").map(|word| fields(Some(word), faults));
        let expected = section.rows.iter().filter_map(|row| {
            let field = section.required_cell(row, "campo", faults).and_then(|word| id(word, faults))?;
            let view = section.required_cell(row, "atteso", faults)?.text.clone();
            let layer = section.cell(row, "strato").and_then(|word| choice(word, "layer", LAYERS, faults));
            Some(Expected { place: row.place.clone(), field, view, layer })
        });
        let expected = expected.collect();
        let (name, place) = (section.name.text.clone(), section.kind.place.clone());
        Some(Case {
            name,
            place,
            record_type: record_type?,
            purpose,
            requested,
            facts,
            now: now?,
            refused: refused.unwrap_or_default(),
            expected,
        })
    }

    fn party(&self, word: &Word, office: Option<&Word>, faults: &mut Faults) -> Option<Party> {
        let found = self.agreement.parties.iter().find(|party| party.agency.as_str() == word.text);
        let Some(found) = found else {
            let valid = self.agreement.parties.iter().map(|party| party.agency.as_str());
            faults.unknown(&word.place, "party", &word.text, valid);
            return None;
        };
        let office = office.and_then(|word| id(word, faults));
        Some(Party { agency: found.agency.clone(), kind: found.kind, office })
    }
}

/// Cases are nobody's: their identifiers are all alike.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

impl Section {
    fn case_fact(&self, level: Level, purpose: &PurposeId, faults: &mut Faults) -> Option<CaseFact> {
        let scopes: BTreeSet<_> = self
            .entry("ambiti")
            .map(Word::list)
            .unwrap_or_default()
            .iter()
            .filter_map(|w| id(w, faults))
            .collect();
        let case = NOBODY.parse().ok()?;
        Some(CaseFact { case, epoch: 1, level, purposes: vec![purpose.clone()], scopes })
    }

    fn consents(&self, faults: &mut Faults) -> Vec<ConsentFact> {
        let mut items = Vec::new();
        let agreed = self.entry("adesione").and_then(|word| choice(word, "answer", YES_NO, faults));
        if agreed == Some(true) {
            items.push(("adesione", None));
        }
        if let Some(word) = self.entry("consenso") {
            items.push(("consenso", Some(fields(Some(word), faults))));
        }
        let consent = |(item, fields): (&str, Option<Vec<FieldId>>)| {
            let consent = NOBODY.parse().ok()?;
            Some(ConsentFact { consent, epoch: 1, item: item.to_owned(), fields, excluded: Vec::new() })
        };
        items.into_iter().filter_map(consent).collect()
    }

    fn restrictions(&self, faults: &mut Faults) -> Vec<Restriction> {
        [("opposizione", RestrictionEffect::Withhold), ("oscurati", RestrictionEffect::Conceal)]
            .into_iter()
            .filter_map(|(word, effect)| Some((self.entry(word)?, effect)))
            .map(|(word, effect)| Restriction { fields: Some(fields(Some(word), faults)), effect })
            .collect()
    }

    /// `aperti = campo:vista`: what the owner has opened after a motivated request; without a view, whole.
    fn openings(&self, faults: &mut Faults) -> Vec<Opening> {
        let words = self.entry("aperti").map(Word::list).unwrap_or_default();
        let opening = |word: Word| {
            let (name, view) = word.text.split_once(':').unwrap_or((word.text.as_str(), "intero"));
            let part = |text: &str| Word { text: text.trim().to_owned(), place: word.place.clone() };
            let (field, view) = (id(&part(name), faults), id(&part(view), faults));
            Some(Opening { appeal: NOBODY.parse().ok()?, epoch: 1, field: field?, view: view? })
        };
        words.into_iter().filter_map(opening).collect()
    }

    fn acts(&self, faults: &mut Faults) -> Vec<ActFact> {
        let act = |word: &Word| ActFact { reference: "caso".into(), fields: fields(Some(word), faults) };
        self.entry("atto").map(act).into_iter().collect()
    }
}

fn fields(word: Option<&Word>, faults: &mut Faults) -> Vec<FieldId> {
    word.map(Word::list).unwrap_or_default().iter().filter_map(|word| id(word, faults)).collect()
}

impl Case {
    fn mismatch(&self, expected: &str, found: &str) -> Mismatch {
        Mismatch {
            case: self.name.clone(),
            place: self.place.clone(),
            field: None,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    fn compare(&self, expected: &Expected, plan: &Plan) -> Option<Mismatch> {
        let (view, layer) = match plan.ruling(&expected.field) {
            None => ("nessun campo con questo nome".to_owned(), None),
            Some(Ruling::Show { view, limited_by, .. }) => {
                let field = plan.record_type.find(&expected.field).and_then(|at| plan.record_type.field(at));
                let view = field.and_then(|field| field.ladder.view(view));
                (view.map(|view| view.id.to_string()).unwrap_or_default(), limited_by)
            }
            Some(Ruling::Unavailable) => ("non disponibile".to_owned(), None),
            Some(Ruling::Withhold { layer, .. }) => ("-".to_owned(), Some(layer)),
        };
        if view == expected.view && expected.layer.is_none_or(|wanted| layer == Some(wanted)) {
            return None;
        }
        let say = |view: &str, layer: Option<Layer>| match layer {
            Some(layer) => format!("{view} ({})", layer.italian()),
            None => view.to_owned(),
        };
        Some(Mismatch {
            place: expected.place.clone(),
            field: Some(expected.field.clone()),
            ..self.mismatch(&say(&expected.view, expected.layer), &say(&view, layer))
        })
    }
}
