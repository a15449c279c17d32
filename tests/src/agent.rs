//! `varco agent` between software that has no keys and a real gateway, both ways, with curl as the local program.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use varco::agent::{self, Running};
use varco::app::Clock;
use varco::config;
use varco::demo::agency::{audience, select};
use varco::demo::ceremony::AUDIENCE;
use varco::pki::dev::GATEWAY;
use varco_core::id::{AgencyId, FieldId};

use crate::world::asks::Situation;
use crate::world::{Folder, KIT, NOW, PEOPLE, Setup, World, seeded};

mod inbox;

/// An agent with an agency's keys. Its folder is that of the development PKI.
struct Stand {
    folder: Folder,
    running: Running,
}

impl Stand {
    async fn start(agency: &str, gateway: SocketAddr, more: &str, clock: Clock) -> Self {
        let folder = Folder::new();
        KIT.write(&folder.path("pki")).unwrap();
        std::fs::write(folder.path("agent.toml"), settings(agency, gateway, more)).unwrap();
        let settings = config::agent::load(&folder.path("agent.toml")).unwrap();
        let running = agent::start(settings, clock, seeded(77)).await.unwrap();
        Self { folder, running }
    }

    /// Ends the agent and starts one of the same settings, towards another address.
    async fn restart(self, text: &str, clock: Clock) -> Self {
        let Self { folder, running } = self;
        running.stop().await.unwrap();
        std::fs::write(folder.path("agent.toml"), text).unwrap();
        let settings = config::agent::load(&folder.path("agent.toml")).unwrap();
        let running = agent::start(settings, clock, seeded(76)).await.unwrap();
        Self { folder, running }
    }

    /// curl, as a program of the agency would call.
    async fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include"]).args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn pull(&self, body: &Value, more: &[&str]) -> Answer {
        let (url, body) = (format!("{}/rest/varco/v1/pulls", self.running.local), body.to_string());
        let mut arguments = vec![url.as_str(), "--header", "Content-Type: application/json", "--data", &body];
        arguments.extend(more);
        Answer::of(&self.curl(&arguments).await)
    }
}

/// What curl printed.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {output:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap() }
    }
}

/// The settings of an agent in a folder with the development PKI.
pub fn settings(agency: &str, gateway: SocketAddr, more: &str) -> String {
    format!(
        r#"
agency = "{agency}"
reload_every = "50ms"
[gateway]
url = "https://localhost:{}"
audience = "{AUDIENCE}"
issuer = "{GATEWAY}"
seals = ["pki/gateway/seal.pem"]
channels = ["pki/gateway/channel.pem"]
[seal]
certificate = "pki/agencies/{agency}/seal.pem"
key = "pki/agencies/{agency}/seal.key.pem"
authorities = ["pki/ca/seal.pem"]
revocations = ["pki/ca/seal.crl.pem"]
[channel]
certificate = "pki/agencies/{agency}/channel.pem"
key = "pki/agencies/{agency}/channel.key.pem"
authorities = ["pki/ca/channel.pem"]
revocations = ["pki/ca/channel.crl.pem"]
[log]
level = "error"
{more}
"#,
        gateway.port()
    )
}

const LOCAL: &str = "[local]\naddress = \"127.0.0.1:0\"\nlocation = \"servizi-lavoro\"\n";
const OPERATOR: [&str; 2] = ["--header", "Varco-Operator: op-cpi-117"];

/// The verifier key of the world's log, for an agent that demands receipts.
fn with_log(text: &str) -> String {
    text.replace("channels =", &format!("log = \"{}\"\nchannels =", KIT.log_verifier()))
}

#[tokio::test]
async fn a_program_without_keys_pulls_a_record_through_the_agent() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let stand = Stand::start("cpi-lucca", world.address(), LOCAL, world.clock()).await;
    let answer = stand.pull(&anna.pull(), &OPERATOR).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("varco-sealed: pa:it-"), "{}", answer.head);
    assert!(
        answer.body["record"]["isee_fascia"].is_string() || answer.body["record"]["isee_fascia"].is_number()
    );
    let entries = world.entries_of(answer.body["exchange"].as_str().unwrap()).await;
    assert_eq!(entries.len(), 1, "the exchange is in the log like any other");
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refusal_comes_through_with_its_reasons() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    let stand = Stand::start("cpi-lucca", world.address(), LOCAL, world.clock()).await;
    let answer = stand.pull(&anna.pull(), &OPERATOR).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("exchange.denied")));
    assert!(answer.body["fields"].as_array().is_some_and(|fields| !fields.is_empty()));
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn who_does_not_say_who_asks_is_not_carried() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let before = world.log_size().await;
    let stand = Stand::start("cpi-lucca", world.address(), LOCAL, world.clock()).await;
    let answer = stand.pull(&anna.pull(), &[]).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (400, Some("agent.operator")));
    let url = format!("{}/elsewhere", stand.running.local);
    let answer = Answer::of(&stand.curl(&[&url, "--header", "Varco-Operator: op-cpi-117"]).await);
    assert_eq!((answer.status, answer.body["code"].as_str()), (404, Some("http.not-found")));
    let url = format!("{}/rest/varco/v1/pulls", stand.running.local);
    let rebound = stand.curl(&[&url, "--header", "Host: attacker.example", OPERATOR[0], OPERATOR[1]]).await;
    assert_eq!(Answer::of(&rebound).status, 400, "a page that made its own name point here");
    assert_eq!(world.log_size().await, before);
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_socket_and_a_token_keep_other_programs_out() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let local = "[local]\nsocket = \"agent.sock\"\ntoken_file = \"token\"\nlocation = \"servizi-lavoro\"\n";
    let folder = Folder::new();
    KIT.write(&folder.path("pki")).unwrap();
    std::fs::write(folder.path("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let text = settings("cpi-lucca", world.address(), local);
    std::fs::write(folder.path("agent.toml"), text).unwrap();
    let settings = config::agent::load(&folder.path("agent.toml")).unwrap();
    let running = agent::start(settings, world.clock(), seeded(78)).await.unwrap();
    let stand = Stand { folder, running };
    let socket = stand.folder.path("agent.sock").display().to_string();
    let body = anna.pull().to_string();
    let call = ["--unix-socket", &socket, "http://localhost/rest/varco/v1/pulls", "--data", &body];
    let call = [&call[..], &["--header", "Content-Type: application/json"], &OPERATOR[..]].concat();
    let answer = Answer::of(&stand.curl(&call).await);
    assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("agent.token")));
    let token = "Authorization: Bearer 0123456789abcdef0123456789abcdef";
    let answer = Answer::of(&stand.curl(&[&call[..], &["--header", token]].concat()).await);
    assert_eq!(answer.status, 200, "{}", answer.body);
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_another_key_sealed_is_not_handed_on() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let folder = Folder::new();
    KIT.write(&folder.path("pki")).unwrap();
    // The agent is told to expect the seal of somebody else.
    let text = settings("cpi-lucca", world.address(), LOCAL)
        .replace("seals = [\"pki/gateway/seal.pem\"]", "seals = [\"pki/agencies/comune-lucca/seal.pem\"]");
    std::fs::write(folder.path("agent.toml"), text).unwrap();
    let settings = config::agent::load(&folder.path("agent.toml")).unwrap();
    let running = agent::start(settings, world.clock(), seeded(79)).await.unwrap();
    let stand = Stand { folder, running };
    let answer = stand.pull(&anna.pull(), &OPERATOR).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (502, Some("agent.answer")));
    assert!(answer.body.get("record").is_none());
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn where_receipts_are_demanded_a_receipt_of_another_log_is_not_enough() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    for (key, status) in [(KIT.log_verifier(), 200), (another_log(), 502)] {
        let folder = Folder::new();
        KIT.write(&folder.path("pki")).unwrap();
        let text =
            with_log(&settings("cpi-lucca", world.address(), LOCAL)).replace(&KIT.log_verifier(), &key);
        std::fs::write(folder.path("agent.toml"), text).unwrap();
        let settings = config::agent::load(&folder.path("agent.toml")).unwrap();
        let running = agent::start(settings, world.clock(), seeded(80 + u64::from(status))).await.unwrap();
        let stand = Stand { folder, running };
        let answer = stand.pull(&anna.pull(), &OPERATOR).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        stand.running.stop().await.unwrap();
    }
}

fn another_log() -> String {
    varco::pki::dev::Kit::make(NOW, |_| ()).unwrap().log_verifier()
}

/// What Capannori's own software heard, and what it says.
#[derive(Clone)]
struct Software {
    heard: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    more: Arc<Mutex<Map<String, Value>>>,
}

async fn records(
    State(software): State<Software>,
    Path(record_type): Path<String>,
    headers: HeaderMap,
    Json(question): Json<Value>,
) -> (StatusCode, Json<Value>) {
    software.heard.lock().unwrap().push((headers, question.clone()));
    let agency: AgencyId = "comune-capannori".parse().unwrap();
    let code = question["subject"]["codice_fiscale"].as_str().unwrap().parse().unwrap();
    let person = PEOPLE.find(&code).unwrap();
    let record = PEOPLE.record(&agency, &record_type.parse().unwrap(), person).unwrap();
    let fields: Vec<FieldId> = serde_json::from_value(question["fields"].clone()).unwrap();
    let mut record = select(record, &fields);
    record.extend(software.more.lock().unwrap().clone());
    (StatusCode::OK, Json(json!({ "record": record })))
}

static ANSWERS: AtomicU16 = AtomicU16::new(0);

#[tokio::test]
async fn the_gateway_gets_records_of_software_without_keys_and_never_more_than_it_asked_for() {
    let software = Software { heard: Arc::default(), more: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let routes = Router::new().route("/varco/records/{record_type}", post(records));
    let mut tasks = JoinSet::new();
    let served = axum::serve(listener, routes.with_state(software.clone()));
    tasks.spawn(async move { served.await.unwrap() });

    let capannori = "comune-capannori";
    let answers = format!(
        "{LOCAL}[answers]\naddress = \"127.0.0.1:0\"\ncertificate = \"pki/agencies/{capannori}/channel.pem\"\n\
         key = \"pki/agencies/{capannori}/channel.key.pem\"\nclient_authorities = [\"pki/ca/channel.pem\"]\n\
         client_revocations = [\"pki/ca/channel.crl.pem\"]\naudience = \"{}\"\nurl = \"http://{local}/varco\"\n",
        audience(&capannori.parse().unwrap())
    );
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let stand = Stand::start(capannori, nowhere, &answers, Arc::new(|| NOW)).await;
    ANSWERS.store(stand.running.answers.unwrap().port(), Ordering::SeqCst);
    let setup = Setup {
        config: |config| {
            let provider =
                config.providers.get_mut(&"comune-capannori".parse::<AgencyId>().unwrap()).unwrap();
            let config::ProviderKind::Rest(rest) = &mut provider.kind else { panic!("it is ours") };
            rest.url = format!("https://localhost:{}/varco/v1", ANSWERS.load(Ordering::SeqCst));
        },
        ..Setup::default()
    };
    let world = World::of(setup).await;
    let anna = Situation::of(&world).await;

    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(told.outcome("isee_fascia"), "shown");
    let (headers, question) = software.heard.lock().unwrap().pop().unwrap();
    assert_eq!(headers["varco-operator"], "op-cpi-117");
    assert_eq!(question["consumer"], "cpi-lucca");
    assert!(!headers.contains_key("authorization"), "tokens stay with the agent");

    software.more.lock().unwrap().insert("note_riservate".to_owned(), json!("never asked for"));
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(502, "adapter.refused");

    // Another agency's certificate is of the same authority, and gets nothing.
    let stranger = varco::fetch::Fetcher::new(
        &[stand.folder.path("pki/ca/channel.pem")],
        Some(&varco::fetch::Identity {
            certificate: &stand.folder.path("pki/agencies/cpi-lucca/channel.pem"),
            key: &stand.folder.path("pki/agencies/cpi-lucca/channel.key.pem"),
        }),
    )
    .unwrap();
    let port = ANSWERS.load(Ordering::SeqCst);
    let url = format!("https://localhost:{port}/varco/v1/records/anagrafica_nucleo");
    let refused = stranger.post(&url, "{}").await.unwrap();
    assert_eq!(refused.status, 403);
    stand.running.stop().await.unwrap();
}

/// Every `sh` block of the guide's two sections on the agent, as it stands there.
#[tokio::test]
async fn the_guides_curl_examples_work_as_they_are_written() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let stand = Stand::start("cpi-lucca", world.address(), LOCAL, world.clock()).await;
    let guide = include_str!("../../docs/integration.md");
    let blocks: Vec<&str> =
        guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let examples: Vec<&str> = blocks.into_iter().filter(|block| block.contains("$AGENTE/")).collect();
    assert!(examples.len() >= 5, "both languages have examples");
    for example in examples {
        if example.contains("/inbox") {
            let told = anna.capannori.post("/pushes", &crate::world::asks::push(&["cpi-lucca"])).await;
            assert_eq!(told.status, 202, "{:?}", told.body);
        }
        let mut shell = Command::new("sh");
        shell.args(["-euc", example]).current_dir(stand.folder.path("pki"));
        shell.env("AGENTE", &stand.running.local).env("CASO", &anna.case);
        shell.env("CODICE_FISCALE", crate::world::asks::anna()["codice_fiscale"].as_str().unwrap());
        let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{example}\n{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told.is_object());
    }
    stand.running.stop().await.unwrap();
}

#[test]
fn the_shipped_configuration_of_an_agent_loads() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/agent.toml");
    let agent = config::agent::load(&path).unwrap();
    assert_eq!(agent.agency.as_str(), "cpi-lucca");
    let open = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1:8480", "0.0.0.0:8480");
    let folder = Folder::new();
    std::fs::write(folder.path("agent.toml"), open).unwrap();
    let faults = config::agent::load(&folder.path("agent.toml")).unwrap_err();
    assert!(faults.iter().any(|fault| fault.what.contains("loopback")), "{faults:?}");
}
