//! Group J, how long Redis keeps what: every key has an end, whatever happens to the worker, and Redis' clock decides
//! nothing.

use super::forgotten::Rig;
use crate::harness::case::{Case, SOON, briefs, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::servers::OwnRedis;
use crate::harness::wait::until_ok;
use breakwater::alert::Brief;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The kind of a key: what stands after its shard.
fn kind(key: &[u8]) -> &[u8] {
    let at = key.iter().position(|byte| *byte == b'}').map_or(0, |at| at + 1);
    &key[at..]
}

/// Whether a key was born of an alert, and not of the marks of readers.
fn of_alerts(key: &[u8]) -> bool {
    let kind = kind(key);
    kind == b"due" || kind.starts_with(b"f") || (kind.starts_with(b"g") && kind.len() == 17)
}

fn assert_ends(keys: &BTreeMap<Vec<u8>, i64>, longest: Duration) {
    let longest = i64::try_from(longest.as_millis()).expect("a span of days");
    for (key, lives) in keys {
        assert!((0..=longest).contains(lives), "{} lives {lives} ms", String::from_utf8_lossy(key));
    }
}

#[tokio::test]
async fn j16_a_judge_killed_at_twenty_instants_leaves_no_key_without_an_end() {
    let redis = OwnRedis::start(&[]).await;
    let mut rig = Rig::on(redis, "j16", unlimited(), Shape { work: 0, ..Shape::ONE }).await;
    rig.stages.notice_death_quickly();
    rig.stages.add(Shape { work: 2, ..Shape::NONE }).await;
    let (own, storm) = (rig.own(100), rig.storm());
    for round in 0..20_usize {
        rig.case.post(&[&own[round * 5..][..5], &storm].concat()).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..400))).await; // the instant
        let mut killed = rig.stages.works.remove(0);
        killed.process.kill();
        rig.stages.works.push(Product::spawn("work", &rig.stages.work));
        assert_ends(&rig.redis.lifetimes().await, Duration::from_hours(24));
    }
    rig.told(100, 1, Some(300)).await;
    let keys = rig.redis.lifetimes().await;
    assert!(keys.keys().filter(|key| of_alerts(key)).count() > 100);
    assert_ends(&keys, Duration::from_hours(24));
}

/// Spans of seconds: what memory keeps beyond them is its margin.
fn short() -> Value {
    json!({ "dedup": { "ttl": "2s", "update_interval": "1s" },
        "storm": { "hold": "200ms", "window": "1s", "quiet": "1s", "max_duration": "2s", "update_interval": "1s" },
        "sink": { "writes_per_second": "unlimited" } })
}

#[tokio::test]
async fn j17_what_is_over_is_kept_for_a_bounded_time_and_nothing_renews_it() {
    // ttl, or window + max_duration + quiet, then hold, update_interval and the margin of 10 minutes; a key twice that
    let keep = Duration::from_millis(4_000 + 200 + 1_000 + 600_000);
    let rig = Rig::start("j17", short(), Shape::ONE).await;
    let (own, storm) = (rig.own(40), rig.storm());
    let ours = briefs(&rig.case.post(&[&own[..], &storm].concat()).await);
    let objects = rig.told(40, 1, Some(15)).await;
    for object in &objects {
        let namespace = rig.case.namespace("shop");
        rig.case.kube.phase(&namespace, crate::harness::case::name(object), "Completed").await;
    }
    rig.case.closed(40 + 15).await;
    rig.case.settled().await;
    let first = rig.redis.lifetimes().await;
    let born: Vec<&Vec<u8>> = first.keys().filter(|key| of_alerts(key)).collect();
    let (mut memos, mut eyes) = (0, rig.redis.connection().await);
    for key in &born {
        if kind(key).starts_with(b"f") {
            // beside ours, those of objects that others end on the same API server
            let fields: Vec<[u8; Brief::SIZE]> =
                redis::cmd("HKEYS").arg(key).query_async(&mut eyes).await.expect("redis answers");
            memos +=
                fields.into_iter().filter(|field| ours.contains(&format!("\"{}\"", Brief::from_bytes(*field)))).count();
        }
        assert_ends(&BTreeMap::from([((*key).clone(), first[*key])]), keep * 2 + Duration::from_secs(2));
    }
    assert_eq!(memos, 40 + 15);
    until_ok(SOON, "every key of those alerts to come 3 s nearer to its end", async || {
        let now = rig.redis.lifetimes().await;
        match born.iter().find(|key| now.get(**key).is_some_and(|lives| first[**key] - lives < 3_000)) {
            None => Ok(()),
            Some(key) => Err(format!("{} lives {:?}", String::from_utf8_lossy(key), now.get(*key))),
        }
    })
    .await;
}

async fn with_clock_ahead(scenario: &str, hours: i64) -> (Case, Deployment) {
    let redis = OwnRedis::with_clock_ahead(hours * 3600).await;
    let (seconds, _): (i64, i64) =
        redis::cmd("TIME").query_async(&mut redis.connection().await).await.expect("redis answers");
    let ahead = seconds - jiff::Timestamp::now().as_second();
    assert!((ahead - hours * 3600).abs() < 5, "its clock is {ahead} s ahead");
    let rig = Rig::on(redis, scenario, unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let (own, storm) = (rig.own(40), rig.storm());
    for _ in 0..3 {
        rig.case.post(&[&own[..], &storm].concat()).await;
    }
    rig.told(40, 3, Some(45)).await;
    assert_ends(&rig.redis.lifetimes().await, Duration::from_hours(24));
    rig.case.settled().await;
    rig.told(40, 3, Some(45)).await;
    (rig.case, rig.stages)
}

#[tokio::test]
async fn j21_a_redis_an_hour_ahead_changes_nothing() {
    with_clock_ahead("j21a", 1).await;
}

#[tokio::test]
async fn j21_a_redis_an_hour_behind_changes_nothing() {
    with_clock_ahead("j21b", -1).await;
}
