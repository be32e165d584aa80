use super::*;
use crate::{decide::outcome::Outcome, telemetry::health::Health};

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{series} is not in:\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

fn registered() -> (Registry, IngestMetrics, WorkMetrics, SinkMetrics, Health) {
    let mut registry = Registry::new();
    let ingest = IngestMetrics::register(&mut registry);
    let (work, sink) = (WorkMetrics::register(&mut registry), SinkMetrics::register(&mut registry));
    let health = Health::new("work");
    health.register(&mut registry);
    drop(KafkaMetrics::register(&mut registry, "work"));
    (registry, ingest, work, sink, health)
}

#[test]
fn p03_consumed_is_the_sum_of_outcomes_and_in_flight() {
    let (registry, _, work, ..) = registered();
    work.consumed(5);
    work.finished(Outcome::Created);
    work.finished_many(Outcome::Duplicate, 2);
    let text = registry.exposition();
    assert_eq!(value(&text, "breakwater_work_records_consumed_total"), 5.0);
    assert_eq!(value(&text, "breakwater_work_outcomes_total{outcome=\"created\"}"), 1.0);
    assert_eq!(value(&text, "breakwater_work_outcomes_total{outcome=\"duplicate\"}"), 2.0);
    assert_eq!(value(&text, "breakwater_work_outcomes_total{outcome=\"released\"}"), 0.0);
    assert_eq!(value(&text, "breakwater_work_records_in_flight"), 2.0);
    assert_eq!(work.books().in_flight(), 2);
}

#[test]
fn p03_a_record_finished_twice_shows() {
    let (registry, _, _, sink, _) = registered();
    sink.consumed(1);
    sink.finished_many(Outcome::Created, 2);
    assert_eq!(value(&registry.exposition(), "breakwater_sink_records_in_flight"), -1.0);
}

#[test]
fn p04_what_is_on_no_list_makes_no_series() {
    let (registry, ingest, ..) = registered();
    let before = registry.exposition().lines().count();
    for stranger in ["<script>", "shop", "a\nb"] {
        ingest.rejected(stranger);
    }
    ingest.answered(999);
    let text = registry.exposition();
    assert_eq!(text.lines().count(), before);
    assert_eq!(value(&text, "breakwater_ingest_alerts_rejected_total{reason=\"other\"}"), 3.0);
    assert_eq!(value(&text, "breakwater_ingest_requests_total{code=\"other\"}"), 1.0);
}

#[test]
fn p07_what_is_held_open_is_in_flight_until_dropped() {
    let (registry, ingest, _, sink, _) = registered();
    let held = [ingest.begun(), ingest.begun()];
    let writing = sink.write_begun();
    let text = registry.exposition();
    assert_eq!(value(&text, "breakwater_ingest_requests_in_flight"), 2.0);
    assert_eq!(value(&text, "breakwater_sink_writes_in_flight"), 1.0);
    drop((held, writing));
    assert_eq!(value(&registry.exposition(), "breakwater_ingest_requests_in_flight"), 0.0);
}

#[test]
fn p01_every_family_that_is_exposed_stands_in_the_table_and_in_no_other_way() {
    let (registry, .., health) = registered();
    drop(health.condition("kafka"));
    let (text, table) = (registry.exposition(), table());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let total = if kind == "counter" { "_total" } else { "" };
        assert!(table.contains(&format!("| `{name}{total}` | {kind} | ")), "{name} {kind} is not in:\n{table}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("# EOF")).count(), 1);
}

#[test]
fn p01_every_class_of_refusal_has_its_series_and_the_door_reads_no_topic() {
    use crate::decide::refusal::Refusal::*;
    let (registry, _, _, sink, _) = registered();
    let throttled = Throttled { told: None };
    for class in [Settled, Stale, Gone, throttled, Transient, Outage, NamespaceMissing, Poison, Fatal] {
        sink.refused(class.class());
        let series = format!("breakwater_sink_refusals_total{{class=\"{}\"}}", class.class());
        assert_eq!(value(&registry.exposition(), &series), 1.0);
    }
    assert!(!table().contains("breakwater_ingest_lag_records"));
}

#[test]
fn p01_names_keep_to_one_form_and_counters_end_in_total() {
    let table = table();
    for line in table.lines().skip(2) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let (name, kind, help) = (cells[1].trim_matches('`'), cells[2], cells[4]);
        let stage = name.strip_prefix("breakwater_").and_then(|rest| rest.split('_').next());
        assert!(matches!(stage, Some("ingest" | "work" | "sink" | "pipeline" | "canary")), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{line}");
    }
    let mut names: Vec<_> = table.lines().skip(2).map(|line| line.split('|').nth(1)).collect();
    names.dedup();
    assert_eq!(names.len() + 2, table.lines().count());
}

#[test]
fn p05_an_outage_is_a_gauge_and_counted_once() {
    let (registry, .., health) = registered();
    let memory = health.condition("memory");
    let up = "breakwater_work_dependency_up{dependency=\"memory\"}";
    let outages = "breakwater_work_dependency_outages_total{dependency=\"memory\"}";
    let read = || (value(&registry.exposition(), up), value(&registry.exposition(), outages));
    assert_eq!(read(), (0.0, 0.0), "what was never there is no outage");
    memory.met();
    assert_eq!(read(), (1.0, 0.0));
    memory.missing("connection refused");
    memory.missing("timed out");
    assert_eq!(read(), (0.0, 1.0));
    memory.met();
    assert_eq!(read(), (1.0, 1.0));
}
