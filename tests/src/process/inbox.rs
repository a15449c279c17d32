//! An agency's agent that is killed again and again while it empties the inbox into a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use super::{Deployed, command};
use crate::world::asks;
use crate::world::provider::Play;
use crate::world::{Folder, until};

/// How often the agent is killed, each time after so many deliveries.
const MOMENTS: [usize; 5] = [1, 2, 1, 3, 1];
const DELIVERIES: usize = 12;

/// What old software does with its folder: takes what has its final name away, and counts.
fn take(folder: &Path, taken: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            *taken.entry(whole["delivery"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_an_agent_puts_every_delivery_into_its_folder_once() {
    let deployed = Deployed::start(Play::Honest, "").await;
    let folder = Folder::new();
    let into = format!(
        "[local]\naddress = \"127.0.0.1:0\"\nlocation = \"servizi-lavoro\"\n[inbox]\nfolder = \"{}\"\n\
         operator = \"op-agent\"\nevery = \"20ms\"\n",
        folder.path("").display()
    );
    let settings = crate::agent::settings("cpi-lucca", deployed.ends().address, &into);
    std::fs::write(deployed.folder.path("agent.toml"), settings).unwrap();
    let desk = deployed.desk("comune-capannori", "op-cap-042");
    let mut expected = BTreeMap::new();
    for number in 0..DELIVERIES {
        let mut push = asks::push(&["cpi-lucca"]);
        push["key"] = json!(format!("segnalazione-{number}"));
        let told = desk.post("/pushes", &push).await;
        assert_eq!(told.status, 202, "{:?}", told.body);
        expected.insert(told.body["recipients"][0]["exchange"].as_str().unwrap().to_owned(), 1);
    }

    let config = deployed.folder.path("agent.toml").display().to_string();
    let start = || {
        let mut agent = command(&deployed.folder.path(""), &["agent", "--config", &config]);
        agent.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut taken = BTreeMap::new();
    for moment in MOMENTS {
        let (mut agent, wanted) = (start(), taken.len() + moment);
        until("some deliveries", || {
            take(&folder.path(""), &mut taken);
            std::future::ready(taken.len() >= wanted)
        })
        .await;
        agent.kill().unwrap();
        agent.wait().unwrap();
        take(&folder.path(""), &mut taken);
    }
    let mut agent = start();
    let log = deployed.log().await;
    until("everything is acknowledged", async || log.backlog().await.unwrap().waiting == 0).await;
    log.close().await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    take(&folder.path(""), &mut taken);
    assert_eq!(taken, expected, "each delivery once");
    deployed.verify_log();
}
