//! The tokens with one another and with the HTTP message; the operator; answers.

use serde_json::json;
use varco_core::code::Code;
use varco_core::wire::{Algorithm, Part, Step};

use super::{Case, good, refused};
use crate::wire::scene::NOW;

pub fn accepted() -> Vec<Case> {
    vec![
        good("request-es256", |_| {}),
        good("request-rs256", |s| s.all_sign_with(|kit| &kit.rsa)),
        good("request-ps256-where-allowed", |s| {
            s.all_sign_with(|kit| &kit.pss);
            s.algorithms = Algorithm::ALL.to_vec();
        }),
        good("request-eddsa-where-allowed", |s| {
            s.all_sign_with(|kit| &kit.ed25519);
            s.algorithms = Algorithm::ALL.to_vec();
        }),
        good("request-audience-among-several", |s| {
            let ours = s.bearer.claims["aud"].clone();
            s.bearer.claims["aud"] = json!(["https://other.example", ours]);
        }),
        good("request-thumbprint-of-the-first-tokens-certificate", |s| {
            let hash = varco_core::hash::Sha256::of(&s.kit.consumer.der).base64url();
            s.integrity.header_without("x5c");
            s.integrity.header["x5t#S256"] = json!(hash);
        }),
        good("request-one-object-with-several-signed-headers", |s| {
            let digest = s.digest.clone();
            s.integrity.claims["signed_headers"] =
                json!([{"digest": digest, "content-type": "application/json"}]);
        }),
        good("request-content-type-spelled-differently", |s| {
            s.content_type = Some("Application/JSON ;  charset=\"utf-8\"");
            s.integrity.claims["signed_headers"][1]["content-type"] =
                json!("application/json; charset=UTF-8");
        }),
        good("request-without-body-and-digest", |s| s.no_body()),
        good("request-without-body-and-integrity-token", |s| {
            s.no_body();
            s.integrity.times = 0;
        }),
        good("request-with-digest-of-an-empty-body", |s| {
            s.no_body();
            let nothing = "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
            s.digest = Some(nothing.to_owned());
            s.integrity.claims["signed_headers"] = json!([{ "digest": nothing }]);
        }),
        good("request-loa-in-lower-case", |s| {
            s.evidence.without("LoA");
            s.evidence.claims["loa"] = json!("high");
        }),
        good("request-clocks-five-seconds-apart", |s| {
            s.bearer.claims["iat"] = json!(NOW.seconds() + 5);
            s.bearer.claims["nbf"] = json!(NOW.seconds() + 5);
        }),
        good("request-kid-beside-the-certificate", |s| s.bearer.header["kid"] = json!("our own label")),
        good("request-issuer-only-in-authorization", |s| {
            s.integrity.without("iss");
            s.evidence.without("iss");
        }),
    ]
}

pub fn integrity() -> Vec<Case> {
    let mut cases = refused(
        Part::Signature,
        Step::Header,
        Code::WireHeader,
        [
            ("integrity-token-missing", |s| s.integrity.times = 0),
            ("integrity-token-twice", |s| s.integrity.times = 2),
        ],
    );
    cases.extend(refused(
        Part::Signature,
        Step::SameSender,
        Code::WireIssuer,
        [
            ("integrity-token-of-another-agency", |s| s.integrity.sign_with(&s.kit.other)),
            ("integrity-token-with-another-issuer", |s| s.integrity.claims["iss"] = json!("asl-prova")),
        ],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Identifier,
        Code::WireClaims,
        [("integrity-jti-missing", |s| s.integrity.without("jti"))],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Time,
        Code::WireExpired,
        [("integrity-token-expired", |s| s.integrity.claims["exp"] = json!(NOW.seconds() - 1))],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Signature,
        Code::WireSignature,
        [("integrity-signature-invalid", |s| {
            s.integrity.spoil = |t| format!("{}.{}", t.rsplit_once('.').unwrap().0, "A".repeat(86));
        })],
    ));
    cases
}

pub fn signed_headers() -> Vec<Case> {
    let mut cases = refused(
        Part::Signature,
        Step::SignedHeaders,
        Code::WireClaims,
        [("signed-headers-missing", |s| s.integrity.without("signed_headers"))],
    );
    cases.extend(refused(
        Part::Signature,
        Step::SignedHeaders,
        Code::WireSignedHeaders,
        [
            ("signed-headers-a-bare-object", |s| {
                let digest = s.digest.clone();
                s.integrity.claims["signed_headers"] =
                    json!({"digest": digest, "content-type": "application/json"});
            }),
            ("signed-headers-in-upper-case", |s| {
                let digest = s.digest.clone();
                s.integrity.claims["signed_headers"] = json!([{"Digest": digest}]);
            }),
            ("digest-not-signed", |s| {
                s.integrity.claims["signed_headers"] = json!([{"content-type": "application/json"}]);
            }),
            ("content-type-not-signed", |s| {
                let digest = s.digest.clone();
                s.integrity.claims["signed_headers"] = json!([{ "digest": digest }]);
            }),
            ("content-type-another", |s| s.content_type = Some("text/plain")),
            ("content-encoding-not-signed", |s| {
                s.more.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
            }),
            ("signed-header-not-sent", |s| {
                let listed = s.integrity.claims["signed_headers"].as_array_mut().unwrap();
                listed.push(json!({"x-correlation-id": "1"}));
            }),
            ("signed-header-sent-twice", |s| {
                s.more.push(("Content-Type".to_owned(), "application/json".to_owned()));
            }),
            ("digest-signed-but-not-sent", |s| s.digest = None),
        ],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Digest,
        Code::WireDigest,
        [
            ("digest-without-its-algorithm", |s| {
                s.digest = s.digest.take().map(|d| d.trim_start_matches("SHA-256=").to_owned());
            }),
            ("digest-in-hexadecimal", |s| s.digest = Some(format!("SHA-256={}", "0f".repeat(32)))),
            ("digest-of-another-algorithm", |s| s.digest = s.digest.take().map(|d| d.replace("256", "512"))),
            ("digest-other-than-signed", |s| {
                let other = varco_core::wire::digest_header(&varco_core::hash::Sha256::of(b"other"));
                s.digest = Some(other);
            }),
            ("body-without-any-digest", |s| {
                s.digest = None;
                s.integrity.claims["signed_headers"] = json!([{"content-type": "application/json"}]);
            }),
        ],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Body,
        Code::WireDigest,
        [("body-changed", |s| s.body.push(b' ')), ("body-removed", |s| s.body.clear())],
    ));
    cases
}

pub fn evidence() -> Vec<Case> {
    let mut cases = refused(
        Part::Evidence,
        Step::Header,
        Code::WireHeader,
        [("evidence-missing", |s| s.evidence.times = 0), ("evidence-twice", |s| s.evidence.times = 2)],
    );
    cases.extend(refused(
        Part::Evidence,
        Step::SameSender,
        Code::WireIssuer,
        [
            ("evidence-of-another-agency", |s| s.evidence.sign_with(&s.kit.other)),
            ("evidence-with-another-issuer", |s| s.evidence.claims["iss"] = json!("asl-prova")),
        ],
    ));
    cases.extend(refused(
        Part::Evidence,
        Step::Audience,
        Code::WireAudience,
        [("evidence-for-another-audience", |s| s.evidence.claims["aud"] = json!("https://other.example"))],
    ));
    cases.extend(refused(
        Part::Evidence,
        Step::Time,
        Code::WireExpired,
        [("evidence-expired", |s| s.evidence.claims["exp"] = json!(NOW.seconds()))],
    ));
    cases.extend(refused(
        Part::Evidence,
        Step::Identifier,
        Code::WireClaims,
        [("evidence-jti-missing", |s| s.evidence.without("jti"))],
    ));
    cases.extend(refused(
        Part::Evidence,
        Step::Evidence,
        Code::WireClaims,
        [
            ("operator-missing", |s| s.evidence.without("userID")),
            ("operator-a-number", |s| s.evidence.claims["userID"] = json!(42)),
            ("operator-with-a-space", |s| s.evidence.claims["userID"] = json!("mario rossi")),
            ("location-missing", |s| s.evidence.without("userLocation")),
            ("location-with-a-line-break", |s| s.evidence.claims["userLocation"] = json!("a\nb")),
            ("assurance-missing", |s| s.evidence.without("LoA")),
            ("assurance-unknown", |s| s.evidence.claims["LoA"] = json!("very")),
            ("assurance-twice-and-different", |s| s.evidence.claims["loa"] = json!("high")),
        ],
    ));
    cases
}

pub fn answer() -> Vec<Case> {
    let mut cases = vec![
        good("answer", |s| s.answer()),
        good("answer-without-issuer", |s| {
            s.answer();
            s.integrity.without("iss");
        }),
    ];
    cases.extend(refused(
        Part::Signature,
        Step::Header,
        Code::WireHeader,
        [
            ("answer-not-signed", |s| {
                s.answer();
                s.integrity.times = 0;
            }),
            ("answer-without-body-not-signed", |s| {
                s.answer();
                s.no_body();
                s.integrity.times = 0;
            }),
        ],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::RequestDigest,
        Code::WireDigest,
        [("answer-to-another-request", |s| {
            s.answer();
            let other = varco_core::wire::digest_header(&varco_core::hash::Sha256::of(b"other"));
            s.integrity.claims["request_digest"] = json!(other);
        })],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::RequestDigest,
        Code::WireClaims,
        [("answer-without-request-digest", |s| {
            s.answer();
            s.integrity.without("request_digest");
        })],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Audience,
        Code::WireAudience,
        [("answer-for-another-caller", |s| {
            s.answer();
            s.integrity.claims["aud"] = json!("asl-prova");
        })],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Body,
        Code::WireDigest,
        [("answer-changed", |s| {
            s.answer();
            s.body.push(b'\n');
        })],
    ));
    cases.extend(refused(
        Part::Signature,
        Step::Certificate,
        Code::WireCertificate,
        [("answer-with-a-revoked-seal", |s| {
            s.answer();
            s.integrity.sign_with(&s.kit.revoked);
        })],
    ));
    cases
}
