//! What is easily lost: an incident whose memo was evicted, and whoever joins a storm that has no object.

use breakwater::{
    alert::{EventTime, headers::Headers, record},
    memory::{Key, Memory as _, Shard, Swap, version},
};
use futures::FutureExt as _;
use std::time::Duration;

use crate::{
    script::{Event, check, objects},
    world::{SHIPPED, World},
};

/// Memory evicts the memo of whom this event is about: a value of no form is read as none.
fn evict(world: &World, event: &Event) {
    let rules = &world.bench.pipeline.identity;
    let whose = record::parse(&event.json(), &Headers::default(), event.at, rules).unwrap().brief();
    let (shard, key) = (Shard::Numbered(whose.shard(world.shards())), Key::Fingerprint(whose));
    let memory = &world.bench.memory.local;
    let held = memory.recall(shard, &[key]).now_or_never().unwrap().unwrap().remove(0).unwrap();
    let keep = Duration::from_hours(1);
    let swap = Swap { key, seen: Some(version(&held)), value: Vec::new(), keep, due: None };
    assert_eq!(memory.swap(shard, &[swap]).now_or_never().unwrap(), Ok(vec![true]));
}

/// The memo of a new incident is evicted, something else is heard of its fingerprint, and the worker dies within the hold.
#[track_caller]
fn evicted(then: &str, expected: &str) {
    let mut world = World::new(SHIPPED);
    let opener = Event::read("a@0");
    opener.happen(&mut world);
    world.work(1000);
    evict(&world, &opener);
    let then = Event::read(then);
    world.now = then.at;
    then.happen(&mut world);
    world.work(1000);
    (0..world.partitions.len()).for_each(|partition| world.kill(partition));
    world.run_until(EventTime(60_000), 1000);
    assert_eq!(objects(&world), expected);
}

#[test]
fn j13_an_incident_whose_memo_is_evicted_while_it_waits_is_opened_by_its_record_after_a_crash() {
    evicted("-a@1", "a×1");
    evicted("a@1", "a×2");
    evicted("!a@1.5", "a×2!");
}

const STORMY: &str = "storm: { threshold: 3 }\ndedup: { shards: 4 }";

#[test]
fn f17_who_joins_a_storm_of_which_nobody_is_left_has_an_object() {
    // three with objects of their own; memory has forgotten them when they fire at once, and somebody else joins them
    let own = "a@0 b@70 c@140 a@600 b@600 c@600";
    check(STORMY, own, "a×2 b×2 c×2");
    check(STORMY, &format!("{own} d@610"), "(d)×1 a×2 b×2 c×2");
    // a member's repeat is the storm's, wherever its first firing is counted
    check(STORMY, &format!("{own} d@610 e@650 d@651 a@652"), "(d e)×4 a×2 b×2 c×2");
}
