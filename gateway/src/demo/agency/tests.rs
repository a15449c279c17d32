use std::sync::LazyLock;

use varco_adapters::rest::{Endpoint, Ours, Rest};
use varco_adapters::tls::{Trust, client};
use varco_adapters::{AgencyRecord, Context, FetchError, Limits, Source, Sources};
use varco_core::registry::{Agency, AgencyKind, Deployment, Registry};
use varco_core::wire::{Algorithm, Evidence, Jtis, LevelOfAssurance};
use varco_jose::{SealSigner, SealTrust};

use super::*;
use crate::demo::people::{ANNA, BRUNO};
use crate::pki::dev::{GATEWAY, Kit, Party};

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
static KIT: LazyLock<Kit> = LazyLock::new(|| Kit::make(NOW, |_| ()).unwrap());

fn id(text: &str) -> AgencyId {
    text.parse().unwrap()
}

/// A running system and a gateway's sources that know only it.
struct World {
    people: Arc<Population>,
    system: AgencyId,
    sources: Sources,
    registry: Registry,
    counter: std::cell::Cell<u32>,
    _stop: tokio::sync::oneshot::Sender<()>,
    _tasks: JoinSet<()>,
}

impl World {
    async fn of(system: &str) -> Self {
        Self::asked_by(system, &KIT.gateway).await
    }

    /// The system of an agency, and a caller with somebody's certificates.
    async fn asked_by(system: &str, caller: &Party) -> Self {
        let system = id(system);
        let people = Arc::new(Population::generate(1, 100));
        let keys = Keys::from_kit(&KIT, &system, Arc::new(|| NOW)).unwrap();
        let served = Arc::new(System::new(system.clone(), Arc::clone(&people), keys));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(served.serve(listener, async {
            let _ = stopped.await;
        }));
        let sources = sources(&system, port, caller);
        let counter = std::cell::Cell::new(0);
        Self { people, system, sources, registry: registry(), counter, _stop: stop, _tasks: tasks }
    }

    async fn fetch(
        &self,
        who: usize,
        record_type: &str,
        fields: &[&str],
    ) -> Result<AgencyRecord, FetchError> {
        self.counter.set(self.counter.get() + 1);
        self.fetch_with(&format!("jti-{}", self.counter.get()), who, (record_type, fields)).await
    }

    async fn fetch_with(
        &self,
        jti: &str,
        who: usize,
        (record_type, fields): (&str, &[&str]),
    ) -> Result<AgencyRecord, FetchError> {
        let fields: Vec<FieldId> = fields.iter().map(|field| field.parse().unwrap()).collect();
        let evidence = Evidence {
            operator: "op-7".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::High,
        };
        let jti = |suffix: &str| format!("{jti}-{suffix}").parse().unwrap();
        let jtis = Jtis { authorization: jti("a"), signature: jti("s"), evidence: jti("e") };
        let request = varco_adapters::Request {
            exchange: &ExchangeId::new(NOW, [7; 10]),
            consumer: &id("cpi-lucca"),
            purpose: &"F02".parse().unwrap(),
            record_type: &record_type.parse().unwrap(),
            subject: &self.people.people()[who].code,
            fields: &fields,
            evidence: &evidence,
            jtis: &jtis,
        };
        let context = Context { registry: &self.registry, clock: &|| NOW };
        self.sources.fetch(&self.system, &request, &context).await
    }
}

fn sources(system: &AgencyId, port: u16, caller: &Party) -> Sources {
    let trust = Trust {
        roots: vec![KIT.channel_authority.certificate().clone()],
        crls: vec![KIT.channel_authority.crl(&[], 1, NOW).unwrap()],
    };
    let tls =
        client(trust, vec![caller.channel.certificate().clone()], caller.channel.key(), Arc::new(|| NOW))
            .unwrap();
    let roots = KIT.seal_authority.certificate_pem();
    let crls = crate::pki::crl_pem(&KIT.seal_authority.crl(&[], 1, NOW).unwrap());
    let seal = &caller.seal;
    let ours = Ours {
        issuer: GATEWAY.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        signer: Arc::new(
            SealSigner::from_pem(seal.key_pem().as_bytes(), seal.certificate_pem().as_bytes()).unwrap(),
        ),
        verifier: Arc::new(
            SealTrust::from_pem(roots.as_bytes(), crls.as_bytes(), &Algorithm::DEFAULT).unwrap(),
        ),
    };
    let endpoint = Endpoint::new(&format!("https://localhost:{port}{BASE}"), &audience(system)).unwrap();
    let source = Source::Rest(Rest::new(ours, endpoint, &tls));
    Sources::new([(system.clone(), source, Limits { timeout: Duration::from_secs(20), ..Limits::default() })])
}

fn registry() -> Registry {
    let agency = |agency: &crate::pki::dev::Agency| Agency {
        id: agency.id.clone(),
        kind: AgencyKind::Comune,
        name: agency.name.to_owned(),
        identifiers: vec![agency.organization.clone()],
        offices: Vec::new(),
        channel_pins: Vec::new(),
        seal_pins: Vec::new(),
        acts_for: Vec::new(),
        suspended: None,
    };
    Registry {
        version: 1,
        previous: None,
        deployment: Deployment::Test,
        gateway: GATEWAY.to_owned(),
        audience: GATEWAY.to_owned(),
        agencies: KIT.agencies.iter().map(agency).collect(),
        officers: Vec::new(),
        log_keys: Vec::new(),
        witnesses: Vec::new(),
        suspensions: Vec::new(),
    }
}

#[tokio::test]
async fn the_gateway_gets_the_fields_it_asks_for_and_no_other() {
    let world = World::of("comune-capannori").await;
    let fields = ["cognome", "data_nascita", "tutore", "riservatezza_indirizzo"];
    let record = world.fetch(ANNA, "anagrafica_nucleo", &fields).await.unwrap();
    let record = Value::Object(record.into_fields());
    let expected =
        json!({ "cognome": "Xxquercia", "data_nascita": "1985-03-12", "riservatezza_indirizzo": false });
    assert_eq!(json::canonical(&record), json::canonical(&expected), "what she does not have is absent");
}

#[tokio::test]
async fn a_part_with_a_policy_of_its_own_comes_only_when_it_is_asked_for() {
    let world = World::of("comune-capannori").await;
    let record_type = "condizione_economica_prestazioni";
    for (fields, amounts) in [(&["prestazioni"][..], 0), (&["prestazioni", "prestazioni.importi"], 18)] {
        let record = world.fetch(BRUNO, record_type, fields).await.unwrap().into_fields();
        let items = record["prestazioni"].as_array().unwrap();
        assert_eq!(items.iter().filter(|item| item.get("importi").is_some()).count(), amounts);
        assert_eq!(items.len(), 18);
    }
}

#[tokio::test]
async fn a_system_knows_only_its_own_people_and_records() {
    let world = World::of("comune-lucca").await;
    let error = world.fetch(ANNA, "anagrafica_nucleo", &["cognome"]).await.unwrap_err();
    assert!(matches!(error, FetchError::SubjectUnknown), "{error:?}");
    let world = World::of("cpi-lucca").await;
    assert!(world.fetch(ANNA, "posizione_lavoro", &["data_did"]).await.is_ok());
    let error = world.fetch(ANNA, "anagrafica_nucleo", &["cognome"]).await.unwrap_err();
    assert!(matches!(error, FetchError::SubjectUnknown), "{error:?}");
}

#[tokio::test]
async fn a_request_is_answered_once() {
    let world = World::of("comune-capannori").await;
    let asked = ("anagrafica_nucleo", &["cognome"][..]);
    assert!(world.fetch_with("once", ANNA, asked).await.is_ok());
    let error = world.fetch_with("once", ANNA, asked).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { status: 409 }), "{error:?}");
}

#[tokio::test]
async fn another_agency_with_good_certificates_gets_nothing() {
    let other = KIT.agency(&id("comune-porcari")).unwrap();
    let world = World::asked_by("comune-capannori", &other.party).await;
    let error = world.fetch(ANNA, "anagrafica_nucleo", &["cognome"]).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { status: 403 }), "{error:?}");
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let world = World::of("comune-capannori").await;
    let fetches = (0..100).map(|_| world.fetch(ANNA, "anagrafica_nucleo", &["cognome", "nome"]));
    let mut answered = 0;
    let mut fetches: Vec<_> = fetches.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        fetches.retain_mut(|fetch| match fetch.as_mut().poll(context) {
            std::task::Poll::Ready(fetched) => {
                answered += usize::from(fetched.is_ok());
                false
            }
            std::task::Poll::Pending => true,
        });
        if fetches.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(answered, 100);
}
