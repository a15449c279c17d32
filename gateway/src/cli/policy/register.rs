//! `varco policy register`: an entry of the register of processing (GDPR art. 30) for each purpose, with the answers that
//! PDND's risk analysis asks for under its own names. What the table cannot know is `null`, for a person to fill in.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::{Value, json};
use varco_core::policy::questions::Effect;
use varco_core::policy::questions::cells::CellKey;
use varco_core::policy::{Category, ConsentRole, Gives, Policy, Purpose};
use varco_core::time::Timestamp;
use varco_core::view::ladder::Technique;

use super::notice::{acts, consent, duration, recipient};
use super::{PolicyError, ask};

const HEAD: [&str; 9] = [
    "finalità",
    "nome",
    "titolari",
    "base giuridica",
    "consenso",
    "dati",
    "destinatari",
    "conservazione",
    "DPIA",
];

pub fn run(asked: &ask::Bundle) -> Result<ExitCode, PolicyError> {
    let (policy, at) = asked.load()?;
    let entries: Vec<Entry<'_>> =
        policy.purposes.iter().map(|purpose| Entry::of(&policy, purpose, at)).collect();
    let rows: Vec<_> = entries.iter().map(|entry| entry.row(&policy)).collect();
    let value: Vec<_> = entries.iter().map(|entry| entry.json(&policy)).collect();
    let caption = format!("Registro delle attività di trattamento, {} {}", policy.name, policy.version());
    asked.show(&json!(value), &caption, (&HEAD, &rows));
    Ok(ExitCode::SUCCESS)
}

/// What the table says of one purpose.
struct Entry<'a> {
    purpose: &'a Purpose,
    owners: BTreeSet<String>,
    records: BTreeSet<String>,
    categories: BTreeSet<Category>,
    techniques: BTreeSet<&'static str>,
    recipients: BTreeSet<String>,
}

impl<'a> Entry<'a> {
    fn of(policy: &Policy, purpose: &'a Purpose, at: Timestamp) -> Self {
        let mut entry = Self {
            purpose,
            owners: BTreeSet::new(),
            records: BTreeSet::new(),
            categories: BTreeSet::new(),
            techniques: BTreeSet::new(),
            recipients: BTreeSet::new(),
        };
        let cells = policy.cells(at);
        let shown = cells
            .iter()
            .filter(|(key, effect)| key.purpose == purpose.id && effect.view.as_str() != "withhold");
        shown.for_each(|(key, effect)| entry.add(policy, key, effect));
        entry
    }

    fn add(&mut self, policy: &Policy, key: &CellKey, effect: &Effect) {
        let Some(record) = policy.record_type(&key.record_type) else { return };
        let Some(field) = record.find(&key.field).and_then(|index| record.field(index)) else { return };
        let owners = policy.agreement.parties.iter().filter(|party| record.owners.contains(&party.kind));
        self.owners.extend(owners.map(|party| party.name.clone()));
        self.records.insert(record.title.clone());
        self.categories.insert(field.category);
        self.techniques.insert(match effect.technique {
            Technique::Disclose | Technique::Generalise | Technique::Mask | Technique::Withhold => {
                "CLEARTEXT"
            }
            Technique::Pseudonymise => "PSEUDOANONYMOUS",
        });
        self.recipients.insert(recipient(policy, &key.audience));
    }

    fn data(&self) -> String {
        let words = self.categories.iter().map(|category| match category {
            Category::Common => "comuni",
            Category::Special => "particolari (art. 9)",
            Category::Judicial => "giudiziari (art. 10)",
            Category::Protected => "a maggior tutela",
        });
        let records: Vec<&str> = self.records.iter().map(String::as_str).collect();
        if records.is_empty() {
            return "-".to_owned();
        }
        format!("{}: {}", records.join(", "), words.collect::<Vec<_>>().join(", "))
    }

    fn row(&self, policy: &Policy) -> Vec<String> {
        let joined =
            |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        vec![
            self.purpose.id.to_string(),
            self.purpose.name.clone(),
            joined(&self.owners),
            acts(policy, self.purpose),
            consent(self.purpose).to_owned(),
            self.data(),
            joined(&self.recipients),
            self.purpose.retention.as_deref().map(duration).unwrap_or_default(),
            self.purpose.dpia.clone().unwrap_or_default(),
        ]
    }

    fn json(&self, policy: &Policy) -> Value {
        let purpose = self.purpose;
        let sensitive = self.categories.iter().any(|category| *category != Category::Common);
        let delivery = match purpose.gives {
            Gives::Aggregates => "AGGREGATE",
            Gives::Records if self.techniques.len() == 1 => {
                self.techniques.first().copied().unwrap_or("CLEARTEXT")
            }
            Gives::Records => "CLEARTEXT",
        };
        let basis = match purpose.consent {
            ConsentRole::Basis => "CONSENT",
            ConsentRole::None | ConsentRole::Safeguard => "PUBLIC_INTEREST",
        };
        json!({
            "purpose": purpose.id,
            "name": purpose.name,
            "controllers": self.owners,
            "legal_basis": acts(policy, purpose),
            "consent": purpose.consent,
            "data_subjects": "persone seguite dai servizi e componenti dei loro nuclei",
            "data": { "records": self.records, "categories": self.categories },
            "recipients": self.recipients,
            "transfers_outside_the_union": [],
            "retention": purpose.retention,
            "security": "mTLS, firma di ogni scambio, registro degli accessi a sola aggiunta, minimizzazione campo per campo",
            "dpia": purpose.dpia,
            "pdnd": {
                "legalBasis": [basis],
                "legalBasisPublicInterest": "PUBLIC_INTEREST_TASK",
                "publicInterestTaskText": acts(policy, purpose),
                "personalDataTypes": self.categories,
                "accessDataArt9Gdpr": sensitive,
                "accessUnderageData": purpose.gives == Gives::Records && !self.records.is_empty(),
                "dataQuantity": Value::Null,
                "dailyCalls": purpose.daily_calls,
                "deliveryMethod": delivery,
                "policyProvided": Value::Null,
                "doneDpia": purpose.dpia.is_some(),
                "dataRetentionPeriod": purpose.retention,
                "purposePursuit": Value::Null,
            },
        })
    }
}
