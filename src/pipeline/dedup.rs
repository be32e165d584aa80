//! Section `dedup`: when a repeat is a duplicate.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    reading::Reading,
    written::{Count, Span, Written, show_span},
};

/// When a repeat is a duplicate. All spans are of event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupPolicy {
    /// An incident is live this long after its last firing.
    pub ttl: Duration,
    /// How long after its end the next incident of a fingerprint waits. At most 15 m.
    pub cooldown: Duration,
    /// The same fingerprint, startsAt and status within this span count once; zero = off.
    pub twin_window: Duration,
    /// Updates of one incident go out at doubling intervals up to this one.
    pub update_interval: Duration,
    /// Shards of memory. Changing it forgets what memory knows.
    pub shards: u32,
}

impl Default for DedupPolicy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(5),
            cooldown: Duration::ZERO,
            twin_window: Duration::ZERO,
            update_interval: Duration::from_secs(30),
            shards: 12,
        }
    }
}

/// When a repeat is a duplicate. All spans are of event time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Dedup")]
pub(super) struct RawDedup {
    /// An incident is live this long after its last firing, 1s to 1d. Default: 5m.
    ttl: Option<Written<Span>>,
    /// How long after its end the next incident of a fingerprint waits, at most 15m. Default: 0s.
    cooldown: Option<Written<Span>>,
    /// The same fingerprint, startsAt and status within this span count once; 0s = off, 10s advised with
    /// Alertmanager in HA, at most `ttl`. Default: 0s.
    twin_window: Option<Written<Span>>,
    /// Updates of one incident go out at doubling intervals up to this one, 1s to 1h. Default: 30s.
    update_interval: Option<Written<Span>>,
    /// Shards of memory, 1 to 4096; best the partitions of `alerts`. Changing it forgets what memory knows. Default: 12.
    shards: Option<Written<Count>>,
}

const SECOND: Duration = Duration::from_secs(1);

/// Checks the section.
pub(super) fn check(raw: &RawDedup, reading: &mut Reading<'_>) -> DedupPolicy {
    let shipped = DedupPolicy::default();
    let day = Duration::from_hours(24);
    let checked = DedupPolicy {
        ttl: reading.span("dedup.ttl", &raw.ttl, shipped.ttl, SECOND..=day),
        cooldown: reading.span(
            "dedup.cooldown",
            &raw.cooldown,
            shipped.cooldown,
            Duration::ZERO..=Duration::from_mins(15),
        ),
        twin_window: reading.span("dedup.twin_window", &raw.twin_window, shipped.twin_window, Duration::ZERO..=day),
        update_interval: reading.span(
            "dedup.update_interval",
            &raw.update_interval,
            shipped.update_interval,
            SECOND..=Duration::from_hours(1),
        ),
        shards: reading.count("dedup.shards", &raw.shards, shipped.shards, 1..=4096),
    };
    if checked.twin_window > checked.ttl {
        let place = raw.twin_window.as_ref().or(raw.ttl.as_ref()).map(Written::place);
        let (twins, ttl) = (show_span(checked.twin_window), show_span(checked.ttl));
        reading.fault(
            place,
            format!("dedup.twin_window ({twins}) must be at most dedup.ttl ({ttl})"),
            "shorten the one or lengthen the other",
        );
    }
    checked
}
