//! The shipped files load, and a faulty one is told everything at once.

use super::*;
use crate::tls::{Clients, Versions};

fn none(_: &str) -> Option<String> {
    None
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

fn minimal() -> String {
    std::fs::read_to_string(shipped("production-minimal.toml")).unwrap()
}

fn faults(text: &str) -> Vec<(usize, String)> {
    let faults = parse(text, Path::new("/etc/varco"), &none).unwrap_err();
    faults.into_iter().map(|fault| (fault.line, fault.what)).collect()
}

#[test]
fn the_shipped_configurations_load() {
    let commented = load(&shipped("varco.toml")).unwrap();
    let minimal = load(&shipped("production-minimal.toml")).unwrap();
    let lucca: AgencyId = "comune-capannori".parse().unwrap();
    assert!(commented.providers.contains_key(&lucca) && minimal.providers.contains_key(&lucca));
    assert_eq!(minimal.log.format, telemetry::Format::Json);
    assert_eq!(minimal.tls.versions, Versions::Tls13);
    assert!(matches!(minimal.tls.clients, Clients::Certified(_)));
}

/// The commented file promises that what it shows is what holds when it is left out.
#[test]
fn the_commented_configuration_shows_the_defaults() {
    let commented = load(&shipped("varco.toml")).unwrap();
    let minimal = load(&shipped("production-minimal.toml")).unwrap();
    assert_eq!(commented.limits, minimal.limits);
    assert_eq!(commented.rates, minimal.rates);
    assert_eq!(commented.reload_every, minimal.reload_every);
    assert_eq!(commented.seal.algorithms, minimal.seal.algorithms);
    assert_eq!(commented.storage.replica, minimal.storage.replica);
    assert_eq!(commented.tls.versions, minimal.tls.versions);
    let provider = |config: &Config| {
        let provider = config.providers.values().next().unwrap().clone();
        let ProviderKind::Rest(rest) = &provider.kind else { panic!("{provider:?}") };
        let rest = Rest { url: String::new(), audience: String::new(), ..rest.clone() };
        Provider { kind: ProviderKind::Rest(rest), ..provider }
    };
    assert_eq!(provider(&commented), provider(&minimal));
    assert_eq!(commented.log, telemetry::Settings::default());
}

/// And that every setting is there.
#[test]
fn the_commented_configuration_names_every_key() {
    let text = std::fs::read_to_string(shipped("varco.toml")).unwrap();
    let sections = concat!(include_str!("sections.rs"), include_str!("providers.rs"));
    let calls =
        ["s.required(\"", "s.or(\"", "s.optional(\"", "secret(\"", "s.read_with(\"", "not_empty(&mut s, \""];
    let mut keys: Vec<&str> = Vec::new();
    for call in calls {
        keys.extend(sections.split(call).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    assert!(keys.len() > 50, "{}", keys.len());
    for key in keys {
        let shown = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        assert!(shown, "`{key}` is not in varco.toml");
    }
}

#[test]
fn all_faults_are_told_at_once_with_their_lines_and_a_suggestion() {
    let text = minimal()
        .replace("anchor = ", "ancor = ")
        .replace("0.0.0.0:8443", "everywhere")
        .replace("format = \"json\"", "format = \"xml\"\nlevel = 3")
        .replace("kind = \"rest\"", "kind = \"rest\"\ntimeout = \"5 parsecs\"\nanswer_size = \"2MiB\"");
    let line = |text: &str, start: &str| text.lines().position(|l| l.starts_with(start)).unwrap() + 1;
    let found = faults(&text);
    let mut expect = vec![
        (line(&text, "[storage]"), "`storage.anchor` is missing"),
        (line(&text, "ancor"), "unknown key `storage.ancor`; did you mean `anchor`?"),
        (line(&text, "address"), "`listen.exchange.address`: expected an address and port"),
        (line(&text, "timeout"), "`providers.comune-capannori.timeout`: expected a duration"),
        (line(&text, "answer_size"), "`providers.comune-capannori.answer_size`: expected at most `1MiB`"),
        (line(&text, "format"), "`log.format`: expected one of `text`, `json`"),
        (line(&text, "level"), "`log.level`: expected one of"),
    ];
    expect.sort();
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for ((line, what), (expected_line, start)) in found.iter().zip(expect) {
        assert_eq!(*line, expected_line, "{what}");
        assert!(what.starts_with(start), "{what}");
    }
}

#[test]
fn an_empty_file_names_everything_that_must_be_given() {
    let found = faults("");
    for key in
        ["deployment.genesis", "storage.database", "listen.exchange.address", "tls.key", "seal.authorities"]
    {
        assert!(found.contains(&(1, format!("`{key}` is missing"))), "{key}: {found:#?}");
    }
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let found = faults(&minimal().replace("[tls]", "[tls"));
    let line = minimal().lines().position(|line| line == "[tls]").unwrap() + 1;
    assert!(found.iter().any(|(at, _)| *at == line), "{found:#?}");
}

#[test]
fn no_secret_may_stand_in_the_file() {
    for database in ["postgres://varco:segreto@db/varco", "postgres://db/varco?user=varco&password=segreto"] {
        let text = minimal().replace("sqlite:/var/lib/varco/varco.db", database);
        let found = faults(&text);
        assert!(found.len() == 1 && found[0].1.contains("password must not stand here"), "{found:?}");
        assert!(!found[0].1.contains("segreto"));
    }
}

#[test]
fn the_environment_says_where_secrets_lie_and_nothing_else() {
    let environment =
        |name: &str| (name == "VARCO_TLS_KEY_FILE").then(|| "/run/secrets/server.key".to_owned());
    let text = minimal().replace("key = \"/etc/varco/secret/server.key\"\n", "");
    let config = parse(&text, Path::new("/etc/varco"), &environment).unwrap();
    assert_eq!(config.tls.key, Path::new("/run/secrets/server.key"));
    for (_, key) in SECRETS {
        let (section, key) = key.split_once('.').unwrap();
        let read = format!("secret(\"{key}\")");
        let files = [include_str!("sections.rs"), include_str!("agent.rs")];
        assert!(files.iter().any(|file| file.contains(&read)), "{section}.{key}");
    }
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let text = minimal()
        .replace("\"/etc/varco/genesis.json\"", "\"genesis.json\"")
        .replace("sqlite:/var/lib/varco/varco.db", "sqlite:varco.db");
    let config = parse(&text, Path::new("/srv/varco"), &none).unwrap();
    assert_eq!(config.deployment.genesis, Path::new("/srv/varco/genesis.json"));
    assert_eq!(config.storage.database, Database::Sqlite("/srv/varco/varco.db".into()));
}

#[test]
fn metrics_stay_on_the_machine_and_providers_behind_https() {
    let text = minimal()
        .replace("[listen.exchange]", "[listen]\nmetrics = \"0.0.0.0:9464\"\n[listen.exchange]")
        .replace("https://servizi.capannori.example:8443/varco", "http://servizi.capannori.example/varco");
    let found = faults(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].1.contains("loopback") && found[1].1.contains("https://"), "{found:?}");
}

#[test]
fn a_database_password_comes_out_of_its_file_and_is_quoted() {
    let folder = crate::tls::testing::Folder::new();
    let password = folder.write("password", "a b&c\n");
    let database =
        Database::Postgres { url: "postgres://varco@db/varco".to_owned(), password: Some(password) };
    assert_eq!(**database.url().unwrap(), *"postgres://varco@db/varco?password=a%20b%26c");
    let database = Database::Sqlite("/var/lib/varco/varco.db".into());
    assert_eq!(**database.url().unwrap(), *"sqlite:/var/lib/varco/varco.db");
}

#[test]
fn fhir_servers_and_soap_services_are_read_with_what_lets_us_in() {
    let fhir = "\n[providers.asl-toscana-nord-ovest]\nkind = \"fhir\"\nurl = \"https://fhir.asl.example/r4\"\nmappings = [\"m.txt\"]\n";
    let soap = "\n[providers.comune-porcari]\nkind = \"soap\"\nurl = \"https://servizi.example/ws\"\naudience = \"porcari\"\nsoap = \"1.2\"\nmappings = [\"m.txt\"]\n";
    let door = |more: &str| {
        let config = parse(&(minimal() + fhir + more + soap), Path::new("/etc/varco"), &none).unwrap();
        let soap = config.providers[&"comune-porcari".parse::<AgencyId>().unwrap()].kind.clone();
        let ProviderKind::Soap(soap) = soap else { panic!("{soap:?}") };
        assert_eq!(soap.version, varco_adapters::soap::Version::V12);
        assert_eq!(soap.security, varco_adapters::soap::Security::Signature, "unless said otherwise");
        match config.providers[&"asl-toscana-nord-ovest".parse::<AgencyId>().unwrap()].kind.clone() {
            ProviderKind::Fhir(fhir) => fhir.door,
            other @ (ProviderKind::File(_)
            | ProviderKind::Rest(_)
            | ProviderKind::Soap(_)
            | ProviderKind::Sql(_)) => panic!("{other:?}"),
        }
    };
    assert_eq!(door(""), FhirDoor::Certificate);
    assert_eq!(door("token_file = \"token\"\n"), FhirDoor::Bearer("/etc/varco/token".into()));
    let backend = "token_url = \"https://fhir.asl.example/token\"\n";
    let whole = format!("{backend}client_id = \"varco\"\nkey_id = \"k1\"\n");
    assert!(matches!(door(&whole), FhirDoor::Backend { key, .. } if key == "k1"));
    for wrong in [backend.to_owned(), format!("{whole}token_file = \"token\"\n")] {
        let found = faults(&(minimal() + fhir + &wrong));
        assert!(found.iter().any(|(_, what)| what.contains("token_url")), "{wrong}: {found:?}");
    }
}
