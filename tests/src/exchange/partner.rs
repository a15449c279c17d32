//! A partner of the third sector: a party of the agreement and of the registry, in the équipe, that sees the project and
//! nothing else, and nothing any more from the instant it leaves.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use varco_core::log::entry::Kind;
use varco_core::registry::{AgencyKind, Registry};

use crate::world::asks::{anna, consent};
use crate::world::desk::Desk;
use crate::world::family::{MATTEO, person};
use crate::world::provider::Play;
use crate::world::{Folder, PEOPLE, Setup, World, altered};

/// Montecarlo's keys, for an agency that is a cooperative in registry, genesis and agreement.
const PARTNER: &str = "comune-montecarlo";
const OPERATOR: &str = "op-ets-1";
const PROJECT: &str = "progetto_personalizzato";

fn registered(registry: &mut Registry) {
    let partner = registry.agencies.iter_mut().find(|agency| agency.id.as_str() == PARTNER).unwrap();
    partner.kind = AgencyKind::Ets;
    partner.name = "Cooperativa di prova".to_owned();
    partner.offices.clear();
}

fn agreed(folder: &Folder) -> PathBuf {
    let (from, to) = ("comune-montecarlo      | comune |", "comune-montecarlo      | ets    |");
    altered(folder, ("protocollo.txt", from, to))
}

/// Everything a project may hold, as Capannori's system has it.
fn project() -> Map<String, Value> {
    let record = json!({
        "id_progetto": "PRJ-2026-0001",
        "tipo": "PaIS",
        "livello_equipe": "1",
        "equipe": [{ "nome": "Dora Xxtiglio", "ente": "Comune", "ruolo": "assistente_sociale", "dal": "2026-01-10" }],
        "data_firma": "2026-02-01",
        "beneficiari": [{ "cf": PEOPLE.people()[0].code.expose() }, { "cf": PEOPLE.people()[MATTEO].code.expose() }],
        "obiettivi_ordinari": [{ "area": "lavoro", "descrizione": "tirocinio" }],
        "obiettivi_cura": [{ "area": "salute", "descrizione": "CANARINO-cura" }],
        "obiettivi_protetti": [{ "area": "salute", "descrizione": "CANARINO-protetto" }],
        "azioni": [
            { "ente": PARTNER, "servizio": "laboratorio di cucina" },
            { "ente": "cpi-lucca", "servizio": "CANARINO-azione" },
        ],
        "impegni_persona": [{ "impegno": "CANARINO-impegno" }],
        "sostegni": [{ "codice": "S1", "descrizione": "CANARINO-sostegno" }],
        "esito_finale": "parziale",
    });
    let Value::Object(record) = record else { panic!("a record is an object") };
    record
}

struct Partnership {
    capannori: Desk,
    partner: Desk,
    case: String,
}

impl Partnership {
    /// Anna has agreed to the partner's part of her project, and the partner's operator is in the équipe.
    async fn of(world: &World) -> Self {
        let capannori = world.desk("comune-capannori", "op-cap-042");
        let open =
            json!({ "purposes": ["F02", "F04-ets"], "subjects": [anna()], "role": "assistente sociale" });
        let told = capannori.post("/cases", &open).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let case = told.body["case"]["id"].as_str().unwrap().to_owned();
        let mut agrees = consent(world.now());
        let mut item = agrees["scope"][0].clone();
        item["purpose"] = json!("F04-ets");
        item["record_type"] = json!(PROJECT);
        item["recipients"] = json!([{ "agency": PARTNER }]);
        agrees["scope"] = json!([item]);
        let told = capannori.post("/consents", &agrees).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let partnership = Self { capannori, partner: world.desk(PARTNER, OPERATOR), case };
        partnership.joins(world).await;
        partnership
    }

    async fn event(&self, change: Value) {
        let told = self.capannori.post(&format!("/cases/{}/events", self.case), &change).await;
        assert_eq!(told.status, 200, "{change}: {:?}", told.body);
    }

    async fn joins(&self, world: &World) {
        let member = json!({
            "agency": PARTNER, "operator": OPERATOR, "role": "educatore", "from": world.now(),
        });
        self.event(json!({ "change": "add_member", "member": member })).await;
    }

    fn pull(&self, (purpose, record_type, provider): (&str, &str, &str)) -> Value {
        json!({
            "record_type": record_type, "subject": anna(), "provider": provider, "purpose": purpose,
            "case": self.case,
        })
    }

    fn of_the_project(&self) -> Value {
        self.pull(("F04-ets", PROJECT, "comune-capannori"))
    }
}

async fn world() -> World {
    let play = Some(Play::Record(project()));
    World::of(Setup { play, policies: Some(agreed), registry: registered, ..Setup::default() }).await
}

#[tokio::test]
async fn a_third_sector_partner_pulls_the_project_and_of_it_only_its_own_part() {
    let world = world().await;
    let partnership = Partnership::of(&world).await;
    let told = partnership.partner.post("/pulls", &partnership.of_the_project()).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    assert_eq!(told.receipt().leaf.kind(), Kind::Disclosure);
    for (field, outcome) in [
        ("id_progetto", "shown"),
        ("equipe", "shown"),
        ("beneficiari", "shown"),
        ("obiettivi_ordinari", "shown"),
        ("azioni", "shown"),
        ("esito_finale", "shown"),
        ("obiettivi_cura", "withheld"),
        ("impegni_persona", "withheld"),
        ("sostegni", "withheld"),
        ("verifiche", "withheld"),
        ("adesione", "withheld"),
        ("obiettivi_protetti", "unavailable"),
        ("opposizioni", "unavailable"),
    ] {
        assert_eq!(told.outcome(field), outcome, "{field}");
    }
    let record = told.record().unwrap();
    assert_eq!(record["azioni"], json!([{ "ente": PARTNER, "servizio": "laboratorio di cucina" }]));
    assert_eq!(record["beneficiari"], json!([{ "cf": anna()["codice_fiscale"] }]), "and no other person");
    let said = Value::Object(told.body.clone()).to_string();
    for hidden in ["CANARINO", "Xxtiglio", person(MATTEO)["codice_fiscale"].as_str().unwrap()] {
        assert!(!said.contains(hidden), "{hidden} is in the answer");
    }
}

#[tokio::test]
async fn it_gets_no_other_record_under_any_purpose() {
    let world = world().await;
    let partnership = Partnership::of(&world).await;
    let policy = world.app().policy_at(world.now());
    let before = world.provider.as_ref().unwrap().heard().len();
    for purpose in &policy.purposes {
        for record in policy.record_types() {
            let provider = match record.owners.first() {
                Some(AgencyKind::Cpi) => "cpi-lucca",
                Some(AgencyKind::Asl) => "asl-toscana-nord-ovest",
                _ => "comune-capannori",
            };
            let asks = (purpose.id.as_str(), record.id.as_str(), provider);
            if (asks.0, asks.1) == ("F04-ets", PROJECT) {
                continue;
            }
            let told = partnership.partner.post("/pulls", &partnership.pull(asks)).await;
            assert!(told.status >= 400 && told.record().is_none(), "{asks:?}: {:?}", told.body);
            assert!(matches!(told.receipt().leaf.kind(), Kind::Denial | Kind::Failure), "{asks:?}");
        }
    }
    assert_eq!(world.provider.as_ref().unwrap().heard().len(), before, "nobody was asked for any of it");
}

#[tokio::test]
async fn it_is_refused_from_the_instant_it_leaves_or_the_case_closes() {
    let world = world().await;
    let partnership = Partnership::of(&world).await;
    let asks = partnership.of_the_project();
    let colleague = world.desk(PARTNER, "op-ets-2");
    colleague.post("/pulls", &asks).await.assert_refused(403, "exchange.not-allowed");
    assert_eq!(partnership.partner.post("/pulls", &asks).await.status, 200);
    // The clock stands still all the while.
    let leaves =
        json!({ "change": "remove_member", "operator": { "agency": PARTNER, "operator": OPERATOR } });
    partnership.event(leaves).await;
    partnership.partner.post("/pulls", &asks).await.assert_refused(403, "exchange.not-allowed");
    partnership.joins(&world).await;
    assert_eq!(partnership.partner.post("/pulls", &asks).await.status, 200);
    partnership.event(json!({ "change": "close" })).await;
    partnership.partner.post("/pulls", &asks).await.assert_refused(403, "exchange.not-allowed");
    let path = format!("/cases/{}", partnership.case);
    let seen = partnership.partner.get(&path).await;
    assert!(seen.status == 404 || seen.body["case"]["closed"].is_string(), "{:?}", seen.body);
}
