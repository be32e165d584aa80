//! Text in, faults out.

use super::*;

const SHIPPED: &str = include_str!("../../pipelines/alerts.yaml");

/// Asserts the faults of a text, one expectation for each: `LINE:COLUMN: text; hint` in whole.
fn check(text: &str, expected: &[&str]) {
    let told = Pipeline::parse("p", text).err().unwrap_or_default();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let expected: Vec<String> = expected.iter().map(|fault| format!("p:{fault}")).collect();
    assert_eq!(told.join("\n"), expected.join("\n"), "of {text}");
}

#[test]
fn q01_the_shipped_pipeline_is_the_defaults_written_out() {
    let (shipped, settings) = Pipeline::parse_with_settings("pipelines/alerts.yaml", SHIPPED).unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{:?}", Pipeline::default()));
    let (least, defaults) = Pipeline::parse_with_settings("p", "storm: {}").unwrap();
    assert_eq!(format!("{least:?}"), format!("{:?}", Pipeline::default()));
    let unsaid: Vec<&str> =
        settings.iter().filter(|setting| setting.origin == "default").map(|setting| setting.field.as_str()).collect();
    // A rule that names no threshold or window has the section's.
    let expected = [
        "topics.replication",
        "storm.rules[same-alert].threshold",
        "storm.rules[same-alert].window",
        "severity.aliases",
    ];
    let mut unsaid = unsaid;
    unsaid.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(unsaid, expected);
    assert!(defaults.iter().all(|setting| setting.origin == "default"));
}

#[test]
fn q09_a_setting_tells_its_value_and_where_it_comes_from() {
    let (_, settings) = Pipeline::parse_with_settings("p.yaml", "storm:\n  hold: 1500ms\n").unwrap();
    let find = |field: &str| settings.iter().find(|setting| setting.field == field).unwrap();
    assert_eq!((find("storm.hold").value.as_str(), find("storm.hold").origin.as_str()), ("1s500ms", "p.yaml:2:9"));
    assert_eq!((find("storm.quiet").value.as_str(), find("storm.quiet").origin.as_str()), ("1m", "default"));
}

#[test]
fn q02_what_cannot_be_read_is_named_with_its_place() {
    check("", &["1:1: the pipeline is empty; write at least one section, such as storm: {}"]);
    check("# nothing\n---\n", &["1:1: the pipeline is empty; write at least one section, such as storm: {}"]);
    check(
        "storm:\n  treshold: 3\n",
        &["2:3: storm.treshold is not known; write threshold, if that is meant; known here: hold, window, threshold, \
           quiet, max_duration, hold_max, max_listed, update_interval, rules"],
    );
    check(
        "storm:\n\thold: 1s\n",
        &["2:2: tabs disallowed within this context (block indentation); indent with spaces"],
    );
    check("dedup:\n  ttl: 1m\n  ttl: 2m\n", &["3:3: dedup.ttl stands here a second time; keep one of the two"]);
    check("cases: []\n", &["1:1: this is no pipeline but a file of tests; run it: breakwater test FILE"]);
    check("storm: 3\n", &["1:8: storm must be a mapping; see pipelines/alerts.yaml for its form"]);
    check(
        "storm: {}\n---\nstorm: {}\n",
        &["3:1: a second document begins here; one file is one pipeline: remove the --- line"],
    );
    check(
        "storm:\n  rules:\n    - name: a\n",
        &["3:7: storm.rules has an entry without group_by; add group_by: to it"],
    );
    let long = format!("# {}\n", "x".repeat(MAX_TEXT));
    check(&long, &["1:1: a pipeline has at most 262144 bytes, got 262147; split it"]);
}

#[test]
fn q02_an_alias_bomb_is_refused_at_once() {
    let mut bomb = "severity:\n  order: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let above = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("  x{level}: &a{level} [{above}]\n"));
    }
    assert_eq!(Pipeline::parse("p", &bomb).unwrap_err().len(), 1);
    let wide = format!("severity:\n  order: [{}]\n", "x, ".repeat(30_000));
    let text = "the text unfolds beyond the limits of a pipeline (256 KiB, 20 000 nodes, 16 levels, few aliases)";
    assert_eq!(Pipeline::parse("p", &wide).unwrap_err()[0].text, text);
    let deep = format!("severity:\n  order: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(Pipeline::parse("p", &deep).unwrap_err().len(), 1);
}

#[test]
fn q02_all_wrong_values_are_told_in_one_go() {
    check(
        "storm:\n  threshold: ten\n  max_listed: \"5\"\n  hold_max: soon\ningest:\n  max_body: 5\n  concurrency: 1.5\nsink:\n  writes_per_second: many\n",
        &[
            "2:14: storm.threshold must be a whole number, got \"ten\"; write digits only, without quotes",
            "3:15: storm.max_listed must be a whole number, got \"5\"; write digits only, without quotes",
            "4:13: storm.hold_max must be a span of time, got \"soon\"; write numbers and units (ms, s, m, h, d) like 2s or 1h30m",
            "6:13: ingest.max_body must be a number of bytes with its unit, got 5; write it like 8MiB",
            "7:16: ingest.concurrency must be a whole number, got \"1.5\"; write digits only, without quotes",
            "9:22: sink.writes_per_second must be a whole number or the word unlimited, got \"many\"; write it like 20, or unlimited",
        ],
    );
}

#[test]
fn q03_limits_are_told_with_both_fields() {
    check("storm:\n  threshold: 1\n", &["2:14: storm.threshold must be at least 2, got 1; write 2 or more"]);
    check(
        "storm:\n  hold: -2s\n  quiet: 60\n",
        &[
            "2:9: storm.hold must not be negative, got \"-2s\"; write 2s",
            "3:10: storm.quiet has no unit, got 60; write 60s or 60m",
        ],
    );
    check(
        "storm:\n  hold: 2m\n",
        &["2:9: storm.hold (2m) must be at most storm.window (1m); shorten the one or lengthen the other"],
    );
    check(
        "storm:\n  quiet: 10m\n",
        &["2:10: storm.quiet (10m) must be at most storm.max_duration (5m); shorten the one or lengthen the other"],
    );
}

#[test]
fn q03_limits_hold_in_every_section() {
    check(
        "dedup:\n  cooldown: 16m\n  twin_window: 6m\n  shards: 0\n",
        &[
            "2:13: dedup.cooldown must be at most 15m, got 16m; write 15m or less",
            "3:16: dedup.twin_window (6m) must be at most dedup.ttl (5m); shorten the one or lengthen the other",
            "4:11: dedup.shards must be at least 1, got 0; write 1 or more",
        ],
    );
    check(
        "sink:\n  writes_per_second: 0\ningest:\n  rate_per_second: 0\n",
        &[
            "2:22: sink.writes_per_second must be at least 1, got 0; write 1 or more",
            "4:20: ingest.rate_per_second must be at least 1, got 0; write 1 or more",
        ],
    );
    check(
        "topics:\n  retention: 11m\ndedup:\n  ttl: 20m\n",
        &[
            "2:14: topics.retention (11m) must be longer than a rewind reaches back (20m2s); lengthen it, or shorten dedup.ttl, \
           storm.window, storm.max_duration or storm.quiet",
        ],
    );
}

#[test]
fn q03_the_limits_themselves_are_accepted() {
    for text in [
        "storm: { threshold: 2, hold: 60s, window: 60s, quiet: 5m, max_duration: 5m, max_listed: 1000 }",
        "storm: { hold: 0 }",
        "dedup: { cooldown: 15m, ttl: 1s, twin_window: 1s, shards: 4096 }",
        "sink: { writes_per_second: 1, in_flight: 1000, lanes: 1000 }",
        "sink: { writes_per_second: unlimited }",
        "topics: { replication: 3, partitions: 1 }",
    ] {
        check(text, &[]);
    }
    assert_eq!(Pipeline::parse("p", "sink: { writes_per_second: unlimited }").unwrap().sink.writes_per_second, None);
}

#[test]
fn q03_a_rule_that_nothing_reaches_is_named() {
    check(
        "storm:\n  rules:\n    - { name: a, group_by: [name] }\n    - { name: b, group_by: [labels.team] }\n",
        &["4:15: storm.rules: b is never reached, a above takes every alert; move it above a, or remove it"],
    );
    check(
        "storm:\n  rules:\n    - { name: a, match: alert.name == 'X', group_by: [name] }\n    - { name: b, match: alert.name == 'X', group_by: [alertname] }\n",
        &[
            "4:15: storm.rules: b is never reached, a above has the same match; move it above a, or remove it",
            "4:25: storm.rules must end with a rule without match, so that each alert has a group; add - { name: rest, group_by: [name, namespace] }",
            "4:55: storm.rules[b].group_by: nothing is grouped by \"alertname\"; write name: the alert's name, or an event's reason",
        ],
    );
}

#[test]
fn q05_an_address_or_secret_is_shown_its_right_place() {
    let nowhere = "has no place in a pipeline, which holds neither addresses nor secrets";
    for (text, expected) in [
        ("kafka_brokers: k:9092\n", format!("1:1: kafka_brokers {nowhere}; set BREAKWATER_KAFKA_BROKERS")),
        ("topics:\n  brokers: k:9092\n", format!("2:3: topics.brokers {nowhere}; set BREAKWATER_KAFKA_BROKERS")),
        ("redis_url: redis://:hunter2@r\n", format!("1:1: redis_url {nowhere}; set BREAKWATER_REDIS_URL")),
        (
            "memory:\n  password: hunter2\n",
            format!(
                "2:3: memory.password {nowhere}; set BREAKWATER_KAFKA_PROPERTIES or BREAKWATER_REDIS_URL, whichever it opens"
            ),
        ),
    ] {
        check(text, &[&expected]);
        assert!(!format!("{:?}", Pipeline::parse("p", text)).contains("hunter2"));
    }
    check(
        "topics:\n  alerts: kafka:9092\n",
        &["2:11: topics.alerts is a name, got \"kafka:9092\", which looks like an address; addresses are set in the \
           environment: BREAKWATER_KAFKA_BROKERS, BREAKWATER_REDIS_URL"],
    );
}

#[test]
fn d08_identity_is_of_fields_that_exist() {
    use crate::alert::record::IdentityField::{Label, Namespace};
    let pipeline = Pipeline::parse("p", "identity:\n  fields: [namespace, labels.team]\n").unwrap();
    assert_eq!(pipeline.identity.fields, [Namespace, Label("team".into())]);
    check(
        "identity:\n  fields: [namespace, team]\n  targets:\n    - { label: instance, kind: Node }\n",
        &[
            "2:23: identity.fields: an alert has no field \"team\"; write one of name, namespace, kind, resource, cluster, or labels.team",
            "4:16: identity.targets: instance names what was scraped, not what an alert is about; name a label of a resource, such as pod or deployment",
        ],
    );
}

#[test]
fn g10_missing_double_unreachable_and_conflicting_cells_are_told() {
    check(
        "priority:\n  matrix:\n    critical: { production: P0, staging: P9 }\n    warning: { \"*\": P1 }\n    info: { \"*\": P3 }\n",
        &[
            "3:5: priority.matrix.critical has no cell for the environment development; add development, or \"*\" for any environment that is not named",
            "3:42: priority.matrix.critical.staging must be a priority, got \"P9\"; write P0, P1, P2 or P3",
        ],
    );
    check(
        "priority:\n  matrix:\n    critical: { \"*\": P0 }\n    critical: { \"*\": P1 }\n",
        &["4:5: priority.matrix.critical stands here a second time; keep one of the two"],
    );
    check(
        "severity:\n  aliases: { Sev1: critical }\npriority:\n  matrix:\n    Sev1: { \"*\": P0 }\n    critical: { \"*\": P0 }\n    warning: { \"*\": P1 }\n",
        &[
            "5:5: priority.matrix.Sev1 is never reached, severity.aliases turns it into critical; remove it, or name the row critical",
            "5:5: priority.matrix has no row for the severity info; add info: { \"*\": P2 }, or take info out of severity.order",
        ],
    );
    check(
        "environment:\n  patterns:\n    - { namespace: \"a-*\", environment: x }\n    - { namespace: \"a-b-*\", environment: y }\n    - { namespace: \"a-*\", environment: z }\n",
        &[
            "4:20: environment.patterns: \"a-b-*\" is never reached, \"a-*\" above matches all of it; move it above \"a-*\", or remove it",
            "5:20: environment.patterns: \"a-*\" is both x and z; decide for one",
        ],
    );
}

#[test]
fn g11_an_unknown_field_in_a_match_is_told_at_its_column() {
    let rest = "      group_by: [name]\n    - { name: rest, group_by: [name] }\n";
    let told = "storm.rules[a].match: an alert has no field lables; write alert.labels";
    let rule = |written: &str| format!("storm:\n  rules:\n    - name: a\n      match: {written}\n{rest}");
    check(&rule("alert.lables.team == 'x'"), &[&format!("4:20: {told}")]);
    check(&rule("\"alert.name == 'é' && alert.lables.team == 'x'\""), &[&format!("4:42: {told}")]);
    check(&rule("|\n        alert.name == 'X' &&\n          alert.lables.team == 'x'"), &[&format!("6:17: {told}")]);
}

#[test]
fn g15_an_empty_policy_file_is_refused_by_name() {
    for text in ["", " \n\n", "# a comment\n"] {
        let faults = Pipeline::parse("pipelines/empty.yaml", text).unwrap_err();
        assert!(faults[0].to_string().starts_with("pipelines/empty.yaml:1:1: the pipeline is empty"));
    }
}

proptest::proptest! {
    #[test]
    fn o13_no_text_makes_the_reader_panic(text in "[a-z:{}&*\\[\\]\"'|>#!%@ \n\t-]{0,200}") {
        drop(Pipeline::parse("p", &text));
    }

    #[test]
    fn o13_no_change_of_the_shipped_text_makes_the_reader_panic(at in 0..6000_usize, put in ".{0,8}") {
        let at = SHIPPED.floor_char_boundary(at);
        drop(Pipeline::parse("p", &format!("{}{put}{}", &SHIPPED[..at], SHIPPED.get(at + 1..).unwrap_or_default())));
    }
}

/// Asserts the faults of `priority.rules`, whose first line is the third.
fn check_rules(rules: &[&str], expected: &[&str]) {
    let lines: Vec<String> = rules.iter().map(|rule| format!("    - {rule}\n")).collect();
    check(&format!("priority:\n  rules:\n{}", lines.concat()), expected);
}

#[test]
fn g10_rules_that_are_hidden_or_disagree_are_told() {
    check_rules(
        &[
            "{ name: a, when: \"severity == 'critical'\", priority: P0 }",
            "{ name: b, when: \"'critical' == severity\", priority: P1 }",
            "{ name: c, when: \"severity == 'critical' && environment == 'production'\", priority: P2 }",
            "{ name: d, when: \"environment in ['x', 'y']\", priority: P1 }",
            "{ name: e, when: \"environment == 'y' && alert.labels.team == 'z'\", priority: P1 }",
            "{ name: f, when: \"severity == 'a' && severity == 'b'\", priority: P1 }",
            "{ name: rest, priority: P2 }",
            "{ name: more, when: \"alert.name == 'x'\", priority: P2 }",
        ],
        &[
            "4:15: priority.rules: a and b have the same condition and disagree, P0 and P1; decide for one",
            "5:15: priority.rules: c is never reached, a above holds wherever it does; move it above a, or remove it",
            "7:15: priority.rules: e is never reached, d above holds wherever it does; move it above d, or remove it",
            "8:25: priority.rules[f].when: it never holds; a field has one value: write || or in ['a', 'b'] for several",
            "10:15: priority.rules: more is never reached, rest above takes every incident; move it above rest, or remove it",
            "10:27: priority.rules must end with a rule without when, so that each incident has a priority; add - { name: rest, priority: P2 }",
        ],
    );
}

#[test]
fn g11_an_unknown_name_or_a_wrong_result_in_a_rule_is_told_at_its_column() {
    check_rules(
        &[
            "{ name: a, when: \"severity == 'x' && alert.lables.team == 'x'\", priority: P0 }",
            "{ name: b, when: \"enviroment == 'x'\", priority: P1 }",
            "{ name: c, when: \"environment\", priority: P1 }",
            "{ name: d, when: \"[1].all(x, x > 0)\", priority: P9 }",
            "{ name: rest, priority: P2 }",
        ],
        &[
            "3:50: priority.rules[a].when: an alert has no field lables; write alert.labels",
            "4:25: priority.rules[b].when: there is no variable enviroment; write environment",
            "5:25: priority.rules[c].when: it must be true or false; compare it: alert.labels.team == 'platform'",
            "6:29: priority.rules[d].when: all is not allowed here; there are no loops: write alert.name in ['a', 'b'], or 'team' in alert.labels",
            "6:55: priority.rules[d].priority must be a priority, got \"P9\"; write P0, P1, P2 or P3",
        ],
    );
    check(
        "priority:\n  matrix: { critical: { \"*\": P0 } }\n  rules:\n    - { name: rest, priority: P2 }\n",
        &[
            "4:15: priority.matrix and priority.rules both tell the priority; keep one of them, and remove priority.matrix or priority.rules",
        ],
    );
}

#[test]
fn q03_a_storm_rule_that_another_hides_or_that_cannot_hold_is_named() {
    check(
        "storm:\n  max_listed: 1001\n  rules:\n    - { name: a, match: \"alert.name in ['X', 'Y']\", group_by: [name] }\n    - { name: b, match: \"alert.name == 'Y' && alert.kind == 'Pod'\", group_by: [name] }\n    - { name: c, match: \"alert.name == 'A' && alert.name == 'B'\", group_by: [name] }\n    - { name: d, match: \"true\", group_by: [name], threshold: 1, window: 1s }\n    - { name: rest, group_by: [name] }\n",
        &[
            "2:15: storm.max_listed must be at most 1000, got 1001; write 1000 or less",
            "5:15: storm.rules: b is never reached, a above matches all of it; move it above a, or remove it",
            "6:26: storm.rules[c].match: it never holds; a field has one value: write || or in ['a', 'b'] for several",
            "7:62: storm.rules[d].threshold must be at least 2, got 1; write 2 or more",
            "7:73: storm.hold (2s) must be at most storm.rules[d].window (1s); shorten the one or lengthen the other",
            "8:15: storm.rules: rest is never reached, d above takes every alert; move it above d, or remove it",
        ],
    );
}
