//! Who comes first.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

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

/// An incident is judged within this, on a machine that builds without optimisation and runs other tests besides.
const ENDED: Duration = Duration::from_millis(50);

/// So many rules, each of which asks so often, and never holds.
fn greedy(count: usize, condition: &str, times: usize) -> PriorityPolicy {
    let one = vec![condition; times].join(" || ");
    let rule = |n: usize| format!("    - {{ name: r{n}, when: \"severity == '{n}' || {one}\", priority: P0 }}\n");
    let listed: String = (0..count).map(rule).collect();
    rules(&format!("priority:\n  rules:\n{listed}    - {{ name: rest, priority: P3 }}\n"))
}

#[test]
fn g13_the_greediest_rules_end_in_time_also_on_the_longest_alert() {
    let (short, long) = ("hay", "hay".repeat(128 * 1024));
    for (policy, name) in [
        (greedy(4, "alert.labels.text.contains('needle')", 98), "contains"),
        (greedy(4, "alert.labels.text < 'a'", 140), "compared"),
        // without optimisation a pattern takes 5 ms to compile: a list's most would be too many here
        (greedy(1, "alert.labels.text.matches('(needle|needl|need|nee)[a-z]*(x|y|z)+$')", 4), "matches"),
        (greedy(4, "severity.contains('needle')", 130), "severity"),
    ] {
        for (text, bounded) in [(short, false), (long.as_str(), true)] {
            let (alert, severity) = (alert(&[("text", text)]), if name == "severity" { text } else { "warning" });
            let spans = (0..10).map(|_| {
                let began = Instant::now();
                let (told, why) = priority(&policy, &alert, Standing { environment: "x", severity });
                let expected = if bounded { Priority::P2 } else { Priority::P3 };
                assert_eq!((told, why.is_some()), (expected, bounded), "{name}: {why:?}");
                began.elapsed()
            });
            let shortest = spans.min().unwrap(); // the others may have waited for a processor
            assert!(shortest < ENDED, "{name}, {} bytes: {shortest:?}", text.len());
        }
    }
}
