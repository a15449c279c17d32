//! Alerts about how the gateway stands, which no entry tells.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Alert, Subject, Thresholds, identifier};
use crate::consent::{Ending, Warning};
use crate::time::Timestamp;

/// How a gateway stands at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How far the clock is behind the last entry.
    pub behind_log: Duration,
    /// The largest difference to a clock that is not ours: of a witness or a time stamping authority, by name.
    pub other_clock: Option<(String, Duration)>,
    /// Since when there has been no quorum of witnesses, where that is an alarm.
    pub no_quorum_since: Option<Timestamp>,
    /// The authorities that have given no time stamp for too long, and since when.
    pub no_timestamp_since: Vec<(String, Timestamp)>,
    /// When the agreement in force ends.
    pub agreement_ends: Option<Timestamp>,
}

/// What there is to tell of it. Each matter once a day.
pub fn standing(standing: &Standing, thresholds: &Thresholds, now: Timestamp) -> Vec<Alert> {
    let alert = |about: Subject, key: &str, detail: String| Alert {
        id: identifier(about, key, now),
        about,
        at: now,
        to: BTreeSet::new(),
        count: 1,
        threshold: 1,
        agency: None,
        operator: None,
        purpose: None,
        entries: Vec::new(),
        detail,
    };
    let mut alerts = Vec::new();
    if standing.behind_log > thresholds.clock {
        let detail = format!("{} s", standing.behind_log.as_secs());
        alerts.push(alert(Subject::Clock, "log", detail));
    }
    if let Some((name, by)) = standing.other_clock.as_ref().filter(|(_, by)| *by > thresholds.clock) {
        alerts.push(alert(Subject::Clock, name, format!("{} s, {name}", by.as_secs())));
    }
    if let Some(since) = standing.no_quorum_since {
        alerts.push(alert(Subject::NoQuorum, "", since.to_string()));
    }
    for (name, since) in &standing.no_timestamp_since {
        alerts.push(alert(Subject::NoTimestamp, name, format!("{name}, {since}")));
    }
    // Told on the day a mark is passed and then once a day, which the last thirty days are worth.
    let ending = standing.agreement_ends.map(|ends| Ending { ends, warning: Warning::of(ends, now) });
    if let Some(Ending { ends, warning: Some(warning) }) = ending {
        let mut alert = alert(Subject::AgreementEnds, "", ends.date().to_string());
        if warning != Warning::Within30Days {
            // One for each mark, whatever the day.
            alert.id =
                crate::hash::Sha256::of(format!("varco/alert/v1\0agreement {ends} {warning:?}").as_bytes());
        }
        alerts.push(alert);
    } else if standing.agreement_ends.is_some_and(|ends| ends <= now) {
        let ends = standing.agreement_ends.unwrap_or_default();
        alerts.push(alert(Subject::AgreementEnds, "ended", ends.date().to_string()));
    }
    alerts
}
