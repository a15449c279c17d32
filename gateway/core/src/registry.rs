//! Who takes part: agencies, their offices, channel and seal keys, officers, witnesses and log keys.
//!
//! The registry is a signed, versioned document (DESIGN: root of trust). This module reads and checks one version and
//! answers who a certificate belongs to. Identity is never taken from a certificate's common name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::Sha256;
use crate::id::{AgencyId, OfficeId, OfficerId, OperatorId};
use crate::time::Timestamp;

/// The kinds of agency the agreement knows. They are the audiences of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgencyKind {
    Asl,
    Comune,
    Cpi,
    Ets,
    Zona,
}

impl AgencyKind {
    pub const ALL: [Self; 5] = [Self::Asl, Self::Comune, Self::Cpi, Self::Ets, Self::Zona];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Asl => "asl",
            Self::Comune => "comune",
            Self::Cpi => "cpi",
            Self::Ets => "ets",
            Self::Zona => "zona",
        }
    }
}

/// Whether real people may appear. Chosen once, at the genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deployment {
    /// Refuses synthetic people.
    Production,
    /// Refuses everybody else.
    Test,
}

/// Subject attribute `organizationIdentifier` (2.5.4.97) in one of the forms Italian certificates use:
/// `PA:IT-<IPA code>`, `CF:IT-<tax code>` (ETSI EN 319 412-1) or `VATIT-<VAT number>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationIdentifier(Box<str>);

impl OrganizationIdentifier {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrganizationIdentifier {
    type Err = crate::id::IdFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = ["PA:IT-", "CF:IT-", "VATIT-"].iter().find_map(|prefix| text.strip_prefix(prefix));
        match code {
            Some(code) if (1..=40).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(Self(text.into()))
            }
            Some(_) | None => Err(crate::id::IdFault {
                expected: "an organizationIdentifier starting with `PA:IT-`, `CF:IT-` or `VATIT-`",
            }),
        }
    }
}

impl fmt::Display for OrganizationIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for OrganizationIdentifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OrganizationIdentifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a certificate says of its holder, as far as we use it. Made by the shell after the chain was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the certificate's DER.
    pub certificate: Sha256,
    /// SHA-256 of the SubjectPublicKeyInfo's DER: what pins compare.
    pub key: Sha256,
    pub organization: Option<OrganizationIdentifier>,
}

/// A pinned key with its period, so that two can overlap while an agency rolls over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub key: Sha256,
    pub from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Pin {
    fn holds(&self, key: &Sha256, now: Timestamp) -> bool {
        self.key == *key && self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

/// How an agency is recognised on one of its two keys' sides (channel or seal).
///
/// With `pins`, only those keys; without, any certificate of our CA that carries one of the agency's identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agency {
    pub id: AgencyId,
    pub kind: AgencyKind,
    /// Shown to people: `Comune di Capannori`.
    pub name: String,
    pub identifiers: Vec<OrganizationIdentifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offices: Vec<Office>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_pins: Vec<Pin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seal_pins: Vec<Pin>,
    /// Agencies whose messages may come over this agency's channel (intermediary, lead Comune).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts_for: Vec<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Office {
    pub id: OfficeId,
    pub name: String,
    /// What an operator's `userLocation` may say to mean this office; the office's own id always does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<String>,
}

/// What an officer may sign or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads the log; sees no record, because there is none.
    Auditor,
    /// Signs policies and registry versions for the agency.
    Officer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Officer {
    pub id: OfficerId,
    pub agency: AgencyId,
    pub role: Role,
    /// SHA-256 of the public key's SubjectPublicKeyInfo DER.
    pub key: Sha256,
    /// The public key itself, as the PEM of its SubjectPublicKeyInfo.
    pub public_key: String,
    /// What words are sealed to for this officer, where it is not the signing key: the PEM of a key on P-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading_key: Option<String>,
    /// Agencies whose officer is away, and for whom this one signs and reads for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stands_in: Vec<StandIn>,
}

/// A named deputy's mandate: an officer of one agency stands in for the absent officer of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    pub agency: AgencyId,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Officer {
    /// Whether the officer speaks for an agency at an instant: their own, or one they stand in for.
    pub fn speaks_for(&self, agency: &AgencyId, at: Timestamp) -> bool {
        let stands_in = |one: &StandIn| one.agency == *agency && one.from <= at && at < one.until;
        self.agency == *agency || self.stands_in.iter().any(stands_in)
    }
}

/// A key that signs checkpoints, as a C2SP signed-note verifier key: `<name>+<hash>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKey {
    pub verifier: String,
    pub from: Timestamp,
}

/// Somebody who may do nothing for now: an agency, or one of its operators. Narrowing, so it takes effect at once; only
/// the next version of the registry lifts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    pub agency: AgencyId,
    /// Absent: the whole agency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
    pub from: Timestamp,
}

/// One version of the registry, as written and signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub version: u32,
    /// SHA-256 of the document this one replaces; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256>,
    pub deployment: Deployment,
    /// The gateway's own identifier, in its tokens' `iss` and its log's origin: `gateway.piana.example`.
    pub gateway: String,
    /// What tokens sent to the gateway carry in `aud`.
    pub audience: String,
    pub agencies: Vec<Agency>,
    pub officers: Vec<Officer>,
    pub log_keys: Vec<LogKey>,
    /// C2SP verifier keys of the witnesses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspensions: Vec<Suspension>,
}

/// What is wrong with a registry version. All faults are reported at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFault {
    #[error("agency `{0}` acts for `{1}`, which is not in the registry")]
    ActsForUnknown(AgencyId, AgencyId),
    #[error("agency `{0}` is listed twice")]
    AgencyTwice(AgencyId),
    #[error("identifier `{0}` belongs to both `{1}` and `{2}`")]
    IdentifierTwice(OrganizationIdentifier, AgencyId, AgencyId),
    #[error("there is no log key")]
    NoLogKey,
    #[error("agency `{0}` has neither an identifier nor pins")]
    NoWayToRecognise(AgencyId),
    #[error("key {0} is pinned by both `{1}` and `{2}`")]
    PinTwice(Sha256, AgencyId, AgencyId),
    #[error("officer `{0}` belongs to agency `{1}`, which is not in the registry")]
    OfficerWithoutAgency(OfficerId, AgencyId),
    #[error("officer `{0}` is listed twice")]
    OfficerTwice(OfficerId),
    #[error("officer `{0}` stands in for `{1}`, which is not another agency of the registry, or for no time")]
    StandIn(OfficerId, AgencyId),
}

/// Which of an agency's two keys a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Channel,
    Seal,
}

impl Registry {
    /// Checks what the JSON form cannot: references and uniqueness.
    pub fn faults(&self) -> Vec<RegistryFault> {
        let mut faults = Vec::new();
        let mut ids = BTreeMap::new();
        let mut identifiers: BTreeMap<&OrganizationIdentifier, &AgencyId> = BTreeMap::new();
        let mut pins: BTreeMap<&Sha256, &AgencyId> = BTreeMap::new();
        for agency in &self.agencies {
            if ids.insert(&agency.id, ()).is_some() {
                faults.push(RegistryFault::AgencyTwice(agency.id.clone()));
            }
            if agency.identifiers.is_empty()
                && (agency.channel_pins.is_empty() || agency.seal_pins.is_empty())
            {
                faults.push(RegistryFault::NoWayToRecognise(agency.id.clone()));
            }
            for identifier in &agency.identifiers {
                if let Some(other) = identifiers.insert(identifier, &agency.id) {
                    faults.push(RegistryFault::IdentifierTwice(
                        identifier.clone(),
                        other.clone(),
                        agency.id.clone(),
                    ));
                }
            }
            for pin in agency.channel_pins.iter().chain(&agency.seal_pins) {
                match pins.insert(&pin.key, &agency.id) {
                    Some(other) if *other != agency.id => {
                        faults.push(RegistryFault::PinTwice(pin.key, other.clone(), agency.id.clone()));
                    }
                    Some(_) | None => {}
                }
            }
        }
        for agency in &self.agencies {
            for other in agency.acts_for.iter().filter(|other| !ids.contains_key(other)) {
                faults.push(RegistryFault::ActsForUnknown(agency.id.clone(), other.clone()));
            }
        }
        let mut officers = BTreeMap::new();
        for officer in &self.officers {
            if officers.insert(&officer.id, ()).is_some() {
                faults.push(RegistryFault::OfficerTwice(officer.id.clone()));
            }
            if !ids.contains_key(&officer.agency) {
                faults.push(RegistryFault::OfficerWithoutAgency(officer.id.clone(), officer.agency.clone()));
            }
            let is_none = |one: &&StandIn| {
                !ids.contains_key(&one.agency) || one.agency == officer.agency || one.until <= one.from
            };
            let wrong = officer.stands_in.iter().filter(is_none);
            faults.extend(wrong.map(|one| RegistryFault::StandIn(officer.id.clone(), one.agency.clone())));
        }
        if self.log_keys.is_empty() {
            faults.push(RegistryFault::NoLogKey);
        }
        faults
    }

    pub fn agency(&self, id: &AgencyId) -> Option<&Agency> {
        self.agencies.iter().find(|agency| agency.id == *id)
    }

    pub fn officer(&self, id: &OfficerId) -> Option<&Officer> {
        self.officers.iter().find(|officer| officer.id == *id)
    }

    /// The agency a checked certificate belongs to at `now`; a suspended agency is nobody.
    ///
    /// An agency with pins for this side is recognised by them alone: a new certificate of the same
    /// organisation does not get in until its key is registered.
    pub fn recognise(&self, identity: &Identity, side: Side, now: Timestamp) -> Option<&Agency> {
        let found = self.agencies.iter().find(|agency| agency.is(identity, side, now));
        found.filter(|agency| agency.is_active(now) && !self.is_suspended(&agency.id, None, now))
    }

    /// Whether an agency, or one of its operators, is suspended at `now`.
    pub fn is_suspended(&self, agency: &AgencyId, operator: Option<&OperatorId>, now: Timestamp) -> bool {
        self.suspensions.iter().any(|suspension| {
            suspension.agency == *agency
                && suspension.from <= now
                && suspension.operator.as_ref().is_none_or(|suspended| Some(suspended) == operator)
        })
    }

    /// The officers of an agency who can read what is sealed to them.
    pub fn readers(&self, agency: &AgencyId) -> impl Iterator<Item = (&OfficerId, &str)> {
        let of_agency = self.officers.iter().filter(move |officer| officer.agency == *agency);
        of_agency.filter_map(|officer| Some((&officer.id, officer.reading_key.as_deref()?)))
    }

    /// The officer whose registered key this is.
    pub fn officer_of_key(&self, key: &Sha256) -> Option<&Officer> {
        self.officers.iter().find(|officer| officer.key == *key)
    }
}

impl Agency {
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.suspended.is_none_or(|from| now < from)
    }

    /// Whether messages sealed by `sealer` may arrive over this agency's channel.
    pub fn may_carry(&self, sealer: &AgencyId) -> bool {
        self.id == *sealer || self.acts_for.contains(sealer)
    }

    /// Whether a token's `iss` means this agency: its id, or one of its identifiers with or without the prefix.
    pub fn is_named(&self, issuer: &str) -> bool {
        self.id.as_str() == issuer
            || self.identifiers.iter().any(|id| {
                id.as_str() == issuer
                    || ["PA:IT-", "CF:IT-", "VATIT-"]
                        .iter()
                        .any(|p| id.as_str().strip_prefix(p) == Some(issuer))
            })
    }

    /// The office an operator's `userLocation` names, if it is one of ours.
    pub fn office_at(&self, location: &str) -> Option<&OfficeId> {
        let named = |office: &&Office| {
            office.id.as_str() == location || office.locations.iter().any(|l| l == location)
        };
        self.offices.iter().find(named).map(|office| &office.id)
    }

    fn is(&self, identity: &Identity, side: Side, now: Timestamp) -> bool {
        let pins = match side {
            Side::Channel => &self.channel_pins,
            Side::Seal => &self.seal_pins,
        };
        if !pins.is_empty() {
            return pins.iter().any(|pin| pin.holds(&identity.key, now));
        }
        identity.organization.as_ref().is_some_and(|organization| self.identifiers.contains(organization))
    }
}
