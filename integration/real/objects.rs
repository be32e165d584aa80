//! Group H on real servers: the object as the API server keeps it and as a person sees it.

use crate::harness::alerts::{alert, kin, strangers, with};
use crate::harness::case::{Case, SOON, name, told};
use crate::harness::kube::manifests;
use crate::harness::wait::until_ok;
use crate::harness::{Shared, repository, told as variable};
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::process::Command;

/// Every field of a spec that design names, with the type that it has; those of a storm only are marked.
const FIELDS: [(&str, &str, bool); 23] = [
    ("signalFingerprint", "string", false),
    ("signalName", "string", false),
    ("signalType", "string", false),
    ("signalSource", "string", false),
    ("severity", "string", false),
    ("environment", "string", false),
    ("priority", "string", false),
    ("targetType", "string", false),
    ("targetResource", "object", false),
    ("firingTime", "string", false),
    ("receivedTime", "string", false),
    ("signalLabels", "object", false),
    ("signalAnnotations", "object", false),
    ("originalPayload", "string", false),
    ("providerData", "string", false),
    ("isStorm", "boolean", false),
    ("stormType", "string", true),
    ("stormWindow", "string", true),
    ("stormAlertCount", "number", true),
    ("affectedResources", "array", true),
    ("stormAggregation", "object", true),
    ("deduplication", "object", false),
    ("deduplication/occurrenceCount", "number", false),
];

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "absent",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kubectl(args: &[&str]) -> String {
    let mut command = Command::new(variable("BREAKWATER_TEST_KUBECTL"));
    command.env("KUBECONFIG", Shared::get().kubeconfig).args(args);
    let output = command.output().expect("there is a kubectl");
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kubectl prints text")
}

/// A storm and a single, as they came to be.
async fn both(case: &Case) -> [Value; 2] {
    let shop = case.namespace("shop");
    case.post(&[&kin("Storm", &shop, 12)[..], &[alert("Single", &shop, "p")]].concat()).await;
    let all = case.until("shop", "a storm and a single", |seen| {
        seen.len() == 2 && seen.iter().all(|object| object["status"]["deduplication"].is_object())
    });
    let all = all.await;
    [true, false]
        .map(|storm| all.iter().find(|object| object["spec"]["isStorm"] == storm).cloned().expect("one of each"))
}

#[tokio::test]
async fn h01_the_crd_is_structural_and_an_object_has_every_field_typed() {
    let case = Case::shared("h01", &["shop"]).await;
    let [storm, single] = both(&case).await;
    for (field, kind, of_storm) in FIELDS {
        let at = |object: &Value| kind_of(object["spec"].pointer(&format!("/{field}")).unwrap_or(&Value::Null));
        assert_eq!(at(&storm), kind, "spec.{field} of a storm");
        assert_eq!(at(&single), if of_storm { "absent" } else { kind }, "spec.{field} of a single");
    }
    let text = kubectl(&["get", "crd", "remediationrequests.remediation.kubernaut.io", "-o", "json"]);
    let crd: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    let conditions = crd["status"]["conditions"].as_array().expect("a CRD has conditions");
    let is = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
    assert!(is("Established") && is("NamesAccepted") && !is("NonStructuralSchema"), "{conditions:?}");
    let applied = manifests(&repository("schemas/crd.yaml")).remove(0);
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (field, described) in applied.pointer(schema).and_then(Value::as_object).expect("a schema") {
        assert!(described["description"].is_string(), "{field} has no description");
    }
    for (path, fields) in [
        ("rr.spec", FIELDS.iter().map(|(field, ..)| *field).filter(|field| !field.contains('/')).collect::<Vec<_>>()),
        ("rr.status", vec!["deduplication", "stormAggregation", "resolvedAt", "supersededBy", "overallPhase"]),
    ] {
        let explained = kubectl(&["explain", path]);
        for field in fields {
            assert!(explained.contains(&format!("{field}\t<")), "kubectl explain {path} tells nothing of {field}");
        }
    }
}

/// Something else of the same type that the schema allows.
fn changed(field: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if field == "signalFingerprint" => json!("f".repeat(64)),
        Value::String(text) => json!(format!("{text}x")),
        Value::Bool(bool) => json!(!bool),
        Value::Number(number) => json!(number.as_u64().unwrap_or(0) + 1),
        Value::Array(all) => Value::Array(all.iter().skip(1).cloned().collect()),
        Value::Object(inner) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), changed(key, value));
            let first: Map<String, Value> = inner.iter().take(1).map(entry).collect();
            Value::Object(first)
        }
        Value::Null => Value::Null,
    }
}

#[tokio::test]
async fn h02_a_spec_never_changes() {
    let case = Case::shared("h02", &["shop"]).await;
    let [storm, single] = both(&case).await;
    let requests = case.kube.requests(&case.namespace("shop"));
    let refused = async |object: &Value, field: &str, value: Value, with: &[&str]| {
        let patch = Patch::Merge(json!({ "spec": { field: value } }));
        let answer = requests.patch(name(object), &PatchParams::default(), &patch).await;
        let Err(kube::Error::Api(status)) = answer else { panic!("spec.{field} could be changed") };
        let says = with.iter().any(|text| status.message.contains(text));
        assert!(status.code == 422 && says, "spec.{field}: {} {}", status.code, status.message);
    };
    const OURS: &str = "a RemediationRequest's spec never changes";
    for (field, value) in storm["spec"].as_object().expect("a spec") {
        refused(&storm, field, changed(field, value), &[OURS]).await;
        refused(&storm, field, Value::Null, &[OURS, "Required value"]).await;
        if single["spec"][field] == Value::Null {
            refused(&single, field, value.clone(), &[OURS]).await;
        }
    }
    case.kube.phase(&case.namespace("shop"), name(&single), "Pending").await;
}

#[tokio::test]
async fn h04_any_alertname_makes_a_valid_name_and_the_cut_hides_no_difference() {
    let case = Case::shared("h04", &["shop"]).await;
    let long = "L".repeat(299);
    let names = [&format!("{long}a"), &format!("{long}b"), "🔥🔥", "---", "12345", "UPPERCASE", "a.b_c:d"];
    let alerts: Vec<Value> = names.iter().map(|name| case.alert(name, "shop", "p")).collect();
    case.post(&alerts).await;
    let objects = case.objects("shop", names.len()).await;
    let dns = |text: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        text.len() <= 63 && text.chars().all(letter) && !text.starts_with('-') && !text.ends_with('-')
    };
    assert!(objects.iter().all(|object| dns(name(object))), "{}", told(&objects));
    let signals: BTreeSet<&str> = objects.iter().filter_map(|object| object["spec"]["signalName"].as_str()).collect();
    assert_eq!(signals, names.iter().map(AsRef::as_ref).collect());
    assert_eq!(objects.iter().map(name).collect::<BTreeSet<_>>().len(), names.len());
}

#[tokio::test]
async fn h05_labels_are_cut_to_what_is_valid_and_absent_where_nothing_is_left() {
    let case = Case::shared("h05", &["shop"]).await;
    let severity = format!("very/{}", "s".repeat(80));
    let odd = with(case.alert("Odd", "shop", "p"), json!({ "labels": { "severity": severity } }));
    let none = with(case.alert("None", "shop", "p"), json!({ "labels": { "severity": "///" } }));
    case.post(&[&kin("Storm", &case.namespace("shop"), 12)[..], &[odd, none]].concat()).await;
    let objects = case.objects("shop", 3).await;
    let of = |alert: &str| objects.iter().find(|object| object["spec"]["signalName"] == alert).expect("it is there");
    let label = |alert: &str, key: &str| of(alert)["metadata"]["labels"][format!("breakwater.io/{key}")].clone();
    for alert in ["Odd", "None", "Storm"] {
        let whole = of(alert)["spec"]["signalFingerprint"].as_str().expect("64 hex");
        assert_eq!(label(alert, "fingerprint"), json!(whole[..63]));
        assert_eq!(label(alert, "environment"), of(alert)["spec"]["environment"]);
        assert_eq!(label(alert, "priority"), of(alert)["spec"]["priority"]);
        assert_eq!(label(alert, "signal-type"), "prometheus-alert");
    }
    assert_eq!(label("Odd", "severity"), json!(format!("very_{}", "s".repeat(58))));
    assert_eq!(of("Odd")["spec"]["severity"], json!(severity));
    assert_eq!(label("None", "severity"), Value::Null);
    assert_eq!((label("Storm", "storm"), label("Odd", "storm")), (json!("true"), Value::Null));
}

#[tokio::test]
async fn h06_annotations_beyond_the_limit_are_cut_on_the_object_and_whole_in_its_spec() {
    let case = Case::shared("h06", &["shop"]).await;
    let texts = json!({ "one": "ä".repeat(70_000), "two": "ö".repeat(70_000), "three": "short" });
    case.post(&[with(case.alert("Wordy", "shop", "p"), json!({ "annotations": texts }))]).await;
    let object = case.object("shop").await;
    let kept = object["metadata"]["annotations"].as_object().expect("annotations").clone();
    let size: usize = kept.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    assert!(size <= 256 * 1024, "{size} bytes");
    let cut: Vec<&str> =
        ["one", "three", "two"].into_iter().filter(|key| kept.get(*key) != Some(&texts[key])).collect();
    assert!(!cut.is_empty());
    for key in cut {
        let text = kept.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("{key} is gone without a mark"));
        let (head, _) = text.split_once('…').unwrap_or_else(|| panic!("{key} is not marked as cut"));
        assert!(text.ends_with("… [cut]") && texts[key].as_str().expect("text").starts_with(head));
    }
    assert_eq!(object["spec"]["signalAnnotations"]["two"], texts["two"]);
    assert_eq!(object["spec"]["signalAnnotations"]["one"], texts["one"]);
}

#[tokio::test]
async fn h07_an_absent_namespace_puts_the_object_into_the_fallback_with_its_origin() {
    let case = Case::shared("h07", &[]).await;
    let absent = case.namespace("absent");
    case.post(&[case.alert("Homeless", "absent", "p")]).await;
    let object = until_ok(SOON, "the object in the fallback namespace", async || {
        let seen = case.kube.list(&case.fallback).await;
        let ours = |object: &&Value| object["metadata"]["labels"]["breakwater.io/origin-namespace"] == json!(absent);
        seen.iter().find(ours).cloned().ok_or_else(|| told(&seen))
    })
    .await;
    assert_eq!(object["spec"]["targetResource"]["namespace"], json!(absent));
    assert_eq!(object["spec"]["signalName"], "Homeless");
}

#[tokio::test]
async fn h08_kubectl_shows_what_one_wants_to_know() {
    let case = Case::shared("h08", &["shop"]).await;
    let [storm, single] = both(&case).await;
    case.kube.phase(&case.namespace("shop"), name(&storm), "Pending").await;
    case.kube.phase(&case.namespace("shop"), name(&single), "Executing").await;
    let table = kubectl(&["get", "rr", "-A"]);
    let words = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let columns = words(table.lines().next().expect("a head"));
    let expected =
        ["NAMESPACE", "NAME", "ALERT", "SEVERITY", "ENVIRONMENT", "PRIORITY", "PHASE", "COUNT", "STORM", "AGE"];
    assert_eq!(columns, expected);
    let shop = case.namespace("shop");
    let line = |object: &Value| {
        let found = table.lines().map(words).find(|line| line.get(1).map(String::as_str) == Some(name(object)));
        found.unwrap_or_else(|| panic!("no line for {}", name(object)))
    };
    let shown = line(&storm);
    assert_eq!(shown[..9], [&shop, name(&storm), "Storm", "warning", "unknown", "P2", "Pending", "12", "true"]);
    let shown = line(&single);
    assert_eq!(shown[..9], [&shop, name(&single), "Single", "warning", "unknown", "P2", "Executing", "1", "false"]);
    assert_eq!(shown.len(), 10, "the age");
}

#[tokio::test]
async fn h12_a_hundred_incidents_in_twenty_namespaces_lie_each_in_its_own() {
    let words: Vec<String> = (0..20).map(|n| format!("ns{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let case = Case::shared("h12", &words).await;
    let all: Vec<Value> = words.iter().flat_map(|word| strangers("Many", &case.namespace(word), 5)).collect();
    case.post_each(&all).await;
    for word in words {
        for object in case.objects(word, 5).await {
            let namespace = json!(case.namespace(word));
            assert_eq!(object["spec"]["targetResource"]["namespace"], namespace);
            let text = object["spec"]["providerData"].as_str().expect("text");
            let data: Value = serde_json::from_str(text).expect("providerData is JSON");
            assert_eq!(data["namespace"], namespace);
            assert_eq!(data["labels"], object["spec"]["signalLabels"]);
            assert_eq!(data["resource"]["kind"], "Pod", "{data}");
        }
    }
}
