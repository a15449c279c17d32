//! `varco policy why`: one request, put to the bundle with the facts on the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use serde_json::json;
use varco_core::case::{ActFact, CaseFact, Level};
use varco_core::consent::{ConsentFact, Restriction, RestrictionEffect};
use varco_core::id::{FieldId, OfficeId, PurposeId, RecordTypeId, ScopeId};
use varco_core::policy::questions::why::{Explained, Said};
use varco_core::policy::reduce::Outcome;
use varco_core::policy::{Facts, Party, Policy, Question};
use varco_core::time::Timestamp;

use super::{NO, PolicyError, load, table};

#[derive(clap::Args)]
pub struct Why {
    /// The bundle's folder.
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    record: RecordTypeId,
    purpose: PurposeId,
    /// The agency that owns the record.
    #[arg(long)]
    provider: String,
    /// The agency that asks.
    #[arg(long)]
    consumer: String,
    #[arg(long)]
    office: Option<OfficeId>,
    /// The level of the case: 1 or 2.
    #[arg(long, value_parser = level)]
    level: Option<Level>,
    /// Scopes of the asking member.
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<ScopeId>,
    /// What the person has agreed to, besides the fields they named.
    #[arg(long, value_enum, default_value_t)]
    agreed: Agreed,
    /// Fields the person has named.
    #[arg(long, value_delimiter = ',')]
    explicit: Vec<FieldId>,
    /// Fields named by an act of guardian or judge.
    #[arg(long, value_delimiter = ',')]
    act: Vec<FieldId>,
    /// Fields the person opposes to.
    #[arg(long, value_delimiter = ',')]
    opposed: Vec<FieldId>,
    /// Only this field.
    #[arg(long)]
    field: Option<FieldId>,
    #[arg(long)]
    at: Option<Timestamp>,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Agreed {
    #[default]
    Nothing,
    /// The record type as a whole.
    Record,
}

fn level(text: &str) -> Result<Level, String> {
    u8::from_str(text).ok().and_then(|n| Level::try_from(n).ok()).ok_or_else(|| "expected 1 or 2".to_owned())
}

/// The request is nobody's, and so are its case and its consent.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

pub fn run(why: &Why) -> Result<ExitCode, PolicyError> {
    let policy = load(&why.bundle)?;
    let facts = why.facts(&policy)?;
    let now = why.at.unwrap_or(policy.agreement.from);
    let question =
        Question { record_type: &why.record, purpose: &why.purpose, requested: None, facts: &facts, now };
    let explained = match policy.why(&question) {
        Ok(explained) => explained,
        Err(refusal) => {
            if why.json {
                let told = json!({"refused": refusal.to_string(), "code": refusal.code().text(), "layer": refusal.layer()});
                println!("{told}");
            } else {
                println!("Rifiutata ({}): {refusal}", refusal.layer().italian());
            }
            return Ok(ExitCode::from(NO));
        }
    };
    let wanted = |one: &&Explained| why.field.as_ref().is_none_or(|field| *field == one.field);
    let fields: Vec<&Explained> = explained.iter().filter(wanted).collect();
    if why.json {
        println!("{}", json!(fields));
    } else {
        let head = ["campo", "esito", "chi ha parlato"].map(str::to_owned);
        print!("{}", table::text(&head, &fields.into_iter().flat_map(rows).collect::<Vec<_>>()));
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for the outcome, and one for each layer that spoke.
fn rows(one: &Explained) -> Vec<Vec<String>> {
    let outcome = match &one.outcome.outcome {
        Outcome::Shown { view, technique } => format!("{view} ({})", technique.italian()),
        Outcome::Absent => "assente".to_owned(),
        Outcome::Unavailable => "non disponibile".to_owned(),
        Outcome::Withheld { layer, reason } => format!("- ({}: {})", layer.italian(), reason.italian()),
    };
    let mut rows = Vec::new();
    let mut first = (one.field.to_string(), outcome);
    for said in &one.said {
        let (field, outcome) = std::mem::take(&mut first);
        rows.push(vec![field, outcome, sentence(said)]);
    }
    rows
}

fn sentence(said: &Said) -> String {
    let most = match said.at_most.as_str() {
        "withhold" => "-",
        view => view,
    };
    let with = match said.only_with.as_slice() {
        [] => String::new(),
        all => format!(" solo con {}", all.join(", ")),
    };
    let place = said.place.as_ref().map(|place| format!(" [{place}]")).unwrap_or_default();
    format!("{}: {most}{with}; {}{place}", said.layer.italian(), said.source)
}

impl Why {
    fn facts(&self, policy: &Policy) -> Result<Facts, PolicyError> {
        let case = self.level.zip(NOBODY.parse().ok()).map(|(level, case)| CaseFact {
            case,
            epoch: 1,
            level,
            purposes: vec![self.purpose.clone()],
            scopes: self.scopes.iter().cloned().collect::<BTreeSet<_>>(),
        });
        let consent = |fields: Option<Vec<FieldId>>| {
            let consent = NOBODY.parse().ok()?;
            Some(ConsentFact { consent, epoch: 1, item: "prova".into(), fields, excluded: Vec::new() })
        };
        let whole = (self.agreed == Agreed::Record).then_some(None);
        let named = (!self.explicit.is_empty()).then(|| Some(self.explicit.clone()));
        let opposed = Restriction { fields: Some(self.opposed.clone()), effect: RestrictionEffect::Withhold };
        let act = ActFact { reference: "prova".into(), fields: self.act.clone() };
        Ok(Facts {
            provider: party(policy, &self.provider, None)?,
            consumer: party(policy, &self.consumer, self.office.clone())?,
            case,
            consents: [whole, named].into_iter().flatten().filter_map(consent).collect(),
            restrictions: if self.opposed.is_empty() { Vec::new() } else { vec![opposed] },
            acts: if self.act.is_empty() { Vec::new() } else { vec![act] },
            openings: Vec::new(),
            household: Vec::new(),
        })
    }
}

fn party(policy: &Policy, agency: &str, office: Option<OfficeId>) -> Result<Party, PolicyError> {
    let parties = &policy.agreement.parties;
    let found = parties.iter().find(|party| party.agency.as_str() == agency);
    let unknown = || PolicyError::unknown("party", agency, parties.iter().map(|party| party.agency.as_str()));
    let found = found.ok_or_else(unknown)?;
    Ok(Party { agency: found.agency.clone(), kind: found.kind, office })
}
