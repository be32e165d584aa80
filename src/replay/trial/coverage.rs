//! Which rules of a pipeline the tests have touched, and which they have not.

use std::collections::BTreeSet;

use crate::{
    alert::{Alert, Kind, Signal, Source, record},
    decide::{draft::NamespaceLabels, environment::environment, kin::kinship, priority::priority, severity::severity},
    kafka::Record,
    pipeline::{
        Pipeline,
        environment::matches,
        expression::{Allowance, Standing},
        priority::{By, PriorityPolicy, PriorityRule},
    },
    work::namespaces::Namespaces,
};

/// Rules, each called as one finds it in the file.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    touched: BTreeSet<String>,
}

impl Coverage {
    /// The rules of a pipeline that nothing touched, in the order of their names.
    #[must_use]
    pub fn untouched(&self, pipeline: &Pipeline) -> Vec<String> {
        all(pipeline).into_iter().filter(|rule| !self.touched.contains(rule)).collect()
    }

    /// Notes what a record touches.
    pub fn touch(&mut self, one: &Record, pipeline: &Pipeline, labels: &Namespaces) {
        let read = record::parse(&one.value, &one.headers, one.at, &pipeline.identity);
        let Ok(Signal::Alert(alert)) = read else { return };
        if alert.kind != Kind::Firing {
            return;
        }
        let rule = pipeline.storm.rules.get(kinship(&alert, &pipeline.storm).rule);
        self.touched.extend(rule.map(|rule| format!("storm.rules: {}", rule.name)));
        let namespace = alert.target.namespace.as_deref();
        let its = namespace.and_then(|name| labels.labels(name));
        let labelled =
            its.as_ref().and_then(|its| its.get(&pipeline.environment.label)).is_some_and(|it| !it.trim().is_empty());
        let pattern =
            pipeline.environment.patterns.iter().find(|(name, _)| matches(name, namespace.unwrap_or_default()));
        self.touched.insert(match pattern {
            _ if labelled => "environment.label".to_owned(),
            Some((name, _)) => format!("environment.patterns: {name}"),
            None => "environment.default".to_owned(),
        });
        self.touched.extend(table(&alert, pipeline));
        let environment = environment(&pipeline.environment, namespace, its.as_ref());
        self.touched.insert(told_by(pipeline, &alert, &environment));
    }
}

/// The entry of a severity table that an alert takes.
fn table(alert: &Alert, pipeline: &Pipeline) -> Option<String> {
    let policy = &pipeline.severity;
    let written = match alert.source {
        Source::Prometheus => alert.severity.as_ref(),
        Source::KubernetesEvents => alert.labels.get("type"),
    };
    let written = written.filter(|word| !word.trim().is_empty());
    match (alert.source, written) {
        (Source::KubernetesEvents, _) if policy.event_reasons.contains_key(&alert.name) => {
            Some(format!("severity.event_reasons: {}", alert.name))
        }
        (Source::KubernetesEvents, Some(kind)) if policy.event_types.contains_key(kind) => {
            Some(format!("severity.event_types: {kind}"))
        }
        (Source::Prometheus, Some(word)) if policy.aliases.contains_key(word) => {
            Some(format!("severity.aliases: {word}"))
        }
        (_, None) => Some("severity.default".to_owned()),
        (_, Some(_)) => None,
    }
}

/// What tells an alert's priority: a cell of the matrix, a rule, the Rego file, or the fallback.
fn told_by(pipeline: &Pipeline, alert: &Alert, environment: &str) -> String {
    let severity = severity(&pipeline.severity, alert);
    let standing = Standing { environment, severity: &severity };
    let told = match &pipeline.priority.by {
        _ if priority(&pipeline.priority, alert, standing).1.is_some() => None,
        By::Matrix(matrix) => {
            let column = matrix.column(environment, &severity);
            column.map(|column| format!("priority.matrix: {severity}, {column}"))
        }
        By::Rules(rules) => {
            let allowance = Allowance::default();
            let holds = |rule: &&PriorityRule| {
                rule.when.as_ref().is_none_or(|when| when.holds_judged(alert, standing, &allowance) == Ok(true))
            };
            rules.iter().find(holds).map(|rule| format!("priority.rules: {}", rule.name))
        }
        #[cfg(feature = "rego")]
        By::Rego(_) => Some("priority.rego".to_owned()),
    };
    told.unwrap_or_else(|| "priority.fallback".to_owned())
}

/// Every rule of a pipeline.
fn all(pipeline: &Pipeline) -> BTreeSet<String> {
    let Pipeline { storm, environment, severity, priority, .. } = pipeline;
    let mut all: BTreeSet<String> = storm.rules.iter().map(|rule| format!("storm.rules: {}", rule.name)).collect();
    all.extend(["environment.label", "environment.default", "severity.default"].map(str::to_owned));
    all.extend(environment.patterns.iter().map(|(name, _)| format!("environment.patterns: {name}")));
    for (name, table) in [
        ("aliases", &severity.aliases),
        ("event_reasons", &severity.event_reasons),
        ("event_types", &severity.event_types),
    ] {
        all.extend(table.keys().map(|key| format!("severity.{name}: {key}")));
    }
    all.extend(priorities(priority));
    all
}

/// What may tell a priority. The fallback is out of a good test's reach where the last rule takes what is left, or a
/// file has a default.
fn priorities(priority: &PriorityPolicy) -> Vec<String> {
    match &priority.by {
        By::Matrix(matrix) => {
            let cells = matrix.cells().map(|(severity, column)| format!("priority.matrix: {severity}, {column}"));
            cells.chain(["priority.fallback".to_owned()]).collect()
        }
        By::Rules(rules) => rules.iter().map(|rule| format!("priority.rules: {}", rule.name)).collect(),
        #[cfg(feature = "rego")]
        By::Rego(_) => vec!["priority.rego".to_owned()],
    }
}
