//! A deployment of values: a log, workers that read it, memory, the topic of remediations, a sink. Time is the
//! broker's and moves only when told; a worker may die between any two steps.

#[path = "loss.rs"]
mod loss;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use breakwater::{
    alert::{Closed, EventTime, Kind, Position, headers, headers::Headers, record},
    decide::outcome::Outcome,
    kafka::{Record, ledger::Ledger},
    pipeline::Pipeline,
    remediation::Remediation,
    sink::desk::Rules,
    telemetry::metrics::{Registry, WorkMetrics},
    work::{
        Bench,
        batch::{self, Waiting},
        namespaces::Namespaces,
        sweep, waiting,
        waiting::Asked,
    },
};
use bytes::Bytes;
use futures::FutureExt as _;

use crate::{
    cluster::Sink,
    rigged::{Fuse, Rigged},
};

/// The pipeline as it is shipped.
pub const SHIPPED: &str = include_str!("../../pipelines/alerts.yaml");
pub const FALLBACK: &str = "fallback";
/// How many partitions `alerts` has.
pub const PARTITIONS: i32 = 3;

/// One partition of `alerts`, what is committed of it, and how far it is read, as memory keeps it.
#[derive(Clone, Debug)]
pub struct Partition {
    pub log: Vec<Record>,
    pub committed: i64,
    pub mark: EventTime,
    /// Where it was when memory lost something of it, until memory has everything of it again.
    back: Option<i64>,
}

/// What a worker has in hand of one partition; lost when it dies.
#[derive(Debug)]
struct Hand {
    next: i64,
    /// What lies before it was finished once, and is read again.
    floor: i64,
    ledger: Ledger,
    waiting: BTreeMap<i64, Waiting>,
    rest: Vec<Record>,
}

/// The worker died here.
#[derive(Clone, Copy, Debug)]
pub struct Died;

/// A deployment of values.
#[derive(Debug)]
pub struct World {
    pub bench: Bench<Rigged>,
    /// What is counted.
    pub registry: Registry,
    pub now: EventTime,
    pub partitions: Vec<Partition>,
    /// The topic `remediations`, in order.
    pub topic: Vec<Remediation>,
    /// Records set aside.
    pub dead_letters: Vec<Record>,
    pub sink: Option<Sink>,
    pub outcomes: BTreeMap<&'static str, u64>,
    hands: Vec<Option<Hand>>,
    /// Of a thousand points between two steps, at how many a worker dies.
    pub mortality: u32,
    pub chance: fastrand::Rng,
}

impl World {
    /// A deployment of this pipeline, where nothing has happened yet.
    pub fn new(pipeline: &str) -> Self {
        Self::of(Pipeline::parse("sim.yaml", pipeline).unwrap_or_else(|faults| panic!("{faults:?}")))
    }

    /// The same with a pipeline that was read with the file that it names.
    pub fn of(pipeline: Pipeline) -> Self {
        let mut registry = Registry::new();
        let sink = Sink::new(Rules::of(&pipeline, FALLBACK));
        let bench = Bench {
            memory: Rigged::default(),
            pipeline: Arc::new(pipeline),
            namespaces: Namespaces::default(),
            fallback_namespace: FALLBACK.to_owned(),
            metrics: WorkMetrics::register(&mut registry),
        };
        let partition = Partition { log: Vec::new(), committed: 0, mark: EventTime(i64::MIN), back: None };
        Self {
            bench,
            registry,
            now: EventTime(0),
            partitions: vec![partition; usize::try_from(PARTITIONS).unwrap()],
            topic: Vec::new(),
            dead_letters: Vec::new(),
            sink: Some(sink),
            outcomes: BTreeMap::new(),
            hands: (0..PARTITIONS).map(|_| None).collect(),
            mortality: 0,
            chance: fastrand::Rng::with_seed(0),
        }
    }

    /// The broker appends a record now; the partition is its fingerprint's unless one is named.
    pub fn append(&mut self, partition: Option<i32>, value: Bytes, headers: Headers) -> Position {
        let rules = &self.bench.pipeline.identity;
        let own = || record::parse(&value, &headers, self.now, rules).map_or(0, |signal| signal.brief().shard(3));
        let partition = partition.unwrap_or_else(|| i32::try_from(own()).unwrap());
        let log = &mut self.partitions[usize::try_from(partition).unwrap()].log;
        let position = Position { partition, offset: i64::try_from(log.len()).unwrap() };
        log.push(Record { position, at: self.now, key: None, value, headers });
        position
    }

    /// The sink's word that an incident is over.
    pub fn append_closed(&mut self, closed: &Closed) {
        let mut headers = Headers::default();
        headers.push(headers::SCHEMA, "1");
        headers.push(headers::KIND, Kind::Closed.as_str());
        self.append(None, serde_json::to_vec(closed).unwrap().into(), headers);
    }

    fn point(&mut self) -> Result<(), Died> {
        if self.mortality > 0 && self.chance.u32(..1000) < self.mortality { Err(Died) } else { Ok(()) }
    }

    fn end(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome.as_str()).or_default() += 1;
    }

    /// The worker that has this partition dies; another begins where the last commit was.
    pub fn kill(&mut self, partition: usize) {
        self.hands[partition] = None;
    }

    /// Offsets are reset: everything from there is delivered again.
    pub fn rewind(&mut self, partition: usize, to: i64) {
        self.kill(partition);
        self.partitions[partition].committed = to.min(self.partitions[partition].committed);
    }

    fn hand(&mut self, partition: usize) -> Hand {
        match self.hands[partition].take() {
            Some(hand) => hand,
            None => self.begin(partition),
        }
    }

    /// One batch of one partition, as `work::partition` goes about it. Says whether there was anything to read.
    pub fn read(&mut self, partition: usize, batch: usize) -> Result<bool, Died> {
        let mut hand = self.hand(partition);
        let from = usize::try_from(hand.next).unwrap();
        let log = &self.partitions[partition].log;
        let records: Vec<Record> = log.iter().skip(from).take(batch).cloned().collect();
        if records.is_empty() && hand.rest.is_empty() {
            self.mark(partition, &hand, None);
            self.hands[partition] = Some(hand);
            return Ok(false);
        }
        let news = !records.is_empty();
        self.apply(partition, &mut hand, records)?;
        self.hands[partition] = Some(hand);
        Ok(news)
    }

    fn apply(&mut self, partition: usize, hand: &mut Hand, records: Vec<Record>) -> Result<(), Died> {
        for record in &records {
            hand.ledger.begin(record.position.offset);
            hand.next = record.position.offset + 1;
        }
        let latest = records.last().map(|record| record.at);
        let mut batch = std::mem::take(&mut hand.rest);
        batch.extend(records);
        let number = i32::try_from(partition).unwrap();
        let (ledger, floor) = (hand.ledger.clone(), hand.floor);
        let unfinished = |Position { partition, offset }: Position| {
            partition == number && offset >= floor && ledger.is_unfinished(offset)
        };
        let watermark = self.watermark();
        let applied = now(batch::apply(&self.bench, &batch, watermark, &unfinished))?;
        self.point()?;
        self.dead_letters.extend(applied.unreadable.iter().map(|(record, _)| record.clone()));
        self.point()?;
        for (position, outcome) in &applied.finished {
            if hand.ledger.finish(position.offset) {
                self.end(*outcome);
            }
        }
        for (record, _) in &applied.unreadable {
            if hand.ledger.finish(record.position.offset) {
                self.end(Outcome::DeadLettered);
            }
        }
        hand.rest = applied.rest;
        hand.waiting.extend(applied.waiting.into_iter().map(|waiting| (waiting.record.position.offset, waiting)));
        self.mark(partition, hand, latest);
        self.commit(partition, hand);
        self.point()
    }

    /// How far a partition is read: to its last record, or up to now if it is read to its end.
    fn mark(&mut self, partition: usize, hand: &Hand, latest: Option<EventTime>) {
        let whole = hand.next >= i64::try_from(self.partitions[partition].log.len()).unwrap();
        let first_due = hand.waiting.values().map(|waiting| waiting.kin.due).min();
        let read = match hand.rest.first() {
            Some(rest) if first_due.is_some_and(|due| due < rest.at) => rest.at,
            Some(_) if whole => self.now,
            Some(rest) => rest.at,
            None if whole => self.now,
            None => latest.unwrap_or(EventTime(i64::MIN + 1)),
        };
        let Partition { mark, back, .. } = &mut self.partitions[partition];
        if back.is_none_or(|back| hand.next >= back) {
            *mark = (*mark).max(EventTime(read.0 - 1));
        }
    }

    fn commit(&mut self, partition: usize, hand: &Hand) {
        if let Some(next) = hand.ledger.committable().filter(|next| *next >= hand.floor) {
            self.partitions[partition].committed = next;
        }
        self.vouch(partition, hand);
    }

    /// Event time up to which every partition has been read.
    pub fn watermark(&self) -> EventTime {
        self.partitions.iter().map(|partition| partition.mark).min().unwrap()
    }

    /// Decides what is due among the records in hand of a partition, publishes it, marks it, finishes it.
    pub fn settle(&mut self, partition: usize) -> Result<(), Died> {
        let (mut hand, mark) = (self.hand(partition), self.watermark());
        let rulings = now(waiting::rule(&self.bench, &hand.waiting, mark))?;
        self.point()?;
        let Asked { publish, mark: drafts, finish } = rulings.into_iter().collect();
        for outgoing in &publish {
            self.topic.push(through_the_topic(outgoing));
            self.point()?; // some of the drafts are in the topic, and the others are not
        }
        if !drafts.is_empty() {
            now(waiting::published(&self.bench, &drafts, mark))?;
            self.point()?;
        }
        for (offset, outcome) in finish {
            hand.waiting.remove(&offset);
            if hand.ledger.finish(offset) {
                self.end(outcome);
            }
        }
        self.commit(partition, &hand);
        if !hand.rest.is_empty() {
            self.apply(partition, &mut hand, Vec::new())?;
        }
        self.hands[partition] = Some(hand);
        Ok(())
    }

    /// Tells what is to be told in a shard. Says when it has more to tell.
    pub fn sweep(&mut self, shard: u32) -> Result<Option<EventTime>, Died> {
        let mark = self.watermark();
        let found = now(sweep::find(&self.bench, shard, mark))?;
        if found.groups.is_empty() {
            return Ok(found.next);
        }
        for (_, _, update) in &found.updates {
            self.topic.push(through_the_topic(&Remediation::Update(Box::new(update.clone()))));
        }
        self.point()?;
        now(sweep::told(&self.bench, &found, mark))?;
        self.point()?;
        Ok(now(sweep::find(&self.bench, shard, mark))?.next)
    }

    /// Sets how a call to memory will fail, once.
    pub fn rig(&self, fuse: Fuse) {
        self.bench.memory.rig(Some(fuse));
    }

    pub fn shards(&self) -> u32 {
        self.bench.pipeline.dedup.shards
    }

    /// Everybody works until nothing is left to do at this moment. Says when something will be, and nobody dies of it.
    pub fn work(&mut self, batch: usize) -> Option<EventTime> {
        assert_eq!(self.mortality, 0, "an orderly stretch");
        self.bench.memory.local.advance(Duration::from_millis(self.now.0.unsigned_abs()));
        loop {
            let before = (self.topic.len(), self.partitions.iter().map(|partition| partition.log.len()).sum::<usize>());
            for partition in 0..self.partitions.len() {
                while self.read(partition, batch).unwrap() {}
            }
            let mut next: Option<EventTime> = None;
            for _ in 0..2 {
                for partition in 0..self.partitions.len() {
                    self.settle(partition).unwrap(); // a record may wait for a storm that another partition publishes
                }
            }
            for shard in 0..self.shards() {
                next = next.into_iter().chain(self.sweep(shard).unwrap()).min();
            }
            self.sink_turn();
            let after = (self.topic.len(), self.partitions.iter().map(|partition| partition.log.len()).sum::<usize>());
            if after == before {
                let waiting =
                    self.hands.iter().flatten().flat_map(|hand| hand.waiting.values()).map(|waiting| waiting.kin.due);
                return waiting.chain(next).min().map(|due| EventTime(due.0 + 1));
            }
        }
    }

    pub fn sink_turn(&mut self) {
        if let Some(sink) = &mut self.sink {
            let over = sink.turn(&self.topic, self.now);
            over.iter().for_each(|closed| self.append_closed(closed));
        }
    }

    /// The sink dies. The next one lists the objects, and reads some of the topic again.
    pub fn restart_sink(&mut self) {
        let rules = Rules::of(&self.bench.pipeline, FALLBACK);
        let from = self.chance.usize(..=self.topic.len());
        if let Some(sink) = &mut self.sink {
            sink.restart(rules, from);
        }
    }

    /// Time passes, and everybody works as soon as there is something to do.
    pub fn run_until(&mut self, until: EventTime, batch: usize) {
        let mut wake = self.work(batch);
        while let Some(next) = wake.filter(|next| *next <= until) {
            assert!(next > self.now, "at {:?} something is due and does not get done", self.now);
            self.now = next;
            wake = self.work(batch);
        }
        self.now = self.now.max(until);
        self.work(batch);
    }
}

/// As the sink reads it: what does not survive its form on the topic is lost.
fn through_the_topic(remediation: &Remediation) -> Remediation {
    serde_json::from_slice(&waiting::outgoing(remediation).value).unwrap()
}

/// Local memory never waits.
fn now<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, Died> {
    step.now_or_never().unwrap().map_err(|_| Died)
}
