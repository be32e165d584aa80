//! Group A on real servers: a webhook of which the broker took a part only.

use crate::harness::Scope;
use crate::harness::alerts::{strangers, webhook};
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Kafka;
use crate::harness::pipeline::merge;
use crate::harness::product::Product;
use crate::harness::servers::TwoKafkas;
use crate::harness::wait::until_ok;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Alerts of which so many belong to each of two partitions, as a door tells that has topics of its own.
async fn spread(alerts: Vec<Value>, each: usize, brokers: &TwoKafkas) -> [Vec<Value>; 2] {
    let scope = Scope::new("a19probe");
    let mut setting = scope.setting(json!({ "topics": { "partitions": 2 }, "dedup": { "shards": 2 } }));
    setting.kafka.clone_from(&brokers.brokers);
    setting.succeed(&["topics", "create"]).await;
    let door = Product::start("ingest", &setting).await;
    let answer = door.webhook(&webhook(&alerts)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let placed = answer.json();
    let mut spread = [Vec::new(), Vec::new()];
    for (alert, place) in alerts.into_iter().zip(placed["alerts"].as_array().expect("a list")) {
        let partition = place["partition"].as_u64().expect("a number") as usize;
        spread[partition].push(alert);
    }
    spread.map(|mut some| some.drain(..each).collect())
}

/// How many records the log has of each alert.
async fn by_name(case: &Case) -> BTreeMap<String, u64> {
    let mut records = BTreeMap::new();
    for record in case.records().await {
        *records.entry(record.json()["labels"]["alertname"].to_string()).or_default() += 1;
    }
    records
}

#[tokio::test]
async fn a19_half_a_webhook_is_no_promise_and_its_repeat_is_counted_as_the_log_says() {
    let mut brokers = TwoKafkas::start().await;
    let scope = Scope::new("a19");
    let mut overlay = unlimited();
    merge(
        &mut overlay,
        json!({ "ingest": { "timeout": "3s" }, "topics": { "partitions": 2 }, "dedup": { "shards": 2 } }),
    );
    let mut setting = scope.setting(overlay);
    setting.kafka.clone_from(&brokers.brokers);
    let kafka = Kafka::at(&brokers.brokers);
    kafka.create_on(&scope.alerts, &[&[1], &[2]], &[("message.timestamp.type", "LogAppendTime")]).await;
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of("a19", &["shop"], &stages).await;
    let halves = spread(strangers("Half", &case.namespace("shop"), 60), 5, &brokers).await;
    let body = webhook(&halves.concat());

    brokers.second.kill();
    let answer = stages.ingests[0].webhook(&body).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").and_then(|text| text.parse::<u32>().ok()).is_some_and(|seconds| seconds > 0));
    brokers.second.restart().await;
    let taken: Vec<i32> = case.records().await.iter().map(|record| record.partition).collect();
    assert_eq!(taken, [0; 5], "five are in the log");
    until_ok(SOON, "the repeat to be taken", async || {
        let answer = stages.ingests[0].webhook(&body).await;
        if answer.status == 202 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    case.settled().await;
    let records = by_name(&case).await;
    assert_eq!(records.len(), 10);
    let fits = |seen: &[Value]| {
        let of = |object: &Value| (object["spec"]["signalName"].to_string(), count(object));
        seen.len() == 10 && seen.iter().map(of).collect::<BTreeMap<_, _>>() == records
    };
    let objects = case.until("shop", "ten objects that count the records of each", fits).await;
    let counts = |alerts: &[Value]| -> Vec<u64> {
        alerts.iter().map(|alert| records[&alert["labels"]["alertname"].to_string()]).collect()
    };
    assert!(counts(&halves[0]).iter().all(|count| *count >= 2), "what was taken at first is there again");
    assert_eq!(objects.len(), 10);
}
