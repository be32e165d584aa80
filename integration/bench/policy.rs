//! What a judgement costs: the matrix, CEL and Rego in one run, as shipped and at the worst that a file may do.
//!
//! `just policy-cost`. A figure is the best of five rounds, so that it is the machine's and not its neighbours'.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench ends by panicking, and tells by printing")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use breakwater::{
    alert::{Alert, specimen},
    decide::priority::priority,
    pipeline::{
        Pipeline,
        expression::Standing,
        priority::{Attached, PriorityPolicy},
    },
};

const ROUNDS: usize = 5;

/// The best of some rounds, for one judgement.
fn cost(times: u32, policy: &PriorityPolicy, alert: &Alert) -> Duration {
    let round = |_| {
        let began = Instant::now();
        for _ in 0..times {
            black_box(priority(policy, black_box(alert), Standing { environment: "production", severity: "warning" }));
        }
        began.elapsed() / times
    };
    (0..ROUNDS).map(round).min().unwrap()
}

fn policy(text: &str, rego: Option<&str>) -> PriorityPolicy {
    let attached = rego.map(|text| Attached { name: "priority.rego".to_owned(), text: Ok(text.to_owned()) });
    Pipeline::parse_with("p.yaml", text, attached.as_ref()).unwrap().0.priority
}

/// As many rules as a list may hold, each of which looks at a label as often as it may, and never holds.
fn greedy(condition: &str) -> String {
    let one = vec![condition; 4_000 / (condition.len() + 4)].join(" || ");
    let rule = |n: usize| format!("    - {{ name: r{n}, when: \"'{n}' == severity || {one}\", priority: P0 }}\n");
    let rules: String = (0..4).map(rule).collect();
    format!("priority:\n  rules:\n{rules}    - {{ name: rest, priority: P3 }}\n")
}

fn main() {
    let plain = Alert { labels: labels("a short text"), ..specimen() };
    let long = Alert { labels: labels(&"hay".repeat(128 * 1024)), ..specimen() };
    let high_security = include_str!("../../pipelines/high-security.yaml");
    let tell = |what: &str, cost: Duration| println!("{what:<58} {:>12.2} µs", cost.as_secs_f64() * 1e6);
    tell("matrix, as shipped", cost(2_000, &PriorityPolicy::default(), &plain));
    tell("CEL, the six rules of high-security.yaml", cost(2_000, &policy(high_security, None), &plain));
    let contains = policy(&greedy("alert.labels.text.contains('needle')"), None);
    tell("CEL, all that a list may hold, a short alert", cost(20, &contains, &plain));
    tell("CEL, all that a list may hold, an alert of 384 KiB", cost(5, &contains, &long));
    let matches = policy(&greedy_patterns(), None);
    tell("CEL, eight patterns, a short alert", cost(20, &matches, &plain));
    tell("CEL, eight patterns, an alert of 384 KiB", cost(5, &matches, &long));
    rego(&plain, &long, tell);
}

fn labels(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("text".to_owned(), text.to_owned()), ("team".to_owned(), "platform".to_owned())])
}

/// As many patterns as a list may hold, four in each rule.
fn greedy_patterns() -> String {
    let one = ["alert.labels.text.matches('(needle|needl|need|nee)[a-z]*(x|y|z)+$')"; 4].join(" || ");
    let rule = |n: usize| format!("    - {{ name: r{n}, when: \"'{n}' == severity || {one}\", priority: P0 }}\n");
    let rules: String = (0..2).map(rule).collect();
    format!("priority:\n  rules:\n{rules}    - {{ name: rest, priority: P3 }}\n")
}

#[cfg(feature = "rego")]
fn rego(plain: &Alert, long: &Alert, tell: impl Fn(&str, Duration)) {
    const NAMED: &str = "priority: { rego: { file: priority.rego } }";
    let shipped = policy(NAMED, Some(include_str!("../../pipelines/priority.rego")));
    tell("Rego, priority.rego", cost(1_000, &shipped, plain));
    tell("Rego, priority.rego, an alert of 384 KiB", cost(5, &shipped, long));
    let many = (0..20_000).map(|n| (format!("label_{n}"), "value".to_owned())).collect();
    tell("Rego, priority.rego, an alert of 20 000 labels", cost(5, &shipped, &Alert { labels: many, ..specimen() }));
    let list: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let some: String =
        ["a", "b", "c", "d", "e"].map(|name| format!("  some {name} in [{}]\n", list.join(","))).concat();
    let endless = format!(
        "package breakwater\nimport rego.v1\ndefault priority := \"P3\"\n\
         priority := \"P0\" if {{\n  input.severity == \"warning\"\n  input.alert.labels.team\n{some}  e == \"no\"\n}}\n"
    );
    tell("Rego, an endless rule, which is ended", cost(3, &policy(NAMED, Some(&endless)), plain));
}

#[cfg(not(feature = "rego"))]
fn rego(_: &Alert, _: &Alert, _: impl Fn(&str, Duration)) {
    println!("Rego is not in this build: --features rego");
}
