//! Group F on real servers, part two: floods that are slow, large, or meet broken servers.

use crate::harness::Scope;
use crate::harness::alerts::{kin, strangers, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Record;
use crate::harness::pipeline::merge;
use crate::harness::servers::OwnRedis;
use crate::harness::wait::{until_eq, until_ok, until_passed};
use crate::storm::{first_pods, is_storm, only, pods, pods_now, the_storm};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The shipped pipeline with its spans of a minute shortened to seconds, in proportion; the rest is `more`.
fn shortened(more: Value) -> Value {
    let mut overlay = unlimited();
    let storm = json!({ "hold": "200ms", "window": "6s", "quiet": "6s", "max_duration": "30s" });
    merge(&mut overlay, json!({ "storm": storm }));
    merge(&mut overlay, more);
    overlay
}

/// Stages on a Redis of their own, which the test may break.
async fn on_own_redis(scenario: &str, overlay: Value, shape: Shape) -> (Case, Deployment, OwnRedis) {
    let redis = OwnRedis::start(&[]).await;
    let scope = Scope::new(scenario);
    let mut setting = scope.setting(overlay);
    setting.redis.clone_from(&redis.url);
    let mut stages = Deployment::of(scope, setting, Shape::NONE).await;
    stages.notice_death_quickly();
    stages.add(shape).await;
    let case = Case::of(scenario, &["shop"], &stages).await;
    (case, stages, redis)
}

/// Waits until the judges that run have taken in so many records.
async fn consumed(stages: &Deployment, records: usize) {
    until_eq(SOON, "the judges to have taken records in", records as f64, async || {
        let mut sum = 0.0;
        for work in &stages.works {
            sum += work.metric("breakwater_work_records_consumed_total", &[]).await;
        }
        sum
    })
    .await;
}

/// The drafts of a topic that speak of this test.
async fn drafts(case: &Case) -> Vec<Value> {
    let records = case.about_us(&case.remediations).await;
    records.iter().map(Record::json).filter(|record| record["type"] == "draft").collect()
}

#[tokio::test]
async fn f12_a_slow_trickle_becomes_a_storm_at_the_tenth_and_supersedes_the_nine() {
    // a tenth of 6 s apart, hold 2 s, window 60 s; the window is longer than that, as a busy machine is late
    let window = shortened(json!({ "storm": { "window": "20s", "quiet": "20s" } }));
    let (case, _stages) = Case::own("f12", &["shop"], window, Shape::ONE).await;
    let all = kin("Trickle", &case.namespace("shop"), 12);
    let begin = Instant::now();
    for (number, alert) in (0..).zip(&all) {
        until_passed(Duration::from_millis(600) * number, begin).await;
        case.post(std::slice::from_ref(alert)).await;
        if number < 9 {
            case.objects("shop", number as usize + 1).await;
        }
    }
    let fits =
        |seen: &[Value]| seen.len() == 10 && count(seen.iter().find(|o| is_storm(o)).unwrap_or(&Value::Null)) == 12;
    let objects = case.until("shop", "nine objects and a storm of twelve", fits).await;
    let storm = the_storm(&objects);
    assert_eq!(pods_now(storm), first_pods(12));
    assert_eq!(storm["spec"]["stormAlertCount"], 10, "it was one at the tenth");
    case.settled().await;
    let superseded = |seen: &[Value]| {
        seen.iter().filter(|o| !is_storm(o)).all(|o| o["status"]["supersededBy"] == json!(name(the_storm(seen))))
    };
    let objects = case.until("shop", "the nine to be superseded", superseded).await;
    assert_eq!(objects.len(), 10);
}

#[tokio::test]
async fn f17_members_that_fire_again_stay_members_also_after_quiet_and_after_total_loss() {
    let (mut case, mut stages, redis) =
        on_own_redis("f17", shortened(json!({})), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 15);
    case.post(&all).await;
    let begin = Instant::now();
    case.counted("shop", 1, 15).await;
    case.post(&all).await;
    case.counted("shop", 1, 30).await;
    until_passed(7 * SECOND, begin).await;
    case.post(&all).await;
    case.counted("shop", 1, 45).await;
    case.settled().await;
    for work in stages.works.drain(..) {
        assert!(work.stop().await.success());
    }
    redis.flush().await;
    stages.add(Shape { work: 2, ..Shape::NONE }).await;
    case.doors = stages.doors();
    case.post(&all).await;
    let objects = case.counted("shop", 1, 60).await;
    case.settled().await;
    let objects_then = case.counted("shop", 1, 60).await;
    let storm = &objects_then[0]["status"]["stormAggregation"];
    assert_eq!((&storm["alertCount"], &storm["totalAffectedResources"]), (&json!(60), &json!(15)));
    assert_eq!(pods_now(&objects_then[0]), first_pods(15));
    only(&watch, &objects);
}

#[tokio::test]
async fn f18_after_quiet_other_pods_are_another_storm() {
    let (case, _stages) = Case::own("f18", &["shop"], shortened(json!({})), Shape::ONE).await;
    let all = kin("Crash", &case.namespace("shop"), 104);
    case.post(&all[..52]).await;
    let begin = Instant::now();
    let first = case.counted("shop", 1, 52).await.remove(0);
    until_passed(7 * SECOND, begin).await;
    case.post(&all[52..]).await;
    let both = case.counted("shop", 2, 52).await;
    assert!(both.iter().all(is_storm));
    let second = both.iter().find(|object| name(object) != name(&first)).expect("two names");
    assert_eq!(pods_now(&first), first_pods(52));
    assert_eq!(pods_now(second), &first_pods(104) - &first_pods(52));
    case.settled().await;
    case.counted("shop", 2, 52).await;
}

#[tokio::test]
async fn f21_ten_thousand_kin_are_one_object_below_two_hundred_kilobytes() {
    const MEMBERS: usize = 10_000;
    let (case, _stages) = Case::own("f21", &["shop"], unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let begin = Instant::now();
    for thousand in kin("Flood", &case.namespace("shop"), MEMBERS).chunks(1000) {
        case.send(0, PROMETHEUS, webhook(thousand).to_string()).await;
    }
    let posted = begin.elapsed();
    let objects = case.counted("shop", 1, MEMBERS as u64).await;
    println!("{MEMBERS} kin: posted in {posted:?}, one object after {:?}", begin.elapsed());
    let storm = &objects[0]["status"]["stormAggregation"];
    assert_eq!((&storm["totalAffectedResources"], &storm["alertCount"]), (&json!(MEMBERS), &json!(MEMBERS)));
    assert_eq!((pods(&objects[0]).len(), pods_now(&objects[0]).len()), (100, 100));
    let size = objects[0].to_string().len();
    println!("the object has {size} bytes");
    assert!(size < 200_000, "the object has {size} bytes");
    case.settled().await;
    assert_eq!(drafts(&case).await.len(), 1, "one create record");
    only(&watch, &case.counted("shop", 1, MEMBERS as u64).await);
}

#[tokio::test]
async fn f22_a_storm_that_grows_for_long_is_told_in_measured_steps() {
    // 300 kin over 8 s, told every 2 s: as 20 s and 5 s
    let overlay = shortened(json!({ "storm": { "update_interval": "2s" } }));
    let (case, _stages) = Case::own("f22", &["shop"], overlay, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let begin = Instant::now();
    for (turn, some) in (0..).zip(kin("Grows", &case.namespace("shop"), 300).chunks(15)) {
        until_passed(Duration::from_millis(400) * turn, begin).await;
        case.post(some).await;
    }
    let objects = case.counted("shop", 1, 300).await;
    case.settled().await;
    let counts: Vec<Value> = (watch.statuses(name(&objects[0])).iter())
        .map(|status| status["stormAggregation"]["alertCount"].clone())
        .collect();
    assert!(counts.len() <= 6, "{counts:?}");
    assert_eq!(counts.last(), Some(&json!(300)));
    only(&watch, &objects);
}

#[tokio::test]
async fn f26_kin_before_and_during_an_outage_of_redis_are_one_object() {
    let (case, _stages, mut redis) = on_own_redis("f26", unlimited(), Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 30);
    case.post(&all[..15]).await;
    case.counted("shop", 1, 15).await;
    case.settled().await;
    redis.server.kill();
    let gone = Instant::now();
    case.post(&all[15..]).await;
    until_passed(20 * SECOND, gone).await;
    redis.server.restart().await;
    let objects = case.counted("shop", 1, 30).await;
    assert_eq!(objects[0]["status"]["stormAggregation"]["totalAffectedResources"], 30);
    assert_eq!(pods_now(&objects[0]), first_pods(30));
    case.settled().await;
    only(&watch, &case.counted("shop", 1, 30).await);
}

#[tokio::test]
async fn f27_a_window_outlives_all_workers() {
    let (case, mut stages, _redis) = on_own_redis("f27", unlimited(), Shape { ingest: 1, work: 3, sink: 1 }).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 40);
    case.post(&all[..20]).await;
    consumed(&stages, 20).await;
    for mut work in stages.works.drain(..) {
        work.process.kill();
    }
    case.post(&all[20..]).await;
    stages.add(Shape { work: 3, ..Shape::NONE }).await;
    let objects = case.counted("shop", 1, 40).await;
    assert_eq!((is_storm(&objects[0]), pods_now(&objects[0])), (true, first_pods(40)));
    case.settled().await;
    only(&watch, &case.counted("shop", 1, 40).await);
}

#[tokio::test]
async fn f33_a_hundred_storms_and_five_thousand_singles_are_little_to_redis() {
    let redis = OwnRedis::start(&["--maxmemory", "512mb"]).await;
    let scope = Scope::new("f33");
    let mut setting = scope.setting(unlimited());
    setting.redis.clone_from(&redis.url);
    let stages = Deployment::of(scope, setting, Shape { ingest: 1, work: 2, sink: 2 }).await;
    let case = Case::of("f33", &["shop"], &stages).await;
    let shop = case.namespace("shop");
    let storms = (0..100).flat_map(|storm| kin(&format!("Storm{storm}"), &shop, 50));
    let all: Vec<Value> = storms.chain(strangers("Single", &shop, 5_000)).collect();
    for some in all.chunks(1000) {
        case.send(0, PROMETHEUS, webhook(some).to_string()).await;
    }
    let objects = case.kube.wait_for(&shop, 5_100, 3 * SOON).await;
    case.settled().await;
    assert_eq!(objects.iter().filter(|object| is_storm(object)).count(), 100);
    let mut eyes = redis.connection().await;
    let errors: String = redis::cmd("INFO").arg("errorstats").query_async(&mut eyes).await.expect("redis answers");
    assert!(!errors.contains("OOM"), "{errors}");
    let memory: String = redis::cmd("INFO").arg("memory").query_async(&mut eyes).await.expect("redis answers");
    let used =
        memory.lines().find_map(|line| line.strip_prefix("used_memory:")).and_then(|used| used.trim().parse().ok());
    let used: u64 = used.expect("redis tells its memory");
    println!("100 storms of 50 and 5 000 singles: used_memory {used}");
    assert!(used < 32 << 20, "{used}");
}

/// A story of floods and trickles: who fires, and when.
fn story(case: &Case) -> Vec<(u32, Vec<Value>)> {
    let shop = case.namespace("shop");
    let trickle = (0..).zip(kin("Trickle", &shop, 12)).map(|(n, alert)| (300 * n, vec![alert]));
    let floods = [(0, kin("Below", &shop, 9)), (500, kin("Storm", &shop, 25)), (2000, kin("Storm", &shop, 30))];
    let mut all: Vec<_> = trickle.chain(floods).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// What is said of each object: name, count, members.
fn stand(objects: &[Value]) -> BTreeSet<String> {
    let one = |object: &Value| {
        let spec = &object["spec"];
        let (status, who) = (&object["status"], &spec["targetResource"]["name"]);
        let by = status["supersededBy"].is_string();
        let who = if is_storm(object) { "a storm".to_owned() } else { who.to_string() };
        format!(
            "{} {who} x{} {:?} {by} {}",
            spec["signalName"],
            count(object),
            pods_now(object),
            spec["stormAlertCount"]
        )
    };
    objects.iter().map(one).collect()
}

#[tokio::test]
async fn a_backlog_of_ten_windows_is_decided_as_it_would_have_been_live() {
    let window = json!({ "storm": { "hold": "100ms", "window": "3s", "quiet": "3s", "max_duration": "30s" } });
    let (case, mut stages) =
        Case::own("lag", &["shop"], shortened(window), Shape { ingest: 1, work: 0, sink: 1 }).await;
    let begin = Instant::now();
    for (at, alerts) in story(&case) {
        until_passed(Duration::from_millis(u64::from(at)), begin).await;
        case.post(&alerts).await;
    }
    until_passed(30 * SECOND, begin).await;
    stages.add(Shape { work: 2, ..Shape::NONE }).await;
    // 9 of Below, 9 of Trickle and its storm of 12, one storm of 30 whose 25 fired twice
    let fits = |seen: &[Value]| seen.len() == 20 && seen.iter().map(count).sum::<u64>() == 9 + 9 + 12 + 55;
    let objects = case.until("shop", "the objects of a live run", fits).await;
    case.settled().await;
    assert_eq!(stand(&case.objects("shop", 20).await), stand(&objects));
    let storms: Vec<&Value> = objects.iter().filter(|object| is_storm(object)).collect();
    let told: BTreeSet<(String, u64, usize)> = (storms.iter())
        .map(|storm| (storm["spec"]["signalName"].to_string(), count(storm), pods_now(storm).len()))
        .collect();
    assert_eq!(told, BTreeSet::from([("\"Storm\"".to_owned(), 55, 30), ("\"Trickle\"".to_owned(), 12, 12)]));
    let superseded = objects.iter().filter(|object| object["status"]["supersededBy"].is_string());
    assert!(superseded.clone().all(|object| object["spec"]["signalName"] == "Trickle"));
    assert_eq!(superseded.count(), 9);
}

#[tokio::test]
async fn an_idle_partition_and_a_stopped_worker_hold_a_window_no_longer_than_hold_max() {
    let overlay = shortened(json!({ "storm": { "hold": "1s", "hold_max": "3s" } }));
    let scope = Scope::new("stall");
    let file = scope.path("kafka.properties");
    std::fs::write(&file, "session.timeout.ms=45000\n").expect("the test's folder can be written");
    let setting = scope.setting(overlay).with("BREAKWATER_KAFKA_PROPERTIES", &file.display().to_string());
    let stages = Deployment::of(scope, setting, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let case = Case::of("stall", &["shop"], &stages).await;
    // both judges have partitions, and a member that is not heard of is missed only after 45 s
    for work in &stages.works {
        until_eq(SOON, "two partitions each", 2.0, async || {
            work.metric("breakwater_work_partitions_assigned", &[]).await
        })
        .await;
    }
    case.post(&kin("Before", &case.namespace("shop"), 40)).await;
    case.counted("shop", 1, 40).await;
    case.settled().await;
    stages.works[0].process.stop();
    case.post(&kin("Crash", &case.namespace("shop"), 40)).await;
    let posted = Instant::now();
    let partly = until_ok(SOON, "a storm of the partitions that are read", async || {
        let seen = case.kube.list(&case.namespace("shop")).await;
        seen.into_iter().find(|object| object["spec"]["signalName"] == "Crash").ok_or("none yet")
    })
    .await;
    let stalled = posted.elapsed();
    println!("with a stopped worker: an object after {stalled:?}");
    assert!(is_storm(&partly));
    assert!(stalled > 3 * SECOND && stalled < 30 * SECOND, "hold_max is 3 s, hold 1 s: {stalled:?}");
    stages.works[0].process.cont();
}
