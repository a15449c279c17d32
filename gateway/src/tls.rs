//! The secure channel of a listener: certificate, client trust and revocation, reloaded without a restart.
//!
//! Owns the files named by [`Material`] and what was made of them. A reload either replaces everything at once or, if
//! anything is wrong, nothing, and says so. Must not know agencies: it says whose certificate a peer holds
//! ([`Identity`](varco_core::registry::Identity)), the registry says who that is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, UnixTime};
use varco_core::time::Timestamp;

pub mod crl;
mod load;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;
mod watch;

pub use load::{LoadError, certificates, private_key};
pub use trust::{Trust, TrustFiles};
pub use verifier::VerifyError;
pub use watch::{watch, watch_files};

/// The shell's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where the parts of a channel are. All files are PEM; a revocation list may also be DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// The server certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, or SEC 1, or PKCS #1.
    pub key: PathBuf,
    pub clients: Clients,
    pub versions: Versions,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Anybody: no certificate is asked for. Only for what is public.
    Anyone,
    /// Holders of a certificate that one of these authorities issued and none revoked (ID_AUTH_CHANNEL_02).
    Certified(TrustFiles),
}

/// The protocol versions offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3 alone.
    Tls13,
    /// TLS 1.3, and 1.2 with authenticated encryption and extended master secret for peers that have nothing better.
    Tls12And13,
}

/// A listener's channel. Shared by all its connections.
pub struct Channel {
    material: Material,
    clock: Clock,
    current: ArcSwap<Loaded>,
    /// One reload at a time, so that generations are ordered.
    reloading: Mutex<()>,
    next: AtomicU64,
    fault: ArcSwap<Option<String>>,
}

/// Everything made of one reading of the files.
pub(crate) struct Loaded {
    /// Grows with every reload: a connection that saw another generation must be verified again.
    pub(crate) generation: u64,
    pub(crate) config: Arc<rustls::ServerConfig>,
    verifier: Option<Arc<verifier::ClientVerifier>>,
    certificate_until: Timestamp,
}

/// What `GET /status` and the metrics tell of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub generation: u64,
    /// When the server's own certificate ends.
    pub certificate_until: Timestamp,
    /// Every authority and every other issuer of a revocation list, sorted by name.
    pub issuers: Vec<IssuerStatus>,
    /// Why the last reload was refused; the material before it stays in use.
    pub fault: Option<String>,
}

/// What is known of one issuer's revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The issuer's distinguished name.
    pub name: String,
    pub revocation: Revocation,
}

/// Whether an issuer's revocations are known. Unless `Current`, its certificates are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Current { until: Timestamp },
    Expired { since: Timestamp },
    Missing,
}

/// Something that shuts agencies out, or soon will.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Alarm {
    #[error("the server certificate ends at {0}")]
    CertificateEnds(Timestamp),
    #[error("the revocation list of `{0}` ended at {1}: whatever it issued is refused")]
    ListEnded(String, Timestamp),
    #[error("the revocation list of `{0}` ends at {1}, and there is no newer one")]
    ListEnds(String, Timestamp),
    #[error("there is no revocation list of `{0}`: whatever it issued is refused")]
    ListMissing(String),
}

/// A certificate that ends sooner is an alarm: ordering one takes public bodies weeks.
const CERTIFICATE_SOON: Duration = Duration::from_secs(21 * 24 * 3600);
/// A list that ends sooner is an alarm: daily lists overlap by at least this much.
const LIST_SOON: Duration = Duration::from_secs(2 * 3600);

impl Status {
    /// What a person must see to.
    pub fn alarms(&self, now: Timestamp) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        if self.certificate_until <= now.plus(CERTIFICATE_SOON) {
            alarms.push(Alarm::CertificateEnds(self.certificate_until));
        }
        for IssuerStatus { name, revocation } in &self.issuers {
            let name = name.clone();
            match *revocation {
                Revocation::Current { until } if until <= now.plus(LIST_SOON) => {
                    alarms.push(Alarm::ListEnds(name, until));
                }
                Revocation::Current { .. } => {}
                Revocation::Expired { since } => alarms.push(Alarm::ListEnded(name, since)),
                Revocation::Missing => alarms.push(Alarm::ListMissing(name)),
            }
        }
        alarms
    }
}

impl Channel {
    /// Reads the files for the first time.
    ///
    /// A missing or expired revocation list is no error here: that issuer's certificates are refused and
    /// [`Channel::status`] says why, while other issuers' agencies can work.
    pub fn load(material: Material, clock: Clock) -> Result<Arc<Self>, LoadError> {
        let loaded = load::load(&material, &clock, 1)?;
        Ok(Arc::new(Self {
            material,
            clock,
            current: ArcSwap::from_pointee(loaded),
            reloading: Mutex::new(()),
            next: AtomicU64::new(2),
            fault: ArcSwap::from_pointee(None),
        }))
    }

    /// Reads the files again. On error everything stays as it was, and [`Channel::status`] tells the fault.
    ///
    /// A revocation list may not vanish or go back in time: that would un-revoke.
    pub fn reload(&self) -> Result<u64, LoadError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.next.fetch_add(1, Ordering::Relaxed);
        let loaded = load::load(&self.material, &self.clock, generation).and_then(|loaded| {
            let before = self.current.load();
            if let (Some(before), Some(after)) = (&before.verifier, &loaded.verifier) {
                before.crls.may_be_followed_by(&after.crls)?;
            }
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                self.fault.store(Arc::new(None));
                Ok(generation)
            }
            Err(error) => {
                self.fault.store(Arc::new(Some(error.to_string())));
                Err(error)
            }
        }
    }

    pub fn status(&self) -> Status {
        let current = self.current.load();
        let now = (self.clock)();
        let issuers = current.verifier.as_ref().map(|verifier| verifier.issuers(now)).unwrap_or_default();
        Status {
            generation: current.generation,
            certificate_until: current.certificate_until,
            issuers,
            fault: Option::clone(&self.fault.load()),
        }
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.material.files()
    }
}

impl Material {
    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.certificate.clone(), self.key.clone()];
        if let Clients::Certified(trust) = &self.clients {
            files.extend(trust.files());
        }
        files
    }
}

impl Loaded {
    /// Whether a chain that was accepted earlier would be accepted now.
    pub(crate) fn verify_again(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        match (&self.verifier, chain) {
            (None, _) => Ok(()),
            (Some(verifier), [leaf, intermediates @ ..]) => verifier.verify(leaf, intermediates, unix(now)),
            (Some(_), []) => Err(VerifyError::Missing),
        }
    }
}

fn unix(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
