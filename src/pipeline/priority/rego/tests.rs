//! What a Rego file may say, what is refused, and what is ended.

use std::time::Instant;

use super::*;
use crate::pipeline::{
    Pipeline,
    priority::{By, PriorityPolicy},
};

const SHIPPED: &str = include_str!("../../../../pipelines/priority.rego");
const PIPELINE: &str = "priority:\n  rego: { file: priority.rego }\n";

/// An incident is decided within this, on a machine that builds without optimisation and runs other tests besides.
const ENDED: Duration = Duration::from_millis(50);

fn file(rules: &str) -> String {
    format!("package breakwater\nimport rego.v1\n{rules}\n")
}

fn pipeline(rego: &str) -> Result<PriorityPolicy, Vec<String>> {
    let attached = Attached { name: "priority.rego".into(), text: Ok(rego.to_owned()) };
    let parsed = Pipeline::parse_with("p", PIPELINE, Some(&attached));
    parsed.map(|(pipeline, _)| pipeline.priority).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// Asserts that rules are refused: `LINE:COLUMN: text`, the hint apart.
fn refused(rules: &str, expected: &str) {
    let told = pipeline(&file(rules)).err().unwrap_or_default();
    let first = told.first().map(String::as_str).unwrap_or_default();
    assert_eq!(first.split("; ").next().unwrap_or_default(), format!("priority.rego:{expected}"), "of {rules}");
}

fn alert(mode: &str) -> Alert {
    let mut labels: BTreeMap<String, String> = (0..200).map(|n| (format!("l{n}"), n.to_string())).collect();
    labels.insert("mode".into(), mode.into());
    Alert { labels, ..specimen() }
}

const CALM: Standing<'static> = Standing { environment: "production", severity: "critical" };

fn ask(rego: &Rego, mode: &str) -> Result<Priority, String> {
    rego.ask(&alert(mode), CALM)
}

fn loaded(rules: &str) -> Rego {
    Rego::load("priority.rego", &file(rules), QUERY).unwrap()
}

#[test]
fn g12_the_shipped_file_answers_as_the_shipped_matrix_in_every_cell() {
    let (matrix, rego) = (PriorityPolicy::default(), pipeline(SHIPPED).unwrap());
    let environments = ["production", "staging", "development", "unknown", "blue", "qa-eu"];
    for severity in ["critical", "warning", "info", "unknown", "Sev1"] {
        for environment in environments {
            let standing = Standing { environment, severity };
            let By::Rego(rego) = &rego.by else { panic!("it names a file") };
            let By::Matrix(matrix) = &matrix.by else { panic!("it is a table") };
            let asked = rego.ask(&specimen(), standing).ok();
            assert_eq!(asked, matrix.cell(environment, severity), "{severity} in {environment}");
        }
    }
}

#[test]
fn a_file_speaks_of_the_alert_and_of_what_was_judged() {
    let rego = loaded(
        "default priority := \"P3\"\npriority := \"P0\" if {\n  urgent(input.alert.labels)\n  input.environment == \"production\"\n}\nurgent(labels) if startswith(labels.mode, \"ur\")\n",
    );
    assert_eq!(ask(&rego, "urgent"), Ok(Priority::P0));
    assert_eq!(ask(&rego, "calm"), Ok(Priority::P3));
    let some = loaded(
        "default priority := \"P3\"\npriority := \"P1\" if {\n  some key, value in input.alert.labels\n  key == \"mode\"\n  value in {\"a\", \"b\"}\n}\n",
    );
    assert_eq!((ask(&some, "b"), ask(&some, "c")), (Ok(Priority::P1), Ok(Priority::P3)));
}

#[test]
fn g13_what_loops_ends_within_its_budget_and_the_next_alert_is_decided_as_ever() {
    let rego = loaded(
        "default priority := \"P3\"\npriority := \"P0\" if {\n  input.alert.labels.mode == \"loop\"\n  some a in input.alert.labels\n  some b in input.alert.labels\n  some c in input.alert.labels\n  some d in input.alert.labels\n  a == \"no\"\n}\n",
    );
    assert_eq!(ask(&rego, "calm"), Ok(Priority::P3));
    let spans = (0..5).map(|_| {
        let began = Instant::now();
        assert_eq!(ask(&rego, "loop"), Err("priority.rego takes longer than 15 ms".into()));
        let span = began.elapsed();
        assert_eq!(ask(&rego, "calm"), Ok(Priority::P3));
        span
    });
    let shortest = spans.min().unwrap(); // the others may have waited for a processor
    assert!(shortest < ENDED, "{shortest:?}");
}

#[test]
fn g13_two_answers_none_a_number_and_a_stranger_take_the_fallback() {
    let rego = loaded(
        "priority := \"P0\" if input.alert.labels.mode in [\"two\", \"one\"]\npriority := \"P1\" if input.alert.labels.mode == \"two\"\npriority := 7 if input.alert.labels.mode == \"seven\"\npriority := \"P9\" if input.alert.labels.mode == \"nine\"\npriority := input.alert.labels if input.alert.labels.mode == \"all\"\n",
    );
    assert!(ask(&rego, "two").unwrap_err().starts_with("priority.rego fails: "), "{:?}", ask(&rego, "two"));
    assert_eq!(ask(&rego, "seven"), Err("priority.rego answers something else than a text".into()));
    assert_eq!(ask(&rego, "nine"), Err("priority.rego answers \"P9\", which is no priority".into()));
    assert_eq!(ask(&rego, "all"), Err("priority.rego answers something else than a text".into()));
    assert_eq!(ask(&rego, "none"), Err("priority.rego answers nothing".into()));
    assert_eq!(ask(&rego, "one"), Ok(Priority::P0));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of what is refused")]
fn g13_what_could_grow_is_refused_at_its_line() {
    let grown = "builds a value that may grow";
    for (rules, expected) in [
        ("priority := concat(\"\", [\"a\", \"b\"])", "3:13: priority.rego: concat is not allowed here".to_owned()),
        (
            "priority := \"P0\" if { a := \"x\"; b := [a, a] }",
            format!("3:39: priority.rego: a list, set or object of what is not written out {grown}"),
        ),
        (
            "priority := \"P0\" if count([x | some x in input.alert.labels]) > 1",
            format!("3:27: priority.rego: a comprehension {grown}"),
        ),
        (
            "priority := \"P0\" if count({x: x | some x in input.alert.labels}) > 1",
            format!("3:27: priority.rego: a comprehension {grown}"),
        ),
        (
            "seen contains x if some x in input.alert.labels\npriority := \"P0\"",
            format!("3:1: priority.rego: a rule that gathers a set {grown}"),
        ),
        (
            "seen[x] := x if some x in input.alert.labels\npriority := \"P0\"",
            format!("3:1: priority.rego: a rule that gathers an object {grown}"),
        ),
        ("priority := \"P0\" if count({1} | {2}) > 1", format!("3:31: priority.rego: a union or intersection {grown}")),
        ("priority := \"P0\" if count(input.alert.labels) * 9 > 1", "3:47: priority.rego: it calculates".to_owned()),
        (
            "f(x) := f(x)\npriority := f(\"P0\")",
            "3:1: priority.rego: f leans on itself, or on more than 8 rules in a row".to_owned(),
        ),
        (
            "priority := \"P0\" if input.alert.name == \"x\" with input as {}",
            "3:45: priority.rego: with puts other values in place".to_owned(),
        ),
        ("priority := sprintf(\"%1000000000d\", [1])", "3:13: priority.rego: sprintf is not allowed here".to_owned()),
        (
            "priority := \"P0\" if count(numbers.range(1, 100000000000)) > 1",
            "3:27: priority.rego: numbers.range is not allowed here".to_owned(),
        ),
        (
            "priority := \"P0\" if regex.match(\"(a{99}){99}\", input.alert.name)",
            "3:21: priority.rego: regex.match is not allowed here".to_owned(),
        ),
    ] {
        refused(rules, &expected);
    }
}

#[test]
fn g14_clock_chance_and_network_are_refused_naming_the_function_and_its_line() {
    for (call, name) in [
        ("http.send({\"method\": \"get\", \"url\": \"http://x\"})", "http.send"),
        ("opa.runtime()", "opa.runtime"),
        ("time.now_ns()", "time.now_ns"),
        ("rand.intn(\"x\", 3)", "rand.intn"),
        ("uuid.rfc4122(\"x\")", "uuid.rfc4122"),
    ] {
        let rules = format!("default priority := \"P2\"\npriority := \"P0\" if {{\n  x := {call}\n  x == 1\n}}");
        refused(&rules, &format!("5:8: priority.rego: {name} is not allowed here"));
    }
}

#[test]
fn g11_a_name_that_does_not_exist_is_told_at_its_column() {
    refused(
        "priority := \"P0\" if input.alert.lables.team == \"x\"",
        "3:33: priority.rego: input.alert has no field lables",
    );
    refused("priority := \"P0\" if input.enviroment == \"x\"", "3:27: priority.rego: input has no field enviroment");
    refused("priority := \"P0\" if data.other == \"x\"", "3:21: priority.rego: it reads data, and there is none");
    refused("other := \"P0\"", "1:9: priority.rego: there is no rule data.breakwater.priority");
}

#[test]
fn g13_what_is_too_long_or_too_deep_is_refused_and_breaks_no_stack() {
    let long = format!("priority := \"{}\"", "x".repeat(600));
    assert!(pipeline(&file(&long)).is_err());
    let large = file(&"# comment\n".repeat(2_000));
    assert!(pipeline(&large).unwrap_err()[0].contains("exceeds maximum allowed policy file size"), "{large:.0}");
    let deep = |n: usize| format!("priority := {}1{}", "[".repeat(n), "]".repeat(n));
    refused(&deep(200), "3:21: priority.rego: brackets lie more than 8 deep within one another");
    refused(&deep(9), "3:21: priority.rego: brackets lie more than 8 deep within one another");
    assert!(pipeline(&file(&deep(8))).unwrap_err()[0].contains("something else than a text"));
    let chain: String = (0..100).map(|n| format!("r{n} := r{}\n", n + 1)).collect();
    let told = pipeline(&file(&format!("priority := r0\n{chain}r100 := \"P0\""))).unwrap_err();
    assert!(told[0].contains("in a row"), "{told:?}");
    let every = "every x in input.alert.labels { ".repeat(40) + "x == 1" + &" }".repeat(40);
    assert!(pipeline(&file(&format!("priority := \"P0\" if {{ {every} }}"))).is_err());
}

#[test]
fn the_deepest_that_is_allowed_fits_the_stack_of_a_task() {
    let loops: String = (0..10).map(|n| format!("  some x{n} in input.alert.labels\n")).collect();
    let mut rules = "default priority := \"P3\"\npriority := f0(input.alert.name)\n".to_owned();
    for n in 0..6 {
        rules.push_str(&format!("f{n}(y) := z if {{\n{loops}  z := f{}(y)\n}}\n", n + 1));
    }
    rules.push_str(&format!("f6(y) := \"P1\" if {{\n{loops}  y == \"no\"\n}}\n"));
    let rego = loaded(&rules);
    // a task's thread has twice as much
    let told = std::thread::Builder::new().stack_size(1 << 20).spawn(move || ask(&rego, "x")).unwrap().join().unwrap();
    assert_eq!(told, Err("priority.rego takes longer than 15 ms".into()));
    refused(
        &format!("priority := \"P0\" if {{\n{loops}{loops}}}"),
        "3:18: priority.rego: a rule of more than 12 statements and loops",
    );
}

#[test]
fn missing_cases_are_told_when_the_file_is_loaded() {
    let told = pipeline(&file("priority := \"P0\" if input.environment == \"production\"")).unwrap_err();
    assert_eq!(
        told,
        [
            "p:2:17: priority.rego does not tell the priority of info in development: priority.rego answers nothing; add a rule for it, or default priority := \"P2\""
        ]
    );
}

#[test]
fn g15_an_absent_or_empty_file_is_refused_by_name() {
    for (text, why) in [(Ok(" \n".to_owned()), "is empty"), (Err("is not there".to_owned()), "is not there")] {
        let attached = Attached { name: "pipelines/priority.rego".into(), text };
        let told = Pipeline::parse_with("p", PIPELINE, Some(&attached)).unwrap_err();
        assert!(
            told[0].to_string().starts_with(&format!("p:2:17: priority.rego.file: pipelines/priority.rego {why}; "))
        );
    }
    let away = Pipeline::parse("p", "priority:\n  rego: { file: ../x.rego }\n").unwrap_err();
    assert_eq!(away[0].text, "priority.rego.file must lie in the folder of the pipeline, got \"../x.rego\"");
}

#[test]
fn a_thousand_evaluations_stay_far_from_the_budget() {
    let rego = loaded("priority := \"P0\" if input.environment == \"production\"");
    for _ in 0..1000 {
        assert_eq!(rego.ask(&specimen(), CALM), Ok(Priority::P0));
    }
}
