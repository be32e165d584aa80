//! The nouns of what goes out: an incident, the draft that opens it, the updates that follow; and their form on
//! the topic `remediations`.
//!
//! **Invariant:** every figure in here is absolute, so that a repeat, a reordering or a late arrival changes nothing.

pub mod crd;
pub mod fit;
pub mod mark;
mod members;
pub mod name;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alert::{Brief, EventTime, Fingerprint, Position, Target};

/// Which incident of its fingerprint or group this is: the first record that belongs to it. Later ones are newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Event time of that record.
    pub at: EventTime,
    /// Where it stands in `alerts`.
    pub position: Position,
}

impl fmt::Display for Generation {
    /// `t/p/o`: event time in ms, partition, offset.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.at.0, self.position)
    }
}

impl Generation {
    /// Reads what its `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let at = EventTime(parts.next()?.parse().ok()?);
        let position = Position { partition: parts.next()?.parse().ok()?, offset: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(Self { at, position })
    }
}

/// The storm group of an alert: the rule's name and the values that it groups by, hashed to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub [u8; 16]);

impl fmt::Display for GroupId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl GroupId {
    /// Reads 32 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes())))?
    }

    /// The shard of memory that holds this group.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        let head = u64::from_be_bytes(self.0[..8].try_into().expect("16 bytes have 8"));
        u32::try_from(head % u64::from(shards.max(1))).expect("a remainder of a u32")
    }
}

impl Serialize for GroupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GroupId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a group is 32 hex digits"))
    }
}

/// What one `RemediationRequest` stands for: the incident of a fingerprint, or of a storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// The fingerprint of its first record. For a storm: of its first member.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// Its storm group, the key of its drafts and updates.
    #[schemars(with = "String")]
    pub group: GroupId,
    /// Its first record.
    pub generation: Generation,
    /// Whether it is a storm.
    pub storm: bool,
    /// The object's name: a pure function of the fields above and the alert's name.
    pub name: String,
    /// The namespace that the object belongs to; the sink falls back if it is not there.
    pub namespace: String,
}

/// A resource that a storm touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; empty for what is cluster-scoped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

impl From<&Target> for Resource {
    fn from(target: &Target) -> Self {
        Self {
            kind: target.kind.clone(),
            name: target.name.clone(),
            namespace: target.namespace.clone().unwrap_or_default(),
        }
    }
}

/// One member of a storm, as the sink must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who, cut short.
    pub fingerprint: Brief,
    /// Event time of its first record in this storm.
    pub first_seen: EventTime,
    /// Whether it has an object of its own that the storm supersedes (a slow trickle before the threshold).
    pub superseded: bool,
}

/// How a storm stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormProgress {
    /// Firings of all members, repeats included. Exact.
    pub alert_count: u64,
    /// Distinct resources. Exact, also where the list below is cut.
    pub total_affected_resources: u64,
    /// At most `storm.max_listed` of them, in order of arrival.
    pub affected_resources: Vec<Resource>,
    /// All members, up to 20 000: of each 10 bytes of fingerprint cut short (murmur2 of its 64 digits, then its first 6),
    /// 8 of first seen (big-endian, ms) and 1 of superseded, concatenated, in base64.
    #[serde(with = "members", default)]
    #[schemars(with = "String")]
    pub members: Vec<Member>,
}

/// How an incident stands: absolute figures of this generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Event time of the first firing.
    pub first_seen: EventTime,
    /// Event time of the latest firing.
    pub last_seen: EventTime,
    /// Firings of this generation; of a storm, of all members.
    pub count: u64,
    /// The highest severity so far.
    pub severity: String,
    /// The highest priority so far (P0 is higher than P1).
    pub priority: String,
    /// When it was resolved; none while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<EventTime>,
    /// The storm's object that lists this incident, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// For a storm only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<StormProgress>,
}

/// A record of `remediations`: key = storm group, value = this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Remediation {
    /// An incident begins.
    Draft(Box<Draft>),
    /// An incident goes on.
    Update(Box<Update>),
}

impl Remediation {
    /// The incident that it speaks of.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        match self {
            Self::Draft(draft) => &draft.incident,
            Self::Update(update) => &update.incident,
        }
    }

    /// How that incident stands.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        match self {
            Self::Draft(draft) => &draft.progress,
            Self::Update(update) => &update.progress,
        }
    }
}

/// An incident begins: the object to write, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// Which one.
    pub incident: Incident,
    /// What the object will say, for ever.
    pub spec: crd::RemediationRequestSpec,
    /// Labels and annotations of the object, already cut to what Kubernetes accepts.
    pub labels: std::collections::BTreeMap<String, String>,
    /// See `labels`.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// How it stands at its beginning.
    pub progress: Progress,
}

/// An incident goes on: figures that replace the older ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Which one.
    pub incident: Incident,
    /// How it stands now.
    pub progress: Progress,
}
