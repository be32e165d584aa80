//! Groups G and Q on real servers: who comes first, where labels come from, and a pipeline that changes while it runs.

use crate::harness::alerts::{alert, at_severity, event, strangers};
use crate::harness::audit;
use crate::harness::case::{Case, SOON, at_once, count};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::servers::{ApiPlan, OwnApi};
use crate::harness::wait::{until_eq, until_ok, until_passed};
use crate::harness::{Scope, pipeline, repository};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How soon a changed label or file must show.
const CHANGE: Duration = Duration::from_secs(5);

fn environment(object: &Value) -> &str {
    object["spec"]["environment"].as_str().unwrap_or_default()
}

fn priority(object: &Value) -> &str {
    object["spec"]["priority"].as_str().unwrap_or_default()
}

async fn label(case: &Case, word: &str, value: &str) {
    case.kube.namespace(&case.namespace(word), json!({ "environment": value })).await;
}

#[tokio::test]
async fn g01_the_environment_is_what_the_namespace_says() {
    let words = ["production", "staging", "qa-eu", "blue"];
    let case = Case::quick("g01", &[]).await;
    for word in words {
        label(&case, word, word).await;
    }
    seen_by_work(&case, words[3], words[3]).await;
    for word in words {
        case.post(&[case.alert("Labelled", word, "p")]).await;
        assert_eq!(environment(&case.object_of(word, "Labelled").await), word);
    }
}

/// Waits until an incident in a namespace has an environment: each try is an alert of a name of its own.
async fn seen_by_work(case: &Case, word: &str, expected: &str) {
    let mut tries = 0;
    until_ok(CHANGE, &format!("incidents in {word} to be of {expected}"), async || {
        tries += 1;
        let name = format!("Try{tries}");
        case.post(&[case.alert(&name, word, "p")]).await;
        let object = case.object_of(word, &name).await;
        if environment(&object) == expected { Ok(()) } else { Err(environment(&object).to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn g03_a_changed_label_holds_for_the_next_incident_and_leaves_objects_alone() {
    let case = Case::quick("g03", &[]).await;
    label(&case, "shop", "staging").await;
    seen_by_work(&case, "shop", "staging").await;
    case.post(&[case.alert("Before", "shop", "p")]).await;
    assert_eq!(environment(&case.object_of("shop", "Before").await), "staging");
    // whoever shares the machine may hold a watch up, but not thrice in a row
    let mut within_a_second = Vec::new();
    for value in ["blue", "green", "red"] {
        label(&case, "shop", value).await;
        until_passed(Duration::from_secs(1), Instant::now()).await;
        case.post(&[case.alert(value, "shop", "p")]).await;
        within_a_second.push(environment(&case.object_of("shop", value).await) == value);
    }
    assert!(within_a_second.contains(&true), "{within_a_second:?}");
    seen_by_work(&case, "shop", "red").await;
    case.post(&[case.alert("Before", "shop", "p")]).await;
    case.settled().await;
    let kept = case.object_of("shop", "Before").await;
    assert_eq!(environment(&kept), "staging");
    case.until("shop", "the old incident to count 2", |seen| {
        seen.iter().any(|object| object["spec"]["signalName"] == "Before" && count(object) == 2)
    })
    .await;
}

#[tokio::test]
async fn g04_with_the_api_frozen_incidents_carry_the_last_label_and_none_waits() {
    let own = OwnApi::start(&ApiPlan::default()).await;
    let scope = Scope::new("g04");
    let mut setting = scope.setting(at_once());
    setting.kubeconfig.clone_from(&own.kubeconfig);
    let stages = Deployment::of(scope, setting, Shape::ONE).await;
    let case = Case::of("g04", &[], &stages).await;
    label(&case, "shop", "blue").await;
    seen_by_work(&case, "shop", "blue").await;
    own.server.stop();
    case.post(&strangers("Frozen", &case.namespace("shop"), 20)).await;
    let drafts = async || {
        let drafts = case.kafka.read(&case.remediations).await.into_iter().map(|record| record.json());
        let specs = drafts.map(|draft| draft["spec"].clone());
        let frozen = specs.filter(|spec| spec["signalName"].as_str().is_some_and(|name| name.starts_with("Frozen")));
        frozen.map(|spec| spec["environment"].clone()).collect::<Vec<_>>()
    };
    until_eq(SOON, "20 drafts with the last label while nobody answers", vec![json!("blue"); 20], drafts).await;
    own.server.cont();
    until_ok(SOON, "20 objects", async || {
        let seen = case.kube.list(&case.namespace("shop")).await;
        let frozen = seen.iter().filter(|o| o["spec"]["signalName"].as_str().is_some_and(|n| n.starts_with("Frozen")));
        let blue = frozen.filter(|object| environment(object) == "blue").count();
        if blue == 20 { Ok(()) } else { Err(format!("there are {blue}")) }
    })
    .await;
}

#[tokio::test]
async fn g05_a_thousand_incidents_cost_no_request_for_a_namespace() {
    let own = OwnApi::start(&ApiPlan::default()).await;
    let scope = Scope::new("g05");
    let mut setting = scope.setting(at_once());
    setting.kubeconfig.clone_from(&own.kubeconfig);
    let stages = Deployment::of(scope, setting, Shape { ingest: 1, work: 2, sink: 1 }).await;
    let words: Vec<String> = (0..10).map(|n| format!("ns{n}")).collect();
    let case = Case::of("g05", &words.iter().map(String::as_str).collect::<Vec<_>>(), &stages).await;
    for word in &words {
        case.post(&strangers("Many", &case.namespace(word), 100)).await;
    }
    for word in &words {
        case.objects(word, 100).await;
    }
    let asked = audit::asked_by(&own.audit, "breakwater-work", "/namespaces");
    assert_eq!(asked.iter().filter(|asked| asked.verb == "get").count(), 0, "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| asked.verb == "list").count(), 2, "{asked:?}");
    let watches = audit::began_by(&own.audit, "breakwater-work", "/namespaces", "watch");
    assert_eq!(watches, 2, "one for each worker");
}

#[tokio::test]
async fn g07_critical_in_production_is_p0_and_a_back_off_there_p1() {
    let case = Case::quick("g07", &[]).await;
    label(&case, "shop", "production").await;
    seen_by_work(&case, "shop", "production").await;
    case.post(&[at_severity(&case.alert("Down", "shop", "p"), "critical")]).await;
    assert_eq!(priority(&case.object_of("shop", "Down").await), "P0");
    case.event(&event("BackOff", &case.namespace("shop"), "q")).await;
    let object = case.object_of("shop", "BackOff").await;
    assert_eq!((priority(&object), &object["spec"]["severity"]), ("P1", &json!("warning")));
}

/// Stages whose pipeline file a test changes, with a Rego file beside it if the pipeline names one.
async fn changing(scenario: &str, overlay: Value) -> (Case, Deployment) {
    let (case, stages) = Case::own(scenario, &["shop"], overlay, Shape::ONE).await;
    (case, stages)
}

/// Puts a text in a file's place at once, as a ConfigMap's swap or an editor's rename does.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).expect("the test's folder can be written");
    std::fs::rename(&beside, file).expect("a file can be renamed");
}

/// Waits until a stage has taken or refused so many changes.
async fn reloaded(stage: &crate::harness::product::Product, result: &str, times: f64) {
    let label = format!("result=\"{result}\"");
    let told = async || stage.metric("breakwater_pipeline_reloads_total", &[&label]).await;
    until_eq(CHANGE, &format!("{times} changes {result}"), times, told).await;
}

fn rules(team: &str) -> Value {
    json!({ "priority": { "matrix": null, "rules": [
        { "name": "team", "when": format!("alert.labels.team == '{team}'"), "priority": "P0" },
        { "name": "rest", "priority": "P3" },
    ] } })
}

fn of_team(case: &Case, name: &str, team: &str) -> Value {
    crate::harness::alerts::with(case.alert(name, "shop", "p"), json!({ "labels": { "team": team } }))
}

#[tokio::test]
async fn g16_a_replaced_policy_holds_for_the_next_incident_and_a_broken_one_for_none() {
    let mut overlay = at_once();
    pipeline::merge(&mut overlay, rules("red"));
    let (case, stages) = changing("g16", overlay.clone()).await;
    let (work, file) = (&stages.works[0], stages.work.pipeline.clone());
    case.post(&[of_team(&case, "First", "blue")]).await;
    assert_eq!(priority(&case.object_of("shop", "First").await), "P3");
    overlay = at_once();
    pipeline::merge(&mut overlay, rules("blue"));
    replace(&file, &pipeline::of(&stages.scope, overlay.clone()).to_string());
    reloaded(work, "taken", 1.0).await;
    case.post(&[of_team(&case, "Second", "blue")]).await;
    assert_eq!(priority(&case.object_of("shop", "Second").await), "P0");
    replace(&file, "priority: { rules: [{ name: x, when: alert.lables.x == 'y', priority: P0 }] }\n");
    reloaded(work, "refused", 1.0).await;
    case.post(&[of_team(&case, "Third", "blue")]).await;
    assert_eq!(priority(&case.object_of("shop", "Third").await), "P0");
    std::fs::remove_file(&file).expect("the file is there");
    reloaded(work, "refused", 2.0).await;
    case.post(&[of_team(&case, "Fourth", "blue")]).await;
    assert_eq!(priority(&case.object_of("shop", "Fourth").await), "P0");
    case.settled().await;
    case.objects("shop", 4).await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

#[tokio::test]
async fn g16_a_rego_file_tells_the_priority_and_is_followed_as_well() {
    let mut overlay = at_once();
    let told = json!({ "priority": { "matrix": null, "rego": { "file": "priority.rego" } } });
    pipeline::merge(&mut overlay, told);
    let scope = Scope::new("g16");
    let shipped = std::fs::read_to_string(repository("pipelines/priority.rego")).expect("it is shipped");
    std::fs::write(scope.path("priority.rego"), &shipped).expect("the test's folder can be written");
    let rego = scope.path("priority.rego");
    let stages = Deployment::start(scope, overlay, Shape::ONE).await;
    let case = Case::of("g16", &["prod"], &stages).await;
    let critical = |name: &str| at_severity(&alert(name, &case.namespace("prod"), "p"), "critical");
    label(&case, "prod", "production").await;
    seen_by_work(&case, "prod", "production").await;
    case.post(&[critical("First")]).await;
    assert_eq!(priority(&case.object_of("prod", "First").await), "P0");
    replace(&rego, "package breakwater\nimport rego.v1\ndefault priority := \"P3\"\n");
    reloaded(&stages.works[0], "taken", 1.0).await;
    case.post(&[critical("Second")]).await;
    assert_eq!(priority(&case.object_of("prod", "Second").await), "P3");
    let looped = "default priority := \"P1\"\npriority := \"P0\" if {\n  input.alert.name == \"Third\"\n  some a in input.alert.labels\n  some b in LIST\n  some c in LIST\n  some d in LIST\n  some e in LIST\n  a == \"no\"\n}\n";
    let list = format!("[{}]", (0..60).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    replace(&rego, &format!("package breakwater\nimport rego.v1\n{}", looped.replace("LIST", &list)));
    reloaded(&stages.works[0], "taken", 2.0).await;
    case.post(&[critical("Third"), critical("Fourth")]).await;
    assert_eq!(priority(&case.object_of("prod", "Third").await), "P2", "the fallback");
    assert_eq!(priority(&case.object_of("prod", "Fourth").await), "P1");
    let fallbacks = stages.works[0].metric("breakwater_work_policy_fallbacks_total", &["policy=\"priority\""]).await;
    assert_eq!(fallbacks, 1.0);
    replace(&rego, "package breakwater\nimport rego.v1\npriority := \"P0\" if time.now_ns() > 1\n");
    reloaded(&stages.works[0], "refused", 1.0).await;
    case.post(&[critical("Fifth")]).await;
    assert_eq!(priority(&case.object_of("prod", "Fifth").await), "P1");
}

#[tokio::test]
async fn q04_a_change_while_running_keeps_memory_and_decides_nothing_twice() {
    let (case, stages) = changing("q04", at_once()).await;
    let file = stages.work.pipeline.clone();
    let known = [case.alert("Known", "shop", "p")];
    case.post(&known).await;
    case.counted("shop", 1, 1).await;
    let mut overlay = at_once();
    pipeline::merge(&mut overlay, json!({ "dedup": { "ttl": "9m" }, "sink": { "writes_per_second": 50 } }));
    replace(&file, &pipeline::of(&stages.scope, overlay).to_string());
    for stage in [&stages.ingests[0], &stages.works[0], &stages.sinks[0]] {
        reloaded(stage, "taken", 1.0).await;
    }
    let budget = stages.sinks[0].metric("breakwater_sink_writes_per_second_budget", &[]).await;
    assert_eq!(budget, 50.0);
    case.post(&known).await;
    case.counted("shop", 1, 2).await;
    let mut other = at_once();
    pipeline::merge(&mut other, json!({ "topics": { "alerts": "others" } }));
    replace(&file, &pipeline::of(&stages.scope, other).to_string());
    for stage in [&stages.ingests[0], &stages.works[0], &stages.sinks[0]] {
        reloaded(stage, "refused", 1.0).await;
    }
    stages.works[0].process.signal("HUP");
    reloaded(&stages.works[0], "refused", 2.0).await;
    case.post(&known).await;
    case.counted("shop", 1, 3).await;
    case.settled().await;
    case.objects("shop", 1).await;
}
