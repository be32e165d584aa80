//! An alert to try things on.

use std::collections::BTreeMap;

use super::{Alert, EventTime, Fingerprint, Kind, Source, Target};

/// An alert with something in every field, on which expressions and policies are tried when they are loaded.
#[must_use]
pub fn specimen() -> Alert {
    let pair = |key: &str| BTreeMap::from([(key.to_owned(), "specimen".to_owned())]);
    Alert {
        kind: Kind::Firing,
        fingerprint: Fingerprint::of(["specimen"]),
        source: Source::Prometheus,
        name: "Specimen".into(),
        cluster: Some("specimen".into()),
        target: Target {
            kind: "Pod".into(),
            name: "specimen".into(),
            namespace: Some("specimen".into()),
            api_version: None,
        },
        severity: Some("warning".into()),
        labels: pair("alertname"),
        annotations: pair("summary"),
        starts_at: None,
        received_at: EventTime(0),
        provider: serde_json::Map::new(),
        raw: bytes::Bytes::new(),
        traceparent: None,
    }
}
