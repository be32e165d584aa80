//! What the fire alarm check counts.

use std::time::Duration;

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::Registry;

/// Around what is to be expected, the hold of two seconds included, and up to what wakes somebody.
const BUCKETS: [f64; 12] = [0.25, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 10.0, 15.0, 30.0, 60.0];

/// What the fire alarm check counts.
#[derive(Clone, Debug)]
pub struct CanaryMetrics {
    sent: Counter,
    refused: Counter,
    lost: Counter,
    latency: Histogram,
}

impl CanaryMetrics {
    /// Registers them; once a process.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name, help| registry.counter(name, help);
        Self {
            sent: counter("breakwater_canary_sent_total", "Test alerts that the door has promised"),
            refused: counter(
                "breakwater_canary_refused_total",
                "Test alerts that found no door, or that it did not take",
            ),
            lost: counter("breakwater_canary_lost_total", "Test alerts promised, and no object within the turn"),
            latency: registry.histogram(
                "breakwater_canary_latency_seconds",
                &BUCKETS,
                "From the request of a test alert to its object",
            ),
        }
    }

    /// The door has promised one.
    pub fn sent(&self) {
        self.sent.inc();
    }

    /// It took none.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// No object came.
    pub fn lost(&self) {
        self.lost.inc();
    }

    /// It came after so long.
    pub fn arrived(&self, after: Duration) {
        self.latency.observe(after.as_secs_f64());
    }
}
