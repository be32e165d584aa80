//! What is written → severity. First the tables, then verbatim: nobody's scheme is hard-coded.

use crate::{
    alert::{Alert, Source},
    pipeline::severity::SeverityPolicy,
};

/// The severity of an alert. An alert's own word goes through the aliases; an event has none, so its reason
/// tells, else its type, which stands among its facts.
#[must_use]
pub fn severity(policy: &SeverityPolicy, alert: &Alert) -> String {
    let written = match alert.source {
        Source::Prometheus => alert.severity.as_deref(),
        Source::KubernetesEvents => alert.labels.get("type").map(String::as_str),
    };
    let written = written.filter(|word| !word.trim().is_empty());
    let known = match alert.source {
        Source::Prometheus => written.and_then(|word| policy.aliases.get(word)),
        Source::KubernetesEvents => {
            policy.event_reasons.get(&alert.name).or_else(|| written.and_then(|kind| policy.event_types.get(kind)))
        }
    };
    known.map(String::as_str).or(written).unwrap_or(&policy.default).to_owned()
}

/// How high a severity is: 0 for one that the order does not list, then from 1 on.
#[must_use]
pub fn rank(policy: &SeverityPolicy, severity: &str) -> usize {
    (1..).zip(&policy.order).find(|(_, known)| *known == severity).map_or(0, |(rank, _)| rank)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        alert::{EventTime, Signal, headers::Headers, record},
        pipeline::Pipeline,
    };

    /// Asserts the severity of what is received, under a pipeline.
    fn check(pipeline: &str, received: &str, expected: &str) {
        let policy = Pipeline::parse("p", pipeline).unwrap().severity;
        let value = Bytes::from(received.to_owned());
        let signal = record::parse(&value, &Headers::default(), EventTime(0), &record::IdentityRules::default());
        let Signal::Alert(alert) = signal.unwrap() else { panic!("no alert: {received}") };
        assert_eq!(severity(&policy, &alert), expected, "{received} under {pipeline}");
    }

    fn alert(severity: &str) -> String {
        format!(r#"{{"status":"firing","labels":{{"alertname":"A"{severity}}}}}"#)
    }

    fn event(kind: &str, reason: &str) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"v1","type":"{kind}","reason":"{reason}","involvedObject":{{"kind":"Pod","name":"p"}}}}"#
        )
    }

    const SHIPPED: &str = "severity: {}";

    #[test]
    fn g09_a_severity_passes_verbatim_or_through_its_alias() {
        for word in ["Sev1", "P0", "CRITICAL", "critical"] {
            check(SHIPPED, &alert(&format!(r#","severity":"{word}""#)), word);
        }
        check("severity: { aliases: { Sev1: critical } }", &alert(r#","severity":"Sev1""#), "critical");
        check("severity: { aliases: { Sev1: critical } }", &alert(r#","severity":"Sev2""#), "Sev2");
        check(SHIPPED, &alert(""), "unknown");
        check(SHIPPED, &alert(r#","severity":"""#), "unknown");
        check("severity: { default: none }", &alert(""), "none");
    }

    #[test]
    fn b05_an_event_is_judged_by_its_reason_then_its_type() {
        for reason in ["OOMKilled", "NodeNotReady", "FailedScheduling", "Evicted", "FailedMount", "NetworkNotReady"] {
            check(SHIPPED, &event("Warning", reason), "critical");
        }
        check(SHIPPED, &event("Error", "Anything"), "critical");
        check(SHIPPED, &event("Warning", "BackOff"), "warning");
        let emptied = "severity: { event_reasons: {}, event_types: {} }";
        check(emptied, &event("Warning", "OOMKilled"), "Warning");
        check(emptied, &event("Error", "BackOff"), "Error");
    }

    #[test]
    fn a_rise_is_told_by_the_order_and_strangers_are_lowest() {
        let policy = SeverityPolicy::default();
        let ranks = ["unknown", "Sev1", "info", "warning", "critical"].map(|word| rank(&policy, word));
        assert_eq!(ranks, [0, 0, 1, 2, 3]);
    }
}
