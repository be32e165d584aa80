//! What memory weighs: a storm, its further members, a hundred storms.

use crate::harness::Scope;
use crate::harness::alerts::{alert, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::servers::{ApiPlan, OwnApi, OwnRedis};
use crate::harness::wait::until;
use redis::aio::MultiplexedConnection;
use serde_json::Value;

/// Servers that only these stages use: of objects that others end on a shared API server memory keeps something, too.
struct Own {
    redis: OwnRedis,
    _api: OwnApi,
}

async fn stages(scenario: &str) -> (Case, Deployment, Own) {
    let plan = ApiPlan::default();
    let (redis, api) = tokio::join!(OwnRedis::start(&[]), OwnApi::start(&plan));
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(unlimited());
    (setting.redis, setting.kubeconfig) = (redis.url.clone(), api.kubeconfig.clone());
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of(scenario, &["shop"], &stages).await;
    (case, stages, Own { redis, _api: api })
}

/// Kin as they are in a cluster: names of that length.
fn pods(name: &str, namespace: &str, range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|pod| alert(name, namespace, &format!("payment-gateway-7d9c5b6f48-{pod:05}"))).collect()
}

async fn keys(eyes: &mut MultiplexedConnection) -> Vec<Vec<u8>> {
    redis::cmd("KEYS").arg("*").query_async(eyes).await.expect("redis answers")
}

/// What the memos and groups in this Redis weigh once everything was told, by MEMORY USAGE; each has a lifetime.
async fn weight(eyes: &mut MultiplexedConnection) -> usize {
    until(SOON, "everything to be told", async || {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*}due").query_async(eyes).await.expect("redis answers");
        keys.is_empty().then_some(())
    })
    .await;
    let mut sum = 0;
    for key in keys(eyes).await {
        let lives: i64 = redis::cmd("PTTL").arg(&key).query_async(eyes).await.expect("redis answers");
        assert_ne!(lives, -1, "{} lives for ever", String::from_utf8_lossy(&key)); // -2 is gone by now
        // the marks, and what each reader leaves in each shard, are as many whatever fires
        let fixed = |part: &[u8]| part == b"{marks}" || part.starts_with(b"}v");
        if !key.windows(7).chain([&key[key.len() - 3..]]).any(fixed) {
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").arg(0).query_async(eyes).await;
            sum += usage.unwrap_or(0_usize);
        }
    }
    sum
}

#[tokio::test]
async fn j19_a_storm_of_fifteen_is_two_kilobytes_and_each_further_member_a_hundred_bytes() {
    let (case, _stages, own) = stages("j19").await;
    let mut eyes = own.redis.connection().await;
    let all = pods("KubePodCrashLooping", &case.namespace("shop"), 0..1000);
    case.post(&all[..15]).await;
    case.counted("shop", 1, 15).await;
    case.settled().await;
    let fifteen = weight(&mut eyes).await;
    case.post(&all[15..]).await;
    case.counted("shop", 1, 1000).await;
    case.settled().await;
    let thousand = weight(&mut eyes).await;
    let each = (thousand - fifteen) as f64 / 985.0;
    println!("a storm of 15: {fifteen} bytes; of 1 000: {thousand} bytes; a further member: {each:.1} bytes");
    assert!(fifteen <= 2_048, "{fifteen}");
    assert!(each <= 100.0, "{each}");
}

#[tokio::test]
async fn j19_a_hundred_storms_of_fifteen_are_two_hundred_kilobytes() {
    let (case, _stages, own) = stages("j19h").await;
    let all: Vec<Value> = (0..100)
        .flat_map(|storm| pods(&format!("KubePodCrashLooping{storm}"), &case.namespace("shop"), 0..15))
        .collect();
    for some in all.chunks(33 * 15) {
        case.send(0, PROMETHEUS, webhook(some).to_string()).await;
    }
    case.counted("shop", 100, 15).await;
    case.settled().await;
    let hundred = weight(&mut own.redis.connection().await).await;
    println!("100 storms of 15: {hundred} bytes");
    assert!(hundred <= 200 << 10, "{hundred}");
}
