//! What a record means for the objects that are known.

use super::*;
use crate::{
    remediation::{Incident, Progress, Remediation},
    sink::{
        fold::fold,
        specimen::{draft, generation, goes_on, kin, opens, rules, seen, single, storm},
    },
};

/// An object of the incident as the server shows it at that version.
fn shown(incident: &Incident, progress: &Progress, version: u64, phase: Option<&str>) -> Object {
    let mut object = Object::expected(&draft(incident, progress.clone(), "a"), ObjectId::new("shop", &incident.name));
    object.status = fold(&object, incident, progress, &rules().fold);
    object.status.overall_phase = phase.map(str::to_owned);
    object.version = version.to_string();
    object
}

fn knowing(objects: impl IntoIterator<Item = Object>) -> Live {
    let mut live = Live::new(rules().life);
    objects.into_iter().for_each(|object| drop(live.see(Sight::Stands(Box::new(object)))));
    live
}

fn storm_draft(incident: &Incident, members: &[(&str, i64)]) -> Remediation {
    let progress = kin(incident, members.len() as u64, members);
    Remediation::Draft(Box::new(draft(incident, progress, members[0].0)))
}

fn check(live: &Live, remediation: &Remediation, expected: &str) {
    let verdict = match live.judge(remediation) {
        Verdict::Create => "create".to_owned(),
        Verdict::Missing => "missing".to_owned(),
        Verdict::Update(id) => format!("update {}", id.name),
        Verdict::Over(id) => format!("over {}", id.name),
    };
    let expected = expected.replace("  ", " ");
    assert_eq!(verdict, expected, "{:?}", remediation.incident());
}

#[test]
fn e06_a_live_object_of_the_fingerprint_is_the_incident_whatever_memory_says() {
    let first = single("a", 10);
    let live = knowing([shown(&first, &seen(&first, 2, 20), 1, Some("Executing"))]);
    check(&live, &opens("a", 9_000), &format!("update {}", first.name));
    check(&live, &opens("b", 9_000), "create");
    check(&live, &goes_on(&single("a", 9_000), seen(&single("a", 9_000), 1, 1)), &format!("update {}", first.name));
    check(&live, &goes_on(&single("b", 9_000), seen(&single("b", 9_000), 1, 1)), "missing");
}

#[test]
fn e07_e10_only_final_phases_end_an_incident_and_a_record_within_its_life_opens_nothing() {
    let first = single("a", 10);
    for phase in crate::sink::object::FINAL {
        let live = knowing([shown(&first, &seen(&first, 2, 20), 1, Some(phase))]);
        check(&live, &opens("a", 21), "create");
        check(&live, &opens("a", 15), &format!("over {}", first.name));
        check(&live, &goes_on(&first, seen(&first, 3, 30)), &format!("over {}", first.name));
    }
    for phase in ["Pending", "Blocked", "", "Zzz"] {
        let live = knowing([shown(&first, &seen(&first, 2, 20), 1, Some(phase))]);
        check(&live, &opens("a", 21), &format!("update {}", first.name));
    }
    let second = single("a", 50);
    let both = [shown(&first, &seen(&first, 2, 20), 1, Some("Failed")), shown(&second, &seen(&second, 1, 50), 2, None)];
    check(&knowing(both), &opens("a", 90), &format!("update {}", second.name));
}

#[test]
fn f16_f18_f19_a_storms_life_ends_after_quiet_or_max_duration() {
    let first = storm("a", 10);
    let live = knowing([shown(&first, &kin(&first, 3, &[("a", 10), ("b", 11), ("c", 20)]), 1, None)]);
    let update = format!("update {}", first.name);
    check(&live, &storm_draft(&storm("x", 80), &[("x", 80), ("y", 80)]), &update);
    check(&live, &storm_draft(&storm("x", 81), &[("x", 81), ("y", 82)]), "create");
    check(&live, &storm_draft(&storm("x", 9_000), &[("x", 9_000), ("b", 9_001)]), &update);
    check(&live, &opens("x", 30), "create");
    check(&live, &opens("c", 9_000), &update);
    let long: Vec<(String, i64)> = (0..30).map(|n| (format!("m{n}"), 10 + n * 10)).collect();
    let long: Vec<(&str, i64)> = long.iter().map(|(who, at)| (who.as_str(), *at)).collect();
    let live = knowing([shown(&first, &kin(&first, 30, &long), 1, None)]);
    check(&live, &storm_draft(&storm("x", 310), &[("x", 310)]), &update);
    check(&live, &storm_draft(&storm("x", 311), &[("x", 311)]), "create");
}

#[test]
fn i27_a_final_storm_takes_nobody_in_but_what_was_part_of_it() {
    let first = storm("a", 10);
    let live = knowing([shown(&first, &kin(&first, 2, &[("a", 10), ("b", 20)]), 1, Some("Completed"))]);
    check(&live, &opens("b", 100), "create");
    check(&live, &opens("b", 20), &format!("over {}", first.name));
    check(&live, &storm_draft(&storm("b", 15), &[("b", 15), ("z", 16)]), &format!("over {}", first.name));
    check(&live, &storm_draft(&storm("b", 70), &[("b", 70), ("z", 71)]), "create");
}

#[test]
fn i19_after_a_watch_is_taken_up_again_what_the_list_does_not_show_is_gone() {
    let objects = ["a", "b", "c"].map(|who| shown(&single(who, 10), &seen(&single(who, 10), 1, 10), 5, None));
    let mut live = knowing(objects.to_vec());
    live.see(Sight::Begin);
    live.see(Sight::Stands(Box::new(objects[0].clone())));
    live.enter(Object { version: "9".to_owned(), ..objects[1].clone() }); // written by ourselves meanwhile
    let gone: Vec<_> = live
        .see(Sight::Whole)
        .into_iter()
        .map(|ended| (ended.id.name.to_string(), ended.told[0].phase.clone()))
        .collect();
    assert_eq!(gone, [(objects[2].id.name.to_string(), "Deleted".to_owned())]);
    assert_eq!(live.live(), 2);
}

#[test]
fn an_older_sight_never_replaces_a_newer_one() {
    let incident = single("a", 10);
    let mut live = knowing([shown(&incident, &seen(&incident, 9, 90), 12, None)]);
    live.see(Sight::Stands(Box::new(shown(&incident, &seen(&incident, 1, 10), 9, None))));
    let id = ObjectId::new("shop", &incident.name);
    assert_eq!(live.object(&id).unwrap().last_seen(), EventTime(90_000));
    assert_eq!(live.object(&id).unwrap().newest(), generation(10));
}

#[test]
fn i28_what_was_told_and_marked_is_not_told_again_when_it_goes() {
    let incident = single("a", 10);
    let mut object = shown(&incident, &seen(&incident, 1, 10), 5, Some("Completed"));
    object.status.closed_told = Some(true);
    let mut live = knowing([object.clone()]);
    assert_eq!((live.untold().count(), live.see(Sight::Deleted(object.id)).len(), live.live()), (0, 0, 0));
}
