//! Group R on real servers: everything breaks while a load goes on, and afterwards each alert that was promised has
//! exactly one outcome. What is drawn is drawn from a seed; `just chaos --seconds N --seed S` runs `r01_` for longer.

use crate::harness::case::unlimited;
use crate::harness::deployment::Shape;
use crate::harness::faults::Fault;
use crate::harness::lives::Lives;
use crate::harness::load::{Load, Plan};
use crate::harness::oracle::Outcomes;
use crate::harness::pipeline::merge;
use crate::harness::stand::Stand;
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const WHOLE: Shape = Shape { ingest: 2, work: 3, sink: 2 };

/// The shipped spans, by which the horizon covers a whole run: so every count is exact, whatever Redis loses.
fn overlay() -> Value {
    let mut overlay = unlimited();
    merge(&mut overlay, json!({ "sink": { "backoff_ceiling": "5s" } }));
    overlay
}

fn given(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |text| text.parse().expect("a seed and seconds are numbers"))
}

fn plan(seed: u64) -> Plan {
    Plan { seed, senders: 4, pace: Duration::from_millis(120), bad: true }
}

/// A load, and objects that end, for as long as something lasts; then everything is judged.
async fn under(stand: &mut Stand, plan: &Plan, trouble: impl AsyncFnOnce(&mut Stand)) -> Outcomes {
    let (shop, kube) = (stand.shop(), stand.case.kube.clone());
    let lives = std::sync::Arc::new(Lives::watch(&kube, &shop));
    let load = Load::start(plan, &shop, &stand.case.doors);
    let mut remediator = tokio::task::JoinSet::new();
    remediator.spawn(crate::harness::faults::remediate(
        kube,
        shop,
        std::sync::Arc::clone(&lives),
        Rng::with_seed(plan.seed ^ 0xbeef),
    ));
    trouble(stand).await;
    let book = load.end().await;
    remediator.shutdown().await;
    let outcomes = stand.judge(&book).await;
    eprintln!(
        "seed {}: {} alerts promised, {} requests repeated, {} ended unasked: {outcomes:?}",
        plan.seed,
        book.promises.len(),
        book.repeated,
        stand.fell
    );
    assert_eq!(lives.wrong(), BTreeSet::new(), "seed {}", plan.seed);
    outcomes
}

#[tokio::test]
async fn r01_each_promised_alert_has_one_outcome_whatever_breaks() {
    let (seed, seconds) = (given("BREAKWATER_CHAOS_SEED", 1), given("BREAKWATER_CHAOS_SECONDS", 30));
    let mut stand = Stand::start("r01", overlay(), WHOLE, seed).await;
    let mut chance = Rng::with_seed(seed);
    under(&mut stand, &plan(seed), async |stand| {
        let faults = stand.storm_and_stress(Duration::from_secs(seconds), &mut chance).await;
        eprintln!("{} faults", faults.len());
    })
    .await;
}

#[tokio::test]
async fn r05_redis_and_api_server_both_stopped_under_load_cost_time_alone() {
    let seed = given("BREAKWATER_CHAOS_SEED", 5);
    let mut stand = Stand::start("r05", overlay(), Shape { ingest: 1, work: 2, sink: 2 }, seed).await;
    let mut chance = Rng::with_seed(seed);
    under(&mut stand, &plan(seed), async |stand| {
        for first in [[Fault::RedisGone, Fault::ApiGone], [Fault::ApiFrozen, Fault::RedisFrozen]] {
            stand.pass(Duration::from_secs(2)).await;
            for fault in first {
                stand.strike(fault, &mut chance).await;
            }
            stand.pass(Duration::from_secs(3)).await;
            for fault in first {
                stand.mend(fault, &[]).await;
                stand.pass(Duration::from_secs(1)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn r06_a_storm_whose_memory_is_lost_while_it_waits_is_one_object() {
    let mut overlay = overlay();
    merge(&mut overlay, json!({ "storm": { "hold": "5s" } }));
    let mut stand = Stand::start("r06", overlay, Shape { ingest: 1, work: 3, sink: 1 }, 6).await;
    let mut chance = Rng::with_seed(6);
    let (shop, kin) = (stand.shop(), crate::harness::alerts::kin("Crash", &stand.shop(), 200));
    let lives = Lives::watch(&stand.case.kube, &shop);
    stand.case.post(&kin).await;
    stand.placed(200).await;
    stand.strike(Fault::RedisGone, &mut chance).await;
    let victims = stand.strike(Fault::Kill("work"), &mut chance).await;
    assert!(stand.case.kube.list(&shop).await.is_empty(), "it still waits");
    stand.mend(Fault::RedisGone, &[]).await;
    stand.mend(Fault::Kill("work"), &victims).await;
    let object = stand.case.counted("shop", 1, 200).await.remove(0);
    assert_eq!(object["status"]["stormAggregation"]["totalAffectedResources"], 200);
    assert_eq!(object["spec"]["isStorm"], true);
    stand.case.settled().await;
    stand.case.counted("shop", 1, 200).await;
    assert_eq!(lives.wrong(), BTreeSet::new());
    assert_eq!(stand.case.kafka.count(&stand.case.dead_letters).await, 0);
}

#[tokio::test]
async fn r09_a_rolling_restart_of_every_replica_under_load_loses_and_doubles_nothing() {
    let seed = given("BREAKWATER_CHAOS_SEED", 9);
    let mut stand = Stand::start("r09", overlay(), WHOLE, seed).await;
    let plan = Plan { bad: false, ..plan(seed) };
    let outcomes = under(&mut stand, &plan, async |stand| {
        for place in 0..stand.replicas.len() {
            let replica = &mut stand.replicas[place];
            replica.dismiss();
            let end = replica.product.process.exit(Duration::from_secs(28)).await;
            assert!(end.success(), "{} that is asked to end exits 0, not {end}", replica.stage);
            replica.again();
            stand.ready().await;
        }
    })
    .await;
    assert_eq!(outcomes.dead_letters, 0);
    assert_eq!(stand.fell, 0, "nobody ended unasked");
}

#[tokio::test]
async fn r10_everything_killed_at_once_comes_back_in_any_order() {
    let seed = given("BREAKWATER_CHAOS_SEED", 10);
    let mut stand = Stand::start("r10", overlay(), WHOLE, seed).await;
    let mut chance = Rng::with_seed(seed);
    under(&mut stand, &plan(seed), async |stand| {
        stand.pass(Duration::from_secs(5)).await;
        stand.black_out(&mut chance).await;
        stand.pass(Duration::from_secs(3)).await;
    })
    .await;
}
