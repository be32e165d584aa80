//! Eyes and hands on the API server: namespaces, RemediationRequests as plain JSON, whoever remediates, and the
//! rights that `deploy/` gives to a stage.

use super::repository;
use super::wait::until_ok;
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope as Reach, pinned_kind};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);
/// The namespace that `deploy/` puts us into.
const HOME: &str = "breakwater";

/// An API server, seen by its admin.
#[derive(Clone)]
pub struct Kube {
    /// The client, for what is not offered here.
    pub client: Client,
    kubeconfig: PathBuf,
}

impl Kube {
    /// The API server of a kubeconfig.
    pub async fn of(kubeconfig: &Path) -> Self {
        Self { client: client(kubeconfig).await, kubeconfig: kubeconfig.to_owned() }
    }

    /// Applies `schemas/crd.yaml` and waits until the kind is served.
    pub async fn crd(&self) {
        for manifest in manifests(&repository("schemas/crd.yaml")) {
            self.apply(&manifest, false).await.expect("the CRD is accepted");
        }
        let requests: Api<DynamicObject> = Api::all_with(self.client.clone(), &remediation_request());
        until_ok(PATIENCE, "RemediationRequests to be served", async || requests.list(&ListParams::default()).await)
            .await;
    }

    /// Applies any manifest on the server's side, or only asks whether it would be accepted.
    pub async fn apply(&self, manifest: &Value, dry_run: bool) -> kube::Result<()> {
        self.apply_so(manifest, PatchParams { dry_run, ..PatchParams::apply("harness") }).await
    }

    /// Asks whether a manifest would be accepted in which each field must be known.
    pub async fn apply_strictly(&self, manifest: &Value) -> kube::Result<()> {
        let strictly = Some(ValidationDirective::Strict);
        let how = PatchParams { dry_run: true, field_validation: strictly, ..PatchParams::apply("harness") };
        self.apply_so(manifest, how).await
    }

    async fn apply_so(&self, manifest: &Value, how: PatchParams) -> kube::Result<()> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let kind = GroupVersionKind::gvk(group, version, text("/kind"));
        let (resource, abilities) = pinned_kind(&self.client, &kind).await?;
        let api: Api<DynamicObject> = match abilities.scope {
            Reach::Cluster => Api::all_with(self.client.clone(), &resource),
            Reach::Namespaced => Api::namespaced_with(self.client.clone(), text("/metadata/namespace"), &resource),
        };
        let how = how.force();
        api.patch(text("/metadata/name"), &how, &Patch::Apply(manifest)).await.map(|_| ())
    }

    /// Makes a namespace with labels.
    pub async fn namespace(&self, name: &str, labels: Value) {
        let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        self.apply(&made, false).await.expect("a namespace can be made");
    }

    /// Deletes a namespace: without a controller manager it stays, terminating, for ever.
    pub async fn terminate(&self, name: &str) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.delete(name, &DeleteParams::default()).await.expect("a namespace can be deleted");
    }

    /// Lets go of a namespace that is terminating, as the controller manager does once it is empty; then it is gone.
    pub async fn finalize(&self, name: &str) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        let mut held = all.get(name).await.expect("a terminating namespace is there");
        held.spec = Some(k8s_openapi::api::core::v1::NamespaceSpec::default());
        let held: Result<Namespace, _> = all.replace_subresource("finalize", name, &PostParams::default(), &held).await;
        held.expect("it can be let go");
        until_ok(PATIENCE, "the namespace to be gone", async || match all.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|namespace| namespace.is_some()))),
        })
        .await;
    }

    /// The RemediationRequests of a namespace, by name.
    pub fn requests(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &remediation_request())
    }

    /// What lies in a namespace now, whole, as JSON, in the order of names. A server that has just come back says 429
    /// for a moment.
    pub async fn list(&self, namespace: &str) -> Vec<Value> {
        let requests = self.requests(namespace);
        let list = async || requests.list(&ListParams::default()).await;
        let listed = until_ok(PATIENCE, "objects to be listed", list).await;
        listed.items.into_iter().map(|object| serde_json::to_value(object).expect("an object is JSON")).collect()
    }

    /// Waits until a namespace holds exactly that many objects, and returns them.
    pub async fn wait_for(&self, namespace: &str, count: usize, deadline: Duration) -> Vec<Value> {
        let what = format!("{count} objects in {namespace}");
        until_ok(deadline, &what, async || {
            let seen = self.list(namespace).await;
            if seen.len() == count { Ok(seen) } else { Err(format!("there are {}", seen.len())) }
        })
        .await
    }

    /// Sets `status.overallPhase` as whoever remediates does, under another field manager.
    pub async fn phase(&self, namespace: &str, name: &str, phase: &str) {
        let how = PatchParams { field_manager: Some("remediator".to_owned()), ..PatchParams::default() };
        let status = json!({ "status": { "overallPhase": phase } });
        self.requests(namespace).patch_status(name, &how, &Patch::Merge(&status)).await.expect("a phase can be set");
    }

    /// Deletes one object.
    pub async fn delete(&self, namespace: &str, name: &str) {
        self.requests(namespace).delete(name, &DeleteParams::default()).await.expect("an object can be deleted");
    }

    /// Begins to note every object that is ever seen in a namespace.
    pub async fn record(&self, namespace: &str) -> Recorder {
        Recorder::start(self.requests(namespace)).await
    }

    /// A kubeconfig with the rights that `deploy/base/rbac.yaml` gives to a stage, and no others.
    pub async fn kubeconfig_of(&self, stage: &str, file: &Path) {
        self.namespace(HOME, json!({})).await;
        for manifest in manifests(&repository("deploy/base/rbac.yaml")) {
            self.apply(&manifest, false).await.expect("the rights are accepted");
        }
        let token = self.token(&format!("breakwater-{stage}")).await;
        write_kubeconfig(file, &self.server().await, json!({ "token": token }));
    }

    /// A token for a ServiceAccount of `deploy/`, good for an hour.
    pub async fn token(&self, account: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), HOME);
        let wanted = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let minted = accounts.create_token_request(account, &PostParams::default(), &wanted).await;
        minted.expect("a token can be minted").status.expect("with a status").token
    }

    /// Where the API server listens.
    pub async fn server(&self) -> String {
        config(&self.kubeconfig).await.cluster_url.to_string().trim_end_matches('/').to_owned()
    }
}

/// When an object was first seen, and every status that it has shown since.
type Noted = (Instant, Vec<Value>);

/// Notes every object of a namespace that was ever there, by name: "and no other at any time".
pub struct Recorder {
    seen: Arc<Mutex<BTreeMap<String, Noted>>>,
    _task: JoinSet<()>,
}

impl Recorder {
    /// Every name seen since the recorder began, also of objects that are gone.
    pub fn names(&self) -> BTreeSet<String> {
        self.seen.lock().expect("nobody panics while noting").keys().cloned().collect()
    }

    /// Every status that an object has shown, in order; one that it was created without is none.
    pub fn statuses(&self, name: &str) -> Vec<Value> {
        self.seen
            .lock()
            .expect("nobody panics while noting")
            .get(name)
            .cloned()
            .map(|(_, statuses)| statuses)
            .unwrap_or_default()
    }

    /// When each object was first seen, by name.
    pub fn times(&self) -> BTreeMap<String, Instant> {
        let seen = self.seen.lock().expect("nobody panics while noting");
        seen.iter().map(|(name, (at, _))| (name.clone(), *at)).collect()
    }

    async fn start(api: Api<DynamicObject>) -> Self {
        let (seen, mut task) = (Arc::new(Mutex::new(BTreeMap::new())), JoinSet::new());
        let (began, beginning) = tokio::sync::oneshot::channel();
        let (notes, mut began) = (Arc::clone(&seen), Some(began));
        task.spawn(async move {
            let mut events =
                pin!(kube::runtime::WatchStreamExt::default_backoff(watcher::watcher(api, watcher::Config::default())));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => {
                        let mut notes = notes.lock().expect("nobody panics while noting");
                        let fresh = || (Instant::now(), Vec::new());
                        let noted: &mut Noted =
                            notes.entry(object.metadata.name.unwrap_or_default()).or_insert_with(fresh);
                        let statuses = &mut noted.1;
                        let status = object.data.get("status").cloned().filter(|status| !status.is_null());
                        statuses.extend(status.filter(|status| statuses.last() != Some(status)));
                    }
                    Ok(Event::InitDone) => drop(began.take().map(|began| began.send(()))),
                    Ok(Event::Init) | Err(_) => {}
                }
            }
        });
        beginning.await.expect("the watch begins");
        Self { seen, _task: task }
    }
}

/// The kind that we write.
pub fn remediation_request() -> ApiResource {
    let kind = GroupVersionKind::gvk("remediation.kubernaut.io", "v1alpha1", "RemediationRequest");
    ApiResource::from_gvk_with_plural(&kind, "remediationrequests")
}

/// The documents of a YAML file.
pub fn manifests(file: &Path) -> Vec<Value> {
    documents(&std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("no YAML: {error}"))
}

/// A client without retries of its own: an answer is what the server said.
pub async fn client(kubeconfig: &Path) -> Client {
    let mut config = config(kubeconfig).await;
    config.default_retry = false;
    Client::try_from(config).expect("a client can be made")
}

/// What a kubeconfig says.
pub async fn config(kubeconfig: &Path) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig can be read");
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a kubeconfig is whole")
}

/// The token that a kubeconfig of ours shows to the server.
pub fn token_in(kubeconfig: &Path) -> String {
    let parts = manifests(kubeconfig);
    let token = parts.first().and_then(|whole| whole.pointer("/users/0/user/token")).and_then(Value::as_str);
    token.expect("a kubeconfig of the harness has a token").to_owned()
}

/// Writes a kubeconfig; `user` is its credential, such as `{"token": …}` or `{"tokenFile": …}`.
/// The server's certificate is its own, made anew at each start: it is not verified here.
pub fn write_kubeconfig(file: &Path, server: &str, user: Value) {
    let mut cluster = json!({ "server": server });
    if server.starts_with("https") {
        cluster["insecure-skip-tls-verify"] = json!(true);
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{ "name": "tests", "cluster": cluster }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "user" } }],
    });
    std::fs::write(file, config.to_string()).expect("a kubeconfig can be written");
}
