//! Drops as vendors write them, in a folder and on a real SFTP server.

use serde_json::{Value, json};
use varco_core::id::{AgencyId, ExchangeId};
use varco_core::time::Timestamp;
use varco_core::wire::{Evidence, Jtis, LevelOfAssurance};

use super::*;
use crate::mapping::{Reason, RowFault};
use crate::testing::{self, records};

mod served;

const ANNA: &str = "XXQNNA85C52B648J";
const MARCO: &str = "XXQMRC60A01E715X";

const MAPPING: &str = "
[mappatura condizione_economica_prestazioni]
da       = isee_*.csv
soggetto = CODFISC
modo     = incrementale
fonte          | campo                | lettura          | guasto
ISEE           | isee_valore          | decimale(,)      |
SCADENZA       | isee_scadenza        | data(GG/MM/AAAA) | ometti
DSU            | isee_protocollo_dsu  |                  |
righe[].CODICE | prestazioni[].codice |                  |
";

const HEADER: &str = "CODFISC;ISEE;SCADENZA;DSU;CODICE\r\n";

fn mappings(text: &str) -> Mappings {
    Mappings::read(&[("m.txt".to_owned(), text.as_bytes().to_vec())], records(), &WORDS).unwrap()
}

fn settings(place: Place, encoding: Encoding) -> Settings {
    Settings { place, encoding, separator: ';', look_every: Duration::ZERO, key: [7; 32] }
}

fn source(folder: &testing::Folder, encoding: Encoding) -> File {
    File::new(settings(Place::Folder(folder.path().to_owned()), encoding), mappings(MAPPING)).unwrap()
}

async fn read(file: &File, person: &str) -> Result<Value, FetchError> {
    let mapping = file.mappings.all().next().unwrap();
    let (subject, fields) = (person.parse().unwrap(), mapping.covered());
    let record = file.record(mapping, &subject, &fields).await?;
    let ask = Ask { row: record.row, subject: Some(&subject), fields: &fields };
    Ok(Value::Object(mapping.read(&record.tree, &ask).map_err(FetchError::NotFitting)?.fields))
}

fn faults(error: FetchError) -> Vec<RowFault> {
    let FetchError::NotFitting(faults) = error else { panic!("{error}") };
    faults
}

#[tokio::test]
async fn a_dropped_file_answers_for_each_of_its_people() {
    let folder = testing::Folder::new("drop");
    let rows = format!(
        "{HEADER}{ANNA};8.450,50;31/12/2026;INPS-ISEE-1;A1.01\r\n{MARCO};100,00;;;\r\n{ANNA};8.450,50;31/12/2026;INPS-ISEE-1;A1.02\r\n"
    );
    folder.write("isee_2026-01.csv", rows.as_bytes());
    let file = source(&folder, Encoding::Utf8);
    assert_eq!(
        read(&file, ANNA).await.unwrap(),
        json!({
            "isee_valore": "8450.50", "isee_scadenza": "2026-12-31", "isee_protocollo_dsu": "INPS-ISEE-1",
            "prestazioni": [{"codice": "A1.01"}, {"codice": "A1.02"}],
        })
    );
    assert_eq!(read(&file, MARCO).await.unwrap(), json!({"isee_valore": "100.00"}));
    let unknown = read(&file, "XXQLCU90E10E715B").await.unwrap_err();
    assert!(matches!(unknown, FetchError::SubjectUnknown), "{unknown}");
}

/// Scenario SC10: a vendor's CSV with a wrong check letter and with omocodia.
#[tokio::test]
async fn wrong_rows_go_into_quarantine_with_their_reason_and_the_others_are_served() {
    let folder = testing::Folder::new("drop");
    let omocode = ANNA.parse::<CodiceFiscale>().unwrap().with_omocodia(1);
    let rows = format!(
        "{HEADER}XXQNNA85C52B648K;1,00;;;\r\n{};2,00;;;\r\n{MARCO};3.00;;;\r\n{ANNA};4,00;00/00/2026;;\r\n{ANNA}\r\nXXQLCU90E10E715B;\"5,00;;;\r\n",
        omocode.expose()
    );
    folder.write("isee_a.csv", rows.as_bytes());
    let file = source(&folder, Encoding::Utf8);
    // Omocodia is another person, and theirs alone.
    assert_eq!(read(&file, omocode.expose()).await.unwrap(), json!({"isee_valore": "2.00"}));
    assert_eq!(read(&file, ANNA).await.unwrap(), json!({"isee_valore": "4.00"}));
    assert_eq!(
        faults(read(&file, MARCO).await.unwrap_err()),
        [RowFault::new(4, "isee_valore", Reason::NotNumber)]
    );

    let outcomes = folder.names("esiti");
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    let refused = folder.read(&format!("esiti/{}", outcomes[1]));
    for line in [
        "\"2\";\"CODFISC\";\"check-letter\";\"il carattere di controllo del codice fiscale è sbagliato\"",
        "\"4\";\"isee_valore\";\"not-a-number\"",
        "\"5\";\"isee_scadenza\";\"impossible-date\"",
        "\"6\";\"\";\"row-width\"",
        "\"7\";\"\";\"quotes\"",
    ] {
        assert!(refused.contains(line), "{line} in {refused}");
    }
    let outcome: Value = serde_json::from_str(&folder.read(&format!("esiti/{}", outcomes[0]))).unwrap();
    assert_eq!((&outcome["rows"], &outcome["people"], &outcome["faults"]), (&json!(6), &json!(2), &json!(5)));
    for text in [refused, outcome.to_string()] {
        assert!(!text.contains("XXQ"), "no value is told: {text}");
    }
}

#[tokio::test]
async fn each_encoding_is_read_as_it_is_declared_and_not_otherwise() {
    let rows = |dsu: &[u8]| [HEADER.as_bytes(), ANNA.as_bytes(), b";1,00;;", dsu, b";\r\n"].concat();
    for (encoding, dsu) in [
        (Encoding::Utf8, "città €".as_bytes()),
        (Encoding::Latin9, b"citt\xe0 \xa4"),
        (Encoding::Windows1252, b"citt\xe0 \x80"),
    ] {
        let folder = testing::Folder::new("drop");
        folder.write("isee_a.csv", &rows(dsu));
        let record = read(&source(&folder, encoding), ANNA).await.unwrap();
        assert_eq!(record["isee_protocollo_dsu"], "città €");
    }
    let folder = testing::Folder::new("drop");
    folder.write("isee_a.csv", &rows(b"citt\xe0"));
    let unknown = read(&source(&folder, Encoding::Utf8), ANNA).await.unwrap_err();
    assert!(matches!(unknown, FetchError::SubjectUnknown));
    let refused = folder.read(&format!("esiti/{}", folder.names("esiti")[1]));
    assert!(refused.contains("\"2\";\"\";\"encoding\""), "{refused}");
    let folder = testing::Folder::new("drop");
    folder.write("isee_a.csv", &[b"\xef\xbb\xbf".as_slice(), &rows(b"x")].concat());
    assert!(read(&source(&folder, Encoding::Utf8), ANNA).await.is_ok(), "a byte order mark is passed over");
}

#[tokio::test]
async fn files_count_when_they_have_their_names_and_the_newest_has_the_last_word() {
    let folder = testing::Folder::new("drop");
    let file = source(&folder, Encoding::Utf8);
    let rows = |amount: &str| format!("{HEADER}{ANNA};{amount};;;\r\n").into_bytes();
    folder.write("isee_1.csv.part", &rows("9,00"));
    folder.write(".isee_1.csv", &rows("9,00"));
    folder.write("altro_1.csv", &rows("9,00"));
    assert!(matches!(read(&file, ANNA).await, Err(FetchError::SubjectUnknown)));
    folder.write("isee_1.csv", &rows("1,00"));
    assert_eq!(read(&file, ANNA).await.unwrap()["isee_valore"], "1.00");
    folder.write("isee_2.csv", &rows("2,00"));
    assert_eq!(read(&file, ANNA).await.unwrap()["isee_valore"], "2.00");
    // The newest says something that does not fit: the older record is not given in its place.
    folder.write("isee_3.csv", &rows("3"));
    folder.write("isee_4.csv", &rows("x"));
    assert_eq!(faults(read(&file, ANNA).await.unwrap_err())[0].reason, Reason::NotNumber);
    for name in ["isee_4.csv", "isee_3.csv", "isee_2.csv"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(read(&file, ANNA).await.unwrap()["isee_valore"], "1.00", "what is gone counts no more");
}

#[tokio::test]
async fn a_file_is_told_of_once_whatever_restarts_and_tells_all_of_it() {
    let folder = testing::Folder::new("drop");
    folder.write("isee_1.csv", format!("{HEADER}{ANNA};x;;;\r\n").as_bytes());
    let _ = read(&source(&folder, Encoding::Utf8), ANNA).await;
    let before = folder.names("esiti");
    // Killed between the list and the outcome: the outcome is missing, and is told again, whole.
    std::fs::remove_file(folder.path().join("esiti").join(&before[0])).unwrap();
    let again = source(&folder, Encoding::Utf8);
    assert_eq!(faults(read(&again, ANNA).await.unwrap_err()).len(), 1);
    assert_eq!(folder.names("esiti"), before);
    let stamp = |name: &String| {
        std::fs::metadata(folder.path().join("esiti").join(name)).unwrap().modified().unwrap()
    };
    let stamps: Vec<_> = before.iter().map(stamp).collect();
    let _ = read(&source(&folder, Encoding::Utf8), ANNA).await;
    assert_eq!(before.iter().map(stamp).collect::<Vec<_>>(), stamps, "not written again");
}

#[tokio::test]
async fn a_file_without_a_column_that_is_read_is_refused_whole() {
    let folder = testing::Folder::new("drop");
    folder.write("isee_1.csv", format!("CODFISC;ISEE\r\n{ANNA};1,00\r\n").as_bytes());
    assert!(matches!(read(&source(&folder, Encoding::Utf8), ANNA).await, Err(FetchError::SubjectUnknown)));
    let refused = folder.read(&format!("esiti/{}", folder.names("esiti")[1]));
    assert!(refused.contains("\"SCADENZA\";\"column-missing\""), "{refused}");
}

#[tokio::test]
async fn xml_drops_are_read_element_by_element_and_bombs_are_refused() {
    let mapping = "
[mappatura condizione_economica_prestazioni]
da       = flusso_*.xml
soggetto = Beneficiario.CodiceFiscale
elemento = Prestazione
fonte                       | campo                | lettura
righe[].Dati.Codice         | prestazioni[].codice |
righe[].Dati.@progr         | prestazioni[].carattere |
";
    let folder = testing::Folder::new("drop");
    let one = |person: &str, code: &str| {
        format!(
            "<Prestazione><Beneficiario><CodiceFiscale>{person}</CodiceFiscale></Beneficiario><Dati progr=\"1\"><Codice>{code}</Codice></Dati></Prestazione>"
        )
    };
    let text = format!(
        "<?xml version=\"1.0\"?><Flusso xmlns=\"urn:x\">{}{}{}</Flusso>",
        one(ANNA, "A1.01"),
        one("XXQ", "A2"),
        one(ANNA, "A1.02")
    );
    folder.write("flusso_1.xml", text.as_bytes());
    let place = Place::Folder(folder.path().to_owned());
    let file = File::new(settings(place, Encoding::Utf8), mappings(mapping)).unwrap();
    let record = read(&file, ANNA).await.unwrap();
    assert_eq!(
        record["prestazioni"],
        json!([{"codice": "A1.01", "carattere": "1"}, {"codice": "A1.02", "carattere": "1"}])
    );
    let refused = folder.read(&format!("esiti/{}", folder.names("esiti")[1]));
    assert!(refused.contains("\"2\";\"Beneficiario.CodiceFiscale\";\"codice-fiscale\""), "{refused}");

    folder.write("flusso_2.xml", b"<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><x>&b;</x>");
    assert!(
        matches!(read(&file, ANNA).await, Err(FetchError::SubjectUnknown)),
        "the newest extraction counts"
    );
    assert!(
        folder.names("esiti").iter().any(|name| name.starts_with("flusso_2") && name.ends_with("scarti.csv"))
    );
}

/// A flow of the shape that Comuni send to INPS, read by the shipped mapping: attributes, Belfiore and numeric codes and all.
#[tokio::test]
async fn a_flow_of_inps_shape_is_read_by_the_shipped_mapping_and_wrong_codes_are_refused() {
    let shipped = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/mappings/siuss-prestazioni.txt"),
    );
    let benefit = |code: &str, character: &str, area: &str| {
        format!(
            "<PrestazioniSociali TipoOperazione=\"I\" PresenzaProvaMezzi=\"1\" CaratterePrestazione=\"{character}\" \
             CodicePrestazione=\"{code}\" DenominazionePrestazione=\"Contributo economico per l'affitto\" \
             ProtocolloDomanda=\"7\" DataInizioPrestazione=\"2026-01-01\" ImportoPrestazione=\"350.00\" \
             PresaCarico=\"1\" AreaUtenza=\"{area}\"/>"
        )
    };
    let person = |person: &str, benefits: &str| {
        format!(
            "<Beneficiario CodiceFiscale=\"{person}\"><Anagrafica Cognome=\"XXQUERCIA\" Nome=\"ANNA\" AnnoNascita=\"1985\" \
             LuogoNascita=\"B648\" Genere=\"2\" CodiceCittadinanza=\"380\"/><Indirizzo CodiceRegione=\"09\" \
             CodiceComune=\"046007\" CodiceNazione=\"380\"/>{benefits}</Beneficiario>"
        )
    };
    let two = benefit("A1.01", "1", "3") + &benefit("A1.15", "2", "1");
    let flow = format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?><Flusso xmlns=\"http://inps.it/Casellario\"><IdentificazioneFlusso Nome=\"prova\"/>{}{}</Flusso>",
        person(ANNA, &two),
        person(MARCO, &benefit("A1.01", "9", "3"))
    );
    let folder = testing::Folder::new("drop");
    folder.write("PS_PSA_2026.xml", flow.as_bytes());
    let place = Place::Folder(folder.path().to_owned());
    let file = File::new(settings(place, Encoding::Utf8), mappings(&shipped.unwrap())).unwrap();
    let record = read(&file, ANNA).await.unwrap();
    assert_eq!(
        record["prestazioni"][1],
        json!({
            "codice": "A1.15", "denominazione": "Contributo economico per l'affitto", "dal": "2026-01-01",
            "carattere": "occasionale", "area_utenza": "famiglia_minori", "importi": "350.00",
        })
    );
    let refused = faults(read(&file, MARCO).await.unwrap_err());
    assert_eq!(refused, [RowFault::new(2, "prestazioni[].carattere", Reason::CodeUnknown)]);
}

#[test]
fn the_shipped_mappings_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/mappings");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let names_files = text
            .lines()
            .any(|line| line.starts_with("da ") && (line.ends_with(".csv") || line.ends_with(".xml")));
        if names_files {
            let place = Place::Folder("x".into());
            File::new(settings(place, Encoding::Utf8), mappings(&text))
                .unwrap_or_else(|faults| panic!("{faults:?}"));
            count += 1;
        } else if text.contains("vw_varco") {
            mappings(&text);
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

/// A delivery of Anna's benefits.
async fn deliver(file: &File, record: Value) -> Result<Accepted, FetchError> {
    let jti = |text: &str| text.parse().unwrap();
    let provider: AgencyId = "cpi-lucca".parse().unwrap();
    file.deliver(&Delivery {
        exchange: &ExchangeId::new(Timestamp::from_seconds(1_795_000_000), [7; 10]),
        provider: &provider,
        purpose: &"F02".parse().unwrap(),
        record_type: &"condizione_economica_prestazioni".parse().unwrap(),
        subject: &ANNA.parse().unwrap(),
        record: record.as_object().unwrap(),
        document: "{\"record_jws\":\"a.b.c\"}",
        evidence: &Evidence {
            operator: "op-7".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        },
        jtis: &Jtis { authorization: jti("j1"), signature: jti("j2"), evidence: jti("j3") },
    })
    .await
}

#[tokio::test]
async fn a_delivery_is_laid_down_whole_and_once_in_the_agencys_own_shape() {
    let folder = testing::Folder::new("drop");
    let file = source(&folder, Encoding::Windows1252);
    let record = json!({
        "isee_valore": "8450.50", "isee_protocollo_dsu": "città €", "isee_fascia": "4",
        "prestazioni": [{"codice": "A1.01"}, {"codice": "A1.02"}],
    });
    let accepted = deliver(&file, record.clone()).await.unwrap();
    assert_eq!(accepted.without_place, ["isee_fascia".parse().unwrap()]);
    let names = folder.names("consegne");
    assert_eq!(names.len(), 2, "{names:?}");
    let bytes = std::fs::read(folder.path().join("consegne").join(&names[0])).unwrap();
    assert_eq!(accepted.said.digest, Sha256::of(&bytes));
    let text = Encoding::Windows1252.decode(&bytes).unwrap();
    assert_eq!(
        text,
        format!(
            "\"CODFISC\";\"ISEE\";\"DSU\";\"CODICE\"\r\n\"{ANNA}\";\"8450,50\";\"città €\";\"A1.01\"\r\n\"{ANNA}\";\"8450,50\";\"città €\";\"A1.02\"\r\n"
        )
    );
    assert!(bytes.windows(2).any(|pair| pair == b"\xe0 "), "in the encoding of the agency's files");
    assert_eq!(folder.read(&format!("consegne/{}", names[1])), "{\"record_jws\":\"a.b.c\"}");
    // Again: the same exchange lies there already.
    std::fs::remove_file(folder.path().join("consegne").join(&names[1])).unwrap();
    deliver(&file, record).await.unwrap();
    assert_eq!(folder.names("consegne"), names[..1]);
    let other = testing::Folder::new("drop");
    let cannot = deliver(&source(&other, Encoding::Latin9), json!({"isee_protocollo_dsu": "日本"})).await;
    assert_eq!(faults(cannot.unwrap_err())[0].reason, Reason::Encoding);
}

#[test]
fn patterns_and_mappings_that_no_file_can_serve() {
    assert!(matches("a_*.csv", "a_1.csv") && matches("a.csv", "a.csv") && matches("*_b_*.csv", "x_b_y.csv"));
    assert!(!matches("a_*.csv", "a.csv") && !matches("a.csv", "ab.csv") && !matches("a*a.csv", "a.csv"));
    let text = "[mappatura condizione_economica_prestazioni]\nda = ../x.txt\nmodo = tutto\nfonte | campo\nA | isee_valore\n";
    let place = Place::Folder("x".into());
    let told = File::new(settings(place, Encoding::Utf8), mappings(text)).err().unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
}
