//! What the README says to do when a cluster was restored from a backup, and when a wrong policy was shipped: L02, L11.

use super::*;
use crate::harness::alerts::{at_severity, strangers};
use crate::harness::case::{count, unlimited};
use crate::harness::past::ago;
use breakwater::remediation::mark;

/// An object as a backup puts it back: without what the server alone gives, and without its status.
fn from_backup(object: &Value) -> Value {
    let mut back = object.clone();
    let of = |key: &str| object["metadata"][key].clone();
    back["metadata"] = json!({
        "name": of("name"), "namespace": of("namespace"), "labels": of("labels"), "annotations": of("annotations"),
    });
    back.as_object_mut().expect("an object").remove("status");
    back
}

/// The same of an alert of which the log holds nothing any more.
fn older_than_the_log(object: &Value) -> Value {
    let mut old = from_backup(object);
    let other = "0".repeat(64);
    old["metadata"]["name"] = json!("older-than-the-log");
    old["metadata"]["labels"][mark::FINGERPRINT] = json!(other[..63]);
    old["metadata"]["annotations"][mark::INCIDENT] = json!("older-than-the-log");
    old["spec"]["signalFingerprint"] = json!(other);
    old
}

#[tokio::test]
async fn l02_a_restored_cluster_gets_what_came_since_its_backup_and_l11_a_wrong_policy_is_mended() {
    let past = |shop: &str| {
        let mut walked = strangers("Walked", shop, 4);
        walked[3] = at_severity(&walked[3], "critical");
        [at(ago(30), &walked), at(ago(29), &walked)].concat()
    };
    let (case, mut stages) = Case::after("l02r", unlimited(), Shape { work: 1, ..SINK }, past).await;
    let all_count_two = |seen: &[Value], others: usize| {
        seen.len() == 4 + others && seen.iter().filter(|object| count(object) == 2).count() == 4
    };
    let before = case.until("shop", "four that count two", |seen| all_count_two(seen, 0)).await;
    case.settled().await;
    restored(&case, &mut stages, &before).await;
    let report = replay(&stages.ingest, &["--from", "-1h"]).await;
    assert_eq!(found(&report), ([2, 2, 0, 0], 0), "{report}");
    let mend = ["--from", "-1h", "--mode", "missing-only", "--rate", "100/s"];
    let report = replay(&stages.ingest, &mend).await;
    assert_eq!((found(&report), &report["brought_up"]), (([2, 2, 0, 0], 2), &json!(2)), "{report}");
    let back = case.until("shop", "all to be back, with their counts", |seen| all_count_two(seen, 1)).await;
    let (mut back, was) = (specs(&back), specs(&before));
    assert!(back.remove("older-than-the-log").is_some());
    assert_eq!(back, was, "the names and specs of before");
    mended(&case, &mut stages, &was).await;
}

/// The backup holds the first two of them, and one that is older than the log.
async fn restored(case: &Case, stages: &mut Deployment, before: &[Value]) {
    for sink in stages.sinks.drain(..) {
        assert!(sink.stop().await.success());
    }
    let of = |n: usize| before.iter().find(|object| object["spec"]["signalName"] == format!("Walked{n}"));
    let shop = case.namespace("shop");
    join_all(before.iter().map(|object| case.kube.delete(&shop, name(object)))).await;
    let [first, second] = [0, 1].map(|n| of(n).expect("an object of each"));
    for object in [from_backup(first), from_backup(second), older_than_the_log(first)] {
        case.kube.apply(&object, false).await.expect("it is put back");
    }
    stages.add(SINK).await;
}

/// By the right pipeline another priority is due to one of them: it is found, deleted unseen, and made again.
async fn mended(case: &Case, stages: &mut Deployment, was: &BTreeMap<String, Value>) {
    let mut right = crate::harness::pipeline::of(&stages.scope, unlimited());
    let row = json!({ "*": "P3" });
    right["priority"] = json!({ "matrix": { "critical": row, "warning": { "*": "P2" }, "info": row } });
    let file = case.scope.path("right.yaml");
    std::fs::write(&file, right.to_string()).expect("the test's folder can be written");
    let file = file.display().to_string();
    let flags = ["--from", "-1h", "--pipeline", &file];
    let report = replay(&stages.ingest, &flags).await;
    assert_eq!(found(&report), ([0, 3, 1, 0], 0), "{report}");
    let wrong = report["differing"][0]["object"].as_str().and_then(|object| object.split_once('/'));
    let wrong = wrong.expect("NAMESPACE/NAME").1.to_owned();
    assert_eq!(report["differing"][0]["fields"], json!([{ "field": "spec.priority", "then": "P1", "now": "P3" }]));

    delete_unseen(case, stages, std::slice::from_ref(&wrong)).await;
    let mend = [&flags[..], &["--mode", "missing-only", "--rate", "100/s"]].concat();
    assert_eq!(found(&replay(&stages.ingest, &mend).await), ([1, 3, 0, 0], 1));
    let right = |seen: &[Value]| {
        seen.len() == 5 && seen.iter().any(|object| name(object) == wrong && object["spec"]["priority"] == "P3")
    };
    let back = case.until("shop", "the wrong one to be right, under its name", right).await;
    let mut expected = was.clone();
    expected.get_mut(&wrong).expect("it was there")["priority"] = json!("P3");
    let mut back = specs(&back);
    back.remove("older-than-the-log");
    assert_eq!(back, expected, "and nothing else changed");
    assert_eq!(found(&replay(&stages.ingest, &flags).await), ([0, 4, 0, 0], 0));
}
