use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::code::Code;
use crate::log::entry::Slot;

/// A disclosure with everything a disclosure has. Used by the tests of other modules too.
pub fn disclosure(n: u8) -> Draft {
    let mut draft =
        Draft::new(Kind::Disclosure, format!("0198f0c2-aaaa-7fff-bfff-0000000000{n:02x}").parse().unwrap());
    draft.consumer = Some("cpi-lucca".parse().unwrap());
    draft.provider = Some("comune-capannori".parse().unwrap());
    draft.purpose = Some("F02".parse().unwrap());
    draft.record_type = Some("anagrafica_nucleo".parse().unwrap());
    draft.policy = Some(Sha256::of(b"policy"));
    for (i, name) in (0..).zip(SlotName::ALL) {
        draft.slots.set(name, Slot::new([n.wrapping_add(i); 32], &json!({"n": n, "slot": name.text()})));
    }
    draft
}

fn at() -> Timestamp {
    "2026-03-02T08:41:07.120Z".parse().unwrap()
}

/// The draft of the longest leaf there can be.
fn longest() -> Draft {
    let mut draft = disclosure(255);
    draft.kind = Kind::Interrupted;
    draft.consumer = Some("a".repeat(48).parse().unwrap());
    draft.provider = draft.consumer.clone();
    draft.purpose = Some(format!("F{}", "1".repeat(31)).parse().unwrap());
    draft.record_type = Some("a".repeat(64).parse().unwrap());
    draft.code = Code::ALL.iter().copied().max_by_key(|code| code.text().len());
    draft.erases = Erases::new(INDEX_MAX - 1, INDEX_MAX - 1, &SlotName::ALL);
    draft
}

#[test]
fn a_leaf_is_written_as_the_canonical_json_of_its_members() {
    let mut order = Draft::new(Kind::Prune, disclosure(3).id);
    order.erases = Erases::new(3, 9, &[SlotName::Subject, SlotName::Decision]);
    for draft in [disclosure(1), longest(), order, Draft::new(Kind::Open, disclosure(2).id)] {
        let leaf = draft.leaf(INDEX_MAX, at());
        assert_eq!(leaf.as_str(), json::canonical_of(&Raw::from(leaf.content())));
    }
}

#[test]
fn a_leaf_is_canonical_json_with_commitments_only() {
    let draft = disclosure(1);
    let leaf = draft.leaf(41, at());
    let slot = |name| draft.slots.slot(name).unwrap().commitment();
    let expected = format!(
        concat!(
            r#"{{"at":1772440867120,"consumer":"cpi-lucca","decision":"{}","id":"0198f0c2-aaaa-7fff-bfff-000000000001","#,
            r#""index":41,"kind":"disclosure","operator":"{}","policy":"{}","provider":"comune-capannori","#,
            r#""purpose":"F02","record_type":"anagrafica_nucleo","subject":"{}","v":1}}"#
        ),
        slot(SlotName::Decision),
        slot(SlotName::Operator),
        Sha256::of(b"policy"),
        slot(SlotName::Subject)
    );
    assert_eq!(leaf.as_str(), expected);
    assert!(!leaf.as_str().contains("slot\":"), "no body in the leaf");
    assert_eq!(Leaf::parse(leaf.as_bytes()), Ok(leaf));
}

#[test]
fn the_longest_leaf_is_within_its_limit() {
    let leaf = longest().leaf(INDEX_MAX, Timestamp::LAST);
    assert!(leaf.as_bytes().len() <= Leaf::MAX - 32, "{}", leaf.as_bytes().len());
    assert_eq!(Leaf::parse(leaf.as_bytes()), Ok(leaf));
}

#[test]
fn every_code_fits_into_a_leaf() {
    for code in Code::ALL {
        let draft = Draft { code: Some(*code), ..disclosure(0) };
        assert_eq!(draft.leaf(0, at()).content().code.as_ref().map(CodeText::as_str), Some(code.text()));
    }
}

#[test]
fn what_is_not_a_leaf_is_refused_with_its_reason() {
    let good = disclosure(1).leaf(41, at()).as_str().to_owned();
    let with = |from: &str, to: &str| Leaf::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
    assert_eq!(with("{\"at\"", "{ \"at\""), LeafFault::NotCanonical);
    assert_eq!(with("\"cpi-lucca\"", "\"cpi\\u002dlucca\""), LeafFault::NotCanonical);
    assert_eq!(with(":1772440867120", ":-1"), LeafFault::NotCanonical);
    assert_eq!(with(":1772440867120", ":253402300800000"), LeafFault::NotCanonical);
    assert_eq!(with("\"v\":1", "\"v\":2"), LeafFault::UnknownVersion(2));
    assert_eq!(with(":41", ":9007199254740992"), LeafFault::WrongMember("index"));
    for (from, to) in [
        ("\"v\":1", "\"v\":1,\"w\":1"),
        ("\"v\":1", "\"v\":1,\"v\":1"),
        (",\"v\":1", ""),
        ("F02", "f02"),
        ("disclosure", "disclosed"),
        (":41", ":41.0"),
        (":41", ":\"41\""),
        ("}", ""),
    ] {
        assert!(matches!(with(from, to), LeafFault::NotJson(_)), "{from} -> {to}");
    }
    let null = good.replacen("\"consumer\":\"cpi-lucca\"", "\"consumer\":null", 1);
    assert_eq!(Leaf::parse(null.as_bytes()), Err(LeafFault::NotCanonical));
    assert_eq!(Leaf::parse(&[b' '; Leaf::MAX + 1]), Err(LeafFault::TooLarge));
    let erasure =
        Draft { erases: Erases::new(3, 4, &SlotName::ALL), ..Draft::new(Kind::Erasure, disclosure(2).id) };
    let erasure = erasure.leaf(9, at()).as_str().to_owned();
    for (from, to) in [
        ("\"first\":3", "\"first\":5"),
        ("\"last\":4", "\"last\":9"),
        ("\"decision\",\"operator\"", "\"operator\",\"decision\""),
    ] {
        let fault = Leaf::parse(erasure.replacen(from, to, 1).as_bytes());
        assert_eq!(fault, Err(LeafFault::WrongMember("erases")), "{to}");
    }
}

#[test]
fn a_leaf_with_a_code_younger_than_this_program_is_read() {
    let draft = Draft { code: Some(Code::Internal), ..disclosure(1) };
    let text = draft.leaf(1, at()).as_str().replace("\"internal\"", "\"some.new-code\"");
    assert_eq!(Leaf::parse(text.as_bytes()).unwrap().as_str(), text);
}

proptest! {
    #[test]
    fn no_bytes_make_the_leaf_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Leaf::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_changes_the_hash_or_the_leaf_is_refused(at_byte in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let leaf = longest().leaf(7, at());
        let mut bytes = leaf.as_bytes().to_vec();
        let position = at_byte.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(other) = Leaf::parse(&bytes) {
            prop_assert_eq!(other.as_bytes(), bytes.as_slice());
            prop_assert_ne!(other.hash(), leaf.hash());
        }
    }
}
