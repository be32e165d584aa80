//! What the sink may do, as the API server says.

use kube::{
    Resource,
    api::{PostParams, Request as Requests},
};
use serde_json::json;

use super::Kubernetes;
use crate::{
    decide::refusal::{About, Answer},
    remediation::crd::RemediationRequest,
};

impl Kubernetes {
    /// Whether we may do that to our kind in every namespace, as the API server says. Where it does not let us ask,
    /// nobody knows better.
    pub async fn may(&self, verb: &str, subresource: &str) -> Result<bool, Answer> {
        self.may_in(None, verb, subresource).await
    }

    /// Whether we may create where whatever has no namespace of its own goes: who may not create there may not create.
    pub async fn may_create(&self) -> Result<bool, Answer> {
        self.may_in(self.fallback.as_deref(), "create", "").await
    }

    async fn may_in(&self, namespace: Option<&str>, verb: &str, subresource: &str) -> Result<bool, Answer> {
        let asked = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "group": RemediationRequest::group(&()),
                "resource": RemediationRequest::plural(&()),
                "namespace": namespace,
                "verb": verb,
                "subresource": subresource,
            } },
        });
        let body = serde_json::to_vec(&asked).expect("strings are JSON");
        let requests = Requests::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        match self.ask(requests.create(&PostParams::default(), body)).await {
            Ok(review) => {
                let review: serde_json::Value = serde_json::from_slice(&review).unwrap_or_default();
                Ok(review["status"]["allowed"] != json!(false))
            }
            Err(Answer { code: 403 | 404, .. }) => Ok(true),
            Err(answer) => Err(answer),
        }
    }
}

pub(super) fn is_forbidden(answer: &Answer) -> bool {
    answer.code == 403 && answer.about == About::Object
}

/// A 403 is about this object, its quota, its namespace; or the right itself is missing, and no object is to blame. The
/// API server was asked which; without an answer it is asked all again.
pub(super) fn entitled(forbidden: Answer, may: &Result<bool, Answer>) -> Answer {
    let about = match may {
        Ok(true) => About::Object,
        Ok(false) => About::Right,
        Err(_) => About::Caller,
    };
    Answer { about, ..forbidden }
}
