//! The assignment as a state machine over events: which partitions are ours, who reads them, who has room.
//!
//! Each partition has a queue of its own in the client (`Q`), and a record is taken from it only once its reader has
//! room. So a slow reader fills its own queue, the client stops fetching that partition alone, and nothing that was
//! fetched is thrown away. A partition that is revoked is cancelled within the event, before anyone else can own it.
//! One whose offsets fall is another log under the same name (the topic was made anew, or cut back): it is given anew.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::{Partition, Record, trail::Trail};
use crate::alert::EventTime;

/// Records of one partition in one turn: the neighbours wait no longer than that.
const TURN: usize = 256;

/// What happens to an assignment.
pub(super) enum Event<Q> {
    /// These partitions were added.
    Assigned(Vec<(i32, Q)>),
    /// These were taken away.
    Revoked(Vec<i32>),
    /// The partitions whose offsets fell are given anew.
    BegunAgain,
    /// Nothing new is to be handed out any more; what is ours remains ours.
    Stopped,
    /// All of it is given back.
    Left,
}

/// One partition of ours.
struct Slot<Q> {
    queue: Q,
    records: mpsc::Sender<Record>,
    revoked: CancellationToken,
    full: bool,
    /// The offset after the last record that was handed over, if one was.
    next: Option<i64>,
    /// A record that lies before it.
    fallen: Option<Record>,
    trail: Trail,
}

/// What came of a round over all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// How many records were handed over.
    pub(super) taken: usize,
    /// Whether a partition has more.
    pub(super) more: bool,
    /// Whether a reader has no room.
    pub(super) full: bool,
    /// Whether the offsets of a partition fell: [`Event::BegunAgain`] is due.
    pub(super) fallen: bool,
}

/// The partitions of ours. Memory: `capacity` records each, beside the client's queues.
pub(super) struct Assignment<Q> {
    slots: BTreeMap<i32, Slot<Q>>,
    capacity: usize,
    announce: mpsc::Sender<Partition>,
    unannounced: VecDeque<Partition>,
    stopped: bool,
}

impl<Q> Assignment<Q> {
    pub(super) fn new(capacity: usize, announce: mpsc::Sender<Partition>) -> Self {
        Self {
            slots: BTreeMap::new(),
            capacity: capacity.max(1),
            announce,
            unannounced: VecDeque::new(),
            stopped: false,
        }
    }

    /// The one transition.
    pub(super) fn on(&mut self, event: Event<Q>) {
        match event {
            Event::Assigned(added) => self.assigned(added),
            Event::Revoked(numbers) => self.revoked(&numbers),
            Event::BegunAgain => self.begun_again(),
            Event::Stopped => {
                self.stopped = true;
                self.unannounced.clear();
            }
            Event::Left => {
                let all: Vec<_> = self.slots.keys().copied().collect();
                self.revoked(&all);
            }
        }
    }

    /// A new channel for a partition of ours: what lies in the old one is dropped with it. None if it is ours no more.
    pub(super) fn again(&mut self, number: i32) -> Option<mpsc::Receiver<Record>> {
        let slot = self.slots.get_mut(&number)?;
        let (sender, records) = mpsc::channel(self.capacity);
        (slot.records, slot.next, slot.fallen, slot.trail) = (sender, None, None, Trail::default());
        Some(records)
    }

    /// How many partitions are ours, and how many of them wait for their reader.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.slots.len(), self.slots.values().filter(|slot| slot.full).count())
    }

    /// Hands over what there is and what there is room for, each partition in its turn. `poll` takes the next record
    /// of a queue.
    pub(super) fn round(&mut self, mut poll: impl FnMut(&Q) -> Option<Record>) -> Round {
        self.announce();
        let mut round = Round::default();
        if self.stopped {
            return round;
        }
        for slot in self.slots.values_mut() {
            let taken = slot.turn(&mut poll);
            round.taken += taken;
            round.more |= taken == TURN;
            round.full |= slot.full;
            round.fallen |= slot.fallen.is_some();
        }
        round
    }

    fn assigned(&mut self, added: Vec<(i32, Q)>) {
        for (number, queue) in added {
            let (records, revoked) = self.give(number);
            let slot = Slot { queue, records, revoked, full: false, next: None, fallen: None, trail: Trail::default() };
            if let Some(before) = self.slots.insert(number, slot) {
                before.revoked.cancel(); // lost and won back without a word in between
            }
        }
        self.announce();
    }

    /// The two ends that we keep of a partition that is to be announced.
    fn give(&mut self, number: i32) -> (mpsc::Sender<Record>, CancellationToken) {
        let (sender, records) = mpsc::channel(self.capacity);
        let revoked = CancellationToken::new();
        if !self.stopped {
            let token = revoked.clone();
            self.unannounced.push_back(Partition { number, records, revoked: token });
        }
        (sender, revoked)
    }

    fn begun_again(&mut self) {
        let fallen: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.fallen.is_some()).map(|(n, _)| *n).collect();
        for number in fallen {
            let (records, revoked) = self.give(number);
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.revoked.cancel();
                (slot.records, slot.revoked, slot.next) = (records, revoked, None);
                slot.trail = Trail::default();
            }
        }
        self.unannounced.retain(|partition| !partition.revoked.is_cancelled());
        self.announce();
    }

    /// Partitions of which nothing was handed over yet.
    pub(super) fn fresh(&self) -> impl Iterator<Item = i32> + '_ {
        self.slots.iter().filter(|(_, slot)| slot.next.is_none()).map(|(number, _)| *number)
    }

    /// For each partition the offset after the last record that was handed over, if one was.
    pub(super) fn handed(&self) -> BTreeMap<i32, Option<i64>> {
        self.slots.iter().map(|(number, slot)| (*number, slot.next)).collect()
    }

    /// The time of the oldest record in hand, given for each partition where a restart would begin to read it.
    pub(super) fn oldest(&mut self, stored: &BTreeMap<i32, i64>) -> Option<EventTime> {
        let of = |(number, slot): (&i32, &mut Slot<Q>)| slot.trail.oldest(stored.get(number).copied(), slot.next);
        self.slots.iter_mut().filter_map(of).min()
    }

    fn revoked(&mut self, numbers: &[i32]) {
        for number in numbers {
            if let Some(slot) = self.slots.remove(number) {
                slot.revoked.cancel();
            }
        }
        self.unannounced.retain(|partition| !partition.revoked.is_cancelled());
    }

    fn announce(&mut self) {
        while let Some(partition) = self.unannounced.pop_front() {
            match self.announce.try_send(partition) {
                Ok(()) => {}
                Err(TrySendError::Full(partition) | TrySendError::Closed(partition)) => {
                    self.unannounced.push_front(partition);
                    return;
                }
            }
        }
    }
}

impl<Q> Slot<Q> {
    /// A reader that is gone without a revocation has failed, and its stage with it: its partition waits like a full one.
    fn turn(&mut self, poll: &mut impl FnMut(&Q) -> Option<Record>) -> usize {
        for taken in 0..TURN {
            let Ok(room) = self.records.try_reserve() else {
                self.full = true;
                return taken;
            };
            self.full = false;
            match self.fallen.take().or_else(|| poll(&self.queue)) {
                Some(record) if self.next.is_some_and(|next| record.position.offset < next) => {
                    self.fallen = Some(record);
                    return taken;
                }
                Some(record) => {
                    self.next = Some(record.position.offset + 1);
                    self.trail.pass(record.position.offset, record.at);
                    room.send(record);
                }
                None => return taken,
            }
        }
        TURN
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use bytes::Bytes;

    use super::*;
    use crate::alert::{Position, headers::Headers};

    type Queue = RefCell<VecDeque<i64>>;

    fn queue(offsets: std::ops::Range<i64>) -> Queue {
        RefCell::new(offsets.collect())
    }

    fn next(queue: &Queue) -> Option<Record> {
        let offset = queue.borrow_mut().pop_front()?;
        let position = Position { partition: 0, offset };
        Some(Record { position, at: EventTime(0), key: None, value: Bytes::new(), headers: Headers::default() })
    }

    fn assignment(capacity: usize) -> (Assignment<Queue>, mpsc::Receiver<Partition>) {
        let (announce, partitions) = mpsc::channel(2);
        (Assignment::new(capacity, announce), partitions)
    }

    fn offsets(partition: &mut Partition) -> Vec<i64> {
        std::iter::from_fn(|| partition.records.try_recv().ok()).map(|record| record.position.offset).collect()
    }

    #[test]
    fn a_partition_is_announced_once_and_gets_its_records_in_order() {
        let (mut assignment, mut partitions) = assignment(4);
        assignment.on(Event::Assigned(vec![(0, queue(0..3)), (1, queue(0..0))]));
        let mut first = partitions.try_recv().expect("it is announced");
        assert_eq!(assignment.round(next), Round { taken: 3, ..Round::default() });
        assert_eq!((first.number, offsets(&mut first)), (0, vec![0, 1, 2]));
        assert_eq!(partitions.try_recv().map(|second| second.number), Ok(1));
        assert!(partitions.try_recv().is_err());
    }

    #[test]
    fn k16_a_full_partition_waits_and_its_neighbour_goes_on() {
        let (mut assignment, mut partitions) = assignment(2);
        assignment.on(Event::Assigned(vec![(0, queue(0..5)), (1, queue(7..8))]));
        let (mut slow, mut quick) = (partitions.try_recv().expect("0"), partitions.try_recv().expect("1"));
        assert_eq!(assignment.round(next), Round { taken: 3, full: true, ..Round::default() });
        assert_eq!((offsets(&mut quick), assignment.count()), (vec![7], (2, 1)));
        assert_eq!(assignment.round(next).taken, 0);
        assert_eq!(offsets(&mut slow), [0, 1]);
        assert_eq!(assignment.round(next).taken, 2);
        assert_eq!(offsets(&mut slow), [2, 3]);
    }

    #[test]
    fn a_long_queue_takes_turns() {
        let (mut assignment, _partitions) = assignment(10_000);
        assignment.on(Event::Assigned(vec![(0, queue(0..300)), (1, queue(0..1))]));
        assert_eq!(assignment.round(next), Round { taken: TURN + 1, more: true, ..Round::default() });
        assert_eq!(assignment.round(next).taken, 300 - TURN);
    }

    #[test]
    fn k05_a_revoked_partition_is_cancelled_within_the_event_and_a_later_one_is_another() {
        let (mut assignment, mut partitions) = assignment(2);
        assignment.on(Event::Assigned(vec![(0, queue(0..9))]));
        let mut first = partitions.try_recv().expect("it is announced");
        assignment.on(Event::Revoked(vec![0]));
        assert!(first.revoked.is_cancelled());
        assert_eq!(assignment.round(next).taken, 0);
        assert!(matches!(first.records.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assignment.on(Event::Assigned(vec![(0, queue(0..9))]));
        let second = partitions.try_recv().expect("it is announced again");
        assert!(!second.revoked.is_cancelled() && first.revoked.is_cancelled());
    }

    #[test]
    fn k15_a_partition_whose_offsets_fall_is_given_anew_and_no_record_is_lost() {
        let (mut assignment, mut partitions) = assignment(9);
        let log = RefCell::new(VecDeque::from([500, 501, 0, 1]));
        assignment.on(Event::Assigned(vec![(0, log)]));
        let mut former = partitions.try_recv().expect("it is announced");
        assert_eq!(assignment.round(next), Round { taken: 2, fallen: true, ..Round::default() });
        assert_eq!(offsets(&mut former), [500, 501]);
        assignment.on(Event::BegunAgain);
        assert!(former.revoked.is_cancelled());
        let mut fresh = partitions.try_recv().expect("it is announced anew");
        assert_eq!(assignment.round(next), Round { taken: 2, ..Round::default() });
        assert_eq!((offsets(&mut fresh), fresh.revoked.is_cancelled()), (vec![0, 1], false));
    }

    #[test]
    fn a_partition_revoked_before_anyone_took_it_is_never_announced() {
        let (mut assignment, mut partitions) = assignment(1);
        assignment.on(Event::Assigned((0..4).map(|number| (number, queue(0..0))).collect()));
        assignment.on(Event::Revoked(vec![2]));
        let announced: Vec<_> = std::iter::from_fn(|| {
            assignment.round(next);
            partitions.try_recv().ok().map(|partition| partition.number)
        })
        .collect();
        assert_eq!(announced, [0, 1, 3]);
    }

    #[test]
    fn after_stop_nothing_new_is_handed_out_and_what_is_ours_remains_so() {
        let (mut assignment, mut partitions) = assignment(2);
        assignment.on(Event::Assigned(vec![(0, queue(0..1))]));
        let mut partition = partitions.try_recv().expect("it is announced");
        assignment.on(Event::Stopped);
        assignment.on(Event::Assigned(vec![(3, queue(0..1))]));
        assert_eq!(assignment.round(next), Round::default());
        assert!(offsets(&mut partition).is_empty() && partitions.try_recv().is_err());
        assert!(!partition.revoked.is_cancelled());
        assignment.on(Event::Left);
        assert!(partition.revoked.is_cancelled());
        assert_eq!(assignment.count(), (0, 0));
    }
}
