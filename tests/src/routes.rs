//! Every route of the exchange listener, against everybody who should not get through. The routes are read from the
//! source that makes the router, so that none can be forgotten here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use varco::http::exchange::BASE;
use varco::pki::{Authority, Holder, Issued, Purpose, upkeep};
use varco_core::json;
use varco_core::wire::Message;

use crate::openapi::served;
use crate::world::asks::{COACH, Situation, consent, open_case, pull, push};
use crate::world::client::{Answer, Client, nothing};
use crate::world::{Ends, KIT, NOW, PEOPLE, World, until};

pub type Route = (&'static str, &'static str);

/// How the log is read: tried in `auditor::reading`, `auditor::watching` and `auditor::years`, where there is something to
/// read. This list may only shrink.
const READING: [Route; 11] = [
    ("GET", "/log/alerts"),
    ("GET", "/log/bodies/{bundle}"),
    ("GET", "/log/tile/entries/{bundle}"),
    ("GET", "/log/{year}/bodies/{bundle}"),
    ("GET", "/log/{year}/checkpoint"),
    ("GET", "/log/{year}/tile/{tile}"),
    ("GET", "/log/{year}/tile/entries/{bundle}"),
    ("GET", "/log/timestamps"),
    ("GET", "/log/timestamps/{size}/{authority}"),
    ("POST", "/log/incidents"),
    ("POST", "/log/search"),
];

/// What anybody with a certificate of our CA may do, registered or not. This list may only shrink.
const FOR_EVERY_CERTIFICATE: [(Route, &str); 10] = [
    (("GET", "/log/checkpoint"), "the log's head is public"),
    (("GET", "/log/shards"), "which years there are is public"),
    (("GET", "/log/tile/{tile}"), "hashes are public"),
    (("GET", "/openapi.yaml"), "the contract is public"),
    (("GET", "/registry"), "who takes part is public"),
    (("GET", "/status"), "an agency that is not recognised must be able to see why"),
    (("POST", "/log/orders"), "authorised by its officers' signatures, whoever brings it"),
    (("POST", "/policies"), "authorised by its officers' signatures, whoever brings it"),
    (("POST", "/registry"), "authorised by its officers' signatures, whoever brings it"),
    (("POST", "/suspensions"), "authorised by its officers' signatures, whoever brings it"),
];

/// What every agency of the registry may do, for whoever is in front of it. This list may only shrink.
const FOR_EVERY_AGENCY: [(Route, &str); 15] = [
    (("GET", "/inbox"), "its own deliveries"),
    (("GET", "/appeals"), "its own motivated requests"),
    (("GET", "/notices"), "its own notices"),
    (("GET", "/signals"), "its own subscriptions' signals"),
    (("GET", "/subscriptions"), "its own subscriptions"),
    (("POST", "/signals"), "of its own records, whoever listens"),
    (("POST", "/cases"), "opens a case of its own"),
    (("POST", "/consents"), "records what a person says at its desk"),
    (("POST", "/consents/search"), "finds only what it may know"),
    (("POST", "/consents/withdrawals"), "a person withdraws at any desk, which learns nothing"),
    (("POST", "/corrections"), "of its own disclosures, and there are none"),
    (("POST", "/subjects/report"), "to whoever is in front of it and was identified"),
    (("POST", "/pulls/household"), "gets an answer in which everybody is left out"),
    (("POST", "/restrictions"), "a person objects at any desk"),
    (("POST", "/restrictions/search"), "finds only what it recorded"),
];

/// As the source registers them.
pub fn routes() -> Vec<Route> {
    let routes =
        served().into_iter().map(|(method, path)| -> Route { (method.to_uppercase().leak(), path.leak()) });
    routes.collect()
}

/// Those that change or tell something about people.
fn of_people() -> impl Iterator<Item = Route> {
    routes().into_iter().filter(|route| !READING.contains(route))
}

/// What an honest agency would send there.
pub fn message(anna: &Situation, (method, path): Route) -> (String, Value) {
    let id = if path.starts_with("/consents") { &anna.consent } else { &anna.case };
    let body = match (method, path) {
        ("POST", "/pulls") => pull(&anna.case),
        ("POST", "/pushes") => push(&["comune-capannori"]),
        ("POST", "/pulls/household") => household(&anna.case),
        ("POST", "/signals") => json!({
            "record_type": "condizione_economica_prestazioni", "subject": crate::world::asks::anna(),
            "signal_type": "UPDATE"
        }),
        ("POST", "/statistics") => json!({
            "record_type": "posizione_lavoro", "purpose": "F10", "period": "2026-S1"
        }),
        // What may be pulled may be subscribed to.
        ("POST", "/subscriptions") => pull(&anna.case),
        ("POST", "/cases") => open_case(),
        // Of an exchange that there is not: only its own consumer may appeal.
        ("POST", "/appeals") => json!({
            "exchange": anna.case, "subject": crate::world::asks::anna(), "fields": [{ "name": "isee_tipo" }],
            "reason": "Serve per il colloquio di domani."
        }),
        ("POST", "/appeals/{id}/events") => json!({ "change": "close" }),
        ("POST", "/consents") => consent(NOW),
        ("POST", "/consents/search") => json!({ "subject": crate::world::asks::anna() }),
        ("POST", "/cases/{id}/events") => json!({ "change": "close" }),
        // A withdrawal is taken at every desk; only who collected a consent may widen it again.
        ("POST", "/consents/{id}/events") => json!({
            "state": "renewed", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico"
        }),
        ("POST", "/log/orders" | "/policies" | "/registry" | "/suspensions") => {
            json!({ "document": "{}", "statements": [] })
        }
        // Of somebody else than Anna: it may succeed, and must not end what is tried here.
        ("POST", "/consents/withdrawals") => json!({
            "subject": somebody(), "capacity": "self", "method": "handwritten", "access_point": "sportello-unico"
        }),
        ("POST", "/restrictions") => json!({
            "subject": somebody(), "ground": "opposition", "extent": {}, "word": word()
        }),
        ("POST", "/restrictions/search") => json!({ "subject": crate::world::asks::anna() }),
        ("POST", "/restrictions/{id}/events") => {
            json!({ "subject": crate::world::asks::anna(), "state": "lifted", "word": word() })
        }
        (
            "POST",
            "/inbox/{id}/ack"
            | "/notices/{id}/ack"
            | "/subscriptions/{id}/end"
            | "/log/incidents"
            | "/log/search",
        ) => json!({}),
        ("POST", "/notices/{id}/review") => json!({ "verdict": "justified" }),
        ("POST", "/subjects/report") => json!({ "subject": somebody(), "word": word() }),
        ("POST", "/corrections") => json!({
            "subject": crate::world::asks::anna(), "ground": "rectification", "record_type": "anagrafica_nucleo"
        }),
        ("GET", _) => Value::Null,
        other => panic!("{other:?} is new: say here what it is sent"),
    };
    let path = path.replace("{id}", id).replace("{bundle}", "000.p/1").replace("{tile}", "0/000.p/1");
    let path = path.replace("{year}", "2027");
    (format!("{BASE}{path}"), body)
}

fn somebody() -> Value {
    json!({ "codice_fiscale": PEOPLE.people()[7].code.expose() })
}

fn household(case: &str) -> Value {
    let mut body = pull(case);
    let subject = body.as_object_mut().unwrap().remove("subject").unwrap();
    body["members"] = json!([subject]);
    body
}

fn word() -> Value {
    json!({ "capacity": "self", "method": "handwritten", "access_point": "sportello-unico" })
}

fn bytes(body: &Value) -> Vec<u8> {
    if body.is_null() { Vec::new() } else { json::canonical(body).into_bytes() }
}

/// With the tokens of the employment centre: good, but brought by somebody else.
fn signed(anna: &Situation, body: &Value) -> Message {
    anna.cpi.signed(&bytes(body))
}

#[track_caller]
fn assert_no_record(answer: &Answer, who: &str, route: Route) {
    // The contract is the same for everybody, and has examples.
    if route == ("GET", "/openapi.yaml") {
        return;
    }
    let text = String::from_utf8_lossy(&answer.message.body);
    let person = crate::world::asks::anna()["codice_fiscale"].as_str().unwrap().to_owned();
    for leak in ["record_jws", "isee", person.as_str()] {
        assert!(!text.contains(leak), "{who} at {route:?} reads {leak}");
    }
}

#[tokio::test]
async fn no_route_answers_without_a_certificate_of_our_authority() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let other = Authority::new("Somebody else's CA", NOW).unwrap();
    let forged = other.issue(&holder("PA:IT-xx_cpi_lucca"), NOW).unwrap();
    let old = Duration::from_secs(3600);
    let expired =
        KIT.channel_authority.issue_between(&holder("PA:IT-xx_cpi_lucca"), (NOW.minus(old * 48), old));
    let expired = expired.unwrap();
    for route in routes() {
        let (path, body) = message(&anna, route);
        for (who, certificate) in
            [("nobody", None), ("a forger", Some(&forged)), ("the past", Some(&expired))]
        {
            let client = world.client_with(certificate);
            let answer = client.send(route.0, &path, signed(&anna, &body)).await;
            assert!(answer.is_err(), "{who} got an answer from {route:?}");
        }
    }
}

#[tokio::test]
async fn no_route_answers_a_revoked_certificate() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let generation = world.app().channel.status().generation;
    let certificate = "agencies/cpi-lucca/channel.pem";
    upkeep::revoke(&world.folder.path("pki"), certificate.as_ref(), world.now()).unwrap();
    until("the list is read", async || world.app().channel.status().generation > generation).await;
    for route in routes() {
        let (path, body) = message(&anna, route);
        let answer = anna.cpi.client.send(route.0, &path, signed(&anna, &body)).await;
        assert!(answer.is_err(), "answered at {route:?}");
    }
    // Nobody else is touched.
    assert_eq!(anna.capannori.get(&format!("/cases/{}", anna.case)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_in_the_registry_gets_nothing_of_anybody() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let stranger = KIT.channel_authority.issue(&holder("PA:IT-xx_sconosciuto"), NOW).unwrap();
    let mut through = BTreeSet::new();
    for (who, certificate) in [
        ("a stranger", &stranger),
        ("an officer", officer("cpi-dpo")),
        ("an auditor", officer("piana-revisore")),
    ] {
        let before = world.log_size().await;
        for route in of_people() {
            let (path, body) = message(&anna, route);
            let client = world.client_with(Some(certificate));
            let answer = client.send(route.0, &path, signed(&anna, &body)).await.unwrap();
            assert_no_record(&answer, who, route);
            match (answer.status, answer.code().as_str()) {
                (403, "wire.unknown-sender") | (404, "http.not-found") => {}
                (200, "") | (422, _) => {
                    through.insert(route);
                }
                other => panic!("{who} at {route:?}: {other:?}"),
            }
        }
        assert_eq!(world.log_size().await, before, "{who} wrote to the log");
    }
    let allowed = FOR_EVERY_CERTIFICATE.map(|(route, _)| route);
    assert_eq!(through, BTreeSet::from(allowed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_alone_opens_no_route_that_concerns_a_person() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut through = BTreeSet::new();
    for route in of_people() {
        let (path, body) = message(&anna, route);
        let mut message = nothing();
        message.body = bytes(&body);
        if route.0 == "POST" {
            message.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let answer = anna.cpi.client.send(route.0, &path, message).await.unwrap();
        assert_no_record(&answer, "an agency that does not sign", route);
        match (answer.status, answer.code().as_str()) {
            (400, "wire.header") => {}
            // A receipt holds no value, and an exchange's identifier is known to its parties only; a case has none.
            (404, "http.not-found") if route.1 == "/exchanges/{id}/receipt" => {}
            (200, "") | (422, _) => {
                through.insert(route);
            }
            other => panic!("{route:?}: {other:?}"),
        }
    }
    assert_eq!(through, BTreeSet::from(FOR_EVERY_CERTIFICATE.map(|(route, _)| route)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agency_that_has_nothing_to_do_with_a_person_gets_nothing_of_them() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let stranger = world.desk("comune-porcari", "op-por-1");
    let mut through = BTreeSet::new();
    for route in of_people() {
        let (path, body) = message(&anna, route);
        let answer = stranger.client.send(route.0, &path, stranger.signed(&bytes(&body))).await.unwrap();
        assert_no_record(&answer, "another agency", route);
        let text = String::from_utf8_lossy(&answer.message.body).into_owned();
        let named = text.contains(&anna.consent) || text.contains(COACH);
        assert!(!named || route.1 == "/openapi.yaml", "{route:?}: {text}");
        match answer.status {
            403 | 404 => {}
            // Counts are about nobody, and this world's systems give none.
            503 if route == ("POST", "/statistics") => {}
            200..=202 | 422 => {
                through.insert(route);
            }
            other => panic!("{route:?}: {other} {}", answer.code()),
        }
    }
    let allowed = FOR_EVERY_CERTIFICATE.iter().map(|(route, _)| *route);
    let allowed: BTreeSet<_> = allowed.chain(FOR_EVERY_AGENCY.iter().map(|(route, _)| *route)).collect();
    assert_eq!(through, allowed);
    // And nothing changed for those who have to do with her.
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn what_is_not_a_route_is_not_found_and_a_wrong_method_is_told() {
    let world = World::start().await;
    let client = world.client("cpi-lucca");
    for path in
        ["/", "/rest/varco/v1", "/rest/varco/v2/pulls", "/rest/varco/v1/pull", "/metrics", "/log/checkpoint"]
    {
        let answer = client.get(path).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (404, "http.not-found"), "{path}");
    }
    for (method, path) in [("GET", "/pulls"), ("DELETE", "/registry"), ("PUT", "/cases")] {
        let answer = client.send(method, &format!("{BASE}{path}"), nothing()).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (405, "http.method"), "{method} {path}");
    }
}

#[tokio::test]
async fn the_public_log_gives_hashes_and_nothing_else() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let log = Client::new(&Ends { address: world.running().log.unwrap(), ..world.ends() }, None);
    let checkpoint = log.get("/log/checkpoint").await.unwrap();
    assert_eq!(checkpoint.status, 200);
    let size = world.log_size().await;
    assert!(String::from_utf8(checkpoint.message.body).unwrap().contains(&format!("\n{size}\n")));
    let tile = log.get(&format!("/log/tile/0/000.p/{size}")).await.unwrap();
    assert_eq!((tile.status, tile.message.body.len()), (200, usize::try_from(size).unwrap() * 32));
    for path in ["/log/tile/entries/000", "/log/entries/000", "/rest/varco/v1/status", "/rest/varco/v1/pulls"]
    {
        assert_eq!(log.get(path).await.unwrap().status, 404, "{path}");
    }
    let pulled = log.send("POST", "/rest/varco/v1/pulls", signed(&anna, &anna.pull())).await.unwrap();
    assert_eq!(pulled.status, 404);
}

fn holder(organization: &str) -> Holder {
    Holder {
        name: "Somebody".to_owned(),
        organization: Some(organization.parse().unwrap()),
        purpose: Purpose::Channel { names: vec!["localhost".to_owned()] },
    }
}

fn officer(id: &str) -> &'static Issued {
    &KIT.officers.iter().find(|officer| officer.id.as_str() == id).unwrap().channel
}
