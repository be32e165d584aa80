//! Group G, as far as it needs no server: environment, severity and priority as they stand on the object, and the
//! fallback, which is counted and says why it was taken.

use breakwater::{
    alert::{EventTime, headers::Headers},
    pipeline::Pipeline,
};
use serde_json::{Value, json};

use crate::world::{SHIPPED, World};

/// What the object of an alert says of it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    environment: String,
    severity: String,
    priority: String,
    /// Why the fallback was taken, if it was.
    fallback: Option<String>,
}

/// An alert with these labels fires; what its object says, half a minute later.
fn told(world: &mut World, labels: &Value) -> Told {
    world.append(None, json!({ "status": "firing", "labels": labels }).to_string().into(), Headers::default());
    world.run_until(EventTime(world.now.0 + 30_000), 1000);
    let objects = &world.sink.as_ref().unwrap().cluster.objects;
    let mut its = objects.values().filter(|kept| kept.written.spec.signal_name == labels["alertname"]);
    let (one, none) = (its.next().unwrap_or_else(|| panic!("no object of {labels}")), its.next());
    assert!(none.is_none(), "two objects of {labels}");
    let spec = one.written.spec.clone();
    let annotations = one.written.metadata.annotations.clone().unwrap_or_default();
    Told {
        environment: spec.environment,
        severity: spec.severity,
        priority: spec.priority,
        fallback: annotations.get("breakwater.io/priority-fallback").cloned(),
    }
}

/// How often the priority's fallback was counted.
fn fallbacks(world: &World) -> u32 {
    let text = world.registry.exposition();
    let counted =
        |line: &str| line.strip_prefix("breakwater_work_policy_fallbacks_total{policy=\"priority\"} ")?.parse().ok();
    text.lines().find_map(counted).unwrap()
}

fn labelled(world: &World, namespace: &str, label: &str, value: &str) {
    world.bench.namespaces.set(namespace, [(label.to_owned(), value.to_owned())].into());
}

#[test]
fn g02_the_label_beats_the_patterns_and_these_stand_in_order() {
    let zones = "environment:
  label: zone
  patterns: [{ namespace: 'prod-*', environment: production }, { namespace: '*-test', environment: testing }]";
    let mut world = World::new(zones);
    labelled(&world, "prod-a", "zone", "blue");
    labelled(&world, "prod-b", "zone", "");
    labelled(&world, "prod-c", "environment", "green");
    for (namespace, expected) in [
        (json!("prod-a"), "blue"),
        (json!("prod-b"), "production"),
        (json!("prod-c"), "production"),
        (json!("prod-test"), "production"),
        (json!("shop-test"), "testing"),
        (json!("shop"), "unknown"),
        (json!(""), "unknown"),
        (Value::Null, "unknown"),
    ] {
        let mut labels = json!({ "alertname": format!("In {namespace}"), "pod": "p", "namespace": namespace });
        if labels["namespace"].is_null() {
            labels.as_object_mut().unwrap().remove("namespace");
        }
        assert_eq!(told(&mut world, &labels).environment, expected, "{namespace}");
    }
}

#[test]
fn g06_each_cell_of_the_shipped_matrix_is_on_the_object() {
    let mut world = World::new(SHIPPED);
    for (severity, production, staging, development, elsewhere) in
        [("critical", "P0", "P1", "P2", "P1"), ("warning", "P1", "P2", "P2", "P2"), ("info", "P3", "P3", "P3", "P3")]
    {
        for (namespace, expected) in
            [("prod", production), ("staging", staging), ("dev", development), ("shop", elsewhere)]
        {
            let name = format!("{severity} in {namespace}");
            let labels = json!({ "alertname": name, "namespace": namespace, "pod": "p", "severity": severity });
            let seen = told(&mut world, &labels);
            assert_eq!((seen.priority.as_str(), seen.fallback), (expected, None), "{name}");
        }
    }
    assert_eq!(fallbacks(&world), 0);
}

#[test]
fn g08_where_nothing_is_known_the_stated_default_stands_counted_once_and_says_why() {
    for (fallback, pipeline) in [("P2", SHIPPED), ("P0", "priority: { fallback: P0 }")] {
        let mut world = World::new(pipeline);
        let labels = json!({ "alertname": "Odd", "namespace": "shop", "pod": "p" });
        let expected = Told {
            environment: "unknown".to_owned(),
            severity: "unknown".to_owned(),
            priority: fallback.to_owned(),
            fallback: Some(r#"priority.matrix has no cell for the severity "unknown" in "unknown""#.to_owned()),
        };
        assert_eq!(told(&mut world, &labels), expected);
        assert_eq!(fallbacks(&world), 1);
        assert_eq!(told(&mut world, &labels), expected, "a repeat changes nothing");
        assert_eq!((fallbacks(&world), world.dead_letters.len()), (1, 0));
        assert_eq!(world.outcomes, [("created", 1), ("duplicate", 1)].into());
    }
}

#[test]
fn g09_a_severity_stands_verbatim_or_as_its_alias_also_in_the_matrix() {
    let mut world = World::new("severity: { aliases: { Sev1: critical } }");
    for (severity, expected) in [
        (Some("Sev1"), ("critical", "P0")),
        (Some("Sev2"), ("Sev2", "P2")),
        (Some("P0"), ("P0", "P2")),
        (Some("CRITICAL"), ("CRITICAL", "P2")),
        (Some(""), ("unknown", "P2")),
        (None, ("unknown", "P2")),
    ] {
        let mut labels = json!({ "alertname": format!("At {severity:?}"), "namespace": "prod", "pod": "p" });
        if let Some(severity) = severity {
            labels["severity"] = json!(severity);
        }
        let seen = told(&mut world, &labels);
        assert_eq!((seen.severity.as_str(), seen.priority.as_str()), expected, "{severity:?}");
    }
    let mut verbatim = World::new(SHIPPED);
    let labels = json!({ "alertname": "A", "namespace": "prod", "pod": "p", "severity": "Sev1" });
    assert_eq!(told(&mut verbatim, &labels).severity, "Sev1");
}

#[test]
fn g11_of_two_rules_that_hold_the_first_tells_the_priority_every_time() {
    let mut world = World::new(
        "priority:
  rules:
    - { name: platform, when: \"alert.labels.team == 'platform' && severity == 'critical'\", priority: P0 }
    - { name: staging, when: \"environment == 'staging' && severity == 'critical'\", priority: P2 }
    - { name: rest, priority: P3 }",
    );
    for n in 0..100 {
        let labels = json!({ "alertname": format!("A{n}"), "namespace": "staging", "pod": "p", "severity": "critical",
                             "team": if n % 10 == 9 { "other" } else { "platform" } });
        let expected = if n % 10 == 9 { "P2" } else { "P0" };
        assert_eq!(told(&mut world, &labels).priority, expected, "{n}");
    }
    assert_eq!(fallbacks(&world), 0);
}

/// Conditions that look at a whole annotation, over and over.
#[test]
fn g13_cel_that_looks_at_too_much_takes_the_fallback_and_the_next_alert_is_judged_as_ever() {
    let looks = |n: usize| vec!["alert.labels.text.contains('needle')"; n].join(" || ");
    let mut world = World::new(&format!(
        "priority:
  rules:
    - {{ name: much, when: \"{}\", priority: P0 }}
    - {{ name: rest, priority: P3 }}",
        looks(100)
    ));
    let long = "hay".repeat(100_000);
    for (name, text, expected) in
        [("Needle", "a needle", "P0"), ("Long", long.as_str(), "P2"), ("Next", "hay", "P3"), ("Later", "needle", "P0")]
    {
        let labels = json!({ "alertname": name, "namespace": "shop", "pod": "p", "text": text });
        assert_eq!(told(&mut world, &labels).priority, expected, "{name}");
    }
    assert_eq!((fallbacks(&world), world.dead_letters.len()), (1, 0));
}

#[cfg(feature = "rego")]
mod rego {
    use breakwater::pipeline::priority::Attached;

    use super::*;

    fn world(rules: &str) -> World {
        let attached = Attached { name: "priority.rego".to_owned(), text: Ok(rules.to_owned()) };
        let text = "priority: { rego: { file: priority.rego } }";
        let pipeline = Pipeline::parse_with("sim.yaml", text, Some(&attached));
        World::of(pipeline.unwrap_or_else(|faults| panic!("{faults:?}")).0)
    }

    #[test]
    fn g12_the_shipped_file_gives_each_object_the_priority_of_the_matrix() {
        let (mut by_file, mut by_matrix) = (world(include_str!("../../pipelines/priority.rego")), World::new(SHIPPED));
        labelled(&by_file, "shop", "environment", "blue");
        labelled(&by_matrix, "shop", "environment", "blue");
        for severity in ["critical", "warning", "info", "Sev1", ""] {
            for namespace in ["prod", "staging", "dev", "shop", "elsewhere"] {
                let name = format!("{severity} in {namespace}");
                let labels = json!({ "alertname": name, "namespace": namespace, "pod": "p", "severity": severity });
                let [one, other] = [&mut by_file, &mut by_matrix].map(|world| told(world, &labels));
                assert_eq!(
                    (&one.priority, one.fallback.is_some()),
                    (&other.priority, other.fallback.is_some()),
                    "{name}"
                );
                assert_eq!(one.environment, other.environment, "{name}");
            }
        }
        assert_eq!((fallbacks(&by_file), fallbacks(&by_matrix)), (10, 10));
    }

    #[test]
    fn g13_rego_that_loops_or_answers_no_priority_takes_the_fallback_and_the_next_alert_is_judged_as_ever() {
        let list: Vec<String> = (0..60).map(|n| n.to_string()).collect();
        let some: String =
            ["b", "c", "d", "e", "f"].map(|name| format!("  some {name} in [{}]\n", list.join(","))).concat();
        let rules = format!(
            "package breakwater\nimport rego.v1\nmode := input.alert.labels.mode\n\
             priority := \"P0\" if mode == \"two\"\npriority := \"P1\" if mode in [\"two\", \"calm\"]\n\
             priority := 7 if mode == \"seven\"\npriority := \"P9\" if mode == \"nine\"\n\
             priority := \"P3\" if not mode\n\
             priority := \"P0\" if {{\n  mode == \"loop\"\n{some}  f == \"no\"\n}}\n"
        );
        let mut world = world(&rules);
        for (mode, why) in [
            ("loop", "priority.rego takes longer than 15 ms"),
            ("two", "priority.rego fails: "),
            ("seven", "priority.rego answers something else than a text"),
            ("nine", "priority.rego answers \"P9\", which is no priority"),
            ("none", "priority.rego answers nothing"),
        ] {
            let labels =
                |name: &str, mode: &str| json!({ "alertname": name, "namespace": "shop", "pod": "p", "mode": mode });
            let seen = told(&mut world, &labels(mode, mode));
            let said = seen.fallback.unwrap_or_default();
            assert!(seen.priority == "P2" && said.starts_with(why), "{mode}: {} because {said:?}", seen.priority);
            let next = told(&mut world, &labels(&format!("after {mode}"), "calm"));
            assert_eq!((next.priority.as_str(), next.fallback), ("P1", None), "after {mode}");
        }
        assert_eq!((fallbacks(&world), world.dead_letters.len()), (5, 0));
    }
}
