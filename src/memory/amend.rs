//! Read, change, write back if nobody else did meanwhile; else read again. The one way in which anything is changed.

use std::{collections::BTreeMap, time::Duration};

use super::{Key, Memory, MemoryError, Shard, Swap, form, version};
use crate::{
    alert::{Brief, EventTime},
    decide::{dedup::Memo, storm::Group},
    remediation::GroupId,
};

const ROUNDS: u32 = 100;

/// Changes the memos of these fingerprints. `change` may be called again for one that somebody else changed
/// meanwhile; it says whether there is anything to write.
///
/// # Errors
/// Memory is away; some changes may have been made. Asking again is safe.
pub async fn memos<M: Memory>(
    memory: &M,
    shards: u32,
    keep: Duration,
    ids: impl IntoIterator<Item = Brief>,
    mut change: impl FnMut(Brief, &mut Memo) -> bool + Send,
) -> Result<(), MemoryError> {
    for (shard, ids) in by_shard(ids, |id| id.shard(shards)) {
        let mut pending = ids;
        let mut rounds = 0;
        while !pending.is_empty() {
            rounds = next_round(rounds)?;
            let keys: Vec<Key> = pending.iter().map(|id| Key::Fingerprint(*id)).collect();
            let held = memory.recall(shard, &keys).await?;
            let mut swaps = Vec::new();
            for (id, held) in pending.iter().zip(&held) {
                let mut memo = held.as_deref().and_then(form::read_memo).unwrap_or_default();
                if change(*id, &mut memo) {
                    let seen = held.as_deref().map(version);
                    let value = form::pack_memo(&memo);
                    swaps.push(Swap { key: Key::Fingerprint(*id), seen, value, keep, due: None });
                }
            }
            let made = memory.swap(shard, &swaps).await?;
            let lost = swaps.iter().zip(made).filter(|(_, made)| !made).map(|(swap, _)| swap.key);
            let lost: Vec<Key> = lost.collect();
            pending.retain(|id| lost.contains(&Key::Fingerprint(*id)));
        }
    }
    Ok(())
}

/// What holds for every change of a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupTerms {
    /// Shards of memory.
    pub shards: u32,
    /// How long decided and told kin are kept after their last firing.
    pub keep: Duration,
    /// Up to when everything was read: what is older than `keep` by then is forgotten.
    pub mark: EventTime,
    /// Storms are told at most once in this span.
    pub storm_interval: Duration,
}

/// Changes these groups, likewise, and hands back how each stands.
///
/// # Errors
/// Memory is away; some changes may have been made. Asking again is safe.
pub async fn groups<M: Memory>(
    memory: &M,
    terms: GroupTerms,
    ids: impl IntoIterator<Item = GroupId>,
    mut change: impl FnMut(GroupId, &mut Group) -> bool + Send,
) -> Result<BTreeMap<GroupId, Group>, MemoryError> {
    let mut stand = BTreeMap::new();
    for (shard, ids) in by_shard(ids, |id| id.shard(terms.shards)) {
        let mut pending = ids;
        let mut rounds = 0;
        while !pending.is_empty() {
            rounds = next_round(rounds)?;
            let keys: Vec<Key> = pending.iter().map(|id| Key::Group(*id)).collect();
            let held = memory.recall(shard, &keys).await?;
            let mut swaps = Vec::new();
            for (id, held) in pending.iter().zip(&held) {
                let mut group = held.as_deref().and_then(form::read_group).unwrap_or_default();
                if change(*id, &mut group) {
                    group.forget(terms.mark, terms.keep);
                    swaps.push(group_swap(*id, held.as_deref(), &group, &terms));
                }
                stand.insert(*id, group);
            }
            let made = memory.swap(shard, &swaps).await?;
            let lost: Vec<Key> = swaps.iter().zip(made).filter(|(_, made)| !made).map(|(swap, _)| swap.key).collect();
            pending.retain(|id| lost.contains(&Key::Group(*id)));
        }
    }
    Ok(stand)
}

/// Each round somebody else was faster for some key. So often in a row nobody is: then the asker rests and asks anew.
fn next_round(rounds: u32) -> Result<u32, MemoryError> {
    if rounds == ROUNDS {
        return Err(MemoryError::Away(format!("a key was changed by others {ROUNDS} times in a row")));
    }
    Ok(rounds + 1)
}

fn group_swap(id: GroupId, held: Option<&[u8]>, group: &Group, terms: &GroupTerms) -> Swap {
    Swap {
        key: Key::Group(id),
        seen: held.map(version),
        value: form::pack_group(group),
        keep: terms.keep.saturating_mul(2),
        due: group.untold(terms.storm_interval).map(|untold| untold.due).min(),
    }
}

fn by_shard<T: Ord + Copy>(ids: impl IntoIterator<Item = T>, shard: impl Fn(T) -> u32) -> BTreeMap<Shard, Vec<T>> {
    let mut shards: BTreeMap<Shard, Vec<T>> = BTreeMap::new();
    for id in ids {
        shards.entry(Shard::Numbered(shard(id))).or_default().push(id);
    }
    for ids in shards.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    shards
}
