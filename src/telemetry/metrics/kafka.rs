//! What a stage's reading of its topic counts.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::Counter, gauge::ConstGauge, gauge::Gauge},
};

use super::Registry;

/// What a stage's reading of its topic counts.
#[derive(Clone, Debug)]
pub struct KafkaMetrics {
    resets: Counter,
    assigned: Gauge,
    paused: Gauge,
    lag: Gauge,
    oldest: Oldest,
}

/// Since when the oldest record in hand waits. Its age is told as it is at the scrape.
#[derive(Clone, Debug)]
struct Oldest {
    name: String,
    /// In ms since 1970; [`NONE`] while nothing waits.
    since: Arc<AtomicI64>,
}

const NONE: i64 = i64::MAX;
const AGE: &str =
    "Age of the oldest record in hand that is not yet finished, by the broker's time of it; 0 while there is none";

impl Collector for Oldest {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let since = self.since.load(Ordering::Relaxed);
        let age = jiff::Timestamp::now().as_millisecond().saturating_sub(since).max(0);
        #[expect(clippy::cast_precision_loss, reason = "an age in ms is far below 2^53")]
        let seconds = age as f64 / 1000.0;
        ConstGauge::new(seconds).encode(encoder.encode_descriptor(&self.name, AGE, None, MetricType::Gauge)?)
    }
}

impl KafkaMetrics {
    /// Registers them under a stage's name; once a stage.
    #[must_use]
    pub fn register(registry: &mut Registry, stage: &'static str) -> Self {
        let name = |noun: &str| format!("breakwater_{stage}_{noun}");
        let oldest = Oldest { name: name("oldest_waiting_seconds"), since: Arc::new(AtomicI64::new(NONE)) };
        registry.note(&oldest.name, "gauge", ("", &[]), AGE);
        registry.collect(oldest.clone());
        Self {
            resets: registry.counter(
                &name("offset_resets_total"),
                "Times that a committed offset was older than what the topic keeps: records are gone unread",
            ),
            assigned: registry.gauge(&name("partitions_assigned"), "Partitions that this process reads"),
            paused: registry
                .gauge(&name("partitions_paused"), "Partitions from which nothing is taken because their records wait"),
            lag: registry.gauge(&name("lag_records"), "Records in this process's partitions that are not yet finished"),
            oldest,
        }
    }

    /// A partition was read from its earliest record, since the committed one is gone.
    pub fn offset_reset(&self) {
        self.resets.inc();
    }

    /// How often that has happened.
    #[must_use]
    pub fn offset_resets(&self) -> u64 {
        self.resets.get()
    }

    /// So many partitions are read, so many of them paused.
    pub fn partitions(&self, assigned: usize, paused: usize) {
        self.assigned.set(i64::try_from(assigned).unwrap_or(i64::MAX));
        self.paused.set(i64::try_from(paused).unwrap_or(i64::MAX));
    }

    /// The oldest record in hand is of this moment, in ms since 1970; none while nothing is in hand.
    pub fn oldest(&self, since: Option<i64>) {
        self.oldest.since.store(since.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// So many records are not yet finished.
    pub fn lag(&self, records: i64) {
        self.lag.set(records);
    }
}
