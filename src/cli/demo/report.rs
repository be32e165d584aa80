//! What came of a demonstration: the objects in its folder, as a table for a newcomer.

use std::{fmt::Write, path::Path};

use anyhow::Context;

use crate::remediation::crd::RemediationRequest;

/// One object, as far as the table tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    file: String,
    alert: String,
    about: String,
    environment: String,
    severity: String,
    priority: String,
    /// Firings that it stands for.
    pub count: u64,
    /// Whether its alert has ended.
    pub resolved: bool,
    storm: bool,
}

/// The objects in the folder, worst first.
pub(super) async fn objects(folder: &Path) -> anyhow::Result<Vec<Object>> {
    let mut found = Vec::new();
    let mut namespaces = tokio::fs::read_dir(folder).await?;
    while let Some(namespace) = namespaces.next_entry().await? {
        if !namespace.file_type().await?.is_dir() {
            continue;
        }
        let mut files = tokio::fs::read_dir(namespace.path()).await?;
        while let Some(file) = files.next_entry().await? {
            if file.path().extension().is_some_and(|extension| extension == "yaml") {
                found.extend(object(folder, &file.path()).await?);
            }
        }
    }
    found.sort_by(|one, other| (&one.priority, &one.file).cmp(&(&other.priority, &other.file)));
    Ok(found)
}

/// None while it is being written.
async fn object(folder: &Path, file: &Path) -> anyhow::Result<Option<Object>> {
    let text = tokio::fs::read_to_string(file).await.with_context(|| format!("{} cannot be read", file.display()))?;
    let Ok(RemediationRequest { spec, status: Some(status), .. }) = serde_saphyr::from_str(&text) else {
        return Ok(None);
    };
    let resources = status.storm_aggregation.as_ref().map_or(1, |storm| storm.total_affected_resources);
    let about = if spec.is_storm {
        format!("{resources} resources, a storm")
    } else {
        format!("{}/{}", spec.target_resource.kind, spec.target_resource.name)
    };
    Ok(Some(Object {
        file: file.strip_prefix(folder).unwrap_or(file).display().to_string(),
        alert: spec.signal_name,
        about,
        environment: spec.environment,
        severity: status.severity.unwrap_or(spec.severity),
        priority: status.priority.unwrap_or(spec.priority),
        count: status.deduplication.map_or(0, |deduplication| deduplication.occurrence_count),
        resolved: status.resolved_at.is_some(),
        storm: spec.is_storm,
    }))
}

/// The table, and what it shows in a sentence.
pub(super) fn table(objects: &[Object], folder: &Path) -> String {
    let head = ["PRIORITY", "SEVERITY", "ENVIRONMENT", "ALERT", "ABOUT", "FIRINGS", "OBJECT"].map(str::to_owned);
    let rows = objects.iter().map(|object| {
        let end = if object.resolved { " (resolved)" } else { "" };
        [
            object.priority.clone(),
            object.severity.clone(),
            object.environment.clone(),
            object.alert.clone(),
            object.about.clone(),
            format!("{}{end}", object.count),
            object.file.clone(),
        ]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut out = String::from("\n");
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    let firings: u64 = objects.iter().map(|object| object.count).sum();
    let storms = objects.iter().filter(|object| object.storm).count();
    let told = writeln!(
        out,
        "\n{firings} firings came in, and 1 end; {} incidents came out, {storms} of them a storm: one object each, none lost, \
         none twice.\nThe objects lie in {}",
        objects.len(),
        folder.display()
    );
    debug_assert!(told.is_ok(), "writing to a String cannot fail");
    out
}
