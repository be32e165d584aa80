//! `deploy/` against a real API server: its manifests, its pods, its rights.

use crate::harness::case::SOON;
use crate::harness::kube::{Kube, documents, manifests};
use crate::harness::wait::until_ok;
use crate::harness::{Scope, Shared, repository, told};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What `kubectl kustomize` makes of the base.
fn base() -> Vec<Value> {
    built("deploy/base")
}

/// What it makes of a folder.
fn built(folder: &str) -> Vec<Value> {
    let mut kustomize = Command::new(told("BREAKWATER_TEST_KUBECTL"));
    kustomize.args(["kustomize", "--load-restrictor", "LoadRestrictionsNone"]).arg(repository(folder));
    let built = kustomize.output().expect("there is a kubectl");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    documents(&String::from_utf8(built.stdout).expect("manifests are text"))
}

/// The pod of a Deployment or a Job, as the API server would be asked for it.
fn pod(workload: &Value, name: &str) -> Value {
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": workload["spec"]["template"]["spec"] });
    pod["metadata"] = json!({ "name": name, "namespace": "breakwater" });
    pod
}

#[tokio::test]
async fn o10_deploy_applies_on_a_real_api_server() {
    let (kube, base) = (Kube::of(&Shared::get().kubeconfig).await, base());
    let of_kind = |kind: &'static str| base.iter().filter(move |manifest| manifest["kind"] == kind);
    for namespace in of_kind("Namespace") {
        kube.apply(namespace, false).await.expect("the namespace is made, with its pod security");
    }
    for manifest in &base {
        let (kind, name) = (&manifest["kind"], &manifest["metadata"]["name"]);
        kube.apply(manifest, true).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }
    let mut pods = 0;
    for workload in of_kind("Deployment") {
        pods += 1;
        let refused = kube.apply(&pod(workload, &format!("pod-{pods}")), true).await.err();
        assert!(refused.is_none(), "the restricted profile refuses {}: {refused:?}", workload["metadata"]);
    }
    assert_eq!(pods, 3, "ingest, work and sink");
}

/// What each overlay makes, beside the CRD: Deployments, and objects in all.
const OVERLAYS: [(&str, usize, usize); 4] =
    [("deploy/demo", 3, 17), ("deploy/production", 3, 31), ("deploy/kafka-strimzi", 0, 3), ("deploy/canary", 1, 8)];

/// Each field is known to the server (strict validation), also those of the kinds of others, which stand as stubs.
#[tokio::test]
async fn o10_every_overlay_applies_and_its_pods_are_restricted() {
    let kube = Kube::of(&Shared::get().kubeconfig).await;
    for stub in manifests(&repository("integration/harness/stubs.yaml")) {
        kube.apply(&stub, false).await.expect("a stub is accepted");
    }
    kube.namespace("kafka", json!({})).await;
    for (folder, deployments, all) in OVERLAYS {
        let made = built(folder);
        let of_kind = |kind: &str| made.iter().filter(|manifest| manifest["kind"] == kind).collect::<Vec<_>>();
        assert_eq!((of_kind("Deployment").len(), made.len()), (deployments, all), "{folder}");
        for namespace in of_kind("Namespace") {
            kube.apply(namespace, false).await.expect("the namespace is made, with its pod security");
        }
        for manifest in &made {
            let what = format!("{folder}: {} {}", manifest["kind"], manifest["metadata"]["name"]);
            // again and again: a kind that was stubbed a moment ago may not be served yet
            until_ok(SOON, &what, async || kube.apply_strictly(manifest).await).await;
        }
        for (number, workload) in of_kind("Deployment").into_iter().enumerate() {
            let pod = pod(workload, &format!("of-overlay-{number}"));
            let refused = kube.apply(&pod, true).await.err();
            assert!(refused.is_none(), "{folder}: the restricted profile refuses {}: {refused:?}", pod["metadata"]);
        }
    }
}

#[test]
fn o10_production_scales_disrupts_and_spreads_each_stage_and_closes_the_network() {
    let made = built("deploy/production");
    let find = |kind: &str, name: &str| {
        let found = made.iter().find(|manifest| manifest["kind"] == kind && manifest["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    for (stage, scaled_by) in
        [("ingest", "HorizontalPodAutoscaler"), ("work", "ScaledObject"), ("sink", "ScaledObject")]
    {
        let name = format!("breakwater-{stage}");
        assert_eq!(find(scaled_by, &name)["spec"]["scaleTargetRef"]["name"], json!(name));
        let deployment = &find("Deployment", &name)["spec"];
        assert_eq!(deployment["replicas"], Value::Null, "{name}: whoever scales it says how many");
        let spread = deployment["template"]["spec"]["topologySpreadConstraints"].as_array().expect("spread");
        let over: Vec<&Value> = spread.iter().map(|one| &one["topologyKey"]).collect();
        assert_eq!(over, [&json!("kubernetes.io/hostname"), &json!("topology.kubernetes.io/zone")], "{name}");
        let labels = &deployment["template"]["metadata"]["labels"];
        let chosen = [&find("PodDisruptionBudget", &name)["spec"]["selector"], &spread[1]["labelSelector"]];
        assert!(chosen.iter().all(|one| one["matchLabels"] == *labels), "{name}: {chosen:?}");
    }
    let closed = &find("NetworkPolicy", "breakwater-closed")["spec"];
    assert_eq!(closed["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(closed["ingress"].is_null() && closed["egress"].is_null(), "nothing is let through by it");
    let monitor = &find("ServiceMonitor", "breakwater")["spec"];
    for service in made.iter().filter(|manifest| manifest["kind"] == "Service") {
        let port = &monitor["endpoints"][0]["port"];
        let ports = service["spec"]["ports"].as_array().expect("ports");
        assert_eq!(ports.iter().filter(|one| one["name"] == *port).count(), 1, "{}", service["metadata"]["name"]);
    }
}

#[tokio::test]
async fn o10_the_backfill_applies_beside_the_base_and_its_pod_is_restricted() {
    let kube = Kube::of(&Shared::get().kubeconfig).await;
    for namespace in base().iter().filter(|manifest| manifest["kind"] == "Namespace") {
        kube.apply(namespace, false).await.expect("the namespace is made, with its pod security");
    }
    let manifests = built("deploy/backfill");
    for manifest in &manifests {
        let (kind, name) = (&manifest["kind"], &manifest["metadata"]["name"]);
        kube.apply(manifest, true).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }
    let job = manifests.iter().find(|manifest| manifest["kind"] == "Job").expect("a Job");
    let refused = kube.apply(&pod(job, "backfill"), true).await.err();
    assert!(refused.is_none(), "the restricted profile refuses it: {refused:?}");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["args"][0], &container["image"]), (&json!("replay"), &json!("breakwater:0.1.0")));
}

/// What it makes of the base with one of its components, as an overlay in a folder elsewhere would choose it.
fn with_component(folder: &Path, component: &str) -> Vec<Value> {
    let folder = folder.canonicalize().expect("the test has a folder");
    let up = "../".repeat(folder.components().count() - 1);
    let deploy = format!("{up}{}", repository("deploy").display().to_string().trim_start_matches('/'));
    let chosen =
        json!({ "resources": [format!("{deploy}/base")], "components": [format!("{deploy}/components/{component}")] });
    std::fs::write(folder.join("kustomization.yaml"), chosen.to_string()).expect("the test's folder can be written");
    built(&folder.display().to_string())
}

#[tokio::test]
async fn o10_each_component_of_the_door_applies_and_its_pod_is_restricted() {
    let (scope, kube) = (Scope::new("o10"), Kube::of(&Shared::get().kubeconfig).await);
    for namespace in base().iter().filter(|manifest| manifest["kind"] == "Namespace") {
        kube.apply(namespace, false).await.expect("the namespace is made, with its pod security");
    }
    let mut seen = Vec::new();
    for component in ["token-review", "door-tokens", "door-tls"] {
        let mut manifests = with_component(&scope.path(""), component);
        manifests.retain(|manifest| {
            manifest["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("breakwater-ingest") || name == "breakwater-sender")
        });
        for manifest in &manifests {
            let (kind, name) = (&manifest["kind"], &manifest["metadata"]["name"]);
            kube.apply(manifest, true).await.unwrap_or_else(|error| panic!("{component}: {kind} {name}: {error}"));
        }
        let ingest = manifests.iter().find(|manifest| manifest["kind"] == "Deployment").expect("the door");
        let refused = kube.apply(&pod(ingest, &format!("pod-{component}")), true).await.err();
        assert!(refused.is_none(), "the restricted profile refuses it with {component}: {refused:?}");
        let spec = &ingest["spec"]["template"]["spec"];
        let told = spec["containers"][0]["env"].as_array().expect("variables");
        let of_door =
            told.iter().filter_map(|one| one["name"].as_str()).filter(|name| name.starts_with("BREAKWATER_LISTEN_"));
        let of_door: Vec<_> = of_door.map(str::to_owned).collect();
        seen.push((of_door.join(" "), spec["automountServiceAccountToken"] == true, manifests.len()));
    }
    let expected = [
        ("BREAKWATER_LISTEN_AUTH", true, 7),
        ("BREAKWATER_LISTEN_AUTH BREAKWATER_LISTEN_TOKENS", false, 4),
        ("BREAKWATER_LISTEN_TLS_CERT BREAKWATER_LISTEN_TLS_KEY", false, 4),
    ];
    assert_eq!(seen, expected.map(|(told, token, manifests)| (told.to_owned(), token, manifests)));
}

#[test]
fn o10_every_stage_is_probed_at_the_admin_port_and_bounded() {
    let base = base();
    let stages: Vec<_> = base.iter().filter(|manifest| manifest["kind"] == "Deployment").collect();
    assert_eq!(stages.len(), 3);
    for stage in stages {
        let container = &stage["spec"]["template"]["spec"]["containers"][0];
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "admin" }));
        }
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(container["resources"]["requests"]["cpu"].is_string());
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

const OURS: &str = "remediation.kubernaut.io";

/// What somebody might want: API group, resource, subresource.
const ASKED_FOR: [(&str, &str, &str); 7] = [
    (OURS, "remediationrequests", ""),
    (OURS, "remediationrequests", "status"),
    ("", "namespaces", ""),
    ("", "secrets", ""),
    ("", "configmaps", ""),
    ("", "pods", ""),
    ("", "events", ""),
];

/// A right: stage, verb, API group, resource, subresource.
type Right = (&'static str, &'static str, &'static str, &'static str, &'static str);

async fn may(kube: &Kube, (stage, verb, group, resource, subresource): Right) -> bool {
    let question: SubjectAccessReview = serde_json::from_value(json!({
        "spec": {
            "user": format!("system:serviceaccount:breakwater:breakwater-{stage}"),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "namespace": "anywhere", "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            },
        },
    }))
    .expect("a review");
    let reviews: Api<SubjectAccessReview> = Api::all(kube.client.clone());
    let answer = reviews.create(&PostParams::default(), &question).await.expect("the review is answered");
    answer.status.expect("with a status").allowed
}

#[tokio::test]
async fn o09_nobody_may_more_than_its_stage_needs() {
    let allowed: [Right; 7] = [
        ("work", "list", "", "namespaces", ""),
        ("work", "watch", "", "namespaces", ""),
        ("sink", "create", OURS, "remediationrequests", ""),
        ("sink", "get", OURS, "remediationrequests", ""),
        ("sink", "list", OURS, "remediationrequests", ""),
        ("sink", "watch", OURS, "remediationrequests", ""),
        ("sink", "patch", OURS, "remediationrequests", "status"),
    ];
    let (scope, kube) = (Scope::new("o09"), Kube::of(&Shared::get().kubeconfig).await);
    kube.kubeconfig_of("sink", &scope.path("kubeconfig")).await;
    for stage in ["ingest", "work", "sink"] {
        for verb in ["create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"] {
            for (group, resource, subresource) in ASKED_FOR {
                let right = (stage, verb, group, resource, subresource);
                assert_eq!(may(&kube, right).await, allowed.contains(&right), "{right:?}");
            }
        }
    }
}

#[tokio::test]
async fn o09_the_sinks_own_token_works() {
    let (scope, admin) = (Scope::new("o09"), Kube::of(&Shared::get().kubeconfig).await);
    admin.crd().await;
    admin.namespace(&scope.namespace("shop"), json!({})).await;
    admin.kubeconfig_of("sink", &scope.path("kubeconfig")).await;
    let sink = Kube::of(&scope.path("kubeconfig")).await;
    assert!(sink.list(&scope.namespace("shop")).await.is_empty());
    let gone = sink.requests(&scope.namespace("shop")).delete("any", &Default::default()).await;
    assert!(matches!(gone, Err(kube::Error::Api(status)) if status.code == 403));
}
