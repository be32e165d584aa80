//! Two pipelines over the same alerts: who would have got another fingerprint, group, severity, environment or priority.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::lab::Lab;
use crate::{
    alert::{Alert, Kind, Position, Signal, record},
    decide::{dedup::Severity, draft::Opening, kin::kinship, severity::severity},
    kafka::Record,
    pipeline::{Pipeline, expression::Expression},
    remediation::Generation,
    work::namespaces::Namespaces,
};

/// Kinds of change that are kept apart; what is beyond is counted only.
const KEPT: usize = 10_000;

/// Alerts that change in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The alert's name.
    pub alert: String,
    /// Its namespace.
    pub namespace: String,
    /// What changes: `priority: P1 → P0`.
    pub changes: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Firing alerts that were looked at.
    pub alerts: u64,
    /// Those of them that change.
    pub differ: u64,
    /// How many change in each field.
    pub fields: BTreeMap<&'static str, u64>,
    /// How many change in the same way, and an example.
    #[serde(skip)]
    pub kinds: BTreeMap<Change, (u64, Position)>,
}

/// Two pipelines side by side.
#[derive(Debug)]
pub struct Sides {
    old: Lab,
    new: Lab,
    filter: Option<Expression>,
    /// What was found so far.
    pub found: Difference,
}

const FIELDS: [&str; 5] = ["fingerprint", "group", "severity", "environment", "priority"];

impl Sides {
    /// Two pipelines under the same labels of namespaces.
    #[must_use]
    pub fn new(old: Pipeline, new: Pipeline, labels: &Namespaces, filter: Option<Expression>) -> Self {
        let lab = |pipeline| Lab::new(Arc::new(pipeline), labels.clone(), "fallback");
        Self { old: lab(old), new: lab(new), filter, found: Difference::default() }
    }

    /// Looks at one record.
    pub fn look(&mut self, one: &Record) {
        let Some((then, alert)) = judge(&self.old, one, self.filter.as_ref()) else { return };
        self.found.alerts += 1;
        let now = judge(&self.new, one, None).map_or([const { String::new() }; 5], |(now, _)| now);
        let changed = FIELDS.iter().zip(then.iter().zip(&now)).filter(|(_, (then, now))| then != now);
        let changed: Vec<_> =
            changed.map(|(field, (then, now))| (*field, format!("{field}: {then} → {now}"))).collect();
        if changed.is_empty() {
            return;
        }
        self.found.differ += 1;
        let mut changes = Vec::with_capacity(changed.len());
        for (field, change) in changed {
            *self.found.fields.entry(field).or_default() += 1;
            // a fingerprint is another for each alert: that it changes is what they have in common
            changes.push(if field == "fingerprint" { "fingerprint".to_owned() } else { change });
        }
        let namespace = alert.target.namespace.unwrap_or_default();
        let change = Change { alert: alert.name, namespace, changes };
        let kinds = &mut self.found.kinds;
        if kinds.len() < KEPT || kinds.contains_key(&change) {
            kinds.entry(change).or_insert((0, one.position)).0 += 1;
        }
    }
}

/// What a pipeline makes of a record, if it fires; in the order of the fields.
fn judge(lab: &Lab, one: &Record, filter: Option<&Expression>) -> Option<([String; 5], Box<Alert>)> {
    let bench = lab.bench();
    let read = record::parse(&one.value, &one.headers, one.at, &bench.pipeline.identity);
    let Ok(Signal::Alert(alert)) = read else { return None };
    if alert.kind != Kind::Firing || filter.is_some_and(|filter| !filter.holds(&alert).unwrap_or(false)) {
        return None;
    }
    let kinship = kinship(&alert, &bench.pipeline.storm);
    let severity = Severity { name: severity(&bench.pipeline.severity, &alert), ..Severity::default() };
    let opening = Opening {
        alert: &alert,
        generation: Generation { at: one.at, position: one.position },
        group: kinship.group,
        rule: kinship.rule,
        severity: &severity,
        judged: None,
    };
    let spec = bench.desk().single(&opening).0.spec;
    let rule = bench.pipeline.storm.rules.get(kinship.rule).map_or("", |rule| rule.name.as_str());
    let pattern = bench.pipeline.storm.rules.get(kinship.rule);
    let pattern = pattern.map(|rule| crate::decide::kin::pattern(&alert, rule)).unwrap_or_default();
    let group = format!("{rule} ({pattern})");
    Some(([alert.fingerprint.to_string(), group, spec.severity, spec.environment, spec.priority], alert))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::alert::{EventTime, headers::Headers};

    #[test]
    fn l11_two_pipelines_are_told_apart_alert_by_alert() {
        let new = "priority: { matrix: { critical: { '*': P0 }, warning: { '*': P2 }, info: { '*': P3 } } }
storm: { rules: [{ name: by-name, group_by: [name] }] }";
        let new = Pipeline::parse("new.yaml", new).unwrap();
        let mut sides = Sides::new(Pipeline::default(), new, &Namespaces::default(), None);
        for (offset, (namespace, severity)) in
            (0..).zip([("dev", "critical"), ("dev", "critical"), ("prod", "critical"), ("prod", "info")])
        {
            let text = format!(r#"{{"labels":{{"alertname":"A","namespace":"{namespace}","severity":"{severity}"}}}}"#);
            let position = Position { partition: 0, offset };
            let (at, key, value) = (EventTime(0), None, Bytes::from(text));
            sides.look(&Record { position, at, key, value, headers: Headers::default() });
        }
        let found = sides.found;
        assert_eq!((found.alerts, found.differ), (4, 4));
        assert_eq!(found.fields, BTreeMap::from([("group", 4), ("priority", 2)]));
        let of_dev = found.kinds.iter().find(|(change, _)| change.namespace == "dev").unwrap();
        assert_eq!(of_dev.0.changes, ["group: same-alert (A in dev) → by-name (A)", "priority: P2 → P0"]);
        assert_eq!(of_dev.1.0, 2);
    }
}
