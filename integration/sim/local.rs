//! The contract, asked of the memory in our process; and what that one alone promises.

use std::time::Duration;

use breakwater::{
    alert::{EventTime, Fingerprint},
    memory::{Key, Memory as _, Swap, local::Local},
    remediation::GroupId,
};
use futures::FutureExt as _;

use crate::contract::{self, SHARD};

/// The promises, each of a memory of its own.
macro_rules! promises {
    ($($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            contract::$name(&Local::default()).now_or_never().expect("local memory never waits");
        }
    )* };
}

promises!(
    a_change_is_made_only_upon_what_was_seen,
    a_lost_answer_is_given_again,
    a_guard_holds_back_all_or_nothing,
    a_reader_is_answered_only_by_the_memory_it_wrote_to,
    any_bytes_are_kept,
    keys_of_one_call_are_judged_each_for_itself,
    what_is_due_is_told_in_order,
    keys_of_other_kinds_and_shards_are_others,
    it_answers_a_probe,
);

fn keep(local: &Local, key: Key, seconds: u64, due: Option<i64>) {
    let keep = Duration::from_secs(seconds);
    let swap = Swap { key, seen: None, value: vec![1], keep, due: due.map(EventTime) };
    assert_eq!(local.swap(SHARD, &[swap]).now_or_never().unwrap().unwrap(), [true]);
}

#[test]
fn j17_what_was_not_touched_for_its_time_is_gone_and_nothing_of_it_is_left() {
    let local = Local::default();
    keep(&local, Key::Fingerprint(Fingerprint::of(["a"]).brief()), 10, None);
    keep(&local, Key::Group(GroupId([1; 16])), 20, Some(5));
    local.advance(Duration::from_secs(10));
    assert_eq!(local.len(), 2);
    local.advance(Duration::from_secs(11));
    assert_eq!(local.len(), 1);
    keep(&local, Key::Fingerprint(Fingerprint::of(["a"]).brief()), 30, None);
    local.advance(Duration::from_secs(21));
    assert_eq!(local.due(SHARD, 10).now_or_never().unwrap().unwrap(), []);
    local.advance(Duration::from_secs(42));
    assert!(local.is_empty());
}

#[test]
fn a_flush_forgets_all_of_it() {
    let local = Local::default();
    keep(&local, Key::Group(GroupId([1; 16])), 20, Some(5));
    local.flush();
    assert!(local.is_empty());
    assert_eq!(local.due(SHARD, 10).now_or_never().unwrap().unwrap(), []);
}
