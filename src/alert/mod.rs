//! The nouns of what comes in: an alert, whom it is about, when it was seen, and where in the log it stands.
//!
//! Pure: no clock, no IO. Event time is given once, by the broker, and is an argument ever after.

pub mod fingerprint;
pub mod headers;
mod json;
pub mod kubernetes_event;
pub mod murmur2;
pub mod prometheus;
pub mod record;
mod specimen;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use fingerprint::{Brief, Fingerprint};
pub use specimen::specimen;

/// Event time: milliseconds since the epoch by the broker's clock (a record's `LogAppendTime`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// This moment plus so much; saturates.
    #[must_use]
    pub fn plus(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment less so much; saturates.
    #[must_use]
    pub fn minus(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in UTC with milliseconds; a moment outside of jiff's range is shown as its nearest bound.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        format!("{moment:.3}")
    }

    /// Reads what [`EventTime::rfc3339`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|moment| Self(moment.as_millisecond()))
    }
}

/// Where a record stands in its topic. Ordered by partition, then offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Position {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in it.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.partition, self.offset)
    }
}

/// What a record of `alerts` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The alert fires.
    Firing,
    /// The alert has ended, says its source.
    Resolved,
    /// The incident's object reached a final phase or is gone, says the sink.
    Closed,
}

impl Kind {
    /// The one spelling, in headers and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
}

/// Who raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Prometheus Alertmanager's webhook.
    Prometheus,
    /// A Kubernetes event, core/v1 or events.k8s.io/v1.
    KubernetesEvents,
}

impl Source {
    /// `spec.signalSource`, and the header's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::KubernetesEvents => "kubernetes-events",
        }
    }

    /// `spec.signalType`.
    #[must_use]
    pub fn signal_type(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus-alert",
            Self::KubernetesEvents => "kubernetes-event",
        }
    }
}

/// The resource that an alert is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its kind, `Unknown` if no label names one.
    pub kind: String,
    /// Its name, `unknown` if no label names one.
    pub name: String,
    /// Its namespace; none for what is cluster-scoped.
    pub namespace: Option<String>,
    /// Its API version, where the source tells it.
    pub api_version: Option<String>,
}

/// One alert, read and checked. Firing or resolved; a `closed` record is a [`Closed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Firing or resolved; never closed.
    pub kind: Kind,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Who raised it.
    pub source: Source,
    /// alertname, or an event's reason; verbatim.
    pub name: String,
    /// The cluster that it names, if it names one.
    pub cluster: Option<String>,
    /// Whom it is about.
    pub target: Target,
    /// As written by the source; none or empty is `None`. The alias table comes later.
    pub severity: Option<String>,
    /// All labels, decoded; of a key given twice the last one counts. For an event: its stated facts.
    pub labels: BTreeMap<String, String>,
    /// All annotations, decoded.
    pub annotations: BTreeMap<String, String>,
    /// When it began, in milliseconds since the epoch, if the source says so believably.
    pub starts_at: Option<EventTime>,
    /// When the door received it; the record's own time where no header tells it.
    pub received_at: EventTime,
    /// What only this kind of source knows (generatorURL, receiver, an event's count and host), as a JSON object.
    pub provider: serde_json::Map<String, serde_json::Value>,
    /// The alert's own bytes, as received.
    pub raw: Bytes,
    /// W3C trace context that came with it.
    pub traceparent: Option<String>,
}

/// The sink's word that an incident is over, as a record of `alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// The fingerprint whose incident is over, cut short, as a storm's object lists its members; a storm is closed member
    /// by member. 20 hex digits: murmur2 of the 64, then the first 12 of them.
    #[schemars(with = "String")]
    pub fingerprint: Brief,
    /// Event time of the newest generation that the object stood for: that one and older are over, nothing newer.
    pub through: EventTime,
    /// `namespace/name` of the object.
    pub object: String,
    /// Its final phase, or `Deleted`.
    pub phase: String,
    /// Whether it stood for a storm: a member may have an object of its own, whose end is not the storm's.
    #[serde(default)]
    pub storm: bool,
}

/// What a record of `alerts` says, once read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An alert, firing or resolved.
    Alert(Box<Alert>),
    /// An incident that is over.
    Closed(Closed),
}

impl Signal {
    /// Whom it speaks of.
    #[must_use]
    pub fn brief(&self) -> Brief {
        match self {
            Self::Alert(alert) => alert.fingerprint.brief(),
            Self::Closed(closed) => closed.fingerprint,
        }
    }
}
