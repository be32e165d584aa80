//! Section `priority`: environment and severity → priority.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    environment::EnvironmentPolicy,
    reading::Reading,
    severity::SeverityPolicy,
    written::{Entries, Written},
};

/// Environment and severity → priority, with a stated fallback that is counted when used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityPolicy {
    /// severity → environment → priority; the environment `*` stands for any that is not named.
    pub matrix: BTreeMap<String, BTreeMap<String, String>>,
    /// Where the matrix says nothing.
    pub fallback: String,
}

/// The priorities that there are, from highest to lowest.
pub const PRIORITIES: [&str; 4] = ["P0", "P1", "P2", "P3"];

/// Any environment that a row does not name.
const ANY: &str = "*";

impl Default for PriorityPolicy {
    fn default() -> Self {
        let rows = [
            ("critical", vec![("production", "P0"), ("staging", "P1"), ("development", "P2"), (ANY, "P1")]),
            ("warning", vec![("production", "P1"), ("staging", "P2"), ("development", "P2"), (ANY, "P2")]),
            ("info", vec![(ANY, "P3")]),
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let matrix = rows.map(|(severity, row)| (severity.to_owned(), row.into_iter().map(own).collect()));
        Self { matrix: matrix.into(), fallback: "P2".into() }
    }
}

/// Environment and severity → priority.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Priority")]
pub(super) struct RawPriority {
    /// severity → environment → priority (P0 to P3); the environment `*` stands for any that is not named in its row.
    matrix: Option<Entries<Entries<Written<String>>>>,
    /// Where the matrix says nothing; counted when used. Default: P2.
    fallback: Option<Written<String>>,
}

/// Checks the section, against the severities and environments that the others name.
pub(super) fn check(
    raw: &RawPriority,
    severity: &SeverityPolicy,
    environment: &EnvironmentPolicy,
    reading: &mut Reading<'_>,
) -> PriorityPolicy {
    let shipped = PriorityPolicy::default();
    let fallback = reading.text("priority.fallback", &raw.fallback, &shipped.fallback);
    if let Some(written) = &raw.fallback {
        known("priority.fallback", written, reading);
    }
    let Some(written) = &raw.matrix else {
        missing(&shipped.matrix, severity, environment, (None, reading));
        note(&shipped.matrix, None, reading);
        return PriorityPolicy { matrix: shipped.matrix, fallback };
    };
    let mut matrix: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (row, cells) in &written.0 {
        if let Some(meant) = severity.aliases.get(&row.0.value) {
            let text =
                format!("priority.matrix.{} is never reached, severity.aliases turns it into {meant}", row.0.value);
            reading.fault(Some(row.place()), text, format!("remove it, or name the row {meant}"));
        }
        for (column, cell) in &cells.0 {
            known(&format!("priority.matrix.{}.{}", row.0.value, column.0.value), cell, reading);
        }
        let cells = cells.0.iter().map(|(column, cell)| (column.0.value.clone(), cell.0.value.clone()));
        matrix.insert(row.0.value.clone(), cells.collect());
    }
    let place = written.0.first().map(|(row, _)| row.place());
    missing(&matrix, severity, environment, (place, reading));
    note(&matrix, place, reading);
    PriorityPolicy { matrix, fallback }
}

fn known(field: &str, written: &Written<String>, reading: &mut Reading<'_>) {
    let got = &written.0.value;
    if !PRIORITIES.contains(&got.as_str()) {
        reading.fault(
            Some(written.place()),
            format!("{field} must be a priority, got {got:?}"),
            "write P0, P1, P2 or P3",
        );
    }
}

type Matrix = BTreeMap<String, BTreeMap<String, String>>;

/// Notes each cell that is missing: every severity in order has a row, every row a cell for each environment, or `*`.
fn missing(
    matrix: &Matrix,
    severity: &SeverityPolicy,
    environment: &EnvironmentPolicy,
    (place, reading): (Option<serde_saphyr::Location>, &mut Reading<'_>),
) {
    let named = matrix.values().flat_map(BTreeMap::keys).map(String::as_str);
    let matched = environment.patterns.iter().map(|(_, means)| means.as_str());
    let columns: BTreeSet<&str> = named.chain(matched).filter(|column| *column != ANY).collect();
    let rows: BTreeSet<&str> = matrix.keys().chain(&severity.order).map(String::as_str).collect();
    for row in rows {
        let Some(cells) = matrix.get(row) else {
            let text = format!("priority.matrix has no row for the severity {row}");
            reading.fault(place, text, format!("add {row}: {{ \"*\": P2 }}, or take {row} out of severity.order"));
            continue;
        };
        for column in columns.iter().filter(|column| !cells.contains_key(**column) && !cells.contains_key(ANY)) {
            let text = format!("priority.matrix.{row} has no cell for the environment {column}");
            reading.fault(place, text, format!("add {column}, or \"*\" for any environment that is not named"));
        }
    }
}

fn note(matrix: &Matrix, place: Option<serde_saphyr::Location>, reading: &mut Reading<'_>) {
    for (severity, row) in matrix {
        let shown: Vec<String> =
            row.iter().map(|(environment, priority)| format!("{environment}: {priority}")).collect();
        reading.note(&format!("priority.matrix.{severity}"), format!("{{{}}}", shown.join(", ")), place);
    }
}
