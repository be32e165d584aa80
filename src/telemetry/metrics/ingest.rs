//! What the door counts.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{Registry, Tally};

const REASONS: &[&str] = &["malformed", "invalid", "no_alert", "too_large", "refused", "unknown_version", "other"];
const CODES: &[&str] =
    &["200", "202", "400", "401", "403", "404", "405", "408", "413", "415", "422", "500", "503", "other"];

const VERDICTS: &[&str] = &["permitted", "unknown", "forbidden", "away"];

/// What the door counts.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    accepted: Counter,
    rejected: Tally,
    truncated: Counter,
    requests: Tally,
    in_flight: Gauge,
    bodies: Gauge,
    judged: Tally,
    credentials: Tally,
}

impl IngestMetrics {
    /// Registers them; once a process.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            accepted: registry.counter(
                "breakwater_ingest_alerts_accepted_total",
                "Alerts acknowledged by Kafka and promised to their sender",
            ),
            rejected: registry.tally(
                "breakwater_ingest_alerts_rejected_total",
                "reason",
                REASONS,
                "Alerts that cannot be used, set aside with their reason",
            ),
            truncated: registry.counter(
                "breakwater_ingest_alerts_truncated_upstream_total",
                "Alerts that a sender says it has left out of its webhooks",
            ),
            requests: registry.tally(
                "breakwater_ingest_requests_total",
                "code",
                CODES,
                "Requests by the code answered",
            ),
            in_flight: registry.gauge("breakwater_ingest_requests_in_flight", "Requests not yet answered"),
            bodies: registry
                .gauge("breakwater_ingest_body_bytes", "Size of all bodies that are held, whole or in part"),
            judged: registry.tally(
                "breakwater_ingest_senders_judged_total",
                "verdict",
                VERDICTS,
                "Requests whose sender was judged by a token, or by the lack of one",
            ),
            credentials: registry.tally(
                "breakwater_ingest_credentials_reloads_total",
                "result",
                &["taken", "refused"],
                "Changes seen of the files of tokens and certificates; a refused one leaves what was in force",
            ),
        }
    }

    /// So many alerts are acknowledged.
    pub fn accepted(&self, alerts: u64) {
        self.accepted.inc_by(alerts);
    }

    /// One alert cannot be used; `reason` as in `AlertError`.
    pub fn rejected(&self, reason: &str) {
        self.rejected.count(reason, 1);
    }

    /// The sender says that it left out so many.
    pub fn truncated_upstream(&self, alerts: u64) {
        self.truncated.inc_by(alerts);
    }

    /// A request was answered so.
    pub fn answered(&self, code: u16) {
        self.requests.count(&code.to_string(), 1);
    }

    /// A request has begun; it is in flight until the answer is dropped.
    #[must_use]
    pub fn begun(&self) -> InFlight {
        InFlight::new(&self.in_flight)
    }

    /// A sender was judged so.
    pub fn judged(&self, verdict: &str) {
        self.judged.count(verdict, 1);
    }

    /// Tokens or certificates have changed, and were taken or not.
    pub fn credentials_reloaded(&self, taken: bool) {
        self.credentials.count(if taken { "taken" } else { "refused" }, 1);
    }

    /// So many bytes of bodies are held, more or fewer than before.
    pub fn bodies_moved(&self, by: i64) {
        self.bodies.inc_by(by);
    }
}

/// Something under way, counted until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
