//! Group Q: what is shipped, as it is shipped: the demo without a server, the pipeline without a change.

use crate::harness::alerts::{alert, at_severity};
use crate::harness::case::{Case, at_once};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kube::Kube;
use crate::harness::product::Product;
use crate::harness::{Scope, Shared, repository};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// How long a demo may take on a machine that does other things as well.
const DEMO: Duration = Duration::from_secs(180);

/// Every file in a folder of folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = |folder: &Path| std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    all(folder).flat_map(|namespace| all(&namespace).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn q08_the_demo_needs_no_server_ends_by_itself_and_its_objects_are_valid() {
    let (scope, kube) = (Scope::new("q08"), Kube::of(&Shared::get().kubeconfig).await);
    kube.crd().await;
    let out = scope.path("out");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_breakwater"));
    command.args(["demo", "--out"]).arg(&out).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(DEMO, command.output()).await.expect("it ends by itself").expect("it starts");
    let (told, wrong) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}\n{wrong}");
    let rows: Vec<&str> = told.lines().filter(|line| line.ends_with(".yaml")).collect();
    let storms = rows.iter().filter(|row| row.contains("20 resources, a storm")).count();
    let repeated = rows.iter().filter(|row| row.split_whitespace().any(|word| word == "5")).count();
    assert_eq!((rows.len(), storms, repeated), (6, 1, 5), "one storm, five that came five times\n{told}");
    let objects = files(&out);
    assert_eq!(objects.len(), 6);
    for file in objects {
        let text = std::fs::read_to_string(&file).expect("it was written");
        let mut object: Value = serde_saphyr::from_str(&text).expect("YAML");
        let namespace = scope.namespace("q08");
        kube.namespace(&namespace, json!({})).await;
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
        kube.apply(&object, true).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[tokio::test]
async fn q09_with_the_addresses_alone_the_shipped_pipeline_runs_as_it_is() {
    let scope = Scope::new("q09");
    let mut setting = scope.setting(at_once());
    setting.pipeline = repository("pipelines/alerts.yaml");
    let config = setting.succeed(&["print", "config"]).await;
    for line in ["topics.alerts = alerts (", "storm.hold = 2s (", "dedup.ttl = 5m (", "sink.writes_per_second = 20 ("] {
        let of_file = |told: &&str| told.starts_with(line) && told.contains("pipelines/alerts.yaml:");
        assert_eq!(config.lines().filter(of_file).count(), 1, "{line}\n{config}");
    }
    let mut stages = Deployment::of(scope, setting.clone(), Shape::NONE).await;
    stages.ingests.push(Product::start("run", &setting).await);
    let case = Case::of("q09", &["prod"], &stages).await;
    let namespace = case.namespace("prod"); // its name says what it is
    let critical = |name: &str| at_severity(&alert(name, &namespace, "p"), "critical");
    let kin: Vec<Value> =
        (0..10).map(|n| at_severity(&alert("Kin", &namespace, &format!("p{n}")), "warning")).collect();
    stages.ingests[0]
        .webhook(&crate::harness::alerts::webhook(&[&[critical("Single")], kin.as_slice()].concat()))
        .await;
    let single = case.object_of("prod", "Single").await;
    let storm = case.object_of("prod", "Kin").await;
    assert_eq!((&single["spec"]["priority"], &single["spec"]["isStorm"]), (&json!("P0"), &json!(false)));
    assert_eq!((&storm["spec"]["priority"], &storm["spec"]["isStorm"]), (&json!("P1"), &json!(true)));
    let budget = stages.ingests[0].metric("breakwater_sink_writes_per_second_budget", &[]).await;
    assert_eq!(budget, 20.0);
    stages.stop().await;
}
