//! What waits for an object that ends, or for a partition that goes. Names begin with the scenario that they prove.

use crate::{
    decide::outcome::Outcome,
    remediation::{Incident, Remediation},
    sink::{live::Sight, specimen::*},
};

fn key(incident: &Incident) -> String {
    format!("shop/{}", incident.name)
}

/// A live object of `a` since second 1.
fn standing() -> (Bench, Incident) {
    let mut bench = Bench::new();
    bench.take(&opens("a", 1));
    bench.settle();
    (bench, single("a", 1))
}

fn storm_of(incident: &Incident, count: u64, members: &[(&str, i64)]) -> Remediation {
    Remediation::Draft(Box::new(draft(incident, kin(incident, count, members), members[0].0)))
}

#[test]
fn e07_a_draft_that_waits_behind_an_end_that_is_told_opens_anew_and_the_end_is_marked() {
    let (mut bench, first) = standing();
    bench.take(&opens("a", 781));
    let ended = bench.desk.see(bench.server.phase(&key(&first), "Completed"));
    bench.desk.telling(&ended[0]);
    bench.desk.told(&ended[0], bench.now);
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.outcomes()), (2, vec!["created", "created"]));
    assert_eq!(bench.object(&first).status.closed_told, Some(true));
}

#[test]
fn e07_figures_that_wait_behind_a_draft_which_opens_anew_are_counted() {
    let (mut bench, first) = standing();
    let second = single("a", 781);
    bench.take(&opens("a", 781));
    bench.take(&goes_on(&second, seen(&second, 7, 790)));
    drop(bench.desk.see(bench.server.phase(&key(&first), "Completed")));
    bench.settle();
    assert_eq!((bench.count(&first), bench.count(&second), bench.outcomes().len()), (1, 7, 3));
}

#[test]
fn b09_what_is_in_hand_when_its_partition_goes_asks_nothing_more_and_sets_nothing_aside() {
    for code in [0, 403, 500] {
        let mut bench = Bench::new();
        bench.take(&opens("a", 1));
        let job = bench.next().unwrap();
        bench.desk.release(0);
        bench.hear(job, Err(answer(code, "")));
        bench.settle();
        assert_eq!((bench.verbs().len(), bench.dead(), bench.outcomes().len()), (0, 0, 0), "{code}");
        assert_eq!(bench.desk.live().live(), 0, "{code}: and nothing is expected any more");
    }
}

#[test]
fn i27_a_late_record_within_the_life_closes_its_own_generation_and_nobody_elses() {
    let mut bench = Bench::new();
    let incident = storm("m0", 10);
    bench.take(&storm_of(&incident, 3, &[("m0", 10), ("m1", 11), ("m2", 30)]));
    bench.settle();
    let ended = bench.desk.see(bench.server.phase(&key(&incident), "Completed"));
    bench.desk.telling(&ended[0]);
    let late = storm("m0", 25);
    bench.take(&storm_of(&late, 2, &[("m1", 25), ("m9", 26)]));
    bench.settle();
    let told = &bench.replies.iter().flat_map(|reply| &reply.tell).next().unwrap().told;
    let told: Vec<_> = told.iter().map(|closed| (closed.fingerprint, closed.through.0)).collect();
    assert_eq!(told, [(print("m9").brief(), 26_000)], "m1 was told up to 30");
    assert_eq!(bench.outcomes().last(), Some(&Outcome::Closed.as_str()));
}

#[test]
fn f17_a_storms_members_are_its_own_from_the_draft_on() {
    let mut bench = Bench::new();
    let incident = storm("m0", 10);
    bench.take(&storm_of(&incident, 2, &[("m0", 10), ("m1", 11)]));
    assert!(bench.once(), "created, its status not yet written");
    bench.take(&opens("m1", 500));
    bench.take(&goes_on(&incident, kin(&incident, 3, &[("m0", 10), ("m1", 11), ("m2", 12)])));
    bench.take(&opens("m2", 600));
    bench.settle();
    assert_eq!(bench.server.objects.len(), 1);
}

#[test]
fn e17_a_resolution_of_the_unknown_moves_nothing_and_is_asked_for_nowhere() {
    let (mut bench, first) = standing();
    let unknown = |who: &str| {
        let incident = single(who, 50);
        let mut progress = seen(&incident, 0, 50);
        (progress.severity, progress.priority) = (String::new(), "P0".to_owned());
        progress.resolved_at = Some(crate::alert::EventTime(50_000));
        goes_on(&incident, progress)
    };
    bench.take(&unknown("a"));
    bench.settle();
    let status = &bench.object(&first).status;
    assert_eq!((status.priority.as_deref(), bench.count(&first)), (Some("P2"), 1));
    assert_eq!(status.deduplication.as_ref().unwrap().last_seen_at, "1970-01-01T00:00:01.000Z");
    assert!(status.resolved_at.is_some());
    let asked = bench.verbs().len();
    drop(bench.desk.see(Sight::Whole));
    bench.take(&unknown("b"));
    bench.settle();
    assert_eq!((bench.verbs().len(), bench.closed(), bench.outcomes().last()), (asked, 0, Some(&"resolved")));
}

#[test]
fn i29_one_failure_after_an_outage_that_one_object_saw_is_no_stubbornness() {
    let mut bench = Bench::new();
    bench.take(&opens("a", 1));
    for _ in 0..10 {
        let wake = bench.desk.lanes().next_wake().unwrap_or(bench.now.instant);
        bench.elapse(wake.saturating_duration_since(bench.now.instant));
        let job = bench.next().unwrap();
        bench.hear(job, Err(answer(500, "")));
    }
    assert!(bench.now.instant - bench.begin > std::time::Duration::from_secs(25));
    bench.elapse(std::time::Duration::from_mins(3));
    bench.take(&opens("b", 2));
    let (one, other) = (bench.next().unwrap(), bench.next().unwrap());
    let (a, b) = if *one.object().name == *single("a", 1).name { (one, other) } else { (other, one) };
    let passed = bench.server.ask(&b.call);
    bench.hear(b, passed);
    bench.hear(a, Err(answer(500, "")));
    bench.settle();
    assert_eq!((bench.dead(), bench.server.objects.len()), (0, 2));
}

#[test]
fn m09_the_bytes_that_are_held_are_bounded() {
    let mut bench = Bench::new();
    let incident = single("a", 1);
    let mut large = draft(&incident, seen(&incident, 1, 1), "a");
    large.spec.original_payload = "x".repeat(40 * 1024 * 1024);
    let large = Remediation::Draft(Box::new(large));
    bench.take(&large);
    assert!(bench.desk.has_room());
    bench.take(&large);
    assert!(!bench.desk.has_room());
    bench.settle();
    assert!(bench.desk.has_room());
}
