//! Group D on real servers: the same identity in other hands, and without anybody to ask.

use crate::harness::alerts::{at_severity, event};
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::servers::{ApiPlan, OwnApi};
use crate::harness::wait::until_eq;
use crate::harness::{Scope, Shared, told};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// Sends `key|value` lines by Kafka's own console producer, with its default partitioner.
async fn by_java(topic: &str, lines: String) {
    let mut java = tokio::process::Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(format!("{}/*", told("BREAKWATER_TEST_KAFKA_LIBS")));
    java.args(["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", &Shared::get().kafka, "--topic", topic]);
    for property in ["parse.key=true", "key.separator=|"] {
        java.args(["--property", property]);
    }
    java.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut producer = java.spawn().expect("there is a java");
    let mut input = producer.stdin.take().expect("it reads from us");
    input.write_all(lines.as_bytes()).await.expect("it reads");
    drop(input);
    let end = producer.wait_with_output().await.expect("it ends");
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
}

#[tokio::test]
async fn d11_a_java_producer_chooses_the_partition_that_ingest_chose() {
    let case = Case::shared("d11", &["shop"]).await;
    let alerts: Vec<Value> = (0..40).map(|n| case.alert(&format!("Java{n}"), "shop", "p")).collect();
    let answer = case.post(&alerts).await;
    let keys = answer["alerts"].as_array().expect("a list").iter().map(|one| one["fingerprint"].as_str().expect("hex"));
    let lines: String = keys.zip(&alerts).map(|(key, alert)| format!("{key}|{alert}\n")).collect();
    by_java(&case.alerts, lines).await;
    let records = case.records().await;
    assert_eq!(records.len(), 80);
    let mut places: BTreeMap<Vec<u8>, Vec<i32>> = BTreeMap::new();
    for record in records {
        places.entry(record.key.expect("a key")).or_default().push(record.partition);
    }
    assert_eq!(places.len(), 40);
    assert!(places.values().all(|partitions| partitions[0] == partitions[1]), "{places:?}");
    case.counted("shop", 40, 2).await;
}

#[tokio::test]
async fn d12_identity_hangs_on_no_live_cluster() {
    let mut own = OwnApi::start(&ApiPlan::default()).await;
    let scope = Scope::new("d12");
    let mut setting = scope.setting(unlimited());
    setting.kubeconfig.clone_from(&own.kubeconfig);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of("d12", &["shop"], &stages).await;
    let alert = [case.alert("NoLookUp", "shop", "gone")]; // no such pod was ever there
    let first = case.post(&alert).await;
    case.counted("shop", 1, 1).await;
    own.server.kill();
    let second = case.post(&alert).await;
    assert_eq!(first["alerts"][0]["fingerprint"], second["alerts"][0]["fingerprint"]);
    let duplicates =
        async || stages.works[0].metric("breakwater_work_outcomes_total", &["outcome=\"duplicate\""]).await;
    until_eq(SOON, "the second to be a duplicate meanwhile", 1.0, duplicates).await;
    own.server.restart().await;
    case.counted("shop", 1, 2).await;
    case.settled().await;
    case.objects("shop", 1).await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0, "a server that comes back costs nothing");
}

#[tokio::test]
async fn d13_the_reason_is_part_of_identity_unless_the_pipeline_says_otherwise() {
    let case = Case::shared("d13", &["shop"]).await;
    let reasons = ["FailedMount", "OOMKilled"];
    for reason in reasons {
        case.event(&event(reason, &case.namespace("shop"), "p")).await;
    }
    case.counted("shop", 2, 1).await;

    let mut overlay = unlimited();
    overlay["identity"] = json!({ "fields": ["namespace", "kind", "resource", "cluster"] });
    let (own, _stages) = Case::own("d13", &["shop"], overlay, Shape::ONE).await;
    let [first, second] = reasons.map(|reason| own.alert(reason, "shop", "p"));
    own.post(&[first]).await;
    own.counted("shop", 1, 1).await;
    own.post(&[at_severity(&second, "critical")]).await;
    let raised =
        |seen: &[Value]| seen.len() == 1 && count(&seen[0]) == 2 && seen[0]["status"]["severity"] == "critical";
    own.until("shop", "one object that counts 2, critical", raised).await;
    own.settled().await;
    own.objects("shop", 1).await;
}
