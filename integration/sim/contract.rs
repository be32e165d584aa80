//! What every memory promises, as one suite: the sim ring asks it of the memory in our process, the real ring of Redis.
//! Keys are the asker's own: nothing here needs an empty memory.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "two test crates share it, and fail by panicking")]
#![allow(dead_code, reason = "each ring asks what it can")]

use std::time::Duration;

use breakwater::{
    alert::{EventTime, Fingerprint},
    memory::{Key, Memory, MemoryError, Shard, Swap, Version, Vouched, version, vouch::Reader},
    remediation::GroupId,
};
use proptest::prelude::*;

/// The shard that the suite uses.
pub const SHARD: Shard = Shard::Numbered(3);

fn fingerprint(word: &str) -> Key {
    Key::Fingerprint(Fingerprint::of([word]).brief())
}

fn swap(key: Key, seen: Option<&[u8]>, value: &[u8]) -> Swap {
    Swap { key, seen: seen.map(version), value: value.to_vec(), keep: Duration::from_secs(60), due: None }
}

fn with_due(number: u8, value: &[u8], seen: Option<&[u8]>, due: Option<i64>) -> Swap {
    Swap { due: due.map(EventTime), ..swap(Key::Group(GroupId([number; 16])), seen, value) }
}

async fn holds(memory: &impl Memory, key: Key) -> Option<Vec<u8>> {
    memory.recall(SHARD, &[key]).await.unwrap().remove(0)
}

async fn made(memory: &impl Memory, swap: Swap) -> bool {
    memory.swap(SHARD, &[swap]).await.unwrap() == [true]
}

/// A change is made if the key holds what was seen, and refused if not.
pub async fn a_change_is_made_only_upon_what_was_seen(memory: &impl Memory) {
    let key = fingerprint("made");
    assert_eq!(holds(memory, key).await, None);
    assert!(!made(memory, swap(key, Some(b"a"), b"b")).await, "nothing is there");
    assert!(made(memory, swap(key, None, b"a")).await);
    assert!(!made(memory, swap(key, None, b"b")).await, "somebody was first");
    assert!(!made(memory, swap(key, Some(b"x"), b"b")).await, "a stale view");
    assert_eq!(holds(memory, key).await.as_deref(), Some(&b"a"[..]));
    assert!(made(memory, swap(key, Some(b"a"), b"b")).await);
    assert_eq!(holds(memory, key).await.as_deref(), Some(&b"b"[..]));
}

/// A change whose answer was lost is answered alike when it is asked again, and changes nothing.
pub async fn a_lost_answer_is_given_again(memory: &impl Memory) {
    let key = fingerprint("lost");
    for _ in 0..3 {
        assert!(made(memory, swap(key, None, b"a")).await);
    }
    assert!(made(memory, swap(key, Some(b"a"), b"b")).await);
    assert!(made(memory, swap(key, Some(b"a"), b"b")).await, "asked again");
    assert!(!made(memory, swap(key, None, b"a")).await, "too late: it went on from there");
    assert_eq!(holds(memory, key).await.as_deref(), Some(&b"b"[..]));
}

/// A guard that may not be made holds back all the rest; one that was made before does not.
pub async fn a_guard_holds_back_all_or_nothing(memory: &impl Memory) {
    let (guard, key) = (Key::Vouch(7), fingerprint("guarded"));
    let call = async |seen: Option<&[u8]>, word: &[u8], change: Swap| {
        memory.guarded(SHARD, Some(&swap(guard, seen, word)), &[change]).await
    };
    assert_eq!(call(None, b"1", swap(key, None, b"a")).await, Ok(vec![true]));
    assert_eq!(call(None, b"1", swap(key, None, b"a")).await, Ok(vec![true]), "asked again");
    assert_eq!(call(Some(b"1"), b"2", swap(key, Some(b"a"), b"b")).await, Ok(vec![true]));
    assert_eq!(call(Some(b"1"), b"2", swap(key, Some(b"a"), b"x")).await, Ok(vec![false]), "each for itself");
    assert_eq!(call(None, b"1", swap(key, Some(b"b"), b"c")).await, Err(MemoryError::Lost), "the guard is behind");
    assert_eq!(call(Some(b"3"), b"4", swap(key, Some(b"b"), b"c")).await, Err(MemoryError::Lost), "or memory is");
    assert_eq!(holds(memory, key).await.as_deref(), Some(&b"b"[..]));
    let many: Vec<Swap> = (0..600).map(|number| swap(fingerprint(&format!("under{number}")), None, b"v")).collect();
    assert_eq!(memory.guarded(SHARD, Some(&swap(guard, Some(b"2"), b"3")), &many).await, Ok(vec![true; 600]));
    assert_eq!(memory.guarded(SHARD, Some(&swap(guard, Some(b"3"), b"4")), &[]).await, Ok(vec![]));
    assert_eq!(memory.guarded(SHARD, Some(&swap(guard, Some(b"3"), b"5")), &[]).await, Err(MemoryError::Lost));
}

/// Whoever reads a partition is answered only while memory has what it left there.
pub async fn a_reader_is_answered_only_by_the_memory_it_wrote_to(memory: &(impl Memory + Clone)) {
    let reader = |nonce| Reader { partition: 5, nonce, shards: 2, keep: Duration::from_secs(60) };
    let (first, whole) = Vouched::take_over(memory.clone(), reader(1)).await.unwrap();
    assert!(!whole, "nobody said that everything is there");
    let change = [swap(fingerprint("read"), None, b"a")];
    assert_eq!(first.swap(Shard::Numbered(0), &change).await, Ok(vec![true]));
    let (second, whole) = Vouched::take_over(memory.clone(), reader(2)).await.unwrap();
    assert!(!whole, "the first had not come so far");
    assert_eq!(first.swap(Shard::Numbered(0), &change).await, Err(MemoryError::Lost));
    assert!(first.is_anothers().await.unwrap() && !second.is_anothers().await.unwrap());
    second.complete().await.unwrap();
    let (third, whole) = Vouched::take_over(memory.clone(), reader(3)).await.unwrap();
    assert!(whole);
    third.renew().await.unwrap();
    let word = memory.recall(Shard::Numbered(1), &[Key::Vouch(5)]).await.unwrap().remove(0);
    third.renew().await.unwrap();
    // a replica that lacks the last write is promoted: the word there is an older one
    let now = memory.recall(Shard::Numbered(1), &[Key::Vouch(5)]).await.unwrap().remove(0);
    let back = swap(Key::Vouch(5), now.as_deref(), &word.unwrap());
    assert_eq!(memory.swap(Shard::Numbered(1), &[back]).await, Ok(vec![true]));
    assert_eq!(third.swap(Shard::Numbered(1), &[]).await, Err(MemoryError::Lost));
    assert!(!third.is_anothers().await.unwrap());
}

/// Any bytes are kept as they are, none and 100 KB included; values are told apart by all of their bytes.
pub async fn any_bytes_are_kept(memory: &impl Memory) {
    let key = fingerprint("bytes");
    let values = [Vec::new(), vec![0; 8], (0..=255).collect(), b"\r\n$3\r\n".to_vec(), vec![7; 100_000]];
    let mut seen: Option<Vec<u8>> = None;
    for value in values {
        assert!(made(memory, swap(key, seen.as_deref(), &value)).await);
        assert_eq!(holds(memory, key).await.as_deref(), Some(&value[..]));
        seen = Some(value);
    }
}

/// Many keys in one call: each for itself, the answers in order.
pub async fn keys_of_one_call_are_judged_each_for_itself(memory: &impl Memory) {
    let keys: Vec<Key> = (0..600).map(|number| fingerprint(&format!("many{number}"))).collect();
    let odd: Vec<Swap> = keys.iter().skip(1).step_by(2).map(|key| swap(*key, None, b"before")).collect();
    assert_eq!(memory.swap(SHARD, &odd).await.unwrap(), vec![true; 300]);
    let all: Vec<Swap> = keys.iter().map(|key| swap(*key, None, b"after")).collect();
    let expected: Vec<bool> = (0..600).map(|number| number % 2 == 0).collect();
    assert_eq!(memory.swap(SHARD, &all).await.unwrap(), expected);
    let held = memory.recall(SHARD, &keys).await.unwrap();
    for (number, value) in held.iter().enumerate() {
        assert_eq!(value.as_deref(), Some(if number % 2 == 0 { &b"after"[..] } else { &b"before"[..] }));
    }
    assert_eq!(memory.recall(SHARD, &[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert_eq!(memory.swap(SHARD, &[]).await.unwrap(), Vec::<bool>::new());
}

/// The index tells what is due, the earliest first; a refused change leaves it alone.
pub async fn what_is_due_is_told_in_order(memory: &impl Memory) {
    let group = |number: u8| GroupId([number; 16]);
    for (number, due) in [(1, 500), (2, 100), (3, 300), (4, 300)] {
        assert!(made(memory, with_due(number, b"v", None, Some(due))).await);
    }
    let due = async |limit| memory.due(SHARD, limit).await.unwrap();
    let told = [
        (group(2), EventTime(100)),
        (group(3), EventTime(300)),
        (group(4), EventTime(300)),
        (group(1), EventTime(500)),
    ];
    assert_eq!(due(10).await, told);
    assert_eq!(due(2).await, told[..2]);
    assert!(!made(memory, with_due(2, b"w", None, None)).await);
    assert!(!made(memory, with_due(1, b"w", Some(b"x"), Some(1))).await);
    assert_eq!(due(10).await, told, "refused");
    assert!(made(memory, with_due(2, b"w", Some(b"v"), None)).await);
    assert!(made(memory, with_due(1, b"w", Some(b"v"), Some(200))).await);
    assert_eq!(due(10).await, [(group(1), EventTime(200)), told[1], told[2]]);
    assert_eq!(memory.due(Shard::Numbered(4), 10).await.unwrap(), [], "another shard");
    for number in [1, 3, 4] {
        let before = holds(memory, Key::Group(group(number))).await;
        assert!(made(memory, with_due(number, b"z", before.as_deref(), None)).await);
    }
    assert_eq!(due(10).await, []);
}

/// Kinds of keys, and shards, do not meet.
pub async fn keys_of_other_kinds_and_shards_are_others(memory: &impl Memory) {
    let same = [9; 16];
    let mut long = [0; 32];
    long[..16].copy_from_slice(&same);
    let keys =
        [Key::Group(GroupId(same)), Key::Fingerprint(Fingerprint::from_bytes(long).brief()), Key::Mark(9), Key::Wanted];
    for (number, key) in keys.iter().enumerate() {
        assert!(made(memory, swap(*key, None, &[number as u8])).await);
        assert_eq!(memory.recall(Shard::Numbered(5), &[*key]).await.unwrap(), [None]);
        assert_eq!(memory.recall(Shard::Marks, &[*key]).await.unwrap(), [None]);
    }
    let held = memory.recall(SHARD, &keys).await.unwrap();
    assert_eq!(held, (0..4_u8).map(|number| Some(vec![number])).collect::<Vec<_>>());
}

/// It works.
pub async fn it_answers_a_probe(memory: &impl Memory) {
    memory.probe().await.unwrap();
}

/// One call of a history.
#[derive(Clone, Debug)]
pub enum Call {
    Recall(Vec<u8>),
    /// Key, what was seen there (by its number; none is 0), the new value, and when it is due.
    Swap(Vec<(u8, u8, u8, Option<i64>)>),
    Due(usize),
}

/// Any history over a few keys and values: changes that are made, refused, repeated, in any order.
pub fn histories() -> impl Strategy<Value = Vec<Call>> {
    let one = (0..12_u8, 0..4_u8, 1..4_u8, prop::option::of(0..5_i64));
    let call = prop_oneof![
        prop::collection::vec(0..12_u8, 1..6).prop_map(Call::Recall),
        prop::collection::vec(one, 1..8).prop_map(Call::Swap),
        (1..6_usize).prop_map(Call::Due),
    ];
    prop::collection::vec(call, 1..40)
}

fn key(number: u8) -> Key {
    match number {
        0..6 => Key::Group(GroupId([number; 16])),
        6..10 => fingerprint(&format!("history{number}")),
        10 => Key::Mark(10),
        _ => Key::Wanted,
    }
}

/// What a memory answers to each call.
pub async fn answers(memory: &impl Memory, calls: &[Call]) -> Vec<String> {
    let seen = |number: u8| -> Option<Version> { (number > 0).then(|| version(&[number])) };
    let mut answers = Vec::new();
    for call in calls {
        answers.push(match call {
            Call::Recall(keys) => {
                let keys: Vec<Key> = keys.iter().copied().map(key).collect();
                format!("{:?}", memory.recall(SHARD, &keys).await.unwrap())
            }
            Call::Swap(swaps) => {
                let swap = |&(number, was, value, due): &(u8, u8, u8, Option<i64>)| Swap {
                    due: due.map(EventTime),
                    seen: seen(was),
                    ..swap(key(number), None, &[value])
                };
                let mut unique: Vec<Swap> = swaps.iter().map(swap).collect();
                unique.sort_by_key(|swap| swap.key);
                unique.dedup_by_key(|swap| swap.key);
                format!("{:?}", memory.swap(SHARD, &unique).await.unwrap())
            }
            Call::Due(limit) => format!("{:?}", memory.due(SHARD, *limit).await.unwrap()),
        });
    }
    answers
}
