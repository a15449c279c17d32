//! Each token alone: its form, its header, its claims, its certificate. Shown on the Authorization token.

use serde_json::json;
use varco_core::code::Code;
use varco_core::wire::{Algorithm, Part, Step};

use super::{Case, refused};
use crate::wire::scene::NOW;

pub fn form() -> Vec<Case> {
    let mut cases = refused(
        Part::Authorization,
        Step::Header,
        Code::WireHeader,
        [
            ("authorization-missing", |s| s.bearer.times = 0),
            ("authorization-twice", |s| s.bearer.times = 2),
            ("authorization-another-scheme", |s| {
                s.bearer.times = 0;
                s.more.push(("Authorization".to_owned(), "Basic dXRlbnRlOnNlZ3JldG8=".to_owned()));
            }),
        ],
    );
    cases.extend(refused(
        Part::Authorization,
        Step::Form,
        Code::WireToken,
        [
            ("token-of-two-parts", |s| s.bearer.spoil = |t| t.rsplit_once('.').unwrap().0.to_owned()),
            ("token-of-five-parts", |s| s.bearer.spoil = |t| format!("{t}.AA.AA")),
            ("token-with-padding", |s| s.bearer.spoil = |t| format!("{t}==")),
            ("token-with-bits-beyond-the-last-byte", |s| {
                // 64 bytes end in a character whose last four bits mean nothing and must be zero.
                s.bearer.spoil = |t| {
                    let (rest, _) = t.split_at(t.len() - 1);
                    format!("{rest}{}", if t.ends_with('A') { 'B' } else { 'R' })
                };
            }),
            ("token-in-the-standard-alphabet", |s| {
                s.bearer.spoil = |t| format!("{}+/", t.split_at(t.len() - 2).0)
            }),
            ("token-with-empty-signature", |s| {
                s.bearer.spoil = |t| format!("{}.", t.rsplit_once('.').unwrap().0);
            }),
            ("token-larger-than-the-limit", |s| s.bearer.claims["filler"] = json!("x".repeat(12 * 1024))),
        ],
    ));
    cases
}

pub fn jose_header() -> Vec<Case> {
    let mut cases = refused(
        Part::Authorization,
        Step::JoseHeader,
        Code::WireToken,
        [
            ("typ-missing", |s| s.bearer.header_without("typ")),
            ("typ-of-a-voucher", |s| s.bearer.header["typ"] = json!("at+jwt")),
            ("typ-of-a-record", |s| s.bearer.header["typ"] = json!("varco-record+jwt")),
            ("crit-unknown", |s| {
                s.bearer.header["crit"] = json!(["exp"]);
            }),
            ("crit-empty", |s| s.bearer.header["crit"] = json!([])),
            ("crit-unencoded-payload", |s| {
                s.bearer.header["crit"] = json!(["b64"]);
                s.bearer.header["b64"] = json!(false);
            }),
            ("jwk-in-header", |s| s.bearer.header["jwk"] = json!({"kty": "EC"})),
            ("jku-in-header", |s| s.bearer.header["jku"] = json!("https://keys.example/jwks.json")),
            ("x5u-in-header", |s| s.bearer.header["x5u"] = json!("https://keys.example/chain.pem")),
            ("kid-alone", |s| {
                s.bearer.header_without("x5c");
                s.bearer.header["kid"] = json!("lZOX5I1D9oehMO6ZPxc6ZnI7GMYOONh_3ABqV-31KqM");
            }),
            ("no-key-reference", |s| s.bearer.header_without("x5c")),
            ("x5c-empty", |s| s.bearer.header["x5c"] = json!([])),
            ("x5c-in-base64url", |s| s.bearer.header["x5c"] = json!(["MIIB_-8"])),
            ("x5c-and-thumbprint-disagree", |s| {
                s.bearer.header["x5t#S256"] = json!(varco_core::hash::Sha256::of(b"another").base64url());
            }),
            ("header-member-twice", |s| {
                s.bearer.raw_header = Some(r#"{"alg":"ES256","alg":"ES256","typ":"JWT"}"#);
            }),
            ("header-not-an-object", |s| s.bearer.raw_header = Some(r#"["ES256"]"#)),
            ("header-not-json", |s| s.bearer.raw_header = Some("alg: ES256")),
        ],
    );
    cases.extend(refused(
        Part::Authorization,
        Step::JoseHeader,
        Code::WireAlgorithm,
        [
            ("alg-none", |s| s.bearer.header["alg"] = json!("none")),
            ("alg-hs256", |s| s.bearer.header["alg"] = json!("HS256")),
            ("alg-in-lower-case", |s| s.bearer.header["alg"] = json!("es256")),
            ("alg-missing", |s| s.bearer.header_without("alg")),
        ],
    ));
    cases.extend(refused(
        Part::Authorization,
        Step::Algorithm,
        Code::WireAlgorithm,
        [
            ("alg-of-another-kind-of-key", |s| s.bearer.header["alg"] = json!("RS256")),
            ("alg-ps256-not-allowed", |s| s.all_sign_with(|kit| &kit.pss)),
            ("alg-eddsa-not-allowed", |s| s.all_sign_with(|kit| &kit.ed25519)),
            ("alg-of-the-key-not-allowed", |s| s.algorithms = vec![Algorithm::Rs256]),
        ],
    ));
    cases
}

pub fn claims() -> Vec<Case> {
    let mut cases = refused(
        Part::Authorization,
        Step::Claims,
        Code::WireClaims,
        [
            ("iat-missing", |s| s.bearer.without("iat")),
            ("iat-as-text", |s| s.bearer.claims["iat"] = json!("2026-03-02T09:00:00Z")),
            ("iat-with-fraction", |s| s.bearer.claims["iat"] = json!(1_772_442_000.5)),
            ("exp-missing", |s| s.bearer.without("exp")),
            ("nbf-as-text", |s| s.bearer.claims["nbf"] = json!("now")),
            ("aud-missing", |s| s.bearer.without("aud")),
            ("aud-an-object", |s| s.bearer.claims["aud"] = json!({})),
            ("iss-missing", |s| s.bearer.without("iss")),
            ("iss-a-number", |s| s.bearer.claims["iss"] = json!(7)),
        ],
    );
    cases.extend(refused(
        Part::Authorization,
        Step::Claims,
        Code::WireToken,
        [
            ("claim-twice", |s| s.bearer.raw_claims = Some(r#"{"iat":1,"iat":1}"#)),
            ("claims-not-an-object", |s| s.bearer.raw_claims = Some("[]")),
        ],
    ));
    cases.extend(refused(
        Part::Authorization,
        Step::Time,
        Code::WireExpired,
        [
            ("expired-this-second", |s| s.bearer.claims["exp"] = json!(NOW.seconds())),
            ("issued-more-than-five-minutes-ago", |s| s.bearer.claims["iat"] = json!(NOW.seconds() - 301)),
        ],
    ));
    cases.extend(refused(
        Part::Authorization,
        Step::Time,
        Code::WireNotYetValid,
        [
            ("issued-six-seconds-ahead", |s| s.bearer.claims["iat"] = json!(NOW.seconds() + 6)),
            ("nbf-six-seconds-ahead", |s| s.bearer.claims["nbf"] = json!(NOW.seconds() + 6)),
        ],
    ));
    cases.extend(refused(
        Part::Authorization,
        Step::Audience,
        Code::WireAudience,
        [
            ("audience-another", |s| s.bearer.claims["aud"] = json!("https://other.example")),
            ("audience-only-a-prefix", |s| s.bearer.claims["aud"] = json!("https://gateway.piana.example")),
            ("audience-empty-list", |s| s.bearer.claims["aud"] = json!([])),
        ],
    ));
    cases.extend(refused(
        Part::Authorization,
        Step::Identifier,
        Code::WireClaims,
        [
            ("jti-missing", |s| s.bearer.without("jti")),
            ("jti-a-number", |s| s.bearer.claims["jti"] = json!(1)),
            ("jti-empty", |s| s.bearer.claims["jti"] = json!("")),
            ("jti-too-long", |s| s.bearer.claims["jti"] = json!("1".repeat(129))),
        ],
    ));
    cases
}

pub fn certificate() -> Vec<Case> {
    let mut cases = refused(
        Part::Authorization,
        Step::Certificate,
        Code::WireCertificate,
        [
            ("certificate-of-an-unknown-ca", |s| {
                s.all_sign_with(|kit| &kit.stranger);
                s.crls.push(s.kit.stranger_crl.clone());
            }),
            ("certificate-expired", |s| s.all_sign_with(|kit| &kit.expired)),
            ("certificate-not-yet-valid", |s| s.all_sign_with(|kit| &kit.future)),
            ("certificate-revoked", |s| s.all_sign_with(|kit| &kit.revoked)),
            ("certificate-revoked-in-the-newer-of-two-lists", |s| {
                s.all_sign_with(|kit| &kit.revoked);
                s.crls.insert(0, s.kit.old_crl.clone());
            }),
            ("certificate-for-tls-only", |s| s.all_sign_with(|kit| &kit.tls_only)),
            ("revocation-list-of-another-ca-only", |s| s.crls = vec![s.kit.stranger_crl.clone()]),
            ("revocation-list-expired", |s| s.crls = vec![s.kit.old_crl.clone()]),
            ("certificate-that-is-the-ca", |s| {
                use base64::Engine as _;
                let ca = base64::engine::general_purpose::STANDARD.encode(s.kit.seals.certificate());
                s.bearer.header["x5c"] = json!([ca]);
            }),
            ("certificate-unreadable", |s| s.bearer.header["x5c"] = json!(["MAA="])),
            ("thumbprint-unknown", |s| {
                let hash = varco_core::hash::Sha256::of(&s.kit.consumer.der).base64url();
                s.bearer.header_without("x5c");
                s.bearer.header["x5t#S256"] = json!(hash);
            }),
        ],
    );
    cases.extend(refused(
        Part::Authorization,
        Step::Signature,
        Code::WireSignature,
        [
            ("signature-of-another-key", |s| {
                let header = s.bearer.header.clone();
                s.bearer.sign_with(&s.kit.other);
                s.bearer.header = header;
            }),
            ("payload-changed-after-signing", |s| {
                s.bearer.spoil = |t| {
                    let mut parts: Vec<_> = t.split('.').map(str::to_owned).collect();
                    // Re-encodes the claims with one letter of `iss` changed.
                    use base64::Engine as _;
                    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
                    let claims = String::from_utf8(engine.decode(&parts[1]).unwrap()).unwrap();
                    parts[1] = engine.encode(claims.replace("cpi-prova", "cpi-prove"));
                    parts.join(".")
                };
            }),
            ("signature-of-zeros", |s| {
                s.bearer.spoil = |t| format!("{}.{}", t.rsplit_once('.').unwrap().0, "A".repeat(86));
            }),
            ("signature-cut-short", |s| s.bearer.spoil = |t| t.split_at(t.len() - 6).0.to_owned() + "AA"),
        ],
    ));
    cases
}
