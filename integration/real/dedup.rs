//! Group E on real servers: repeats, one after the other and all at once.

use crate::harness::Shared;
use crate::harness::alerts::{alert, at_severity, resolved, strangers};
use crate::harness::case::{Case, SOON, count, name, rfc3339, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::servers::connection;
use crate::harness::wait::{until, until_eq};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn e01_the_first_firing_is_seen_at_the_brokers_time() {
    let case = Case::shared("e01", &["shop"]).await;
    case.post(&[case.alert("First", "shop", "p")]).await;
    let object = case.counted("shop", 1, 1).await.remove(0);
    let record = case.records().await.remove(0);
    let at = json!(rfc3339(record.timestamp));
    let dedup = &object["status"]["deduplication"];
    assert_eq!((&dedup["firstSeenAt"], &dedup["lastSeenAt"]), (&at, &at));
}

#[tokio::test]
async fn e02_the_second_firing_moves_count_and_last_seen_and_nothing_else() {
    let case = Case::shared("e02", &["shop"]).await;
    let alert = case.alert("Again", "shop", "p");
    case.post(std::slice::from_ref(&alert)).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.post(&[alert]).await;
    let second = case.counted("shop", 1, 2).await.remove(0);
    let records = case.records().await;
    let dedup = &second["status"]["deduplication"];
    assert_eq!(dedup["firstSeenAt"], json!(rfc3339(records[0].timestamp)));
    assert_eq!(dedup["lastSeenAt"], json!(rfc3339(records[1].timestamp)));
    assert!(records[0].timestamp < records[1].timestamp);
    assert_eq!((name(&first), &first["spec"]), (name(&second), &second["spec"]));
    assert_eq!(second["metadata"]["generation"], 1);
    assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
}

#[tokio::test]
async fn e03_a_hundred_at_once_over_all_replicas_are_one_object() {
    let case = Case::shared("e03", &["shop"]).await;
    let watch = case.record("shop").await;
    let alerts = vec![case.alert("Hundred", "shop", "p"); 100];
    case.post_each(&alerts).await;
    let object = case.counted("shop", 1, 100).await.remove(0);
    case.settled().await;
    assert_eq!(count(&case.object("shop").await), 100);
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
}

#[tokio::test]
async fn e04_each_posted_twice_at_once_counts_two() {
    let case = Case::shared("e04", &["pairs", "interleaved"]).await;
    let pairs: Vec<Value> =
        strangers("Pair", &case.namespace("pairs"), 50).into_iter().flat_map(|alert| [alert.clone(), alert]).collect();
    let five = strangers("Five", &case.namespace("interleaved"), 5);
    let hundred: Vec<Value> = five.iter().cycle().take(100).cloned().collect();
    let clients = futures::stream::iter(hundred.iter().enumerate())
        .for_each_concurrent(32, async |(door, alert)| drop(case.post_at(door, std::slice::from_ref(alert)).await));
    tokio::join!(case.post_each(&pairs), clients);
    case.counted("pairs", 50, 2).await;
    case.counted("interleaved", 5, 20).await;
    case.settled().await;
    case.counted("pairs", 50, 2).await;
    case.counted("interleaved", 5, 20).await;
}

#[tokio::test]
async fn e16_twenty_five_seconds_apart_and_no_phase_yet_is_one_object() {
    let case = Case::shared("e16", &["shop"]).await;
    let watch = case.record("shop").await;
    let alert = case.alert("Slow", "shop", "p");
    case.post(std::slice::from_ref(&alert)).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    assert_eq!(first["status"]["overallPhase"], Value::Null);
    let posted = jiff::Timestamp::from_millisecond(case.records().await[0].timestamp).expect("a moment");
    until(SOON, "25 s of the broker's time to pass", async || {
        let passed = jiff::Timestamp::now().duration_since(posted);
        (passed > jiff::SignedDuration::from_secs(25)).then_some(())
    })
    .await;
    case.post(&[alert]).await;
    case.counted("shop", 1, 2).await;
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&first).to_owned()]));
}

#[tokio::test]
async fn e17_resolved_is_told_and_a_later_firing_clears_it() {
    let case = Case::shared("e17", &["shop"]).await;
    let firing = case.alert("Ends", "shop", "p");
    case.post(std::slice::from_ref(&firing)).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.post(&[resolved(&firing)]).await;
    let ended = case.until("shop", "resolvedAt", |seen| seen[0]["status"]["resolvedAt"].is_string()).await.remove(0);
    let records = case.records().await;
    assert_eq!(ended["status"]["resolvedAt"], json!(rfc3339(records[1].timestamp)));
    assert_eq!((name(&ended), count(&ended)), (name(&first), 1));
    case.post(&[firing]).await;
    let again = case.counted("shop", 1, 2).await.remove(0);
    assert_eq!(again["status"]["resolvedAt"], Value::Null);
    assert_eq!(name(&again), name(&first));
}

/// A namespace of the test whose label every judge knows.
async fn production(case: &Case, word: &str) {
    let namespace = case.namespace(word);
    case.kube.namespace(&namespace, json!({ "environment": "production" })).await;
    until_eq(SOON, "work to know the namespace's label", json!("production"), async || {
        let probe = format!("Probe{}", fastrand::u32(..));
        let is_probe = |object: &&Value| object["spec"]["signalName"] == json!(probe);
        case.post(&[alert(&probe, &namespace, "probe")]).await;
        let seen = case.until(word, "the probe's object", |seen| seen.iter().any(|one| is_probe(&one))).await;
        seen.iter().find(is_probe).map_or(Value::Null, |object| object["spec"]["environment"].clone())
    })
    .await;
}

#[tokio::test]
async fn e20_a_rise_of_severity_is_judged_again_and_stays() {
    let case = Case::shared("e20", &[]).await;
    production(&case, "shop").await;
    let ours = |seen: &[Value]| seen.iter().find(|object| object["spec"]["signalName"] == "Rise").cloned();
    let stands = async |times: u64, severity: &str, priority: &str| {
        let fits = |object: Value| {
            let status = &object["status"];
            count(&object) == times && status["severity"] == json!(severity) && status["priority"] == json!(priority)
        };
        let what = format!("count {times}, {severity}, {priority}");
        let seen = case.until("shop", &what, |seen| ours(seen).is_some_and(fits)).await;
        ours(&seen).expect("it is there")
    };
    let warning = case.alert("Rise", "shop", "p");
    case.post(std::slice::from_ref(&warning)).await;
    let first = stands(1, "warning", "P1").await;
    case.post(&[at_severity(&warning, "critical")]).await;
    let second = stands(2, "critical", "P0").await;
    assert_eq!(first["spec"], second["spec"]);
    assert_eq!(first["spec"]["priority"], "P1");
    case.post(&[warning]).await;
    stands(3, "critical", "P0").await;
}

#[tokio::test]
async fn e23_objects_made_by_hand_are_never_patched_and_never_taken_for_live() {
    let case = Case::shared("e23", &["shop"]).await;
    let alert = case.alert("ByHand", "shop", "p");
    let fingerprint = case.post(std::slice::from_ref(&alert)).await["alerts"][0]["fingerprint"].clone();
    let ours = case.counted("shop", 1, 1).await.remove(0);
    let mut spec = ours["spec"].clone();
    for (name, fingerprint, labels) in [
        ("no-label", fingerprint.clone(), json!({})),
        ("no-hex", json!("f".repeat(64)), json!({ "breakwater.io/fingerprint": "no-hex" })),
    ] {
        spec["signalFingerprint"] = fingerprint;
        let made = json!({ "apiVersion": "remediation.kubernaut.io/v1alpha1", "kind": "RemediationRequest",
                           "metadata": { "name": name, "namespace": case.namespace("shop"), "labels": labels }, "spec": spec });
        case.kube.apply(&made, false).await.expect("it can be made by hand");
    }
    case.finish("shop", &ours, "Completed").await;
    let by_hand = async || {
        let mut seen = case.kube.list(&case.namespace("shop")).await;
        seen.retain(|object| ["no-label", "no-hex"].contains(&name(object)));
        seen
    };
    let before = by_hand().await;
    case.post(&[alert]).await;
    case.until("shop", "a second object of ours", |seen| seen.len() == 4).await;
    case.settled().await;
    assert_eq!(by_hand().await, before);
}

/// Keys of a deployment in the shared Redis that these objects' alerts have left: of their groups, and of their own
/// fingerprints. The ends of other tests' objects, which this deployment's log is told of too, leave keys of theirs.
async fn keys(prefix: &str, objects: &[Value]) -> usize {
    let mut redis = connection(&Shared::get().redis).await;
    let all: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(format!("{prefix}{{*}}[fg]*")).query_async(&mut redis).await.expect("redis answers");
    let heads: BTreeSet<String> = objects
        .iter()
        .map(|object| object["spec"]["signalFingerprint"].as_str().expect("hex")[..32].to_owned())
        .collect();
    let kind = |key: &[u8]| key[key.iter().position(|byte| *byte == b'}').expect("a hash tag") + 1];
    let head = |key: &[u8]| key[key.len() - 16..].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    all.iter().filter(|key| kind(key) == b'g' || heads.contains(&head(key))).count()
}

/// How often the same is posted in one of the two bursts of e22.
const BURST: usize = 10;

#[tokio::test]
async fn e22_a_second_burst_after_a_rest_adds_to_the_same_objects_and_keys() {
    let (case, stages) = Case::own("e22", &["shop"], unlimited(), Shape::ONE).await;
    let prefix = format!("breakwater-{}", stages.scope.name);
    let fifty = strangers("Burst", &case.namespace("shop"), 50);
    let all: Vec<Value> = (0..BURST).flat_map(|_| fifty.clone()).collect();
    let burst = async || {
        futures::stream::iter(all.chunks(25).enumerate())
            .for_each_concurrent(8, async |(door, alerts)| drop(case.post_at(door, alerts).await))
            .await;
    };
    burst().await;
    let objects = case.counted("shop", 50, 10).await;
    case.settled().await;
    let first = keys(&prefix, &objects).await;
    assert!(first >= 50, "{first} keys for 50 fingerprints");
    let rested = std::time::Instant::now();
    until(Duration::from_secs(80), "70 s of rest", async || (rested.elapsed().as_secs() >= 70).then_some(())).await;
    burst().await;
    case.counted("shop", 50, 20).await;
    case.settled().await;
    case.counted("shop", 50, 20).await;
    assert_eq!(keys(&prefix, &objects).await, first);
}
