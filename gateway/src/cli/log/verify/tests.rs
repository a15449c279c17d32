use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use clap::Parser as _;
use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::log::audit::{Finding, Verdict};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::time::Timestamp;
use varco_jose::{AesBodyCipher, Ed25519NoteKey};
use varco_store::keyring::Keyring;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::{Keeping, Submission};

use super::*;
use crate::cli::log::prove;

const ORIGIN: &str = "varco.test/access-log/2026";

#[derive(clap::Parser)]
struct Verify {
    #[command(flatten)]
    args: Args,
}

#[derive(clap::Parser)]
struct Prove {
    #[command(flatten)]
    args: prove::Args,
}

/// A log with a real key in a directory of its own.
struct World {
    directory: PathBuf,
    key: Ed25519NoteKey,
    clock: Arc<AtomicI64>,
}

impl World {
    /// `count` disclosures, each with all its bodies.
    async fn of(count: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("varco-log-verify-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let world = Self { directory, key: key(), clock: Arc::new(AtomicI64::new(1_772_440_867_120)) };
        world.append(0, count).await;
        world
    }

    async fn append(&self, first: u32, count: u32) {
        let store = Store::open(self.options()).await.unwrap();
        for n in first..first + count {
            store.append(Submission::new(disclosure(n))).await.unwrap();
        }
        store.close().await;
    }

    fn options(&self) -> Options {
        let keyring = Keyring::open(Keyring::beside(&self.path("anchor")), Arc::new(AesBodyCipher)).unwrap();
        let clock = Arc::clone(&self.clock);
        Options {
            url: self.url(),
            anchor: self.path("anchor"),
            origin: ORIGIN.to_owned(),
            replica: "one".to_owned(),
            signer: Arc::new(self.key.clone()),
            verifiers: vec![Arc::new(self.key.verifier().unwrap())],
            clock: Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
            missing_anchor: MissingAnchor::Refuse,
            keyring: Arc::new(keyring),
            on_commit: Arc::new(|_, _| {}),
            limits: Limits::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path("varco.db").display())
    }

    fn arguments(&self) -> Vec<String> {
        let anchor = self.path("anchor").display().to_string();
        let key = self.key.verifier_key().to_string();
        ["x", "--database", &self.url(), "--key", &key, "--anchor", &anchor].map(str::to_owned).to_vec()
    }

    async fn outcome(&self, more: &[&str]) -> Outcome {
        self.try_outcome(more).await.unwrap()
    }

    async fn try_outcome(&self, more: &[&str]) -> Result<Outcome, Failure> {
        let arguments = self.arguments().into_iter().chain(more.iter().map(|text| (*text).to_owned()));
        outcome(&Verify::try_parse_from(arguments).unwrap().args).await
    }

    /// Everything of the log that anybody is shown: leaves, bodies, tiles.
    async fn content(&self, size: u64) -> impl PartialEq + std::fmt::Debug {
        let keyring = self.options().keyring;
        let reader = varco_store::read::Reader::open_with(&self.url(), keyring).await.unwrap();
        let leaves = reader.leaves(0, size).await.unwrap();
        let slots = reader.slots_between(0, size).await.unwrap();
        let tiles = [reader.tile(0, 0, size).await.unwrap(), reader.tile(1, 0, size).await.unwrap()];
        reader.close().await;
        (leaves, slots, tiles)
    }

    async fn prove(&self, entry: &str) -> Receipt {
        let arguments = self.arguments().into_iter().chain([entry.to_owned()]);
        let args = Prove::try_parse_from(arguments).unwrap().args;
        prove::receipt(&args, &self.verifier()).await.unwrap().unwrap()
    }

    fn verifier(&self) -> LogVerifier {
        LogVerifier::new(ORIGIN.to_owned(), vec![Arc::new(self.key.verifier().unwrap())])
    }

    /// Changes bytes in the closed database, as somebody with access to the disk could.
    fn tamper(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let mut bytes = std::fs::read(self.path("varco.db")).unwrap();
        let found = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[found..found + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(self.path("varco.db"), bytes).unwrap();
    }
}

fn key() -> Ed25519NoteKey {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pkcs8 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    Ed25519NoteKey::from_pkcs8(ORIGIN, pkcs8.as_ref()).unwrap()
}

fn id(n: u32) -> String {
    format!("0198f0c2-aaaa-7fff-bfff-{n:012x}")
}

fn disclosure(n: u32) -> Draft {
    let mut draft = Draft::new(Kind::Disclosure, id(n).parse().unwrap());
    draft.consumer = Some("cpi-lucca".parse().unwrap());
    for name in SlotName::ALL {
        let salt = *Sha256::of(format!("{n} {name}").as_bytes()).as_bytes();
        draft.slots.set(name, Slot::new(salt, &json!({ "slot": format!("{name}-{n:04}") })));
    }
    draft
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let world = World::of(300).await;
    let outcome = world.outcome(&[]).await;
    assert!(outcome.is_sound(), "{}", report::text(&outcome, Language::En));
    assert_eq!((outcome.report.size, outcome.covered()), (300, Some(300)));
    let json = report::json(&outcome);
    assert_eq!(
        (&json["sound"], &json["kinds"], &json["wrong_tiles"]),
        (&json!(true), &json!({"disclosure": 300}), &json!([]))
    );
    let text = report::text(&outcome, Language::It);
    assert!(text.contains("comunicazione: 300") && text.ends_with("Il registro è integro.\n"), "{text}");
}

#[tokio::test]
async fn an_altered_leaf_is_found_and_named() {
    let world = World::of(5).await;
    world.tamper("\"consumer\":\"cpi-lucca\"", "\"consumer\":\"cpi-siena\"");
    let outcome = world.outcome(&[]).await;
    assert!(matches!(outcome.report.findings[..], [Finding { verdict: Verdict::LeafTampered, .. }]));
    assert!(!outcome.is_sound());
    assert!(report::text(&outcome, Language::It).ends_with("Il registro NON è integro.\n"));
}

#[tokio::test]
async fn an_altered_body_is_found_though_every_hash_is_right() {
    let world = World::of(5).await;
    // Only a body in the clear can be altered so that it still is one.
    let store = Store::open(world.options()).await.unwrap();
    let kept = Submission { keeping: Some(Keeping::ForEver), ..Submission::new(disclosure(5)) };
    store.append(kept).await.unwrap();
    store.close().await;
    world.tamper("operator-0005", "operator-0004");
    let outcome = world.outcome(&[]).await;
    let verdict = Verdict::BodyTampered(SlotName::Operator);
    assert_eq!(outcome.report.findings, [Finding { first: 5, last: 5, verdict }]);
    assert_eq!(outcome.covered(), Some(6));
    assert!(!outcome.is_sound());
    let json = report::json(&outcome);
    assert_eq!(
        json["findings"][0],
        json!({"first": 5, "last": 5, "verdict": "body-tampered", "slot": "operator", "order": null})
    );
}

#[tokio::test]
async fn a_restored_backup_is_found_by_the_anchor() {
    let world = World::of(3).await;
    std::fs::copy(world.path("varco.db"), world.path("backup.db")).unwrap();
    world.append(3, 2).await;
    std::fs::copy(world.path("backup.db"), world.path("varco.db")).unwrap();
    let outcome = world.outcome(&[]).await;
    assert_eq!(
        outcome.claims.iter().filter_map(Claim::head).map(|head| outcome.verdict(&head)).collect::<Vec<_>>(),
        [HeadVerdict::Beyond]
    );
    assert!(!outcome.is_sound());
}

#[tokio::test]
async fn a_receipt_that_was_proved_is_accepted_and_one_of_a_log_of_another_key_is_not() {
    let (world, other) = (World::of(4).await, World::of(4).await);
    let by_index = world.prove("2").await;
    assert_eq!(world.prove(&id(2)).await, by_index);
    world.verifier().check(&by_index).unwrap();
    std::fs::write(world.path("good"), by_index.to_text()).unwrap();
    std::fs::write(world.path("wrong"), other.prove("2").await.to_text()).unwrap();
    world.append(4, 1).await;
    let good = world.path("good").display().to_string();
    assert!(world.outcome(&["--receipt", &good]).await.is_sound());
    let wrong = world.path("wrong").display().to_string();
    assert!(!world.outcome(&["--receipt", &wrong]).await.is_sound());
}

#[tokio::test]
async fn another_key_believes_nothing() {
    let world = World::of(2).await;
    let other = World { key: key(), directory: world.directory.clone(), clock: Arc::clone(&world.clock) };
    let outcome = other.outcome(&[]).await;
    assert!(matches!(outcome.claims[0].worth, Worth::NotSigned(_)));
    assert!(!outcome.is_sound() && outcome.covered().is_none());
}

#[test]
fn without_anything_signed_there_is_nothing_to_verify() {
    assert!(Verify::try_parse_from(["x", "--database", "sqlite:x", "--key", "k"]).is_err());
}

#[tokio::test]
async fn without_their_keys_bodies_count_as_there_and_unread() {
    let world = World::of(5).await;
    std::fs::rename(world.path("body-keys"), world.path("elsewhere")).unwrap();
    let outcome = world.outcome(&[]).await;
    assert!(outcome.is_sound() && !outcome.passes());
    assert_eq!((outcome.report.intact, outcome.report.unread), (5, 5));
    assert!(world.outcome(&["--hashes-only"]).await.passes());
    assert!(report::text(&outcome, Language::En).contains("the bodies were NOT checked"));
    assert!(report::text(&outcome, Language::It).contains("--body-keys"));
    let keys = world.path("elsewhere").display().to_string();
    let outcome = world.outcome(&["--body-keys", &keys]).await;
    assert!(outcome.passes());
    assert_eq!((outcome.report.intact, outcome.report.unread), (5, 0));
}

#[tokio::test]
async fn a_byte_flipped_anywhere_is_found_or_changes_nothing_of_the_log() {
    /// Each is a whole verification: some 200 ms unoptimised.
    const FLIPS: u64 = 48;
    const SIZE: u32 = 300;
    let world = World::of(SIZE).await;
    let good = std::fs::read(world.path("varco.db")).unwrap();
    let content = world.content(SIZE.into()).await;
    let mut found = 0;
    for flip in 0..FLIPS {
        let draw = Sha256::of(&flip.to_be_bytes());
        let draw = u64::from_be_bytes(draw.as_bytes()[..8].try_into().unwrap());
        let at = usize::try_from(draw % good.len() as u64).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1 << (draw >> 61);
        for beside in ["varco.db-wal", "varco.db-shm"] {
            let _ = std::fs::remove_file(world.path(beside));
        }
        std::fs::write(world.path("varco.db"), bad).unwrap();
        match world.try_outcome(&[]).await {
            Ok(outcome) if outcome.is_sound() => {
                assert!(world.content(SIZE.into()).await == content, "byte {at} changed something unseen");
            }
            Ok(_) | Err(_) => found += 1,
        }
    }
    // Most of a log is leaves, bodies and hashes; the rest is indexes and free space.
    assert!(found > FLIPS / 4, "only {found} of {FLIPS} were found");
}

impl World {
    /// A log over two New Years.
    async fn of_years() -> Self {
        let world = Self::of(300).await;
        for year in 1..=2 {
            world.clock.fetch_add(365 * 86_400_000, Ordering::SeqCst);
            world.append(1000 * year, 10).await;
        }
        world
    }
}

#[tokio::test]
async fn all_years_are_verified_as_one_history_from_the_first_entry_to_the_last() {
    let world = World::of_years().await;
    let outcome = world.outcome(&[]).await;
    assert!(outcome.passes(), "{}", report::text(&outcome, Language::En));
    assert_eq!((outcome.report.size, outcome.covered()), (324, Some(324)));
    let json = report::json(&outcome);
    let shards = json["shards"].as_array().unwrap();
    assert_eq!(shards.iter().map(|one| one["first"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 301, 313]);
    assert_eq!(json["kinds"], json!({ "disclosure": 320, "freeze": 2, "open": 2 }));
    assert!(report::text(&outcome, Language::It).contains("varco.test/access-log/2028"));
    // An entry of a closed year is proved under that year's last checkpoint, one of the open year under the anchor's.
    for (entry, origin) in [("5", "2026"), ("305", "2027"), ("320", "2028")] {
        let receipt = world.prove(entry).await;
        world.verifier().check(&receipt).unwrap();
        assert!(receipt.proof.checkpoint.starts_with(&format!("varco.test/access-log/{origin}\n")));
        let file = world.path("kept").display().to_string();
        std::fs::write(&file, receipt.to_text()).unwrap();
        assert!(world.outcome(&["--receipt", &file]).await.passes());
    }
}

#[tokio::test]
async fn a_closed_year_that_was_changed_or_cut_is_found() {
    let world = World::of_years().await;
    let good = std::fs::read(world.path("varco.db")).unwrap();
    world.tamper("\"consumer\":\"cpi-lucca\"", "\"consumer\":\"cpi-siena\"");
    assert!(!world.outcome(&[]).await.is_sound());
    std::fs::write(world.path("varco.db"), &good).unwrap();
    // The first entry of a year that names another end of the year before.
    world.tamper("\"shard\":{\"checkpoint\":\"", "\"shard\":{\"checkpoint\":\"".to_uppercase().as_str());
    let outcome = world.outcome(&[]).await;
    assert!(!outcome.is_sound());
    std::fs::write(world.path("varco.db"), &good).unwrap();
    assert!(world.outcome(&[]).await.passes());
}
