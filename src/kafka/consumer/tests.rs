//! The real client against the broker in our own process. Its groups take three seconds to form, so a test tells a
//! longer story than elsewhere.

use std::future::Future;

use bytes::Bytes;
use tokio::time::timeout;

use super::{reader::is_reset, *};
use crate::{
    alert::headers::Headers,
    kafka::{Outgoing, in_process::InProcess, probe, producer::Producer, range},
    lifecycle::Group,
    telemetry::{health::Health, metrics::Registry},
};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

fn to(partition: i32, value: &str) -> Outgoing {
    let mut headers = Headers::default();
    headers.push("kind", "firing");
    headers.push("bytes", vec![0xff, 0x00]);
    let key = Some(Bytes::from_static(b"key"));
    Outgoing { key, value: Bytes::from(value.to_owned()), headers, partition: Some(partition) }
}

/// A consumer under way, in a group of tasks of its own.
struct Running {
    offsets: Offsets,
    partitions: mpsc::Receiver<Partition>,
    metrics: KafkaMetrics,
    drained: CancellationToken,
    tasks: Group<Result<(), KafkaError>>,
}

impl Running {
    fn start(settings: &Settings, capacity: usize) -> Self {
        let metrics = KafkaMetrics::register(&mut Registry::new(), "work");
        let (consumer, offsets, partitions) =
            Consumer::subscribe(settings, "alerts", "work", capacity, &metrics).expect("it subscribes");
        let drained = CancellationToken::new();
        let mut tasks = Group::new();
        tasks.spawn(consumer.run(drained.clone(), drained.clone()));
        Self { offsets, partitions, metrics, drained, tasks }
    }

    async fn partition(&mut self) -> Partition {
        soon(self.partitions.recv()).await.expect("the consumer lives")
    }

    async fn end(mut self) -> Offsets {
        self.drained.cancel();
        soon(self.tasks.join_next()).await.expect("one task").expect("no panic").expect("it ends well");
        self.offsets
    }
}

async fn published(settings: &Settings, records: Vec<Outgoing>) -> Vec<i64> {
    let producer = Producer::new(settings, Duration::from_secs(10)).expect("it is made");
    let answers = soon(producer.publish_all("alerts", records)).await;
    answers.into_iter().map(|answer| answer.expect("it is acknowledged").offset).collect()
}

async fn expect_all(partition: &mut Partition, values: &[String]) {
    for value in values {
        let record = soon(partition.records.recv()).await.expect("the partition is ours");
        assert_eq!(record.value, value.as_bytes());
        assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(record.headers.text("kind"), Some("firing"));
        assert_eq!(record.headers.0[1].1, vec![0xff, 0x00]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k03_a_slow_reader_gets_all_in_order_and_the_next_owner_reads_from_what_was_stored() {
    let broker = InProcess::start(&[("alerts", 1)]).expect("it starts");
    let settings = broker.settings();
    let values: Vec<String> = (0..500).map(|number| format!("v{number}")).collect();
    let offsets = published(&settings, values.iter().map(|value| to(0, value)).collect()).await;
    assert_eq!(offsets, (0..500).collect::<Vec<i64>>(), "answers stand in the order of the records");

    let mut first = Running::start(&settings, 8);
    let mut partition = first.partition().await;
    expect_all(&mut partition, &values[..100]).await;
    assert_eq!(soon(first.offsets.ends(0)).await, Ok((0, 500)));
    assert_eq!(soon(first.offsets.partitions()).await, Ok(1));
    assert_eq!(first.offsets.store(0, 60, &partition.revoked), Ok(true));
    assert_eq!(first.offsets.store(7, 60, &partition.revoked), Ok(false), "not ours");
    let late = first.end().await;
    assert!(partition.revoked.is_cancelled(), "leaving the group cancels what was ours");
    assert_eq!(late.store(0, 90, &partition.revoked), Ok(false), "k05: a late store changes nothing");

    let mut second = Running::start(&settings, 600);
    let mut partition = second.partition().await;
    assert_eq!(soon(second.offsets.committed(0)).await, Ok(Some(60)));
    expect_all(&mut partition, &values[60..]).await;
    assert_eq!(second.metrics.offset_resets(), 0);
    drop(second.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_an_offset_that_is_not_kept_is_read_from_the_earliest_record_and_counted() {
    let broker = InProcess::start(&[("alerts", 1)]).expect("it starts");
    let settings = broker.settings();
    published(&settings, vec![to(0, "a"), to(0, "b")]).await;
    let mut first = Running::start(&settings, 8);
    let partition = first.partition().await;
    assert_eq!(first.offsets.store(0, 1_000, &partition.revoked), Ok(true));
    drop(first.end().await);
    let mut second = Running::start(&settings, 8);
    let mut partition = second.partition().await;
    let record = soon(partition.records.recv()).await.expect("the partition is ours");
    assert_eq!((record.position.offset, second.metrics.offset_resets()), (0, 1));
    drop(second.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_partition_does_not_hold_its_neighbour_back() {
    let broker = InProcess::start(&[("alerts", 2)]).expect("it starts");
    let settings = broker.settings();
    published(&settings, (0..50).map(|number| to(0, &number.to_string())).collect()).await;
    let mut running = Running::start(&settings, 2);
    let mut two = [running.partition().await, running.partition().await];
    two.sort_by_key(|partition| partition.number);
    let [mut slow, mut quick] = two;
    published(&settings, vec![to(1, "x"), to(1, "y"), to(1, "z")]).await;
    for value in ["x", "y", "z"] {
        assert_eq!(soon(quick.records.recv()).await.expect("ours").value, value);
    }
    for number in 0..50 {
        assert_eq!(soon(slow.records.recv()).await.expect("ours").value, number.to_string());
    }
    drop(running.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_of_the_log_is_read_once_and_ends() {
    let broker = InProcess::start(&[("alerts", 3)]).expect("it starts");
    let settings = broker.settings();
    published(&settings, (0..30).map(|number| to(number % 2, &number.to_string())).collect()).await;
    let mut stretches = soon(range::since(&settings, "alerts", None)).await.expect("the broker answers");
    assert_eq!(stretches.iter().map(|one| (one.from, one.to)).collect::<Vec<_>>(), [(0, 15), (0, 15), (0, 0)]);
    stretches[0].from = 10;
    stretches[1].to = 5;
    let (into, mut records) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let reading = range::read(&settings, "alerts", stretches, into, stop);
    let heard = async {
        let mut heard = Vec::new();
        while let Some(record) = records.recv().await {
            heard.push((record.position.partition, record.position.offset));
        }
        heard.sort_unstable();
        heard
    };
    let (read, heard) = soon(async { tokio::join!(reading, heard) }).await;
    assert_eq!(read, Ok(()));
    let expected: Vec<_> = (10..15).map(|offset| (0, offset)).chain((0..5).map(|offset| (1, offset))).collect();
    assert_eq!(heard, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn n04_the_probe_tells_whether_the_broker_answers() {
    let broker = InProcess::start(&[("alerts", 1)]).expect("it starts");
    for (settings, status) in [
        (broker.settings(), "ready"),
        (Settings::new("127.0.0.1:1".to_owned(), Default::default()).expect("no properties"), "not ready"),
    ] {
        let (health, stop) = (Health::new("ingest"), CancellationToken::new());
        let probing = probe::run(settings, vec!["alerts".to_owned()], health.condition("kafka"), stop.clone());
        let told = async {
            while health.readiness().missing.get("kafka").is_some_and(|reason| reason == "not probed yet") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stop.cancel();
        };
        let (ended, ()) = soon(async { tokio::join!(probing, told) }).await;
        assert_eq!(ended, Ok(()));
        let readiness = health.readiness();
        assert_eq!(readiness.status, status);
        assert!(readiness.missing.values().all(|reason| !reason.contains("127.0.0.1")), "{readiness:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k01_what_no_broker_acknowledges_is_told_within_the_timeout() {
    let settings = Settings::new("127.0.0.1:1".to_owned(), Default::default()).expect("no properties");
    let producer = Producer::new(&settings, Duration::from_millis(1_500)).expect("it is made without a broker");
    let answers = soon(producer.publish_all("alerts", vec![to(0, "a"), to(0, "b")])).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(error) if error.is_transient())), "{answers:?}");
}

#[test]
fn the_clients_word_for_a_lost_offset_is_known() {
    let told = "alerts [3]: offset reset (at offset 17 (leader epoch 0), broker 1) to offset BEGINNING (leader epoch -1): \
                fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
    assert!(is_reset("OFFSET", told));
    assert!(!is_reset("OFFSET", "alerts [3]: offset reset to BEGINNING: no previously committed offset available"));
}
