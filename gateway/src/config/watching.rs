//! The sections about what watches the log: alerts and their receivers, time stamps, the stream to a SIEM.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use varco_core::id::AgencyId;
use varco_core::log::alert::Thresholds;

use super::reader::Section;

/// Looking costs a query.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Often enough that the time between two stamps, which only witnesses cover, is short.
const STAMP_EVERY: Duration = Duration::from_secs(3600);
/// Three stamps missed.
const STAMP_ALARM: Duration = Duration::from_secs(3 * 3600);

/// What is told to people, and where it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    pub thresholds: Thresholds,
    /// How often the log is looked at.
    pub every: Duration,
    /// The authorities of the receivers' server certificates.
    pub authorities: Vec<PathBuf>,
    /// By name.
    pub webhooks: BTreeMap<String, Webhook>,
}

impl Default for Alerts {
    fn default() -> Self {
        let (authorities, webhooks) = (Vec::new(), BTreeMap::new());
        Self { thresholds: Thresholds::default(), every: LOOK_EVERY, authorities, webhooks }
    }
}

/// A receiver of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `https://`.
    pub url: String,
    /// Gets what this agency's officers must know; without it everything.
    pub agency: Option<AgencyId>,
}

/// Who stamps our checkpoints with the time (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// Name and address, `http://` or `https://`.
    pub authorities: BTreeMap<String, String>,
    /// The authorities of their servers' certificates, for those with `https://`.
    pub server_authorities: Vec<PathBuf>,
    pub every: Duration,
    /// Without a stamp for longer than this there is an alarm. No exchange ever stops for it.
    pub alarm: Duration,
}

/// A SIEM that takes RFC 5424 over TLS (RFC 5425).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siem {
    /// `siem.example:6514`.
    pub host: String,
    pub port: u16,
    pub authorities: Vec<PathBuf>,
    pub certificate: Option<PathBuf>,
    /// Secret.
    pub key: Option<PathBuf>,
    pub every: Duration,
}

pub fn alerts(mut s: Section<'_, '_>) -> Alerts {
    let usual = Thresholds::default();
    let hours = s.optional::<String>("hours");
    let hours = hours.and_then(|text| {
        let read = hours_of(&text);
        if read.is_none() {
            s.fault_at("hours", "expected hours of the day such as `7-20`");
        }
        read
    });
    let break_glass: Vec<String> = s.or("break_glass", Vec::new());
    let purposes: Vec<_> = break_glass.iter().filter_map(|text| text.parse().ok()).collect();
    if purposes.len() != break_glass.len() {
        s.fault_at("break_glass", "expected purposes such as `F13`");
    }
    let thresholds = Thresholds {
        denials: s.or("denials", usual.denials),
        lookups: s.or("lookups", usual.lookups),
        unusual: s.or("unusual", usual.unusual),
        hours: hours.unwrap_or(usual.hours),
        interrupted: s.or("interrupted", usual.interrupted),
        break_glass: purposes,
        clock: s.or("clock", usual.clock),
    };
    let every = s.or("every", LOOK_EVERY);
    let authorities: Vec<PathBuf> = s.or("authorities", Vec::new());
    let mut webhooks = BTreeMap::new();
    let hooks = s.section("webhooks");
    for (name, _, mut section) in hooks.each() {
        if let Some(webhook) = webhook(&mut section) {
            webhooks.insert(name.to_owned(), webhook);
        }
        section.finish();
    }
    if !webhooks.is_empty() && authorities.is_empty() {
        s.fault_at("authorities", "expected the authorities of the receivers' certificates");
    }
    s.finish();
    Alerts { thresholds, every, authorities, webhooks }
}

fn webhook(s: &mut Section<'_, '_>) -> Option<Webhook> {
    let url: Option<super::value::HttpsUrl> = s.required("url");
    let agency: Option<String> = s.optional("agency");
    let parsed = agency.as_deref().map(str::parse::<AgencyId>);
    let agency = match parsed {
        Some(Err(fault)) => {
            s.fault_at("agency", &fault.to_string());
            return None;
        }
        Some(Ok(agency)) => Some(agency),
        None => None,
    };
    Some(Webhook { url: url?.0, agency })
}

fn hours_of(text: &str) -> Option<(u8, u8)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (from.trim().parse().ok()?, until.trim().parse().ok()?);
    (from < until && until <= 24).then_some((from, until))
}

pub fn timestamps(mut s: Section<'_, '_>) -> Option<Timestamps> {
    let server_authorities: Vec<PathBuf> = s.or("server_authorities", Vec::new());
    let every = s.or("every", STAMP_EVERY);
    let alarm = s.or("alarm", STAMP_ALARM);
    let mut authorities = BTreeMap::new();
    let named = s.section("authorities");
    for (name, _, mut section) in named.each() {
        let url: Option<String> = section.required("url");
        let url = url.filter(|url| {
            let known = url.starts_with("http://") || url.starts_with("https://");
            if !known {
                section.fault_at("url", "expected an address with `http://` or `https://`");
            }
            if url.starts_with("https://") && server_authorities.is_empty() {
                section.fault_at("url", "with `https://`, server_authorities must be given");
            }
            known
        });
        if !is_name(name) {
            section.fault_here("the name of an authority has 1 to 64 letters, digits, `.`, `_` or `-`");
        }
        section.finish();
        authorities.extend(url.map(|url| (name.to_owned(), url)));
    }
    if authorities.is_empty() {
        s.fault_at("authorities", "expected at least one authority, better two");
        return None;
    }
    s.finish();
    Some(Timestamps { authorities, server_authorities, every, alarm })
}

/// It stands in addresses and file names.
pub fn is_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(known) && !name.starts_with('.')
}

pub fn siem(mut s: Section<'_, '_>) -> Option<Siem> {
    let address: Option<String> = s.required("address");
    let authorities: Option<Vec<PathBuf>> = s.required("authorities");
    let certificate = s.optional("certificate");
    let key = s.optional_secret("key");
    let every = s.or("every", LOOK_EVERY);
    if certificate.is_some() != key.is_some() {
        s.fault_at("certificate", "certificate and key belong together");
    }
    let place = address.as_deref().and_then(|text| text.rsplit_once(':'));
    let place = place.and_then(|(host, port)| Some((host.to_owned(), port.parse::<u16>().ok()?)));
    if address.is_some() && place.is_none() {
        s.fault_at("address", "expected a host and port such as `siem.example:6514`");
    }
    s.finish();
    let (host, port) = place?;
    Some(Siem { host, port, authorities: authorities?, certificate, key, every })
}
