//! From bytes to a request whose sender is known.
//!
//! Up to here we do not know who asks: what fails goes to the security log, not to the access log.

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, OfficeId, OperatorId, TokenId};
use crate::registry::{AgencyKind, Identity, Registry, Side};
use crate::time::Timestamp;
use crate::wire::{self, Evidence, Expectation, LevelOfAssurance, Message, Verifier, WireError};

/// One HTTP request as the shell received it, with the identifier the exchange will have.
#[derive(Debug)]
pub struct Incoming {
    pub message: Message,
    /// Whose certificate the channel was opened with, checked at the handshake and again since.
    pub channel: Identity,
    pub exchange: ExchangeId,
}

/// Whom we believe, and under which rules.
pub struct Trust<'a> {
    pub registry: &'a Registry,
    pub verifier: &'a dyn Verifier,
    pub rules: wire::Rules,
}

/// Who asks, as far as it was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub agency: AgencyId,
    pub kind: AgencyKind,
    pub office: Option<OfficeId>,
    pub operator: OperatorId,
    pub location: String,
    pub assurance: LevelOfAssurance,
    /// The agency whose channel carried the message, if it is another one.
    pub carrier: Option<AgencyId>,
}

/// A request that is intact, fresh, and from an agency of the registry. Only [`verify`] makes one.
#[derive(Debug)]
pub struct VerifiedRequest {
    pub(in crate::exchange) sender: Sender,
    pub(in crate::exchange) exchange: ExchangeId,
    pub(in crate::exchange) at: Timestamp,
    pub(in crate::exchange) body: Vec<u8>,
    /// Of the body as received.
    pub(in crate::exchange) digest: Sha256,
    pub(in crate::exchange) seal: Sha256,
    pub(in crate::exchange) issuer: String,
    pub(in crate::exchange) tokens: Vec<TokenId>,
    pub(in crate::exchange) expires: Timestamp,
    /// The request this exchange is one part of: that of a whole household.
    pub(in crate::exchange) within: Option<ExchangeId>,
}

/// Why a request is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the channel of `{carrier}` may not carry messages of `{sender}`")]
    CarrierNotAllowed { carrier: AgencyId, sender: AgencyId },
    #[error("iss does not name the agency of the seal")]
    IssuerMismatch,
    #[error("{0}")]
    Message(#[from] WireError),
    #[error("the operator is suspended")]
    OperatorSuspended,
    #[error("the certificate of the channel belongs to no active agency")]
    UnknownCarrier,
    #[error("the seal belongs to no active agency")]
    UnknownSender,
}

impl VerifyError {
    pub fn code(&self) -> Code {
        match self {
            Self::CarrierNotAllowed { .. } => Code::WireChannel,
            Self::IssuerMismatch => Code::WireIssuer,
            Self::Message(error) => error.code(),
            Self::OperatorSuspended | Self::UnknownCarrier | Self::UnknownSender => Code::WireUnknownSender,
        }
    }
}

/// Checks tokens, seal, digest and clock ([`wire::verify_request`]), then who the seal and the channel belong to.
pub fn verify(incoming: Incoming, trust: &Trust<'_>, now: Timestamp) -> Result<VerifiedRequest, VerifyError> {
    let registry = trust.registry;
    let carrier =
        registry.recognise(&incoming.channel, Side::Channel, now).ok_or(VerifyError::UnknownCarrier)?;
    let audiences = [registry.audience.clone()];
    let expectation = Expectation { audiences: &audiences, now, rules: trust.rules };
    let message = wire::verify_request(&incoming.message, &expectation, trust.verifier)?;
    let agency = registry.recognise(&message.seal, Side::Seal, now).ok_or(VerifyError::UnknownSender)?;
    if !carrier.may_carry(&agency.id) {
        let (carrier, sender) = (carrier.id.clone(), agency.id.clone());
        return Err(VerifyError::CarrierNotAllowed { carrier, sender });
    }
    if !agency.is_named(&message.issuer) {
        return Err(VerifyError::IssuerMismatch);
    }
    let Evidence { operator, location, loa } = message.evidence;
    if registry.is_suspended(&agency.id, Some(&operator), now) {
        return Err(VerifyError::OperatorSuspended);
    }
    let sender = Sender {
        agency: agency.id.clone(),
        kind: agency.kind,
        office: agency.office_at(&location).cloned(),
        operator,
        location,
        assurance: loa,
        carrier: (carrier.id != agency.id).then(|| carrier.id.clone()),
    };
    Ok(VerifiedRequest {
        sender,
        exchange: incoming.exchange,
        at: now,
        body: incoming.message.body,
        digest: message.digest,
        seal: message.seal.key,
        issuer: message.issuer,
        tokens: std::iter::once(message.replay.1).chain(message.bearer).collect(),
        expires: message.expires,
        within: None,
    })
}

impl VerifiedRequest {
    pub const fn sender(&self) -> &Sender {
        &self.sender
    }

    pub const fn exchange(&self) -> &ExchangeId {
        &self.exchange
    }

    /// When it was verified. Every later step of the exchange uses this instant.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// SHA-256 of the body as received.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What may be used once: the seal's key with each of these `jti`, to be remembered until the instant.
    pub fn replay_keys(&self) -> (Sha256, &[TokenId], Timestamp) {
        (self.seal, &self.tokens, self.expires)
    }
}
