//! Consent records as ISO/IEC TS 27560 has them, by the command.

use serde_json::{Value, json};

use super::{run, said};
use crate::world::World;
use crate::world::asks::Situation;

#[tokio::test]
async fn a_consent_goes_out_as_ts_27560_and_is_read_back_event_for_event() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let at = |name: &str| world.folder.path(name).display().to_string();
    let database = format!("sqlite:{}", at("varco.db"));
    let registry = at("registry.json");
    std::fs::write(&registry, varco_core::json::canonical_of(&world.app().in_force.load().registry)).unwrap();
    let varco = |arguments: &[&str]| run(&world.folder.path(""), &[&["consent"], arguments].concat());
    let file = at("consent.json");
    let out = ["export", "--database", &database, "--registry", &registry, "--out", &file, &anna.consent];
    assert!(varco(&out).status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["record_id"], format!("urn:uuid:{}", anna.consent));
    assert_eq!(record["dpv_version"], "2.3");
    assert!(record["processing"][0]["state"].as_str().unwrap().starts_with("dpv:Consent"), "{record}");
    let parties = record["parties"].as_array().unwrap();
    assert!(parties.iter().all(|party| party["party_name"] != party["party_id"]) && !parties.is_empty());
    assert!(!text.contains(crate::world::asks::anna()["codice_fiscale"].as_str().unwrap()));

    let output = varco(&["read", &file, "--json", "--at", &world.now().to_string()]);
    let told: Value = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!((&told["id"], &told["items"][0]["state"]), (&json!(anna.consent), &json!("given")), "{told}");
    let later = world.now().plus(std::time::Duration::from_secs(10 * 365 * 86_400)).to_string();
    let output = varco(&["read", &file, "--json", "--at", &later]);
    let told: Value = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!(told["items"][0]["state"], "expired", "{told}");

    // What stands is recorded once more by a desk, and gives way here as any newer choice does.
    let subject = at("subject");
    std::fs::write(&subject, crate::world::asks::anna()["codice_fiscale"].as_str().unwrap()).unwrap();
    let take = |when: &str| varco(&["take-over", &file, "--subject", &subject, "--at", when]);
    let body: Value = serde_json::from_str(&said(&take(&world.now().to_string()))).unwrap();
    let told = anna.capannori.post("/consents", &body).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    assert_eq!(told.body["consent"]["items"][0]["state"], "given");
    let old = anna.capannori.get(&format!("/consents/{}", anna.consent)).await;
    assert_eq!(old.body["consent"]["items"][0]["state"], "superseded");
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    assert_eq!(take(&later).status.code(), Some(1), "nothing stands any more");

    // What says another thing than its events is no record; neither is one that there is not.
    std::fs::write(&file, text.replace("dpv:ConsentGiven", "dpv:RenewedConsentGiven")).unwrap();
    assert_eq!(varco(&["read", &file]).status.code(), Some(1));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(varco(&["read", &file]).status.code(), Some(2));
    let output = varco(&["export", "--database", &database, &anna.case]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no consent record"), "{output:?}");
}
