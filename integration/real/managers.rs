//! Groups H and I on real servers: fields of other managers are never taken.

use crate::harness::Shared;
use crate::harness::alerts::strangers;
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, SOON, name};
use crate::harness::wait::until;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// Repeats these alerts so often, each told before the next; the objects then.
async fn repeats(case: &Case, alerts: &[Value], from: u64, to: u64) -> Vec<Value> {
    let mut last = Vec::new();
    for times in from..=to {
        case.post(alerts).await;
        last = case.counted("shop", alerts.len(), times).await;
    }
    last
}

/// What another controller writes on an object.
async fn another(case: &Case, object: &Value, overlay: &Value, subresource: bool) {
    let requests = case.kube.requests(&case.namespace("shop"));
    let how = PatchParams { field_manager: Some("remediator".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(overlay);
    let done = match subresource {
        true => requests.patch_status(name(object), &how, &patch).await,
        false => requests.patch(name(object), &how, &patch).await,
    };
    done.expect("another manager may write");
}

fn manages(object: &Value, manager: &str, field: &str) -> bool {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().any(|entry| entry["manager"] == manager && entry["fieldsV1"].to_string().contains(field))
}

#[tokio::test]
async fn i25_a_hundred_applies_change_nothing_that_is_anothers() {
    let case = Case::quick("i25", &["shop"]).await;
    let alerts = strangers("Shared", &case.namespace("shop"), 20);
    let condition = json!({ "type": "Analyzed", "status": "True", "reason": "Done", "message": "by another" });
    let status = json!({ "status": { "overallPhase": "Executing", "conditions": [condition] } });
    for object in repeats(&case, &alerts, 1, 1).await {
        another(&case, &object, &status, true).await;
        another(&case, &object, &json!({ "metadata": { "labels": { "team": "platform" } } }), false).await;
    }
    for last in repeats(&case, &alerts, 2, 6).await {
        assert_eq!(last["status"]["overallPhase"], "Executing");
        assert_eq!(last["status"]["conditions"], json!([condition]));
        assert_eq!(last["metadata"]["labels"]["team"], "platform");
        for (manager, field, is) in [
            ("remediator", "f:overallPhase", true),
            ("remediator", "f:conditions", true),
            ("remediator", "f:team", true),
            ("remediator", "f:deduplication", false),
            ("breakwater", "f:deduplication", true),
            ("breakwater", "f:overallPhase", false),
            ("breakwater", "f:conditions", false),
            ("breakwater", "f:team", false),
        ] {
            assert_eq!(manages(&last, manager, field), is, "{manager} and {field}");
        }
    }
    let patches = || {
        let all = asked_by(&Shared::get().audit, "breakwater-sink", &case.namespace("shop"));
        all.iter().filter(|asked| asked.verb == "patch").map(|asked| asked.code).collect::<Vec<_>>()
    };
    until(SOON, "a hundred applies after the first", async || (patches().len() >= 120).then_some(())).await;
    // our own version may be behind the other manager's write: then it is read again, and never forced
    assert!(patches().iter().all(|code| [200, 409].contains(code)));
    case.settled().await;
    assert!(case.about_us(&case.dead_letters).await.is_empty());
}

#[tokio::test]
async fn h09_fields_that_our_types_do_not_know_are_still_there_after_twenty_updates() {
    let case = Case::quick("h09", &["shop"]).await;
    let alert = [case.alert("Unknown", "shop", "p")];
    let first = repeats(&case, &alert, 1, 1).await.remove(0);
    let foreign = json!({ "analysis": { "steps": [1, 2, 3], "by": "another" }, "retries": 3,
                          "conditions": [{ "type": "Ready", "status": "False" }] });
    another(&case, &first, &json!({ "status": foreign }), true).await;
    let last = repeats(&case, &alert, 2, 21).await.remove(0);
    for field in ["analysis", "retries", "conditions"] {
        assert_eq!(last["status"][field], foreign[field], "status.{field}");
    }
}
