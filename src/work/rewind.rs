//! How a partition begins: as it was left, if memory has everything of it; else back to the horizon.
//!
//! There is one way to recover, whatever memory has lost: read again what could matter, from the oldest unfinished record
//! back by the horizon. Positions make that idempotent, and names make what is drafted again what it was. Until it is
//! back where it was, the partition holds the watermark down, so that nothing is decided on half of what happened:
//! an incident whose end lies further on in the log is not brought back.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::partition::{Desk, Halt};
use crate::{
    alert::EventTime,
    kafka::consumer::Partition,
    memory::{Memory, Vouched, vouch::Reader},
};

/// How long a word of a reader holds that says nothing more: what it vouches for outlives it.
const KEEP: Duration = super::bench::MARGIN;
/// How long whoever finds its partition in other hands waits to be told that it lost it.
const TAKEN: Duration = Duration::from_secs(15);
/// How long the first unfinished record may take to come, before its time is guessed.
const FIRST: Duration = Duration::from_secs(5);

/// Where a partition stands whose memory is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// The oldest unfinished record, or the next one to come: nothing before it is committed twice.
    pub(super) low: i64,
    /// No record at or after `low` is older.
    pub(super) at: EventTime,
    /// The first record that was never read.
    pub(super) next: i64,
}

impl<M: Memory + Clone> Desk<M> {
    /// Makes the partition ready to be read on.
    pub(super) async fn begin(&mut self, partition: &mut Partition, before: Option<Stand>) -> Result<(), Halt> {
        let epoch = *self.stage.reach.epoch().borrow();
        let reader = Reader {
            partition: self.number,
            nonce: fastrand::u64(..),
            shards: self.bench.pipeline.dedup.shards,
            keep: KEEP,
        };
        let now = self.stage.bench.now();
        let memory = &now.memory;
        let (memory, whole) = self.patiently(|| Vouched::take_over(memory.clone(), reader)).await?;
        self.bench = now.over(memory);
        self.vouched = whole;
        if !whole || before.is_some() {
            let stand = match before {
                Some(stand) => stand,
                None => self.stand(partition).await?,
            };
            self.go_back(partition, stand).await?;
        }
        self.epoch = epoch;
        self.stage.reach.known(self.number, self.assignment, epoch, false);
        self.arrive().await
    }

    /// Where a partition stands that has just become ours.
    async fn stand(&mut self, partition: &mut Partition) -> Result<Stand, Halt> {
        let (number, offsets) = (self.number, self.stage.offsets.clone());
        let (begin, end) = self.steadily(|| offsets.ends(number)).await?;
        let low = self.steadily(|| offsets.committed(number)).await?.unwrap_or(begin).max(begin);
        let now = EventTime(jiff::Timestamp::now().as_millisecond());
        let guess = now.minus(self.bench.pipeline.storm.hold_max);
        if low >= end {
            return Ok(Stand { low, at: guess, next: low });
        }
        // one that is in hand already, as memory was lost before it was applied, is nobody else's to read
        if self.first.is_none() {
            self.first = tokio::select! {
                () = self.gone.cancelled() => return Err(Halt::Gone),
                () = self.stop.cancelled() => return Err(Halt::Gone),
                first = timeout(FIRST, partition.records.recv()) => first.ok().flatten(),
            };
        }
        let at = self.first.as_ref().map_or(guess, |record| record.at);
        Ok(Stand { low, at, next: low })
    }

    /// Reads again from the horizon, if anything lies there.
    async fn go_back(&mut self, partition: &mut Partition, stand: Stand) -> Result<(), Halt> {
        let (number, offsets, gone) = (self.number, self.stage.offsets.clone(), self.gone.clone());
        let horizon = stand.at.minus(self.bench.horizon());
        let (begin, _) = self.steadily(|| offsets.ends(number)).await?;
        let found = self.steadily(|| offsets.at(number, horizon)).await?;
        let from = found.unwrap_or(stand.low).clamp(begin.min(stand.low), stand.low);
        let nothing_there = from == stand.low && stand.next == stand.low;
        if nothing_there && self.first.is_some() {
            return Ok(());
        }
        tracing::info!(
            partition = number,
            from,
            low = stand.low,
            back = stand.next,
            "memory does not have everything of this partition: what may matter is read again"
        );
        partition.records = self.steadily(|| offsets.rewind(number, from, &gone)).await?;
        self.first = None;
        self.floor = stand.low;
        self.back = (from < stand.next).then_some(stand.next);
        self.bench.metrics.rewound();
        Ok(())
    }

    /// Everything that was read before is in memory again: from now on others may decide by it.
    pub(super) async fn arrive(&mut self) -> Result<(), Halt> {
        let applied = self.handed.map(|(next, _)| next);
        let beyond = self.stage.offsets.beyond(self.number, applied); // where no record lies, none will come
        if self.back.is_some_and(|back| applied.max(beyond) < Some(back)) {
            return Ok(());
        }
        self.patiently(|| self.bench.memory.renew()).await?; // what it has lost meanwhile is not read
        self.back = None;
        self.vouch().await?;
        self.stage.reach.known(self.number, self.assignment, self.epoch, true);
        Ok(())
    }

    /// Says that memory is whole, once all that was read again is decided and written too: whoever takes the partition over
    /// then begins at what was committed, and would never come to a record before that which is still in our hands.
    pub(super) async fn vouch(&mut self) -> Result<(), Halt> {
        if self.back.is_none() && !self.vouched && !self.holds_finished() {
            self.patiently(|| self.bench.memory.complete()).await?;
            self.vouched = true;
        }
        Ok(())
    }

    /// Another epoch, or time for another word: looks whether memory has what was left there.
    pub(super) async fn renew(&mut self) -> Result<(), Halt> {
        let epoch = *self.stage.reach.epoch().borrow();
        self.patiently(|| self.bench.memory.renew()).await?;
        self.epoch = epoch;
        self.stage.reach.known(self.number, self.assignment, epoch, self.back.is_none());
        if self.back.is_some() { self.arrive().await } else { self.vouch().await }
    }

    /// Memory has lost something. If that is because somebody else reads the partition, we are about to hear so.
    pub(super) async fn lost(&mut self) -> Result<(), Halt> {
        if self.patiently(|| self.bench.memory.is_anothers()).await? {
            return tokio::select! {
                () = self.gone.cancelled() => Err(Halt::Gone),
                () = self.stop.cancelled() => Err(Halt::Gone),
                () = sleep(TAKEN) => Ok(()),
            };
        }
        self.stage.reach.lost(self.epoch);
        Ok(())
    }
}
