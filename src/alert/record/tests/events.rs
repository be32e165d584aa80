//! Group B: Kubernetes events.

use super::*;

#[test]
fn b01_a_core_event_is_an_alert_about_its_object() {
    let read = alert(CORE);
    assert_eq!((read.kind, read.source, read.name.as_str()), (Kind::Firing, Source::KubernetesEvents, "OOMKilled"));
    assert_eq!((read.target.kind.as_str(), read.target.name.as_str()), ("Pod", "payment-7d4b9c5f6d-x2x8q"));
    assert_eq!(read.target.namespace.as_deref(), Some("shop"));
    assert_eq!(read.severity, None);
    assert_eq!(read.raw, CORE);
}

#[test]
fn b02_both_forms_of_an_event_are_one() {
    let (core, newer) = (alert(CORE), alert(EVENTS));
    assert_eq!(core.fingerprint, newer.fingerprint);
    assert_eq!(core.annotations, newer.annotations);
    assert_eq!(newer.starts_at.unwrap().rfc3339(), "2026-11-21T06:57:58.201Z");
    assert_eq!(newer.provider["series"]["count"], 3);
}

#[test]
fn b03_a_node_event_has_no_namespace() {
    let object = json!({"kind": "Node", "name": "worker-1", "uid": "worker-1"});
    let read = alert(&event(&[("/involvedObject", object)]));
    assert_eq!((read.target.kind.as_str(), read.target.namespace), ("Node", None));
}

#[test]
fn b04_the_object_is_copied_whatever_its_kind() {
    for (kind, version) in [("Deployment", "apps/v1"), ("PersistentVolumeClaim", "v1"), ("Sloth", "zoo.org/v1beta1")] {
        let object = json!({"kind": kind, "name": "x", "namespace": "shop", "apiVersion": version});
        let Target { kind: read, name, namespace, api_version } = alert(&event(&[("/involvedObject", object)])).target;
        assert_eq!((read.as_str(), name.as_str()), (kind, "x"));
        assert_eq!((namespace.as_deref(), api_version.as_deref()), (Some("shop"), Some(version)));
    }
}

#[test]
fn b05_type_and_reason_are_there_for_the_severity_table() {
    let read = alert(&event(&[("/type", json!("Error")), ("/reason", json!("BackOff"))]));
    assert_eq!((read.labels["type"].as_str(), read.labels["reason"].as_str()), ("Error", "BackOff"));
    assert_eq!((&read.provider["type"], &read.provider["reason"]), (&json!("Error"), &json!("BackOff")));
}

#[test]
fn b06_an_event_that_tells_of_no_trouble_is_named() {
    let fault = refused(&event(&[("/type", json!("Normal"))]));
    assert!(fault.reason == "no_alert" && fault.text.contains("`Normal`"), "{fault}");
    for (kind, named) in [(Value::Null, "`type`"), (json!("Fatal"), "`Fatal`"), (json!(""), "`type`")] {
        let fault = refused(&event(&[("/type", kind)]));
        assert!(fault.reason == "invalid" && fault.text.contains(named), "{fault}");
    }
}

#[test]
fn b07_what_an_event_lacks_is_named() {
    for path in ["/reason", "/involvedObject", "/involvedObject/kind", "/involvedObject/name"] {
        let fault = refused(&event(&[(path, Value::Null)]));
        assert!(fault.text.contains(&path[1..].replace('/', ".")), "{path}: {fault}");
    }
    let fault = refused(&event(&[("/involvedObject", json!(["Pod", "x"]))]));
    assert!(fault.text.contains("`involvedObject`: must be an object, got an array"), "{fault}");
    let ours = headers(&[(headers::SOURCE, "kubernetes-events")]);
    for kind in ["Pod", "EventList"] {
        let fault = read_as(&json!({"kind": kind, "items": [], "metadata": {}}).to_string(), &ours).unwrap_err();
        assert!(fault.reason == "no_alert" && fault.text.contains(&format!("`{kind}`")), "{fault}");
    }
    assert_eq!(refused(&CORE[..200]).reason, "malformed");
}

#[test]
fn b08_an_events_facts_are_kept_and_it_began_when_first_seen() {
    let read = alert(CORE);
    assert_eq!(read.annotations["message"], "Container payment was OOM killed (limit 512Mi)");
    assert_eq!((read.labels["component"].as_str(), read.labels["host"].as_str()), ("kubelet", "worker-03"));
    assert_eq!(read.provider["count"], 3);
    assert_eq!(read.provider["lastTimestamp"], "2026-11-21T06:59:31Z");
    let began = |changes: &[(&str, Value)]| alert(&event(changes)).starts_at.map(EventTime::rfc3339);
    assert_eq!(began(&[]).as_deref(), Some("2026-11-21T06:57:58.000Z"));
    let later = ("/eventTime", json!("2026-11-21T06:58:00.5Z"));
    assert_eq!(began(&[("/firstTimestamp", Value::Null), later]).as_deref(), Some("2026-11-21T06:58:00.500Z"));
    assert_eq!(began(&[("/firstTimestamp", Value::Null)]), None);
}

#[test]
fn b09_an_updated_event_is_the_same() {
    let updated = event(&[
        ("/count", json!(7)),
        ("/metadata/uid", json!("other")),
        ("/metadata/resourceVersion", json!("2")),
        ("/lastTimestamp", json!("2026-11-21T07:30:00Z")),
    ]);
    assert_eq!(alert(CORE).fingerprint, alert(&updated).fingerprint);
}
