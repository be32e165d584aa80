//! What the API server was asked, by whom: its audit log.

use serde_json::Value;
use std::path::Path;

/// One request, as the API server noted it when it had answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `create`, `patch`, `get`, `list`, `watch` …
    pub verb: String,
    /// `status` or nothing.
    pub subresource: String,
    /// Path and query.
    pub uri: String,
    /// What was answered.
    pub code: u64,
}

/// How many requests of a verb a ServiceAccount of `deploy/` began whose path contains a part: also those that are
/// still answered.
pub fn began_by(audit: &Path, account: &str, part: &str, verb: &str) -> usize {
    let user = format!("system:serviceaccount:breakwater:{account}");
    let text = std::fs::read_to_string(audit).unwrap_or_else(|error| panic!("{}: {error}", audit.display()));
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ids: std::collections::BTreeSet<String> = events
        .filter(|event| event["user"]["username"] == user.as_str() && event["verb"] == verb)
        .filter(|event| event["requestURI"].as_str().is_some_and(|uri| uri.contains(part)))
        .filter_map(|event| event["auditID"].as_str().map(str::to_owned))
        .collect();
    ids.len()
}

/// All that a ServiceAccount of `deploy/` asked for whose path contains a part; a request that is still answered, such
/// as a watch, is noted when its answer begins.
pub fn asked_by(audit: &Path, account: &str, part: &str) -> Vec<Asked> {
    let user = format!("system:serviceaccount:breakwater:{account}");
    let text = std::fs::read_to_string(audit).unwrap_or_else(|error| panic!("{}: {error}", audit.display()));
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["user"]["username"] == user.as_str() && event["stage"] == "ResponseComplete")
        .map(|event| Asked {
            verb: event["verb"].as_str().unwrap_or_default().to_owned(),
            subresource: event["objectRef"]["subresource"].as_str().unwrap_or_default().to_owned(),
            uri: event["requestURI"].as_str().unwrap_or_default().to_owned(),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        })
        .filter(|asked| asked.uri.contains(part))
        .collect()
}
