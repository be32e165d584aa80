//! Group F on real servers: who is kin to whom, how long a window and a storm's life are, and what a storm says.

use crate::harness::alerts::{alert, at_severity, kin, resolved, strangers, with};
use crate::harness::case::{Case, count, name, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::pipeline::merge;
use crate::harness::wait::until_passed;
use crate::storm::{first_pods, is_storm, pods, pods_now, the_storm};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The shipped pipeline with these words on storms.
fn storms(words: Value) -> Value {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "storm": words }));
    overlay
}

/// Whether these are one storm of so many pods, and so many others that it supersedes.
fn storm_over(seen: &[Value], pods: usize, superseded: usize) -> bool {
    let (storms, own): (Vec<&Value>, Vec<&Value>) = seen.iter().partition(|object| is_storm(object));
    let [storm] = storms[..] else { return false };
    let by = json!(name(storm));
    pods_now(storm) == first_pods(pods)
        && own.len() == superseded
        && own.iter().all(|object| object["status"]["supersededBy"] == by)
}

#[tokio::test]
async fn f08_f10_f11_f20_f29_who_counts_and_who_does_not() {
    let words = ["twice", "eight-a", "eight-b", "one-pod", "many", "five"];
    let case = Case::shared("f08", &words).await;
    let of = |word: &str, members: usize| kin("Crash", &case.namespace(word), members);
    let twice = of("twice", 14);
    let on_one_pod: Vec<Value> = (0..12).map(|n| case.alert(&format!("Alert{n}"), "one-pod", "p")).collect();
    let all = [&twice[..], &twice[3..4], &of("eight-a", 8), &of("eight-b", 8), &on_one_pod, &of("five", 5)].concat();
    case.post(&all).await;
    case.post(&of("many", 250)).await;
    let stands = async || {
        let twice = case.counted("twice", 1, 15).await.remove(0);
        assert_eq!(twice["status"]["stormAggregation"]["totalAffectedResources"], 14);
        assert_eq!((pods_now(&twice), pods(&twice)), (first_pods(14), first_pods(14)), "each once");
        assert_eq!(twice["spec"]["affectedResources"].as_array().map(Vec::len), Some(14));
        for (word, objects) in [("eight-a", 8), ("eight-b", 8), ("one-pod", 12), ("five", 5)] {
            let singles = case.counted(word, objects, 1).await;
            assert!(singles.iter().all(|object| !is_storm(object)), "{word}");
        }
        let many = case.counted("many", 1, 250).await.remove(0);
        let storm = &many["status"]["stormAggregation"];
        assert_eq!((&storm["totalAffectedResources"], &storm["alertCount"]), (&json!(250), &json!(250)));
        assert_eq!(pods_now(&many).len(), 100, "listed short, counted whole");
    };
    stands().await;
    case.settled().await;
    stands().await;
}

#[tokio::test]
async fn f24_event_time_alone_counts_whatever_the_alerts_say() {
    type Begins = fn(usize) -> String;
    let ways: [(&str, Begins); 4] = [
        ("equal", |_| "2026-11-21T06:58:12Z".to_owned()),
        ("midnight", |n| format!("2026-11-{}", ["20T23:59:59Z", "21T00:00:01Z"][n % 2])),
        ("descending", |n| format!("2026-11-21T06:{:02}:00Z", 59 - n)),
        ("future", |n| format!("2099-01-01T00:00:{n:02}Z")),
    ];
    let case = Case::shared("f24", &ways.map(|(word, _)| word)).await;
    let all = ways.iter().flat_map(|(word, begins)| {
        let alerts = kin("Crash", &case.namespace(word), 15).into_iter().enumerate();
        alerts.map(move |(n, alert)| with(alert, json!({ "startsAt": begins(n) })))
    });
    case.post(&all.collect::<Vec<_>>()).await;
    for round in 0..2 {
        for (word, _) in ways {
            let storm = case.counted(word, 1, 15).await.remove(0);
            assert_eq!((is_storm(&storm), pods_now(&storm)), (true, first_pods(15)), "{word}, {round}");
        }
        case.settled().await;
    }
}

#[tokio::test]
async fn f30_f31_a_storm_is_as_severe_as_its_worst_member_and_resolved_with_its_last() {
    let case = Case::shared("f30", &["at-once", "later", "ends"]).await;
    let critical = |word: &str, pod: &str| at_severity(&case.alert("Crash", word, pod), "critical");
    let of = |word: &str, members: usize| kin("Crash", &case.namespace(word), members);
    let ends = of("ends", 15);
    let all = [&of("at-once", 14)[..], &[critical("at-once", "pod-14")], &of("later", 14), &ends].concat();
    case.post(&all).await;
    let worst = case.counted("at-once", 1, 15).await.remove(0);
    assert_eq!((&worst["spec"]["severity"], &worst["status"]["severity"]), (&json!("critical"), &json!("critical")));
    let calm = case.counted("later", 1, 14).await.remove(0);
    assert_eq!((&calm["spec"]["severity"], &calm["status"]["severity"]), (&json!("warning"), &json!("warning")));
    assert!(worst["spec"]["priority"].as_str() < calm["spec"]["priority"].as_str(), "P1 is worse than P2");
    case.counted("ends", 1, 15).await;

    let resolve: Vec<Value> = ends.iter().map(resolved).collect();
    case.post(&[&[critical("later", "pod-14")][..], &resolve[..14]].concat()).await;
    let raised = case.counted("later", 1, 15).await.remove(0);
    assert_eq!((&raised["spec"]["severity"], &raised["status"]["severity"]), (&json!("warning"), &json!("critical")));
    assert_eq!(raised["status"]["priority"], worst["spec"]["priority"]);
    case.settled().await;
    let at = |object: &Value| object["status"]["resolvedAt"].as_str().map(str::to_owned);
    assert_eq!(at(&case.counted("ends", 1, 15).await[0]), None, "one of them fires still");
    case.post(&resolve[14..]).await;
    case.until("ends", "the storm to be resolved", |seen| seen.len() == 1 && at(&seen[0]).is_some()).await;
    case.post(&ends[3..4]).await;
    let fires = |seen: &[Value]| seen.len() == 1 && count(&seen[0]) == 16 && at(&seen[0]).is_none();
    case.until("ends", "it to fire again", fires).await;
}

#[tokio::test]
async fn f15_without_a_hold_nine_have_objects_of_their_own_and_the_tenth_is_a_storm() {
    let case = Case::quick("f15", &["shop"]).await;
    for (number, alert) in kin("Crash", &case.namespace("shop"), 15).iter().enumerate() {
        case.post(std::slice::from_ref(alert)).await;
        match number {
            0..9 => drop(case.objects("shop", number + 1).await),
            _ => {
                let members = number as u64 + 1;
                let fits = |seen: &[Value]| seen.len() == 10 && count(the_storm(seen)) == members;
                case.until("shop", &format!("a storm of {members}"), fits).await;
            }
        }
    }
    case.until("shop", "a storm of fifteen over nine", |seen| storm_over(seen, 15, 9)).await;
    case.settled().await;
    assert!(storm_over(&case.objects("shop", 10).await, 15, 9));
}

#[tokio::test]
async fn f14_the_tenth_that_comes_within_the_hold_is_in_the_storm() {
    // a longer hold, as a busy machine is late
    let (case, _stages) = Case::own("f14", &["shop"], storms(json!({ "hold": "6s" })), Shape::ONE).await;
    let watch = case.record("shop").await;
    let all = kin("Crash", &case.namespace("shop"), 10);
    case.post(&all[..9]).await;
    until_passed(SECOND, Instant::now()).await;
    assert_eq!(watch.names().len(), 0, "the nine wait");
    case.post(&all[9..]).await;
    case.counted("shop", 1, 10).await;
    case.settled().await;
    let storm = case.counted("shop", 1, 10).await.remove(0);
    assert_eq!((is_storm(&storm), pods(&storm)), (true, first_pods(10)));
    assert_eq!(watch.names().len(), 1, "none has an object of its own");
}

/// Posts one after the other, evenly over a span; how it went is told by the records' own times.
async fn evenly(case: &Case, alerts: &[Value], span: Duration) {
    let begin = Instant::now();
    for (number, alert) in (0..).zip(alerts) {
        until_passed(span * number / 9, begin).await;
        case.post(std::slice::from_ref(alert)).await;
    }
}

#[tokio::test]
async fn f13_f16_a_window_and_a_storm_end_where_they_end() {
    // a minute shortened to twelve seconds: ten kin over 9 s and over 15 s; 6 s after the last and 13 s after that
    let overlay = storms(json!({ "hold": "200ms", "window": "12s", "quiet": "12s" }));
    let (case, _stages) = Case::own("f13", &["inside", "beyond", "quiet"], overlay, Shape::ONE).await;
    let of = |word: &str| kin("Crash", &case.namespace(word), 10);
    let (inside, beyond, quiet) = (of("inside"), of("beyond"), of("quiet"));
    let later = async || {
        case.post(&quiet).await;
        let first = Instant::now();
        case.counted("quiet", 1, 10).await;
        until_passed(6 * SECOND, first).await;
        case.post(&[case.alert("Crash", "quiet", "pod-10")]).await;
        let second = Instant::now();
        let storm = case.counted("quiet", 1, 11).await.remove(0);
        assert_eq!(pods_now(&storm), first_pods(11), "it joins");
        until_passed(13 * SECOND, second).await;
        case.post(&[case.alert("Crash", "quiet", "pod-11")]).await;
        let both = case.objects("quiet", 2).await;
        assert_eq!(the_storm(&both)["status"], storm["status"], "the storm is unchanged");
        let own = both.iter().find(|object| !is_storm(object)).expect("one has an object of its own");
        assert_eq!(own["spec"]["targetResource"]["name"], "pod-11");
    };
    tokio::join!(evenly(&case, &inside, 9 * SECOND), evenly(&case, &beyond, 15 * SECOND), later());
    case.until("inside", "a storm of ten over nine", |seen| storm_over(seen, 10, 9)).await;
    case.settled().await;
    assert!(storm_over(&case.objects("inside", 10).await, 10, 9));
    let own = case.counted("beyond", 10, 1).await;
    assert!(own.iter().all(|object| !is_storm(object) && object["status"]["supersededBy"].is_null()));
    case.objects("quiet", 2).await;
}

#[tokio::test]
async fn f19_a_storm_ends_after_its_longest_and_no_pod_is_in_both() {
    // seven minutes of kin and a longest of five, shortened: kin each half second for 6 s, and some after the longest of 8 s
    let overlay = storms(json!({ "hold": "500ms", "quiet": "8s", "max_duration": "8s" }));
    let (case, _stages) = Case::own("f19", &["shop"], overlay, Shape::ONE).await;
    let all = kin("Crash", &case.namespace("shop"), 60);
    let begin = Instant::now();
    case.post(&all[..20]).await;
    let posted = Instant::now();
    let mut next = 20;
    while begin.elapsed() < 6 * SECOND && next < 40 {
        until_passed(SECOND / 2 * (next as u32 - 19), begin).await;
        case.post(&all[next..=next]).await;
        next += 1;
    }
    case.counted("shop", 1, next as u64).await;
    until_passed(9 * SECOND, posted).await;
    case.post(&all[next..]).await;
    let sum = |seen: &[Value]| seen.iter().map(count).sum::<u64>();
    case.until("shop", "two storms of sixty", |seen| seen.len() == 2 && sum(seen) == 60).await;
    case.settled().await;
    let storms = case.until("shop", "the same two", |seen| seen.len() == 2 && sum(seen) == 60).await;
    assert!(storms.iter().all(is_storm));
    let total = |object: &Value| object["status"]["stormAggregation"]["totalAffectedResources"].as_u64().unwrap_or(0);
    assert_eq!(storms.iter().map(total).sum::<u64>(), 60);
    let listed: Vec<String> = storms.iter().flat_map(pods_now).collect();
    assert_eq!((listed.len(), listed.into_iter().collect::<BTreeSet<_>>()), (60, first_pods(60)));
}

#[tokio::test]
async fn f23_f28_f29_rules_in_order_and_fingerprints_that_count_once() {
    let rules = json!([
        { "name": "node", "match": "alert.labels.node != ''", "group_by": ["labels.node"], "threshold": 5 },
        { "name": "crashing", "match": "alert.name == 'Crash'", "group_by": ["name", "namespace"], "threshold": 5 },
        { "name": "same-alert", "group_by": ["name", "namespace"] },
    ]);
    let words = ["node", "five", "eight"];
    let (case, mut stages) = Case::own("f28", &words, storms(json!({ "rules": rules })), Shape::ONE).await;
    let node = format!("node-{}", case.namespace("node"));
    let on_node = strangers("OnNode", &case.namespace("node"), 6).into_iter();
    let on_node: Vec<Value> = on_node.map(|alert| with(alert, json!({ "labels": { "node": node } }))).collect();
    let eight: Vec<Value> = (0..8).map(|pod| alert("Slow", &case.namespace("eight"), &format!("pod-{pod}"))).collect();
    case.post(&[&on_node[..], &kin("Crash", &case.namespace("five"), 5), &eight, &eight].concat()).await;
    let stands = async || {
        let storm = case.counted("node", 1, 6).await.remove(0);
        assert_eq!((&storm["spec"]["stormType"], pods_now(&storm)), (&json!("node"), first_pods(6)));
        let storm = case.counted("five", 1, 5).await.remove(0);
        assert_eq!((&storm["spec"]["stormType"], pods_now(&storm)), (&json!("crashing"), first_pods(5)));
        let singles = case.counted("eight", 8, 2).await;
        assert!(singles.iter().all(|object| !is_storm(object)), "sixteen alerts of eight fingerprints");
    };
    stands().await;
    case.settled().await;
    // the offsets are reset, and all of it is read again
    assert!(stages.works.remove(0).stop().await.success());
    for partition in case.kafka.ends(&case.alerts).await.into_keys() {
        case.kafka.commit(&case.groups[0], &case.alerts, partition, 0).await;
    }
    stages.add(Shape { work: 1, ..Shape::NONE }).await;
    case.settled().await;
    stands().await;
    let redelivered = stages.works[0].metric("breakwater_work_outcomes_total", &["outcome=\"redelivered\""]).await;
    assert_eq!(redelivered, 27.0, "and every record was known");
}
