//! The order of the checks: each token alone, then the tokens with one another, then with the HTTP message.
//!
//! One code path serves both the gateway, which stops at the first failure, and `varco wire check`, which goes on
//! wherever a later check does not need the failed one. Only [`Run::finish`] lets a verified message out, and it does
//! so only when nothing failed.

use std::sync::Arc;
use std::time::Duration;

use super::token::{Claims, Compact};
use super::{DIGEST, Evidence, Fault, LOCATION_MAX, Message, Part, Seal, Step, Verifier, WireError, header};
use crate::hash::Sha256;
use crate::id::TokenId;
use crate::registry::Identity;
use crate::time::Timestamp;
use run::{Patience, Run};

mod run;

/// How far clocks and habits may differ. AgID gives no numbers; these are what the gateways in use do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A token issued longer ago is refused whatever its `exp`.
    pub issued_age: Duration,
    /// How far `iat` may lie ahead.
    pub issued_ahead: Duration,
    /// How far `nbf` may lie ahead.
    pub not_before_ahead: Duration,
    /// How long after `exp` a token still counts.
    pub expired_for: Duration,
    pub empty_body: EmptyBody,
}

impl Rules {
    pub const ISSUED_AGE: Duration = Duration::from_secs(5 * 60);
    pub const ISSUED_AHEAD: Duration = Duration::from_secs(5);
    pub const NOT_BEFORE_AHEAD: Duration = Duration::from_secs(5);
    pub const EXPIRED_FOR: Duration = Duration::ZERO;
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issued_age: Self::ISSUED_AGE,
            issued_ahead: Self::ISSUED_AHEAD,
            not_before_ahead: Self::NOT_BEFORE_AHEAD,
            expired_for: Self::EXPIRED_FOR,
            empty_body: EmptyBody::Either,
        }
    }
}

/// What a message without a body does about its digest, on which AgID is silent and clients differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyBody {
    /// Digest and integrity token may be there or not.
    Either,
    /// A digest of nothing is refused.
    Omit,
    /// The digest of nothing must be there and be signed.
    Require,
}

/// What a message must be for, and when it is.
#[derive(Clone, Debug)]
pub struct Expectation<'a> {
    /// Our own names; `aud` must hold one of them.
    pub audiences: &'a [String],
    pub now: Timestamp,
    pub rules: Rules,
}

/// A request whose every security header was checked. The registry has not been asked yet.
#[derive(Clone, Debug)]
pub struct VerifiedMessage {
    /// Whose certificate signed all its tokens.
    pub seal: Identity,
    /// `iss`, to be compared with the agency the registry knows for the seal.
    pub issuer: String,
    /// SHA-256 of the body's bytes as received.
    pub digest: Sha256,
    /// What to record against replay, now that the signature is known to be good: the seal's key and the `jti` of the
    /// integrity token, or of the Authorization token when a message without body has no integrity token.
    pub replay: (Sha256, TokenId),
    /// The Authorization token's own `jti` when it is another one: to be recorded too (ID_AUTH_REST_02).
    pub bearer: Option<TokenId>,
    /// Until when a replay could pass the clock checks, so how long to remember it.
    pub expires: Timestamp,
    pub evidence: Evidence,
    /// The compact TrackingEvidence token, to be kept by whoever must prove who asked. It names an operator.
    pub evidence_token: String,
}

/// An answer whose integrity token was checked and belongs to the request we sent.
#[derive(Clone, Debug)]
pub struct VerifiedAnswer {
    pub seal: Identity,
    /// `iss`, when the sender says it.
    pub issuer: Option<String>,
    /// SHA-256 of the body's bytes as received.
    pub digest: Sha256,
    pub id: TokenId,
}

/// One check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub part: Part,
    pub step: Step,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed(Fault),
    Passed,
}

/// Every check that could be made, and the verdict the gateway would give.
#[derive(Debug)]
pub struct Diagnosis<T> {
    pub steps: Vec<Checked>,
    pub verdict: Result<T, WireError>,
}

/// Checks a request's three tokens. Nothing is recorded: the caller claims [`VerifiedMessage::replay`] afterwards.
pub fn verify_request(
    message: &Message,
    expectation: &Expectation,
    verifier: &dyn Verifier,
) -> Result<VerifiedMessage, WireError> {
    let mut run = Run::new(Patience::StopAtFirst, message, expectation, verifier);
    let verified = request(&mut run);
    run.finish(verified).verdict
}

/// [`verify_request`] that goes on after a failure and tells every step.
pub fn diagnose_request(
    message: &Message,
    expectation: &Expectation,
    verifier: &dyn Verifier,
) -> Diagnosis<VerifiedMessage> {
    let mut run = Run::new(Patience::GoOn, message, expectation, verifier);
    let verified = request(&mut run);
    run.finish(verified)
}

/// Checks an answer's integrity token and that it answers the request whose body had `request_digest`.
pub fn verify_response(
    message: &Message,
    expectation: &Expectation,
    request_digest: &Sha256,
    verifier: &dyn Verifier,
) -> Result<VerifiedAnswer, WireError> {
    let mut run = Run::new(Patience::StopAtFirst, message, expectation, verifier);
    let verified = response(&mut run, request_digest);
    run.finish(verified).verdict
}

/// [`verify_response`] that goes on after a failure and tells every step.
pub fn diagnose_response(
    message: &Message,
    expectation: &Expectation,
    request_digest: &Sha256,
    verifier: &dyn Verifier,
) -> Diagnosis<VerifiedAnswer> {
    let mut run = Run::new(Patience::GoOn, message, expectation, verifier);
    let verified = response(&mut run, request_digest);
    run.finish(verified)
}

fn request(run: &mut Run) -> Result<VerifiedMessage, WireError> {
    let bearer = run.attempt(Part::Authorization, bearer)?;
    let first = bearer.as_ref().ok();
    let integrity = run.attempt(Part::Signature, |run| integrity(run, first))?;
    let evidence = run.attempt(Part::Evidence, |run| evidence(run, first))?;

    let (bearer, evidence) = (bearer?, evidence?);
    let (digest, integrity) = integrity?;
    let key = bearer.seal.identity().key;
    let bearer_expires = bearer.replayable_until(&run.expectation.rules);
    let (id, expires, own) = match integrity {
        Some(token) => {
            let expires = token.replayable_until(&run.expectation.rules).max(bearer_expires);
            let own = (bearer.id != token.id).then_some(bearer.id);
            (token.id, expires, own)
        }
        None => (bearer.id, bearer_expires, None),
    };
    Ok(VerifiedMessage {
        seal: bearer.seal.identity().clone(),
        issuer: bearer.issuer,
        digest,
        replay: (key, id),
        bearer: own,
        expires,
        evidence: evidence.0,
        evidence_token: evidence.1,
    })
}

fn response(run: &mut Run, request_digest: &Sha256) -> Result<VerifiedAnswer, WireError> {
    let answer = run.attempt(Part::Signature, |run| {
        let (digest, token) = integrity(run, None)?;
        let Some(token) = token else {
            let missing = Err(Fault::HeaderMissing(Part::Signature.header()));
            return run.need(Step::Header, missing);
        };
        let claimed = token.claims.text("request_digest").and_then(header::parse_digest);
        run.check(
            Step::RequestDigest,
            claimed.and_then(|claimed| {
                if claimed == *request_digest { Ok(()) } else { Err(Fault::RequestDigestDiffers) }
            }),
        )?;
        Ok((digest, token))
    })?;
    let (digest, token) = answer?;
    let issuer = token.claims.issuer;
    Ok(VerifiedAnswer { seal: token.seal.identity().clone(), issuer, digest, id: token.id })
}

/// ID_AUTH_REST_02: who sends this.
fn bearer(run: &mut Run) -> Result<Sender, WireError> {
    let value = run.required_header()?;
    let scheme = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(token.trim_start_matches(' ')),
        Some(_) | None => Err(Fault::SchemeOther),
    };
    let text = run.need(Step::Header, scheme)?;
    let token = token(run, text)?;
    let Some(issuer) = token.claims.issuer.clone() else {
        return Err(run.fail(Step::Claims, Fault::ClaimMissing("iss")));
    };
    Ok(Sender { issuer, id: token.id, seal: token.seal, claims: token.claims })
}

/// INTEGRITY_REST_01: the body and the headers that describe it are what the sender signed.
fn integrity(run: &mut Run, first: Option<&Sender>) -> Result<(Sha256, Option<Token>), WireError> {
    let digest = Sha256::of(&run.message.body);
    let Some(text) = run.optional_header()? else {
        let empty = run.message.body.is_empty()
            && run.message.values(DIGEST).next().is_none()
            && run.expectation.rules.empty_body != EmptyBody::Require;
        let missing = Fault::HeaderMissing(Part::Signature.header());
        return run.need(Step::Header, if empty { Ok((digest, None)) } else { Err(missing) });
    };
    run.check(Step::Header, Ok(()))?;
    let token = token(run, text)?;
    run.same_sender(first, &token)?;

    let message = run.message;
    let listed = run.need(Step::SignedHeaders, header::listed(token.claims.member("signed_headers")))?;
    run.check(Step::SignedHeaders, header::compare(&listed, message))?;
    let signed = run.need(Step::Digest, signed_digest(run, &listed))?;
    let body = signed.is_none_or(|signed| signed == digest);
    run.check(Step::Body, if body { Ok(()) } else { Err(Fault::BodyDiffers) })?;
    Ok((digest, Some(token)))
}

/// The digest both in HTTP and in the token; `None` when there is no body and none is needed.
fn signed_digest(run: &Run, listed: &[(&str, &str)]) -> Result<Option<Sha256>, Fault> {
    let rule = run.expectation.rules.empty_body;
    let sent = header::one(run.message, DIGEST)?;
    let empty = run.message.body.is_empty();
    let Some(sent) = sent else {
        return if empty && rule != EmptyBody::Require { Ok(None) } else { Err(Fault::DigestMissing) };
    };
    if empty && rule == EmptyBody::Omit {
        return Err(Fault::DigestOfNothing);
    }
    let sent = header::parse_digest(sent)?;
    let mut signed = listed.iter().filter(|(name, _)| *name == DIGEST);
    match (signed.next(), signed.next()) {
        (Some((_, value)), None) if header::parse_digest(value)? == sent => Ok(Some(sent)),
        _ => Err(Fault::DigestNotSigned),
    }
}

/// AUDIT_REST_01: which operator, where, how well authenticated. Its `jti` may repeat while it is valid.
fn evidence(run: &mut Run, first: Option<&Sender>) -> Result<(Evidence, String), WireError> {
    let text = run.required_header()?;
    run.check(Step::Header, Ok(()))?;
    let token = token(run, text)?;
    run.same_sender(first, &token)?;
    let evidence = run.need(Step::Evidence, operator(&token.claims))?;
    Ok((evidence, text.to_owned()))
}

fn operator(claims: &Claims) -> Result<Evidence, Fault> {
    let operator = claims.text("userID")?.parse().map_err(|_| Fault::ClaimMalformed {
        claim: "userID",
        expected: "1 to 64 letters, digits, `.`, `_`, `-` or `:`",
    })?;
    let location = claims.text("userLocation")?;
    let length = location.chars().count();
    if !(1..=LOCATION_MAX).contains(&length) || location.chars().any(char::is_control) {
        return Err(Fault::ClaimMalformed { claim: "userLocation", expected: "1 to 128 characters" });
    }
    // AgID's examples write `LoA`, the IT-Wallet profile `loa`.
    let loa = match (claims.member("LoA"), claims.member("loa")) {
        (Some(one), Some(other)) if one != other => {
            return Err(Fault::ClaimMalformed { claim: "LoA", expected: "written once" });
        }
        (None, Some(_)) => claims.text("loa")?,
        (Some(_), _) | (None, None) => claims.text("LoA")?,
    };
    let loa = loa
        .parse()
        .map_err(|_| Fault::ClaimMalformed { claim: "LoA", expected: "`low`, `substantial` or `high`" })?;
    Ok(Evidence { operator, location: location.to_owned(), loa })
}

/// The checks every token goes through, in the order of the specification.
fn token(run: &mut Run, text: &str) -> Result<Token, WireError> {
    let compact = run.need(Step::Form, Compact::parse(text))?;
    let key = run.key(&compact.header);
    let key = run.need(Step::JoseHeader, key)?;
    let claims = run.need(Step::Claims, Claims::parse(&compact.payload))?;
    run.check(Step::Time, clock(&claims, run.expectation))?;
    let ours = claims.audiences.iter().any(|audience| run.expectation.audiences.contains(audience));
    run.check(Step::Audience, if ours { Ok(()) } else { Err(Fault::AudienceOther) })?;
    let id = claims.text("jti").and_then(|text| {
        let expected = "1 to 128 printable ASCII characters";
        text.parse().map_err(|_| Fault::ClaimMalformed { claim: "jti", expected })
    });
    let id = run.need(Step::Identifier, id)?;
    let algorithm = key.algorithm;
    let seal = run.seal(key, &compact.header);
    let seal = run.need(Step::Certificate, seal.map_err(Fault::Certificate))?;
    let allowed = if seal.allows(algorithm) { Ok(()) } else { Err(Fault::AlgorithmNotOfKey) };
    run.need(Step::Algorithm, allowed)?;
    let good = seal.verify(algorithm, compact.signed.as_bytes(), &compact.signature);
    run.check(Step::Signature, if good { Ok(()) } else { Err(Fault::SignatureInvalid) })?;
    Ok(Token { claims, id, seal })
}

fn clock(claims: &Claims, expectation: &Expectation) -> Result<(), Fault> {
    let (now, rules) = (expectation.now, &expectation.rules);
    if claims.issued > now.plus(rules.issued_ahead) {
        return Err(Fault::IssuedInFuture);
    }
    if claims.not_before.is_some_and(|from| from > now.plus(rules.not_before_ahead)) {
        return Err(Fault::NotYetValid);
    }
    // RFC 7519 section 4.1.4: on or after `exp` it must not be accepted.
    if now >= claims.expires.plus(rules.expired_for) {
        return Err(Fault::Expired);
    }
    if now > claims.issued.plus(rules.issued_age) {
        return Err(Fault::IssuedLongAgo);
    }
    Ok(())
}

/// A token that passed the checks which concern it alone.
struct Token {
    claims: Claims,
    id: TokenId,
    seal: Arc<dyn Seal>,
}

/// The Authorization token, whose issuer is known.
struct Sender {
    issuer: String,
    id: TokenId,
    seal: Arc<dyn Seal>,
    claims: Claims,
}

impl Token {
    fn replayable_until(&self, rules: &Rules) -> Timestamp {
        replayable_until(&self.claims, rules)
    }
}

impl Sender {
    fn replayable_until(&self, rules: &Rules) -> Timestamp {
        replayable_until(&self.claims, rules)
    }
}

/// After this instant the clock checks refuse the token anyway, however far ahead its `exp` lies.
fn replayable_until(claims: &Claims, rules: &Rules) -> Timestamp {
    claims.expires.plus(rules.expired_for).min(claims.issued.plus(rules.issued_age))
}

#[cfg(test)]
mod tests;
