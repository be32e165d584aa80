//! The desk against an API server of values, in virtual time. Names of tests begin with the scenario that they prove.

use std::time::Duration;

use crate::sink::specimen::*;
use crate::{
    alert::Brief,
    decide::refusal::{About, Answer},
    sink::live::Sight,
};

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
fn i02_i07_a_name_taken_by_ourselves_is_success() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.server.script.push_back(answer(200, ""));
    bench.take(&opens("a", 1));
    let job = bench.next().unwrap();
    bench.server.ask(&job.call).unwrap(); // applied, and its answer lost
    bench.hear(job, Err(Answer::default()));
    bench.settle();
    assert_eq!(bench.verbs(), ["create", "create", "read", "apply"]);
    assert_eq!((bench.server.objects.len(), bench.outcomes(), bench.dead()), (1, vec!["created"], 0));
    assert_eq!(bench.count(&incident), 1);
}

#[test]
fn i03_a_name_taken_by_a_stranger_gets_a_suffix() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.server.strangers.push(format!("shop/{}", incident.name));
    bench.take(&opens("a", 1));
    bench.settle();
    assert_eq!(bench.verbs(), ["create", "read", "create", "apply"]);
    assert_eq!(bench.server.objects.keys().next(), Some(&format!("shop/{}-1", incident.name)));
    bench.take(&goes_on(&incident, seen(&incident, 2, 2)));
    bench.settle();
    assert_eq!(bench.verbs().last(), Some(&"apply"), "and its updates find it");
}

#[test]
fn i04_a_throttled_answer_pauses_everything_as_told() {
    let mut bench = Bench::new();
    (0..40).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
    bench.server.script.push_back(Answer { retry_after: Some(Duration::from_secs(2)), ..answer(429, "") });
    bench.once();
    assert_eq!(bench.not_before - bench.now.instant, Duration::from_secs(2));
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.dead()), (40, 0));
}

#[test]
fn i05_each_refusal_doubles_the_rest_and_chance_halves_it() {
    for (chance, expected) in [(1.0, [100, 200, 400, 800, 1600]), (0.5, [50, 100, 200, 400, 800])] {
        let mut bench = Bench::new();
        bench.chance = chance;
        bench.server.script.extend([429, 503, 500, 502, 504].map(|code| answer(code, "")));
        bench.take(&opens("a", 1));
        let mut rests = Vec::new();
        for _ in 0..5 {
            assert!(bench.once());
            let wake = bench.desk.lanes().next_wake().unwrap_or(bench.not_before);
            rests.push((wake - bench.now.instant).as_millis());
            bench.elapse(wake - bench.now.instant);
        }
        assert_eq!(rests, expected);
        bench.settle();
        assert_eq!((bench.verbs().iter().filter(|verb| **verb == "create").count(), bench.dead()), (6, 0));
    }
}

#[test]
fn i09_what_never_passes_is_asked_once_and_holds_nobody_back() {
    for code in [400, 403, 413, 422] {
        let mut bench = Bench::new();
        bench.take(&opens("bad", 1));
        (2..22).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
        bench.server.script.push_back(Answer { field: Some("spec.priority".into()), ..answer(code, "Invalid") });
        bench.settle();
        let detail = &bench.replies.iter().flat_map(|reply| &reply.dead).next().unwrap().detail;
        assert!(detail.contains(&format!("code={code}")) && detail.contains("field=spec.priority"), "{detail}");
        assert_eq!((bench.server.objects.len(), bench.dead()), (20, 1));
        assert_eq!(bench.verbs().iter().filter(|verb| **verb == "create").count(), 21);
        let bad = single("bad", 1);
        bench.take(&goes_on(&bad, seen(&bad, 2, 30)));
        bench.settle();
        assert_eq!((bench.closed(), bench.verbs().contains(&"read")), (0, false), "its update asks and tells nothing");
    }
}

#[test]
fn h07_a_namespace_that_is_not_there_is_the_fallback_and_later_updates_find_it() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.server.absent_namespaces.push("shop".to_owned());
    bench.take(&opens("a", 1));
    bench.settle();
    bench.take(&goes_on(&incident, seen(&incident, 2, 2)));
    bench.settle();
    let object = &bench.server.objects[&format!("{FALLBACK}/{}", incident.name)];
    assert_eq!(object.status.deduplication.as_ref().unwrap().occurrence_count, 2);
    assert_eq!(bench.verbs(), ["create", "create", "apply", "apply"]);
}

#[test]
fn c14_a_namespace_that_cannot_be_one_never_reaches_a_path() {
    let mut bench = Bench::new();
    let mut incident = single("a", 1);
    incident.namespace = "../kube-system".to_owned();
    let draft = draft(&incident, seen(&incident, 1, 1), "a");
    bench.take(&crate::remediation::Remediation::Draft(Box::new(draft)));
    incident.name = "../../x".to_owned();
    bench.take(&goes_on(&incident, seen(&incident, 1, 1)));
    bench.settle();
    assert!(bench.server.calls.iter().all(|call| !call.contains("..")), "{:?}", bench.server.calls);
    assert_eq!((bench.server.objects.len(), bench.dead()), (1, 1));
}

#[test]
fn i14_a_kind_that_is_not_served_pauses_and_loses_nothing() {
    let mut bench = Bench::new();
    (0..5).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
    bench.server.script.extend((0..50).map(|_| Answer { about: About::Kind, ..answer(404, "NotFound") }));
    bench.settle();
    assert_eq!((bench.server.objects.len(), bench.dead(), bench.closed()), (5, 0, 0));
    assert!(bench.now.instant - bench.begin > Duration::from_mins(15), "at the ceiling");
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
fn i29_a_stubborn_object_delays_nobody_and_is_given_up_in_time_whatever_rebalances() {
    let mut bench = Bench::new();
    bench.take(&opens("stubborn", 1));
    let stubborn = format!("create shop/{}", single("stubborn", 1).name);
    let mut tried = 0;
    let mut round = 0;
    while bench.dead() == 0 {
        round += 1;
        assert!(bench.now.instant - bench.begin < Duration::from_secs(130), "never given up");
        bench.take(&opens(&format!("n{round}"), round + 10));
        while let Some(job) = bench.next() {
            bench.server.script.clear();
            if format!("create {}", job.object()) == stubborn {
                tried += 1;
                bench.hear(job, Err(answer(500, "InternalError")));
            } else {
                let answer = bench.server.ask(&job.call);
                bench.hear(job, answer);
            }
        }
        assert_eq!(bench.server.objects.len() as i64, round, "neighbours pass at once");
        bench.elapse(Duration::from_secs(1));
    }
    let lasted = bench.now.instant - bench.begin;
    assert!(lasted >= Duration::from_mins(2) && lasted <= Duration::from_secs(123), "{lasted:?}");
    assert!(tried >= 8, "{tried}");
}

#[test]
fn i30_an_outage_of_two_hours_gives_up_nothing_and_p0_is_first_afterwards() {
    let mut bench = Bench::new();
    (0..20).for_each(|n| bench.take(&opens(&format!("a{n}"), n)));
    let mut attempts = 0;
    while bench.now.instant - bench.begin < Duration::from_hours(2) {
        if let Some(pause) = bench.not_before.checked_duration_since(bench.now.instant) {
            bench.elapse(pause);
        }
        if let Some(job) = bench.next() {
            attempts += 1;
            bench.hear(job, Err(Answer::default()));
        } else {
            let wake = bench.desk.lanes().next_wake().unwrap();
            bench.elapse(wake.duration_since(bench.now.instant));
        }
    }
    assert!((240..300).contains(&attempts), "one in 30 seconds: {attempts}");
    let incident = single("urgent", 900);
    let mut progress = seen(&incident, 1, 900);
    progress.priority = "P0".to_owned();
    bench.take(&crate::remediation::Remediation::Draft(Box::new(draft(&incident, progress, "urgent"))));
    bench.settle();
    assert_eq!(bench.server.calls[0], format!("create shop/{}", incident.name));
    assert_eq!((bench.server.objects.len(), bench.dead(), bench.outcomes().len()), (21, 0, 21));
}

#[test]
fn i25_a_status_changed_by_others_is_read_again_and_merged() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    drop(bench.server.phase(&format!("shop/{}", incident.name), "Executing"));
    bench.take(&goes_on(&incident, seen(&incident, 2, 2)));
    bench.settle();
    assert_eq!(bench.verbs(), ["create", "apply", "apply", "read", "apply"]);
    assert_eq!(bench.object(&incident).status.overall_phase.as_deref(), Some("Executing"));
    assert_eq!(bench.count(&incident), 2);
}

#[test]
fn a_field_that_another_manager_owns_is_told_and_never_forced() {
    let (mut bench, incident) = (Bench::new(), single("a", 1));
    bench.take(&opens("a", 1));
    bench.settle();
    bench.server.script.push_back(Answer { about: About::OwnedField, ..answer(409, "Conflict") });
    bench.take(&goes_on(&incident, seen(&incident, 2, 2)));
    bench.settle();
    assert_eq!((bench.dead(), bench.outcomes()), (1, vec!["created", "dead_lettered"]));
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
fn e10_drafts_behind_a_create_that_never_passes_are_set_aside_with_it() {
    let mut bench = Bench::new();
    bench.take(&opens("a", 1));
    let job = bench.next().unwrap();
    bench.take(&opens("a", 781));
    bench.hear(job, Err(answer(422, "Invalid")));
    bench.settle();
    assert_eq!((bench.dead(), bench.outcomes().len(), bench.server.objects.len()), (2, 2, 0));
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
