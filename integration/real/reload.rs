//! Groups G and Q: a pipeline that changes under a running process, as Kubernetes changes it.

use crate::harness::case::{Case, at_once};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::product::Product;
use crate::harness::wait::until_eq;
use crate::harness::{Scope, alerts, pipeline};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How soon a change must show, on a machine that does other things as well.
const CHANGE: Duration = Duration::from_secs(30);

/// A ConfigMap as kubelet mounts it: each file is a link into `..data`, which is a link to the folder of one version.
/// A new version is written whole, then `..data` is renamed over: all files change at once, and none is ever half there.
struct Mounted {
    folder: PathBuf,
    version: u32,
}

impl Mounted {
    fn at(folder: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&folder).expect("the test's folder can be written");
        let mut mounted = Self { folder, version: 0 };
        mounted.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mounted.folder.join(name)).expect("a link can be made");
        }
        mounted
    }

    fn swap(&mut self, files: &[(&str, &str)]) {
        let old = self.folder.join(format!("..{}", self.version));
        self.version += 1;
        let name = format!("..{}", self.version);
        fs::create_dir(self.folder.join(&name)).expect("the test's folder can be written");
        for (file, text) in files {
            fs::write(self.folder.join(&name).join(file), text).expect("the test's folder can be written");
        }
        symlink(&name, self.folder.join("..data_tmp")).expect("a link can be made");
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).expect("a link can be renamed");
        if old.exists() {
            fs::remove_dir_all(old).expect("an old version can be removed");
        }
    }
}

/// Waits until a process has taken or refused so many changes.
async fn told(process: &Product, result: &str, times: f64) {
    let label = format!("result=\"{result}\"");
    let counted = async || process.metric("breakwater_pipeline_reloads_total", &[&label]).await;
    until_eq(CHANGE, &format!("{times} changes {result}"), times, counted).await;
}

/// A Rego file that gives one priority to all.
fn rego(priority: &str) -> String {
    format!("package breakwater\nimport rego.v1\ndefault priority := \"{priority}\"\n")
}

/// A pipeline whose priority stands in a Rego file; each of the stages has a setting of its own that shows.
fn written(scope: &Scope, budget: u32, max_alerts: u32) -> String {
    let mut overlay = at_once();
    let by_file = json!({ "priority": { "matrix": null, "rego": { "file": "priority.rego" } },
                          "sink": { "writes_per_second": budget }, "ingest": { "max_alerts": max_alerts } });
    pipeline::merge(&mut overlay, by_file);
    pipeline::of(scope, overlay).to_string()
}

/// Posts an alert and tells the priority of its object.
async fn judged(case: &Case, name: &str) -> String {
    case.post(&[case.alert(name, "shop", "p")]).await;
    let object = case.object_of("shop", name).await;
    object["spec"]["priority"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn g16_a_config_map_is_followed_by_all_stages_of_one_process_and_a_broken_one_by_none() {
    let scope = Scope::new("g16run");
    let good = written(&scope, 500, 100);
    let mut mounted = Mounted::at(scope.path("mounted"), &[("alerts.yaml", &good), ("priority.rego", &rego("P1"))]);
    let mut setting = scope.setting(at_once());
    setting.pipeline = mounted.folder.join("alerts.yaml");
    let mut stages = Deployment::of(scope, setting.clone(), Shape::NONE).await;
    stages.ingests.push(Product::start("run", &setting).await);
    let case = Case::of("g16run", &["shop"], &stages).await;
    let run = &stages.ingests[0];
    let budget = async || run.metric("breakwater_sink_writes_per_second_budget", &[]).await;
    assert_eq!((judged(&case, "First").await.as_str(), budget().await), ("P1", 500.0));

    let next = written(&stages.scope, 400, 1);
    mounted.swap(&[("alerts.yaml", &next), ("priority.rego", &rego("P3"))]);
    told(run, "taken", 1.0).await;
    assert_eq!((judged(&case, "Second").await.as_str(), budget().await), ("P3", 400.0));
    let two = alerts::webhook(&alerts::strangers("Many", &case.namespace("shop"), 2));
    assert_eq!(run.webhook(&two).await.status, 413, "the door takes one alert at a time now");

    mounted.swap(&[("alerts.yaml", "storm: { treshold: 3 }\n"), ("priority.rego", &rego("P0"))]);
    told(run, "refused", 1.0).await;
    assert_eq!((judged(&case, "Third").await.as_str(), budget().await), ("P3", 400.0));
    mounted.swap(&[("priority.rego", &rego("P0"))]);
    told(run, "refused", 2.0).await;
    mounted.swap(&[
        ("alerts.yaml", &next),
        ("priority.rego", "package breakwater\npriority := \"P0\" if time.now_ns() > 1\n"),
    ]);
    told(run, "refused", 3.0).await;
    assert_eq!((judged(&case, "Fourth").await.as_str(), run.page("/readyz").await.status), ("P3", 200));
    assert!(run.process.printed().contains("the last good one stays in force"), "one line tells an operator");

    mounted.swap(&[("alerts.yaml", &next), ("priority.rego", &rego("P0"))]);
    told(run, "taken", 2.0).await;
    run.process.signal("HUP");
    told(run, "taken", 3.0).await;
    assert_eq!(judged(&case, "Fifth").await, "P0");
    case.settled().await;
    case.objects("shop", 5).await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
    stages.stop().await;
}
