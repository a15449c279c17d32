//! `varco policy notice`: what GDPR arts. 13 and 14 have people told, written from the table itself, so that it never
//! promises less than what leaves. In Italian, as Markdown: the offices add their contacts and print it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use varco_core::id::PurposeId;
use varco_core::policy::questions::Effect;
use varco_core::policy::questions::cells::CellKey;
use varco_core::policy::{ConsentRole, Gives, Policy, Purpose};
use varco_core::time::Timestamp;

use super::form::Form;
use super::{PolicyError, ask};

#[derive(clap::Args)]
pub struct Notice {
    #[command(flatten)]
    bundle: ask::Bundle,
    /// Only what this recipient gets: `cpi` or `cpi/collocamento-mirato`.
    #[arg(long = "to", value_name = "AUDIENCE")]
    audience: Option<String>,
    /// Only this purpose: `F02`.
    #[arg(long)]
    purpose: Option<PurposeId>,
}

/// What one recipient gets under one purpose: titles of record types, with the fields and how each is shown.
type Given = BTreeMap<String, BTreeSet<(String, String)>>;

pub fn run(asked: &Notice) -> Result<ExitCode, PolicyError> {
    let (policy, at) = asked.bundle.load()?;
    let known: Vec<String> = policy.audiences().iter().map(varco_core::policy::Audience::text).collect();
    if let Some(audience) = asked.audience.as_ref().filter(|audience| !known.contains(audience)) {
        return Err(PolicyError::unknown("recipient", audience, known.iter().map(String::as_str)));
    }
    if let Some(purpose) = asked.purpose.as_ref().filter(|purpose| policy.purpose(purpose).is_none()) {
        let purposes = policy.purposes.iter().map(|purpose| purpose.id.as_str());
        return Err(PolicyError::unknown("purpose", purpose.as_str(), purposes));
    }
    let parts = parts(&policy, asked, at);
    if asked.bundle.form == Form::Text {
        print!("{}", text(&policy, &parts));
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = parts
        .iter()
        .flat_map(|(purpose, to)| to.iter().map(move |(who, given)| (purpose, who, given)))
        .flat_map(|(purpose, who, given)| {
            given.iter().map(move |(record, fields)| (purpose, who, record, fields))
        })
        .flat_map(|(purpose, who, record, fields)| {
            fields.iter().map(move |(field, how)| {
                vec![purpose.name.clone(), who.clone(), record.clone(), field.clone(), how.clone()]
            })
        })
        .collect();
    let head = ["finalità", "destinatario", "record", "dato", "forma"];
    asked.bundle.show(&serde_json::json!(rows), "Quali dati sono comunicati, a chi e perché", (&head, &rows));
    Ok(ExitCode::SUCCESS)
}

fn parts<'a>(
    policy: &'a Policy,
    asked: &Notice,
    at: Timestamp,
) -> Vec<(&'a Purpose, BTreeMap<String, Given>)> {
    let cells = policy.cells(at);
    let holds = |purpose: &&Purpose| {
        asked.purpose.as_ref().is_none_or(|only| *only == purpose.id)
            && purpose.gives == Gives::Records
            && purpose.until.is_none_or(|until| at < until)
    };
    let each = policy.purposes.iter().filter(holds).map(|purpose| {
        let mut to: BTreeMap<String, Given> = BTreeMap::new();
        let mine = |(key, effect): &(&CellKey, &Effect)| {
            key.purpose == purpose.id
                && effect.view.as_str() != "withhold"
                && asked.audience.as_ref().is_none_or(|only| *only == key.audience)
        };
        for (key, effect) in cells.iter().filter(mine) {
            let Some(record) = policy.record_type(&key.record_type) else { continue };
            let Some(field) = record.find(&key.field).and_then(|index| record.field(index)) else { continue };
            let given = to.entry(recipient(policy, &key.audience)).or_default();
            given.entry(record.title.clone()).or_default().insert((field.label.clone(), how(effect)));
        }
        (purpose, to)
    });
    each.filter(|(_, to)| !to.is_empty()).collect()
}

fn how(effect: &Effect) -> String {
    let shown = effect.technique.italian();
    match effect.only_with.as_slice() {
        [] | ["adesione"] => shown.to_owned(),
        words => format!("{shown}, solo con {}", words.join(" e ")),
    }
}

/// The bodies behind an audience.
pub(super) fn recipient(policy: &Policy, audience: &str) -> String {
    let (kind, office) =
        audience.split_once('/').map_or((audience, None), |(kind, office)| (kind, Some(office)));
    let parties = policy.agreement.parties.iter().filter(|party| party.kind.text() == kind);
    let names: Vec<&str> = parties.map(|party| party.name.as_str()).collect();
    let names = if names.is_empty() { kind.to_owned() } else { names.join(", ") };
    office.map_or_else(|| names.clone(), |office| format!("{names} (ufficio {office})"))
}

pub(super) fn consent(purpose: &Purpose) -> &'static str {
    match purpose.consent {
        ConsentRole::None => "per obbligo o compito di legge, senza consenso",
        ConsentRole::Safeguard => "lecito anche senza, ma solo se la persona ha aderito allo scambio",
        ConsentRole::Basis => "il consenso è la base giuridica e può essere revocato in ogni momento",
    }
}

/// `P24M` as people say it.
pub(super) fn duration(text: &str) -> String {
    let unit = |unit: char| match unit {
        'D' => Some("giorni"),
        'M' => Some("mesi"),
        'Y' => Some("anni"),
        _ => None,
    };
    let mut inner = text.strip_prefix('P').unwrap_or_default().chars();
    let unit = inner.next_back().and_then(unit);
    unit.map_or_else(|| text.to_owned(), |unit| format!("{} {unit}", inner.as_str()))
}

fn text(policy: &Policy, parts: &[(&Purpose, BTreeMap<String, Given>)]) -> String {
    let mut out = format!(
        "# Informativa sullo scambio di dati fra enti (artt. 13 e 14 GDPR)\n\n{}\n\nVersione delle regole: {} (SHA-256 {}).\n\n## Titolari\n\n",
        policy.agreement.title,
        policy.version(),
        policy.sha256()
    );
    for party in &policy.agreement.parties {
        out.push_str(&format!(
            "- {} — contatti del titolare e del responsabile della protezione dei dati: ______\n",
            party.name
        ));
    }
    out.push_str("\nOgni ente è titolare dei dati che detiene e diventa titolare di quelli che riceve. I dati provengono dagli enti stessi.\n");
    for (purpose, to) in parts {
        out.push_str(&format!(
            "\n## {} ({})\n\n- Base giuridica: {}\n- Consenso: {}\n",
            purpose.name,
            purpose.id,
            acts(policy, purpose),
            consent(purpose)
        ));
        if let Some(kept) = &purpose.retention {
            out.push_str(&format!("- Conservazione presso chi riceve: {}\n", duration(kept)));
        }
        for (who, given) in to {
            out.push_str(&format!("\nA **{who}**:\n\n"));
            for (record, fields) in given {
                let fields: Vec<String> = fields
                    .iter()
                    .map(
                        |(field, how)| {
                            if how == "in chiaro" { field.clone() } else { format!("{field} ({how})") }
                        },
                    )
                    .collect();
                out.push_str(&format!("- {record}: {}\n", fields.join("; ")));
            }
        }
    }
    out.push_str(RIGHTS);
    out
}

/// The purpose's acts with their articles.
pub(super) fn acts(policy: &Policy, purpose: &Purpose) -> String {
    let acts = policy.acts.iter().filter(|act| purpose.acts.contains(&act.id));
    let told = acts.map(|act| {
        let articles = [&act.art6, &act.art9, &act.art10].into_iter().flatten().map(String::as_str);
        format!("{} [{}]", act.title, articles.collect::<Vec<_>>().join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

const RIGHTS: &str = "\n## Diritti\n\n\
    La persona può chiedere al proprio ente di sapere chi ha ricevuto i suoi dati, quando e perché (art. 15), di rettificarli \
    (art. 16), di limitarne l'uso (art. 18) e di opporsi (art. 21). Può revocare l'adesione o il consenso in ogni momento, a \
    qualsiasi sportello: da quell'istante nessun dato esce più su quella base, e ciò che è già uscito resta lecito. Può fare \
    reclamo al Garante per la protezione dei dati personali (art. 77). Nessuna decisione è presa in modo automatizzato (art. 22).\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_as_people_say_it() {
        assert_eq!(duration("P24M"), "24 mesi");
        assert_eq!(duration("P90D"), "90 giorni");
        assert_eq!(duration("P10Y"), "10 anni");
        assert_eq!(duration("PT5H"), "PT5H");
        assert_eq!(duration(""), "");
    }
}
