//! The fire alarm check as `deploy/canary` runs it, with its own rights: through the door, out again, and deleted.

use crate::harness::Shared;
use crate::harness::audit;
use crate::harness::case::{Case, SOON};
use crate::harness::kube::{manifests, write_kubeconfig};
use crate::harness::product::Product;
use crate::harness::repository;
use crate::harness::wait::until_eq;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The account of `deploy/canary`, and its role in a namespace of the test's own; its token.
async fn account(case: &Case, namespace: &str) -> Value {
    for mut manifest in manifests(&repository("deploy/canary/canary.yaml")) {
        match manifest["kind"].as_str() {
            Some("Role" | "RoleBinding") => manifest["metadata"]["namespace"] = json!(namespace),
            Some("ServiceAccount") => {}
            _ => continue,
        }
        case.kube.apply(&manifest, false).await.expect("the rights are accepted");
    }
    json!({ "token": case.kube.token("breakwater-canary").await })
}

#[tokio::test]
async fn p11_a_test_alert_goes_the_whole_way_is_measured_and_is_gone_again() {
    let case = Case::shared("p11", &["sandbox"]).await;
    let namespace = case.namespace("sandbox");
    let watch = case.record("sandbox").await;
    let file = case.scope.path("kubeconfig-canary");
    write_kubeconfig(&file, &case.kube.server().await, account(&case, &namespace).await);
    let mut setting = case.scope.setting(json!({})).with("BREAKWATER_CANARY_NAMESPACE", &namespace);
    setting.kubeconfig = file;
    setting = setting.with("BREAKWATER_CANARY_DOOR", &format!("http://{}", case.doors[0]));
    let canary = Product::start("canary", &setting).await;
    let arrived = "breakwater_canary_latency_seconds_count";
    until_eq(SOON, "a test alert to arrive", 1.0, async || canary.metric(arrived, &[]).await).await;
    case.objects("sandbox", 0).await;
    assert_eq!(watch.names().len(), 1, "one object was there");
    for (name, count) in [("sent_total", 1.0), ("refused_total", 0.0), ("lost_total", 0.0)] {
        assert_eq!(canary.metric(&format!("breakwater_canary_{name}"), &[]).await, count, "{name}");
    }
    assert!(canary.stop().await.success());
    let asked = audit::asked_by(&Shared::get().audit, "breakwater-canary", &namespace);
    let verbs: BTreeSet<&str> = asked.iter().map(|asked| asked.verb.as_str()).collect();
    assert_eq!(verbs, BTreeSet::from(["list", "delete"]), "all of its rights, and no other");
    assert!(asked.iter().all(|asked| asked.code < 300 || asked.code == 404), "{asked:?}");
}
