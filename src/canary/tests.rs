//! The canary before a door and an API server that are scripted.

use kube::Config;
use wiremock::{Mock, MockServer, Request as Asked, ResponseTemplate, matchers};

use super::*;
use crate::telemetry::metrics::Registry;

const OBJECTS: &str = "/apis/remediation.kubernaut.io/v1alpha1/namespaces/sandbox/remediationrequests";
const FINGERPRINT: &str = "f0";

fn client(server: &MockServer) -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = Config::new(server.uri().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// An object as the API server lists it.
fn object(name: &str, signal: &str, fingerprint: &str) -> Value {
    let spec = crate::remediation::crd::RemediationRequestSpec {
        signal_name: signal.to_owned(),
        signal_fingerprint: fingerprint.to_owned(),
        ..Default::default()
    };
    json!({ "apiVersion": "remediation.kubernaut.io/v1alpha1", "kind": "RemediationRequest",
            "metadata": { "name": name, "namespace": "sandbox" }, "spec": spec })
}

async fn lists(server: &MockServer, objects: &[Value]) {
    let list = json!({ "apiVersion": "remediation.kubernaut.io/v1alpha1", "kind": "RemediationRequestList",
                       "metadata": {}, "items": objects });
    let listed = ResponseTemplate::new(200).set_body_json(list);
    Mock::given(matchers::method("GET")).and(matchers::path(OBJECTS)).respond_with(listed).mount(server).await;
    let deleted =
        ResponseTemplate::new(200).set_body_json(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {} }));
    Mock::given(matchers::method("DELETE")).respond_with(deleted).mount(server).await;
}

async fn door(code: u16) -> MockServer {
    let door = MockServer::start().await;
    let answer = json!({ "accepted": 1, "alerts": [{ "fingerprint": FINGERPRINT }], "rejected": [] });
    let answer = ResponseTemplate::new(code).set_body_json(answer);
    Mock::given(matchers::method("POST")).and(matchers::path(PATH)).respond_with(answer).mount(&door).await;
    door
}

/// One turn; then what was counted (sent, refused, lost, arrived), and whose objects were deleted.
async fn turn(door: &MockServer, api: &MockServer) -> ([u64; 4], Vec<String>) {
    let mut registry = Registry::new();
    let canary = Canary {
        door: client(door),
        objects: Api::namespaced(client(api), "sandbox"),
        namespace: "sandbox".to_owned(),
        every: Duration::from_secs(1),
        metrics: CanaryMetrics::register(&mut registry),
    };
    canary.turn().await;
    let told = registry.exposition();
    let names = ["sent_total", "refused_total", "lost_total", "latency_seconds_count"];
    let count = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("breakwater_canary_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in\n{told}")).parse().unwrap()
    };
    let asked: Vec<Asked> = api.received_requests().await.unwrap();
    let deleted = asked.iter().filter(|asked| asked.method == http::Method::DELETE);
    (names.map(count), deleted.map(|asked| asked.url.path().rsplit('/').next().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn p11_what_arrives_is_measured_and_deleted_and_what_is_anybody_elses_is_left_alone() {
    let (door, api) = (door(202).await, MockServer::start().await);
    lists(&api, &[object("canary-1", ALERT, FINGERPRINT), object("shop-1", "PodCrashLooping", "aa")]).await;
    let (counted, deleted) = turn(&door, &api).await;
    assert_eq!(counted, [1, 0, 0, 1]);
    assert_eq!(deleted, ["canary-1", "canary-1"], "before it and after it");
    let body: Value = serde_json::from_slice(&door.received_requests().await.unwrap()[0].body).unwrap();
    let labels = &body["alerts"][0]["labels"];
    assert_eq!((&labels["alertname"], &labels["namespace"]), (&json!(ALERT), &json!("sandbox")));
}

#[tokio::test]
async fn p11_what_does_not_arrive_within_the_turn_is_lost_and_one_of_before_does_not_count_for_it() {
    let (door, api) = (door(202).await, MockServer::start().await);
    lists(&api, &[object("canary-0", ALERT, "former")]).await;
    assert_eq!(turn(&door, &api).await.0, [1, 0, 1, 0]);
}

#[tokio::test]
async fn p11_a_door_that_takes_nothing_is_told_and_nothing_is_waited_for() {
    let (door, api) = (door(503).await, MockServer::start().await);
    lists(&api, &[]).await;
    assert_eq!(turn(&door, &api).await.0, [0, 1, 0, 0]);
}
