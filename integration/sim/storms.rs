//! Group F, as far as it needs no server: kin, thresholds, windows, and what becomes of them.

use breakwater::{alert::EventTime, remediation::Remediation};

use crate::{
    script::{Drafted, Event, check, kin, objects, play},
    world::{SHIPPED, World},
};

/// `(a00 a01 …)×count`.
fn storm(letter: &str, n: usize, count: usize) -> String {
    let names: Vec<String> = (0..n).map(|number| format!("{letter}{number:02}")).collect();
    format!("({})×{count}", names.join(" "))
}

/// `n` kin, one each `step` seconds.
fn trickle(letter: &str, n: u32, step: f64) -> String {
    (0..n).map(|number| format!("{letter}{number:02}@{} ", f64::from(number) * step)).collect()
}

fn singles(letter: &str, n: usize, suffix: &str) -> String {
    (0..n).map(|number| format!("{letter}{number:02}×1{suffix}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn f01_fifteen_kin_at_once_are_one_object() {
    let world = check(SHIPPED, &kin("a", 15, 0.0), &storm("a", 15, 15));
    let spec = &world.sink.unwrap().cluster.objects.into_values().next().unwrap().written.spec;
    assert_eq!((spec.is_storm, spec.storm_alert_count, spec.affected_resources.len()), (true, Some(15), 15));
}

#[test]
fn f02_the_threshold_is_inclusive() {
    let world = check(SHIPPED, "a@0", "a×1");
    let spec = &world.sink.unwrap().cluster.objects.into_values().next().unwrap().written.spec;
    assert_eq!((spec.is_storm, spec.storm_aggregation.is_none()), (false, true));
    check(SHIPPED, &kin("a", 9, 0.0), &singles("a", 9, ""));
    check(SHIPPED, &kin("a", 10, 0.0), &storm("a", 10, 10));
}

#[test]
fn f06_singles_duplicates_and_a_storm_at_once() {
    let duplicates = "d@10 ".repeat(20);
    let story = format!("d:Down@0 {duplicates} {} n0:A@10 n1:B@10 n2:C@10 n3:D@10 n4:E@10", kin("a", 15, 10.0))
        .replace("d@10", "d:Down@10");
    check(SHIPPED, &story, &format!("{} d×21 n0×1 n1×1 n2×1 n3×1 n4×1", storm("a", 15, 15)));
}

#[test]
fn f08_a_pod_that_fires_twice_is_listed_once_and_counted_twice() {
    check(SHIPPED, &format!("{} a03@0", kin("a", 14, 0.0)), &storm("a", 14, 15));
    check(SHIPPED, &format!("{} a03@1.9", kin("a", 14, 0.0)), &storm("a", 14, 15));
}

#[test]
fn f10_groups_of_two_namespaces_never_mix() {
    let eight = format!("{} {}", kin("a/a", 8, 0.0), kin("b/b", 8, 0.0));
    check(SHIPPED, &eight, &format!("{} {}", singles("a", 8, ""), singles("b", 8, "")));
    let twelve = format!("{} {}", kin("a/a", 12, 0.0), kin("b/b", 12, 0.0));
    check(SHIPPED, &twelve, &format!("{} {}", storm("a", 12, 12), storm("b", 12, 12)));
}

#[test]
fn f11_two_alertnames_are_two_storms_and_twelve_on_one_pod_none() {
    let story: String = (0..12).map(|n| format!("a{n:02}:Down@0 b{n:02}:Slow@0 ")).collect();
    check(SHIPPED, &story, &format!("{} {}", storm("a", 12, 12), storm("b", 12, 12)));
    let story: String = (0..12).map(|n| format!("p:Alert{n}@0 ")).collect();
    check(SHIPPED, &story, &["p×1"; 12].join(" "));
}

#[test]
fn f12_a_slow_trickle_is_superseded_by_its_storm() {
    let world = check(SHIPPED, &trickle("a", 12, 4.0), &format!("{} {}", storm("a", 12, 12), singles("a", 9, "^")));
    let objects = &world.sink.as_ref().unwrap().cluster.objects;
    let storm = objects.values().find(|kept| kept.object.storm).unwrap();
    for kept in objects.values().filter(|kept| !kept.object.storm) {
        assert_eq!(kept.object.status.superseded_by.as_deref(), Some(&*storm.object.id.name));
    }
}

#[test]
fn f13_the_window_ends_where_it_ends() {
    let world =
        check(SHIPPED, &trickle("a", 10, 57.0 / 9.0), &format!("{} {}", storm("a", 10, 10), singles("a", 9, "^")));
    assert_eq!(Drafted::of(&world.topic).drafts.len(), 10);
    check(SHIPPED, &trickle("a", 10, 7.0), &singles("a", 10, ""));
}

#[test]
fn f13_a_window_may_be_as_short_as_the_hold() {
    check("storm: { hold: 2s, window: 2s }", &kin("a", 10, 0.0), &storm("a", 10, 10));
    check("storm: { hold: 2s, window: 2s }", &format!("{} a09@2", kin("a", 9, 0.0)), &storm("a", 10, 10));
    check("storm: { hold: 2s, window: 2s }", &format!("{} a09@2.001", kin("a", 9, 0.0)), &singles("a", 10, ""));
}

#[test]
fn f14_the_tenth_may_come_within_the_hold() {
    check(SHIPPED, &format!("{} a09@1", kin("a", 9, 0.0)), &storm("a", 10, 10));
}

#[test]
fn f15_without_a_hold_nine_have_objects_of_their_own() {
    let expected = format!("{} {}", storm("a", 15, 15), singles("a", 9, "^"));
    check("storm: { hold: 0s }", &trickle("a", 15, 1.0), &expected);
}

#[test]
fn f16_a_storm_takes_kin_until_it_is_quiet() {
    check(SHIPPED, &format!("{} b@59", kin("a", 10, 0.0)), &storm("a", 10, 10).replace(")×10", " b)×11"));
    check(SHIPPED, &format!("{} b@61", kin("a", 10, 0.0)), &format!("{} b×1", storm("a", 10, 10)));
}

#[test]
fn f17_members_that_fire_again_stay_members_also_when_memory_is_lost() {
    let mut world = World::new(SHIPPED);
    let again = |at: f64| kin("a", 15, at).split_whitespace().map(Event::read).collect::<Vec<_>>();
    play(&mut world, &again(0.0), 1000);
    let second = (world.now.0 as f64) / 1000.0;
    play(&mut world, &again(second), 1000);
    assert_eq!(objects(&world), storm("a", 15, 30), "after quiet");
    play(&mut world, &again(second + 4000.0), 1000);
    assert_eq!(objects(&world), storm("a", 15, 45), "long after quiet");
    world.bench.memory.local.flush();
    play(&mut world, &again(second + 4300.0), 1000);
    assert_eq!(objects(&world), storm("a", 15, 60), "after memory was emptied");
}

#[test]
fn f17_one_member_that_goes_on_alone_is_counted_for_as_long_as_it_fires() {
    let on: String = (1..20).map(|turn| format!("a14@{} ", turn * 240)).collect();
    check(SHIPPED, &format!("{} {on}", kin("a", 15, 0.0)), &storm("a", 15, 34));
}

#[test]
fn f18_after_quiet_other_pods_are_another_storm() {
    let story = format!("{} {}", kin("a", 52, 0.0), kin("b", 52, 61.0));
    check(SHIPPED, &story, &format!("{} {}", storm("a", 52, 52), storm("b", 52, 52)));
}

#[test]
fn f19_a_storm_ends_after_its_longest_and_no_pod_is_in_both() {
    let story: String = (0..420).map(|n| format!("a{n:03}@{n} ")).collect();
    let mut events: Vec<Event> = story.split_whitespace().map(Event::read).collect();
    events.sort_by_key(|event| event.at);
    let mut world = World::new("storm: { max_listed: 1000 }");
    play(&mut world, &events, 1000);
    let objects = &world.sink.as_ref().unwrap().cluster.objects;
    let storms: Vec<_> = objects.values().filter_map(|kept| kept.object.storm_status()).collect();
    let mut listed: Vec<&str> =
        storms.iter().flat_map(|storm| &storm.affected_resources).map(|it| it.name.as_str()).collect();
    listed.sort_unstable();
    listed.dedup();
    let totals: Vec<u64> = storms.iter().map(|storm| storm.total_affected_resources).collect();
    assert_eq!((storms.len(), totals.iter().sum::<u64>(), listed.len()), (2, 420, 420), "{totals:?}");
}

#[test]
fn f20_what_is_listed_is_short_and_what_is_counted_is_whole() {
    let story: String = (0..250).map(|n| format!("a{n:03}@0 ")).collect();
    let events: Vec<Event> = story.split_whitespace().map(Event::read).collect();
    let mut world = World::new(SHIPPED);
    play(&mut world, &events, 1000);
    let objects = &world.sink.as_ref().unwrap().cluster.objects;
    let storm = objects.values().next().unwrap().object.storm_status().unwrap();
    let totals = (storm.affected_resources.len(), storm.total_affected_resources, storm.alert_count);
    assert_eq!((objects.len(), totals), (1, (100, 250, 250)));
}

#[test]
fn f22_a_storm_that_grows_is_told_in_measured_steps() {
    let mut world = World::new("storm: { update_interval: 5s, max_listed: 1000 }");
    let events: Vec<Event> = trickle("a", 300, 20.0 / 300.0).split_whitespace().map(Event::read).collect();
    play(&mut world, &events, 1000);
    let of_storm = world.topic.iter().filter(|remediation| remediation.incident().storm);
    let updates: Vec<u64> = of_storm.map(|remediation| remediation.progress().count).collect();
    assert!(updates.len() <= 6, "{updates:?}");
    assert_eq!(updates.last(), Some(&300));
}

#[test]
fn f23_distinct_fingerprints_count_and_not_alerts() {
    let mut world =
        check(SHIPPED, &format!("{} {}", kin("a", 8, 0.0), kin("a", 8, 0.5)), &singles("a", 8, "").replace("×1", "×2"));
    (0..world.partitions.len()).for_each(|partition| world.rewind(partition, 0));
    world.run_until(EventTime(world.now.0 + 60_000), 7);
    assert_eq!(objects(&world), singles("a", 8, "").replace("×1", "×2"), "read twice after an offset reset");
}

#[test]
fn f24_event_time_alone_counts() {
    for starts in ["2026-01-01T23:59:59Z", "2099-01-01T00:00:00Z", "descending"] {
        let mut world = World::new(SHIPPED);
        for number in 0..15 {
            let starts = match starts {
                "descending" => format!("2026-01-01T00:00:{:02}Z", 59 - number),
                fixed => fixed.to_owned(),
            };
            let json = String::from_utf8(Event::read(&format!("a{number:02}@0")).json().to_vec()).unwrap();
            let json = json.replace("2026-01-01T00:00:00Z", &starts);
            world.append(None, json.into(), breakwater::alert::headers::Headers::default());
        }
        world.run_until(EventTime(60_000), 1000);
        let drafted = Drafted::of(&world.topic);
        assert_eq!((drafted.drafts.len(), drafted.drafts.values().next().unwrap().progress.count), (1, 15));
    }
}

const NODE: &str = "
storm:
  rules:
    - { name: node, match: \"alert.labels.node != ''\", group_by: [labels.node], threshold: 5 }
    - { name: same-alert, group_by: [name, namespace] }
";

#[test]
fn f28_the_first_rule_that_holds_gives_an_alert_its_group() {
    let mut world = World::new(NODE);
    for number in 0..6 {
        let json = format!(
            r#"{{"status":"firing","labels":{{"alertname":"Alert{number}","node":"n1","severity":"warning"}}}}"#
        );
        world.append(None, json.into(), breakwater::alert::headers::Headers::default());
    }
    world.run_until(EventTime(60_000), 1000);
    let drafted = Drafted::of(&world.topic);
    let draft = drafted.drafts.values().next().unwrap();
    assert_eq!((drafted.drafts.len(), draft.progress.count, draft.spec.storm_type.as_deref()), (1, 6, Some("node")));
}

#[test]
fn f29_a_lower_threshold_makes_a_storm_of_five() {
    check("storm: { threshold: 5 }", &kin("a", 5, 0.0), &storm("a", 5, 5));
    check(SHIPPED, &kin("a", 5, 0.0), &singles("a", 5, ""));
}

#[test]
fn f30_one_critical_member_makes_a_critical_storm() {
    let world = check(SHIPPED, &format!("{} !b@0", kin("a", 14, 0.0)), &storm("a", 14, 14).replace(")×14", " b)×15!"));
    let spec = world.sink.unwrap().cluster.objects.into_values().next().unwrap().written.spec;
    assert_eq!((spec.severity.as_str(), spec.priority.as_str()), ("critical", "P1"));
    let world = check(SHIPPED, &format!("{} !b@20", kin("a", 14, 0.0)), &storm("a", 14, 14).replace(")×14", " b)×15!"));
    let spec = world.sink.unwrap().cluster.objects.into_values().next().unwrap().written.spec;
    assert_eq!(spec.severity, "warning", "it joined later");
}

#[test]
fn f31_a_storm_is_resolved_when_its_last_member_is() {
    let fire = kin("a", 15, 0.0);
    let resolve = |n: usize| (0..n).map(|number| format!("-a{number:02}@30 ")).collect::<String>();
    check(SHIPPED, &format!("{fire} {}", resolve(14)), &storm("a", 15, 15));
    check(SHIPPED, &format!("{fire} {}", resolve(15)), &storm("a", 15, 15).replace("×15", "×15~"));
    check(SHIPPED, &format!("{fire} {} a03@60", resolve(15)), &storm("a", 15, 16));
}

#[test]
fn f31_a_storm_whose_members_end_within_the_hold_is_resolved() {
    let resolve: String = (0..10).map(|number| format!("-a{number:02}@1 ")).collect();
    check(SHIPPED, &format!("{} {resolve}", kin("a", 10, 0.0)), &storm("a", 10, 10).replace("×10", "×10~"));
}

#[test]
fn f32_what_a_storm_says_of_itself() {
    let world = check(SHIPPED, &trickle("a", 15, 0.1), &storm("a", 15, 15));
    let Some(Remediation::Draft(draft)) = world.topic.first() else { panic!("a draft comes first") };
    let storm = draft.spec.storm_aggregation.as_ref().unwrap();
    assert_eq!(storm.pattern, "Crash in ns");
    assert_eq!(
        (draft.spec.storm_type.as_deref(), draft.spec.storm_window.as_deref()),
        (Some("same-alert"), Some("1m0s"))
    );
    assert_eq!(
        (storm.alert_count, storm.total_affected_resources, storm.aggregation_window.as_str()),
        (15, 15, "1m0s")
    );
    assert_eq!(
        (storm.first_seen.as_str(), storm.last_seen.as_str()),
        ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.400Z")
    );
}

#[test]
fn i27_a_storm_that_is_final_takes_no_more_kin() {
    let ended = storm("a", 10, 10) + ".";
    check(SHIPPED, &format!("{} #a00@10 a05@15 b@16", kin("a", 10, 0.0)), &format!("{ended} a05×1 b×1"));
}
