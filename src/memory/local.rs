//! Memory in this process: for `demo`, and for tests in virtual time. It forgets by event time, as it has no other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Key, Memory, MemoryError, Shard, Swap, Version, version};
use crate::{alert::EventTime, remediation::GroupId};

/// Memory in this process. Bounded by what lives at once: a value that was not touched for its time is dropped.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Local {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    values: HashMap<(Shard, Key), Kept>,
    due: BTreeMap<Shard, BTreeSet<(EventTime, GroupId)>>,
    dues: HashMap<GroupId, EventTime>,
    ends: BTreeSet<(Duration, Shard, Key)>,
    clock: Duration,
}

#[derive(Debug)]
struct Kept {
    value: Vec<u8>,
    version: Version,
    ends: Duration,
}

impl Local {
    /// Tells how much time has passed since some beginning; what is over by then is dropped.
    pub fn advance(&self, clock: Duration) {
        let mut state = self.state();
        state.clock = state.clock.max(clock);
        let clock = state.clock;
        while let Some(&(ends, shard, key)) = state.ends.first()
            && ends < clock
        {
            state.ends.remove(&(ends, shard, key));
            state.values.remove(&(shard, key));
            if let Key::Group(group) = key {
                state.mark_due(shard, group, None);
            }
        }
    }

    /// Forgets everything, as a Redis that was flushed.
    pub fn flush(&self) {
        let mut state = self.state();
        let clock = state.clock;
        *state = State { clock, ..State::default() };
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().values.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the first group of a shard is due.
    #[must_use]
    pub fn first_due(&self, shard: Shard) -> Option<EventTime> {
        self.state().due.get(&shard)?.first().map(|(due, _)| *due)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // every change below is made whole
    }
}

impl State {
    fn swap(&mut self, shard: Shard, swap: &Swap) -> bool {
        let becomes = version(&swap.value);
        let holds = self.values.get(&(shard, swap.key)).map(|kept| kept.version);
        if holds != swap.seen && holds != Some(becomes) {
            return false;
        }
        let ends = self.clock.saturating_add(swap.keep);
        let kept = Kept { value: swap.value.clone(), version: becomes, ends };
        if let Some(before) = self.values.insert((shard, swap.key), kept) {
            self.ends.remove(&(before.ends, shard, swap.key));
        }
        self.ends.insert((ends, shard, swap.key));
        if let Key::Group(group) = swap.key {
            self.mark_due(shard, group, swap.due);
        }
        true
    }

    fn mark_due(&mut self, shard: Shard, group: GroupId, due: Option<EventTime>) {
        let index = self.due.entry(shard).or_default();
        let before = match due {
            Some(due) => {
                index.insert((due, group));
                self.dues.insert(group, due).filter(|before| *before != due)
            }
            None => self.dues.remove(&group),
        };
        if let Some(before) = before {
            index.remove(&(before, group));
        }
    }
}

impl Memory for Local {
    async fn recall(&self, shard: Shard, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, MemoryError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.values.get(&(shard, *key)).map(|kept| kept.value.clone())).collect())
    }

    async fn guarded(&self, shard: Shard, guard: Option<&Swap>, swaps: &[Swap]) -> Result<Vec<bool>, MemoryError> {
        let mut state = self.state();
        if guard.is_some_and(|guard| !state.swap(shard, guard)) {
            return Err(MemoryError::Lost);
        }
        Ok(swaps.iter().map(|swap| state.swap(shard, swap)).collect())
    }

    async fn due(&self, shard: Shard, limit: usize) -> Result<Vec<(GroupId, EventTime)>, MemoryError> {
        let state = self.state();
        let index = state.due.get(&shard);
        Ok(index.into_iter().flatten().take(limit).map(|(due, group)| (*group, *due)).collect())
    }

    async fn probe(&self) -> Result<(), MemoryError> {
        Ok(())
    }
}
