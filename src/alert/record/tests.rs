use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::alert::prometheus::split;

const AT: EventTime = EventTime(1_000);
const CORE: &str = include_str!("../../../schemas/examples/kubernetes-event-core-v1.json");
const EVENTS: &str = include_str!("../../../schemas/examples/kubernetes-event-events-v1.json");
const WEBHOOK: &str = include_str!("../../../schemas/examples/alertmanager-v4.json");
const NODE: &str = include_str!("../../../schemas/examples/alertmanager-v4-node.json");
const HOSTILE: &str = include_str!("../../../schemas/examples/alertmanager-v4-hostile.json");

fn headers(pairs: &[(&str, &'static str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value.as_bytes()))).collect())
}

fn identify(value: &[u8], headers: &Headers, rules: &IdentityRules) -> Result<Identity, AlertError> {
    super::identify(value, headers, rules, MAX_NESTING)
}

fn read_as(value: &str, headers: &Headers) -> Result<Signal, AlertError> {
    parse(&Bytes::from(value.to_owned()), headers, AT, &IdentityRules::default())
}

/// A stranger's record: no headers, and hence recognised by its content.
fn alert(value: &str) -> Alert {
    match read_as(value, &Headers::default()) {
        Ok(Signal::Alert(alert)) => *alert,
        other => panic!("{value}: {other:?}"),
    }
}

fn refused(value: &str) -> AlertError {
    read_as(value, &Headers::default()).unwrap_err()
}

/// An alert with these labels, beside its name.
fn labelled(labels: &[(&str, &str)]) -> Alert {
    let mut all = json!({"alertname": "A"});
    for (name, value) in labels {
        all[*name] = json!(value);
    }
    alert(&json!({ "labels": all }).to_string())
}

fn target(labels: &[(&str, &str)]) -> (String, String) {
    let Target { kind, name, .. } = labelled(labels).target;
    (kind, name)
}

fn starts(starts_at: &Value) -> Option<String> {
    alert(&json!({"labels": {"alertname": "A"}, "startsAt": starts_at}).to_string()).starts_at.map(EventTime::rfc3339)
}

/// The core/v1 example with some fields replaced; null takes one away.
fn event(changes: &[(&str, Value)]) -> String {
    let mut event: Value = serde_json::from_str(CORE).unwrap();
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(field);
        } else {
            parent.insert(field.to_owned(), value.clone());
        }
    }
    event.to_string()
}

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

#[test]
fn c01_what_is_no_json_is_told_by_line_and_column() {
    for text in ["{\"labels\":\n {", "{\"labels\":{}} x", "\"", "{", "nul"] {
        let fault = refused(text);
        assert_eq!(fault.reason, "malformed", "{text}");
        assert!(fault.text.contains(" at line "), "{fault}");
    }
}

#[test]
fn c02_a_webhook_without_alerts_is_none() {
    for body in ["", "null", "[]", "{}", "\"x\"", "[[{}]]", "{\"alerts\":null}", "{\"alerts\":{}}", "{\"alerts\":[]}"] {
        assert!(split(&Bytes::from_static(body.as_bytes())).is_err(), "{body}");
    }
}

#[test]
fn c03_an_alert_of_another_form_is_refused_by_its_field() {
    let ours = headers(&[(headers::SOURCE, "prometheus")]);
    let names = |value: &str, named: &str| {
        let fault = read_as(value, &ours).unwrap_err();
        assert!(fault.reason == "invalid" && fault.text.contains(named), "{value}: {fault}");
    };
    names("\"nonsense\"", "must be an object, got a string");
    names("12", "got a number");
    names("null", "got null");
    names("[]", "got an array");
    names("{}", "`labels`");
    names(r#"{"labels":null}"#, "labels");
    names(r#"{"labels":[]}"#, "labels");
    names(r#"{"labels":{"alertname":"A","replicas":-5}}"#, "label `replicas`");
    names(r#"{"labels":{"alertname":"A","x":null}}"#, "label `x`");
    names(r#"{"labels":{"alertname":"A","x":{"y":"z"}}}"#, "label `x`");
    names(r#"{"labels":{"alertname":"A"},"annotations":{"runbook":7}}"#, "annotation `runbook`");
    assert!(read_as(r#"{"labels":{"alertname":"A"},"annotations":null}"#, &ours).is_ok());
}

#[test]
fn c03_a_fault_never_repeats_what_is_long() {
    let fault = refused(&json!({"labels": "x".repeat(100_000)}).to_string());
    assert!(fault.text.len() < 500 && fault.text.contains(" at line 1 column "), "{fault}");
    let fault = refused(&format!(r#"{{"labels":{{"{}":1}}}}"#, "k".repeat(100_000)));
    assert!(fault.text.len() < 500, "{fault}");
}

#[test]
fn c04_an_alert_needs_a_name() {
    for labels in [json!({}), json!({"alertname": ""}), json!({"alertname": " \t"}), json!({"AlertName": "A"})] {
        assert!(refused(&json!({ "labels": labels }).to_string()).text.contains("`alertname`"), "{labels}");
    }
}

#[test]
fn c05_raw_nul_and_broken_text_are_refused_and_escapes_are_kept() {
    assert!(split(&Bytes::from_static(b"{\"alerts\":[{\"labels\":{\"alertname\":\"A\0\"}}]}")).is_err());
    assert!(split(&Bytes::from_static(b"{\"alerts\":[{\"labels\":{\"alertname\":\"A\xff\"}}]}")).is_err());
    let webhook = split(&Bytes::from_static(HOSTILE.as_bytes())).unwrap();
    let read: Vec<_> = webhook
        .alerts
        .iter()
        .map(|one| identify(one, &headers(&[(headers::SOURCE, "prometheus")]), &IdentityRules::default()))
        .collect();
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, false, true]);
    assert_eq!(read[4].as_ref().unwrap_err().reason, "malformed");
    assert_eq!(alert(std::str::from_utf8(&webhook.alerts[5]).unwrap()).annotations["text"], "a\0b");
    assert_eq!(webhook.truncated, 7);
}

#[test]
fn c08_what_nests_too_deep_is_refused_and_nothing_overflows() {
    for deep in [10_000, 900_000] {
        assert_eq!(refused(&"[".repeat(deep)).reason, "malformed");
        assert_eq!(split(&Bytes::from("[".repeat(deep))).unwrap_err().reason, "malformed");
    }
    let nested =
        |depth: usize| format!(r#"{{"labels":{{"alertname":"A"}},"x":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(read_as(&nested(MAX_NESTING - 1), &Headers::default()).is_ok());
    assert!(refused(&nested(10_000)).text.contains("nested deeper than 100"));
    let webhook = split(&Bytes::from(format!(r#"{{"alerts":[{},{}]}}"#, nested(900_000), nested(1)))).unwrap();
    let door = |alert| super::identify(alert, &Headers::default(), &IdentityRules::default(), 8);
    assert!(door(&webhook.alerts[0]).is_err() && door(&webhook.alerts[1]).is_ok());
    assert!(door(nested(8).as_bytes()).is_err());
}

#[test]
fn c10_thousands_of_labels_are_text_and_no_target() {
    let mut labels = json!({"alertname": "A", "replicas": "-5", "a": "1e9", "b": "NaN", "../../pod": "x"});
    for number in 0..5_000 {
        labels[format!("label_{number}")] = json!("v");
    }
    let read = alert(&json!({ "labels": labels }).to_string());
    assert_eq!((read.labels.len(), read.labels["replicas"].as_str()), (5_005, "-5"));
    assert_eq!(read.target.kind, "Unknown");
}

#[test]
fn c11_of_a_key_given_twice_the_last_one_counts() {
    let twice = alert(r#"{"labels":{"alertname":"A","pod":"first","alertname":"B","pod":"last"}}"#);
    let once = alert(r#"{"labels":{"alertname":"B","pod":"last"}}"#);
    assert_eq!(twice.fingerprint, once.fingerprint);
    assert_eq!((twice.name.as_str(), twice.labels["pod"].as_str()), ("B", "last"));
}

#[test]
fn c13_hostile_names_are_kept_verbatim() {
    for name in ["a\r\nb", "\u{1b}[31m", "'; DROP TABLE", "${jndi:x}", "{{.}}", "$(id)", "🔥", "ไทย", "警报", "إنذار"]
    {
        assert_eq!(alert(&json!({"labels": {"alertname": name}}).to_string()).name, name);
    }
}

#[test]
fn c17_unknown_fields_are_no_matter() {
    let text = r#"{"labels":{"alertname":"A"},"new":{"deep":[1,2]},"kind":7,"status":{"x":1},"startsAt":{}}"#;
    assert_eq!(alert(text).raw, text);
}

#[test]
fn d01_the_order_of_labels_does_not_matter() {
    let one = alert(r#"{"labels":{"alertname":"A","namespace":"n","pod":"p","x":"1"}}"#);
    let other = alert(r#"{"labels":{"x":"2","pod":"p","namespace":"n","alertname":"A"},"annotations":{"a":"b"}}"#);
    assert_eq!(one.fingerprint, other.fingerprint);
    let text = one.fingerprint.to_string();
    assert!(text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
}

#[test]
fn d02_each_identity_field_tells_alerts_apart() {
    let base = [("namespace", "n"), ("pod", "p"), ("cluster", "c")];
    let with = |change: (&'static str, &'static str)| labelled(&[&base[..], &[change]].concat()).fingerprint;
    let all = std::collections::BTreeSet::from([
        labelled(&base).fingerprint,
        with(("alertname", "B")),
        with(("namespace", "m")),
        with(("deployment", "p")),
        with(("pod", "q")),
        with(("cluster", "d")),
    ]);
    assert_eq!(all.len(), 6);
}

#[test]
fn d03_what_is_no_identity_field_does_not_count() {
    let text = r#"{"labels":{"alertname":"A","pod":"p","severity":"critical","team":"x"},"annotations":{"a":"b"},
                  "startsAt":"2026-01-01T00:00:00Z","generatorURL":"http://x","status":"resolved"}"#;
    assert_eq!(alert(text).fingerprint, labelled(&[("pod", "p")]).fingerprint);
}

#[test]
fn d06_an_absent_field_is_an_empty_one() {
    assert_eq!(labelled(&[("cluster", ""), ("namespace", "")]).fingerprint, labelled(&[]).fingerprint);
    assert_eq!(labelled(&[("cluster", "")]).cluster, None);
}

#[test]
fn d07_decoded_bytes_count_and_nothing_is_folded() {
    let named = |name: &str| alert(&format!(r#"{{"labels":{{"alertname":"{name}"}}}}"#)).fingerprint;
    assert_eq!(named("A"), named("\\u0041"));
    assert_ne!(named("A"), named("a"));
    assert_ne!(named("\u{e9}"), named("e\u{301}"));
}

#[test]
fn d08_identity_may_be_namespace_and_a_label() {
    let fields = vec![IdentityField::Namespace, IdentityField::Label("team".to_owned())];
    let rules = IdentityRules { fields, ..IdentityRules::default() };
    let of = |text: &str| identify(text.as_bytes(), &Headers::default(), &rules).unwrap().fingerprint;
    let one = of(r#"{"labels":{"alertname":"A","namespace":"n","team":"t","pod":"p"}}"#);
    assert_eq!(one, of(r#"{"labels":{"alertname":"B","namespace":"n","team":"t"}}"#));
    assert_ne!(one, of(r#"{"labels":{"alertname":"A","namespace":"n","team":"u"}}"#));
}

/// Another value here would double every live incident at the next upgrade.
#[test]
fn d09_the_fingerprints_of_all_examples_are_pinned() {
    let mut all = Vec::new();
    for body in [WEBHOOK, NODE, HOSTILE] {
        let rules = IdentityRules::default();
        let webhook = split(&Bytes::from_static(body.as_bytes())).unwrap();
        all.extend(webhook.alerts.iter().filter_map(|one| identify(one, &Headers::default(), &rules).ok()));
    }
    let mut pinned: Vec<String> = all.iter().map(|identity| identity.fingerprint.to_string()).collect();
    pinned.extend([CORE, EVENTS].map(|event| alert(event).fingerprint.to_string()));
    assert_eq!(pinned, PINNED);
}

const PINNED: [&str; 9] = [
    "ac1d412bdcbcc4440692224f80a885ebc56de265888f7f50bd77590d604d5002",
    "3e5557b4078e98ff140054766b4b8d3e52a8079fc842a7e1e8ce8e96ee1eb3e9",
    "2c2a3495fce5968105b46f93b029ca0b15956453a8868e84119fd2a8ebac1a59",
    "92283def024f964610f064f5b1da5a80c1fa1fe1fdfa722162d338114bcb485c",
    "1ca619d9416b27daf9c33cd250df91651748aafac1ddc31c3ecd2c8f5f84ec62",
    "129b83ce320f97431bee2330440ff30fb83ab65f127f1dbf59767b6b851cfdeb",
    "0845bbb50d90207a6b790d4f27af11c95140b2cf3b8871e78febe072e29cde67",
    "9b635d0643d9531ad2489ff3f300a9a6c0bfd2f743839812904b523200811760",
    "9b635d0643d9531ad2489ff3f300a9a6c0bfd2f743839812904b523200811760",
];

#[test]
fn d10_an_event_and_an_alert_of_the_same_name_and_target_are_one() {
    let text = r#"{"labels":{"alertname":"OOMKilled","namespace":"shop","pod":"payment-7d4b9c5f6d-x2x8q"}}"#;
    assert_eq!(alert(text).fingerprint, alert(CORE).fingerprint);
}

#[test]
fn d13_identity_without_the_name_makes_two_reasons_one() {
    let rules = IdentityRules {
        fields: vec![IdentityField::Namespace, IdentityField::Kind, IdentityField::Resource],
        ..IdentityRules::default()
    };
    let of = |reason: &str, rules| {
        identify(event(&[("/reason", json!(reason))]).as_bytes(), &Headers::default(), rules).unwrap().fingerprint
    };
    assert_eq!(of("FailedMount", &rules), of("OOMKilled", &rules));
    assert_ne!(of("FailedMount", &IdentityRules::default()), of("OOMKilled", &IdentityRules::default()));
}

#[test]
fn k07_a_strangers_record_is_recognised_by_its_content() {
    let text = r#"{"labels":{"alertname":"A","pod":"p"}}"#;
    let ours = headers(&[(headers::SCHEMA, "1"), (headers::SOURCE, "prometheus"), (headers::KIND, "firing")]);
    assert_eq!(read_as(text, &ours), read_as(text, &Headers::default()));
    let rules = IdentityRules::default();
    assert_eq!(identify(CORE.as_bytes(), &Headers::default(), &rules).unwrap().source, Source::KubernetesEvents);
}

#[test]
fn k09_what_cannot_be_read_says_why() {
    for (value, reason) in [
        ("not json", "malformed"),
        ("", "malformed"),
        ("null", "invalid"),
        ("{}", "no_alert"),
        (r#"{"alerts":[{"labels":{"alertname":"A"}}]}"#, "no_alert"),
    ] {
        assert_eq!(refused(value).reason, reason, "{value}");
    }
    let good = r#"{"labels":{"alertname":"A"}}"#;
    for header in [(headers::SCHEMA, "2"), (headers::SCHEMA, ""), (headers::KIND, "frozen"), (headers::SOURCE, "x")] {
        let fault = read_as(good, &headers(&[header])).unwrap_err();
        assert!(fault.reason == "unknown_version" && fault.text.contains(header.0), "{fault}");
    }
    let foreign = Headers(vec![(headers::SCHEMA.to_owned(), Bytes::from_static(b"\xff\xfe"))]);
    assert_eq!(read_as(good, &foreign).unwrap_err().reason, "unknown_version");
    let foreign = Headers(vec![("theirs".to_owned(), Bytes::from_static(b"\xff\xfe"))]);
    assert!(read_as(good, &foreign).is_ok());
}

#[test]
fn a_closed_record_is_one_by_its_header_alone() {
    let closed = Closed {
        fingerprint: Fingerprint::of(["a"]).brief(),
        through: EventTime(7),
        object: "shop/a".to_owned(),
        phase: "Completed".to_owned(),
        storm: false,
    };
    let text = serde_json::to_string(&closed).unwrap();
    let ours = headers(&[(headers::SCHEMA, "1"), (headers::KIND, "closed")]);
    assert_eq!(read_as(&text, &ours), Ok(Signal::Closed(closed)));
    assert!(refused(&text).text.contains("no `labels`"));
    assert!(read_as("[]", &ours).is_err());
}

#[test]
fn the_way_of_an_alert_is_told_by_its_headers() {
    let ours = headers(&[
        (headers::RECEIVED_AT, "2026-11-21T07:00:00.250Z"),
        (headers::GROUP_KEY, "{}:{}"),
        (headers::RECEIVER, "breakwater"),
        (headers::TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]);
    let Ok(Signal::Alert(read)) = read_as(r#"{"labels":{"alertname":"A","severity":""}}"#, &ours) else {
        panic!("an alert");
    };
    assert_eq!(read.received_at.rfc3339(), "2026-11-21T07:00:00.250Z");
    assert_eq!((&read.provider["groupKey"], &read.provider["receiver"]), (&json!("{}:{}"), &json!("breakwater")));
    assert!(read.traceparent.is_some());
    assert_eq!(read.severity, None);
}

/// Keys that mean something to us, for most objects to have some.
const KEYS: &str = "alerts labels annotations alertname namespace pod status startsAt kind type reason involvedObject \
                    regarding name source count series message eventTime";

/// JSON of any shape.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2026-11-21T07:00:00Z")),
        Just(json!("Warning")),
        Just(json!("Event")),
    ];
    let ours: Vec<String> = KEYS.split_whitespace().map(str::to_owned).collect();
    let key = prop_oneof![".{0,6}", prop::sample::select(ours)];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let ours = [headers::SCHEMA, headers::SOURCE, headers::KIND, headers::RECEIVED_AT, headers::TRACEPARENT];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        prop::sample::select(vec!["1", "prometheus", "kubernetes-events", "firing", "resolved", "closed"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((prop::sample::select(ours.to_vec()), value), 0..4)
        .prop_map(|all| Headers(all.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()))
}

/// Door and bench never disagree: what the one accepts the other reads, under the same fingerprint.
fn agree(value: Vec<u8>, headers: &Headers) -> Result<(), TestCaseError> {
    let rules = IdentityRules::default();
    let identity = identify(&value, headers, &rules);
    match parse(&Bytes::from(value.clone()), headers, AT, &rules) {
        Ok(Signal::Alert(alert)) => {
            prop_assert_eq!(alert.fingerprint, identity.clone().unwrap().fingerprint);
            prop_assert_eq!((alert.kind, alert.source), identity.map(|one| (one.kind, one.source)).unwrap());
            prop_assert_eq!(&alert.raw[..], &value[..]);
        }
        Ok(Signal::Closed(_)) => {}
        Err(fault) => {
            prop_assert!(fault.text.len() < 2_000 && !fault.text.chars().any(char::is_control));
            let closed = headers.last(headers::KIND) == Some(b"closed");
            prop_assert!(closed || identity == Err(fault));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn o13_any_bytes_are_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..200), headers in any_headers()) {
        agree(value.clone(), &headers)?;
        let _read = split(&Bytes::from(value));
    }

    #[test]
    fn o13_any_json_is_read_or_refused(value in any_json(), headers in any_headers()) {
        agree(value.to_string().into_bytes(), &headers)?;
        if let Ok(webhook) = split(&Bytes::from(value.to_string())) {
            prop_assert_eq!(webhook.alerts.len(), value["alerts"].as_array().unwrap().len());
        }
    }

    #[test]
    fn o13_an_example_with_some_bytes_changed_is_read_or_refused(
        example in prop::sample::select(vec![WEBHOOK, NODE, HOSTILE, CORE, EVENTS]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = example.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agree(bytes.clone(), &Headers::default())?;
        if let Ok(webhook) = split(&Bytes::from(bytes)) {
            for alert in webhook.alerts {
                agree(alert.to_vec(), &Headers::default())?;
            }
        }
    }
}
