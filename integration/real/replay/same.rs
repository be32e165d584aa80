//! A replay decides what the live run decided, wherever the range begins, whoever judged: L04 and L06.

use super::*;
use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{count, rfc3339, unlimited};
use crate::harness::past::ago;
use std::collections::BTreeSet;

#[tokio::test]
async fn l04_a_range_that_begins_in_the_middle_of_a_storm_finds_it_whole_and_says_where_the_log_begins() {
    let begin = ago(30);
    let middle = begin + 20_000; // of the storm's window of a minute, and between two firings of the single
    let past = |shop: &str| {
        let (storm, single) = (kin("Storm", shop, 13), [crate::harness::alerts::alert("Single", shop, "p")]);
        let early = [at(begin, &storm[..8]), at(begin + 500, &single)].concat();
        [early, at(begin + 1_000, &storm[8..]), at(begin + 40_000, &[&storm[8..], &single[..]].concat())].concat()
    };
    let (case, mut stages) = Case::after("l04", unlimited(), Shape { work: 1, ..SINK }, past).await;
    let objects = case.until("shop", "a single that counts two, and a storm of 13 that counts 18", |seen| {
        let counts: BTreeSet<u64> = seen.iter().map(count).collect();
        seen.len() == 2 && counts == [2, 18].into()
    });
    let objects = objects.await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    let from = rfc3339(middle);
    let report = replay(&stages.ingest, &["--from", &from, "--mode", "missing-only"]).await;
    assert_eq!(found(&report), ([2, 0, 0, 0], 2), "{report}");
    let back = case.until("shop", "both to be back", |seen| seen.len() == 2).await;
    assert_eq!(specs(&back), specs(&objects));
    case.settled_by_sink().await;

    for sink in stages.sinks.drain(..) {
        assert!(sink.stop().await.success()); // it tells of other tests' ends too
    }
    let whole = expire(&case, middle).await;
    expired_is_told(&case, &stages, begin, &whole).await;
}

/// Retention takes what came before a moment; from when on the log is whole.
async fn expire(case: &Case, before: i64) -> String {
    let records = case.kafka.read(&case.alerts).await;
    let mut firsts: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for record in records.iter().rev().filter(|record| record.timestamp > before) {
        firsts.insert(record.partition, (record.offset, record.timestamp));
    }
    for (partition, end) in case.kafka.ends(&case.alerts).await {
        let first = firsts.get(&partition).map_or(end, |(offset, _)| *offset);
        case.kafka.forget(&case.alerts, partition, first).await;
    }
    let cut = firsts.values().filter(|(offset, _)| *offset > 0);
    rfc3339(cut.map(|(_, at)| *at).max().expect("something was taken"))
}

/// A range of which a part has expired: told, and nothing is published unless that is allowed.
async fn expired_is_told(case: &Case, stages: &Deployment, begin: i64, whole: &str) {
    let from = rfc3339(begin);
    let told = stages.ingest.run(&["replay", "--from", &from]).await;
    let (text, why) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert_eq!(told.status.code(), Some(1), "a part of the range has expired\n{text}{why}");
    assert!(text.contains(&format!("the log holds the range whole only from {whole} on")), "{whole}\n{text}");
    assert!(why.contains("--allow-partial"), "{why}");
    let before = case.kafka.ends(&case.remediations).await;
    let refused = stages.ingest.run(&["replay", "--from", &from, "--mode", "missing-only"]).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("nothing was published") && why.contains(whole), "{why}");
    assert_eq!(case.kafka.ends(&case.remediations).await, before);
    let report = replay(&stages.ingest, &["--from", &from, "--allow-partial"]).await;
    // five kin are no storm: each of them finds the storm that it was a member of
    assert_eq!((counts(&report), &report["outcomes"]["created"]), ([0, 6, 0, 0], &json!(6)), "{report}");
}

/// More than one worker, another batch size, live or read again: a draft is the same draft. No sink runs, so each of
/// them is missing.
#[tokio::test]
async fn l06_the_drafts_of_a_replay_are_those_of_the_live_run_byte_for_byte() {
    let shape = Shape { ingest: 2, work: 3, sink: 0 };
    let (case, stages) = Case::own("l06", &["shop"], unlimited(), shape).await;
    let shop = case.namespace("shop");
    let mut all = strangers("Single", &shop, 20);
    for storm in 0..3 {
        all.extend(kin(&format!("Storm{storm}"), &shop, 10 + storm));
    }
    case.post_each(&all).await;
    case.post_each(&kin("Nine", &shop, 9)).await;
    let told = async |from: &BTreeMap<i32, i64>| {
        drafts(&case, from).await.into_iter().map(|draft| (draft.key, draft.value)).collect::<BTreeSet<_>>()
    };
    crate::harness::wait::until_eq(SOON, "32 drafts", 32, async || told(&BTreeMap::new()).await.len()).await;
    let live = told(&BTreeMap::new()).await;
    past_the_hold(&case).await;
    let before = case.kafka.ends(&case.remediations).await;
    let report = replay(&stages.ingest, &["--from", "-1h", "--mode", "missing-only", "--rate", "1000/s"]).await;
    assert_eq!(found(&report), ([32, 0, 0, 0], 32), "{report}");
    assert_eq!(told(&before).await, live);
}
