//! What goes wrong with an agency's system has the same stable code, in the answer and in the log, whatever kind of system it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use varco::config::{Config, Drop, Fhir, FhirDoor, Provider, ProviderKind, Soap, Sql, SqlDatabase};
use varco_adapters::encoding::Encoding;
use varco_adapters::file::{FILE_MAX, Place};
use varco_adapters::soap::{Security, Version};
use varco_core::log::entry::Kind;

use crate::world::asks::Situation;
use crate::world::provider::Play;
use crate::world::{Setup, World, decision};

/// Longer than any answer of loopback takes.
const TIMEOUT: Duration = Duration::from_millis(600);
const NOBODY_LISTENS: &str = "https://localhost:1/varco/v1";

/// An answer of status and code.
type Expected = (u16, &'static str);

const TIMED_OUT: Expected = (504, "adapter.timeout");
const UNREACHABLE: Expected = (502, "adapter.unreachable");
const REFUSED: Expected = (502, "adapter.refused");
const MISMATCH: Expected = (502, "adapter.mismatch");
const TOO_LARGE: Expected = (502, "adapter.too-large");
const TRUNCATED: Expected = (502, "adapter.truncated");
const SIGNATURE: Expected = (502, "adapter.signature");
const GONE: Expected = (502, "adapter.gone");
const UNKNOWN: Expected = (404, "exchange.subject-unknown");

/// One pull, and what its answer, its receipt and its one entry say of it.
async fn told(world: &World, anna: &Situation, what: &str, (status, code): Expected) {
    let before = world.log_size().await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!((told.status, told.code()), (status, code), "{what}: {:?}", told.body.get("detail"));
    told.assert_refused(status, code);
    let entries = world.entries_of(told.exchange()).await;
    assert_eq!(entries.len(), 1, "{what}");
    let (leaf, slots) = &entries[0];
    assert_eq!((leaf, leaf.kind(), leaf.index()), (&told.receipt().leaf, Kind::Failure, before), "{what}");
    assert_eq!(leaf.content().code.as_ref().unwrap().as_str(), code, "{what}");
    assert!(!decision(slots).to_string().contains("CANARINO"), "{what}");
}

async fn over_https(kind: fn(&mut Config), media_type: &'static str, table: &[(&str, Play, Expected)]) {
    let setup = || Setup { play: Some(Play::Silent), config: kind, ..Setup::default() };
    let world = World::of(setup()).await;
    let anna = Situation::of(&world).await;
    let provider = world.provider.as_ref().unwrap();
    provider.speak(media_type);
    for (what, play, expected) in table {
        provider.play(play.clone());
        told(&world, &anna, what, *expected).await;
    }
}

/// Capannori's section, which tests may make another kind of.
fn capannori(config: &mut Config) -> (&mut Provider, PathBuf) {
    let folder = config.deployment.genesis.parent().unwrap().parent().unwrap().to_owned();
    let provider = config.providers.get_mut("comune-capannori").unwrap();
    provider.timeout = TIMEOUT;
    provider.failures = 1000;
    (provider, folder)
}

fn url(provider: &Provider) -> String {
    let ProviderKind::Rest(rest) = &provider.kind else { panic!("it was made another kind of") };
    rest.url.clone()
}

fn mapped(provider: &mut Provider, folder: &Path, mapping: &str) {
    std::fs::write(folder.join("mapping.txt"), mapping).unwrap();
    provider.mappings = vec![folder.join("mapping.txt")];
}

fn rest(config: &mut Config) {
    capannori(config);
}

fn rest_nowhere(config: &mut Config) {
    let (provider, _) = capannori(config);
    let ProviderKind::Rest(rest) = &mut provider.kind else { panic!("it is one") };
    rest.url = NOBODY_LISTENS.to_owned();
}

#[tokio::test]
async fn failures_of_a_system_that_speaks_our_protocol_have_their_codes() {
    over_https(
        rest,
        "application/json",
        &[
            ("no answer", Play::Silent, TIMED_OUT),
            ("a signed 404", Play::Unknown, UNKNOWN),
            ("a 404 that anybody may have written", Play::Status(404), SIGNATURE),
            ("500", Play::Status(500), REFUSED),
            ("no JSON", Play::Body(b"{".to_vec()), MISMATCH),
            ("without end", Play::Endless, TOO_LARGE),
            ("cut short", Play::Truncated, TRUNCATED),
            ("another seal", Play::SealedBy("comune-lucca"), SIGNATURE),
            ("no signature", Play::Unsigned, SIGNATURE),
        ],
    )
    .await;
    over_https(rest_nowhere, "application/json", &[("nobody listens", Play::Silent, UNREACHABLE)]).await;
}

fn fhir_at(config: &mut Config, nowhere: Option<&str>) {
    let (provider, folder) = capannori(config);
    let url = nowhere.map_or_else(|| url(provider), str::to_owned);
    provider.kind = ProviderKind::Fhir(Fhir { url, door: FhirDoor::Certificate, answer_bytes: 100_000 });
    let mapping = "[mappatura condizione_economica_prestazioni]\nda = Patient\n\
                   soggetto = Patient.identifier[system=urn:oid:2.16.840.1.113883.2.9.4.3.2].value\n\
                   fonte | campo\nPatient.id | isee_fascia\n";
    mapped(provider, &folder, mapping);
}

#[tokio::test]
async fn failures_of_a_fhir_server_have_their_codes() {
    let nobody = r#"{"resourceType":"Bundle","type":"searchset","total":0}"#;
    let fault = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception","diagnostics":"CANARINO"}]}"#;
    over_https(
        |config| fhir_at(config, None),
        "application/fhir+json",
        &[
            ("no answer", Play::Silent, TIMED_OUT),
            ("nobody found", Play::Plain(nobody), UNKNOWN),
            ("404", Play::Status(404), REFUSED),
            ("410", Play::Status(410), GONE),
            ("500", Play::Status(500), REFUSED),
            ("an outcome that is an error", Play::Plain(fault), REFUSED),
            ("no JSON", Play::Plain("{"), MISMATCH),
            ("no bundle", Play::Plain(r#"{"resourceType":"CANARINO"}"#), MISMATCH),
            ("without end", Play::Endless, TOO_LARGE),
            ("cut short", Play::Truncated, TRUNCATED),
        ],
    )
    .await;
    let nowhere = |config: &mut Config| fhir_at(config, Some(NOBODY_LISTENS));
    over_https(nowhere, "application/fhir+json", &[("nobody listens", Play::Silent, UNREACHABLE)]).await;
}

fn soap_at(config: &mut Config, security: Security, nowhere: Option<&str>) {
    let (provider, folder) = capannori(config);
    let url = nowhere.map_or_else(|| url(provider), str::to_owned);
    let audience = "https://soap.example".to_owned();
    let (version, answer_bytes) = (Version::V11, 100_000);
    provider.kind = ProviderKind::Soap(Soap { url, audience, version, security, answer_bytes });
    let mapping = "[mappatura condizione_economica_prestazioni]\nsoggetto = cf\nspazio = urn:isee\n\
                   azione = urn:isee:chiedi\ndomanda = chiedi.cf={soggetto}\nrisposta = chiediResponse.isee\n\
                   vuota = chiediResponse.esito=NT\nfonte | campo\nfascia | isee_fascia\n";
    mapped(provider, &folder, mapping);
}

#[tokio::test]
async fn failures_of_a_soap_service_have_their_codes() {
    let nobody = "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body>\
                  <chiediResponse xmlns='urn:isee'><esito>NT</esito></chiediResponse></e:Body></e:Envelope>";
    let fault = "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body><e:Fault>\
                 <faultcode>e:Server</faultcode><faultstring>CANARINO</faultstring></e:Fault></e:Body></e:Envelope>";
    over_https(
        |config| soap_at(config, Security::Channel, None),
        "text/xml",
        &[
            ("no answer", Play::Silent, TIMED_OUT),
            ("nobody found", Play::Plain(nobody), UNKNOWN),
            ("404", Play::Status(404), REFUSED),
            ("500", Play::Status(500), REFUSED),
            ("a fault", Play::Plain(fault), REFUSED),
            ("no XML", Play::Plain("<CANARINO"), MISMATCH),
            ("no envelope", Play::Plain("<CANARINO/>"), MISMATCH),
            ("without end", Play::Endless, TOO_LARGE),
            ("cut short", Play::Truncated, TRUNCATED),
        ],
    )
    .await;
    let signing = |config: &mut Config| soap_at(config, Security::Signature, None);
    over_https(signing, "text/xml", &[("no signature", Play::Plain(nobody), SIGNATURE)]).await;
    let nowhere = |config: &mut Config| soap_at(config, Security::Channel, Some(NOBODY_LISTENS));
    over_https(nowhere, "text/xml", &[("nobody listens", Play::Silent, UNREACHABLE)]).await;
}

const ROWS: &str = "[mappatura condizione_economica_prestazioni]\nda = {}\nsoggetto = CF\n\
                    fonte | campo\nFASCIA | isee_fascia\n";

fn view(config: &mut Config) {
    let (provider, folder) = capannori(config);
    let database = SqlDatabase::Sqlite(folder.join("agency.db"));
    provider.kind = ProviderKind::Sql(Sql { database, password: None, authorities: Vec::new() });
    mapped(provider, &folder, &ROWS.replace("{}", "prestazioni"));
}

#[tokio::test]
async fn failures_of_a_view_in_a_database_have_their_codes() {
    let world = World::of(Setup { config: view, ..Setup::default() }).await;
    let anna = Situation::of(&world).await;
    told(&world, &anna, "no database", UNREACHABLE).await;

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.folder.path("agency.db"));
    let mut owner = options.create_if_missing(true).connect().await.unwrap();
    told(&world, &anna, "no view", REFUSED).await;
    let person = crate::world::asks::anna()["codice_fiscale"].as_str().unwrap().to_owned();
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0";
    for (what, body, expected) in [
        ("nobody", "SELECT 'XX' AS CF, '3' AS FASCIA".to_owned(), UNKNOWN),
        ("a row that does not fit", format!("SELECT '{person}' AS CF, 'CANARINO' AS FASCIA"), MISMATCH),
        (
            "rows that contradict one another",
            format!("SELECT '{person}' AS CF, '3' AS FASCIA UNION SELECT '{person}', '4'"),
            MISMATCH,
        ),
        (
            "an answer that takes too long",
            format!("SELECT '{person}' AS CF, ({endless}) AS FASCIA"),
            TIMED_OUT,
        ),
    ] {
        let view = format!("DROP VIEW IF EXISTS prestazioni; CREATE VIEW prestazioni AS {body}");
        owner.execute(AssertSqlSafe(view)).await.unwrap();
        told(&world, &anna, what, expected).await;
    }
    owner.close().await.unwrap();
}

fn drops(config: &mut Config) {
    let (provider, folder) = capannori(config);
    provider.kind = ProviderKind::File(Drop {
        place: Place::Folder(folder.join("drop")),
        encoding: Encoding::Utf8,
        separator: ';',
        look_every: Duration::from_millis(1),
    });
    mapped(provider, &folder, &ROWS.replace("{}", "isee_*.csv"));
}

#[tokio::test]
async fn failures_of_a_drop_folder_have_their_codes() {
    let world = World::of(Setup { config: drops, ..Setup::default() }).await;
    let anna = Situation::of(&world).await;
    told(&world, &anna, "no folder", UNREACHABLE).await;

    let drop = world.folder.path("drop");
    std::fs::create_dir(&drop).unwrap();
    told(&world, &anna, "no file", UNKNOWN).await;
    let leave = |name: &str, text: &str| std::fs::write(drop.join(name), text).unwrap();
    let person = crate::world::asks::anna()["codice_fiscale"].as_str().unwrap().to_owned();
    leave("isee_1.csv", &format!("CF;FASCIA\n{person};CANARINO\n"));
    told(&world, &anna, "a row that does not fit", MISMATCH).await;
    leave("isee_2.csv", "CF;CANARINO\nXX;3\n");
    told(&world, &anna, "a file without its column", UNKNOWN).await;
    leave("isee_3.csv", "");
    let large = std::fs::File::options().write(true).open(drop.join("isee_3.csv")).unwrap();
    large.set_len(u64::try_from(FILE_MAX).unwrap() + 1).unwrap();
    told(&world, &anna, "a file that is too large", TOO_LARGE).await;
    std::fs::remove_file(drop.join("isee_3.csv")).unwrap();
    leave("isee_4.csv", &format!("CF;FASCIA\n{person};3\n"));
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!((told.status, &told.body["record"]["isee_fascia"]), (200, &json!("3")), "mended");
}
