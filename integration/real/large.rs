//! The largest storm that an object holds, and what is left of it when memory is lost.

use crate::harness::Scope;
use crate::harness::alerts::{kin, webhook};
use crate::harness::case::{Case, PROMETHEUS, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::servers::OwnRedis;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MEMBERS: usize = 20_000;

#[tokio::test]
async fn h10_a_storm_of_twenty_thousand_fits_and_knows_its_members_after_total_loss() {
    let redis = OwnRedis::start(&[]).await;
    let scope = Scope::new("h10");
    let mut setting = scope.setting(unlimited());
    setting.redis.clone_from(&redis.url);
    let mut stages = Deployment::of(scope, setting, Shape::ONE).await;
    let mut case = Case::of("h10", &["shop"], &stages).await;
    let watch = case.record("shop").await;
    let all = kin("Flood", &case.namespace("shop"), MEMBERS);
    for thousand in all.chunks(1000) {
        case.send(0, PROMETHEUS, webhook(thousand).to_string()).await;
    }
    let object = case.counted("shop", 1, MEMBERS as u64).await.remove(0);
    let storm = &object["status"]["stormAggregation"];
    assert_eq!((&storm["totalAffectedResources"], &storm["alertCount"]), (&json!(MEMBERS), &json!(MEMBERS)));
    assert_eq!(storm["affectedResources"].as_array().map(Vec::len), Some(100));
    let size = object.to_string().len();
    assert!(size < 1_500_000, "the object has {size} bytes");
    case.settled().await;

    stages.stop().await;
    let mut connection = redis.connection().await;
    let done: String = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("redis answers");
    assert_eq!(done, "OK");
    stages.add(Shape::ONE).await;
    case.doors = stages.doors();
    case.post(&all[12_345..12_346]).await;
    let again = case
        .until("shop", "one member's firing to count on the storm", |seen| {
            seen.len() == 1 && count(&seen[0]) > MEMBERS as u64
        })
        .await;
    case.settled().await;
    assert_eq!(name(&again[0]), name(&object));
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
    let left: Vec<Value> = case.objects("shop", 1).await;
    assert_eq!(count(&left[0]), MEMBERS as u64 + 1);
}
