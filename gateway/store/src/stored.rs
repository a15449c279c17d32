//! The entry a claim keeps for the case that its exchange never gets an outcome, as text in the claim's row.

use serde::{Deserialize, Serialize};
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId, PurposeId, RecordTypeId};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};

/// A draft of kind `interrupted`, without what its row says already.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    consumer: Option<AgencyId>,
    provider: Option<AgencyId>,
    purpose: Option<PurposeId>,
    record_type: Option<RecordTypeId>,
    code: Option<String>,
    policy: Option<Sha256>,
    slots: Vec<StoredSlot>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSlot {
    name: SlotName,
    /// 32 bytes, in the text form of a digest.
    salt: Sha256,
    body: String,
}

pub fn write(draft: &Draft) -> String {
    let slot = |(name, slot): (SlotName, &Slot)| StoredSlot {
        name,
        salt: Sha256::from_bytes(slot.salt),
        body: slot.body.clone(),
    };
    let stored = Stored {
        consumer: draft.consumer.clone(),
        provider: draft.provider.clone(),
        purpose: draft.purpose.clone(),
        record_type: draft.record_type.clone(),
        code: draft.code.map(|code| code.text().to_owned()),
        policy: draft.policy,
        slots: draft.slots.iter().map(slot).collect(),
    };
    // A struct of texts always serialises; were it not so, the entry would be written without its bodies.
    serde_json::to_string(&stored).unwrap_or_default()
}

/// The draft of a claim's row. What cannot be read still gives an entry: that the exchange was interrupted is known.
pub fn read(exchange: ExchangeId, text: &str) -> Draft {
    let mut draft = Draft::new(Kind::Interrupted, exchange);
    let Ok(stored) = serde_json::from_str::<Stored>(text) else { return draft };
    draft.consumer = stored.consumer;
    draft.provider = stored.provider;
    draft.purpose = stored.purpose;
    draft.record_type = stored.record_type;
    draft.code = stored.code.and_then(|text| Code::ALL.iter().copied().find(|code| code.text() == text));
    draft.policy = stored.policy;
    for slot in stored.slots {
        draft.slots.set(slot.name, Slot { salt: *slot.salt.as_bytes(), body: slot.body });
    }
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_draft_reads_back() {
        let exchange: ExchangeId = "00000000-0000-7000-8000-000000000001".parse().unwrap();
        let mut draft = Draft::new(Kind::Interrupted, exchange.clone());
        assert_eq!(read(exchange.clone(), &write(&draft)), draft);
        draft.consumer = Some("cpi-lucca".parse().unwrap());
        draft.provider = Some("comune-lucca".parse().unwrap());
        draft.purpose = Some("F02".parse().unwrap());
        draft.record_type = Some("anagrafica_nucleo".parse().unwrap());
        draft.code = Some(Code::AdapterTimeout);
        draft.policy = Some(Sha256::of(b"policy"));
        draft.slots.set(SlotName::Operator, Slot { salt: [7; 32], body: r#"{"operator":"x"}"#.to_owned() });
        draft.slots.set(SlotName::Subject, Slot { salt: [9; 32], body: "{}".to_owned() });
        assert_eq!(read(exchange.clone(), &write(&draft)), draft);
        assert_eq!(read(exchange.clone(), "{"), Draft::new(Kind::Interrupted, exchange));
    }
}
