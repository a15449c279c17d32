//! The bodies of an entry: who asked, whose record it is, and why it was decided so. Each can be erased alone.

use serde_json::{Map, Value, json};

use super::verify::VerifiedRequest;
use crate::id::{CaseId, Pseudonym};
use crate::log::entry::{Draft, Kind, Slot, Slots};

/// The three bodies of an entry.
pub(in crate::exchange) fn slots(
    decision: Value,
    operator: Value,
    (whose, case): (Option<&Pseudonym>, Option<&CaseId>),
    salts: &[[u8; 32]; 3],
) -> Slots {
    let [for_decision, for_operator, for_subject] = *salts;
    let mut subject = Map::new();
    if let Some(pseudonym) = whose {
        subject.insert("subject".into(), json!(pseudonym));
    }
    if let Some(case) = case {
        subject.insert("case".into(), json!(case));
    }
    Slots {
        decision: Some(Slot::new(for_decision, &decision)),
        operator: Some(Slot::new(for_operator, &operator)),
        subject: (!subject.is_empty()).then(|| Slot::new(for_subject, &Value::Object(subject))),
    }
}

/// Who asked, from where, with which token: erasable on its own.
pub(in crate::exchange) fn operator_body(request: &VerifiedRequest) -> Value {
    let sender = &request.sender;
    json!({
        "agency": sender.agency,
        "office": sender.office,
        "operator": sender.operator,
        "location": sender.location,
        "assurance": sender.assurance,
        "carrier": sender.carrier,
        "issuer": request.issuer,
        "seal": request.seal,
        "tokens": request.tokens,
    })
}

impl VerifiedRequest {
    /// The entry that tells of this request if nothing else ever does: a crash cut it short.
    pub fn interrupted(&self, salts: [[u8; 32]; 2]) -> Draft {
        let [for_decision, for_operator] = salts;
        let mut draft = Draft::new(Kind::Interrupted, self.exchange.clone());
        draft.consumer = Some(self.sender.agency.clone());
        draft.slots.decision =
            Some(Slot::new(for_decision, &json!({ "at": self.at, "request": self.digest })));
        draft.slots.operator = Some(Slot::new(for_operator, &operator_body(self)));
        draft
    }
}
