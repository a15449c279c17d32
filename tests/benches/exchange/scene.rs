//! The stage of the bench: that of `varco demo`, with limits that let one agency ask thousands of times a second, and
//! Bruno, whose record has 4 KB, his case and his consent.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, version};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use varco::app::{Entropy, system_entropy, system_now};
use varco::demo::agency::{BASE as PROVIDER_BASE, audience};
use varco::demo::ceremony::AUDIENCE;
use varco::demo::desk::{Desk, Seat};
use varco::demo::people::{BRUNO, Population};
use varco::demo::stage::{PEOPLE, SEED, Stage};
use varco::http::exchange::BASE;
use varco::pki::dev::GATEWAY;
use varco_core::id::{AgencyId, ExchangeId};
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::{Evidence, Jtis, LevelOfAssurance, RequestClaims, sign_request};
use varco_jose::SealSigner;

use crate::Failure;
use crate::load;
use crate::process::{Process, Tells};

const PROVIDER: &str = "comune-capannori";
const CONSUMER: &str = "cpi-lucca";
const OPERATOR: &str = "op-cpi-117";
const OFFICE: &str = "servizi-lavoro";
const RECORD_TYPE: &str = "condizione_economica_prestazioni";
const PURPOSE: &str = "F02";
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

/// Everything on, but no agency is slowed down.
const LIMITS: &str = "
[rates.agency]
requests = 1000000
period = \"1s\"

[rates.operator]
requests = 1000000
period = \"1s\"
";

/// Keys, folders and the provider's process.
pub struct Scene {
    pub stage: Stage,
    pub program: PathBuf,
    pub provider: Process,
    /// All that the provider holds of Bruno under the record type.
    pub record: Value,
    /// What pulls ask, once somebody was prepared to be asked about.
    pull: OnceCell<Value>,
    codice_fiscale: String,
    entropy: Entropy,
}

impl Scene {
    pub fn set(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
        let stage = Stage::set(folder, &policies, system_now(), |_| {})?;
        let pki = stage.pki().display().to_string();
        let (seed, people) = (SEED.to_string(), PEOPLE.to_string());
        let args = ["demo", "agency", "--id", PROVIDER, "--pki", &pki, "--seed", &seed, "--people", &people];
        let provider = Process::start(program, &args, Tells::Address)?;
        let agency: AgencyId = PROVIDER.parse()?;
        let population = Population::generate(SEED, PEOPLE);
        let bruno = population.people().get(BRUNO).ok_or("there is no Bruno")?;
        let record = population.record(&agency, &RECORD_TYPE.parse()?, bruno).ok_or("no record of Bruno")?;
        let scene = Self {
            program: program.to_owned(),
            provider,
            record: Value::Object(record),
            pull: OnceCell::new(),
            codice_fiscale: bruno.code.expose().to_owned(),
            entropy: system_entropy(),
            stage,
        };
        scene.configure(&[], "")?;
        Ok(scene)
    }

    /// Writes the gateway's configuration: the provider, others beside it, and more lines for the last of them.
    pub fn configure(&self, others: &[(AgencyId, SocketAddr)], more: &str) -> Result<(), Failure> {
        let own = (PROVIDER.parse()?, self.provider.address);
        let systems: Vec<_> = std::iter::once(own).chain(others.iter().cloned()).collect();
        self.stage.configure(&systems)?;
        let config = std::fs::read_to_string(self.stage.config())?;
        Ok(std::fs::write(self.stage.config(), config + more + LIMITS)?)
    }

    pub fn gateway(&self) -> Result<Process, Failure> {
        let config = self.stage.config().display().to_string();
        Process::start(&self.program, &["serve", "--config", &config], Tells::ReadyAfterNames)
    }

    /// Opens Bruno's case and records his consent, then makes one pull with everything checked; the first time only, since
    /// all gateways of the bench have one log. Gives back what pulls ask.
    pub async fn prepare(&self, gateway: &Process) -> Result<Value, Failure> {
        if let Some(pull) = self.pull.get() {
            return Ok(pull.clone());
        }
        let pull = self.prepare_first(gateway).await?;
        Ok(self.pull.get_or_init(|| pull).clone())
    }

    async fn prepare_first(&self, gateway: &Process) -> Result<Value, Failure> {
        let url = format!("https://localhost:{}", gateway.address.port());
        let pki = self.stage.pki();
        let desk = |agency, operator, location| {
            Desk::open(&pki, &url, &Seat { agency, operator, location }, self.entropy.clone())
        };
        let capannori = desk(PROVIDER, "op-cap-042", "sportello-unico")?;
        let cpi = desk(CONSUMER, OPERATOR, OFFICE)?;
        let (bruno, now) = (json!({ "codice_fiscale": self.codice_fiscale }), system_now());
        let case = json!({ "purposes": [PURPOSE], "subjects": [bruno], "role": "assistente sociale" });
        let told = expect(capannori.post("/cases", &case).await?, 201)?;
        let case = told.pointer("/case/id").and_then(Value::as_str).ok_or("no case")?.to_owned();
        let member =
            json!({ "agency": CONSUMER, "operator": OPERATOR, "role": "operatore del lavoro", "from": now });
        let joined = json!({ "change": "add_member", "member": member });
        expect(capannori.post(&format!("/cases/{case}/events"), &joined).await?, 200)?;
        let sha256 = varco_core::hash::Sha256::of(b"the notice of the bench");
        let consent = json!({
            "subject": bruno,
            "class": "adult",
            "agreement": { "id": "piana-di-lucca", "version": "1", "sha256": sha256 },
            "notice": { "id": "informativa", "version": "1", "sha256": sha256, "language": "it" },
            "scope": [{
                "item": "economica",
                "purpose": PURPOSE,
                "record_type": RECORD_TYPE,
                "recipients": [{ "agency": CONSUMER }],
                "valid_from": now,
                "valid_until": Timestamp::from_millis(now.millis() + YEAR_MS),
            }],
            "event": { "state": "given", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico" },
        });
        expect(capannori.post("/consents", &consent).await?, 201)?;
        let pull = json!({
            "record_type": RECORD_TYPE,
            "subject": bruno,
            "provider": PROVIDER,
            "purpose": PURPOSE,
            "case": case,
        });
        let told = expect(cpi.post("/pulls", &pull).await?, 200)?;
        let jws = told.get("record_jws").and_then(Value::as_str).unwrap_or_default();
        if !cpi.is_sealed(jws) {
            return Err("the record's seal is not good".into());
        }
        Ok(pull)
    }

    /// So many pulls, each with its own three tokens.
    pub fn pulls(&self, pull: &Value, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let body = json::canonical(pull).into_bytes();
        let signer = self.seal(&format!("agencies/{CONSUMER}"))?;
        let claims = claims(CONSUMER, AUDIENCE.to_owned(), OFFICE)?;
        (0..count).map(|_| self.signed(&format!("{BASE}/pulls"), &body, &claims, &signer)).collect()
    }

    /// What the gateway asks the provider, for a proxy to carry.
    pub fn provider_requests(&self, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let fields: Vec<_> = self.record.as_object().map(|r| r.keys().cloned().collect()).unwrap_or_default();
        let signer = self.seal("gateway")?;
        let claims = claims(GATEWAY, audience(&PROVIDER.parse()?), OFFICE)?;
        let body = json!({
            "consumer": CONSUMER,
            "exchange": ExchangeId::new(system_now(), self.random()).as_str(),
            "fields": fields,
            "purpose": PURPOSE,
            "subject": { "codice_fiscale": self.codice_fiscale },
        });
        let (path, body) = (format!("{PROVIDER_BASE}/records/{RECORD_TYPE}"), body.to_string().into_bytes());
        (0..count).map(|_| self.signed(&path, &body, &claims, &signer)).collect()
    }

    fn signed(
        &self,
        path: &str,
        body: &[u8],
        claims: &RequestClaims,
        signer: &SealSigner,
    ) -> Result<Vec<u8>, Failure> {
        let now = system_now();
        let jtis = Jtis::new(now, [self.random(), self.random(), self.random()]);
        let headers = sign_request(body, claims, signer, now, &jtis)?;
        Ok(load::request(path, &headers, body))
    }

    pub fn seal(&self, folder: &str) -> Result<SealSigner, Failure> {
        let folder = self.stage.pki().join(folder);
        let read = |name: &str| std::fs::read(folder.join(name));
        Ok(SealSigner::from_pem(&read("seal.key.pem")?, &read("seal.pem")?)?)
    }

    /// The consumer's end of mutual TLS 1.3.
    pub fn consumer(&self) -> Result<TlsConnector, Failure> {
        let (pki, own) = (self.stage.pki(), self.stage.pki().join("agencies").join(CONSUMER));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki.join("ca/channel.pem"))?)?;
        let chain = CertificateDer::pem_file_iter(own.join("channel.pem"))?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(own.join("channel.key.pem"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes);
        bytes
    }
}

fn claims(issuer: &str, audience: String, location: &str) -> Result<RequestClaims, Failure> {
    Ok(RequestClaims {
        issuer: issuer.to_owned(),
        audience,
        content_type: Some("application/json".to_owned()),
        evidence: Evidence {
            operator: OPERATOR.parse()?,
            location: location.to_owned(),
            loa: LevelOfAssurance::Substantial,
        },
    })
}

fn expect(told: varco::demo::desk::Told, status: u16) -> Result<Value, Failure> {
    let body = Value::Object(told.body);
    if told.status == status {
        return Ok(body);
    }
    let detail = body.get("detail").and_then(Value::as_str).unwrap_or_default();
    Err(format!("answered {}: {detail}", told.status).into())
}
