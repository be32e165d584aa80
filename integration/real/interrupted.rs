//! Group R on real servers: judges that are killed, or asked to end, again and again while numbered alerts pass.
//! `just interrupted` runs it with 8 judges, each interrupted 16 times, and 100 000 alerts; here it is a small one.

use crate::harness::case::{Case, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::lives::Lives;
use crate::harness::load::{Load, Plan};
use crate::harness::oracle::Evidence;
use crate::harness::product::Product;
use crate::harness::wait::{until, until_ok};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long everything may take to be as it shall be afterwards.
const LIVENESS: Duration = Duration::from_secs(600);

fn given(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Ends a judge, by force or as Kubernetes does, and starts another in its place without waiting for it.
async fn interrupt(stages: &mut Deployment, which: usize, by_force: bool) {
    let work = &mut stages.works[which];
    if by_force {
        work.process.kill();
    } else {
        work.process.terminate();
        // one that has just begun does not listen yet, and is killed by it
        let _end = work.process.exit(Duration::from_secs(28)).await;
    }
    *work = Product::spawn("work", &stages.work);
}

/// Which judge is interrupted next, each so often, in any order.
fn order(judges: usize, times: usize, chance: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..judges * times).map(|turn| turn % judges).collect();
    chance.shuffle(&mut order);
    order
}

#[tokio::test]
async fn r01_judges_interrupted_again_and_again_lose_nothing_double_nothing_and_count_exactly() {
    let (judges, times) = (given("BREAKWATER_INTERRUPTED_JUDGES", 3), given("BREAKWATER_INTERRUPTED_TIMES", 2));
    let alerts = given("BREAKWATER_INTERRUPTED_ALERTS", 600);
    let seed = given("BREAKWATER_CHAOS_SEED", 16) as u64;
    let (case, mut stages) = Case::own("r01i", &["shop"], unlimited(), Shape { work: 0, ..Shape::ONE }).await;
    stages.notice_death_quickly();
    stages.add(Shape { work: judges, ..Shape::NONE }).await;
    let (shop, mut chance) = (case.namespace("shop"), Rng::with_seed(seed));
    let lives = Lives::watch(&case.kube, &shop);
    let pace = Duration::from_millis(if alerts > 10_000 { 10 } else { 80 });
    let load = Load::start(&Plan { seed, senders: 4, pace, bad: true }, &shop, &case.doors);
    let order = order(judges, times, &mut chance);
    for (turn, which) in order.iter().enumerate() {
        let enough = alerts * (turn + 1) / (order.len() + 1);
        until(LIVENESS, "the load to go on", async || (load.promised() >= enough).then_some(())).await;
        interrupt(&mut stages, *which, chance.bool()).await;
    }
    until(LIVENESS, "the whole load", async || (load.promised() >= alerts).then_some(())).await;
    let book = load.end().await;
    until_ok(LIVENESS, &format!("each alert to have its outcome, seed {seed}"), async || {
        Evidence::gather(&case, &shop).await.judge(&book)
    })
    .await;
    case.settled_by_work().await;
    let outcomes = Evidence::gather(&case, &shop).await.judge(&book);
    let outcomes = outcomes.unwrap_or_else(|wrong| panic!("it was well, and is no more, seed {seed}: {wrong}"));
    eprintln!("{} alerts, {} interruptions of {judges} judges: {outcomes:?}", book.promises.len(), order.len());
    assert_eq!(lives.wrong(), BTreeSet::new(), "seed {seed}");
}
