//! The API server: one call each; code, reason and `Retry-After` come out, and no policy. Nothing is tried again here,
//! but for one thing that is no refusal: a token that was rotated on disk is read anew when the old one is no longer taken.

mod answers;
mod rights;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request};
use kube::{
    Api, Client, Config, Resource,
    api::{GetParams, ListParams, Patch, PatchParams, PostParams, Request as Requests},
    client::Body,
};
use serde_json::json;

use self::{
    answers::{refused, shown, unanswered},
    rights::{entitled, is_forbidden},
};
use super::{
    Objects,
    desk::Found,
    object::{ObjectId, Shown},
};
use crate::{
    decide::refusal::{About, Answer},
    remediation::{
        crd::{RemediationRequest, RemediationRequestStatus},
        mark,
    },
};

/// A quiet watch is ended by the server before that; a dead one is noticed then.
const WATCH_SILENCE: Duration = Duration::from_mins(6);

/// The API server. Clones share it.
#[derive(Clone)]
pub struct Kubernetes {
    config: Config,
    client: Arc<ArcSwap<Client>>,
    /// Where we must be able to create, whatever namespaces are ours beside it.
    fallback: Option<Arc<str>>,
    timeout: Duration,
    /// Nothing was taken since the API server gave no answer: it may have come back and not know our rights yet.
    shaken: Arc<AtomicBool>,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kubernetes").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The client could not be made from what is configured.
#[derive(Debug, thiserror::Error)]
#[error("the client of the kubernetes api cannot be made from its configuration")]
pub struct Unusable(#[source] kube::Error);

impl Kubernetes {
    /// A client whose calls end within `timeout`. Nothing is asked yet.
    pub fn new(mut config: Config, timeout: Duration) -> Result<Self, Unusable> {
        config.default_retry = false; // a 429 would be slept on inside the client, invisible to the budget
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        let client = Client::try_from(config.clone()).map_err(Unusable)?;
        let client = Arc::new(ArcSwap::from_pointee(client));
        Ok(Self { config, client, fallback: None, timeout, shaken: Arc::default() })
    }

    /// The same, with the namespace in which a sink has a right to create if it has any.
    #[must_use]
    pub fn falling_back_to(self, namespace: &str) -> Self {
        Self { fallback: Some(namespace.into()), ..self }
    }

    /// The kind, for a watch: by a client of its own, since a quiet watch is not a slow answer.
    pub fn watched(&self) -> Result<Api<Shown>, Unusable> {
        let mut config = self.config.clone();
        config.read_timeout = Some(WATCH_SILENCE);
        Ok(Api::all(Client::try_from(config).map_err(Unusable)?))
    }

    /// Whether the kind is served and may be listed by us.
    pub async fn served(&self) -> Result<(), Answer> {
        let requests = Requests::new(RemediationRequest::url_path(&(), None));
        self.ask(requests.list(&ListParams::default().limit(1))).await.map(drop)
    }

    /// Whether the API server answers at all.
    pub async fn answers(&self) -> Result<(), Answer> {
        let version = Request::builder().method(Method::GET).uri("/version").body(Vec::new());
        self.ask(version.map_err(kube::core::request::Error::BuildRequest)).await.map(drop)
    }

    async fn ask(&self, request: Result<Request<Vec<u8>>, kube::core::request::Error>) -> Result<Bytes, Answer> {
        let request = request.map_err(|error| Answer { code: 400, message: error.to_string(), ..Answer::default() })?;
        let first = self.send(request.clone()).await;
        match first {
            Err(answer) if answer.code == 401 && self.read_token_anew() => self.send(request).await,
            // for a second after its start an API server has read no role yet, and forbids everybody everything (1.35)
            Err(answer)
                if answer.code == 403 && answer.about == About::Object && self.shaken.load(Ordering::Relaxed) =>
            {
                Err(Answer { about: About::Caller, ..answer })
            }
            other => other,
        }
    }

    fn read_token_anew(&self) -> bool {
        match Client::try_from(self.config.clone()) {
            Ok(client) => {
                self.client.store(Arc::new(client));
                true
            }
            Err(_) => false,
        }
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Bytes, Answer> {
        let client = Client::clone(&self.client.load());
        let exchange = async {
            let (head, body) = client.send(request.map(Body::from)).await?.into_parts();
            Ok::<_, kube::Error>((head.status, head.headers, body.collect_bytes().await?))
        };
        let answer = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok((status, _, body))) if status.is_success() => Ok(body),
            Ok(Ok((status, headers, body))) => Err(refused(status, &headers, &body)),
            Ok(Err(error)) => Err(unanswered(&error)),
            Err(_) => Err(Answer { message: format!("no answer within {:?}", self.timeout), ..Answer::default() }),
        };
        match &answer {
            Ok(_) => self.shaken.store(false, Ordering::Relaxed),
            Err(answer) if answer.code == 0 => self.shaken.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        answer
    }
}

impl Objects for Kubernetes {
    async fn create(&self, object: &RemediationRequest) -> Result<Found, Answer> {
        let namespace = object.metadata.namespace.as_deref();
        let requests = Requests::new(RemediationRequest::url_path(&(), namespace));
        let params = PostParams { field_manager: Some(mark::MANAGER.to_owned()), ..PostParams::default() };
        let body = serde_json::to_vec(object).expect("an object of strings and numbers is JSON");
        match self.ask(requests.create(&params, body)).await {
            Err(answer) if is_forbidden(&answer) => Err(entitled(answer, &self.may_create().await)),
            heard => heard.and_then(|body| shown(&body)),
        }
    }

    async fn apply_status(
        &self,
        id: &ObjectId,
        version: &str,
        status: &RemediationRequestStatus,
    ) -> Result<Found, Answer> {
        let requests = Requests::new(RemediationRequest::url_path(&(), Some(&id.namespace)));
        let applied = json!({
            "apiVersion": RemediationRequest::api_version(&()),
            "kind": RemediationRequest::kind(&()),
            "metadata": { "name": &*id.name, "resourceVersion": version },
            "status": status,
        });
        let params = PatchParams::apply(mark::MANAGER); // never forced: other managers' fields are never taken
        let request = requests.patch_subresource("status", &id.name, &params, &Patch::Apply(&applied));
        match self.ask(request).await {
            Err(answer) if is_forbidden(&answer) => Err(entitled(answer, &self.may("patch", "status").await)),
            heard => heard.and_then(|body| shown(&body)),
        }
    }

    async fn read(&self, id: &ObjectId) -> Result<Found, Answer> {
        let requests = Requests::new(RemediationRequest::url_path(&(), Some(&id.namespace)));
        self.ask(requests.get(&id.name, &GetParams::default())).await.and_then(|body| shown(&body))
    }
}
