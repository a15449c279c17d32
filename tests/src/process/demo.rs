//! The demonstration, and what an auditor makes of what it leaves.

use serde_json::{Value, json};

use super::{run, said};
use crate::auditor::reading::varco;
use crate::world::Folder;

#[test]
fn the_demonstration_goes_well_and_each_of_its_decisions_is_made_again() {
    let folder = Folder::new();
    let data = folder.path("demo");
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/piana-di-lucca");
    let ended = std::process::Command::new(varco())
        .args(["demo", "--once", "--json", "--policies", policies, "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let database = format!("sqlite:{}", data.join("varco.db").display());
    let body_keys = data.join("anchor/body-keys").display().to_string();
    let subject_keys = data.join("pki/gateway/subject.keys").display().to_string();
    let replay = |more: &[&str]| -> Value {
        let all = [&["log", "replay", "--database", &database, "--body-keys", &body_keys, "--json"], more];
        let output = run(&folder.path(""), &all.concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said(&output)).unwrap()
    };
    let whole = replay(&["--subject-keys", &subject_keys]);
    assert!(whole["same"].as_u64().unwrap() > 0, "{whole}");
    assert_eq!((&whole["sealed"], &whole["different"]), (&json!(0), &json!([])), "{whole}");
    let outside = replay(&[]);
    assert_eq!(outside["same"], whole["same"], "{outside}");
    assert_eq!(outside["sealed"], whole["same"], "{outside}");
}
