//! A second opinion on the table: the bundle's texts, read anew and exported as Cedar policies, against every cell that our
//! compiler makes of them. Cedar's evaluator knows nothing of tables, ladders or meets; it is asked for each view of each
//! cell whether it may be shown.

use std::collections::BTreeSet;

use varco_core::policy::Policy;
use varco_core::policy::questions::Effect;
use varco_core::policy::questions::cells::CellKey;
use varco_core::time::Timestamp;

mod export;
mod text;

use export::{Model, Situation};

/// Every condition a cell can ask for, in the words of the files.
const CONDITIONS: [&str; 5] = ["adesione", "ambito", "atto", "consenso", "consenso/atto"];

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn files() -> Vec<(String, Vec<u8>)> {
    varco::start::bundle(&crate::world::policies()).unwrap()
}

fn situation(key: &CellKey) -> Situation {
    let (kind, office) = key.audience.split_once('/').unwrap_or((key.audience.as_str(), ""));
    let level = if key.level == "-" { "" } else { key.level };
    Situation {
        purpose: key.purpose.to_string(),
        kind: kind.to_owned(),
        office: office.to_owned(),
        level: level.to_owned(),
        pair: None,
    }
}

/// Where Cedar and a cell of the table do not agree.
fn disagreement(model: &mut Model, at: &Situation, key: &CellKey, effect: &Effect) -> Option<String> {
    let (record, field) = (key.record_type.as_str(), key.field.as_str());
    let table = if effect.view.as_str() == "withhold" { None } else { Some(effect.view.as_str()) };
    let ladder = model.ladder(record, field);
    // Where the table shows nothing, Cedar must show nothing whatever the conditions.
    let asked: BTreeSet<&str> =
        if table.is_none() { CONDITIONS.into() } else { effect.only_with.iter().copied().collect() };
    for view in ladder.views() {
        let expected = table.is_some_and(|table| ladder.is_within(&view, table));
        let given = model.shows((record, field), at, &view, &asked);
        if given != expected {
            return Some(format!("{key:?}: `{view}` is {given} for Cedar, {expected} in the table"));
        }
    }
    // Without any one of the conditions nothing is shown; all others together do not replace it.
    for one in &effect.only_with {
        let without: BTreeSet<&str> = CONDITIONS.into_iter().filter(|word| word != one).collect();
        if table.is_some_and(|table| model.shows((record, field), at, table, &without)) {
            return Some(format!("{key:?}: Cedar does not ask for {one}"));
        }
    }
    None
}

fn disagreements(model: &mut Model, policy: &Policy, of: impl Fn(&CellKey) -> bool) -> Vec<String> {
    let cells = policy.cells(now());
    let wanted = cells.iter().filter(|(key, _)| of(key));
    wanted.filter_map(|(key, effect)| disagreement(model, &situation(key), key, effect)).collect()
}

#[test]
fn cedar_agrees_with_every_cell_of_the_table() {
    let files = files();
    let (policy, mut model) = (Policy::load(&files).unwrap(), Model::read(&files));
    let count = policy.cells(now()).len();
    assert!(count > 4_000, "{count} cells");
    let wrong = disagreements(&mut model, &policy, |_| true);
    assert!(wrong.is_empty(), "{} of {count}: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}

#[test]
fn cedar_agrees_with_every_cell_between_bodies_whose_regulations_narrow() {
    let files = files();
    let (policy, mut model) = (Policy::load(&files).unwrap(), Model::read(&files));
    let mut narrowed = 0;
    for (provider, consumer) in [
        ("comune-capannori", "cpi-lucca"),
        ("comune-capannori", "asl-toscana-nord-ovest"),
        ("comune-lucca", "cpi-lucca"),
        ("comune-lucca", "comune-capannori"),
        ("asl-toscana-nord-ovest", "comune-lucca"),
        ("cpi-lucca", "comune-capannori"),
    ] {
        let pair = (provider.parse().unwrap(), consumer.parse().unwrap());
        let general = policy.cells(now());
        for (key, effect) in policy.cells_between(&pair, now()) {
            narrowed += u32::from(general.get(&key) != Some(&effect));
            let pair = Some((provider.to_owned(), consumer.to_owned()));
            let at = Situation { pair, ..situation(&key) };
            let wrong = disagreement(&mut model, &at, &key, &effect);
            assert!(wrong.is_none(), "{provider} to {consumer}: {wrong:?}");
        }
    }
    assert!(narrowed > 5, "only {narrowed} cells are narrowed by a regulation");
}

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n).unwrap()).unwrap()
    }
}

#[test]
fn a_changed_cell_of_the_bundle_is_noticed() {
    let (original, mut chance) = (files(), Chance(0x9e37_79b9_7f4a_7c15));
    let mut model = Model::read(&original);
    let (mut tried, mut noticed) = (0, 0);
    while noticed < 12 && tried < 400 {
        tried += 1;
        let Some((changed, record, field)) = text::with_one_cell_changed(&original, |n| chance.below(n))
        else {
            continue;
        };
        // Many changes are stopped by the compiler itself: a promise, an implication, a cell that nobody reaches.
        let Ok(policy) = Policy::load(&changed) else { continue };
        let mine = |key: &CellKey| key.record_type.as_str() == record && key.field.as_str() == field;
        let wrong = disagreements(&mut model, &policy, mine);
        assert!(!wrong.is_empty(), "nobody noticed a change of {record}.{field}");
        noticed += 1;
    }
    assert_eq!(noticed, 12, "of {tried} tried");
}

#[test]
fn a_changed_cedar_policy_is_noticed() {
    let files = files();
    let (policy, mut chance) = (Policy::load(&files).unwrap(), Chance(0x2545_f491_4f6c_dd1d));
    let cells = policy.cells(now());
    let granted: Vec<&CellKey> =
        cells.iter().filter(|(_, effect)| effect.view.as_str() != "withhold").map(|(key, _)| key).collect();
    for _ in 0..12 {
        let key = granted[chance.below(granted.len())];
        let mut model = Model::read(&files);
        let how =
            model.damage(key.record_type.as_str(), key.field.as_str(), &situation(key), |n| chance.below(n));
        let mine = |other: &CellKey| other == key;
        assert!(!disagreements(&mut model, &policy, mine).is_empty(), "{key:?}: {how}");
    }
}
