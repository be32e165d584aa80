//! Section `severity`: what is written → severity.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    reading::Reading,
    written::{Entries, Written},
};

/// What is written → severity. What no table names passes through verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeverityPolicy {
    /// As written → as meant.
    pub aliases: BTreeMap<String, String>,
    /// From lowest to highest, to tell a rise; a severity that is not listed is lower than any.
    pub order: Vec<String>,
    /// Where none is given.
    pub default: String,
    /// An event's reason → severity.
    pub event_reasons: BTreeMap<String, String>,
    /// An event's type → severity, where its reason names none; a type that is not listed passes verbatim.
    pub event_types: BTreeMap<String, String>,
}

/// Reasons of events that are critical as shipped.
const CRITICAL: [&str; 6] =
    ["OOMKilled", "NodeNotReady", "FailedScheduling", "Evicted", "FailedMount", "NetworkNotReady"];

/// Types of events that are alerts; any other is refused before its severity is asked.
const EVENT_TYPES: [&str; 2] = ["Warning", "Error"];

impl Default for SeverityPolicy {
    fn default() -> Self {
        Self {
            aliases: BTreeMap::new(),
            order: ["info", "warning", "critical"].map(str::to_owned).to_vec(),
            default: "unknown".into(),
            event_reasons: CRITICAL.iter().map(|reason| ((*reason).to_owned(), "critical".to_owned())).collect(),
            event_types: [("Error", "critical"), ("Warning", "warning")]
                .map(|(kind, severity)| (kind.to_owned(), severity.to_owned()))
                .into(),
        }
    }
}

/// What is written → severity. What no table names passes through verbatim. A table that is written replaces the shipped one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Severity")]
pub(super) struct RawSeverity {
    /// An alert's severity as written → as meant. Default: none.
    aliases: Option<Entries<Written<String>>>,
    /// From lowest to highest, to tell a rise. Default: [info, warning, critical].
    order: Option<Vec<Written<String>>>,
    /// Where none is given. Default: unknown.
    default: Option<Written<String>>,
    /// An event's reason → severity.
    event_reasons: Option<Entries<Written<String>>>,
    /// An event's type (Warning, Error) → severity, where its reason names none.
    event_types: Option<Entries<Written<String>>>,
}

/// Checks the section.
pub(super) fn check(raw: &RawSeverity, reading: &mut Reading<'_>) -> SeverityPolicy {
    let shipped = SeverityPolicy::default();
    let aliases = table("severity.aliases", &raw.aliases, shipped.aliases, reading);
    for (alias, means) in raw.aliases.iter().flat_map(|aliases| &aliases.0) {
        let (alias, meant) = (&alias.0.value, &means.0.value);
        if aliases.contains_key(meant) {
            let text =
                format!("severity.aliases: {alias} means {meant}, which is an alias itself; only one step is taken");
            let hint = match &aliases[meant] {
                circle if circle == alias || circle == meant => "remove one of the two".to_owned(),
                last => format!("write {alias}: {last}"),
            };
            reading.fault(Some(means.place()), text, hint);
        }
    }
    for (kind, _) in raw.event_types.iter().flat_map(|types| &types.0) {
        if !EVENT_TYPES.contains(&kind.0.value.as_str()) {
            let text =
                format!("severity.event_types.{} is never reached: only events of trouble are alerts", kind.0.value);
            reading.fault(Some(kind.place()), text, "write Warning or Error, or remove it");
        }
    }
    SeverityPolicy {
        order: raw.order.as_ref().map_or(shipped.order, |written| order(written, &aliases, reading)),
        default: reading.text("severity.default", &raw.default, &shipped.default),
        event_reasons: table("severity.event_reasons", &raw.event_reasons, shipped.event_reasons, reading),
        event_types: table("severity.event_types", &raw.event_types, shipped.event_types, reading),
        aliases,
    }
}

type Table = BTreeMap<String, String>;

fn table(field: &str, written: &Option<Entries<Written<String>>>, default: Table, reading: &mut Reading<'_>) -> Table {
    let place = written.as_ref().and_then(|table| table.0.first()).map(|(key, _)| key.place());
    let table = written.as_ref().map_or(default, |written| {
        for (key, value) in &written.0 {
            reading.filled(field, &key.0.value, Some(key.place()));
            reading.filled(&format!("{field}.{}", key.0.value), &value.0.value, Some(value.place()));
        }
        written.0.iter().map(|(key, value)| (key.0.value.clone(), value.0.value.clone())).collect()
    });
    let shown: Vec<String> = table.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    reading.note(field, format!("{{{}}}", shown.join(", ")), place);
    table
}

fn order(written: &[Written<String>], aliases: &Table, reading: &mut Reading<'_>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for severity in written {
        let (name, place) = (&severity.0.value, Some(severity.place()));
        reading.filled("severity.order", name, place);
        if order.contains(name) {
            reading.fault(place, format!("severity.order names {name} twice"), "keep one of the two");
        } else if let Some(meant) = aliases.get(name) {
            let text = format!("severity.order: {name} never occurs, severity.aliases turns it into {meant}");
            reading.fault(place, text, format!("write {meant}, or remove it"));
        } else {
            order.push(name.clone());
        }
    }
    reading.note("severity.order", format!("[{}]", order.join(", ")), written.first().map(Written::place));
    order
}
