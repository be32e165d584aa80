//! What `work::rewind` does when memory has lost something: each partition is read again from the horizon, and decides
//! nothing before it is back where it was. Whoever takes it over before memory is whole begins there too.

use std::collections::BTreeMap;

use breakwater::{alert::EventTime, kafka::ledger::Ledger};

use super::{Hand, Partition, World};

impl World {
    /// Memory has nothing but what it had after so many changes: everybody notices.
    pub fn lose(&mut self, age: usize) {
        self.bench.memory.back_to(age);
        for partition in 0..self.partitions.len() {
            let next = self.hands[partition].take().map_or(self.partitions[partition].committed, |hand| hand.next);
            let Partition { back, mark, .. } = &mut self.partitions[partition];
            (*back, *mark) = ((*back).max(Some(next)), EventTime(i64::MIN)); // an epoch tells all of them at once
        }
    }

    /// As the next owner of a partition begins.
    pub(super) fn begin(&mut self, partition: usize) -> Hand {
        let horizon = self.bench.horizon();
        let lately = self.now.minus(self.bench.pipeline.storm.hold_max);
        let partition = &mut self.partitions[partition];
        let floor = partition.committed;
        let mut next = floor;
        if partition.back.is_some() {
            let oldest = usize::try_from(floor).ok().and_then(|low| partition.log.get(low));
            let from = oldest.map_or(lately, |record| record.at).minus(horizon);
            next = i64::try_from(partition.log.partition_point(|record| record.at < from)).unwrap().min(floor);
            partition.mark = EventTime(i64::MIN);
        }
        Hand { next, floor, ledger: Ledger::default(), waiting: BTreeMap::new(), rest: Vec::new() }
    }

    /// Memory is whole once all that was read again is decided too.
    pub(super) fn vouch(&mut self, partition: usize, hand: &Hand) {
        let back = &mut self.partitions[partition].back;
        let rest = hand.rest.iter().map(|record| record.position.offset);
        let mut held = hand.waiting.keys().copied().chain(rest);
        if back.is_some_and(|back| hand.next >= back) && held.all(|offset| offset >= hand.floor) {
            *back = None;
        }
    }
}
