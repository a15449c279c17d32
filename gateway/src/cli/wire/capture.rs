//! A captured message: headers, body, trust, audience and time, in one JSON file. Also the form of the golden vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::{
    Algorithm, Checked, Expectation, Message, Rules, WireError, diagnose_request, diagnose_response,
    parse_digest,
};
use varco_jose::SealTrust;

/// Why a capture cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{0}")]
    Form(#[from] json::JsonFault),
    #[error("`{0}` is not valid")]
    Member(&'static str),
    #[error("`trust`: {0}")]
    Trust(#[from] varco_jose::TrustFault),
    #[error("a response needs `request_digest`, the Digest of the request it answers")]
    NoRequestDigest,
}

/// What was captured. `verdict` is what a golden vector expects; checking does not look at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(default)]
    pub kind: Kind,
    /// The instant of arrival.
    pub at: Timestamp,
    /// The receiver's names, one of which `aud` must hold.
    pub audience: Vec<String>,
    pub trust: Trust,
    /// Names and values as sent, in any case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, when it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body's bytes in standard base64, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// For a response: the `Digest` header of the request, `SHA-256=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Request,
    Response,
}

/// The trust in seals: each root and revocation list as a PEM text or as the base64 of its DER.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    pub roots: Vec<String>,
    pub crls: Vec<String>,
    #[serde(default = "usual")]
    pub algorithms: Vec<Algorithm>,
}

/// Every step that could be made, and the verdict: who sent it, or what the gateway would answer.
#[derive(Debug)]
pub struct Finding {
    pub steps: Vec<Checked>,
    pub verdict: Result<Sender, WireError>,
}

/// Who a good message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub issuer: Option<String>,
    pub organization: Option<String>,
    pub certificate: Sha256,
}

impl Capture {
    pub fn parse(bytes: &[u8]) -> Result<Self, CaptureError> {
        Ok(json::parse_as(bytes)?)
    }

    /// The message as the gateway would see it.
    pub fn message(&self) -> Result<Message, CaptureError> {
        let body = match (&self.body, &self.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|_| CaptureError::Member("body_base64"))?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(CaptureError::Member("body_base64")),
        };
        let headers =
            self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        Ok(Message { headers, body })
    }

    /// The trust the file describes.
    pub fn seal_trust(&self) -> Result<SealTrust, CaptureError> {
        let roots =
            ders(&self.trust.roots, varco_jose::certificates).ok_or(CaptureError::Member("trust.roots"))?;
        let crls = ders(&self.trust.crls, varco_jose::crls).ok_or(CaptureError::Member("trust.crls"))?;
        Ok(SealTrust::new(&roots, &crls, &self.trust.algorithms)?)
    }

    pub fn check(&self) -> Result<Finding, CaptureError> {
        let message = self.message()?;
        let trust = self.seal_trust()?;
        let expectation = Expectation { audiences: &self.audience, now: self.at, rules: Rules::default() };
        match self.kind {
            Kind::Request => {
                let diagnosis = diagnose_request(&message, &expectation, &trust);
                let verdict = diagnosis.verdict.map(|good| sender(&good.seal, Some(good.issuer)));
                Ok(Finding { steps: diagnosis.steps, verdict })
            }
            Kind::Response => {
                let sent = self.request_digest.as_ref().ok_or(CaptureError::NoRequestDigest)?;
                let sent = parse_digest(sent).map_err(|_| CaptureError::Member("request_digest"))?;
                let diagnosis = diagnose_response(&message, &expectation, &sent, &trust);
                let verdict = diagnosis.verdict.map(|good| sender(&good.seal, good.issuer));
                Ok(Finding { steps: diagnosis.steps, verdict })
            }
        }
    }
}

fn sender(seal: &varco_core::registry::Identity, issuer: Option<String>) -> Sender {
    Sender {
        issuer,
        organization: seal.organization.as_ref().map(ToString::to_string),
        certificate: seal.certificate,
    }
}

type FromPem = fn(&[u8]) -> Result<Vec<Vec<u8>>, varco_jose::PemFault>;

fn ders(texts: &[String], from_pem: FromPem) -> Option<Vec<Vec<u8>>> {
    let mut ders = Vec::new();
    for text in texts {
        if text.contains("-----BEGIN") {
            ders.extend(from_pem(text.as_bytes()).ok()?);
        } else {
            ders.push(STANDARD.decode(text).ok()?);
        }
    }
    Some(ders)
}

fn usual() -> Vec<Algorithm> {
    Algorithm::DEFAULT.to_vec()
}
