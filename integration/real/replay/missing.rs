//! What is missing comes back, once, and what is over does not: L02, L03 and L09.

use super::*;
use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{count, unlimited};
use crate::harness::kube::{manifests, write_kubeconfig};
use crate::harness::past::{Past, ago};
use crate::harness::wait::until_eq;
use std::collections::BTreeSet;

/// Six alerts that are nobody's kin, two of which fired twice, and a storm.
fn lost(shop: &str) -> Vec<Past> {
    let (begin, gone) = (ago(30), strangers("Gone", shop, 6));
    [at(begin, &gone), at(begin + 30_000, &gone[..2]), at(begin + 60_000, &kin("Storm", shop, 12))].concat()
}

/// What the Job in `deploy/backfill` runs as: it reads, and the sink writes.
async fn as_the_job(case: &Case, setting: &Setting) -> Setting {
    let mut job = manifests(&crate::harness::repository("deploy/backfill/job.yaml"));
    let last = job.pop().expect("the Job");
    for manifest in job {
        case.kube.apply(&manifest, false).await.expect("the rights are accepted");
    }
    case.kube.apply(&last, true).await.expect("the Job would be accepted");
    let token = case.kube.token("breakwater-backfill").await;
    let file = case.scope.path("kubeconfig-backfill");
    write_kubeconfig(&file, &case.kube.server().await, json!({ "token": token }));
    Setting { kubeconfig: file, ..setting.clone() }
}

#[tokio::test]
async fn l02_deleted_objects_come_back_as_they_were_by_the_backfill_job_and_l03_what_is_over_does_not() {
    let (case, mut stages) = Case::after("l02", unlimited(), Shape { work: 1, ..SINK }, lost).await;
    let shop = case.namespace("shop");
    let objects = case.until("shop", "six and a storm, two of which count two", |seen| {
        seen.len() == 7 && seen.iter().filter(|object| count(object) == 2).count() == 2
    });
    let objects = objects.await;
    let of = |alert: &str| {
        let found = objects.iter().find(|object| object["spec"]["signalName"] == alert);
        name(found.unwrap_or_else(|| panic!("an object of {alert}"))).to_owned()
    };
    // one ends and stays, one ends and is deleted, one is deleted while the sink watches
    case.kube.phase(&shop, &of("Gone3"), "Completed").await;
    case.kube.phase(&shop, &of("Gone4"), "Failed").await;
    case.kube.delete(&shop, &of("Gone5")).await;
    case.closed(3).await;
    case.settled().await;
    let gone = ["Gone0", "Gone1", "Gone4", "Storm"].map(of);
    delete_unseen(&case, &mut stages, &gone).await;
    let (before, job) = (everything(&case).await, as_the_job(&case, &stages.ingest).await);
    let report = replay(&job, &["--from", "-1h"]).await;
    assert_eq!(found(&report), ([3, 2, 0, 2], 0), "{report}");
    assert_eq!(everything(&case).await, before);

    let report = replay(&job, &["--from", "-1h", "--mode", "missing-only", "--rate", "50/s"]).await;
    assert_eq!(found(&report), ([3, 2, 0, 2], 3), "{report}");
    let back = case.until("shop", "three to be back", |seen| seen.len() == 5).await;
    let (before, back) = (specs(&objects), specs(&back));
    let expected: BTreeSet<String> = ["Gone0", "Gone1", "Storm", "Gone2", "Gone3"].map(of).into();
    assert_eq!(back.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert!(back.iter().all(|(name, spec)| before[name] == *spec), "equal specs");
    case.until("shop", "the counts to be back", |seen| {
        let counted = |alert: &str, expected| {
            seen.iter().any(|object| object["spec"]["signalName"] == alert && count(object) == expected)
        };
        counted("Gone0", 2) && counted("Gone1", 2) && counted("Storm", 12)
    })
    .await;
    let report = replay(&job, &["--from", "-1h", "--mode", "missing-only"]).await;
    assert_eq!(found(&report), ([0, 5, 0, 2], 0), "{report}");
}

/// An empty cluster: only the sink runs.
#[tokio::test]
async fn l09_a_replay_that_is_killed_told_to_stop_and_run_twice_at_once_doubles_nothing() {
    let past = |shop: &str| {
        let all = [strangers("Lost", shop, 39), kin("Storm", shop, 12)].concat();
        [at(ago(30), &all), at(ago(29), &all)].concat()
    };
    let (case, stages) = Case::after("l09", unlimited(), SINK, past).await;
    let recorder = case.record("shop").await;
    let so_far = interrupted(&case, &stages).await;
    // both begin with the same objects missing, and both publish them
    let flags = ["--from", "-1h", "--mode", "missing-only", "--rate", "50/s"];
    let (one, other) = tokio::join!(replay(&stages.ingest, &flags), replay(&stages.ingest, &flags));
    for report in [&one, &other] {
        let found = counts(report);
        assert_eq!(found[0] + found[1], 40, "{report}");
        assert_eq!(report["published"], json!(found[0]), "{report}");
    }
    assert_eq!(one["published"], json!(40 - so_far), "the first of them finds all of it missing\n{one}");
    case.settled_by_sink().await;
    let counted = async || {
        let seen = case.kube.list(&case.namespace("shop")).await;
        let storms = seen.iter().filter(|object| count(object) == 24).count();
        (seen.len(), storms, seen.iter().filter(|object| count(object) == 2).count())
    };
    until_eq(SOON, "40 objects, each of which counts its own firings", (40, 1, 39), counted).await;
    assert_eq!(recorder.names().len(), 40, "none twice, at any time");
    let drafts = drafts(&case, &BTreeMap::new()).await;
    let drafted: BTreeSet<String> = drafts.iter().map(|draft| draft.json()["incident"]["name"].to_string()).collect();
    assert_eq!(drafted.len(), 40, "whoever drafts, names are the same");
    let report = replay(&stages.ingest, &flags).await;
    assert_eq!((found(&report), &report["brought_up"]), (([0, 40, 0, 0], 0), &json!(0)), "{report}");
}

/// A replay that is killed, and one that is told to stop; how many objects are there then.
async fn interrupted(case: &Case, stages: &Deployment) -> usize {
    let slow = ["--from", "-1h", "--mode", "missing-only", "--rate", "4/s"];
    let running = async |seen: usize| {
        let process = begin(&stages.ingest, &slow, case);
        case.until("shop", "some of them to be back", |objects| objects.len() >= seen).await;
        process
    };
    let mut killed = running(4).await;
    killed.kill();
    let so_far = case.kube.list(&case.namespace("shop")).await.len();
    assert!(so_far < 30, "{so_far} are there already\n{}", killed.printed());
    let mut told = running(so_far + 4).await;
    told.signal("INT");
    assert_eq!(told.exit(SOON).await.code(), Some(1), "{}", told.printed());
    assert!(told.printed().contains("run it again to go on"), "{}", told.printed());
    case.settled_by_sink().await;
    let so_far = case.kube.list(&case.namespace("shop")).await.len();
    assert!(so_far < 40, "{so_far} are there already\n{}", told.printed());
    so_far
}
