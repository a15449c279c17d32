//! josekit's own OpenSSL engine is the oracle: it must accept what we sign, and we what it signs.

use josekit::jwk::KeyPair as _;
use josekit::jwk::alg::ed::{EdCurve, EdKeyPair};
use josekit::jws::{JwsHeader, deserialize_compact, serialize_compact};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _};

use super::*;
use crate::key::PublicKey;
use crate::seal::private;

/// A key with all four parties: our signer and verifier, theirs.
struct Pair {
    algorithm: Algorithm,
    ours: Sign,
    public: PublicKey,
    their_signer: Box<dyn JwsSigner>,
    their_verifier: Box<dyn JwsVerifier>,
}

fn pairs() -> Vec<Pair> {
    let make = |(secret, public): (Vec<u8>, Vec<u8>), algorithm| {
        let ours = match (private(&secret).unwrap(), algorithm) {
            (Sign::Rsa(key, _), Algorithm::Ps256) => Sign::Rsa(key, RsaPadding::Pss),
            (key, _) => key,
        };
        let (their_signer, their_verifier) = theirs(algorithm, &secret, &public);
        Pair { algorithm, ours, public: PublicKey::from_spki(&public).unwrap(), their_signer, their_verifier }
    };
    let key = |kind| {
        let key = KeyPair::generate_for(kind).unwrap();
        (key.serialize_der(), key.subject_public_key_info())
    };
    // rcgen writes PKCS#8 version 2, which josekit does not read.
    let ed25519 = EdKeyPair::generate(EdCurve::Ed25519).unwrap();
    let ed25519 = (ed25519.to_der_private_key(), ed25519.to_der_public_key());
    vec![
        make(key(&PKCS_ECDSA_P256_SHA256), Algorithm::Es256),
        make(ed25519, Algorithm::EdDsa),
        make(key(&PKCS_RSA_SHA256), Algorithm::Rs256),
        make(key(&PKCS_RSA_SHA256), Algorithm::Ps256),
    ]
}

fn theirs(algorithm: Algorithm, secret: &[u8], public: &[u8]) -> (Box<dyn JwsSigner>, Box<dyn JwsVerifier>) {
    match algorithm {
        Algorithm::EdDsa => (
            Box::new(EdDSA.signer_from_der(secret).unwrap()),
            Box::new(EdDSA.verifier_from_der(public).unwrap()),
        ),
        Algorithm::Es256 => (
            Box::new(ES256.signer_from_der(secret).unwrap()),
            Box::new(ES256.verifier_from_der(public).unwrap()),
        ),
        Algorithm::Ps256 => (
            Box::new(PS256.signer_from_der(secret).unwrap()),
            Box::new(PS256.verifier_from_der(public).unwrap()),
        ),
        Algorithm::Rs256 => (
            Box::new(RS256.signer_from_der(secret).unwrap()),
            Box::new(RS256.verifier_from_der(public).unwrap()),
        ),
    }
}

#[test]
fn both_engines_accept_each_others_signatures() {
    for pair in pairs() {
        let name = pair.algorithm.text();
        let ours = serialize_compact(b"payload", &JwsHeader::new(), &pair.ours).unwrap();
        let (payload, header) = deserialize_compact(&ours, &*pair.their_verifier).unwrap();
        assert_eq!((payload.as_slice(), header.algorithm()), (b"payload".as_slice(), Some(name)));
        let theirs = pair.their_signer.sign(b"message").unwrap();
        assert!(pair.public.verify(pair.algorithm, b"message", &theirs), "{name}");
        assert_eq!(pair.ours.sign(b"message").unwrap().len(), pair.ours.signature_len(), "{name}");
    }
}

#[test]
fn both_engines_refuse_the_same_changes() {
    for pair in pairs() {
        let good = pair.ours.sign(b"message").unwrap();
        let mut changed = vec![Vec::new(), vec![0; good.len()], [good.as_slice(), &[0]].concat()];
        changed.extend((0..good.len()).step_by(7).map(|i| {
            let mut bent = good.clone();
            bent[i] ^= 0x10;
            bent
        }));
        for signature in changed {
            assert!(!pair.public.verify(pair.algorithm, b"message", &signature));
            assert!(pair.their_verifier.verify(b"message", &signature).is_err());
        }
    }
}

#[test]
fn a_key_is_of_no_use_to_another_kinds_algorithm() {
    for pair in pairs() {
        let signature = pair.ours.sign(b"message").unwrap();
        for other in Algorithm::ALL.into_iter().filter(|other| *other != pair.algorithm) {
            assert!(!pair.public.verify(other, b"message", &signature), "{}", other.text());
        }
    }
}
