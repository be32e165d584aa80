//! Group P on real servers: the figures of a run are those of what was sent, and of what was away.

use super::forgotten::Rig;
use super::health::{Own, own};
use crate::harness::alerts::resolved;
use crate::harness::case::{SOON, count, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::kafka::Record;
use crate::harness::product::Product;
use crate::harness::servers::Server;
use crate::harness::wait::{until_eq, until_ok};
use serde_json::Value;
use std::time::{Duration, Instant};

async fn outcome(work: &Product, outcome: &str) -> f64 {
    work.metric("breakwater_work_outcomes_total", &[&format!("outcome=\"{outcome}\"")]).await
}

/// How records ended: new, joined or not; repeated; resolved; set aside; read again. Ends of other tests' objects are told
/// to every log, and count for none.
async fn ended(work: &Product) -> [f64; 5] {
    let new = outcome(work, "created").await + outcome(work, "joined_storm").await;
    let mut all = [new, 0.0, 0.0, 0.0, 0.0];
    for (at, name) in ["duplicate", "resolved", "dead_lettered", "redelivered"].into_iter().enumerate() {
        all[at + 1] = outcome(work, name).await;
    }
    all
}

#[tokio::test]
async fn p02_each_counter_moves_by_exactly_its_number() {
    let mut rig = Rig::start("p02", unlimited(), Shape::ONE).await;
    let (own, storm) = (rig.own(10), rig.storm());
    rig.case.kafka.produce(&rig.case.alerts, &[(None, b"no alert at all")]).await;
    rig.case.post(&own).await;
    rig.case.post(&storm).await;
    rig.told(10, 1, Some(15)).await;
    rig.case.post(&own[5..7].iter().map(resolved).collect::<Vec<_>>()).await;
    let repeated = rig.case.post(&own[..5]).await;
    rig.case.settled().await;
    let work = rig.stages.works.remove(0);
    assert_eq!(ended(&work).await, [25.0, 5.0, 2.0, 1.0, 0.0]);
    let consumed = work.metric("breakwater_work_records_consumed_total", &[]).await;
    assert_eq!(consumed - outcome(&work, "closed").await, 33.0);
    for (name, number) in [
        ("breakwater_work_drafts_published_total", 11.0),
        ("breakwater_work_dead_letters_published_total", 1.0),
        ("breakwater_work_records_in_flight", 0.0),
    ] {
        assert_eq!(work.metric(name, &[]).await, number, "{name}");
    }
    let door = &rig.stages.ingests[0];
    assert_eq!(door.metric("breakwater_ingest_alerts_accepted_total", &[]).await, 32.0);
    assert!(work.stop().await.success());
    // the last of the repeats, which ends its partition but for ends of other tests' objects, is read once more
    let last = &repeated["alerts"][4];
    let partition = i32::try_from(last["partition"].as_i64().unwrap()).unwrap();
    let offset = last["offset"].as_i64().unwrap();
    let behind = |record: &Record| record.partition == partition && record.offset > offset;
    let foreign = rig.case.kafka.read(&rig.case.alerts).await.iter().filter(|record| behind(record)).count();
    rig.case.kafka.commit(&rig.case.groups[0], &rig.case.alerts, partition, offset).await;
    rig.stages.add(Shape { work: 1, ..Shape::NONE }).await;
    rig.case.settled().await;
    let [opened, repeats, resolves, dead, redelivered] = ended(&rig.stages.works[0]).await;
    assert_eq!([opened, repeats, resolves, dead], [0.0; 4]);
    assert!((1.0..=1.0 + foreign as f64).contains(&redelivered), "{redelivered} redelivered, {foreign} foreign");
    let fits = |seen: &[Value]| {
        let of = |wanted: u64| seen.iter().filter(|object| count(object) == wanted).count();
        (seen.len(), of(2), of(1), of(15)) == (11, 5, 5, 1)
    };
    rig.case.until("shop", "5 objects of 2, 5 of 1, a storm of 15", fits).await;
}

/// Whether a dependency is there, how often it was away, and for how many seconds.
async fn told(stage: &Product, name: &str, dependency: &str) -> (f64, f64, f64) {
    let label = format!("dependency=\"{dependency}\"");
    let of = async |what: &str| stage.metric(&format!("breakwater_{name}_dependency_{what}"), &[&label]).await;
    (of("up").await, of("outages_total").await, of("outage_seconds_total").await)
}

#[tokio::test]
async fn p05_an_outage_is_a_gauge_at_zero_one_more_outage_and_its_seconds() {
    let Own { mut kafka, mut redis, mut api, stages } = own("p05").await;
    let (ingest, work, sink) = (&stages.ingests[0], &stages.works[0], &stages.sinks[0]);
    let cases: [(&mut Server, &Product, &str, &str); 3] = [
        (&mut redis.server, work, "work", "memory"),
        (&mut kafka.server, ingest, "ingest", "kafka"),
        (&mut api.server, sink, "sink", "kubernetes"),
    ];
    for (server, stage, name, dependency) in cases {
        let before = told(stage, name, dependency).await;
        assert_eq!((before.0, before.1), (1.0, 0.0), "{dependency}");
        server.kill();
        let start = Instant::now();
        until_ok(SOON, &format!("{dependency} to be away"), async || match told(stage, name, dependency).await {
            (up, outages, _) if (up, outages) == (0.0, 1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let noticed = Instant::now();
        tokio::time::sleep(Duration::from_secs(6).saturating_sub(start.elapsed())).await; // the length of the outage
        let shortest = noticed.elapsed().as_secs_f64();
        server.restart().await;
        until_eq(SOON, &format!("{dependency} to be back"), 1.0, async || told(stage, name, dependency).await.0).await;
        let longest = start.elapsed().as_secs_f64();
        let after = told(stage, name, dependency).await;
        assert_eq!((after.0, after.1), (1.0, 1.0), "{dependency}");
        let seconds = after.2 - before.2;
        assert!((shortest..=longest).contains(&seconds), "{dependency}: {seconds}, not {shortest} to {longest} s");
    }
}

#[tokio::test]
async fn p06_what_waits_for_work_is_told_and_told_to_be_done() {
    let mut rig = Rig::start("p06", unlimited(), Shape::ONE).await;
    let own = rig.own(50);
    rig.case.post(&own).await;
    rig.told(50, 1, None).await;
    rig.case.settled().await;
    let (lag, set_aside) = ("breakwater_work_lag_records", "breakwater_work_dead_letters_published_total");
    until_eq(SOON, "no lag", 0.0, async || rig.stages.works[0].metric(lag, &[]).await).await;
    rig.redis.server.kill();
    let many: Vec<Value> = (0..500).map(|number: usize| own[number % 50].clone()).collect();
    for _ in 0..10 {
        rig.case.post(&many).await;
    }
    let bad: [(Option<&[u8]>, &[u8]); 3] = [(None, b"bad"), (None, b"worse"), (None, b"[")];
    rig.case.kafka.produce(&rig.case.alerts, &bad).await;
    let work = &rig.stages.works[0];
    until_ok(SOON, "5 003 records to lag", async || match work.metric(lag, &[]).await {
        told if told >= 5_003.0 => Ok(()), // and ends of other tests' objects
        told => Err(told.to_string()),
    })
    .await;
    let oldest = "breakwater_work_oldest_waiting_seconds";
    let young = work.metric(oldest, &[]).await;
    until_ok(SOON, "the oldest in hand to grow older", async || match work.metric(oldest, &[]).await {
        old if old > young + 1.0 => Ok(()),
        told => Err(told.to_string()),
    })
    .await;
    let before = outcome(work, "duplicate").await;
    rig.redis.server.restart().await;
    rig.told(50, 101, None).await;
    until_eq(SOON, "no lag", 0.0, async || rig.stages.works[0].metric(lag, &[]).await).await;
    until_eq(SOON, "nothing in hand", 0.0, async || rig.stages.works[0].metric(oldest, &[]).await).await;
    let work = &rig.stages.works[0];
    assert_eq!(work.metric(set_aside, &["reason=\"malformed\""]).await, 3.0);
    assert_eq!((work.metric(set_aside, &[]).await, before), (3.0, 0.0));
    assert_eq!(work.metric("breakwater_work_records_waiting", &[]).await, 0.0);
    assert_eq!(work.metric("breakwater_work_records_in_flight", &[]).await, 0.0);
}
