//! The format of tests, and what a missed expectation shows.

use futures::FutureExt as _;

use super::*;

/// What the cases of a file show under the shipped pipeline.
fn check(text: &str) -> (Vec<String>, Coverage) {
    let trial = Trial::parse("t.yaml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let (pipeline, mut coverage) = (Arc::new(Pipeline::default()), Coverage::default());
    let ran = trial.cases.iter().map(|case| {
        let ran = run(case, &pipeline, &mut coverage).now_or_never().expect("local memory never waits");
        ran.unwrap().missed.map_or_else(String::new, |missed| missed.to_string())
    });
    (ran.collect(), coverage)
}

const CASE: &str = "cases:\n- name: x\n  alerts:\n  - ";

#[test]
fn q06_expectations_that_are_met_say_nothing_and_take_no_time() {
    let text = "
namespaces: { shop: { environment: production } }
cases:
  - name: a repeat, a redelivery, a resolve, an end, and the next one
    alerts:
      - { id: a, labels: { alertname: A, namespace: shop, pod: p, severity: critical } }
      - { at: 10s, labels: { alertname: A, namespace: shop, pod: p, severity: critical } }
      - { at: 11s, again: a }
      - { at: 20s, status: resolved, labels: { alertname: A, namespace: shop, pod: p } }
      - { at: 30s, closed: a }
      - { at: 40s, labels: { alertname: A, namespace: shop, pod: p } }
    expect:
      - { alert: A, resource: Pod/p, count: 2, priority: P0, resolved: true, storm: none, at: 0s }
      - { alert: A, count: 1, severity: unknown, priority: P2, resolved: false, at: 40s }
    outcomes: { created: 2, duplicate: 1, redelivered: 1, resolved: 1, closed: 1 }
  - name: fifteen at once are a storm, nine a day later are not
    alerts:
      - { each: 15, id: many, labels: { alertname: B, namespace: shop, pod: 'p-{n}', severity: warning } }
      - { at: 1d, each: 9, labels: { alertname: B, namespace: shop, pod: 'p-{n}' } }
    expect:
      - { storm: same-alert, members: 15, count: 15, priority: P1 }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
      - { at: 1d }
";
    let (missed, coverage) = check(text);
    assert_eq!(missed, ["", ""]);
    let untouched = coverage.untouched(&Pipeline::default());
    assert!(!untouched.contains(&"priority.matrix: critical, production".to_owned()), "{untouched:?}");
    assert!(untouched.contains(&"priority.matrix: critical, staging".to_owned()), "{untouched:?}");
}

#[test]
fn q06_a_missed_expectation_shows_both_side_by_side() {
    let text = "{ labels: { alertname: A, namespace: prod, pod: p, severity: critical } }
  expect:
  - { alert: A, priority: P1 }
  - { alert: B }
  outcomes: { created: 2 }";
    let expected = "    expected             got
  ! alert=A priority=P1  alert=A priority=P0
  ! alert=B              nothing
  ! created: 2           created: 1
";
    assert_eq!(check(&format!("{CASE}{text}")).0, [expected]);
}

#[test]
fn q06_an_alert_that_cannot_be_read_is_a_miss_unless_it_is_expected() {
    let expected = "    expected          got
  ! dead_lettered: 0  dead_lettered: alert: label `alertname` is missing or blank
";
    let text = "{ labels: { alertnam: A } }\n  expect: []";
    assert_eq!(check(&format!("{CASE}{text}")).0, [expected]);
    assert_eq!(check(&format!("{CASE}{text}\n  outcomes: {{ dead_lettered: 1 }}")).0, [""]);
}

#[test]
fn q06_spans_of_time_are_alike_however_they_are_written() {
    let text = "{ at: 70s, labels: { alertname: A } }\n  expect: [{ at: 1m10s }]";
    assert_eq!(check(&format!("{CASE}{text}")).0, [""]);
    assert_eq!(check(&format!("{CASE}{}", text.replace("1m10s", "70s"))).0, [""]);
}

#[test]
fn q06_a_fault_has_its_place() {
    let check = |step: &str, expected: &str| {
        let faults = Trial::parse("t.yaml", &format!("{CASE}{step}\n  expect: []")).unwrap_err();
        assert_eq!(faults[0].to_string(), format!("t.yaml:4:5: {expected}; {HINT}"));
    };
    const HINT: &str = "see pipelines/tests/alerts.yaml for its form";
    check("{ at: 90, labels: {} }", "at: \"90\" is no span of time, write it with its unit, like 90s");
    check("{ at: 1s }", "a step has one of labels, event, again, closed");
    check("{ again: a }", "no step before this has the id \"a\"");
    check("{ each: 0, labels: { alertname: A } }", "each: 0 is not within 1 and 10000");
    check("{ status: gone, labels: { alertname: A } }", "status: \"gone\" is neither firing nor resolved");
    check("{ each: 3, event: {} }", "each belongs to labels, and there are none");
    check("{ status: resolved, again: a }", "status belongs to labels, and there are none");
    check("{ phase: Failed, labels: {} }", "phase belongs to closed, and there is none");
    let expect = |told: &str, expected: &str| {
        let faults = Trial::parse("t.yaml", &format!("{CASE}{{ labels: {{ alertname: A }} }}\n  {told}")).unwrap_err();
        assert_eq!(faults[0].to_string(), format!("t.yaml:{expected}; {HINT}"));
    };
    expect("expect: [{ priority: 0 }]", "5:12: priority: \"0\" is none, there are P0, P1, P2, P3");
    expect("expect: [{ at: soon }]", "5:12: at: \"soon\" is no span of time, write it with its unit, like 90s");
    expect(
        "expect: []\n  outcomes: { creatd: 1 }",
        "2:3: outcomes: there is no \"creatd\", there are created, joined_storm, duplicate, resolved, closed, redelivered, \
         dead_lettered, released",
    );
    let unknown = Trial::parse("t.yaml", &format!("{CASE}{{ label: {{}} }}\n  expect: []")).unwrap_err();
    assert!(unknown[0].to_string().starts_with("t.yaml:4:"), "{}", unknown[0]);
}
