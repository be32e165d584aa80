//! What a sender sends: alerts, webhooks and events, as plain JSON. A test changes what it is about and leaves the rest.

use super::pipeline::merge;
use serde_json::{Value, json};

/// A firing alert about a pod, severity `warning`.
pub fn alert(name: &str, namespace: &str, pod: &str) -> Value {
    json!({
        "status": "firing",
        "labels": { "alertname": name, "namespace": namespace, "pod": pod, "severity": "warning" },
        "annotations": { "summary": format!("{name} of {pod}") },
        "startsAt": "2026-11-21T06:58:12.419Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "https://prometheus.example.org/graph?g0.expr=up",
    })
}

/// So many kin: alerts of one name and namespace about pods `pod-0`, `pod-1` …
pub fn kin(name: &str, namespace: &str, count: usize) -> Vec<Value> {
    (0..count).map(|pod| alert(name, namespace, &format!("pod-{pod}"))).collect()
}

/// So many alerts that are nobody's kin: each has a name of its own.
pub fn strangers(name: &str, namespace: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| alert(&format!("{name}{n}"), namespace, &format!("pod-{n}"))).collect()
}

/// An alert or event with something changed; null takes a key away.
pub fn with(mut original: Value, overlay: Value) -> Value {
    merge(&mut original, overlay);
    original
}

/// The same alert, at its end.
pub fn resolved(alert: &Value) -> Value {
    with(alert.clone(), json!({ "status": "resolved", "endsAt": "2026-11-21T07:58:12.419Z" }))
}

/// The same alert at another severity.
pub fn at_severity(alert: &Value, severity: &str) -> Value {
    with(alert.clone(), json!({ "labels": { "severity": severity } }))
}

/// Alertmanager's webhook v4 around these alerts.
pub fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"any\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "breakwater",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.example.org",
        "alerts": alerts,
    })
}

/// A core/v1 Warning about a pod.
pub fn event(reason: &str, namespace: &str, pod: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{pod}.17a9"), "namespace": namespace, "uid": "6d3c", "resourceVersion": "7" },
        "type": "Warning",
        "reason": reason,
        "message": format!("{reason} of {pod}"),
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": namespace },
        "source": { "component": "kubelet", "host": "node-1" },
        "firstTimestamp": "2026-11-21T06:58:12Z",
        "lastTimestamp": "2026-11-21T06:59:12Z",
        "count": 3,
    })
}
