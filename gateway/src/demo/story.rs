//! The story: Anna Xxquercia comes to a desk in Capannori, agrees that the employment centre may know how she stands,
//! and changes her mind. Each step is a real call; each says whether it turned out as told.

use std::path::Path;

use serde_json::{Map, Value, json};
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_core::time::Timestamp;
use varco_jose::Ed25519NoteVerifier;

use super::desk::{Desk, DeskError, Told};
use super::people::Population;
use super::stage::{PEOPLE, SEED, Stage};
use crate::app::Entropy;
use crate::cli::language::Language;
use crate::demo::desk::Seat;

/// What a step tells, in both languages, and whether it is what the story says.
pub struct Step {
    pub number: usize,
    pub name: &'static str,
    pub title: (&'static str, &'static str),
    /// Lines of detail, for people.
    pub lines: Vec<String>,
    /// The same, for programs.
    pub facts: Value,
    pub went_well: bool,
}

/// The desks of the story, open.
pub struct Story {
    capannori: Desk,
    cpi: Desk,
    log: LogVerifier,
    codice_fiscale: String,
    language: Language,
    case: String,
    consent: String,
    last: Option<Told>,
    told: usize,
}

/// The operator of the employment centre whom the case takes in.
const COACH: &str = "op-cpi-117";
/// What the CPI asks for, under which purpose, of whom.
const RECORD_TYPE: &str = "condizione_economica_prestazioni";
const PURPOSE: &str = "F02";
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

impl Story {
    pub fn open(
        stage: &Stage,
        gateway: &str,
        entropy: &Entropy,
        language: Language,
    ) -> Result<Self, DeskError> {
        let pki = stage.pki();
        let desk = |seat: &Seat<'_>| Desk::open(&pki, gateway, seat, entropy.clone());
        let capannori =
            desk(&Seat { agency: "comune-capannori", operator: "op-cap-042", location: "sportello-unico" })?;
        let cpi = desk(&Seat { agency: "cpi-lucca", operator: COACH, location: "servizi-lavoro" })?;
        let people = Population::generate(SEED, PEOPLE);
        let anna = people.people().first().ok_or_else(|| DeskError::File("nobody lives here".to_owned()))?;
        let verifier = Ed25519NoteVerifier::from_text(&stage.log_key)
            .map_err(|fault| DeskError::File(format!("the log's key: {fault}")))?;
        let origin = stage.log_key.split('+').next().unwrap_or_default().to_owned();
        Ok(Self {
            capannori,
            cpi,
            log: LogVerifier::new(origin, vec![std::sync::Arc::new(verifier)]),
            codice_fiscale: anna.code.expose().to_owned(),
            language,
            case: String::new(),
            consent: String::new(),
            last: None,
            told: 0,
        })
    }

    /// The step after the last one told, or nothing when the calls are over.
    pub async fn next(&mut self, now: Timestamp) -> Result<Option<Step>, DeskError> {
        self.told += 1;
        let step = match self.told {
            1 => self.opens_case().await?,
            2 => self.takes_in_the_coach(now).await?,
            3 => self.records_consent(now).await?,
            4 => self.pulls().await?,
            5 => self.checks_signature(),
            6 => self.checks_receipt(),
            7 => self.withdraws().await?,
            8 => self.pulls_again().await?,
            _ => return Ok(None),
        };
        Ok(Some(step))
    }

    async fn opens_case(&mut self) -> Result<Step, DeskError> {
        let body = json!({ "purposes": [PURPOSE], "subjects": [self.anna()], "role": "assistente sociale" });
        let told = self.capannori.post("/cases", &body).await?;
        self.case = member(&told.body, &["case", "id"]).unwrap_or_default().to_owned();
        let title = (
            "Lo sportello di Capannori apre la presa in carico di Anna",
            "A desk in Capannori opens Anna's case",
        );
        Ok(self.registered("open-case", title, &told, 201))
    }

    async fn takes_in_the_coach(&mut self, now: Timestamp) -> Result<Step, DeskError> {
        let member =
            json!({ "agency": "cpi-lucca", "operator": COACH, "role": "operatore del lavoro", "from": now });
        let body = json!({ "change": "add_member", "member": member });
        let told = self.capannori.post(&format!("/cases/{}/events", self.case), &body).await?;
        let title = (
            "L'operatore del Centro per l'impiego entra nell'équipe di primo livello",
            "The employment centre's operator joins the first-level team",
        );
        Ok(self.registered("add-member", title, &told, 200))
    }

    async fn records_consent(&mut self, now: Timestamp) -> Result<Step, DeskError> {
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
        let notice = "informativa dello sportello unico, versione dimostrativa";
        let sha256 = varco_core::hash::Sha256::of(notice.as_bytes());
        let body = json!({
            "subject": self.anna(),
            "class": "adult",
            "agreement": { "id": "piana-di-lucca", "version": "1", "sha256": sha256 },
            "notice": { "id": "informativa-sportello", "version": "1", "sha256": sha256, "language": "it" },
            "scope": [item("economica", RECORD_TYPE), item("anagrafica", "anagrafica_nucleo")],
            "event": { "state": "given", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico" },
        });
        let told = self.capannori.post("/consents", &body).await?;
        self.consent = member(&told.body, &["consent", "id"]).unwrap_or_default().to_owned();
        let title = ("Anna dà il consenso, con la sua informativa", "Anna agrees, having read the notice");
        Ok(self.registered("record-consent", title, &told, 201))
    }

    async fn pulls(&mut self) -> Result<Step, DeskError> {
        let told = self.cpi.post("/pulls", &self.pull()).await?;
        let fields = told.body.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        let record = told.body.get("record").and_then(Value::as_object).cloned().unwrap_or_default();
        let lines = fields.iter().map(|field| self.field_line(field, &record)).collect();
        let said =
            |what: &str| fields.iter().filter(|field| field.get("outcome") == Some(&json!(what))).count();
        let reduced = fields.iter().any(|field| field.get("view").is_some_and(|view| view != "intero"));
        let went_well = told.status == 200 && said("shown") > 0 && said("withheld") > 0 && reduced;
        let facts = json!({
            "status": told.status,
            "exchange": told.body.get("exchange"),
            "fields": fields,
            "policy": told.body.get("policy"),
        });
        let title = (
            "Il Centro per l'impiego chiede la condizione economica: alcuni campi interi, altri ridotti, altri no",
            "The employment centre asks how Anna stands: some fields whole, some reduced, some withheld",
        );
        self.last = Some(told);
        Ok(Step { number: self.told, name: "pull", title, lines, facts, went_well })
    }

    fn checks_signature(&mut self) -> Step {
        let jws = self.last.as_ref().and_then(|told| told.body.get("record_jws")).and_then(Value::as_str);
        let went_well = jws.is_some_and(|jws| self.cpi.is_sealed(jws));
        let line = self.language.choose(
            "il sigillo del gateway sulla risposta e quello sul record sono validi; il record si può archiviare",
            "the gateway's seals on the answer and on the record are good; the record can be filed",
        );
        let title = ("La firma della risposta è verificata", "The answer's signature is verified");
        let lines = if went_well { vec![line.to_owned()] } else { Vec::new() };
        Step {
            number: self.told,
            name: "verify-signature",
            title,
            lines,
            facts: json!({ "good": went_well }),
            went_well,
        }
    }

    fn checks_receipt(&mut self) -> Step {
        let text = self.last.as_ref().and_then(|told| told.body.get("receipt")).and_then(Value::as_str);
        let receipt = text.and_then(|text| Receipt::parse(text.as_bytes()).ok());
        let exchange = self.last.as_ref().and_then(|told| told.body.get("exchange")).and_then(Value::as_str);
        let good = receipt.as_ref().is_some_and(|receipt| {
            self.log.check(receipt).is_ok() && Some(receipt.leaf.id().as_str()) == exchange
        });
        let index = receipt.as_ref().map(|receipt| receipt.leaf.index());
        let lines = index.map(|index| {
            let words = self.language.choose("l'operazione è la voce numero", "the exchange is entry number");
            format!("{words} {index}")
        });
        let title = (
            "La ricevuta prova che lo scambio è nel registro",
            "The receipt proves that the exchange is in the log",
        );
        let facts = json!({ "good": good, "index": index });
        Step {
            number: self.told,
            name: "check-receipt",
            title,
            lines: lines.into_iter().collect(),
            facts,
            went_well: good,
        }
    }

    async fn withdraws(&mut self) -> Result<Step, DeskError> {
        let body = json!({ "state": "withdrawn", "capacity": "self", "method": "handwritten", "access_point": "sportello-unico" });
        let told = self.capannori.post(&format!("/consents/{}/events", self.consent), &body).await?;
        let title = ("Anna revoca il consenso", "Anna withdraws her consent");
        Ok(self.registered("withdraw", title, &told, 200))
    }

    async fn pulls_again(&mut self) -> Result<Step, DeskError> {
        let told = self.cpi.post("/pulls", &self.pull()).await?;
        let code = told.body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        let detail = told.body.get("detail").and_then(Value::as_str).unwrap_or_default();
        let went_well = told.status == 403 && code == "exchange.denied" && !told.body.contains_key("record");
        let title = (
            "La stessa richiesta, un istante dopo, è rifiutata",
            "The same request, a moment later, is refused",
        );
        let mut lines = vec![format!("{} {code}: {detail}", told.status)];
        let fields = told.body.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        let by_person = fields.iter().find(|field| field.get("layer") == Some(&json!("person")));
        lines.extend(by_person.map(|field| self.field_line(field, &Map::new())));
        let facts = json!({ "status": told.status, "code": code, "fields": fields });
        Ok(Step { number: self.told, name: "pull-again", title, lines, facts, went_well })
    }

    fn anna(&self) -> Value {
        json!({ "codice_fiscale": self.codice_fiscale })
    }

    fn pull(&self) -> Value {
        json!({
            "record_type": RECORD_TYPE,
            "subject": self.anna(),
            "provider": "comune-capannori",
            "purpose": PURPOSE,
            "case": self.case,
        })
    }

    /// A step that changed a register: what it is called and how many entries the log has now.
    fn registered(
        &self,
        name: &'static str,
        title: (&'static str, &'static str),
        told: &Told,
        expected: u16,
    ) -> Step {
        let receipt = told.body.get("receipt").and_then(Value::as_str);
        let receipt = receipt.and_then(|text| Receipt::parse(text.as_bytes()).ok());
        let proved = receipt.as_ref().is_some_and(|receipt| self.log.check(receipt).is_ok());
        let index = receipt.map(|receipt| receipt.leaf.index());
        let words = self.language.choose("ricevuta firmata, voce", "signed receipt, entry");
        let problem =
            ["code", "detail"].map(|name| told.body.get(name).and_then(Value::as_str).unwrap_or_default());
        let line = match index {
            Some(index) if told.status == expected => format!("{words} {index}"),
            Some(_) | None => format!("{} {}", told.status, problem.join(": ")),
        };
        let facts = json!({ "status": told.status, "exchange": told.body.get("exchange"), "index": index });
        Step {
            number: self.told,
            name,
            title,
            lines: vec![line],
            facts,
            went_well: told.status == expected && proved,
        }
    }

    /// One field of the answer, for people: value and view, or why not.
    fn field_line(&self, field: &Value, record: &Map<String, Value>) -> String {
        let text = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        match record.get(name) {
            Some(value) => format!("{name:<26} {} [{}]", plain(value), text("view")),
            None => format!("{name:<26} — {}", self.why_not(field)),
        }
    }

    fn why_not(&self, field: &Value) -> String {
        use varco_core::policy::reduce::Outcome;
        let outcome = serde_json::from_value::<Outcome>(field.clone());
        match outcome {
            Ok(Outcome::Withheld { layer, reason }) => match self.language {
                Language::It => format!("non ostensibile ({}: {})", layer.italian(), reason.italian()),
                Language::En => {
                    let name =
                        |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    format!("withheld ({}: {})", name("layer"), name("reason"))
                }
            },
            Ok(Outcome::Absent) => {
                self.language.choose("assente presso il titolare", "absent at the source").to_owned()
            }
            Ok(Outcome::Unavailable | Outcome::Shown { .. }) | Err(_) => {
                self.language.choose("non disponibile", "unavailable").to_owned()
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

fn member<'a>(body: &'a Map<String, Value>, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(body.get(*first)?, |value, name| value.get(*name))?.as_str()
}

/// The arguments with which `varco log verify` checks the stage's log.
pub fn verify_arguments(stage: &Stage) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let database = format!("sqlite:{}", path(&stage.database()));
    let key = stage.pki().join("gateway/log.pub");
    [
        "log",
        "verify",
        "--database",
        &database,
        "--anchor",
        &path(&stage.anchor()),
        "--key",
        &path(&key),
        "--json",
    ]
    .map(str::to_owned)
    .to_vec()
}
