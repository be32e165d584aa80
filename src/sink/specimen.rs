//! Specimens for tests: incidents, progress, drafts and an API server of values.

use std::collections::{BTreeMap, VecDeque};

use super::{
    desk::{Call, Desk, Found, Job, Next, Reply, Rules},
    fold,
    live::{Sight, StormLife},
    object::{Object, ObjectId, Shown},
    outage::Now,
};
use crate::{
    alert::{EventTime, Fingerprint, Position, headers::Headers},
    decide::{
        backoff::Backoff,
        refusal::{About, Answer},
    },
    kafka::Record,
    remediation::{
        Draft, Generation, GroupId, Incident, Member, Progress, Remediation, Resource, StormProgress, Update,
        crd::{RemediationRequestSpec, TargetResource},
        name::{self, NameOf},
    },
};
use std::time::Duration;
use tokio::time::Instant;

pub(super) const FALLBACK: &str = "fallback";

pub(super) fn rules() -> Rules {
    Rules {
        fallback: FALLBACK.to_owned(),
        fold: fold::Rules { severities: ["info", "warning", "critical"].map(str::to_owned).to_vec(), max_listed: 4 },
        life: StormLife { quiet: Duration::from_mins(1), max_duration: Duration::from_mins(5) },
        backoff: Backoff { floor: Duration::from_millis(100), ceiling: Duration::from_secs(30) },
        give_up_after: Duration::from_mins(2),
        capacity: 10_000,
    }
}

pub(super) fn print(who: &str) -> Fingerprint {
    Fingerprint::of([who])
}

pub(super) fn generation(seconds: i64) -> Generation {
    Generation { at: EventTime(seconds * 1000), position: Position { partition: 0, offset: seconds } }
}

/// The incident of `who` that begins at that second.
pub(super) fn single(who: &str, seconds: i64) -> Incident {
    let (fingerprint, generation) = (print(who), generation(seconds));
    let name = name::name("Alert", NameOf::Single(fingerprint), generation);
    Incident { fingerprint, group: GroupId([7; 16]), generation, storm: false, name, namespace: "shop".to_owned() }
}

/// The storm of the group that begins at that second, with `who` as its first member.
pub(super) fn storm(who: &str, seconds: i64) -> Incident {
    let generation = generation(seconds);
    let name = name::name("Alert", NameOf::Storm(GroupId([7; 16])), generation);
    Incident { storm: true, name, ..single(who, seconds) }
}

/// So many firings, the last at that second.
pub(super) fn seen(incident: &Incident, count: u64, last: i64) -> Progress {
    Progress {
        first_seen: incident.generation.at,
        last_seen: EventTime(last * 1000),
        count,
        severity: "warning".to_owned(),
        priority: "P2".to_owned(),
        resolved_at: None,
        superseded_by: None,
        storm: None,
    }
}

/// A storm of these members, each joined at its second; a `*` says that it is superseded.
pub(super) fn kin(incident: &Incident, count: u64, members: &[(&str, i64)]) -> Progress {
    let member = |(who, at): &(&str, i64)| Member {
        fingerprint: print(who.trim_end_matches('*')).brief(),
        first_seen: EventTime(at * 1000),
        superseded: who.ends_with('*'),
    };
    let last = members.iter().map(|(_, at)| *at).max().unwrap_or_default();
    let aggregated = StormProgress {
        alert_count: count,
        total_affected_resources: members.len() as u64,
        affected_resources: members.iter().map(|(who, _)| resource(who.trim_end_matches('*'))).collect(),
        members: members.iter().map(member).collect(),
    };
    Progress { storm: Some(aggregated), ..seen(incident, count, last) }
}

pub(super) fn resource(who: &str) -> Resource {
    Resource { kind: "Pod".to_owned(), name: who.to_owned(), namespace: "shop".to_owned() }
}

pub(super) fn draft(incident: &Incident, progress: Progress, who: &str) -> Draft {
    let spec = RemediationRequestSpec {
        signal_fingerprint: incident.fingerprint.to_string(),
        target_resource: TargetResource {
            kind: "Pod".into(),
            name: who.into(),
            namespace: Some("shop".into()),
            api_version: None,
        },
        is_storm: incident.storm,
        ..RemediationRequestSpec::default()
    };
    Draft { incident: incident.clone(), spec, labels: BTreeMap::new(), annotations: BTreeMap::new(), progress }
}

/// One firing of `who`, at that second, as a draft.
pub(super) fn opens(who: &str, seconds: i64) -> Remediation {
    let incident = single(who, seconds);
    Remediation::Draft(Box::new(draft(&incident, seen(&incident, 1, seconds), who)))
}

pub(super) fn goes_on(incident: &Incident, progress: Progress) -> Remediation {
    Remediation::Update(Box::new(Update { incident: incident.clone(), progress }))
}

/// An API server of values: answers from a script first, else as the real one would.
#[derive(Default)]
pub(super) struct Server {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) script: VecDeque<Answer>,
    pub(super) calls: Vec<String>,
    pub(super) strangers: Vec<String>,
    pub(super) absent_namespaces: Vec<String>,
    version: u64,
}

pub(super) fn answer(code: u16, reason: &str) -> Answer {
    Answer { code, reason: reason.to_owned(), ..Answer::default() }
}

impl Server {
    #[expect(clippy::too_many_lines, reason = "one match that reads like the server that it stands for")]
    pub(super) fn ask(&mut self, call: &Call) -> Result<Found, Answer> {
        let (verb, id) = match call {
            Call::Create(object) => {
                let named = |text: &Option<String>| text.clone().unwrap_or_default();
                ("create", ObjectId::new(&named(&object.metadata.namespace), &named(&object.metadata.name)))
            }
            Call::Apply { id, .. } => ("apply", id.clone()),
            Call::Read(id) => ("read", id.clone()),
        };
        self.calls.push(format!("{verb} {id}"));
        if let Some(answer) = self.script.pop_front().filter(|answer| answer.code != 200) {
            return Err(answer);
        }
        let key = id.to_string();
        self.version += 1;
        let stranger = self.strangers.contains(&key);
        match call {
            Call::Create(_) if self.absent_namespaces.iter().any(|gone| **gone == *id.namespace) => {
                return Err(Answer { about: About::Namespace, ..answer(404, "NotFound") });
            }
            Call::Create(_) if stranger || self.objects.contains_key(&key) => return Err(answer(409, "AlreadyExists")),
            Call::Create(object) => {
                let shown: Shown = serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
                let object = Object { version: self.version.to_string(), ..shown.ours().unwrap() };
                self.objects.insert(key.clone(), object);
            }
            Call::Read(_) if stranger => return Ok(Found::Stranger),
            Call::Read(_) => {}
            Call::Apply { version, status, .. } => {
                let object = self.objects.get_mut(&key).ok_or_else(|| answer(404, "NotFound"))?;
                if object.version != *version {
                    return Err(answer(409, "Conflict"));
                }
                object.status = crate::remediation::crd::RemediationRequestStatus {
                    overall_phase: object.status.overall_phase.clone(),
                    ..(**status).clone()
                };
                object.version = self.version.to_string();
            }
        }
        let object = self.objects.get(&key).ok_or_else(|| answer(404, "NotFound"))?;
        Ok(Found::Ours(Box::new(object.clone())))
    }

    /// Whoever remediates sets a phase.
    pub(super) fn phase(&mut self, key: &str, phase: &str) -> Sight {
        self.version += 1;
        let object = self.objects.get_mut(key).unwrap();
        object.status.overall_phase = Some(phase.to_owned());
        object.version = self.version.to_string();
        Sight::Stands(Box::new(object.clone()))
    }
}

/// A desk and a server, in virtual time, that notes what comes of it all.
pub(super) struct Bench {
    pub(super) desk: Desk,
    pub(super) server: Server,
    pub(super) begin: Instant,
    pub(super) now: Now,
    pub(super) chance: f64,
    pub(super) replies: Vec<Reply>,
    pub(super) not_before: Instant,
    offset: i64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let begin = Instant::now();
        let now = Now { instant: begin, wall: EventTime(0) };
        let (desk, server) = (Desk::new(rules()), Server::default());
        Self { desk, server, begin, now, chance: 1.0, replies: Vec::new(), not_before: begin, offset: 0 }
    }

    pub(super) fn elapse(&mut self, span: Duration) {
        self.now = Now { instant: self.now.instant + span, wall: self.now.wall.plus(span) };
    }

    /// Takes a record in, timestamped now.
    pub(super) fn take(&mut self, remediation: &Remediation) {
        let position = Position { partition: 0, offset: self.offset };
        self.offset += 1;
        let value = serde_json::to_vec(remediation).unwrap().into();
        let record = Record { position, at: self.now.wall, key: None, value, headers: Headers::default() };
        let reply = self.desk.take(record, 1);
        self.note(reply);
    }

    fn note(&mut self, reply: Reply) {
        if let Some(pause) = reply.pause {
            self.not_before = self.not_before.max(self.now.instant + pause);
        }
        self.replies.push(reply);
    }

    pub(super) fn next(&mut self) -> Option<Job> {
        loop {
            match self.desk.next(self.now) {
                Next::Ask(job) => return Some(*job),
                Next::Reply(reply) => self.note(*reply),
                Next::Rest => return None,
            }
        }
    }

    pub(super) fn hear(&mut self, job: Job, answer: Result<Found, Answer>) {
        let reply = self.desk.hear(job, answer, self.now, self.chance);
        self.note(reply);
    }

    /// One call, if one is due now.
    pub(super) fn once(&mut self) -> bool {
        let Some(job) = self.next() else { return false };
        let answer = self.server.ask(&job.call);
        self.hear(job, answer);
        true
    }

    /// Everything, whatever the time it takes.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(pause) = self.not_before.checked_duration_since(self.now.instant) {
                self.elapse(pause);
            }
            if self.once() {
                continue;
            }
            let Some(wake) = self.desk.lanes().next_wake() else {
                return;
            };
            self.elapse(wake.duration_since(self.now.instant));
        }
    }

    pub(super) fn object(&self, incident: &Incident) -> &Object {
        &self.server.objects[&format!("{}/{}", incident.namespace, incident.name)]
    }

    pub(super) fn count(&self, incident: &Incident) -> u64 {
        self.object(incident).status.deduplication.as_ref().map_or(0, |dedup| dedup.occurrence_count)
    }

    /// Fingerprints told as over.
    pub(super) fn closed(&self) -> usize {
        self.replies.iter().flat_map(|reply| &reply.tell).map(|ended| ended.told.len()).sum()
    }

    pub(super) fn dead(&self) -> usize {
        self.replies.iter().map(|reply| reply.dead.len()).sum()
    }

    /// Records settled, as outcomes in order.
    pub(super) fn outcomes(&self) -> Vec<&'static str> {
        self.replies.iter().flat_map(|reply| &reply.settled).map(|held| held.outcome.as_str()).collect()
    }

    pub(super) fn verbs(&self) -> Vec<&str> {
        self.server.calls.iter().map(|call| call.split(' ').next().unwrap()).collect()
    }
}
