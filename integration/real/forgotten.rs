//! Group J on real servers: Redis goes, comes back empty, comes back old, loses a part. Nothing is lost, nothing doubled,
//! and no count falls: what memory no longer knows is read again from the log.

use crate::harness::Scope;
use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::servers::OwnRedis;
use crate::harness::wait::until_ok;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Stages whose Redis a test may break.
pub(super) struct Rig {
    pub(super) case: Case,
    pub(super) stages: Deployment,
    pub(super) redis: OwnRedis,
}

impl Rig {
    pub(super) async fn start(scenario: &str, overlay: Value, shape: Shape) -> Self {
        Self::on(OwnRedis::start(&[]).await, scenario, overlay, shape).await
    }

    /// The same before a Redis that is not as usual.
    pub(super) async fn on(redis: OwnRedis, scenario: &str, overlay: Value, shape: Shape) -> Self {
        let scope = Scope::new(scenario);
        let mut setting = scope.setting(overlay);
        setting.redis.clone_from(&redis.url);
        let stages = Deployment::of(scope, setting, shape).await;
        let case = Case::of(scenario, &["shop"], &stages).await;
        Self { case, stages, redis }
    }

    pub(super) fn own(&self, count: usize) -> Vec<Value> {
        strangers("Own", &self.case.namespace("shop"), count)
    }

    pub(super) fn storm(&self) -> Vec<Value> {
        kin("Storm", &self.case.namespace("shop"), 15)
    }

    /// Waits until so many objects of their own count so much each, and the storm, if there is one, as told.
    pub(super) async fn told(&self, own: usize, each: u64, storm: Option<u64>) -> Vec<Value> {
        let what = format!("{own} objects that count {each}, a storm of {storm:?}");
        let fits = |seen: &[Value]| {
            let (storms, others): (Vec<&Value>, Vec<&Value>) =
                seen.iter().partition(|object| object["spec"]["isStorm"] == true);
            let storms: Vec<u64> = storms.into_iter().map(count).collect();
            others.len() == own
                && others.into_iter().all(|object| count(object) == each)
                && storms == storm.into_iter().collect::<Vec<_>>()
        };
        self.case.until("shop", &what, fits).await
    }

    pub(super) async fn redis(&self, words: &[&str]) {
        let mut call = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            call.arg(word);
        });
        let _: redis::Value = call.query_async(&mut self.redis.connection().await).await.expect("redis obeys");
    }

    /// Whether the judge says that it is ready.
    pub(super) async fn judge_is(&self, ready: bool) {
        let work = &self.stages.works[0];
        until_ok(SOON, "the judge's readiness", async || {
            let page = work.page("/readyz").await;
            if (page.status == 200) == ready { Ok(()) } else { Err(page.text()) }
        })
        .await;
    }
}

fn counts(objects: &[Value]) -> BTreeMap<String, u64> {
    objects.iter().map(|object| (name(object).to_owned(), count(object))).collect()
}

#[tokio::test]
async fn j11_a_flushed_memory_neither_doubles_nor_miscounts() {
    let rig = Rig::start("j11", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = rig.case.record("shop").await;
    let (own, storm) = (rig.own(100), rig.storm());
    for _ in 0..3 {
        rig.case.post(&own).await;
    }
    rig.case.post(&storm).await;
    rig.told(100, 3, Some(15)).await;
    rig.redis(&["FLUSHALL"]).await;
    rig.case.post(&[&own[..], &storm].concat()).await;
    rig.told(100, 4, Some(30)).await;
    rig.redis(&["FLUSHALL"]).await;
    rig.case.post(&[&storm[..], &own].concat()).await;
    rig.told(100, 5, Some(45)).await;
    rig.case.settled().await;
    assert_eq!(counts(&rig.told(100, 5, Some(45)).await).len(), 101);
    assert_eq!(watch.names().len(), 101);
}

#[tokio::test]
async fn j11_one_shard_that_is_emptied_is_filled_again() {
    let rig = Rig::start("j11s", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let (own, storm) = (rig.own(60), rig.storm());
    for _ in 0..2 {
        rig.case.post(&own).await;
    }
    rig.case.post(&storm).await;
    rig.told(60, 2, Some(15)).await;
    let mut eyes = rig.redis.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*{3}*").query_async(&mut eyes).await.unwrap();
    assert!(!keys.is_empty(), "the shard holds something");
    let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut eyes).await.unwrap();
    rig.case.post(&[&own[..], &storm].concat()).await;
    rig.told(60, 3, Some(30)).await;
}

#[tokio::test]
async fn j09_a_memory_that_went_back_in_time_is_read_up_again() {
    let mut rig = Rig::start("j09", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let (own, storm) = (rig.own(50), rig.storm());
    rig.case.post(&own).await;
    rig.told(50, 1, None).await;
    rig.redis(&["SAVE"]).await;
    rig.case.post(&[&own[..], &storm].concat()).await;
    rig.told(50, 2, Some(15)).await;
    rig.redis.server.restart().await; // from the dump: half of it never was
    rig.case.post(&[&own[..], &storm].concat()).await;
    let objects = rig.told(50, 3, Some(30)).await;
    rig.case.settled().await;
    assert_eq!(counts(&rig.case.objects("shop", 51).await), counts(&objects));
}

#[tokio::test]
async fn j01_redis_stopped_keeps_the_door_open_and_nothing_is_lost() {
    let mut rig = Rig::start("j01", unlimited(), Shape::ONE).await;
    rig.judge_is(true).await;
    rig.redis.server.kill();
    let own = rig.own(200);
    for some in own.chunks(50) {
        rig.case.post_each(some).await;
    }
    rig.judge_is(false).await;
    assert_eq!(rig.stages.ingests[0].page("/readyz").await.status, 200);
    rig.case.post(&own).await;
    rig.redis.server.restart().await;
    rig.told(200, 2, None).await;
    rig.judge_is(true).await;
    let stages = rig.stages.ingests.iter_mut().chain(&mut rig.stages.works).chain(&mut rig.stages.sinks);
    assert!(stages.into_iter().all(|stage| stage.process.ended().is_none()), "no process has ended");
}

#[tokio::test]
async fn j02_redis_killed_five_times_under_load_changes_nothing() {
    let mut rig = Rig::start("j02", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let own = rig.own(100);
    rig.case.post(&own).await;
    for round in 0..5_usize {
        rig.case.post(&own[round * 20..][..20]).await; // before, while it is away, and after
        rig.redis.server.kill();
        rig.case.post(&own[round * 20..][..20]).await;
        rig.redis.server.restart().await;
        rig.case.post(&own[round * 20..][..20]).await;
        rig.judge_is(true).await;
    }
    rig.told(100, 4, None).await;
    rig.case.settled().await;
    rig.told(100, 4, None).await;
}

#[tokio::test]
async fn j11_a_judge_that_dies_over_what_it_has_read_again_leaves_that_to_the_next() {
    let mut rig = Rig::start("j11d", unlimited(), Shape::ONE).await;
    let (own, storm) = (rig.own(20), rig.storm());
    rig.case.post(&[&own[..], &storm].concat()).await;
    rig.told(20, 1, Some(15)).await;
    rig.case.settled().await;
    assert!(rig.stages.works.remove(0).stop().await.success());
    rig.redis(&["FLUSHALL"]).await;
    // everything is committed and read again, and it dies with the first decisions in its hands
    let mut doomed = Product::spawn("work", &rig.stages.work.clone().with("BREAKWATER_CRASH_AT", "work-decided:1"));
    doomed.process.exit(SOON).await;
    rig.stages.add(Shape { work: 1, ..Shape::NONE }).await;
    rig.case.post(&[&own[..], &storm].concat()).await;
    rig.told(20, 2, Some(30)).await;
}

#[tokio::test]
async fn j03_redis_frozen_for_ten_seconds_costs_time_alone() {
    let rig = Rig::start("j03", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let own = rig.own(50);
    rig.case.post(&own).await;
    rig.told(50, 1, None).await;
    rig.redis.server.stop();
    let frozen = Instant::now();
    let mut posts = 0;
    while frozen.elapsed() < Duration::from_secs(10) {
        rig.case.post(&own).await;
        posts += 1;
        rig.judge_is(posts == 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await; // the pace of the load
    }
    rig.redis.server.cont();
    rig.told(50, 1 + posts, None).await;
    rig.judge_is(true).await;
}

#[tokio::test]
async fn j25_redis_away_for_longer_than_the_horizon_and_back_empty() {
    let spans = json!({ "dedup": { "ttl": "2s", "update_interval": "1s" },
        "storm": { "hold": "200ms", "window": "1s", "quiet": "1s", "max_duration": "2s", "update_interval": "1s" },
        "sink": { "writes_per_second": "unlimited" } });
    let mut rig = Rig::start("j25", spans, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let own = rig.own(40);
    rig.case.post(&own[..20]).await;
    rig.told(20, 1, None).await;
    rig.redis.server.kill();
    let away = Instant::now();
    let mut posts = 0;
    while away.elapsed() < Duration::from_secs(6) {
        rig.case.post(&own[20..]).await;
        posts += 1;
        tokio::time::sleep(Duration::from_millis(500)).await; // the pace of the load: each within the ttl of the one before
    }
    rig.redis.server.restart().await;
    rig.case.post(&own[20..]).await;
    let fits = |seen: &[Value]| {
        let of = |wanted: u64| seen.iter().filter(|object| count(object) == wanted).count();
        seen.len() == 40 && of(1) == 20 && of(posts + 1) == 20
    };
    rig.case.until("shop", &format!("20 objects of 1 and 20 of {}", posts + 1), fits).await;
    rig.case.settled().await;
    rig.case.objects("shop", 40).await;
}

#[tokio::test]
async fn f25_kin_that_were_flushed_within_their_hold_are_in_the_storm_all_the_same() {
    let hold = json!({ "storm": { "hold": "6s", "update_interval": "1s" }, "dedup": { "update_interval": "1s" },
        "sink": { "writes_per_second": "unlimited" } });
    let rig = Rig::start("f25", hold, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = rig.case.record("shop").await;
    let storm = rig.storm();
    rig.case.post(&storm[..8]).await;
    let mut eyes = rig.redis.connection().await;
    until_ok(SOON, "the first eight to be in memory", async || {
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut eyes).await.expect("redis answers");
        let groups: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*}g*").query_async(&mut eyes).await.expect("redis answers");
        if groups.len() == 1 { Ok(()) } else { Err(keys) }
    })
    .await;
    rig.redis(&["FLUSHALL"]).await;
    rig.case.post(&storm[8..]).await;
    let objects = rig.told(0, 0, Some(15)).await;
    assert_eq!(objects[0]["spec"]["stormAggregation"]["affectedResources"].as_array().map(Vec::len), Some(15));
    rig.case.settled().await;
    assert_eq!(watch.names().len(), 1);
}
