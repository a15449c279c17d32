//! Which operation of a service gives or takes a record type, in the words of its mapping:
//!
//! ```text
//! [mappatura scheda_anagrafico_professionale]
//! soggetto  = datiAnagrafici.codiceFiscale
//! azione    = urn:lavoro:richiestaSAP             # SOAPAction and wsa:Action
//! spazio    = urn:lavoro                          # the namespace of the operation's elements
//! domanda   = richiestaSAP.versione=2; richiestaSAP.codiceFiscale={soggetto}
//!                                                 # what our question says, in its order
//! risposta  = richiestaSAPResponse.return         # where the record is in the answer
//! testo     = si                                  # the record is XML within a text
//! vuota     = richiestaSAPResponse.esito=NT       # what an answer says that has nobody of this codice fiscale
//! invio_azione   = urn:lavoro:invioSAP            # the operation that takes a record
//! invio          = invioSAP.id={chiave}; invioSAP.SAP={record}
//!                                                 # what it says; the key is the same in every attempt
//! invio_esito    = invioSAPResponse.esito=OK      # what an answer must say that took it; several with ; between
//! invio_radice   = lavoratore                     # the name of the record's own root, where it is XML within a text
//! forma     = semplice                            # elements below the operation's have no namespace
//! ```

use serde_json::{Map, Value};
use varco_core::id::{FieldId, RecordTypeId};
use varco_core::subject::CodiceFiscale;

use crate::mapping::path::Path;
use crate::mapping::{Mapping, Reason, RowFault};
use crate::xml::{self, Element, Limits, Name, Node, Scope};
use crate::{Delivery, FetchError};

/// The words of a mapping's section besides `da` and `soggetto`.
pub const WORDS: [&str; 11] = [
    "azione",
    "domanda",
    "forma",
    "invio",
    "invio_azione",
    "invio_esito",
    "invio_radice",
    "risposta",
    "spazio",
    "testo",
    "vuota",
];

/// The words of a mapping say no operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[mappatura {record_type}]: `{word}` {what}")]
pub struct OperationFault {
    pub record_type: RecordTypeId,
    pub word: &'static str,
    pub what: &'static str,
}

/// How a record stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Elements,
    /// As XML text inside an `xsd:string`, which must be read a second time.
    Text,
}

/// Whether elements below the operation's own have its namespace (XML Schema `elementFormDefault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Qualified,
    Unqualified,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub record_type: RecordTypeId,
    pub action: String,
    namespace: String,
    form: Form,
    question: Vec<(Path, Filling)>,
    answer: Path,
    carried: Carried,
    /// What an answer says that has nobody of the codice fiscale: any of these.
    nobody: Vec<(Path, String)>,
    delivery: Option<Way>,
}

/// The operation that takes a record.
#[derive(Debug)]
struct Way {
    action: String,
    parts: Vec<(Path, Filling)>,
    /// What an answer says that took it: any of these. Empty: that it is no fault is enough.
    taken: Vec<(Path, String)>,
    root: String,
}

/// What stands at a place of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filling {
    Fixed(String),
    /// `{chiave}`: the exchange, by which a repeated delivery is known.
    Key,
    /// `{record}`
    Record,
    /// `{soggetto}`: the codice fiscale.
    Subject,
}

/// Reads the words of one mapping.
struct Words<'a>(&'a Mapping);

impl Words<'_> {
    fn fault(&self, word: &'static str, what: &'static str) -> OperationFault {
        OperationFault { record_type: self.0.record.id.clone(), word, what }
    }

    fn word(&self, word: &'static str) -> Option<&str> {
        self.0.words.get(word).map(String::as_str)
    }

    fn required(&self, word: &'static str) -> Result<&str, OperationFault> {
        self.word(word).filter(|text| !text.is_empty()).ok_or_else(|| self.fault(word, "is missing"))
    }

    fn path(&self, word: &'static str) -> Result<Option<Path>, OperationFault> {
        let wrong = |_| self.fault(word, "is not a place such as `operazione.elemento`");
        self.word(word).map(Path::parse).transpose().map_err(wrong)
    }

    /// `operazione.elemento=valore`, with `;` between, in the order of the message.
    fn message(&self, word: &'static str) -> Result<Vec<(Path, Filling)>, OperationFault> {
        let wrong = || self.fault(word, "is not `operazione.elemento=valore`, with `;` between");
        let parts =
            self.word(word).unwrap_or_default().split(';').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (path, value) = part.split_once('=').ok_or_else(wrong)?;
                let filling = match value.trim() {
                    "{chiave}" => Filling::Key,
                    "{record}" => Filling::Record,
                    "{soggetto}" => Filling::Subject,
                    fixed => Filling::Fixed(fixed.to_owned()),
                };
                Ok((Path::parse(path).map_err(|_| wrong())?, filling))
            })
            .collect()
    }

    /// What an answer may say.
    fn said(&self, word: &'static str) -> Result<Vec<(Path, String)>, OperationFault> {
        let part = |(path, filling)| match filling {
            Filling::Fixed(value) => Ok((path, value)),
            Filling::Key | Filling::Record | Filling::Subject => {
                Err(self.fault(word, "is what an answer says, and knows no `{…}`"))
            }
        };
        self.message(word)?.into_iter().map(part).collect()
    }

    /// [`Self::message`] that says the one thing it is for.
    fn with(&self, word: &'static str, filling: &Filling) -> Result<Vec<(Path, Filling)>, OperationFault> {
        let parts = self.message(word)?;
        match parts.iter().filter(|(_, found)| found == filling).count() {
            1 => Ok(parts),
            _ if *filling == Filling::Record => {
                Err(self.fault(word, "does not say once where `{record}` stands"))
            }
            _ => Err(self.fault(word, "does not say once where `{soggetto}` stands")),
        }
    }

    fn choice<T: Copy>(&self, word: &'static str, choices: [(&str, T); 2]) -> Result<T, OperationFault> {
        let [first, _] = choices;
        let text = self.word(word).unwrap_or(first.0);
        let found = choices.into_iter().find(|(name, _)| *name == text).map(|(_, choice)| choice);
        found.ok_or_else(|| self.fault(word, "is neither of the two words it can be"))
    }
}

impl Operation {
    pub fn of(mapping: &Mapping) -> Result<Self, OperationFault> {
        let words = Words(mapping);
        if mapping.subject.is_none() {
            // Without it an answer about somebody else would pass for this person's.
            return Err(words.fault("soggetto", "is missing"));
        }
        let delivery = match words.word("invio_azione") {
            Some(action) => Some(Way {
                action: action.to_owned(),
                parts: words.with("invio", &Filling::Record)?,
                taken: words.said("invio_esito")?,
                root: words.word("invio_radice").unwrap_or("record").to_owned(),
            }),
            None => None,
        };
        let answer = words.path("risposta")?.ok_or_else(|| words.fault("risposta", "is missing"))?;
        Ok(Self {
            record_type: mapping.record.id.clone(),
            action: words.required("azione")?.to_owned(),
            namespace: words.required("spazio")?.to_owned(),
            form: words
                .choice("forma", [("qualificata", Form::Qualified), ("semplice", Form::Unqualified)])?,
            question: words.with("domanda", &Filling::Subject)?,
            answer,
            carried: words.choice("testo", [("no", Carried::Elements), ("si", Carried::Text)])?,
            nobody: words.said("vuota")?,
            delivery,
        })
    }

    /// What we ask: the operation's element with the codice fiscale at its place.
    pub fn question(&self, subject: &CodiceFiscale, mapping: &Mapping) -> Result<Element, FetchError> {
        let mut tree = Value::Object(Map::new());
        for (path, filling) in &self.question {
            let value = match filling {
                Filling::Fixed(value) => value.as_str(),
                Filling::Key | Filling::Record => continue,
                Filling::Subject => subject.expose(),
            };
            put(path, &mut tree, Value::from(value), mapping)?;
        }
        self.body(tree)
    }

    /// The record in an answer.
    pub fn record(&self, body: &Element, limits: &Limits) -> Result<Value, FetchError> {
        let tree = xml::tree(body).map_err(FetchError::Xml)?;
        if self.says(&tree, &self.nobody)? {
            return Err(FetchError::SubjectUnknown);
        }
        match self.carried {
            Carried::Elements => self.answer.one(&tree).map_err(|reason| self.fault(reason))?.cloned(),
            Carried::Text => match self.text(&self.answer, &tree)? {
                Some(text) if !text.trim().is_empty() => {
                    let inner = xml::parse_text(text.trim(), limits).map_err(FetchError::Xml)?;
                    Some(xml::tree(&inner).map_err(FetchError::Xml)?)
                }
                Some(_) | None => None,
            },
        }
        .filter(|record| record.is_object())
        .ok_or(FetchError::SubjectUnknown)
    }

    /// What we send to hand a record over, and the fields that have no place in it.
    pub fn parcel(
        &self,
        delivery: &Delivery<'_>,
        mapping: &Mapping,
    ) -> Result<(&str, Vec<FieldId>, Element), FetchError> {
        let way = self.delivery.as_ref().ok_or(FetchError::NoDeliveries)?;
        let written = mapping.write(delivery.record, delivery.subject).map_err(FetchError::NotFitting)?;
        let record = match self.carried {
            Carried::Elements => written.tree,
            Carried::Text => {
                let inner = xml::element(Name::plain(&way.root), &written.tree).map_err(FetchError::Xml)?;
                Value::String(xml::canonical(&inner, Scope::default()))
            }
        };
        let mut tree = Value::Object(Map::new());
        for (path, filling) in &way.parts {
            let value = match filling {
                Filling::Fixed(value) => Value::from(value.as_str()),
                Filling::Key => Value::from(delivery.exchange.as_str()),
                Filling::Record => record.clone(),
                Filling::Subject => Value::from(delivery.subject.expose()),
            };
            put(path, &mut tree, value, mapping)?;
        }
        Ok((&way.action, written.without_place, self.body(tree)?))
    }

    /// Whether an answer says that the record was taken.
    pub fn taken(&self, body: &Element) -> Result<(), FetchError> {
        let tree = xml::tree(body).map_err(FetchError::Xml)?;
        let said = self.delivery.as_ref().map(|way| way.taken.as_slice()).unwrap_or_default();
        if said.is_empty() || self.says(&tree, said)? {
            return Ok(());
        }
        Err(FetchError::Envelope("it does not say that the record was taken"))
    }

    fn says(&self, tree: &Value, any: &[(Path, String)]) -> Result<bool, FetchError> {
        for (path, value) in any {
            if self.text(path, tree)?.is_some_and(|text| text.trim() == value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The one element of a tree as the operation's.
    fn body(&self, tree: Value) -> Result<Element, FetchError> {
        let Value::Object(members) = tree else { return Err(FetchError::NoMapping) };
        let mut members = members.into_iter();
        let (Some((operation, inside)), None) = (members.next(), members.next()) else {
            return Err(FetchError::NoMapping);
        };
        let name = Name::new("op", &self.namespace, &operation);
        let mut element = xml::element(name, &inside).map_err(FetchError::Xml)?;
        if self.form == Form::Unqualified {
            element.children.iter_mut().for_each(unqualify);
        }
        Ok(element)
    }

    fn text(&self, path: &Path, tree: &Value) -> Result<Option<String>, FetchError> {
        path.text(tree).map_err(|reason| self.fault(reason))
    }

    fn fault(&self, reason: Reason) -> FetchError {
        FetchError::NotFitting(vec![RowFault::new(0, self.answer.to_string(), reason)])
    }
}

fn unqualify(node: &mut Node) {
    if let Node::Element(element) = node {
        element.name = Name::plain(&element.name.local);
        element.children.iter_mut().for_each(unqualify);
    }
}

fn put(path: &Path, tree: &mut Value, value: Value, mapping: &Mapping) -> Result<(), FetchError> {
    path.put(tree, &[], value).map_err(|reason| {
        FetchError::NotFitting(vec![RowFault::new(0, mapping.record.id.as_str().to_owned(), reason)])
    })
}
