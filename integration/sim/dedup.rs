//! Group E, as far as it needs no server: one fingerprint, its incidents, their counts.

use breakwater::{alert::EventTime, remediation::Remediation, sink::object::FINAL};

use crate::{
    script::{Deed, Drafted, Event, check, objects, play, read_late},
    world::{SHIPPED, World},
};

#[test]
fn e01_a_first_firing_is_one_object_that_was_seen_at_the_brokers_time() {
    let world = check(SHIPPED, "a@7", "a×1");
    let kept = world.sink.unwrap().cluster.objects.into_values().next().unwrap();
    let dedup = kept.object.status.deduplication.unwrap();
    assert_eq!(
        (dedup.first_seen_at.as_str(), dedup.last_seen_at.as_str()),
        ("1970-01-01T00:00:07.000Z", "1970-01-01T00:00:07.000Z")
    );
}

#[test]
fn e02_a_second_firing_moves_the_last_and_leaves_the_first() {
    let world = check(SHIPPED, "a@7 a@9", "a×2");
    let kept = world.sink.unwrap().cluster.objects.into_values().next().unwrap();
    let dedup = kept.object.status.deduplication.unwrap();
    assert_eq!(
        (dedup.first_seen_at.as_str(), dedup.last_seen_at.as_str()),
        ("1970-01-01T00:00:07.000Z", "1970-01-01T00:00:09.000Z")
    );
    assert_eq!(kept.written.spec.deduplication.occurrence_count, 1, "the spec says what was so at the beginning");
}

#[test]
fn e04_two_firings_in_one_batch_count_twice() {
    check(SHIPPED, "a@0 a@0", "a×2");
    let story: String = (0..8).map(|pod| format!("p{pod}@0 p{pod}@0.001 ")).collect();
    check(SHIPPED, &story, "p0×2 p1×2 p2×2 p3×2 p4×2 p5×2 p6×2 p7×2");
}

#[test]
fn e05_each_duplicate_refreshes_the_ttl_and_a_live_object_takes_in_what_memory_calls_new() {
    let mut world = World::new(SHIPPED);
    let sink = world.sink.take();
    let story = ["a@0", "a@240", "a@480", "a@781"].map(Event::read);
    play(&mut world, &story, 1000);
    let drafted = Drafted::of(&world.topic);
    assert_eq!(drafted.drafts.len(), 2, "two create drafts of two names");
    for batch in [1, 7, 1000] {
        assert_eq!(
            Drafted::of(&read_late(&world, SHIPPED, batch).topic),
            drafted,
            "also when read late, in batches of {batch}"
        );
    }
    world.sink = sink;
    world.work(1000);
    assert_eq!(objects(&world), "a×4");
}

#[test]
fn e06_a_live_object_takes_a_firing_after_any_silence() {
    check(SHIPPED, "a@0 a@1800", "a×2");
}

#[test]
fn e07_after_each_final_phase_the_next_firing_is_a_second_object() {
    for phase in FINAL {
        let mut world = World::new(SHIPPED);
        play(&mut world, &[Event::read("a@0")], 1000);
        let key = world.sink.as_ref().unwrap().cluster.objects.keys().next().unwrap().clone();
        let over = world.sink.as_mut().unwrap().end(&key, phase, world.now);
        assert_eq!(over.iter().map(|closed| closed.phase.as_str()).collect::<Vec<_>>(), [phase]);
        over.iter().for_each(|closed| world.append_closed(closed));
        let again = Event { at: EventTime(world.now.0 + 1000), ..Event::read("a@0") };
        play(&mut world, &[again], 1000);
        assert_eq!(objects(&world), "a×1 a×1.", "{phase}");
    }
}

#[test]
fn e08_any_other_phase_is_live() {
    for phase in
        ["Pending", "Processing", "Analyzing", "AwaitingApproval", "Executing", "Verifying", "Blocked", "", "Zzz"]
    {
        let mut world = World::new(SHIPPED);
        play(&mut world, &[Event::read("a@0")], 1000);
        let key = world.sink.as_ref().unwrap().cluster.objects.keys().next().unwrap().clone();
        assert_eq!(world.sink.as_mut().unwrap().end(&key, phase, world.now), []);
        let again = Event { at: EventTime(world.now.0 + 1000), ..Event::read("a@0") };
        play(&mut world, &[again], 1000);
        assert_eq!(objects(&world), "a×2", "{phase}");
    }
}

#[test]
fn e10_a_final_and_a_live_object_of_one_fingerprint_count_apart_and_names_differ() {
    check(SHIPPED, "a@0 #a@5 a@6 a@20", "a×1. a×2");
    let world = check(SHIPPED, "a@0 #a@5 a@6 #a@20 a@30", "a×1 a×1. a×1.");
    assert_eq!(Drafted::of(&world.topic).drafts.len(), 3);
}

#[test]
fn e13_firing_closed_firing_in_one_batch_are_two_incidents_each_time() {
    let live = check(SHIPPED, "a@0 #a@5 a@6", "a×1 a×1.");
    let mut late = read_late(&live, SHIPPED, 1000);
    let once = Drafted::of(&late.topic);
    assert_eq!(once.drafts.len(), 1, "what the log knows to be over is not drafted anew");
    (0..late.partitions.len()).for_each(|partition| late.rewind(partition, 0));
    late.work(1000);
    assert_eq!(Drafted::of(&late.topic), once, "the same two names both times");
}

#[test]
fn e13_within_one_hold_both_are_drafted() {
    let mut world = World::new(SHIPPED);
    world.sink = None;
    let event = Event::read("a@0");
    let position = world.append(None, event.json(), breakwater::alert::headers::Headers::default());
    let record = &world.partitions[usize::try_from(position.partition).unwrap()].log[0];
    let fingerprint =
        breakwater::alert::record::parse(&record.value, &record.headers, record.at, &world.bench.pipeline.identity)
            .unwrap()
            .brief();
    world.append_closed(&breakwater::alert::Closed {
        fingerprint,
        through: EventTime(0),
        object: "ns/a".into(),
        phase: "Deleted".into(),
        storm: false,
    });
    world.now = EventTime(1);
    world.append(Some(position.partition), event.json(), breakwater::alert::headers::Headers::default());
    world.run_until(EventTime(60_000), 1000);
    let once = Drafted::of(&world.topic);
    assert_eq!(once.drafts.len(), 2, "two incidents, two names");
    world.rewind(usize::try_from(position.partition).unwrap(), 0);
    world.run_until(EventTime(120_000), 1);
    assert_eq!(Drafted::of(&world.topic), once, "the same two names both times");
}

#[test]
fn e14_a_cooldown_delays_and_never_drops() {
    let cooldown = "dedup: { cooldown: 60s }";
    check(cooldown, "a@0 #a@10 a@15", "a×1 a×1.");
    check(cooldown, "a@0 #a@10 a@15 -a@30", "a×1. a×1~");
    let mut world = World::new(cooldown);
    for event in ["a@0", "#a@10", "a@15"].map(Event::read) {
        world.run_until(event.at, 1000);
        event.happen(&mut world);
    }
    world.run_until(EventTime(69_999), 1000);
    assert_eq!(objects(&world), "a×1.", "nothing before 60 s are over");
    world.run_until(EventTime(72_000), 1000);
    assert_eq!(objects(&world), "a×1 a×1.");
}

#[test]
fn e15_a_cooldown_calms_what_is_mended_and_breaks_again() {
    let mut world = World::new("dedup: { cooldown: 5m }");
    let mut live_since = std::collections::BTreeMap::new();
    for second in 0..600 {
        world.run_until(EventTime(second * 1000), 1000);
        if second % 30 == 0 {
            Event { at: world.now, ..Event::read("a@0") }.happen(&mut world);
        }
        let objects = &world.sink.as_ref().unwrap().cluster.objects;
        let live: Vec<String> =
            objects.iter().filter(|(_, kept)| kept.object.is_live()).map(|(key, _)| key.clone()).collect();
        for key in live {
            let since = *live_since.entry(key.clone()).or_insert(second);
            if second > since {
                let over = world.sink.as_mut().unwrap().end(&key, "Completed", world.now);
                over.iter().for_each(|closed| world.append_closed(closed));
            }
        }
    }
    let (before, now) = (objects(&world), world.sink.as_ref().unwrap().cluster.objects.len());
    assert_eq!(now, 2, "{before}");
}

#[test]
fn e17_a_resolve_is_told_and_a_firing_takes_it_back() {
    check(SHIPPED, "a@0 -a@10", "a×1~");
    check(SHIPPED, "a@0 -a@10 a@20", "a×2");
    check(SHIPPED, "a@0 -a@400", "a×1~");
}

#[test]
fn e18_what_is_resolved_within_its_hold_is_told_all_the_same() {
    check(SHIPPED, "a@0 -a@1", "a×1~");
    check(SHIPPED, "a@0 -a@0", "a×1~");
}

#[test]
fn e19_a_resolve_after_the_end_changes_nothing() {
    let world = check(SHIPPED, "a@0 #a@5 -a@10", "a×1.");
    assert_eq!(world.outcomes["resolved"], 1);
}

#[test]
fn a12_a_resolve_of_what_was_never_seen_makes_no_object() {
    check(SHIPPED, "-a@0", "");
    check(SHIPPED, "-a@0 a@5", "a×1");
    check(SHIPPED, "-a@0 -a@1 a@2 a@400", "a×2");
}

#[test]
fn e20_the_highest_severity_stays_and_the_spec_says_the_first() {
    for story in ["a@0 !a@10 a@20", "a@0 !a@0 a@0"] {
        let world = check(SHIPPED, story, "a×3!");
        let kept = world.sink.unwrap().cluster.objects.into_values().next().unwrap();
        assert_eq!((kept.written.spec.severity.as_str(), kept.written.spec.priority.as_str()), ("warning", "P2"));
        assert_eq!(kept.object.status.priority.as_deref(), Some("P1"));
    }
}

#[test]
fn e21_twins_count_once_within_their_window() {
    check(SHIPPED, "a@0 a@1", "a×2");
    let twins = "dedup: { twin_window: 10s }";
    check(twins, "a@0 a@1", "a×1");
    check(twins, "a@0 a@11", "a×2");
    check(twins, "a@0 -a@1 -a@2", "a×1~");
}

#[test]
fn h03_the_same_incident_has_the_same_name_and_its_recurrence_another() {
    let one = Drafted::of(&check(SHIPPED, "a@0 #a@5 a@9", "a×1 a×1.").topic);
    let two = Drafted::of(&check(SHIPPED, "a@0 #a@5 a@9", "a×1 a×1.").topic);
    assert_eq!((one.drafts.len(), one == two), (2, true));
}

#[test]
fn h11_times_are_the_brokers_whatever_the_door_says() {
    let mut world = World::new(SHIPPED);
    world.now = EventTime(1_000_000);
    let mut headers = breakwater::alert::headers::Headers::default();
    headers.push(breakwater::alert::headers::RECEIVED_AT, "1970-01-01T02:16:40Z");
    world.append(None, Event::read("a@0").json(), headers);
    world.run_until(EventTime(1_100_000), 1000);
    let Remediation::Draft(draft) = &world.topic[0] else { panic!("a draft comes first") };
    assert_eq!(draft.spec.received_time, "1970-01-01T02:16:40.000Z");
    assert_eq!(draft.spec.deduplication.first_seen_at, "1970-01-01T00:16:40.000Z");
    assert_eq!((draft.progress.first_seen, draft.progress.last_seen), (EventTime(1_000_000), EventTime(1_000_000)));
}

#[test]
fn k06_the_same_bytes_twice_are_two_firings_and_the_same_record_twice_is_one() {
    let mut world = check(SHIPPED, "a@0 a@0", "a×2");
    (0..world.partitions.len()).for_each(|partition| world.rewind(partition, 0));
    world.run_until(EventTime(world.now.0 + 60_000), 1000);
    assert_eq!(objects(&world), "a×2");
    assert_eq!(world.outcomes["redelivered"], 2);
}

#[test]
fn k08_one_fingerprint_in_several_partitions_is_one_object_however_often_it_is_read() {
    let mut world = World::new(SHIPPED);
    let event = Event::read("a@0");
    for turn in 0..30 {
        world.append(Some(turn % 3), event.json(), breakwater::alert::headers::Headers::default());
        world.run_until(EventTime(i64::from(turn) * 100), 1000);
    }
    for _ in 0..3 {
        world.run_until(EventTime(world.now.0 + 60_000), 7);
        assert_eq!(objects(&world), "a×30");
        (0..world.partitions.len()).for_each(|partition| world.rewind(partition, 0));
    }
}

#[test]
fn k09_what_cannot_be_read_is_set_aside_and_the_rest_goes_on() {
    let mut world = World::new(SHIPPED);
    world.append(Some(0), "not json".into(), breakwater::alert::headers::Headers::default());
    world.append(Some(0), bytes::Bytes::new(), breakwater::alert::headers::Headers::default());
    play(&mut world, &[Event::read("a@1")], 1000);
    assert_eq!((objects(&world).as_str(), world.dead_letters.len(), world.outcomes["dead_lettered"]), ("a×1", 2, 2));
}

#[test]
fn l12_every_ending_is_told_apart() {
    let world = check("storm: { threshold: 2 }", "a@0 a@3 -a@4 #a@5 x/b@10 x/c@10", "(b c)×2 a×2~.");
    let outcomes: Vec<_> = world.outcomes.iter().map(|(outcome, count)| (*outcome, *count)).collect();
    assert_eq!(outcomes, [("closed", 1), ("created", 1), ("duplicate", 1), ("joined_storm", 2), ("resolved", 1)]);
    assert_eq!(Event::read("#a@5").deed, Deed::Ends);
}
