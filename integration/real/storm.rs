//! Group F on real servers: kin at once are one object.

use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, name};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn pods(object: &Value) -> BTreeSet<String> {
    let listed = object["spec"]["stormAggregation"]["affectedResources"].as_array().cloned().unwrap_or_default();
    listed.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn f01_fifteen_kin_at_once_are_one_object() {
    let case = Case::shared("f01", &["shop"]).await;
    let watch = case.record("shop").await;
    case.post(&kin("Crash", &case.namespace("shop"), 15)).await;
    let object = case.counted("shop", 1, 15).await.remove(0);
    let told = &object["spec"]["stormAggregation"];
    assert_eq!((&object["spec"]["isStorm"], &told["alertCount"]), (&json!(true), &json!(15)));
    assert_eq!(pods(&object).len(), 15);
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
}

#[tokio::test]
async fn f05_other_alerts_of_the_same_second_stay_out_of_the_storm() {
    let case = Case::shared("f05", &["shop"]).await;
    let watch = case.record("shop").await;
    let (storm, others) = (kin("Crash", &case.namespace("shop"), 15), strangers("Other", &case.namespace("shop"), 3));
    case.post(&[&storm[..7], &others, &storm[7..]].concat()).await;
    let objects = case.objects("shop", 4).await;
    let storms: Vec<&Value> = objects.iter().filter(|object| object["spec"]["isStorm"] == true).collect();
    let [storm] = storms[..] else { panic!("{} storms", storms.len()) };
    assert_eq!(storm["spec"]["signalName"], "Crash");
    assert_eq!(pods(storm), (0..15).map(|pod| format!("pod-{pod}")).collect());
    let singles = objects.iter().filter(|object| object["spec"]["isStorm"] == false);
    let names: BTreeSet<&str> = singles.filter_map(|object| object["spec"]["signalName"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["Other0", "Other1", "Other2"]));
    case.settled().await;
    assert_eq!(watch.names().len(), 4);
}
