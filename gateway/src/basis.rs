//! What a pull rests on: the documents that its claim has found, from memory where they were read before. And what a push
//! does, when it is accepted and at each hand-over.

use std::collections::BTreeMap;

use varco_core::appeal::Appeal;
use varco_core::case::Case;
use varco_core::consent::Consent;
use varco_core::exchange::{Housemate, Known, Pull};
use varco_core::id::{CaseId, Pseudonym};
use varco_core::policy::Policy;
use varco_core::registry::Registry;
use varco_core::restriction::Restrictions;
use varco_core::subject::SubjectKeys;
use varco_store::submission::{Found, STREAMS_MAX, StreamEpoch, StreamKind, Wanted};

use crate::app::App;
use crate::documents::Document;
use crate::registers::{
    self, Unreadable, appeal_in, appeals_of, case, case_of, consents_given, consents_of, of_each, readable,
    restrictions_in, restrictions_of,
};

/// What decides about a pull.
#[derive(Default)]
pub struct Basis {
    pub consents: Vec<Consent>,
    pub restrictions: Vec<Restrictions>,
    pub appeals: Vec<Appeal>,
    pub case: Option<Case>,
}

/// What decides about a push. What is opened is opened for whoever asks; it widens no push.
pub struct PushBasis {
    pseudonyms: Vec<Pseudonym>,
    consents: Vec<Consent>,
    restrictions: Vec<Restrictions>,
    case: Option<Case>,
    household: Vec<Housemate>,
}

impl PushBasis {
    pub async fn read(
        app: &App,
        pseudonyms: Vec<Pseudonym>,
        case: Option<&CaseId>,
    ) -> Result<Self, Unreadable> {
        let consents = consents_of(app, &pseudonyms).await?;
        let restrictions = restrictions_of(app, &pseudonyms).await?;
        let case = match case {
            Some(id) => registers::case(app, id).await?,
            None => None,
        };
        let household = registers::housemates(app, case.as_ref(), &pseudonyms, &[]).await?;
        Ok(Self { pseudonyms, consents, restrictions, case, household })
    }

    pub fn known<'a>(&'a self, registry: &'a Registry, policy: &'a Policy) -> Known<'a> {
        Known {
            registry,
            policy,
            pseudonyms: self.pseudonyms.clone(),
            consents: &self.consents,
            restrictions: &self.restrictions,
            appeals: &[],
            case: self.case.as_ref(),
            household: &self.household,
            reasons: &[],
        }
    }
}

/// What a pull will rest on: its person's documents, and the case it names.
pub fn wanted(pull: &Pull, keys: &SubjectKeys) -> Wanted {
    Wanted {
        subjects: keys.all(&pull.subject.codice_fiscale),
        streams: pull.case.iter().map(|case| case.as_str().to_owned()).collect(),
    }
}

/// The documents that a claim has found, from memory where this epoch of them was read before.
pub async fn basis(app: &App, found: &Found, pseudonyms: &[Pseudonym]) -> Result<Basis, Unreadable> {
    let documents = documents_at(app, found).await?;
    Ok(basis_of(found, documents, pseudonyms))
}

fn basis_of(found: &Found, mut documents: BTreeMap<String, Document>, pseudonyms: &[Pseudonym]) -> Basis {
    let mut document = |head: &StreamEpoch| documents.remove(&head.stream);
    let mut basis = Basis::default();
    for document in found.of_subjects.iter().filter_map(&mut document) {
        match document {
            Document::Appeal(appeal) => basis.appeals.push(appeal),
            Document::Case(_) => {}
            Document::Consent(consent) => basis.consents.push(consent),
            Document::Restrictions(restrictions) => basis.restrictions.push(restrictions),
        }
    }
    // A document that was named is believed to be the case it is named as, and nothing else.
    for document in found.named.iter().filter_map(&mut document) {
        match document {
            Document::Case(case) => basis.case = Some(case),
            Document::Appeal(_) | Document::Consent(_) | Document::Restrictions(_) => {}
        }
    }
    basis.restrictions = of_each(pseudonyms, &basis.restrictions);
    basis
}

/// The same, read one after the other: for a part of a request, which has no claim of its own.
pub async fn read(app: &App, pull: &Pull, pseudonyms: &[Pseudonym]) -> Result<Basis, Unreadable> {
    let case = match &pull.case {
        Some(id) => case(app, id).await?,
        None => None,
    };
    Ok(Basis {
        consents: consents_given(app, pseudonyms).await,
        restrictions: restrictions_of(app, pseudonyms).await?,
        appeals: appeals_of(app, pseudonyms).await?,
        case,
    })
}

async fn documents_at(app: &App, found: &Found) -> Result<BTreeMap<String, Document>, Unreadable> {
    let (mut documents, mut missing) = (BTreeMap::new(), Vec::new());
    for head in found.named.iter().chain(&found.of_subjects) {
        match app.documents.at(head) {
            Some(document) => drop(documents.insert(head.stream.clone(), document)),
            None => missing.push(head.stream.clone()),
        }
    }
    for names in missing.chunks(STREAMS_MAX) {
        for stream in app.store.read().streams_named(names).await? {
            let head = StreamEpoch { stream: stream.id.clone(), epoch: stream.epoch };
            let header = stream.header.as_ref().map_or(0, String::len);
            let bytes = header + stream.events.iter().map(String::len).sum::<usize>();
            let document = match stream.kind {
                StreamKind::Appeal => Document::Appeal(appeal_in(stream)?),
                StreamKind::Case => Document::Case(case_of(stream)?),
                StreamKind::Consent => match readable(stream) {
                    Some(consent) => Document::Consent(consent),
                    None => continue,
                },
                StreamKind::Restriction => Document::Restrictions(restrictions_in(stream)?),
                // Nothing is decided by what somebody is told or sent.
                StreamKind::Emergency
                | StreamKind::Notice
                | StreamKind::Parcel
                | StreamKind::Push
                | StreamKind::Signal
                | StreamKind::Statistics
                | StreamKind::Subscription => continue,
            };
            documents.insert(head.stream.clone(), document.clone());
            app.documents.keep(head, bytes, document);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use varco_core::consent;
    use varco_core::hash::Sha256;
    use varco_core::time::Timestamp;

    use super::*;

    fn given(id: &str, subject: &Pseudonym) -> Consent {
        let (now, sha256) = (Timestamp::from_seconds(1_767_268_800), Sha256::of(b"test"));
        let header: consent::Header = serde_json::from_value(json!({
            "id": id,
            "subject": subject,
            "class": "adult",
            "agreement": { "id": "piana", "version": "1", "sha256": sha256 },
            "notice": { "id": "informativa", "version": "1", "sha256": sha256, "language": "it" },
            "scope": [{
                "item": "economica",
                "purpose": "F02",
                "record_type": "condizione_economica_prestazioni",
                "recipients": [{ "agency": "cpi-lucca" }],
                "valid_from": now,
                "valid_until": now.plus(std::time::Duration::from_secs(3600)),
            }],
        }))
        .unwrap();
        let event: consent::Event = serde_json::from_value(json!({
            "state": "given",
            "at": now,
            "effective_at": now,
            "capacity": "self",
            "method": "handwritten",
            "collected_by": { "agency": "comune-capannori", "operator": "op-42", "access_point": "urp" },
            "request": sha256,
        }))
        .unwrap();
        Consent::open(header, event).unwrap()
    }

    #[test]
    fn a_consent_that_was_only_named_decides_nothing_about_the_person() {
        let pseudonym = |letter: &str| -> Pseudonym { format!("s1.{}", letter.repeat(26)).parse().unwrap() };
        let (person, other) = (pseudonym("a"), pseudonym("b"));
        let own = ("0198f0c2-aaaa-7fff-bfff-000000000001", &person);
        let foreign = ("0198f0c2-aaaa-7fff-bfff-000000000002", &other);
        let document =
            |(id, subject): (&str, &Pseudonym)| (id.to_owned(), Document::Consent(given(id, subject)));
        let documents = BTreeMap::from([document(own), document(foreign)]);
        let head = |(stream, _): (&str, &Pseudonym)| StreamEpoch { stream: stream.to_owned(), epoch: 1 };
        let found = Found { of_subjects: vec![head(own)], named: vec![head(foreign)] };
        let basis = basis_of(&found, documents, std::slice::from_ref(&person));
        assert!(basis.case.is_none(), "a consent is no case");
        let subjects: Vec<_> = basis.consents.iter().map(|consent| &consent.header.subject).collect();
        assert_eq!(subjects, [&person]);
        assert_eq!(basis.restrictions, [Restrictions::none(person.clone())], "also where there are none");
    }
}
