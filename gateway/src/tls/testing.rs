//! A small PKI and a client for the tests of the edge: real certificates, real handshakes, a clock that can be set.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use varco_core::time::Timestamp;

use super::{Channel, Clients, Clock, Material, TrustFiles, Versions};

/// The instant at which the tests' clock starts: 2026-03-02T12:00:00Z.
pub const START: Timestamp = Timestamp::from_seconds(1_772_452_800);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// A folder that is removed at the end of the test.
pub struct Folder(pub PathBuf);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("varco-edge-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A certification authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate is to be like.
pub struct Leaf<'a> {
    pub organization: Option<&'a str>,
    pub serial: u64,
    pub until: Timestamp,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Held {
    pub certificate: String,
    pub key: String,
}

impl Leaf<'_> {
    pub fn client(serial: u64) -> Self {
        let purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self { organization: Some("PA:IT-c_b648"), serial, until: START.plus(90 * DAY), purposes }
    }
}

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.seconds()).unwrap()
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::until(name, START.plus(3650 * DAY))
    }

    pub fn until(name: &str, until: Timestamp) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date(until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Held {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "not used");
        if let Some(organization) = leaf.organization {
            params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 97]), organization);
        }
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_after = date(leaf.until);
        params.extended_key_usages = leaf.purposes.clone();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Held { certificate, key: key.serialize_pem() }
    }

    /// A list of the revoked serials, made at `at` and good for a day.
    pub fn crl(&self, number: u64, at: Timestamp, revoked: &[u64]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date(at),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date(at),
            next_update: date(at.plus(DAY)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A folder with a server certificate, one authority of clients and its revocation list.
pub struct Pki {
    pub folder: Folder,
    pub authority: Authority,
    now: Arc<AtomicI64>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    pub fn new() -> Self {
        Self::with_authority_until(START.plus(3650 * DAY))
    }

    pub fn with_authority_until(until: Timestamp) -> Self {
        let pki = Self {
            folder: Folder::new(),
            authority: Authority::until("Canali di prova", until),
            now: Arc::new(AtomicI64::new(START.millis())),
        };
        pki.folder.write("ca.pem", pki.authority.pem());
        std::fs::create_dir(pki.folder.0.join("crls")).unwrap();
        pki.folder.write("crls/channel.crl", pki.authority.crl(1, START.minus(HOUR), &[]));
        pki.write_server(1);
        pki
    }

    /// Makes and puts in place a new server certificate; its DER.
    pub fn write_server(&self, serial: u64) -> CertificateDer<'static> {
        let leaf = Leaf { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::client(serial) };
        let held = self.authority.issue(&leaf);
        self.folder.write("server.pem", &held.certificate);
        self.folder.write("server.key", &held.key);
        CertificateDer::from_pem_slice(held.certificate.as_bytes()).unwrap()
    }

    pub fn material(&self) -> Material {
        let clients = Clients::Certified(self.trust());
        Material {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            clients,
            versions: Versions::Tls13,
        }
    }

    pub fn trust(&self) -> TrustFiles {
        TrustFiles { authorities: vec![self.path("ca.pem")], revocations: vec![self.path("crls")] }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::join(&self.folder.0, name)
    }

    pub fn clock(&self) -> Clock {
        let now = self.now.clone();
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)))
    }

    pub fn set_now(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::Relaxed);
    }

    pub fn channel(&self) -> Arc<Channel> {
        Channel::load(self.material(), self.clock()).unwrap()
    }

    pub fn client(&self, held: Option<&Held>) -> ClientConfig {
        self.client_with(held, &[&TLS13])
    }

    pub fn old_client(&self, held: Option<&Held>) -> ClientConfig {
        self.client_with(held, &[&TLS12])
    }

    fn client_with(
        &self,
        held: Option<&Held>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_details(
            super::load::provider().clone(),
            Arc::new(super::load::ShellTime(self.clock())),
        )
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
        match held {
            None => builder.with_no_client_auth(),
            Some(held) => {
                let chain =
                    CertificateDer::pem_slice_iter(held.certificate.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(held.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

/// A delta list, which rcgen does not make: a complete list whose cRLNumber (2.5.29.20) was renamed to
/// deltaCRLIndicator (2.5.29.27), which has the same form. Its signature is no longer right; it must not matter.
pub fn delta(authority: &Authority, at: Timestamp) -> Vec<u8> {
    let pem = authority.crl(1, at, &[]);
    let mut der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let number = [0x06, 0x03, 0x55, 0x1d, 20];
    let place = der.windows(number.len()).position(|window| window == number).unwrap();
    der[place + 4] = 27;
    der
}
