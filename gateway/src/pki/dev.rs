//! The public key infrastructure of the demonstration and of a developer's machine, in one folder.
//!
//! Names and codes of the agencies are invented (`PA:IT-xx_…` is in no index), so that nothing made here can be taken
//! for a real body's certificate. The layout is described in `certs/README.md`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls_pki_types::PrivatePkcs8KeyDer;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, IdFault, OfficerId};
use varco_core::registry::{AgencyKind, OrganizationIdentifier, Role};
use varco_core::subject::{SubjectKeys, SubjectKeysFault};
use varco_core::time::Timestamp;
use zeroize::Zeroizing;

use super::{Authority, Holder, Issued, LIFETIME, PkiError, Purpose, crl_pem};

/// The gateway's own identifier, and the name of its log key.
pub const GATEWAY: &str = "gateway.piana.example";
/// What the gateway's own certificates carry.
pub const GATEWAY_ORGANIZATION: &str = "PA:IT-xx_varco";

/// An agency of the demonstration: id, kind, name, invented code.
const AGENCIES: [(&str, AgencyKind, &str, &str); 9] = [
    ("asl-toscana-nord-ovest", AgencyKind::Asl, "Azienda USL Toscana Nord-Ovest", "PA:IT-xx_asl_nordovest"),
    ("comune-altopascio", AgencyKind::Comune, "Comune di Altopascio", "PA:IT-xx_altopascio"),
    ("comune-capannori", AgencyKind::Comune, "Comune di Capannori", "PA:IT-xx_capannori"),
    ("comune-lucca", AgencyKind::Comune, "Comune di Lucca", "PA:IT-xx_lucca"),
    ("comune-montecarlo", AgencyKind::Comune, "Comune di Montecarlo", "PA:IT-xx_montecarlo"),
    ("comune-pescaglia", AgencyKind::Comune, "Comune di Pescaglia", "PA:IT-xx_pescaglia"),
    ("comune-porcari", AgencyKind::Comune, "Comune di Porcari", "PA:IT-xx_porcari"),
    ("comune-villa-basilica", AgencyKind::Comune, "Comune di Villa Basilica", "PA:IT-xx_villabasilica"),
    ("cpi-lucca", AgencyKind::Cpi, "Centro per l'impiego di Lucca", "PA:IT-xx_cpi_lucca"),
];

/// An officer of the demonstration: id, agency, role. Two in each of three agencies, so that every change that takes
/// two officers of different agencies can be tried, and an auditor.
const OFFICERS: [(&str, &str, Role); 7] = [
    ("asl-direzione", "asl-toscana-nord-ovest", Role::Officer),
    ("asl-dpo", "asl-toscana-nord-ovest", Role::Officer),
    ("capannori-dpo", "comune-capannori", Role::Officer),
    ("capannori-segreteria", "comune-capannori", Role::Officer),
    ("cpi-direzione", "cpi-lucca", Role::Officer),
    ("cpi-dpo", "cpi-lucca", Role::Officer),
    ("piana-revisore", "comune-capannori", Role::Auditor),
];

/// What a folder of development keys holds, before it is written.
pub struct Kit {
    pub channel_authority: Authority,
    pub seal_authority: Authority,
    pub gateway: Party,
    pub agencies: Vec<Agency>,
    pub officers: Vec<Officer>,
    /// Ed25519, PKCS#8.
    pub log_key: KeyPair,
    pub subject_keys: SubjectKeys,
    made: Timestamp,
}

/// The two certificates everybody on the wire has.
pub struct Party {
    pub channel: Issued,
    pub seal: Issued,
}

pub struct Agency {
    pub id: AgencyId,
    pub kind: AgencyKind,
    pub name: &'static str,
    pub organization: OrganizationIdentifier,
    pub party: Party,
}

pub struct Officer {
    pub id: OfficerId,
    pub agency: AgencyId,
    pub role: Role,
    /// ECDSA P-256: signs policies and registry versions.
    pub key: KeyPair,
    /// A data protection officer's: ECDH P-256, opens what is sealed to them and signs nothing.
    pub reading_key: Option<KeyPair>,
    /// The same key's client certificate: an auditor reads the log with it.
    pub channel: Issued,
}

/// One file of the folder.
pub struct File {
    /// Relative to the folder.
    pub path: PathBuf,
    pub contents: Zeroizing<String>,
    pub secrecy: Secrecy,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Mode 0644.
    Public,
    /// Mode 0600.
    Secret,
}

/// Why a development PKI could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("`{0}` already exists: choose another folder, or remove it")]
    Exists(PathBuf),
    #[error(transparent)]
    Id(#[from] IdFault),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the system gives no random bytes")]
    Random,
    #[error(transparent)]
    Subject(#[from] SubjectKeysFault),
    #[error("`{0}` could not be written")]
    Write(PathBuf, #[source] std::io::Error),
}

/// How many times [`Kit::make`] reports progress.
pub const STEPS: usize = 2 + 1 + AGENCIES.len() + OFFICERS.len();

impl Kit {
    /// Makes every key and certificate. `progress` is called [`STEPS`] times, with what is being made.
    pub fn make(now: Timestamp, mut progress: impl FnMut(&str)) -> Result<Self, DevError> {
        progress("ca/channel");
        let channel_authority = Authority::new("Varco development CA for channels", now)?;
        progress("ca/seal");
        let seal_authority = Authority::new("Varco development CA for seals", now)?;
        let authorities = (&channel_authority, &seal_authority);
        progress("gateway");
        let gateway = Party::make(authorities, ("gateway", GATEWAY, GATEWAY_ORGANIZATION), now)?;
        let mut agencies = Vec::with_capacity(AGENCIES.len());
        for (id, kind, name, organization) in AGENCIES {
            progress(id);
            let party = Party::make(authorities, (id, name, organization), now)?;
            let organization = organization.parse()?;
            agencies.push(Agency { id: id.parse()?, kind, name, organization, party });
        }
        let mut officers = Vec::with_capacity(OFFICERS.len());
        for officer in OFFICERS {
            progress(officer.0);
            officers.push(Officer::make(&channel_authority, officer, now)?);
        }
        let log_key = ed25519(&*random()?)?;
        let subject_keys = SubjectKeys::new(vec![(1, random()?)])?;
        Ok(Self {
            channel_authority,
            seal_authority,
            gateway,
            agencies,
            officers,
            log_key,
            subject_keys,
            made: now,
        })
    }

    pub fn agency(&self, id: &AgencyId) -> Option<&Agency> {
        self.agencies.iter().find(|agency| agency.id == *id)
    }

    /// The log key as a C2SP signed-note verifier key: `<name>+<hash>+<base64>`.
    pub fn log_verifier(&self) -> String {
        verifier_key(GATEWAY, self.log_key.public_key_raw())
    }

    /// All files, in the order of their folders.
    pub fn files(&self) -> Result<Vec<File>, DevError> {
        let mut files = Vec::new();
        for (name, authority) in [("channel", &self.channel_authority), ("seal", &self.seal_authority)] {
            let crl = authority.crl(&[], 1, self.made)?;
            files.push(File::public(format!("ca/{name}.pem"), authority.certificate_pem()));
            files.push(File::public(format!("ca/{name}.crl.pem"), crl_pem(&crl)));
            files.push(File::secret(format!("ca/{name}.key.pem"), authority.key_pem()));
        }
        files.extend(self.gateway.files("gateway", ""));
        files.push(File::secret("gateway/log.key.pem".to_owned(), self.log_key.serialize_pem().into()));
        files.push(File::public("gateway/log.pub".to_owned(), format!("{}\n", self.log_verifier())));
        files.push(File::secret("gateway/subject.keys".to_owned(), self.subject_keys.to_text()));
        for agency in &self.agencies {
            files.extend(agency.party.files(&format!("agencies/{}", agency.id), ""));
        }
        for officer in &self.officers {
            let folder = format!("officers/{}", officer.id);
            files.push(File::secret(format!("{folder}/key.pem"), officer.key.serialize_pem().into()));
            files.push(File::public(format!("{folder}/public.pem"), officer.key.public_key_pem()));
            files.push(File::public(format!("{folder}/channel.pem"), officer.channel.certificate_pem()));
            if let Some(key) = &officer.reading_key {
                files.push(File::secret(format!("{folder}/reading.key.pem"), key.serialize_pem().into()));
                files.push(File::public(format!("{folder}/reading.pem"), key.public_key_pem()));
            }
        }
        Ok(files)
    }

    /// Writes all files into a folder that does not exist yet or is empty.
    pub fn write(&self, folder: &Path) -> Result<(), DevError> {
        if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(DevError::Exists(folder.to_owned()));
        }
        for file in self.files()? {
            write_file(&folder.join(&file.path), &file)?;
        }
        Ok(())
    }
}

/// Writes a new file, and the folders it lies in.
pub(super) fn write_file(path: &Path, file: &File) -> Result<(), DevError> {
    let fault = |error| DevError::Write(path.to_owned(), error);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fault)?;
    }
    let mode = match file.secrecy {
        Secrecy::Public => 0o644,
        Secrecy::Secret => 0o600,
    };
    // The mode is set when the file comes into being: a secret is never readable, not even for an instant.
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(fault)?;
    out.write_all(file.contents.as_bytes()).map_err(fault)
}

impl Party {
    /// `(id, name, organization)`: the id becomes a host name under `piana.example`.
    fn make(
        (channels, seals): (&Authority, &Authority),
        (id, name, organization): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<Self, DevError> {
        let host = format!("{id}.piana.example");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host];
        let organization = Some(organization.parse()?);
        let channel = Holder {
            name: name.to_owned(),
            organization: organization.clone(),
            purpose: Purpose::Channel { names },
        };
        let seal = Holder { name: name.to_owned(), organization, purpose: Purpose::Seal };
        Ok(Self { channel: channels.issue(&channel, now)?, seal: seals.issue(&seal, now)? })
    }

    /// New keys and certificates for an agency of the demonstration; `None` for any other.
    pub(super) fn of_agency(
        authorities: (&Authority, &Authority),
        agency: &AgencyId,
        now: Timestamp,
    ) -> Result<Option<Self>, DevError> {
        let known = AGENCIES.iter().find(|(id, ..)| *id == agency.as_str());
        known.map(|(id, _, name, code)| Self::make(authorities, (id, name, code), now)).transpose()
    }

    pub(super) fn files(&self, folder: &str, suffix: &str) -> Vec<File> {
        let sides = [("channel", &self.channel), ("seal", &self.seal)];
        let files = sides.map(|(name, issued)| {
            [
                File::public(format!("{folder}/{name}{suffix}.pem"), issued.certificate_pem()),
                File::secret(format!("{folder}/{name}{suffix}.key.pem"), issued.key_pem()),
            ]
        });
        files.into_iter().flatten().collect()
    }
}

impl Officer {
    fn make(
        channels: &Authority,
        (id, agency, role): (&str, &str, Role),
        now: Timestamp,
    ) -> Result<Self, DevError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::from)?;
        let same_key = KeyPair::from_pem(&Zeroizing::new(key.serialize_pem())).map_err(PkiError::from)?;
        // No organization: an officer's certificate must never be recognised as the agency itself.
        let holder = Holder { name: id.to_owned(), organization: None, purpose: Purpose::Client };
        let channel = channels.issue_for(&holder, (now, LIFETIME), same_key)?;
        let reads = id.ends_with("-dpo").then(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256));
        let reading_key = reads.transpose().map_err(PkiError::from)?;
        Ok(Self { id: id.parse()?, agency: agency.parse()?, role, key, reading_key, channel })
    }
}

impl File {
    fn public(path: String, contents: String) -> Self {
        Self { path: path.into(), contents: contents.into(), secrecy: Secrecy::Public }
    }

    fn secret(path: String, contents: Zeroizing<String>) -> Self {
        Self { path: path.into(), contents, secrecy: Secrecy::Secret }
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, DevError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| DevError::Random)?;
    Ok(bytes)
}

/// A key in the first version of PKCS#8 (RFC 8410 section 7): OpenSSL 3.0 does not read the second, which libraries
/// write by themselves.
fn ed25519(seed: &[u8; 32]) -> Result<KeyPair, PkiError> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = PrivatePkcs8KeyDer::from([HEAD.as_slice(), seed].concat());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
}

/// C2SP signed-note: the key's hash is over its name, a line feed, the algorithm byte and the public key.
fn verifier_key(name: &str, public: &[u8]) -> String {
    use base64::Engine as _;
    const ED25519: &[u8] = &[1];
    let hash = Sha256::of_parts(&[name.as_bytes(), b"\n", ED25519, public]).to_string();
    let body = base64::engine::general_purpose::STANDARD.encode([ED25519, public].concat());
    format!("{name}+{}+{body}", hash.chars().take(8).collect::<String>())
}
