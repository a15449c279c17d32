//! An agency's software in the demonstration: it signs what it sends and believes only what is signed.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, IdFault};
use varco_core::json;
use varco_core::registry::OrganizationIdentifier;
use varco_core::wire::{
    Algorithm, Evidence, Expectation, Jtis, LevelOfAssurance, Message, RequestClaims, Rules, SignFault,
    WireError, sign_request, verify_record, verify_response,
};
use varco_jose::{SealSigner, SealTrust, SignerFault, TrustFault};

use crate::app::{Entropy, system_now};
use crate::cli::call::channel::{CallError, Channel};
use crate::demo::ceremony::AUDIENCE;
use crate::http::exchange::BASE;

/// The largest filed record the demonstration checks.
const RECORD_MAX: usize = 1024 * 1024;

pub struct Desk {
    gateway: String,
    channel: Channel,
    signer: SealSigner,
    seals: Arc<SealTrust>,
    /// Whose seal the answers must carry.
    gateway_seal: OrganizationIdentifier,
    issuer: AgencyId,
    evidence: Evidence,
    entropy: Entropy,
}

/// Why a desk could not do what the story says.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("the answer is sealed by somebody else than the gateway")]
    AnotherSeal,
    #[error("the answer is not a JSON object")]
    Answer,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    Id(#[from] IdFault),
    #[error(transparent)]
    Sign(#[from] SignFault),
    #[error(transparent)]
    Signer(#[from] SignerFault),
    #[error(transparent)]
    Trust(#[from] TrustFault),
    #[error("the answer's signature is not good: {0}")]
    Wire(#[from] WireError),
}

/// A signed answer.
pub struct Told {
    pub status: u16,
    pub body: Map<String, Value>,
}

/// Whose desk it is, and who sits there.
pub struct Seat<'a> {
    pub agency: &'a str,
    pub operator: &'a str,
    pub location: &'a str,
}

impl Desk {
    /// From the folder that `varco pki dev` made.
    pub fn open(pki: &Path, gateway: &str, seat: &Seat<'_>, entropy: Entropy) -> Result<Self, DeskError> {
        let own = pki.join("agencies").join(seat.agency);
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| DeskError::File(format!("{}: {error}", path.display())))
        };
        let (roots, crls) = (read(&pki.join("ca/seal.pem"))?, read(&pki.join("ca/seal.crl.pem"))?);
        Ok(Self {
            gateway: gateway.to_owned(),
            channel: Channel::open(
                &own.join("channel.pem"),
                &own.join("channel.key.pem"),
                &pki.join("ca/channel.pem"),
            )?,
            signer: SealSigner::from_pem(&read(&own.join("seal.key.pem"))?, &read(&own.join("seal.pem"))?)?,
            seals: Arc::new(SealTrust::from_pem(&roots, &crls, &Algorithm::DEFAULT)?),
            gateway_seal: crate::pki::dev::GATEWAY_ORGANIZATION.parse()?,
            issuer: seat.agency.parse()?,
            evidence: Evidence {
                operator: seat.operator.parse()?,
                location: seat.location.to_owned(),
                loa: LevelOfAssurance::Substantial,
            },
            entropy,
        })
    }

    /// `POST` below the base of the API; the answer's signature, digest and binding to this request are checked.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Told, DeskError> {
        let body = json::canonical(body).into_bytes();
        let now = system_now();
        let claims = RequestClaims {
            issuer: self.issuer.to_string(),
            audience: AUDIENCE.to_owned(),
            content_type: Some("application/json".to_owned()),
            evidence: self.evidence.clone(),
        };
        let mut random = [[0; 10]; 3];
        random.iter_mut().for_each(|bytes| (self.entropy)(bytes));
        let headers = sign_request(&body, &claims, &self.signer, now, &Jtis::new(now, random))?;
        let digest = Sha256::of(&body);
        let url = format!("{}{BASE}{path}", self.gateway).parse().map_err(|_| CallError::Url)?;
        let answer = self.channel.send((&hyper::Method::POST, &url), Message { headers, body }).await?;
        let audiences = [self.issuer.to_string()];
        let expectation = Expectation { audiences: &audiences, now: system_now(), rules: Rules::default() };
        let verified = verify_response(&answer.message, &expectation, &digest, &*self.seals)?;
        if verified.seal.organization.as_ref() != Some(&self.gateway_seal) {
            return Err(DeskError::AnotherSeal);
        }
        match json::parse(&answer.message.body) {
            Ok(Value::Object(body)) => Ok(Told { status: answer.status, body }),
            Ok(_) | Err(_) => Err(DeskError::Answer),
        }
    }

    /// Whether the record's own seal is good: what can be filed and checked years later.
    pub fn is_sealed(&self, record_jws: &str) -> bool {
        verify_record(record_jws, RECORD_MAX, &*self.seals)
            .is_ok_and(|record| record.seal.organization.as_ref() == Some(&self.gateway_seal))
    }
}
