//! From the bundle's texts to Cedar: a `permit` for each cell that grants, a `forbid` for each ceiling and implication.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use serde_json::json;

use super::CONDITIONS;
use super::text::{Section, cell, list, sections};

/// Who asks, under which purpose, at which level; and between whom, where regulations are to speak.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Situation {
    pub purpose: String,
    pub kind: String,
    pub office: String,
    pub level: String,
    /// Provider and consumer.
    pub pair: Option<(String, String)>,
}

/// The order of a field's views, straight from its `[scala]`.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Each view with those right above it.
    above: BTreeMap<String, Vec<String>>,
}

impl Ladder {
    pub fn views(&self) -> Vec<String> {
        self.above.keys().cloned().chain(["intero".to_owned()]).collect()
    }

    pub fn is_within(&self, view: &str, other: &str) -> bool {
        let up = |above: &Vec<String>| above.iter().any(|one| self.is_within(one, other));
        view == other || other == "intero" || self.above.get(view).is_some_and(up)
    }

    fn down_from(&self, top: &str) -> Vec<String> {
        self.views().into_iter().filter(|view| self.is_within(view, top)).collect()
    }
}

struct Implied {
    from: String,
    /// Absent: any view tells.
    trigger: Option<String>,
    to: String,
    at_least: String,
    fallback: String,
}

pub struct Model {
    sections: Vec<Section>,
    /// Cedar texts by record, field and purpose, as far as they were asked for.
    texts: HashMap<(String, String, String), Vec<String>>,
    sets: HashMap<(String, String, String), PolicySet>,
}

impl Model {
    pub fn read(files: &[(String, Vec<u8>)]) -> Self {
        Self { sections: sections(files), texts: HashMap::new(), sets: HashMap::new() }
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| section.kind == kind)
    }

    fn named(&self, kind: &str, name: &str) -> &Section {
        self.sections.iter().find(|section| section.kind == kind && section.name == name).unwrap()
    }

    fn field(&self, record: &str, field: &str) -> &BTreeMap<String, String> {
        let rows = &self.named("record", record).rows;
        rows.iter().find(|row| cell(row, "campo") == field).unwrap()
    }

    pub fn ladder(&self, record: &str, field: &str) -> Ladder {
        let name = cell(self.field(record, field), "scala");
        let rows = if name.is_empty() { &[][..] } else { &self.named("scala", name).rows };
        let above = rows.iter().map(|row| (cell(row, "vista").to_owned(), list(cell(row, "sotto"))));
        Ladder { above: above.collect() }
    }

    /// Whether Cedar would show a field at a view, with these conditions met.
    pub fn shows(
        &mut self,
        (record, field): (&str, &str),
        at: &Situation,
        view: &str,
        met: &BTreeSet<&str>,
    ) -> bool {
        let all: BTreeSet<&str> = CONDITIONS.into_iter().collect();
        let mut told = Vec::new();
        for implied in self.implied(record, field) {
            // What it tells is told whatever the conditions are, so they are all taken as met.
            if self.shows((record, &implied.to), at, &implied.at_least, &all) {
                told.push(format!("{}:{}", implied.to, implied.at_least));
            }
        }
        let ladder = self.ladder(record, field);
        let granted: Vec<String> = ladder
            .views()
            .into_iter()
            .filter(|view| self.ask((record, field), at, "concede", &context(view, at, &all, &[], &[])))
            .collect();
        let context = context(view, at, met, &told, &granted);
        self.ask((record, field), at, "mostra", &context)
    }

    fn ask(
        &mut self,
        (record, field): (&str, &str),
        at: &Situation,
        action: &str,
        context: &serde_json::Value,
    ) -> bool {
        let key = (record.to_owned(), field.to_owned(), at.purpose.clone());
        if !self.sets.contains_key(&key) {
            let text = self.text(&key).join("\n");
            let set: PolicySet = text.parse().unwrap_or_else(|fault| panic!("{fault}\n{text}"));
            self.sets.insert(key.clone(), set);
        }
        let uid = |text: String| -> EntityUid { text.parse().unwrap() };
        let request = Request::new(
            uid(format!("Ente::\"{}\"", at.kind)),
            uid(format!("Action::\"{action}\"")),
            uid(format!("Campo::\"{field}\"")),
            Context::from_json_value(context.clone(), None).unwrap(),
            None,
        );
        let answer = Authorizer::new().is_authorized(&request.unwrap(), &self.sets[&key], &Entities::empty());
        assert_eq!(answer.diagnostics().errors().count(), 0, "{:?}", answer.diagnostics());
        answer.decision() == Decision::Allow
    }

    /// Makes one of the policies that speak in a situation say something else.
    pub fn damage(
        &mut self,
        record: &str,
        field: &str,
        at: &Situation,
        mut below: impl FnMut(usize) -> usize,
    ) -> String {
        let key = (record.to_owned(), field.to_owned(), at.purpose.clone());
        let mut texts = self.text(&key);
        let permits: Vec<usize> = (0..texts.len()).filter(|at| texts[*at].starts_with("permit")).collect();
        let how = ["no permit", "another purpose", "forbidden by nobody's rule"][below(3)];
        match how {
            "no permit" => permits.iter().rev().for_each(|at| drop(texts.remove(*at))),
            "another purpose" => {
                for at in permits {
                    texts[at] = texts[at].replace("context.finalita == \"", "context.finalita == \"X");
                }
            }
            _ => texts.push("forbid(principal, action == Action::\"mostra\", resource);".to_owned()),
        }
        self.texts.insert(key, texts);
        how.to_owned()
    }

    fn text(&self, key: &(String, String, String)) -> Vec<String> {
        if let Some(known) = self.texts.get(key) {
            return known.clone();
        }
        let (record, field, purpose) = (key.0.as_str(), key.1.as_str(), key.2.as_str());
        let mut texts = self.permits(record, field, purpose);
        let none = String::new();
        texts.extend(self.of("legge").flat_map(|section| &section.rows).filter_map(|row| {
            let who = "true".to_owned();
            self.forbid((record, field), row, &who, &none)
        }));
        for section in self.of("regolamento") {
            for row in &section.rows {
                let side = if cell(row, "ruolo") == "titolare" { "titolare" } else { "ente" };
                let who = format!("context.{side} == \"{}\"", section.name);
                texts.extend(self.forbid((record, field), row, &who, side));
            }
        }
        texts.extend(self.implied(record, field).iter().map(|one| self.forbid_telling(record, field, one)));
        texts
    }

    /// A `permit` for each column of the purpose whose cell grants, with what the cell asks for.
    fn permits(&self, record: &str, field: &str, purpose: &str) -> Vec<String> {
        let given = self.named("finalita", purpose);
        let Some(fields) = given.rows.iter().find(|row| cell(row, "record") == record) else {
            return Vec::new();
        };
        if cell(fields, "campi") != "tutti" && !list(cell(fields, "campi")).contains(&field.to_owned()) {
            return Vec::new();
        }
        let rows = || self.of("matrice").filter(|section| section.name == record).flat_map(|s| &s.rows);
        let own = rows().find(|row| cell(row, "campo").replace(' ', "") == format!("{field}@{purpose}"));
        let Some(row) = own.or_else(|| rows().find(|row| cell(row, "campo") == field)) else {
            return Vec::new();
        };
        let columns = list(given.entry("colonne"));
        let known: Vec<_> = self.of("colonne").flat_map(|section| &section.rows).collect();
        let mine = known.iter().filter(|column| columns.contains(&cell(column, "colonna").to_owned()));
        let mine: Vec<_> = mine.collect();
        let ladder = self.ladder(record, field);
        let mut texts = Vec::new();
        for column in &mine {
            let mut words = cell(row, cell(column, "colonna")).split_whitespace();
            let view = words.next().unwrap_or("-");
            if view == "-" || view == "=" || view.starts_with('(') {
                continue;
            }
            let mut conditions: Vec<&str> = words
                .map(|mark| match mark {
                    "c" => "consenso",
                    "g" => "atto",
                    "s" => "ambito",
                    _ => "consenso/atto",
                })
                .collect();
            if given.entry("consenso") != "nessuno" {
                conditions.push("adesione");
            }
            let mut when = format!(
                "context.finalita == \"{purpose}\" && {} && {} && {} && {}",
                asks(column),
                holds_at(given),
                among("context.vista", &ladder.down_from(view)),
                all_met(&conditions)
            );
            // An office that has a column of its own is not answered by its kind's.
            if cell(column, "ufficio").is_empty() {
                for office in mine.iter().filter(|other| !cell(other, "ufficio").is_empty()) {
                    write!(when, " && !({})", asks(office)).unwrap();
                }
            }
            texts.push(format!("permit(principal, action, resource) when {{ {when} }};"));
        }
        texts
    }

    fn forbid(
        &self,
        (record, field): (&str, &str),
        row: &BTreeMap<String, String>,
        who: &str,
        side: &str,
    ) -> Option<String> {
        let among_or_all = |column: &str, value: &str| {
            let wanted = cell(row, column);
            wanted.is_empty() || wanted == "*" || list(wanted).iter().any(|one| one == value)
        };
        let about = self.field(record, field);
        let owners = list(self.named("record", record).entry("titolare"));
        let is_owner = owners.iter().any(|kind| among_or_all("titolare", kind));
        if !among_or_all("record", record)
            || !among_or_all("campo", field)
            || !among_or_all("categoria", cell(about, "categoria"))
            || !is_owner
        {
            return None;
        }
        let one_of = |column: &str, what: &str| {
            let wanted = cell(row, column);
            if wanted.is_empty() || wanted == "*" { "true".to_owned() } else { among(what, &list(wanted)) }
        };
        let toward = cell(row, "verso");
        let toward = if toward.is_empty() || toward == "*" {
            "true".to_owned()
        } else {
            let other = if side == "ente" { "context.titolare" } else { "context.ente" };
            let wanted = list(toward);
            format!("({} || {})", among("context.tipo", &wanted), among(other, &wanted))
        };
        let ladder = self.ladder(record, field);
        let allowed = match cell(row, "al massimo") {
            "" => ladder.views(),
            "-" => Vec::new(),
            most => ladder.down_from(most),
        };
        let with: Vec<String> = list(cell(row, "solo con"));
        let with: Vec<&str> = with.iter().map(String::as_str).collect();
        Some(format!(
            "forbid(principal, action == Action::\"mostra\", resource) when {{ {who} && {toward} && {} && {} }} unless {{ {} && {} }};",
            one_of("livello", "context.livello"),
            one_of("finalita", "context.finalita"),
            among("context.vista", &allowed),
            all_met(&with)
        ))
    }

    /// What the field tells: from `[implica ..]`, and every part of a list tells the whole list.
    fn implied(&self, record: &str, field: &str) -> Vec<Implied> {
        let mut found = Vec::new();
        if let Some((parent, _)) = field.split_once('.') {
            found.push(Implied {
                from: field.to_owned(),
                trigger: None,
                to: parent.to_owned(),
                at_least: "intero".to_owned(),
                fallback: String::new(),
            });
        }
        let rows = self.of("implica").filter(|section| section.name == record).flat_map(|s| &s.rows);
        for row in rows {
            let (from, trigger) = viewed(cell(row, "se mostra"));
            if from != field {
                continue;
            }
            for told in list(cell(row, "dice")) {
                let (to, at_least) = viewed(&told);
                found.push(Implied {
                    from: from.clone(),
                    trigger: Some(trigger.clone()),
                    to,
                    at_least,
                    fallback: cell(row, "altrimenti").to_owned(),
                });
            }
        }
        found
    }

    fn forbid_telling(&self, record: &str, field: &str, implied: &Implied) -> String {
        let ladder = self.ladder(record, field);
        let trigger = match &implied.trigger {
            Some(view) => format!("context.concesse.contains(\"{view}\")"),
            None => "!context.concesse.isEmpty()".to_owned(),
        };
        let left = if implied.fallback.is_empty() { Vec::new() } else { ladder.down_from(&implied.fallback) };
        format!(
            "// {} tells {}\nforbid(principal, action == Action::\"mostra\", resource) when {{ {trigger} && !context.detti.contains(\"{}:{}\") }} unless {{ {} }};",
            implied.from,
            implied.to,
            implied.to,
            implied.at_least,
            among("context.vista", &left)
        )
    }
}

fn viewed(text: &str) -> (String, String) {
    let (field, view) = text.split_once(':').unwrap_or((text, "intero"));
    (field.trim().to_owned(), view.trim().to_owned())
}

/// Whether somebody is whom a column means.
fn asks(column: &BTreeMap<String, String>) -> String {
    let mut when = among("context.tipo", &list(cell(column, "enti")));
    let (office, level) = (cell(column, "ufficio"), cell(column, "livello"));
    if !office.is_empty() {
        write!(when, " && context.ufficio == \"{office}\"").unwrap();
    }
    if !level.is_empty() {
        write!(when, " && (context.livello == \"\" || context.livello == \"{level}\")").unwrap();
    }
    when
}

/// Whether a purpose holds at the level of the request.
fn holds_at(purpose: &Section) -> String {
    if purpose.entry("caso") == "richiesto" {
        among("context.livello", &list(purpose.entry("livelli")))
    } else {
        "context.livello == \"\"".to_owned()
    }
}

fn among(what: &str, of: &[String]) -> String {
    let list: Vec<String> = of.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[{}].contains({what})", list.join(", "))
}

fn all_met(conditions: &[&str]) -> String {
    let each = conditions.iter().map(|word| format!("context.condizioni.contains(\"{word}\")"));
    let each: Vec<String> = each.collect();
    if each.is_empty() { "true".to_owned() } else { each.join(" && ") }
}

fn context(
    view: &str,
    at: &Situation,
    met: &BTreeSet<&str>,
    told: &[String],
    granted: &[String],
) -> serde_json::Value {
    let (provider, consumer) = at.pair.clone().unwrap_or_default();
    json!({
        "finalita": at.purpose, "tipo": at.kind, "ufficio": at.office, "livello": at.level, "vista": view,
        "titolare": provider, "ente": consumer, "condizioni": met, "detti": told, "concesse": granted,
    })
}
