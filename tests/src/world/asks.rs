//! What desks ask: the bodies of requests, and the situation in which most tests begin.

use serde_json::{Value, json};
use varco::demo::people::ANNA;
use varco_core::hash::Sha256;
use varco_core::time::Timestamp;

use super::desk::Desk;
use super::{Ends, PEOPLE, World};

pub const RECORD_TYPE: &str = "condizione_economica_prestazioni";
pub const PURPOSE: &str = "F02";
/// The operator of the employment centre whom the case takes in.
pub const COACH: &str = "op-cpi-117";
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

/// Anna is known to Capannori: a case is open, the employment centre's operator is in it, and she has agreed.
pub struct Situation {
    pub capannori: Desk,
    pub cpi: Desk,
    pub case: String,
    pub consent: String,
}

impl Situation {
    pub async fn of(world: &World) -> Self {
        Self::at(&world.ends()).await
    }

    /// At any gateway that has just been founded.
    pub async fn at(ends: &Ends) -> Self {
        let capannori = Desk::new(ends, "comune-capannori", "op-cap-042");
        let cpi = Desk::new(ends, "cpi-lucca", COACH);
        let now = (ends.clock)();
        let told = capannori.post("/cases", &open_case()).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let case = told.body["case"]["id"].as_str().unwrap().to_owned();
        let told = capannori.post(&format!("/cases/{case}/events"), &add_member(COACH, now)).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        let told = capannori.post("/consents", &consent(now)).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let consent = told.body["consent"]["id"].as_str().unwrap().to_owned();
        Self { capannori, cpi, case, consent }
    }

    pub fn pull(&self) -> Value {
        pull(&self.case)
    }

    pub async fn withdraw(&self) {
        let told = self.capannori.post(&format!("/consents/{}/events", self.consent), &withdrawal()).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
    }
}

pub fn anna() -> Value {
    json!({ "codice_fiscale": PEOPLE.people()[ANNA].code.expose() })
}

pub fn open_case() -> Value {
    json!({ "purposes": [PURPOSE], "subjects": [anna()], "role": "assistente sociale" })
}

pub fn add_member(operator: &str, from: Timestamp) -> Value {
    let member =
        json!({ "agency": "cpi-lucca", "operator": operator, "role": "operatore del lavoro", "from": from });
    json!({ "change": "add_member", "member": member })
}

pub fn consent(now: Timestamp) -> Value {
    let until = Timestamp::from_millis(now.millis() + YEAR_MS);
    let item = |name: &str, record_type: &str| {
        json!({
            "item": name,
            "purpose": PURPOSE,
            "record_type": record_type,
            "recipients": [{ "agency": "cpi-lucca" }],
            "valid_from": now,
            "valid_until": until,
        })
    };
    let sha256 = Sha256::of(b"notice");
    json!({
        "subject": anna(),
        "class": "adult",
        "agreement": { "id": "piana-di-lucca", "version": "1", "sha256": sha256 },
        "notice": { "id": "informativa-sportello", "version": "1", "sha256": sha256, "language": "it" },
        "scope": [item("economica", RECORD_TYPE), item("anagrafica", "anagrafica_nucleo")],
        "event": {
            "state": "given", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico"
        },
    })
}

pub fn withdrawal() -> Value {
    json!({
        "state": "withdrawn", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico"
    })
}

/// A need that Capannori passes on under F01, by law; the reasons of health only where Anna has named them.
pub fn push(recipients: &[&str]) -> Value {
    let recipients: Vec<Value> = recipients.iter().map(|agency| json!({ "agency": agency })).collect();
    json!({
        "record_type": "segnalazione_bisogno",
        "subject": anna(),
        "purpose": "F01",
        "record": {
            "motivi_comuni": ["lavoro", "reddito"],
            "motivi_sensibili": ["salute"],
            "motivi_giudiziari": null,
            "sintesi": "cerca lavoro vicino a casa",
        },
        "recipients": recipients,
    })
}

/// Anna names her reasons of health towards the employment centre.
pub fn consent_on_health(now: Timestamp) -> Value {
    let mut consent = consent(now);
    let mut item = consent["scope"][0].clone();
    item["item"] = json!("salute");
    item["purpose"] = json!("F01");
    item["record_type"] = json!("segnalazione_bisogno");
    item["fields"] = json!(["motivi_sensibili"]);
    consent["scope"] = json!([item]);
    consent
}

pub fn pull(case: &str) -> Value {
    json!({
        "record_type": RECORD_TYPE,
        "subject": anna(),
        "provider": "comune-capannori",
        "purpose": PURPOSE,
        "case": case,
    })
}
