//! What was set aside is looked at, put back and thrown away: L13 to L16, and the redrives of group I.

use crate::harness::alerts::{alert, strangers};
use crate::harness::case::{Case, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kube::Kube;
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::wait::until_ok;
use crate::refusals::Limited;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

const REDRIVEN_FROM: &str = "breakwater-dead-letter-redriven-from";

/// Waits until so many letters lie in the topic.
async fn letters(case: &Case, count: usize) {
    until_ok(SOON, &format!("{count} dead letters"), async || {
        match usize::try_from(case.kafka.count(&case.dead_letters).await) {
            Ok(seen) if seen == count => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// What `dead-letters list` tells, with these flags.
async fn list(stages: &Deployment, flags: &[&str]) -> Vec<Value> {
    let told = stages.ingest.succeed(&[&["dead-letters", "list", "--output", "json"], flags].concat()).await;
    serde_json::from_str(&told).expect("one JSON document")
}

/// A deployment whose sink hears 422 to its next creates in this namespace.
async fn refusing(scenario: &str, creates: usize) -> (Case, Deployment, Proxy) {
    let (case, mut stages) = Case::own(scenario, &["shop"], unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let proxy = stages.through_proxy().await;
    let fault = Fault::status(422, "Invalid");
    proxy.script(Line { method: "POST", path: case.namespace("shop"), times: creates, fault });
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    (case, stages, proxy)
}

/// Which letters lie in a topic as records that were put back.
async fn redriven(case: &Case, topic: &str) -> Vec<String> {
    let records = case.kafka.read(topic).await;
    records.iter().filter_map(|record| record.header(REDRIVEN_FROM)).collect()
}

#[tokio::test]
async fn l13_dead_letters_are_listed_and_shown_byte_for_byte() {
    let (case, stages) = Case::own("l13", &["shop"], unlimited(), Shape { ingest: 1, work: 1, sink: 0 }).await;
    let strange = b"\xff\x00 { not json\r\n";
    case.kafka.produce(&case.alerts, &[(Some(b"key"), strange)]).await;
    letters(&case, 1).await;
    let nameless = json!({ "status": "firing", "labels": { "severity": "critical" } });
    let webhook = crate::harness::alerts::webhook(&[nameless.clone(), case.alert("Good", "shop", "p")]);
    let answer = case.send(0, crate::harness::case::PROMETHEUS, webhook.to_string()).await;
    assert_eq!(answer["accepted"], json!(1));
    letters(&case, 2).await;

    let all = list(&stages, &[]).await;
    let facts = |one: &Value| ["letter", "stage", "reason", "attempts"].map(|key| one[key].clone());
    let expected = [
        [json!("0/0"), json!("work"), json!("malformed"), json!(1)],
        [json!("0/1"), json!("ingest"), json!("invalid"), json!(1)],
    ];
    assert_eq!(all.iter().map(facts).collect::<Vec<_>>(), expected);
    assert!(all[0]["origin"].as_str().is_some_and(|origin| origin.starts_with(&format!("{}/", case.alerts))));
    assert_eq!(all[1]["origin"], json!("/api/v1/signals/prometheus"));
    assert!(all.iter().all(|one| one["age"].as_str().is_some_and(|age| age.ends_with('s'))), "{all:?}");
    let invalid = list(&stages, &["--reason", "invalid"]).await;
    assert_eq!(invalid.iter().map(facts).collect::<Vec<_>>(), expected[1..]);
    assert_eq!(list(&stages, &["--stage", "work"]).await.len(), 1);
    assert_eq!(list(&stages, &["--to", "-1h"]).await, [] as [Value; 0]);
    let table = stages.ingest.succeed(&["dead-letters", "list"]).await;
    assert_eq!(table.lines().count(), 3);
    assert!(table.starts_with("LETTER  AGE"), "{table}");

    for flags in [&["0/0"][..], &["--reason", "malformed"]] {
        let shown = stages.ingest.run(&[&["dead-letters", "show"], flags].concat()).await;
        assert!(shown.status.success());
        assert_eq!(shown.stdout, strange, "{flags:?}");
    }
    let shown = stages.ingest.succeed(&["dead-letters", "show", "0/1"]).await;
    assert_eq!(shown, nameless.to_string());
    assert_eq!(stages.ingest.run(&["dead-letters", "show", "0/9"]).await.status.code(), Some(1));
    assert_eq!(stages.ingest.run(&["dead-letters", "show", "nine"]).await.status.code(), Some(64));
    assert_eq!(case.kafka.count(&case.dead_letters).await, 2, "looking changes nothing");
}

#[tokio::test]
async fn l14_what_was_set_aside_is_put_back_once_the_cause_is_mended() {
    let (case, stages, _proxy) = refusing("l14", 12).await;
    case.post(&strangers("Refused", &case.namespace("shop"), 12)).await;
    letters(&case, 12).await;
    case.objects("shop", 0).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive", "--reason", "refused"]).await;
    assert!(told.starts_with("redriven: 12\nput back before: 0\ncame back: 0\n"), "{told}");
    let objects = case.counted("shop", 12, 1).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive"]).await;
    assert!(told.starts_with("redriven: 0\nput back before: 12\ncame back: 0\n"), "{told}");
    case.settled().await;
    assert_eq!(case.counted("shop", 12, 1).await, objects);
    assert_eq!(redriven(&case, &case.remediations).await.len(), 12);
}

#[tokio::test]
async fn l15_what_is_still_bad_comes_back_once_with_one_attempt_more() {
    let (case, stages) = Case::own("l15", &["shop"], unlimited(), Shape { ingest: 1, work: 1, sink: 0 }).await;
    let good = alert("Good", &case.namespace("shop"), "p").to_string();
    case.kafka.produce(&case.alerts, &[(Some(b"key"), b"{ not json"), (Some(b"key"), good.as_bytes())]).await;
    letters(&case, 1).await;
    for attempts in [2, 3] {
        let ended = stages.ingest.run(&["dead-letters", "redrive"]).await;
        let (told, why) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(1), "{told}{why}");
        assert!(told.starts_with("redriven: 1\n") && told.contains("came back: 1\n"), "{told}");
        assert!(why.contains("1 came back"), "{why}");
        let rows = list(&stages, &[]).await;
        assert_eq!(rows.len(), attempts, "{rows:?}");
        assert_eq!(rows.last().map(|row| row["attempts"].clone()), Some(json!(attempts)));
    }
    case.settled_by_work().await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 3, "no loop");
}

#[tokio::test]
async fn l16_a_redrive_that_is_killed_half_way_goes_on_where_it_ended() {
    let (case, stages, _proxy) = refusing("l16", 50).await;
    case.post(&strangers("Refused", &case.namespace("shop"), 50)).await;
    letters(&case, 50).await;
    let doomed = stages.ingest.clone().with("BREAKWATER_CRASH_AT", "redrive-published:2");
    let ended = doomed.run(&["dead-letters", "redrive"]).await;
    assert_eq!(ended.status.signal(), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(redriven(&case, &case.remediations).await.len(), 40);
    let told = stages.ingest.succeed(&["dead-letters", "redrive"]).await;
    assert!(told.starts_with("redriven: 10\nput back before: 40\ncame back: 0\n"), "{told}");
    case.counted("shop", 50, 1).await;
    let back = redriven(&case, &case.remediations).await;
    assert_eq!((back.len(), back.iter().collect::<BTreeSet<_>>().len()), (50, 50), "each landed once");
}

#[tokio::test]
async fn l14_what_is_no_longer_wanted_is_purged_from_the_front() {
    let (case, stages) = Case::own("l14p", &["shop"], unlimited(), Shape { ingest: 1, work: 1, sink: 0 }).await;
    let large = format!("{{\"labels\":{{\"alertname\":\"{}\"}}}}", "A".repeat(400_000));
    for value in [&b"{ one"[..], b"{ two", large.as_bytes(), b"{ four"] {
        let before = case.kafka.count(&case.dead_letters).await;
        case.kafka.produce(&case.alerts, &[(None, value)]).await;
        letters(&case, usize::try_from(before).expect("a count") + 1).await;
    }
    let told = stages.ingest.succeed(&["dead-letters", "purge", "--reason", "malformed"]).await;
    assert!(told.starts_with("would purge: 2; ") && told.contains("\nstay: 1; "), "{told}");
    assert_eq!(list(&stages, &[]).await.len(), 4);
    let told = stages.ingest.succeed(&["dead-letters", "purge", "--reason", "malformed", "--yes"]).await;
    assert!(told.starts_with("purged: 2\nstay: 1; "), "{told}");
    let left: Vec<Value> = list(&stages, &[]).await.iter().map(|row| row["letter"].clone()).collect();
    assert_eq!(left, [json!("0/2"), json!("0/3")]);
}

#[tokio::test]
async fn i10_a_right_that_is_granted_and_a_redrive_bring_the_objects() {
    let (case, mut stages) = Case::own("i10g", &["a", "b"], unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let limited = Limited::new(&case).await;
    limited.grant(&case.namespace("b")).await;
    limited.grant(&case.fallback).await;
    stages.sink.kubeconfig.clone_from(&limited.kubeconfig);
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&strangers("A", &case.namespace("a"), 3)).await;
    letters(&case, 3).await;
    limited.grant(&case.namespace("a")).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive", "--stage", "sink"]).await;
    assert!(told.starts_with("redriven: 3\n") && told.contains("came back: 0\n"), "{told}");
    case.counted("a", 3, 1).await;
    case.objects("b", 0).await;
}

/// A quota of so many objects in a namespace. There is no controller manager that would count what is used.
async fn quota(kube: &Kube, namespace: &str, hard: u64, used: u64) {
    const WHAT: &str = "count/remediationrequests.remediation.kubernaut.io";
    let hard = json!({ WHAT: hard.to_string() });
    let made = json!({ "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": { "name": "few", "namespace": namespace }, "spec": { "hard": hard } });
    kube.apply(&made, false).await.expect("a quota is accepted");
    let quotas: kube::Api<k8s_openapi::api::core::v1::ResourceQuota> =
        kube::Api::namespaced(kube.client.clone(), namespace);
    let status = json!({ "status": { "hard": hard, "used": { WHAT: used.to_string() } } });
    let told = quotas.patch_status("few", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&status)).await;
    told.expect("a quota has a status");
}

#[tokio::test]
async fn i15_a_quota_refuses_what_is_too_many_and_once_raised_a_redrive_brings_it() {
    let (case, mut stages) = Case::own("i15", &["a", "b"], unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    quota(&case.kube, &case.namespace("a"), 3, 0).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&[strangers("A", &case.namespace("a"), 5), strangers("B", &case.namespace("b"), 5)].concat()).await;
    case.counted("b", 5, 1).await;
    case.counted("a", 3, 1).await;
    letters(&case, 2).await;
    for row in list(&stages, &[]).await {
        let detail = row["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("403") && detail.contains("exceeded quota: few"), "{detail}");
    }
    quota(&case.kube, &case.namespace("a"), 10, 3).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive"]).await;
    assert!(told.starts_with("redriven: 2\n") && told.contains("came back: 0\n"), "{told}");
    case.counted("a", 5, 1).await;
    case.counted("b", 5, 1).await;
}

#[tokio::test]
async fn i16_a_draft_for_a_namespace_that_went_goes_to_the_fallback_by_a_redrive() {
    let (case, mut stages) = Case::own("i16", &["going"], unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let going = case.namespace("going");
    case.kube.terminate(&going).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&[case.alert("Late", "going", "p")]).await;
    letters(&case, 1).await;
    let row = list(&stages, &[]).await.remove(0);
    assert!(row["detail"].as_str().is_some_and(|detail| detail.contains("NamespaceTerminating")), "{row}");
    case.kube.finalize(&going).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive"]).await;
    assert!(told.starts_with("redriven: 1\n") && told.contains("came back: 0\n"), "{told}");
    let objects = case.kube.wait_for(&case.fallback, 1, SOON).await;
    assert_eq!(objects[0]["metadata"]["labels"]["breakwater.io/origin-namespace"], json!(going), "{}", objects[0]);
    assert_eq!(objects[0]["spec"]["signalName"], json!("Late"));
}

/// A door alone needs no more than Kafka: what it set aside for lack of a name is put back with a key once it has one.
#[tokio::test]
async fn l14_a_letter_of_the_door_goes_to_alerts_with_its_key() {
    let (case, mut stages) = Case::own("l14d", &["shop"], unlimited(), Shape { work: 0, ..Shape::ONE }).await;
    let flat = json!({ "status": "firing", "labels": { "alertname": "Deep", "namespace": case.namespace("shop"), "pod": "p" },
                       "deep": nested(70) });
    let ended = crate::harness::http::post(
        &case.doors[0],
        crate::harness::case::PROMETHEUS,
        crate::harness::alerts::webhook(&[flat]).to_string(),
    )
    .await
    .expect("the door answers");
    assert_eq!(ended.status, 400, "it nests deeper than the door takes");
    letters(&case, 1).await;
    let told = stages.ingest.succeed(&["dead-letters", "redrive", "--wait", "0s"]).await;
    assert!(told.contains("redriven: 1\n") && told.contains("not handled yet: 1\n"), "{told}");
    let record = case.kafka.read(&case.alerts).await.remove(0);
    stages.works.push(Product::start("work", &stages.work).await);
    let object = case.object("shop").await;
    assert_eq!(record.key.as_deref(), object["spec"]["signalFingerprint"].as_str().map(str::as_bytes));
}

/// Arrays within one another.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}
