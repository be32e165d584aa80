//! What memory weighs: a storm, a hundred of them, and what is left when their time is over.

use crate::harness::Scope;
use crate::harness::alerts::{alert, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::servers::OwnRedis;
use crate::harness::wait::{until, until_ok, until_passed};
use breakwater::alert::Fingerprint;
use breakwater::memory::{Key, Memory as _, Shard, Swap, redis::Redis};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Stages on a Redis of their own.
async fn stages(scenario: &str) -> (Case, Deployment, OwnRedis) {
    let redis = OwnRedis::start(&[]).await;
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(unlimited());
    setting.redis.clone_from(&redis.url);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of(scenario, &["shop"], &stages).await;
    (case, stages, redis)
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
        assert!(lives > 0, "{} lives for ever", String::from_utf8_lossy(&key));
        if !key.windows(7).any(|part| part == b"{marks}") {
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").arg(0).query_async(eyes).await;
            sum += usage.unwrap_or(0_usize);
        }
    }
    sum
}

#[tokio::test]
async fn j19_a_storm_of_fifteen_is_two_kilobytes_and_each_further_member_a_hundred_bytes() {
    let (case, _stages, redis) = stages("j19").await;
    let mut eyes = redis.connection().await;
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
    let (case, _stages, redis) = stages("j19h").await;
    let all: Vec<Value> =
        (0..100).flat_map(|storm| pods(&format!("KubePodCrashLooping{storm}"), &case.namespace("shop"), 0..15)).collect();
    for some in all.chunks(500) {
        case.send(0, PROMETHEUS, webhook(some).to_string()).await;
    }
    case.counted("shop", 100, 15).await;
    case.settled().await;
    let hundred = weight(&mut redis.connection().await).await;
    println!("100 storms of 15: {hundred} bytes");
    assert!(hundred <= 200 << 10, "{hundred}");
}

#[tokio::test]
async fn j17_what_is_over_is_gone_and_leaves_no_memory_behind() {
    let own = OwnRedis::start(&[]).await;
    let keep = Duration::from_secs(1);
    let memory = Redis::open(&own.url, "j17").expect("a URL of Redis").keeping(keep);
    let mut eyes = own.connection().await;
    let shard = Shard::Numbered(1);
    let swaps = |range: std::ops::Range<u32>| -> Vec<Swap> {
        let key = |number: u32| Key::Fingerprint(Fingerprint::of([number.to_string().as_str()]).brief());
        range.map(|number| Swap { key: key(number), seen: None, value: vec![7; 40], keep, due: None }).collect()
    };
    for round in 0..2 {
        let before = used(&mut eyes).await;
        let written = swaps(0..20_000);
        let since = Instant::now();
        memory.swap(shard, &written).await.expect("redis answers");
        let keys: Vec<Key> = written.iter().map(|swap| swap.key).collect();
        let held = memory.recall(shard, &keys).await.expect("redis answers");
        assert!(since.elapsed() > keep || held.iter().all(Option::is_some), "kept for as long as was asked");
        let full = used(&mut eyes).await;
        until_passed(keep, since).await;
        until(SOON, "all keys to be gone", async || self::keys(&mut eyes).await.is_empty().then_some(())).await;
        if round == 0 {
            continue; // now what connections and scripts take is taken
        }
        let what = format!("used_memory, {full} at its most, to be within 5 % of {before} again");
        until_ok(SOON, &what, async || match used(&mut eyes).await {
            after if after.abs_diff(before) * 20 <= before => Ok(()),
            after => Err(after.to_string()), // Redis takes buffers back when they were idle for some seconds
        })
        .await;
    }
}

async fn used(eyes: &mut MultiplexedConnection) -> u64 {
    let memory: String = redis::cmd("INFO").arg("memory").query_async(eyes).await.expect("redis answers");
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).and_then(|used| used.trim().parse().ok());
    used.expect("redis tells its memory")
}
