//! The report as a page to be printed: no script, nothing loaded from anywhere, and every text escaped.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{Line, Named, Report};
use crate::correction::Ground;
use crate::policy::ConsentRole;
use crate::time::Timestamp;

/// In which language the person reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    En,
    #[default]
    It,
}

impl Language {
    const fn choose(self, italian: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::En => english,
            Self::It => italian,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::It => "it",
        }
    }
}

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#17324d}\
    table{border-collapse:collapse;width:100%;margin:1em 0}th,td{border:1px solid #5b6f82;padding:.4em;\
    text-align:left;vertical-align:top}caption{text-align:left;font-weight:bold}.note{border-left:.3em solid \
    #995c00;padding-left:.6em}";

/// A page in HTML 5. The signed JSON is the document that counts; this one is for reading.
pub fn html(report: &Report, language: Language) -> String {
    let say = |italian, english| language.choose(italian, english);
    let title = say("Chi ha ricevuto i Suoi dati", "Who has received your data");
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>",
        language.code()
    );
    paragraph(&mut page, &period(report, language));
    paragraph(
        &mut page,
        say(
            "Il registro segna ogni comunicazione prima che parta: può dunque contenere anche una comunicazione che non è \
             arrivata, ma non ne manca nessuna che sia arrivata.",
            "The log enters every disclosure before it leaves: it may hold one that never arrived, but lacks none that did.",
        ),
    );
    disclosures(&mut page, report, language);
    mistaken(&mut page, report, language);
    consents(&mut page, report, language);
    reports(&mut page, report, language);
    let _ = write!(page, "<h2>{}</h2>", say("I Suoi diritti", "Your rights"));
    paragraph(
        &mut page,
        say(
            "Può revocare un consenso a qualsiasi sportello degli enti dell'accordo, senza dire perché. Può chiedere la \
             rettifica, la cancellazione o la limitazione dei dati all'ente che li detiene, opporsi al loro uso, e \
             proporre reclamo al Garante per la protezione dei dati personali (www.garanteprivacy.it).",
            "You may withdraw a consent at any desk of the agreement's bodies, without giving a reason. You may ask the body that \
             holds the data to correct, erase or restrict them, object to their use, and complain to the Garante per \
             la protezione dei dati personali (www.garanteprivacy.it).",
        ),
    );
    page.push_str("</main></body></html>\n");
    page
}

fn period(report: &Report, language: Language) -> String {
    let made = day(report.made);
    match report.from {
        Some(from) => format!(
            "{} {}, {} {made}.",
            language.choose("Periodo: dal", "Period: from"),
            day(from),
            language.choose("fino al", "to")
        ),
        None => format!(
            "{} {made}.",
            language
                .choose("Il registro non contiene nulla su di Lei al", "The log holds nothing about you on")
        ),
    }
}

fn disclosures(page: &mut String, report: &Report, language: Language) {
    let say = |italian, english| language.choose(italian, english);
    if report.disclosures.is_empty() {
        paragraph(page, say("Nessuna comunicazione di dati.", "No data were disclosed."));
        return;
    }
    let heads = [
        say("Quando", "When"),
        say("Chi ha ricevuto", "Recipient"),
        say("Da chi", "From"),
        say("Perché", "Why"),
        say("Su quale base", "On which basis"),
        say("Quali dati", "Which data"),
    ];
    table(page, say("Comunicazioni di dati", "Disclosures"), &heads);
    for line in &report.disclosures {
        row(page, line, language);
    }
    page.push_str("</tbody></table>");
    if report.older > 0 {
        let more = say(
            "comunicazioni meno recenti non sono elencate: le chieda all'ente.",
            "older disclosures are not listed: ask the body for them.",
        );
        paragraph(page, &format!("{} {more}", report.older));
    }
}

fn row(page: &mut String, line: &Line, language: Language) {
    let say = |italian, english| language.choose(italian, english);
    let mut fields: Vec<String> = line
        .fields
        .iter()
        .map(|field| match field.view.as_str() {
            "intero" => field.label.clone(),
            view => format!("{} ({view})", field.label),
        })
        .collect();
    if line.change_only {
        let text = say("solo la notizia che qualcosa è cambiato", "only the news that something has changed");
        fields.push(text.to_owned());
    }
    if fields.is_empty() {
        fields.push(
            say("dettagli cancellati a fine conservazione", "details erased after their time").to_owned(),
        );
    }
    let mut basis = line.basis.join("; ");
    if !line.consents.is_empty() {
        let _ = write!(basis, "; {}", say("con il Suo consenso", "with your consent"));
    } else if line.consent == Some(ConsentRole::None) {
        let _ = write!(basis, "; {}", say("per legge, senza consenso", "by law, without consent"));
    }
    let kind = name(line.record_type.as_ref());
    let _ = write!(
        page,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}: {}",
        moment(line.at),
        escaped(&name(line.recipient.as_ref())),
        escaped(&name(line.owner.as_ref())),
        escaped(&name(line.purpose.as_ref())),
        escaped(&basis),
        escaped(&kind),
        escaped(&fields.join(", ")),
    );
    if let Some(pushed) = line.pushed {
        let sent =
            pushed.sent.map(|at| format!("{} {}", say("Inviati dall'ente", "Sent by the body"), moment(at)));
        let handed_over = match pushed.handed_over {
            Some(at) => format!("{} {}", say("consegnati", "handed over"), moment(at)),
            None => say("non ancora consegnati", "not yet handed over").to_owned(),
        };
        let said = sent.into_iter().chain([handed_over]).collect::<Vec<_>>().join(", ");
        let _ = write!(page, "<p>{}</p>", escaped(&said));
    }
    if let Some(operator) = &line.operator {
        let text = say("Operatore (codice dell'ente)", "Operator (the body's code)");
        let _ = write!(page, "<p>{}: {}</p>", escaped(text), escaped(operator.as_str()));
    }
    if line.emergency.is_some() {
        let text = say("Urgenza dichiarata, soggetta a riesame.", "Declared emergency, subject to review.");
        let _ = write!(page, "<p class=\"note\">{text}</p>");
    }
    for note in &line.corrections {
        let text = match note.ground {
            Ground::Rectification => say(
                "Dati poi rettificati; chi li ha ricevuti è stato avvisato.",
                "Since corrected; whoever received them was told.",
            ),
            Ground::WrongPerson => say(
                "Comunicazione errata: i dati non riguardavano Lei. Chi li ha ricevuti è stato avvisato.",
                "A mistake: the data were not yours. Whoever received them was told.",
            ),
        };
        let _ = write!(page, "<p class=\"note\">{} {text}</p>", day(note.at));
    }
    page.push_str("</td></tr>");
}

fn mistaken(page: &mut String, report: &Report, language: Language) {
    for mistake in &report.mistaken {
        let recipients: Vec<&str> = mistake.recipients.iter().map(|agency| agency.name.as_str()).collect();
        let text = format!(
            "{}: {} {} ({}, {}).",
            day(mistake.corrected),
            language.choose(
                "accertato che Suoi dati erano stati comunicati per errore sotto il nome di un'altra persona a",
                "it was found that data of yours had been disclosed by mistake under another person's name to",
            ),
            recipients.join(", "),
            name(mistake.record_type.as_ref()),
            name(mistake.owner.as_ref()),
        );
        let _ = write!(page, "<p class=\"note\">{}</p>", escaped(&text));
    }
}

fn consents(page: &mut String, report: &Report, language: Language) {
    let say = |italian, english| language.choose(italian, english);
    if report.consents.is_empty() {
        paragraph(page, say("Nessun consenso registrato.", "No consent is recorded."));
        return;
    }
    let heads = [
        say("Perché", "Why"),
        say("Quali dati", "Which data"),
        say("A chi", "To whom"),
        say("Stato", "State"),
    ];
    table(page, say("I Suoi consensi", "Your consents"), &heads);
    for choice in &report.consents {
        let recipients: Vec<&str> = choice.recipients.iter().map(|agency| agency.name.as_str()).collect();
        let state = if choice.state.is_valid() {
            format!("{} {}", say("valido fino al", "valid until"), day(choice.until))
        } else {
            say("non valido", "not valid").to_owned()
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{state}</td></tr>",
            escaped(&choice.purpose.name),
            escaped(&choice.record_type.name),
            escaped(&recipients.join(", ")),
        );
    }
    page.push_str("</tbody></table>");
}

fn reports(page: &mut String, report: &Report, language: Language) {
    if report.reports.is_empty() {
        return;
    }
    let heads = [language.choose("Quando", "When"), language.choose("Presso", "At")];
    table(page, language.choose("Richieste di questo resoconto", "Requests for this report"), &heads);
    for asked in &report.reports {
        let by = escaped(&name(asked.by.as_ref()));
        let _ = write!(page, "<tr><td>{}</td><td>{by}</td></tr>", moment(asked.at));
    }
    page.push_str("</tbody></table>");
}

fn table(page: &mut String, caption: &str, heads: &[&str]) {
    let _ = write!(page, "<table><caption>{caption}</caption><thead><tr>");
    for head in heads {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr></thead><tbody>");
}

fn paragraph(page: &mut String, text: &str) {
    let _ = write!(page, "<p>{}</p>", escaped(text));
}

fn name<T>(named: Option<&Named<T>>) -> String {
    named.map_or_else(|| "—".to_owned(), |named| named.name.clone())
}

/// Times are in UTC, and say so: the log's own.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or(time))
}

fn day(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('T').next().unwrap_or(&text).to_owned()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(
            escaped("<b>\"D'Angelo\" & figli</b>"),
            "&lt;b&gt;&quot;D&#39;Angelo&quot; &amp; figli&lt;/b&gt;"
        );
    }

    #[test]
    fn an_empty_report_says_so_in_both_languages() {
        let report = Report {
            made: "2026-11-23T10:00:00Z".parse().unwrap(),
            from: None,
            disclosures: Vec::new(),
            older: 0,
            mistaken: Vec::new(),
            consents: Vec::new(),
            reports: Vec::new(),
        };
        let (italian, english) = (html(&report, Language::It), html(&report, Language::En));
        assert!(italian.contains("Nessuna comunicazione di dati.") && italian.contains("lang=\"it\""));
        assert!(english.contains("No data were disclosed.") && english.contains("2026-11-23"));
        for page in [italian, english] {
            assert!(!page.contains("<script") && !page.contains("src=") && page.ends_with("</html>\n"));
        }
    }
}
