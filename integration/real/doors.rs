//! Group M on real servers: many requests at once, and a stop in the middle of them.

use crate::harness::Scope;
use crate::harness::alerts::{strangers, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON};
use crate::harness::http::{self, Answer};
use crate::harness::kafka::Kafka;
use crate::harness::product::Product;
use crate::harness::wait::until_eq;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A door of the test's own on the shared broker.
async fn door(scenario: &str, overlay: Value) -> (Scope, Kafka, Product) {
    let scope = Scope::new(scenario);
    let setting = scope.setting(overlay);
    setting.succeed(&["topics", "create"]).await;
    let (kafka, door) = (Kafka::at(&setting.kafka), Product::start("ingest", &setting).await);
    (scope, kafka, door)
}

/// The places that an answer names.
fn places(answer: &Value) -> BTreeSet<(i64, i64)> {
    let number = |value: &Value| value.as_i64().expect("a number");
    let placed = answer["alerts"].as_array().expect("a list");
    placed.iter().map(|one| (number(&one["partition"]), number(&one["offset"]))).collect()
}

async fn all_places(kafka: &Kafka, topic: &str) -> BTreeSet<(i64, i64)> {
    kafka.read(topic).await.iter().map(|record| (i64::from(record.partition), record.offset)).collect()
}

#[tokio::test]
async fn m04_a_stop_finishes_what_is_in_flight_and_takes_no_more() {
    let (scope, kafka, mut door) = door("m04", json!({})).await;
    let mut open = Vec::new();
    for alert in strangers("InFlight", "shop", 50) {
        let body = webhook(&[alert]).to_string();
        let mut stream = TcpStream::connect(&door.address).await.expect("the door listens");
        let head = format!(
            "POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the head is taken");
        let (first, rest) = body.split_at(body.len() / 2);
        stream.write_all(first.as_bytes()).await.expect("half of the body is taken");
        open.push((stream, rest.to_owned()));
    }
    let in_flight = async || door.metric("breakwater_ingest_requests_in_flight", &[]).await;
    until_eq(SOON, "50 requests in flight", 50.0, in_flight).await;
    door.process.terminate();
    until_eq(SOON, "readiness to fall at once", (503, true), async || {
        let page = door.page("/readyz").await;
        (page.status, page.text().contains("stopping"))
    })
    .await;
    until_eq(SOON, "new connections to be refused", true, async || TcpStream::connect(&door.address).await.is_err())
        .await;
    let mut named = BTreeSet::new();
    for (mut stream, rest) in open {
        stream.write_all(rest.as_bytes()).await.expect("the rest is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer, then the end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.starts_with("HTTP/1.1 202"), "{answer}");
        named.extend(places(&serde_json::from_str(body).expect("JSON")));
    }
    assert!(door.process.exit(SOON).await.success());
    assert_eq!(named.len(), 50);
    assert_eq!(all_places(&kafka, &scope.alerts).await, named);
}

#[tokio::test]
async fn m07_fifty_at_once_each_a_new_incident_are_fifty_objects() {
    let case = Case::shared("m07", &["shop"]).await;
    case.post_each(&strangers("Fifty", &case.namespace("shop"), 50)).await;
    case.counted("shop", 50, 1).await;
    case.settled().await;
    case.counted("shop", 50, 1).await;
}

#[tokio::test]
async fn m08_above_the_limit_everybody_is_answered_and_no_promise_is_broken() {
    let (scope, kafka, door) = door("m08", json!({ "ingest": { "concurrency": 8 } })).await;
    let bodies: Vec<String> =
        strangers("Crowd", "shop", 500).into_iter().map(|alert| webhook(&[alert]).to_string()).collect();
    let answers: Vec<Answer> =
        join_all(bodies.iter().map(async |body| http::post(&door.address, PROMETHEUS, body).await.expect("an answer")))
            .await;
    let mut named = BTreeSet::new();
    for answer in &answers {
        match answer.status {
            202 => named.extend(places(&answer.json())),
            503 => assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers),
            other => panic!("{other} {}", answer.text()),
        }
    }
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(named.len(), taken);
    assert!(taken < 500, "the limit was met");
    assert_eq!(all_places(&kafka, &scope.alerts).await, named);
}
