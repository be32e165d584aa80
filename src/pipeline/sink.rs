//! Section `sink`: how objects are written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    reading::Reading,
    written::{Budget, Count, Span, Written, show_span},
};

/// How objects are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPolicy {
    /// Budget of the whole deployment; each replica takes the share of its partitions. None = no limit.
    pub writes_per_second: Option<u32>,
    /// Writes under way at once, in one replica.
    pub in_flight: usize,
    /// Records read and not yet settled, in one replica.
    pub lanes: usize,
    /// How long one object may fail while others pass.
    pub give_up_after: Duration,
    /// First rest after a failure, before jitter,
    pub backoff_floor: Duration,
    /// and the longest.
    pub backoff_ceiling: Duration,
    /// Deadline of one API call.
    pub timeout: Duration,
}

impl Default for SinkPolicy {
    fn default() -> Self {
        Self {
            writes_per_second: Some(20),
            in_flight: 16,
            lanes: 1_000,
            give_up_after: Duration::from_mins(2),
            backoff_floor: Duration::from_millis(200),
            backoff_ceiling: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        }
    }
}

/// How objects are written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Sink")]
pub(super) struct RawSink {
    /// Budget of the whole deployment, creates and updates and retries: 1 to 100000, or `unlimited`. Default: 20.
    writes_per_second: Option<Written<Budget>>,
    /// Writes under way at once in one replica, 1 to 1000. Default: 16.
    in_flight: Option<Written<Count>>,
    /// Records read and not yet settled in one replica, at least `in_flight`, at most 100000. Default: 1000.
    lanes: Option<Written<Count>>,
    /// How long one object may fail while others pass, before it becomes a dead letter, 1s to 1d. Default: 2m.
    give_up_after: Option<Written<Span>>,
    /// The first rest after a failure, before jitter, 10ms to 1m. Default: 200ms.
    backoff_floor: Option<Written<Span>>,
    /// The longest rest, at least `backoff_floor`, at most 10m. Default: 30s.
    backoff_ceiling: Option<Written<Span>>,
    /// Deadline of one API call, 100ms to 1m. Default: 10s.
    timeout: Option<Written<Span>>,
}

/// Checks the section.
pub(super) fn check(raw: &RawSink, reading: &mut Reading<'_>) -> SinkPolicy {
    let counted = counts(raw, reading);
    let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
    let mut span = |name: &str, written: &Option<Written<Span>>, default, limits| {
        reading.span(&format!("sink.{name}"), written, default, limits)
    };
    let (patience, floor, ceiling) = (second..=1440 * minute, second / 100..=minute, second / 100..=10 * minute);
    let checked = SinkPolicy {
        give_up_after: span("give_up_after", &raw.give_up_after, counted.give_up_after, patience),
        backoff_floor: span("backoff_floor", &raw.backoff_floor, counted.backoff_floor, floor),
        backoff_ceiling: span("backoff_ceiling", &raw.backoff_ceiling, counted.backoff_ceiling, ceiling),
        timeout: span("timeout", &raw.timeout, counted.timeout, second / 10..=minute),
        ..counted
    };
    agree(raw, &checked, reading);
    checked
}

/// The shipped policy with the numbers as written.
fn counts(raw: &RawSink, reading: &mut Reading<'_>) -> SinkPolicy {
    let shipped = SinkPolicy::default();
    let budget = shipped.writes_per_second;
    SinkPolicy {
        writes_per_second: reading.budget("sink.writes_per_second", &raw.writes_per_second, budget),
        in_flight: reading.count("sink.in_flight", &raw.in_flight, shipped.in_flight, 1..=1_000),
        lanes: reading.count("sink.lanes", &raw.lanes, shipped.lanes, 1..=100_000),
        ..shipped
    }
}

fn agree(raw: &RawSink, policy: &SinkPolicy, reading: &mut Reading<'_>) {
    let hint = "lower the one or raise the other";
    if policy.backoff_floor > policy.backoff_ceiling {
        let place = raw.backoff_floor.as_ref().or(raw.backoff_ceiling.as_ref());
        let (floor, ceiling) = (show_span(policy.backoff_floor), show_span(policy.backoff_ceiling));
        let text = format!("sink.backoff_floor ({floor}) must be at most sink.backoff_ceiling ({ceiling})");
        reading.fault(place.map(Written::place), text, hint);
    }
    if policy.in_flight > policy.lanes {
        let place = raw.in_flight.as_ref().or(raw.lanes.as_ref());
        let (writes, lanes) = (policy.in_flight, policy.lanes);
        let text = format!("sink.in_flight ({writes}) must be at most sink.lanes ({lanes})");
        reading.fault(place.map(Written::place), text, hint);
    }
}
