//! Group F on real servers, part two: floods that are slow or large.

use crate::harness::Scope;
use crate::harness::alerts::{kin, strangers, webhook};
use crate::harness::case::{Case, PROMETHEUS, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Record;
use crate::harness::pipeline::merge;
use crate::harness::servers::OwnRedis;
use crate::harness::wait::until_passed;
use crate::storm::{first_pods, is_storm, only, pods, pods_now, the_storm};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The shipped pipeline with its spans of a minute shortened to seconds, in proportion; the rest is `more`.
pub(crate) fn shortened(more: Value) -> Value {
    let mut overlay = unlimited();
    let storm = json!({ "hold": "200ms", "window": "6s", "quiet": "6s", "max_duration": "30s" });
    merge(&mut overlay, json!({ "storm": storm }));
    merge(&mut overlay, more);
    overlay
}

/// Stages on a Redis of their own, which the test may break.
pub(crate) async fn on_own_redis(scenario: &str, overlay: Value, shape: Shape) -> (Case, Deployment, OwnRedis) {
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

/// The drafts of a topic that speak of this test.
async fn drafts(case: &Case) -> Vec<Value> {
    let records = case.about_us(&case.remediations).await;
    records.iter().map(Record::json).filter(|record| record["type"] == "draft").collect()
}

#[tokio::test]
async fn f12_a_slow_trickle_becomes_a_storm_at_the_tenth_and_supersedes_the_nine() {
    // a tenth of 6 s apart, hold 2 s, window 60 s; the window is longer than that, as a busy machine is late
    let window = shortened(json!({ "storm": { "window": "40s", "quiet": "30s" } }));
    let (case, _stages) = Case::own("f12", &["shop"], window, Shape::ONE).await;
    let all = kin("Trickle", &case.namespace("shop"), 12);
    let begin = Instant::now();
    for (number, alert) in (0..).zip(&all) {
        until_passed(Duration::from_millis(600) * number, begin).await;
        case.post(std::slice::from_ref(alert)).await;
        // each is decided before the next one comes, however late that is
        if number < 9 {
            case.objects("shop", number as usize + 1).await;
        } else {
            let fits = |seen: &[Value]| seen.len() == 10 && count(the_storm(seen)) == u64::from(number) + 1;
            case.until("shop", "the storm to take it in", fits).await;
        }
    }
    let objects = case.objects("shop", 10).await;
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
