//! What a stage needs and what of it is missing: `/readyz`, and the gauges of outages.
//!
//! **Invariant:** a reason names no address; it may leave through HTTP. Shutdown beats every other reason.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde::Serialize;

use super::metrics::Registry;

/// The stages, as they are called everywhere.
pub const STAGES: [&str; 3] = ["ingest", "work", "sink"];
/// Everything that a stage may depend on.
const DEPENDENCIES: [&str; 8] =
    ["kafka", "assignment", "memory", "namespaces", "kubernetes", "kind", "index", "rights"];
const NOT_PROBED: &str = "not probed yet";

/// The health of one stage. Clones speak of the same stage.
#[derive(Clone, Debug)]
pub struct Health(Arc<Stage>);

#[derive(Debug)]
struct Stage {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    conditions: BTreeMap<&'static str, Tracked>,
}

/// One condition: what is missing, and how often and how long it was away since it was first there.
#[derive(Debug)]
struct Tracked {
    missing: Option<String>,
    since: Option<Instant>,
    seen: bool,
    outages: u64,
    away: Duration,
}

impl Tracked {
    fn new() -> Self {
        Self { missing: Some(NOT_PROBED.to_owned()), since: None, seen: false, outages: 0, away: Duration::ZERO }
    }

    fn met(&mut self, now: Instant) {
        self.missing = None;
        self.seen = true;
        self.away += self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    }

    fn lack(&mut self, reason: String, now: Instant) {
        if self.missing.replace(reason).is_none() && self.seen {
            self.outages += 1;
            self.since = Some(now);
        }
    }

    fn away(&self, now: Instant) -> Duration {
        self.away + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whose.
    pub stage: &'static str,
    /// `ready`, `not ready` or `stopping`.
    pub status: &'static str,
    /// A reason for each thing that is missing.
    pub missing: BTreeMap<&'static str, String>,
}

/// One thing that a stage needs, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Which.
    pub name: &'static str,
    /// Why it is not there; none if it is.
    pub missing: Option<String>,
    /// How often it went away after it had been there.
    pub outages: u64,
    /// How long it was away in all, the present outage included.
    pub away: Duration,
}

impl Health {
    /// A stage that needs nothing yet.
    #[must_use]
    pub fn new(stage: &'static str) -> Self {
        Self(Arc::new(Stage { name: stage, state: Mutex::default() }))
    }

    /// Adds what the stage needs; missing until it is told to be there. Asked again, the same condition.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.0.lock().conditions.entry(name).or_insert_with(Tracked::new);
        Condition { name, stage: Arc::clone(&self.0) }
    }

    /// The stage was told to stop: it is not ready any more, whatever else holds.
    pub fn stopping(&self) {
        self.0.lock().stopping = true;
    }

    /// Which stage this is.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        self.0.name
    }

    /// Whether all that is needed is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().status == "ready"
    }

    /// What is missing now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let state = self.0.lock();
        let missing: BTreeMap<_, _> =
            state.conditions.iter().filter_map(|(name, one)| Some((*name, one.missing.clone()?))).collect();
        let status = match (state.stopping, missing.is_empty()) {
            (true, _) => "stopping",
            (false, true) => "ready",
            (false, false) => "not ready",
        };
        Readiness { stage: self.0.name, status, missing }
    }

    /// Everything that the stage needs.
    #[must_use]
    pub fn dependencies(&self, now: Instant) -> Vec<Dependency> {
        let of = |(name, one): (&&'static str, &Tracked)| Dependency {
            name,
            missing: one.missing.clone(),
            outages: one.outages,
            away: one.away(now),
        };
        self.0.lock().conditions.iter().map(of).collect()
    }

    /// Shows each condition as a gauge, with the number and length of its outages.
    pub fn register(&self, registry: &mut Registry) {
        for (suffix, kind, help) in SERIES {
            registry.note(&self.title(suffix), kind, ("dependency", &DEPENDENCIES), help);
        }
        registry.collect(self.clone());
    }

    fn title(&self, suffix: &str) -> String {
        format!("breakwater_{}_{suffix}", self.0.name)
    }
}

const SERIES: [(&str, &str, &str); 3] = [
    ("dependency_up", "gauge", "1 while what the stage depends on is there"),
    ("dependency_outages_total", "counter", "Times that it went away after it had been there"),
    ("dependency_outage_seconds_total", "counter", "Seconds that it was away in all, the present outage included"),
];

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that a stage needs; whoever watches it holds this. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    stage: Arc<Stage>,
}

impl Condition {
    /// It is there.
    pub fn met(&self) {
        self.met_at(Instant::now());
    }

    /// It is not, and this is why; in words that may leave through HTTP.
    pub fn missing(&self, reason: impl Into<String>) {
        self.missing_at(reason.into(), Instant::now());
    }

    fn met_at(&self, now: Instant) {
        self.stage.lock().conditions.entry(self.name).or_insert_with(Tracked::new).met(now);
    }

    fn missing_at(&self, reason: String, now: Instant) {
        self.stage.lock().conditions.entry(self.name).or_insert_with(Tracked::new).lack(reason, now);
    }
}

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Instant::now();
        let state = self.0.lock();
        let shown: Vec<_> = state
            .conditions
            .iter()
            .map(|(name, one)| ([("dependency", *name)], one.missing.is_none(), one.outages, one.away(now)))
            .collect();
        drop(state);
        let [up, outages, seconds] = SERIES;
        let title = self.title(up.0);
        let mut family = encoder.encode_descriptor(&title, up.2, None, MetricType::Gauge)?;
        for (labels, there, ..) in &shown {
            ConstGauge::new(i64::from(*there)).encode(family.encode_family(labels)?)?;
        }
        let title = self.title(outages.0.trim_end_matches("_total"));
        let mut family = encoder.encode_descriptor(&title, outages.2, None, MetricType::Counter)?;
        for (labels, _, count, _) in &shown {
            ConstCounter::new(*count).encode(family.encode_family(labels)?)?;
        }
        let title = self.title(seconds.0.trim_end_matches("_total"));
        let mut family = encoder.encode_descriptor(&title, seconds.2, None, MetricType::Counter)?;
        for (labels, _, _, away) in &shown {
            ConstCounter::new(away.as_secs_f64()).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, Condition) {
        let health = Health::new("work");
        let condition = health.condition("kafka");
        (health, condition)
    }

    #[test]
    fn n03_what_was_never_probed_is_missing() {
        let (health, _) = health();
        assert_eq!(health.readiness().missing["kafka"], "not probed yet");
        assert!(!health.is_ready());
    }

    #[test]
    fn n03_shutdown_beats_every_other_reason() {
        let (health, condition) = health();
        condition.met();
        assert!(health.is_ready());
        health.stopping();
        assert_eq!(health.readiness().status, "stopping");
        condition.missing("gone");
        assert_eq!(health.readiness().status, "stopping");
    }

    #[test]
    fn n04_readiness_follows_each_loss_and_each_return() {
        let (health, condition) = health();
        for _ in 0..3 {
            condition.met();
            assert!(health.is_ready());
            condition.missing("gone");
            assert_eq!(health.readiness().missing["kafka"], "gone");
        }
    }

    #[test]
    fn p05_seconds_away_are_added_up_and_the_present_ones_count() {
        let mut tracked = Tracked::new();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        tracked.met(start);
        tracked.lack("gone".to_owned(), after(10));
        tracked.lack("still gone".to_owned(), after(12));
        assert_eq!((tracked.outages, tracked.away(after(15))), (1, Duration::from_secs(5)));
        tracked.met(after(17));
        tracked.lack("gone".to_owned(), after(20));
        assert_eq!((tracked.outages, tracked.away(after(21))), (2, Duration::from_secs(8)));
    }
}
