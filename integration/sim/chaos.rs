//! For any story and any crash points: the drafts, counts and storms are those of one orderly run.

use std::collections::{BTreeMap, BTreeSet};

use breakwater::{alert::EventTime, kafka::Record};
use fastrand::Rng;
use proptest::prelude::*;

use crate::{
    rigged::Fuse,
    script::{Deed, Drafted, Event, check, kin, play, pretty},
    world::{Partition, World},
};

const STORMY: &str = "storm: { threshold: 3 }\ndedup: { shards: 4 }";

/// A step of a story: how long after the one before, who of which group, and what.
fn step() -> impl Strategy<Value = (i64, usize, usize, u32)> {
    let gap = prop_oneof![5 => Just(0_i64), 4 => 1..50_i64, 5 => 500..3_000_i64, 3 => Just(20_000), 2 => Just(61_000), 1 => Just(310_000)];
    (gap, 0..2_usize, 0..6_usize, 0..100_u32)
}

/// After so long memory calls a firing new though its object is live: which of several live objects counts it, and says by
/// whom it is superseded, depends on when the sink reads.
const TTL: i64 = 300_000;
/// What memory keeps: of what is older it may have forgotten a record that somebody is still busy with.
const KEPT: i64 = 900_000;

/// No step lies beyond `longest`.
fn story(steps: &[(i64, usize, usize, u32)], longest: i64) -> Vec<Event> {
    let mut at = 0;
    let event = |&(gap, group, pod, what): &(i64, usize, usize, u32)| {
        at += if at + gap < longest { gap } else { gap % 50 };
        let deed = match what {
            0..60 => Deed::Fires { severity: "warning" },
            60..70 => Deed::Fires { severity: "critical" },
            70..85 => Deed::Resolved,
            _ => Deed::Ends,
        };
        let (namespace, pod) = (["shop", "bank"][group].to_owned(), format!("p{pod}"));
        Event { at: EventTime(at), namespace, pod, alert: "Crash".to_owned(), deed }
    };
    steps.iter().map(event).collect()
}

/// The log of a world, in the order in which it was written.
fn written(world: &World) -> Vec<Record> {
    let mut records: Vec<Record> = world.partitions.iter().flat_map(|partition| partition.log.clone()).collect();
    records.sort_by_key(|record| (record.at, record.position));
    records
}

/// Reads a log anew with steps in any order, workers that die at any point, answers that are lost, stretches that are
/// delivered again.
struct Chaos {
    world: World,
    left: std::collections::VecDeque<Record>,
    chance: Rng,
}

impl Chaos {
    fn new(pipeline: &str, log: Vec<Record>, seed: u64) -> Self {
        let mut world = World::new(pipeline);
        world.chance = Rng::with_seed(seed ^ 0xdead);
        world.mortality = [0, 20, 100][usize::try_from(seed % 3).unwrap()];
        Self { world, left: log.into(), chance: Rng::with_seed(seed) }
    }

    fn step(&mut self) {
        let world = &mut self.world;
        world.bench.memory.local.advance(std::time::Duration::from_millis(world.now.0.unsigned_abs()));
        let partition = self.chance.usize(..world.partitions.len());
        let batch = [1, 2, 7, 1000][self.chance.usize(..4)];
        match self.chance.u32(..100) {
            0..40 => {
                let many = if self.chance.bool() { 1 } else { self.chance.usize(..40) };
                for record in self.left.drain(..many.min(self.left.len())) {
                    world.now = record.at;
                    let log = &mut world.partitions[usize::try_from(record.position.partition).unwrap()].log;
                    log.push(record);
                }
            }
            40..60 => drop(world.read(partition, batch)),
            60..75 => drop(world.settle(partition)),
            75..82 => drop(world.sweep(self.chance.u32(..world.shards()))),
            82..85 => world.sink_turn(),
            85..93 => world.rig(Fuse { calls: self.chance.u32(..6), applied: self.chance.bool() }),
            93..95 => world.kill(partition),
            95..97 => world.restart_sink(),
            _ => {
                // memory vouches for what it has not forgotten, and nothing older comes again
                let Partition { log, committed, .. } = &world.partitions[partition];
                let oldest = log.partition_point(|record| record.at.0 < world.now.0 - 600_000);
                let oldest = i64::try_from(oldest).unwrap().min(*committed);
                let to = self.chance.i64(oldest..=*committed);
                world.rewind(partition, to);
            }
        }
    }

    fn run(mut self, until: EventTime) -> World {
        for _ in 0..400 {
            self.step();
        }
        while !self.left.is_empty() {
            self.step();
        }
        self.world.mortality = 0;
        self.world.bench.memory.rig(None);
        self.world.run_until(until, 7);
        self.world
    }
}

fn same_as_orderly(pipeline: &str, events: &[Event], seeds: &[u64]) {
    let mut orderly = World::new(pipeline);
    play(&mut orderly, events, 1000);
    let drafted = Drafted::of(&orderly.topic).open(&orderly);
    let log = written(&orderly);
    for seed in seeds {
        let mut chaos = Chaos::new(pipeline, log.clone(), *seed);
        chaos.world.sink = None; // what it would tell the log is in the log already
        let chaotic = chaos.run(orderly.now);
        pretty(&Drafted::of(&chaotic.topic).open(&orderly), &drafted, &format!("seed {seed}"));
        let sum: u64 = chaotic.outcomes.values().sum();
        assert!(sum >= log.len() as u64, "each record ends, seed {seed}: {:?}", chaotic.outcomes);
    }
}

/// 64 of them, or as many as PROPTEST_CASES says.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn r03_any_story_with_any_crashes_is_decided_as_in_an_orderly_run(
        steps in prop::collection::vec(step(), 1..40), seed in any::<u64>(),
    ) {
        same_as_orderly(STORMY, &story(&steps, KEPT), &[seed]);
    }

    #[test]
    fn r03_so_with_cooldown_twins_and_no_hold(
        steps in prop::collection::vec(step(), 1..30), seed in any::<u64>(), which in 0..3_usize,
    ) {
        let pipelines = [
            "storm: { threshold: 3 }\ndedup: { shards: 4, cooldown: 30s }",
            "storm: { threshold: 3 }\ndedup: { shards: 4, twin_window: 10s }",
            "storm: { threshold: 3, hold: 0s }\ndedup: { shards: 4 }",
        ];
        same_as_orderly(pipelines[which], &story(&steps, KEPT), &[seed]);
    }
}

/// Names and figures of all objects.
fn stand(world: &World) -> BTreeMap<String, String> {
    let objects = &world.sink.as_ref().unwrap().cluster.objects;
    let figures = |kept: &crate::cluster::Kept| {
        let status = &kept.object.status;
        let dedup = status.deduplication.clone().unwrap();
        let storm = status.storm_aggregation.as_ref().map(|storm| {
            let mut members = storm.members.0.chunks(10).collect::<Vec<_>>();
            members.sort_unstable();
            format!("{} {members:02x?}", storm.total_affected_resources)
        });
        let said = (&status.severity, &status.resolved_at, &status.superseded_by);
        format!("{} {} {} {said:?} {storm:?}", dedup.occurrence_count, dedup.first_seen_at, dedup.last_seen_at)
    };
    objects.iter().map(|(key, kept)| (key.clone(), figures(kept))).collect()
}

proptest! {
    #![proptest_config(cases())]

    /// Without ends: they come from outside, and when they come depends on when objects are written.
    #[test]
    fn r03_any_story_within_a_ttl_and_without_ends_leaves_the_objects_of_an_orderly_run(
        steps in prop::collection::vec(step(), 1..40), seed in any::<u64>(),
    ) {
        same_objects(&steps, TTL, seed);
    }
}

/// Whoever an object of its own or a storm's object stands for.
fn stands_for(world: &World) -> BTreeSet<(String, String)> {
    let mut whom = BTreeSet::new();
    for kept in world.sink.as_ref().unwrap().cluster.objects.values() {
        let object = &kept.object;
        match object.storm_status() {
            None => drop(whom.insert((object.resource.namespace.clone(), object.resource.name.clone()))),
            Some(storm) => {
                whom.extend(storm.affected_resources.iter().map(|it| (it.namespace.clone(), it.name.clone())))
            }
        }
    }
    whom
}

proptest! {
    #![proptest_config(cases())]

    /// Beyond a ttl too whoever fired has an object, and nobody is told as ended. A storm's count may differ there by a
    /// repeat of a member that also has a live object of its own.
    #[test]
    fn r03_beyond_a_ttl_nobody_is_lost_and_nobody_is_told_as_ended(
        steps in prop::collection::vec(step(), 1..40), seed in any::<u64>(),
    ) {
        let mut events = story(&steps, KEPT);
        events.retain(|event| event.deed != Deed::Ends);
        let mut orderly = World::new(STORMY);
        play(&mut orderly, &events, 1000);
        let chaotic = Chaos::new(STORMY, written(&orderly), seed).run(EventTime(orderly.now.0 + 60_000));
        let fired = events.iter().filter(|event| matches!(event.deed, Deed::Fires { .. }));
        let fired: BTreeSet<_> = fired.map(|event| (event.namespace.clone(), event.pod.clone())).collect();
        for world in [&orderly, &chaotic] {
            prop_assert_eq!(&stands_for(world), &fired, "seed {}", seed);
            prop_assert_eq!(written(world).len(), events.len(), "somebody is told as ended, seed {}", seed);
        }
    }
}

/// A story in numbers, as the property writes it.
fn same_objects(steps: &[(i64, usize, usize, u32)], longest: i64, seed: u64) {
    let mut events = story(steps, longest);
    events.retain(|event| event.deed != Deed::Ends);
    let mut orderly = World::new(STORMY);
    play(&mut orderly, &events, 1000);
    let chaotic = Chaos::new(STORMY, written(&orderly), seed).run(EventTime(orderly.now.0 + 60_000));
    assert_eq!(stand(&chaotic), stand(&orderly), "seed {seed}");
}

#[test]
fn f12_a_storm_that_lists_an_object_is_told_though_a_newer_incident_of_it_was_told_first() {
    let steps = [
        (0, 1, 3, 0),
        (0, 0, 3, 70),
        (310_000, 0, 3, 0),
        (0, 1, 3, 0),
        (20_000, 0, 0, 0),
        (0, 0, 4, 0),
        (310_000, 1, 1, 0),
        (0, 0, 3, 0),
        (0, 1, 1, 0),
        (20_000, 1, 1, 0),
        (0, 0, 3, 0),
        (20_000, 1, 0, 0),
        (20_000, 1, 3, 0),
        (20_000, 1, 1, 0),
        (0, 1, 1, 0),
    ];
    same_objects(&steps, KEPT, 16_353_512_190_110_508_070);
}

#[test]
fn e11_a_crash_at_each_point_in_turn_changes_nothing() {
    let events: Vec<Event> =
        format!("{} x/a@1 x/a@1 x/b@1 -x/b@4 x/a@5", kin("k", 4, 0.0)).split_whitespace().map(Event::read).collect();
    let mut orderly = World::new(STORMY);
    play(&mut orderly, &events, 1000);
    let drafted = Drafted::of(&orderly.topic);
    for (calls, applied) in (0..60).flat_map(|calls| [(calls, false), (calls, true)]) {
        let mut world = World::new(STORMY);
        world.sink = None;
        let mut died = BTreeMap::new();
        world.rig(Fuse { calls, applied });
        let log = written(&orderly);
        for record in log {
            world.now = record.at;
            world.partitions[usize::try_from(record.position.partition).unwrap()].log.push(record);
        }
        world.now = orderly.now;
        for turn in 0..12 {
            for partition in 0..3 {
                let ended = world.read(partition, 3).map(|_| ()).and_then(|()| world.settle(partition));
                died.insert((turn, partition), ended.is_err());
            }
            for shard in 0..world.shards() {
                died.insert((turn, 100 + shard as usize), world.sweep(shard).is_err());
            }
        }
        world.bench.memory.rig(None);
        world.run_until(EventTime(orderly.now.0 + 100_000), 1000);
        pretty(
            &Drafted::of(&world.topic),
            &drafted,
            &format!("the answer of call {calls} is lost, applied: {applied}"),
        );
    }
}

#[test]
fn e12_a_log_delivered_three_times_is_decided_once() {
    let story = format!("{} x/a@1 x/a@1 x/b@1 -x/b@4 #x/a@20 x/a@21", kin("k", 12, 0.0));
    let mut world = check(STORMY, &story, "(k00 k01 k02 k03 k04 k05 k06 k07 k08 k09 k10 k11)×12 a×1 a×2. b×1~");
    let (once, records) = (Drafted::of(&world.topic), written(&world).len() as u64);
    let objects = crate::script::objects(&world);
    for batch in [1, 7] {
        (0..world.partitions.len()).for_each(|partition| world.rewind(partition, 0));
        world.run_until(EventTime(world.now.0 + 60_000), batch);
    }
    pretty(&Drafted::of(&world.topic), &once, "three times");
    assert_eq!(crate::script::objects(&world), objects);
    assert_eq!(world.outcomes["redelivered"], 2 * records);
}
