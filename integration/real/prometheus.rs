//! Group A on real servers: what Alertmanager posts, as records and as objects.

use crate::harness::alerts::{resolved, strangers, webhook, with};
use crate::harness::case::{Case, PROMETHEUS, count, name, rfc3339, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::kafka::Record;
use crate::harness::servers::{ApiPlan, OwnApi};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The record at a place that an answer names.
fn at<'a>(records: &'a [Record], placed: &Value) -> &'a Record {
    records
        .iter()
        .find(|r| placed["partition"] == json!(r.partition) && placed["offset"] == json!(r.offset))
        .expect("a record at each place that an answer names")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[tokio::test]
async fn a01_one_firing_alert_is_one_object() {
    let case = Case::shared("a01", &["shop"]).await;
    let watch = case.record("shop").await;
    let answer = case.post(&[case.alert("HighMemory", "shop", "payment-1")]).await;
    assert_eq!(answer["rejected"], json!([]));
    let object = case.object("shop").await;
    let (spec, fingerprint) = (&object["spec"], &answer["alerts"][0]["fingerprint"]);
    assert_eq!(spec["signalFingerprint"], *fingerprint);
    let hex = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
    assert!(text(fingerprint).len() == 64 && text(fingerprint).chars().all(hex), "{fingerprint}");
    let target = json!({ "kind": "Pod", "name": "payment-1", "namespace": case.namespace("shop") });
    assert_eq!(spec["targetResource"], target);
    for (field, value) in [("signalName", "HighMemory"), ("signalSource", "prometheus"), ("severity", "warning")] {
        assert_eq!(spec[field], value, "spec.{field}");
    }
    assert_eq!(object["metadata"]["namespace"], json!(case.namespace("shop")));
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
}

#[tokio::test]
async fn a02_a_webhook_of_ten_is_ten_records_and_ten_objects() {
    let case = Case::shared("a02", &["shop"]).await;
    case.post(&strangers("Alert", &case.namespace("shop"), 10)).await;
    assert_eq!(case.records().await.len(), 10);
    let objects = case.objects("shop", 10).await;
    let names: BTreeSet<&str> = objects.iter().map(|object| text(&object["spec"]["signalName"])).collect();
    assert_eq!(names.len(), 10);
    case.settled().await;
    assert_eq!(case.objects("shop", 10).await.len(), 10);
}

#[tokio::test]
async fn a03_a_record_is_the_alerts_own_bytes_under_its_fingerprint_with_all_headers() {
    let case = Case::shared("a03", &["shop"]).await;
    let shop = case.namespace("shop");
    let raw = [
        format!(
            r#"{{ "labels" : {{"pod":"p\u0041" ,  "alertname":"Blanks","namespace":"{shop}"}}, "status":"firing" }}"#
        ),
        format!("{{\"status\":\"resolved\",\n\t\"labels\":{{\"namespace\":\"{shop}\",\"alertname\":\"Order\\/é\"}}}}"),
    ];
    let body = format!(r#"{{"receiver":"team-a","groupKey":"{{}}:{{x=\"y\"}}","alerts":[{},  {}]}}"#, raw[0], raw[1]);
    let before = jiff::Timestamp::now();
    let answer = case.send(0, PROMETHEUS, &body).await;
    let records = case.records().await;
    assert_eq!(records.len(), 2);
    for (index, kind) in ["firing", "resolved"].into_iter().enumerate() {
        let placed = &answer["alerts"][index];
        let record = at(&records, placed);
        assert_eq!(record.value.as_deref(), Some(raw[index].as_bytes()));
        assert_eq!(record.key.as_deref(), Some(text(&placed["fingerprint"]).as_bytes()));
        let header = |name: &str| record.header(name).unwrap_or_else(|| panic!("header {name} is missing"));
        assert_eq!(header("breakwater-schema"), "1");
        assert_eq!(header("breakwater-source"), "prometheus");
        assert_eq!(header("breakwater-kind"), kind);
        assert_eq!(header("breakwater-group-key"), r#"{}:{x="y"}"#);
        assert_eq!(header("breakwater-receiver"), "team-a");
        let received: jiff::Timestamp = header("breakwater-received-at").parse().expect("RFC 3339");
        assert!((before - jiff::Span::new().seconds(1)..=jiff::Timestamp::now()).contains(&received), "{received}");
        assert_eq!(header("traceparent").len(), 55, "{}", header("traceparent"));
    }
}

#[tokio::test]
async fn a13_three_new_and_two_resolved_in_one_webhook() {
    let case = Case::shared("a13", &["shop"]).await;
    let old = strangers("Old", &case.namespace("shop"), 2);
    case.post(&old).await;
    case.counted("shop", 2, 1).await;
    let mut all = strangers("New", &case.namespace("shop"), 3);
    all.insert(1, resolved(&old[0]));
    all.push(resolved(&old[1]));
    let answer = case.post(&all).await;
    let records = case.records().await;
    let objects = case
        .until("shop", "3 new objects, and 2 resolved ones", |seen| {
            let is_resolved = |object: &&Value| object["status"]["resolvedAt"].is_string();
            seen.len() == 5 && seen.iter().filter(is_resolved).count() == 2 && seen.iter().all(|o| count(o) == 1)
        })
        .await;
    for object in objects {
        let position = |n: usize| at(&records, &answer["alerts"][n]).timestamp;
        let expected = match text(&object["spec"]["signalName"]) {
            "Old0" => json!(rfc3339(position(1))),
            "Old1" => json!(rfc3339(position(4))),
            _ => Value::Null,
        };
        assert_eq!(object["status"]["resolvedAt"], expected, "{}", object["spec"]["signalName"]);
    }
    case.settled().await;
    case.counted("shop", 5, 1).await;
}

#[tokio::test]
async fn a14_bad_alerts_are_set_aside_and_their_neighbours_are_objects() {
    let case = Case::shared("a14", &["shop"]).await;
    let good = strangers("Good", &case.namespace("shop"), 2);
    let nameless = with(good[0].clone(), json!({ "labels": { "alertname": null } })).to_string();
    let nonsense = format!("\"nonsense {}\"", case.scope.name);
    let body = format!(r#"{{"alerts":[{}, {nameless},{},{nonsense}]}}"#, good[0], good[1]);
    let answer = case.send(0, PROMETHEUS, &body).await;
    assert_eq!(answer["accepted"], 2);
    let rejected = answer["rejected"].as_array().expect("a list");
    let indices: Vec<&Value> = rejected.iter().map(|one| &one["index"]).collect();
    assert_eq!(indices, [&json!(1), &json!(3)]);
    assert!(text(&rejected[0]["reason"]).contains("alertname"), "{answer}");
    let letters = case.about_us(&case.dead_letters).await;
    assert_eq!(letters.len(), 2);
    for (bytes, one) in [nameless, nonsense].iter().zip(rejected) {
        let letter = letters.iter().find(|letter| letter.value.as_deref() == Some(bytes.as_bytes()));
        let letter = letter.unwrap_or_else(|| panic!("no dead letter with exactly {bytes}"));
        let told = letter.header("breakwater-dead-letter-detail");
        assert_eq!(told.as_deref(), one["reason"].as_str());
    }
    case.objects("shop", 2).await;
    case.settled().await;
    case.objects("shop", 2).await;
    assert_eq!(case.records().await.len(), 2);
}

#[tokio::test]
async fn a16_both_paths_answer_and_record_alike() {
    let case = Case::shared("a16", &["shop"]).await;
    let body = webhook(&[case.alert("Both", "shop", "p")]).to_string();
    let mut answers = Vec::new();
    for path in [PROMETHEUS, "/webhook/prometheus"] {
        answers.push(case.send(0, path, &body).await);
    }
    let records = case.records().await;
    let [one, two] = [0, 1].map(|n| at(&records, &answers[n]["alerts"][0]).clone());
    assert!(one.offset < two.offset);
    assert_eq!((&one.key, &one.value, one.partition), (&two.key, &two.value, two.partition));
    let of_request = ["breakwater-received-at", "traceparent"];
    let lasting = |record: &Record| {
        let mut headers = record.headers.clone();
        headers.retain(|(name, _)| !of_request.contains(&name.as_str()));
        headers
    };
    assert_eq!(lasting(&one), lasting(&two));
    assert_eq!(one.headers.len(), two.headers.len());
    for answer in &mut answers {
        answer["alerts"][0]["offset"].take();
    }
    assert_eq!(answers[0], answers[1]);
    case.counted("shop", 1, 2).await;
}

#[tokio::test]
async fn a20_the_same_webhook_at_two_doors_is_one_object_counted_twice() {
    let case = Case::shared("a20", &["shop"]).await;
    let watch = case.record("shop").await;
    let same = case.alert("Twice", "shop", "p");
    case.post_each(&[same.clone(), same]).await;
    let records = case.records().await;
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0].key, records[0].partition), (&records[1].key, records[1].partition));
    let object = case.counted("shop", 1, 2).await.remove(0);
    case.settled().await;
    assert_eq!(watch.names(), BTreeSet::from([name(&object).to_owned()]));
}

#[tokio::test]
async fn a21_large_and_small_at_once_are_all_kept_byte_for_byte() {
    // 30 MB of objects, which every sink that starts afterwards would have to list
    let own = OwnApi::start(&ApiPlan::default()).await;
    let (case, mut stages) = Case::on_own_api("a21", &own, unlimited()).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    let sizes = [1, 50, 200].map(|kilobytes| kilobytes * 1024);
    let alerts: Vec<Value> = strangers("Sized", &case.namespace("shop"), 60)
        .into_iter()
        .zip(sizes.iter().cycle())
        .map(|(alert, size)| with(alert, json!({ "annotations": { "text": "x\u{e4}\"".repeat(size / 5) } })))
        .collect();
    case.post_each(&alerts).await;
    let expected: BTreeSet<String> = alerts.iter().map(Value::to_string).collect();
    let objects = case.objects("shop", 60).await;
    let payloads: BTreeSet<String> =
        objects.iter().map(|object| text(&object["spec"]["originalPayload"]).to_owned()).collect();
    assert!(payloads == expected, "each payload is that of its alert");
}
