//! Group J, a Redis under pressure: no slot for a connection, no script, no memory. Work waits or asks again; nothing is
//! lost, nothing doubled.

use super::forgotten::Rig;
use crate::harness::Shared;
use crate::harness::case::{SOON, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::servers::{OwnRedis, connection};
use crate::harness::wait::{until_eq, until_ok};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SHAPE: Shape = Shape { ingest: 1, work: 2, sink: 1 };

/// What a test once left behind on a shared Redis, and broke others with.
async fn the_shared_one_is_untouched() {
    let mut eyes = connection(&Shared::get().redis).await;
    let told: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory*").query_async(&mut eyes).await.expect("redis answers");
    let of = |name: &str| told.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    assert_eq!(of("maxmemory").as_deref(), Some("0"), "maxmemory of the shared Redis");
    assert_eq!(of("maxmemory-policy").as_deref(), Some("noeviction"), "the policy of the shared Redis");
}

/// The reason for which the judge is not ready, once it is this one.
async fn judge_misses(rig: &Rig, reason: &str) {
    until_ok(SOON, &format!("the judge to say {reason:?}"), async || {
        let page = rig.stages.works[0].page("/readyz").await;
        let told = page.json()["missing"]["memory"].as_str().unwrap_or_default().to_owned();
        if page.status == 503 && told.contains(reason) { Ok(()) } else { Err(page.text()) }
    })
    .await;
}

/// Ids of the connections of our stages, as Redis sees them.
async fn ours(eyes: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
    let me: i64 = redis::cmd("CLIENT").arg("ID").query_async(eyes).await.expect("redis answers");
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(eyes).await.expect("redis answers");
    let id = |line: &str| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned());
    let called = |line: &&str| !line.contains(" cmd=NULL ");
    list.lines().filter(called).filter_map(id).filter(|id| *id != me.to_string()).collect()
}

#[tokio::test]
async fn j05_no_slot_for_a_connection_is_waited_out_with_one_connection_a_process() {
    let rig = Rig::start("j05", unlimited(), SHAPE).await;
    let mut eyes = rig.redis.connection().await;
    until_eq(SOON, "one connection for each judge", 2, async || ours(&mut eyes.clone()).await.len()).await;
    let address = rig.redis.url.trim_start_matches("redis://");
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    rig.redis(&["CONFIG", "SET", "maxclients", "8"]).await; // who is there stays; nobody else comes
    for id in ours(&mut eyes).await {
        let _: i64 = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async(&mut eyes).await.unwrap();
    }
    let own = rig.own(200);
    for some in own.chunks(50) {
        rig.case.post_each(some).await; // more at once than the door takes would be asked to come again
    }
    rig.judge_is(false).await;
    assert_eq!(ours(&mut eyes).await.len(), 0, "there is no slot");
    drop(others);
    rig.told(200, 1, None).await;
    rig.judge_is(true).await;
    until_eq(SOON, "one connection for each judge", 2, async || ours(&mut eyes.clone()).await.len()).await;
    rig.case.settled().await;
    rig.told(200, 1, None).await;
}

#[tokio::test]
async fn j07_scripts_forgotten_again_and_again_under_load_change_nothing() {
    let rig = Rig::start("j07", unlimited(), SHAPE).await;
    let (own, storm, loaded) = (rig.own(60), rig.storm(), AtomicBool::new(false));
    let flush = async {
        let mut flushes = 0;
        while !loaded.load(Ordering::Relaxed) {
            rig.redis(&["SCRIPT", "FLUSH"]).await;
            rig.redis(&["FUNCTION", "FLUSH"]).await;
            flushes += 1;
            tokio::time::sleep(Duration::from_millis(200)).await; // the pace of the flushes
        }
        flushes
    };
    let load = async {
        for _ in 0..12 {
            rig.case.post(&[&own[..], &storm].concat()).await;
            tokio::time::sleep(Duration::from_millis(250)).await; // the pace of the load
        }
        let objects = rig.told(60, 12, Some(180)).await;
        loaded.store(true, Ordering::Relaxed);
        objects
    };
    let (flushes, _) = tokio::join!(flush, load);
    assert!(flushes > 10, "{flushes} flushes");
    assert!(rig.redis.calls().await["script|load"] > 5);
    rig.case.settled().await;
    rig.told(60, 12, Some(180)).await;
}

#[tokio::test]
async fn j12_a_full_redis_pauses_work_which_says_why_and_nothing_is_lost() {
    the_shared_one_is_untouched().await;
    let rig = Rig::start("j12", unlimited(), SHAPE).await;
    let watch = rig.case.record("shop").await;
    let own = rig.own(100);
    rig.case.post(&own[..50]).await;
    rig.told(50, 1, None).await;
    rig.redis(&["SET", "filler", &"x".repeat(2 << 20)]).await;
    rig.redis(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    rig.case.post(&own).await;
    judge_misses(&rig, "OOM command not allowed").await;
    rig.case.post(&own).await;
    judge_misses(&rig, "OOM command not allowed").await;
    assert_eq!(rig.stages.ingests[0].page("/readyz").await.status, 200);
    let printed: String = rig.stages.works.iter().map(|work| work.process.printed()).collect();
    assert!(printed.contains("OOM command not allowed"), "the log says so too");
    let seen = rig.case.objects("shop", 50).await;
    assert!(seen.iter().all(|object| crate::harness::case::count(object) == 1), "work pauses");
    rig.redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let fits = |seen: &[serde_json::Value]| {
        let of = |wanted: u64| seen.iter().filter(|object| crate::harness::case::count(object) == wanted).count();
        (seen.len(), of(3), of(2)) == (100, 50, 50)
    };
    rig.case.until("shop", "50 objects of 3 and 50 of 2", fits).await;
    rig.judge_is(true).await;
    rig.case.settled().await;
    rig.case.until("shop", "50 objects of 3 and 50 of 2", fits).await;
    assert_eq!(watch.names().len(), 100);
    the_shared_one_is_untouched().await;
}

#[tokio::test]
async fn j13_a_redis_that_evicts_live_incidents_is_named_and_makes_no_second_object() {
    the_shared_one_is_untouched().await;
    let redis = OwnRedis::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    let rig = Rig::on(redis, "j13", unlimited(), SHAPE).await;
    for work in &rig.stages.works {
        let policy = async |policy: &str| {
            work.metric("breakwater_work_memory_eviction_policy", &[&format!("policy=\"{policy}\"")]).await
        };
        until_eq(SOON, "the policy as a metric", 1.0, async || policy("allkeys-lru").await).await;
        assert_eq!((policy("noeviction").await, policy("unknown").await), (0.0, 0.0));
        let printed = work.process.printed();
        let told = printed.lines().filter(|line| line.contains("allkeys-lru")).collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "one warning, not {told:?}");
    }
    let watch = rig.case.record("shop").await;
    let own = rig.own(300);
    for _ in 0..2 {
        rig.case.post(&own).await;
    }
    rig.told(300, 2, None).await;
    rig.case.settled().await;
    let limit = rig.redis.figure("used_memory").await - 100_000;
    rig.redis(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
    until_ok(SOON, "keys to be evicted", async || match rig.redis.figure("evicted_keys").await {
        evicted if evicted >= 100 => Ok(()),
        evicted => Err(format!("{evicted} evicted")),
    })
    .await;
    rig.case.post(&own).await;
    rig.redis(&["CONFIG", "SET", "maxmemory", "1mb"]).await; // hardly room for Redis itself
    rig.case.post(&own).await;
    let evicted = rig.redis.figure("evicted_keys").await;
    rig.redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(evicted >= 300, "{evicted} evicted");
    rig.told(300, 4, None).await;
    rig.judge_is(true).await;
    rig.case.post(&own).await;
    rig.told(300, 5, None).await;
    rig.case.settled().await;
    assert_eq!(watch.names().len(), 300);
    the_shared_one_is_untouched().await;
}

#[tokio::test]
async fn j14_no_test_leaves_the_shared_redis_short_of_memory() {
    the_shared_one_is_untouched().await;
}
