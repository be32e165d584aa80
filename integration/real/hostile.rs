//! Group C on real servers: hostile names and sizes, as far as the API server is concerned.

use crate::harness::Shared;
use crate::harness::alerts::{strangers, webhook, with};
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, PROMETHEUS, SOON, name, told};
use crate::harness::wait::until_ok;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn is_dns_label(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(letter) && !text.starts_with('-') && !text.ends_with('-')
}

#[tokio::test]
async fn c07_one_alert_too_large_leaves_nine_small_ones_alone() {
    let case = Case::shared("c07", &["shop"]).await;
    let mut alerts = strangers("Small", &case.namespace("shop"), 9);
    let large = with(case.alert("Large", "shop", "p"), json!({ "annotations": { "text": "x".repeat(400 * 1024) } }));
    alerts.insert(4, large);
    let answer = case.send(0, PROMETHEUS, webhook(&alerts).to_string()).await;
    assert_eq!(answer["accepted"], 9);
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(1));
    let (index, reason) =
        (&answer["rejected"][0]["index"], answer["rejected"][0]["reason"].as_str().expect("a reason"));
    let size = alerts[4].to_string().len();
    assert_eq!(index, 4);
    assert!(reason.contains(&size.to_string()) && reason.contains(&(384 * 1024).to_string()), "{reason}");
    case.objects("shop", 9).await;
    case.settled().await;
    case.objects("shop", 9).await;
}

#[tokio::test]
async fn c09_a_large_label_and_a_large_annotation_are_whole_in_the_spec() {
    let case = Case::shared("c09", &["shop"]).await;
    let (label, annotation) = ("l".repeat(10 * 1024), "a".repeat(300 * 1024));
    let overlay = json!({ "labels": { "large": label }, "annotations": { "large": annotation } });
    let alert = with(case.alert("Large", "shop", "p"), overlay);
    case.post(std::slice::from_ref(&alert)).await;
    let object = case.object("shop").await;
    let spec = &object["spec"];
    assert!(spec["signalLabels"]["large"] == json!(label), "the label is whole");
    assert!(spec["signalAnnotations"]["large"] == json!(annotation), "the annotation is whole");
    assert!(spec["originalPayload"] == json!(alert.to_string()), "the payload is whole");
    let kept = object["metadata"]["annotations"].as_object().expect("annotations");
    assert!(kept.values().filter_map(Value::as_str).map(str::len).sum::<usize>() < 256 * 1024);
    assert!(kept["large"].as_str().is_some_and(|text| text.ends_with("… [cut]")));
}

/// Posts alerts of these names about one pod; each must be one object that says the name verbatim.
async fn are_objects(case: &Case, names: &[&str]) {
    let alerts: Vec<Value> = names.iter().map(|name| case.alert(name, "shop", "p")).collect();
    case.post(&alerts).await;
    let objects = case.objects("shop", names.len()).await;
    let signals: BTreeSet<&str> = objects.iter().filter_map(|object| object["spec"]["signalName"].as_str()).collect();
    assert_eq!(signals, names.iter().copied().collect());
    assert!(objects.iter().all(|object| is_dns_label(name(object))), "{}", told(&objects));
}

#[tokio::test]
async fn c12_names_in_any_script_are_kept_verbatim() {
    let case = Case::shared("c12", &["shop"]).await;
    are_objects(&case, &["🔥💥", "หน่วยความจำเต็ม", "内存不足", "الذاكرة ممتلئة", "שגיאה", "e\u{301}té"]).await;
}

#[tokio::test]
async fn c13_nothing_in_a_name_is_evaluated() {
    let case = Case::shared("c13", &["shop"]).await;
    let names = [
        "line\r\nbreak: x",
        "\u{1b}[31mred\u{1b}[0m",
        "quote\"'`",
        "'; DROP TABLE alerts; --",
        "${jndi:ldap://127.0.0.1/x}",
        "{{.Labels}}",
        "$(id)",
    ];
    are_objects(&case, &names).await;
}

#[tokio::test]
async fn c14_no_call_leaves_its_path() {
    let case = Case::shared("c14", &["shop"]).await;
    let long = "n".repeat(300);
    let namespaces = ["../kube-system", "Bad NS!", &long, "a/b", "."];
    let mark = format!("Escape-{}", case.scope.name);
    let mut alerts: Vec<Value> = namespaces
        .iter()
        .map(|bad| with(case.alert(&mark, "shop", "p"), json!({ "labels": { "namespace": bad } })))
        .collect();
    alerts.push(case.alert("Pod", "shop", "../../kube-system/x"));
    case.post(&alerts).await;
    let object = case.object("shop").await;
    assert_eq!(object["spec"]["targetResource"]["name"], "../../kube-system/x");
    let objects = until_ok(SOON, "an object for each in the fallback namespace", async || {
        let mut seen = case.kube.list(&case.fallback).await;
        seen.retain(|object| object["spec"]["signalName"] == json!(mark));
        if seen.len() == namespaces.len() { Ok(seen) } else { Err(told(&seen)) }
    })
    .await;
    let as_sent: BTreeSet<&str> =
        objects.iter().filter_map(|object| object["spec"]["targetResource"]["namespace"].as_str()).collect();
    assert_eq!(as_sent, namespaces.iter().copied().collect());
    case.settled().await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"; // whether it may do what it is for
    let ours = ["/apis/remediation.kubernaut.io/v1alpha1/", "/version", reviews];
    let strayed: Vec<_> = asked_by(&Shared::get().audit, "breakwater-sink", "")
        .into_iter()
        .filter(|asked| !ours.iter().any(|path| asked.uri.starts_with(path)) || asked.uri.contains(".."))
        .collect();
    assert_eq!(strayed, []);
}
