//! Every fault that `check` tells of policies, by the program itself: what is wrong, where, and what to do.

use std::{fs, process::Command};

/// A pipeline with the Rego file beside it, if there is one, and everything that `check` says of them.
type Fault = (&'static str, &'static str, Option<&'static str>, &'static str);

/// Asserts the whole of what `check` says, and that it ends with 64.
fn check((what, pipeline, rego, expected): &Fault) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    if let Some(rego) = rego {
        fs::write(folder.path().join("p.rego"), rego).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
    let ended = command.args(["check", "p.yaml"]).current_dir(folder.path()).output().unwrap();
    let (said, printed) = (String::from_utf8_lossy(&ended.stderr), String::from_utf8_lossy(&ended.stdout));
    assert_eq!((said.as_ref(), printed.as_ref(), ended.status.code()), (*expected, "", Some(64)), "{what}");
}

/// Conditions.
const CEL: &[Fault] = &[
    (
        "names that do not exist",
        r#"priority:
  rules:
    - { name: a, when: "enviroment == 'x'", priority: P0 }
    - { name: b, when: "alert.lables.team == 'x'", priority: P0 }
    - { name: c, when: "severity == critical", priority: P0 }
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:3:25: priority.rules[a].when: there is no variable enviroment; write environment
p.yaml:4:31: priority.rules[b].when: an alert has no field lables; write alert.labels
p.yaml:5:37: priority.rules[c].when: there is no variable critical; write 'critical' in quotes if the word is meant; there are alert, environment, severity
"#,
    ),
    (
        "a wrong result",
        r#"priority:
  rules:
    - { name: a, when: environment, priority: P0 }
    - { name: b, when: "severity < 7", priority: P0 }
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:3:24: priority.rules[a].when: it must be true or false; compare it: alert.labels.team == 'platform'
p.yaml:4:34: priority.rules[b].when: < does not take (string, int); fields and labels are texts: treat them as such, in quotes
"#,
    ),
    (
        "no CEL",
        r#"priority:
  rules:
    - { name: a, when: "severity = 'critical'", priority: P0 }
    - { name: b, when: "severity == 'critical' and environment == 'x'", priority: P0 }
    - { name: c, when: "severity ==", priority: P0 }
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:3:34: priority.rules[a].when: not CEL: from "=" on; write == to compare
p.yaml:4:48: priority.rules[b].when: not CEL: from "and" on; write && for and
p.yaml:5:36: priority.rules[c].when: not CEL: it ends too early; write it like alert.namespace == 'shop' && alert.labels.team == 'platform'
"#,
    ),
    (
        "loops",
        r#"priority:
  rules:
    - { name: a, when: "['a'].all(x, x == 'a')", priority: P0 }
    - { name: b, when: "alert.labels.exists(l, l == 'a')", priority: P0 }
    - { name: c, when: "has(alert.labels.team)", priority: P0 }
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:3:31: priority.rules[a].when: all is not allowed here; there are no loops: write alert.name in ['a', 'b'], or 'team' in alert.labels
p.yaml:4:38: priority.rules[b].when: exists is not allowed here; there are no loops: write alert.name in ['a', 'b'], or 'team' in alert.labels
p.yaml:5:25: priority.rules[c].when: has is not allowed here; write 'team' in alert.labels
"#,
    ),
    (
        "patterns that unfold",
        r#"priority:
  rules:
    - { name: a, when: "alert.name.matches('(a{99}){99}')", priority: P0 }
    - { name: b, when: "alert.name.matches(alert.kind)", priority: P0 }
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:3:36: priority.rules[a].when: a pattern that counts repetitions unfolds into a large one; write x+ or x*, or the characters out
p.yaml:4:36: priority.rules[b].when: the pattern of matches must be written out; write it in quotes
"#,
    ),
    (
        "rules that nothing reaches, that disagree, that never hold",
        r#"priority:
  rules:
    - { name: a, when: "severity == 'critical'", priority: P0 }
    - { name: b, when: "'critical' == severity", priority: P1 }
    - { name: c, when: "severity == 'critical' && environment == 'x'", priority: P0 }
    - { name: d, when: "severity == 'a' && severity == 'b'", priority: P1 }
    - { name: rest, priority: P2 }
    - { name: more, when: "alert.name == 'x'", priority: P2 }
"#,
        None,
        r#"p.yaml:4:15: priority.rules: a and b have the same condition and disagree, P0 and P1; decide for one
p.yaml:5:15: priority.rules: c is never reached, a above holds wherever it does; move it above a, or remove it
p.yaml:6:25: priority.rules[d].when: it never holds; a field has one value: write || or in ['a', 'b'] for several
p.yaml:8:15: priority.rules: more is never reached, rest above takes every incident; move it above rest, or remove it
p.yaml:8:27: priority.rules must end with a rule without when, so that each incident has a priority; add - { name: rest, priority: P2 }
"#,
    ),
];

/// Tables.
const TABLES: &[Fault] = &[
    (
        "a matrix with holes",
        r#"priority:
  matrix:
    critical: { production: P0, "*": P1 }
    warning: { production: P1, staging: P9 }
"#,
        None,
        r#"p.yaml:3:5: priority.matrix has no row for the severity info; add info: { "*": P2 }, or take info out of severity.order
p.yaml:4:5: priority.matrix.warning has no cell for the environment development; add development, or "*" for any environment that is not named
p.yaml:4:41: priority.matrix.warning.staging must be a priority, got "P9"; write P0, P1, P2 or P3
"#,
    ),
    (
        "a row twice",
        r#"priority:
  matrix:
    critical: { "*": P0 }
    critical: { "*": P1 }
"#,
        None,
        r#"p.yaml:4:5: priority.matrix.critical stands here a second time; keep one of the two
"#,
    ),
    (
        "a row that an alias takes away",
        r#"severity:
  aliases: { Sev1: critical }
priority:
  matrix:
    Sev1: { "*": P0 }
    critical: { "*": P0 }
    warning: { "*": P1 }
    info: { "*": P3 }
"#,
        None,
        r#"p.yaml:5:5: priority.matrix.Sev1 is never reached, severity.aliases turns it into critical; remove it, or name the row critical
"#,
    ),
    (
        "two that tell the priority",
        r#"priority:
  matrix: { critical: { "*": P0 } }
  rules:
    - { name: rest, priority: P2 }
"#,
        None,
        r#"p.yaml:4:15: priority.matrix and priority.rules both tell the priority; keep one of them, and remove priority.matrix or priority.rules
"#,
    ),
    (
        "severities that never occur",
        r#"severity:
  aliases: { Sev1: critical, critical: Sev1 }
  order: [warning, warning]
  event_types: { Normal: info }
"#,
        None,
        r#"p.yaml:2:20: severity.aliases: Sev1 means critical, which is an alias itself; only one step is taken; remove one of the two
p.yaml:2:40: severity.aliases: critical means Sev1, which is an alias itself; only one step is taken; remove one of the two
p.yaml:3:20: severity.order names warning twice; keep one of the two
p.yaml:4:18: severity.event_types.Normal is never reached: only events of trouble are alerts; write Warning or Error, or remove it
"#,
    ),
    (
        "patterns of namespaces that hide one another",
        r#"environment:
  patterns:
    - { namespace: "a-*", environment: x }
    - { namespace: "a-b-*", environment: y }
    - { namespace: "a-*", environment: z }
"#,
        None,
        r#"p.yaml:4:20: environment.patterns: "a-b-*" is never reached, "a-*" above matches all of it; move it above "a-*", or remove it
p.yaml:5:20: environment.patterns: "a-*" is both x and z; decide for one
"#,
    ),
    (
        "identity of what is not there",
        r#"identity:
  fields: [name, alertname, team]
  targets:
    - { label: instance, kind: Node }
    - { label: pod, kind: Pod }
    - { label: pod, kind: Pod }
"#,
        None,
        r#"p.yaml:2:18: identity.fields: an alert has no field "alertname"; write name: the alert's name, or an event's reason
p.yaml:2:29: identity.fields: an alert has no field "team"; write one of name, namespace, kind, resource, cluster, or labels.team
p.yaml:4:16: identity.targets: instance names what was scraped, not what an alert is about; name a label of a resource, such as pod or deployment
p.yaml:6:16: identity.targets: pod stands above, so this is never reached; remove it
"#,
    ),
    (
        "storm rules that are hidden, or group by nothing",
        r#"storm:
  rules:
    - { name: a, match: alert.kind == 'Pod', group_by: [name] }
    - { name: b, match: alert.kind == 'Pod' && alert.name == 'X', group_by: [namespace] }
    - { name: c, match: environment == 'x', group_by: [alertname] }
    - { name: d, match: alert.name == 'X', group_by: [] }
"#,
        None,
        r#"p.yaml:4:15: storm.rules: b is never reached, a above matches all of it; move it above a, or remove it
p.yaml:5:25: storm.rules[c].match: there is no variable environment; it is judged later, and only priority.rules know it
p.yaml:5:56: storm.rules[c].group_by: nothing is grouped by "alertname"; write name: the alert's name, or an event's reason
p.yaml:6:15: storm.rules[d].group_by is empty: all alerts would be one storm; write at least [name]
p.yaml:6:25: storm.rules must end with a rule without match, so that each alert has a group; add - { name: rest, group_by: [name, namespace] }
"#,
    ),
];

/// Rego files.
#[cfg(feature = "rego")]
const REGO: &[Fault] = &[
    (
        "a Rego file that is not there",
        r#"priority:
  rego: { file: p.rego }
"#,
        None,
        r#"p.yaml:2:17: priority.rego.file: p.rego is not there; name a file with a rule that tells the priority, such as pipelines/priority.rego
"#,
    ),
    (
        "an empty Rego file",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"
"#,
        ),
        r#"p.yaml:2:17: priority.rego.file: p.rego is empty; name a file with a rule that tells the priority, such as pipelines/priority.rego
"#,
    ),
    (
        "a Rego file elsewhere",
        r#"priority:
  rego: { file: ../p.rego }
"#,
        None,
        r#"p.yaml:2:17: priority.rego.file must lie in the folder of the pipeline, got "../p.rego"; write its name, such as priority.rego
"#,
    ),
    (
        "Rego with a clock, the network and the host",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
default priority := "P2"
priority := "P0" if time.now_ns() > 1
priority := "P0" if {
  http.send({"method": "get", "url": "http://x"}).status_code == 200
}
priority := "P0" if opa.runtime().x
"#,
        ),
        r#"p.rego:3:21: priority.rego: time.now_ns is not allowed here; there are startswith, endswith, contains, lower, upper, trim, trim_left, trim_right, trim_prefix, trim_suffix, trim_space, count, object.get, is_string, is_number, is_boolean, is_array, is_object, and functions of this file
p.rego:5:3: priority.rego: http.send is not allowed here; there are startswith, endswith, contains, lower, upper, trim, trim_left, trim_right, trim_prefix, trim_suffix, trim_space, count, object.get, is_string, is_number, is_boolean, is_array, is_object, and functions of this file
p.rego:7:21: priority.rego: opa.runtime is not allowed here; there are startswith, endswith, contains, lower, upper, trim, trim_left, trim_right, trim_prefix, trim_suffix, trim_space, count, object.get, is_string, is_number, is_boolean, is_array, is_object, and functions of this file
"#,
    ),
    (
        "Rego that grows or calls itself",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
priority := f("P0")
f(x) := f(x)
many := [x | some x in input.alert.labels]
"#,
        ),
        r#"p.rego:3:1: priority.rego: f leans on itself, or on more than 8 rules in a row; break the circle, or join the rules
p.rego:4:9: priority.rego: a comprehension builds a value that may grow; a priority needs no new values: test what is there, with some x in …, every, in, and functions
"#,
    ),
    (
        "Rego with names that do not exist",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
default priority := "P2"
priority := "P0" if input.enviroment == "x"
priority := "P0" if input.alert.lables.team == "x"
"#,
        ),
        r#"p.rego:3:27: priority.rego: input has no field enviroment; write input.environment
p.rego:4:33: priority.rego: input.alert has no field lables; write input.alert.labels
"#,
    ),
    (
        "Rego with missing cases",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
priority := "P0" if input.severity == "critical"
"#,
        ),
        r#"p.yaml:2:17: p.rego does not tell the priority of info in development: priority.rego answers nothing; add a rule for it, or default priority := "P2"
"#,
    ),
    (
        "Rego that answers no priority",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
default priority := "P9"
"#,
        ),
        r#"p.yaml:2:17: p.rego does not tell the priority of info in development: priority.rego answers "P9", which is no priority; add a rule for it, or default priority := "P2"
"#,
    ),
    (
        "Rego of an older form",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package breakwater
priority = "P0" { input.severity == "critical" }
"#,
        ),
        r#"p.rego:2:17: priority.rego: not Rego: `if` keyword is required before rule body; write rules like priority := "P0" if input.environment == "production"
"#,
    ),
    (
        "another package",
        r#"priority:
  rego: { file: p.rego }
"#,
        Some(
            r#"package other
priority := "P0"
"#,
        ),
        r#"p.rego:1:9: priority.rego: there is no rule data.breakwater.priority; this is package other with priority; name one of them as priority.rego.query
"#,
    ),
];

#[test]
fn g11_a_condition_that_is_wrong_loops_or_is_never_asked_is_told_with_its_place_and_what_to_write() {
    CEL.iter().for_each(check);
}

#[test]
fn g10_a_table_with_holes_or_with_what_nothing_reaches_is_told_with_its_place_and_what_to_write() {
    TABLES.iter().for_each(check);
}

#[cfg(feature = "rego")]
#[test]
fn g14_a_rego_file_that_could_run_away_or_says_too_little_is_told_with_its_place_and_what_to_write() {
    REGO.iter().for_each(check);
}

#[test]
fn g13_a_source_that_is_too_long_or_too_deep_is_told_with_its_place_and_what_to_write() {
    let (long, deep) = ("x".repeat(4090), "true".to_owned() + &"==true".repeat(24));
    let pipeline = format!(
        "priority:\n  rules:\n    - {{ name: a, when: \"alert.name == '{long}'\", priority: P0 }}\n    - {{ name: b, when: \"{deep}\", priority: P0 }}\n    - {{ name: rest, priority: P2 }}\n"
    );
    let expected = "p.yaml:3:25: priority.rules[a].when: an expression has at most 4096 bytes, got 4106; split it into several rules\n\
        p.yaml:4:25: priority.rules[b].when: its parts nest more than 24 deep; write lists, x in ['a', 'b'], or split it into several rules\n";
    check(&("too long, too deep", pipeline.leak(), None, expected));
}
