//! What is one incident and what is another: objects that end, drafts that meet, storms.

use super::*;

#[test]
fn i26_an_object_deleted_before_its_status_is_not_made_again_and_told_once() {
    for watched in [true, false] {
        let (mut bench, incident) = (Bench::new(), single("a", 1));
        bench.take(&opens("a", 1));
        bench.once();
        let (_, object) = bench.server.objects.pop_first().unwrap();
        let seen_first = if watched { bench.desk.see(Sight::Deleted(object.id.clone())).len() } else { 0 };
        bench.settle();
        let seen_later = bench.desk.see(Sight::Deleted(object.id)).len();
        assert_eq!((bench.closed() + seen_first + seen_later, bench.server.objects.len()), (1, 0));
        assert_eq!(bench.outcomes(), ["closed"]);
        bench.take(&opens("a", 60));
        bench.settle();
        assert_ne!(single("a", 60).name, incident.name);
        assert_eq!(bench.server.objects.len(), 1);
    }
}

#[test]
fn i26_an_update_whose_object_nobody_has_seen_is_asked_for_and_told_as_over() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&goes_on(&incident, seen(&incident, 2, 2)));
    bench.settle();
    assert_eq!((bench.verbs(), bench.closed()), (vec!["read", "read"], 1), "here and in the fallback namespace");
    assert_eq!(bench.outcomes(), ["closed"]);
}

#[test]
fn an_update_of_an_object_that_another_replica_made_finds_it() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    let mut other = Bench::new();
    other.server = std::mem::take(&mut bench.server);
    other.server.calls.clear();
    other.take(&goes_on(&incident, seen(&incident, 2, 2)));
    other.settle();
    assert_eq!((other.verbs(), other.count(&incident), other.closed()), (vec!["read", "apply"], 2, 0));
}

#[test]
fn i27_a_final_object_is_told_once_and_marked_and_the_next_firing_opens_anew() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    let key = format!("shop/{}", incident.name);
    let ended = bench.desk.see(bench.server.phase(&key, "Completed"));
    assert_eq!((ended.len(), ended[0].told.len(), ended[0].told[0].through.0), (1, 1, 1000));
    bench.desk.telling(&ended[0]);
    assert!(bench.desk.see(bench.server.phase(&key, "Failed")).is_empty(), "told once");
    bench.desk.told(&ended[0], bench.now);
    bench.settle();
    let object = bench.object(&incident);
    assert_eq!((object.status.closed_told, object.over()), (Some(true), Some("Failed")));
    assert_eq!(bench.desk.live().untold().count(), 0);
    bench.take(&opens("a", 100));
    bench.settle();
    assert_eq!(bench.server.objects.len(), 2);
}

#[test]
fn i28_an_object_that_is_final_and_unmarked_is_told_by_whoever_takes_over() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    let sight = bench.server.phase(&format!("shop/{}", incident.name), "Completed");
    let mut other = Bench::new();
    [Sight::Begin, sight, Sight::Whole].into_iter().for_each(|sight| drop(other.desk.see(sight)));
    assert_eq!(other.desk.live().untold().count(), 1);
}

#[test]
fn i27_a_final_storm_is_told_once_for_each_member() {
    let (mut bench, incident) = (Bench::new(), storm("m0", 10));
    let names: Vec<String> = (0..15).map(|n| format!("m{n}")).collect();
    let members: Vec<(&str, i64)> = names.iter().zip(10..).map(|(name, at)| (name.as_str(), at)).collect();
    let draft = draft(&incident, kin(&incident, 15, &members), "m0");
    bench.take(&crate::remediation::Remediation::Draft(Box::new(draft)));
    bench.settle();
    let ended = bench.desk.see(bench.server.phase(&format!("shop/{}", incident.name), "Completed"));
    assert_eq!(ended[0].told.len(), 15);
    assert!(
        ended[0].told.iter().all(|closed| closed.through.0 == 24_000),
        "also the youngest member's incident is over"
    );
    bench.take(&opens("m3", 500));
    bench.settle();
    assert_eq!(bench.server.objects.len(), 2, "a new object, and not a member of the final storm");
}

#[test]
fn e05_two_drafts_of_one_fingerprint_that_waited_are_one_object() {
    let (mut bench, first) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.take(&goes_on(&first, seen(&first, 3, 480)));
    bench.take(&opens("a", 781));
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.count(&first)), (1, 4));
    assert_eq!(bench.outcomes(), ["created", "duplicate", "duplicate"]);
}

#[test]
fn e07_a_draft_that_waited_for_an_object_which_ended_meanwhile_opens_anew() {
    let (mut bench, first) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    bench.take(&opens("a", 781));
    drop(bench.desk.see(bench.server.phase(&format!("shop/{}", first.name), "Completed")));
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.outcomes()), (2, vec!["created", "created"]));
}

#[test]
fn r03_a_draft_read_again_by_another_sink_changes_nothing() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.once(); // created, then killed before the status
    let mut other = Bench::new();
    other.server = std::mem::take(&mut bench.server);
    other.take(&opens("a", 1)); // not shown by the watch yet
    other.settle();
    other.take(&opens("a", 1));
    other.settle();
    assert_eq!((other.server.objects.len(), other.count(&incident)), (1, 1));
    assert_eq!(other.verbs(), ["create", "create", "read", "apply"]);
    assert_eq!(other.outcomes(), ["created", "redelivered"]);
}

#[test]
fn a_partition_given_back_takes_its_waiting_creates_with_it() {
    let mut bench = Bench::new();
    (0..3).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
    bench.once();
    bench.desk.release(0);
    bench.settle();
    assert_eq!((bench.verbs(), bench.outcomes().len()), (vec!["create"], 0));
    assert_eq!(bench.desk.live().live(), 1, "only what was made is known");
}

#[test]
fn f17_members_that_fire_again_are_counted_on_their_live_storm() {
    let (mut bench, incident) = (Bench::new(), storm("a", 10));
    let members = [("a", 10), ("b", 11), ("c", 12)];
    let again = |bench: &mut Bench, incident: &crate::remediation::Incident, count, members: &[(&str, i64)]| {
        let draft = draft(incident, kin(incident, count, members), "a");
        bench.take(&crate::remediation::Remediation::Draft(Box::new(draft)));
        bench.settle();
    };
    again(&mut bench, &incident, 3, &members);
    // Memory forgot all; hours later the same members are a storm again, and then one of them alone.
    again(&mut bench, &storm("a", 9000), 3, &[("a", 9000), ("b", 9001), ("c", 9002)]);
    bench.take(&opens("b", 20_000));
    bench.take(&opens("b", 20_000));
    bench.settle();
    let status = bench.object(&incident).status.storm_aggregation.clone().unwrap();
    assert_eq!((bench.server.objects.len(), status.alert_count, status.total_affected_resources), (1, 7, 3));
}

#[test]
fn a_storms_members_with_live_objects_of_their_own_are_counted_there() {
    let mut bench = Bench::new();
    bench.take(&opens("a", 1));
    bench.take(&opens("s", 2));
    bench.settle();
    let incident = storm("a", 500);
    let progress = kin(&incident, 4, &[("a", 500), ("b", 501), ("c", 502), ("s*", 2)]);
    bench.take(&crate::remediation::Remediation::Draft(Box::new(draft(&incident, progress.clone(), "a"))));
    bench.settle();
    let storm = bench.object(&incident).status.storm_aggregation.clone().unwrap();
    assert_eq!((storm.alert_count, storm.total_affected_resources, storm.members.0.len() / Brief::SIZE), (3, 3, 3));
    assert_eq!((bench.count(&single("a", 1)), bench.count(&single("s", 2))), (2, 1));
    bench.take(&goes_on(&incident, progress));
    bench.settle();
    assert_eq!((bench.count(&single("a", 1)), bench.count(&incident)), (2, 3), "a repeat changes nothing");
    let ended = bench.desk.see(bench.server.phase(&format!("shop/{}", single("a", 1).name), "Completed"));
    bench.desk.telling(&ended[0]);
    bench.take(&goes_on(&incident, kin(&incident, 5, &[("a", 500), ("b", 501), ("c", 502), ("s*", 2)])));
    bench.settle();
    assert_eq!(bench.count(&incident), 4, "one more of its own, and a's is counted where it was, though that is over");
    assert_eq!(bench.outcomes().len(), 5);
}

#[test]
fn a_storm_of_which_no_member_is_left_is_no_storm() {
    let mut bench = Bench::new();
    (1..4).for_each(|n| bench.take(&opens(&format!("m{n}"), n)));
    bench.settle();
    let incident = storm("m1", 900);
    let progress = kin(&incident, 3, &[("m1", 900), ("m2", 901), ("m3", 902)]);
    bench.take(&crate::remediation::Remediation::Draft(Box::new(draft(&incident, progress, "m1"))));
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.count(&single("m2", 2)), bench.outcomes().len()), (3, 2, 3));
    bench.take(&goes_on(&incident, kin(&incident, 5, &[("m1", 900), ("m2", 901), ("m3", 902)])));
    bench.settle();
    assert_eq!(
        (bench.count(&single("m2", 2)), bench.closed(), bench.outcomes().len()),
        (2, 0, 4),
        "nobody's end is told"
    );
}
