//! The door against a broker in this process: what a sender hears, and what then stands in the topics.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{
    alert::{EventTime, Signal, headers, record},
    kafka::{Record, Settings, dead_letter::DeadLetter, in_process::InProcess, range},
    telemetry::metrics::Registry,
};

pub(super) const PROMETHEUS: &str = "/api/v1/signals/prometheus";
const EVENT: &str = "/api/v1/signals/kubernetes-event";
const WEBHOOK: &str = include_str!("../../schemas/examples/alertmanager-v4.json");
const CORE: &str = include_str!("../../schemas/examples/kubernetes-event-core-v1.json");
pub(super) const GOOD: &str = r#"{"labels":{"alertname":"A","pod":"p"}}"#;

pub(super) fn policy() -> IngestPolicy {
    IngestPolicy {
        max_body: 100_000,
        max_alerts: 100,
        max_alert: 50_000,
        max_nesting: 32,
        concurrency: 64,
        max_bodies: 10 << 20,
        rate_per_second: 10_000,
        burst: 10_000,
        timeout: Duration::from_secs(10),
    }
}

fn rules(policy: IngestPolicy) -> Rules {
    let (alerts, dead_letters) = ("alerts".to_owned(), "dead-letters".to_owned());
    Rules { policy, identity: IdentityRules::default(), alerts, dead_letters }
}

fn door(settings: &Settings, policy: IngestPolicy) -> (Door, Registry) {
    door_with(settings, policy, Guard::default())
}

fn door_with(settings: &Settings, policy: IngestPolicy, guard: Guard) -> (Door, Registry) {
    let mut registry = Registry::new();
    let metrics = IngestMetrics::register(&mut registry);
    let producer = Producer::new(settings, policy.timeout * 3 / 4).unwrap();
    (Door::new(rules(policy), guard, producer, metrics), registry)
}

/// A door before which nothing is published: Kafka is away.
fn alone(policy: IngestPolicy) -> Router {
    router(alone_with(policy, Guard::default()))
}

pub(super) fn alone_with(policy: IngestPolicy, guard: Guard) -> Door {
    let settings = Settings::new("127.0.0.1:1".to_owned(), std::collections::BTreeMap::new()).unwrap();
    door_with(&settings, policy, guard).0
}

/// A door and a broker of its own.
pub(super) struct Stage {
    pub(super) router: Router,
    pub(super) registry: Registry,
    settings: Settings,
    _broker: InProcess,
}

fn stage() -> Stage {
    guarded(Guard::default())
}

pub(super) fn guarded(guard: Guard) -> Stage {
    let broker = InProcess::start(&[("alerts", 4), ("dead-letters", 1)]).unwrap();
    let (door, registry) = door_with(&broker.settings(), policy(), guard);
    Stage { router: router(door), registry, settings: broker.settings(), _broker: broker }
}

impl Stage {
    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        send(&self.router, request(path).body(body.into()).unwrap()).await
    }

    pub(super) async fn topic(&self, name: &str) -> Vec<Record> {
        let stretches = range::since(&self.settings, name, None).await.unwrap();
        let (into, mut records) = mpsc::channel(1_000);
        range::read(&self.settings, name, stretches, into, CancellationToken::new()).await.unwrap();
        let mut all = Vec::new();
        while let Ok(record) = records.try_recv() {
            all.push(record);
        }
        all.sort_by_key(|record| record.position);
        all
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        self.topic("dead-letters").await.iter().map(|record| DeadLetter::parse(record).unwrap()).collect()
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn is_problem(&self, status: u16, named: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.headers["content-security-policy"], "default-src 'none'"); // with the others, as o04 says
        assert!(self.body["detail"].as_str().unwrap().contains(named), "{named}: {self:?}");
    }
}

pub(super) fn request(path: &str) -> http::request::Builder {
    Request::post(path).header("content-type", "application/json")
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let Ok::<_, Infallible>(response) = router.clone().oneshot(request).await;
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: head.status, headers: head.headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

pub(super) fn webhook(alerts: &[&str]) -> String {
    format!(r#"{{"version":"4","alerts":[{}]}}"#, alerts.join(" , "))
}

#[tokio::test]
async fn a03_a_202_names_each_record_and_the_record_has_the_alerts_bytes() {
    let stage = stage();
    let answer = stage.post(PROMETHEUS, WEBHOOK).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["accepted"], &answer.body["rejected"]),
        (202, &json!(3), &json!([]))
    );
    let records = stage.topic("alerts").await;
    assert_eq!(records.len(), 3);
    for (index, placed) in answer.body["alerts"].as_array().unwrap().iter().enumerate() {
        let stands = (placed["partition"].as_i64().unwrap(), placed["offset"].as_i64().unwrap());
        let at = |record: &&Record| (i64::from(record.position.partition), record.position.offset) == stands;
        let record = records.iter().find(at).unwrap();
        assert_eq!(record.key, Some(Bytes::from(placed["fingerprint"].as_str().unwrap().to_owned())));
        assert_eq!(
            record.value,
            crate::alert::prometheus::split(&Bytes::from_static(WEBHOOK.as_bytes())).unwrap().alerts[index]
        );
        for (name, value) in
            [(headers::SCHEMA, "1"), (headers::SOURCE, "prometheus"), (headers::RECEIVER, "breakwater")]
        {
            assert_eq!(record.headers.text(name), Some(value));
        }
        assert_eq!(record.headers.text(headers::KIND), Some(["firing", "firing", "resolved"][index]));
        assert!(
            record.headers.text(headers::GROUP_KEY).is_some() && record.headers.text(headers::RECEIVED_AT).is_some()
        );
        let read = record::parse(&record.value, &record.headers, record.at, &IdentityRules::default()).unwrap();
        assert!(matches!(&read, Signal::Alert(alert) if alert.fingerprint.to_string() == placed["fingerprint"]));
    }
}

#[tokio::test]
async fn a14_a_good_alert_is_never_lost_for_a_bad_neighbour() {
    let stage = stage();
    let nameless = r#"{"labels": {"pod":"x"} }"#;
    let answer = stage.post(PROMETHEUS, webhook(&[GOOD, nameless, GOOD, "\"nonsense\""])).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(2)));
    let rejected = answer.body["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|one| &one["index"]).collect::<Vec<_>>(), [1, 3]);
    let letters = stage.letters().await;
    assert_eq!(
        letters.iter().map(|letter| letter.value.as_ref()).collect::<Vec<_>>(),
        [nameless.as_bytes(), b"\"nonsense\""]
    );
    for (letter, told) in letters.iter().zip(rejected) {
        assert_eq!((letter.reason.as_str(), letter.stage.as_str()), ("invalid", "ingest"));
        assert_eq!(letter.detail, told["reason"].as_str().unwrap());
    }
    assert_eq!(stage.topic("alerts").await.len(), 2);
}

#[tokio::test]
async fn a15_all_bad_is_a_400_that_names_each_and_alerts_does_not_grow() {
    let stage = stage();
    let answer = stage.post(PROMETHEUS, webhook(&["1", "{}", r#"{"labels":{"alertname":" "}}"#])).await;
    answer.is_problem(400, "no alert of this request can be used");
    let rejected = answer.body["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|one| &one["index"]).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(rejected[2]["reason"].as_str().unwrap().contains("`alertname`"));
    assert_eq!((stage.topic("alerts").await.len(), stage.letters().await.len()), (0, 3));
    assert!(stage.registry.exposition().contains(r#"breakwater_ingest_alerts_rejected_total{reason="invalid"} 3"#));
}

#[tokio::test]
async fn a16_the_alias_is_the_same_route() {
    let stage = stage();
    let (long, short) =
        (stage.post(PROMETHEUS, webhook(&[GOOD])).await, stage.post("/webhook/prometheus", webhook(&[GOOD])).await);
    assert_eq!(long.body["alerts"][0]["fingerprint"], short.body["alerts"][0]["fingerprint"]);
    let records = stage.topic("alerts").await;
    assert_eq!((&records[0].key, &records[0].value), (&records[1].key, &records[1].value));
    let names = |record: &Record| record.headers.0.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&records[0]), names(&records[1]));
}

#[tokio::test]
async fn a17_what_upstream_cut_off_is_counted() {
    let stage = stage();
    let body = format!(r#"{{"truncatedAlerts":7,"alerts":[{GOOD}]}}"#);
    assert_eq!(stage.post(PROMETHEUS, body).await.status, 202);
    let text = stage.registry.exposition();
    assert!(text.contains("breakwater_ingest_alerts_truncated_upstream_total 7"), "{text}");
    assert!(text.contains("breakwater_ingest_alerts_accepted_total 1"), "{text}");
    assert!(text.contains(r#"breakwater_ingest_requests_total{code="202"} 1"#), "{text}");
}

#[tokio::test]
async fn a18_alerts_of_one_fingerprint_stay_in_their_order() {
    let stage = stage();
    let body = webhook(&[
        GOOD,
        r#"{"labels":{"alertname":"A","pod":"p"},"status":"resolved"}"#,
        r#"{"labels":{"alertname":"B"}}"#,
    ]);
    let answer = stage.post(PROMETHEUS, body).await;
    let alerts = answer.body["alerts"].as_array().unwrap();
    assert_eq!(
        (&alerts[0]["fingerprint"], &alerts[0]["partition"]),
        (&alerts[1]["fingerprint"], &alerts[1]["partition"])
    );
    assert!(alerts[0]["offset"].as_i64() < alerts[1]["offset"].as_i64());
    assert_ne!(alerts[0]["fingerprint"], alerts[2]["fingerprint"]);
}

#[tokio::test]
async fn b01_an_event_is_a_record_with_its_own_bytes() {
    let stage = stage();
    let answer = stage.post(EVENT, CORE).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(1)));
    let records = stage.topic("alerts").await;
    assert_eq!(records[0].value, CORE.trim());
    assert_eq!(records[0].headers.text(headers::SOURCE), Some("kubernetes-events"));
}

#[tokio::test]
async fn c02_what_holds_no_alert_leaves_the_topics_unchanged() {
    let stage = stage();
    let none = [
        "",
        "null",
        "[]",
        "{}",
        "\"x\"",
        r#"{"alerts":null}"#,
        r#"{"alerts":{}}"#,
        r#"{"alerts":[]}"#,
        "{\"alerts\":[",
        "{}x",
    ];
    for body in none {
        stage.post(PROMETHEUS, body).await.is_problem(400, "");
        stage.post(EVENT, body).await.is_problem(400, "");
    }
    stage.post(PROMETHEUS, "{\n \"alerts\": [}").await.is_problem(400, "at line 2 column 13");
    stage.post(PROMETHEUS, &b"{\"alerts\":[\"\xff\"]}"[..]).await.is_problem(400, "not UTF-8 at line 1 column 13");
    stage.post(PROMETHEUS, "[".repeat(10_000)).await.is_problem(400, "");
    stage.post(EVENT, CORE.replace("\"Warning\"", "\"Normal\"")).await.is_problem(400, "`Normal`");
    stage.post(EVENT, r#"{"kind":"EventList","items":[]}"#).await.is_problem(400, "`EventList`");
    assert_eq!((stage.topic("alerts").await.len(), stage.topic("dead-letters").await.len()), (0, 0));
}

#[tokio::test]
async fn c06_the_limit_itself_is_accepted_and_one_byte_more_is_not() {
    let stage = stage();
    for (path, body) in [(PROMETHEUS, webhook(&[GOOD])), (EVENT, CORE.to_owned())] {
        let padded = |more: usize| format!("{body}{}", " ".repeat(policy().max_body - body.len() + more));
        let chunked = |text: String| {
            let pieces: Vec<_> = text.as_bytes().chunks(999).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
            Body::from_stream(futures::stream::iter(pieces))
        };
        assert_eq!(stage.post(path, padded(0)).await.status, 202);
        assert_eq!(stage.post(path, chunked(padded(0))).await.status, 202);
        stage.post(path, padded(1)).await.is_problem(413, "limit of 100000 bytes");
        stage.post(path, chunked(padded(1))).await.is_problem(413, "limit of 100000 bytes");
        assert_eq!(stage.post(path, body).await.status, 202);
    }
    stage.post(PROMETHEUS, webhook(&["{}"; 101])).await.is_problem(413, "101 alerts in one request, the limit is 100");
}

#[tokio::test]
async fn c07_one_alert_above_the_record_limit_is_set_aside_by_its_head() {
    let stage = stage();
    let large = format!(r#"{{"labels":{{"alertname":"{}"}}}}"#, "A".repeat(90_000));
    let answer = stage.post(PROMETHEUS, webhook(&[GOOD, &large, GOOD])).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(2)));
    let reason = answer.body["rejected"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("90027 bytes") && reason.contains("50000"), "{reason}");
    let letters = stage.letters().await;
    assert_eq!((letters[0].reason.as_str(), letters[0].value.len()), ("too_large", 65_536));
}

#[tokio::test]
async fn c07_one_alert_that_the_broker_refuses_for_good_does_not_hold_up_its_neighbours() {
    let broker = InProcess::start(&[("alerts", 4), ("dead-letters", 1)]).unwrap();
    let (door, _registry) =
        door(&broker.settings(), IngestPolicy { max_body: 9 << 20, max_alert: 9 << 20, ..policy() });
    // above the client's own limit of 4 MiB
    let large = format!(r#"{{"labels":{{"alertname":"{}"}}}}"#, "A".repeat(5 << 20));
    let body = Body::from(webhook(&[GOOD, &large, "{}", GOOD]));
    let answer = send(&router(door), request(PROMETHEUS).body(body).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(2)));
    let rejected = answer.body["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|one| &one["index"]).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn c15_a_body_of_another_type_is_415() {
    let router = alone(policy());
    for kind in ["text/plain", "application/xml", ";;;"] {
        let request = Request::post(PROMETHEUS).header("content-type", kind).body(Body::from("{}")).unwrap();
        send(&router, request).await.is_problem(415, "application/json");
    }
    let request = request(PROMETHEUS).header("content-encoding", "br").body(Body::from("{}")).unwrap();
    send(&router, request).await.is_problem(415, "gzip");
    let silent = Request::post(PROMETHEUS).body(Body::from("{}")).unwrap();
    send(&router, silent).await.is_problem(400, "alerts");
}

#[tokio::test]
async fn c16_other_paths_and_methods_are_told() {
    let router = alone(policy());
    for path in ["/", "/metrics", "/healthz", "/api/v1/signals/other", "/../etc"] {
        send(&router, request(path).body(Body::empty()).unwrap()).await.is_problem(404, "no such path");
    }
    for path in [PROMETHEUS, "/webhook/prometheus", EVENT] {
        let answer = send(&router, Request::get(path).body(Body::empty()).unwrap()).await;
        answer.is_problem(405, "POST");
        assert_eq!(answer.headers["allow"], "POST");
    }
}

/// A gzip member of stored blocks.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = text.chunks(60_000).collect::<Vec<_>>();
    for (index, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(index + 1 == blocks.len()));
        out.extend(length.to_le_bytes().into_iter().chain((!length).to_le_bytes()));
        out.extend(*block);
    }
    let check = !text.iter().fold(!0_u32, |check, byte| {
        (0..8).fold(check ^ u32::from(*byte), |bits, _| if bits & 1 == 1 { bits >> 1 ^ 0xedb8_8320 } else { bits >> 1 })
    });
    out.extend(check.to_le_bytes().into_iter().chain(u32::try_from(text.len()).unwrap().to_le_bytes()));
    out
}

#[tokio::test]
async fn gzip_is_taken_and_the_limit_is_of_what_it_unfolds_to() {
    let stage = stage();
    let zipped = |text: &str| {
        request(PROMETHEUS).header("content-encoding", "gzip").body(Body::from(gzip(text.as_bytes()))).unwrap()
    };
    assert_eq!(send(&stage.router, zipped(&webhook(&[GOOD]))).await.status, 202);
    send(&stage.router, zipped(&" ".repeat(policy().max_body + 1))).await.is_problem(413, "limit");
    let broken = request(PROMETHEUS).header("content-encoding", "gzip").body(Body::from(webhook(&[GOOD]))).unwrap();
    send(&stage.router, broken).await.is_problem(400, "gzip");
    assert_eq!(stage.topic("alerts").await[0].value, GOOD);
}

#[tokio::test]
async fn m01_kafka_away_is_503_with_retry_after_and_no_address() {
    let router = alone(IngestPolicy { timeout: Duration::from_secs(1), ..policy() });
    for (path, body) in [(PROMETHEUS, webhook(&[GOOD])), (PROMETHEUS, webhook(&["{}"])), (EVENT, CORE.to_owned())] {
        let answer = send(&router, request(path).body(Body::from(body)).unwrap()).await;
        answer.is_problem(503, "nothing is promised");
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
        assert!(!answer.body.to_string().contains("127.0.0.1"));
    }
}

#[tokio::test]
async fn m08_above_the_limits_is_503_with_retry_after_and_never_429() {
    let router = alone(IngestPolicy { concurrency: 1, burst: 2, rate_per_second: 1, ..policy() });
    let endless = || {
        request(PROMETHEUS).body(Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>())).unwrap()
    };
    let mut inside = Box::pin(router.clone().oneshot(endless()));
    assert!(futures::poll!(&mut inside).is_pending());
    send(&router, request(PROMETHEUS).body(Body::from("{}")).unwrap()).await.is_problem(400, "");
    let answer = send(&router, request(PROMETHEUS).body(Body::from("{}")).unwrap()).await;
    answer.is_problem(503, "more requests than it may");
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn m08_bodies_that_are_too_heavy_together_are_503_with_retry_after() {
    let router = alone(IngestPolicy { max_bodies: 100, ..policy() });
    let half = futures::stream::iter([Ok::<_, Infallible>(vec![b' '; 90])]);
    let slow = Body::from_stream(futures::StreamExt::chain(half, futures::stream::pending()));
    let mut inside = Box::pin(router.clone().oneshot(request(PROMETHEUS).body(slow).unwrap()));
    assert!(futures::poll!(&mut inside).is_pending());
    let answer = send(&router, request(PROMETHEUS).body(Body::from("[".repeat(11))).unwrap()).await;
    answer.is_problem(503, "as large as they may be together");
    assert_eq!(answer.headers["retry-after"], "1");
    drop(inside);
    send(&router, request(PROMETHEUS).body(Body::from("[".repeat(11))).unwrap()).await.is_problem(400, "");
}

#[tokio::test(start_paused = true)]
async fn m03_a_body_that_stops_half_way_is_408() {
    let router = alone(policy());
    let half = futures::stream::iter([Ok::<_, Infallible>("{\"alerts\":[")]);
    let body = Body::from_stream(futures::StreamExt::chain(half, futures::stream::pending()));
    let answer = send(&router, request(PROMETHEUS).body(body).unwrap()).await;
    answer.is_problem(408, "did not arrive in time");
    assert_eq!(answer.headers["connection"], "close");
}

#[tokio::test]
async fn m09_a_panic_in_a_handler_is_a_500_and_nothing_of_it_leaks() {
    let settings = Settings::new("127.0.0.1:1".to_owned(), std::collections::BTreeMap::new()).unwrap();
    let (door, _registry) = door(&settings, policy());
    let router = router::with_route(door, "/boom", post(async || -> StatusCode { panic!("secret at 10.0.0.1") }));
    for _ in 0..2 {
        let answer = send(&router, request("/boom").body(Body::empty()).unwrap()).await;
        answer.is_problem(500, "breakwater itself");
        assert!(!answer.body.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn o04_every_answer_has_the_security_headers() {
    let stage = stage();
    let answers = [
        stage.post(PROMETHEUS, webhook(&[GOOD])).await,
        stage.post(PROMETHEUS, "x").await,
        stage.post("/nowhere", "x").await,
        send(&stage.router, Request::get(EVENT).body(Body::empty()).unwrap()).await,
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status.as_u16()), [202, 400, 404, 405]);
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'none'"),
        ("referrer-policy", "no-referrer"),
    ];
    for (answer, (name, value)) in answers.iter().flat_map(|answer| expected.map(|header| (answer, header))) {
        assert_eq!(answer.headers[name], value);
    }
}

#[tokio::test]
async fn o06_a_stale_x_timestamp_is_400() {
    let stage = stage();
    let now = jiff::Timestamp::now().as_second();
    let stamped =
        |stamp: String| request(PROMETHEUS).header("x-timestamp", stamp).body(Body::from(webhook(&[GOOD]))).unwrap();
    assert_eq!(send(&stage.router, stamped((now - 299).to_string())).await.status, 202);
    for stale in [(now - 302).to_string(), (now + 130).to_string(), "soon".to_owned(), "-1".to_owned()] {
        send(&stage.router, stamped(stale)).await.is_problem(400, "X-Timestamp");
    }
    let records = stage.topic("alerts").await;
    assert_eq!(records.len(), 1);
    let hours_later = EventTime((now + 6 * 3600) * 1000);
    let read = record::parse(&records[0].value, &records[0].headers, hours_later, &IdentityRules::default());
    assert!(read.is_ok(), "nothing in the log is ever stale: {read:?}");
}

#[tokio::test]
async fn p08_a_request_id_is_kept_or_made() {
    let router = alone(policy());
    let of = async |id: &str| {
        let request = request("/nowhere").header("x-request-id", id).body(Body::empty()).unwrap();
        send(&router, request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(of("abc-1").await, "abc-1");
    let made = of(&"x".repeat(1024)).await;
    assert!(made.len() == 32 && made != of("a b").await);
}

#[tokio::test]
async fn p09_the_senders_trace_goes_on_in_the_record_and_one_is_made_where_there_is_none() {
    use opentelemetry::trace::TracerProvider as _;
    use tracing_subscriber::layer::SubscriberExt;

    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // for all threads: a span that one without a subscriber meets first would stay off for everybody
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    let stage = stage();
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = request(PROMETHEUS).header("traceparent", sent).body(Body::from(webhook(&[GOOD]))).unwrap();
    assert_eq!(send(&stage.router, traced).await.status, 202);
    assert_eq!(stage.post(PROMETHEUS, webhook(&[GOOD])).await.status, 202);
    let records = stage.topic("alerts").await;
    let told: Vec<_> = records.iter().map(|record| record.headers.text(headers::TRACEPARENT).unwrap()).collect();
    assert_eq!(&told[0][3..35], &sent[3..35]);
    assert_ne!(&told[0][36..52], &sent[36..52]);
    assert_ne!(&told[1][3..35], &sent[3..35]);
}

#[tokio::test]
async fn rules_that_change_are_in_force_for_the_next_request() {
    let settings = Settings::new("127.0.0.1:1".to_owned(), std::collections::BTreeMap::new()).unwrap();
    let (door, _registry) = door(&settings, policy());
    let router = router(door.clone());
    let large = || request(PROMETHEUS).body(Body::from(" ".repeat(2_000))).unwrap();
    send(&router, large()).await.is_problem(400, "");
    door.change(rules(IngestPolicy { max_body: 1_000, ..policy() }));
    send(&router, large()).await.is_problem(413, "1000");
}

/// A door on a socket.
pub(super) struct Open {
    pub(super) address: std::net::SocketAddr,
    pub(super) stop: CancellationToken,
    serving: JoinSet<()>,
}

pub(super) async fn open(door: Door) -> Open {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, door, stop.clone()));
    Open { address, stop, serving }
}

impl Open {
    pub(super) async fn ended(mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.serving.join_next()).await;
        ended.expect("the door closes").unwrap().unwrap();
    }
}

fn raw(body: &str) -> String {
    format!(
        "POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn heard(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await;
    reading.expect("the connection ends").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn m02_slow_and_idle_connections_are_closed_and_others_answered() {
    let broker = InProcess::start(&[("alerts", 1), ("dead-letters", 1)]).unwrap();
    let (door, _registry) = door(&broker.settings(), IngestPolicy { timeout: Duration::from_secs(2), ..policy() });
    let open = open(door).await;
    let mut slow = Vec::new();
    for begin in ["", "POST ", "POST / HTTP/1.1\r\nhost:"].iter().cycle().take(60) {
        let mut stream = TcpStream::connect(open.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut normal = TcpStream::connect(open.address).await.unwrap();
    for _ in 0..20 {
        normal.write_all(raw(&webhook(&[GOOD])).as_bytes()).await.unwrap();
        let mut head = [0; 12];
        normal.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 202");
        let mut rest = vec![0; 4096];
        while !rest.windows(2).any(|two| two == b"]}") {
            let more = normal.read(&mut rest).await.unwrap();
            assert_ne!(more, 0);
        }
    }
    for stream in &mut slow {
        heard(stream).await;
    }
    assert_eq!(heard(&mut normal).await, "");
    open.stop.cancel();
    open.ended().await;
}

#[tokio::test]
async fn m04_what_is_under_way_is_answered_and_new_ones_are_refused() {
    let broker = InProcess::start(&[("alerts", 4), ("dead-letters", 1)]).unwrap();
    let (door, registry) = door(&broker.settings(), policy());
    let open = open(door).await;
    let mut under_way = Vec::new();
    let body = webhook(&[GOOD]);
    let whole = raw(&body);
    let (first, last) = whole.split_at(whole.len() - 5);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(open.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        under_way.push(stream);
    }
    // all 50 are inside before the end is told
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !registry.exposition().contains("breakwater_ingest_requests_in_flight 50") {
        assert!(tokio::time::Instant::now() < deadline, "{}", registry.exposition());
        tokio::task::yield_now().await;
    }
    open.stop.cancel();
    while TcpStream::connect(open.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline);
    }
    for stream in &mut under_way {
        stream.write_all(last.as_bytes()).await.unwrap();
    }
    for stream in &mut under_way {
        let answer = heard(stream).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    open.ended().await;
}

#[tokio::test]
async fn o05_a_forwarded_address_counts_only_where_its_proxy_is_trusted() {
    let slow = || IngestPolicy { burst: 2, rate_per_second: 1, ..policy() };
    for (trusted, answers) in [(false, [400, 400, 503, 503]), (true, [400, 400, 503, 400])] {
        let proxies = if trusted { Proxies::parse("127.0.0.0/8").unwrap() } else { Proxies::default() };
        let open = open(alone_with(slow(), Guard { proxies, ..Guard::default() })).await;
        let mut heard = Vec::new();
        for client in ["192.0.2.1", "203.0.113.5, 192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            let mut stream = TcpStream::connect(open.address).await.unwrap();
            let head =
                format!("POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\nconnection: close");
            stream.write_all(format!("{head}\r\ncontent-length: 1\r\n\r\nx").as_bytes()).await.unwrap();
            heard.push(self::heard(&mut stream).await[9..12].parse::<u16>().unwrap());
        }
        assert_eq!(heard, answers, "trusted: {trusted}");
        open.stop.cancel();
        open.ended().await;
    }
}
