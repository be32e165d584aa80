//! An hour of mixed traffic, its objects lost, and made again. `just hour` runs it with 50 000 records and 300 incidents.

use super::*;
use crate::harness::alerts::{kin, resolved, strangers};
use crate::harness::case::unlimited;
use crate::harness::past::{Past, ago};
use crate::harness::wait::{until, until_eq};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const MINUTE: i64 = 60_000;
const STORMS: usize = 5;
/// How long the largest of it may take.
const LONG: Duration = Duration::from_secs(600);

/// Incidents that begin all over the hour, live for some minutes and fire all the while; every fifth ends in a resolve,
/// every tenth fires once more long after memory has forgotten it; five storms of 12 to 28 kin, of which the first
/// comes again.
fn traffic(shop: &str, records: usize, incidents: usize) -> Vec<Past> {
    let (begin, mut chance) = (ago(75), Rng::with_seed(7));
    let mut all = Vec::with_capacity(records);
    for storm in 0..STORMS {
        let start = begin + 2 * MINUTE + i64::try_from(storm).expect("few") * 9 * MINUTE;
        let kin = kin(&format!("Storm{storm}"), shop, 12 + 4 * storm);
        let kin: Vec<Past> = kin.iter().map(|alert| Past::new(start + chance.i64(0..900), alert)).collect();
        let again = kin.iter().map(|one| one.again(one.at + chance.i64(MINUTE..3 * MINUTE))).collect::<Vec<_>>();
        let returns = kin.iter().filter(|_| storm == 0).map(|one| one.again(one.at + 20 * MINUTE)).collect::<Vec<_>>();
        all.extend([kin, again, returns].concat());
    }
    let singles = strangers("Mixed", shop, incidents - STORMS);
    let mut lives = Vec::new();
    for (n, alert) in singles.iter().enumerate() {
        let (from, life) = (begin + chance.i64(0..45 * MINUTE), chance.i64(3 * MINUTE..14 * MINUTE));
        let first = Past::new(from, alert);
        lives.push((first.clone(), life));
        if n % 5 == 0 {
            all.push(Past::new(from + life, &resolved(alert)));
        }
        if n % 10 == 1 {
            all.push(first.again(from + life + 8 * MINUTE));
        }
        all.push(first);
    }
    while all.len() < records {
        let (first, life) = chance.choice(&lives).expect("there are some");
        all.push(first.again(first.at + chance.i64(1_000..*life)));
    }
    all
}

/// The sum of all firings that objects count.
fn firings(objects: &[Value]) -> u64 {
    objects.iter().map(crate::harness::case::count).sum()
}

#[tokio::test]
async fn l02_an_hour_of_mixed_traffic_comes_back_as_it_was_and_nothing_that_was_over() {
    let records = size("BREAKWATER_HOUR_RECORDS", 2_500);
    let incidents = (records * 300 / 50_000).max(30);
    let began = Instant::now();
    let (case, mut stages) =
        Case::after("l02h", unlimited(), Shape { work: 1, ..SINK }, |shop| traffic(shop, records, incidents)).await;
    let shop = case.namespace("shop");
    let fired = case.records().await.iter().filter(|record| record.json()["status"] == "firing").count() as u64;
    let whole = async || {
        let seen = case.kube.list(&shop).await;
        (seen.len() == incidents && firings(&seen) == fired).then_some(seen)
    };
    let objects = until(LONG, "an object for each incident, and every firing counted", whole).await;
    println!("{records} records, {incidents} incidents: lived through in {:?}", began.elapsed());
    // every fifth is over, half of these by their phase, half because somebody deleted them, a storm among these
    let (over, live): (Vec<_>, Vec<_>) = objects.iter().enumerate().partition(|(n, _)| n % 5 == 0);
    end(&case, &over).await;
    let lost: Vec<String> = case.kube.list(&shop).await.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &lost).await;
    let watch = case.record("shop").await;
    let flags = ["--from", "-90m", "--mode", "missing-only", "--rate", "500/s"];
    let began = Instant::now();
    let report = replay(&stages.ingest, &flags).await;
    println!("replayed in {:?}: {}", began.elapsed(), report["outcomes"]);
    case.settled_by_sink().await;
    let back = case.kube.list(&shop).await;
    let expected: Vec<Value> = live.iter().map(|(_, object)| (*object).clone()).collect();
    assert_eq!(specs(&back), specs(&expected), "exactly the live ones, with equal specs");
    let bytes = |objects: &[Value]| objects.iter().map(|object| object["spec"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(bytes(&back), bytes(&expected));
    assert_eq!(firings(&back), firings(&expected), "and their counts");
    assert_eq!(watch.names(), specs(&expected).into_keys().collect(), "and no other at any time");
    let again = replay(&stages.ingest, &flags).await;
    assert_eq!((again["would_create"].clone(), again["published"].clone()), (json!(0), json!(0)), "{again}");
}

/// Of how many fingerprints an object's end is told.
fn members(object: &Value) -> usize {
    let members = object["status"]["stormAggregation"]["totalAffectedResources"].as_u64();
    members.map_or(1, |members| usize::try_from(members).expect("few"))
}

/// Ends these objects, and waits until the log is told.
async fn end(case: &Case, over: &[(usize, &Value)]) {
    let shop = case.namespace("shop");
    for (n, object) in over {
        match n % 10 {
            0 => case.kube.phase(&shop, name(object), "Completed").await,
            _ => case.kube.delete(&shop, name(object)).await,
        }
    }
    let told = async || case.closed_so_far().await;
    let ends: usize = over.iter().map(|(_, object)| members(object)).sum();
    until_eq(LONG, "each end to be told, member by member", ends, told).await;
}
