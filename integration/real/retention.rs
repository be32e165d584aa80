//! Group K on real servers: a log that is shorter, or another, than a judge remembers; and ends that are no records.

use crate::harness::alerts::strangers;
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::kafka::Record;
use crate::harness::wait::{until, until_eq};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const WORK: Shape = Shape { work: 1, ..Shape::NONE };

fn bytes(alert: &Value) -> Vec<u8> {
    alert.to_string().into_bytes()
}

/// Sends alerts to one partition, as a stranger would; the offset of each.
async fn send(case: &Case, partition: i32, alerts: &[Value]) -> Vec<i64> {
    let mut offsets = Vec::new();
    for alert in alerts {
        let (value, headers) = (Some(bytes(alert)), Vec::new());
        let record = Record { partition, offset: -1, timestamp: 1, key: None, value, headers };
        offsets.push(case.kafka.send(&case.alerts, &record).await.1);
    }
    offsets
}

fn names(seen: &[Value]) -> BTreeSet<&str> {
    seen.iter().filter_map(|object| object["spec"]["signalName"].as_str()).collect()
}

#[tokio::test]
async fn k15_an_offset_older_than_retention_goes_on_at_the_earliest_record_that_is_kept() {
    let (case, mut stages) = Case::own("k15", &["shop"], unlimited(), Shape::ONE).await;
    let alerts = strangers("Kept", &case.namespace("shop"), 12);
    send(&case, 2, &alerts[..3]).await;
    case.counted("shop", 3, 1).await;
    case.settled().await;
    assert!(stages.works.remove(0).stop().await.success());
    // six come while nobody reads, and retention takes four of them; the log ends with two more while it is away
    let offsets = send(&case, 2, &alerts[3..9]).await;
    case.kafka.forget(&case.alerts, 2, offsets[4]).await;
    stages.add(WORK).await;
    let resets = async || stages.works[0].metric("breakwater_work_offset_resets_total", &[]).await;
    let seen = case.objects("shop", 5).await;
    assert_eq!(names(&seen), ["Kept0", "Kept1", "Kept2", "Kept7", "Kept8"].into());
    assert_eq!(resets().await, 1.0, "the gap is counted");
    assert!(stages.works[0].process.printed().contains("records are gone unread"), "and warned of");
    // and everything that comes later
    send(&case, 2, &alerts[9..]).await;
    case.objects("shop", 8).await;
    case.settled().await;
    case.counted("shop", 8, 1).await;
    assert_eq!(resets().await, 1.0);
}

#[tokio::test]
async fn k15_a_topic_made_anew_under_a_judge_is_read_from_its_first_record() {
    let (case, mut stages) = Case::own("k15n", &["shop"], unlimited(), Shape::ONE).await;
    let before = strangers("Former", &case.namespace("shop"), 40);
    case.post(&before).await;
    case.post(&before).await;
    case.counted("shop", 40, 2).await;
    case.settled().await;
    case.kafka.delete(&case.alerts).await;
    let made = until(SOON, "the topic to be made anew", async || {
        let told = stages.ingest.run(&["topics", "create"]).await;
        String::from_utf8_lossy(&told.stdout).contains(": created").then_some(())
    });
    made.await;
    let fresh = strangers("Fresh", &case.namespace("shop"), 10);
    send(&case, 1, &fresh).await;
    send(&case, 1, &before[..5]).await;
    let fits = |seen: &[Value]| {
        let of = |name: &str, times: u64| {
            let fits = |one: &&Value| one["spec"]["signalName"].as_str().is_some_and(|n| n.starts_with(name));
            seen.iter().filter(fits).filter(|object| count(object) == times).count()
        };
        (of("Fresh", 1), of("Former", 2), of("Former", 3), seen.len()) == (10, 35, 5, 50)
    };
    case.until("shop", "what the new log tells, each once", fits).await;
    // whoever comes next reads all of it again at most, and skips none
    let committed = async || case.kafka.committed(&case.groups[0], &case.alerts).await.get(&1).copied();
    until_eq(SOON, "the new log's end to be committed", Some(15), committed).await;
    assert!(stages.works.remove(0).stop().await.success());
    stages.add(WORK).await;
    send(&case, 1, &strangers("Later", &case.namespace("shop"), 1)).await;
    case.until("shop", "one more, and the others as they were", |seen| {
        let later = seen.iter().filter(|object| object["spec"]["signalName"] == "Later0").count();
        let others: Vec<Value> = seen.iter().filter(|one| one["spec"]["signalName"] != "Later0").cloned().collect();
        later == 1 && fits(&others)
    })
    .await;
}

#[tokio::test]
async fn k13_a_partition_that_ends_with_the_mark_of_a_transaction_holds_nothing_back() {
    let (case, stages) = Case::own("k13t", &["shop"], unlimited(), Shape::ONE).await;
    let alerts = strangers("Transacted", &case.namespace("shop"), 4);
    // committed, given up, and a mark alone in a partition of which nothing was ever handed over
    case.kafka.transact(&case.alerts, 0, &[&bytes(&alerts[0])], true).await;
    case.kafka.transact(&case.alerts, 1, &[b"given up"], false).await;
    send(&case, 2, &alerts[1..2]).await;
    case.counted("shop", 2, 1).await;
    // and with something in hand already
    case.kafka.transact(&case.alerts, 2, &[&bytes(&alerts[2])], true).await;
    send(&case, 3, &alerts[3..]).await;
    case.counted("shop", 4, 1).await;
    let records = case.records().await;
    let drafts = until(SOON, "the drafts", async || {
        let mut all = case.about_us(&case.remediations).await;
        all.retain(|record| record.json()["type"] == "draft");
        (all.len() == 4).then_some(all)
    })
    .await;
    for draft in drafts {
        let first = draft.json()["incident"]["generation"]["at"].as_i64().expect("event time");
        assert!(records.iter().any(|record| record.timestamp == first));
        let waited = Duration::from_millis(draft.timestamp.abs_diff(first));
        assert!(waited < Duration::from_secs(10), "a draft {waited:?} after its alert: hold_max is 30 s");
    }
    let late = async || stages.works[0].metric("breakwater_work_late_partitions_total", &[]).await;
    until_eq(SOON, "no partition to be left out", 0.0, late).await;
}
