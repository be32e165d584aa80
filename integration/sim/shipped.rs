//! What is shipped beside the program, held against what the program says of itself: topics, dashboard, rules, runbook.

use std::{collections::BTreeSet, fs, path::Path};

use breakwater::{
    kafka::topics::{Names, wanted},
    pipeline::Pipeline,
    telemetry::metrics,
};
use serde_json::{Value, json};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shipped() -> Pipeline {
    Pipeline::parse("pipelines/alerts.yaml", &text("pipelines/alerts.yaml")).unwrap()
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("breakwater_")).collect()
}

/// What no metric of ours is called; a histogram's series count as it.
fn unknown(used: &BTreeSet<&str>) -> Vec<String> {
    let table = metrics::table();
    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip(2)
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            Some((cells.next()?.trim_matches('`'), cells.next()?))
        })
        .collect();
    let is_known = |word: &str| {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        rows.iter().any(|(name, kind)| *name == word || *kind == "histogram" && Some(*name) == of_histogram)
    };
    used.iter().filter(|word| !is_known(word)).map(|word| (*word).to_owned()).collect()
}

/// The rules, by name, in their order.
fn rules() -> Vec<String> {
    let rules: Value = serde_saphyr::from_str(&text("deploy/rules/breakwater.yaml")).unwrap();
    let all = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    all.map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn o10_the_topics_for_strimzi_are_those_that_topics_create_makes() {
    let pipeline = shipped();
    let topics = &pipeline.topics;
    let made = wanted(&Names {
        alerts: &topics.alerts,
        remediations: &topics.remediations,
        dead_letters: &topics.dead_letters,
        partitions: topics.partitions,
        replication: 3,
        retention: topics.retention,
    });
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text("deploy/kafka-strimzi/topics.yaml")).unwrap();
    assert_eq!(objects.len(), made.len());
    for (object, topic) in objects.iter().zip(made) {
        let spec = &object["spec"];
        assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!("KafkaTopic"), &json!(topic.name)));
        assert_eq!((&spec["partitions"], &spec["replicas"]), (&json!(topic.partitions), &json!(topic.replication)));
        let config = spec["config"].as_object().unwrap();
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let said: BTreeSet<(String, String)> =
            config.iter().map(|(key, value)| (key.clone(), as_text(value))).collect();
        let wanted: BTreeSet<(String, String)> =
            topic.config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(said, wanted, "{}", topic.name);
    }
}

#[test]
fn o10_what_scales_by_lag_names_the_groups_and_topics_of_the_shipped_pipeline() {
    let pipeline = shipped();
    let topics = &pipeline.topics;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text("deploy/production/scaling.yaml")).unwrap();
    let scaled: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "ScaledObject").collect();
    for (object, group, topic) in
        [(scaled[0], &topics.work_group, &topics.alerts), (scaled[1], &topics.sink_group, &topics.remediations)]
    {
        let trigger = &object["spec"]["triggers"][0]["metadata"];
        assert_eq!((&trigger["consumerGroup"], &trigger["topic"]), (&json!(group), &json!(topic)));
        let most = object["spec"]["maxReplicaCount"].as_i64().unwrap();
        assert!(most <= i64::from(topics.partitions), "{most} replicas of {} partitions", topics.partitions);
    }
}

#[test]
fn p11_each_metric_of_the_rules_and_of_the_dashboard_exists() {
    for file in ["deploy/rules/breakwater.yaml", "deploy/rules/breakwater.test.yaml", "deploy/grafana/breakwater.json"]
    {
        let text = text(file);
        let used = named(&text);
        assert!(used.len() > 10, "{file}");
        assert_eq!(unknown(&used), [""; 0], "{file}");
    }
}

#[test]
fn p11_each_panel_asks_something_and_says_what_it_shows() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/breakwater.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let asked = panel["targets"].as_array().unwrap();
        assert!(!asked.is_empty() && asked.iter().all(|target| !named(target["expr"].as_str().unwrap()).is_empty()));
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{}", panel["title"]);
    }
}

#[test]
fn p11_each_rule_fires_in_a_rigged_run_is_silent_in_a_calm_one_and_has_its_paragraph() {
    let tests: Value = serde_saphyr::from_str(&text("deploy/rules/breakwater.test.yaml")).unwrap();
    let runbook = text("deploy/rules/runbook.md");
    let asked = |calm: bool, rule: &str| {
        let runs = tests["tests"].as_array().unwrap().iter();
        let runs = runs.filter(|run| !calm || run["name"] == "a calm flow is silent");
        let all = runs.flat_map(|run| run["alert_rule_test"].as_array().unwrap());
        let mut of_rule = all.filter(|asked| asked["alertname"] == rule);
        of_rule.any(|asked| asked["exp_alerts"].as_array().unwrap().is_empty() == calm)
    };
    let paragraphs: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(paragraphs, rules(), "a paragraph for each rule, in their order");
    for rule in rules() {
        assert!(asked(false, &rule), "{rule} fires in no test");
        assert!(asked(true, &rule), "{rule} is not asked for in the calm run");
    }
}

#[test]
fn p11_the_rules_for_the_operator_are_the_rules() {
    let object: Value = serde_saphyr::from_str(&text("deploy/production/rules.yaml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text("deploy/rules/breakwater.yaml")).unwrap();
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(object["spec"], rules, "make it anew: integration/gen write");
}

/// No engine is at hand: what can be said of the text is said. Each file that it copies exists and is let in, nothing is
/// fetched unseen, and what runs is nobody.
#[test]
fn o10_the_dockerfile_copies_what_is_there_in_two_stages_and_runs_as_nobody() {
    let (file, let_in) = (text("deploy/Dockerfile"), text("deploy/Dockerfile.dockerignore"));
    let joined = file.replace("\\\n", " ");
    let lines: Vec<Vec<&str>> = joined
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let of = |word: &str| lines.iter().filter(|line| line[0] == word).map(|line| &line[1..]).collect::<Vec<_>>();
    assert_eq!((of("FROM").len(), of("ADD").len(), of("USER")), (2, 0, vec![&["65532:65532"][..]]));
    assert!(of("FROM").iter().all(|image| image[0].contains(':') && !image[0].ends_with(":latest")));
    assert!(lines.iter().rposition(|line| line[0] == "RUN") < lines.iter().rposition(|line| line[0] == "USER"));
    for copied in of("COPY").iter().filter(|words| !words[0].starts_with("--from")) {
        for source in &copied[..copied.len() - 1] {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
            assert!(let_in.lines().any(|line| line.strip_prefix('!') == Some(source)), "{source} is not let in");
        }
    }
    assert_eq!(of("ENTRYPOINT"), [&["[\"breakwater\"]"][..]]);
}
