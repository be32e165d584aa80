//! Group F on real servers: kin at once are one object, whatever the doors, judges and neighbours.

use crate::harness::alerts::{alert, kin, strangers, with};
use crate::harness::case::{Case, count, name, rfc3339, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kube::Recorder;
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The pods that a storm's spec lists.
pub(crate) fn pods(object: &Value) -> BTreeSet<String> {
    listed(&object["spec"]["stormAggregation"])
}

/// The pods that a storm lists now.
pub(crate) fn pods_now(object: &Value) -> BTreeSet<String> {
    listed(&object["status"]["stormAggregation"])
}

fn listed(storm: &Value) -> BTreeSet<String> {
    let listed = storm["affectedResources"].as_array().cloned().unwrap_or_default();
    listed.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// `pod-0`, `pod-1` …
pub(crate) fn first_pods(count: usize) -> BTreeSet<String> {
    (0..count).map(|pod| format!("pod-{pod}")).collect()
}

/// Whether an object stands for a storm.
pub(crate) fn is_storm(object: &Value) -> bool {
    object["spec"]["isStorm"] == true
}

/// The one storm among these objects.
pub(crate) fn the_storm(objects: &[Value]) -> &Value {
    let storms: Vec<&Value> = objects.iter().filter(|object| is_storm(object)).collect();
    assert_eq!(storms.len(), 1, "storms");
    storms[0]
}

/// What a watch has seen is these objects and no other.
pub(crate) fn only(watch: &Recorder, objects: &[Value]) {
    let names: BTreeSet<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    assert_eq!(watch.names(), names, "and no other at any time");
}

#[tokio::test]
async fn f01_fifteen_kin_at_once_are_one_object() {
    let case = Case::shared("f01", &["shop"]).await;
    let watch = case.record("shop").await;
    case.post(&kin("Crash", &case.namespace("shop"), 15)).await;
    let objects = case.counted("shop", 1, 15).await;
    let told = &objects[0]["spec"]["stormAggregation"];
    assert_eq!((&objects[0]["spec"]["isStorm"], &told["alertCount"]), (&json!(true), &json!(15)));
    assert_eq!(pods(&objects[0]).len(), 15);
    case.settled().await;
    only(&watch, &objects);
}

#[tokio::test]
async fn f02_one_below_exactly_at_and_one_above_the_threshold() {
    let words = ["one", "nine", "ten", "eleven"];
    let case = Case::shared("f02", &words).await;
    for (word, members) in words.into_iter().zip([1, 9, 10, 11]) {
        case.post(&kin("Crash", &case.namespace(word), members)).await;
    }
    for (word, objects, members) in [("one", 1, 1), ("nine", 9, 9)] {
        let singles = case.counted(word, objects, 1).await;
        assert!(singles.iter().all(|object| !is_storm(object) && object["spec"]["stormAggregation"].is_null()));
        let about: BTreeSet<&str> =
            singles.iter().filter_map(|object| object["spec"]["targetResource"]["name"].as_str()).collect();
        assert_eq!(about.len(), members);
    }
    for (word, members) in [("ten", 10), ("eleven", 11)] {
        let storm = case.counted(word, 1, members as u64).await.remove(0);
        assert_eq!((is_storm(&storm), pods(&storm)), (true, first_pods(members)));
    }
    case.settled().await;
    for (word, objects) in words.into_iter().zip([1, 9, 1, 1]) {
        case.objects(word, objects).await;
    }
}

/// Two doors, three judges and six partitions.
async fn six(scenario: &str) -> (Case, Deployment) {
    let mut overlay = unlimited();
    overlay["topics"] = json!({ "partitions": 6 });
    overlay["dedup"]["shards"] = json!(6);
    Case::own(scenario, &["shop"], overlay, Shape { ingest: 2, work: 3, sink: 2 }).await
}

/// So many webhooks at once, of one alert each, over all doors: one object.
async fn concurrent(scenario: &str, members: usize) {
    let (case, _stages) = six(scenario).await;
    let watch = case.record("shop").await;
    case.post_each(&kin("Crash", &case.namespace("shop"), members)).await;
    let objects = case.counted("shop", 1, members as u64).await;
    assert_eq!((is_storm(&objects[0]), pods_now(&objects[0])), (true, first_pods(members)));
    assert_eq!(objects[0]["status"]["stormAggregation"]["totalAffectedResources"], json!(members));
    case.settled().await;
    only(&watch, &case.counted("shop", 1, members as u64).await);
    let partitions: BTreeSet<i32> = case.records().await.iter().map(|record| record.partition).collect();
    assert!(partitions.len() > 3, "no judge had them all: {partitions:?}");
}

#[tokio::test]
async fn f03_fifteen_webhooks_at_once_over_two_doors_and_three_judges_are_one_object() {
    concurrent("f03", 15).await;
}

#[tokio::test]
async fn f04_fifty_webhooks_at_once_over_two_doors_and_three_judges_are_one_object() {
    concurrent("f04", 50).await;
}

#[tokio::test]
async fn f05_other_alerts_of_the_same_second_stay_out_of_the_storm() {
    let case = Case::shared("f05", &["shop"]).await;
    let watch = case.record("shop").await;
    let (storm, others) = (kin("Crash", &case.namespace("shop"), 15), strangers("Other", &case.namespace("shop"), 3));
    case.post(&[&storm[..7], &others, &storm[7..]].concat()).await;
    let objects = case.objects("shop", 4).await;
    let storm = the_storm(&objects);
    assert_eq!(storm["spec"]["signalName"], "Crash");
    assert_eq!(pods(storm), first_pods(15));
    let singles = objects.iter().filter(|object| !is_storm(object));
    let names: BTreeSet<&str> = singles.filter_map(|object| object["spec"]["signalName"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["Other0", "Other1", "Other2"]));
    case.settled().await;
    assert_eq!(watch.names().len(), 4);
}

#[tokio::test]
async fn f06_new_alerts_duplicates_and_a_storm_at_once_are_seven_objects() {
    let case = Case::shared("f06", &["shop"]).await;
    let watch = case.record("shop").await;
    let shop = case.namespace("shop");
    let live = alert("Live", &shop, "p");
    case.post(std::slice::from_ref(&live)).await;
    case.counted("shop", 1, 1).await;
    let all = [strangers("New", &shop, 5), vec![live; 20], kin("Crash", &shop, 15)].concat();
    case.post_each(&all).await;
    let of = |seen: &[Value], name: &str| -> Vec<u64> {
        seen.iter().filter(|object| object["spec"]["signalName"] == name).map(count).collect()
    };
    let fits = |seen: &[Value]| {
        let new = (0..5).all(|n| of(seen, &format!("New{n}")) == [1]);
        seen.len() == 7 && new && of(seen, "Live") == [21] && of(seen, "Crash") == [15]
    };
    case.until("shop", "counts of 1 each, 21 and 15", fits).await;
    case.settled().await;
    let objects = case.until("shop", "the same counts at the end", fits).await;
    assert_eq!(pods_now(the_storm(&objects)), first_pods(15));
    only(&watch, &objects);
}

#[tokio::test]
async fn f07_three_storms_thirty_singles_and_two_hundred_duplicates_by_thirty_two_clients() {
    // thirty-two clients and four tests on two cores take seconds: the hold is longer, so that kin still wait for each other
    let words = ["a", "b", "c"];
    let mut overlay = unlimited();
    overlay["storm"]["hold"] = json!("8s");
    let (case, _stages) = Case::own("f07", &words, overlay, Shape { ingest: 2, work: 3, sink: 2 }).await;
    let mut all: Vec<Value> = words.iter().flat_map(|word| kin("Crash", &case.namespace(word), 15)).collect();
    let singles = strangers("Single", &case.namespace("a"), 30);
    all.extend(singles.iter().cycle().take(230).cloned());
    fastrand::Rng::with_seed(7).shuffle(&mut all);
    futures::stream::iter(all.iter().enumerate())
        .for_each_concurrent(32, async |(door, alert)| drop(case.post_at(door, std::slice::from_ref(alert)).await))
        .await;
    let sum = |seen: &[Value]| seen.iter().map(count).sum::<u64>();
    case.until("a", "31 objects that count 245", |seen| seen.len() == 31 && sum(seen) == 245).await;
    for word in ["b", "c"] {
        let storm = case.counted(word, 1, 15).await.remove(0);
        assert_eq!(pods_now(&storm), first_pods(15));
    }
    case.settled().await;
    let objects = case.objects("a", 31).await;
    assert_eq!((count(the_storm(&objects)), sum(&objects)), (15, 245), "each alert that was accepted, once");
    assert_eq!(case.records().await.len(), 275);
}

#[tokio::test]
async fn f09_kin_that_come_after_the_object_join_it() {
    let case = Case::shared("f09", &["shop"]).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 20);
    case.post(&all[..15]).await;
    let first = case.counted("shop", 1, 15).await.remove(0);
    case.post(&all[15..]).await;
    let grown = case.counted("shop", 1, 20).await;
    let storm = &grown[0]["status"]["stormAggregation"];
    assert_eq!((&storm["alertCount"], &storm["totalAffectedResources"]), (&json!(20), &json!(20)));
    assert_eq!(pods_now(&grown[0]), first_pods(20));
    assert_eq!((name(&grown[0]), &grown[0]["spec"]), (name(&first), &first["spec"]), "the spec still says 15");
    assert_eq!(pods(&grown[0]).len(), 15);
    case.settled().await;
    only(&watch, &grown);
}

#[tokio::test]
async fn f10_f11_two_names_and_two_namespaces_that_storm_together_stay_apart() {
    let case = Case::shared("f11", &["a", "b"]).await;
    let mut all = Vec::new();
    for pod in 0..12 {
        for (name, word) in [("Crash", "a"), ("Slow", "a"), ("Crash", "b")] {
            all.push(case.alert(name, word, &format!("{}-{pod}", name.to_lowercase())));
        }
    }
    case.post_each(&all).await;
    let (in_a, in_b) = (case.counted("a", 2, 12).await, case.counted("b", 1, 12).await);
    for object in in_a.iter().chain(&in_b) {
        let name = object["spec"]["signalName"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!(pods_now(object), (0..12).map(|pod| format!("{name}-{pod}")).collect::<BTreeSet<_>>());
    }
    case.settled().await;
    case.counted("a", 2, 12).await;
    case.counted("b", 1, 12).await;
}

#[tokio::test]
async fn f32_what_a_storm_says_of_itself() {
    let case = Case::shared("f32", &["shop"]).await;
    let shop = case.namespace("shop");
    let all: Vec<Value> = (0..12)
        .map(|pod| with(alert("Crash", &shop, &format!("pod-{pod:02}")), json!({ "labels": { "team": "checkout" } })))
        .collect();
    case.post(&all).await;
    let object = case.counted("shop", 1, 12).await.remove(0);
    let mut times: Vec<i64> = case.records().await.iter().map(|record| record.timestamp).collect();
    times.sort_unstable();
    let storm = &object["spec"]["stormAggregation"];
    assert_eq!(storm["pattern"], json!(format!("Crash in {shop}")));
    assert_eq!(
        (&object["spec"]["stormType"], &object["spec"]["stormWindow"], &object["spec"]["stormAlertCount"]),
        (&json!("same-alert"), &json!("1m0s"), &json!(12))
    );
    assert_eq!((&storm["aggregationWindow"], &storm["totalAffectedResources"]), (&json!("1m0s"), &json!(12)));
    assert_eq!(storm["firstSeen"], json!(rfc3339(times[0])));
    assert_eq!(storm["lastSeen"], json!(rfc3339(times[11])));
    let resources = storm["affectedResources"].as_array().cloned().unwrap_or_default();
    let pod = |n: usize| json!({ "kind": "Pod", "name": format!("pod-{n:02}"), "namespace": shop });
    assert_eq!(resources.len(), 12);
    assert!((0..12).all(|n| resources.contains(&pod(n))), "{resources:?}");
    let mut named: Vec<&str> =
        object["spec"]["affectedResources"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, (0..12).map(|n| format!("Pod/{shop}/pod-{n:02}")).collect::<Vec<_>>());
}
