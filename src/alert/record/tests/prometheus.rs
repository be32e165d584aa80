//! Group A: alerts of an Alertmanager webhook.

use super::*;

#[test]
fn a04_one_resource_label_names_the_target() {
    for (label, kind) in IdentityRules::default().targets {
        assert_eq!(target(&[(&label, "x"), ("namespace", "shop")]), (kind, "x".to_owned()), "{label}");
    }
}

#[test]
fn a05_a_workload_wins_over_its_parts_and_the_scrape_is_never_a_target() {
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(target(&[("pod", "p"), ("deployment", "d")]), pair("Deployment", "d"));
    assert_eq!(target(&[("service", "s"), ("pod", "p")]), pair("Pod", "p"));
    assert_eq!(target(&[("service", "s"), ("node", "n")]), pair("Node", "n"));
    assert_eq!(target(&[("pod", ""), ("node", "n")]), pair("Node", "n"));
    for label in ["job", "instance", "endpoint", "container"] {
        assert_eq!(target(&[(label, "x")]), pair("Unknown", "unknown"), "{label}");
        assert_eq!(target(&[(label, "x"), ("pod", "p")]), pair("Pod", "p"), "{label}");
    }
}

#[test]
fn a06_an_alert_without_a_resource_is_about_the_unknown() {
    let watchdog = labelled(&[]);
    assert_eq!((watchdog.target.kind.as_str(), watchdog.target.name.as_str()), ("Unknown", "unknown"));
    assert_eq!(watchdog.target.namespace, None);
    let other = alert(r#"{"labels":{"alertname":"B"}}"#);
    assert_ne!(watchdog.fingerprint, other.fingerprint);
}

#[test]
fn a07_exported_namespace_and_pod_win_over_the_exporters_own() {
    let own = [("namespace", "monitoring"), ("pod", "exporter-0")];
    let both = [&own[..], &[("exported_namespace", "shop"), ("exported_pod", "payment-0")]].concat();
    let exported = labelled(&both);
    assert_eq!((exported.target.name.as_str(), exported.target.namespace.as_deref()), ("payment-0", Some("shop")));
    assert_eq!(exported.labels["pod"], "exporter-0");
    assert_eq!(exported.fingerprint, labelled(&[("namespace", "shop"), ("pod", "payment-0")]).fingerprint);
}

#[test]
fn a08_a_node_without_namespace_has_none() {
    let node = labelled(&[("node", "worker-1")]);
    assert_eq!((node.target.kind.as_str(), node.target.namespace), ("Node", None));
}

#[test]
fn a09_what_the_webhook_says_about_the_group_changes_no_alert() {
    let told = r#"{"status":"resolved","commonLabels":{"alertname":"X","pod":"y"},"groupLabels":{"namespace":"z"},
                  "alerts":[{"status":"firing","labels":{"alertname":"A","pod":"p"}}]}"#;
    let webhook = split(&Bytes::from_static(told.as_bytes())).unwrap();
    let read = alert(std::str::from_utf8(&webhook.alerts[0]).unwrap());
    assert_eq!((read.kind, read.name.as_str(), read.target.name.as_str()), (Kind::Firing, "A", "p"));
    assert_eq!(read.target.namespace, None);
}

#[test]
fn a10_labels_and_annotations_are_kept_whole_and_the_payload_is_the_alerts_own() {
    let long = "x".repeat(20_000);
    let text = json!({"labels": {"alertname": "A", "team": "pay"}, "annotations": {"empty": "", "long": long},
                      "generatorURL": "http://p/graph"});
    let text = format!(" {text}\n");
    let webhook = split(&Bytes::from(format!("{{\"alerts\":[{text}]}}"))).unwrap();
    assert_eq!(webhook.alerts[0], text.trim());
    let read = alert(text.trim());
    assert_eq!(read.raw, text.trim());
    assert_eq!((read.labels["team"].as_str(), read.annotations["empty"].as_str()), ("pay", ""));
    assert_eq!(read.annotations["long"].len(), 20_000);
    assert_eq!(read.provider["generatorURL"], "http://p/graph");
}

#[test]
fn a11_an_alerts_own_clock_is_believed_if_it_is_one() {
    let is = |value: Value, expected: Option<&str>| assert_eq!(starts(&value).as_deref(), expected, "{value}");
    is(json!("2026-11-21T12:30:00+05:30"), Some("2026-11-21T07:00:00.000Z"));
    is(json!("2026-11-18T07:00:00.123456789Z"), Some("2026-11-18T07:00:00.123Z"));
    is(json!("2099-01-01T00:00:00Z"), Some("2099-01-01T00:00:00.000Z"));
    for nonsense in [json!("0001-01-01T00:00:00Z"), json!(1_763_708_400), json!("yesterday"), json!(null), json!([])] {
        is(nonsense, None);
    }
    assert_eq!(labelled(&[]).starts_at, None);
    assert_eq!(labelled(&[]).received_at, AT);
}

#[test]
fn a12_resolved_is_what_the_alert_itself_says() {
    let kind = |status: Value| alert(&json!({"labels": {"alertname": "A"}, "status": status}).to_string()).kind;
    assert_eq!(kind(json!("resolved")), Kind::Resolved);
    for firing in [json!("firing"), json!("suppressed"), json!(null), json!(7)] {
        assert_eq!(kind(firing), Kind::Firing);
    }
}

#[test]
fn a17_alerts_cut_off_upstream_are_counted_and_nonsense_is_none() {
    let cut = |field: &str| split(&Bytes::from(format!("{{{field}\"alerts\":[{{}}]}}"))).unwrap().truncated;
    assert_eq!(cut("\"truncatedAlerts\":7,"), 7);
    assert_eq!((cut(""), cut("\"truncatedAlerts\":-1,"), cut("\"truncatedAlerts\":\"7\",")), (0, 0, 0));
}

#[test]
fn a18_a_webhook_is_split_in_its_order_byte_for_byte() {
    let body = Bytes::from_static(WEBHOOK.as_bytes());
    let webhook = split(&body).unwrap();
    assert_eq!(webhook.alerts.len(), 3);
    for alert in &webhook.alerts {
        let text = std::str::from_utf8(alert).unwrap();
        assert!(WEBHOOK.contains(text) && text.starts_with('{') && text.ends_with('}'));
    }
    assert_eq!(webhook.receiver.as_deref(), Some("breakwater"));
    assert!(webhook.group_key.unwrap().starts_with(r#"{}/{severity=~"critical|warning"}"#));
}
