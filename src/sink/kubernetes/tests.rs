use wiremock::{Match, Mock, MockServer, Request as Asked, ResponseTemplate, matchers};

use super::{answers::LONGEST, *};
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
    shape(&draft(&incident, seen(&incident, 1, 1), "a"), &ObjectId::new("shop", &incident.name), Some("00-trace-01"))
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
