//! One partition: gathers a batch, applies it, publishes, finishes; and decides what is due each time the watermark
//! rises. While memory or Kafka is away it waits, its channel fills, and the partition is paused: that is all our
//! backpressure.
//!
//! Should we die between any two lines, the same records come again, memory answers alike, and the same drafts go
//! out under the same names.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use opentelemetry::trace::TraceContextExt as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    batch::{self, Applied, Waiting},
    bench::{Bench, Shared},
    reach::Reach,
    waiting::{self, Ruling},
};
use crate::{
    alert::{EventTime, Position},
    crash,
    decide::outcome::Outcome,
    kafka::{
        KafkaError, Outgoing, Record, carrier,
        consumer::{Offsets, Partition},
        dead_letter::{DeadLetter, Origin},
        ledger::Ledger,
        producer::Producer,
    },
    memory::{Memory, MemoryError},
    remediation::{Draft, Remediation, Update},
    telemetry::{complaint::Complaint, health::Condition},
};

/// Records of one batch.
const BATCH: usize = 1000;
/// Records that may wait for their decision, and what their values may weigh, before the partition reads no further.
const WAITING: usize = 25_000;
const WAITING_BYTES: usize = 16 << 20;
/// How soon memory is asked again whether somebody else has published a storm that a record of ours belongs to.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The largest value that a dead letter keeps whole, as a topic takes 4 MiB; and what it keeps of a larger one.
const LARGEST_WHOLE: usize = 4_000_000;
const HEAD: usize = 64 << 10;
/// Traces that one batch's span is linked to; the SDK keeps no more.
const LINKS: usize = 128;
/// How long a stop waits for the acknowledgement of what is being published.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Between two tries of a step that found something away.
const REST: Duration = Duration::from_millis(200);

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
    stage: Arc<Stage<M>>,
    /// In force for what is taken up next.
    bench: Arc<Bench<M>>,
    number: i32,
    assignment: u64,
    gone: CancellationToken,
    stop: CancellationToken,
    ledger: Ledger,
    waiting: BTreeMap<i64, Waiting>,
    weight: usize,
    rest: Vec<Record>,
    /// The offset after the last record that was handed to us, and the latest time among them all.
    handed: Option<(i64, EventTime)>,
    overdue: bool,
    complaint: Complaint,
}

/// The partition was revoked, or the process is to stop: what is in hand stays uncommitted and comes again.
#[derive(Clone, Copy, Debug)]
struct Gone;

impl<M: Memory> Desk<M> {
    /// A partition that has just become ours. `stop` ends it between two batches; while something is away, at once.
    pub(super) fn new(stage: Arc<Stage<M>>, partition: &Partition, assignment: u64, stop: CancellationToken) -> Self {
        stage.reach.assigned(partition.number, assignment);
        Self {
            bench: stage.bench.now(),
            stage,
            number: partition.number,
            assignment,
            gone: partition.revoked.clone(),
            stop,
            ledger: Ledger::default(),
            waiting: BTreeMap::new(),
            weight: 0,
            rest: Vec::new(),
            handed: None,
            overdue: false,
            complaint: Complaint::new("a partition waits"),
        }
    }

    /// Works until the partition is revoked, its records end, or stop is told.
    pub(super) async fn run(mut self, mut partition: Partition) {
        let mut marks = self.stage.reach.watch();
        let mut records = Vec::with_capacity(BATCH);
        let mut again = tokio::time::interval(ASK_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.bench = self.stage.bench.now();
            let room = self.waiting.len() < WAITING && self.weight < WAITING_BYTES && self.rest.len() < BATCH;
            self.stage.reach.full(self.number, self.assignment, !room);
            let done = tokio::select! {
                biased;
                () = self.gone.cancelled() => break,
                () = self.stop.cancelled() => break,
                risen = marks.changed() => match risen {
                    Ok(()) => {
                        let mark = marks.borrow_and_update().read;
                        self.settle(mark).await
                    }
                    Err(_) => break,
                },
                _ = again.tick(), if self.overdue || !self.rest.is_empty() => {
                    let mark = marks.borrow().read;
                    self.ask_again(mark).await
                }
                count = partition.records.recv_many(&mut records, BATCH), if room => match count {
                    0 => break,
                    _ => self.apply(std::mem::take(&mut records)).await,
                },
            };
            if done.is_err() {
                break;
            }
        }
        self.release();
    }

    async fn apply(&mut self, records: Vec<Record>) -> Result<(), Gone> {
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
        Ok(())
    }

    /// What must come again later is not read yet: nobody decides as if it were. Unless it waits for a decision that
    /// is due after it, which would never be taken.
    fn unread(&self) -> Option<(i64, EventTime)> {
        let record = self.rest.first()?;
        let first_due = self.waiting.values().map(|waiting| waiting.kin.due).min()?;
        (first_due < record.at).then_some((record.position.offset, record.at))
    }

    async fn ask_again(&mut self, mark: EventTime) -> Result<(), Gone> {
        self.settle(mark).await?;
        if self.rest.is_empty() { Ok(()) } else { self.apply(Vec::new()).await }
    }

    async fn apply_batch(&self, batch: Vec<Record>) -> Result<Applied, Gone> {
        let (number, ledger) = (self.number, &self.ledger);
        let unfinished = |position: Position| position.partition == number && ledger.is_unfinished(position.offset);
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

    /// Decides what is due, publishes what is ours to publish, marks it, and finishes those records.
    async fn settle(&mut self, mark: EventTime) -> Result<(), Gone> {
        let due = self.waiting.values().filter(|waiting| waiting.kin.due <= mark).count();
        if due == 0 {
            return Ok(());
        }
        let rulings = self.patiently(|| waiting::rule(&self.bench, &self.waiting, mark)).await?;
        crash::point("work-decided");
        self.overdue = rulings.len() < due; // their storm is another's to publish
        let mut drafts = Vec::new();
        let mut endings = Vec::with_capacity(rulings.len());
        for (offset, ruling) in rulings {
            match ruling {
                Ruling::Finish(outcome) => endings.push((offset, outcome)),
                Ruling::Publish { before, draft, outcome } => {
                    drafts.push((before, draft));
                    endings.push((offset, outcome));
                }
            }
        }
        if !drafts.is_empty() {
            self.publish_drafts(drafts, mark).await?;
        }
        for (offset, outcome) in endings {
            self.let_go(offset);
            self.finish(offset, outcome);
        }
        self.store();
        Ok(())
    }

    async fn publish_drafts(
        &self,
        drafts: Vec<(Option<Box<Update>>, Box<Draft>)>,
        mark: EventTime,
    ) -> Result<(), Gone> {
        let published: Vec<_> = (drafts.iter())
            .map(|(_, draft)| (draft.incident.group, draft.incident.generation, draft.incident.storm))
            .collect();
        let outgoing = (drafts.into_iter())
            .flat_map(|(before, draft)| before.map(Remediation::Update).into_iter().chain([Remediation::Draft(draft)]))
            .map(|remediation| waiting::outgoing(&remediation))
            .collect();
        self.publish(outgoing, &self.bench.pipeline.topics.remediations).await?;
        crash::point("work-published");
        self.bench.metrics.drafts_published(published.len() as u64);
        self.patiently(|| waiting::published(&self.bench, &published, mark)).await?;
        crash::point("work-marked");
        Ok(())
    }

    async fn set_aside(&self, applied: &Applied) -> Result<(), Gone> {
        if applied.unreadable.is_empty() {
            return Ok(());
        }
        let topics = &self.bench.pipeline.topics;
        let letters = applied.unreadable.iter().map(|(record, error)| {
            DeadLetter {
                reason: error.reason.to_owned(),
                stage: "work".to_owned(),
                detail: error.text.clone(),
                origin: Origin::Record { topic: topics.alerts.clone(), position: record.position, at: record.at },
                attempts: DeadLetter::attempts_before(&record.headers) + 1,
                at: EventTime(jiff::Timestamp::now().as_millisecond()),
                key: record.key.clone(),
                value: record.value.slice(..kept(record.value.len())),
                headers: record.headers.clone(),
            }
            .outgoing()
        });
        self.publish(letters.collect(), &topics.dead_letters).await?;
        self.bench.metrics.dead_lettered(applied.unreadable.len() as u64);
        Ok(())
    }

    fn let_go(&mut self, offset: i64) {
        if let Some(waiting) = self.waiting.remove(&offset) {
            self.weight -= waiting.record.value.len();
            self.bench.metrics.waiting_moved(-1);
        }
    }

    fn finish(&mut self, offset: i64, outcome: Outcome) {
        if self.ledger.finish(offset) {
            self.bench.metrics.finished(outcome);
        }
    }

    fn store(&self) {
        let Some(next) = self.ledger.committable() else { return };
        match self.stage.offsets.store(self.number, next, &self.gone) {
            Ok(true) => {}
            Ok(false) => tracing::debug!(partition = self.number, "offset not stored: the partition is another's"),
            Err(error) => tracing::warn!(partition = self.number, %error, "offset not stored; the next one covers it"),
        }
    }

    /// What is unfinished is given back: it stays uncommitted, and its next owner is answered as we were.
    fn release(self) {
        let metrics = &self.bench.metrics;
        metrics.finished_many(Outcome::Released, self.ledger.in_flight() as u64);
        metrics.waiting_moved(-i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
        self.stage.reach.revoked(self.number, self.assignment);
    }

    /// Asks memory until it answers, or the partition is gone.
    async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Gone>
    where
        F: Future<Output = Result<T, MemoryError>>,
    {
        loop {
            match self.gone.run_until_cancelled(ask()).await.ok_or(Gone)? {
                Ok(value) => {
                    self.stage.memory_answers.met();
                    self.complaint.settle();
                    return Ok(value);
                }
                Err(error) => {
                    self.bench.metrics.retried("memory");
                    self.stage.memory_answers.missing(error.to_string());
                    self.complaint.raise(&error);
                }
            }
            self.rest().await?;
        }
    }

    /// Publishes until every record is acknowledged, or the partition is gone. What was not acknowledged goes again.
    async fn publish(&self, mut records: Vec<Outgoing>, topic: &str) -> Result<(), Gone> {
        loop {
            let sent = self.stage.producer.publish_all(topic, records.clone());
            let answers = tokio::select! {
                answers = sent => answers,
                () = self.gone.cancelled() => return Err(Gone),
                () = self.stopped_for(LAST_WORD) => return Err(Gone), // what is in hand may be thrown away
            };
            let failed: Vec<(Outgoing, KafkaError)> =
                records.into_iter().zip(answers).filter_map(|(record, answer)| Some((record, answer.err()?))).collect();
            let Some((_, error)) = failed.first() else {
                self.complaint.settle();
                return Ok(());
            };
            self.bench.metrics.retried("kafka");
            self.complaint.raise(error);
            records = failed.into_iter().map(|(record, _)| record).collect();
            self.rest().await?;
        }
    }

    /// After stop is told, so much longer.
    async fn stopped_for(&self, longer: Duration) {
        self.stop.cancelled().await;
        tokio::time::sleep(longer).await;
    }

    /// Rests between two tries. A process that is to stop does not wait for what is away.
    async fn rest(&self) -> Result<(), Gone> {
        tokio::select! {
            () = self.gone.cancelled() => Err(Gone),
            () = self.stop.cancelled() => Err(Gone),
            () = tokio::time::sleep(REST) => Ok(()),
        }
    }
}

/// How much of a value a dead letter keeps: all of it, unless with its headers it might fit no record any more.
fn kept(length: usize) -> usize {
    if length > LARGEST_WHOLE { HEAD } else { length }
}

/// A batch serves many alerts, so its span is linked to the trace of each, and the child of none.
fn span(partition: i32, batch: &[Record]) -> tracing::Span {
    let span = tracing::info_span!("work.batch", otel.kind = "consumer", partition, records = batch.len());
    for record in batch.iter().take(LINKS) {
        span.add_link(carrier::extract(&record.headers).span().span_context().clone());
    }
    span
}
