//! The API server: one call each; code, reason and `Retry-After` come out, and no policy. Nothing is tried again here,
//! but for one thing that is no refusal: a token that was rotated on disk is read anew when the old one is no longer taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use kube::{
    Api, Client, Config, Resource,
    api::{GetParams, ListParams, Patch, PatchParams, PostParams, Request as Requests},
    client::Body,
    core::Status,
};
use serde_json::json;

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

/// What is kept of a sentence of the API server.
const SENTENCE: usize = 1_000;
/// No answer makes the sink rest longer, whatever it says.
const LONGEST: Duration = Duration::from_mins(10);
/// The cause of a 403 that ends by itself; only then it is said instead of the reason.
const TERMINATING: &str = "NamespaceTerminating";
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

fn is_forbidden(answer: &Answer) -> bool {
    answer.code == 403 && answer.about == About::Object
}

/// A 403 is about this object, its quota, its namespace; or the right itself is missing, and no object is to blame. The
/// API server was asked which; without an answer it is asked all again.
fn entitled(forbidden: Answer, may: &Result<bool, Answer>) -> Answer {
    let about = match may {
        Ok(true) => About::Object,
        Ok(false) => About::Right,
        Err(_) => About::Caller,
    };
    Answer { about, ..forbidden }
}

fn shown(body: &[u8]) -> Result<Found, Answer> {
    let shown: Shown = serde_json::from_slice(body).map_err(|error| Answer {
        message: format!("the api server's answer cannot be read: {error}"),
        ..Answer::default()
    })?;
    Ok(shown.ours().map_or(Found::Stranger, |object| Found::Ours(Box::new(object))))
}

/// An answer that is no success. Judged later by its code: a throttled one may be plain text.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let told: Option<Status> = serde_json::from_slice(body).ok();
    let text = |body| crate::remediation::fit::cut(&String::from_utf8_lossy(body), SENTENCE);
    let header = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let details = told.as_ref().and_then(|told| told.details.as_ref());
    let causes = details.into_iter().flat_map(|details| &details.causes);
    let mut causes = causes.map(|cause| cause.reason.as_str());
    let terminating = causes.find(|reason| *reason == TERMINATING);
    let seconds =
        header.and_then(|value| value.parse().ok()).or(details.map(|details| details.retry_after_seconds.into()));
    Answer {
        code: status.as_u16(),
        about: about(status, told.as_ref()),
        field: details
            .and_then(|details| details.causes.first())
            .map(|cause| cause.field.clone())
            .filter(|field| !field.is_empty()),
        retry_after: seconds.filter(|seconds| *seconds > 0).map(|seconds| LONGEST.min(Duration::from_secs(seconds))),
        message: told.as_ref().map_or_else(|| text(body), |told| text(told.message.as_bytes())),
        reason: terminating
            .map_or_else(|| told.as_ref().map(|told| told.reason.clone()).unwrap_or_default(), str::to_owned),
    }
}

/// A 404 of the object names it, one of the namespace names that; one of the kind names nothing. A kind that is being
/// taken away refuses creates with 403, and only the sentence tells (kube-apiserver 1.35).
fn about(status: StatusCode, told: Option<&Status>) -> About {
    let details = told.and_then(|told| told.details.as_ref());
    let owned = |reason: &str| reason == "FieldManagerConflict";
    match details {
        Some(_)
            if told.is_some_and(|told| told.message.contains("while custom resource definition is terminating")) =>
        {
            About::Kind
        }
        Some(details) if details.causes.iter().any(|cause| owned(&cause.reason)) => About::OwnedField,
        Some(details) if status == StatusCode::NOT_FOUND && details.kind == "namespaces" => About::Namespace,
        Some(details) if !details.name.is_empty() => About::Object,
        Some(_) | None if status == StatusCode::NOT_FOUND => About::Kind,
        Some(_) | None => About::Object,
    }
}

/// No answer came; perhaps the call was applied. The cause without the address.
fn unanswered(error: &kube::Error) -> Answer {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Answer { message: crate::remediation::fit::cut(&cause.to_string(), SENTENCE), ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use wiremock::{Match, Mock, MockServer, Request as Asked, ResponseTemplate, matchers};

    use super::*;
    use crate::{
        decide::refusal::{self, Refusal, judge},
        sink::{
            object::shape,
            specimen::{draft, seen, single},
        },
    };

    async fn api(server: &MockServer) -> Kubernetes {
        let config = Config::new(server.uri().parse().unwrap());
        Kubernetes::new(config, Duration::from_millis(500)).unwrap()
    }

    fn object() -> RemediationRequest {
        let incident = single("a", 1);
        shape(
            &draft(&incident, seen(&incident, 1, 1), "a"),
            &ObjectId::new("shop", &incident.name),
            Some("00-trace-01"),
        )
    }

    /// What a create hears when the server answers like this, and how often the server was asked.
    async fn create(answer: ResponseTemplate) -> (Result<Found, Answer>, usize) {
        let server = MockServer::start().await;
        Mock::given(matchers::method("POST")).respond_with(answer).mount(&server).await;
        let heard = api(&server).await.create(&object()).await;
        let asked = server.received_requests().await.unwrap();
        (heard, asked.iter().filter(|one| one.url.path().ends_with("/remediationrequests")).count())
    }

    fn status(code: u16, reason: &str, details: serde_json::Value) -> ResponseTemplate {
        let body = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "m", "details": details });
        ResponseTemplate::new(code).set_body_json(body)
    }

    #[tokio::test]
    async fn i06_a_plain_text_429_is_throttled_with_what_its_header_says_and_asked_once() {
        let most = u64::MAX.to_string();
        for (header, told) in
            [("2", Some(Duration::from_secs(2))), ("0", None), ("soon", None), (most.as_str(), Some(LONGEST))]
        {
            let answer =
                ResponseTemplate::new(429).set_body_string("Too many requests\n").insert_header("retry-after", header);
            let (heard, asked) = create(answer).await;
            assert_eq!(judge(refusal::Asked::Create, &heard.unwrap_err()), Refusal::Throttled { told });
            assert_eq!(asked, 1);
        }
    }

    #[tokio::test]
    async fn i04_retry_after_is_taken_from_the_status_where_no_header_has_it() {
        let (heard, asked) = create(status(503, "ServiceUnavailable", json!({ "retryAfterSeconds": 5 }))).await;
        assert_eq!((heard.unwrap_err().retry_after, asked), (Some(Duration::from_secs(5)), 1));
    }

    #[tokio::test]
    async fn i05_i09_code_reason_and_field_come_out_and_nothing_is_tried_again() {
        for code in [400, 403, 409, 413, 422, 500, 502, 504] {
            let (heard, asked) =
                create(status(code, "Why", json!({ "name": "a", "causes": [{ "field": "spec.priority" }] }))).await;
            let heard = heard.unwrap_err();
            assert_eq!(
                (heard.code, heard.reason.as_str(), heard.field.as_deref(), asked),
                (code, "Why", Some("spec.priority"), 1)
            );
        }
    }

    #[tokio::test]
    async fn i16_a_namespace_that_is_terminating_is_named_as_the_cause() {
        let details = json!({ "causes": [{ "reason": "NamespaceTerminating", "field": "metadata.namespace" }] });
        let heard = create(status(403, "Forbidden", details)).await.0.unwrap_err();
        assert_eq!(heard.reason, "NamespaceTerminating");
        assert_eq!(judge(refusal::Asked::Create, &heard), Refusal::Poison);
    }

    #[tokio::test]
    async fn i10_a_403_is_about_us_where_the_api_server_says_that_we_may_not_at_all() {
        for (review, about) in [
            (ResponseTemplate::new(201).set_body_json(json!({ "status": { "allowed": true } })), About::Object),
            (ResponseTemplate::new(201).set_body_json(json!({ "status": { "allowed": false } })), About::Right),
            (ResponseTemplate::new(403), About::Object),
            (ResponseTemplate::new(500), About::Caller),
        ] {
            let server = MockServer::start().await;
            let reviews = matchers::path("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
            let home = json!({ "spec": { "resourceAttributes": { "verb": "create", "namespace": "home" } } });
            let asked = Mock::given(reviews).and(matchers::body_partial_json(home));
            asked.respond_with(review).expect(1).mount(&server).await;
            let forbidden = status(403, "Forbidden", json!({ "kind": "remediationrequests" }));
            Mock::given(matchers::any()).respond_with(forbidden).mount(&server).await;
            let heard = api(&server).await.falling_back_to("home").create(&object()).await;
            assert_eq!(heard.unwrap_err().about, about);
        }
    }

    #[tokio::test]
    async fn a_403_is_about_us_from_the_first_silence_until_something_is_taken() {
        let server = MockServer::start().await;
        let forbidden = || status(403, "Forbidden", json!({ "name": "a" }));
        let silent = ResponseTemplate::new(200).set_delay(Duration::from_secs(5));
        for (answer, times) in [(forbidden(), 1), (silent, 1), (forbidden(), 2), (ResponseTemplate::new(200), 1)] {
            Mock::given(matchers::any()).respond_with(answer).up_to_n_times(times).mount(&server).await;
        }
        Mock::given(matchers::any()).respond_with(forbidden()).mount(&server).await;
        let api = api(&server).await;
        let mut heard = Vec::new();
        for _ in 0..6 {
            heard.push(api.answers().await.map_err(|answer| (answer.code, answer.about)));
        }
        let (object, us) = (Err((403, About::Object)), Err((403, About::Caller)));
        assert_eq!(heard, [object, Err((0, About::Object)), us, us, Ok(()), object]);
    }

    #[tokio::test]
    async fn i14_h07_a_404_says_what_is_not_there() {
        let namespace = status(404, "NotFound", json!({ "name": "shop", "kind": "namespaces" }));
        assert_eq!(create(namespace).await.0.unwrap_err().about, About::Namespace);
        let plain = ResponseTemplate::new(404).set_body_string("404 page not found");
        assert_eq!(create(plain).await.0.unwrap_err().about, About::Kind);
        let going = json!({ "kind": "Status", "code": 403, "reason": "Forbidden", "details": { "name": "a" },
            "message": "a is forbidden: create not allowed while custom resource definition is terminating" });
        let heard = create(ResponseTemplate::new(403).set_body_json(going)).await.0.unwrap_err();
        assert_eq!(judge(refusal::Asked::Create, &heard), Refusal::Outage);
    }

    #[tokio::test]
    async fn i08_i18_no_answer_is_transient_and_names_no_address() {
        let (heard, _) = create(ResponseTemplate::new(201).set_delay(Duration::from_secs(60))).await;
        assert_eq!(judge(refusal::Asked::Create, &heard.unwrap_err()), Refusal::Transient);
        let gone = Config::new("http://127.0.0.1:1".parse().unwrap());
        let heard = Kubernetes::new(gone, Duration::from_secs(5)).unwrap().create(&object()).await.unwrap_err();
        assert_eq!(
            (judge(refusal::Asked::Create, &heard), heard.message.contains("127.0.0.1")),
            (Refusal::Transient, false)
        );
    }

    #[tokio::test]
    async fn i11_i12_a_401_is_asked_once_more_with_the_token_read_anew() {
        let server = MockServer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "old").unwrap();
        let mut config = Config::new(server.uri().parse().unwrap());
        config.auth_info.token_file = Some(token.to_string_lossy().into_owned());
        let kubernetes = Kubernetes::new(config, Duration::from_secs(5)).unwrap();
        Mock::given(matchers::header("authorization", "Bearer new"))
            .respond_with(ResponseTemplate::new(200))
            .mount(&server)
            .await;
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
        assert_eq!(kubernetes.answers().await.unwrap_err().code, 401, "a token that nobody rotated stays refused");
        std::fs::write(&token, "new").unwrap();
        assert_eq!(kubernetes.answers().await, Ok(()));
    }

    #[tokio::test]
    async fn i10_rights_are_asked_for_and_only_a_clear_no_is_one() {
        for (code, body, may) in [
            (201, json!({ "status": { "allowed": true } }), true),
            (201, json!({ "status": { "allowed": false } }), false),
            (403, json!({}), true),
        ] {
            let server = MockServer::start().await;
            Mock::given(matchers::path("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"))
                .respond_with(ResponseTemplate::new(code).set_body_json(body))
                .mount(&server)
                .await;
            assert_eq!(api(&server).await.may("create", "").await, Ok(may));
        }
    }

    struct IsOurApply;

    impl Match for IsOurApply {
        fn matches(&self, request: &Asked) -> bool {
            let query = request.url.query().unwrap_or_default();
            let body: serde_json::Value = request.body_json().unwrap();
            query.contains("fieldManager=breakwater")
                && !query.contains("force=true")
                && body["metadata"]["resourceVersion"] == "7"
                && body["status"]["severity"] == "critical"
                && body["status"].get("overallPhase").is_none()
                && body.get("spec").is_none()
        }
    }

    #[tokio::test]
    async fn i25_a_status_is_applied_unforced_under_the_version_last_seen_and_holds_our_fields_only() {
        let server = MockServer::start().await;
        let mut shown = serde_json::to_value(object()).unwrap();
        shown["metadata"]["resourceVersion"] = json!("8");
        let path = "/apis/remediation.kubernaut.io/v1alpha1/namespaces/shop/remediationrequests/x/status";
        let applied = Mock::given(matchers::method("PATCH")).and(matchers::path(path)).and(IsOurApply);
        applied.respond_with(ResponseTemplate::new(200).set_body_json(shown)).mount(&server).await;
        let status =
            RemediationRequestStatus { severity: Some("critical".to_owned()), ..RemediationRequestStatus::default() };
        let found = api(&server).await.apply_status(&ObjectId::new("shop", "x"), "7", &status).await.unwrap();
        assert!(matches!(found, Found::Ours(object) if object.version == "8"));
    }

    #[tokio::test]
    async fn e23_an_object_without_our_label_is_a_stranger() {
        let server = MockServer::start().await;
        let mut shown = serde_json::to_value(object()).unwrap();
        shown["metadata"]["labels"] = json!({ "breakwater.io/fingerprint": "another" });
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200).set_body_json(shown)).mount(&server).await;
        assert!(matches!(api(&server).await.read(&ObjectId::new("shop", "x")).await, Ok(Found::Stranger)));
    }
}
