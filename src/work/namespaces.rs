//! Labels of namespaces, watched: no call per alert. When the API is away, the last known ones serve.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio_util::sync::CancellationToken;

use crate::{decide::draft::NamespaceLabels, lifecycle::StageError, telemetry::complaint::Complaint};

/// Labels by the namespace's name.
type Labels = HashMap<String, BTreeMap<String, String>>;

/// The labels of all namespaces, as last seen.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(Arc<RwLock<Labels>>);

impl Namespaces {
    /// Sets what a namespace bears, as a fixture does.
    pub fn set(&self, namespace: &str, labels: BTreeMap<String, String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), labels);
    }

    fn take(&self, event: watcher::Event<Namespace>, listed: &mut Labels) -> bool {
        let entry = |namespace: &Namespace| (namespace.name_any(), namespace.labels().clone());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(namespace) => listed.extend([entry(&namespace)]),
            watcher::Event::InitDone => {
                *known = std::mem::take(listed);
                return true;
            }
            watcher::Event::Apply(namespace) => known.extend([entry(&namespace)]),
            watcher::Event::Delete(namespace) => {
                known.remove(&namespace.name_any());
            }
        }
        false
    }
}

impl NamespaceLabels for Namespaces {
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }
}

/// Watches until told to stop. `whole` is told once the list is whole, or has not come within `patience`: then
/// patterns and the default serve until it does. The API may be away afterwards; the last known labels serve.
///
/// # Errors
/// None: the API server may be away for as long as it likes.
pub async fn watch(
    namespaces: Namespaces,
    client: Client,
    patience: Duration,
    whole: CancellationToken,
    stop: CancellationToken,
) -> Result<(), StageError> {
    let complaint = Complaint::new("namespace labels can't be watched; the last known ones serve");
    let mut events = watcher(Api::<Namespace>::all(client), watcher::Config::default()).default_backoff().boxed();
    let mut listed = HashMap::new();
    let patience = tokio::time::sleep(patience);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = &mut patience, if !whole.is_cancelled() => whole.cancel(),
            event = events.next() => match event {
                Some(Ok(event)) => {
                    complaint.settle();
                    if namespaces.take(event, &mut listed) {
                        whole.cancel();
                    }
                }
                Some(Err(error)) => complaint.raise(&error),
                None => return Ok(()),
            },
        }
    }
}
