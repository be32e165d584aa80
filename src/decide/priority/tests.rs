//! Who comes first.

use std::collections::BTreeMap;

use super::*;
use crate::{alert::specimen, pipeline::Pipeline};

fn alert(labels: &[(&str, &str)]) -> Alert {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Alert { labels, ..specimen() }
}

/// Asserts the priority under a policy, and whether the fallback was taken.
fn check(policy: &PriorityPolicy, (environment, severity): (&str, &str), expected: (Priority, bool)) {
    let (got, why) = priority(policy, &alert(&[]), Standing { environment, severity });
    assert_eq!((got, why.is_some()), expected, "{severity} {environment}: {why:?}");
}

fn rules(text: &str) -> PriorityPolicy {
    Pipeline::parse("p", text).unwrap().priority
}

#[test]
fn g06_the_shipped_matrix() {
    let policy = PriorityPolicy::default();
    for (severity, environment, expected) in [
        ("critical", "production", Priority::P0),
        ("critical", "staging", Priority::P1),
        ("warning", "production", Priority::P1),
        ("critical", "development", Priority::P2),
        ("warning", "staging", Priority::P2),
        ("warning", "development", Priority::P2),
        ("info", "production", Priority::P3),
        ("info", "blue", Priority::P3),
        ("info", "unknown", Priority::P3),
    ] {
        check(&policy, (environment, severity), (expected, false));
    }
}

#[test]
fn g08_what_the_matrix_does_not_know_takes_the_fallback_and_says_so() {
    let policy = PriorityPolicy::default();
    check(&policy, ("unknown", "unknown"), (Priority::P2, true));
    check(&policy, ("production", "Sev1"), (Priority::P2, true));
}

#[test]
fn g11_the_first_rule_that_holds_wins_every_time() {
    let policy = rules(
        "priority:\n  rules:\n    - { name: platform, when: \"alert.labels.team == 'platform' && severity == 'critical'\", priority: P0 }\n    - { name: staging, when: \"environment == 'staging' && severity == 'critical'\", priority: P2 }\n    - { name: rest, priority: P3 }\n",
    );
    let asked = Standing { environment: "staging", severity: "critical" };
    for _ in 0..100 {
        assert_eq!(priority(&policy, &alert(&[("team", "platform")]), asked), (Priority::P0, None));
    }
    assert_eq!(priority(&policy, &alert(&[("team", "other")]), asked), (Priority::P2, None));
    assert_eq!(priority(&policy, &alert(&[]), Standing { environment: "x", severity: "y" }), (Priority::P3, None));
}
