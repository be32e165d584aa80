//! Severity and environment → priority, as a table.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Location;

use super::{Beside, Priority, known};
use crate::pipeline::{
    reading::Reading,
    written::{Entries, Written},
};

/// Any environment that a row does not name.
const ANY: &str = "*";

/// severity → environment → priority; the environment `*` stands for any that is not named in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix(BTreeMap<String, BTreeMap<String, Priority>>);

impl Default for Matrix {
    fn default() -> Self {
        use Priority::{P0, P1, P2, P3};
        let rows = [
            ("critical", vec![("production", P0), ("staging", P1), ("development", P2), (ANY, P1)]),
            ("warning", vec![("production", P1), ("staging", P2), ("development", P2), (ANY, P2)]),
            ("info", vec![(ANY, P3)]),
        ];
        let own = |(key, value): (&str, Priority)| (key.to_owned(), value);
        Self(rows.map(|(severity, row)| (severity.to_owned(), row.into_iter().map(own).collect())).into())
    }
}

impl Matrix {
    /// The priority of a cell, if there is one.
    #[must_use]
    pub fn cell(&self, environment: &str, severity: &str) -> Option<Priority> {
        let row = self.0.get(severity)?;
        row.get(self.column(environment, severity)?).copied()
    }

    /// The column in which that cell stands: the environment's own, or the one for all others.
    #[must_use]
    pub fn column<'a>(&self, environment: &'a str, severity: &str) -> Option<&'a str> {
        let row = self.0.get(severity)?;
        [environment, ANY].into_iter().find(|column| row.contains_key(*column))
    }

    /// Every cell: severity and environment.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(severity, row)| row.keys().map(|column| (severity.as_str(), column.as_str())))
    }
}

/// Checks the table; the shipped one where none is written.
pub(super) fn check(
    written: Option<&Entries<Entries<Written<String>>>>,
    beside: Beside<'_>,
    reading: &mut Reading<'_>,
) -> Matrix {
    let Some(written) = written else {
        let shipped = Matrix::default();
        missing(&shipped, beside, (BTreeMap::new(), reading));
        note(&shipped, None, reading);
        return shipped;
    };
    let mut matrix = Matrix(BTreeMap::new());
    for (row, cells) in &written.0 {
        if let Some(meant) = beside.severity.aliases.get(&row.0.value) {
            let text =
                format!("priority.matrix.{} is never reached, severity.aliases turns it into {meant}", row.0.value);
            reading.fault(Some(row.place()), text, format!("remove it, or name the row {meant}"));
        }
        let mut checked = BTreeMap::new();
        for (column, cell) in &cells.0 {
            let priority = known(&format!("priority.matrix.{}.{}", row.0.value, column.0.value), cell, reading);
            checked.insert(column.0.value.clone(), priority.unwrap_or(Priority::P3));
        }
        matrix.0.insert(row.0.value.clone(), checked);
    }
    let place = written.0.first().map(|(row, _)| row.place());
    let places = written.0.iter().map(|(row, _)| (row.0.value.as_str(), row.place())).collect();
    missing(&matrix, beside, (places, reading));
    note(&matrix, place, reading);
    matrix
}

/// Notes each cell that is missing: every severity in order has a row, every row a cell for each environment, or `*`.
fn missing(matrix: &Matrix, beside: Beside<'_>, (places, reading): (BTreeMap<&str, Location>, &mut Reading<'_>)) {
    let named = matrix.0.values().flat_map(BTreeMap::keys).map(String::as_str);
    let matched = beside.environment.patterns.iter().map(|(_, means)| means.as_str());
    let columns: BTreeSet<&str> = named.chain(matched).filter(|column| *column != ANY).collect();
    let rows: BTreeSet<&str> = matrix.0.keys().chain(&beside.severity.order).map(String::as_str).collect();
    for row in rows {
        let Some(cells) = matrix.0.get(row) else {
            let text = format!("priority.matrix has no row for the severity {row}");
            let place = places.values().min_by_key(|place| place.line()).copied();
            reading.fault(place, text, format!("add {row}: {{ \"*\": P2 }}, or take {row} out of severity.order"));
            continue;
        };
        for column in columns.iter().filter(|column| !cells.contains_key(**column) && !cells.contains_key(ANY)) {
            let text = format!("priority.matrix.{row} has no cell for the environment {column}");
            reading.fault(
                places.get(row).copied(),
                text,
                format!("add {column}, or \"*\" for any environment that is not named"),
            );
        }
    }
}

fn note(matrix: &Matrix, place: Option<Location>, reading: &mut Reading<'_>) {
    for (severity, row) in &matrix.0 {
        let shown: Vec<String> =
            row.iter().map(|(environment, priority)| format!("{environment}: {priority}")).collect();
        reading.note(&format!("priority.matrix.{severity}"), format!("{{{}}}", shown.join(", ")), place);
    }
}
