//! What the desk makes of answers that are no success.

use super::*;

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
fn e10_drafts_behind_a_create_that_never_passes_are_set_aside_with_it() {
    let mut bench = Bench::new();
    bench.take(&opens("a", 1));
    let job = bench.next().unwrap();
    bench.take(&opens("a", 781));
    bench.hear(job, Err(answer(422, "Invalid")));
    bench.settle();
    assert_eq!((bench.dead(), bench.outcomes().len(), bench.server.objects.len()), (2, 2, 0));
}
