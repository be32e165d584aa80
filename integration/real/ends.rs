//! Group I on real servers: an end that is told twice because the sink died in between.

use crate::harness::case::{Case, SOON, at_once, count, name};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::servers::{ApiPlan, OwnApi};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;

const SIGABRT: i32 = 6;

/// A stage that is to die at a point.
fn doomed(stages: &Deployment, point: &str) -> Product {
    let armed = stages.sink.clone().with("BREAKWATER_CRASH_AT", point);
    Product::spawn("sink", &armed) // it may die before it is ready
}

async fn dies(mut sink: Product) {
    let end = sink.process.exit(SOON).await;
    assert_eq!(end.signal(), Some(SIGABRT), "{end}\n{}", sink.process.last_lines());
}

async fn stages(scenario: &str) -> (Case, Deployment) {
    let (_, mut stages) = Case::own(scenario, &[], at_once(), Shape::NONE).await;
    stages.notice_death_quickly();
    stages.add(Shape { sink: 0, ..Shape::ONE }).await;
    (Case::of(scenario, &["shop"], &stages).await, stages)
}

/// The two ends are told in the same words, and of the first generation alone.
fn same(closed: &[Value], first: &Value, namespace: &str) {
    for one in closed {
        assert_eq!(one["object"], Value::from(format!("{namespace}/{}", name(first))));
        assert_eq!((&one["fingerprint"], &one["through"]), (&closed[0]["fingerprint"], &closed[0]["through"]));
    }
}

#[tokio::test]
async fn i28_an_end_told_before_its_offset_was_stored_is_told_again_and_changes_nothing() {
    let (case, mut stages) = stages("i28").await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let alert = [case.alert("Ends", "shop", "p")];
    case.post(&alert).await;
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.settled().await;
    assert!(stages.sinks.remove(0).stop().await.success());
    // an update of an object that is gone: the record is finished when the end was told
    case.kube.delete(&case.namespace("shop"), name(&first)).await;
    case.post(&alert).await;
    dies(doomed(&stages, "sink-stores:1")).await;
    case.closed(1).await;
    // the fingerprint is new again, and its new incident lies between the two ends
    case.post(&alert).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    same(&case.closed(2).await, &first, &case.namespace("shop"));
    let second = case.counted("shop", 1, 1).await.remove(0);
    assert_ne!(name(&first), name(&second));
    case.settled().await;
    case.post(&alert).await;
    assert_eq!(name(&case.counted("shop", 1, 2).await[0]), name(&second));
    case.settled().await;
    assert_eq!(case.closed_so_far().await, 2);
}

#[tokio::test]
async fn i28_an_end_told_before_its_object_was_marked_is_told_again_and_changes_nothing() {
    // other tests' sinks would see the end too, and mark it
    let own = OwnApi::start(&ApiPlan::default()).await;
    let (case, mut stages) = Case::on_own_api("i28m", &own, at_once()).await;
    stages.notice_death_quickly();
    let alert = [case.alert("Ends", "shop", "p")];
    case.post(&alert).await;
    // the first apply is the status, the second the mark that the end was told
    let sink = doomed(&stages, "sink-applies:2");
    let first = case.counted("shop", 1, 1).await.remove(0);
    case.kube.phase(&case.namespace("shop"), name(&first), "Completed").await;
    dies(sink).await;
    case.closed(1).await;
    assert!(case.object("shop").await["status"]["closedTold"].is_null());
    case.post(&alert).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    same(&case.closed(2).await, &first, &case.namespace("shop"));
    let two = case.counted("shop", 2, 1).await;
    let marked = |object: &&Value| object["status"]["closedTold"] == true;
    case.until("shop", "the first to be marked", |seen| seen.iter().filter(marked).count() == 1).await;
    let second = two.iter().find(|object| name(object) != name(&first)).expect("another");
    case.settled().await;
    case.post(&alert).await;
    let folds = |seen: &[Value]| seen.iter().any(|one| name(one) == name(second) && count(one) == 2);
    case.until("shop", "the second one to count 2", folds).await;
    case.settled().await;
    case.objects("shop", 2).await;
    assert_eq!(case.closed_so_far().await, 2);
}
