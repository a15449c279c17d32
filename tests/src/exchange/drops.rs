//! A Comune whose software can only leave files in a folder is a provider like any other (scenario SC10).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use varco::cli::Cli;
use varco::config::{Config, Drop, ProviderKind};
use varco::demo::people::ANNA;
use varco_adapters::encoding::Encoding;
use varco_adapters::file::Place;
use varco_core::hash::Sha256;
use varco_core::log::entry::Kind;
use varco_core::subject::CodiceFiscale;

use crate::world::asks::{COACH, Situation};
use crate::world::desk::Desk;
use crate::world::{PEOPLE, Setup, World, decision, seeded};

const MAPPING: &str = "
[mappatura condizione_economica_prestazioni]
da       = isee_*.csv
soggetto = CODFISC
fonte   | campo                | lettura
FASCIA  | isee_fascia          |
VALORE  | isee_valore          | decimale(,)
PATR    | patrimonio_mobiliare | decimale(,)
";

/// No value of any record: one that is looked for afterwards.
const CANARY: &str = "987654,32";

fn folder(config: &Config) -> PathBuf {
    config.deployment.genesis.parent().unwrap().parent().unwrap().to_owned()
}

/// Capannori's software leaves files.
fn drops(config: &mut Config) {
    let folder = folder(config);
    std::fs::create_dir_all(folder.join("drop")).unwrap();
    std::fs::write(folder.join("mapping.txt"), MAPPING).unwrap();
    let provider = config.providers.get_mut("comune-capannori").unwrap();
    provider.mappings = vec![folder.join("mapping.txt")];
    provider.kind = ProviderKind::File(Drop {
        place: Place::Folder(folder.join("drop")),
        encoding: Encoding::Windows1252,
        separator: ';',
        look_every: Duration::from_millis(1),
    });
}

fn anna() -> &'static CodiceFiscale {
    &PEOPLE.people()[ANNA].code
}

async fn world() -> World {
    World::of(Setup { config: drops, ..Setup::default() }).await
}

fn drop_file(world: &World, name: &str, rows: &str) {
    let text = format!("CODFISC;FASCIA;VALORE;PATR\r\n{rows}");
    let at = world.folder.path("drop");
    std::fs::write(at.join(format!("{name}.part")), text).unwrap();
    std::fs::rename(at.join(format!("{name}.part")), at.join(name)).unwrap();
}

fn outcomes(world: &World) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(world.folder.path("drop").join("esiti")).unwrap() {
        all.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    all
}

#[tokio::test]
async fn a_dropped_file_answers_a_pull_and_the_log_says_how_well_it_is_known_who_said_it() {
    let world = world().await;
    let situation = Situation::of(&world).await;
    drop_file(&world, "isee_1.csv", &format!("{};3;8.450,00;{CANARY}\r\n", anna().expose()));
    let told = situation.cpi.post("/pulls", &situation.pull()).await;
    assert_eq!((told.status, told.record().unwrap().get("isee_fascia")), (200, Some(&json!("3"))));
    assert_eq!(told.outcome("isee_valore"), "withheld");
    let (_, slots) = world.entries_of(told.exchange()).await.remove(0);
    let said = decision(&slots);
    assert_eq!((&said["source_by"], &said["source_of"]), (&json!("folder"), &json!("bytes")));
    let row = format!("{};3;8.450,00;{CANARY}\n", anna().expose());
    assert_eq!(said["source"], json!(Sha256::of(row.as_bytes())));
    assert!(!outcomes(&world).contains(CANARY) && !said.to_string().contains("987654"));
}

#[tokio::test]
async fn a_row_in_quarantine_is_a_logged_failure_and_its_reason_is_told_to_the_agency() {
    let world = world().await;
    let situation = Situation::of(&world).await;
    let wrong_letter = {
        let (stem, last) = anna().expose().split_at(15);
        format!("{stem}{}", if last == "A" { "B" } else { "A" })
    };
    let omocode = anna().with_omocodia(2);
    drop_file(
        &world,
        "isee_1.csv",
        &format!("{wrong_letter};3;1,00;1,00\r\n{};4;1,00;1,00\r\n", omocode.expose()),
    );
    // Neither the wrong code nor that of another person is Anna's.
    let told = situation.cpi.post("/pulls", &situation.pull()).await;
    told.assert_refused(404, "exchange.subject-unknown");
    assert!(outcomes(&world).contains("il carattere di controllo del codice fiscale è sbagliato"));

    drop_file(&world, "isee_2.csv", &format!("{};9;8450.00;1,00\r\n", anna().expose()));
    let told = situation.cpi.post("/pulls", &situation.pull()).await;
    told.assert_refused(502, "adapter.mismatch");
    assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
    let all = outcomes(&world);
    assert!(all.contains("\"2\";\"isee_fascia\";\"code-unknown\""), "{all}");
    assert!(all.contains("\"2\";\"isee_valore\";\"not-a-number\""), "{all}");
    assert!(!all.contains(anna().expose()));

    drop_file(&world, "isee_3.csv", &format!("{};4;8.450,00;1,00\r\n", anna().expose()));
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200, "mended");
}

#[tokio::test]
async fn a_gateway_that_restarts_reads_the_same_folder_and_tells_nothing_twice() {
    let mut world = world().await;
    let situation = Situation::of(&world).await;
    drop_file(&world, "isee_1.csv", &format!("{};3;8.450,00;1,00\r\n", anna().expose()));
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
    let before = outcomes(&world);
    world.stop_gateway().await;
    world.start_gateway().await;
    let again = Desk::new(&world.ends(), "cpi-lucca", COACH);
    assert_eq!(again.post("/pulls", &situation.pull()).await.status, 200);
    assert_eq!(outcomes(&world), before);
}

#[tokio::test]
async fn a_mapping_that_does_not_fit_stops_the_start_and_says_where() {
    fn broken(config: &mut Config) {
        drops(config);
        let text = MAPPING.replace("isee_fascia", "isee_fasica");
        std::fs::write(folder(config).join("mapping.txt"), text).unwrap();
    }
    let mut world = world().await;
    world.stop_gateway().await;
    let mut config = world.config().clone();
    broken(&mut config);
    let refused = varco::start::start(config, world.clock(), seeded(3)).await.err().unwrap();
    let text = refused.to_string();
    assert!(
        text.contains("mapping.txt:6: unknown field `isee_fasica`; did you mean `isee_fascia`?"),
        "{text}"
    );
}

/// The configuration as a file, with Capannori's folder in it, as whoever tends the adapter has it.
fn written(world: &World) -> String {
    let text = std::fs::read_to_string(world.folder.path("varco.toml")).unwrap();
    let (before, after) = text.split_once("[providers.comune-capannori]").unwrap();
    let rest =
        after.split_once("[providers.").map_or(String::new(), |(_, rest)| format!("[providers.{rest}"));
    let ours =
        "[providers.comune-capannori]\nkind = \"file\"\nfolder = \"drop\"\nmappings = [\"mapping.txt\"]\n";
    let path = world.folder.path("tend.toml");
    std::fs::write(&path, format!("{before}{ours}{rest}")).unwrap();
    path.display().to_string()
}

/// Runs a command as a process would, with a runtime of its own.
async fn command(words: &[&str]) -> String {
    let words: Vec<String> = ["varco"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let run = move || format!("{:?}", Cli::try_parse_from(words).unwrap().run());
    tokio::task::spawn_blocking(move || std::thread::spawn(run).join().unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_adapter_is_tried_before_anybody_depends_on_it() {
    let (yes, no, usage) = (ExitCode::SUCCESS, ExitCode::from(1), ExitCode::from(2));
    let told = |code: ExitCode| format!("{code:?}");
    let world = world().await;
    let config = written(&world);
    let check = ["adapter", "check", "comune-capannori", "--config", &config];
    let sample = ["adapter", "sample", "comune-capannori", "--config", &config, "--json"];
    drop_file(&world, "isee_1.csv", &format!("{};3;8.450,00;1,00\r\n", anna().expose()));
    assert_eq!(command(&check).await, told(yes));
    assert_eq!(command(&sample).await, told(ExitCode::SUCCESS));
    drop_file(&world, "isee_2.csv", &format!("{};9;8.450,00;1,00\r\n", anna().expose()));
    assert_eq!(command(&check).await, told(no));
    assert_eq!(command(&sample).await, told(ExitCode::from(1)));
    // A real person's values are not printed, and neither is anything of a system that is not configured.
    drop_file(&world, "isee_3.csv", "RSSMRA80A01H501U;3;1,00;1,00\r\n");
    assert_eq!(command(&sample).await, told(usage));
    assert_eq!(
        command(&["adapter", "check", "comune-lucca", "--config", &config]).await,
        told(ExitCode::from(2))
    );
}
