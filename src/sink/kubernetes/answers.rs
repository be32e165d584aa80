//! The API server's answers, read: what was shown, and why something was refused. Judged elsewhere.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use kube::core::Status;

use crate::{
    decide::refusal::{About, Answer},
    remediation::fit::cut,
    sink::{desk::Found, object::Shown},
};

/// What is kept of a sentence of the API server.
const SENTENCE: usize = 1_000;
/// No answer makes the sink rest longer, whatever it says.
pub(super) const LONGEST: Duration = Duration::from_mins(10);
/// The cause of a 403 that ends by itself; only then it is said instead of the reason.
const TERMINATING: &str = "NamespaceTerminating";

pub(super) fn shown(body: &[u8]) -> Result<Found, Answer> {
    let shown: Shown = serde_json::from_slice(body).map_err(|error| Answer {
        message: format!("the api server's answer cannot be read: {error}"),
        ..Answer::default()
    })?;
    Ok(shown.ours().map_or(Found::Stranger, |object| Found::Ours(Box::new(object))))
}

/// An answer that is no success. Judged later by its code: a throttled one may be plain text.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let told: Option<Status> = serde_json::from_slice(body).ok();
    let text = |body| cut(&String::from_utf8_lossy(body), SENTENCE);
    let header = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let details = told.as_ref().and_then(|told| told.details.as_ref());
    let causes = details.into_iter().flat_map(|details| &details.causes);
    let mut causes = causes.map(|cause| cause.reason.as_str());
    let terminating = causes.find(|reason| *reason == TERMINATING);
    let seconds =
        header.and_then(|value| value.parse().ok()).or(details.map(|details| details.retry_after_seconds.into()));
    Answer {
        code: status.as_u16(),
        about: about(status, told.as_ref()),
        field: details
            .and_then(|details| details.causes.first())
            .map(|cause| cause.field.clone())
            .filter(|field| !field.is_empty()),
        retry_after: seconds.filter(|seconds| *seconds > 0).map(|seconds| LONGEST.min(Duration::from_secs(seconds))),
        message: told.as_ref().map_or_else(|| text(body), |told| text(told.message.as_bytes())),
        reason: terminating
            .map_or_else(|| told.as_ref().map(|told| told.reason.clone()).unwrap_or_default(), str::to_owned),
    }
}

/// A 404 of the object names it, one of the namespace names that; one of the kind names nothing. A kind that is being
/// taken away refuses creates with 403, and only the sentence tells (kube-apiserver 1.35).
fn about(status: StatusCode, told: Option<&Status>) -> About {
    let details = told.and_then(|told| told.details.as_ref());
    let owned = |reason: &str| reason == "FieldManagerConflict";
    match details {
        Some(_)
            if told.is_some_and(|told| told.message.contains("while custom resource definition is terminating")) =>
        {
            About::Kind
        }
        Some(details) if details.causes.iter().any(|cause| owned(&cause.reason)) => About::OwnedField,
        Some(details) if status == StatusCode::NOT_FOUND && details.kind == "namespaces" => About::Namespace,
        Some(details) if !details.name.is_empty() => About::Object,
        Some(_) | None if status == StatusCode::NOT_FOUND => About::Kind,
        Some(_) | None => About::Object,
    }
}

/// No answer came; perhaps the call was applied. The cause without the address.
pub(super) fn unanswered(error: &kube::Error) -> Answer {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Answer { message: cut(&cause.to_string(), SENTENCE), ..Answer::default() }
}
