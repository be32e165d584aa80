//! A real Prometheus and a real Alertmanager before `run`, which has the rights of both stages that ask the API server.

use crate::harness::Scope;
use crate::harness::case::{Case, SOON, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::http;
use crate::harness::kube::write_kubeconfig;
use crate::harness::process::{Process, free_port};
use crate::harness::product::Product;
use crate::harness::servers::OwnKafka;
use crate::harness::wait::until_ok;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Alerts of the one group.
const ALERTS: usize = 10;

/// The kubeconfig of one ServiceAccount with the ClusterRoles of work and of sink.
async fn kubeconfig_of_run(case: &Case) -> PathBuf {
    let account = format!("run-{}", case.scope.name);
    let who = json!([{ "kind": "ServiceAccount", "name": account, "namespace": "breakwater" }]);
    let made = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
                       "metadata": { "name": account, "namespace": "breakwater" } });
    case.kube.apply(&made, false).await.expect("a ServiceAccount");
    for stage in ["work", "sink"] {
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("breakwater-{stage}") });
        let bound = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                            "metadata": { "name": format!("{account}-{stage}") }, "roleRef": role, "subjects": who });
        case.kube.apply(&bound, false).await.expect("a binding");
    }
    let token = case.kube.token(&account).await;
    let file = case.scope.path("kubeconfig-run");
    write_kubeconfig(&file, &case.kube.server().await, json!({ "token": token }));
    file
}

/// A Prometheus whose rules fire for ever, or not at all, and the Alertmanager that it tells.
struct Monitoring {
    prometheus: Process,
    _alertmanager: Process,
    alertmanager: String,
    rules: PathBuf,
    namespace: String,
}

impl Monitoring {
    fn start(case: &Case, door: &str) -> Self {
        let [config, rules, routes] =
            ["prometheus.json", "rules.json", "alertmanager.json"].map(|file| case.scope.path(file));
        let [own, alertmanager] = [0, 1].map(|_| format!("127.0.0.1:{}", free_port()));
        let told = json!({
            "global": { "evaluation_interval": "1s" },
            "rule_files": [rules],
            "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": [alertmanager] }] }] },
        });
        let webhook = json!({ "url": format!("http://{door}/api/v1/signals/prometheus"), "send_resolved": true });
        let route = json!({ "receiver": "breakwater", "group_by": ["group"], "group_wait": "1s", "group_interval": "2s",
                            "repeat_interval": "4h" });
        let routed = json!({ "route": route, "receivers": [{ "name": "breakwater", "webhook_configs": [webhook] }] });
        for (file, value) in [(&config, told), (&routes, routed)] {
            std::fs::write(file, value.to_string()).expect("the test's folder can be written");
        }
        let mut teller = Command::new("prometheus-alertmanager");
        teller.arg(format!("--config.file={}", routes.display())).arg("--cluster.listen-address=");
        teller.arg(format!("--storage.path={}", case.scope.path("am").display()));
        teller.arg(format!("--web.listen-address={alertmanager}"));
        let mut judge = Command::new("prometheus");
        judge.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address={own}"));
        judge.arg(format!("--storage.tsdb.path={}", case.scope.path("tsdb").display()));
        judge.arg("--rules.alert.resend-delay=1s"); // what fires before it has found Alertmanager is dropped
        let namespace = case.namespace("shop");
        let log = |name: &str| case.scope.path(&format!("{name}.log"));
        write_rules(&rules, &namespace, "vector(1)");
        Self {
            _alertmanager: Process::start("alertmanager", &teller, &log("alertmanager")),
            prometheus: Process::start("prometheus", &judge, &log("prometheus")),
            alertmanager,
            rules,
            namespace,
        }
    }

    fn end_all(&self) {
        write_rules(&self.rules, &self.namespace, "vector(1) > 2");
        self.prometheus.signal("HUP");
    }

    /// Notifications that failed so far.
    async fn failed(&self) -> Result<f64, String> {
        let page = http::get(&self.alertmanager, "/metrics").await.map_err(|error| error.to_string())?.text();
        let line = page.lines().find(|line| {
            line.starts_with("alertmanager_notification_requests_failed_total")
                && line.contains("integration=\"webhook\"")
        });
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
        value.ok_or_else(|| "no such metric yet".to_owned())
    }
}

fn write_rules(file: &PathBuf, namespace: &str, expression: &str) {
    let rule = |n: usize| {
        json!({ "alert": format!("Alert{n}"), "expr": expression,
                "labels": { "namespace": namespace, "pod": format!("pod-{n}"), "severity": "critical", "group": "one" },
                "annotations": { "summary": "by a real Prometheus" } })
    };
    let rules: Vec<Value> = (0..ALERTS).map(rule).collect();
    let text = json!({ "groups": [{ "name": "all", "interval": "1s", "rules": rules }] }).to_string();
    std::fs::write(file, text).expect("the test's folder can be written");
}

#[tokio::test]
async fn a22_a_real_alertmanager_retries_after_503_and_its_ends_arrive() {
    let mut kafka = OwnKafka::start(&[]).await;
    let mut overlay = unlimited();
    overlay["ingest"] = json!({ "timeout": "2s" });
    let scope = Scope::new("a22");
    let mut setting = scope.setting(overlay);
    setting.kafka.clone_from(&kafka.brokers);
    let stages = Deployment::of(scope, setting.clone(), Shape::NONE).await;
    let case = Case::of("a22", &["shop"], &stages).await;
    setting.kubeconfig = kubeconfig_of_run(&case).await;
    let run = Product::start("run", &setting).await;
    kafka.server.kill();
    let monitoring = Monitoring::start(&case, &run.address);
    until_ok(SOON, "Alertmanager to meet 503 three times", async || match monitoring.failed().await? {
        failed if failed >= 3.0 => Ok(()),
        failed => Err(format!("{failed} so far")),
    })
    .await;
    assert!(run.metric("breakwater_ingest_requests_total", &["code=\"503\""]).await >= 3.0);
    kafka.server.restart().await;
    let objects = case.objects("shop", ALERTS).await;
    assert!(objects.iter().all(|object| object["spec"]["severity"] == "critical"));
    assert!(objects.iter().all(|object| object["status"]["resolvedAt"] == Value::Null));
    monitoring.end_all();
    let all =
        |seen: &[Value]| seen.len() == ALERTS && seen.iter().all(|object| object["status"]["resolvedAt"].is_string());
    let namespace = case.namespace("shop");
    until_ok(Duration::from_secs(120), "every end to arrive", async || {
        let seen = case.kube.list(&namespace).await;
        if all(&seen) { Ok(()) } else { Err(crate::harness::case::told(&seen)) }
    })
    .await;
    assert!(run.stop().await.success());
}
