//! Code lists, structures and ladders.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::fault::{Faults, Place, Problem, shown};
use super::super::text::{Section, Word};
use super::{Sections, choice, id};
use crate::view::expression::Expression;
use crate::view::kind::{CodeList, Kind, Member};
use crate::view::ladder::{Ladder, Rung, Technique};
use crate::view::sample::values;
use crate::view::transform::{Context, WORDS};

/// Structures inside structures: an item of a list, its address. More is a mistake.
const DEEPEST: usize = 4;

const KINDS: &[&str] = &[
    "cf", "codice", "data", "decimale", "elenco", "email", "importo", "intero", "istante", "si_no",
    "telefono", "testo",
];

const TECHNIQUES: &[(&str, Technique)] = &[
    ("generalizzato", Technique::Generalise),
    ("mascherato", Technique::Mask),
    ("pseudonimo", Technique::Pseudonymise),
];

/// The words that fields are described with.
pub struct Dictionary<'a> {
    lists: BTreeMap<&'a str, Arc<CodeList>>,
    structures: BTreeMap<&'a str, &'a Section>,
    ladders: BTreeMap<&'a str, (Place, Vec<Rung>)>,
}

impl<'a> Dictionary<'a> {
    pub fn read(sections: &'a Sections, faults: &mut Faults) -> Self {
        let mut lists = BTreeMap::new();
        for section in sections.named("lista", faults) {
            lists.insert(section.name.text.as_str(), Arc::new(list(section, faults)));
        }
        let mut structures = BTreeMap::new();
        for section in sections.named("tipo", faults) {
            section.allow(&["nome"], &["membro", "tipo", "nome"], faults);
            structures.insert(section.name.text.as_str(), section);
        }
        let mut ladders = BTreeMap::new();
        for section in sections.named("scala", faults) {
            let rungs = rungs(section, faults);
            ladders.insert(section.name.text.as_str(), (section.kind.place.clone(), rungs));
        }
        let found = Self { lists, structures, ladders };
        // A structure that no field uses is still checked.
        for section in found.structures.values() {
            found.structure(section, 0, faults);
        }
        found
    }

    /// The kind that a cell such as `elenco(componente)` names.
    pub fn kind(&self, word: &Word, faults: &mut Faults) -> Option<Kind> {
        let Some(expression) = Expression::parse(&word.text) else {
            let expected = "a kind such as `testo(36)`, `codice(stato_civile)` or `elenco(prestazione)`";
            faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
            return None;
        };
        self.kind_of(&expression, &word.place, 0, faults)
    }

    fn kind_of(&self, from: &Expression, place: &Place, depth: usize, faults: &mut Faults) -> Option<Kind> {
        let words = from.words().unwrap_or_default();
        let wrong = |faults: &mut Faults, expected| {
            faults.add(place, Problem::Value { word: shown(&from.name), expected });
            None
        };
        match (from.name.as_str(), words.as_slice()) {
            ("cf", []) => Some(Kind::TaxCode),
            ("codice", [name]) => match self.lists.get(name) {
                Some(list) => Some(Kind::Code(Arc::clone(list))),
                None => {
                    faults.unknown(place, "list", name, self.lists.keys().copied());
                    None
                }
            },
            ("data", []) => Some(Kind::Date),
            ("decimale", []) => Some(Kind::Decimal { places: 6 }),
            ("email", []) => Some(Kind::Email),
            ("importo", []) => Some(Kind::Decimal { places: 2 }),
            ("istante", []) => Some(Kind::Instant),
            ("si_no", []) => Some(Kind::Bool),
            ("telefono", []) => Some(Kind::Phone),
            ("elenco", _) => match from.arguments.as_slice() {
                [item] if item.label.is_none() => {
                    let item = self.kind_of(&item.value, place, depth + 1, faults)?;
                    Some(Kind::List(Box::new(item)))
                }
                _ => wrong(faults, "followed by the kind of its items: `elenco(testo(36))`"),
            },
            ("intero", [least, most]) => match (least.parse(), most.parse()) {
                (Ok(least), Ok(most)) if least <= most => Some(Kind::Integer { least, most }),
                (_, _) => wrong(faults, "followed by its range: `intero(0,99)`"),
            },
            ("intero", _) => wrong(faults, "followed by its range: `intero(0,99)`"),
            ("testo", [longest]) => match longest.parse() {
                Ok(longest) if (1..=10_000).contains(&longest) => Some(Kind::Text { longest }),
                Ok(_) | Err(_) => wrong(faults, "followed by its greatest length, 1 to 10000: `testo(36)`"),
            },
            ("testo", _) => wrong(faults, "followed by its greatest length: `testo(36)`"),
            (name, []) => match self.structures.get(name) {
                Some(section) if depth < DEEPEST => self.structure(section, depth + 1, faults),
                Some(_) => wrong(faults, "nested too deep"),
                None => {
                    let valid = KINDS.iter().copied().chain(self.structures.keys().copied());
                    faults.unknown(place, "kind", name, valid);
                    None
                }
            },
            (name, _) => {
                faults.unknown(place, "kind", name, KINDS.iter().copied());
                None
            }
        }
    }

    fn structure(&self, section: &Section, depth: usize, faults: &mut Faults) -> Option<Kind> {
        let mut members: Vec<Member> = Vec::new();
        for row in &section.rows {
            let name = section.required_cell(row, "membro", faults)?;
            let kind = section.required_cell(row, "tipo", faults)?;
            if members.iter().any(|member| member.name == name.text) {
                faults
                    .add(&name.place, Problem::Duplicate(name.text.clone(), section.kind.place.to_string()));
                return None;
            }
            let expression = Expression::parse(&kind.text);
            let Some(expression) = expression else {
                let expected = "a kind such as `testo(36)`";
                faults.add(&kind.place, Problem::Value { word: shown(&kind.text), expected });
                return None;
            };
            let kind = self.kind_of(&expression, &kind.place, depth, faults)?;
            members.push(Member { name: name.text.clone(), kind });
        }
        if members.is_empty() {
            faults.add(&section.kind.place, Problem::Missing("membro"));
        }
        Some(Kind::Struct(members.into()))
    }

    /// The ladder of a field; without a name, all or nothing.
    pub fn ladder(
        &self,
        name: Option<&Word>,
        kind: &Kind,
        place: &Place,
        faults: &mut Faults,
    ) -> Option<Ladder> {
        let Some(name) = name else { return Ladder::new(kind, &[]).ok() };
        let Some((_, rungs)) = self.ladders.get(name.text.as_str()) else {
            faults.unknown(&name.place, "ladder", &name.text, self.ladders.keys().copied());
            return None;
        };
        let tried = Ladder::new(kind, rungs).and_then(|ladder| {
            let nobody = |_: &str| false;
            let Ok(recipient) = "nessuno".parse() else { return Ok(ladder) };
            let context =
                Context { recipient: &recipient, pair: None, is_subject: &nobody, is_in_case: &nobody };
            ladder.check_ways(&values(kind), &context).map(|()| ladder)
        });
        match tried {
            Ok(ladder) => Some(ladder),
            Err(fault) => {
                faults.add(place, Problem::Ladder(fault));
                None
            }
        }
    }
}

fn list(section: &Section, faults: &mut Faults) -> CodeList {
    section.allow(&["nome", "forma"], &["codice", "nome", "gruppo"], faults);
    let forms = section.entry("forma").map(Word::list).unwrap_or_default();
    let mut groups = BTreeMap::new();
    for row in &section.rows {
        let Some(code) = section.required_cell(row, "codice", faults) else { continue };
        let group = section.cell(row, "gruppo").map(|word| word.text.clone());
        for code in code.list() {
            if groups.insert(code.text.clone(), group.clone()).is_some() {
                let list = section.kind.place.to_string();
                faults.add(&code.place, Problem::Duplicate(code.text.clone(), list));
            }
        }
    }
    if forms.is_empty() && groups.is_empty() {
        faults.add(&section.kind.place, Problem::Missing("codice"));
    }
    let forms = forms.into_iter().map(|form| form.text).collect();
    CodeList { name: section.name.text.clone(), groups, forms }
}

fn rungs(section: &Section, faults: &mut Faults) -> Vec<Rung> {
    section.allow(&["nome"], &["vista", "sotto", "come", "tecnica", "nome"], faults);
    let mut rungs = Vec::new();
    for row in &section.rows {
        let view = section.required_cell(row, "vista", faults);
        let finer = section.required_cell(row, "sotto", faults);
        let how = section.required_cell(row, "come", faults);
        let technique = section.required_cell(row, "tecnica", faults);
        let (Some(view), Some(finer), Some(how), Some(technique)) = (view, finer, how, technique) else {
            continue;
        };
        let technique = choice(technique, "technique", TECHNIQUES, faults);
        // One way of making it for each finer view, separated by `;`.
        let mut ways = Vec::new();
        let hows: Vec<&str> = how.text.split(';').map(str::trim).collect();
        let finers = finer.list();
        if hows.len() != finers.len() {
            faults.add(&how.place, Problem::RowWidth { found: hows.len(), expected: finers.len() });
        }
        for (finer, how_text) in finers.iter().zip(hows) {
            match Expression::parse(how_text) {
                Some(expression) if WORDS.contains(&expression.name.as_str()) => {
                    ways.extend(id(finer, faults).map(|finer| (finer, expression)));
                }
                Some(expression) => {
                    faults.unknown(&how.place, "transformation", &expression.name, WORDS.iter().copied());
                }
                None => {
                    let word = shown(how_text);
                    faults.add(
                        &how.place,
                        Problem::Value { word, expected: "a transformation such as `anno`" },
                    );
                }
            }
        }
        if let (Some(id), Some(technique)) = (id(view, faults), technique) {
            rungs.push(Rung { id, technique, ways });
        }
    }
    rungs
}
