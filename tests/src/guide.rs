//! The privacy officers' guide, tried: every command of `docs/guida-privacy.md` is run as it is written there, in order, and
//! what it brings to the gateway is brought to one.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use varco::http::exchange::BASE;
use varco_core::wire::Message;
use varco_jose::ReaderKey;

use crate::process;
use crate::world::{Folder, KIT, World, policies};

/// A command of the guide with the exit code it is said to have.
struct Line {
    text: String,
    code: i32,
}

/// The lines of the blocks marked `sh`, without their remarks.
fn commands(guide: &str) -> Vec<Line> {
    let blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty());
    let line = |line: &str| {
        let (text, remark) = line.split_once(" # ").unwrap_or((line, ""));
        Line { text: text.trim().to_owned(), code: i32::from(remark.contains("esce con 1")) }
    };
    lines.map(line).collect()
}

/// `varco <words> > file`, in the folder. Words of the guide have no spaces.
fn run_varco(folder: &Path, text: &str) -> i32 {
    let (command, file) = text.split_once(" > ").map_or((text, None), |(a, b)| (a, Some(b.trim())));
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let output = process::run_in(folder, &arguments);
    let said = process::said(&output);
    if let Some(file) = file {
        assert!(!said.is_empty(), "{text} says nothing");
        std::fs::write(folder.join(file), said).unwrap();
    }
    output.status.code().unwrap()
}

/// `curl .. --data-binary @file https://host:port/path`, by the test's own client, because the guide's host is an example.
async fn run_curl(world: &World, folder: &Path, text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let file = words.iter().find_map(|word| word.strip_prefix('@')).unwrap();
    let path = words.last().unwrap().split(BASE).nth(1).unwrap();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let message = Message { headers, body: std::fs::read(folder.join(file)).unwrap() };
    let answer =
        world.client("comune-capannori").send("POST", &format!("{BASE}{path}"), message).await.unwrap();
    assert_eq!(answer.status, 200, "{text}: {}", answer.json());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_privacy_guide_does_what_the_guide_says() {
    let (world, folder) = (World::start().await, Folder::new());
    let here = folder.path("");
    copy(&policies(), &folder.path("vigenti"));
    std::fs::create_dir(folder.path("chiavi")).unwrap();
    for officer in &KIT.officers {
        std::fs::write(folder.path(&format!("chiavi/{}.pem", officer.id)), officer.key.serialize_pem())
            .unwrap();
    }
    let dpo = KIT.officers.iter().find(|officer| officer.id.as_str() == "capannori-dpo").unwrap();
    let sealed =
        ReaderKey::from_pem(&dpo.key.public_key_pem()).unwrap().seal(b"perche' serve", &[7; 44]).unwrap();
    let words = serde_json::json!({ "body": { "words": [{ "exchange": "x", "sealed": [sealed] }] } });
    std::fs::write(folder.path("richiesta.json"), words.to_string()).unwrap();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guida-privacy.md");
    let lines = commands(&std::fs::read_to_string(guide).unwrap());
    assert!(lines.len() > 20, "{} commands", lines.len());
    let status = async || -> Value {
        world.client("comune-capannori").get(&format!("{BASE}/status")).await.unwrap().json()
    };
    for line in &lines {
        match line.text.split_whitespace().next().unwrap() {
            "varco" => assert_eq!(run_varco(&here, &line.text), line.code, "{}", line.text),
            "curl" => run_curl(&world, &here, &line.text).await,
            _ => {
                let done = Command::new("sh").args(["-c", &line.text]).current_dir(&here).status().unwrap();
                assert_eq!(done.code(), Some(line.code), "{}", line.text);
            }
        }
    }
    let policy = &status().await["policy"];
    assert_eq!(policy["awaited"].as_array().unwrap().len(), 2, "{policy}");
    assert_eq!(policy["refused"], Value::Null);
}
