//! A small certificate authority for tests. Keys live in memory and end with the test.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use varco_core::time::Timestamp;

/// 2026-03-02T09:00:00Z: inside the validity of everything made here.
pub const NOW: Timestamp = Timestamp::from_millis(1_772_442_000_000);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: Vec<u8>,
}

/// How a leaf differs from an ordinary seal certificate.
pub struct Leaf<'a> {
    pub organization: &'a [&'a str],
    pub serial: u64,
    pub years: (i32, i32),
    pub usages: Vec<KeyUsagePurpose>,
    pub extended: Vec<ExtendedKeyUsagePurpose>,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            organization: &["PA:IT-x_prova"],
            serial: 7,
            years: (2026, 2027),
            usages: vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment],
            extended: Vec::new(),
        }
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(name, (2025, 2035));
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// An authority under this one.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(name, (2025, 2030));
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub fn certify(&self, key: &KeyPair, leaf: &Leaf) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "sigillo di prova");
        for organization in leaf.organization {
            params
                .distinguished_name
                .push(DnType::CustomDnType(vec![2, 5, 4, 97]), (*organization).to_owned());
        }
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        params.key_usages.clone_from(&leaf.usages);
        params.extended_key_usages.clone_from(&leaf.extended);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// A revocation list with its number, the serials it revokes, and the month of 2026 in which it ends.
    pub fn crl(&self, number: u64, revoked: &[u64], ends: u8) -> Vec<u8> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 2, 1),
            reason_code: None,
            invalidity_date: None,
        });
        CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, ends, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .der()
        .to_vec()
    }
}

fn ca_params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}
