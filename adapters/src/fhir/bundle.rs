//! What a FHIR server answers: pages of a search, and OperationOutcomes.

use hyper::StatusCode;
use serde_json::Value;

use super::text;
use crate::FetchError;

/// One page of a search.
#[derive(Debug)]
pub(super) struct Page {
    pub resources: Vec<Value>,
    /// Where the next one is, as the server says.
    pub next: Option<String>,
}

/// How bad an issue is (value set `issue-severity`), worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Information,
    Warning,
    Error,
    Fatal,
}

/// The value set `issue-type` of R4: what a server may say is wrong. Whatever is not among them is told as `unknown`, so
/// that no text of the server gets into ours.
const ISSUES: [&str; 31] = [
    "business-rule",
    "code-invalid",
    "conflict",
    "deleted",
    "duplicate",
    "exception",
    "expired",
    "extension",
    "forbidden",
    "incomplete",
    "informational",
    "invalid",
    "invariant",
    "lock-error",
    "login",
    "multiple-matches",
    "no-store",
    "not-found",
    "not-supported",
    "processing",
    "required",
    "security",
    "structure",
    "suppressed",
    "throttled",
    "timeout",
    "too-costly",
    "too-long",
    "transient",
    "unknown",
    "value",
];

/// The resources of this kind in a page, and where the next page is. Other kinds that a server includes are left alone.
pub(super) fn page(mut bundle: Value, resource: &str) -> Result<Page, FetchError> {
    if text(&bundle, "resourceType") == Some("OperationOutcome") {
        return Err(refusal(StatusCode::OK, Some(&bundle)));
    }
    if text(&bundle, "resourceType") != Some("Bundle") || text(&bundle, "type") != Some("searchset") {
        return Err(FetchError::NotRecord);
    }
    let next = next_of(&bundle);
    let entries = match bundle.get_mut("entry").map(Value::take) {
        Some(Value::Array(entries)) => entries,
        None => Vec::new(),
        Some(_) => return Err(FetchError::NotRecord),
    };
    let mut resources = Vec::new();
    for mut entry in entries {
        let Some(found) = entry.get_mut("resource").map(Value::take) else { continue };
        match text(&found, "resourceType") {
            Some("OperationOutcome") => heed(&found)?,
            Some(kind) if kind == resource => resources.push(found),
            Some(_) => {}
            None => return Err(FetchError::NotRecord),
        }
    }
    Ok(Page { resources, next })
}

fn next_of(bundle: &Value) -> Option<String> {
    let links = bundle.get("link")?.as_array()?;
    let next = links.iter().find(|link| text(link, "relation") == Some("next"))?;
    text(next, "url").map(str::to_owned)
}

/// Warnings beside results are for the people who tend the source; an error means the results are not all.
fn heed(outcome: &Value) -> Result<(), FetchError> {
    match worst(outcome) {
        Some((severity, issue)) if severity >= Severity::Error => {
            Err(FetchError::Issue { status: StatusCode::OK.as_u16(), issue })
        }
        Some((_, issue)) => {
            tracing::info!(issue, "a FHIR server answered with a warning");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Why a server refused.
pub(super) fn refusal(status: StatusCode, outcome: Option<&Value>) -> FetchError {
    if status == StatusCode::GONE {
        return FetchError::Gone;
    }
    match outcome.and_then(worst) {
        Some((_, "deleted")) => FetchError::Gone,
        Some((_, issue)) => FetchError::Issue { status: status.as_u16(), issue },
        None => FetchError::Refused { status: status.as_u16() },
    }
}

/// The worst issue of an OperationOutcome.
fn worst(outcome: &Value) -> Option<(Severity, &'static str)> {
    if text(outcome, "resourceType") != Some("OperationOutcome") {
        return None;
    }
    let issues = outcome.get("issue")?.as_array()?.iter().map(|issue| {
        let severity = match text(issue, "severity") {
            Some("information") => Severity::Information,
            Some("warning") => Severity::Warning,
            Some("fatal") => Severity::Fatal,
            // What cannot be read is not taken lightly.
            Some(_) | None => Severity::Error,
        };
        let code = text(issue, "code").unwrap_or("unknown");
        (severity, ISSUES.into_iter().find(|known| *known == code).unwrap_or("unknown"))
    });
    issues.max_by_key(|(severity, _)| *severity)
}
