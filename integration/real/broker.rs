//! Groups K and M on real servers: a broker that is away, restarted, or refuses.

use crate::harness::Scope;
use crate::harness::alerts::{strangers, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http::{self, Answer};
use crate::harness::kafka::Kafka;
use crate::harness::pipeline::merge;
use crate::harness::product::Product;
use crate::harness::servers::{OwnKafka, TwoKafkas};
use crate::harness::wait::{until_eq, until_ok};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const BROKERS_CLOCK: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

fn is_503(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let seconds = answer.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{:?}", answer.headers);
}

/// Stages on two brokers of their own; `alerts` or what follows it takes no record that is not on both.
async fn on_two(scenario: &str, overlay: Value, of_both: &[&str]) -> (TwoKafkas, Case, Deployment) {
    let brokers = TwoKafkas::start().await;
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(overlay);
    setting.kafka.clone_from(&brokers.brokers);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of(scenario, &["shop"], &stages).await;
    for (name, topic) in [("alerts", &case.alerts), ("remediations", &case.remediations), ("dead", &case.dead_letters)]
    {
        let least = if of_both.contains(&name) { "2" } else { "1" };
        case.kafka.configure(topic, &[BROKERS_CLOCK, ("min.insync.replicas", least)]).await;
    }
    (brokers, case, stages)
}

#[tokio::test]
async fn k01_nothing_is_promised_while_replicas_are_missing() {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "ingest": { "timeout": "3s" }, "topics": { "replication": 2 } }));
    let (mut brokers, case, stages) = on_two("k01", overlay, &["alerts"]).await;
    let body = webhook(&[case.alert("Unsafe", "shop", "p")]);
    brokers.second.kill();
    for _ in 0..3 {
        is_503(&stages.ingests[0].webhook(&body).await);
    }
    brokers.second.restart().await;
    until_ok(SOON, "the repeat to be taken", async || {
        let answer = stages.ingests[0].webhook(&body).await;
        if answer.status == 202 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    case.objects("shop", 1).await;
    case.settled().await;
    // what was appended before the second was missed counts too: it is in the log, and nothing else is
    let records = case.records().await.len() as u64;
    case.counted("shop", 1, records).await;
}

#[tokio::test]
async fn k02_what_was_promised_over_a_restart_of_the_broker_is_there_once() {
    let mut own = OwnKafka::start(&[]).await;
    let scope = Scope::new("k02");
    let mut setting = scope.setting(json!({ "ingest": { "timeout": "60s" } }));
    setting.kafka.clone_from(&own.brokers);
    setting.succeed(&["topics", "create"]).await;
    let door = Product::start("ingest", &setting).await;
    let kafka = Kafka::at(&own.brokers);
    let alerts = strangers("Kept", &scope.namespace("shop"), 400);
    let posts = |some: &[Value]| {
        let bodies: Vec<Value> = some.iter().map(|alert| webhook(std::slice::from_ref(alert))).collect();
        let door = &door;
        async move { join_all(bodies.iter().map(|body| door.webhook(body))).await }
    };
    let (before, during) = alerts.split_at(100);
    let mut answers = posts(before).await;
    // 100 requests are under way when the broker dies, and more than the door takes at once while it is away
    let (more, ()) = tokio::join!(posts(&during[..100]), async {
        own.server.kill();
        own.server.restart().await;
    });
    answers.extend(more);
    answers.extend(posts(&during[100..200]).await);
    answers.extend(posts(&during[200..]).await);
    let records = kafka.read(&scope.alerts).await;
    for (alert, answer) in alerts.iter().zip(&answers) {
        assert_eq!(answer.status, 202, "{}", answer.text());
        let placed = &answer.json()["alerts"][0];
        let at =
            records.iter().find(|r| placed["partition"] == json!(r.partition) && placed["offset"] == json!(r.offset));
        assert_eq!(at.and_then(|record| record.value.as_deref()), Some(alert.to_string().as_bytes()));
    }
    assert_eq!(kafka.count(&scope.alerts).await, 400);
}

#[tokio::test]
async fn k17_absent_topics_are_told_and_made_once() {
    let (scope, shape) = (Scope::new("k17"), json!({}));
    let mut setting = scope.setting(shape);
    let kafka = Kafka::at(&setting.kafka);
    let door = Product::spawn("ingest", &setting);
    until_ok(SOON, "the door to name what is missing", async || {
        let page = http::get(&door.admin, "/readyz").await.map_err(|error| error.to_string())?;
        let says = page.status == 503 && page.text().contains("topics create");
        if says { Ok(()) } else { Err(page.text()) }
    })
    .await;
    let told = setting.succeed(&["topics", "create"]).await;
    assert_eq!(told.matches(": created").count(), 3, "{told}");
    let ready = async || http::get(&door.admin, "/readyz").await.map_or(0, |page| page.status);
    until_eq(SOON, "readiness without a restart", 200, ready).await;
    let told = setting.succeed(&["topics", "create"]).await;
    assert_eq!(told.matches("exists, nothing to do").count(), 3, "{told}");
    setting.pipeline = crate::harness::pipeline::write(&scope, json!({ "topics": { "partitions": 6 } }));
    let told = setting.succeed(&["topics", "create"]).await;
    assert_eq!(told.matches("exists with 4 partitions, 6 are asked for; not changed").count(), 2, "{told}");
    assert_eq!(kafka.ends(&scope.alerts).await.len(), 4);
}

#[tokio::test]
async fn k18_topics_that_refuse_writes_lose_nothing() {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "topics": { "replication": 2 } }));
    let (mut brokers, case, stages) = on_two("k18", overlay, &["remediations", "dead"]).await;
    let watch = case.record("shop").await;
    brokers.second.kill();
    until_ok(SOON, "the first broker to take alerts alone", async || {
        let answer = stages.ingests[0].webhook(&webhook(&strangers("Probe", "elsewhere", 1))).await;
        if answer.status == 202 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let probes = case.kafka.count(&case.alerts).await;
    case.post(&strangers("Waits", &case.namespace("shop"), 5)).await;
    case.kafka.produce(&case.alerts, &[(Some(b"k"), b"nonsense")]).await;
    let all = probes + 6;
    let refused = async || stages.works[0].metric("breakwater_work_retries_total", &["cause=\"kafka\""]).await > 0.0;
    until_eq(Duration::from_secs(120), "a refusal to be heard", true, refused).await;
    let read = async || stages.works[0].metric("breakwater_work_records_consumed_total", &[]).await;
    until_eq(SOON, "all to be read", all as f64, read).await;
    assert_eq!(stages.works[0].metric("breakwater_work_outcomes_total", &["outcome=\"created\""]).await, 0.0);
    assert_eq!(stages.works[0].metric("breakwater_work_outcomes_total", &["outcome=\"dead_lettered\""]).await, 0.0);
    brokers.second.restart().await;
    case.counted("shop", 5, 1).await;
    case.settled().await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 1);
    assert_eq!(watch.names().len(), 5);
}

#[tokio::test]
async fn m01_a_door_that_starts_before_kafka_listens_and_promises_nothing() {
    let mut own = OwnKafka::start(&[]).await;
    let scope = Scope::new("m01");
    let mut setting = scope.setting(json!({ "ingest": { "timeout": "3s" } }));
    setting.kafka.clone_from(&own.brokers);
    setting.succeed(&["topics", "create"]).await;
    own.server.kill();
    let door = Product::spawn("ingest", &setting);
    let body = webhook(&strangers("Early", "shop", 1)).to_string();
    let answer =
        until_ok(SOON, "the door to listen", async || http::post(&door.address, PROMETHEUS, &body).await).await;
    is_503(&answer);
    assert_eq!(door.page("/readyz").await.status, 503);
    own.server.restart().await;
    let ready = async || door.page("/readyz").await.status;
    until_eq(SOON, "readiness without a restart", 200, ready).await;
    let answer = door.post(PROMETHEUS, &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[tokio::test]
async fn m05_told_to_stop_while_kafka_is_away() {
    let own = OwnKafka::start(&[]).await;
    let scope = Scope::new("m05");
    let mut setting = scope.setting(json!({ "ingest": { "timeout": "6s" } }));
    setting.kafka.clone_from(&own.brokers);
    setting.succeed(&["topics", "create"]).await;
    let (mut patient, mut hurried) =
        tokio::join!(Product::start("ingest", &setting), Product::start("ingest", &setting));
    own.server.stop(); // accepts, and answers nothing
    let body = webhook(&strangers("Late", "shop", 1));
    let in_flight = async |door: &Product| door.metric("breakwater_ingest_requests_in_flight", &[]).await;
    let (answers, ()) = tokio::join!(join_all((0..5).map(|_| patient.webhook(&body))), async {
        until_eq(SOON, "the requests to wait", 5.0, async || in_flight(&patient).await).await;
        patient.process.terminate();
    });
    answers.iter().for_each(is_503);
    assert!(patient.process.exit(Duration::from_secs(28)).await.success());

    let waits = tokio::join!(http::post(&hurried.address, PROMETHEUS, body.to_string()), async {
        until_eq(SOON, "the request to wait", 1.0, async || in_flight(&hurried).await).await;
        hurried.process.terminate();
        let stopping = async || hurried.page("/readyz").await.text().contains("stopping");
        until_eq(SOON, "the first signal to be heard", true, stopping).await;
        hurried.process.terminate();
    });
    let ended = std::time::Instant::now();
    drop(waits);
    assert_eq!(hurried.process.exit(Duration::from_secs(2)).await.code(), Some(143));
    assert!(ended.elapsed() < Duration::from_secs(2), "a second signal ends it at once");
    own.server.cont();
}
