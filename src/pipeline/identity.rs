//! Section `identity`: as written → [`IdentityRules`].

use schemars::JsonSchema;
use serde::Deserialize;

use crate::alert::record::{IdentityField, IdentityRules};

use super::{reading::Reading, written::Written};

/// Labels that name the scrape and not what an alert is about.
const NEVER: [&str; 4] = ["job", "instance", "endpoint", "container"];

/// Whom an alert is about, and what makes two alerts the same.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Identity")]
pub(super) struct RawIdentity {
    /// Alerts alike in all of these are the same: name, namespace, kind, resource, cluster, labels.X.
    /// Default: [name, namespace, kind, resource, cluster].
    fields: Option<Vec<Written<String>>>,
    /// Labels that name the resource, the first that an alert has wins.
    targets: Option<Vec<RawTarget>>,
}

/// A label, and the kind of resource that its value names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
struct RawTarget {
    /// The label.
    label: Written<String>,
    /// The kind that it stands for.
    kind: Written<String>,
}

/// Checks the section.
pub(super) fn check(raw: &RawIdentity, reading: &mut Reading<'_>) -> IdentityRules {
    let shipped = IdentityRules::default();
    let fields = match &raw.fields {
        None => shipped.fields,
        Some(written) => fields(written, reading),
    };
    let targets = match &raw.targets {
        None => shipped.targets,
        Some(written) => targets(written, reading),
    };
    let shown: Vec<String> = fields.iter().map(show).collect();
    let first = raw.fields.as_ref().and_then(|fields| fields.first()).map(Written::place);
    reading.note("identity.fields", format!("[{}]", shown.join(", ")), first);
    let shown: Vec<String> = targets.iter().map(|(label, kind)| format!("{label}: {kind}")).collect();
    let first = raw.targets.as_ref().and_then(|targets| targets.first()).map(|target| target.label.place());
    reading.note("identity.targets", format!("[{}]", shown.join(", ")), first);
    IdentityRules { fields, targets }
}

fn fields(written: &[Written<String>], reading: &mut Reading<'_>) -> Vec<IdentityField> {
    let mut fields = Vec::new();
    for field in written {
        match parse(&field.0.value) {
            Ok(known) if fields.contains(&known) => {
                let text = format!("identity.fields names {} twice", field.0.value);
                reading.fault(Some(field.place()), text, "keep one of the two");
            }
            Ok(known) => fields.push(known),
            Err(hint) => {
                let text = format!("identity.fields: an alert has no field {:?}", field.0.value);
                reading.fault(Some(field.place()), text, hint);
            }
        }
    }
    if written.is_empty() {
        reading.fault(None, "identity.fields is empty: all alerts would be the same", "write at least [name]");
    }
    fields
}

fn targets(written: &[RawTarget], reading: &mut Reading<'_>) -> Vec<(String, String)> {
    let mut targets: Vec<(String, String)> = Vec::new();
    for target in written {
        let (label, kind) = (&target.label.0.value, &target.kind.0.value);
        let place = Some(target.label.place());
        reading.filled("identity.targets.label", label, place);
        reading.filled("identity.targets.kind", kind, Some(target.kind.place()));
        if NEVER.contains(&label.as_str()) {
            let text = format!("identity.targets: {label} names what was scraped, not what an alert is about");
            reading.fault(place, text, "name a label of a resource, such as pod or deployment");
        } else if targets.iter().any(|(known, _)| known == label) {
            reading.fault(
                place,
                format!("identity.targets: {label} stands above, so this is never reached"),
                "remove it",
            );
        } else {
            targets.push((label.clone(), kind.clone()));
        }
    }
    targets
}

/// The names of the fields that every alert has.
const FIELDS: [&str; 5] = ["name", "namespace", "kind", "resource", "cluster"];

/// Reads `namespace` or `labels.team`; else says what to write.
fn parse(text: &str) -> Result<IdentityField, String> {
    match text {
        "name" => Ok(IdentityField::Name),
        "namespace" => Ok(IdentityField::Namespace),
        "kind" => Ok(IdentityField::Kind),
        "resource" => Ok(IdentityField::Resource),
        "cluster" => Ok(IdentityField::Cluster),
        other => label(other).map(IdentityField::Label).ok_or_else(|| hint(other, &FIELDS)),
    }
}

/// The label that `labels.X` names.
pub(super) fn label(text: &str) -> Option<String> {
    let label = text.strip_prefix("labels.")?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let legal = !label.is_empty() && label.chars().all(letter) && !label.starts_with(|c: char| c.is_ascii_digit());
    legal.then(|| label.to_owned())
}

/// What to write instead of a field that does not exist.
pub(super) fn hint(text: &str, known: &[&str]) -> String {
    let label = text.rsplit('.').next().filter(|label| !label.is_empty()).unwrap_or("team");
    match text {
        "alertname" => "write name: the alert's name, or an event's reason".to_owned(),
        _ => format!("write one of {}, or labels.{}", known.join(", "), label),
    }
}

fn show(field: &IdentityField) -> String {
    match field {
        IdentityField::Name => "name".to_owned(),
        IdentityField::Namespace => "namespace".to_owned(),
        IdentityField::Kind => "kind".to_owned(),
        IdentityField::Resource => "resource".to_owned(),
        IdentityField::Cluster => "cluster".to_owned(),
        IdentityField::Label(label) => format!("labels.{label}"),
    }
}
