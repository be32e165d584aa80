//! Group B on real servers: Kubernetes events, as records and as objects.

use crate::harness::alerts::{event, strangers};
use crate::harness::case::{Case, EVENTS, name};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn b01_a_warning_about_a_pod_is_one_object() {
    let case = Case::shared("b01", &["shop"]).await;
    case.event(&event("OOMKilled", &case.namespace("shop"), "payment-1")).await;
    let object = case.object("shop").await;
    let spec = &object["spec"];
    let target = json!({ "kind": "Pod", "name": "payment-1", "namespace": case.namespace("shop"), "apiVersion": "v1" });
    assert_eq!(spec["targetResource"], target);
    for (field, value) in [
        ("signalName", "OOMKilled"),
        ("signalType", "kubernetes-event"),
        ("signalSource", "kubernetes-events"),
        ("severity", "critical"),
    ] {
        assert_eq!(spec[field], value, "spec.{field}");
    }
    case.settled().await;
    case.object("shop").await;
}

#[tokio::test]
async fn b02_the_same_event_in_both_forms_is_one_object_counted_twice() {
    let case = Case::shared("b02", &["shop"]).await;
    let shop = case.namespace("shop");
    let newer = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": "payment-1.18b0", "namespace": shop },
        "type": "Warning",
        "reason": "OOMKilled",
        "note": "Memory cgroup out of memory",
        "regarding": { "apiVersion": "v1", "kind": "Pod", "name": "payment-1", "namespace": shop },
        "eventTime": "2026-11-21T06:58:12.000000Z",
        "series": { "count": 2, "lastObservedTime": "2026-11-21T06:58:13.000000Z" },
        "reportingController": "kubelet",
        "reportingInstance": "node-1",
    });
    let first = case.event(&event("OOMKilled", &shop, "payment-1")).await;
    let second = case.event(&newer).await;
    assert_eq!(first["alerts"][0]["fingerprint"], second["alerts"][0]["fingerprint"]);
    case.counted("shop", 1, 2).await;
    case.settled().await;
    case.counted("shop", 1, 2).await;
}

#[tokio::test]
async fn b10_fifteen_events_at_once_are_one_storm() {
    let case = Case::shared("b10", &["shop"]).await;
    let watch = case.record("shop").await;
    let pods: Vec<Value> =
        (0..15).map(|pod| event("FailedScheduling", &case.namespace("shop"), &format!("pod-{pod}"))).collect();
    join_all(pods.iter().map(|pod| case.event(pod))).await;
    let object = case.object("shop").await;
    assert_eq!(object["spec"]["isStorm"], true);
    let told = &object["spec"]["stormAggregation"];
    assert_eq!((&told["alertCount"], &told["totalAffectedResources"]), (&json!(15), &json!(15)));
    let listed = told["affectedResources"].as_array().expect("a list");
    let names: BTreeSet<String> = listed.iter().map(|one| one["name"].to_string()).collect();
    assert_eq!((listed.len(), names.len()), (15, 15));
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
}

#[tokio::test]
async fn b11_alerts_and_events_together_are_each_an_object_of_their_own_source() {
    let case = Case::shared("b11", &["shop"]).await;
    let events: Vec<Value> =
        (0..20).map(|n| event(&format!("Reason{n}"), &case.namespace("shop"), &format!("pod-{n}"))).collect();
    let alerts = strangers("Alert", &case.namespace("shop"), 20);
    let posts = events.iter().enumerate().map(|(n, event)| case.send(n, EVENTS, event.to_string()));
    tokio::join!(case.post_each(&alerts), join_all(posts));
    let objects = case.objects("shop", 40).await;
    let of_source = |source: &str| objects.iter().filter(|object| object["spec"]["signalSource"] == source).count();
    assert_eq!((of_source("prometheus"), of_source("kubernetes-events")), (20, 20));
    case.settled().await;
    case.objects("shop", 40).await;
}
