//! What a stage's reading of its topic counts.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::Registry;

/// What a stage's reading of its topic counts.
#[derive(Clone, Debug)]
pub struct KafkaMetrics {
    resets: Counter,
    assigned: Gauge,
    paused: Gauge,
    lag: Gauge,
}

impl KafkaMetrics {
    /// Registers them under a stage's name; once a stage.
    #[must_use]
    pub fn register(registry: &mut Registry, stage: &'static str) -> Self {
        let name = |noun: &str| format!("breakwater_{stage}_{noun}");
        Self {
            resets: registry.counter(
                &name("offset_resets_total"),
                "Times that a committed offset was older than what the topic keeps: records are gone unread",
            ),
            assigned: registry.gauge(&name("partitions_assigned"), "Partitions that this process reads"),
            paused: registry
                .gauge(&name("partitions_paused"), "Partitions from which nothing is taken because their records wait"),
            lag: registry.gauge(&name("lag_records"), "Records in this process's partitions that are not yet finished"),
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

    /// So many records are not yet finished.
    pub fn lag(&self, records: i64) {
        self.lag.set(records);
    }
}
