//! Why an alert is one, in words.

use super::{Alert, Subject};

pub fn italian(alert: &Alert) -> String {
    let (count, threshold, detail) = (alert.count, alert.threshold, &alert.detail);
    let who = who(alert, "operatore");
    match alert.about {
        Subject::AgreementEnds => {
            format!("L'accordo scade il {detail}: senza rinnovo gli scambi si fermano.")
        }
        Subject::BreakGlass => {
            let purpose = alert.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "Usata la finalità d'emergenza {purpose} da {who}: va verificato che ricorresse l'emergenza."
            )
        }
        Subject::Clock => format!("L'orologio del gateway non è attendibile (differenza: {detail})."),
        Subject::MassLookups => {
            format!("{count} persone diverse cercate in 24 ore da {who} (soglia: {threshold}).")
        }
        Subject::MissingReceipts => {
            format!("{count} scambi di {who} in 24 ore sono finiti senza ricevuta (soglia: {threshold}).")
        }
        Subject::NoQuorum => {
            format!("Il registro non è controfirmato da abbastanza testimoni (dal {detail}).")
        }
        Subject::NoTimestamp => format!("Nessuna marca temporale dall'autorità ({detail})."),
        Subject::RepeatedDenials => {
            format!(
                "{count} dinieghi in 24 ore sulla stessa persona, chiesta da {who} (soglia: {threshold})."
            )
        }
        Subject::UnusualHours => {
            format!("{count} richieste fuori orario in 24 ore da {who} (soglia: {threshold}).")
        }
    }
}

pub fn english(alert: &Alert) -> String {
    let (count, threshold, detail) = (alert.count, alert.threshold, &alert.detail);
    let who = who(alert, "operator");
    match alert.about {
        Subject::AgreementEnds => {
            format!("The agreement ends on {detail}: unless it is renewed, exchanges stop.")
        }
        Subject::BreakGlass => {
            let purpose = alert.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("The emergency purpose {purpose} was used by {who}: check that there was an emergency.")
        }
        Subject::Clock => format!("The gateway's clock cannot be trusted (difference: {detail})."),
        Subject::MassLookups => {
            format!("{count} different people looked up within 24 hours by {who} (threshold: {threshold}).")
        }
        Subject::MissingReceipts => {
            format!(
                "{count} exchanges of {who} ended without a receipt within 24 hours (threshold: {threshold})."
            )
        }
        Subject::NoQuorum => format!("Too few witnesses cosign the log (since {detail})."),
        Subject::NoTimestamp => format!("No time stamp from the authority ({detail})."),
        Subject::RepeatedDenials => format!(
            "{count} denials within 24 hours about the same person, asked for by {who} (threshold: {threshold})."
        ),
        Subject::UnusualHours => {
            format!(
                "{count} requests outside working hours within 24 hours by {who} (threshold: {threshold})."
            )
        }
    }
}

fn who(alert: &Alert, operator: &str) -> String {
    let agency = alert.agency.as_ref().map_or("?", |agency| agency.as_str());
    alert.operator.as_ref().map_or_else(|| agency.to_owned(), |code| format!("{agency}, {operator} {code}"))
}
