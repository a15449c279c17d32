//! An agency's software with an operator in front of it: signs what it sends, believes only what the gateway signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use varco::app::{Clock, Entropy};
use varco::demo::ceremony::AUDIENCE;
use varco::http::exchange::BASE;
use varco::pki::Issued;
use varco::pki::dev::{GATEWAY_ORGANIZATION, Kit};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_core::time::Timestamp;
use varco_core::wire::{
    Algorithm, Evidence, Expectation, Jtis, LevelOfAssurance, Message, RequestClaims, Rules, sign_request,
    verify_response,
};
use varco_jose::{Ed25519NoteVerifier, SealSigner, SealTrust};

use super::client::{Answer, Client};
use super::{Ends, seeded};

pub struct Desk {
    pub client: Client,
    pub signer: SealSigner,
    pub claims: RequestClaims,
    pub clock: Clock,
    entropy: Entropy,
    seals: SealTrust,
    log: Arc<LogVerifier>,
}

/// An answer whose signature, digest and binding to the request were checked, if it has them.
pub struct Told {
    log: Arc<LogVerifier>,
    pub status: u16,
    pub signed: bool,
    pub body: Map<String, Value>,
}

impl Desk {
    pub fn new(ends: &Ends, agency: &str, operator: &str) -> Self {
        // No two desks may make the same token.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let party = &ends.kit.agency(&agency.parse().unwrap()).unwrap().party;
        Self {
            client: Client::new(ends, Some(&party.channel)),
            signer: signer(&party.seal),
            claims: RequestClaims {
                issuer: agency.to_owned(),
                audience: AUDIENCE.to_owned(),
                content_type: Some("application/json".to_owned()),
                evidence: Evidence {
                    operator: operator.parse().unwrap(),
                    location: "sportello-unico".to_owned(),
                    loa: LevelOfAssurance::Substantial,
                },
            },
            clock: ends.clock.clone(),
            entropy: seeded(1000 + COUNT.fetch_add(1, Ordering::SeqCst)),
            seals: seal_trust(ends.kit, (ends.clock)()),
            log: Arc::new(log_verifier(ends.kit)),
        }
    }

    /// A message with fresh tokens over its body.
    pub fn signed(&self, body: &[u8]) -> Message {
        let now = (self.clock)();
        let mut random = [[0; 10]; 3];
        random.iter_mut().for_each(|bytes| (self.entropy)(bytes));
        let mut claims = self.claims.clone();
        claims.content_type = claims.content_type.filter(|_| !body.is_empty());
        let headers = sign_request(body, &claims, &self.signer, now, &Jtis::new(now, random)).unwrap();
        Message { headers, body: body.to_vec() }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Told {
        self.send("POST", path, self.signed(json::canonical(body).as_bytes())).await
    }

    pub async fn get(&self, path: &str) -> Told {
        self.send("GET", path, self.signed(b"")).await
    }

    /// Sends a message as it is, below the base of the API.
    pub async fn send(&self, method: &str, path: &str, message: Message) -> Told {
        let digest = Sha256::of(&message.body);
        let answer = self.client.send(method, &format!("{BASE}{path}"), message).await.unwrap();
        self.check(&answer, &digest)
    }

    /// Checks whatever the answer claims about itself.
    pub fn check(&self, answer: &Answer, request: &Sha256) -> Told {
        let signed = answer.header("agid-jwt-signature").is_some();
        if signed {
            let audiences = [self.claims.issuer.clone()];
            let now = (self.clock)();
            let expectation = Expectation { audiences: &audiences, now, rules: Rules::default() };
            let verified = verify_response(&answer.message, &expectation, request, &self.seals).unwrap();
            assert_eq!(verified.seal.organization.unwrap().as_str(), GATEWAY_ORGANIZATION);
        }
        let Value::Object(body) = answer.json() else { panic!("not an object: {}", answer.status) };
        Told { log: Arc::clone(&self.log), status: answer.status, signed, body }
    }
}

impl Told {
    pub fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn code(&self) -> &str {
        self.text("code")
    }

    /// An answer names its exchange; a problem has it as its instance.
    pub fn exchange(&self) -> &str {
        let instance = self.text("instance").trim_start_matches("urn:uuid:");
        if instance.is_empty() { self.text("exchange") } else { instance }
    }

    /// The receipt, checked with the log's key: it must be of this very exchange.
    pub fn receipt(&self) -> Receipt {
        let receipt = Receipt::parse(self.text("receipt").as_bytes()).unwrap();
        self.log.check(&receipt).unwrap();
        receipt
    }

    pub fn record(&self) -> Option<&Map<String, Value>> {
        self.body.get("record").and_then(Value::as_object)
    }

    /// What became of a field.
    pub fn outcome(&self, field: &str) -> &str {
        let fields = self.body["fields"].as_array().unwrap();
        let found = fields.iter().find(|said| said["name"] == field);
        found.and_then(|said| said["outcome"].as_str()).unwrap_or("not mentioned")
    }

    /// A refusal says its code and discloses nothing.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{:?}", self.body.get("detail"));
        assert!(self.record().is_none());
        assert!(!self.body.contains_key("record_jws"));
    }
}

pub fn signer(issued: &Issued) -> SealSigner {
    SealSigner::from_pem(issued.key_pem().as_bytes(), issued.certificate_pem().as_bytes()).unwrap()
}

pub fn seal_trust(kit: &Kit, now: Timestamp) -> SealTrust {
    let crl = varco::pki::crl_pem(&kit.seal_authority.crl(&[], 1, now).unwrap());
    let root = kit.seal_authority.certificate_pem();
    SealTrust::from_pem(root.as_bytes(), crl.as_bytes(), &Algorithm::DEFAULT).unwrap()
}

pub fn log_verifier(kit: &Kit) -> LogVerifier {
    let key = kit.log_verifier();
    let verifier = Ed25519NoteVerifier::from_text(&key).unwrap();
    LogVerifier::new(key.split('+').next().unwrap().to_owned(), vec![Arc::new(verifier)])
}
