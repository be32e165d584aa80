//! How far this worker has read each of its partitions, and how far anybody needs all of them to be read: what the
//! partitions' tasks tell the clock, and what the clock tells them.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::watermark::Watermark;
use crate::alert::EventTime;

/// What the partitions' tasks and the clock share.
#[derive(Debug)]
pub struct Reach {
    partitions: Mutex<BTreeMap<i32, Read>>,
    count: AtomicI32,
    wanted: AtomicI64,
    assignments: AtomicU64,
    told: watch::Sender<Watermark>,
    epoch: watch::Sender<u64>,
    lost: AtomicU64,
}

/// How far one of our partitions is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which assignment of the partition this is.
    pub assignment: u64,
    /// Everything before this offset is applied; none if nothing was read yet.
    pub next: Option<i64>,
    /// Everything before this time is applied: a running maximum, as a new leader's clock may be behind.
    pub before: EventTime,
    /// Whether it reads no further before something in hand is decided.
    pub full: bool,
    /// The memory in which whoever reads it is known as its reader; none before that is so.
    pub known: Option<u64>,
    /// Whether that memory has everything of it; not while it is read again.
    pub whole: bool,
}

impl Default for Reach {
    fn default() -> Self {
        let beginning = Watermark { read: EventTime(i64::MIN), left_out: 0 };
        Self {
            partitions: Mutex::new(BTreeMap::new()),
            count: AtomicI32::new(0),
            wanted: AtomicI64::new(i64::MIN),
            assignments: AtomicU64::new(0),
            told: watch::Sender::new(beginning),
            epoch: watch::Sender::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

impl Reach {
    /// A partition has become ours, or is read again. What is answered tells this time from an earlier one.
    pub fn assigned(&self, partition: i32) -> u64 {
        let assignment = self.assignments.fetch_add(1, Ordering::Relaxed);
        let read = Read { assignment, next: None, before: EventTime(i64::MIN), full: false, known: None, whole: false };
        self.lock().insert(partition, read);
        assignment
    }

    /// The memory of this epoch knows us as its reader, and has everything of it, or not yet.
    pub fn known(&self, partition: i32, assignment: u64, epoch: u64, whole: bool) {
        if let Some(read) = self.lock().get_mut(&partition).filter(|read| read.assignment == assignment) {
            (read.known, read.whole) = (Some(epoch), whole);
        }
    }

    /// Which memory this is, and each time that it is another: then whoever left something there must look whether it
    /// still has it. 0 before that is known.
    #[must_use]
    pub fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// It is another memory. The watermark falls: what is not in memory is not read.
    pub fn began(&self, epoch: u64) {
        self.told.send_replace(Watermark { read: EventTime(i64::MIN), left_out: 0 });
        self.epoch.send_replace(epoch);
    }

    /// The memory of this epoch has lost something.
    pub fn lost(&self, epoch: u64) {
        self.lost.store(epoch, Ordering::Relaxed);
    }

    /// Whether it has.
    #[must_use]
    pub fn is_lost(&self, epoch: u64) -> bool {
        self.lost.load(Ordering::Relaxed) == epoch
    }

    /// It is ours no more.
    pub fn revoked(&self, partition: i32, assignment: u64) {
        let mut partitions = self.lock();
        if partitions.get(&partition).is_some_and(|read| read.assignment == assignment) {
            partitions.remove(&partition);
        }
    }

    /// Everything before `next` is applied; the latest of it is of `at`. Others of that very millisecond may follow.
    pub fn applied(&self, partition: i32, assignment: u64, next: i64, at: EventTime) {
        if let Some(read) = self.lock().get_mut(&partition).filter(|read| read.assignment == assignment) {
            read.next = Some(next);
            read.before = read.before.max(at);
        }
    }

    /// Whether it has room for more. One that has none must not hold back the decisions that would make room.
    pub fn full(&self, partition: i32, assignment: u64, full: bool) {
        if let Some(read) = self.lock().get_mut(&partition).filter(|read| read.assignment == assignment) {
            read.full = full;
        }
    }

    /// What is ours, and how far it is read.
    #[must_use]
    pub fn ours(&self) -> BTreeMap<i32, Read> {
        self.lock().clone()
    }

    /// How many partitions the topic has; 0 before that is known.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The topic has so many partitions.
    pub fn count(&self, partitions: i32) {
        self.count.store(partitions, Ordering::Relaxed);
    }

    /// Somebody waits until everything at or before this time is read.
    pub fn want(&self, at: EventTime) {
        self.wanted.fetch_max(at.0, Ordering::Relaxed);
    }

    /// The latest time that anybody here waits for.
    #[must_use]
    pub fn wanted(&self) -> EventTime {
        EventTime(self.wanted.load(Ordering::Relaxed))
    }

    /// Tells how far all partitions are read. It never falls, as long as memory loses nothing.
    pub fn tell(&self, watermark: Watermark) {
        self.told.send_if_modified(|told| {
            let rises = watermark.read > told.read;
            if rises {
                *told = watermark;
            }
            rises
        });
    }

    /// How far all partitions are read, and each time that this rises.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Watermark> {
        self.told.subscribe()
    }

    /// How far all partitions are read.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.told.borrow().read
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Read>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner) // every change above is made whole
    }
}
