//! What a replay found.

use std::collections::BTreeMap;

use super::standing::Field;
use crate::remediation::Draft;

/// Lines of one kind that a report keeps; its counts count all.
const KEPT: usize = 10_000;

/// An object in a report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// `namespace/name`.
    pub object: String,
    /// The alert's name.
    pub alert: String,
    /// When it began.
    pub first_seen: String,
    /// Whether it is a storm.
    pub storm: bool,
    /// Its priority, by this run.
    pub priority: String,
    /// Its phase, for one that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What its spec says differently.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Records that were read, the horizon before the range included.
    pub records: u64,
    /// How the records of the range end.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Incidents without an object.
    pub would_create: u64,
    /// Incidents whose object says the same.
    pub exist: u64,
    /// Incidents whose object says something else.
    pub differ: u64,
    /// Incidents that are over and have no object of their own any more.
    pub over: u64,
    /// Drafts that were published.
    pub published: u64,
    /// Figures that were published of objects that were there and counted less than the log.
    pub brought_up: u64,
    /// Records of the range that cannot be read.
    pub unreadable: u64,
    /// The incidents without an object, up to 10 000 of them.
    pub missing: Vec<Line>,
    /// Those that differ.
    pub differing: Vec<Line>,
    /// Those that are over.
    pub suppressed: Vec<Line>,
}

impl Line {
    /// The object that a draft asks for.
    pub(super) fn of(draft: &Draft) -> Self {
        Self {
            object: format!("{}/{}", draft.incident.namespace, draft.incident.name),
            alert: draft.spec.signal_name.clone(),
            first_seen: draft.progress.first_seen.rfc3339(),
            storm: draft.incident.storm,
            priority: draft.spec.priority.clone(),
            phase: None,
            fields: Vec::new(),
        }
    }
}

/// Adds a line, as long as there is room.
pub(super) fn keep(lines: &mut Vec<Line>, line: Line) {
    if lines.len() < KEPT {
        lines.push(line);
    }
}
