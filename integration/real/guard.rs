//! Group O on real servers: who may come in at the door, and by what way.

use crate::harness::account::Account;
use crate::harness::alerts::{alert, webhook};
use crate::harness::case::{PROMETHEUS, SOON};
use crate::harness::certificates::{Pair, authority, client};
use crate::harness::http::{self, Answer};
use crate::harness::kafka::Kafka;
use crate::harness::kube::{Kube, manifests, token_in};
use crate::harness::product::{Product, Setting};
use crate::harness::proxy::{Fault, Line, Proxy};
use crate::harness::wait::{until_eq, until_ok};
use crate::harness::{Scope, Shared, repository};
use futures::future::join_all;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpStream;

/// A setting whose topics are there, and eyes on them.
async fn prepared(scenario: &str, overlay: Value) -> (Scope, Setting, Kafka) {
    let scope = Scope::new(scenario);
    let setting = scope.setting(overlay);
    setting.succeed(&["topics", "create"]).await;
    let kafka = Kafka::at(&setting.kafka);
    (scope, setting, kafka)
}

fn body() -> String {
    webhook(&[alert("Guarded", "shop", "pod-1")]).to_string()
}

/// Posts one alert with these headers.
async fn post(door: &Product, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")][..], headers].concat();
    http::request(&door.address, "POST", PROMETHEUS, &headers, body().as_bytes()).await.expect("the door answers")
}

/// The same with a token.
async fn by(door: &Product, token: &str) -> Answer {
    post(door, &[("authorization", &format!("Bearer {token}"))]).await
}

fn is_problem(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    assert_eq!(answer.header("retry-after").is_some(), status == 503);
    let told = answer.text();
    let inner = ["127.0.0.1", "RBAC", "serviceaccount", "tokenreview", "scripted", "/apis/"];
    assert!(!inner.iter().any(|word| told.contains(word)), "{told}");
}

/// A door whose senders the API server judges, by way of a proxy, with the rights of its component and no others.
struct Judged {
    scope: Scope,
    kafka: Kafka,
    kube: Kube,
    proxy: Proxy,
    door: Product,
}

async fn judged(scenario: &str) -> Judged {
    let (scope, mut setting, kafka) =
        prepared(scenario, json!({ "ingest": { "rate_per_second": 100_000, "burst": 100_000 } })).await;
    let kube = Kube::of(&setting.kubeconfig).await;
    let own = scope.path("kubeconfig-ingest");
    kube.kubeconfig_of("ingest", &own).await;
    for manifest in manifests(&repository("deploy/components/token-review/rbac.yaml")) {
        kube.apply(&manifest, false).await.expect("the rights are accepted");
    }
    let proxy = Proxy::start(&setting.kubeconfig).await;
    setting.kubeconfig = scope.path("kubeconfig-proxied");
    proxy.kubeconfig(&setting.kubeconfig, &token_in(&own));
    let setting = setting.with("BREAKWATER_LISTEN_AUTH", "kubernetes").with("RUST_LOG", "debug");
    let door = Product::start("ingest", &setting).await;
    Judged { scope, kafka, kube, proxy, door }
}

impl Judged {
    /// An account with the rights of a role of ours; `sender` is the one that may send.
    async fn account(&self, role: &str) -> Account {
        Account::like(&self.kube, role, &format!("{role}-{}", self.scope.name)).await
    }

    fn asked(&self, reviews: &str) -> usize {
        self.proxy.seen("POST", reviews).len()
    }
}

/// The same token as the API server would have signed it, so many seconds before or after it ends.
fn ending_in(token: &str, seconds: i64) -> String {
    const SCRIPT: &str = r#"
        set -euo pipefail
        bare() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
        claims=$(cut -d. -f2 <<<"$TOKEN" | jq -Rc 'gsub("-";"+") | gsub("_";"/") | @base64d | fromjson
            | .exp = (now | floor) + ($ENV.SECONDS_LEFT | tonumber) | .iat = .exp - 3600 | .nbf = .iat')
        signed="${TOKEN%%.*}.$(printf %s "$claims" | bare)"
        printf %s "$signed.$(printf %s "$signed" | openssl dgst -sha256 -sign "$KEY" -binary | bare)"
    "#;
    let mut script = Command::new("bash");
    script.args(["-c", SCRIPT]).env("TOKEN", token).env("SECONDS_LEFT", seconds.to_string());
    let signed = script.env("KEY", Shared::get().audit.with_file_name("sa.key")).output().expect("there is bash");
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    String::from_utf8(signed.stdout).expect("a token is text")
}

#[tokio::test]
async fn o01_whom_the_api_server_knows_and_permits_comes_in_and_nobody_else() {
    let judged = judged("o01").await;
    let (sender, stranger) = (judged.account("sender").await, judged.account("work").await);
    let (good, known) = (sender.token("first").await.text, stranger.token("first").await.text);
    let (door, expired) = (&judged.door, ending_in(&good, -600));
    let large = "x".repeat(16 << 10);
    for headers in [vec![], vec![("authorization", "Basic YTpi")], vec![("authorization", "Bearer ")]] {
        is_problem(&post(door, &headers).await, 401);
    }
    for token in [&expired, &large, &format!("{good}x")] {
        is_problem(&by(door, token).await, 401);
    }
    is_problem(&by(door, &known).await, 403);
    let claims =
        [("x-forwarded-user", "admin"), ("impersonate-user", "admin"), ("impersonate-group", "system:masters")];
    let authorization = format!("Bearer {known}");
    is_problem(&post(door, &[&claims[..], &[("authorization", &authorization)]].concat()).await, 403);
    assert_eq!(judged.kafka.count(&judged.scope.alerts).await, 0);

    assert_eq!(by(door, &good).await.status, 202);
    assert_eq!(by(door, &ending_in(&good, 600)).await.status, 202, "nothing but its age was wrong with the other");
    assert_eq!(judged.kafka.count(&judged.scope.alerts).await, 2);

    let signature = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
    let told = [door.process.printed(), door.page("/metrics").await.text(), door.page("/").await.text()].concat();
    for secret in [&good, &known, &expired] {
        assert!(!told.contains(&signature(secret)), "a token is told");
    }
}

#[tokio::test]
async fn o02_a_thousand_requests_are_two_calls_and_without_a_judge_nobody_comes_in() {
    let judged = judged("o02").await;
    let (door, sender) = (&judged.door, judged.account("sender").await);
    let authorization = format!("Bearer {}", sender.token("first").await.text);
    for _ in 0..20 {
        let headers = [("authorization", authorization.as_str())];
        let one = async || http::request(&door.address, "POST", PROMETHEUS, &headers, b"x").await.expect("an answer");
        for answer in join_all((0..50).map(|_| one())).await {
            assert_eq!(answer.status, 400, "who is let in hears that this is no webhook: {}", answer.text());
        }
    }
    assert_eq!((judged.asked("/tokenreviews"), judged.asked("/subjectaccessreviews")), (1, 1));

    let late = Fault::Late(Duration::from_secs(60));
    for (word, path, fault) in [
        ("second", "/tokenreviews", Fault::status(503, "ServiceUnavailable")),
        ("third", "/subjectaccessreviews", Fault::status(403, "Forbidden")),
        ("fourth", "/tokenreviews", Fault::Cut),
        ("fifth", "/subjectaccessreviews", late),
    ] {
        let token = sender.token(word).await.text;
        judged.proxy.script(Line { method: "POST", path: path.to_owned(), times: usize::MAX, fault });
        is_problem(&by(door, &token).await, 503);
        judged.proxy.heal();
    }
    assert_eq!(judged.kafka.count(&judged.scope.alerts).await, 0);
    let token = sender.token("second").await.text;
    until_eq(SOON, "who may send to come in again", 202, async || by(door, &token).await.status).await;
    assert_eq!(judged.kafka.count(&judged.scope.alerts).await, 1);
}

/// Replaces a file as whoever rotates a credential does: by renaming.
fn replace(file: &Path, by: &Path) {
    let beside = file.with_extension("new");
    std::fs::copy(by, &beside).expect("the test's folder can be written");
    std::fs::rename(&beside, file).expect("a file can be renamed");
}

#[tokio::test]
async fn o01_tokens_of_a_file_are_read_anew_and_never_told() {
    let (scope, setting, kafka) = prepared("o01-file", json!({})).await;
    let (file, next) = (scope.path("tokens"), scope.path("next"));
    let (old, new) = ("old-token.hunter2-0123456789", "new-token.hunter2-0123456789");
    std::fs::write(&file, old).expect("the test's folder can be written");
    let setting = setting.with("BREAKWATER_LISTEN_AUTH", "tokens").with("RUST_LOG", "debug");
    let door = Product::start("ingest", &setting.with("BREAKWATER_LISTEN_TOKENS", &file.display().to_string())).await;
    is_problem(&by(&door, new).await, 401);
    assert_eq!(by(&door, old).await.status, 202);

    std::fs::write(&next, format!("# both for a while\n{old}\n{new}\n")).expect("the test's folder can be written");
    replace(&file, &next);
    let (status, refused) = (async |token| by(&door, token).await.status, ["result=\"refused\""]);
    until_eq(SOON, "the new token to be taken", 202, async || status(new).await).await;
    assert_eq!(status(old).await, 202);
    std::fs::write(&next, "").expect("the test's folder can be written");
    replace(&file, &next);
    let reloads = async || door.metric("breakwater_ingest_credentials_reloads_total", &refused).await;
    until_eq(SOON, "the empty file to be refused", 1.0, reloads).await;
    assert_eq!(status(new).await, 202, "the last good ones stay");
    std::fs::write(&next, new).expect("the test's folder can be written");
    replace(&file, &next);
    until_eq(SOON, "the old token to be none any more", 401, async || status(old).await).await;
    assert_eq!(status(new).await, 202);

    let accepted = door.metric("breakwater_ingest_alerts_accepted_total", &[]).await;
    assert_eq!(kafka.count(&scope.alerts).await as f64, accepted);
    let told = [door.process.printed(), door.page("/metrics").await.text(), door.page("/").await.text()].concat();
    assert!(!told.contains("hunter2"), "a token is told");
    let refused = by(&door, "hunter2").await;
    assert!(!refused.text().contains("hunter2"));
}

/// One alert over TLS.
async fn secured(door: &Product, trusted: &Pair, own: Option<&Pair>) -> io::Result<Answer> {
    let stream = TcpStream::connect(&door.address).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let stream = client(trusted, own).connect(name, stream).await?;
    let (body, head) =
        (body(), format!("POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:"));
    http::converse(stream, format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await
}

#[tokio::test]
async fn o11_the_door_speaks_tls_to_those_whom_it_trusts_and_follows_its_certificates() {
    let (scope, setting, kafka) = prepared("o11", json!({})).await;
    let folder = scope.path("");
    let [ours, foreign, next] = ["ours", "foreign", "next"].map(|name| authority(&folder, name));
    let (own, known, stranger) =
        (ours.signs(&folder, "door"), ours.signs(&folder, "known"), foreign.signs(&folder, "stranger"));
    let files = [
        ("BREAKWATER_LISTEN_TLS_CERT", &own.certificate),
        ("BREAKWATER_LISTEN_TLS_KEY", &own.key),
        ("BREAKWATER_LISTEN_TLS_CLIENT_CA", &ours.certificate),
    ];
    let setting = files.iter().fold(setting, |setting, (name, file)| setting.with(name, &file.display().to_string()));
    let door = Product::start("ingest", &setting).await;
    assert_eq!(secured(&door, &ours, Some(&known)).await.expect("the right authorities").status, 202);
    let refused = secured(&door, &foreign, Some(&known)).await.expect_err("a foreign authority").to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    assert!(secured(&door, &ours, Some(&stranger)).await.is_err(), "a client of a foreign authority");
    assert!(secured(&door, &ours, None).await.is_err(), "a client without a certificate");
    assert!(http::post(&door.address, PROMETHEUS, body()).await.is_err(), "a client without TLS");
    assert_eq!(kafka.count(&scope.alerts).await, 1);

    let renewed = next.signs(&folder, "renewed");
    replace(&own.certificate, &renewed.certificate);
    replace(&own.key, &renewed.key);
    let by_next = async || secured(&door, &next, Some(&known)).await.map(|answer| answer.status);
    assert_eq!(until_ok(SOON, "the new certificate to be shown", by_next).await, 202);
    assert!(secured(&door, &ours, Some(&known)).await.is_err(), "the old one is shown no more");
    assert_eq!(kafka.count(&scope.alerts).await, 2);
    assert!(door.stop().await.success());
}
