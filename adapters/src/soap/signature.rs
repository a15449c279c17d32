//! WS-Security with an X.509 certificate (OASIS X.509 Token Profile 1.1.1; ModI ID_AUTH_SOAP_02 and INTEGRITY_SOAP_01): what
//! we sign, and how an answer's signature is checked.
//!
//! A signed part is taken from its place in the envelope, and its reference must lead to that very element: a copy elsewhere
//! (signature wrapping) proves nothing. Identifiers must be unique. One transform, one digest, one way to name the key;
//! everything else is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::registry::Identity;
use varco_core::time::Timestamp;
use varco_core::wire::{Algorithm, KeyReference, SealFault, SignFault, Signer, TokenType, Verifier};

use super::{DS, WSSE, WSU};
use crate::xml::{Element, Name, Scope, canonical};

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const X509: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3";
const BASE64: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
/// How each of our algorithms is named in XML (RFC 9231).
const ALGORITHMS: [(Algorithm, &str); 4] = [
    (Algorithm::EdDsa, "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"),
    (Algorithm::Es256, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    (Algorithm::Ps256, "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"),
    (Algorithm::Rs256, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
];
/// As our tokens live: enough for a slow network and a clock a few seconds off, little for a thief.
pub(super) const LIFETIME: Duration = Duration::from_secs(120);
/// Clocks of two machines that keep time.
const SKEW: Duration = Duration::from_secs(5);
/// An answer is fresh, or it is an old one played again.
const OLDEST: Duration = Duration::from_secs(300);
/// References of one signature: body, timestamp, token, and the few headers of addressing.
const REFERENCES_MAX: usize = 16;

/// Why an answer's signature proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("an algorithm or transform other than those of this profile")]
    Algorithm,
    #[error("the certificate is not acceptable: {0}")]
    Certificate(#[from] SealFault),
    #[error("a signed part is not what was signed")]
    Digest,
    #[error("the answer is expired, too old or from the future")]
    Expired,
    #[error("an identifier stands twice")]
    IdTwice,
    #[error("the security header is missing, repeated or not of this profile")]
    Malformed,
    #[error("a part that must be signed is not")]
    NotSigned,
    #[error("a reference leads to no part of this envelope that is signed here")]
    Reference,
    #[error("the answer is to another message than ours")]
    RelatesTo,
    #[error("the signature is not this key's over these bytes")]
    Value,
}

fn ds(local: &str) -> Name {
    Name::new("ds", DS, local)
}

fn wsse(local: &str) -> Name {
    Name::new("wsse", WSSE, local)
}

fn wsu(local: &str) -> Name {
    Name::new("wsu", WSU, local)
}

/// An element with an identifier by which a signature refers to it.
pub(super) fn identified(element: Element, id: &str) -> Element {
    element.with_attribute(wsu("Id"), id)
}

/// What is signed besides the timestamp: elements that have an identifier.
pub(super) fn security(
    soap: &Name,
    parts: &[&Element],
    signer: &dyn Signer,
    now: Timestamp,
) -> Result<Element, SignFault> {
    let (algorithm, certificate) = key(signer).ok_or(SignFault)?;
    let until = now.plus(LIFETIME);
    let timestamp = identified(Element::new(wsu("Timestamp")), "timestamp")
        .with(Element::new(wsu("Created")).with_text(&now.to_string()))
        .with(Element::new(wsu("Expires")).with_text(&until.to_string()));
    let token = identified(Element::new(wsse("BinarySecurityToken")), "token")
        .with_attribute(Name::plain("EncodingType"), BASE64)
        .with_attribute(Name::plain("ValueType"), X509)
        .with_text(&certificate);
    let mut info = Element::new(ds("SignedInfo"))
        .with(method("CanonicalizationMethod", EXCLUSIVE))
        .with(method("SignatureMethod", algorithm));
    for part in std::iter::once(&timestamp).chain(parts.iter().copied()) {
        info = info.with(reference(part));
    }
    let value = signer.sign(canonical(&info, Scope::default()).as_bytes())?;
    let key = Element::new(wsse("SecurityTokenReference")).with(
        Element::new(wsse("Reference"))
            .with_attribute(Name::plain("URI"), "#token")
            .with_attribute(Name::plain("ValueType"), X509),
    );
    let signature = Element::new(ds("Signature"))
        .with(info)
        .with(Element::new(ds("SignatureValue")).with_text(&STANDARD.encode(value)))
        .with(Element::new(ds("KeyInfo")).with(key));
    let must = Name { local: "mustUnderstand".to_owned(), ..soap.clone() };
    Ok(Element::new(wsse("Security")).with_attribute(must, "1").with(token).with(timestamp).with(signature))
}

fn method(local: &str, algorithm: &str) -> Element {
    Element::new(ds(local)).with_attribute(Name::plain("Algorithm"), algorithm)
}

fn reference(part: &Element) -> Element {
    let id = part.attribute(WSU, "Id").unwrap_or_default();
    let digest = Sha256::of(canonical(part, Scope::default()).as_bytes());
    Element::new(ds("Reference"))
        .with_attribute(Name::plain("URI"), &format!("#{id}"))
        .with(Element::new(ds("Transforms")).with(method("Transform", EXCLUSIVE)))
        .with(method("DigestMethod", SHA256))
        .with(Element::new(ds("DigestValue")).with_text(&digest.base64()))
}

/// The XML name of the signer's algorithm and its certificate in base64, both from what its JOSE headers say.
fn key(signer: &dyn Signer) -> Option<(&'static str, String)> {
    let header = URL_SAFE_NO_PAD.decode(signer.headers().of_type(TokenType::Message)).ok()?;
    let header = json::parse(&header).ok()?;
    let algorithm: Algorithm = header.get("alg").and_then(Value::as_str)?.parse().ok()?;
    let (_, name) = ALGORITHMS.into_iter().find(|(known, _)| *known == algorithm)?;
    let certificate = header.get("x5c")?.as_array()?.first()?.as_str()?;
    Some((name, certificate.to_owned()))
}

/// What an answer's signature is checked against.
pub(super) struct Expectation<'a> {
    pub now: Timestamp,
    pub verifier: &'a dyn Verifier,
}

/// Whose certificate signed an envelope: its own body, its timestamp, and whatever else the signature names.
pub(super) fn verify<'a>(
    envelope: &'a Element,
    header: &'a Element,
    body: &'a Element,
    expectation: &Expectation<'_>,
) -> Result<Identity, SignatureFault> {
    let security = header.only(WSSE, "Security").ok_or(SignatureFault::Malformed)?;
    let signature = security.only(DS, "Signature").ok_or(SignatureFault::Malformed)?;
    let timestamp = security.only(WSU, "Timestamp").ok_or(SignatureFault::Malformed)?;
    unique(envelope, &mut Vec::new())?;
    let info = signature.only(DS, "SignedInfo").ok_or(SignatureFault::Malformed)?;
    let within = [envelope, header, security, signature];
    let (algorithm, signed) = signed_bytes(info, &within)?;
    let token = token(security, signature)?;
    let seal = expectation.verifier.seal(&KeyReference::Chain(vec![token]), expectation.now)?;
    let value = decoded(&signature.only(DS, "SignatureValue").ok_or(SignatureFault::Malformed)?.text())?;
    if !seal.allows(algorithm) || !seal.verify(algorithm, signed.as_bytes(), &value) {
        return Err(SignatureFault::Value);
    }
    // From here on the references are the signer's words; each must lead to one of these places.
    let mut places: Vec<(&'a Element, Vec<&'a Element>)> = vec![(body, vec![envelope])];
    places.extend(header.elements().map(|block| (block, vec![envelope, header])));
    places.extend(security.elements().map(|block| (block, vec![envelope, header, security])));
    let mut found: Vec<&'a Element> = Vec::new();
    let references: Vec<_> = info.elements().filter(|child| child.is(DS, "Reference")).collect();
    if references.len() > REFERENCES_MAX {
        return Err(SignatureFault::Malformed);
    }
    for reference in references {
        found.push(referred(reference, &places)?);
    }
    let has = |part: &Element| found.iter().any(|found| std::ptr::eq(*found, part));
    if !has(body) || !has(timestamp) {
        return Err(SignatureFault::NotSigned);
    }
    fresh(timestamp, expectation.now)?;
    Ok(seal.identity().clone())
}

/// No two elements may have one identifier, by whichever attribute somebody might read it.
fn unique<'a>(element: &'a Element, known: &mut Vec<&'a str>) -> Result<(), SignatureFault> {
    for attribute in &element.attributes {
        if attribute.name.local.eq_ignore_ascii_case("id") {
            if known.contains(&attribute.value.as_str()) {
                return Err(SignatureFault::IdTwice);
            }
            known.push(&attribute.value);
        }
    }
    element.elements().try_for_each(|child| unique(child, known))
}

fn signed_bytes(info: &Element, within: &[&Element]) -> Result<(Algorithm, String), SignatureFault> {
    let canonicalization = info.only(DS, "CanonicalizationMethod").ok_or(SignatureFault::Malformed)?;
    let prefixes = exclusive(canonicalization)?;
    let method = info.only(DS, "SignatureMethod").ok_or(SignatureFault::Malformed)?;
    let name = method.attribute("", "Algorithm").unwrap_or_default();
    let known = ALGORITHMS.into_iter().find(|(_, known)| *known == name);
    let (algorithm, _) = known.ok_or(SignatureFault::Algorithm)?;
    let inclusive: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    Ok((algorithm, canonical(info, Scope { ancestors: within, inclusive: &inclusive })))
}

/// Exclusive canonicalisation and nothing else, with the prefixes it is to include.
fn exclusive(method: &Element) -> Result<Vec<String>, SignatureFault> {
    if method.attribute("", "Algorithm") != Some(EXCLUSIVE) {
        return Err(SignatureFault::Algorithm);
    }
    let mut prefixes = Vec::new();
    for parameter in method.elements() {
        let list =
            parameter.attribute("", "PrefixList").filter(|_| parameter.is(EXCLUSIVE, "InclusiveNamespaces"));
        let list = list.ok_or(SignatureFault::Algorithm)?.split_whitespace();
        prefixes.extend(list.map(|prefix| if prefix == "#default" { "" } else { prefix }.to_owned()));
    }
    Ok(prefixes)
}

/// The certificate that the signature names, in DER: in a token of the same header.
fn token(security: &Element, signature: &Element) -> Result<Vec<u8>, SignatureFault> {
    let key = signature.only(DS, "KeyInfo").and_then(|key| key.only(WSSE, "SecurityTokenReference"));
    let named = key.and_then(|key| key.only(WSSE, "Reference")).and_then(|named| named.attribute("", "URI"));
    let id = named.and_then(|uri| uri.strip_prefix('#')).ok_or(SignatureFault::Malformed)?;
    let is =
        |block: &&Element| block.is(WSSE, "BinarySecurityToken") && block.attribute(WSU, "Id") == Some(id);
    let token = security.elements().find(is).ok_or(SignatureFault::Malformed)?;
    if token.attribute("", "ValueType") != Some(X509) {
        return Err(SignatureFault::Algorithm);
    }
    decoded(&token.text())
}

/// The element that a reference leads to, if it is in one of the places and is what was signed.
fn referred<'a>(
    reference: &Element,
    places: &[(&'a Element, Vec<&'a Element>)],
) -> Result<&'a Element, SignatureFault> {
    let uri = reference.attribute("", "URI").and_then(|uri| uri.strip_prefix('#'));
    let id = uri.filter(|id| !id.is_empty()).ok_or(SignatureFault::Reference)?;
    let named = |(element, _): &&(&Element, Vec<&Element>)| {
        element.attribute(WSU, "Id").or_else(|| element.attribute("", "Id")) == Some(id)
    };
    let (element, within) = places.iter().find(named).ok_or(SignatureFault::Reference)?;
    let transforms = reference.only(DS, "Transforms").ok_or(SignatureFault::Algorithm)?;
    let transform = transforms.only(DS, "Transform").filter(|_| transforms.elements().count() == 1);
    let prefixes = exclusive(transform.ok_or(SignatureFault::Algorithm)?)?;
    let method = reference.only(DS, "DigestMethod").and_then(|method| method.attribute("", "Algorithm"));
    if method != Some(SHA256) {
        return Err(SignatureFault::Algorithm);
    }
    let inclusive: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let bytes = canonical(element, Scope { ancestors: within, inclusive: &inclusive });
    let digest = decoded(&reference.only(DS, "DigestValue").ok_or(SignatureFault::Malformed)?.text())?;
    if digest != Sha256::of(bytes.as_bytes()).as_bytes() {
        return Err(SignatureFault::Digest);
    }
    Ok(element)
}

fn fresh(timestamp: &Element, now: Timestamp) -> Result<(), SignatureFault> {
    let instant = |local: &str| {
        let text = timestamp.only(WSU, local).map(Element::text);
        text.and_then(|text| text.trim().parse::<Timestamp>().ok()).ok_or(SignatureFault::Malformed)
    };
    let (created, expires) = (instant("Created")?, instant("Expires")?);
    if created > now.plus(SKEW) || expires.plus(SKEW) < now || now.since(created) > OLDEST {
        return Err(SignatureFault::Expired);
    }
    Ok(())
}

/// Base64 with the line breaks that XML tools put into it.
fn decoded(text: &str) -> Result<Vec<u8>, SignatureFault> {
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).map_err(|_| SignatureFault::Malformed)
}
