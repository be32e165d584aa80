//! A Kubernetes event, core/v1 or events.k8s.io/v1 → what it says.
//!
//! Its name is its reason, its target the object that it is about. The source is no identity field: an event and a
//! Prometheus alert of the same name and target are the same incident.

use std::borrow::Cow;

use super::{
    Kind, Source,
    json::{self, Fields, Texts},
    record::{AlertError, Place, Reading},
};

/// Of each fact the name in core/v1, then the one in events.k8s.io/v1.
const OBJECT: &[&str] = &["involvedObject", "regarding"];
const MESSAGE: &[&str] = &["message", "note"];
const FIRST: &[&str] = &["firstTimestamp", "deprecatedFirstTimestamp"];
const LAST: &[&str] = &["lastTimestamp", "deprecatedLastTimestamp"];
const COUNT: &[&str] = &["count", "deprecatedCount"];
const SOURCE: &[&str] = &["source", "deprecatedSource"];
const REPORTER: &[&str] = &["reportingComponent", "reportingController"];

/// Reads one event. All that can fail fails here.
pub(super) fn read(text: &str) -> Result<Reading<'_>, AlertError> {
    let event: Fields<'_> = json::object(text, "event").map_err(|fault| match fault.reason {
        "invalid" => AlertError::no_alert(fault.text), // no object, hence no event
        _ => fault,
    })?;
    recognise(&event)?;
    let trouble = trouble(&event)?;
    let name = needed(&event, "reason", "reason")?;
    let target = target(&event)?;
    let told = event.find(SOURCE).and_then(|source| json::object(source.get(), "source").ok());
    let origin: Fields<'_> = told.unwrap_or_default();
    Ok(Reading {
        kind: Kind::Firing,
        source: Source::KubernetesEvents,
        labels: labels(&event, &origin, trouble, &target),
        annotations: Texts(event.text(MESSAGE).map(|text| ("message".into(), text)).into_iter().collect()),
        name,
        target,
        cluster: None,
        severity: None,
        starts_at: [event.find(FIRST), event.find(&["eventTime"])],
        facts: facts(&event, &origin),
    })
}

/// Anything that calls itself an Event, or is about an object, is one; the rest is no alert at all.
fn recognise(event: &Fields<'_>) -> Result<(), AlertError> {
    match event.text(&["kind"]).as_deref() {
        Some("Event") => Ok(()),
        None if event.find(OBJECT).is_some() => Ok(()),
        None => Err(AlertError::no_alert("event: `kind` is missing, must be `Event`".to_owned())),
        Some(other) => {
            Err(AlertError::no_alert(format!("event: `kind` is `{}`, must be `Event`", json::shown(other, 100))))
        }
    }
}

/// The event's type, if it tells of trouble.
fn trouble<'a>(event: &Fields<'a>) -> Result<Cow<'a, str>, AlertError> {
    let told = needed(event, "type", "type")?;
    match told.as_ref() {
        "Warning" | "Error" => Ok(told),
        "Normal" => Err(AlertError::no_alert("event: `type` is `Normal`, which tells of no trouble".to_owned())),
        other => {
            let got = json::shown(other, 100);
            Err(AlertError::invalid(format!("event: `type` must be `Warning` or `Error`, got `{got}`")))
        }
    }
}

fn target<'a>(event: &Fields<'a>) -> Result<Place<'a>, AlertError> {
    let Some(object) = event.find(OBJECT) else {
        return Err(missing("involvedObject"));
    };
    let object: Fields<'a> = json::object(object.get(), "event: `involvedObject`")?;
    Ok(Place {
        kind: needed(&object, "kind", "involvedObject.kind")?,
        name: needed(&object, "name", "involvedObject.name")?,
        namespace: object.text(&["namespace"]),
        api_version: object.text(&["apiVersion"]),
    })
}

fn needed<'a>(object: &Fields<'a>, field: &str, path: &str) -> Result<Cow<'a, str>, AlertError> {
    object.text(&[field]).filter(|text| !text.trim().is_empty()).ok_or_else(|| missing(path))
}

fn missing(path: &str) -> AlertError {
    AlertError::invalid(format!("event: `{path}` is missing or blank"))
}

/// The event's stated facts as labels: what rules on storms and priority can ask for, by these names.
fn labels<'a>(event: &Fields<'a>, origin: &Fields<'a>, trouble: Cow<'a, str>, target: &Place<'a>) -> Texts<'a> {
    let facts = [
        ("type", Some(trouble)),
        ("reason", event.text(&["reason"])),
        ("kind", Some(target.kind.clone())),
        ("name", Some(target.name.clone())),
        ("namespace", target.namespace.clone()),
        ("component", origin.text(&["component"]).or_else(|| event.text(REPORTER))),
        ("host", origin.text(&["host"])),
        ("action", event.text(&["action"])),
    ];
    Texts(facts.into_iter().filter_map(|(key, value)| Some((key.into(), value?))).collect())
}

/// What only an event knows, under the names of core/v1.
fn facts<'a>(event: &Fields<'a>, origin: &Fields<'a>) -> Vec<(&'static str, &'a serde_json::value::RawValue)> {
    let facts = [
        ("type", event.find(&["type"])),
        ("reason", event.find(&["reason"])),
        ("count", event.find(COUNT)),
        ("series", event.find(&["series"])),
        ("component", origin.find(&["component"]).or_else(|| event.find(REPORTER))),
        ("host", origin.find(&["host"])),
        ("reportingInstance", event.find(&["reportingInstance"])),
        ("firstTimestamp", event.find(FIRST)),
        ("lastTimestamp", event.find(LAST)),
        ("eventTime", event.find(&["eventTime"])),
        ("involvedObject", event.find(OBJECT)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
