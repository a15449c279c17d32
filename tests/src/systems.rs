//! Agencies' systems made of software by others: a FHIR server and SOAP services that the tests start on loopback, behind
//! mutual TLS, and stop again. Their scripts are in `tests/peers`; their libraries are installed below the target folder.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use rustls::ClientConfig;
use serde_json::{Map, Value};
use varco::app::{system_clock, system_now};
use varco::demo::ceremony;
use varco::pki::Issued;
use varco::pki::dev::GATEWAY;
use varco_adapters::mapping::Mappings;
use varco_adapters::rest::Ours;
use varco_adapters::tls::{Trust, client};
use varco_adapters::{
    Accepted, AgencyRecord, Context, Delivery, FetchError, Limits, Request, Source, Sources,
};
use varco_core::id::{AgencyId, ExchangeId, FieldId};
use varco_core::policy::Policy;
use varco_core::registry::Registry;
use varco_core::wire::{Algorithm, Evidence, Jtis, LevelOfAssurance};
use varco_jose::SealTrust;

use crate::world::TODAY;
use crate::world::desk::signer;

mod examples;
mod exchanges;
mod fhir;
mod soap;

const ASL: &str = "asl-toscana-nord-ovest";
/// A synthetic woman born on 12 March 1985 in Capannori.
const PERSON: &str = "XXQNNA85C52B648J";

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
    Policy::load(&varco::start::bundle(&folder).unwrap()).unwrap()
});

fn agency(id: &str) -> AgencyId {
    id.parse().unwrap()
}

/// A mapping file of `config/mappings`.
fn mappings(file: &str, words: &[&str]) -> Mappings {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/mappings").join(file);
    let files = [(file.to_owned(), std::fs::read(path).unwrap())];
    Mappings::read(&files, POLICY.record_types(), words).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The gateway's end of mutual TLS.
fn tls() -> Arc<ClientConfig> {
    let own = &TODAY.gateway.channel;
    let authority = &TODAY.channel_authority;
    let trust = Trust {
        roots: vec![authority.certificate().clone()],
        crls: vec![authority.crl(&[], 1, system_now()).unwrap()],
    };
    client(trust, vec![own.certificate().clone()], own.key(), system_clock()).unwrap()
}

/// The gateway as it signs and as it trusts seals.
fn ours() -> Ours {
    let authority = &TODAY.seal_authority;
    let crl = authority.crl(&[], 1, system_now()).unwrap().to_vec();
    let trust = SealTrust::new(&[authority.certificate().to_vec()], &[crl], &Algorithm::DEFAULT).unwrap();
    Ours {
        issuer: GATEWAY.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        signer: Arc::new(signer(&TODAY.gateway.seal)),
        verifier: Arc::new(trust),
    }
}

/// One system behind the gateway's usual limits, and what is asked of it.
struct Behind {
    agency: AgencyId,
    sources: Sources,
    registry: Registry,
}

impl Behind {
    fn new(agency: AgencyId, source: Source) -> Self {
        let sources = Sources::new([(agency.clone(), source, Limits::default())]);
        Self { agency, sources, registry: ceremony::registry(&TODAY, system_now()).unwrap() }
    }

    async fn fetch(&self, subject: &str, record: &str, fields: &[&str]) -> Result<AgencyRecord, FetchError> {
        let fields: Vec<FieldId> = fields.iter().map(|field| field.parse().unwrap()).collect();
        let request = Request {
            exchange: &ExchangeId::new(system_now(), [7; 10]),
            consumer: &agency("cpi-lucca"),
            purpose: &"F06".parse().unwrap(),
            record_type: &record.parse().unwrap(),
            subject: &subject.parse().unwrap(),
            fields: &fields,
            evidence: &evidence(),
            jtis: &jtis(),
        };
        let context = Context { registry: &self.registry, clock: &system_now };
        self.sources.fetch(&self.agency, &request, &context).await
    }

    /// The same exchange, and so the same delivery, whenever it is called.
    async fn deliver(&self, record_type: &str, record: &Map<String, Value>) -> Result<Accepted, FetchError> {
        let delivery = Delivery {
            exchange: &ExchangeId::new(varco_core::time::Timestamp::from_seconds(1_795_000_000), [7; 10]),
            provider: &agency("cpi-lucca"),
            purpose: &"F04".parse().unwrap(),
            record_type: &record_type.parse().unwrap(),
            subject: &PERSON.parse().unwrap(),
            record,
            document: r#"{"record":{},"receipt":"..."}"#,
            evidence: &evidence(),
            jtis: &jtis(),
        };
        let context = Context { registry: &self.registry, clock: &system_now };
        self.sources.deliver(&self.agency, &delivery, &context).await
    }
}

fn evidence() -> Evidence {
    Evidence {
        operator: "op-7".parse().unwrap(),
        location: "sportello".to_owned(),
        loa: LevelOfAssurance::High,
    }
}

fn jtis() -> Jtis {
    Jtis::new(system_now(), [[1; 10], [2; 10], [3; 10]])
}

/// A system in a process of its own. It prints one JSON object a line: its port, then what it heard.
struct System {
    process: Child,
    port: u64,
    said: Mutex<BufReader<ChildStdout>>,
    /// Its certificates and keys, as files; gone when the system is.
    folder: crate::world::Folder,
}

impl System {
    /// Starts a program with the agency's certificate, key and authority as its first arguments.
    fn start(mut command: Command, folder: crate::world::Folder, more: &[String]) -> Self {
        let files = ["certificate.pem", "key.pem", "authority.pem"].map(|name| folder.path(name));
        command.args(files).args(more).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it did not start: {line}"));
        Self { process, port: ready["port"].as_u64().unwrap(), said: Mutex::new(said), folder }
    }

    /// The next thing it heard.
    fn heard(&self) -> Value {
        let mut line = String::new();
        self.said.lock().unwrap().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("it said {line:?}"))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with what an agency's server needs for mutual TLS.
fn certificates(agency: &AgencyId) -> crate::world::Folder {
    let folder = crate::world::Folder::new();
    let own: &Issued = &TODAY.agency(agency).unwrap().party.channel;
    std::fs::write(folder.path("certificate.pem"), own.certificate_pem()).unwrap();
    std::fs::write(folder.path("key.pem"), own.key_pem().as_bytes()).unwrap();
    std::fs::write(folder.path("authority.pem"), TODAY.channel_authority.certificate_pem()).unwrap();
    folder
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}
