//! Group N on real servers: a stage speaks of its own dependencies, and of each change of them.

use crate::harness::Scope;
use crate::harness::case::{Case, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http;
use crate::harness::process::free_port;
use crate::harness::product::Product;
use crate::harness::servers::{ApiPlan, OwnApi, OwnKafka, OwnRedis, Server};
use crate::harness::wait::until_ok;
use serde_json::json;
use std::time::Duration;

/// How soon a change must show.
const CHANGE: Duration = Duration::from_secs(5);

async fn readiness(stage: &Product) -> u16 {
    http::get(&stage.admin, "/readyz").await.map_or(0, |page| page.status)
}

/// Waits until a stage is ready, or is not.
async fn becomes(stage: &Product, status: u16, within: Duration, what: &str) {
    until_ok(within, &format!("readiness {status}, as {what}"), async || {
        let page = stage.page("/readyz").await;
        if page.status == status { Ok(()) } else { Err(format!("{} {}", page.status, page.text())) }
    })
    .await;
}

#[tokio::test]
async fn n01_a_stage_alone_is_healthy_and_says_what_it_misses() {
    let scope = Scope::new("n01");
    let mut setting = scope.setting(json!({}));
    let nowhere = format!("127.0.0.1:{}", free_port());
    setting.kafka.clone_from(&nowhere);
    let door = Product::spawn("ingest", &setting);
    let health = until_ok(SOON, "the admin address", async || http::get(&door.admin, "/healthz").await).await;
    assert_eq!(health.status, 200);
    let told = health.json();
    assert!(told["status"].is_string(), "{told}");
    let time = told["time"].as_str().expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    let ready = door.page("/readyz").await;
    assert_eq!(ready.status, 503);
    let told = ready.json();
    assert_eq!((&told["stage"], &told["status"]), (&json!("ingest"), &json!("not ready")));
    let missing = told["missing"].as_object().expect("reasons");
    assert!(missing["kafka"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");
    assert!(!ready.text().contains("127.0.0.1") && !ready.text().contains(&nowhere), "{told}");
    let port = async || http::get(&door.address, "/healthz").await;
    until_ok(SOON, "the door to listen", port).await;
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        let answer = http::get(&door.address, path).await.expect("the door answers");
        assert_eq!(answer.status, 404, "{path} on the public port");
    }
}

/// Stages on servers of their own, all three.
pub(super) struct Own {
    pub(super) kafka: OwnKafka,
    pub(super) redis: OwnRedis,
    pub(super) api: OwnApi,
    pub(super) stages: Deployment,
}

pub(super) async fn own(scenario: &str) -> Own {
    let plan = ApiPlan::default();
    let (kafka, redis, api) = tokio::join!(OwnKafka::start(&[]), OwnRedis::start(&[]), OwnApi::start(&plan));
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(unlimited());
    setting.kafka.clone_from(&kafka.brokers);
    setting.redis.clone_from(&redis.url);
    setting.kubeconfig.clone_from(&api.kubeconfig);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    Own { kafka, redis, api, stages }
}

#[tokio::test]
async fn n02_and_n04_each_stage_says_at_once_what_of_its_own_is_away_and_back_thrice() {
    let Own { mut kafka, mut redis, mut api, stages } = own("n04").await;
    let (ingest, work, sink) = (&stages.ingests[0], &stages.works[0], &stages.sinks[0]);
    // who misses what, and who does not
    let cases: [(&str, &mut Server, [u16; 3]); 3] = [
        ("kafka", &mut kafka.server, [503, 503, 503]),
        ("redis", &mut redis.server, [200, 503, 200]),
        ("the api server", &mut api.server, [200, 200, 503]),
    ];
    for (name, server, expected) in cases {
        for round in 1..=3 {
            server.kill();
            let what = format!("{name} is killed for the {round}. time");
            for (stage, status) in [ingest, work, sink].into_iter().zip(expected) {
                becomes(stage, status, CHANGE, &what).await;
            }
            server.restart().await;
            for stage in [ingest, work, sink] {
                becomes(stage, 200, CHANGE, &format!("{name} is back for the {round}. time")).await;
            }
        }
        // those that do not need it never fell
        for stage in [ingest, work, sink] {
            assert_eq!(readiness(stage).await, 200);
        }
    }
    // and all of it works
    let case = Case::of("n04", &["shop"], &stages).await;
    case.post(&[case.alert("After", "shop", "p")]).await;
    case.objects("shop", 1).await;
}
