//! The genesis of the demonstration: two officers in each of three agencies sign the first registry and policy.

use std::path::Path;

use rcgen::KeyPair;
use varco_core::hash::Sha256;
use varco_core::id::OfficeId;
use varco_core::json;
use varco_core::registry::{Agency, AgencyKind, Deployment, LogKey, Office, Officer, Registry, Role};
use varco_core::time::Timestamp;
use varco_core::wire::Statement;
use varco_jose::OfficerKey;

use crate::genesis::{ACT_GENESIS, Genesis};
use crate::pki::dev::{GATEWAY, Kit};

/// What tokens for the gateway of the demonstration carry in `aud`.
pub const AUDIENCE: &str = "https://gateway.piana.example/rest/varco/v1";

/// Why the ceremony of the demonstration could not be held.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    #[error("an officer's key does not sign")]
    Sign,
    #[error("an identifier of the demonstration is malformed: {0}")]
    Id(#[from] varco_core::id::IdFault),
    #[error("the folder of the ceremony could not be written: {0}")]
    Write(#[from] std::io::Error),
}

/// The registry of the demonstration: every agency known by its identifier, no pins.
pub fn registry(kit: &Kit, now: Timestamp) -> Result<Registry, CeremonyError> {
    let agencies = kit.agencies.iter().map(|agency| {
        Ok(Agency {
            id: agency.id.clone(),
            kind: agency.kind,
            name: agency.name.to_owned(),
            identifiers: vec![agency.organization.clone()],
            offices: offices(agency.kind)?,
            channel_pins: Vec::new(),
            seal_pins: Vec::new(),
            acts_for: Vec::new(),
            suspended: None,
        })
    });
    let officers = kit.officers.iter().map(|officer| Officer {
        id: officer.id.clone(),
        agency: officer.agency.clone(),
        role: officer.role,
        key: crate::pki::pin(&officer.key),
        public_key: officer.key.public_key_pem(),
        reading_key: officer.reading_key.as_ref().map(KeyPair::public_key_pem),
        stands_in: Vec::new(),
    });
    Ok(Registry {
        version: 1,
        previous: None,
        deployment: Deployment::Test,
        gateway: GATEWAY.to_owned(),
        audience: AUDIENCE.to_owned(),
        agencies: agencies.collect::<Result<_, CeremonyError>>()?,
        officers: officers.collect(),
        log_keys: vec![LogKey { verifier: kit.log_verifier(), from: now }],
        witnesses: Vec::new(),
        suspensions: Vec::new(),
    })
}

/// Holds the ceremony and writes its folder: `genesis.json` and a statement of each founder.
pub fn hold(kit: &Kit, policy: Sha256, folder: &Path, now: Timestamp) -> Result<(), CeremonyError> {
    hold_for(kit, registry(kit, now)?, policy, folder, now)
}

/// The same with a registry of one's own, as tests need it.
pub fn hold_for(
    kit: &Kit,
    registry: Registry,
    policy: Sha256,
    folder: &Path,
    now: Timestamp,
) -> Result<(), CeremonyError> {
    let founders: Vec<_> = kit.officers.iter().filter(|officer| officer.role == Role::Officer).collect();
    let genesis = Genesis {
        genesis: 1,
        created: now,
        founders: founders.iter().map(|officer| officer.id.clone()).collect(),
        policy,
        registry,
    };
    let text = json::canonical_of(&genesis);
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("genesis.json"), &text)?;
    let statement = Statement { act: ACT_GENESIS.to_owned(), sha256: Sha256::of(text.as_bytes()), at: now };
    for founder in founders {
        let key =
            OfficerKey::from_pem(founder.key.serialize_pem().as_bytes()).map_err(|_| CeremonyError::Sign)?;
        let jws = key.sign(&statement).map_err(|_| CeremonyError::Sign)?;
        std::fs::write(folder.join(format!("{}.jws", founder.id)), jws + "\n")?;
    }
    Ok(())
}

/// An office for each desk of the story.
fn offices(kind: AgencyKind) -> Result<Vec<Office>, CeremonyError> {
    let named = |id: &str, name: &str| -> Result<Office, CeremonyError> {
        Ok(Office { id: id.parse::<OfficeId>()?, name: name.to_owned(), locations: Vec::new() })
    };
    match kind {
        AgencyKind::Comune => Ok(vec![named("sportello-unico", "Sportello unico")?]),
        AgencyKind::Cpi => Ok(vec![
            named("servizi-lavoro", "Servizi per il lavoro")?,
            named("collocamento-mirato", "Collocamento mirato")?,
        ]),
        AgencyKind::Asl => Ok(vec![named("pua", "Punto unico di accesso")?]),
        AgencyKind::Ets | AgencyKind::Zona => Ok(Vec::new()),
    }
}
