//! The harness itself: the servers are there, and its tools see what is there.

use crate::harness::kafka::{Kafka, Record};
use crate::harness::kube::{Kube, client, token_in};
use crate::harness::process::Process;
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::servers::{ApiPlan, OwnApi, OwnKafka, OwnRedis, connection};
use crate::harness::wait::until;
use crate::harness::{Scope, Shared};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn harness_kafka_gives_back_what_was_produced() {
    let (scope, kafka) = (Scope::new("kafka"), Kafka::at(&Shared::get().kafka));
    scope.topics(&kafka, 4).await;
    let sent = kafka.produce(&scope.alerts, &[(Some(b"k"), b"one"), (Some(b"k"), b"two"), (None, b"three")]).await;
    assert_eq!(sent.len(), 3);
    let whole = Record {
        partition: 2,
        offset: -1,
        timestamp: 1,
        key: Some(b"key".to_vec()),
        value: None,
        headers: vec![("a".to_owned(), b"b".to_vec())],
    };
    let (partition, offset) = kafka.send(&scope.alerts, &whole).await;
    let read = kafka.read(&scope.alerts).await;
    assert_eq!(read.len(), 4);
    assert_eq!(kafka.count(&scope.alerts).await, 4);
    let back =
        read.iter().find(|record| (record.partition, record.offset) == (partition, offset)).expect("it is there");
    assert!(back.timestamp > 1, "the broker's time, not the producer's");
    assert_eq!(&Record { offset, timestamp: back.timestamp, ..whole }, back);
    assert!(kafka.committed(&scope.name, &scope.alerts).await.is_empty());
    assert_eq!(kafka.lag(&scope.name, &scope.alerts).await, 4);
}

#[tokio::test]
async fn harness_redis_answers() {
    let mut redis = connection(&Shared::get().redis).await;
    let pong: String = redis::cmd("PING").query_async(&mut redis).await.expect("redis answers");
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn harness_api_server_keeps_namespaces() {
    let (scope, kube) = (Scope::new("api"), Kube::of(&Shared::get().kubeconfig).await);
    kube.namespace(&scope.namespace("shop"), json!({ "environment": "production" })).await;
    kube.terminate(&scope.namespace("shop")).await;
    let all: Api<Namespace> = Api::all(kube.client.clone());
    let left = all.get(&scope.namespace("shop")).await.expect("nobody finishes it: there is no controller manager");
    assert_eq!(left.status.and_then(|status| status.phase).as_deref(), Some("Terminating"));
}

#[tokio::test]
async fn harness_own_kafka_keeps_its_records_when_killed() {
    let mut own = OwnKafka::start(&["message.max.bytes=2000000"]).await;
    let (scope, kafka) = (Scope::new("own"), Kafka::at(&own.brokers));
    scope.topics(&kafka, 1).await;
    kafka.produce(&scope.alerts, &[(None, b"before")]).await;
    own.server.kill();
    own.server.restart().await;
    kafka.produce(&scope.alerts, &[(None, b"after")]).await;
    let values: Vec<_> = kafka.read(&scope.alerts).await.into_iter().filter_map(|record| record.value).collect();
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);
}

#[tokio::test]
async fn harness_own_redis_freezes_and_wakes() {
    let own = OwnRedis::start(&["--maxmemory", "3mb"]).await;
    let mut redis = own.connection().await;
    own.server.stop();
    let silent = tokio::time::timeout(Duration::from_millis(300), own.connection()).await;
    assert!(silent.is_err(), "a frozen server accepts and says nothing");
    own.server.cont();
    let set: String = redis::cmd("SET").arg("a").arg(1).query_async(&mut redis).await.expect("it goes on");
    assert_eq!(set, "OK");
}

#[tokio::test]
async fn harness_own_api_server_knows_own_tokens_and_comes_back() {
    let plan = ApiPlan { tokens: vec![("t".to_owned(), "nobody".to_owned(), vec![])], ..ApiPlan::default() };
    let mut own = OwnApi::start(&plan).await;
    let kube = Kube::of(&own.kubeconfig).await;
    kube.namespace("kept", json!({})).await;
    own.server.kill();
    let all: Api<Namespace> = Api::all(client(&own.kubeconfig_of("t")).await);
    assert!(matches!(all.get("kept").await, Err(kube::Error::Service(_) | kube::Error::HyperError(_))), "it is away");
    own.server.restart().await;
    assert!(matches!(all.get("kept").await, Err(kube::Error::Api(status)) if status.code == 403), "it has no rights");
    Api::<Namespace>::all(kube.client).get("kept").await.expect("etcd kept it");
}

/// The shared API server through a proxy, as the admin.
async fn proxied(scope: &Scope) -> (Proxy, Api<Namespace>) {
    let shared = Shared::get();
    let proxy = Proxy::start(&shared.kubeconfig).await;
    proxy.kubeconfig(&scope.path("kubeconfig"), &token_in(&shared.kubeconfig));
    let all = Api::all(client(&scope.path("kubeconfig")).await);
    (proxy, all)
}

fn named(name: String) -> Namespace {
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    Namespace { metadata, ..Namespace::default() }
}

#[tokio::test]
async fn harness_proxy_answers_by_its_script_and_else_forwards() {
    let scope = Scope::new("proxy");
    let (proxy, all) = proxied(&scope).await;
    proxy.script(Line { method: "POST", path: "/namespaces".to_owned(), times: 1, fault: Fault::throttled("2") });
    let wanted = named(scope.namespace("a"));
    let refused = all.create(&PostParams::default(), &wanted).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 429));
    all.create(&PostParams::default(), &wanted).await.expect("the script has one line");
    let statuses: Vec<_> = proxy.seen("POST", "/namespaces").iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(429), Some(201)]);
    assert!(all.list(&ListParams::default()).await.expect("a list goes through").items.len() > 2);
}

#[tokio::test]
async fn harness_proxy_loses_an_answer_after_the_deed() {
    let scope = Scope::new("lost");
    let (proxy, all) = proxied(&scope).await;
    proxy.script(Line { method: "POST", path: String::new(), times: 1, fault: Fault::LoseAnswer });
    let lost = all.create(&PostParams::default(), &named(scope.namespace("b"))).await;
    assert!(!matches!(lost, Ok(_) | Err(kube::Error::Api(_))), "neither a success nor a refusal was heard: {lost:?}");
    all.get(&scope.namespace("b")).await.expect("and yet it was created");
    assert_eq!(proxy.seen("POST", "").first().and_then(|seen| seen.status), None);
}

#[test]
fn harness_pipeline_is_the_shipped_one_under_other_names() {
    let scope = Scope::new("names");
    let pipeline = crate::harness::pipeline::of(&scope, json!({ "dedup": { "ttl": "7s" } }));
    for (place, name) in
        [("alerts", &scope.alerts), ("remediations", &scope.remediations), ("dead_letters", &scope.dead_letters)]
    {
        assert_eq!(pipeline["topics"][place].as_str(), Some(name.as_str()), "the topic of {place}");
    }
    let groups: Vec<_> = ["work", "sink"].iter().filter_map(|stage| pipeline["groups"][stage].as_str()).collect();
    assert!(groups.iter().all(|group| group.ends_with(&scope.name)), "{groups:?}");
    assert!(pipeline["memory"]["prefix"].as_str().is_some_and(|prefix| prefix.ends_with(&scope.name)));
    assert_eq!(pipeline["dedup"]["ttl"], "7s");
}

#[tokio::test]
async fn harness_process_dies_of_a_signal_and_keeps_what_it_printed() {
    let scope = Scope::new("process");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap 'echo asked; exit 3' TERM; echo begun; while :; do sleep 0.05; done"]);
    let mut process = Process::start("sh", &command, &scope.path("log"));
    until(Duration::from_secs(10), "the trap to be set", async || process.printed().contains("begun").then_some(()))
        .await;
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(10)).await.code(), Some(3));
    assert_eq!(process.printed(), "begun\nasked\n");
}
