//! Drafts and objects in any number, made after one that the product has made itself.

use super::case::{Case, SOON};
use super::kafka::Record;
use super::wait::until;
use futures::{StreamExt, stream};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

/// The first draft of this test in `remediations`.
pub async fn draft(case: &Case) -> Value {
    let of_draft = |record: &Record| Some(record.json()).filter(|json| json["type"] == "draft");
    until(SOON, "the draft", async || case.about_us(&case.remediations).await.iter().find_map(of_draft)).await
}

/// So many drafts of this test in `remediations`.
pub async fn drafts(case: &Case, count: usize) -> Vec<Value> {
    until(SOON, "the drafts", async || {
        let records = case.about_us(&case.remediations).await;
        let all: Vec<Value> = records.iter().map(Record::json).filter(|json| json["type"] == "draft").collect();
        (all.len() == count).then_some(all)
    })
    .await
}

/// The object that a draft asks for.
pub fn object_of(draft: &Value) -> Value {
    json!({
        "apiVersion": "remediation.kubernaut.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": {
            "name": draft["incident"]["name"], "namespace": draft["incident"]["namespace"],
            "labels": draft["labels"], "annotations": draft["annotations"],
        },
        "spec": draft["spec"],
    })
}

/// What was made for one fingerprint, a draft or an object, made for another: `n` is in its fingerprint and its name.
pub fn like(original: &Value, n: usize, name: &str) -> Value {
    let fingerprint = ["/spec/signalFingerprint"].iter().find_map(|at| original.pointer(at)?.as_str());
    let fingerprint = fingerprint.expect("it has a fingerprint");
    let was = original.pointer("/incident/name").or_else(|| original.pointer("/metadata/name"));
    let was = was.and_then(Value::as_str).expect("it has a name");
    let other = format!("{n:08x}{}", &fingerprint[8..]);
    let text = original.to_string().replace(fingerprint, &other).replace(&fingerprint[..63], &other[..63]);
    serde_json::from_str(&text.replace(was, name)).expect("it was JSON and is")
}

/// Makes objects as a sink has made them, many at a time.
pub async fn make(case: &Case, word: &str, objects: impl Iterator<Item = Value>) {
    let requests = case.kube.requests(&case.namespace(word));
    let made = stream::iter(objects).map(async |object| {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        requests.create(&PostParams::default(), &object).await.expect("an object can be made")
    });
    made.buffer_unordered(16).for_each(async |_| ()).await;
}

/// An object as one would write it, without what only the API server writes.
pub fn bare(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": { "name": metadata["name"], "namespace": metadata["namespace"],
                      "labels": metadata["labels"], "annotations": metadata["annotations"] },
        "spec": object["spec"],
    })
}
