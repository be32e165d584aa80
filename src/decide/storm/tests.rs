use std::time::Duration;

use super::*;
use crate::alert::{Fingerprint, Position};

const TERMS: StormTerms = StormTerms {
    threshold: 3,
    window: Duration::from_secs(60),
    quiet: Duration::from_secs(60),
    max_duration: Duration::from_secs(300),
};

fn generation(seconds: i64, offset: i64) -> Generation {
    Generation { at: EventTime(seconds * 1000), position: Position { partition: 0, offset } }
}

fn kin(letter: char, at: EventTime, hold: u64) -> Kin {
    let whole = Fingerprint::of([letter.to_string().as_str()]);
    Kin {
        fingerprint: whole.brief(),
        whole: Some(whole),
        alert: "Crash".into(),
        namespace: "shop".into(),
        resource: Resource { kind: "Pod".into(), name: letter.into(), namespace: "shop".into() },
        count: 1,
        seen: at,
        began: Severity { rank: 1, name: "warning".into(), priority: None },
        severity: Severity { rank: 1, name: "warning".into(), priority: None },
        resolved_at: None,
        closed_at: None,
        closed_as_storm: false,
        due: at.plus(Duration::from_secs(hold)),
        standing: Standing::Waiting,
        told: Told::default(),
    }
}

fn closed(letter: char, storm: bool) -> Closed {
    let fingerprint = Fingerprint::of([letter.to_string().as_str()]).brief();
    Closed { fingerprint, through: EventTime(0), object: "shop/crash".into(), phase: "Completed".into(), storm }
}

/// `a@0 b@5`: letters are fingerprints, figures seconds. All are placed, then decided at once, or one by one.
fn run(script: &str, hold: u64, late: bool) -> Group {
    let mut group = Group::default();
    for (offset, word) in (0..).zip(script.split_whitespace()) {
        let (letter, at) = word.split_once('@').unwrap();
        let began = generation(at.parse().unwrap(), offset);
        if !late {
            group.decide(EventTime(began.at.0 - 1), &TERMS);
        }
        group.claim(began, kin(letter.chars().next().unwrap(), began.at, hold));
    }
    group.decide(EventTime(i64::MAX), &TERMS);
    group
}

/// Brackets are storms, an asterisk one that is superseded by the storm before it in the list.
fn shape(group: &Group) -> String {
    let letter = |kin: &Kin| kin.resource.name.clone();
    let mut words: Vec<String> = (group.storms.iter())
        .map(|storm| {
            let names: Vec<_> = group.members(storm.generation).map(|(_, kin)| letter(kin)).collect();
            format!("({})", names.join(" "))
        })
        .collect();
    words.extend(group.kin.values().filter_map(|kin| match kin.standing {
        Standing::Own { superseded_by: None, .. } => Some(letter(kin)),
        Standing::Own { superseded_by: Some(_), .. } => Some(format!("{}*", letter(kin))),
        Standing::Waiting | Standing::Joined { .. } | Standing::Assumed => None,
    }));
    words.join(" ")
}

fn check(script: &str, hold: u64, expected: &str) {
    assert_eq!(shape(&run(script, hold, false)), expected, "decided as it came: {script}");
    assert_eq!(shape(&run(script, hold, true)), expected, "decided late, all at once: {script}");
}

#[test]
fn kin_below_the_threshold_stay_apart() {
    check("a@0 b@1", 2, "a b");
}

#[test]
fn f02_kin_at_the_threshold_are_one_storm() {
    check("a@0 b@1 c@1", 2, "(a b c)");
}

#[test]
fn f14_the_last_of_them_may_come_within_the_hold() {
    check("a@0 b@0 c@2", 2, "(a b c)");
    check("a@0 b@0 c@3", 2, "(a b c) a* b*");
}

#[test]
fn f12_a_slow_trickle_is_superseded_by_its_storm() {
    check("a@0 b@20 c@40 d@50", 2, "(a b c d) a* b*");
}

#[test]
fn f13_beyond_the_window_there_is_no_storm() {
    check("a@0 b@32 c@64 d@96", 2, "a b c d");
}

#[test]
fn f16_a_storm_ends_when_it_is_quiet() {
    check("a@0 b@0 c@0 d@59", 2, "(a b c d)");
    check("a@0 b@0 c@0 d@61", 2, "(a b c) d");
}

#[test]
fn f19_a_storm_ends_after_its_longest() {
    let script: String = (0..10).map(|step| format!("{}@{} ", (b'a' + step) as char, i64::from(step) * 40)).collect();
    let mut group = run(&format!("x@0 y@0 z@0 {script}"), 2, false);
    assert_eq!(group.storms.len(), 1);
    assert_eq!(group.members(group.storms[0].generation).count(), 3 + 8, "those until 300 s");
    group.decide(EventTime(i64::MAX), &TERMS);
    assert_eq!(group.storms.len(), 1);
}

/// Kin that come after the others were decided without them, as their partition was left out.
fn check_late(script: &str, late: &str, expected: &str) {
    let mut group = run(script, 2, false);
    for (offset, word) in (100..).zip(late.split_whitespace()) {
        let (letter, at) = word.split_once('@').unwrap();
        let began = generation(at.parse().unwrap(), offset);
        group.claim(began, kin(letter.chars().next().unwrap(), began.at, 2));
    }
    group.decide(EventTime(i64::MAX), &TERMS);
    assert_eq!(shape(&group), expected, "{script}, then {late}");
}

#[test]
fn k14_whoever_comes_late_joins_the_storm_that_would_have_counted_it() {
    check_late("c@70 d@70 e@71", "a@69 b@70 f@75", "(a c d b e f)");
    check_late("d@70 e@70 f@70", "a@11", "(d e f) a");
    check_late("d@70 e@70 f@70", "a@12 b@12 c@12 g@71", "(a b c d e f g)");
    check_late("a@0 b@0 c@0 d@70 e@70 f@70", "g@30", "(a b c g) (d e f)");
    check_late("a@0 b@0 c@0 d@70 e@70 f@70", "h@65", "(a b c) (h d e f)");
}

#[test]
fn k14_whoever_comes_late_and_finds_no_storm_is_decided_with_those_before() {
    check_late("a@70 b@71", "c@69", "(c a b) a* b*");
    check_late("a@70 b@71", "c@5", "c a b");
}

#[test]
fn placing_again_changes_nothing() {
    let mut group = run("a@0 b@0 c@0 d@100", 2, false);
    let before = group.clone();
    for (began, placed) in before.kin.clone() {
        let again = kin(placed.resource.name.chars().next().unwrap(), began.at, 2);
        assert!(!group.claim(began, again.clone()));
        assert!(!group.place(began, again));
    }
    assert_eq!(group, before);
}

#[test]
fn a_repeat_of_what_was_forgotten_waits_for_the_word_of_its_opener() {
    let began = generation(0, 0);
    let mut group = Group::default();
    group.place(began, kin('a', began.at, 2));
    assert_eq!(group.kin[&began].standing, Standing::Assumed);
    group.claim(began, kin('a', began.at, 2));
    assert_eq!(group.kin[&began].standing, Standing::Waiting, "a draft that was never out is still to be written");
}

#[test]
fn a_change_is_told_once_its_draft_is_out_and_then_at_doubling_intervals() {
    let began = generation(0, 0);
    let mut group = run("a@0", 2, false);
    let repeat = |group: &mut Group, count: u64, second: i64| {
        group.place(began, Kin { count, seen: EventTime(second * 1000), ..kin('a', began.at, 2) })
    };
    assert!(repeat(&mut group, 2, 1));
    assert_eq!(group.untold(Duration::ZERO).count(), 0, "the draft comes first");
    group.published(began, false, EventTime(2000));
    let longest = Duration::from_secs(30);
    let mut told = Vec::new();
    for second in 3..100 {
        repeat(&mut group, second, i64::try_from(second).unwrap());
        let mark = EventTime(i64::try_from(second).unwrap() * 1000);
        let due: Vec<_> = group.untold(Duration::ZERO).filter(|untold| untold.due <= mark).collect();
        for untold in due {
            told.push(second);
            group.told(&untold, mark, longest);
        }
    }
    assert_eq!(told, [3, 4, 6, 10, 18, 34, 64, 94]);
}

#[test]
fn what_is_over_is_forgotten_and_what_is_untold_is_not() {
    let mut group = run("a@0 b@0 c@0", 2, false);
    let keep = Duration::from_secs(10);
    group.forget(EventTime(1_000_000), keep);
    assert_eq!(group.kin.len(), 3, "their draft is not out");
    group.published(group.storms[0].generation, true, EventTime(3000));
    group.forget(EventTime(9_000), keep);
    assert_eq!(group.kin.len(), 3, "not silent long enough");
    group.forget(EventTime(1_000_000), keep);
    assert_eq!(group, Group::default());
}

#[test]
fn i27_a_member_whose_object_ended_ends_its_storm_whenever_that_is_read() {
    for late in [false, true] {
        let mut group = run("a@0 b@0 c@0", 2, late);
        let began = generation(30, 9);
        if late {
            group = Group::default();
            for (letter, offset) in [('a', 0), ('b', 1), ('c', 2)] {
                group.claim(generation(0, offset), kin(letter, EventTime(0), 2));
            }
            group.claim(began, kin('a', began.at, 2));
        }
        assert!(!group.close(&closed('a', true), EventTime(1000)), "nothing was out by then");
        assert!(group.close(&closed('a', true), EventTime(9000)));
        assert!(!group.close(&closed('a', true), EventTime(9000)), "read again");
        group.claim(began, kin('a', began.at, 2));
        group.decide(EventTime(i64::MAX), &TERMS);
        assert_eq!(group.storms[0].closed_at, Some(EventTime(9000)));
        assert_eq!(shape(&group), "(a b c) a", "late: {late}");
    }
}

#[test]
fn a_storm_that_ends_between_firing_and_decision_takes_nobody_in() {
    let mut group = run("a@0 b@0 c@0", 2, false);
    group.claim(generation(8, 9), kin('d', EventTime(8000), 2));
    group.close(&closed('b', true), EventTime(9000));
    group.decide(EventTime(i64::MAX), &TERMS);
    assert_eq!(shape(&group), "(a b c) d");
}

#[test]
fn kin_whose_object_ended_before_the_decision_do_not_count() {
    for (ended, expected) in [(5000, "a b c"), (60_000, "(a b c) a* b*")] {
        let mut group = Group::default();
        for (letter, second) in [('a', 0), ('b', 20), ('c', 40)] {
            group.claim(generation(second, second), kin(letter, EventTime(second * 1000), 2));
        }
        group.close(&closed('a', true), EventTime(ended));
        group.decide(EventTime(i64::MAX), &TERMS);
        assert_eq!(shape(&group), expected);
    }
}

#[test]
fn what_a_draft_does_not_say_is_left_to_tell() {
    let began = generation(0, 0);
    let resolved = Kin { count: 2, resolved_at: Some(EventTime(1000)), ..kin('a', began.at, 2) };
    let mut group = Group::default();
    group.claim(began, resolved);
    group.decide(EventTime(i64::MAX), &TERMS);
    group.published(began, false, EventTime(2000));
    assert_eq!(group.untold(Duration::ZERO).count(), 1);
}

#[test]
fn an_older_view_never_takes_a_resolution_back() {
    let began = generation(0, 0);
    let mut group = run("a@0", 2, false);
    assert!(group.place(began, Kin { resolved_at: Some(EventTime(5000)), ..kin('a', began.at, 2) }));
    assert!(!group.place(began, kin('a', began.at, 2)), "of a worker that had slept");
    assert!(group.place(began, Kin { count: 2, seen: EventTime(9000), ..kin('a', began.at, 2) }));
    assert_eq!(group.kin[&began].resolved_at, None, "it fires again");
}

#[test]
fn f17_members_of_a_storm_are_forgotten_together() {
    let mut group = run("a@0 b@0 c@0", 2, false);
    let storm = group.storms[0].generation;
    group.published(storm, true, EventTime(3000));
    group.place(generation(0, 2), Kin { count: 2, seen: EventTime(100_000), ..kin('c', EventTime(0), 2) });
    let untold: Vec<_> = group.untold(Duration::ZERO).collect();
    group.told(&untold[0], EventTime(101_000), Duration::from_secs(30));
    group.forget(EventTime(105_000), Duration::from_secs(10));
    assert_eq!(group.members(storm).map(|(_, kin)| kin.count).sum::<u64>(), 4);
}

#[test]
fn e14_kin_in_their_cooldown_join_a_storm_and_do_not_delay_it() {
    let mut group = Group::default();
    for (letter, offset, hold) in [('a', 0, 60), ('b', 1, 2), ('c', 2, 60)] {
        group.claim(generation(0, offset), kin(letter, EventTime(0), hold));
    }
    group.decide(EventTime(2000), &TERMS);
    assert_eq!((shape(&group).as_str(), group.storms[0].generation), ("(a b c)", generation(0, 1)));
}

#[test]
fn a_member_whose_own_object_ended_leaves_its_storm_alive() {
    let mut group = run("a@0 b@0 c@0", 2, false);
    assert!(group.close(&closed('a', false), EventTime(9000)));
    group.claim(generation(30, 9), kin('d', EventTime(30_000), 2));
    group.decide(EventTime(i64::MAX), &TERMS);
    assert_eq!(shape(&group), "(a b c d)");
}

#[test]
fn a_storm_waits_for_the_drafts_that_it_supersedes_and_a_later_incident_for_its_storm() {
    let mut group = run("a@0 b@20 c@40", 2, true);
    let (a, b, storm) = (generation(0, 0), generation(20, 1), generation(40, 2));
    assert!(group.is_behind(storm, true) && !group.is_behind(a, false));
    group.published(a, false, EventTime(50_000));
    assert!(group.is_behind(storm, true), "one is left");
    group.published(b, false, EventTime(50_000));
    assert!(!group.is_behind(storm, true));
    let again = generation(400, 3);
    group.claim(again, kin('c', again.at, 2));
    group.decide(EventTime(i64::MAX), &TERMS);
    assert!(group.is_behind(again, false));
    group.published(storm, true, EventTime(50_000));
    assert!(!group.is_behind(again, false));
}
