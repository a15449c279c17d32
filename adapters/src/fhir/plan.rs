//! What must be asked of a server for some fields of a record, and no more (`_elements`).

use varco_core::id::FieldId;

use crate::FetchError;
use crate::mapping::Mapping;

/// A kind of resource that can be about a person: its name, the element that says about whom, and further elements that
/// say whether it counts.
type Kind = (&'static str, &'static str, &'static [&'static str]);

/// The kinds we read. All of them have the search parameter `patient` in R4.
const KINDS: [Kind; 14] = [
    ("AllergyIntolerance", "patient", &["verificationStatus"]),
    ("CarePlan", "subject", &["status"]),
    ("CareTeam", "subject", &["status"]),
    ("ClinicalImpression", "subject", &["status"]),
    ("Condition", "subject", &["verificationStatus"]),
    ("Consent", "patient", &["status"]),
    ("Coverage", "beneficiary", &["status"]),
    ("DocumentReference", "subject", &["status"]),
    ("Goal", "subject", &[]),
    ("Observation", "subject", &["status"]),
    ("Procedure", "subject", &["status"]),
    ("QuestionnaireResponse", "subject", &["status"]),
    ("RelatedPerson", "patient", &["active"]),
    ("ServiceRequest", "subject", &["status"]),
];

/// Elements that may be of several types: asked for by the name without the type.
const CHOICES: [&str; 9] = [
    "abatement",
    "deceased",
    "effective",
    "multipleBirth",
    "occurrence",
    "onset",
    "performed",
    "serviced",
    "value",
];

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub patient: Search<'a>,
    others: Vec<Search<'a>>,
}

/// A search for one kind of resource.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub resource: &'a str,
    /// The element that says whose it is.
    pub of_person: &'static str,
    elements: Vec<&'a str>,
    /// What the mapping adds: `Observation?category=survey`.
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Plan<'a> {
    pub fn of(mapping: &'a Mapping, fields: &[FieldId]) -> Result<Self, FetchError> {
        let patient = Search {
            resource: "Patient",
            of_person: "",
            elements: vec!["identifier", "active", "link"],
            parameters: Vec::new(),
        };
        let mut plan = Self { patient, others: Vec::new() };
        let subject = mapping.subject.iter().collect::<Vec<_>>();
        for path in subject.into_iter().chain(mapping.sources(fields)) {
            let members = path.members();
            match path.root() {
                "Patient" => plan.patient.want(&members),
                // What `tree` makes of the codes of other resources.
                "icd" => plan.search("Condition")?.want(&["code"]),
                "icf" => plan.search("Observation")?.want(&["code", "component", "value"]),
                resource => plan.search(resource)?.want(&members),
            }
        }
        plan.narrow(mapping.from.as_deref().unwrap_or_default());
        Ok(plan)
    }

    pub fn searches(&self) -> impl Iterator<Item = &Search<'a>> {
        self.others.iter()
    }

    fn search(&mut self, resource: &'a str) -> Result<&mut Search<'a>, FetchError> {
        if let Some(at) = self.others.iter().position(|search| search.resource == resource) {
            return self.others.get_mut(at).ok_or(FetchError::NoMapping);
        }
        let kind = KINDS.iter().find(|(name, ..)| *name == resource).ok_or(FetchError::NoMapping)?;
        let (_, of_person, counts) = kind;
        let mut elements = vec![*of_person];
        elements.extend(*counts);
        self.others.push(Search { resource, of_person, elements, parameters: Vec::new() });
        self.others.last_mut().ok_or(FetchError::NoMapping)
    }

    /// `da = Patient; Observation?category=survey&code=x`: which of a kind are meant.
    fn narrow(&mut self, from: &'a str) {
        for part in from.split(';') {
            let Some((resource, parameters)) = part.trim().split_once('?') else { continue };
            if let Some(search) = self.others.iter_mut().find(|search| search.resource == resource.trim()) {
                search.parameters.extend(parameters.split('&').filter_map(|pair| pair.split_once('=')));
            }
        }
    }
}

impl<'a> Search<'a> {
    fn want(&mut self, members: &[&'a str]) {
        for member in members {
            let element = element(member);
            if !self.elements.contains(&element) {
                self.elements.push(element);
            }
        }
    }

    /// The body of the search (FHIR R4, 3.1.1.4: POST with parameters as a form).
    pub fn form(&self, about: &[(&str, &str)], page: usize) -> String {
        let (elements, page) = (self.elements.join(","), page.to_string());
        let ours = [("_elements", elements.as_str()), ("_count", page.as_str())];
        let pairs = about.iter().chain(&self.parameters).chain(&ours);
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        pairs.join("&")
    }
}

/// The name by which an element is asked for: without the mark of a primitive's extensions, and without the type where it
/// has one in its name.
pub(super) fn element(member: &str) -> &str {
    let member = member.strip_prefix('_').unwrap_or(member);
    let choice = CHOICES.into_iter().find(|choice| {
        member.strip_prefix(choice).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    choice.unwrap_or(member)
}

/// A text in a form (URL standard, `application/x-www-form-urlencoded`).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&format!("{byte:02X}"));
            }
        }
    }
    out
}

/// The element of a kind of resource that says whose it is.
pub(super) fn of_person(resource: &str) -> Option<&'static str> {
    KINDS.iter().find(|(name, ..)| *name == resource).map(|(_, of_person, _)| *of_person)
}

/// Elements that a kind of resource must have in R4, with what stands there when a mapping writes nothing.
pub(super) fn demanded(resource: &str) -> &'static [(&'static str, &'static str)] {
    match resource {
        "CarePlan" => &[("status", "active"), ("intent", "plan")],
        "DocumentReference" => &[("status", "current")],
        "Goal" => &[("lifecycleStatus", "active")],
        "Observation" => &[("status", "final")],
        "Procedure" | "QuestionnaireResponse" => &[("status", "completed")],
        _ => &[],
    }
}
