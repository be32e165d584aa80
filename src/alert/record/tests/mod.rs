//! What the parser makes of records, by the groups of scenarios.

mod events;
mod foreign;
mod fuzz;
mod hostile;
mod identity;
mod prometheus;

use serde_json::{Value, json};

use super::*;
use crate::alert::prometheus::split;

const AT: EventTime = EventTime(1_000);
const CORE: &str = include_str!("../../../../schemas/examples/kubernetes-event-core-v1.json");
const EVENTS: &str = include_str!("../../../../schemas/examples/kubernetes-event-events-v1.json");
const WEBHOOK: &str = include_str!("../../../../schemas/examples/alertmanager-v4.json");
const NODE: &str = include_str!("../../../../schemas/examples/alertmanager-v4-node.json");
const HOSTILE: &str = include_str!("../../../../schemas/examples/alertmanager-v4-hostile.json");

fn headers(pairs: &[(&str, &'static str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value.as_bytes()))).collect())
}

fn identify(value: &[u8], headers: &Headers, rules: &IdentityRules) -> Result<Identity, AlertError> {
    super::identify(value, headers, rules, MAX_NESTING)
}

fn read_as(value: &str, headers: &Headers) -> Result<Signal, AlertError> {
    parse(&Bytes::from(value.to_owned()), headers, AT, &IdentityRules::default())
}

/// A stranger's record: no headers, and hence recognised by its content.
fn alert(value: &str) -> Alert {
    match read_as(value, &Headers::default()) {
        Ok(Signal::Alert(alert)) => *alert,
        other => panic!("{value}: {other:?}"),
    }
}

fn refused(value: &str) -> AlertError {
    read_as(value, &Headers::default()).unwrap_err()
}

/// An alert with these labels, beside its name.
fn labelled(labels: &[(&str, &str)]) -> Alert {
    let mut all = json!({"alertname": "A"});
    for (name, value) in labels {
        all[*name] = json!(value);
    }
    alert(&json!({ "labels": all }).to_string())
}

fn target(labels: &[(&str, &str)]) -> (String, String) {
    let Target { kind, name, .. } = labelled(labels).target;
    (kind, name)
}

fn starts(starts_at: &Value) -> Option<String> {
    alert(&json!({"labels": {"alertname": "A"}, "startsAt": starts_at}).to_string()).starts_at.map(EventTime::rfc3339)
}

/// The core/v1 example with some fields replaced; null takes one away.
fn event(changes: &[(&str, Value)]) -> String {
    let mut event: Value = serde_json::from_str(CORE).unwrap();
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(field);
        } else {
            parent.insert(field.to_owned(), value.clone());
        }
    }
    event.to_string()
}
