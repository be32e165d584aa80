//! Group E on real servers: what keeps an incident live, and what ends it.

use crate::harness::alerts::strangers;
use crate::harness::case::{Case, briefs, count, name};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FINAL: [&str; 5] = ["Completed", "Failed", "TimedOut", "Skipped", "Cancelled"];
const LIVE: [&str; 9] =
    ["Pending", "Processing", "Analyzing", "AwaitingApproval", "Executing", "Verifying", "Blocked", "", "Zzz"];

fn of_alert<'a>(objects: &'a [Value], alert: &Value) -> Vec<&'a Value> {
    let of_it = |object: &&Value| object["spec"]["signalName"] == alert["labels"]["alertname"];
    objects.iter().filter(of_it).collect()
}

#[tokio::test]
async fn e07_every_final_phase_ends_the_incident_and_the_next_firing_is_a_new_one() {
    let case = Case::shared("e07", &["shop"]).await;
    let alerts = strangers("Ends", &case.namespace("shop"), FINAL.len());
    let answer = case.post(&alerts).await;
    let firsts = case.counted("shop", FINAL.len(), 1).await;
    for (alert, phase) in alerts.iter().zip(FINAL) {
        let object = of_alert(&firsts, alert)[0];
        case.kube.phase(&case.namespace("shop"), name(object), phase).await;
    }
    let closed = case.closed(FINAL.len()).await;
    let fingerprints =
        |all: &[Value]| -> BTreeSet<String> { all.iter().map(|one| one["fingerprint"].to_string()).collect() };
    assert_eq!(fingerprints(&closed), briefs(&answer));
    let ended = case
        .until("shop", "all to be marked as told", |seen| seen.iter().all(|one| one["status"]["closedTold"] == true))
        .await;
    case.settled().await;
    case.post(&alerts).await;
    let all = case.until("shop", "a second object each", |seen| {
        seen.len() == 2 * FINAL.len() && seen.iter().all(|object| count(object) == 1)
    });
    let all = all.await;
    for alert in &alerts {
        let [one, two] = of_alert(&all, alert)[..] else { panic!("two objects of {alert}") };
        assert_ne!(name(one), name(two));
        let first = of_alert(&ended, alert)[0];
        let untouched = all.iter().find(|object| name(object) == name(first));
        assert_eq!(untouched, Some(first));
    }
    case.settled().await;
    case.objects("shop", 2 * FINAL.len()).await;
}

#[tokio::test]
async fn e08_any_other_phase_is_live() {
    let case = Case::shared("e08", &["shop"]).await;
    let watch = case.record("shop").await;
    let alerts = strangers("Lives", &case.namespace("shop"), LIVE.len());
    case.post(&alerts).await;
    let firsts = case.counted("shop", LIVE.len(), 1).await;
    for (alert, phase) in alerts.iter().zip(LIVE) {
        let object = of_alert(&firsts, alert)[0];
        case.kube.phase(&case.namespace("shop"), name(object), phase).await;
    }
    case.post(&alerts).await;
    let seconds = case.counted("shop", LIVE.len(), 2).await;
    for (alert, phase) in alerts.iter().zip(LIVE) {
        assert_eq!(of_alert(&seconds, alert)[0]["status"]["overallPhase"], json!(phase));
    }
    case.settled().await;
    assert_eq!(watch.names().len(), LIVE.len());
    assert_eq!(case.closed_so_far().await, 0);
}

#[tokio::test]
async fn e09_j18_a_deleted_object_ends_the_incident_within_the_ttl() {
    let case = Case::shared("e09", &["shop"]).await;
    let alert = case.alert("Deleted", "shop", "p");
    case.post(std::slice::from_ref(&alert)).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.kube.delete(&case.namespace("shop"), name(&first)).await;
    let closed = case.closed(1).await;
    assert_eq!(closed[0]["object"], json!(format!("{}/{}", case.namespace("shop"), name(&first))));
    case.settled().await;
    case.post(&[alert]).await;
    let second = case.counted("shop", 1, 1).await.remove(0);
    assert_ne!(name(&first), name(&second));
}

#[tokio::test]
async fn e10_a_firing_counts_on_the_live_one_of_two_and_on_a_third_when_both_are_final() {
    let case = Case::shared("e10", &["shop"]).await;
    let alert = [case.alert("Thrice", "shop", "p")];
    case.post(&alert).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.finish("shop", &first, "Completed").await;
    case.post(&alert).await;
    let both = case.counted("shop", 2, 1).await;
    let second = both.iter().find(|object| name(object) != name(&first)).expect("another");
    case.post(&alert).await;
    let counts =
        |seen: &[Value]| -> Vec<(String, u64)> { seen.iter().map(|o| (name(o).to_owned(), count(o))).collect() };
    let mut expected = vec![(name(&first).to_owned(), 1), (name(second).to_owned(), 2)];
    expected.sort();
    case.until("shop", "the live one to count 2", |seen| counts(seen) == expected).await;
    case.finish("shop", second, "Failed").await;
    case.post(&alert).await;
    let three = case.until("shop", "a third", |seen| seen.len() == 3 && seen.iter().all(|o| count(o) > 0)).await;
    let names: BTreeSet<&str> = three.iter().map(name).collect();
    assert_eq!(names.len(), 3);
    let mut all: Vec<u64> = three.iter().map(count).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 1, 2]);
}
