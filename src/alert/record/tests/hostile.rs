//! Group C: what is broken, hostile or odd.

use super::*;

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
    let door = |alert| crate::alert::record::identify(alert, &Headers::default(), &IdentityRules::default(), 8);
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
