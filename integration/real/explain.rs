//! Why did this alert (not) become an object; and whom another policy would hit. L11 and L12.

use crate::harness::alerts::{at_severity, kin, resolved};
use crate::harness::case::{Case, SOON, count, name, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line, Proxy};
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

/// Judges that die behind a draft and behind its mark, and a way out that is refused one create.
async fn troubled() -> (Case, Deployment, Proxy) {
    let (case, mut stages) = Case::own("l12s", &["shop", "bad"], unlimited(), Shape { ingest: 1, ..Shape::NONE }).await;
    let patient = stages.work.clone();
    let fault = Fault::status(422, "Invalid");
    let proxy = stages.through_proxy().await;
    proxy.script(Line { method: "POST", path: case.namespace("bad"), times: 1, fault });
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&[case.alert("Twice", "shop", "p")]).await;
    stages.notice_death_quickly();
    for point in ["work-published:1", "work-marked:1"] {
        let mut doomed = Product::start("work", &stages.work.clone().with("BREAKWATER_CRASH_AT", point)).await;
        doomed.process.exit(SOON).await;
    }
    stages.work = patient; // from here on each record is read once
    stages.add(Shape { work: 1, ..Shape::NONE }).await;
    let broken = [(Some(&b"key"[..]), &b"{ broken"[..])];
    case.kafka.produce(&case.alerts, &broken).await;
    let alone = [case.alert("Refused", "bad", "p"), case.alert("Homeless", "nowhere", "p")];
    case.post(&[&alone[..], &kin("Storm", &case.namespace("shop"), 12)].concat()).await;
    case.until("shop", "one that was drafted twice, and a storm", |seen| {
        let counts: std::collections::BTreeSet<u64> = seen.iter().map(count).collect();
        seen.len() == 2 && counts == [1, 12].into()
    })
    .await;
    case.settled().await;
    (case, stages, proxy)
}

#[tokio::test]
async fn l12_members_of_storms_redeliveries_refusals_unreadable_records_and_strangers_have_their_story_too() {
    let (case, stages, _proxy) = troubled().await;
    past_the_hold(&case).await;
    let before = everything(&case).await;
    let records = case.kafka.read(&case.alerts).await;
    let of = |part: &str| {
        let holds = |value: &Vec<u8>| String::from_utf8_lossy(value).contains(part);
        let one = records.iter().find(|one| one.value.as_ref().is_some_and(holds)).expect("its record");
        format!("{}/{}/{}", case.alerts, one.partition, one.offset)
    };
    let told = story(&stages, &of("pod-7")).await;
    assert_eq!((outcomes(&told), &told["incidents"][0]["members"]), (vec!["joined_storm"], &json!(12)), "{told}");
    let told = story(&stages, &of("{ broken")).await;
    assert!(outcomes(&told)[0].starts_with("dead_lettered: malformed: "), "{told}");
    // read three times: drafted, drafted again and marked, and then known. The log has one record, and its story is what
    // it was
    let told = story(&stages, &of("Twice")).await;
    let (all, positions) = (&told["incidents"], drafts_of(&case, "Twice").await);
    assert_eq!((outcomes(&told), all.as_array().map(Vec::len)), (vec!["created"], Some(1)), "{told}");
    assert_eq!((positions.len(), &all[0]["drafts"]), (2, &json!(positions)), "{told}");
    assert_eq!(all[0]["stands"], "live");
    let text = stages.ingest.succeed(&["explain", &of("Twice")]).await;
    assert!(text.contains("  drafted 2 times, as ") && text.contains(": live\n"), "{text}");
    // refused: no object, and why
    let told = story(&stages, &of("Refused")).await;
    let incident = &told["incidents"][0];
    assert_eq!(
        (incident["drafts"].as_array().map(Vec::len), &incident["stands"]),
        (Some(1), &json!("absent")),
        "{told}"
    );
    let homeless = &story(&stages, &of("Homeless")).await["incidents"][0];
    assert_eq!(homeless["stands"], "live", "{homeless}");
    assert!(homeless["object"].as_str().is_some_and(|object| object.starts_with(&format!("{}/", case.fallback))));
    let refusal = incident["refusals"][0].as_str().expect("one refusal");
    assert!(refusal.starts_with(&format!("{}/0/", case.dead_letters)) && refusal.contains(": refused: "), "{told}");
    assert_eq!(everything(&case).await, before, "nothing is written");

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

/// Where the drafts of an alert lie.
async fn drafts_of(case: &Case, alert: &str) -> Vec<String> {
    let mut records = case.kafka.read(&case.remediations).await;
    records.retain(|one| one.json()["type"] == "draft" && one.json()["spec"]["signalName"] == alert);
    records.iter().map(|one| format!("{}/{}/{}", case.remediations, one.partition, one.offset)).collect()
}
