//! Where the sink decides: records come in, calls go out, answers come back, and what is settled leaves. It knows no
//! Kafka client, no API client and no clock, so the sim ring runs these very lines in virtual time.
//!
//! **Invariant:** a record leaves exactly once, and only when everything that it causes has its final answer.

mod ask;
mod dormant;
mod elsewhere;
mod hear;
mod nouns;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    fold::{fold, priority_rank},
    lanes::{Figures, Held, Lane, Lanes, Step, Work},
    live::{Ended, Live, Sight, Verdict, speaks_of},
    object::{Object, ObjectId},
    outage::{Now, Outage},
    thin,
};
use crate::{
    alert::{EventTime, Position},
    decide::outcome::Outcome,
    kafka::Record,
    remediation::{Draft, GroupId, Incident, Progress, Remediation, fit},
};

use dormant::Dormant;
pub use nouns::{Call, Dead, Found, Job, Next, Reply, Rules};

/// Bytes of records held at once.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A record in hand.
#[derive(Debug)]
struct Open {
    /// Writes that it still waits for.
    writes: usize,
    bytes: usize,
}

/// Where the sink decides.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    live: Live,
    lanes: Lanes,
    dormant: Dormant,
    outage: Outage,
    /// Records in hand.
    open: HashMap<(u64, Position), Open>,
    /// Bytes of their values.
    bytes: usize,
    /// Whether every object has been shown once.
    whole: bool,
    refused: HashSet<String>,
    refused_order: VecDeque<String>,
}

impl Desk {
    /// Nothing is known and nothing waits.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let (live, outage) = (Live::new(rules.life), Outage::new(rules.backoff.ceiling));
        let (open, refused, refused_order) = (HashMap::new(), HashSet::new(), VecDeque::new());
        let (lanes, dormant) = (Lanes::default(), Dormant::default());
        Self { rules, live, lanes, dormant, outage, open, bytes: 0, whole: false, refused, refused_order }
    }

    /// Puts other rules in force, for what is taken and folded from now on.
    pub fn change(&mut self, rules: Rules) {
        self.live.change(rules.life);
        self.rules = rules;
    }

    /// The objects that are known.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// What waits.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Whether one more record may be taken, beside those that wait for nothing of ours.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let (open, bytes) =
            (self.open.len().saturating_sub(self.dormant.len()), self.bytes.saturating_sub(self.dormant.bytes()));
        open < self.rules.capacity && bytes < MOST_BYTES
    }

    /// Calls that may be under way at once: while nothing passes, one asks for all.
    #[must_use]
    pub fn width(&self, in_flight: usize) -> usize {
        if self.outage.is_on() { 1 } else { in_flight }
    }

    /// Takes in what the API server shows; what has ended by it comes back.
    pub fn see(&mut self, sight: Sight) -> Vec<Ended> {
        self.whole |= matches!(sight, Sight::Whole);
        self.live.see(sight)
    }

    /// The log is being told of it: nobody here tells it again.
    pub fn telling(&mut self, ended: &Ended) {
        self.live.told(&ended.id);
    }

    /// The log was told, so the object is to be marked.
    pub fn told(&mut self, ended: &Ended, now: Now) {
        if ended.exists {
            self.mark(&ended.id, now.wall);
        }
    }

    fn mark(&mut self, id: &ObjectId, since: EventTime) {
        let Some(object) = self.live.object(id) else { return };
        let mut work = Work::new(id.clone(), &stands_for(object), Step::Apply, since);
        work.mark = true;
        self.lanes.push(work);
    }

    /// Forgets the records of a partition that is no longer ours. Calls under way end by themselves.
    pub fn release(&mut self, partition: i32) {
        for id in self.lanes.release(partition) {
            self.idle(&id);
        }
        self.dormant.release(partition);
        self.open.retain(|(_, position), _| position.partition != partition);
        self.bytes = self.open.values().map(|open| open.bytes).sum();
    }

    /// What was in hand is settled, or nobody's any more.
    fn done(&mut self, id: &ObjectId) {
        self.lanes.done(id);
        self.idle(id);
    }

    /// An object for which nothing waits is what the API server shows, and nothing more.
    fn idle(&mut self, id: &ObjectId) {
        if self.lanes.has(id) {
            return;
        }
        self.live.awaits_nothing(id);
        if self.live.object(id).is_some_and(|object| object.version.is_empty()) {
            self.live.forget(id);
        }
    }

    /// Takes one record in.
    pub fn take(&mut self, record: Record, epoch: u64) -> Reply {
        let bytes = record.value.len();
        self.bytes += bytes;
        self.open.insert((epoch, record.position), Open { writes: 1, bytes });
        self.sort(record, epoch)
    }

    fn sort(&mut self, record: Record, epoch: u64) -> Reply {
        let remediation = match readable(&record) {
            Ok(remediation) => remediation,
            Err(detail) => return self.unreadable(record, epoch, detail),
        };
        let opens = matches!(remediation, Remediation::Draft(_)).then(|| remediation.incident().generation);
        let outcome = if remediation.progress().resolved_at.is_some() { Outcome::Resolved } else { Outcome::Duplicate };
        let incident = remediation.incident();
        let of = Some((incident.fingerprint, incident.storm, incident.generation));
        let mut held = Held { record, outcome, opens, of, shared: false, epoch };
        match (self.live.judge(&remediation), remediation) {
            (Verdict::Update(id), remediation) => self.go_on(id, remediation, held),
            (Verdict::Create, Remediation::Draft(draft)) => {
                held.outcome = Outcome::Created;
                self.open(*draft, held)
            }
            (Verdict::Over(id), remediation) => {
                held.outcome = Outcome::Closed;
                let own = speaks_of(remediation.incident(), remediation.progress()).collect();
                let tell = self.live.late(&id, own).into_iter().collect();
                Reply { settled: self.settle(vec![held]), tell, ..Reply::default() }
            }
            (Verdict::Missing, remediation) if remediation.progress().count == 0 && self.whole => {
                Reply { settled: self.settle(vec![held]), ..Reply::default() }
            }
            (Verdict::Create | Verdict::Missing, remediation) => self.look_for(&remediation, held),
        }
    }

    fn unreadable(&mut self, record: Record, epoch: u64, detail: String) -> Reply {
        let dead = vec![Dead { record: record.clone(), reason: "malformed", detail }];
        let held = Held { record, outcome: Outcome::DeadLettered, opens: None, of: None, shared: false, epoch };
        Reply { settled: self.settle(vec![held]), dead, ..Reply::default() }
    }

    /// A new incident: known from now on, so that whatever follows is merged into its waiting create.
    fn open(&mut self, mut draft: Draft, held: Held) -> Reply {
        let name = draft.incident.name.clone();
        let storm = draft.progress.storm.as_ref();
        let elsewhere = storm.map(|storm| self.live.elsewhere(&name, storm, None)).unwrap_or_default();
        if !elsewhere.is_empty() {
            thin::take_out(&mut draft, &elsewhere, &self.live);
        }
        let dissolved =
            !elsewhere.is_empty() && draft.progress.storm.as_ref().is_some_and(|storm| storm.members.is_empty());
        let elsewhere = self.live_ones(elsewhere);
        if dissolved {
            return self.sleep(&draft.incident, &elsewhere, held);
        }
        self.share(&held, elsewhere.len() + 1);
        self.count_elsewhere(&elsewhere, &draft.incident, &Held { shared: true, ..held.clone() });
        let id = self.place(&draft.incident);
        self.expect(&draft, id.clone());
        let mut work = Work::new(id, &draft.incident, Step::Apply, held.record.at);
        work.lane = Lane::Create(priority_rank(&draft.progress.priority).0);
        work.figure(Figures { incident: draft.incident.clone(), progress: draft.progress.clone() });
        work.step = Step::Create(Box::new(draft));
        work.held.push(held);
        self.lanes.push(work);
        Reply::default()
    }

    /// An incident that has an object, or a create that waits.
    fn go_on(&mut self, id: ObjectId, remediation: Remediation, mut held: Held) -> Reply {
        let incident = remediation.incident().clone();
        let mut progress = remediation.progress().clone();
        let object = self.live.object(&id);
        let storm = progress.storm.as_ref();
        let elsewhere = storm.map(|storm| self.live.elsewhere(&incident.name, storm, Some(&id))).unwrap_or_default();
        thin::thin(&mut progress, &elsewhere, &self.live);
        let newest = object.map(Object::newest);
        if held.opens.is_some_and(|opens| newest.is_some_and(|newest| opens <= newest)) {
            held.outcome = Outcome::Redelivered;
        }
        let elsewhere = self.live_ones(elsewhere);
        self.share(&held, elsewhere.len() + 1);
        self.count_elsewhere(&elsewhere, &incident, &Held { shared: true, ..held.clone() });
        let mut work = Work::new(id, &incident, Step::Apply, held.record.at);
        work.through = newest;
        work.lane = Lane::Status(rank(&progress));
        self.grow_expected(&work.id, &incident, &progress);
        progress.storm.iter().for_each(|storm| self.live.awaits(&work.id, storm));
        work.figure(Figures { incident, progress });
        work.held.push(held);
        self.lanes.push(work);
        Reply::default()
    }

    /// An update whose object nobody here has seen: it is asked for, unless its draft was set aside.
    fn look_for(&mut self, remediation: &Remediation, mut held: Held) -> Reply {
        let incident = remediation.incident();
        if self.refused.contains(&incident.name) {
            held.outcome = Outcome::Closed;
            return Reply { settled: self.settle(vec![held]), ..Reply::default() };
        }
        if let Some(reply) = self.rouse(remediation, &held).or_else(|| self.dissolved(remediation, &held)) {
            return reply;
        }
        let mut work = Work::new(self.place(incident), incident, Step::Read, held.record.at);
        work.lane = Lane::Status(rank(remediation.progress()));
        work.figure(Figures { incident: incident.clone(), progress: remediation.progress().clone() });
        work.held.push(held);
        self.lanes.push(work);
        Reply::default()
    }

    fn place(&self, incident: &Incident) -> ObjectId {
        let namespace = if fit::is_namespace(&incident.namespace) { &incident.namespace } else { &self.rules.fallback };
        ObjectId::new(namespace, &incident.name)
    }

    fn expect(&mut self, draft: &Draft, id: ObjectId) {
        let mut object = Object::expected(draft, id);
        object.status = fold(&object, &draft.incident, &draft.progress, &self.rules.fold);
        self.live.enter(object);
    }

    /// A create that waits is known by what it will be.
    fn grow_expected(&mut self, id: &ObjectId, incident: &Incident, progress: &Progress) {
        let Some(mut object) = self.live.object(id).filter(|object| object.version.is_empty()).cloned() else {
            return;
        };
        object.status = fold(&object, incident, progress, &self.rules.fold);
        self.live.enter(object);
    }

    /// A record may cause several writes; it is settled with the last of them.
    fn share(&mut self, held: &Held, parts: usize) {
        if let Some(open) = self.open.get_mut(&(held.epoch, held.record.position)) {
            open.writes += parts - 1;
        }
    }

    /// Those of which nothing is left to write. What was released meanwhile is nobody's any more.
    fn settle(&mut self, held: Vec<Held>) -> Vec<Held> {
        let mut settled = Vec::with_capacity(held.len());
        for held in held {
            let key = (held.epoch, held.record.position);
            match self.open.get_mut(&key) {
                Some(open) if open.writes > 1 => open.writes -= 1,
                Some(open) => {
                    self.bytes -= open.bytes;
                    self.open.remove(&key);
                    settled.push(held);
                }
                None => {}
            }
        }
        settled
    }

    /// Whether the record is still ours and in hand.
    fn is_open(&self, held: &Held) -> bool {
        self.open.contains_key(&(held.epoch, held.record.position))
    }
}

fn readable(record: &Record) -> Result<Remediation, String> {
    let remediation: Remediation =
        serde_json::from_slice(&record.value).map_err(|error| format!("not a draft and not an update: {error}"))?;
    let incident = remediation.incident();
    match fit::is_namespace(&incident.name) {
        true if incident.storm == remediation.progress().storm.is_some() => Ok(remediation),
        true => Err("a storm has members, and nothing else has".to_owned()),
        false => Err(format!("{:?} can be no object's name", incident.name)),
    }
}

/// The priority's place; what says no severity has none.
fn rank(progress: &Progress) -> u32 {
    if progress.severity.is_empty() { u32::MAX } else { priority_rank(&progress.priority).0 }
}

/// The incident of an object, for what has no record of its own.
fn stands_for(object: &Object) -> Incident {
    Incident {
        fingerprint: object.fingerprint,
        group: object.group.unwrap_or(GroupId([0; 16])),
        generation: object.begun,
        storm: object.storm,
        name: object.incident.to_string(),
        namespace: object.id.namespace.to_string(),
    }
}
