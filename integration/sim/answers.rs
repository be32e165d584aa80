//! Answers of memory that never come, at each of a batch's calls in turn, applied or not.

use breakwater::alert::EventTime;

use crate::{
    rigged::Fuse,
    script::{Event, objects},
    world::World,
};

const SHARDS: &str = "dedup: { shards: 4 }";

/// These happen at once and are read in one batch, of which one call to memory is not answered; then again, until no call
/// is left that could be lost. What stands at the end, whichever it was, and how many calls there were.
fn whichever_is_lost(story: &str, applied: bool, expected: &str) -> u32 {
    for calls in 0.. {
        let mut world = World::new(SHARDS);
        story.split_whitespace().for_each(|word| Event::read(word).happen(&mut world));
        world.rig(Fuse { calls, applied });
        let lost = (0..world.partitions.len()).filter(|partition| world.read(*partition, 1000).is_err()).count();
        world.bench.memory.rig(None);
        world.run_until(EventTime(60_000), 1000);
        assert_eq!(objects(&world), expected, "the answer of call {calls} is lost, applied: {applied}");
        if lost == 0 {
            return calls;
        }
    }
    unreachable!("a batch has few calls")
}

#[test]
fn j04_an_answer_that_was_lost_is_given_again_new_included_and_counts_once() {
    assert!(whichever_is_lost("a@0", true, "a×1") >= 3);
    assert!(whichever_is_lost("a@0 a@0 -a@0", true, "a×2~") >= 3);
}

#[test]
fn j06_a_batch_of_which_a_part_was_applied_is_asked_again_whole_and_counts_once() {
    // 30 strangers, 11 of which fire twice: 41 records over several partitions and shards
    let story: String = (0..41).map(|number| format!("p{:02}:Own{:02}@0 ", number % 30, number % 30)).collect();
    let expected: Vec<String> = (0..30).map(|pod| format!("p{pod:02}×{}", if pod < 11 { 2 } else { 1 })).collect();
    for applied in [true, false] {
        let calls = whichever_is_lost(&story, applied, &expected.join(" "));
        assert!(calls > 20, "{calls} calls: a batch is cut in the middle, and nearly at its end");
    }
}
