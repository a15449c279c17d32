use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use varco_core::id::TokenId;
use varco_core::wire::{
    AnswerClaims, Evidence, Expectation, Fault, Jtis, LevelOfAssurance, Message, RequestClaims, Rules,
    WireError, sign_request, sign_response, verify_request, verify_response,
};

use super::*;
use crate::seal::SealSigner;
use crate::testing::{Authority, Leaf, NOW};

fn trust(authority: &Authority, crls: &[Vec<u8>]) -> SealTrust {
    SealTrust::new(std::slice::from_ref(&authority.der), crls, &Algorithm::DEFAULT).unwrap()
}

fn judge(trust: &SealTrust, chain: &[Vec<u8>]) -> Result<Arc<dyn Seal>, SealFault> {
    trust.seal(&KeyReference::Chain(chain.to_vec()), NOW)
}

fn fault(authority: &Authority, leaf: &Leaf, crls: &[Vec<u8>]) -> Option<SealFault> {
    let key = KeyPair::generate().unwrap();
    judge(&trust(authority, crls), &[authority.certify(&key, leaf)]).err()
}

fn jti(text: &str) -> TokenId {
    text.parse().unwrap()
}

fn request(signer: &SealSigner, body: &[u8]) -> Message {
    let claims = RequestClaims {
        issuer: "comune-prova".to_owned(),
        audience: "gateway.example".to_owned(),
        content_type: Some("application/json".to_owned()),
        evidence: Evidence {
            operator: "op-42".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        },
    };
    let jtis = Jtis { authorization: jti("a"), signature: jti("b"), evidence: jti("c") };
    let headers = sign_request(body, &claims, signer, NOW, &jtis).unwrap();
    Message { headers, body: body.to_vec() }
}

fn signer(authority: &Authority, alg: &'static rcgen::SignatureAlgorithm) -> SealSigner {
    let key = KeyPair::generate_for(alg).unwrap();
    SealSigner::from_der(&key.serialize_der(), &[authority.certify(&key, &Leaf::default())]).unwrap()
}

fn verify(message: &Message, trust: &SealTrust) -> Result<varco_core::wire::VerifiedMessage, WireError> {
    let audiences = ["gateway.example".to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
    verify_request(message, &expectation, trust)
}

#[test]
fn what_we_sign_we_accept_and_know_who_it_is() {
    let authority = Authority::new("seals");
    let signer = signer(&authority, &rcgen::PKCS_ECDSA_P256_SHA256);
    let trust = trust(&authority, &[authority.crl(1, &[], 12)]);
    let verified = verify(&request(&signer, b"{}"), &trust).unwrap();
    assert_eq!(verified.seal, *signer.identity());
    assert_eq!(verified.seal.organization.unwrap().as_str(), "PA:IT-x_prova");
    assert_eq!(verified.issuer, "comune-prova");
    assert_eq!(verified.replay.1, jti("b"));
    assert_eq!(verified.bearer, Some(jti("a")));
    assert_eq!(verified.expires, NOW.plus(varco_core::wire::LIFETIME));
    assert_eq!(verified.evidence.operator.as_str(), "op-42");
}

#[test]
fn an_answer_belongs_to_one_request() {
    let authority = Authority::new("seals");
    let signer = signer(&authority, &rcgen::PKCS_ECDSA_P256_SHA256);
    let trust = trust(&authority, &[authority.crl(1, &[], 12)]);
    let asked = Sha256::of(b"question");
    let claims = AnswerClaims {
        issuer: "gateway.example".to_owned(),
        audience: "comune-prova".to_owned(),
        content_type: None,
        request_digest: asked,
    };
    let headers = sign_response(b"answer", &claims, &signer, NOW, &jti("r")).unwrap();
    let message = Message { headers, body: b"answer".to_vec() };
    let audiences = ["comune-prova".to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
    let verified = verify_response(&message, &expectation, &asked, &trust).unwrap();
    assert_eq!(verified.digest, Sha256::of(b"answer"));
    let other = verify_response(&message, &expectation, &Sha256::of(b"other"), &trust).unwrap_err();
    assert_eq!(other.fault, Fault::RequestDigestDiffers);
}

#[test]
fn an_algorithm_must_be_allowed_even_when_the_key_has_it() {
    let authority = Authority::new("seals");
    let signer = signer(&authority, &rcgen::PKCS_ED25519);
    let message = request(&signer, b"{}");
    let crls = [authority.crl(1, &[], 12)];
    let error = verify(&message, &trust(&authority, &crls)).unwrap_err();
    assert_eq!(error.fault, Fault::AlgorithmNotOfKey);
    let wider = SealTrust::new(std::slice::from_ref(&authority.der), &crls, &Algorithm::ALL).unwrap();
    assert!(verify(&message, &wider).is_ok());
}

#[test]
fn a_chain_must_lead_to_our_root() {
    let authority = Authority::new("seals");
    let crls = [authority.crl(1, &[], 12)];
    let same_name = Authority::new("seals");
    let key = KeyPair::generate().unwrap();
    let stranger = same_name.certify(&key, &Leaf::default());
    assert_eq!(judge(&trust(&authority, &crls), &[stranger]).err(), Some(SealFault::UnknownIssuer));

    let middle = authority.intermediate("seals, issuing");
    let chain = [middle.certify(&key, &Leaf::default()), middle.der.clone()];
    let both = [authority.crl(1, &[], 12), middle.crl(1, &[], 12)];
    assert!(judge(&trust(&authority, &both), &chain).is_ok());
    let without_its_list = judge(&trust(&authority, &crls), &chain).err();
    assert_eq!(without_its_list, Some(SealFault::RevocationUnknown));
    let no_middle = judge(&trust(&authority, &both), &chain[..1]).err();
    assert_eq!(no_middle, Some(SealFault::UnknownIssuer));
}

#[test]
fn validity_usage_and_revocation_are_checked() {
    let authority = Authority::new("seals");
    let current = [authority.crl(1, &[], 12)];
    let with = |leaf: Leaf, crls: &[Vec<u8>]| fault(&authority, &leaf, crls);
    assert_eq!(with(Leaf::default(), &current), None);
    assert_eq!(with(Leaf { years: (2025, 2026), ..Leaf::default() }, &current), Some(SealFault::Expired));
    assert_eq!(with(Leaf { years: (2027, 2028), ..Leaf::default() }, &current), Some(SealFault::NotYetValid));
    let usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(with(Leaf { usages, ..Leaf::default() }, &current), Some(SealFault::KeyUsage));
    let none = Leaf { usages: Vec::new(), ..Leaf::default() };
    assert_eq!(with(none, &current), Some(SealFault::KeyUsage));
    let extended = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(with(Leaf { extended, ..Leaf::default() }, &current), Some(SealFault::TlsOnly));
    assert_eq!(with(Leaf::default(), &[authority.crl(1, &[7], 12)]), Some(SealFault::Revoked));
    assert_eq!(with(Leaf::default(), &[authority.crl(1, &[], 2)]), Some(SealFault::CrlExpired));
    let other = Authority::new("others");
    assert_eq!(with(Leaf::default(), &[other.crl(1, &[], 12)]), Some(SealFault::RevocationUnknown));
}

#[test]
fn of_two_lists_of_one_issuer_the_newer_counts_in_either_order() {
    let authority = Authority::new("seals");
    let (old, new) = (authority.crl(255, &[], 12), authority.crl(256, &[7], 12));
    for crls in [[old.clone(), new.clone()], [new, old]] {
        assert_eq!(fault(&authority, &Leaf::default(), &crls), Some(SealFault::Revoked));
    }
}

#[test]
fn trust_without_roots_or_lists_is_no_trust() {
    let authority = Authority::new("seals");
    let roots = [authority.der.clone()];
    assert_eq!(SealTrust::new(&roots, &[], &Algorithm::DEFAULT).err(), Some(TrustFault::NoCrls));
    let crls = [authority.crl(1, &[], 12)];
    assert_eq!(SealTrust::new(&[], &crls, &Algorithm::DEFAULT).err(), Some(TrustFault::NoRoots));
    assert_eq!(SealTrust::new(&roots, &[vec![0x30, 0]], &Algorithm::ALL).err(), Some(TrustFault::Crl(0)));
}

#[test]
fn a_checked_chain_is_kept_for_a_minute_and_never_for_another_time() {
    let authority = Authority::new("seals");
    let trust = trust(&authority, &[authority.crl(1, &[], 4)]);
    let key = KeyPair::generate().unwrap();
    let chain = vec![authority.certify(&key, &Leaf::default())];
    let reference = KeyReference::Chain(chain);
    let first = trust.check_for_test(&reference, NOW);
    assert!(Arc::ptr_eq(&first, &trust.check_for_test(&reference, NOW.plus(Duration::from_secs(59)))));
    assert!(!Arc::ptr_eq(&first, &trust.check_for_test(&reference, NOW.plus(Duration::from_secs(61)))));
    // The list ends on 1 April; a chain checked just before is not believed just after.
    let end = Timestamp::from_seconds(1_775_001_600);
    assert!(trust.seal(&reference, end.minus(Duration::from_secs(10))).is_ok());
    assert_eq!(trust.seal(&reference, end.plus(Duration::from_secs(10))).err(), Some(SealFault::CrlExpired));
}

#[test]
fn a_thumbprint_alone_finds_only_what_was_made_known() {
    let authority = Authority::new("seals");
    let key = KeyPair::generate().unwrap();
    let leaf = authority.certify(&key, &Leaf::default());
    let reference = KeyReference::Thumbprint(Sha256::of(&leaf));
    let trust = trust(&authority, &[authority.crl(1, &[], 12)]);
    assert_eq!(trust.seal(&reference, NOW).err(), Some(SealFault::Unknown));
    assert!(trust.with_known(vec![leaf]).seal(&reference, NOW).is_ok());
}

impl SealTrust {
    fn check_for_test(&self, reference: &KeyReference, now: Timestamp) -> Arc<CheckedSeal> {
        let KeyReference::Chain(chain) = reference else { panic!("a chain") };
        self.check(chain, now).unwrap()
    }
}

#[test]
fn a_filed_record_is_judged_by_the_day_it_was_sealed() {
    use varco_core::wire::{record_jws, verify_record};
    let authority = Authority::new("seals");
    let signer = signer(&authority, &rcgen::PKCS_ECDSA_P256_SHA256);
    let trust = trust(&authority, &[authority.crl(1, &[], 12)]);
    let claims = serde_json::json!({"iat": NOW.seconds(), "purpose": "F02"});
    let token = record_jws(&claims.to_string(), &signer).unwrap();
    let verified = verify_record(&token, 64 * 1024, &trust).unwrap();
    assert_eq!((verified.issued, &verified.seal), (NOW, signer.identity()));
    assert_eq!(verified.claims["purpose"], "F02");
    assert_eq!(verify_record(&token, 100, &trust).unwrap_err(), Fault::TooLarge);

    let late = serde_json::json!({"iat": NOW.plus(Duration::from_secs(400 * 86_400)).seconds()});
    let token = record_jws(&late.to_string(), &signer).unwrap();
    assert!(matches!(verify_record(&token, 64 * 1024, &trust), Err(Fault::Certificate(_))));
}
