//! Who comes in, at the door's router; Kubernetes as the judge is a script.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use futures::future::join_all;
use http::{HeaderMap, Request, Response, request::Builder};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Auth, Judge, Tokens};
use crate::ingest::{
    Guard, router,
    tests::{Answer, GOOD, PROMETHEUS, alone_with, guarded, policy, request, send, webhook},
};

const ALIAS: &str = "/webhook/prometheus";
const EVENT: &str = "/api/v1/signals/kubernetes-event";
const TOKEN: &str = "known-token.0123456789";

fn guard(auth: Auth) -> Guard {
    Guard { auth, ..Guard::default() }
}

/// Tokens of a file that holds `TOKEN`.
fn tokens(folder: &tempfile::TempDir) -> Auth {
    let file = folder.path().join("tokens");
    std::fs::write(&file, TOKEN).unwrap();
    Auth::Tokens(Tokens::open(&file).unwrap())
}

/// A request with these headers and one good alert.
fn signal(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let with = |builder: Builder, (name, value): &(&str, &str)| builder.header(*name, *value);
    headers.iter().fold(request(path), with).body(Body::from(webhook(&[GOOD]))).unwrap()
}

fn shown(token: &str) -> String {
    format!("Bearer {token}")
}

fn is_unauthenticated(answer: &Answer) {
    answer.is_problem(401, "valid token");
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"breakwater\"");
}

/// All that is no token at all, or is none of ours.
fn none_of_ours() -> Vec<Vec<(&'static str, String)>> {
    let of = |value: &str| vec![("authorization", value.to_owned())];
    vec![
        vec![],
        of("Basic YWxhZGRpbjpvcGVuc2VzYW1l"),
        of("Bearer"),
        of("Bearer "),
        of(TOKEN),
        of(&shown("two words")),
        of(&shown("\"quoted\"")),
        of(&shown(&"x".repeat(16 << 10))),
        of(&shown("unknown-token.0123456789")),
        of(&format!("Basic {TOKEN}")),
        [of(&shown(TOKEN)), of(&shown("unknown-token.0123456789"))].concat(),
        vec![("x-forwarded-user", "admin".to_owned()), ("impersonate-user", "admin".to_owned())],
    ]
}

#[tokio::test]
async fn o01_without_a_token_of_the_file_nobody_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let stage = guarded(guard(tokens(&folder)));
    for headers in none_of_ours() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in [PROMETHEUS, ALIAS, EVENT] {
            is_unauthenticated(&send(&stage.router, signal(path, &headers)).await);
        }
    }
    for value in [shown(TOKEN), format!("bearer {TOKEN}"), format!("BEARER   {TOKEN} ")] {
        let answer = send(&stage.router, signal(PROMETHEUS, &[("authorization", &value)])).await;
        assert_eq!(answer.status, 202, "{value}: {answer:?}");
    }
    assert_eq!(stage.topic("alerts").await.len(), 3);
    let told = stage.registry.exposition();
    assert!(told.contains("breakwater_ingest_senders_judged_total{verdict=\"permitted\"} 3\n"), "{told}");
    assert!(told.contains("breakwater_ingest_senders_judged_total{verdict=\"unknown\"} 36\n"), "{told}");
    send(&stage.router, signal("/nowhere", &[])).await.is_problem(404, "no such path");
}

/// What the API server was asked: path, headers, body.
type Asked = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

/// What it answers: by path and question, a code and a body.
type Script = fn(&str, &Value) -> (u16, Value);

/// An API server that answers by a script, after a while.
fn scripted(script: Script, after: Duration, audience: Option<&str>) -> (Guard, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let noted = Arc::clone(&noted);
        async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
            let (path, question) = (head.uri.path().to_owned(), serde_json::from_slice(&body).unwrap());
            let (code, answer) = script(&path, &question);
            noted.lock().unwrap().push((path, head.headers, question));
            sleep(after).await;
            let response = Response::builder().status(code).body(Body::from(answer.to_string())).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let judge = Judge::with(Client::new(service, "default"), audience.map(str::to_owned));
    (guard(Auth::Kubernetes(judge)), asked)
}

/// Knows everybody but who is `expired`, and permits those who are called `permitted` and post webhooks.
fn judging(path: &str, question: &Value) -> (u16, Value) {
    if path.ends_with("/tokenreviews") {
        let token = question["spec"]["token"].as_str().unwrap();
        if token.starts_with("expired") {
            let error = format!("[invalid bearer token, token {token} has expired]");
            return (201, json!({ "metadata": {}, "spec": {}, "status": { "authenticated": false, "error": error } }));
        }
        let user = json!({ "username": token.split('.').next(), "uid": "7", "groups": ["senders"],
                           "extra": { "pod": ["alertmanager-0"] } });
        let status = json!({ "authenticated": true, "user": user, "audiences": ["breakwater", "other"] });
        return (201, json!({ "metadata": {}, "spec": {}, "status": status }));
    }
    let spec = &question["spec"];
    let allowed = spec["user"] == "permitted" && spec["nonResourceAttributes"]["path"] == PROMETHEUS;
    (201, json!({ "metadata": {}, "spec": {}, "status": { "allowed": allowed, "reason": "RBAC: role at 10.0.0.1" } }))
}

#[tokio::test]
async fn o01_kubernetes_says_who_is_known_and_who_is_permitted() {
    let (guard, asked) = scripted(judging, Duration::ZERO, None);
    let stage = guarded(guard);
    for headers in none_of_ours().iter().filter(|headers| !format!("{headers:?}").contains("token.0123456789")) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        is_unauthenticated(&send(&stage.router, signal(PROMETHEUS, &headers)).await);
    }
    assert!(asked.lock().unwrap().is_empty(), "what is no token is nobody's question");
    let by = |token: &str, path: &str| signal(path, &[("authorization", &shown(token))]);
    is_unauthenticated(&send(&stage.router, by("expired.1", PROMETHEUS)).await);
    let forbidden = send(&stage.router, by("stranger.1", PROMETHEUS)).await;
    forbidden.is_problem(403, "known, and may not post here");
    assert!(!forbidden.body.to_string().contains("RBAC") && !forbidden.body.to_string().contains("10.0.0.1"));
    send(&stage.router, by("permitted.1", EVENT)).await.is_problem(403, "may not");
    assert_eq!(send(&stage.router, by("permitted.1", PROMETHEUS)).await.status, 202);
    assert_eq!(send(&stage.router, by("permitted.1", ALIAS)).await.status, 202);
    assert_eq!(stage.topic("alerts").await.len(), 2);

    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 7, "the alias is the same right: {asked:?}");
    let (path, _, review) = &asked[1];
    assert_eq!((path.as_str(), &review["spec"]), (super::review::TOKEN_REVIEWS, &json!({ "token": "stranger.1" })));
    let (path, _, review) = &asked[2];
    let spec = json!({ "user": "stranger", "uid": "7", "groups": ["senders"], "extra": { "pod": ["alertmanager-0"] },
                       "nonResourceAttributes": { "path": PROMETHEUS, "verb": "post" } });
    assert_eq!((path.as_str(), &review["spec"]), (super::review::ACCESS_REVIEWS, &spec));
}

#[tokio::test]
async fn o01_a_token_for_another_audience_is_unknown() {
    for (audience, status) in [("breakwater", 202), ("elsewhere", 401)] {
        let (guard, asked) = scripted(judging, Duration::ZERO, Some(audience));
        let stage = guarded(guard);
        let authorization = shown("permitted.1");
        let answer = send(&stage.router, signal(PROMETHEUS, &[("authorization", &authorization)])).await;
        assert_eq!(answer.status, status);
        assert_eq!(asked.lock().unwrap()[0].2["spec"]["audiences"], json!([audience]));
    }
}

#[tokio::test]
async fn o02_a_thousand_requests_with_one_token_are_two_calls() {
    let (guard, asked) = scripted(judging, Duration::from_millis(50), None);
    let router = router(alone_with(policy(), guard));
    let one = async || {
        let request = request(PROMETHEUS).header("authorization", shown("permitted.1"));
        send(&router, request.body(Body::from("x")).unwrap()).await.is_problem(400, "");
    };
    for _ in 0..10 {
        join_all((0..100).map(|_| one())).await;
    }
    let paths: Vec<_> = asked.lock().unwrap().iter().map(|(path, ..)| path.clone()).collect();
    assert_eq!(paths, [super::review::TOKEN_REVIEWS, super::review::ACCESS_REVIEWS]);
}

fn is_unjudged(answer: &Answer, token: &str) {
    answer.is_problem(503, "cannot be judged now");
    assert_eq!(answer.headers["retry-after"], "5");
    let told = answer.body.to_string();
    assert!(!["10.0.0.1", "RBAC", "forbidden", token].iter().any(|word| told.contains(word)), "{told}");
}

#[tokio::test]
async fn o02_whatever_the_judge_answers_but_a_review_lets_nobody_in() {
    let broken: [Script; 6] = [
        |_, _| (500, json!({ "message": "etcd at 10.0.0.1 is away" })),
        |_, _| (403, json!({ "message": "RBAC: tokenreviews is forbidden" })),
        |_, question| (422, json!({ "message": question["spec"]["token"] })),
        |_, _| (401, json!("Unauthorized")),
        |_, _| (200, json!("no review")),
        |path, question| if path.ends_with("/tokenreviews") { judging(path, question) } else { (503, json!({})) },
    ];
    for script in broken {
        let router = router(alone_with(policy(), scripted(script, Duration::ZERO, None).0));
        let authorization = shown("permitted.1");
        is_unjudged(&send(&router, signal(PROMETHEUS, &[("authorization", &authorization)])).await, "permitted.1");
    }
}

#[tokio::test(start_paused = true)]
async fn o02_a_judge_that_is_silent_is_waited_for_less_than_five_seconds() {
    let (guard, asked) = scripted(judging, Duration::from_secs(60), None);
    let router = router(alone_with(policy(), guard));
    let (begun, authorization) = (Instant::now(), shown("permitted.1"));
    let one = async || send(&router, signal(PROMETHEUS, &[("authorization", &authorization)])).await;
    for answer in join_all((0..50).map(|_| one())).await {
        is_unjudged(&answer, "permitted.1");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn o03_no_other_header_says_who_is_asking_and_none_goes_further() {
    let (guard, asked) = scripted(judging, Duration::ZERO, None);
    let stage = guarded(guard);
    let authorization = shown("permitted.1");
    let claims = [
        ("x-forwarded-user", "admin"),
        ("x-forwarded-user", "root"),
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("impersonate-user", "admin"),
        ("impersonate-user", "root"),
        ("impersonate-group", "system:masters"),
        ("impersonate-extra-scopes", "all"),
    ];
    let stranger = shown("stranger.1");
    for (token, status) in [(&stranger, 403), (&authorization, 202)] {
        let headers = [&[("authorization", token.as_str())][..], &claims].concat();
        assert_eq!(send(&stage.router, signal(PROMETHEUS, &headers)).await.status, status);
    }
    let claimed =
        |text: &str| ["admin", "root", "system:masters", "mpersonate", "emote-"].iter().any(|word| text.contains(word));
    for (_, headers, question) in asked.lock().unwrap().iter() {
        let told = format!("{headers:?} {question}");
        assert!(!claimed(&told), "{told}");
    }
    for record in stage.topic("alerts").await {
        let told = format!("{:?} {:?}", record.headers, record.value);
        assert!(!claimed(&told) && !told.contains("permitted.1"), "{told}");
    }
}
