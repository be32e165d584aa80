//! What the stage knows between two steps: whose partitions are ours, what is in hand, what is missing.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Sink, SinkError, now, recent};
use crate::{
    alert::murmur2::partition_of,
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
    sink::{
        desk::{Call, Desk, Found, Job, Next, Reply, Rules},
        lanes::Held,
        live::{Ended, Sight, StormLife},
        outage::Now,
        pace::Pace,
        tell::Telling,
        width::Width,
    },
    telemetry::{complaint::Complaint, health::Condition, metrics::SinkMetrics, recent::Recent},
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

/// A partition that is ours.
struct Owned {
    epoch: u64,
    revoked: CancellationToken,
    ledger: Ledger,
}

pub(super) struct State {
    pub(super) desk: Desk,
    pub(super) pace: Pace,
    width: Width,
    owned: HashMap<i32, Owned>,
    /// All partitions; none until the broker said how many.
    all: Option<i32>,
    epoch: u64,
    /// Whether every object has been shown once.
    pub(super) whole: bool,
    telling: Telling,
    index: Condition,
    kind: Condition,
    rights: Condition,
    /// What we may not do at all, since an answer said so.
    lacks: Option<Asked>,
    metrics: SinkMetrics,
    recent: Recent,
    /// How long storms live.
    life: StormLife,
    offsets: Offsets,
}

impl State {
    pub(super) fn new<O>(sink: &Sink<O>) -> Self {
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
            recent: sink.recent.clone(),
            life: sink.rules.life,
            offsets: sink.offsets.clone(),
        }
    }

    /// Between two steps: what is under way ends as it was begun.
    pub(super) fn change(&mut self, (rules, policy): (Rules, SinkPolicy)) {
        self.width = Width::new(policy.in_flight);
        self.pace.change(policy.writes_per_second);
        self.share();
        self.life = rules.life;
        self.desk.change(rules);
    }

    pub(super) fn may_ask(&self, under_way: usize, now: Instant) -> bool {
        self.whole && under_way < self.desk.width(self.width.calls()) && self.desk.lanes().is_ready(now)
    }

    /// When something is due by itself.
    pub(super) fn next_wake(&self, now: Now) -> Option<Instant> {
        let lanes = self.desk.lanes().next_wake().filter(|wake| *wake > now.instant);
        let left = self.desk.next_let_go().map(|at| at.0.saturating_sub(now.wall.0).max(1).unsigned_abs());
        lanes.into_iter().chain(left.map(|left| now.instant + Duration::from_millis(left))).min()
    }

    pub(super) fn rested(&mut self) {
        let reply = self.desk.let_go(now().wall);
        self.reply(reply);
    }

    /// A partition becomes ours, under an epoch of its own.
    pub(super) fn assign(&mut self, partition: &Partition) -> (i32, u64, CancellationToken) {
        self.epoch += 1;
        let (number, epoch, revoked) = (partition.number, self.epoch, partition.revoked.clone());
        let before = self.owned.insert(number, Owned { epoch, revoked: revoked.clone(), ledger: Ledger::default() });
        before.into_iter().for_each(|before| self.released(number, &before));
        (number, epoch, revoked)
    }

    pub(super) fn revoke(&mut self, (number, epoch): (i32, u64)) {
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

    pub(super) fn counted(&mut self, all: i32) {
        self.all = Some(all);
        self.share();
        self.tell_untold();
    }

    pub(super) fn shown(&mut self, sight: Sight) {
        let whole = matches!(sight, Sight::Whole);
        match &sight {
            Sight::Stands(object) => recent::note(&self.recent, object, self.life),
            Sight::Deleted(id) => self.recent.gone(&id.namespace, &id.name),
            Sight::Begin | Sight::Whole => {}
        }
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

    pub(super) fn read(&mut self, record: Record, epoch: u64) {
        let Some(owned) = self.owned.get_mut(&record.position.partition).filter(|owned| owned.epoch == epoch) else {
            return;
        };
        owned.ledger.begin(record.position.offset);
        self.metrics.consumed(1);
        let reply = self.desk.take(record, epoch);
        self.reply(reply);
    }

    /// The next call. What needs none is settled on the way, and uses up no turn.
    pub(super) fn turn(&mut self) -> Option<Job> {
        loop {
            match self.desk.next(now()) {
                Next::Ask(job) => return Some(*job),
                Next::Reply(reply) => self.reply(*reply),
                Next::Rest => return None,
            }
        }
    }

    pub(super) fn heard(&mut self, (job, answer): (Job, Result<Found, Answer>)) -> Result<(), SinkError> {
        let passed = answer.is_ok();
        if let Ok(Found::Ours(object)) = &answer {
            recent::note(&self.recent, object, self.life);
        }
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
            recent::pause(&self.recent, reply.refused.as_ref(), pause);
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
    pub(super) fn tellings(&mut self) -> Option<Telling> {
        let telling = std::mem::take(&mut self.telling);
        let nothing = telling.dead.is_empty() && telling.tell.is_empty() && telling.settled.is_empty();
        (!nothing).then_some(telling)
    }

    pub(super) fn told(&mut self, told: Telling) {
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

    pub(super) fn give_back(&mut self) {
        let owned: Vec<i32> = self.owned.keys().copied().collect();
        for number in owned {
            if let Some(owned) = self.owned.remove(&number) {
                self.released(number, &owned);
            }
        }
    }

    pub(super) fn show(&self) {
        let (waiting, parked) = self.desk.lanes().waiting();
        self.metrics.waiting(waiting);
        self.metrics.parked(parked);
        self.metrics.dormant(self.desk.dormant());
        self.metrics.live_objects(self.desk.live().live());
        self.metrics.paused(self.pace.is_paused(Instant::now()));
    }
}
