use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire::token::TokenType;
use crate::wire::{
    AUTHORIZATION, Algorithm, JoseHeaders, Jtis, KeyReference, LevelOfAssurance, RequestClaims, SIGNATURE,
    SealFault, SignFault, Signer, sign_request,
};

const NOW: Timestamp = Timestamp::from_millis(1_772_442_000_000);
const US: &str = "gateway.example";

/// A toy: the signature is a hash anybody can make. What is tested here is everything else.
struct Toy {
    headers: JoseHeaders,
    identity: Identity,
}

impl Toy {
    fn new() -> Self {
        let chain = [b"certificate".to_vec()];
        Self { headers: JoseHeaders::of_chain(Algorithm::Es256, &chain), identity: identity(&chain) }
    }
}

fn identity(chain: &[Vec<u8>]) -> Identity {
    let hash = Sha256::of(&chain.concat());
    Identity { certificate: hash, key: hash, organization: None }
}

impl Signer for Toy {
    fn headers(&self) -> &JoseHeaders {
        &self.headers
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, SignFault> {
        Ok(Sha256::of(signed).as_bytes().to_vec())
    }
}

impl Verifier for Toy {
    fn seal(&self, reference: &KeyReference, _now: Timestamp) -> Result<Arc<dyn Seal>, SealFault> {
        match reference {
            KeyReference::Chain(chain) if identity(chain) == self.identity => {
                Ok(Arc::new(ToySeal(self.identity.clone())))
            }
            KeyReference::Chain(_) => Err(SealFault::UnknownIssuer),
            KeyReference::Thumbprint(_) => Err(SealFault::Unknown),
        }
    }
}

struct ToySeal(Identity);

impl Seal for ToySeal {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        algorithm == Algorithm::Es256
    }

    fn verify(&self, _algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        signature == Sha256::of(signed).as_bytes()
    }
}

fn request(at: Timestamp) -> Message {
    let claims = RequestClaims {
        issuer: "comune".to_owned(),
        audience: US.to_owned(),
        content_type: Some("application/json".to_owned()),
        evidence: Evidence {
            operator: "op-1".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::High,
        },
    };
    let jtis = Jtis::new(at, [[1; 10], [2; 10], [3; 10]]);
    Message { headers: sign_request(b"{}", &claims, &Toy::new(), at, &jtis).unwrap(), body: b"{}".to_vec() }
}

fn verify_with(message: &Message, now: Timestamp, rules: Rules) -> Result<VerifiedMessage, WireError> {
    let audiences = [US.to_owned()];
    verify_request(message, &Expectation { audiences: &audiences, now, rules }, &Toy::new())
}

fn verify(message: &Message, now: Timestamp) -> Result<VerifiedMessage, WireError> {
    verify_with(message, now, Rules::default())
}

fn fault(message: &Message, now: Timestamp) -> Option<Fault> {
    verify(message, now).err().map(|error| error.fault)
}

/// A token of these claims, signed as the toy does.
fn token(claims: &serde_json::Value) -> String {
    crate::wire::sign::compact(TokenType::Message, claims, &Toy::new()).unwrap()
}

fn claims_of(message: &Message, name: &str) -> serde_json::Value {
    let value = message.values(name).next().unwrap().trim_start_matches("Bearer ");
    let payload = URL_SAFE_NO_PAD.decode(value.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn replace(message: &mut Message, name: &str, value: String) {
    message.headers.iter_mut().find(|(n, _)| n == name).unwrap().1 = value;
}

#[test]
fn the_clock_rules_hold_to_the_second() {
    let message = request(NOW);
    let after = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(fault(&message, NOW), None);
    assert_eq!(fault(&message, NOW.minus(Duration::from_secs(5))), None);
    assert_eq!(fault(&message, NOW.minus(Duration::from_millis(5001))), Some(Fault::IssuedInFuture));
    assert_eq!(fault(&message, NOW.plus(Duration::from_millis(119_999))), None);
    assert_eq!(fault(&message, after(120)), Some(Fault::Expired));

    let mut long = message;
    let mut claims = claims_of(&long, AUTHORIZATION);
    claims["exp"] = json!(i64::MAX);
    replace(&mut long, AUTHORIZATION, format!("Bearer {}", token(&claims)));
    let mut integrity = claims_of(&long, SIGNATURE);
    integrity["exp"] = json!(NOW.seconds() + 86_400);
    replace(&mut long, SIGNATURE, token(&integrity));
    let verified = verify(&long, NOW).unwrap();
    assert_eq!(verified.expires, after(300), "a replay is remembered only while it could pass");
}

#[test]
fn a_message_without_body_follows_the_rule_chosen() {
    let mut message = request(NOW);
    message.body.clear();
    message.headers.retain(|(name, _)| name != SIGNATURE && name != DIGEST && name != "content-type");
    let with = |empty_body| verify_with(&message, NOW, Rules { empty_body, ..Rules::default() });
    let verified = with(EmptyBody::Either).unwrap();
    assert_eq!(verified.digest, Sha256::of(b""));
    assert_eq!(verified.replay.1, Jtis::new(NOW, [[1; 10], [2; 10], [3; 10]]).authorization);
    assert_eq!(verified.bearer, None);
    assert!(with(EmptyBody::Omit).is_ok());
    let missing = with(EmptyBody::Require).unwrap_err();
    assert_eq!((missing.part, missing.step), (Part::Signature, Step::Header));
}

#[test]
fn an_error_names_the_header_and_holds_nothing_of_the_token() {
    let mut message = request(NOW);
    replace(&mut message, AUTHORIZATION, "Bearer secret.secret.secret".to_owned());
    let error = verify(&message, NOW).unwrap_err();
    assert!(error.to_string().starts_with("authorization: "));
    assert!(!format!("{error} {error:?} {message:?}").contains("secret"));
}

#[test]
fn the_steps_of_a_diagnosis_are_each_told_once_and_in_order() {
    let audiences = [US.to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
    let diagnosis = diagnose_request(&request(NOW), &expectation, &Toy::new());
    assert!(diagnosis.verdict.is_ok());
    let steps: Vec<_> = diagnosis.steps.iter().map(|checked| (checked.part, checked.step)).collect();
    assert!(steps.is_sorted(), "{steps:?}");
    assert!(steps.windows(2).all(|pair| pair[0] != pair[1]));
}

proptest! {
    #[test]
    fn no_header_makes_the_checks_panic(values in proptest::collection::vec((0..5_usize, ".{0,300}"), 0..8)) {
        let names = [AUTHORIZATION, SIGNATURE, crate::wire::EVIDENCE, DIGEST, "content-type"];
        let headers = values.into_iter().map(|(i, value)| (names[i].to_owned(), value)).collect();
        let message = Message { headers, body: Vec::new() };
        prop_assert!(verify(&message, NOW).is_err());
    }

    #[test]
    fn no_header_or_claims_make_the_checks_panic(header in ".{0,80}", claims in ".{0,80}") {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(Sha256::of(signed.as_bytes()).as_bytes());
        let mut message = request(NOW);
        replace(&mut message, AUTHORIZATION, format!("Bearer {signed}.{signature}"));
        prop_assert!(verify(&message, NOW).is_err());
    }

    #[test]
    fn any_changed_character_of_any_header_is_noticed(which in 0..5_usize, at in any::<prop::sample::Index>(), to in "[!-~]") {
        let good = request(NOW);
        let mut message = good.clone();
        let value = &mut message.headers[which].1;
        let at = at.index(value.len());
        value.replace_range(at..=at, &to);
        let (name, before) = &good.headers[which];
        // Case does not matter in `Bearer`, in `SHA-256` or in a media type.
        let caseless = name == AUTHORIZATION && at < 6 || name == DIGEST && at < 7 || name == "content-type";
        let same = value == before || caseless && value.eq_ignore_ascii_case(before);
        prop_assert_eq!(verify(&message, NOW).is_ok(), same);
    }

    #[test]
    fn stopping_at_the_first_failure_and_going_on_give_one_verdict(
        which in 0..5_usize, at in any::<prop::sample::Index>(), to in "[!-~]", drop in any::<bool>()
    ) {
        let mut message = request(NOW);
        if drop {
            message.headers.remove(which);
        } else {
            let value = &mut message.headers[which].1;
            let at = at.index(value.len());
            value.replace_range(at..=at, &to);
        }
        let audiences = [US.to_owned()];
        let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
        let diagnosed = diagnose_request(&message, &expectation, &Toy::new()).verdict.err();
        prop_assert_eq!(verify(&message, NOW).err(), diagnosed);
    }
}
