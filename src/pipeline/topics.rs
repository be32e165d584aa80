//! Sections `topics`, `groups` and `memory`: the names on Kafka and Redis.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    reading::Reading,
    written::{Count, Span, Written},
};

/// Names on Kafka and Redis, and the shape of the topics that `topics create` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Raw alerts, resolved and closed included.
    pub alerts: String,
    /// Drafts and updates.
    pub remediations: String,
    /// What could not be used, with its reason.
    pub dead_letters: String,
    /// Consumer group of the work stage.
    pub work_group: String,
    /// Consumer group of the sink stage.
    pub sink_group: String,
    /// Partitions of `alerts` and `remediations` when created.
    pub partitions: i32,
    /// Replicas when created; -1 = what the broker gives by default.
    pub replication: i32,
    /// How long `alerts` and `dead-letters` are kept.
    pub retention: Duration,
    /// Before each key in Redis.
    pub redis_prefix: String,
    /// How many replicas of Redis must have a change before it counts as made.
    pub wait_replicas: u32,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            alerts: "alerts".into(),
            remediations: "remediations".into(),
            dead_letters: "dead-letters".into(),
            work_group: "breakwater-work".into(),
            sink_group: "breakwater-sink".into(),
            partitions: 12,
            replication: -1,
            retention: Duration::from_hours(7 * 24),
            redis_prefix: "breakwater".into(),
            wait_replicas: 0,
        }
    }
}

/// Topics on Kafka, and their shape when `topics create` makes them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Topics")]
pub(super) struct RawTopics {
    /// Raw alerts, resolved and closed included. Default: alerts.
    alerts: Option<Written<String>>,
    /// Drafts and updates. Default: remediations.
    remediations: Option<Written<String>>,
    /// What could not be used, with its reason. Default: dead-letters.
    dead_letters: Option<Written<String>>,
    /// Partitions of `alerts` and `remediations`, 1 to 1000. Default: 12.
    partitions: Option<Written<Count>>,
    /// Replicas, 1 to 7. Default: what the broker gives by default.
    replication: Option<Written<Count>>,
    /// How long `alerts` and `dead-letters` are kept; longer than any rewind may reach back. Default: 7d.
    retention: Option<Written<Span>>,
}

impl RawTopics {
    pub(super) fn retention_place(&self) -> Option<serde_saphyr::Location> {
        self.retention.as_ref().map(Written::place)
    }
}

/// Consumer groups on Kafka.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Groups")]
pub(super) struct RawGroups {
    /// Of the work stage. Default: breakwater-work.
    work: Option<Written<String>>,
    /// Of the sink stage. Default: breakwater-sink.
    sink: Option<Written<String>>,
}

/// Redis.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Memory")]
pub(super) struct RawMemory {
    /// Before each key. Default: breakwater.
    prefix: Option<Written<String>>,
    /// How many replicas must have a change before it counts as made, 0 to 5; not with a cluster. Default: 0.
    wait_replicas: Option<Written<Count>>,
}

/// Checks the three sections.
pub(super) fn check(topics: &RawTopics, groups: &RawGroups, memory: &RawMemory, reading: &mut Reading<'_>) -> Topics {
    let shipped = Topics::default();
    let replication = match &topics.replication {
        None => {
            reading.note("topics.replication", "the broker's default", None);
            shipped.replication
        }
        written => reading.count("topics.replication", written, 3, 1..=7),
    };
    let checked = Topics {
        alerts: reading.name("topics.alerts", &topics.alerts, &shipped.alerts),
        remediations: reading.name("topics.remediations", &topics.remediations, &shipped.remediations),
        dead_letters: reading.name("topics.dead_letters", &topics.dead_letters, &shipped.dead_letters),
        work_group: reading.name("groups.work", &groups.work, &shipped.work_group),
        sink_group: reading.name("groups.sink", &groups.sink, &shipped.sink_group),
        partitions: reading.count("topics.partitions", &topics.partitions, shipped.partitions, 1..=1000),
        replication,
        retention: reading.span("topics.retention", &topics.retention, shipped.retention, MINUTE..=10 * YEAR),
        redis_prefix: reading.name("memory.prefix", &memory.prefix, &shipped.redis_prefix),
        wait_replicas: reading.count("memory.wait_replicas", &memory.wait_replicas, shipped.wait_replicas, 0..=5),
    };
    let alerts = ("topics.alerts", &topics.alerts, &checked.alerts);
    let remediations = ("topics.remediations", &topics.remediations, &checked.remediations);
    let dead_letters = ("topics.dead_letters", &topics.dead_letters, &checked.dead_letters);
    let work = ("groups.work", &groups.work, &checked.work_group);
    let sink = ("groups.sink", &groups.sink, &checked.sink_group);
    for (one, other) in [(alerts, remediations), (alerts, dead_letters), (remediations, dead_letters), (work, sink)] {
        differ(one, other, reading);
    }
    checked
}

const MINUTE: Duration = Duration::from_mins(1);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// A field, what was written, and the name that holds.
type Name<'a> = (&'a str, &'a Option<Written<String>>, &'a String);

fn differ(one: Name<'_>, other: Name<'_>, reading: &mut Reading<'_>) {
    if one.2 == other.2 {
        let place = other.1.as_ref().or(one.1.as_ref()).map(Written::place);
        let text = format!("{} and {} are both {:?}", one.0, other.0, one.2);
        reading.fault(place, text, "give each a name of its own");
    }
}
