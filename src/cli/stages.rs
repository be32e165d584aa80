//! Pipeline + addresses → a stage that runs: reads like a table of contents.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use futures::FutureExt as _;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::sync::{mpsc, watch::channel as watch_channel};
use tokio_util::sync::CancellationToken;

use super::{
    addresses::{Cluster, RedisUrl, Running},
    entrance::Entrance,
    house::{House, Manner},
    say,
};
use crate::{
    ingest::{self, Door},
    kafka::{Settings, consumer::Consumer, probe, producer::Producer, topics},
    memory::{
        Memory, probe as memory_probe,
        redis::{Redis, eviction},
    },
    pipeline::Pipeline,
    sink::{Objects, desk, kubernetes::Kubernetes, live::Sight, stage::Sink, tell::Teller, watch},
    telemetry::{
        health::Health,
        metrics::{IngestMetrics, KafkaMetrics, MemoryMetrics, SinkMetrics, WorkMetrics},
    },
    work::{self, Bench, Shared, Stage, namespaces, namespaces::Namespaces, reach::Reach},
};

/// Records that lie ready for a partition's reader.
const CAPACITY: usize = 2000;
/// How long a draft, an update or a dead letter may wait for its acknowledgement before it is told to be tried again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// How long the judge waits at its start for the labels of namespaces before patterns and the default serve.
const PATIENCE_FOR_LABELS: Duration = Duration::from_secs(10);

/// Where everything is, for all stages in one process.
#[derive(Debug)]
pub(crate) struct Everything {
    pub kafka: Settings,
    pub redis: RedisUrl,
    pub kubernetes: Cluster,
    /// Where alerts are taken in, and from whom.
    pub door: Entrance,
}

/// All three stages.
pub(crate) async fn run(everything: Everything, process: Running, pipeline: Pipeline) -> anyhow::Result<()> {
    let Everything { kafka, redis, kubernetes, door } = everything;
    let (settings, pipeline) = (kafka, Arc::new(pipeline));
    let mut house = House::open("run", process, Manner::SERVER)?;
    tracing::info!(pipeline = ?pipeline.topics, %redis, ?kubernetes, ?door, "starting all stages");
    add_ingest(&mut house, &settings, &pipeline, door).await?;
    add_judge(&mut house, &settings, &pipeline, redis, &kubernetes).await?;
    add_way_out(&mut house, &settings, &pipeline, &kubernetes).await?;
    house.reload(&pipeline)?;
    house.run().await
}

/// The door.
pub(crate) async fn ingest(
    (settings, door): (Settings, Entrance),
    process: Running,
    pipeline: Pipeline,
) -> anyhow::Result<()> {
    let pipeline = Arc::new(pipeline);
    let mut house = House::open("ingest", process, Manner::SERVER)?;
    tracing::info!(pipeline = ?pipeline.topics, ?door, "starting ingest");
    add_ingest(&mut house, &settings, &pipeline, door).await?;
    house.reload(&pipeline)?;
    house.run().await
}

/// The judge.
pub(crate) async fn work(
    (settings, redis, kubernetes): (Settings, RedisUrl, Cluster),
    process: Running,
    pipeline: Pipeline,
) -> anyhow::Result<()> {
    let pipeline = Arc::new(pipeline);
    let mut house = House::open("work", process, Manner::SERVER)?;
    tracing::info!(pipeline = ?pipeline.topics, %redis, ?kubernetes, "starting work");
    add_judge(&mut house, &settings, &pipeline, redis, &kubernetes).await?;
    house.reload(&pipeline)?;
    house.run().await
}

/// The way out.
pub(crate) async fn sink(
    (settings, kubernetes): (Settings, Cluster),
    process: Running,
    pipeline: Pipeline,
) -> anyhow::Result<()> {
    let pipeline = Arc::new(pipeline);
    let mut house = House::open("sink", process, Manner::SERVER)?;
    tracing::info!(pipeline = ?pipeline.topics, ?kubernetes, "starting sink");
    add_way_out(&mut house, &settings, &pipeline, &kubernetes).await?;
    house.reload(&pipeline)?;
    house.run().await
}

/// The topics of a pipeline.
pub(crate) async fn create_topics(settings: Settings, pipeline: Pipeline) -> Result<(), super::Failure> {
    let topics = &pipeline.topics;
    let wanted = topics::wanted(&topics::Names {
        alerts: &topics.alerts,
        remediations: &topics.remediations,
        dead_letters: &topics.dead_letters,
        partitions: topics.partitions,
        replication: topics.replication,
        retention: topics.retention,
    });
    say(topics::create(&settings, wanted).await?)
}

/// Adds the door: HTTP in, acknowledged records out. Gives back where it listens.
pub(super) async fn add_ingest(
    house: &mut House,
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    door: Entrance,
) -> anyhow::Result<SocketAddr> {
    let health = house.stage("ingest");
    let (address, guard) = (door.listen, door.guard().await?);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("BREAKWATER_LISTEN: {address} cannot be listened on"))?;
    let bound = listener.local_addr()?;
    // An answer must be out before the request's own time is up.
    let acknowledged_within = pipeline.ingest.timeout.mul_f64(0.8);
    let producer = house.keep(Producer::new(settings, acknowledged_within)?);
    let metrics = IngestMetrics::register(&mut house.registry);
    let door = Door::new(ingest::Rules::from(pipeline.as_ref()), guard, producer, metrics);
    add_probe(house, settings, vec![pipeline.topics.alerts.clone(), pipeline.topics.dead_letters.clone()], &health);
    let follower = door.clone();
    house.follows(move |pipeline| follower.change(ingest::Rules::from(pipeline.as_ref())));
    let credentials = door.clone().follow_credentials(house.stop.clone());
    house.tasks.spawn("ingest: credentials", credentials.map(Ok));
    let stop = house.stop.clone();
    house.tasks.spawn("ingest: door", async move {
        ingest::serve(listener, door, stop).await;
        Ok(())
    });
    Ok(bound)
}

/// Adds the judge with its memory in Redis and its labels from the API server.
async fn add_judge(
    house: &mut House,
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    redis: RedisUrl,
    kubernetes: &Cluster,
) -> anyhow::Result<()> {
    let health = house.stage("work");
    let memory = Redis::open(redis.reveal(), &pipeline.topics.redis_prefix)?.keeping(work::bench::keep(pipeline));
    let memory = memory.with_replicas(pipeline.topics.wait_replicas);
    let metrics = MemoryMetrics::register(&mut house.registry);
    house.tasks.spawn("work: eviction", eviction::watch(memory.clone(), metrics, house.stop.clone()));
    let namespaces = Namespaces::default();
    let client = kube::Client::try_from(config(kubernetes).await?)?;
    let (known, whole) = (health.condition("namespaces"), CancellationToken::new());
    let watch = namespaces::watch(namespaces.clone(), client, PATIENCE_FOR_LABELS, whole.clone(), house.stop.clone());
    house.tasks.spawn("work: namespaces", watch);
    let bench = (memory, namespaces, kubernetes.fallback_namespace.clone());
    add_work(house, settings, pipeline, bench, health, async move {
        whole.cancelled().await;
        known.met();
    })
}

/// Adds the judge: records in, drafts out. It reads nothing before `informed`.
#[expect(clippy::too_many_arguments, reason = "wiring: each is a thing of its own")]
pub(super) fn add_work<M: Memory + Clone + std::fmt::Debug>(
    house: &mut House,
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    (memory, namespaces, fallback_namespace): (M, Namespaces, String),
    health: Health,
    informed: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let topics = &pipeline.topics;
    let reads = KafkaMetrics::register(&mut house.registry, "work");
    let (consumer, offsets, partitions) =
        Consumer::subscribe(settings, &topics.alerts, &topics.work_group, CAPACITY, &reads)?;
    let memory_answers = health.condition("memory");
    let bench = Shared::new(Bench {
        memory: memory.clone(),
        pipeline: Arc::clone(pipeline),
        namespaces,
        fallback_namespace,
        metrics: WorkMetrics::register(&mut house.registry),
    });
    let follower = bench.clone();
    house.follows(move |pipeline| follower.change(Arc::clone(pipeline)));
    let stage = Stage {
        bench,
        reach: Arc::new(Reach::default()),
        offsets,
        producer: house.keep(Producer::new(settings, ACKNOWLEDGED_WITHIN)?),
        memory_answers: memory_answers.clone(),
    };
    add_probe(house, settings, names(pipeline), &health);
    house.tasks.spawn("work: memory", memory_probe(memory, memory_answers, house.stop.clone()));
    let (stop, drained) = (house.stop.clone(), CancellationToken::new());
    work::start(&mut house.tasks, stage, partitions, &stop, drained.clone());
    let (settings, alerts, clock) = (settings.clone(), topics.alerts.clone(), health.condition("assignment"));
    house.tasks.spawn("work: consumer", async move {
        let demanded = stop.run_until_cancelled(async {
            informed.await;
            topics::demand_broker_clock(&settings, &alerts, &clock).await
        });
        match demanded.await {
            None => return Ok(()),
            Some(demanded) => demanded?,
        }
        consumer.tell(clock);
        Ok(consumer.run(stop, drained).await?)
    });
    Ok(())
}

/// Adds the way out to the Kubernetes API.
async fn add_way_out(
    house: &mut House,
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let health = house.stage("sink");
    let kubernetes = Kubernetes::new(config(cluster).await?, pipeline.sink.timeout)?;
    let kubernetes = kubernetes.falling_back_to(&cluster.fallback_namespace);
    let (show, sights) = mpsc::channel(1000);
    let watched = watch::run(kubernetes.clone(), show, health.clone(), house.stop.clone());
    house.tasks.spawn("sink: watch", async move { Ok(watched.await?) });
    add_sink(house, settings, pipeline, (kubernetes, sights, &cluster.fallback_namespace), health)
}

/// Adds the way out: drafts in, objects out.
pub(super) fn add_sink<O: Objects>(
    house: &mut House,
    settings: &Settings,
    pipeline: &Arc<Pipeline>,
    (objects, sights, fallback_namespace): (O, mpsc::Receiver<Sight>, &str),
    health: Health,
) -> anyhow::Result<()> {
    let topics = &pipeline.topics;
    let reads = KafkaMetrics::register(&mut house.registry, "sink");
    let (consumer, offsets, partitions) =
        Consumer::subscribe(settings, &topics.remediations, &topics.sink_group, CAPACITY, &reads)?;
    let metrics = SinkMetrics::register(&mut house.registry);
    let producer = house.keep(Producer::new(settings, ACKNOWLEDGED_WITHIN)?);
    add_probe(house, settings, names(pipeline), &health);
    consumer.tell(health.condition("assignment"));
    let (change, changes) = watch_channel((desk::Rules::of(pipeline, fallback_namespace), pipeline.sink.clone()));
    let fallback = fallback_namespace.to_owned();
    house.follows(move |pipeline| {
        change.send_replace((desk::Rules::of(pipeline, &fallback), pipeline.sink.clone()));
    });
    let sink = Sink {
        objects,
        changes,
        rules: desk::Rules::of(pipeline, fallback_namespace),
        policy: pipeline.sink.clone(),
        teller: Teller { producer, topics: topics.clone(), metrics: metrics.clone() },
        offsets,
        partitions,
        sights,
        health,
        metrics,
        recent: house.recent.clone(),
    };
    let (stop, drained) = (house.stop.clone(), CancellationToken::new());
    let (reading, read) = (stop.clone(), drained.clone());
    house.tasks.spawn("sink: consumer", async move { Ok(consumer.run(reading, read).await?) });
    house.tasks.spawn("sink: writer", async move { Ok(sink.run(stop, drained).await?) });
    Ok(())
}

fn names(pipeline: &Pipeline) -> Vec<String> {
    let topics = &pipeline.topics;
    vec![topics.alerts.clone(), topics.remediations.clone(), topics.dead_letters.clone()]
}

fn add_probe(house: &mut House, settings: &Settings, topics: Vec<String>, health: &Health) {
    let probe = probe::run(settings.clone(), topics, health.condition("kafka"), house.stop.clone());
    house.tasks.spawn("kafka probe", async move { Ok(probe.await?) });
}

/// How the API server is reached.
pub(super) async fn config(cluster: &Cluster) -> anyhow::Result<Config> {
    config_by(cluster.kubeconfig.as_deref()).await
}

/// The same by a kubeconfig; without one, by the service account of the pod.
pub(super) async fn config_by(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    let Some(file) = kubeconfig else {
        return Config::incluster().context("KUBECONFIG is not set, and this is no pod with a service account");
    };
    let read = Kubeconfig::read_from(file).with_context(|| format!("KUBECONFIG: {} cannot be used", file.display()))?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("KUBECONFIG: {} cannot be used", file.display()))
}
