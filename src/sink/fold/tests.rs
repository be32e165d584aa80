use proptest::prelude::*;

use super::*;
use crate::sink::{
    object::ObjectId,
    specimen::{draft, generation, kin, rules, seen, single, storm},
};

fn object(incident: &Incident) -> Object {
    Object::expected(&draft(incident, seen(incident, 1, 1), "a"), ObjectId::new("shop", &incident.name))
}

/// Folds `(generation, count, last seen, resolved)` in this order into a fresh object.
fn folded(told: &[(i64, u64, i64, Option<i64>)]) -> RemediationRequestStatus {
    let mut object = object(&single("a", 10));
    for (at, count, last, resolved) in told {
        let incident = single("a", *at);
        let progress =
            Progress { resolved_at: resolved.map(|at| EventTime(at * 1000)), ..seen(&incident, *count, *last) };
        object.status = fold(&object, &incident, &progress, &rules().fold);
    }
    object.status
}

fn check(told: &[(i64, u64, i64, Option<i64>)], count: u64, resolved: Option<i64>) {
    let status = folded(told);
    assert_eq!(status.deduplication.unwrap().occurrence_count, count, "{told:?}");
    assert_eq!(status.resolved_at, resolved.map(|at| EventTime(at * 1000).rfc3339()), "{told:?}");
}

#[test]
fn e02_counts_are_absolute_and_a_repeat_or_late_one_changes_nothing() {
    check(&[(10, 1, 10, None)], 1, None);
    check(&[(10, 1, 10, None), (10, 3, 12, None), (10, 3, 12, None), (10, 2, 11, None)], 3, None);
}

#[test]
fn e06_a_newer_generation_settles_the_older_one() {
    check(&[(10, 5, 12, None), (900, 1, 900, None)], 6, None);
    check(&[(10, 5, 12, None), (900, 1, 900, None), (900, 4, 910, None), (10, 7, 20, None)], 9, None);
    check(&[(10, 5, 12, None), (900, 2, 901, None), (2000, 1, 2000, None), (900, 9, 950, None)], 8, None);
}

#[test]
fn e17_resolved_is_told_and_the_next_firing_clears_it() {
    check(&[(10, 2, 12, None), (10, 2, 12, Some(20))], 2, Some(20));
    check(&[(10, 2, 12, Some(20)), (10, 2, 12, None)], 2, Some(20));
    check(&[(10, 2, 12, Some(20)), (10, 3, 30, None)], 3, None);
    check(&[(10, 3, 30, None), (10, 2, 12, Some(20))], 3, None);
    check(&[(10, 2, 12, Some(20)), (900, 1, 900, None)], 3, None);
}

fn judged(told: &[(&str, &str)]) -> (String, String) {
    let (incident, mut object) = (single("a", 10), object(&single("a", 10)));
    for (count, (severity, priority)) in (1..).zip(told) {
        let progress =
            Progress { severity: (*severity).into(), priority: (*priority).into(), ..seen(&incident, count, 10) };
        object.status = fold(&object, &incident, &progress, &rules().fold);
    }
    (object.status.severity.unwrap(), object.status.priority.unwrap())
}

#[test]
fn e20_severity_and_priority_never_fall_and_what_is_unknown_is_lowest() {
    let cases = [
        (&[("warning", "P2"), ("critical", "P0"), ("warning", "P2")][..], "critical", "P0"),
        (&[("Sev1", "urgent"), ("info", "P10"), ("Sev2", "P9")][..], "info", "P9"),
        (&[("critical", "P1"), ("", "")][..], "critical", "P1"),
    ];
    for (told, severity, priority) in cases {
        assert_eq!(judged(told), (severity.to_owned(), priority.to_owned()), "{told:?}");
    }
}

#[test]
fn f09_a_storm_grows_by_members_resources_and_firings_and_lists_as_much_as_it_may() {
    let incident = storm("a", 10);
    let mut object = object(&incident);
    let members: Vec<(String, i64)> = (0..9).map(|n| (format!("m{n}"), 10 + n)).collect();
    for known in [3, 9, 5] {
        let members: Vec<(&str, i64)> = members[..known].iter().map(|(who, at)| (who.as_str(), *at)).collect();
        object.status = fold(&object, &incident, &kin(&incident, 2 * known as u64, &members), &rules().fold);
    }
    let status = object.storm_status().unwrap();
    assert_eq!((status.alert_count, status.total_affected_resources, status.affected_resources.len()), (18, 9, 4));
    assert_eq!((members.len(), object.fingerprints().len(), object.last_joined().0), (9, 9, 18_000));
}

#[test]
fn f31_a_storm_is_resolved_when_members_counted_by_themselves_are_too() {
    let incident = storm("a", 10);
    let mut object = object(&incident);
    let resolved = |progress, at: i64| Progress { resolved_at: Some(EventTime(at * 1000)), ..progress };
    object.status = fold(&object, &incident, &resolved(kin(&incident, 2, &[("a", 10), ("b", 11)]), 50), &rules().fold);
    assert!(object.status.resolved_at.is_some());
    let own = single("b", 900);
    object.status = fold(&object, &own, &seen(&own, 1, 900), &rules().fold);
    assert_eq!(object.status.resolved_at, None);
    object.status = fold(&object, &own, &resolved(seen(&own, 1, 900), 950), &rules().fold);
    assert_eq!(object.status.resolved_at, Some(EventTime(950_000).rfc3339()));
}

#[test]
fn f12_firings_that_a_later_storm_took_over_count_once() {
    let (first, later) = (storm("a", 10), storm("a", 900));
    let mut object = object(&first);
    let members = [("a", 10), ("b", 11)];
    object.status = fold(&object, &first, &kin(&first, 2, &members), &rules().fold);
    let own = single("b", 905);
    object.status = fold(&object, &own, &seen(&own, 2, 906), &rules().fold);
    assert_eq!(object.storm_status().unwrap().alert_count, 4);
    let again = kin(&later, 5, &[("a", 900), ("b*", 905)]);
    for _ in 0..2 {
        object.status = fold(&object, &later, &again, &rules().fold);
        object.status = fold(&object, &own, &seen(&own, 2, 906), &rules().fold);
    }
    assert_eq!(object.storm_status().unwrap().alert_count, 7, "2 settled, 5 of the later storm, b's own among them");
}

#[test]
fn f12_an_incident_that_began_before_the_storm_that_took_it_over_counts_once_too() {
    let (first, later) = (storm("a", 10), storm("c", 900));
    let mut object = object(&first);
    object.status = fold(&object, &first, &kin(&first, 2, &[("a", 10), ("b", 11)]), &rules().fold);
    let (own, again) = (single("b", 895), single("b", 1_500));
    object.status = fold(&object, &own, &seen(&own, 2, 896), &rules().fold);
    object.status = fold(&object, &later, &kin(&later, 5, &[("c", 900), ("b*", 895)]), &rules().fold);
    assert_eq!(object.storm_status().unwrap().alert_count, 7);
    object.status = fold(&object, &again, &seen(&again, 1, 1_500), &rules().fold);
    object.status = fold(&object, &later, &kin(&later, 6, &[("c", 900), ("b*", 895)]), &rules().fold);
    assert_eq!(object.storm_status().unwrap().alert_count, 9, "what began later is not the storm's");
}

#[test]
fn f12_that_a_storm_lists_an_object_is_told_in_any_order() {
    let (older, newer) = (single("a", 10), single("a", 900));
    let by = |storm: &str, of: &Incident| Progress { superseded_by: Some(storm.into()), ..seen(of, 1, 10) };
    let (plain, listed) = (seen(&newer, 1, 900), by("crash-1", &older));
    for told in [[(&newer, &plain), (&older, &listed)], [(&older, &listed), (&newer, &plain)]] {
        let mut object = object(&older);
        for (incident, progress) in told {
            object.status = fold(&object, incident, progress, &rules().fold);
        }
        assert_eq!(object.status.superseded_by.as_deref(), Some("crash-1"));
        object.status = fold(&object, &newer, &by("crash-2", &newer), &rules().fold);
        object.status = fold(&object, &older, &listed, &rules().fold);
        assert_eq!(object.status.superseded_by.as_deref(), Some("crash-2"), "the newer one's storm is the later word");
    }
}

#[test]
fn a12_a_resolve_of_the_unknown_ends_only_what_began_before_it() {
    let (incident, mut object) = (single("a", 10), object(&single("a", 10)));
    object.status = fold(&object, &incident, &seen(&incident, 1, 10), &rules().fold);
    for (offset, resolved) in [(-1, false), (1, true)] {
        let mut unknown = incident.clone();
        unknown.generation.position.offset += offset;
        let progress = Progress { count: 0, resolved_at: Some(EventTime(10_000)), ..seen(&unknown, 0, 10) };
        object.status = fold(&object, &unknown, &progress, &rules().fold);
        assert_eq!(object.status.resolved_at.is_some(), resolved, "of the same millisecond, {offset}");
    }
}

#[test]
fn the_oldest_members_counted_by_themselves_are_settled_when_there_are_too_many() {
    let incident = storm("a", 1);
    let mut object = object(&incident);
    object.status = fold(&object, &incident, &kin(&incident, 1, &[("a", 1)]), &rules().fold);
    for _ in 0..2 {
        for n in 0..1_010 {
            let own = single(&format!("m{n}"), 100 + n);
            object.status = fold(&object, &own, &seen(&own, 2, 100 + n), &rules().fold);
        }
    }
    let status = object.storm_status().unwrap();
    assert_eq!((status.folded.len(), status.alert_count), (1_000, 2_021));
    assert_eq!(Generation::parse(&status.folded_through), Some(generation(109)));
}

proptest! {
    #[test]
    fn j11_no_count_ever_falls_and_folding_it_all_again_changes_nothing(
        told in proptest::collection::vec((0_i64..4, 1_u64..6, 0_i64..50, proptest::option::of(0_i64..99)), 1..20),
    ) {
        let mut object = object(&single("a", 10));
        let mut told: Vec<_> = told.into_iter().map(|(at, count, last, resolved)| (10 + at * 100, count, 10 + at * 100 + last, resolved)).collect();
        let mut before = 0;
        let mut fold_all = |object: &mut Object, told: &[(i64, u64, i64, Option<i64>)]| {
            for (at, count, last, resolved) in told {
                let incident = single("a", *at);
                let progress = Progress { resolved_at: resolved.map(EventTime), ..seen(&incident, *count, *last) };
                object.status = fold(object, &incident, &progress, &rules().fold);
                let count = object.status.deduplication.as_ref().unwrap().occurrence_count;
                assert!(count >= before);
                before = count;
            }
        };
        fold_all(&mut object, &told);
        let once = object.status.deduplication.clone().unwrap();
        told.reverse();
        fold_all(&mut object, &told);
        let again = object.status.deduplication.clone().unwrap();
        prop_assert_eq!((once.occurrence_count, once.generation), (again.occurrence_count, again.generation));
    }
}
