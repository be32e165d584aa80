//! The stage over a broker in this process.

use super::*;
use crate::{
    alert::headers::Headers,
    kafka::{Outgoing, consumer::Consumer, in_process::InProcess, producer::Producer},
    pipeline::topics::Topics,
    remediation::Remediation,
    sink::{
        folder::Folder,
        specimen::{goes_on, opens, rules, seen, single},
    },
    telemetry::metrics::{KafkaMetrics, Registry},
};

fn topics() -> Topics {
    Topics {
        alerts: "alerts".to_owned(),
        remediations: "remediations".to_owned(),
        dead_letters: "dead-letters".to_owned(),
        work_group: "work".to_owned(),
        sink_group: "sink".to_owned(),
        partitions: 2,
        replication: 1,
        retention: Duration::from_hours(1),
        redis_prefix: "test".to_owned(),
        wait_replicas: 0,
    }
}

fn policy() -> SinkPolicy {
    SinkPolicy {
        writes_per_second: None,
        in_flight: 4,
        lanes: 100,
        give_up_after: Duration::from_mins(2),
        backoff_floor: Duration::from_millis(10),
        backoff_ceiling: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "in 30 s it did not come true that {what}");
}

/// The whole stage over a broker in this process and a folder: what is read becomes files, what is unreadable is
/// set aside, what ends is told, and the books balance.
#[expect(clippy::too_many_lines, reason = "one story, from the first record to the last commit")]
#[tokio::test(flavor = "multi_thread")]
async fn p02_i27_records_become_objects_and_the_books_balance() {
    let broker = InProcess::start(&[("remediations", 2), ("alerts", 2), ("dead-letters", 1)]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (objects, topics) = (Folder::open(place.path()).await.unwrap(), topics());
    let mut registry = Registry::new();
    let (metrics, kafka) = (SinkMetrics::register(&mut registry), KafkaMetrics::register(&mut registry, "sink"));
    let producer = Producer::new(&broker.settings(), Duration::from_secs(10)).unwrap();
    let incident = single("a", 1);
    let records = [opens("a", 1), opens("b", 2), opens("c", 3), goes_on(&incident, seen(&incident, 5, 9))];
    let values = records.iter().map(|record: &Remediation| serde_json::to_vec(record).unwrap());
    let outgoing = values.chain([b"nonsense".to_vec()]).map(|value| Outgoing {
        key: Some(incident.group.to_string().into()),
        value: value.into(),
        headers: Headers::default(),
        partition: None,
    });
    let answers = producer.publish_all("remediations", outgoing.collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let (consumer, offsets, partitions) =
        Consumer::subscribe(&broker.settings(), "remediations", "sink", 100, &kafka).unwrap();
    let (sight, sights) = mpsc::channel(10);
    for shown in objects.sights().await.unwrap() {
        sight.send(shown).await.unwrap();
    }
    let teller = Teller { producer, topics, metrics: metrics.clone() };
    let (health, recent) = (Health::new("sink"), Recent::default());
    let sink = Sink {
        objects: objects.clone(),
        rules: rules(),
        policy: policy(),
        changes: tokio::sync::watch::channel((rules(), policy())).1,
        teller,
        offsets,
        partitions,
        sights,
        health: health.clone(),
        metrics: metrics.clone(),
        recent: recent.clone(),
    };
    let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = crate::lifecycle::Group::new();
    let consumed = consumer.run(stop.clone(), drained.clone());
    tasks.spawn(async move { consumed.await.map_err(|error| error.to_string()) });
    let ran = sink.run(stop.clone(), drained);
    tasks.spawn(async move { ran.await.map_err(|error| error.to_string()) });
    let count = |what: &str| registry.exposition().contains(what);
    until("all 5 are settled", || {
        count("breakwater_sink_records_consumed_total 5") && metrics.books().in_flight() == 0
    })
    .await;
    for outcome in ["\"created\"} 3", "\"duplicate\"} 1", "\"dead_lettered\"} 1"] {
        assert!(count(&format!("breakwater_sink_outcomes_total{{outcome={outcome}")), "{}", registry.exposition());
    }
    let id = crate::sink::object::ObjectId::new("shop", &incident.name);
    let Found::Ours(mut object) = objects.read(&id).await.unwrap() else { panic!("ours") };
    assert_eq!(object.status.deduplication.as_ref().unwrap().occurrence_count, 5);
    let glimpse = recent.glimpse(jiff::Timestamp::UNIX_EPOCH, std::time::Instant::now());
    let told: Vec<_> = glimpse.incidents.iter().map(|seen| (seen.object.1.as_str(), seen.firings)).collect();
    assert_eq!((told.len(), told[2]), (3, (incident.name.as_str(), 5)), "the newest first: {told:?}");
    object.status.overall_phase = Some("Completed".to_owned());
    sight.send(Sight::Stands(object)).await.unwrap();
    until("its end is told", || count("breakwater_sink_closed_published_total 1")).await;
    assert!(health.is_ready(), "{:?}", health.readiness());
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        assert_eq!(ended.unwrap(), Ok(()));
    }
}
