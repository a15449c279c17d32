//! What the wire costs on one core: `cargo run --release -p varco-jose --example speed`.
//!
//! One signature and one verification alone, then a whole request of three tokens with a body of 4 KB, all ES256.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use varco_core::time::Timestamp;
use varco_core::wire::{
    Algorithm, Evidence, Expectation, Jtis, KeyReference, LevelOfAssurance, Message, RequestClaims, Rules,
    Signer as _, Verifier as _, sign_request, verify_request,
};
use varco_jose::{SealSigner, SealTrust};

const NOW: Timestamp = Timestamp::from_millis(1_772_442_000_000);
const BODY: [u8; 4096] = [b' '; 4096];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let (signer, leaf, trust) = seal()?;
    let claims = RequestClaims {
        issuer: "comune-prova".to_owned(),
        audience: "gateway.example".to_owned(),
        content_type: Some("application/json".to_owned()),
        evidence: Evidence {
            operator: "op-42".parse()?,
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        },
    };
    let jtis = Jtis::new(NOW, [[1; 10], [2; 10], [3; 10]]);
    let message =
        Message { headers: sign_request(&BODY, &claims, &signer, NOW, &jtis)?, body: BODY.to_vec() };
    let audiences = ["gateway.example".to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };

    let signed = message.headers.first().map(|(_, value)| value.as_bytes()).unwrap_or_default();
    let signature = signer.sign(signed)?;
    let reference = KeyReference::Chain(vec![leaf]);
    let seal = trust.seal(&reference, NOW)?;
    report("one ES256 signature", || signer.sign(signed).is_ok());
    report("one ES256 verification", || seal.verify(Algorithm::Es256, signed, &signature));
    report("one checked seal from the cache", || trust.seal(&reference, NOW).is_ok());
    report("one request signed (3 tokens)", || sign_request(&BODY, &claims, &signer, NOW, &jtis).is_ok());
    report("one request verified (3 tokens)", || verify_request(&message, &expectation, &trust).is_ok());
    Ok(())
}

/// Runs for a second and prints the mean.
fn report(what: &str, work: impl Fn() -> bool) {
    let begun = Instant::now();
    let mut times = 0_u32;
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(black_box(work()), "{what}");
        times += 1;
    }
    println!("{what:<36}{:>9.1} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(times));
}

fn seal() -> Result<(SealSigner, Vec<u8>, SealTrust), Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "seals");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?.der().to_vec();
    let issuer = Issuer::new(params, key);
    let crl = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2027, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let crl = crl.signed_by(&issuer)?.der().to_vec();

    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, "Comune di prova");
    leaf.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 97]), "PA:IT-x_prova");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &issuer)?.der().to_vec();
    let signer = SealSigner::from_der(&key.serialize_der(), std::slice::from_ref(&leaf))?;
    Ok((signer, leaf, SealTrust::new(&[root], &[crl], &Algorithm::DEFAULT)?))
}
