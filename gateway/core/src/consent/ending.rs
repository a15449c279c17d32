//! How near an end is: told 180, 90 and 30 days ahead, computed from the dates whenever somebody looks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// The end of something that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub ends: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Warning>,
}

/// The nearest of the three marks that has been passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Warning {
    #[serde(rename = "within_180_days")]
    Within180Days,
    #[serde(rename = "within_90_days")]
    Within90Days,
    #[serde(rename = "within_30_days")]
    Within30Days,
}

impl Warning {
    /// `None` while there are more than 180 days, and when the end is past.
    pub fn of(ends: Timestamp, now: Timestamp) -> Option<Self> {
        let left = ends.since(now);
        if ends <= now || left > DAY * 180 {
            None
        } else if left > DAY * 90 {
            Some(Self::Within180Days)
        } else if left > DAY * 30 {
            Some(Self::Within90Days)
        } else {
            Some(Self::Within30Days)
        }
    }
}
