//! The log read again: what would have come of it, beside what there is; and what is missing, published. Group L.

use crate::harness::alerts::{kin, strangers};
use crate::harness::case::{Case, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::process::Process;
use crate::harness::product::{Product, Setting};
use crate::harness::wait::until_ok;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Stages of the test's own: what its log holds of others is their ends, told by every sink on the API server.
async fn own(scenario: &str) -> (Case, Deployment) {
    Case::own(scenario, &["shop"], unlimited(), Shape::ONE).await
}

/// A report of `replay`, with these flags; it must succeed.
async fn replay(setting: &Setting, flags: &[&str]) -> Value {
    let told = setting.succeed(&[&["replay", "--output", "json"], flags].concat()).await;
    serde_json::from_str(&told).expect("one JSON document")
}

/// The counts of a report.
fn counts(report: &Value) -> [u64; 4] {
    ["would_create", "exist", "differ", "over"].map(|key| report[key].as_u64().expect("a count"))
}

/// Objects by name, with their specs.
fn specs(objects: &[Value]) -> BTreeMap<String, Value> {
    objects.iter().map(|object| (name(object).to_owned(), object["spec"].clone())).collect()
}

/// Versions of objects, and what the topics hold of this test: nothing of it moves where nothing is written.
pub(crate) async fn everything(case: &Case) -> (Vec<Value>, Vec<usize>) {
    let versions = case.kube.list(&case.namespace("shop")).await;
    let mut ends = Vec::new();
    for topic in [&case.alerts, &case.remediations, &case.dead_letters] {
        ends.push(case.about_us(topic).await.len());
    }
    (versions.iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect(), ends)
}

/// The sink is stopped, and these objects are deleted while nobody watches; then it starts again.
async fn delete_unseen(case: &Case, stages: &mut Deployment, objects: &[String]) {
    for sink in stages.sinks.drain(..) {
        assert!(sink.stop().await.success());
    }
    for object in objects {
        case.kube.delete(&case.namespace("shop"), object).await;
    }
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
}

/// Waits until the newest record of `alerts` is older than the hold: until then its incident is the live run's.
pub(crate) async fn past_the_hold(case: &Case) {
    let newest = case.kafka.read(&case.alerts).await.iter().map(|record| record.timestamp).max().unwrap_or(0);
    until_ok(SOON, "the hold to be over", async || {
        let now = jiff::Timestamp::now().as_millisecond();
        if now > newest + 4_000 { Ok(()) } else { Err(format!("{now} after {newest}")) }
    })
    .await;
}

#[tokio::test]
async fn l01_a_replay_of_a_calm_hour_finds_everything_and_changes_nothing() {
    let (case, stages) = own("l01").await;
    let shop = case.namespace("shop");
    case.post(&[strangers("Calm", &shop, 5), kin("Storm", &shop, 12)].concat()).await;
    case.post(&strangers("Calm", &shop, 5)).await;
    case.until("shop", "five that count two, and a storm", |seen| {
        seen.len() == 6 && seen.iter().filter(|object| count(object) == 2).count() == 5
    })
    .await;
    case.settled().await;
    past_the_hold(&case).await;
    let before = everything(&case).await;
    let report = replay(&stages.ingest, &["--from", "-1h"]).await;
    assert_eq!(counts(&report), [0, 6, 0, 0], "{report}");
    let outcomes = ["created", "duplicate", "joined_storm"].map(|outcome| report["outcomes"][outcome].clone());
    assert_eq!(outcomes, [json!(5), json!(5), json!(12)], "{report}");
    assert_eq!(everything(&case).await, before);
    let table = stages.ingest.succeed(&["replay", "--from", "-1h"]).await;
    assert!(table.starts_with("would create: 0\nexist: 6\ndiffer: 0\nover: 0\n"), "{table}");
    assert!(!table.contains('\u{1b}') && !table.contains('\r'), "a pipe sees no control character");
}

#[tokio::test]
async fn l02_deleted_objects_come_back_as_they_were_and_l03_what_is_over_does_not() {
    let (case, mut stages) = own("l02").await;
    let shop = case.namespace("shop");
    case.post(&[strangers("Gone", &shop, 6), kin("Storm", &shop, 12)].concat()).await;
    case.post(&strangers("Gone", &shop, 2)).await;
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
    past_the_hold(&case).await;
    let before = everything(&case).await;
    let report = replay(&stages.ingest, &["--from", "-1h"]).await;
    assert_eq!(counts(&report), [3, 2, 0, 2], "{report}");
    assert_eq!(everything(&case).await, before);

    let report = replay(&stages.ingest, &["--from", "-1h", "--mode", "missing-only", "--rate", "50/s"]).await;
    assert_eq!((counts(&report), &report["published"]), ([3, 2, 0, 2], &json!(3)), "{report}");
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
    let report = replay(&stages.ingest, &["--from", "-1h", "--mode", "missing-only"]).await;
    assert_eq!((counts(&report), &report["published"]), ([0, 5, 0, 2], &json!(0)), "{report}");
}

#[tokio::test]
async fn l04_a_range_that_begins_in_the_middle_of_a_storm_finds_it_whole() {
    let (case, mut stages) = own("l04").await;
    let shop = case.namespace("shop");
    let storm = kin("Storm", &shop, 13);
    let single = case.alert("Single", "shop", "p");
    case.post(&[storm[..8].to_vec(), vec![single.clone()]].concat()).await;
    let middle = case.kafka.read(&case.alerts).await.iter().map(|record| record.timestamp).max().expect("records") + 1;
    case.post(&[storm[8..].to_vec(), vec![single]].concat()).await;
    let objects = case.until("shop", "a single that counts two, and a storm of 13", |seen| {
        let mut all: Vec<u64> = seen.iter().map(count).collect();
        all.sort_unstable();
        all == [2, 13]
    });
    let objects = objects.await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    past_the_hold(&case).await;
    let from = crate::harness::case::rfc3339(middle);
    let report = replay(&stages.ingest, &["--from", &from, "--mode", "missing-only"]).await;
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    let back = case.until("shop", "both to be back", |seen| seen.len() == 2).await;
    assert_eq!(specs(&back), specs(&objects));

    for (partition, end) in case.kafka.ends(&case.alerts).await {
        case.kafka.forget(&case.alerts, partition, end).await;
    }
    case.post(&[case.alert("Later", "shop", "p")]).await;
    case.objects("shop", 3).await;
    past_the_hold(&case).await;
    let told = stages.ingest.run(&["replay", "--from", &from]).await;
    assert_eq!(told.status.code(), Some(1), "a part of the range has expired");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.contains("the log holds nothing of the range before 20"), "{text}");
    let report = replay(&stages.ingest, &["--from", &from, "--allow-partial"]).await;
    assert_eq!(counts(&report), [0, 1, 0, 0], "{report}");
}

#[tokio::test]
async fn l05_missing_drafts_go_out_at_their_own_rate_beside_live_traffic() {
    let (case, mut stages) = own("l05").await;
    let shop = case.namespace("shop");
    case.post(&strangers("Lost", &shop, 60)).await;
    let objects = case.objects("shop", 60).await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    past_the_hold(&case).await;
    let recorder = case.record("shop").await;
    let before: BTreeMap<i32, i64> = case.kafka.ends(&case.remediations).await;
    let live = async {
        for round in 0..5 {
            case.post(&strangers(&format!("Live{round}-"), &shop, 4)).await;
        }
    };
    let flags = ["--from", "-1h", "--mode", "missing-only", "--rate", "20/s"];
    let (report, ()) = tokio::join!(replay(&stages.ingest, &flags), live);
    assert_eq!(report["published"].as_u64(), report["would_create"].as_u64());
    case.objects("shop", 80).await;
    case.settled().await;
    assert_eq!(recorder.names().len(), 80, "nothing doubled");
    let drafts = case.kafka.read(&case.remediations).await.into_iter().filter(|record| {
        record.offset >= before[&record.partition]
            && record.json()["type"] == "draft"
            && record.json()["spec"]["signalName"].as_str().is_some_and(|alert| alert.starts_with("Lost"))
    });
    let mut times: Vec<i64> = drafts.map(|record| record.timestamp).collect();
    times.sort_unstable();
    assert_eq!(times.len(), 60);
    let busiest = times.iter().map(|from| times.iter().filter(|at| (*from..from + 1000).contains(at)).count()).max();
    assert!(busiest <= Some(20), "{busiest:?} drafts in a second");
}

#[tokio::test]
async fn l07_a_filter_narrows_and_what_is_asked_wrongly_ends_with_64() {
    let (case, mut stages) = own("l07").await;
    let shop = case.namespace("shop");
    case.post(&strangers("Left", &shop, 3)).await;
    case.post(&strangers("Right", &shop, 2)).await;
    let objects = case.objects("shop", 5).await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    past_the_hold(&case).await;
    let filter = "alert.name.startsWith('Right')";
    let report = replay(&stages.ingest, &["--from", "-1h", "--filter", filter, "--mode", "missing-only"]).await;
    assert_eq!((counts(&report), &report["published"]), ([2, 0, 0, 0], &json!(2)), "{report}");
    let back = case.objects("shop", 2).await;
    assert!(back.iter().all(|object| object["spec"]["signalName"].as_str().is_some_and(|it| it.starts_with("Right"))));
    for (flags, why) in [
        (&["--from", "-1h", "--filter", "alert.nam == 'x'"][..], "--filter:1:"),
        (&["--from", "-1h", "--to", "-2h"], "--from must lie before --to"),
        (&[], "--from is not given"),
        (&["--from", "yesterday"], "--from: \"yesterday\" is no moment"),
        (&["--from", "-1h", "--rate", "0/s"], "--rate: \"0/s\" is no rate"),
    ] {
        let told = stages.ingest.run(&[&["replay"], flags].concat()).await;
        let text = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(64), "{flags:?}: {text}");
        assert!(text.starts_with(why), "{flags:?}: {text}");
    }
}

#[tokio::test]
async fn l08_files_are_replayed_at_their_own_times_and_a_broken_line_is_named() {
    let (case, stages) = own("l08").await;
    let shop = case.namespace("shop");
    let line = |n: usize| crate::harness::alerts::alert(&format!("Filed{n}"), &shop, "p").to_string();
    let mut lines: Vec<String> = (0..6).map(line).collect();
    lines.push("{ broken".to_owned());
    lines.push(line(6));
    let (one, other) = (case.scope.path("lines.json"), case.scope.path("webhook.json"));
    std::fs::write(&one, lines.join("\n")).expect("the test's folder can be written");
    let webhook = crate::harness::alerts::webhook(&kin("Stormy", &shop, 12));
    std::fs::write(&other, serde_json::to_string_pretty(&webhook).expect("JSON")).expect("it can be written");
    let (one, other) = (one.display().to_string(), other.display().to_string());
    let told = stages.ingest.run(&["replay", "--output", "json", "--input", &one, &other]).await;
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let report: Value = serde_json::from_slice(&told.stdout).expect("one document");
    assert_eq!((counts(&report), &report["unreadable"]), ([8, 0, 0, 0], &json!(1)), "{report}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("lines.json:7: no JSON"));
    case.objects("shop", 0).await;
    let report = replay(&stages.ingest, &["--mode", "missing-only", "--input", &one, &other]).await;
    assert_eq!(report["published"], json!(8));
    case.objects("shop", 8).await;
    let report = replay(&stages.ingest, &["--mode", "missing-only", "--input", &one, &other]).await;
    assert_eq!((counts(&report), &report["published"]), ([0, 8, 0, 0], &json!(0)), "{report}");
}

#[tokio::test]
async fn l09_a_replay_that_is_interrupted_is_run_again_and_nothing_is_there_twice() {
    let (case, mut stages) = own("l09").await;
    let shop = case.namespace("shop");
    case.post(&strangers("Lost", &shop, 40)).await;
    let objects = case.objects("shop", 40).await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    past_the_hold(&case).await;
    let recorder = case.record("shop").await;
    let flags = ["replay", "--from", "-1h", "--mode", "missing-only", "--rate", "2/s"];
    let mut running = begin(&stages.ingest, &flags, &case);
    case.until("shop", "some of them to be back", |seen| seen.len() >= 5).await;
    running.signal("INT");
    let end = running.exit(SOON).await;
    assert_eq!(end.code(), Some(1), "{}", running.printed());
    assert!(running.printed().contains("run it again to go on"), "{}", running.printed());
    let some = case.kube.list(&shop).await.len();
    assert!(some < 40, "{some} are there already\n{}", running.printed());
    let report = replay(&stages.ingest, &["--from", "-1h", "--mode", "missing-only", "--rate", "1000/s"]).await;
    assert!(report["published"].as_u64().is_some_and(|published| published > 0), "{report}");
    let back = case.objects("shop", 40).await;
    case.settled().await;
    assert_eq!(specs(&back), specs(&objects));
    assert_eq!(recorder.names().len(), 40, "none twice");
}

/// A command that does not end by itself soon.
fn begin(setting: &Setting, args: &[&str], case: &Case) -> Process {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_breakwater"));
    command
        .env("BREAKWATER_KAFKA_BROKERS", &setting.kafka)
        .env("KUBECONFIG", &setting.kubeconfig)
        .env("BREAKWATER_PIPELINE", &setting.pipeline)
        .env("BREAKWATER_FALLBACK_NAMESPACE", &setting.fallback_namespace)
        .args(args);
    Process::start("replay", &command, &case.scope.path("replay.log"))
}

#[tokio::test]
async fn l10_to_a_terminal_there_is_a_bar_with_share_and_time_left() {
    let (case, stages) = own("l10").await;
    case.post(&strangers("Calm", &case.namespace("shop"), 3)).await;
    case.objects("shop", 3).await;
    let program = env!("CARGO_BIN_EXE_breakwater");
    let setting = &stages.ingest;
    // `script` gives a command a terminal
    let mut command = std::process::Command::new("script");
    command
        .env("BREAKWATER_KAFKA_BROKERS", &setting.kafka)
        .env("KUBECONFIG", &setting.kubeconfig)
        .env("BREAKWATER_PIPELINE", &setting.pipeline)
        .env("TERM", "xterm")
        .args(["-qec", &format!("{program} replay --from -1h"), "/dev/null"]);
    let mut running = Process::start("script", &command, &case.scope.path("script.log"));
    assert!(running.exit(Duration::from_secs(60)).await.success(), "{}", running.printed());
    let printed = running.printed();
    assert!(printed.contains('%') && printed.contains("left") && printed.contains("records"), "{printed:?}");
    let piped = stages.ingest.run(&["replay", "--from", "-1h"]).await;
    assert!(!piped.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&piped.stderr));
}

#[tokio::test]
async fn l11_an_edited_pipeline_over_real_traffic_tells_which_fields_would_differ() {
    let (case, stages) = own("l11").await;
    let shop = case.namespace("shop");
    let critical = crate::harness::alerts::at_severity(&case.alert("Bad", "shop", "p"), "critical");
    case.post(&[critical, case.alert("Fair", "shop", "p")]).await;
    case.objects("shop", 2).await;
    case.settled().await;
    past_the_hold(&case).await;
    let row = json!({ "*": "P3" });
    let edited = json!({ "priority": { "matrix": { "critical": row, "warning": { "*": "P2" }, "info": row } } });
    let base = crate::harness::pipeline::of(&stages.scope, unlimited());
    let file = case.scope.path("edited.yaml");
    let mut whole = base;
    whole["priority"] = edited["priority"].clone();
    std::fs::write(&file, whole.to_string()).expect("the test's folder can be written");
    let file = file.display().to_string();
    let report = replay(&stages.ingest, &["--from", "-1h", "--pipeline", &file]).await;
    assert_eq!(counts(&report), [0, 1, 1, 0], "{report}");
    let differing = &report["differing"][0];
    assert!(differing["object"].as_str().is_some_and(|object| object.starts_with(&format!("{shop}/bad-"))), "{report}");
    assert_eq!(differing["fields"], json!([{ "field": "spec.priority", "then": "P1", "now": "P3" }]));
}

/// More than one worker, another batch size, live or read again: a draft is the same draft.
#[tokio::test]
async fn l06_the_drafts_of_a_replay_are_those_of_the_live_run_byte_for_byte() {
    let shape = Shape { ingest: 2, work: 3, sink: 1 };
    let (case, mut stages) = Case::own("l06", &["shop"], unlimited(), shape).await;
    let shop = case.namespace("shop");
    let mut all = strangers("Single", &shop, 20);
    for storm in 0..3 {
        all.extend(kin(&format!("Storm{storm}"), &shop, 10 + storm));
    }
    case.post_each(&all).await;
    case.post_each(&kin("Nine", &shop, 9)).await;
    case.objects("shop", 32).await;
    case.settled().await;
    let drafts = async |from: &BTreeMap<i32, i64>| {
        let records = case.kafka.read(&case.remediations).await.into_iter();
        let ours = records.filter(|record| record.offset >= from.get(&record.partition).copied().unwrap_or(0));
        let drafts = ours.filter(|record| record.json()["type"] == "draft");
        drafts.map(|record| (record.key, record.value)).collect::<BTreeSet<_>>()
    };
    let live = drafts(&BTreeMap::new()).await;
    assert_eq!(live.len(), 32);
    for sink in stages.sinks.drain(..) {
        assert!(sink.stop().await.success());
    }
    for object in case.kube.list(&shop).await {
        case.kube.delete(&shop, name(&object)).await;
    }
    past_the_hold(&case).await;
    let before = case.kafka.ends(&case.remediations).await;
    let report = replay(&stages.ingest, &["--from", "-1h", "--mode", "missing-only", "--rate", "1000/s"]).await;
    assert_eq!(report["published"], json!(32), "{report}");
    assert_eq!(drafts(&before).await, live);
    stages.sinks.push(Product::start("sink", &stages.sink).await);
    case.objects("shop", 32).await;
}

#[tokio::test]
async fn l02_the_backfill_job_has_the_rights_that_it_needs_and_writes_nothing_itself() {
    let (case, mut stages) = own("l02j").await;
    let shop = case.namespace("shop");
    case.post(&strangers("Lost", &shop, 2)).await;
    let objects = case.objects("shop", 2).await;
    case.settled().await;
    let names: Vec<String> = objects.iter().map(|object| name(object).to_owned()).collect();
    delete_unseen(&case, &mut stages, &names).await;
    past_the_hold(&case).await;
    let mut job = crate::harness::kube::manifests(&crate::harness::repository("deploy/backfill/job.yaml"));
    let last = job.pop().expect("the Job");
    for manifest in job {
        case.kube.apply(&manifest, false).await.expect("the rights are accepted");
    }
    case.kube.apply(&last, true).await.expect("the Job would be accepted");
    let token = case.kube.token("breakwater-backfill").await;
    let file = case.scope.path("kubeconfig-backfill");
    crate::harness::kube::write_kubeconfig(&file, &case.kube.server().await, json!({ "token": token }));
    let setting = Setting { kubeconfig: file, ..stages.ingest.clone() };
    let report = replay(&setting, &["--from", "-1h", "--mode", "missing-only"]).await;
    assert_eq!((counts(&report), &report["published"]), ([2, 0, 0, 0], &json!(2)), "{report}");
    assert_eq!(specs(&case.objects("shop", 2).await), specs(&objects));
}
