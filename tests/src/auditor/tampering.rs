//! Every way of changing an exported log, and programs that must notice: ours, Go's `tlog` and `note`, Sigstore's verifier.
//! The log has more than one archive, so that one alone is checked too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use varco::archive::{Reader, Writer};

use super::independent::{checker, swap_after};
use super::world::Deployed;
use crate::process::{run, said};
use crate::world::Folder;

/// More than the 65,536 of one archive.
const ENTRIES: u64 = 66_000;

/// A large log and its archives.
struct Exported {
    folder: Folder,
}

impl Exported {
    fn of(entries: u64) -> Self {
        let folder = Folder::new();
        let (out, entries) = (folder.path("log").display().to_string(), entries.to_string());
        let made = run(&folder.path(""), &["log", "fixture", "--entries", &entries, "--out", &out]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let exported = Self { folder };
        exported.export("zip", "archives", &[]);
        exported
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).display().to_string()
    }

    fn key(&self) -> String {
        std::fs::read_to_string(self.folder.path("log/log.pub")).unwrap().trim().to_owned()
    }

    fn export(&self, format: &str, out: &str, more: &[&str]) {
        let (database, anchor) = (format!("sqlite:{}", self.path("log/varco.db")), self.path("log/anchor"));
        let (key, out) = (self.path("log/log.pub"), self.path(out));
        let args =
            ["log", "export", "--database", &database, "--anchor", &anchor, "--key", &key, "--out", &out];
        let done = run(&self.folder.path(""), &[&args, ["--format", format].as_slice(), more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn verify(&self, exports: &[&str]) -> (Output, Value) {
        let key = self.path("log/log.pub");
        let mut args =
            vec!["log".to_owned(), "verify".to_owned(), "--key".to_owned(), key, "--json".to_owned()];
        for export in exports {
            args.extend(["--export".to_owned(), self.path(export)]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = run(&self.folder.path(""), &args);
        let told = said(&output);
        let json = told.lines().find(|line| line.starts_with('{')).unwrap_or("null").to_owned();
        (output, serde_json::from_str(&json).unwrap())
    }

    fn accepts(&self, exports: &[&str]) -> Value {
        let (output, told) = self.verify(exports);
        assert!(output.status.success(), "{exports:?}: {told} {}", String::from_utf8_lossy(&output.stderr));
        told
    }
}

/// The archive again, with one file changed or left out.
fn changed(from: &Path, to: &Path, name: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let (archive, mut writer) = (Reader::open(from).unwrap(), Writer::create(to).unwrap());
    let mut seen = false;
    for file in archive.names() {
        let bytes = archive.read(file).unwrap().unwrap();
        let bytes = if file == name {
            seen = true;
            change(bytes)
        } else {
            Some(bytes)
        };
        if let Some(bytes) = bytes {
            writer.add(file, &bytes).unwrap();
        }
    }
    assert!(seen, "{name} is not in the archive");
    writer.finish().unwrap();
}

/// Unpacked with Python's zipfile, into one folder.
fn unpack(archives: &[PathBuf], to: &Path) {
    for archive in archives {
        let unpacked =
            Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(to).status().unwrap();
        assert!(unpacked.success());
    }
}

type Change = fn(Vec<u8>) -> Option<Vec<u8>>;

/// What is changed in an archive that holds a whole log of 700 entries, and what our program says of it; empty where only
/// the exit code counts.
const MATRIX: [(&str, Change, &str); 8] = [
    ("tile/entries/001", |_| None, "missing"),
    ("tile/entries/001", |bytes| Some(turned(bytes, 700)), "leaf-tampered"),
    ("tile/0/001", |bytes| Some(turned(bytes, 77)), "tile/0/001"),
    ("tile/1/000.p/2", |bytes| Some(turned(bytes, 33)), "tile/1/000.p/2"),
    ("bodies/001", |bytes| Some(turned_in(bytes, "cognome")), "body-tampered"),
    ("bodies/001", |bytes| Some(without_line(bytes)), "erased-without-order"),
    ("checkpoint", |bytes| Some(turned(bytes, 45)), ""),
    ("checkpoint", |bytes| Some(turned(bytes, 120)), ""),
];

/// The same in one of several archives.
const PART: [(&str, Change); 2] = [
    ("tile/entries/001", |bytes| Some(turned(bytes, 700))),
    // The hash that stands for all 65,536 entries.
    ("tile/2/000.p/1", |bytes| Some(turned(bytes, 3))),
];

fn turned(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

fn turned_in(bytes: Vec<u8>, word: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes).unwrap();
    text.replacen(word, &word.to_uppercase(), 1).into_bytes()
}

fn without_line(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes).unwrap();
    text.split_once('\n').unwrap().1.as_bytes().to_vec()
}

#[test]
fn archives_are_checked_together_and_alone() {
    let log = Exported::of(ENTRIES);
    let whole = log.accepts(&["archives"]);
    assert_eq!((whole["size"].as_u64(), whole["intact"].as_u64()), (Some(ENTRIES), Some(ENTRIES)));
    let first = log.accepts(&["archives/00000.zip"]);
    assert_eq!((first["first"].as_u64(), first["end"].as_u64()), (Some(0), Some(65_536)));
    let second = log.accepts(&["archives/00001.zip"]);
    assert_eq!((second["first"].as_u64(), second["end"].as_u64()), (Some(65_536), Some(ENTRIES)));
    let from = log.folder.path("archives/00000.zip");
    for (name, change) in PART {
        changed(&from, &log.folder.path("changed.zip"), name, change);
        let (output, found) = log.verify(&["changed.zip"]);
        assert!(!output.status.success(), "{name}: {found}");
    }
}

#[test]
fn every_change_is_noticed_by_us_and_by_go() {
    let log = Exported::of(700);
    let from = log.folder.path("archives/00000.zip");
    log.accepts(&["archives/00000.zip"]);
    go_accepts_it_unpacked(&log);
    let go = checker(&log.folder.path(""));
    for (name, change, told) in MATRIX {
        changed(&from, &log.folder.path("changed.zip"), name, change);
        let (output, found) = log.verify(&["changed.zip"]);
        assert!(!output.status.success(), "{name}: {found}");
        assert!(found.to_string().contains(told), "{name}: {found}");
        let Some(go) = &go else { continue };
        let folder = log.folder.path("unpacked");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        unpack(&[log.folder.path("changed.zip")], &folder);
        let mut command = Command::new(go);
        command.arg("-from").arg(&folder).args(["-key", &log.key(), "-entries"]);
        // A body that is gone is right where an order stands in the log, which Go's packages do not know of.
        let knows = told != "erased-without-order";
        assert_eq!(command.output().unwrap().status.success(), !knows, "{name}");
    }
}

fn go_accepts_it_unpacked(log: &Exported) {
    let folder = log.folder.path("unpacked");
    std::fs::create_dir_all(&folder).unwrap();
    unpack(&[log.folder.path("archives/00000.zip")], &folder);
    let sums = Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(sums.unwrap().success());
    let Some(go) = checker(&log.folder.path("")) else { return };
    let output =
        Command::new(go).arg("-from").arg(&folder).args(["-key", &log.key(), "-entries"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn records_have_a_line_for_each_entry_and_ocsf_names_nobody() {
    let log = Exported::of(700);
    let range = ["--first", "100", "--last", "299"];
    for (format, lines) in [("jsonl", 200), ("ocsf", 200), ("fhir", 200), ("csv", 201)] {
        log.export(format, format, &range);
        let text = std::fs::read_to_string(log.folder.path(format)).unwrap();
        assert_eq!(text.lines().count(), lines, "{format}");
        assert_eq!(text.contains("s1."), format != "ocsf", "{format}");
        if format != "csv" {
            assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
    }
}

#[test]
fn an_export_that_an_officer_signed_is_told_from_one_that_was_changed_since() {
    let log = Exported::of(300);
    let kit = &crate::world::KIT;
    let (secret, public) = (log.folder.path("officer.key.pem"), log.folder.path("officer.pem"));
    std::fs::write(&secret, kit.officers[0].key.serialize_pem()).unwrap();
    std::fs::write(&public, kit.officers[0].key.public_key_pem()).unwrap();
    log.export("zip", "signed", &["--officer-key", secret.to_str().unwrap()]);
    let verify = |export: &str| {
        let (export, key) = (log.path(export), log.path("log/log.pub"));
        let officer = public.to_str().unwrap();
        let args = ["log", "verify", "--export", &export, "--key", &key, "--officer-key", officer, "--json"];
        run(&log.folder.path(""), &args).status.success()
    };
    assert!(verify("signed/00000.zip"));
    assert!(!verify("archives/00000.zip"), "nobody signed it");
    let signed = log.folder.path("signed/00000.zip");
    changed(&signed, &log.folder.path("changed.zip"), "README.txt", |bytes| Some(turned(bytes, 9)));
    assert!(!verify("changed.zip"));
    changed(&signed, &log.folder.path("changed.zip"), "SHA256SUMS.jws", |_| None);
    assert!(!verify("changed.zip"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node and npm, and the npm registry the first time"]
async fn sigstores_verifier_accepts_our_receipts_and_rejects_each_change() {
    let world = Deployed::new().start("", &[]).await;
    let receipts = world.fill(300).await;
    let script = crate::peers::node_script("receipt.mjs");
    let check = |text: &str| {
        let path = world.path("receipt.tlog-proof");
        std::fs::write(&path, text).unwrap();
        let key = world.deployed.log_key();
        Command::new("node").arg(&script).arg(key).arg(path).output().unwrap().status.success()
    };
    for receipt in receipts.iter().step_by(37) {
        let good = receipt.to_text();
        assert!(check(&good));
        for bad in [
            good.replacen("extra eyJ", "extra eyI", 1),
            good.replacen("\nindex ", "\nindex 1", 1),
            swap_after(&good, "index", 12),
            swap_after(&good, "\n\n", 60),
            swap_after(&good, "\u{2014}", 60),
        ] {
            assert_ne!(bad, good);
            assert!(!check(&bad), "{bad}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_two_parties_are_reconciled_with_the_log() {
    let world = Deployed::new().start("", &[]).await;
    let receipts = world.fill(40).await;
    let folders = ["cpi", "capannori"].map(|name| world.path(name));
    for folder in &folders {
        std::fs::create_dir_all(folder).unwrap();
    }
    // The employment centre asked every second time; the Comune answered always.
    for (n, receipt) in receipts.iter().enumerate() {
        std::fs::write(folders[1].join(format!("{n}.tlog-proof")), receipt.to_text()).unwrap();
        if n % 2 == 0 {
            std::fs::write(folders[0].join(format!("{n}.tlog-proof")), receipt.to_text()).unwrap();
        }
    }
    let (database, key) = (format!("sqlite:{}", world.path("varco.db").display()), world.deployed.log_key());
    let home = world.path("home");
    std::fs::create_dir_all(&home).unwrap();
    let reconcile = async || {
        let parties = ["cpi-lucca", "comune-capannori"].iter().zip(&folders);
        let parties: Vec<String> =
            parties.map(|(agency, folder)| format!("{agency}={}", folder.display())).collect();
        let (home, database, key) = (home.clone(), database.clone(), key.clone());
        tokio::task::spawn_blocking(move || {
            let output = run(
                &home,
                &[
                    "log",
                    "reconcile",
                    "--party",
                    &parties[0],
                    "--party",
                    &parties[1],
                    "--database",
                    &database,
                    "--key",
                    &key,
                    "--json",
                ],
            );
            let told = said(&output);
            let json = told.lines().find(|line| line.starts_with('{')).unwrap().to_owned();
            (output.status.success(), serde_json::from_str::<Value>(&json).unwrap())
        })
        .await
        .unwrap()
    };
    let (good, told) = reconcile().await;
    assert!(good && told["receipts"] == 60, "{told}");

    // One party has lost a receipt; another file proves nothing; a third is of a log that was rewritten since.
    std::fs::remove_file(folders[0].join("4.tlog-proof")).unwrap();
    let bad = swap_after(&receipts[6].to_text(), "index", 12);
    std::fs::write(folders[1].join("6.tlog-proof"), bad).unwrap();
    let pem = world.deployed.kit.log_key.serialize_pem();
    let (leaf, note) = other_history(&world.running.app, pem.as_bytes());
    std::fs::write(folders[1].join("other.tlog-proof"), note).unwrap();
    let (good, told) = reconcile().await;
    assert!(!good, "{told}");
    assert_eq!(told["parties"][0]["without_receipt"], serde_json::json!([5]), "{told}");
    assert_eq!(told["parties"][1]["invalid"].as_array().unwrap().len(), 1);
    assert_eq!(told["missing"], serde_json::json!([leaf]), "{told}");
    world.stop().await;
}

/// A receipt that the log's key has signed, of an entry at an index the log does not reach.
fn other_history(app: &varco::app::App, pem: &[u8]) -> (u64, String) {
    use varco_core::log::checkpoint::Checkpoint;
    use varco_core::log::entry::{Draft, Kind};
    use varco_core::log::proof::{Proof, Receipt};
    use varco_core::log::tree::{node_hash, root_from_path};
    let index = 1023;
    let mut draft = Draft::new(Kind::Disclosure, app.new_exchange(app.now()));
    draft.provider = Some("comune-capannori".parse().unwrap());
    draft.consumer = Some("cpi-lucca".parse().unwrap());
    let leaf = draft.leaf(index, app.now());
    let path = vec![varco_core::hash::Sha256::of(b"sibling"); 10];
    let root = path.iter().fold(leaf.hash(), |hash, sibling| node_hash(sibling, &hash));
    assert_eq!(root_from_path(&leaf.hash(), index, 1024, &path), Ok(root));
    let signer = varco_jose::Ed25519NoteKey::from_pem(app.log.origin(), pem).unwrap();
    let checkpoint = Checkpoint { origin: app.log.origin().to_owned(), size: 1024, root };
    let note = checkpoint.sign(&[&signer]).unwrap().to_string();
    (index, Receipt { leaf, proof: Proof { index, path, checkpoint: note.into() } }.to_text())
}
