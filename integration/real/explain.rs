//! Why did this alert (not) become an object; and whom another policy would hit. L11 and L12.

use crate::harness::alerts::{at_severity, kin, resolved};
use crate::harness::case::{Case, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::replay::{everything, past_the_hold};
use serde_json::{Value, json};

/// What `explain` tells of something.
async fn story(stages: &Deployment, target: &str) -> Value {
    let told = stages.ingest.succeed(&["explain", "--output", "json", target]).await;
    serde_json::from_str(&told).expect("one JSON document")
}

/// How the records of a story ended.
fn outcomes(story: &Value) -> Vec<&str> {
    story["records"].as_array().into_iter().flatten().filter_map(|one| one["outcome"].as_str()).collect()
}

#[tokio::test]
async fn l12_the_story_of_an_alert_is_told_by_fingerprint_record_and_object() {
    let (case, stages) = Case::own("l12", &["shop"], unlimited(), Shape::ONE).await;
    let shop = case.namespace("shop");
    let single = [case.alert("Single", "shop", "p")];
    let first = case.post(&single).await["alerts"][0].clone();
    let opened = case.object("shop").await;
    case.post(&single).await;
    case.post(&[resolved(&single[0])]).await;
    case.counted("shop", 1, 2).await;
    case.finish("shop", &opened, "Completed").await;
    past_the_hold(&case).await;
    let before = everything(&case).await;

    let fingerprint = first["fingerprint"].as_str().expect("a fingerprint").to_owned();
    let place = format!("{}/{}/{}", case.alerts, first["partition"], first["offset"]);
    let object = format!("{shop}/{}", name(&opened));
    for target in [&fingerprint, &place, &object] {
        let told = story(&stages, target).await;
        assert_eq!(outcomes(&told), ["created", "duplicate", "resolved", "closed"], "{target}: {told}");
        assert_eq!((&told["fingerprint"], &told["records"][0]["record"]), (&json!(fingerprint), &json!(place)));
        let facts = ["object", "storm", "count", "priority", "environment", "stands"];
        let facts = facts.map(|key| told["incidents"][0][key].clone());
        let expected = [json!(object), json!(false), json!(2), json!("P2"), json!("unknown"), json!("Completed")];
        assert_eq!(facts, expected, "{told}");
        let rule = told["rules"].as_array().into_iter().flatten().find(|rule| rule["what"] == "storm.rules");
        let (rule, file) = (rule.expect("the rule that gave its group"), stages.ingest.pipeline.display().to_string());
        assert!(rule["said"].as_str().is_some_and(|said| said.contains(&format!("Single in {shop}"))), "{rule}");
        assert!(rule["place"].as_str().is_some_and(|place| place.starts_with(&format!("{file}:"))), "{rule}");
    }
    let text = stages.ingest.succeed(&["explain", &fingerprint]).await;
    assert!(text.contains(&object) && text.contains("duplicate"), "{text}");
    assert_eq!(everything(&case).await, before, "nothing is written");
}

#[tokio::test]
async fn l12_members_of_storms_unreadable_records_and_strangers_have_their_story_too() {
    let (case, stages) = Case::own("l12s", &["shop"], unlimited(), Shape::ONE).await;
    case.post(&kin("Storm", &case.namespace("shop"), 12)).await;
    case.counted("shop", 1, 12).await;
    let broken = case.kafka.produce(&case.alerts, &[(Some(b"key"), b"{ broken")]).await;
    case.settled().await;
    past_the_hold(&case).await;
    let member = case.records().await.into_iter().find(|one| one.json()["labels"]["pod"] == "pod-7").expect("a member");
    let told = story(&stages, &format!("{}/{}/{}", case.alerts, member.partition, member.offset)).await;
    assert_eq!((outcomes(&told), &told["incidents"][0]["members"]), (vec!["joined_storm"], &json!(12)), "{told}");
    let told = story(&stages, &format!("{}/{}/{}", case.alerts, broken[0].0, broken[0].1)).await;
    assert!(outcomes(&told)[0].starts_with("dead_lettered: malformed: "), "{told}");

    let nowhere = stages.ingest.run(&["explain", &"0".repeat(64), "--from", "-1h"]).await;
    let why = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert_eq!(nowhere.status.code(), Some(1), "{why}");
    assert!(why.contains("is in no record of") && why.contains(" to 20"), "{why}");
    assert_eq!(stages.ingest.run(&["explain", "nonsense"]).await.status.code(), Some(64));
}

/// Another priority, environment, severity and group, each for another alert.
fn edited() -> Value {
    json!({
        "priority": { "matrix": { "critical": { "production": null, "staging": null, "development": null, "*": "P3" } } },
        "environment": { "patterns": [{ "namespace": "lab-*", "environment": "blue" }] },
        "severity": { "aliases": { "Sev3": "info" } },
        "storm": { "rules": [{ "name": "kin", "match": "alert.name == 'Kin'", "group_by": ["name"] },
                             { "name": "same-alert", "group_by": ["name", "namespace"] }] },
    })
}

/// A kind of change as it is told, but for its example.
fn change(alert: &str, namespace: &str, count: u32, changes: &[&str]) -> Value {
    json!({ "alert": alert, "namespace": namespace, "count": count, "changes": changes, "example": null })
}

#[tokio::test]
async fn l11_two_pipelines_are_told_apart_over_the_real_topic() {
    let shape = Shape { ingest: 1, work: 0, sink: 0 };
    let (case, stages) = Case::own("l11p", &["shop", "lab"], unlimited(), shape).await;
    let (shop, lab) = (case.namespace("shop"), case.namespace("lab"));
    let critical = at_severity(&case.alert("Bad", "shop", "p"), "critical");
    let elsewhere = at_severity(&case.alert("Elsewhere", "lab", "p"), "info");
    let odd = at_severity(&case.alert("Odd", "shop", "p"), "Sev3");
    case.post(&[critical.clone(), case.alert("Fair", "shop", "p"), case.alert("Kin", "shop", "p")]).await;
    case.post(&[critical, elsewhere, odd]).await;
    let file = case.scope.path("edited.yaml");
    let diff = async |overlay: Value, form: &[&str]| {
        let mut edited = crate::harness::pipeline::of(&stages.scope, unlimited());
        crate::harness::pipeline::merge(&mut edited, overlay);
        std::fs::write(&file, edited.to_string()).expect("the test's folder can be written");
        let (old, new) = (stages.ingest.pipeline.display().to_string(), file.display().to_string());
        let asked = [&["policy", "diff", old.as_str(), new.as_str(), "--from", "-1h"], form].concat();
        stages.ingest.succeed(&asked).await
    };
    let told = diff(edited(), &["--output", "json"]).await;
    let report: Value = serde_json::from_str(&told).expect("one JSON document");
    let fields = json!({ "priority": 3, "environment": 1, "severity": 1, "group": 1 });
    assert_eq!((&report["alerts"], &report["differ"], &report["fields"]), (&json!(6), &json!(5), &fields));
    let mut changes = report["changes"].as_array().cloned().unwrap_or_default();
    for change in &mut changes {
        let example = change["example"].take();
        assert!(example.as_str().is_some_and(|at| at.starts_with(&format!("{}/", case.alerts))), "{example}");
    }
    let group = format!("group: same-alert (Kin in {shop}) → kin (Kin)");
    let expected = [
        change("Bad", &shop, 2, &["priority: P1 → P3"]),
        change("Elsewhere", &lab, 1, &["environment: unknown → blue"]),
        change("Kin", &shop, 1, &[&group]),
        change("Odd", &shop, 1, &["severity: Sev3 → info", "priority: P2 → P3"]),
    ];
    assert_eq!(changes, expected);

    let told = diff(json!({ "identity": { "fields": ["name", "namespace", "kind"] } }), &[]).await;
    assert!(told.starts_with("alerts: 6\ndiffer: 6\n  fingerprint: 6\n\n2 × Bad in "), "{told}");
    assert!(told.contains(&format!("\n1 × Fair in {shop}: fingerprint\n  such as {}/", case.alerts)), "{told}");
    let same = diff(json!({}), &[]).await;
    assert_eq!(same, "alerts: 6\ndiffer: 0\n");
}
