//! Group F on real servers, part four: floods that meet judges that lag, sleep or die, and a Redis that goes.

use crate::harness::Scope;
use crate::harness::alerts::kin;
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::wait::{until_eq, until_ok, until_passed};
use crate::storm::{first_pods, is_storm, only, pods_now};
use crate::torrents::{on_own_redis, shortened};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

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

#[tokio::test]
async fn f26_kin_before_and_during_an_outage_of_redis_are_one_object() {
    // an outage of 20 s, and all spans, shortened in proportion
    let spans = json!({ "hold": "800ms", "window": "24s", "quiet": "24s", "hold_max": "12s" });
    let overlay = shortened(json!({ "storm": spans }));
    let (case, _stages, mut redis) = on_own_redis("f26", overlay, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 30);
    case.post(&all[..15]).await;
    case.counted("shop", 1, 15).await;
    case.settled().await;
    redis.server.kill();
    let gone = Instant::now();
    case.post(&all[15..]).await;
    until_passed(8 * SECOND, gone).await;
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

/// A story of floods and trickles: who fires, and when.
fn story(case: &Case) -> Vec<(u32, Vec<Value>)> {
    let shop = case.namespace("shop");
    let trickle = (0..).zip(kin("Trickle", &shop, 12)).map(|(n, alert)| (100 * n, vec![alert]));
    let floods = [(0, kin("Below", &shop, 9)), (350, kin("Storm", &shop, 25)), (1250, kin("Storm", &shop, 30))];
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

/// Whether the log has the story as it was meant: the first flood within a hold of 50 ms, and at its tenth step the
/// trickle within a window of 2 s, each step decided before the next.
async fn came_in_time(case: &Case) -> bool {
    let records = case.records().await;
    let times = |alert: &str| {
        let of = records.iter().filter(|record| record.json()["labels"]["alertname"] == alert);
        let mut times: Vec<i64> = of.map(|record| record.timestamp).collect();
        times.sort_unstable();
        times
    };
    let (flood, trickle) = (times("Storm"), times("Trickle"));
    flood[24] - flood[0] <= 50 && trickle[9] - trickle[0] < 2_000 && trickle.windows(2).all(|two| two[1] - two[0] > 50)
}

/// Stages without a judge, and the story in their log. Told anew where the machine was too slow to tell it.
async fn told() -> (Case, Deployment, Instant) {
    let window = json!({ "storm": { "hold": "50ms", "window": "2s", "quiet": "2s", "max_duration": "20s" } });
    let mut tries = 0;
    loop {
        let shape = Shape { ingest: 1, work: 0, sink: 1 };
        let (case, stages) = Case::own("lag", &["shop"], shortened(window.clone()), shape).await;
        let begin = Instant::now();
        for (at, alerts) in story(&case) {
            until_passed(Duration::from_millis(u64::from(at)), begin).await;
            case.post(&alerts).await;
        }
        if came_in_time(&case).await {
            return (case, stages, begin);
        }
        tries += 1;
        assert!(tries < 10, "ten times this machine was too slow to tell a story of two seconds");
    }
}

#[tokio::test]
async fn a_backlog_of_ten_windows_is_decided_as_it_would_have_been_live() {
    let (case, mut stages, begin) = told().await;
    until_passed(20 * SECOND, begin).await;
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
    let watch = case.record("shop").await;
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
    // what it reads late belongs to the storm that was decided without it
    let objects = case.counted("shop", 2, 40).await;
    case.settled().await;
    assert!(objects.iter().all(|object| is_storm(object) && pods_now(object) == first_pods(40)));
    only(&watch, &case.counted("shop", 2, 40).await);
}
