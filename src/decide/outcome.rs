//! The closed list of endings: one spelling for metric, log and report.

/// How a record ends. Each record ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It opened an incident, whose draft is acknowledged.
    Created,
    /// It is a member of a storm, whose draft is acknowledged.
    JoinedStorm,
    /// It repeats a live incident.
    Duplicate,
    /// It resolves its incident, or none.
    Resolved,
    /// It closes an incident.
    Closed,
    /// It was read before.
    Redelivered,
    /// It cannot be read and was set aside.
    DeadLettered,
    /// It was given back unfinished when its partition was revoked.
    Released,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::JoinedStorm,
        Self::Duplicate,
        Self::Resolved,
        Self::Closed,
        Self::Redelivered,
        Self::DeadLettered,
        Self::Released,
    ];

    /// The one spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::JoinedStorm => "joined_storm",
            Self::Duplicate => "duplicate",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
            Self::Redelivered => "redelivered",
            Self::DeadLettered => "dead_lettered",
            Self::Released => "released",
        }
    }
}
