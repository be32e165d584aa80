//! What goes first, and what is merged.

use super::*;

#[test]
fn i01_one_new_incident_is_one_create_and_one_status_apply_and_a_duplicate_one_more() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    assert_eq!(bench.verbs(), ["create", "apply"]);
    assert_eq!(bench.outcomes(), ["created"]);
    bench.take(&goes_on(&incident, seen(&incident, 2, 5)));
    bench.settle();
    assert_eq!(bench.verbs(), ["create", "apply", "apply"]);
    assert_eq!((bench.count(&incident), bench.outcomes().last()), (2, Some(&"duplicate")));
}

#[test]
fn i23_p0_creates_go_first_and_no_status_while_a_create_waits() {
    let mut bench = Bench::new();
    let with = |who: &str, n, priority: &str| {
        let incident = single(who, n);
        let mut progress = seen(&incident, 1, n);
        progress.priority = priority.to_owned();
        crate::remediation::Remediation::Draft(Box::new(draft(&incident, progress, who)))
    };
    (0..200).for_each(|n| bench.take(&with(&format!("low{n}"), n, "P3")));
    (0..3).for_each(|_| assert!(bench.once()));
    bench.take(&with("urgent", 500, "P0"));
    bench.once();
    assert_eq!(bench.server.calls.last(), Some(&format!("create shop/{}", single("urgent", 500).name)));
    bench.settle();
    assert_eq!(bench.verbs().iter().position(|verb| *verb == "apply"), Some(201));
    assert_eq!(bench.server.calls[201], format!("apply shop/{}", single("urgent", 500).name));
}

#[test]
fn i24_duplicates_of_one_incident_are_coalesced_and_the_last_says_all() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    for n in 0..300 {
        bench.take(&goes_on(&incident, seen(&incident, 2 + n, 2 + n as i64)));
        if n % 30 == 0 {
            bench.once(); // one write a second
        }
    }
    bench.settle();
    assert!(bench.verbs().len() <= 12, "{:?}", bench.verbs());
    let dedup = bench.object(&incident).status.deduplication.clone().unwrap();
    assert_eq!((dedup.occurrence_count, dedup.last_seen_at.as_str()), (301, "1970-01-01T00:05:01.000Z"));
    assert_eq!(bench.outcomes().len(), 301, "and every record is settled");
}

#[test]
fn an_update_that_follows_a_waiting_create_is_merged_and_raises_its_lane() {
    let mut bench = Bench::new();
    (0..3).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
    let incident = single("a2", 2);
    let mut progress = seen(&incident, 7, 9);
    (progress.priority, progress.severity) = ("P0".to_owned(), "critical".to_owned());
    bench.take(&goes_on(&incident, progress));
    bench.once();
    assert_eq!(bench.server.calls, [format!("create shop/{}", incident.name)]);
    bench.settle();
    assert_eq!((bench.count(&incident), bench.verbs().len()), (7, 6));
    assert_eq!(bench.object(&incident).status.priority.as_deref(), Some("P0"));
}
