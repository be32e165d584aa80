//! A draft's spec: the alert as it was when its incident was decided.

use std::time::Duration;

use serde_json::json;

use super::draft::Judged;
use crate::{
    alert::Alert,
    pipeline::storm::StormRule,
    remediation::{
        Progress, Resource, StormProgress,
        crd::{DeduplicationAtCreation, RemediationRequestSpec, StormAggregation, TargetResource},
    },
};

/// What an alert alone says of its incident.
pub(super) fn spec(alert: &Alert, progress: &Progress, judged: &Judged) -> RemediationRequestSpec {
    let provider = json!({
        "namespace": alert.target.namespace,
        "labels": alert.labels,
        "resource": { "kind": alert.target.kind, "name": alert.target.name },
        alert.source.as_str(): alert.provider,
    });
    RemediationRequestSpec {
        signal_fingerprint: alert.fingerprint.to_string(),
        signal_name: alert.name.clone(),
        signal_type: alert.source.signal_type().to_owned(),
        signal_source: alert.source.as_str().to_owned(),
        severity: progress.severity.clone(),
        environment: judged.environment.clone(),
        priority: progress.priority.clone(),
        target_type: "kubernetes".to_owned(),
        target_resource: TargetResource {
            kind: alert.target.kind.clone(),
            name: alert.target.name.clone(),
            namespace: alert.target.namespace.clone(),
            api_version: alert.target.api_version.clone(),
        },
        firing_time: alert.starts_at.unwrap_or(alert.received_at).rfc3339(),
        received_time: alert.received_at.rfc3339(),
        signal_labels: alert.labels.clone(),
        signal_annotations: alert.annotations.clone(),
        original_payload: String::from_utf8_lossy(&alert.raw).into_owned(),
        provider_data: provider.to_string(),
        deduplication: DeduplicationAtCreation {
            first_seen_at: progress.first_seen.rfc3339(),
            last_seen_at: progress.last_seen.rfc3339(),
            occurrence_count: progress.count,
        },
        ..RemediationRequestSpec::default()
    }
}

/// Adds what is said of a storm as its founders made it.
pub(super) fn say_storm(
    spec: &mut RemediationRequestSpec,
    rule: &StormRule,
    stands: &StormProgress,
    progress: &Progress,
    pattern: String,
) {
    let listed = |resource: &Resource| format!("{}/{}/{}", resource.kind, resource.namespace, resource.name);
    spec.is_storm = true;
    spec.storm_type = Some(rule.name.clone());
    spec.storm_window = Some(span(rule.window));
    spec.storm_alert_count = Some(stands.alert_count);
    spec.affected_resources = stands.affected_resources.iter().map(listed).collect();
    spec.storm_aggregation = Some(StormAggregation {
        pattern,
        alert_count: stands.alert_count,
        total_affected_resources: stands.total_affected_resources,
        affected_resources: stands.affected_resources.clone(),
        aggregation_window: span(rule.window),
        first_seen: progress.first_seen.rfc3339(),
        last_seen: progress.last_seen.rfc3339(),
    });
}

/// A span as Go and Kubernetes write it: `1m0s`, `30s`, `1.5s`.
fn span(span: Duration) -> String {
    let (minutes, seconds) = (span.as_secs() / 60, span.as_secs() % 60);
    let seconds = match span.subsec_millis() {
        0 => format!("{seconds}s"),
        millis => format!("{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
    };
    if minutes == 0 { seconds } else { format!("{minutes}m{seconds}") }
}
