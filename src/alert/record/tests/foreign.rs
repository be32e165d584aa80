//! Group K: records of a stranger's, and what headers say.

use super::*;

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
