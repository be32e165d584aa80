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

#[tokio::test]
async fn l11_two_pipelines_are_told_apart_over_the_real_topic() {
    let (case, stages) = Case::own("l11p", &["shop"], unlimited(), Shape { ingest: 1, work: 0, sink: 0 }).await;
    let critical = at_severity(&case.alert("Bad", "shop", "p"), "critical");
    case.post(&[critical.clone(), case.alert("Fair", "shop", "p")]).await;
    case.post(&[critical]).await;
    let mut edited = crate::harness::pipeline::of(&stages.scope, unlimited());
    edited["priority"] =
        json!({ "matrix": { "critical": { "*": "P3" }, "warning": { "*": "P2" }, "info": { "*": "P3" } } });
    let file = case.scope.path("edited.yaml");
    std::fs::write(&file, edited.to_string()).expect("the test's folder can be written");
    let (old, new) = (stages.ingest.pipeline.display().to_string(), file.display().to_string());
    let told = stages.ingest.succeed(&["policy", "diff", &old, &new, "--from", "-1h", "--output", "json"]).await;
    let report: Value = serde_json::from_str(&told).expect("one JSON document");
    assert_eq!(
        (&report["alerts"], &report["differ"], &report["fields"]),
        (&json!(3), &json!(2), &json!({ "priority": 2 }))
    );
    let change = &report["changes"][0];
    assert_eq!(
        (&change["alert"], &change["count"], &change["changes"]),
        (&json!("Bad"), &json!(2), &json!(["priority: P1 → P3"]))
    );
    let same = stages.ingest.succeed(&["policy", "diff", &old, &old, "--from", "-1h"]).await;
    assert!(same.starts_with("alerts: 3\ndiffer: 0\n"), "{same}");
}
