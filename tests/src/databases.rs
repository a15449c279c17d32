//! PostgreSQL on another machine: over TLS with a certificate and a name that are checked, and not at all otherwise.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use varco_core::log::entry::Kind;
use varco_store::db::{Address, Backend, ConnectError};

use crate::postgres::{ELSEWHERE, Postgres};
use crate::process::{self, Deployed};
use crate::world::provider::Play;
use crate::world::{Folder, PEOPLE, decision};

/// A server with a certificate for a name, and the PEM file of the authority that issued it.
struct Elsewhere {
    folder: Folder,
    server: Postgres,
}

impl Elsewhere {
    fn start(name: &str) -> Self {
        let folder = Folder::new();
        let authority = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path("authority.pem"), params.self_signed(&authority).unwrap().pem()).unwrap();
        let (issuer, key) = (Issuer::new(params, authority), KeyPair::generate().unwrap());
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let started = Postgres::start_with_tls(&certificate.pem(), &key.serialize_pem()).unwrap();
        Self { folder, server: started.expect("PostgreSQL is installed") }
    }

    fn authority(&self) -> String {
        self.folder.path("authority.pem").display().to_string()
    }

    fn url(&self, more: &str) -> String {
        self.server.url_elsewhere() + more
    }
}

async fn connected(url: &str) -> Result<bool, ConnectError> {
    let Backend::Postgres(mut link) = url.parse::<Address>()?.writer().await? else { panic!("{url}") };
    let row = link.fetch_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap();
    Ok(row.get(0))
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_log_on_another_machine_is_reached_over_tls_with_the_right_certificate_or_not_at_all() {
    let there = Elsewhere::start(ELSEWHERE);
    let trusting = |authority: &str| there.url(&format!("?sslrootcert={authority}"));
    assert!(connected(&trusting(&there.authority())).await.unwrap(), "the connection is in the clear");
    let named = Elsewhere::start("database.example");
    for (url, why) in [
        (there.url(""), "no authority that we know"),
        (trusting(&named.authority()), "another authority"),
        (named.url(&format!("?sslrootcert={}", named.authority())), "another name"),
    ] {
        let refused = connected(&url).await.unwrap_err();
        assert!(format!("{refused:?}").contains("InvalidCertificate"), "{why}: {refused:?}");
    }
    for weak in ["disable", "allow", "require", "verify-ca"] {
        let refused = there.url(&format!("?sslmode={weak}")).parse::<Address>().unwrap_err();
        assert!(matches!(refused, ConnectError::Unprotected), "{weak}");
    }
    // On this machine a socket is protection enough.
    assert!(!connected(&there.server.url()).await.unwrap());
}

const MAPPING: &str = "
[mappatura condizione_economica_prestazioni]
da       = prestazioni
soggetto = cf
fonte  | campo                | lettura
fascia | isee_fascia          |
valore | isee_valore          |
patr   | patrimonio_mobiliare |
";

/// The section of a Comune whose view is there, trusting one authority.
fn section(there: &Elsewhere, authority: &str) -> String {
    std::fs::write(there.folder.path("mapping.txt"), MAPPING).unwrap();
    format!(
        "[providers.comune-lucca]\nkind = \"sql\"\ndatabase = \"{}\"\nauthorities = [\"{authority}\"]\n\
         mappings = [\"{}\"]\n",
        there.url(""),
        there.folder.path("mapping.txt").display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_view_on_another_machine_answers_a_pull_over_tls_or_not_at_all() {
    let there = Elsewhere::start(ELSEWHERE);
    let person = PEOPLE.people()[3].code.expose();
    let mut owner = PgConnection::connect(&there.server.url()).await.unwrap();
    let statement = format!(
        "CREATE TABLE prestazioni (cf text, fascia text, valore text, patr text);
         INSERT INTO prestazioni VALUES ('{person}', '2', '7120.50', '990.00')"
    );
    owner.execute(AssertSqlSafe(statement)).await.unwrap();
    owner.close().await.unwrap();
    let pull = json!({
        "record_type": "condizione_economica_prestazioni",
        "subject": { "codice_fiscale": person },
        "provider": "comune-lucca",
        "purpose": "F08",
    });
    let another = Elsewhere::start("database.example");
    for (authority, is_right) in [(there.authority(), true), (another.authority(), false)] {
        let deployed = Deployed::start(Play::Honest, &section(&there, &authority)).await;
        let told = deployed.desk("asl-toscana-nord-ovest", "op-asl-7").post("/pulls", &pull).await;
        let config = deployed.folder.path("varco.toml").display().to_string();
        let ask = |what: &str| {
            let words = ["adapter", what, "comune-lucca", "--config", &config, "--json"];
            process::run(&deployed.folder.path(""), &words)
        };
        let (check, sample) = (ask("check"), ask("sample"));
        if is_right {
            assert_eq!(told.status, 200, "{:?}", told.body);
            let record = told.record().unwrap();
            assert_eq!((&record["isee_fascia"], &record["isee_valore"]), (&json!("2"), &json!(true)));
            assert_eq!(told.outcome("patrimonio_mobiliare"), "withheld");
            let log = deployed.log().await;
            let said = decision(&log.slots(told.receipt().leaf.index()).await.unwrap());
            assert_eq!(said["source_by"], "database");
            log.close().await;
            assert_eq!((check.status.code(), sample.status.code()), (Some(0), Some(0)));
            let counted: Value = serde_json::from_str(&process::said(&check)).unwrap();
            assert_eq!(counted["records"][0]["records"], 1);
            assert!(!process::said(&check).contains("7120"), "a check prints a value");
            assert!(process::said(&sample).contains("7120.50"));
        } else {
            told.assert_refused(502, "adapter.certificate");
            assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
            for output in [check, sample] {
                assert_eq!(output.status.code(), Some(2));
                let why = String::from_utf8(output.stderr).unwrap();
                assert!(why.contains("adapter.certificate"), "{why}");
            }
        }
        deployed.verify_log();
    }
}
