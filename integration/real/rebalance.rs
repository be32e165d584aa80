//! Group K on real servers: partitions that change hands while records flow, and judges that sleep through it.

use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kafka::Kafka;
use crate::harness::pipeline::merge;
use crate::harness::product::Product;
use crate::harness::servers::OwnRedis;
use crate::harness::wait::{until, until_eq, until_ok};
use crate::harness::{PARTITIONS, Scope};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

const WORK: Shape = Shape { work: 1, ..Shape::NONE };
/// Members that die or sleep are noticed within a second or two.
const SHORT_SESSIONS: &str = "session.timeout.ms=1500\nheartbeat.interval.ms=300\n";

/// Posts these alerts ten times a second for as long as something lasts; how often each was promised.
async fn under_load<T>(case: &Case, alerts: &[Value], something: impl Future<Output = T>) -> (u64, T) {
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    let mut something = pin!(something);
    let mut promised = 0;
    loop {
        tokio::select! {
            end = &mut something => return (promised, end),
            _ = turns.tick() => {
                case.post(alerts).await;
                promised += 1;
            }
        }
    }
}

async fn assigned(judge: &Product) -> f64 {
    judge.metric("breakwater_work_partitions_assigned", &[]).await
}

/// Waits until these judges share all partitions, and none has none of them.
async fn share(judges: &[&Product], partitions: i32) {
    until_ok(SOON, "the judges to share the partitions", async || {
        let mut all = Vec::new();
        for judge in judges {
            all.push(assigned(judge).await);
        }
        let whole = all.iter().sum::<f64>() == f64::from(partitions) && all.iter().all(|some| *some > 0.0);
        if whole { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
}

/// Waits until a namespace holds one object for each of so many strangers, each counting so many firings, and one
/// storm of so many.
async fn whole(case: &Case, singles: usize, firings: u64, storm: u64) -> Vec<Value> {
    let what = format!("{singles} objects that count {firings}, and a storm of {storm}");
    case.until("shop", &what, |seen| {
        let (storms, alone): (Vec<&Value>, Vec<&Value>) = seen.iter().partition(|one| one["spec"]["isStorm"] == true);
        alone.len() == singles
            && alone.iter().all(|object| count(object) == firings)
            && storms.len() == 1
            && storms.iter().all(|object| {
                count(object) == storm && object["status"]["stormAggregation"]["totalAffectedResources"] == storm
            })
    })
    .await
}

#[tokio::test]
async fn k04_judges_come_and_go_under_load_and_in_the_middle_of_a_storm() {
    let (case, mut stages) = Case::own("k04", &["shop"], unlimited(), Shape::ONE).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    let (singles, storm) = (strangers("Load", &shop, 30), kin("Storm", &shop, 50));
    let begun = Instant::now();
    let (promised, ()) = under_load(&case, &singles, async {
        case.post(&storm[..15]).await;
        stages.add(Shape { work: 2, ..Shape::NONE }).await;
        let [first, second, third] = &stages.works[..] else { panic!("three judges") };
        share(&[first, second, third], PARTITIONS).await;
        case.post(&storm[15..35]).await;
        // the one that had it all goes
        assert!(stages.works.remove(0).stop().await.success());
        case.post(&storm[35..]).await;
        share(&[&stages.works[0], &stages.works[1]], PARTITIONS).await;
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(60), "within the storm's window");
    whole(&case, 30, promised, 50).await;
    case.settled().await;
    whole(&case, 30, promised, 50).await;
    assert_eq!(watch.names().len(), 31, "and no other at any time");
    assert_eq!(case.about_us(&case.dead_letters).await, []);
    for judge in stages.works.drain(..) {
        assert!(judge.stop().await.success(), "nobody ended over a commit that was refused");
    }
}

/// What the group of judges has committed never falls behind what it had.
async fn no_commit_fell(case: &Case, before: &BTreeMap<i32, i64>) {
    let now = case.kafka.committed(&case.groups[0], &case.alerts).await;
    for (partition, offset) in before {
        assert!(now.get(partition).is_some_and(|now| now >= offset), "{partition}: {before:?}, then {now:?}");
    }
}

/// What the objects shall do, by name.
fn specs(seen: &[Value]) -> Vec<(String, Value)> {
    seen.iter().map(|object| (name(object).to_owned(), object["spec"].clone())).collect()
}

#[tokio::test]
async fn k05_a_judge_that_sleeps_through_its_session_changes_nothing_when_it_wakes() {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "storm": { "hold": "4s" } }));
    let (_, mut stages) = Case::own("k05", &[], overlay, Shape::NONE).await;
    stages.kafka_properties(SHORT_SESSIONS);
    stages.add(Shape::ONE).await;
    let case = Case::of("k05", &["shop"], &stages).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    case.post(&strangers("Held", &shop, 30)).await;
    case.post(&kin("Storm", &shop, 12)).await;
    // it has all of them in hand, decided nothing, and falls asleep
    let waiting = async |judge: &Product| judge.metric("breakwater_work_records_waiting", &[]).await;
    until_eq(SOON, "all to wait for their hold", 42.0, async || waiting(&stages.works[0]).await).await;
    assert!(case.kube.list(&shop).await.is_empty());
    let sleeper = stages.works.remove(0);
    sleeper.process.stop();
    stages.add(WORK).await;
    share(&[&stages.works[0]], PARTITIONS).await;
    let before = whole(&case, 30, 1, 12).await;
    case.settled().await;
    let committed = case.kafka.committed(&case.groups[0], &case.alerts).await;
    // awake: what it holds was due long ago, and is another's
    sleeper.process.cont();
    share(&[&sleeper, &stages.works[0]], PARTITIONS).await;
    until_eq(SOON, "it to let go of what it held", 0.0, async || waiting(&sleeper).await).await;
    no_commit_fell(&case, &committed).await;
    case.settled().await;
    assert_eq!(specs(&before), specs(&whole(&case, 30, 1, 12).await));
    assert_eq!(watch.names().len(), 31, "and no other at any time");
    assert!(sleeper.stop().await.success());
}

#[tokio::test]
async fn k05_judges_that_sleep_in_turn_under_load_count_each_firing_once() {
    let (_, mut stages) = Case::own("k05l", &[], unlimited(), Shape::NONE).await;
    stages.kafka_properties(SHORT_SESSIONS);
    stages.add(Shape { work: 2, ..Shape::ONE }).await;
    let case = Case::of("k05l", &["shop"], &stages).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    let judges = &stages.works;
    case.post(&kin("Storm", &shop, 12)).await;
    let (promised, committed) = under_load(&case, &strangers("Load", &shop, 30), async {
        let mut committed = BTreeMap::new();
        for (sleeping, awake) in [(0, 1), (1, 0), (0, 1)] {
            share(&[&judges[0], &judges[1]], PARTITIONS).await;
            judges[sleeping].process.stop();
            share(&[&judges[awake]], PARTITIONS).await;
            no_commit_fell(&case, &committed).await;
            committed = case.kafka.committed(&case.groups[0], &case.alerts).await;
            judges[sleeping].process.cont();
        }
        share(&[&judges[0], &judges[1]], PARTITIONS).await;
        committed
    })
    .await;
    whole(&case, 30, promised, 12).await;
    case.settled().await;
    whole(&case, 30, promised, 12).await;
    no_commit_fell(&case, &committed).await;
    assert_eq!(watch.names().len(), 31, "and no other at any time");
    stages.stop().await;
}

#[tokio::test]
async fn k11_alerts_grown_under_load_loses_nothing_and_needs_no_restart() {
    let (case, stages) = Case::own("k11", &["shop"], unlimited(), Shape { ingest: 2, work: 2, sink: 1 }).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    let singles = strangers("Grown", &shop, 40);
    let grown = 2 * PARTITIONS;
    let (promised, ()) = under_load(&case, &singles, async {
        until_eq(SOON, "all to be objects", 40, async || case.kube.list(&shop).await.len()).await;
        case.kafka.grow(&case.alerts, 8).await;
        share(&[&stages.works[0], &stages.works[1]], grown).await;
        until(SOON, "records in each new partition", async || {
            let ends = case.kafka.ends(&case.alerts).await;
            (ends.len() == 8 && ends.iter().all(|(number, end)| *number < PARTITIONS || *end > 0)).then_some(())
        })
        .await;
    })
    .await;
    // a storm over old and new partitions is one
    case.post(&kin("Storm", &shop, 24)).await;
    whole(&case, 40, promised, 24).await;
    case.settled().await;
    whole(&case, 40, promised, 24).await;
    assert_eq!(watch.names().len(), 41, "and no other at any time");
    for judge in &stages.works {
        let records = judge.metric("breakwater_work_records_consumed_total", &[]).await;
        assert!(records > 0.0);
    }
}

#[tokio::test]
async fn k14_a_partition_that_nobody_reads_holds_the_others_back_no_longer_than_hold_max() {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "storm": { "hold_max": "3s" } }));
    let (_, mut stages) = Case::own("k14", &[], overlay, Shape::NONE).await;
    stages.kafka_properties("session.timeout.ms=120000\nheartbeat.interval.ms=300\nmax.poll.interval.ms=240000\n");
    stages.add(Shape { work: 2, ..Shape::ONE }).await;
    let case = Case::of("k14", &["shop"], &stages).await;
    let watch = case.record("shop").await;
    share(&[&stages.works[0], &stages.works[1]], PARTITIONS).await;
    let [sleeper, awake] = &stages.works[..] else { panic!("two judges") };
    // its session outlives the test: its partitions are nobody else's
    sleeper.process.stop();
    let singles = strangers("Unread", &case.namespace("shop"), 40);
    let answer = case.post(&singles).await;
    case.post(&singles).await;
    let read = async || awake.metric("breakwater_work_records_consumed_total", &[]).await;
    let seen = until(SOON, "some to be objects", async || {
        let seen = case.kube.list(&case.namespace("shop")).await;
        let read = read().await;
        (!seen.is_empty() && read == 2.0 * seen.len() as f64).then_some(seen)
    })
    .await;
    assert!(awake.metric("breakwater_work_late_partitions_total", &[]).await > 0.0, "it is counted");
    // exactly those of whole partitions, and none of the others
    let placed = answer["alerts"].as_array().expect("a list");
    let partition = |object: &Value| {
        let ours = |one: &&Value| one["fingerprint"] == object["spec"]["signalFingerprint"];
        placed.iter().find(ours).expect("it was posted")["partition"].as_i64().expect("a number")
    };
    let read_ones: BTreeSet<i64> = seen.iter().map(partition).collect();
    let of_these = placed.iter().filter(|one| one["partition"].as_i64().is_some_and(|n| read_ones.contains(&n)));
    assert_eq!((read_ones.len(), of_these.count()), (2, seen.len()));
    sleeper.process.cont();
    case.counted("shop", 40, 2).await;
    case.settled().await;
    case.counted("shop", 40, 2).await;
    assert_eq!(watch.names().len(), 40);
}

#[tokio::test]
async fn k16_memory_away_for_ten_poll_intervals_costs_no_rebalance() {
    const INTERVAL: Duration = Duration::from_secs(2);
    let redis = OwnRedis::start(&[]).await;
    let scope = Scope::new("k16");
    let mut setting = scope.setting(unlimited());
    setting.redis.clone_from(&redis.url);
    let mut stages = Deployment::of(scope, setting, Shape::NONE).await;
    stages.kafka_properties("session.timeout.ms=2000\nheartbeat.interval.ms=300\nmax.poll.interval.ms=2000\n");
    stages.add(Shape::ONE).await;
    let case = Case::of("k16", &["shop"], &stages).await;
    let singles = strangers("Away", &case.namespace("shop"), 20);
    case.post(&singles).await;
    case.counted("shop", 20, 1).await;
    let calm = steady(&case.kafka, &case.groups[0]).await;
    let assignments = stages.works[0].process.printed().matches("partitions assigned").count();
    redis.server.stop(); // silent, and nothing is forgotten
    case.post(&singles).await;
    case.post(&strangers("New", &case.namespace("shop"), 20)).await;
    let gone = Instant::now();
    until(10 * INTERVAL + SOON, "ten intervals to pass", async || {
        assert_eq!(case.kafka.members(&case.groups[0]).await, calm, "the same members, and no rebalance");
        (gone.elapsed() > 10 * INTERVAL).then_some(())
    })
    .await;
    redis.server.cont();
    case.until("shop", "20 objects that count 2, and 20 that count 1", |seen| {
        let counts = |times: u64| seen.iter().filter(|object| count(object) == times).count();
        seen.len() == 40 && counts(1) == 20 && counts(2) == 20
    })
    .await;
    case.settled().await;
    assert_eq!(case.kafka.members(&case.groups[0]).await, calm);
    assert_eq!(stages.works[0].process.printed().matches("partitions assigned").count(), assignments);
    assert_eq!(stages.works[0].process.printed().matches("partitions revoked").count(), 0);
}

/// A group that is at rest, with its members.
async fn steady(kafka: &Kafka, group: &str) -> (String, BTreeSet<String>) {
    until_ok(SOON, "the group to be at rest", async || {
        let (state, members) = kafka.members(group).await;
        if state == "Stable" { Ok((state, members)) } else { Err(state) }
    })
    .await
}

#[tokio::test]
async fn n03_a_judge_without_its_share_is_not_ready_and_one_whose_share_is_empty_is() {
    let (_, mut stages) = Case::own("n03", &[], unlimited(), Shape::NONE).await;
    stages.kafka_properties("session.timeout.ms=60000\nheartbeat.interval.ms=300\n");
    stages.add(WORK).await;
    // the group waits for the word of a member that sleeps
    stages.works[0].process.stop();
    let mut late = Product::spawn("work", &stages.work);
    until_eq(SOON, "the late one to lack its share alone", (503, json!(["assignment"])), async || {
        match crate::harness::http::get(&late.admin, "/readyz").await {
            Ok(page) => {
                (page.status, json!(page.json()["missing"].as_object().map(|all| all.keys().collect::<Vec<_>>())))
            }
            Err(_) => (0, json!(null)),
        }
    })
    .await;
    stages.works[0].process.cont();
    assert_eq!(late.ready(SOON).await, Ok(()));
    // more judges than partitions: who has nothing to do is ready to take over
    stages.add(Shape { work: PARTITIONS as usize - 1, ..Shape::NONE }).await;
    let mut idle = assigned(&late).await == 0.0;
    for judge in &stages.works {
        idle |= assigned(judge).await == 0.0;
        assert_eq!(judge.page("/readyz").await.status, 200);
    }
    assert!(idle, "one of five has none of four");
}
