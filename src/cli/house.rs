//! What every process has, whatever stages it runs: logs, metrics, health, the admin address, tasks, and one stop.

use std::{
    fmt,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    addresses::{LogFormat, Running},
    reload::{Reload, Taker},
};
use crate::{
    kafka::producer::Producer,
    lifecycle::{self, Tasks},
    pipeline::Pipeline,
    telemetry::{
        admin,
        health::Health,
        metrics::{ProcessMetrics, Registry},
        recent::Recent,
        tracing::{self as traces, Guard, Options},
    },
};

/// What a drained stage has published is acknowledged already: this is for what a failed one left behind.
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);

/// How a process presents itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What is logged where `RUST_LOG` says nothing.
    pub filter: &'static str,
    /// Whether another free port will do for the admin address.
    pub any_port: bool,
}

impl Manner {
    /// A server's: lifecycle and trouble are told, addresses are meant.
    pub(crate) const SERVER: Self = Self { filter: "info", any_port: false };
}

/// A process that is being put together.
#[derive(Debug)]
pub(crate) struct House {
    /// What runs.
    pub tasks: Tasks,
    /// Tells all of it to stop.
    pub stop: CancellationToken,
    /// What is counted.
    pub registry: Registry,
    /// What happened of late.
    pub recent: Recent,
    producers: Vec<Producer>,
    healths: Vec<Health>,
    admin: TcpListener,
    process: Running,
    traces: Guard,
    takers: Takers,
}

/// Who follows a changed pipeline.
#[derive(Default)]
struct Takers(Vec<Taker>);

impl fmt::Debug for Takers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} stages", self.0.len())
    }
}

impl House {
    /// Sets up logs, listens for signals and on the admin address, before anything else is opened.
    pub(crate) fn open(name: &str, process: Running, manner: Manner) -> anyhow::Result<Self> {
        let traces = traces::init(&options(name, &process, manner))?;
        let stop = CancellationToken::new();
        lifecycle::signals(stop.clone()).context("signals cannot be listened for")?;
        let admin = TcpListener::bind(process.admin_listen)
            .or_else(|error| if manner.any_port { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) } else { Err(error) })
            .with_context(|| format!("BREAKWATER_ADMIN_LISTEN: {} cannot be listened on", process.admin_listen))?;
        Ok(Self {
            tasks: Tasks::new(stop.clone()),
            stop,
            registry: Registry::new(),
            recent: Recent::default(),
            producers: Vec::new(),
            healths: Vec::new(),
            admin,
            process,
            traces,
            takers: Takers::default(),
        })
    }

    /// The health of one more stage of this process; it says so when it is told to stop.
    pub(crate) fn stage(&mut self, name: &'static str) -> Health {
        let health = Health::new(name);
        health.register(&mut self.registry);
        let (stopping, stop) = (health.clone(), self.stop.clone());
        self.tasks.spawn("health", async move {
            stop.cancelled().await;
            stopping.stopping();
            Ok(())
        });
        self.healths.push(health.clone());
        health
    }

    /// A producer whose queue is flushed at the end.
    pub(crate) fn keep(&mut self, producer: Producer) -> Producer {
        self.producers.push(producer.clone());
        producer
    }

    /// One more stage that follows a changed pipeline.
    pub(crate) fn follows(&mut self, taker: impl Fn(&Arc<Pipeline>) + Send + Sync + 'static) {
        self.takers.0.push(Box::new(taker));
    }

    /// Follows the pipeline's file from now on, for all stages that were added.
    pub(crate) fn reload(&mut self, running: &Arc<Pipeline>) -> anyhow::Result<()> {
        let asked = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;
        let reload = Reload {
            last: self.process.found.clone().context("a stage follows the file that its pipeline came from")?,
            running: Arc::clone(running),
            takers: std::mem::take(&mut self.takers.0),
            metrics: ProcessMetrics::register(&mut self.registry),
            asked,
        };
        self.tasks.spawn("pipeline file", reload.run(self.stop.clone()));
        Ok(())
    }

    /// Runs until told to stop or until something fails; then drains all of it within the grace.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let closed = CancellationToken::new();
        let registry = Arc::new(self.registry);
        let admin = admin::serve(self.admin, (registry, self.recent), self.healths, closed.clone())?;
        let grace = self.process.grace;
        let end = self.tasks.run(grace).await;
        for producer in self.producers {
            producer.flush(FLUSHED_WITHIN).await;
        }
        closed.cancel();
        drop(tokio::task::spawn_blocking(move || admin.join()).await);
        self.traces.shutdown(Duration::from_secs(2)).await;
        tracing::info!(drained = end.is_ok(), "stopped");
        Ok(end?)
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Arms the point at which a test ends the process, if it named one.
pub(crate) fn arm() {
    arm_crash_point(var("BREAKWATER_CRASH_AT"));
}

/// The environment is read here and nowhere below.
fn options(name: &str, process: &Running, manner: Manner) -> Options {
    arm();
    Options {
        service: var("OTEL_SERVICE_NAME").unwrap_or_else(|| format!("breakwater-{name}")),
        filter: var("RUST_LOG").or_else(|| Some(manner.filter.to_owned())),
        json: process.log_format == LogFormat::Json,
        endpoint: var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT")),
        protocol: var("OTEL_EXPORTER_OTLP_PROTOCOL"),
    }
}

/// `point:nth`: where a test ends the process.
#[cfg(feature = "crash-points")]
fn arm_crash_point(at: Option<String>) {
    if let Some((point, nth)) = at.as_deref().and_then(|at| at.split_once(':'))
        && let Ok(nth) = nth.parse()
    {
        crate::crash::arm(point, nth);
    }
}

#[cfg(not(feature = "crash-points"))]
fn arm_crash_point(_at: Option<String>) {}
