//! Anna with her son Matteo, who is 16, and her daughter Sara, who is 9: one case, and a consent for each of them.

use serde_json::{Value, json};
use varco_core::time::Timestamp;

use super::asks::{COACH, PURPOSE, add_member, consent};
use super::desk::Desk;
use super::{PEOPLE, World};

pub const ANNA: usize = 0;
pub const MATTEO: usize = 1;
pub const SARA: usize = 2;

pub struct Family {
    pub capannori: Desk,
    pub cpi: Desk,
    pub case: String,
    /// The consents of Anna, Matteo and Sara.
    pub consents: Vec<String>,
}

/// A person of the population by place, as messages name one.
pub fn person(place: usize) -> Value {
    json!({ "codice_fiscale": PEOPLE.people()[place].code.expose() })
}

/// The eighteenth birthday, at midnight UTC.
pub fn coming_of_age(place: usize) -> Timestamp {
    let birth = PEOPLE.people()[place].birth;
    let day = format!("{}-{:02}-{:02}", birth.year() + 18, u8::from(birth.month()), birth.day());
    format!("{day}T00:00:00Z").parse().unwrap()
}

/// A consent to the same as Anna's; a minor's by both parents.
pub fn agreed(place: usize, now: Timestamp) -> Value {
    let mut body = consent(now);
    body["subject"] = person(place);
    if place != ANNA {
        body["class"] = json!("minor");
        body["class_until"] = json!(coming_of_age(place));
        body["event"]["capacity"] = json!("parents_both");
    }
    body
}

impl Family {
    /// Everybody is in the case, and those listed have agreed.
    pub async fn of(world: &World, agree: &[usize]) -> Self {
        let capannori = world.desk("comune-capannori", "op-cap-042");
        let cpi = world.desk("cpi-lucca", COACH);
        let subjects = [ANNA, MATTEO, SARA].map(person);
        let case = json!({ "purposes": [PURPOSE], "subjects": subjects, "role": "assistente sociale" });
        let told = capannori.post("/cases", &case).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let case = told.body["case"]["id"].as_str().unwrap().to_owned();
        let told = capannori.post(&format!("/cases/{case}/events"), &add_member(COACH, world.now())).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        let mut consents = Vec::new();
        for place in agree {
            let told = capannori.post("/consents", &agreed(*place, world.now())).await;
            assert_eq!(told.status, 201, "{:?}", told.body);
            consents.push(told.body["consent"]["id"].as_str().unwrap().to_owned());
        }
        Self { capannori, cpi, case, consents }
    }

    pub fn pull(&self, place: usize, record_type: &str) -> Value {
        json!({
            "record_type": record_type,
            "subject": person(place),
            "provider": "comune-capannori",
            "purpose": PURPOSE,
            "case": self.case,
        })
    }

    pub fn household(&self, places: &[usize], record_type: &str) -> Value {
        let members: Vec<_> = places.iter().map(|place| person(*place)).collect();
        json!({
            "record_type": record_type,
            "members": members,
            "provider": "comune-capannori",
            "purpose": PURPOSE,
            "case": self.case,
        })
    }
}
