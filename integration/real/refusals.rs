//! Group I on real servers: what the API server refuses, and what becomes of it.

use crate::harness::alerts::strangers;
use crate::harness::audit::asked_by;
use crate::harness::case::{Case, SOON, at_once, count, unlimited};
use crate::harness::deployment::{Deployment, Shape};
use crate::harness::kube::{Kube, client, manifests, write_kubeconfig};
use crate::harness::product::Product;
use crate::harness::proxy::{Fault, Line};
use crate::harness::servers::{ApiPlan, OwnApi};
use crate::harness::wait::{until, until_eq, until_ok};
use crate::harness::{Scope, Shared, repository};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// An API server's refusal that names a field.
fn refusal(code: u16, reason: &str, field: &str) -> Fault {
    let cause = json!({ "reason": "FieldValueInvalid", "message": "scripted", "field": field });
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                       "message": "scripted", "details": { "name": "x", "causes": [cause] } });
    Fault::Answer(code, vec![("content-type", "application/json".to_owned())], body.to_string())
}

#[tokio::test]
async fn i09_what_never_passes_costs_one_request_and_holds_up_nobody() {
    const REFUSED: [(u16, &str, &str); 3] =
        [(400, "BadRequest", "bad400"), (413, "RequestEntityTooLarge", "bad413"), (422, "Invalid", "bad422")];
    let words = ["bad400", "bad413", "bad422", "good"];
    let (case, mut stages) = Case::own("i09", &words, unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let proxy = stages.through_proxy().await;
    let mut alerts = Vec::new();
    for (code, reason, word) in REFUSED {
        let (path, fault) = (case.namespace(word), refusal(code, reason, "spec.priority"));
        proxy.script(Line { method: "POST", path, times: usize::MAX, fault });
        alerts.push(case.alert("Refused", word, "p"));
    }
    alerts.extend(strangers("Good", &case.namespace("good"), 20));
    case.post(&alerts).await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("good", 20, 1).await;
    case.settled().await;
    let letters = case.kafka.read(&case.dead_letters).await;
    assert_eq!(letters.len(), 3);
    for (code, _, word) in REFUSED {
        assert_eq!(proxy.seen("POST", &case.namespace(word)).len(), 1, "{word}");
        let letter = letters.iter().find(|one| one.json()["incident"]["namespace"] == json!(case.namespace(word)));
        let letter = letter.unwrap_or_else(|| panic!("a dead letter for {word}"));
        let detail = letter.header("breakwater-dead-letter-detail").expect("a detail");
        assert!(detail.contains(&code.to_string()) && detail.contains("spec.priority"), "{detail}");
        assert_eq!(letter.header("breakwater-dead-letter-reason").as_deref(), Some("refused"));
        case.objects(word, 0).await;
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// A ServiceAccount that may do all that the sink may, but creates only where it is let.
pub(crate) struct Limited {
    account: String,
    /// Who it is to the API server.
    pub(crate) kubeconfig: PathBuf,
    kube: Kube,
}

impl Limited {
    /// An account of the test's own; it may create nowhere yet.
    pub(crate) async fn new(case: &Case) -> Self {
        let account = format!("limited-{}", case.scope.name);
        let rule = |resource: &str, verbs: &[&str]| json!({ "apiGroups": ["remediation.kubernaut.io"], "resources": [resource], "verbs": verbs });
        let everywhere =
            [rule("remediationrequests", &["get", "list", "watch"]), rule("remediationrequests/status", &["patch"])];
        let create = [rule("remediationrequests", &["create"])];
        let (v1, creates) = (format!("{RBAC}/v1"), format!("{account}-creates"));
        for manifest in [
            json!({ "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": { "name": account, "namespace": "breakwater" } }),
            json!({ "apiVersion": v1, "kind": "ClusterRole", "metadata": { "name": account }, "rules": everywhere }),
            json!({ "apiVersion": v1, "kind": "ClusterRole", "metadata": { "name": creates }, "rules": create }),
            json!({ "apiVersion": v1, "kind": "ClusterRoleBinding", "metadata": { "name": account },
                    "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": account },
                    "subjects": Self::subjects(&account) }),
        ] {
            case.kube.apply(&manifest, false).await.expect("the rights are accepted");
        }
        let token = case.kube.token(&account).await;
        let kubeconfig = case.scope.path("kubeconfig-limited");
        write_kubeconfig(&kubeconfig, &case.kube.server().await, json!({ "token": token }));
        Self { account, kubeconfig, kube: case.kube.clone() }
    }

    fn subjects(account: &str) -> Value {
        json!([{ "kind": "ServiceAccount", "name": account, "namespace": "breakwater" }])
    }

    /// Lets it create in a namespace, and waits until the API server knows.
    pub(crate) async fn grant(&self, namespace: &str) {
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
            "metadata": { "name": self.account, "namespace": namespace },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": format!("{}-creates", self.account) },
            "subjects": Self::subjects(&self.account),
        });
        self.kube.apply(&binding, false).await.expect("the right is accepted");
        self.until_may(namespace, true).await;
    }

    /// Takes that right back, and waits until the API server knows.
    async fn withdraw(&self, namespace: &str) {
        let bindings: Api<RoleBinding> = Api::namespaced(self.kube.client.clone(), namespace);
        bindings.delete(&self.account, &DeleteParams::default()).await.expect("a binding can be deleted");
        self.until_may(namespace, false).await;
    }

    async fn until_may(&self, namespace: &str, expected: bool) {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client(&self.kubeconfig).await);
        let asked = json!({ "spec": { "resourceAttributes": { "group": "remediation.kubernaut.io", "verb": "create",
                                      "resource": "remediationrequests", "namespace": namespace } } });
        let asked: SelfSubjectAccessReview = serde_json::from_value(asked).expect("a review");
        until_eq(SOON, "the right to be as it was set", Some(expected), async || {
            let answer = reviews.create(&PostParams::default(), &asked).await.expect("everybody may ask");
            answer.status.map(|status| status.allowed)
        })
        .await;
    }
}

#[tokio::test]
async fn i10_no_right_in_one_namespace_leaves_the_others_alone() {
    let (case, mut stages) = Case::own("i10", &["a", "b"], unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let limited = Limited::new(&case).await;
    limited.grant(&case.namespace("b")).await;
    limited.grant(&case.fallback).await;
    stages.sink.kubeconfig.clone_from(&limited.kubeconfig);
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.post(&[strangers("A", &case.namespace("a"), 3), strangers("B", &case.namespace("b"), 3)].concat()).await;
    case.counted("b", 3, 1).await;
    case.settled().await;
    case.objects("a", 0).await;
    let letters = case.kafka.read(&case.dead_letters).await;
    let names: BTreeSet<String> = letters.iter().map(|one| one.json()["spec"]["signalName"].to_string()).collect();
    assert_eq!(names, ["\"A0\"", "\"A1\"", "\"A2\""].map(str::to_owned).into());
    let detail = letters[0].header("breakwater-dead-letter-detail").expect("a detail");
    assert!(detail.contains("403"), "{detail}");
    let in_a = format!("/{}/", case.namespace("a"));
    let codes =
        || -> Vec<u64> { asked_by(&Shared::get().audit, &limited.account, &in_a).iter().map(|one| one.code).collect() };
    until(SOON, "the audit log to have all", async || (codes().len() >= 3).then_some(())).await;
    assert_eq!(codes(), [403, 403, 403]);
}

/// A sink that is started now ends by itself, and says why.
async fn ends_saying(stages: &Deployment, why: &str) {
    let mut refused = Product::spawn("sink", &stages.sink);
    let end = refused.process.exit(SOON).await;
    assert_eq!(end.code(), Some(1), "{}", refused.process.last_lines());
    assert!(refused.process.printed().contains(why), "{}", refused.process.last_lines());
}

async fn is_not_ready(sink: &Product, why: &str) {
    until_ok(SOON, &format!("the sink not to be ready, for {why:?}"), async || {
        let page = sink.page("/readyz").await;
        if page.status == 503 && page.text().contains(why) { Ok(()) } else { Err(page.text()) }
    })
    .await;
}

#[tokio::test]
async fn i10_a_right_that_is_missing_altogether_stops_or_pauses_the_sink_and_sets_nothing_aside() {
    let words = ["a", "b", "c"];
    let (case, mut stages) = Case::own("i10r", &words, unlimited(), Shape { sink: 0, ..Shape::ONE }).await;
    let limited = Limited::new(&case).await;
    stages.sink.kubeconfig.clone_from(&limited.kubeconfig);
    let in_each = |name: &str| words.map(|word| strangers(name, &case.namespace(word), 3)).concat();
    case.post(&in_each("First")).await;
    ends_saying(&stages, "no right to create remediationrequests").await;
    assert!(case.kafka.committed(&case.groups[1], &case.remediations).await.is_empty());

    let namespaces = words.map(|word| case.namespace(word));
    let everywhere: Vec<&str> = namespaces.iter().map(String::as_str).chain([case.fallback.as_str()]).collect();
    for namespace in &everywhere {
        limited.grant(namespace).await;
    }
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    for word in words {
        case.counted(word, 3, 1).await;
    }
    case.settled().await;
    let committed = case.kafka.committed(&case.groups[1], &case.remediations).await;

    for namespace in &everywhere {
        limited.withdraw(namespace).await;
    }
    case.post(&in_each("Later")).await;
    is_not_ready(&stages.sinks[0], "no right to create remediationrequests any more").await;
    let refused = async || stages.sinks[0].metric("breakwater_sink_refusals_total", &["class=\"outage\""]).await >= 3.0;
    until_eq(SOON, "it to be tried again", true, refused).await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
    assert_eq!(case.kafka.committed(&case.groups[1], &case.remediations).await, committed);
    for namespace in &everywhere {
        limited.grant(namespace).await;
    }
    for word in words {
        case.counted(word, 6, 1).await;
    }
    case.settled().await;
    until_eq(SOON, "the sink to be ready", 200, async || stages.sinks[0].page("/readyz").await.status).await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}

fn definitions(kube: &Kube) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(kube.client.clone(), &ApiResource::from_gvk(&kind))
}

async fn take_away_the_kind(kube: &Kube) {
    let all = definitions(kube);
    let name = "remediationrequests.remediation.kubernaut.io";
    all.delete(name, &DeleteParams::default()).await.expect("a CRD can be deleted");
    until_ok(SOON, "the kind to be gone", async || match all.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("it is there".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    let requests = kube.requests("default");
    until_ok(SOON, "the kind not to be served", async || match requests.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Err(format!("{:?}", other.map(|list| list.items.len()))),
    })
    .await;
}

#[tokio::test]
async fn i13_no_crd_at_boot_and_i14_its_loss_at_run_time_lose_nothing() {
    let own = OwnApi::start(&ApiPlan::default()).await;
    let scope = Scope::new("i13");
    let mut setting = scope.setting(at_once());
    setting.kubeconfig.clone_from(&own.kubeconfig);
    let mut stages = Deployment::of(scope, setting, Shape { sink: 0, ..Shape::ONE }).await;
    let case = Case::of("i13", &["shop"], &stages).await;
    case.post(&strangers("Waits", &case.namespace("shop"), 3)).await;
    take_away_the_kind(&case.kube).await;

    ends_saying(&stages, "breakwater print crd").await;
    assert!(case.kafka.committed(&case.groups[1], &case.remediations).await.is_empty());
    case.kube.crd().await;
    stages.add(Shape { sink: 1, ..Shape::NONE }).await;
    case.counted("shop", 3, 1).await;
    case.settled().await;

    take_away_the_kind(&case.kube).await;
    let committed = case.kafka.committed(&case.groups[1], &case.remediations).await;
    case.post(&strangers("Later", &case.namespace("shop"), 3)).await;
    is_not_ready(&stages.sinks[0], "breakwater print crd").await;
    assert_eq!(case.kafka.committed(&case.groups[1], &case.remediations).await, committed);
    for manifest in manifests(&repository("schemas/crd.yaml")) {
        case.kube.apply(&manifest, false).await.expect("the CRD is accepted");
    }
    case.kube.crd().await;
    case.until("shop", "the later ones", |seen| {
        let later =
            |object: &&Value| object["spec"]["signalName"].as_str().is_some_and(|name| name.starts_with("Later"));
        seen.len() == 3 && seen.iter().filter(later).count() == 3 && seen.iter().all(|object| count(object) == 1)
    })
    .await;
    case.settled().await;
    assert_eq!(case.kafka.count(&case.dead_letters).await, 0);
}
