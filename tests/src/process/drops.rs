//! A drop folder and a gateway that is killed: no file is lost, none is told of twice, and nobody's data stay behind.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Deployed;
use super::canary::{forms, search};
use crate::world::desk::{Desk, Told};
use crate::world::provider::Play;
use crate::world::{Folder, PEOPLE, until};

/// How often the gateway is killed.
const ROUNDS: usize = 6;
/// Rows that do not fit, in each file: reading them and telling of them takes long enough to be cut short.
const REFUSED: usize = 5_000;
const SURNAME: &str = "Xxcanarinolascito";
const STRAY: &str = "xxcanarinoscarto";
const NEED: &str = "xxcanarinobisogno";

const MAPPING: &str = "
[mappatura anagrafica_nucleo]
da       = persone_*.csv
modo     = incrementale
soggetto = CF
fonte | campo        | lettura
COGN  | cognome      |
NOME  | nome         |
RIS   | riservatezza_indirizzo | si_no(S,N)

[mappatura segnalazione_bisogno]
da       = bisogni_*.csv
soggetto = CF
consegna = csv
fonte   | campo           | lettura
MOTIVI  | motivi_comuni[] | divide(,)
SINTESI | sintesi         |
";

/// The folder of a Comune whose software can only write files, outside that of the gateway.
struct Drop(Folder);

impl Drop {
    fn new() -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("drop")).unwrap();
        std::fs::write(folder.path("mapping.txt"), MAPPING).unwrap();
        Self(folder)
    }

    fn section(&self) -> String {
        format!(
            "[providers.comune-lucca]\nkind = \"file\"\nfolder = \"{}\"\nmappings = [\"{}\"]\n\
             look_every = \"1ms\"\ndeliveries = \"system\"\n",
            self.0.path("drop").display(),
            self.0.path("mapping.txt").display()
        )
    }

    fn leave(&self, name: &str, rows: &str) {
        let part = self.0.path(&format!("drop/{name}.part"));
        std::fs::write(&part, format!("CF;COGN;NOME;RIS\n{rows}")).unwrap();
        std::fs::rename(part, self.0.path(&format!("drop/{name}"))).unwrap();
    }

    /// What lies in a folder below it, by name, with when each was written.
    fn below(&self, folder: &str) -> BTreeMap<String, std::time::SystemTime> {
        let Ok(entries) = std::fs::read_dir(self.0.path("drop").join(folder)) else { return BTreeMap::new() };
        let about = |entry: std::fs::DirEntry| {
            Some((entry.file_name().into_string().unwrap(), entry.metadata().ok()?.modified().ok()?))
        };
        entries.filter_map(|entry| about(entry.unwrap())).collect()
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path("drop").join(path)).unwrap()
    }
}

fn code(place: usize) -> &'static str {
    PEOPLE.people()[place].code.expose()
}

async fn pull(deployed: &Deployed, place: usize) -> Told {
    let body = json!({
        "record_type": "anagrafica_nucleo",
        "subject": { "codice_fiscale": code(place) },
        "provider": "comune-lucca",
        "purpose": "F08",
        "fields": ["cognome"],
    });
    deployed.desk("asl-toscana-nord-ovest", "op-asl-118").post("/pulls", &body).await
}

fn surname(told: &Told) -> &Value {
    assert_eq!(told.status, 200, "{:?}", told.body);
    &told.record().unwrap()["cognome"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_takes_files_in_the_gateway_loses_none_and_tells_of_none_twice() {
    let drop = Drop::new();
    let mut deployed = Deployed::start(Play::Honest, &drop.section()).await;
    let refused = "XXQNNA85C52B648X;a;b;c\n".repeat(REFUSED);
    let mut told_of = BTreeMap::new();
    for round in 0..ROUNDS {
        let name = format!("persone_{round}.csv");
        drop.leave(&name, &format!("{};Xxtiglio{round};A;N\n{refused}", code(round)));
        // While it is read, while its refused rows are being told, or when all is told.
        let trace = [name.as_str(), ".scarti.csv", ".json"][round % 3];
        let asks = deployed.desk("asl-toscana-nord-ovest", "op-asl-118");
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(ask(asks, round));
        if round % 3 != 0 {
            let is_traced = || drop.below("esiti").keys().any(|at| at.contains(&name) && at.contains(trace));
            until("a trace of it", async || is_traced()).await;
        }
        deployed.kill();
        asking.join_next().await;
        deployed.start_gateway();
        for before in 0..=round {
            assert_eq!(
                *surname(&pull(&deployed, before).await),
                format!("Xxtiglio{before}"),
                "round {round}"
            );
        }
        let now = drop.below("esiti");
        for (name, at) in &told_of {
            assert_eq!(now.get(name), Some(at), "{name} was told of again");
        }
        told_of = now.into_iter().filter(|(name, _)| !name.starts_with('.')).collect();
        assert_eq!(told_of.len(), 2 * (round + 1), "an outcome and a list for each file: {told_of:?}");
    }
    for name in told_of.keys().filter(|name| name.ends_with(".json")) {
        let outcome: Value = serde_json::from_str(&drop.read(&format!("esiti/{name}"))).unwrap();
        assert_eq!(outcome["rows"], json!(REFUSED + 1));
        assert_eq!((&outcome["people"], &outcome["faults"]), (&json!(1), &json!(REFUSED)));
    }
    deployed.verify_log();
}

/// Asks for the person of a round, whatever comes of it.
async fn ask(desk: Desk, place: usize) {
    let body = json!({ "record_type": "anagrafica_nucleo", "subject": { "codice_fiscale": code(place) },
        "provider": "comune-lucca", "purpose": "F08" });
    let message = desk.signed(varco_core::json::canonical(&body).as_bytes());
    let _ = desk.client.send("POST", "/rest/varco/v1/pulls", message).await;
}

/// A need that Capannori passes on; under F01 nobody has to be asked.
async fn push(deployed: &Deployed, recipient: &str, key: &str) -> String {
    let mut body = crate::world::asks::push(&[recipient]);
    body["record"] = json!({ "motivi_comuni": ["lavoro", "reddito"], "sintesi": NEED });
    body["key"] = json!(key);
    let told = deployed.desk("asl-toscana-nord-ovest", "op-asl-118").post("/pushes", &body).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    told.body["recipients"][0]["exchange"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_lays_deliveries_down_the_gateway_lays_each_down_once_and_whole() {
    let drop = Drop::new();
    let mut deployed = Deployed::start(Play::Honest, &drop.section()).await;
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let exchange = push(&deployed, "comune-lucca", &format!("bisogno-{round}")).await;
        let name = format!("segnalazione_bisogno_{exchange}");
        if round % 2 == 1 {
            let has_begun = || drop.below("consegne").keys().any(|at| at.contains(&exchange));
            until("the first byte of it", async || has_begun()).await;
        }
        deployed.kill();
        deployed.start_gateway();
        expected.extend([format!("{name}.csv"), format!("{name}.documento.json")]);
    }
    let log = deployed.log().await;
    until("everything is delivered", async || log.backlog().await.unwrap().waiting == 0).await;
    log.close().await;
    expected.sort();
    let found: Vec<String> =
        drop.below("consegne").into_keys().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(found, expected);
    for name in found {
        let text = drop.read(&format!("consegne/{name}"));
        if name.ends_with(".csv") {
            assert_eq!(text.lines().count(), 2, "a head and a row: {text}");
            assert!(
                text.contains(NEED) && text.contains(crate::world::PEOPLE.people()[0].code.expose()),
                "{text}"
            );
        } else {
            let document: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(document["record"]["sintesi"], NEED);
        }
    }
    deployed.verify_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_dropped_file_nor_a_push_that_waits_leaves_a_person_in_any_file_of_the_gateway() {
    let drop = Drop::new();
    let settings = drop.section() + "[log]\nlevel = \"debug\"\nformat = \"json\"\n";
    let mut deployed = Deployed::start(Play::Honest, &settings).await;
    // One who fits, one whose row does not, in a file that bears a name no file should have.
    let rows = format!("{};{SURNAME};A;N\n{};B;C;{STRAY}\n{STRAY};;;\n", code(0), code(1));
    drop.leave(&format!("persone_{}.csv", code(2)), &rows);
    assert_eq!(*surname(&pull(&deployed, 0).await), SURNAME, "the canary does not fly");
    pull(&deployed, 1).await.assert_refused(502, "adapter.mismatch");
    let delivered = push(&deployed, "comune-lucca", "una").await;
    until("it is laid down", async || {
        drop.below("consegne").keys().any(|at| at.ends_with(&format!("{delivered}.csv")))
    })
    .await;
    push(&deployed, "cpi-lucca", "due").await;
    let log = deployed.log().await;
    until("one waits", async || log.backlog().await.unwrap().waiting == 1).await;
    log.close().await;

    let people = [0, 1, 2].map(|place| code(place).to_owned());
    let texts = [SURNAME, STRAY, NEED].map(str::to_owned);
    let wanted: Vec<Vec<u8>> = people.iter().chain(&texts).flat_map(|text| forms(text)).collect();
    let here = deployed.folder.path("");
    let searched = |folder: &Path| {
        let mut files = 0;
        search(folder, &wanted, &mut files);
        assert!(files > 15, "only {files} files were searched");
    };
    // While it runs, as a power cut leaves it, and after it has recovered and ended in order.
    searched(&here);
    deployed.kill();
    assert!(here.join("varco.db-wal").exists());
    searched(&here);
    deployed.start_gateway();
    assert_eq!(*surname(&pull(&deployed, 0).await), SURNAME);
    deployed.terminate();
    assert!(deployed.ended());
    searched(&here);
    let log = std::fs::read_to_string(here.join("gateway.log")).unwrap();
    assert!(log.lines().count() > 5, "the gateway logs too little to be searched: {log}");
    // The list of refused rows lies at the agency's; it names rows and reasons.
    let lists = drop.below("esiti").into_keys().filter(|name| name.ends_with(".scarti.csv"));
    for list in lists {
        assert!(!drop.read(&format!("esiti/{list}")).contains(STRAY));
    }
}
