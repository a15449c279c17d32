use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::log::entry::{Draft, Slot};
use crate::log::leaf::tests::disclosure;
use crate::log::tree::empty_root;

/// A log as it lies in storage.
#[derive(Clone)]
struct Log {
    entries: Vec<Row>,
}

#[derive(Clone)]
struct Row {
    index: u64,
    leaf: Vec<u8>,
    hash: Option<Sha256>,
    slots: Slots,
}

impl Log {
    fn of(drafts: impl IntoIterator<Item = Draft>) -> Self {
        let row = |(index, draft): (usize, Draft)| {
            let leaf = draft.leaf(index as u64, Timestamp::from_millis(1_000_000 + index as i64 / 2));
            let hash = Some(leaf.hash());
            Row { index: index as u64, leaf: leaf.as_bytes().to_vec(), hash, slots: draft.slots }
        };
        Self { entries: drafts.into_iter().enumerate().map(row).collect() }
    }

    fn disclosures(count: u8) -> Self {
        Self::of((0..count).map(disclosure))
    }

    fn head(&self, size: usize) -> Head {
        let mut frontier = Frontier::new();
        self.entries[..size].iter().for_each(|row| frontier.push(leaf_hash(&row.leaf)));
        Head { size: size as u64, root: frontier.root() }
    }

    fn audit(&self, heads: &[Head]) -> Report {
        let mut audit = Audit::against(heads);
        for row in &self.entries {
            let stored = Stored {
                index: row.index,
                leaf: &row.leaf,
                leaf_hash: row.hash,
                slots: &row.slots,
                sealed: &[],
                damaged: &[],
            };
            audit.entry(stored).unwrap();
        }
        audit.finish()
    }
}

fn at(index: u64, verdict: Verdict) -> Finding {
    Finding { first: index, last: index, verdict }
}

fn erasure(first: u64, last: u64, slots: &[SlotName]) -> Draft {
    let erases = Erases::new(first, last, slots);
    Draft { erases, ..Draft::new(Kind::Erasure, disclosure(99).id) }
}

#[test]
fn a_log_that_nobody_touched_is_sound() {
    let log = Log::disclosures(9);
    let report = log.audit(&[log.head(9), log.head(4), log.head(0)]);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.size, report.intact, report.root), (9, 9, Some(log.head(9).root)));
    assert_eq!(report.kinds, BTreeMap::from([(Kind::Disclosure, 9)]));
    assert_eq!(report.heads.iter().map(|(head, _)| head.size).collect::<Vec<_>>(), [0, 4, 9]);
    assert_eq!(report.last_at, Some(Timestamp::from_millis(1_000_004)));
}

#[test]
fn an_empty_log_is_sound_and_has_the_empty_root() {
    let report = Log::disclosures(0).audit(&[Head { size: 0, root: empty_root() }]);
    assert!(report.is_sound());
    assert_eq!(report.root, Some(empty_root()));
}

#[test]
fn a_changed_body_or_salt_is_found_though_the_tree_is_whole() {
    let (log, mut changed) = (Log::disclosures(5), Log::disclosures(5));
    changed.entries[2].slots.operator.as_mut().unwrap().salt[31] ^= 1;
    changed.entries[3].slots.subject = Some(Slot::new([0; 32], &json!({"n": 3})));
    let report = changed.audit(&[log.head(5)]);
    assert_eq!(
        report.findings,
        [at(2, Verdict::BodyTampered(SlotName::Operator)), at(3, Verdict::BodyTampered(SlotName::Subject))]
    );
    assert_eq!(report.heads, [(log.head(5), HeadVerdict::Ok)]);
    assert!(!report.is_sound());
}

#[test]
fn a_body_that_no_leaf_commits_to_is_found() {
    let mut log = Log::of([Draft::new(Kind::Open, disclosure(0).id)]);
    log.entries[0].slots.decision = Some(Slot::new([0; 32], &json!({})));
    assert_eq!(log.audit(&[]).findings, [at(0, Verdict::BodyTampered(SlotName::Decision))]);
}

#[test]
fn a_changed_leaf_is_found_by_its_recorded_hash_and_else_by_the_root() {
    let log = Log::disclosures(5);
    let head = log.head(5);
    let mut changed = log.clone();
    let text = String::from_utf8(changed.entries[2].leaf.clone()).unwrap();
    changed.entries[2].leaf = text.replace("cpi-lucca", "cpi-pisaa").into_bytes();
    let report = changed.audit(&[head]);
    assert_eq!(report.findings, [at(2, Verdict::LeafTampered)]);
    assert!(matches!(report.heads[0].1, HeadVerdict::Differs(_)));
    // Whoever changes the recorded hash as well cannot change what was signed.
    changed.entries[2].hash = Some(leaf_hash(&changed.entries[2].leaf));
    let report = changed.audit(&[head]);
    assert_eq!(report.findings, []);
    assert!(!report.is_sound());
}

#[test]
fn leaves_that_changed_places_are_found() {
    let mut log = Log::disclosures(4);
    let second = log.entries[1].leaf.clone();
    log.entries[1].leaf = std::mem::replace(&mut log.entries[2].leaf, second);
    assert_eq!(log.audit(&[]).findings, [Finding { first: 1, last: 2, verdict: Verdict::LeafTampered }]);
}

#[test]
fn missing_entries_are_found_in_the_middle_and_at_the_end() {
    let log = Log::disclosures(8);
    let mut gap = log.clone();
    gap.entries.drain(2..5);
    let report = gap.audit(&[log.head(2), log.head(8)]);
    assert_eq!(report.findings, [Finding { first: 2, last: 4, verdict: Verdict::Missing }]);
    assert_eq!(report.root, None);
    assert_eq!(report.heads, [(log.head(2), HeadVerdict::Ok), (log.head(8), HeadVerdict::Unknown)]);
    let mut short = log.clone();
    short.entries.truncate(6);
    let report = short.audit(&[log.head(8)]);
    assert_eq!(report.heads, [(log.head(8), HeadVerdict::Beyond)]);
    assert!(report.findings.is_empty() && !report.is_sound());
}

#[test]
fn erasure_is_sound_only_when_a_later_entry_ordered_it() {
    use SlotName::{Operator, Subject};
    let drafts =
        (0..4).map(disclosure).chain([erasure(0, 1, &[Subject, Operator]), erasure(3, 3, &[Subject])]);
    let mut log = Log::of(drafts);
    let head = log.head(6);
    log.entries[0].slots.subject = None;
    log.entries[1].slots.subject = None;
    log.entries[1].slots.operator = None;
    log.entries[2].slots.subject = None;
    log.entries[3].slots.subject = None;
    log.entries[3].slots.operator = None;
    let report = log.audit(&[head]);
    assert_eq!(
        report.findings,
        [
            Finding { first: 0, last: 1, verdict: Verdict::ErasedByOrder(4) },
            at(2, Verdict::ErasedWithoutOrder(Subject)),
            at(3, Verdict::ErasedWithoutOrder(Operator)),
        ]
    );
    assert_eq!(report.heads, [(head, HeadVerdict::Ok)]);
    assert_eq!((report.intact, report.count(Verdict::is_sound)), (2, 2));
}

#[test]
fn an_order_has_no_force_over_later_entries_or_from_another_kind_of_entry() {
    let early = erasure(0, 0, &SlotName::ALL);
    let false_order = Draft { kind: Kind::Read, ..erasure(0, 2, &SlotName::ALL) };
    let mut log = Log::of([disclosure(0), early, disclosure(1), false_order]);
    log.entries[2].slots.subject = None;
    assert_eq!(log.audit(&[]).findings, [at(2, Verdict::ErasedWithoutOrder(SlotName::Subject))]);
}

#[test]
fn time_that_runs_back_is_found() {
    let mut log = Log::disclosures(4);
    let leaf = disclosure(2).leaf(2, Timestamp::from_millis(5));
    log.entries[2] = Row { leaf: leaf.as_bytes().to_vec(), hash: None, ..log.entries[2].clone() };
    let report = log.audit(&[log.head(4)]);
    assert_eq!(report.back_in_time, [2]);
    assert!(!report.is_sound());
}

#[test]
fn an_index_that_comes_twice_is_refused() {
    let log = Log::disclosures(2);
    let row = &log.entries[1];
    let stored =
        Stored { index: 1, leaf: &row.leaf, leaf_hash: None, slots: &row.slots, sealed: &[], damaged: &[] };
    let mut audit = Audit::against(&[]);
    audit.entry(stored).unwrap();
    assert_eq!(audit.entry(stored), Err(OrderFault { expected: 2, got: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_of_leaf_salt_or_body_is_found(
        row in any::<prop::sample::Index>(), part in 0..3, at_byte in any::<prop::sample::Index>(), bit in 0..7_u32,
    ) {
        let log = Log::disclosures(6);
        let mut changed = log.clone();
        let row = row.get_mut(&mut changed.entries[..]);
        match part {
            0 => *at_byte.get_mut(&mut row.leaf[..]) ^= 1 << bit,
            1 => *at_byte.get_mut(&mut row.slots.decision.as_mut().unwrap().salt[..]) ^= 1 << bit,
            _ => {
                let body = &mut row.slots.decision.as_mut().unwrap().body;
                let mut bytes = std::mem::take(body).into_bytes();
                *at_byte.get_mut(&mut bytes[..]) ^= 1 << bit;
                *body = String::from_utf8(bytes).unwrap();
            }
        }
        row.hash = None;
        prop_assert!(!changed.audit(&[log.head(6)]).is_sound());
    }
}
