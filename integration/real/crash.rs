//! A stage dies between every two steps of a record's way, and whoever comes next finishes: nothing lost, nothing twice.

use crate::harness::alerts::{alert, kin};
use crate::harness::case::{Case, SOON, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;

/// Every step of the judge; the last two are those of the loop that tells updates.
const WORK: [&str; 10] = [
    "work-observed",
    "work-placed",
    "work-applied",
    "work-set-aside",
    "work-stored",
    "work-decided",
    "work-published",
    "work-marked",
    "sweep-published",
    "sweep-told",
];

/// Every step of the way out.
const SINK: [&str; 5] = ["sink-creates", "sink-created", "sink-applies", "sink-applied", "sink-stores"];

/// How a process ends at a crash point.
const SIGABRT: i32 = 6;

/// Stages of which one kind is started by the test, point after point.
async fn stages(scenario: &str, shape: Shape) -> (Case, Deployment) {
    let (_, mut stages) = Case::own(scenario, &[], unlimited(), Shape::NONE).await;
    stages.notice_death_quickly();
    stages.add(shape).await;
    let case = Case::of(scenario, &["shop"], &stages).await;
    (case, stages)
}

/// Posts an alert, a storm and the alert again, lets the stage die at a point, and starts another in its place.
async fn dies_at(case: &Case, point: &str, start: impl AsyncFn(Option<&str>) -> Product) -> Product {
    let mut doomed = start(Some(point)).await;
    let shop = case.namespace("shop");
    let single = alert(&format!("Single-{point}"), &shop, "p");
    case.post(&[&[single.clone()][..], &kin(&format!("Storm-{point}"), &shop, 12)].concat()).await;
    case.post(&[single]).await;
    let end = doomed.process.exit(SOON).await;
    assert_eq!(end.signal(), Some(SIGABRT), "{point}: {end}\n{}", doomed.process.last_lines());
    start(None).await
}

/// What a point's alerts must have become: one object that counts two, one storm that counts twelve.
async fn is_whole(case: &Case, points: &[&str]) {
    let of = |seen: &[Value], name: &str| -> Vec<u64> {
        seen.iter().filter(|object| object["spec"]["signalName"] == name).map(count).collect()
    };
    let fits = |seen: &[Value]| {
        let whole =
            |point: &&str| of(seen, &format!("Single-{point}")) == [2] && of(seen, &format!("Storm-{point}")) == [12];
        seen.len() == 2 * points.len() && points.iter().all(whole)
    };
    case.until("shop", &format!("whole objects after {points:?}"), fits).await;
}

#[tokio::test]
async fn e11_work_dies_between_every_two_steps_and_each_incident_is_one_object() {
    let shape = Shape { ingest: 1, work: 0, sink: 1 };
    let (case, stages) = stages("e11w", shape).await;
    let watch = case.record("shop").await;
    for (index, point) in WORK.iter().enumerate() {
        let start = async |point: Option<&str>| match point {
            Some(point) => {
                let armed = stages.work.clone().with("BREAKWATER_CRASH_AT", &format!("{point}:1"));
                Product::start("work", &armed).await
            }
            None => Product::start("work", &stages.work).await,
        };
        let successor = dies_at(&case, point, start).await;
        is_whole(&case, &WORK[..=index]).await;
        case.settled().await;
        assert!(successor.stop().await.success());
    }
    assert_eq!(watch.names().len(), 2 * WORK.len(), "and no other at any time");
}

#[tokio::test]
async fn e11_sink_dies_between_every_two_steps_and_each_incident_is_one_object() {
    let shape = Shape { ingest: 1, work: 1, sink: 0 };
    let (case, stages) = stages("e11s", shape).await;
    let watch = case.record("shop").await;
    for (index, point) in SINK.iter().enumerate() {
        let start = async |point: Option<&str>| match point {
            Some(point) => {
                let armed = stages.sink.clone().with("BREAKWATER_CRASH_AT", &format!("{point}:1"));
                Product::start("sink", &armed).await
            }
            None => Product::start("sink", &stages.sink).await,
        };
        let successor = dies_at(&case, point, start).await;
        is_whole(&case, &SINK[..=index]).await;
        case.settled().await;
        assert!(successor.stop().await.success());
    }
    assert_eq!(watch.names().len(), 2 * SINK.len(), "and no other at any time");
    assert_eq!(case.about_us(&case.dead_letters).await, []);
}
