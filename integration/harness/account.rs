//! Credentials of a test's own, which it may take away: the shared ServiceAccounts of `deploy/` belong to all tests.

use super::case::SOON;
use super::kube::{Kube, client, remediation_request, write_kubeconfig};
use super::wait::until_ok;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::json;
use std::path::Path;

const HOME: &str = "breakwater";

/// A ServiceAccount with the rights of a stage.
pub struct Account {
    /// Its name, in the namespace that `deploy/` puts us into.
    pub name: String,
    kube: Kube,
}

/// A token that is good for as long as a Secret lies there.
pub struct Token {
    /// What is shown to the API server.
    pub text: String,
    secret: String,
}

impl Account {
    /// A new account that may do what `deploy/base/rbac.yaml` lets a stage do; its roles must be there.
    pub async fn like(kube: &Kube, stage: &str, name: &str) -> Self {
        let rbac = "rbac.authorization.k8s.io";
        for manifest in [
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": HOME } }),
            json!({ "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
                    "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": format!("breakwater-{stage}") },
                    "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": HOME }] }),
        ] {
            kube.apply(&manifest, false).await.expect("the rights are accepted");
        }
        Self { name: name.to_owned(), kube: kube.clone() }
    }

    /// Mints a token that can be revoked.
    pub async fn token(&self, word: &str) -> Token {
        let secret = format!("{}-{word}", self.name);
        let manifest =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": secret, "namespace": HOME } });
        self.kube.apply(&manifest, false).await.expect("a secret can be made");
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(secret.clone()),
            uid: None,
        };
        let spec = TokenRequestSpec { bound_object_ref: Some(bound), ..TokenRequestSpec::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.kube.client.clone(), HOME);
        let wanted = TokenRequest { spec, ..TokenRequest::default() };
        let minted = accounts.create_token_request(&self.name, &PostParams::default(), &wanted).await;
        Token { text: minted.expect("a token can be minted").status.expect("with a status").token, secret }
    }

    /// Revokes a token, and waits until the API server has forgotten that it was good: that takes it up to 10 s.
    pub async fn revoke(&self, token: &Token, folder: &Path) {
        let secrets: Api<Secret> = Api::namespaced(self.kube.client.clone(), HOME);
        secrets.delete(&token.secret, &DeleteParams::default()).await.expect("a secret can be deleted");
        let file = folder.join(format!("kubeconfig-{}", token.secret));
        write_kubeconfig(&file, &self.kube.server().await, json!({ "token": token.text }));
        let requests: Api<DynamicObject> = Api::all_with(client(&file).await, &remediation_request());
        until_ok(SOON, "the token not to be taken", async || match requests.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
            other => Err(format!("{:?}", other.map(|list| list.items.len()))),
        })
        .await;
    }
}
