//! A stretch of the log through the very lines of `work`, with a memory in this process: what would have come of it.
//!
//! Event time is the only clock. What is decided hangs on the records' positions and event times alone, so it is what the
//! live run decided, however many records are taken together. **Invariant:** nothing is published, and what is held is
//! bounded by what the pipeline remembers (its horizon), not by the length of the stretch.
//!
//! Three things a lab does not know: labels that namespaces bore before it was told, a pipeline that was changed
//! meanwhile, and partitions that nobody read for longer than `storm.hold_max`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    alert::{EventTime, Kind, Position, headers, record::AlertError},
    decide::outcome::Outcome,
    kafka::Record,
    memory::{MemoryError, Shard, local::Local},
    pipeline::Pipeline,
    remediation::{Draft, Update},
    telemetry::metrics::{Registry, WorkMetrics},
    work::{
        Bench,
        batch::{self, Waiting},
        namespaces::Namespaces,
        sweep,
        waiting::{self, Ruling},
    },
};

/// Event time that is taken at once: far less than memory keeps anything.
const SLICE: Duration = Duration::from_mins(1);

/// Records that are taken at once at most, and what they may weigh.
const MOST: usize = 20_000;
const WEIGHT: usize = 16 << 20;

/// What came of a record, or of time that passed.
#[derive(Debug)]
pub enum Came {
    /// A record is finished.
    Ended {
        /// Which one.
        position: Position,
        /// Its event time.
        at: EventTime,
        /// How.
        outcome: Outcome,
    },
    /// An incident begins: this would go to the sink.
    Opened {
        /// The record that opened it.
        record: Box<Record>,
        /// What would be written.
        draft: Box<Draft>,
    },
    /// An incident goes on: these figures would go to the sink.
    GoesOn(Box<Update>),
    /// A record cannot be read.
    Unreadable {
        /// The record.
        record: Box<Record>,
        /// Why.
        error: AlertError,
    },
}

/// What is unfinished in hand of one partition.
#[derive(Debug, Default)]
struct Hand {
    waiting: BTreeMap<i64, Waiting>,
    rest: Vec<Record>,
}

/// Records that are taken together, so that a fingerprint that fires all the time is asked for once.
#[derive(Debug, Default)]
struct Slice {
    records: BTreeMap<i32, Vec<Record>>,
    first: Option<EventTime>,
    count: usize,
    weight: usize,
}

impl Slice {
    fn is_over_at(&self, time: EventTime) -> bool {
        self.count >= MOST || self.weight >= WEIGHT || self.first.is_some_and(|first| time > first.plus(SLICE))
    }

    fn push(&mut self, record: Record) {
        self.count += 1;
        self.weight += record.value.len();
        self.records.entry(record.position.partition).or_default().push(record);
    }
}

/// The bench of `work` with nothing around it.
#[derive(Debug)]
pub struct Lab {
    bench: Bench<Local>,
    hands: BTreeMap<i32, Hand>,
    slice: Slice,
    /// Everything before this time is taken.
    read: EventTime,
    /// Up to where decisions were taken.
    mark: EventTime,
    came: Vec<Came>,
}

impl Lab {
    /// A lab where nothing has happened yet.
    #[must_use]
    pub fn new(pipeline: Arc<Pipeline>, namespaces: Namespaces, fallback_namespace: &str) -> Self {
        let bench = Bench {
            memory: Local::default(),
            pipeline,
            namespaces,
            fallback_namespace: fallback_namespace.to_owned(),
            metrics: WorkMetrics::register(&mut Registry::new()),
        };
        let beginning = EventTime(i64::MIN + 1);
        let (hands, slice) = (BTreeMap::new(), Slice::default());
        Self { bench, hands, slice, read: beginning, mark: beginning, came: Vec::new() }
    }

    /// Takes records, later ones than before, all partitions in order of event time; decides what is due by then.
    ///
    /// # Errors
    /// Never by memory in this process; the bench's own.
    pub async fn take(&mut self, records: Vec<Record>) -> Result<Vec<Came>, MemoryError> {
        for record in records {
            let ends = record.headers.last(headers::KIND) == Some(Kind::Closed.as_str().as_bytes());
            // what began before an end is decided before that is read: of what is over, a late reader writes no draft
            if ends || self.slice.is_over_at(record.at) {
                self.close_slice().await?;
            }
            if self.slice.first.is_none() {
                self.slice.first = Some(record.at);
                self.pass(record.at).await?;
            }
            self.slice.push(record);
        }
        Ok(std::mem::take(&mut self.came))
    }

    /// Applies what was taken together.
    async fn close_slice(&mut self) -> Result<(), MemoryError> {
        let Slice { mut records, count, .. } = std::mem::take(&mut self.slice);
        self.came.reserve(count);
        for (partition, records) in records.iter_mut().filter(|(_, records)| !records.is_empty()) {
            self.read = records.iter().map(|record| record.at).fold(self.read, EventTime::max);
            self.apply(*partition, records).await?;
        }
        self.slice.records = records; // empty by now, and their room is used again
        self.work().await // what it has to tell is due from now on
    }

    /// Nothing before this time is missing: decides what is due by then.
    ///
    /// # Errors
    /// As [`Lab::take`].
    pub async fn reach(&mut self, time: EventTime) -> Result<Vec<Came>, MemoryError> {
        self.close_slice().await?;
        self.pass(time).await?;
        Ok(std::mem::take(&mut self.came))
    }

    /// Time passes, and each thing is done when it is due: memory forgets by the same clock.
    async fn pass(&mut self, time: EventTime) -> Result<(), MemoryError> {
        while let Some(due) = self.next_due().filter(|due| *due < time) {
            self.read = self.read.max(EventTime(due.0 + 1));
            self.work().await?;
        }
        self.read = self.read.max(time);
        self.work().await
    }

    /// When the next thing is due that is not due yet.
    fn next_due(&self) -> Option<EventTime> {
        let waiting = self.hands.values().flat_map(|hand| hand.waiting.values()).map(|waiting| waiting.kin.due);
        let untold = (0..self.bench.pipeline.dedup.shards).filter_map(|shard| self.untold(shard));
        waiting.chain(untold).filter(|due| *due > self.mark && due.0 < i64::MAX).min()
    }

    /// Whether a record in hand that opened an incident before this time still waits for its decision.
    #[must_use]
    pub fn waits(&self, before: EventTime) -> bool {
        let waiting = self.hands.values().flat_map(|hand| hand.waiting.values());
        waiting.map(|waiting| waiting.generation.at).any(|at| at < before)
            || self.hands.values().flat_map(|hand| &hand.rest).any(|record| record.at < before)
            || self.slice.first.is_some_and(|first| first < before)
    }

    /// What every step leans on.
    #[must_use]
    pub fn bench(&self) -> &Bench<Local> {
        &self.bench
    }

    /// One batch of one partition, as `work::partition` goes about it. No record is left in it.
    async fn apply(&mut self, partition: i32, records: &mut Vec<Record>) -> Result<(), MemoryError> {
        let hand = self.hands.entry(partition).or_default();
        records.splice(0..0, std::mem::take(&mut hand.rest));
        let batch = &*records;
        debug_assert!(batch.is_sorted_by_key(|record| record.position.offset), "what is left lies before what comes");
        let of_batch = |offset: i64| batch.binary_search_by_key(&offset, |record| record.position.offset);
        let held = |offset: i64| hand.waiting.contains_key(&offset) || of_batch(offset).is_ok();
        let unfinished = |position: Position| position.partition == partition && held(position.offset);
        let applied = batch::apply(&self.bench, batch, self.mark, &unfinished).await?;
        for (position, outcome) in applied.finished {
            if let Ok(index) = of_batch(position.offset) {
                self.came.push(Came::Ended { position, at: batch[index].at, outcome });
            }
        }
        for (record, error) in applied.unreadable {
            let (position, at, outcome) = (record.position, record.at, Outcome::DeadLettered);
            self.came.push(Came::Unreadable { record: Box::new(record), error });
            self.came.push(Came::Ended { position, at, outcome });
        }
        records.clear();
        hand.rest = applied.rest;
        hand.waiting.extend(applied.waiting.into_iter().map(|waiting| (waiting.record.position.offset, waiting)));
        Ok(())
    }

    /// Decides and tells until nothing more is due by what was read.
    async fn work(&mut self) -> Result<(), MemoryError> {
        let clock = u64::try_from(self.read.0).unwrap_or(0);
        self.bench.memory.advance(Duration::from_millis(clock));
        loop {
            self.mark = self.mark.max(self.watermark());
            let before = self.came.len();
            let partitions: Vec<i32> = self.hands.keys().copied().collect();
            for partition in &partitions {
                self.settle(*partition).await?;
            }
            for partition in partitions {
                if self.hands.get(&partition).is_some_and(|hand| !hand.rest.is_empty()) {
                    self.apply(partition, &mut Vec::new()).await?;
                }
            }
            for shard in 0..self.bench.pipeline.dedup.shards {
                self.sweep(shard).await?;
            }
            if self.came.len() == before && self.watermark() <= self.mark {
                return Ok(());
            }
        }
    }

    /// Up to when everything is applied. What must come again later is not, unless it waits for a decision due after it.
    fn watermark(&self) -> EventTime {
        let read = |hand: &Hand| {
            let rest = hand.rest.first().map(|record| record.at)?;
            let first_due = hand.waiting.values().map(|waiting| waiting.kin.due).min()?;
            (first_due < rest).then_some(rest)
        };
        let least = self.hands.values().filter_map(read).fold(self.read, EventTime::min);
        EventTime(least.0 - 1) // others of that very millisecond may follow
    }

    async fn settle(&mut self, partition: i32) -> Result<(), MemoryError> {
        let Some(hand) = self.hands.get_mut(&partition) else { return Ok(()) };
        let rulings = waiting::rule(&self.bench, &hand.waiting, self.mark).await?;
        let (mut published, mut ended) = (Vec::new(), Vec::new());
        for (offset, ruling) in rulings {
            let Some(waiting) = hand.waiting.remove(&offset) else { continue };
            let (position, at) = (waiting.record.position, waiting.record.at);
            let outcome = match ruling {
                Ruling::Finish(outcome) => outcome,
                Ruling::Publish { before, draft, outcome } => {
                    published.push((draft.incident.group, draft.incident.generation, draft.incident.storm));
                    self.came.extend(before.into_iter().map(|update| Came::GoesOn(Box::new(update))));
                    self.came.push(Came::Opened { record: Box::new(waiting.record), draft });
                    outcome
                }
            };
            ended.push(Came::Ended { position, at, outcome });
        }
        if !published.is_empty() {
            waiting::published(&self.bench, &published, self.mark).await?;
        }
        self.came.extend(ended);
        Ok(())
    }

    /// Tells what is to be told in a shard by now.
    async fn sweep(&mut self, shard: u32) -> Result<(), MemoryError> {
        while self.untold(shard).is_some_and(|due| due <= self.mark) {
            let found = sweep::find(&self.bench, shard, self.mark).await?;
            sweep::told(&self.bench, &found, self.mark).await?;
            self.came.extend(found.updates.into_iter().map(|(_, _, update)| Came::GoesOn(Box::new(update))));
        }
        Ok(())
    }

    /// When the next thing is due that a shard is to tell.
    fn untold(&self, shard: u32) -> Option<EventTime> {
        self.bench.memory.first_due(Shard::Numbered(shard))
    }
}
