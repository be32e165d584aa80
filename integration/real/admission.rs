//! Group I on real servers: what admission forbids, object by object and namespace by namespace.

use crate::harness::Shared;
use crate::harness::alerts::strangers;
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, SOON, at_once};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::drafts::{drafts, object_of};
use crate::harness::hook::Hook;
use crate::harness::kafka::Record;
use crate::harness::wait::{until_eq, until_ok};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

async fn without_sink(scenario: &str, words: &[&str]) -> (Case, Deployment) {
    Case::own(scenario, words, at_once(), Shape { sink: 0, ..Shape::ONE }).await
}

/// What the API server answered to the creates of this sink in a namespace.
fn creates(case: &Case, word: &str) -> Vec<u64> {
    let all = asked_by(&Shared::get().audit, "breakwater-sink", &format!("/{}/", case.namespace(word)));
    all.iter().filter(|asked| asked.verb == "create").map(|asked| asked.code).collect()
}

fn refused(letter: &Record) -> String {
    assert_eq!(letter.header("breakwater-dead-letter-reason").as_deref(), Some("refused"));
    letter.header("breakwater-dead-letter-detail").expect("a detail")
}

/// Waits until admission refuses an object, asked without making it, with that word in its sentence.
async fn admission_refuses(case: &Case, object: &Value, word: &str) {
    until_ok(SOON, "admission to be in force", async || match case.kube.apply(object, true).await {
        Err(kube::Error::Api(status)) if status.message.contains(word) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

fn config_map(namespace: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "probe", "namespace": namespace } })
}

/// A quota in force. Nobody here computes its status, as a controller manager would, so the test does; a resource that
/// may not be made at all shows when the API server has heard of it.
async fn quota(case: &Case, word: &str, objects: &str) {
    let namespace = case.namespace(word);
    let kind = "count/remediationrequests.remediation.kubernaut.io";
    let hard = json!({ "count/configmaps": "0", kind: objects });
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "spec": { "hard": hard },
                        "metadata": { "name": "three-at-most", "namespace": namespace } });
    case.kube.apply(&quota, false).await.expect("a quota is accepted");
    let status = json!({ "status": { "hard": hard, "used": { "count/configmaps": "0", kind: "0" } } });
    let quotas: Api<ResourceQuota> = Api::namespaced(case.kube.client.clone(), &namespace);
    let set = quotas.patch_status("three-at-most", &PatchParams::default(), &Patch::Merge(&status)).await;
    set.expect("a quota's status can be set");
    admission_refuses(case, &config_map(&namespace), "exceeded quota").await;
}

#[tokio::test]
async fn i15_a_quota_lets_so_many_pass_and_the_rest_name_it() {
    let (case, mut stages) = without_sink("i15", &["a", "b"]).await;
    quota(&case, "a", "3").await;
    case.post(&[strangers("A", &case.namespace("a"), 5), strangers("B", &case.namespace("b"), 5)].concat()).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("a", 3, 1).await;
    case.counted("b", 5, 1).await;
    case.settled().await;
    let letters = case.kafka.read(&case.dead_letters).await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(letter.json()["incident"]["namespace"], json!(case.namespace("a")));
        let detail = refused(letter);
        assert!(detail.contains("code=403") && detail.contains("exceeded quota: three-at-most"), "{detail}");
    }
    let forbidden = async || creates(&case, "a").iter().filter(|code| **code == 403).count();
    until_eq(SOON, "one refusal for each", 2, forbidden).await;
    case.objects("a", 3).await;
}

#[tokio::test]
async fn i16_a_namespace_that_is_terminating_is_named_as_the_cause() {
    let (case, mut stages) = without_sink("i16", &["a", "b"]).await;
    case.kube.terminate(&case.namespace("a")).await;
    admission_refuses(&case, &config_map(&case.namespace("a")), "being terminated").await;
    case.post(&[strangers("A", &case.namespace("a"), 2), strangers("B", &case.namespace("b"), 2)].concat()).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("b", 2, 1).await;
    case.settled().await;
    let letters = case.kafka.read(&case.dead_letters).await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let detail = refused(letter);
        assert!(detail.contains("code=403 reason=NamespaceTerminating"), "{detail}");
    }
    until_eq(SOON, "one request for each", vec![403, 403], async || creates(&case, "a")).await;
    assert_eq!(case.kube.list(&case.fallback).await, Vec::<Value>::new());
}

#[tokio::test]
async fn i17_a_webhook_that_denies_is_final_and_one_that_is_away_is_waited_for() {
    let (case, mut stages) = without_sink("i17", &["denied", "waits"]).await;
    let folder = case.scope.path("");
    let (denies, away) = (Hook::planned(&folder), Hook::planned(&folder));
    denies.listen(Some("not on a Friday"));
    for (hook, word) in [(&denies, "denied"), (&away, "waits")] {
        let namespace = case.namespace(word);
        case.kube.apply(&hook.manifest(&namespace, &namespace), false).await.expect("a webhook is accepted");
    }
    let alerts = ["denied", "waits"].map(|word| case.alert("Asked", word, "p"));
    case.post(&alerts).await;
    for draft in drafts(&case, 2).await {
        let waits = draft["incident"]["namespace"] == json!(case.namespace("waits"));
        let word = if waits { "failed calling webhook" } else { "not on a Friday" };
        admission_refuses(&case, &object_of(&draft), word).await;
    }
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let failed = async || creates(&case, "waits").len() >= 3;
    until_eq(SOON, "several attempts while the webhook is away", true, failed).await;
    assert!(creates(&case, "waits").iter().all(|code| *code == 500));
    case.objects("waits", 0).await;
    away.listen(None);
    case.counted("waits", 1, 1).await;
    case.settled().await;
    assert_eq!((denies.heard().len(), away.heard().len()), (1, 1));
    until_eq(SOON, "one request that is denied", vec![403], async || creates(&case, "denied")).await;
    case.objects("denied", 0).await;
    let letters = case.kafka.read(&case.dead_letters).await;
    assert_eq!(letters.len(), 1);
    let detail = refused(&letters[0]);
    assert!(detail.contains("hook.example.org") && detail.contains("not on a Friday"), "{detail}");
}
