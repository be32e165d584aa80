//! Group I on real servers: how many calls an incident costs, and names that are taken.

use crate::harness::Shared;
use crate::harness::alerts::kin;
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, SOON, at_once, briefs, count, name};
use crate::harness::deployment::Shape;
use crate::harness::drafts::{draft, object_of};
use crate::harness::proxy::{Fault, Line};
use crate::harness::wait::{until, until_eq};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the sink asked about a namespace: verb and subresource, in order.
fn asked(case: &Case, word: &str) -> Vec<(String, String)> {
    let all = asked_by(&Shared::get().audit, "breakwater-sink", &format!("/{}/", case.namespace(word)));
    all.into_iter().map(|asked| (asked.verb, asked.subresource)).collect()
}

fn calls(calls: &[(&str, &str)]) -> Vec<(String, String)> {
    calls.iter().map(|(verb, sub)| ((*verb).to_owned(), (*sub).to_owned())).collect()
}

#[tokio::test]
async fn i01_a_new_incident_costs_one_create_and_one_status_apply() {
    let case = Case::quick("i01", &["shop"]).await;
    let alert = case.alert("Cheap", "shop", "p");
    case.post(std::slice::from_ref(&alert)).await;
    case.counted("shop", 1, 1).await;
    case.settled().await;
    let first = calls(&[("create", ""), ("patch", "status")]);
    until_eq(SOON, "the calls of one incident", first.clone(), async || asked(&case, "shop")).await;
    case.post(&[alert]).await;
    case.counted("shop", 1, 2).await;
    case.settled().await;
    let both = [first, calls(&[("patch", "status")])].concat();
    until_eq(SOON, "the calls of a duplicate", both, async || asked(&case, "shop")).await;
}

#[tokio::test]
async fn i02_a_name_taken_by_our_own_incident_is_success() {
    let (case, mut stages) = Case::own("i02", &["shop"], at_once(), Shape { sink: 0, ..Shape::ONE }).await;
    let proxy = stages.through_proxy().await;
    let fault = Fault::Late(Duration::from_secs(3));
    let create = format!("/{}/remediationrequests", case.namespace("shop"));
    proxy.script(Line { method: "POST", path: create.clone(), times: 1, fault });
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&[case.alert("Taken", "shop", "p")]).await;
    until(SOON, "the create to be on its way", async || proxy.seen("POST", &create).first().map(drop)).await;
    case.kube.apply(&object_of(&draft(&case).await), false).await.expect("we are faster");
    let object = case.counted("shop", 1, 1).await.remove(0);
    case.settled().await;
    assert_eq!(proxy.seen("POST", &create).iter().map(|seen| seen.status).collect::<Vec<_>>(), [Some(409)]);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"created\""]).await, 1.0);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"dead_lettered\""]).await, 0.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
    assert_eq!(name(&case.object("shop").await), name(&object));
}

#[tokio::test]
async fn i03_a_name_taken_by_a_stranger_gets_a_suffix() {
    let (case, mut stages) = Case::own("i03", &["shop"], at_once(), Shape { sink: 0, ..Shape::ONE }).await;
    case.post(&[case.alert("Taken", "shop", "p")]).await;
    let draft = draft(&case).await;
    let mut stranger = object_of(&draft);
    stranger["metadata"]["labels"] = json!({ "whose": "mine" });
    stranger["metadata"]["annotations"].take();
    stranger["spec"]["signalFingerprint"] = json!("a".repeat(64));
    case.kube.apply(&stranger, false).await.expect("a stranger may take a name");
    let before = case.object("shop").await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let ours = |seen: &[Value]| {
        seen.iter().find(|o| o["spec"]["signalFingerprint"] == draft["spec"]["signalFingerprint"]).cloned()
    };
    let both = case
        .until("shop", "ours beside it", |seen| seen.len() == 2 && ours(seen).is_some_and(|o| count(&o) == 1))
        .await;
    case.settled().await;
    let suffixed = ours(&both).expect("it is there");
    assert!(name(&suffixed).starts_with(name(&before)) && name(&suffixed) != name(&before));
    let after = case.objects("shop", 2).await;
    assert_eq!(after.iter().find(|object| name(object) == name(&before)), Some(&before));
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn i07_a_create_whose_answer_is_lost_is_one_object_created_once() {
    let (case, mut stages) = Case::own("i07", &["shop"], at_once(), Shape { sink: 0, ..Shape::ONE }).await;
    let proxy = stages.through_proxy().await;
    proxy.script(Line { method: "POST", path: case.namespace("shop"), times: 1, fault: Fault::LoseAnswer });
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let watch = case.record("shop").await;
    case.post(&[case.alert("Lost", "shop", "p")]).await;
    let object = case.counted("shop", 1, 1).await.remove(0);
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
    assert_eq!(stages.sinks[0].metric("breakwater_sink_outcomes_total", &["outcome=\"created\""]).await, 1.0);
    assert_eq!(stages.sinks[0].metric("breakwater_sink_records_consumed_total", &[]).await, 1.0);
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn i26_an_object_deleted_before_its_status_is_not_made_again() {
    let (case, mut stages) = Case::own("i26", &["shop"], at_once(), Shape { sink: 0, ..Shape::ONE }).await;
    let proxy = stages.through_proxy().await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let alert = case.alert("Deleted", "shop", "p");
    case.post(std::slice::from_ref(&alert)).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    let fault = Fault::Late(Duration::from_secs(2));
    let before = proxy.seen("PATCH", name(&first)).len();
    proxy.script(Line { method: "PATCH", path: name(&first).to_owned(), times: 1, fault });
    case.post(std::slice::from_ref(&alert)).await;
    until(SOON, "the update to be on its way", async || proxy.seen("PATCH", name(&first)).get(before).map(drop)).await;
    case.kube.delete(&case.namespace("shop"), name(&first)).await;
    until(SOON, "the update to be answered", async || proxy.seen("PATCH", name(&first)).get(before)?.status).await;
    case.settled().await;
    case.closed(1).await;
    case.objects("shop", 0).await;
    case.post(&[alert]).await;
    let second = case.counted("shop", 1, 1).await.remove(0);
    assert_ne!(name(&first), name(&second));
    case.settled().await;
    assert_eq!(case.closed_so_far().await, 1);
}

#[tokio::test]
async fn i27_an_end_is_told_once_for_each_fingerprint() {
    let case = Case::shared("i27", &["shop"]).await;
    let (single, members) = (case.alert("Single", "shop", "p"), kin("Storm", &case.namespace("shop"), 15));
    let answer = case.post(&[&[single.clone()][..], &members].concat()).await;
    let objects = case.until("shop", "both", |seen| seen.iter().map(count).sum::<u64>() == 16).await;
    let [single_object, storm] = [false, true]
        .map(|storm| objects.iter().find(|object| object["spec"]["isStorm"] == storm).cloned().expect("one of each"));
    case.finish("shop", &single_object, "Completed").await;
    case.kube.phase(&case.namespace("shop"), name(&storm), "Failed").await;
    let closed = case.closed(16).await;
    let told: BTreeSet<String> = closed.iter().map(|one| one["fingerprint"].to_string()).collect();
    assert_eq!(told, briefs(&answer));
    case.settled().await;
    let marked = |seen: &[Value]| seen.iter().all(|object| object["status"]["closedTold"] == true);
    let ended = case.until("shop", "the ends to be marked", marked).await;
    case.post(&members[3..4]).await;
    let three = case.until("shop", "an object of its own", |seen| seen.len() == 3 && seen.iter().all(|o| count(o) > 0));
    let three = three.await;
    let fresh = three.iter().find(|object| object["spec"]["isStorm"] == false && name(object) != name(&single_object));
    let fresh = fresh.expect("a new one");
    assert_eq!((&fresh["spec"]["signalName"], count(fresh)), (&json!("Storm"), 1));
    let storm = |seen: &[Value]| seen.iter().find(|object| object["spec"]["isStorm"] == true).cloned();
    assert_eq!(storm(&three), storm(&ended));
    case.settled().await;
    assert_eq!(case.closed_so_far().await, 16);
}
