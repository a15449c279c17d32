//! Breaking the glass (purposes with a review, F14): what is declared, and the review that must follow.
//!
//! What is declared in codes goes into the log and to the owner; the reason in words is only ever kept sealed to the owner's
//! data protection officers. The review's term is computed from dates: nothing depends on a job having run.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{AgencyId, OfficerId};
use crate::time::Timestamp;

/// Shorter reasons say nothing (domain paper, F14).
pub const REASON_MIN: usize = 30;
/// A page.
pub const REASON_MAX: usize = 2000;

/// What threatens, as the operator declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// A child or somebody who cannot look after themselves is without protection.
    Abandonment,
    /// Serious harm to health.
    Health,
    Life,
    /// Somebody is missing.
    Missing,
    Violence,
}

/// Why the person cannot consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incapacity {
    /// Asking would increase the danger.
    AskingEndangers,
    /// Not capable of understanding what is asked.
    Incapable,
    /// A minor or ward whose representative cannot be reached, or is the danger.
    RepresentativeAbsent,
    Unconscious,
    Unreachable,
}

/// The reason in words. Its `Debug` tells only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct ReasonText(String);

impl ReasonText {
    /// The words, to be sealed and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReasonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasonText({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for ReasonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.trim().chars().count();
        if (REASON_MIN..=REASON_MAX).contains(&length) {
            return Ok(Self(text));
        }
        let expected = format!("a reason has {REASON_MIN} to {REASON_MAX} characters");
        Err(serde::de::Error::custom(expected))
    }
}

/// What an emergency's request declares.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyAsk {
    pub danger: Danger,
    pub cannot_consent: Incapacity,
    pub reason: ReasonText,
}

/// The reason, sealed to one officer: a compact JWE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedReason {
    pub officer: OfficerId,
    pub jwe: String,
}

/// An emergency as the owner is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    pub danger: Danger,
    pub cannot_consent: Incapacity,
    /// Who broke the glass.
    pub by: AgencyId,
    /// Until when it must be reviewed.
    pub review_by: Timestamp,
}

/// What a review found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Justified,
    /// The agency that asked is told, and must delete what it received.
    Unjustified,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_29_characters_is_none_and_30_are_one() {
        let read = |text: &str| serde_json::from_value::<ReasonText>(serde_json::json!(text));
        assert!(read(&"è".repeat(29)).is_err());
        assert!(read(&format!("{}   ", "a".repeat(29))).is_err(), "white space says nothing");
        assert!(read(&"è".repeat(30)).is_ok());
        assert!(read(&"a".repeat(REASON_MAX + 1)).is_err());
        let reason = read(&"a".repeat(30)).unwrap();
        assert_eq!(format!("{reason:?}"), "ReasonText(30 bytes)");
    }
}
