//! The packed form of memos and groups: what goes in comes out, and it is small.

use std::time::Duration;

use breakwater::{
    alert::{EventTime, Fingerprint, Position},
    decide::{
        dedup::{Last, Memo, Run, Severity},
        storm::{Group, Kin, Standing, Storm, Told},
    },
    memory::form,
    pipeline::priority::Priority,
    remediation::{Generation, GroupId, Resource},
};
use proptest::prelude::*;

use crate::world::{SHIPPED, World};

fn time() -> impl Strategy<Value = EventTime> {
    prop_oneof![any::<i64>(), 0..2_000_000_000_000_i64].prop_map(EventTime)
}

fn position() -> impl Strategy<Value = Position> {
    (any::<i32>(), any::<i64>()).prop_map(|(partition, offset)| Position { partition, offset })
}

fn generation() -> impl Strategy<Value = Generation> {
    (time(), position()).prop_map(|(at, position)| Generation { at, position })
}

fn severity() -> impl Strategy<Value = Severity> {
    let priority = prop::option::of(prop::sample::select(Priority::ALL.to_vec()));
    (any::<u32>(), prop_oneof!["warning", ".{0,9}"], priority).prop_map(|(rank, name, priority)| Severity {
        rank,
        name,
        priority,
    })
}

fn run() -> impl Strategy<Value = Run> {
    let times = (time(), prop::option::of(time()), prop::option::of(time()), time(), prop::option::of(time()));
    (generation(), any::<[u8; 16]>(), any::<u64>(), severity(), times).prop_map(
        |(generation, group, count, severity, (seen, resolved_at, closed_at, due, starts_at))| Run {
            generation,
            group: GroupId(group),
            count,
            seen,
            severity,
            resolved_at,
            closed_at,
            due,
            starts_at,
        },
    )
}

fn memo() -> impl Strategy<Value = Memo> {
    let last = (position(), time()).prop_map(|(position, at)| Last { position, at });
    (prop::collection::vec(run(), 0..3), prop::collection::vec(last, 0..4)).prop_map(|(runs, last)| Memo { runs, last })
}

fn told() -> impl Strategy<Value = Told> {
    (any::<u32>(), any::<u32>(), time(), any::<u32>()).prop_map(|(changes, told, at, millis)| Told {
        changes,
        told,
        at,
        interval: Duration::from_millis(u64::from(millis)),
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Waiting),
        Just(Standing::Assumed),
        (any::<bool>(), prop::option::of(generation()))
            .prop_map(|(published, superseded_by)| Standing::Own { published, superseded_by }),
        (generation(), any::<bool>()).prop_map(|(storm, founder)| Standing::Joined { storm, founder }),
    ]
}

fn kin() -> impl Strategy<Value = Kin> {
    let names = ("(Crash|.{0,5})", "(shop|.{0,5})", "Pod|Node", ".{0,20}", "(shop|)");
    let times = (time(), prop::option::of(time()), prop::option::of(time()), time());
    (any::<[u8; 32]>(), names, any::<u64>(), (severity(), severity()), times, standing(), told()).prop_map(
        |(fingerprint, (alert, namespace, kind, name, place), count, (began, severity), times, standing, told)| {
            let (seen, resolved_at, closed_at, due) = times;
            let whole = Fingerprint::from_bytes(fingerprint);
            let resource = Resource { kind, name, namespace: place };
            let closed_as_storm = closed_at.is_some() && count % 2 == 0;
            Kin {
                fingerprint: whole.brief(),
                whole: Some(whole).filter(|_| count % 3 > 0),
                alert,
                namespace,
                resource,
                count,
                seen,
                began,
                severity,
                resolved_at,
                closed_at,
                closed_as_storm,
                due,
                standing,
                told,
            }
        },
    )
}

fn storm() -> impl Strategy<Value = Storm> {
    let flags = (any::<bool>(), prop::option::of(time()));
    (generation(), time(), any::<u64>(), severity(), flags, told()).prop_map(
        |(generation, joined, decided_count, decided_severity, (published, closed_at), told)| Storm {
            generation,
            joined,
            decided_count,
            decided_severity,
            published,
            closed_at,
            told,
        },
    )
}

fn group() -> impl Strategy<Value = Group> {
    let kin = prop::collection::btree_map(generation(), kin(), 0..6);
    (kin, prop::collection::vec(storm(), 0..3)).prop_map(|(kin, storms)| Group { kin, storms })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_memo_is_read_as_it_was_packed(memo in memo()) {
        prop_assert_eq!(form::read_memo(&form::pack_memo(&memo)), Some(memo));
    }

    #[test]
    fn a_group_is_read_as_it_was_packed(group in group()) {
        prop_assert_eq!(form::read_group(&form::pack_group(&group)), Some(group));
    }

    #[test]
    fn a_mark_is_read_as_it_was_packed(fence in any::<u64>(), read in time(), (epoch, progress) in any::<(u64, u64)>()) {
        let mark = form::Mark { fence, read, epoch, progress };
        prop_assert_eq!(form::read_mark(&form::pack_mark(&mark)), Some(mark));
        prop_assert_eq!(form::read_number(&form::pack_number(epoch)), Some(epoch));
    }

    #[test]
    fn what_is_none_of_ours_is_read_as_none_or_as_something_and_never_harms(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (memo, group) = (form::read_memo(&bytes), form::read_group(&bytes));
        prop_assert!(bytes.first() == Some(&3) || (memo.is_none() && group.is_none()));
    }
}

#[test]
fn what_is_cut_off_is_none() {
    let Some(packed) = packed_storm(3) else { panic!("a storm") };
    assert!((0..packed.len()).all(|end| form::read_group(&packed[..end]).is_none()));
}

/// A storm as memory keeps it after everything about it was told: names as in a cluster, times of this decade.
fn packed_storm(members: usize) -> Option<Vec<u8>> {
    use breakwater::memory::{Key, Memory as _, Shard};
    use futures::FutureExt as _;
    let mut world = World::new(SHIPPED);
    world.now = EventTime(1_790_000_000_000);
    for number in 0..members {
        let pod = format!("payment-gateway-7d9c5b6f48-{number:05}");
        let json = format!(
            r#"{{"status":"firing","labels":{{"alertname":"KubePodCrashLooping","namespace":"production-eu","pod":"{pod}","severity":"critical"}},"startsAt":"2026-09-21T12:00:00Z"}}"#
        );
        world.now.0 += 20;
        world.append(None, json.into(), breakwater::alert::headers::Headers::default());
    }
    world.run_until(EventTime(world.now.0 + 60_000), 1000);
    let Some(breakwater::remediation::Remediation::Draft(draft)) = world.topic.first() else { return None };
    let group = draft.incident.group;
    let shard = Shard::Numbered(group.shard(world.shards()));
    world.bench.memory.recall(shard, &[Key::Group(group)]).now_or_never()?.ok()?.remove(0)
}

#[test]
fn j19_a_storm_of_fifteen_is_two_kilobytes_and_each_further_member_a_hundred_bytes() {
    let size = |members| packed_storm(members).map_or(0, |packed| packed.len());
    let (fifteen, thousand) = (size(15), size(1000));
    let each = (thousand - fifteen) as f64 / 985.0;
    println!("a storm of 15: {fifteen} bytes; a further member: {each:.1} bytes");
    assert!((1..=2048).contains(&fifteen), "{fifteen}");
    assert!(each <= 100.0, "{each}");
}
