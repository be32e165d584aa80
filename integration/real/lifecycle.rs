//! Groups M and N on real servers: a door that dies or is left between acknowledgement and answer; stages that are not
//! yet ready, or not any more.

use crate::harness::Scope;
use crate::harness::alerts::webhook;
use crate::harness::case::{Case, PROMETHEUS, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http;
use crate::harness::kube::token_in;
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::servers::OwnKafka;
use crate::harness::wait::{until_eq, until_ok};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How a process ends at a crash point.
const SIGABRT: i32 = 6;
const NO_DOOR: Shape = Shape { ingest: 0, ..Shape::ONE };

#[tokio::test]
async fn m06_a_door_that_dies_between_acknowledgement_and_answer_costs_a_repeat_and_no_object() {
    let (case, mut stages) = Case::own("m06", &["shop"], unlimited(), NO_DOOR).await;
    let armed = stages.ingest.clone().with("BREAKWATER_CRASH_AT", "ingest-acknowledged:1");
    let mut doomed = Product::start("ingest", &armed).await;
    let body = webhook(&[case.alert("Unanswered", "shop", "p")]).to_string();
    assert!(http::post(&doomed.address, PROMETHEUS, &body).await.is_err(), "no answer");
    assert_eq!(doomed.process.exit(SOON).await.signal(), Some(SIGABRT));
    // what nobody was promised stands nevertheless
    case.counted("shop", 1, 1).await;
    stages.add(Shape { ingest: 1, ..Shape::NONE }).await;
    let repeat = stages.ingests[0].post(PROMETHEUS, &body).await;
    assert_eq!(repeat.status, 202, "{}", repeat.text());
    case.counted("shop", 1, 2).await;
    case.settled().await;
    case.counted("shop", 1, 2).await;
    assert_eq!(case.records().await.len(), 2);
}

async fn in_flight(door: &Product) -> f64 {
    door.metric("breakwater_ingest_requests_in_flight", &[]).await
}

#[tokio::test]
async fn m06_a_client_that_hangs_up_before_the_answer_leaves_its_record_and_no_task() {
    let own = OwnKafka::start(&[]).await;
    let scope = Scope::new("m06h");
    let mut setting = scope.setting(unlimited());
    setting.kafka.clone_from(&own.brokers);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of("m06h", &["shop"], &stages).await;
    let door = &stages.ingests[0];
    // the producer knows its brokers
    case.post(&[case.alert("First", "shop", "first")]).await;
    let descriptors = door.process.descriptors();
    own.server.stop();
    let body = webhook(&[case.alert("Left", "shop", "p")]).to_string();
    for left in 1..=20 {
        let mut stream = TcpStream::connect(&door.address).await.expect("the door listens");
        let head = format!(
            "POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the request is taken");
        until_eq(SOON, "the request to be under way", 1.0, async || in_flight(door).await).await;
        drop(stream);
        until_eq(SOON, &format!("the {left}. request to be forgotten"), 0.0, async || in_flight(door).await).await;
    }
    own.server.cont();
    // what was handed over stands: each of them, once
    case.until("shop", "two objects, of which one counts 20", |seen| {
        let counts = |times: u64| seen.iter().filter(|object| crate::harness::case::count(object) == times).count();
        seen.len() == 2 && counts(20) == 1 && counts(1) == 1
    })
    .await;
    case.settled().await;
    assert_eq!(case.records().await.len(), 21);
    until_ok(SOON, "its descriptors to be as before", async || {
        let now = door.process.descriptors();
        if now <= descriptors { Ok(()) } else { Err(format!("{descriptors}, now {now}")) }
    })
    .await;
}

/// A page of `/readyz` as status code, stage's word, and what is missing.
async fn readiness(stage: &Product) -> (u16, Value, Vec<String>) {
    match http::get(&stage.admin, "/readyz").await {
        Err(_) => (0, Value::Null, Vec::new()),
        Ok(page) => {
            let told = page.json();
            let missing = told["missing"].as_object().map(|all| all.keys().cloned().collect());
            (page.status, told["status"].clone(), missing.unwrap_or_default())
        }
    }
}

/// A proxy before the API server, for whoever has the rights of a kubeconfig; and a kubeconfig that leads through it.
async fn cut_off(kubeconfig: &Path, through: &Path, path: &str) -> Proxy {
    let proxy = Proxy::start(kubeconfig).await;
    proxy.kubeconfig(through, &token_in(kubeconfig));
    proxy.script(Line { method: "GET", path: path.to_owned(), times: usize::MAX, fault: Fault::Cut });
    proxy
}

#[tokio::test]
async fn n03_labels_and_index_that_are_not_whole_are_told_and_a_stop_beats_them() {
    let (_, mut stages) = Case::own("n03l", &[], unlimited(), Shape::NONE).await;
    let file = stages.scope.path("kubeconfig-labels");
    let labels = cut_off(&stages.work.kubeconfig, &file, "/api/v1/namespaces").await;
    stages.work.kubeconfig = file;
    let file = stages.scope.path("kubeconfig-index");
    let index = cut_off(&stages.sink.kubeconfig, &file, "/remediationrequests").await;
    stages.sink.kubeconfig = file;
    let mut judge = Product::spawn("work", &stages.work);
    let mut way_out = Product::spawn("sink", &stages.sink);
    let mut doomed = Product::spawn("sink", &stages.sink);
    let lacks = async |stage: &Product, what: &str| {
        until_ok(SOON, &format!("{what} to be missing"), async || match readiness(stage).await {
            (503, word, missing) if word == "not ready" && missing.iter().any(|one| one == what) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    lacks(&judge, "namespaces").await;
    assert!(labels.seen("GET", "/api/v1/namespaces").iter().all(|seen| seen.status.is_none()));
    labels.heal();
    lacks(&way_out, "index").await;
    lacks(&doomed, "index").await;
    // nothing that is missing hides a stop
    doomed.process.terminate();
    assert!(doomed.process.exit(Duration::from_secs(28)).await.success());
    assert_eq!(judge.ready(SOON).await, Ok(()));
    assert_eq!(readiness(&way_out).await.0, 503);
    index.heal();
    assert_eq!(way_out.ready(SOON).await, Ok(()));
}

#[tokio::test]
async fn n03_a_stop_beats_every_other_reason() {
    let own = OwnKafka::start(&[]).await;
    let scope = Scope::new("n03s");
    let mut setting = scope.setting(json!({ "ingest": { "timeout": "8s" } }));
    setting.kafka.clone_from(&own.brokers);
    setting.succeed(&["topics", "create"]).await;
    let mut door = Product::start("ingest", &setting).await;
    own.server.stop();
    until_ok(SOON, "kafka to be missing", async || match readiness(&door).await {
        (503, word, missing) if word == "not ready" && missing == ["kafka"] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let body = webhook(&[crate::harness::alerts::alert("Held", "shop", "p")]);
    let (answer, ()) = tokio::join!(door.webhook(&body), async {
        until_eq(SOON, "a request to hold the stop up", 1.0, async || in_flight(&door).await).await;
        door.process.terminate();
        until_eq(SOON, "the stop to be told, and not kafka", (503, json!("stopping")), async || {
            let (status, word, _) = readiness(&door).await;
            (status, word)
        })
        .await;
    });
    assert_eq!(answer.status, 503, "{}", answer.text());
    own.server.cont();
    assert!(door.process.exit(Duration::from_secs(28)).await.success());
}
