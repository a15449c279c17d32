//! The same questions to the same view in SQLite, PostgreSQL and MariaDB.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};

use varco_core::id::ExchangeId;
use varco_core::statistics::counts::AgencyCounts;
use varco_core::statistics::release::{Occasion, Release, Table};
use varco_core::statistics::{Area, Tabulation, UNKNOWN};
use varco_core::time::Timestamp;
use varco_core::wire::{Evidence, Jtis, LevelOfAssurance};

use super::*;
use crate::testing::{Folder, records};

#[path = "../../../tests/src/mariadb.rs"]
mod mariadb;
#[path = "../../../tests/src/postgres.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole product, which use the rest")]
mod postgres;

use mariadb::Mariadb;
use postgres::Postgres;

const ANNA: &str = "XXQNNA85C52B648J";

const MAPPING: &str = "
[mappatura condizione_economica_prestazioni]
da       = VW_PRESTAZIONI
soggetto = CF
fonte           | campo                 | lettura
ISEE            | isee_valore           |
SCAD            | isee_scadenza         |
righe[].CODICE  | prestazioni[].codice  |
righe[].IMPORTO | prestazioni[].importi |
righe[].NOME    | prestazioni[].denominazione |

[conteggio condizione_economica_prestazioni]
da       = VW_CONTEGGI
soggetto = CF
periodo  = PERIODO
dimensione       | colonna
isee_fascia      | FASCIA
obblighi_attivazione | SOGGETTO
";

/// Plain SQL that all three understand.
const SCHEMA: [&str; 10] = [
    "CREATE TABLE prestazioni (CF VARCHAR(16), ISEE NUMERIC(12,2), SCAD DATE, CODICE VARCHAR(10), IMPORTO NUMERIC(12,2), NOME VARCHAR(60), DIARIO VARCHAR(60))",
    "INSERT INTO prestazioni VALUES ('XXQNNA85C52B648J', 8450.55, '2026-12-31', 'A1.01', 120.25, 'Contributo città', 'CANARINO')",
    "INSERT INTO prestazioni VALUES ('XXQNNA85C52B648J', 8450.55, '2026-12-31', 'A1.02', NULL, NULL, 'CANARINO')",
    "INSERT INTO prestazioni VALUES ('XXQMRC60A01E715X', 100.00, NULL, 'A1.01', 10.00, 'x', 'CANARINO')",
    "INSERT INTO prestazioni VALUES ('XXQMRC60A01E715X', 200.00, NULL, 'A1.02', 10.00, 'x', 'CANARINO')",
    "CREATE VIEW VW_PRESTAZIONI AS SELECT CF AS {CF}, ISEE AS {ISEE}, SCAD AS {SCAD}, CODICE AS {CODICE}, IMPORTO AS {IMPORTO}, NOME AS {NOME} FROM prestazioni",
    "CREATE VIEW vw_lenta AS SELECT 1",
    "CREATE TABLE persone (CF VARCHAR(16), PERIODO VARCHAR(7), FASCIA INTEGER, SOGGETTO VARCHAR(9))",
    "INSERT INTO persone VALUES ('A', '2026-S1', 1, 'si'), ('B', '2026-S1', 1, 'si'), ('C', '2026-S1', 9, 'no'), ('D', '2026-S1', NULL, 'no'), ('E', '2025-S2', 1, 'si'), ('F', '2025-S1', 1, 'si'), ('F', '2025-S1', 2, 'si')",
    "CREATE VIEW VW_CONTEGGI AS SELECT CF AS {CF}, PERIODO AS {PERIODO}, FASCIA AS {FASCIA}, SOGGETTO AS {SOGGETTO} FROM persone",
];

/// One database and what holds it.
struct World {
    sql: Sql,
    _server: Server,
}

enum Server {
    File(#[expect(dead_code, reason = "ends with its value")] Folder),
    Mariadb(#[expect(dead_code, reason = "ends with its value")] Mariadb),
    Postgres(#[expect(dead_code, reason = "ends with its value")] Postgres),
}

fn mappings() -> Mappings {
    Mappings::read(&[("m.txt".to_owned(), MAPPING.as_bytes().to_vec())], records(), &[]).unwrap()
}

fn settings(place: Place) -> Settings {
    Settings { place, statement_timeout: Duration::from_millis(800), connections: 2 }
}

/// The view's columns in capitals, as the mapping names them.
fn statements(quote: char) -> Vec<String> {
    SCHEMA.iter().map(|text| text.replace(['{', '}'], &quote.to_string())).collect()
}

impl World {
    async fn sqlite() -> Self {
        let folder = Folder::new("sql");
        let path = folder.path().join("agency.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut link = options.connect().await.unwrap();
        for statement in statements('"') {
            link.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        link.close().await.unwrap();
        let sql = Sql::new(&settings(super::Place::Sqlite(path)), mappings()).unwrap();
        Self { sql, _server: Server::File(folder) }
    }

    async fn postgres() -> Self {
        let server = Postgres::start().unwrap().expect("PostgreSQL is installed");
        let pool = PgPool::connect(&server.url()).await.unwrap();
        for statement in statements('"') {
            let statement = statement.replace("VIEW VW_PRESTAZIONI", "VIEW \"VW_PRESTAZIONI\"");
            let statement = statement.replace("VIEW VW_CONTEGGI", "VIEW \"VW_CONTEGGI\"");
            pool.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        let directory = server.url().split("host=").nth(1).unwrap().to_owned();
        let at = Address::Socket(directory.into());
        let place = super::Server { at, database: "postgres".into(), user: "varco".into(), password: None };
        let sql = Sql::new(&settings(super::Place::Postgres(place)), mappings()).unwrap();
        Self { sql, _server: Server::Postgres(server) }
    }

    async fn mariadb() -> Self {
        let server = Mariadb::start().unwrap().expect("MariaDB is installed");
        for statement in statements('`') {
            server.run(&format!("USE anagrafe; {statement}")).unwrap();
        }
        let at = Address::Socket(server.socket());
        let place = super::Server { at, database: "anagrafe".into(), user: "root".into(), password: None };
        let sql = Sql::new(&settings(super::Place::Mysql(place)), mappings()).unwrap();
        Self { sql, _server: Server::Mariadb(server) }
    }

    async fn count(&self, period: &str) -> Result<Counted, FetchError> {
        let (tabulation, exchange) = (tabulation(), ExchangeId::new(Timestamp::default(), [1; 10]));
        let evidence = Evidence {
            operator: "op-7".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        };
        let request = CountRequest {
            exchange: &exchange,
            consumer: &"cpi-lucca".parse().unwrap(),
            purpose: &"F10".parse().unwrap(),
            tabulation: &tabulation,
            period: period.parse().unwrap(),
            evidence: &evidence,
            jtis: &Jtis::new(Timestamp::default(), [[1; 10]; 3]),
        };
        self.sql.count(&request).await
    }

    async fn read(&self, person: &str, fields: &[&str]) -> Result<Value, FetchError> {
        let mapping = self.sql.mappings.of(&"condizione_economica_prestazioni".parse().unwrap()).unwrap();
        let subject = person.parse().unwrap();
        let fields: Vec<FieldId> = fields.iter().map(|field| field.parse().unwrap()).collect();
        let (tree, said) = self.sql.tree(mapping, &subject, &fields).await?;
        assert!(!tree.to_string().contains("CANARINO"), "what the mapping does not name is not selected");
        assert_eq!((said.of, said.by), (SaidOf::Tree, Assurance::Database));
        let mapped = mapping.read(&tree, &Ask { row: 0, subject: Some(&subject), fields: &fields });
        Ok(Value::Object(mapped.map_err(FetchError::NotFitting)?.fields))
    }
}

/// A threshold of one, which no policy may have: so that everything that was counted can be seen.
fn tabulation() -> Tabulation {
    serde_json::from_value(json!({
        "record_type": "condizione_economica_prestazioni",
        "title": "Prova", "counts": "persone", "unit": "half_year", "threshold": 1,
        "dimensions": [
            { "field": "isee_fascia", "view": "intero", "classes": ["1", "2", UNKNOWN] },
            { "field": "obblighi_attivazione", "view": "soggetto", "classes": ["si", "no", UNKNOWN] },
        ],
    }))
    .unwrap()
}

fn table(counts: AgencyCounts) -> Value {
    let (tabulation, exchange) = (tabulation(), ExchangeId::new(Timestamp::default(), [1; 10]));
    let area = Area { name: "area".into(), owners: vec!["comune-capannori".parse().unwrap()] };
    let occasion =
        Occasion { exchange: &exchange, at: Timestamp::default(), period: "2026-S1".parse().unwrap() };
    let release = Release::make(&tabulation, area, vec![counts], &occasion);
    let table = Table { tabulation: &tabulation, dimensions: vec![0, 1], releases: vec![&release] };
    table.area(&release)["rows"].clone()
}

async fn a_persons_rows_become_a_record_of_what_was_asked(world: World) {
    let all = ["isee_valore", "isee_scadenza", "prestazioni", "prestazioni.importi"];
    assert_eq!(
        world.read(ANNA, &all).await.unwrap(),
        json!({
            "isee_valore": "8450.55", "isee_scadenza": "2026-12-31",
            "prestazioni": [
                {"codice": "A1.01", "importi": "120.25", "denominazione": "Contributo città"}, {"codice": "A1.02"},
            ],
        })
    );
    let part = world.read(ANNA, &["prestazioni"]).await.unwrap();
    assert_eq!(part["prestazioni"][0], json!({"codice": "A1.01", "denominazione": "Contributo città"}));
    assert!(part.get("isee_valore").is_none());
}

async fn rows_that_contradict_one_another_are_refused_and_nobody_is_unknown(world: World) {
    let refused = world.read("XXQMRC60A01E715X", &["isee_valore"]).await.unwrap_err();
    let FetchError::NotFitting(faults) = refused else { panic!("{refused}") };
    assert_eq!(faults, [RowFault::new(2, "ISEE", Reason::Ambiguous)]);
    let unknown = world.read("XXQLCU90E10E715B", &["isee_valore"]).await.unwrap_err();
    assert!(matches!(unknown, FetchError::SubjectUnknown), "{unknown}");
}

async fn people_are_counted_in_the_database_each_once(world: World) {
    let counted = world.count("2026-S1").await.unwrap();
    assert_eq!((counted.said.of, counted.said.by), (SaidOf::Tree, Assurance::Database));
    let expected = [(["1", "si"], 2_u64), (["non_noto", "no"], 2)];
    let expected = expected.map(|(classes, people)| (classes.map(str::to_owned).to_vec(), people));
    let expected = AgencyCounts::check(expected, &tabulation()).unwrap();
    assert_eq!(table(counted.counts), table(expected));
    assert!(matches!(world.count("2025-S1").await, Err(FetchError::CountedTwice)), "one has two rows");
    assert!(matches!(world.count("2026-S2").await, Err(FetchError::NoCounts)), "it has not been counted yet");
}

async fn sessions_cannot_write(world: World) {
    let write = "INSERT INTO prestazioni (CF) VALUES ('x')".to_owned();
    let refused = world.sql.database.ask(write, &[], &[]).await.unwrap_err();
    assert!(matches!(refused, FetchError::Database { .. }), "{refused}");
}

async fn a_statement_that_takes_too_long_is_ended(world: World) {
    let endless = match world.sql.database.dialect() {
        Dialect::Mysql => "SELECT SLEEP(30)",
        Dialect::Postgres => "SELECT PG_SLEEP(30)::text",
        Dialect::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT CAST(count(*) AS TEXT) FROM n"
        }
    };
    let began = std::time::Instant::now();
    let done = world.sql.database.ask(endless.to_owned(), &["A"], &[]).await;
    assert!(began.elapsed() < Duration::from_secs(20));
    // MariaDB says of a sleep that was cut short that it slept less.
    if world.sql.database.dialect() != Dialect::Mysql {
        assert!(matches!(done, Err(FetchError::Timeout)), "{:?}", done.err());
    }
}

async fn every_row_can_be_looked_at(world: World) {
    let mapping = world.sql.mappings.of(&"condizione_economica_prestazioni".parse().unwrap()).unwrap();
    let trees = world.sql.trees(mapping, 100).await.unwrap();
    assert_eq!(trees.len(), 2, "two people");
}

macro_rules! on_all {
    ($($test:ident)*) => {
        mod sqlite_view {
            $(#[tokio::test] async fn $test() { super::$test(super::World::sqlite().await).await; })*
        }
        mod postgres_view {
            $(#[tokio::test]
            #[ignore = "needs PostgreSQL"]
            async fn $test() { super::$test(super::World::postgres().await).await; })*
        }
        mod mariadb_view {
            $(#[tokio::test]
            #[ignore = "needs MariaDB"]
            async fn $test() { super::$test(super::World::mariadb().await).await; })*
        }
    };
}

on_all! {
    a_persons_rows_become_a_record_of_what_was_asked
    rows_that_contradict_one_another_are_refused_and_nobody_is_unknown
    sessions_cannot_write
    a_statement_that_takes_too_long_is_ended
    every_row_can_be_looked_at
    people_are_counted_in_the_database_each_once
}

#[test]
fn names_are_quoted_and_the_person_is_a_parameter() {
    let hostile = "da = a\"; DROP TABLE x; --";
    assert!(view(hostile).is_none() && view("a.b.c.d").is_none() && view("a..b").is_none());
    let all = mappings();
    let mapping = all.all().next().unwrap();
    let columns = mapping.columns(&["isee_valore".parse().unwrap()]);
    assert_eq!(
        Dialect::Postgres.statement(mapping, &columns, Rows::OfPerson),
        "SELECT \"CF\"::text, \"ISEE\"::text FROM \"VW_PRESTAZIONI\" WHERE \"CF\" = $1 LIMIT 201"
    );
    assert_eq!(
        Dialect::Mysql.statement(mapping, &columns, Rows::OfPerson),
        "SELECT CAST(`CF` AS CHAR), CAST(`ISEE` AS CHAR) FROM `VW_PRESTAZIONI` WHERE `CF` = ? LIMIT 201"
    );
    assert_eq!(Dialect::Mysql.name("a`b"), "`a``b`");
    assert_eq!(Dialect::Sqlite.name("a\"b"), "\"a\"\"b\"");
}

#[test]
fn a_mapping_that_no_table_can_serve_is_told_whole() {
    let text = "[mappatura condizione_economica_prestazioni]\nda = a..b\nfonte | campo\nA.B | isee_valore\n";
    let all = Mappings::read(&[("m".to_owned(), text.as_bytes().to_vec())], records(), &[]).unwrap();
    let faults = Sql::new(&settings(super::Place::Sqlite("x".into())), all).err().unwrap();
    assert_eq!(faults.len(), 3, "{faults:?}");
}
