//! Missing drafts go out beside live traffic: at their own rate, within the one budget, and nobody waits for them. L05.
//! `just beside` runs it with a longer log and more rounds, and tells the figures.

use super::*;
use crate::harness::alerts::strangers;
use crate::harness::case::at_once;
use crate::harness::kube::Recorder;
use crate::harness::past::{Past, ago};
use crate::harness::wait::{until_ok, until_passed};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Drafts a second that the replay may publish, and writes a second of the whole deployment.
const RATE: usize = 50;
const BUDGET: usize = 90;
/// Live alerts come so far apart.
const APART: Duration = Duration::from_millis(50);
/// What is lost anew in each round.
const LOST: usize = 75;
/// By how much the slowest hundredth of the live ones may be slower beside a replay. What a machine with other work does
/// to any single one of them comes on top.
const WORSE: f64 = 1.5;
const SLACK: Duration = Duration::from_millis(400);

/// What was lost: three rounds of alerts, each of which fired so many times an hour ago.
fn lost(shop: &str, rounds: usize, firings: usize) -> Vec<Past> {
    let rounds = (0..rounds).flat_map(|round| strangers(&format!("Lost{round}n"), shop, LOST));
    let first = at(ago(60), &rounds.collect::<Vec<_>>());
    let later = |n: usize| i64::try_from(n).expect("few") * 1_000;
    (0..firings).flat_map(|n| first.iter().map(move |one| one.again(one.at + later(n)))).collect()
}

/// A posted alert, by the beginning of its object's name.
type Posted = Vec<(String, Instant)>;

/// Posts alerts one after the other, each of its own, as long as that is not over.
async fn live(case: &Case, word: &str, mut go_on: impl FnMut(usize) -> bool) -> Posted {
    let (begin, mut posted) = (Instant::now(), Posted::new());
    while go_on(posted.len()) {
        let number = u32::try_from(posted.len()).expect("few");
        until_passed(APART * number, begin).await;
        let name = format!("{word}a{number}");
        posted.push((format!("{}-", name.to_lowercase()), Instant::now()));
        case.post(&[case.alert(&name, "shop", "p")]).await;
    }
    posted
}

/// How long the slowest hundredth of these took from the door to an object.
async fn slowest_hundredth(watch: &Recorder, posted: &Posted) -> Duration {
    let mut took = until_ok(SOON, "the live ones to be objects", async || {
        let times = watch.times();
        let of = |(prefix, at): &(String, Instant)| {
            let found = times.range(prefix.clone()..).next().filter(|(name, _)| name.starts_with(prefix.as_str()));
            found.map(|(_, made)| made.saturating_duration_since(*at)).ok_or_else(|| format!("{prefix} is missing"))
        };
        posted.iter().map(of).collect::<Result<Vec<_>, _>>()
    })
    .await;
    took.sort_unstable();
    took[(took.len() * 99).div_ceil(100) - 1]
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

#[tokio::test]
async fn l05_missing_drafts_go_out_at_their_own_rate_beside_live_traffic_that_does_not_wait_for_them() {
    let (rounds, firings) = (size("BREAKWATER_BESIDE_ROUNDS", 3), size("BREAKWATER_BESIDE_FIRINGS", 10));
    let mut pipeline = at_once();
    pipeline["sink"] = json!({ "writes_per_second": BUDGET });
    let past = |shop: &str| lost(shop, rounds, firings);
    let (case, mut stages) = Case::after("l05", pipeline, Shape { ingest: 1, ..Shape::NONE }, past).await;
    // an hour later: work has long read all of that, and its objects are gone
    for (partition, end) in case.kafka.ends(&case.alerts).await {
        case.kafka.commit(&case.groups[0], &case.alerts, partition, end).await;
    }
    let proxy = stages.through_proxy().await;
    stages.add(Shape { work: 1, ..SINK }).await;
    let watch = case.record("shop").await;
    live(&case, "Warm", |count| count < 20).await;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let calm = live(&case, &format!("Calm{round}"), |count| count < 50).await;
        alone.push(slowest_hundredth(&watch, &calm).await);
        let busy = live_beside_a_replay(&case, &stages, round).await;
        beside.push(slowest_hundredth(&watch, &busy).await);
    }
    let (calm, busy) = (median(alone.clone()), median(beside.clone()));
    println!("slowest hundredth: {calm:?} alone, {busy:?} beside a replay; rounds: {alone:?} {beside:?}");
    assert!(busy <= calm.mul_f64(WORSE) + SLACK, "{calm:?} alone, {busy:?} beside a replay: {alone:?} {beside:?}");

    // more at once than the budget allows, while there is a replay too: what is there is left alone
    case.post(&strangers("Burst", &case.namespace("shop"), 2 * BUDGET)).await;
    let report = replay(
        &stages.ingest,
        &["--from", "-2h", "--mode", "missing-only", "--filter", "alert.name.startsWith('Lost')"],
    )
    .await;
    assert_eq!(report["would_create"], json!(0), "{report}");
    case.settled_by_sink().await;
    rates_were_kept(&case, &proxy).await;
    nothing_doubled(&case, &watch, rounds * LOST).await;
}

/// Live alerts for as long as a replay of one round publishes what is lost, but five seconds at most.
async fn live_beside_a_replay(case: &Case, stages: &Deployment, round: usize) -> Posted {
    let filter = format!("alert.name.startsWith('Lost{round}n')");
    let rate = format!("{RATE}/s");
    let flags = ["--from", "-2h", "--mode", "missing-only", "--rate", &rate, "--filter", &filter];
    let over = std::cell::Cell::new(false);
    let replaying = async {
        let report = replay(&stages.ingest, &flags).await;
        over.set(true);
        report
    };
    let word = format!("Busy{round}");
    let (report, busy) = tokio::join!(replaying, live(case, &word, |count| !over.get() && count < 100));
    assert_eq!(found(&report), ([LOST as u64, 0, 0, 0], LOST as u64), "{report}");
    busy
}

/// Each object that was ever there is there, and is of a fingerprint of its own.
async fn nothing_doubled(case: &Case, watch: &Recorder, lost_in_all: usize) {
    assert_eq!(watch.names().len(), case.kube.list(&case.namespace("shop")).await.len(), "nothing came and went");
    let of = |object: &Value| object["spec"]["signalFingerprint"].to_string();
    let objects = case.kube.list(&case.namespace("shop")).await;
    let fingerprints: BTreeSet<String> = objects.iter().map(of).collect();
    assert_eq!(fingerprints.len(), objects.len(), "nothing doubled");
    let lost = objects.iter().filter(|object| name(object).starts_with("lost")).count();
    assert_eq!(lost, lost_in_all);
}

/// In no second more drafts than the rate says, and no more writes than the budget.
async fn rates_were_kept(case: &Case, proxy: &crate::harness::proxy::Proxy) {
    let of_lost =
        |draft: &&Record| draft.json()["spec"]["signalName"].as_str().is_some_and(|it| it.starts_with("Lost"));
    let mut times: Vec<i64> =
        drafts(case, &BTreeMap::new()).await.iter().filter(of_lost).map(|it| it.timestamp).collect();
    times.sort_unstable();
    let within = |from: &i64| times.iter().filter(|at| (*from..*from + 1000).contains(*at)).count();
    let busiest = times.iter().map(within).max().unwrap_or(0);
    assert!(busiest <= RATE, "{busiest} missing drafts in a second");
    let busiest = proxy.busiest(Duration::from_millis(950)); // a way of its own lies between the sink and the proxy
    assert!(busiest <= BUDGET, "{busiest} writes in a second");
}
