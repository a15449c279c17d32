use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::*;
use crate::consent::Restriction;
use crate::policy::record::{Field, FieldIndex, Implication};
use crate::policy::table::{Needs, Rule, Toward};
use crate::view::ladder::Ladder;
use crate::view::sample::values;

mod copies;

static POLICY: LazyLock<Policy> = LazyLock::new(shipped);

/// A request as numbers, to be read against whatever bundle there is.
#[derive(Clone, Debug)]
struct Draw {
    parties: (Index, Index),
    record: Index,
    purpose: Index,
    level: Level,
    office: Option<&'static str>,
    scoped: bool,
    consents: Vec<(Option<Vec<Index>>, Vec<Index>)>,
    restrictions: Vec<(Option<Vec<Index>>, bool)>,
    acts: Vec<Index>,
    requested: Option<Vec<Index>>,
}

fn fields() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

prop_compose! {
    fn draw()(
        parties in any::<(Index, Index)>(),
        record in any::<Index>(),
        purpose in any::<Index>(),
        flags in any::<(bool, bool, bool)>(),
        consents in prop::collection::vec((prop::option::of(fields()), fields()), 0..3),
        restrictions in prop::collection::vec((prop::option::weighted(0.9, fields()), any::<bool>()), 0..2),
        acts in fields(),
        requested in prop::option::weighted(0.3, fields()),
    ) -> Draw {
        let (second, office, scoped) = flags;
        let level = if second { Level::Second } else { Level::First };
        let office = office.then_some("collocamento-mirato");
        Draw { parties, record, purpose, level, office, scoped, consents, restrictions, acts, requested }
    }
}

/// A drawn request, in terms of the shipped bundle's words (which other bundles share).
struct Asked {
    record: Arc<RecordType>,
    purpose: PurposeId,
    facts: Facts,
    requested: Option<Vec<FieldId>>,
}

impl Draw {
    fn asked(&self) -> Asked {
        let purpose = self.purpose.get(&POLICY.purposes);
        // Mostly a record type of the purpose, so that most draws reach the table.
        let record = match purpose.records.is_empty() {
            true => self.record.get(&POLICY.records).clone(),
            false => POLICY.record_type(&self.record.get(&purpose.records).record_type).unwrap().clone(),
        };
        let names = |indices: &[Index]| -> Vec<FieldId> {
            indices.iter().map(|index| index.get(&record.fields).id.clone()).collect()
        };
        let party = |index: &Index, of: &dyn Fn(&AgreementParty) -> bool| {
            let parties: Vec<_> = POLICY.agreement.parties.iter().filter(|party| of(party)).collect();
            let party = index.get(&parties);
            Party { agency: party.agency.clone(), kind: party.kind, office: None }
        };
        let provider = party(&self.parties.0, &|party| record.owners.contains(&party.kind));
        let mut consumer = party(&self.parties.1, &|party| party.agency != provider.agency);
        if consumer.kind == AgencyKind::Cpi {
            consumer.office = self.office.map(|office| office.parse().unwrap());
        }
        let mut case = case(self.level, &[purpose.id.as_str()]);
        if self.scoped {
            case.scopes = record.fields.iter().filter_map(|field| field.scope.clone()).collect();
        }
        let consent = |(named, excluded): &(Option<Vec<Index>>, Vec<Index>)| ConsentFact {
            fields: named.as_deref().map(names),
            excluded: names(excluded),
            ..consent(None)
        };
        let restriction = |(named, conceal): &(Option<Vec<Index>>, bool)| Restriction {
            fields: named.as_deref().map(names),
            effect: if *conceal { RestrictionEffect::Conceal } else { RestrictionEffect::Withhold },
        };
        let facts = Facts {
            provider,
            consumer,
            case: Some(case),
            consents: self.consents.iter().map(consent).collect(),
            restrictions: self.restrictions.iter().map(restriction).collect(),
            acts: vec![crate::case::ActFact { reference: "RG 1/2026".into(), fields: names(&self.acts) }],
            openings: Vec::new(),
            household: Vec::new(),
        };
        let requested = self.requested.as_deref().map(names);
        Asked { purpose: purpose.id.clone(), facts, requested, record }
    }
}

impl Asked {
    fn put(&self, policy: &Policy) -> Result<Plan, Refusal> {
        policy.decide(&Question {
            record_type: &self.record.id,
            purpose: &self.purpose,
            requested: self.requested.as_deref(),
            facts: &self.facts,
            now: now(),
        })
    }
}

fn views(plan: &Plan) -> impl Iterator<Item = (FieldIndex, &Field, ViewIndex)> {
    plan.fields.iter().filter_map(|planned| match planned.ruling {
        Ruling::Show { view, .. } => {
            Some((planned.field, plan.record_type.field(planned.field).unwrap(), view))
        }
        Ruling::Unavailable | Ruling::Withhold { .. } => None,
    })
}

/// Whether the facts meet a condition, said in another way than `decide` does.
fn met(needs: Needs, field: &Field, facts: &Facts) -> bool {
    let named = facts.consents.iter().any(|consent| consent.names(&field.id));
    let covered = facts.consents.iter().any(|consent| consent.covers(&field.id));
    let act = facts.acts.iter().any(|act| act.fields.contains(&field.id));
    let scopes = facts.case.as_ref().map(|case| case.scopes.clone()).unwrap_or_default();
    let scoped = field.scope.as_ref().is_some_and(|scope| scopes.contains(scope));
    let by_act = act && (needs.has(Needs::ACT) || needs.has(Needs::EXPLICIT_OR_ACT));
    (!needs.has(Needs::EXPLICIT) || named)
        && (!needs.has(Needs::ACT) || act)
        && (!needs.has(Needs::EXPLICIT_OR_ACT) || named || act)
        && (!needs.has(Needs::AGREED) || covered || by_act)
        && (!needs.has(Needs::SCOPE) || scoped)
}

/// Whether a rule as written speaks of this request, said in another way than the compiler does.
fn speaks(rule: &Rule, asked: &Asked, index: FieldIndex, field: &Field) -> bool {
    let consumer = &asked.facts.consumer;
    let other = if rule.layer == Layer::Recipient { &asked.facts.provider } else { consumer };
    let body = match rule.layer {
        Layer::Owner => rule.body.as_ref() == Some(&asked.facts.provider.agency),
        Layer::Recipient => rule.body.as_ref() == Some(&consumer.agency),
        Layer::Law => true,
        Layer::Agreement | Layer::Case | Layer::Person | Layer::Request => false,
    };
    let toward = rule.on.toward.iter().all(|toward| match toward {
        Toward::Agency(agency) => *agency == other.agency,
        Toward::Kind(kind) => *kind == consumer.kind,
        Toward::Office(kind, office) => *kind == consumer.kind && consumer.office.as_ref() == Some(office),
        Toward::Column(_) => false,
    });
    let purpose = POLICY.purpose(&asked.purpose).unwrap();
    let level = match purpose.case {
        CaseRule::None => None,
        CaseRule::Required => asked.facts.case.as_ref().map(|case| case.level),
    };
    body && toward
        && rule.on.has_record(&asked.record)
        && rule.on.has_field(index, field.category)
        && (rule.on.purposes.is_empty() || rule.on.purposes.contains(&asked.purpose))
        && (rule.on.levels.is_empty() || level.is_some_and(|level| rule.on.levels.contains(&level)))
}

fn tells(one: &Implication, view: ViewIndex) -> bool {
    one.caps[view.at()] != view
}

/// One more ceiling, written as an officer would.
#[derive(Clone, Debug)]
struct Extra {
    record: Index,
    field: Index,
    view: Index,
    layer: u8,
    with: bool,
}

fn extra() -> impl Strategy<Value = Extra> {
    any::<(Index, Index, Index, u8, bool)>().prop_map(|(record, field, view, layer, with)| Extra {
        record,
        field,
        view,
        layer: layer % 3,
        with,
    })
}

impl Extra {
    fn file(&self, asked: &Asked) -> (String, Vec<u8>) {
        let record = if self.record.index(2) == 0 { &asked.record } else { self.record.get(&POLICY.records) };
        let field = self.field.get(&record.fields);
        let view = self.view.get(field.ladder.views()).id.to_string();
        let view = if view == "withhold" { "-".into() } else { view };
        let with = if self.with { "consenso" } else { "" };
        let head = "record | campo | al massimo | solo con | fonte";
        let row = format!("{} | {} | {view} | {with} | prova", record.id, field.id);
        let text = match self.layer {
            0 => format!("[legge]\n{head}\n{row}\n"),
            1 => format!("[regolamento {}]\n{head} | ruolo\n{row} | titolare\n", asked.facts.provider.agency),
            _ => format!(
                "[regolamento {}]\n{head} | ruolo\n{row} | destinatario\n",
                asked.facts.consumer.agency
            ),
        };
        ("extra.txt".into(), text.into_bytes())
    }
}

/// The same bundle with files, sections, entries and rows in another order.
fn shuffled(files: &[(String, Vec<u8>)], seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut files: Vec<_> = files
        .iter()
        .map(|(path, bytes)| {
            let text = std::str::from_utf8(bytes).unwrap();
            let mut sections: Vec<(&str, Vec<&str>, Vec<&str>)> = Vec::new();
            for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
                if line.starts_with('[') {
                    sections.push((line, Vec::new(), Vec::new()));
                } else if line.contains('|') {
                    sections.last_mut().unwrap().2.push(line);
                } else {
                    sections.last_mut().unwrap().1.push(line);
                }
            }
            for (_, entries, table) in &mut sections {
                entries.sort_by_cached_key(|_| random());
                table.get_mut(1..).unwrap_or_default().sort_by_cached_key(|_| random());
            }
            sections.sort_by_cached_key(|_| random());
            let write = |(head, entries, table): &(&str, Vec<&str>, Vec<&str>)| {
                format!("{head}\n{}\n{}\n", entries.join("\n"), table.join("\n"))
            };
            (path.clone(), sections.iter().map(write).collect::<String>().into_bytes())
        })
        .collect();
    files.sort_by_cached_key(|_| random());
    files
}

/// A decision by name, without the order of anything.
fn by_name(policy: &Policy, asked: &Asked) -> Result<BTreeMap<String, String>, String> {
    let plan = asked.put(policy).map_err(|refusal| refusal.to_string())?;
    let fields = plan.record_type.fields.iter().map(|field| field.id.to_string());
    Ok(fields.map(|field| (field.clone(), word(&plan, &field))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_shows_is_within_every_layer(draw in draw()) {
        let asked = draw.asked();
        let Ok(plan) = asked.put(&POLICY) else { return Ok(()) };
        for planned in &plan.fields {
            let Ruling::Show { view, grant, .. } = planned.ruling else { continue };
            let field = plan.record_type.field(planned.field).unwrap();
            let grant = POLICY.grant(grant).unwrap();
            prop_assert_eq!((&grant.field, &grant.purpose), (&field.id, &asked.purpose));
            let granted = field.ladder.find(grant.view.as_str()).unwrap();
            prop_assert!(field.ladder.is_within(view, granted));
            prop_assert!(met(grant.needs, field, &asked.facts), "{}", field.id);
            for rule in POLICY.rules.iter().filter(|rule| speaks(rule, &asked, planned.field, field)) {
                let most = field.ladder.find(rule.at_most.as_str()).unwrap();
                prop_assert!(field.ladder.is_within(view, most), "{} against {}", field.id, rule.source);
                prop_assert!(met(rule.needs, field, &asked.facts), "{} against {}", field.id, rule.source);
            }
            for restriction in &asked.facts.restrictions {
                let named = restriction.fields.as_ref().is_none_or(|fields| fields.contains(&field.id));
                prop_assert!(!named || plan.concealed.contains(&planned.field));
            }
            if let Some(requested) = &asked.requested {
                let part = |id: &FieldId| plan.record_type.find(id).and_then(|i| plan.record_type.field(i)?.parent);
                let asked_for = |id: &FieldId| *id == field.id || part(id) == Some(planned.field);
                prop_assert!(requested.iter().any(asked_for));
            }
        }
    }

    #[test]
    fn what_shows_tells_nothing_that_is_hidden(draw in draw()) {
        let mut asked = draw.asked();
        asked.requested = None;
        let Ok(plan) = asked.put(&POLICY) else { return Ok(()) };
        let shown: BTreeMap<FieldIndex, ViewIndex> = views(&plan).map(|(index, _, view)| (index, view)).collect();
        for one in &plan.record_type.implications {
            let Some(view) = shown.get(&one.from).filter(|view| tells(one, **view)) else { continue };
            let told = shown.get(&one.to).copied().unwrap_or(ViewIndex::WITHHOLD);
            let ladder = &plan.record_type.field(one.to).unwrap().ladder;
            prop_assert!(ladder.is_within(one.at_least, told), "{view:?} of {:?}", one.from);
            prop_assert!(!plan.concealed.contains(&one.to) || plan.concealed.contains(&one.from));
        }
    }

    #[test]
    fn another_member_of_the_household_never_widens_and_speaks_for_shared_fields_only(
        draw in draw(), other in draw(),
    ) {
        let mut asked = draw.asked();
        let Ok(before) = asked.put(&POLICY) else { return Ok(()) };
        let theirs = Draw { record: draw.record, purpose: draw.purpose, ..other }.asked().facts;
        asked.facts.household =
            vec![MemberFacts { consents: theirs.consents, restrictions: theirs.restrictions }];
        let after = asked.put(&POLICY).unwrap();
        for (one, two) in before.fields.iter().zip(&after.fields) {
            let field = before.record_type.field(one.field).unwrap();
            let view = |ruling: Ruling| match ruling {
                Ruling::Show { view, .. } => view,
                Ruling::Unavailable | Ruling::Withhold { .. } => ViewIndex::WITHHOLD,
            };
            prop_assert!(field.ladder.is_within(view(two.ruling), view(one.ruling)), "{}", field.id);
            prop_assert!(field.is_shared() || view(one.ruling) == view(two.ruling), "{}", field.id);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Policy::load(&[("a.txt".into(), bytes)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_more_ceiling_never_widens(draws in prop::collection::vec(draw(), 12), extra in extra()) {
        let mut files = shipped_files();
        files.push(extra.file(&draws[0].asked()));
        // The shipped regulation of the same body is another section; both speak.
        let narrowed = load(&files);
        for draw in &draws {
            let asked = draw.asked();
            let (before, after) = match (asked.put(&POLICY), asked.put(&narrowed)) {
                (Ok(before), Ok(after)) => (before, after),
                (before, after) => {
                    prop_assert_eq!(before.err(), after.err());
                    continue;
                }
            };
            let shown: BTreeMap<FieldIndex, ViewIndex> = views(&before).map(|(i, _, view)| (i, view)).collect();
            for (index, field, view) in views(&after) {
                let was = shown.get(&index).copied().unwrap_or(ViewIndex::WITHHOLD);
                prop_assert!(field.ladder.is_within(view, was), "{} widened", field.id);
            }
        }
    }

    #[test]
    fn the_order_of_files_and_lines_changes_nothing(draws in prop::collection::vec(draw(), 12), seed in any::<u64>()) {
        let other = load(&shuffled(&shipped_files(), seed));
        let grants = |policy: &Policy| -> BTreeSet<String> {
            let of = |g: &Grant| format!("{} {} {} {} {} {:?} {:?}", g.record_type, g.field, g.column, g.purpose, g.view, g.needs, g.acts);
            policy.grants().map(|grant| of(&grant)).collect()
        };
        prop_assert_eq!(grants(&POLICY), grants(&other));
        for draw in &draws {
            let asked = draw.asked();
            prop_assert_eq!(by_name(&POLICY, &asked), by_name(&other, &asked));
        }
    }

    #[test]
    fn no_damage_to_a_bundle_makes_the_compiler_panic(
        file in any::<Index>(), at in any::<Index>(), length in 0..200_usize, with in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut files = shipped_files();
        let (_, bytes) = &mut files[file.index(shipped_files().len())];
        let start = at.index(bytes.len());
        let end = bytes.len().min(start + length);
        bytes.splice(start..end, with);
        let _ = Policy::load(&files);
    }
}

fn every_ladder() -> impl Iterator<Item = (&'static Field, &'static Ladder)> {
    POLICY.records.iter().flat_map(|record| &record.fields).map(|field| (field, field.ladder.as_ref()))
}

#[test]
fn every_meet_is_commutative_associative_and_idempotent() {
    for (field, ladder) in every_ladder() {
        for a in ladder.indices() {
            assert_eq!(ladder.meet(a, a), a, "{}", field.id);
            assert_eq!(ladder.meet(a, ViewIndex::WHOLE), a);
            assert_eq!(ladder.meet(a, ViewIndex::WITHHOLD), ViewIndex::WITHHOLD);
            for b in ladder.indices() {
                assert_eq!(ladder.meet(a, b), ladder.meet(b, a));
                for c in ladder.indices() {
                    assert_eq!(ladder.meet(ladder.meet(a, b), c), ladder.meet(a, ladder.meet(b, c)));
                }
            }
        }
    }
}

/// Every coarser view is a function of every finer one: what the finer view makes equal, the coarser one does too.
/// Checked on all pairs of values, the kind's own samples and values that differ from them a little.
#[test]
fn every_coarser_view_is_a_function_of_the_finer_one() {
    with_context(|context| {
        for (field, ladder) in every_ladder() {
            let samples = values(&field.full);
            assert!(!samples.is_empty(), "{}", field.id);
            for (a, b) in ladder.indices().flat_map(|a| ladder.indices().map(move |b| (a, b))) {
                if a == b || !a.shows() || !ladder.is_within(a, b) {
                    continue;
                }
                let mut function: Vec<(Option<Value>, Option<Value>)> = Vec::new();
                for value in &samples {
                    let (finer, coarser) = (ladder.apply(b, value, context), ladder.apply(a, value, context));
                    assert!(
                        coarser.is_some() || finer.is_none() || value_may_fail(field),
                        "{} {value}",
                        field.id
                    );
                    match function.iter().find(|(known, _)| *known == finer) {
                        Some((_, known)) => assert_eq!(*known, coarser, "{}", field.id),
                        None => function.push((finer, coarser)),
                    }
                }
            }
        }
    });
}

/// Texts too short to mask, and items without the member that a filter looks at, are not shown rather than wrong.
fn value_may_fail(field: &Field) -> bool {
    field.full != field.kind
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The same law on generated values, for the kinds that have many.
    #[test]
    fn the_ladder_law_holds_for_generated_values(
        years in prop::collection::vec((1900..2030_i32, 1..13_u8, 1..29_u8), 2..8),
        cents in prop::collection::vec(0..3_000_000_u32, 2..8),
        counts in prop::collection::vec(0..99_i64, 2..8),
    ) {
        use crate::view::kind::Kind;
        let dates: Vec<Value> = years.iter().map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}").into()).collect();
        let amounts: Vec<Value> = cents.iter().map(|c| format!("{}.{:02}", c / 100, c % 100).into()).collect();
        let numbers: Vec<Value> = counts.iter().map(|n| (*n).into()).collect();
        with_context(|context| {
            for (field, ladder) in every_ladder() {
                let values = if field.kind == Kind::Date {
                    &dates
                } else if matches!(field.kind, Kind::Decimal { .. }) {
                    &amounts
                } else if matches!(field.kind, Kind::Integer { .. }) {
                    &numbers
                } else {
                    continue;
                };
                for (a, b) in ladder.indices().flat_map(|a| ladder.indices().map(move |b| (a, b))) {
                    if !a.shows() || !ladder.is_within(a, b) {
                        continue;
                    }
                    for (x, y) in values.iter().flat_map(|x| values.iter().map(move |y| (x, y))) {
                        if ladder.apply(b, x, context) == ladder.apply(b, y, context) {
                            prop_assert_eq!(ladder.apply(a, x, context), ladder.apply(a, y, context));
                        }
                        prop_assert!(ladder.apply(a, x, context).is_some());
                    }
                }
            }
            Ok(())
        })?;
    }
}
