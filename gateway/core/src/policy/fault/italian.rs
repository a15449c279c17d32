//! The same faults for officers, in Italian. The English text stays for programs and for the answers of the gateway.

use super::{PolicyFault, Problem};
use crate::view::ladder::LadderFault;
use crate::view::transform::TransformFault;

impl PolicyFault {
    /// `record/RT-01.txt:12: vista sconosciuta `mascerato`; forse `mascherato`?`
    pub fn italian(&self) -> String {
        let place = match (self.file.as_str(), self.line) {
            ("", _) => String::new(),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}: "),
        };
        let nearest = self.nearest.as_ref().map(|word| format!("; forse `{word}`?")).unwrap_or_default();
        format!("{place}{}{nearest}", self.problem.italian())
    }
}

impl Problem {
    pub fn italian(&self) -> String {
        match self {
            Self::ActWithoutSource(acts, article, category) => {
                format!(
                    "gli atti `{acts}` non danno una fonte dell'art. {article} GDPR, che un dato `{category}` richiede"
                )
            }
            Self::Assertion { name, cell, view } => {
                format!("la garanzia «{name}» non è rispettata: {} mostra {view}", toward(cell))
            }
            Self::BasisTwice(one, other) => {
                format!(
                    "due basi dell'art. 6 GDPR nella stessa concessione, {one} e {other}: ne serve una sola"
                )
            }
            Self::BasisWithoutConsent(purpose) => {
                format!(
                    "la finalità `{purpose}` si fonda sul consenso, ma nessuno dei suoi atti è 6(1)(a) o 9(2)(a)"
                )
            }
            Self::Circle(field) => format!("`{field}` e ciò che implica si implicano a vicenda"),
            Self::ControlKind => "un campo di controllo dev'essere di tipo `si_no`".into(),
            Self::ControlUnread(field, by) => {
                format!("si legge `{field}` ma non `{by}`, che decide se si mostra")
            }
            Self::DeadCell { field, column } => {
                format!(
                    "`{field}` verso {column}: nessuna finalità ci arriva; scrivere `-`, o la cella fra parentesi tonde"
                )
            }
            Self::DeadColumn => "nessuna finalità usa questa colonna: le sue celle non valgono".into(),
            Self::DeadMatrix => "nessuna finalità dà questo tipo di record: le sue celle non valgono".into(),
            Self::Duplicate(what, place) => format!("`{what}` c'è già, in {place}"),
            Self::EmptyPeriod => "la fine non viene dopo l'inizio".into(),
            Self::GrantTwice(place) => {
                format!("seconda concessione per la stessa cella, la prima è in {place}")
            }
            Self::Implication { shows, implied, at_least, place } => {
                implication(shows, implied, at_least, place)
            }
            Self::Ladder(fault) => format!("scala: {}", ladder(fault)),
            Self::Limits(bytes, files) => {
                format!("un file ha al più {bytes} byte, un pacchetto {files} file")
            }
            Self::Missing(word) => format!("manca `{word}`"),
            Self::NotOwner(column) => {
                format!(
                    "`=` dice che il destinatario è il titolare, ma la colonna `{column}` è di un altro tipo di ente"
                )
            }
            Self::ReservedReached { field, column } => {
                format!(
                    "`{field}` verso {column} è fra parentesi, ma una finalità ci arriva: scrivere la vista, o `-`"
                )
            }
            Self::RowWidth { found, expected } => format!("la riga ha {found} celle, la tabella {expected}"),
            Self::ScopeMissing(field) => format!("una cella con `s` vuole un ambito per `{field}`"),
            Self::Syntax => {
                "la riga non è una `[sezione]`, né `parola = valore`, né una riga di tabella con `|`".into()
            }
            Self::TellingFallback => "questa vista di ripiego rivela ciò che deve restare nascosto".into(),
            Self::Text => "il file dev'essere testo UTF-8".into(),
            Self::Unknown { what, word } => unknown(what, word),
            Self::Value { word, expected } => format!("`{word}` non è {}", meant(expected)),
            Self::WithoutAct => "una concessione senza un atto che la permette".into(),
            Self::WithoutDpia(purpose) => {
                format!(
                    "la finalità `{purpose}` dà dati speciali, giudiziari o protetti e non nomina una `dpia`"
                )
            }
        }
    }
}

/// A cell as the English text names it.
fn toward(cell: &str) -> String {
    cell.replace(" under ", ", finalità ").replace(" for ", " verso ")
}

fn implication(shows: &str, implied: &str, at_least: &str, place: &str) -> String {
    let (shows, place) = (toward(shows), place.replace(" there", " nella stessa colonna"));
    format!("{shows} rivela più di quanto è concesso: {implied} vuole almeno `{at_least}`, concesso {place}")
}

fn unknown(what: &str, word: &str) -> String {
    let (noun, ending) = match what {
        "act" => ("atto", 'o'),
        "answer" => ("risposta", 'a'),
        "case rule" => ("valore di `caso`", 'o'),
        "category" => ("categoria", 'a'),
        "column" => ("colonna", 'a'),
        "condition" => ("condizione", 'a'),
        "field" => ("campo", 'o'),
        "kind" => ("tipo di dato", 'o'),
        "kind of agency" => ("tipo di ente", 'o'),
        "ladder" => ("scala", 'a'),
        "layer" => ("strato", 'o'),
        "level" => ("livello", 'o'),
        "list" => ("lista", 'a'),
        "list or structure" => ("elenco o struttura", 'o'),
        "party" => ("ente del protocollo", 'o'),
        "period" => ("periodo", 'o'),
        "purpose" => ("finalità", 'a'),
        "recipient" => ("destinatario", 'o'),
        "record type" => ("tipo di record", 'o'),
        "role" => ("ruolo", 'o'),
        "role of consent" => ("ruolo del consenso", 'o'),
        "section" => ("sezione", 'a'),
        "technique" => ("tecnica", 'a'),
        "transformation" => ("trasformazione", 'a'),
        "view" => ("vista", 'a'),
        _ => ("parola", 'a'),
    };
    format!("{noun} sconosciut{ending} `{word}`")
}

/// What was expected, where a translation helps; forms of identifiers stay as they are.
fn meant(expected: &str) -> &str {
    match expected {
        "1 to 4 dimensions and at most 2048 cells, totals included" => {
            "da 1 a 4 dimensioni, con al più 2048 celle compresi i totali"
        }
        "a class of its own: a value of the view, in letters and digits" => {
            "una classe a sé: un valore della vista, in lettere e cifre"
        }
        "a date such as `2026-01-31`" => "una data come `2026-01-31`",
        "a field that may be counted by: judicial and protected data never reach statistics" => {
            "un campo per cui si può contare: dati giudiziari e a maggior tutela non arrivano mai alla statistica"
        }
        "a kind such as `testo(36)`" => "un tipo come `testo(36)`",
        "a kind such as `testo(36)`, `codice(stato_civile)` or `elenco(prestazione)`" => {
            "un tipo come `testo(36)`, `codice(stato_civile)` o `elenco(prestazione)`"
        }
        "a list of at most 64 classes" => "un elenco di al più 64 classi",
        "a record type of at most 32 bodies, as a tabulation needs" => {
            "un tipo di record di al più 32 enti, come vuole un prospetto"
        }
        "a transformation such as `anno`" => "una trasformazione come `anno`",
        "a view that a purpose with `solo_aggregati` gives to somebody" => {
            "una vista che una finalità con `solo_aggregati` dà a qualcuno"
        }
        "a view that makes classes: one code, number, short text, or yes and no" => {
            "una vista che forma classi: un codice, un numero, un testo breve, un sì o un no"
        }
        "a whole number" => "un numero intero",
        "an instant such as `2026-11-23T10:00:00Z`" => "un istante come `2026-11-23T10:00:00Z`",
        "at least 10, as special data need" => "almeno 10, come vogliono i dati speciali",
        "at least 3, the floor of the law" => "almeno 3, il minimo di legge",
        "filled in; write `-` to withhold" => "compilata; `-` per negare",
        "followed by its greatest length, 1 to 10000: `testo(36)`"
        | "followed by its greatest length: `testo(36)`" => {
            "seguito dalla lunghezza massima, da 1 a 10000: `testo(36)`"
        }
        "followed by its range: `intero(0,99)`" => "seguito dal suo intervallo: `intero(0,99)`",
        "followed by the kind of its items: `elenco(testo(36))`" => {
            "seguito dal tipo delle voci: `elenco(testo(36))`"
        }
        "nested too deep" => "annidato fino a questo punto",
        "one of the marks `c`, `g`, `c/g` and `s`" => "uno dei segni `c`, `g`, `c/g`, `s`",
        "possible without exactly one record type in its row" => {
            "possibile se la riga non nomina un solo tipo di record"
        }
        other => other,
    }
}

fn ladder(fault: &LadderFault) -> String {
    match fault {
        LadderFault::Circle(view) => format!("la vista `{view}` sta sotto a sé stessa"),
        LadderFault::Loose(view) => format!("la vista `{view}` non si ottiene da nessuna vista più fine"),
        LadderFault::NoMeet(one, other) => {
            format!(
                "sotto `{one}` e `{other}` non c'è una sola vista più fine di tutte le altre comuni: non si possono combinare"
            )
        }
        LadderFault::TooMany => "troppe viste".into(),
        LadderFault::Transform(view, fault) => format!("vista `{view}`: {}", transform(fault)),
        LadderFault::Twice(view) => format!("la vista `{view}` è scritta due volte"),
        LadderFault::TwoWays(view) => format!("la vista `{view}` viene diversa per due delle sue vie"),
        LadderFault::UnknownFiner(view, finer) => {
            format!("la vista `{view}` si ottiene da `{finer}`, che nella scala non c'è")
        }
    }
}

fn transform(fault: &TransformFault) -> String {
    match fault {
        TransformFault::Arguments(word) => format!("a `{word}` mancano gli argomenti che vuole"),
        TransformFault::Code(code, list) => format!("`{code}` non è un codice della lista `{list}`"),
        TransformFault::Kind(word) => format!("`{word}` non si applica a un campo di questo tipo"),
        TransformFault::Member(name) => format!("non c'è un membro `{name}`"),
        TransformFault::Ungrouped(list) => format!("la lista `{list}` non dà un gruppo a ogni codice"),
        TransformFault::Unknown(word) => format!("trasformazione sconosciuta `{word}`"),
    }
}
