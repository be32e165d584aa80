//! One partition: gathers a batch, applies it, publishes, finishes; and decides what is due each time the watermark
//! rises. While memory or Kafka is away it waits, its channel fills, and the partition is paused: that is all our
//! backpressure.
//!
//! Should we die between any two lines, the same records come again, memory answers alike, and the same drafts go
//! out under the same names.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opentelemetry::trace::TraceContextExt as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    batch::{self, Applied, Waiting},
    bench::{Bench, Shared},
    reach::Reach,
    rewind::Stand,
};
use crate::{
    alert::{EventTime, Position},
    crash,
    decide::outcome::Outcome,
    kafka::{
        Record, carrier,
        consumer::{Offsets, Partition},
        ledger::Ledger,
        producer::Producer,
    },
    memory::{Memory, Vouched},
    telemetry::{complaint::Complaint, health::Condition},
};

/// Records of one batch.
const BATCH: usize = 1000;
/// Records that may wait for their decision, and what their values may weigh, before the partition reads no further.
const WAITING: usize = 25_000;
const WAITING_BYTES: usize = 16 << 20;
/// How often memory is told that we still read, and asked whether it has what we left there.
const VOUCH: Duration = Duration::from_secs(5);
/// How soon memory is asked again whether somebody else has published a storm that a record of ours belongs to.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Traces that one batch's span is linked to; the SDK keeps no more.
const LINKS: usize = 128;

/// What the partitions of a stage share.
#[derive(Debug)]
pub struct Stage<M> {
    /// What every step leans on.
    pub bench: Shared<M>,
    /// What the tasks and the clock share.
    pub reach: Arc<Reach>,
    /// Where offsets are stored.
    pub offsets: Offsets,
    /// The way out.
    pub producer: Producer,
    /// Whether memory answers.
    pub memory_answers: Condition,
}

/// One partition, as long as it is ours.
#[derive(Debug)]
pub(super) struct Desk<M> {
    pub(super) stage: Arc<Stage<M>>,
    /// The stage's, but that memory answers only while it has everything that was left there.
    pub(super) bench: Bench<Vouched<M>>,
    pub(super) number: i32,
    pub(super) assignment: u64,
    pub(super) epoch: u64,
    pub(super) gone: CancellationToken,
    pub(super) stop: CancellationToken,
    ledger: Ledger,
    pub(super) waiting: BTreeMap<i64, Waiting>,
    pub(super) weight: usize,
    rest: Vec<Record>,
    /// Read already, and not yet applied.
    pub(super) first: Option<Record>,
    /// The offset after the last record that was handed to us, and the latest time among them all.
    pub(super) handed: Option<(i64, EventTime)>,
    /// While the partition is read again: where it was.
    pub(super) back: Option<i64>,
    /// Nothing before this offset is to be stored, as it was committed.
    pub(super) floor: i64,
    /// Whether memory was told that it has everything of the partition.
    pub(super) vouched: bool,
    /// Whether something is due by now and has not been decided.
    pub(super) overdue: bool,
    pub(super) complaint: Complaint,
}

/// Why a partition is worked on no further. What is in hand stays uncommitted and comes again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Halt {
    /// The partition was revoked, or the process is to stop.
    Gone,
    /// Memory has lost something of it: it is read again.
    Lost,
}

impl<M: Memory + Clone> Desk<M> {
    /// A partition that has just become ours. `stop` ends it between two batches; while something is away, at once.
    pub(super) fn new(stage: Arc<Stage<M>>, partition: &Partition, stop: CancellationToken) -> Self {
        let memory = Vouched::of_nothing(stage.bench.now().memory.clone());
        Self {
            bench: stage.bench.now().over(memory),
            number: partition.number,
            assignment: stage.reach.assigned(partition.number),
            epoch: 0,
            stage,
            gone: partition.revoked.clone(),
            stop,
            ledger: Ledger::default(),
            waiting: BTreeMap::new(),
            weight: 0,
            rest: Vec::new(),
            first: None,
            handed: None,
            back: None,
            floor: 0,
            vouched: false,
            overdue: false,
            complaint: Complaint::new("a partition waits"),
        }
    }

    /// Works until the partition is revoked, its records end, or stop is told; from the horizon on whenever memory
    /// has lost something.
    pub(super) async fn run(mut self, mut partition: Partition) {
        let mut before = None;
        loop {
            let end = match self.begin(&mut partition, before).await {
                Ok(()) => self.work(&mut partition).await,
                Err(end) => end,
            };
            before = self.stand_now().or(before);
            self.release();
            if matches!(end, Halt::Gone) || self.lost().await.is_err() {
                break;
            }
            self.assignment = self.stage.reach.assigned(self.number);
        }
        self.stage.reach.revoked(self.number, self.assignment);
    }

    async fn work(&mut self, partition: &mut Partition) -> Halt {
        let (mut marks, mut epochs) = (self.stage.reach.watch(), self.stage.reach.epoch());
        let mut records: Vec<Record> = Vec::with_capacity(BATCH);
        let mut again = tokio::time::interval(ASK_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut vouch = tokio::time::interval(VOUCH);
        vouch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(first) = self.first.take()
            && let Err(end) = self.apply(vec![first]).await
        {
            return end;
        }
        loop {
            let room = self.waiting.len() < WAITING && self.weight < WAITING_BYTES && self.rest.len() < BATCH;
            self.stage.reach.full(self.number, self.assignment, !room);
            let done = tokio::select! {
                biased;
                () = self.gone.cancelled() => return Halt::Gone,
                () = self.stop.cancelled() => return Halt::Gone,
                Ok(()) = epochs.changed() => self.renew().await,
                _ = vouch.tick() => self.renew().await, // the first at once: the epoch may have changed since we began
                Ok(()) = marks.changed() => {
                    let mark = marks.borrow_and_update().read;
                    self.settle(mark).await
                }
                _ = again.tick(), if self.overdue || !self.rest.is_empty() => {
                    let mark = marks.borrow().read;
                    self.ask_again(mark).await
                }
                count = partition.records.recv_many(&mut records, BATCH), if room => match count {
                    0 => return Halt::Gone,
                    _ => self.apply(std::mem::take(&mut records)).await,
                },
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Takes up a changed pipeline. Asked whenever something is taken up, not before: records may be long in coming.
    pub(super) fn follow(&mut self) {
        let now = self.stage.bench.now();
        if !Arc::ptr_eq(&now.pipeline, &self.bench.pipeline) {
            self.bench = now.over(self.bench.memory.clone());
        }
    }

    async fn apply(&mut self, records: Vec<Record>) -> Result<(), Halt> {
        self.follow();
        for record in &records {
            self.ledger.begin(record.position.offset);
        }
        self.bench.metrics.consumed(records.len() as u64);
        if let Some(last) = records.last() {
            let latest = self.handed.map_or(last.at, |(_, at)| at.max(last.at));
            self.handed = Some((last.position.offset + 1, latest));
        }
        let mut batch = std::mem::take(&mut self.rest);
        batch.extend(records);
        let applied = self.apply_batch(batch).await?;
        crash::point("work-applied");
        self.set_aside(&applied).await?;
        crash::point("work-set-aside");
        for (position, outcome) in &applied.finished {
            self.finish(position.offset, *outcome);
        }
        for (record, _) in &applied.unreadable {
            self.finish(record.position.offset, Outcome::DeadLettered);
        }
        self.hold(applied);
        if let Some((next, at)) = self.unread().or(self.handed) {
            self.stage.reach.applied(self.number, self.assignment, next, at);
        }
        self.store();
        crash::point("work-stored");
        if self.back.is_some() { self.arrive().await } else { Ok(()) }
    }

    /// What must come again later is not read yet: nobody decides as if it were. Unless it waits for a decision that
    /// is due after it, which would never be taken.
    fn unread(&self) -> Option<(i64, EventTime)> {
        let record = self.rest.first()?;
        let first_due = self.waiting.values().map(|waiting| waiting.kin.due).min()?;
        (first_due < record.at).then_some((record.position.offset, record.at))
    }

    async fn ask_again(&mut self, mark: EventTime) -> Result<(), Halt> {
        self.settle(mark).await?;
        if self.rest.is_empty() { Ok(()) } else { self.apply(Vec::new()).await }
    }

    async fn apply_batch(&self, batch: Vec<Record>) -> Result<Applied, Halt> {
        let (number, floor, ledger) = (self.number, self.floor, &self.ledger);
        // below the floor everything was finished once: it is read again for memory's sake alone
        let unfinished = |Position { partition, offset }: Position| {
            partition == number && offset >= floor && ledger.is_unfinished(offset)
        };
        let mark = self.stage.reach.watermark();
        let span = span(number, &batch);
        self.patiently(|| batch::apply(&self.bench, &batch, mark, &unfinished).instrument(span.clone())).await
    }

    /// Records that opened an incident stay in hand until their draft is acknowledged.
    fn hold(&mut self, applied: Applied) {
        let before = self.waiting.len();
        let mark = self.stage.reach.watermark();
        self.rest = applied.rest;
        let mut late = 0;
        for waiting in applied.waiting {
            late += u64::from(!waiting.again && waiting.generation.at <= mark);
            self.overdue |= waiting.kin.due <= mark; // the mark that it waits for may never rise again
            self.stage.reach.want(waiting.kin.due);
            self.weight += waiting.record.value.len();
            self.waiting.insert(waiting.record.position.offset, waiting);
        }
        let more = i64::try_from(self.waiting.len() - before).unwrap_or(i64::MAX);
        self.bench.metrics.waiting_moved(more);
        self.bench.metrics.late_records(late);
    }

    /// Whether anything in hand was finished once, and is read again.
    pub(super) fn holds_finished(&self) -> bool {
        let rest = self.rest.iter().map(|record| record.position.offset);
        self.waiting.keys().copied().chain(rest).any(|offset| offset < self.floor)
    }

    pub(super) fn finish(&mut self, offset: i64, outcome: Outcome) {
        if self.ledger.finish(offset) {
            self.bench.metrics.finished(outcome);
        }
    }

    pub(super) fn store(&self) {
        let Some(next) = self.ledger.committable().filter(|next| *next >= self.floor) else { return };
        match self.stage.offsets.store(self.number, next, &self.gone) {
            Ok(true) => {}
            Ok(false) => tracing::debug!(partition = self.number, "offset not stored: the partition is another's"),
            Err(error) => tracing::warn!(partition = self.number, %error, "offset not stored; the next one covers it"),
        }
    }

    /// Where the partition stands; none while nothing of it was read.
    fn stand_now(&self) -> Option<Stand> {
        let (next, latest) = self.handed?;
        let low = self.ledger.committable()?.max(self.floor);
        let waiting = self.waiting.values().map(|waiting| waiting.record.at);
        let at = waiting.chain(self.rest.iter().map(|record| record.at)).min();
        Some(Stand { low, at: at.unwrap_or(latest), next: next.max(self.back.unwrap_or(next)) })
    }

    /// What is unfinished is given back: it stays uncommitted, and its next owner is answered as we were.
    fn release(&mut self) {
        let metrics = &self.bench.metrics;
        metrics.finished_many(Outcome::Released, self.ledger.in_flight() as u64);
        metrics.waiting_moved(-i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
        (self.ledger, self.handed, self.overdue, self.weight) = (Ledger::default(), None, false, 0);
        self.waiting.clear();
        self.rest.clear();
    }
}

/// A batch serves many alerts, so its span is linked to the trace of each, and the child of none.
fn span(partition: i32, batch: &[Record]) -> tracing::Span {
    let span = tracing::info_span!("work.batch", otel.kind = "consumer", partition, records = batch.len());
    for record in batch.iter().take(LINKS) {
        span.add_link(carrier::extract(&record.headers).span().span_context().clone());
    }
    span
}
