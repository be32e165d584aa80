//! Alerts from elsewhere, each at its own time: L08.

use super::*;
use crate::harness::alerts::{alert, event, kin, webhook, with};
use crate::harness::case::{count, unlimited};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// `replay` with these bytes on its standard input.
async fn piped(setting: &Setting, flags: &[&str], input: Vec<u8>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
    environment(&mut command, setting).args(["replay", "--output", "json", "--input"]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().expect("our binary starts");
        child.stdin.take().expect("it was asked for").write_all(&input).expect("it reads");
        child.wait_with_output().expect("it ends")
    };
    tokio::task::spawn_blocking(run).await.expect("it is no panic")
}

/// Eight lines, the seventh of which is broken: five alerts and a whole webhook, of which one alert repeats the first.
fn lines(shop: &str) -> Vec<u8> {
    let line = |n: usize| alert(&format!("Filed{n}"), shop, "p").to_string();
    let mut lines: Vec<String> = (0..5).map(line).collect();
    let later = with(alert("Filed0", shop, "p"), json!({ "startsAt": "2026-11-21T06:59:12Z" }));
    lines.push(webhook(&[later, alert("Filed5", shop, "p")]).to_string());
    lines.push("{ broken".to_owned());
    lines.push(line(6));
    lines.join("\n").into_bytes()
}

/// What `kubectl get events -o json` prints: two warnings, one of them seen twice, and an event that tells of no trouble.
fn events(shop: &str) -> Value {
    let again = with(event("BackOff", shop, "pod-1"), json!({ "lastTimestamp": "2026-11-21T07:00:12Z" }));
    let normal = with(event("Pulled", shop, "pod-1"), json!({ "type": "Normal" }));
    let items = [event("BackOff", shop, "pod-1"), event("OOMKilling", shop, "pod-2"), normal, again];
    json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": { "resourceVersion": "" } })
}

#[tokio::test]
async fn l08_lines_webhooks_and_events_from_files_and_a_pipe_are_decided_at_their_own_times() {
    let (case, stages) = Case::own("l08", &["shop"], unlimited(), SINK).await;
    let shop = case.namespace("shop");
    let [lined, hooked, listed] = ["lines.json", "webhook.json", "events.json"].map(|file| case.scope.path(file));
    std::fs::write(&lined, lines(&shop)).expect("the test's folder can be written");
    // as Alertmanager's own debug output is kept: over many lines
    let hook = serde_json::to_string_pretty(&webhook(&kin("Stormy", &shop, 12))).expect("JSON");
    std::fs::write(&hooked, &hook).expect("the test's folder can be written");
    std::fs::write(&listed, format!("{:#}", events(&shop))).expect("the test's folder can be written");
    let [lined, hooked, listed] = [lined, hooked, listed].map(|file| file.display().to_string());
    let files = [lined.as_str(), &hooked, &listed];

    let told = stages.ingest.run(&[&["replay", "--output", "json", "--input"], &files[..]].concat()).await;
    let why = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{why}");
    assert!(why.contains("lines.json:7: no JSON"), "{why}");
    let report: Value = serde_json::from_slice(&told.stdout).expect("one document");
    assert_eq!((counts(&report), &report["unreadable"]), ([10, 0, 0, 0], &json!(1)), "{report}");
    assert_eq!(report["outcomes"], json!({ "created": 9, "duplicate": 2, "joined_storm": 12 }), "{report}");
    assert!(report["notes"].to_string().contains("1 event is of type Normal"), "{report}");
    case.objects("shop", 0).await;
    assert_eq!(case.kafka.count(&case.remediations).await, 0, "looking publishes nothing");

    one_by_one_through_a_pipe(&stages.ingest, &shop, hook).await;
    let back = case.until("shop", "all to be there, with their counts", |seen| {
        seen.len() == 10 && seen.iter().map(count).sum::<u64>() == 23
    });
    let back = back.await;
    let first =
        |object: &Value| object["status"]["deduplication"]["firstSeenAt"].as_str().unwrap_or_default().to_owned();
    let times: BTreeSet<String> = back.iter().map(first).collect();
    let expected = ["2026-11-21T06:58:12.419Z", "2026-11-21T06:59:12.000Z"].map(str::to_owned);
    assert_eq!(times, expected.into(), "their own times");
    let again = [&["--mode", "missing-only", "--input"], &files[..]].concat();
    let report = replay(&stages.ingest, &again).await;
    assert_eq!(found(&report), ([0, 10, 0, 0], 0), "{report}");
    let nowhere = stages.ingest.run(&["replay", "--input", "no-such-file.json"]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no-such-file.json cannot be read"));
    more_than_is_held(&case, &stages.ingest, &lined).await;
}

/// Files are held whole, so what they weigh has an end: the last byte is one too many.
async fn more_than_is_held(case: &Case, setting: &Setting, lined: &str) {
    let large = case.scope.path("large.json").display().to_string();
    let file = std::fs::File::create(&large).expect("the test's folder can be written");
    file.set_len((256 << 20) + 1 - std::fs::metadata(lined).expect("it is there").len())
        .expect("a file may have a hole");
    let told = setting.run(&["replay", "--input", lined, &large]).await;
    let why = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(64), "{why}");
    assert!(
        why.contains("large.json it is more than 256 MiB") && why.contains("in parts, the earliest first"),
        "{why}"
    );
}

/// The same by a pipe, one after the other, and published.
async fn one_by_one_through_a_pipe(setting: &Setting, shop: &str, hook: String) {
    let missing = ["-", "--mode", "missing-only", "--rate", "100/s"];
    for (input, found_in_it) in [(lines(shop), 7), (hook.into_bytes(), 1), (events(shop).to_string().into_bytes(), 2)] {
        let told = piped(setting, &missing, input).await;
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let report: Value = serde_json::from_slice(&told.stdout).expect("one document");
        assert_eq!(found(&report), ([found_in_it, 0, 0, 0], found_in_it), "{report}");
        if found_in_it == 7 {
            assert!(String::from_utf8_lossy(&told.stderr).contains("standard input:7: no JSON"));
        }
    }
}
