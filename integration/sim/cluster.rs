//! An API server of values, and the sink's desk in front of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use breakwater::{
    alert::{Closed, EventTime, Position, headers::Headers},
    decide::refusal::Answer,
    kafka::Record,
    remediation::{
        Remediation,
        crd::{RemediationRequest, RemediationRequestStatus},
    },
    sink::{
        desk::{Call, Dead, Desk, Found, Next, Reply, Rules},
        live::{Ended, Sight},
        object::{Object, ObjectId, Shown},
        outage::Now,
    },
};
use tokio::time::Instant;

use crate::weather::Weather;

/// One object as it stands.
#[derive(Clone, Debug)]
pub struct Kept {
    pub written: RemediationRequest,
    pub object: Object,
}

/// The objects, by `namespace/name`.
#[derive(Debug, Default)]
pub struct Cluster {
    pub objects: BTreeMap<String, Kept>,
    version: u64,
}

impl Cluster {
    /// Whether the object of a call is there.
    pub fn holds(&self, call: &Call) -> bool {
        self.objects.contains_key(&id_of(call).to_string())
    }

    /// What an API server that is well answers.
    pub fn ask(&mut self, call: &Call) -> Result<Found, Answer> {
        let key = id_of(call).to_string();
        self.version += 1;
        match call {
            Call::Create(_) if self.objects.contains_key(&key) => return Err(answer(409, "AlreadyExists")),
            Call::Create(written) => {
                let shown: Shown = serde_json::from_value(serde_json::to_value(written).unwrap()).unwrap();
                let object = Object { version: self.version.to_string(), ..shown.ours().unwrap() };
                self.objects.insert(key.clone(), Kept { written: (**written).clone(), object });
            }
            Call::Read(_) => {}
            Call::Apply { version, status, .. } => {
                let object = &mut self.objects.get_mut(&key).ok_or_else(|| answer(404, "NotFound"))?.object;
                if object.version != *version {
                    return Err(answer(409, "Conflict"));
                }
                let overall_phase = object.status.overall_phase.clone();
                object.status = RemediationRequestStatus { overall_phase, ..(**status).clone() };
                object.version = self.version.to_string();
            }
        }
        let kept = self.objects.get(&key).ok_or_else(|| answer(404, "NotFound"))?;
        Ok(Found::Ours(Box::new(kept.object.clone())))
    }

    /// Whoever remediates sets a phase.
    fn phase(&mut self, key: &str, phase: &str) -> Sight {
        self.version += 1;
        let object = &mut self.objects.get_mut(key).unwrap().object;
        object.status.overall_phase = Some(phase.to_owned());
        object.version = self.version.to_string();
        Sight::Stands(Box::new(object.clone()))
    }
}

fn id_of(call: &Call) -> ObjectId {
    match call {
        Call::Create(object) => {
            let named = |text: &Option<String>| text.clone().unwrap_or_default();
            ObjectId::new(&named(&object.metadata.namespace), &named(&object.metadata.name))
        }
        Call::Apply { id, .. } | Call::Read(id) => id.clone(),
    }
}

/// A refusal with an API server's reason.
pub fn answer(code: u16, reason: &str) -> Answer {
    Answer { code, reason: reason.to_owned(), ..Answer::default() }
}

/// The sink: its desk, the objects behind it, and how far it has read.
#[derive(Debug)]
pub struct Sink {
    desk: Desk,
    pub cluster: Cluster,
    began: Instant,
    next: usize,
    /// What was read and is not settled yet: nothing from there on is committed.
    unfinished: BTreeSet<usize>,
    /// How the API server feels.
    pub weather: Weather,
    /// Nothing is asked before.
    rests: EventTime,
    /// Offsets that were settled, and records that were set aside, in this life.
    pub settled: Vec<i64>,
    pub dead: Vec<Dead>,
}

impl Sink {
    pub fn new(rules: Rules) -> Self {
        let mut desk = Desk::new(rules);
        desk.see(Sight::Begin);
        desk.see(Sight::Whole);
        Self {
            desk,
            cluster: Cluster::default(),
            began: Instant::now(),
            next: 0,
            unfinished: BTreeSet::new(),
            weather: Weather::fair(),
            rests: EventTime(i64::MIN),
            settled: Vec::new(),
            dead: Vec::new(),
        }
    }

    fn now(&self, wall: EventTime) -> Now {
        Now { instant: self.began + Duration::from_millis(wall.0.unsigned_abs()), wall }
    }

    /// Reads what is new, and writes until nothing is due. What is over is to be told to the log.
    pub fn turn(&mut self, topic: &[Remediation], wall: EventTime) -> Vec<Closed> {
        let mut over = Vec::new();
        let let_go = self.desk.let_go(wall);
        self.note(let_go, wall, &mut over);
        for (offset, remediation) in (0..).zip(topic).skip(self.next) {
            let position = Position { partition: 0, offset };
            let value = serde_json::to_vec(remediation).unwrap().into();
            let record = Record { position, at: wall, key: None, value, headers: Headers::default() };
            self.unfinished.insert(usize::try_from(offset).unwrap());
            let reply = self.desk.take(record, 1);
            self.note(reply, wall, &mut over);
        }
        self.next = topic.len();
        self.write(wall, &mut over);
        over
    }

    fn write(&mut self, wall: EventTime, over: &mut Vec<Closed>) {
        while wall >= self.rests {
            let reply = match self.desk.next(self.now(wall)) {
                Next::Ask(job) => {
                    let answer = self.weather.ask(&mut self.cluster, &job.call);
                    self.desk.hear(*job, answer, self.now(wall), 0.5)
                }
                Next::Reply(reply) => *reply,
                Next::Rest => return,
            };
            self.note(reply, wall, over);
        }
    }

    fn note(&mut self, reply: Reply, wall: EventTime, over: &mut Vec<Closed>) {
        assert!(reply.dead.is_empty() || self.weather.refuses(), "nothing is set aside here: {:?}", reply.dead);
        for held in &reply.settled {
            self.unfinished.remove(&usize::try_from(held.record.position.offset).unwrap());
            self.settled.push(held.record.position.offset);
        }
        self.rests = self.rests.max(wall.plus(reply.pause.unwrap_or_default()));
        self.dead.extend(reply.dead);
        self.tell(&reply.tell, wall, over);
    }

    fn tell(&mut self, ended: &[Ended], wall: EventTime, over: &mut Vec<Closed>) {
        for ended in ended {
            self.desk.telling(ended);
            over.extend(ended.told.iter().cloned());
            self.desk.told(ended, self.now(wall));
        }
    }

    /// Whoever remediates ends the object of that key.
    pub fn end(&mut self, key: &str, phase: &str, wall: EventTime) -> Vec<Closed> {
        let sight = self.cluster.phase(key, phase);
        let ended = self.desk.see(sight);
        let mut over = Vec::new();
        self.tell(&ended, wall, &mut over);
        self.write(wall, &mut over);
        over
    }

    /// The process dies and another takes over: the index is listed anew, the topic read again from `from`.
    pub fn restart(&mut self, rules: Rules, from: usize) {
        self.desk = Desk::new(rules);
        self.desk.see(Sight::Begin);
        for kept in self.cluster.objects.values() {
            self.desk.see(Sight::Stands(Box::new(kept.object.clone())));
        }
        self.desk.see(Sight::Whole);
        (self.settled, self.dead) = (Vec::new(), Vec::new());
        let low = std::mem::take(&mut self.unfinished).first().copied().unwrap_or(self.next);
        self.next = from.min(low);
    }
}
