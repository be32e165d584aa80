//! The stage: partitions assigned, records taken in, calls asked, offsets stored by low-water; given back on revocation.
//!
//! **Invariant:** nothing is asked before the index of objects is whole; no offset is stored before everything that its
//! record caused is final and acknowledged.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered, SelectAll, Stream},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Objects,
    desk::{Call, Desk, Found, Job, Next, Reply, Rules},
    lanes::Held,
    live::{Ended, Sight},
    outage::Now,
    pace::Pace,
    settle,
    tell::{Teller, Telling},
    width::Width,
};
use crate::{
    alert::{EventTime, murmur2::partition_of},
    crash,
    decide::{
        outcome::Outcome,
        refusal::{About, Answer, Asked, Refusal},
    },
    kafka::{
        Record,
        consumer::{Offsets, Partition},
        ledger::Ledger,
    },
    pipeline::sink::SinkPolicy,
    telemetry::{
        complaint::Complaint,
        health::{Condition, Health},
        metrics::SinkMetrics,
    },
};

static THROTTLED: Complaint = Complaint::new("the api server throttles: the whole sink pauses as it says");
static REFUSED: Complaint = Complaint::new("the api server does not take a write: it rests and is tried again");
static UNSERVED: Complaint = Complaint::new(
    "the api server does not serve RemediationRequest any more: the sink pauses; `breakwater print crd`",
);
static FORBIDDEN: Complaint = Complaint::new(
    "the sink has lost its right to write RemediationRequests: it pauses and sets nothing aside; grant it again",
);
static UNSTORED: Complaint = Complaint::new("offsets cannot be stored: what was done is done again after a restart");

static UNCOUNTED: Complaint =
    Complaint::new("the partitions of remediations cannot be counted: nothing is written before the share is known");
/// How long until they are counted again.
const UNCOUNTED_FOR: Duration = Duration::from_secs(1);

/// Why the sink stopped unasked.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// 401.
    #[error(
        "the api server does not know the sink's token any more (401): mend it and start again; what is unfinished was not committed"
    )]
    Unauthorized,
    /// Whoever gives partitions or shows objects is gone.
    #[error("{0} ended before the sink was told to stop")]
    Abandoned(&'static str),
}

/// The way out, wired.
#[derive(Debug)]
pub struct Sink<O> {
    /// Where objects are written.
    pub objects: O,
    /// What the pipeline says about decisions,
    pub rules: Rules,
    /// and about pace.
    pub policy: SinkPolicy,
    /// Both anew, when the pipeline has changed.
    pub changes: watch::Receiver<(Rules, SinkPolicy)>,
    /// Tells the log.
    pub teller: Teller,
    /// Where offsets are stored.
    pub offsets: Offsets,
    /// Partitions of `remediations` as they become ours.
    pub partitions: mpsc::Receiver<Partition>,
    /// What the API server shows.
    pub sights: mpsc::Receiver<Sight>,
    /// What the stage needs.
    pub health: Health,
    /// What is counted.
    pub metrics: SinkMetrics,
}

impl<O: Objects> Sink<O> {
    /// Runs until told. Then nothing new is asked, answers under way are heard, and the rest is given back uncommitted;
    /// `drained` is told at the end, also at a bad one.
    #[expect(clippy::too_many_lines, reason = "the loop: one arm for each thing that can happen")]
    pub async fn run(mut self, stop: CancellationToken, drained: CancellationToken) -> Result<(), SinkError> {
        let _drained = drained.drop_guard();
        let mut state = State::new(&self);
        let (mut inputs, mut calls) = (SelectAll::new(), FuturesUnordered::new());
        let (mut tellings, mut revoked) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut counts = FuturesUnordered::new();
        loop {
            state.show();
            let now = now();
            let may_ask = state.may_ask(calls.len(), now.instant);
            let may_read = state.whole && state.desk.has_room() && !inputs.is_empty();
            let wake = state.next_wake(now);
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(gone) = revoked.next(), if !revoked.is_empty() => Step::Revoked(gone),
                given = self.partitions.recv() => Step::Given(given.ok_or(SinkError::Abandoned("the consumer"))?),
                shown = self.sights.recv() => Step::Shown(shown.ok_or(SinkError::Abandoned("the watch"))?),
                Some(count) = counts.next(), if !counts.is_empty() => Step::Counted(count),
                Some(told) = tellings.next(), if !tellings.is_empty() => Step::Told(told),
                Some(answer) = calls.next(), if !calls.is_empty() => Step::Heard(Box::new(answer)),
                Some((record, epoch)) = inputs.next(), if may_read => Step::Read(record, epoch),
                () = state.pace.ready(), if may_ask => Step::Turn,
                () = rested(wake), if wake.is_some() => Step::Rested,
                () = changed(&mut self.changes) => Step::Changed(Box::new(self.changes.borrow_and_update().clone())),
            };
            match step {
                Step::Given(partition) => {
                    let (number, epoch, token) = state.assign(&partition);
                    revoked.push(async move {
                        token.cancelled_owned().await;
                        (number, epoch)
                    });
                    inputs.push(Box::pin(records(partition, epoch)));
                    counts.push(count(self.offsets.clone()));
                }
                Step::Turn => calls.extend(state.turn().map(|job| settle::ask(&self.objects, job, &self.metrics))),
                Step::Revoked(gone) => state.revoke(gone),
                Step::Counted(all) => state.counted(all),
                Step::Shown(sight) => state.shown(sight),
                Step::Read(record, epoch) => state.read(record, epoch),
                Step::Heard(heard) => state.heard(*heard)?,
                Step::Told(told) => state.told(told),
                Step::Rested => state.rested(),
                Step::Changed(both) => state.change(*both),
            }
            tellings.extend(state.tellings().map(|telling| self.teller.tell(telling, now.wall)));
        }
        while let Some(heard) = calls.next().await {
            state.heard(heard)?;
        }
        tellings.extend(state.tellings().map(|telling| self.teller.tell(telling, now().wall)));
        while let Some(told) = tellings.next().await {
            state.told(told);
        }
        state.give_back();
        Ok(())
    }
}

/// What happened.
enum Step {
    Given(Partition),
    Revoked((i32, u64)),
    Counted(i32),
    Shown(Sight),
    Read(Record, u64),
    Heard(Box<(Job, Result<Found, Answer>)>),
    Told(Telling),
    Turn,
    Rested,
    Changed(Box<(Rules, SinkPolicy)>),
}

/// When the pipeline has changed; never, where nobody can change it.
async fn changed(changes: &mut watch::Receiver<(Rules, SinkPolicy)>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// A partition that is ours.
struct Owned {
    epoch: u64,
    revoked: CancellationToken,
    ledger: Ledger,
}

struct State {
    desk: Desk,
    pace: Pace,
    width: Width,
    owned: HashMap<i32, Owned>,
    /// All partitions; none until the broker said how many.
    all: Option<i32>,
    epoch: u64,
    /// Whether every object has been shown once.
    whole: bool,
    telling: Telling,
    index: Condition,
    kind: Condition,
    rights: Condition,
    /// What we may not do at all, since an answer said so.
    lacks: Option<Asked>,
    metrics: SinkMetrics,
    offsets: Offsets,
}

impl State {
    fn new<O>(sink: &Sink<O>) -> Self {
        let (index, kind) = (sink.health.condition("index"), sink.health.condition("kind"));
        index.missing("the list of objects is not complete yet");
        let rights = sink.health.condition("rights");
        [&kind, &rights].into_iter().for_each(Condition::met);
        Self {
            desk: Desk::new(sink.rules.clone()),
            pace: Pace::new(sink.policy.writes_per_second),
            width: Width::new(sink.policy.in_flight),
            owned: HashMap::new(),
            all: None,
            epoch: 0,
            whole: false,
            telling: Telling::default(),
            index,
            kind,
            rights,
            lacks: None,
            metrics: sink.metrics.clone(),
            offsets: sink.offsets.clone(),
        }
    }

    /// Between two steps: what is under way ends as it was begun.
    fn change(&mut self, (rules, policy): (Rules, SinkPolicy)) {
        self.width = Width::new(policy.in_flight);
        self.pace.change(policy.writes_per_second);
        self.share();
        self.desk.change(rules);
    }

    fn may_ask(&self, under_way: usize, now: Instant) -> bool {
        self.whole && under_way < self.desk.width(self.width.calls()) && self.desk.lanes().is_ready(now)
    }

    /// When something is due by itself.
    fn next_wake(&self, now: Now) -> Option<Instant> {
        let lanes = self.desk.lanes().next_wake().filter(|wake| *wake > now.instant);
        let left = self.desk.next_let_go().map(|at| at.0.saturating_sub(now.wall.0).max(1).unsigned_abs());
        lanes.into_iter().chain(left.map(|left| now.instant + Duration::from_millis(left))).min()
    }

    fn rested(&mut self) {
        let reply = self.desk.let_go(now().wall);
        self.reply(reply);
    }

    /// A partition becomes ours, under an epoch of its own.
    fn assign(&mut self, partition: &Partition) -> (i32, u64, CancellationToken) {
        self.epoch += 1;
        let (number, epoch, revoked) = (partition.number, self.epoch, partition.revoked.clone());
        let before = self.owned.insert(number, Owned { epoch, revoked: revoked.clone(), ledger: Ledger::default() });
        before.into_iter().for_each(|before| self.released(number, &before));
        (number, epoch, revoked)
    }

    fn revoke(&mut self, (number, epoch): (i32, u64)) {
        if self.owned.get(&number).is_some_and(|owned| owned.epoch == epoch)
            && let Some(owned) = self.owned.remove(&number)
        {
            self.released(number, &owned);
            self.share();
        }
    }

    fn released(&mut self, number: i32, owned: &Owned) {
        self.desk.release(number);
        self.metrics.finished_many(Outcome::Released, owned.ledger.in_flight() as u64);
    }

    fn share(&mut self) {
        let all = self.all.and_then(|all| usize::try_from(all).ok());
        self.pace.share(all.map_or(0, |_| self.owned.len()), all.unwrap_or(1));
        self.metrics.budget(self.pace.per_second());
    }

    fn counted(&mut self, all: i32) {
        self.all = Some(all);
        self.share();
        self.tell_untold();
    }

    fn shown(&mut self, sight: Sight) {
        let whole = matches!(sight, Sight::Whole);
        let ended = self.desk.see(sight);
        self.tell(ended);
        if whole {
            self.whole = true;
            self.index.met();
            self.tell_untold();
        }
    }

    /// Whoever takes over a partition tells what its former owner may not have told.
    fn tell_untold(&mut self) {
        if self.whole {
            let untold: Vec<Ended> = self.desk.live().untold().filter(|ended| self.is_ours(ended)).collect();
            self.tell(untold);
        }
    }

    fn is_ours(&self, ended: &Ended) -> bool {
        let key = ended.group.map_or_else(|| ended.fingerprint.to_string(), |group| group.to_string());
        self.all.is_some_and(|all| self.owned.contains_key(&partition_of(key.as_bytes(), all)))
    }

    fn tell(&mut self, ended: Vec<Ended>) {
        for ended in ended {
            if self.is_ours(&ended) {
                self.desk.telling(&ended);
                self.telling.tell.push(ended);
            }
        }
    }

    fn read(&mut self, record: Record, epoch: u64) {
        let Some(owned) = self.owned.get_mut(&record.position.partition).filter(|owned| owned.epoch == epoch) else {
            return;
        };
        owned.ledger.begin(record.position.offset);
        self.metrics.consumed(1);
        let reply = self.desk.take(record, epoch);
        self.reply(reply);
    }

    /// The next call. What needs none is settled on the way, and uses up no turn.
    fn turn(&mut self) -> Option<Job> {
        loop {
            match self.desk.next(now()) {
                Next::Ask(job) => return Some(*job),
                Next::Reply(reply) => self.reply(*reply),
                Next::Rest => return None,
            }
        }
    }

    fn heard(&mut self, (job, answer): (Job, Result<Found, Answer>)) -> Result<(), SinkError> {
        let passed = answer.is_ok();
        let (asked, writes) = (job.call.asked(), !matches!(job.call, Call::Read(_)));
        let reply = self.desk.hear(job, answer, now(), fastrand::f64());
        if let Some((refusal, answer)) = &reply.refused {
            self.metrics.refused(refusal.class());
            if matches!(refusal, Refusal::Throttled { .. }) {
                self.width.throttled();
            }
            self.complain(asked, refusal, answer);
        }
        if passed {
            self.width.passed();
            self.kind.met();
            [&THROTTLED, &REFUSED, &UNSERVED].into_iter().for_each(Complaint::settle);
        }
        if passed && writes && self.lacks == Some(asked) {
            self.lacks = None;
            self.rights.met();
            FORBIDDEN.settle();
        }
        let fatal = reply.refused.as_ref().is_some_and(|(refusal, _)| *refusal == Refusal::Fatal);
        self.reply(reply);
        if fatal { Err(SinkError::Unauthorized) } else { Ok(()) }
    }

    fn complain(&mut self, asked: Asked, refusal: &Refusal, answer: &Answer) {
        let said = format!("code={} {}", answer.code, answer.message);
        match refusal {
            Refusal::Throttled { .. } => THROTTLED.raise(&said),
            Refusal::Transient => REFUSED.raise(&said),
            Refusal::Outage if answer.about == About::Right => {
                let right = match asked {
                    Asked::Create => "create remediationrequests",
                    Asked::Object => "patch remediationrequests/status",
                };
                self.lacks = Some(asked);
                self.rights.missing(format!("the sink has no right to {right} any more: grant it again"));
                FORBIDDEN.raise(&said);
            }
            Refusal::Outage => {
                self.kind.missing("the api server does not serve RemediationRequest: `breakwater print crd`");
                UNSERVED.raise(&said);
            }
            Refusal::Settled | Refusal::Stale | Refusal::Gone | Refusal::NamespaceMissing => {}
            Refusal::Poison | Refusal::Fatal => {}
        }
    }

    fn reply(&mut self, reply: Reply) {
        reply.result.into_iter().for_each(|result| self.metrics.written(result));
        if let Some(pause) = reply.pause {
            self.pace.pause_until(Instant::now() + pause);
        }
        for dead in &reply.dead {
            let (reason, record) = (dead.reason, dead.record.position);
            let next = format!("mend the cause, then: breakwater dead-letters redrive --reason {reason}");
            tracing::warn!(%record, reason, detail = %dead.detail, next, "a draft or update never passes as it is: set aside");
        }
        reply.tell.iter().for_each(|ended| self.desk.telling(ended));
        self.telling.tell.extend(reply.tell);
        if self.telling.tell.is_empty() && reply.dead.is_empty() {
            self.finish(reply.settled);
        } else {
            self.telling.settled.extend(reply.settled);
            self.telling.dead.extend(reply.dead);
        }
    }

    /// What has to be told before it is finished.
    fn tellings(&mut self) -> Option<Telling> {
        let telling = std::mem::take(&mut self.telling);
        let nothing = telling.dead.is_empty() && telling.tell.is_empty() && telling.settled.is_empty();
        (!nothing).then_some(telling)
    }

    fn told(&mut self, told: Telling) {
        let now = now();
        for ended in told.tell.iter().filter(|ended| ended.exists) {
            if self.is_ours(ended) {
                self.desk.told(ended, now);
            }
        }
        self.finish(told.settled);
    }

    fn finish(&mut self, settled: Vec<Held>) {
        for held in settled {
            let position = held.record.position;
            let Some(owned) = self.owned.get_mut(&position.partition).filter(|owned| owned.epoch == held.epoch) else {
                continue;
            };
            owned.ledger.finish(position.offset);
            self.metrics.finished(held.outcome);
            let Some(next) = owned.ledger.committable() else {
                continue;
            };
            crash::point("sink-stores");
            match self.offsets.store(position.partition, next, &owned.revoked) {
                Ok(_) => UNSTORED.settle(),
                Err(error) => UNSTORED.raise(&error),
            }
        }
    }

    fn give_back(&mut self) {
        let owned: Vec<i32> = self.owned.keys().copied().collect();
        for number in owned {
            if let Some(owned) = self.owned.remove(&number) {
                self.released(number, &owned);
            }
        }
    }

    fn show(&self) {
        let (waiting, parked) = self.desk.lanes().waiting();
        self.metrics.waiting(waiting);
        self.metrics.parked(parked);
        self.metrics.live_objects(self.desk.live().live());
        self.metrics.paused(self.pace.is_paused(Instant::now()));
    }
}

/// A partition's records, until it is revoked.
fn records(partition: Partition, epoch: u64) -> impl Stream<Item = (Record, u64)> {
    let Partition { records, revoked, .. } = partition;
    stream::unfold((records, revoked), move |(mut records, revoked)| async move {
        let record = revoked.run_until_cancelled(records.recv()).await.flatten()?;
        Some(((record, epoch), (records, revoked)))
    })
}

/// How many partitions there are, asked until it is known: without it nobody knows whose share is whose.
async fn count(offsets: Offsets) -> i32 {
    loop {
        match offsets.partitions().await {
            Ok(count) => {
                UNCOUNTED.settle();
                return count;
            }
            Err(error) => UNCOUNTED.raise(&error),
        }
        sleep(UNCOUNTED_FOR).await;
    }
}

async fn rested(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: EventTime(jiff::Timestamp::now().as_millisecond()) }
}
