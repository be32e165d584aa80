//! Keeps the watermark: tells memory how far our partitions are read, and hears from it how far the others are.
//!
//! A partition that is read to its end counts as read up to the moment at which the broker was asked for its end,
//! and it is asked only while somebody waits. That moment is told by the brokers' clock: the latest mark of all has
//! passed, and what went by since then is measured here; so no worker's own clock matters, but before the first
//! record of all, when it stands in, less `hold_max`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    bench::{Bench, Shared},
    reach::{Reach, Read},
    watermark::Marks,
};
use crate::{
    alert::EventTime,
    kafka::consumer::Offsets,
    lifecycle::StageError,
    memory::{
        Key, Memory, MemoryError, Shard, Swap, Version,
        form::{self, Mark},
        version,
    },
    telemetry::complaint::Complaint,
};

/// How long a mark may bear another's fence while we are its reader: whoever lost the partition knows it by then.
const BEHIND: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(50);
/// Marks outlive any pause that a deployment could take without losing what they vouch for.
const KEEP: Duration = Duration::from_hours(24);
/// How often the topic is asked for its number of partitions: before any of our producers knows of new ones.
const RECOUNT: Duration = Duration::from_secs(3);

/// What the clock keeps between two ticks.
#[derive(Debug)]
pub(super) struct Clock<M> {
    shared: Shared<M>,
    bench: Arc<Bench<M>>,
    reach: Arc<Reach>,
    offsets: Offsets,
    partitions: i32,
    marks: Marks,
    /// How long marks were watched in sum, and when last.
    watched: Duration,
    ticked: Instant,
    /// Which memory the marks are of; none before that is known.
    epoch: Option<u64>,
    /// Our fence for each of our partitions, by assignment.
    fences: BTreeMap<i32, Fence>,
    /// The brokers' clock had passed this time at that moment.
    brokers: Option<(EventTime, Instant)>,
}

/// A number that goes with our marks of one assignment.
#[derive(Clone, Copy, Debug)]
struct Fence {
    assignment: u64,
    number: u64,
    /// Since when the mark bears a higher one.
    behind: Option<Instant>,
}

/// A mark in memory: what it says, and its version there.
type Held = (Option<Mark>, Option<Version>);

impl<M: Memory> Clock<M> {
    /// A clock that knows nothing yet.
    pub(super) fn new(shared: Shared<M>, reach: Arc<Reach>, offsets: Offsets) -> Self {
        let (watched, ticked) = (Duration::ZERO, Instant::now());
        let (marks, fences) = (Marks::default(), BTreeMap::new());
        let bench = shared.now();
        let epoch = None;
        Self { shared, bench, reach, offsets, partitions: 0, marks, watched, ticked, epoch, fences, brokers: None }
    }

    /// Ticks until told to stop. What is away comes back; meanwhile the watermark stands.
    ///
    /// # Errors
    /// None.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), StageError> {
        let complaint = Complaint::new("the watermark stands still");
        let mut recount = Instant::now();
        while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            self.bench = self.shared.now();
            let unknown = self.reach.ours().keys().any(|partition| *partition >= self.partitions);
            if self.partitions == 0 || unknown || recount.elapsed() > RECOUNT {
                recount = Instant::now();
                match self.offsets.partitions().await {
                    Ok(partitions) => {
                        self.partitions = partitions;
                        self.reach.count(partitions);
                    }
                    Err(error) => complaint.raise(&error),
                }
            }
            match self.tick(now()).await {
                Ok(()) => complaint.settle(),
                Err(error) => {
                    self.bench.metrics.retried("memory");
                    complaint.raise(&error);
                }
            }
        }
        Ok(())
    }

    async fn tick(&mut self, wall: EventTime) -> Result<(), MemoryError> {
        let mut keys: Vec<Key> = (0..self.partitions).map(Key::Mark).collect();
        keys.extend([Key::Wanted, Key::Epoch]);
        let mut held = self.bench.memory.recall(Shard::Marks, &keys).await?;
        let (epoch, wanted) = (held.pop().flatten(), held.pop().flatten());
        let Some(epoch) = self.same_memory(epoch).await? else {
            return Ok(());
        };
        let others_want = wanted.as_deref().and_then(form::read_number);
        let others_want = others_want.map_or(EventTime(i64::MIN), |at| EventTime(at.cast_signed()));
        let want = others_want.max(self.reach.wanted());
        let held: BTreeMap<i32, Held> = (0..)
            .zip(held)
            .map(|(partition, value)| {
                let mark = value.as_deref().and_then(form::read_mark);
                (partition, (mark.map(|mark| mark.of(epoch)), value.as_deref().map(version)))
            })
            .collect();
        let mut marks: BTreeMap<i32, Mark> =
            held.iter().map(|(partition, (mark, _))| (*partition, mark.unwrap_or(Mark::nothing(epoch)))).collect();
        self.learn(marks.values().map(|mark| mark.read).max());
        let mut swaps = self.read_on(&held, epoch, want, wall).await;
        for swap in &swaps {
            if let (Key::Mark(partition), Some(mark)) = (swap.key, form::read_mark(&swap.value)) {
                marks.insert(partition, mark);
            }
        }
        if want > others_want {
            let (seen, value) = (wanted.as_deref().map(version), form::pack_number(want.0.cast_unsigned()));
            swaps.push(Swap { key: Key::Wanted, seen, value, keep: KEEP, due: None });
        }
        if !swaps.is_empty() {
            self.bench.memory.swap(Shard::Marks, &swaps).await?;
        }
        self.tell(marks, want);
        Ok(())
    }

    /// Whether memory is still the one that it was, and which. One that is new gets a number; one that is known to have
    /// lost something gets another, so that everybody looks whether it has what they left there.
    async fn same_memory(&mut self, held: Option<Vec<u8>>) -> Result<Option<u64>, MemoryError> {
        let epoch = held.as_deref().and_then(form::read_number);
        if epoch.is_none_or(|epoch| self.reach.is_lost(epoch)) {
            let value = form::pack_number(fastrand::u64(1..));
            let swap = Swap { key: Key::Epoch, seen: held.as_deref().map(version), value, keep: KEEP, due: None };
            self.bench.memory.swap(Shard::Marks, &[swap]).await?;
            return Ok(None);
        }
        if epoch != self.epoch {
            (self.epoch, self.marks) = (epoch, Marks::default());
            self.fences.clear();
            epoch.into_iter().for_each(|epoch| self.reach.began(epoch));
        }
        Ok(epoch)
    }

    fn learn(&mut self, latest: Option<EventTime>) {
        let latest = latest.into_iter().chain(self.reach.ours().values().map(|read| read.before)).max();
        let Some(latest) = latest.filter(|at| at.0 > i64::MIN) else {
            return;
        };
        if self.brokers_clock(Instant::now()).is_none_or(|known| latest > known) {
            self.brokers = Some((latest, Instant::now()));
        }
    }

    /// A time that the brokers' clock had passed at `moment`, if a record or a mark has told.
    fn brokers_clock(&self, moment: Instant) -> Option<EventTime> {
        self.brokers.map(|(at, seen)| at.plus(moment.saturating_duration_since(seen)))
    }

    /// New marks of our own partitions. One whose fence in memory is no longer ours is left alone: somebody else
    /// has it, or had it after us.
    async fn read_on(&mut self, held: &BTreeMap<i32, Held>, epoch: u64, want: EventTime, wall: EventTime) -> Vec<Swap> {
        let ours = self.reach.ours();
        self.fences
            .retain(|partition, fence| ours.get(partition).is_some_and(|read| read.assignment == fence.assignment));
        let mut swaps = Vec::new();
        let whole = |read: &Read| read.known == Some(epoch) && read.whole;
        let behind = ours
            .iter()
            .filter(|(_, read)| EventTime(read.before.0.saturating_sub(1)) < want && !read.full && whole(read));
        let ends =
            behind.map(|(partition, read)| async { (*partition, self.to_the_end(*partition, read.next, wall).await) });
        let ends: BTreeMap<i32, Option<EventTime>> = join_all(ends).await.into_iter().collect();
        // whom this memory does not know as the reader has nothing to say: the partition may be another's by now
        for (partition, read) in ours.into_iter().filter(|(_, read)| read.known == Some(epoch)) {
            let Some((mark, seen)) = held.get(&partition) else {
                continue;
            };
            let mark = mark.unwrap_or(Mark::nothing(epoch));
            let Some(fence) = self.fence(partition, &read, mark.fence) else {
                continue;
            };
            // what is read again is no news before all of it is
            let (again, before) = (!whole(&read), EventTime(read.before.0.saturating_sub(1)));
            let mut reached = if again { mark.read } else { mark.read.max(before) };
            if read.full && reached < want {
                self.bench.metrics.late_partition(); // it makes room only when what it holds is decided
                reached = want;
            }
            reached = reached.max(ends.get(&partition).copied().flatten().unwrap_or(reached));
            let progress = if again { read.next.unwrap_or(0).cast_unsigned() } else { 0 };
            let becomes = Mark { fence, read: reached, epoch, progress };
            if becomes != mark {
                let value = form::pack_mark(&becomes);
                swaps.push(Swap { key: Key::Mark(partition), seen: *seen, value, keep: KEEP, due: None });
            }
        }
        swaps
    }

    /// Our fence for a partition, unless somebody has taken a higher one. Who did and lost the partition since will not
    /// take it back: when we are still its reader a while later, we take a higher one ourselves.
    fn fence(&mut self, partition: i32, read: &Read, held: u64) -> Option<u64> {
        let fresh = Fence { assignment: read.assignment, number: held.saturating_add(1), behind: None };
        let fence = self.fences.entry(partition).or_insert(fresh);
        if held <= fence.number {
            fence.behind = None;
        } else if fence.behind.get_or_insert_with(Instant::now).elapsed() < BEHIND {
            return None;
        } else {
            *fence = fresh;
        }
        Some(fence.number)
    }

    /// If a partition is read to its end: the time up to which that is so.
    async fn to_the_end(&self, partition: i32, next: Option<i64>, wall: EventTime) -> Option<EventTime> {
        let asked = Instant::now();
        let (begin, end) = self.offsets.ends(partition).await.ok()?;
        let beyond = self.offsets.beyond(partition, next);
        let next = match next.max(beyond) {
            Some(next) => next,
            // nothing was handed to us yet, and what retention took is not handed to anybody
            None => self.offsets.committed(partition).await.ok()?.unwrap_or(begin).max(begin),
        };
        let hold_max = self.bench.pipeline.storm.hold_max;
        let reached = self.brokers_clock(asked).unwrap_or(wall.minus(hold_max));
        (next >= end).then_some(EventTime(reached.0.saturating_sub(1)))
    }

    fn tell(&mut self, marks: BTreeMap<i32, Mark>, want: EventTime) {
        // time in which memory gave no answer counts for nobody: no partition could have moved its mark
        self.watched += self.ticked.elapsed().min(Duration::from_secs(1));
        self.ticked = Instant::now();
        let now = self.watched;
        let marks = marks.into_iter().map(|(partition, mark)| (partition, mark.read, mark.progress));
        self.marks.note(marks, want, now);
        let watermark = self.marks.watermark(now, self.bench.pipeline.storm.hold_max);
        (0..watermark.left_out).for_each(|_| self.bench.metrics.late_partition());
        if watermark.read.0 > i64::MIN {
            self.reach.tell(watermark);
            let behind = self.marks.latest().map_or(0, |latest| latest.0.saturating_sub(watermark.read.0));
            self.bench.metrics.watermark_lag(Duration::from_millis(u64::try_from(behind).unwrap_or(0)));
        }
    }
}

fn now() -> EventTime {
    EventTime(jiff::Timestamp::now().as_millisecond())
}
