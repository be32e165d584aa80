//! Group D: which alerts are the same one.

use super::*;

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
