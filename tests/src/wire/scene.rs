//! A good message, taken apart so that a case can spoil one thing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use serde_json::{Value, json};
use varco::cli::wire::capture::{Capture, Kind, Trust};
use varco::pki::{Authority, Holder, Issued, LIFETIME, Purpose};
use varco_core::hash::Sha256;
use varco_core::time::Timestamp;
use varco_core::wire::{Algorithm, Signer as _, digest_header};
use varco_jose::SealSigner;

/// 2026-03-02T09:00:00Z
pub const NOW: Timestamp = Timestamp::from_millis(1_772_442_000_000);
pub const GATEWAY: &str = "https://gateway.piana.example/rest/varco/v1";
pub const CONSUMER: &str = "cpi-prova";
/// What the answer in these vectors answers.
pub const ASKED: &[u8] = b"{\"question\":true}";

const DAY: Duration = Duration::from_hours(24);

/// Every key and certificate the cases need, made once.
pub struct Kit {
    pub seals: Authority,
    pub consumer: Seal,
    pub other: Seal,
    pub rsa: Seal,
    pub pss: Seal,
    pub ed25519: Seal,
    pub stranger: Seal,
    pub expired: Seal,
    pub future: Seal,
    pub revoked: Seal,
    pub tls_only: Seal,
    pub crl: Vec<u8>,
    pub old_crl: Vec<u8>,
    pub stranger_crl: Vec<u8>,
}

pub struct Seal {
    pub signer: SealSigner,
    pub der: Vec<u8>,
    pub key_pem: String,
    pub chain_pem: String,
}

impl Seal {
    fn new(issued: &Issued) -> Self {
        let der = issued.certificate().to_vec();
        let signer = SealSigner::from_der(issued.key().secret_der(), std::slice::from_ref(&der)).unwrap();
        Self { signer, der, key_pem: issued.key_pem().to_string(), chain_pem: issued.certificate_pem() }
    }
}

fn holder(code: &str, purpose: Purpose) -> Holder {
    let organization = Some(format!("PA:IT-{code}").parse().unwrap());
    Holder { name: "Ente di prova".to_owned(), organization, purpose }
}

impl Kit {
    pub fn new() -> Self {
        let made = NOW.minus(30 * DAY);
        let seals = Authority::new("Sigilli di prova", made).unwrap();
        let strangers = Authority::new("Sigilli di altri", made).unwrap();
        let consumer = holder("x_prova", Purpose::Seal);
        let seal = |authority: &Authority| Seal::new(&authority.issue(&consumer, made).unwrap());
        let between = |from: Timestamp| Seal::new(&seals.issue_between(&consumer, (from, 10 * DAY)).unwrap());
        let with_key = |algorithm| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            seals.issue_for(&consumer, (made, LIFETIME), key).unwrap()
        };
        let rsa = with_key(&rcgen::PKCS_RSA_SHA256);
        let pss = Seal {
            signer: SealSigner::pss_from_der(rsa.key().secret_der(), &[rsa.certificate().to_vec()]).unwrap(),
            ..Seal::new(&rsa)
        };
        let revoked = seals.issue(&consumer, made).unwrap();
        let other = seals.issue(&holder("x_altra", Purpose::Seal), made).unwrap();
        let tls_only = seals.issue(&holder("x_prova", Purpose::Client), made).unwrap();
        Self {
            consumer: seal(&seals),
            other: Seal::new(&other),
            rsa: Seal::new(&rsa),
            pss,
            ed25519: Seal::new(&with_key(&rcgen::PKCS_ED25519)),
            stranger: seal(&strangers),
            expired: between(NOW.minus(20 * DAY)),
            future: between(NOW.plus(DAY)),
            tls_only: Seal::new(&tls_only),
            crl: seals.crl(&[revoked.serial()], 2, NOW.minus(DAY)).unwrap().to_vec(),
            old_crl: seals.crl(&[], 1, NOW.minus(200 * DAY)).unwrap().to_vec(),
            stranger_crl: strangers.crl(&[], 1, NOW.minus(DAY)).unwrap().to_vec(),
            revoked: Seal::new(&revoked),
            seals,
        }
    }

    /// A good request, changed by `change`, as a capture.
    pub fn capture(&self, change: fn(&mut Scene)) -> Capture {
        let mut scene = Scene::new(self);
        change(&mut scene);
        scene.finish()
    }
}

/// One message in the making.
pub struct Scene<'a> {
    pub kit: &'a Kit,
    pub kind: Kind,
    pub bearer: Draft<'a>,
    pub integrity: Draft<'a>,
    pub evidence: Draft<'a>,
    pub body: Vec<u8>,
    pub digest: Option<String>,
    pub content_type: Option<&'static str>,
    pub more: Vec<(String, String)>,
    pub crls: Vec<Vec<u8>>,
    pub algorithms: Vec<Algorithm>,
}

/// One token in the making.
pub struct Draft<'a> {
    pub seal: &'a Seal,
    pub header: Value,
    pub claims: Value,
    /// Texts to use instead of the two values above.
    pub raw_header: Option<&'static str>,
    pub raw_claims: Option<&'static str>,
    /// What to do to the finished token.
    pub spoil: fn(String) -> String,
    /// How often the HTTP header is sent.
    pub times: usize,
}

impl<'a> Draft<'a> {
    fn new(seal: &'a Seal, jti: &str) -> Self {
        let claims = json!({
            "aud": GATEWAY, "exp": NOW.seconds() + 120, "iat": NOW.seconds(), "iss": CONSUMER, "jti": jti,
            "nbf": NOW.seconds(),
        });
        let (raw_header, raw_claims) = (None, None);
        let mut draft = Self {
            seal,
            header: Value::Null,
            claims,
            raw_header,
            raw_claims,
            spoil: |token| token,
            times: 1,
        };
        draft.sign_with(seal);
        draft
    }

    /// Another key, with the header that goes with it.
    pub fn sign_with(&mut self, seal: &'a Seal) {
        self.seal = seal;
        self.header = json!({
            "alg": seal.signer.algorithm().text(), "typ": "JWT", "x5c": [STANDARD.encode(&seal.der)],
        });
    }

    pub fn without(&mut self, claim: &str) {
        self.claims.as_object_mut().unwrap().remove(claim);
    }

    pub fn header_without(&mut self, member: &str) {
        self.header.as_object_mut().unwrap().remove(member);
    }

    fn token(&self) -> String {
        let text = |raw: Option<&str>, value: &Value| raw.map_or_else(|| value.to_string(), str::to_owned);
        let header = URL_SAFE_NO_PAD.encode(text(self.raw_header, &self.header));
        let claims = URL_SAFE_NO_PAD.encode(text(self.raw_claims, &self.claims));
        let signed = format!("{header}.{claims}");
        let signature = self.seal.signer.sign(signed.as_bytes()).unwrap();
        (self.spoil)(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl<'a> Scene<'a> {
    fn new(kit: &'a Kit) -> Self {
        let body = br#"{"record_type":"anagrafica_nucleo","purpose":"F02"}"#.to_vec();
        let digest = digest_header(&Sha256::of(&body));
        let mut integrity = Draft::new(&kit.consumer, "00000000-0000-4000-8000-000000000002");
        integrity.claims["signed_headers"] =
            json!([{"digest": digest}, {"content-type": "application/json"}]);
        let mut evidence = Draft::new(&kit.consumer, "00000000-0000-4000-8000-000000000003");
        for (name, value) in [("userID", "op-0042"), ("userLocation", "collocamento"), ("LoA", "substantial")]
        {
            evidence.claims[name] = json!(value);
        }
        Self {
            kit,
            kind: Kind::Request,
            bearer: Draft::new(&kit.consumer, "00000000-0000-4000-8000-000000000001"),
            integrity,
            evidence,
            body,
            digest: Some(digest),
            content_type: Some("application/json"),
            more: Vec::new(),
            crls: vec![kit.crl.clone()],
            algorithms: Algorithm::DEFAULT.to_vec(),
        }
    }

    /// All tokens signed by another key.
    pub fn all_sign_with(&mut self, choose: fn(&Kit) -> &Seal) {
        for draft in [&mut self.bearer, &mut self.integrity, &mut self.evidence] {
            draft.sign_with(choose(self.kit));
        }
    }

    /// Makes it an answer to [`ASKED`].
    pub fn answer(&mut self) {
        self.kind = Kind::Response;
        (self.bearer.times, self.evidence.times) = (0, 0);
        self.integrity.claims["request_digest"] = json!(digest_header(&Sha256::of(ASKED)));
    }

    /// No body, no Digest, and nothing about them in the token.
    pub fn no_body(&mut self) {
        self.body.clear();
        (self.digest, self.content_type) = (None, None);
        self.integrity.claims["signed_headers"] = json!([]);
    }

    fn finish(self) -> Capture {
        let mut headers = Vec::new();
        let tokens = [
            ("Authorization", "Bearer ", &self.bearer),
            ("Agid-JWT-Signature", "", &self.integrity),
            ("Agid-JWT-TrackingEvidence", "", &self.evidence),
        ];
        for (name, scheme, draft) in tokens {
            let value = format!("{scheme}{}", draft.token());
            headers.extend(std::iter::repeat_n((name.to_owned(), value), draft.times));
        }
        headers.extend(self.digest.map(|digest| ("Digest".to_owned(), digest)));
        headers.extend(self.content_type.map(|value| ("Content-Type".to_owned(), value.to_owned())));
        headers.extend(self.more);
        let base64 = |ders: &[Vec<u8>]| ders.iter().map(|der| STANDARD.encode(der)).collect();
        let trust = Trust {
            roots: base64(&[self.kit.seals.certificate().to_vec()]),
            crls: base64(&self.crls),
            algorithms: self.algorithms,
        };
        let request_digest = (self.kind == Kind::Response).then(|| digest_header(&Sha256::of(ASKED)));
        Capture {
            about: None,
            kind: self.kind,
            at: NOW,
            audience: vec![GATEWAY.to_owned()],
            trust,
            headers,
            body: (!self.body.is_empty()).then(|| String::from_utf8(self.body).unwrap()),
            body_base64: None,
            request_digest,
            verdict: None,
        }
    }
}
