//! Incidents with something left to tell, from memory to updates; marked as told only when acknowledged.
//!
//! Knows no Kafka. Each worker sweeps the shards that belong to its partitions; two that sweep one shard at once, in
//! a rebalance, tell the same absolute figures twice.

use std::collections::BTreeSet;

use super::bench::Bench;
use crate::{
    alert::EventTime,
    decide::storm::{Group, Untold},
    memory::{Key, Memory, MemoryError, Shard, amend, form},
    remediation::{GroupId, Update},
};

/// Groups that one sweep of a shard looks at.
const GROUPS_A_SWEEP: usize = 256;

/// What one sweep of a shard found.
#[derive(Debug, Default)]
pub struct Found {
    /// What may be told now.
    pub updates: Vec<(GroupId, Untold, Update)>,
    /// The groups that it looked at.
    pub groups: BTreeSet<GroupId>,
    /// When the next one is due that may not be told yet.
    pub next: Option<EventTime>,
}

/// What a shard has to tell at `mark`.
///
/// # Errors
/// Memory is away.
pub async fn find<M: Memory>(bench: &Bench<M>, shard: u32, mark: EventTime) -> Result<Found, MemoryError> {
    let shard = Shard::Numbered(shard);
    let due = bench.memory.due(shard, GROUPS_A_SWEEP).await?;
    let next = due.iter().map(|(_, due)| *due).find(|due| *due > mark);
    let ids: Vec<GroupId> = due.iter().filter(|(_, due)| *due <= mark).map(|(id, _)| *id).collect();
    let mut found = Found { next, groups: ids.iter().copied().collect(), ..Found::default() };
    let keys: Vec<Key> = ids.iter().map(|id| Key::Group(*id)).collect();
    for (id, held) in ids.iter().zip(bench.memory.recall(shard, &keys).await?) {
        let group = held.as_deref().and_then(form::read_group).unwrap_or_default();
        found.updates.extend(updates(bench, *id, &group, mark));
    }
    Ok(found)
}

/// Before a storm's figures go those of its members' earlier incidents, due or not: an object that stands for both must
/// hear of the older one first.
fn updates<M>(bench: &Bench<M>, id: GroupId, group: &Group, mark: EventTime) -> Vec<(GroupId, Untold, Update)> {
    let due = group.untold(bench.pipeline.storm.update_interval).filter(|untold| untold.due <= mark);
    let (storms, mut told): (Vec<Untold>, Vec<Untold>) = due.partition(|untold| untold.storm);
    for storm in storms {
        let mut before = group.untold_of_members(storm.generation);
        before.retain(|untold| !told.iter().any(|it| it.generation == untold.generation));
        told.append(&mut before);
        told.push(storm);
    }
    told.into_iter().filter_map(|untold| Some((id, untold, update(bench, id, group, &untold)?))).collect()
}

/// How an incident with something left to tell stands.
pub fn update<M>(bench: &Bench<M>, id: GroupId, group: &Group, untold: &Untold) -> Option<Update> {
    if untold.storm {
        bench.desk().storm_update(id, group, group.storm(untold.generation)?)
    } else {
        bench.desk().kin_update(id, group, untold.generation, group.kin.get(&untold.generation)?)
    }
}

/// Marks what was acknowledged as told, and notes in each group when it is due next.
///
/// # Errors
/// Memory is away. Asking again is safe; until then the same figures may go out again.
pub async fn told<M: Memory>(bench: &Bench<M>, found: &Found, mark: EventTime) -> Result<(), MemoryError> {
    let longest = bench.pipeline.dedup.update_interval;
    amend::groups(&bench.memory, bench.group_terms(mark), found.groups.iter().copied(), |id, group| {
        for (_, untold, _) in found.updates.iter().filter(|(group, ..)| *group == id) {
            group.told(untold, mark, longest);
        }
        true
    })
    .await
    .map(|_| ())
}
