use super::*;
use crate::{
    alert::{Position, headers::Headers},
    sink::specimen::{seen, single},
};

fn work(who: &str, lane: Lane, partition: i32) -> Work {
    let incident = single(who, 1);
    let mut work = Work::new(ObjectId::new("shop", who), &incident, Step::Apply, EventTime(0));
    let position = Position { partition, offset: 0 };
    let value = bytes::Bytes::from_static(b"value");
    let record = Record { position, at: EventTime(0), key: None, value, headers: Headers::default() };
    work.lane = lane;
    work.held.push(Held { record, outcome: Outcome::Duplicate, opens: None, of: None, shared: false, epoch: 1 });
    work.figure(Figures { progress: seen(&incident, 1, 1), incident });
    work
}

fn order(lanes: &mut Lanes, now: Instant) -> String {
    std::iter::from_fn(|| lanes.pop(now).map(|work| work.id.name.to_string())).collect()
}

#[test]
fn i23_creates_by_priority_then_statuses_by_priority_each_in_order_of_arrival() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    let arrivals = [
        ("a", Lane::Status(0)),
        ("b", Lane::Create(3)),
        ("c", Lane::Create(1)),
        ("d", Lane::Status(2)),
        ("e", Lane::Create(3)),
    ];
    arrivals.into_iter().for_each(|(who, lane)| lanes.push(work(who, lane, 0)));
    assert_eq!(order(&mut lanes, now), "cbead");
}

#[test]
fn a_follower_keeps_the_place_of_what_waits_and_raises_its_priority() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    ["a", "b", "c"].into_iter().for_each(|who| lanes.push(work(who, Lane::Create(3), 0)));
    lanes.push(work("a", Lane::Status(3), 0));
    lanes.push(work("c", Lane::Status(0), 0));
    let first = lanes.pop(now).unwrap();
    assert_eq!((first.id.name.as_ref(), first.lane, first.held.len()), ("c", Lane::Create(0), 2));
    assert_eq!(order(&mut lanes, now), "ab");
}

#[test]
fn i29_what_rests_holds_nobody_back_and_takes_its_followers_along() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    ["a", "b"].into_iter().for_each(|who| lanes.push(work(who, Lane::Create(0), 0)));
    let stubborn = lanes.pop(now).unwrap();
    lanes.put_back(&stubborn.id.clone(), stubborn, Some((now, Duration::from_secs(9))));
    lanes.push(work("a", Lane::Status(0), 0));
    assert_eq!(order(&mut lanes, now), "b");
    assert_eq!((lanes.next_wake(), lanes.waiting()), (Some(now + Duration::from_secs(9)), (1, 1)));
    assert!(!lanes.is_ready(now) && lanes.is_ready(now + Duration::from_secs(9)));
    assert_eq!(lanes.pop(now + Duration::from_secs(9)).unwrap().held.len(), 2);
}

#[test]
fn what_follows_an_object_in_hand_waits_until_it_is_settled() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    lanes.push(work("a", Lane::Create(0), 0));
    let in_hand = lanes.pop(now).unwrap();
    lanes.push(work("a", Lane::Status(0), 0));
    assert!(lanes.pop(now).is_none(), "one hand at a time");
    lanes.done(&in_hand.id);
    assert_eq!(order(&mut lanes, now), "a");
}

#[test]
fn a_revoked_partition_takes_its_records_and_leaves_those_of_others() {
    let (mut lanes, now) = (Lanes::default(), Instant::now());
    lanes.push(work("a", Lane::Create(0), 0));
    lanes.push(work("b", Lane::Create(0), 0));
    lanes.push(work("b", Lane::Status(0), 1));
    assert_eq!(lanes.release(0).len(), 2);
    assert_eq!(order(&mut lanes, now), "b");
}
