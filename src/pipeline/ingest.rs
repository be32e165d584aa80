//! Section `ingest`: what the door takes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    reading::Reading,
    written::{Count, Size, Span, Written},
};

/// What the door takes. Beyond `concurrency` and `rate_per_second` it answers 503 with Retry-After.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestPolicy {
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Alerts in one webhook.
    pub max_alerts: usize,
    /// Bytes of one alert (one record).
    pub max_alert: usize,
    /// Nested arrays and objects.
    pub max_nesting: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Bytes of all bodies that are held at once.
    pub max_bodies: usize,
    /// Requests a second from one client address.
    pub rate_per_second: u32,
    /// How many of them at once.
    pub burst: u32,
    /// How long a request may take, Kafka's acknowledgement included.
    pub timeout: Duration,
}

impl Default for IngestPolicy {
    fn default() -> Self {
        Self {
            max_body: 8 * MIB,
            max_alerts: 10_000,
            max_alert: 384 * KIB,
            max_nesting: 64,
            concurrency: 128,
            max_bodies: 128 * MIB,
            rate_per_second: 10_000,
            burst: 10_000,
            timeout: Duration::from_secs(10),
        }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What the door takes. What is refused for want of room is answered 503 with Retry-After.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Ingest")]
pub(super) struct RawIngest {
    /// Size of a request's body, 1KiB to 64MiB. Default: 8MiB.
    max_body: Option<Written<Size>>,
    /// Alerts in one webhook, 1 to 100000. Default: 10000.
    max_alerts: Option<Written<Count>>,
    /// Size of one alert, 1KiB to 512KiB: its draft carries it twice and must fit a record and an object. Default: 384KiB.
    max_alert: Option<Written<Size>>,
    /// Nested arrays and objects, 8 to 100. Default: 64.
    max_nesting: Option<Written<Count>>,
    /// Requests under way at once, 1 to 10000. Default: 128.
    concurrency: Option<Written<Count>>,
    /// Size of all bodies that are held at once, those that still arrive included, 1MiB to 2GiB. Default: 128MiB.
    max_bodies: Option<Written<Size>>,
    /// Requests a second from one client address, 1 to 1000000. Default: 10000.
    rate_per_second: Option<Written<Count>>,
    /// How many of them at once, 1 to 1000000. Default: 10000.
    burst: Option<Written<Count>>,
    /// How long a request may take, Kafka's acknowledgement included, 1s to 1m. Default: 10s.
    timeout: Option<Written<Span>>,
}

/// Checks the section.
pub(super) fn check(raw: &RawIngest, reading: &mut Reading<'_>) -> IngestPolicy {
    let shipped = IngestPolicy::default();
    let mut count = |name: &str, written: &Option<Written<Count>>, default: usize, least: usize, most: usize| {
        reading.count(&format!("ingest.{name}"), written, default, least..=most)
    };
    let max_alerts = count("max_alerts", &raw.max_alerts, shipped.max_alerts, 1, 100_000);
    let max_nesting = count("max_nesting", &raw.max_nesting, shipped.max_nesting, 8, 100);
    let concurrency = count("concurrency", &raw.concurrency, shipped.concurrency, 1, 10_000);
    let rate = reading.count("ingest.rate_per_second", &raw.rate_per_second, shipped.rate_per_second, 1..=1_000_000);
    let minute = Duration::from_mins(1);
    let checked = IngestPolicy {
        max_body: reading.size("ingest.max_body", &raw.max_body, shipped.max_body, KIB..=64 * MIB),
        max_alerts,
        max_alert: reading.size("ingest.max_alert", &raw.max_alert, shipped.max_alert, KIB..=512 * KIB),
        max_nesting,
        concurrency,
        max_bodies: reading.size("ingest.max_bodies", &raw.max_bodies, shipped.max_bodies, MIB..=2048 * MIB),
        rate_per_second: rate,
        burst: reading.count("ingest.burst", &raw.burst, shipped.burst, 1..=1_000_000),
        timeout: reading.span("ingest.timeout", &raw.timeout, shipped.timeout, Duration::from_secs(1)..=minute),
    };
    if checked.max_alert > checked.max_body {
        let place = raw.max_body.as_ref().or(raw.max_alert.as_ref()).map(Written::place);
        let text = "ingest.max_body must be at least ingest.max_alert: a webhook holds an alert";
        reading.fault(place, text, "raise the one or lower the other");
    }
    if checked.max_body > checked.max_bodies {
        let place = raw.max_bodies.as_ref().or(raw.max_body.as_ref()).map(Written::place);
        let text = "ingest.max_bodies must be at least ingest.max_body: a body that is taken must find room";
        reading.fault(place, text, "raise the one or lower the other");
    }
    checked
}
