//! A refused field, asked for with a reason: who opens it, for whom, how long, and who reads the words.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use varco_core::exchange::Replayed;
use varco_core::log::entry::Kind;
use varco_core::time::Timestamp;
use varco_jose::Reader;

use crate::world::asks::{COACH, Situation, anna};
use crate::world::desk::{Desk, Told};
use crate::world::provider::Play;
use crate::world::{KIT, PEOPLE, World};

const REASON: &str = "Il tipo di ISEE serve a scegliere la misura: colloquio del 2 dicembre con la signora.";
const ANSWER: &str = "Il dato si chiede direttamente alla persona, che ha con sé l'attestazione.";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The parties of an appeal about Anna.
struct Appealed {
    anna: Situation,
    second: Desk,
    exchange: String,
}

impl Appealed {
    async fn of(world: &World) -> Self {
        let anna = Situation::of(world).await;
        let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
        assert_eq!((pulled.status, pulled.outcome("isee_tipo")), (200, "withheld"), "{:?}", pulled.body);
        let exchange = pulled.exchange().to_owned();
        Self { anna, second: world.desk("comune-capannori", "op-cap-043"), exchange }
    }

    fn ask(&self, fields: &[&str]) -> Value {
        let fields: Vec<Value> = fields.iter().map(|name| json!({ "name": name })).collect();
        json!({ "exchange": self.exchange, "subject": anna(), "fields": fields, "reason": REASON })
    }

    async fn file(&self) -> String {
        let told = self.anna.cpi.post("/appeals", &self.ask(&["isee_tipo", "debiti_morosita"])).await;
        assert_eq!((told.status, told.signed), (201, true), "{:?}", told.body);
        assert_eq!(told.receipt().leaf.kind(), Kind::Case);
        told.body["appeal"]["id"].as_str().unwrap().to_owned()
    }

    async fn approve(&self, desk: &Desk, id: &str, until: Timestamp) -> Told {
        desk.post(&format!("/appeals/{id}/events"), &json!({ "change": "approve", "until": until })).await
    }

    async fn open(&self, world: &World) -> String {
        let (id, until) = (self.file().await, world.now().plus(DAY * 10));
        for desk in [&self.anna.capannori, &self.second] {
            let told = self.approve(desk, &id, until).await;
            assert_eq!(told.status, 200, "{:?}", told.body);
        }
        id
    }

    async fn pull(&self) -> Told {
        self.anna.cpi.post("/pulls", &self.anna.pull()).await
    }
}

fn texts(told: &Told) -> Vec<String> {
    let words = told.body["words"].as_array().unwrap();
    let sealed = words.iter().flat_map(|one| one["sealed"].as_array().unwrap());
    sealed.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The texts that an officer of the kit can open.
fn read_by(officer: &str, sealed: &[String]) -> Vec<Value> {
    let officer = KIT.officers.iter().find(|known| known.id.as_str() == officer).unwrap();
    let key = officer.reading_key.as_ref().unwrap_or(&officer.key);
    let reader = Reader::from_pem(key.serialize_pem().as_bytes()).unwrap();
    let opened = sealed.iter().filter_map(|text| reader.open(text).ok());
    opened.map(|text| serde_json::from_slice(&text).unwrap()).collect()
}

#[tokio::test]
async fn two_people_of_the_owner_open_just_that_field_for_a_time() {
    let world = World::start().await;
    let appealed = Appealed::of(&world).await;
    let id = appealed.file().await;
    let listed = appealed.anna.capannori.get("/appeals").await;
    assert_eq!(listed.body["received"][0]["id"], json!(id));
    assert!(!serde_json::to_string(&listed.body).unwrap().contains("s1."), "no pseudonym leaves");
    let until = world.now().plus(DAY * 10);
    let once = appealed.approve(&appealed.anna.capannori, &id, until).await;
    assert_eq!(once.body["appeal"]["state"], "approved_once", "{:?}", once.body);
    assert_eq!(appealed.pull().await.outcome("isee_tipo"), "withheld");
    appealed.approve(&appealed.anna.capannori, &id, until).await.assert_refused(403, "appeal.four-eyes");
    appealed.approve(&appealed.anna.cpi, &id, until).await.assert_refused(403, "exchange.not-allowed");
    let open = appealed.approve(&appealed.second, &id, world.now().plus(DAY * 20)).await;
    assert_eq!(
        (&open.body["appeal"]["state"], &open.body["appeal"]["until"]),
        (&json!("open"), &json!(until))
    );
    let pulled = appealed.pull().await;
    assert_eq!((pulled.status, pulled.outcome("isee_tipo")), (200, "shown"), "{:?}", pulled.body);
    // Capannori's own regulation withholds it; Capannori has opened it.
    assert_ne!(pulled.outcome("debiti_morosita"), "withheld");
    for field in ["isee_valore", "isee_protocollo_dsu", "patrimonio_mobiliare", "contributi_straordinari"] {
        assert_eq!(pulled.outcome(field), "withheld", "{field}");
    }
    // The decision is made again from what the log holds.
    let entries = world.entries_of(pulled.exchange()).await;
    let (leaf, slots) = &entries[0];
    let body = &slots.decision.as_ref().unwrap().body;
    assert_eq!(world.replayed(leaf, body), Replayed::Same);
    assert!(body.contains(&id));
    world.advance(DAY * 10);
    assert_eq!(appealed.pull().await.outcome("isee_tipo"), "withheld");
    let shown = appealed.anna.cpi.get(&format!("/appeals/{id}")).await;
    assert_eq!(shown.body["appeal"]["state"], "expired");
}

#[tokio::test]
async fn the_owners_officers_read_the_reason_and_nobody_else_can() {
    let world = World::start().await;
    let appealed = Appealed::of(&world).await;
    let id = appealed.file().await;
    let told = appealed.anna.capannori.get(&format!("/appeals/{id}")).await;
    let sealed = texts(&told);
    assert_eq!(sealed.len(), 2, "one for each officer of Capannori");
    for officer in ["capannori-dpo", "capannori-segreteria"] {
        let read = read_by(officer, &sealed);
        assert_eq!(read, [json!({ "codice_fiscale": anna()["codice_fiscale"], "reason": REASON })]);
    }
    for officer in ["cpi-dpo", "asl-dpo"] {
        assert_eq!(read_by(officer, &sealed), Vec::<Value>::new());
    }
    let rejected = appealed
        .second
        .post(&format!("/appeals/{id}/events"), &json!({ "change": "reject", "reason": ANSWER }))
        .await;
    assert_eq!(rejected.body["appeal"]["state"], "rejected", "{:?}", rejected.body);
    let told = appealed.anna.cpi.get(&format!("/appeals/{id}")).await;
    assert_eq!(read_by("cpi-dpo", &texts(&told)), [json!({ "reason": ANSWER })]);
    assert_eq!(appealed.anna.cpi.get("/appeals").await.body["filed"][0]["state"], "rejected");
    assert_eq!(appealed.anna.capannori.get("/appeals").await.body["received"], json!([]));
    let close = json!({ "change": "close" });
    assert_eq!(appealed.anna.cpi.post(&format!("/appeals/{id}/events"), &close).await.status, 200);
    assert_eq!(appealed.anna.cpi.get("/appeals").await.body["filed"], json!([]));
    assert_eq!(appealed.pull().await.outcome("isee_tipo"), "withheld");
    // Not in the database, its journal, nor anywhere else on this machine's side.
    let person = anna()["codice_fiscale"].as_str().unwrap().to_owned();
    for file in ["varco.db", "varco.db-wal"] {
        let bytes = std::fs::read(world.folder.path(file)).unwrap_or_default();
        for text in [REASON, ANSWER, person.as_str()] {
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text} in {file}");
        }
    }
}

#[tokio::test]
async fn what_law_promise_or_protection_close_cannot_be_asked_for() {
    let world = World::start().await;
    let appealed = Appealed::of(&world).await;
    let anna = &appealed.anna;
    for (field, why) in [
        ("isee_valore", "importi ISEE mai a CPI"),
        ("patrimonio_mobiliare", "patrimonio mai a nessuno"),
        ("isee_fascia", "shows as much already"),
        ("cognome", "no such field"),
    ] {
        let told = anna.cpi.post("/appeals", &appealed.ask(&["isee_tipo", field])).await;
        told.assert_refused(422, "appeal.barred");
        assert!(told.text("detail").contains(why), "{field}: {}", told.text("detail"));
        assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
    }
    // Social assessments: nobody has agreed to them, so all is withheld, field by field.
    let mut pull = anna.pull();
    pull["record_type"] = json!("valutazione_sociale");
    let denied = anna.cpi.post("/pulls", &pull).await;
    denied.assert_refused(403, "exchange.denied");
    let mut ask = appealed.ask(&["bisogni_protetti"]);
    ask["exchange"] = json!(denied.exchange());
    anna.cpi.post("/appeals", &ask).await.assert_refused(422, "appeal.barred");
    // The owner may open what is judicial, but the law still asks for the person's word.
    ask["fields"] = json!([{ "name": "esecuzione_penale" }]);
    let told = anna.cpi.post("/appeals", &ask).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let id = told.body["appeal"]["id"].as_str().unwrap().to_owned();
    for desk in [&anna.capannori, &appealed.second] {
        assert_eq!(appealed.approve(desk, &id, world.now().plus(DAY)).await.status, 200);
    }
    let still = anna.cpi.post("/pulls", &pull).await;
    still.assert_refused(403, "exchange.denied");
    let said = still.body["fields"].as_array().unwrap();
    let judicial = said.iter().find(|one| one["name"] == "esecuzione_penale").unwrap();
    assert_eq!(judicial["layer"], "law", "{judicial}");
}

#[tokio::test]
async fn a_revocation_mid_exchange_turns_the_disclosure_into_a_denial() {
    let gate = Arc::new(Semaphore::new(1));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let appealed = Appealed::of(&world).await;
    let id = appealed.open(&world).await;
    let asked = world.provider.as_ref().unwrap();
    let meanwhile = async {
        asked.asked().await;
        asked.asked().await;
        let body = json!({ "change": "revoke", "reason": ANSWER });
        let told = appealed.anna.capannori.post(&format!("/appeals/{id}/events"), &body).await;
        gate.add_permits(1);
        told
    };
    let (pulled, revoked) = tokio::join!(appealed.pull(), meanwhile);
    assert_eq!(revoked.status, 200, "{:?}", revoked.body);
    pulled.assert_refused(403, "exchange.denied");
    assert!(pulled.receipt().leaf.index() > revoked.receipt().leaf.index());
}

#[tokio::test]
async fn an_opening_is_for_its_case_and_a_colleague_of_the_equipe_and_for_nobody_else() {
    let world = World::start().await;
    let appealed = Appealed::of(&world).await;
    let id = appealed.open(&world).await;
    let stranger = world.desk("asl-toscana-nord-ovest", "op-asl-1");
    for (method, path) in [("GET", format!("/appeals/{id}")), ("POST", format!("/appeals/{id}/events"))] {
        let told = match method {
            "GET" => stranger.get(&path).await,
            _ => stranger.post(&path, &json!({ "change": "close" })).await,
        };
        told.assert_refused(404, "appeal.unknown");
    }
    stranger.post("/appeals", &appealed.ask(&["isee_tipo"])).await.assert_refused(404, "appeal.unknown");
    // Of another person the exchange was not.
    let mut ask = appealed.ask(&["isee_tipo"]);
    ask["subject"] = json!({ "codice_fiscale": PEOPLE.people()[7].code.expose() });
    appealed.anna.cpi.post("/appeals", &ask).await.assert_refused(404, "appeal.unknown");
    // In another case of the same person nothing is open.
    let other = appealed.anna.capannori.post("/cases", &crate::world::asks::open_case()).await;
    let other = other.body["case"]["id"].as_str().unwrap().to_owned();
    let member = crate::world::asks::add_member(COACH, world.now());
    assert_eq!(appealed.anna.capannori.post(&format!("/cases/{other}/events"), &member).await.status, 200);
    let mut pull = appealed.anna.pull();
    pull["case"] = json!(other);
    assert_eq!(appealed.anna.cpi.post("/pulls", &pull).await.outcome("isee_tipo"), "withheld");
    // The person's own word still closes everything.
    appealed.anna.withdraw().await;
    appealed.pull().await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn an_owner_without_anybody_who_could_read_cannot_be_asked() {
    let world = World::start().await;
    let appealed = Appealed::of(&world).await;
    let mut pull = appealed.anna.pull();
    pull["provider"] = json!("comune-altopascio");
    pull["record_type"] = json!("valutazione_sociale");
    let denied = appealed.anna.cpi.post("/pulls", &pull).await;
    denied.assert_refused(403, "exchange.denied");
    let mut ask = appealed.ask(&["operatore"]);
    ask["exchange"] = json!(denied.exchange());
    appealed.anna.cpi.post("/appeals", &ask).await.assert_refused(422, "appeal.no-reader");
}
