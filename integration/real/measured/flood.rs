//! More than a stage can take, on real servers: it says so, keeps within its memory, and is as before afterwards.

use crate::harness::Scope;
use crate::harness::alerts::{strangers, webhook, with};
use crate::harness::case::{Case, PROMETHEUS, SOON, unlimited};
use crate::harness::deployment::Shape;
use crate::harness::http::{self, Answer};
use crate::harness::kafka::Kafka;
use crate::harness::product::Product;
use crate::harness::servers::OwnKafka;
use crate::harness::wait::{until, until_eq, until_ok};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: u64 = 1024; // in KiB, as the system tells memory

fn is_503(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let seconds = answer.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{:?}", answer.headers);
}

async fn in_flight(door: &Product) -> f64 {
    door.metric("breakwater_ingest_requests_in_flight", &[]).await
}

/// Places that the answers with 202 name; all others must be a 503.
fn promised(answers: &[Answer]) -> BTreeSet<(i64, i64)> {
    let mut named = BTreeSet::new();
    for answer in answers {
        if answer.status != 202 {
            is_503(answer);
            continue;
        }
        let number = |value: &Value| value.as_i64().expect("a number");
        let told = answer.json();
        let placed = told["alerts"].as_array().expect("a list");
        for one in placed {
            assert!(named.insert((number(&one["partition"]), number(&one["offset"]))), "a place is named once");
        }
    }
    named
}

async fn all_places(kafka: &Kafka, topic: &str) -> BTreeSet<(i64, i64)> {
    kafka.read(topic).await.iter().map(|record| (i64::from(record.partition), record.offset)).collect()
}

/// Webhooks of a hundred alerts each, of about 2 KB an alert.
fn heavy(webhooks: usize) -> Vec<String> {
    let text = "x".repeat(1600);
    (0..webhooks)
        .map(|n| {
            let alerts = strangers(&format!("Heavy{n}x"), "shop", 100);
            let fat = |alert: Value| with(alert, json!({ "annotations": { "description": text } }));
            webhook(&alerts.into_iter().map(fat).collect::<Vec<_>>()).to_string()
        })
        .collect()
}

#[tokio::test]
async fn k19_a_frozen_broker_fills_the_queue_to_its_limit_and_no_further() {
    let own = OwnKafka::start(&[]).await;
    let scope = Scope::new("k19");
    // the door lets everybody in, so that the producer's queue is what is full
    let overlay = json!({ "ingest": { "timeout": "50s", "concurrency": 10_000, "max_bodies": "256MiB" } });
    let mut setting = scope.setting(overlay);
    setting.kafka.clone_from(&own.brokers);
    setting.succeed(&["topics", "create"]).await;
    let (kafka, door) = (Kafka::at(&own.brokers), Product::start("ingest", &setting).await);
    assert_eq!(door.webhook(&webhook(&strangers("Calm", "shop", 1))).await.status, 202);
    let start = door.process.resident();
    own.server.stop();
    let bodies = heavy(500); // 50 000 alerts, 100 MB: more than the 64 MiB of the queue
    let (answers, most) = tokio::join!(
        join_all(bodies.iter().map(async |body| http::post(&door.address, PROMETHEUS, body).await.expect("an answer"))),
        async {
            // whatever the queue has no room for is answered while the broker is still frozen
            let refused = async || door.metric("breakwater_ingest_requests_total", &["code=\"503\""]).await;
            until(SOON, "the limit to be met", async || (refused().await > 0.0).then_some(())).await;
            let most = door.process.resident();
            own.server.cont();
            most
        }
    );
    let named = promised(&answers);
    assert!(answers.iter().any(|answer| answer.status == 503));
    assert!(most < start + 400 * MIB, "{start} KiB at rest, {most} KiB with a full queue");
    // every promise is a record; records beyond them are of requests that were told to come again
    let records = all_places(&kafka, &scope.alerts).await;
    assert!(named.is_subset(&records), "{} promised, {} records", named.len(), records.len());
    let again: Vec<&String> =
        bodies.iter().zip(&answers).filter(|(_, answer)| answer.status == 503).map(|(body, _)| body).take(20).collect();
    for body in again {
        assert_eq!(door.post(PROMETHEUS, body).await.status, 202, "it has room again");
    }
}

/// A request that waits for the last byte of its body.
async fn all_but_the_last_byte(address: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the door listens");
    let head =
        format!("POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("the head is taken");
    stream.write_all(&body.as_bytes()[..body.len() - 1]).await.expect("nobody is hung up on");
    stream
}

#[tokio::test]
async fn m08_bodies_under_way_weigh_no_more_than_they_may() {
    let scope = Scope::new("m08b");
    let setting = scope.setting(json!({ "ingest": { "max_body": "1MiB", "max_bodies": "4MiB", "timeout": "30s" } }));
    setting.succeed(&["topics", "create"]).await;
    let (kafka, door) = (Kafka::at(&setting.kafka), Product::start("ingest", &setting).await);
    let body = heavy(1).remove(0);
    // each sends all but its last byte, and waits: that would be 20 MB
    let part = body.len() - 1;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(all_but_the_last_byte(&door.address, &body).await);
    }
    until_eq(SOON, "all to be under way", 100.0, async || in_flight(&door).await).await;
    let bytes = async || door.metric("breakwater_ingest_body_bytes", &[]).await;
    let most = (4 << 20) as f64;
    until(SOON, "whoever found room to hold it", async || {
        let now = bytes().await;
        assert!(now <= most, "{now} bytes are held");
        (now > 0.0 && now % part as f64 == 0.0 && now + part as f64 > most / 2.0).then_some(())
    })
    .await;
    let mut statuses = Vec::new();
    for mut stream in held {
        stream.write_all(&body.as_bytes()[part..]).await.expect("nobody is hung up on");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("everybody is answered");
        let status = answer.get(9..12).expect("a status").to_owned();
        assert!(status == "202" || answer.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{answer}");
        statuses.push(status);
    }
    let of = |status: &str| statuses.iter().filter(|one| *one == status).count();
    assert_eq!(of("202") + of("503"), 100);
    assert!((1..=(4 << 20) / part).contains(&of("202")), "{statuses:?}");
    assert_eq!(kafka.count(&scope.alerts).await, 100 * of("202") as i64, "a record for each promise, and no other");
    until_eq(SOON, "all of it to be given back", 0.0, bytes).await;
    assert_eq!(door.post(PROMETHEUS, &body).await.status, 202);
}

/// So many requests over one connection that is kept, each answered before the next.
async fn talk(address: &str, body: &str, requests: usize) {
    let mut stream = TcpStream::connect(address).await.expect("the door listens");
    let request = format!(
        "POST {PROMETHEUS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let mut answer: Vec<u8> = Vec::new();
        loop {
            let read = stream.read(&mut buffer).await.expect("an answer");
            assert!(read > 0, "the connection is kept");
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|l| l.lines().next()?.parse::<usize>().ok());
            if rest.len() == length.expect("a length") {
                assert!(head.starts_with("HTTP/1.1 202"), "{text}");
                break;
            }
        }
    }
}

/// Requests of a round; in a build without optimisation the full hundred thousand would take minutes.
const ROUND: usize = 10_000;

#[tokio::test]
async fn m10_after_many_requests_and_a_rest_the_door_is_as_before() {
    let scope = Scope::new("m10");
    let setting = scope.setting(json!({ "ingest": { "rate_per_second": 1_000_000, "burst": 1_000_000 } }));
    setting.succeed(&["topics", "create"]).await;
    let (kafka, door) = (Kafka::at(&setting.kafka), Product::start("ingest", &setting).await);
    let body = webhook(&strangers("Often", "shop", 1)).to_string();
    let round = async || join_all((0..50).map(|_| talk(&door.address, &body, ROUND / 50))).await;
    let rest = async || until_eq(SOON, "all requests to be over", 0.0, async || in_flight(&door).await).await;
    // the first round fills what any use fills: buffers, arenas, the rates of clients
    let idle = door.process.descriptors();
    round().await;
    rest().await;
    let (before, threads) = (door.process.resident(), door.process.threads());
    round().await;
    rest().await;
    until_ok(SOON, "descriptors, threads and memory to be as at the start", async || {
        let now = (door.process.descriptors(), door.process.threads(), door.process.resident());
        let fits = now.0 <= idle + 5 && now.1 <= threads && now.2 <= before + before / 5;
        if fits { Ok(()) } else { Err(format!("{idle} descriptors, {threads} threads, {before} KiB; now {now:?}")) }
    })
    .await;
    assert_eq!(kafka.count(&scope.alerts).await, 2 * ROUND as i64);
}

#[tokio::test]
async fn n05_a_judge_and_a_door_that_are_busy_tell_their_health_within_a_second() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let (case, mut stages) = Case::own("n05", &["shop"], unlimited(), Shape { work: 0, ..Shape::ONE }).await;
    let alerts = strangers("Backlog", &case.namespace("shop"), 50);
    let values: Vec<Vec<u8>> = alerts.iter().map(|alert| alert.to_string().into_bytes()).collect();
    let keyed: Vec<(Option<&[u8]>, &[u8])> = values.iter().map(|value| (Some(&value[..]), &value[..])).collect();
    let thousand: Vec<_> = keyed.iter().cycle().take(2500).copied().collect();
    for _ in 0..12 {
        case.kafka.produce(&case.alerts, &thousand).await;
    }
    stages.works.push(Product::spawn("work", &stages.work));
    let judge = &stages.works[0];
    until_ok(SOON, "the judge to tell anything", async || http::get(&judge.admin, "/healthz").await).await;
    let (mut asked, mut slow, mut slowest) = (0, 0, Duration::ZERO);
    loop {
        for stage in [judge, &stages.ingests[0]] {
            for path in ["/healthz", "/readyz", "/metrics"] {
                let begun = Instant::now();
                let page = http::get(&stage.admin, path).await.expect("the admin address answers");
                assert!(page.status == 200 || path == "/readyz", "{path}: {}", page.status);
                slow += usize::from(begun.elapsed() >= DEADLINE);
                slowest = slowest.max(begun.elapsed());
            }
        }
        asked += 1;
        join_all((0..8).map(|_| case.post(&alerts))).await; // the door is at work as well
        let read = judge.metric("breakwater_work_outcomes_total", &[]).await;
        if read >= 30_000.0 {
            break;
        }
        assert!(asked < 5_000, "the backlog is never read: {read}");
    }
    assert!(asked > 3, "the backlog was read before anyone could ask");
    // whoever asks waits for a processor too, on a machine that runs other tests: one answer in fifty may be late
    assert!(slow * 50 <= 6 * asked && slowest < 3 * DEADLINE, "{slow} late in {asked} rounds of six, by {slowest:?}");
}
