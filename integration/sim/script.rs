//! A story in a line: what happens when, and the objects at the end.
//!
//! `a@0` pod a fires at 0 s · `!a@3` critically · `-a@9` is resolved · `#a@12` its object is Completed · `shop/a@0` in
//! namespace shop (else `ns`) · `ns/a:Name@0` under another alertname.
//! Objects: `a×2` two firings · `a×1^` superseded · `a×1.` final · `a×1!` critical · `a×1~` resolved · `(a b c)×4` a storm,
//! four firings.

use std::{collections::BTreeMap, sync::Arc};

use breakwater::{
    alert::{Brief, EventTime, headers::Headers},
    kafka::Record,
    remediation::{Draft, Incident, Progress, Remediation},
    replay::lab::{Came, Lab},
};
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::json;

use crate::world::{FALLBACK, World};

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Fires { severity: &'static str },
    Resolved,
    Ends,
}

/// One thing that happens to one pod.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: EventTime,
    pub namespace: String,
    pub pod: String,
    pub alert: String,
    pub deed: Deed,
}

impl Event {
    pub fn read(word: &str) -> Self {
        let (what, at) = word.split_once('@').unwrap_or_else(|| panic!("{word} has no @"));
        let (deed, who) = match what.split_at(1) {
            ("!", who) => (Deed::Fires { severity: "critical" }, who),
            ("-", who) => (Deed::Resolved, who),
            ("#", who) => (Deed::Ends, who),
            _ => (Deed::Fires { severity: "warning" }, what),
        };
        let (namespace, who) = who.split_once('/').unwrap_or(("ns", who));
        let (pod, alert) = who.split_once(':').unwrap_or((who, "Crash"));
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
        let at = EventTime((at.parse::<f64>().unwrap() * 1000.0) as i64);
        Self { at, namespace: namespace.to_owned(), pod: pod.to_owned(), alert: alert.to_owned(), deed }
    }

    pub fn json(&self) -> Bytes {
        let (status, severity) = match self.deed {
            Deed::Fires { severity } => ("firing", severity),
            Deed::Resolved | Deed::Ends => ("resolved", "warning"),
        };
        let labels =
            json!({ "alertname": self.alert, "namespace": self.namespace, "pod": self.pod, "severity": severity });
        let starts_at = "2026-01-01T00:00:00Z";
        serde_json::to_vec(&json!({ "status": status, "labels": labels, "startsAt": starts_at })).unwrap().into()
    }

    /// It happens now.
    pub fn happen(&self, world: &mut World) {
        if self.deed != Deed::Ends {
            world.append(None, self.json(), Headers::default());
            return;
        }
        let Some(sink) = &mut world.sink else { return };
        let its = sink.cluster.objects.iter().filter(|(_, kept)| {
            let resources =
                kept.object.storm_status().map(|storm| storm.affected_resources.clone()).unwrap_or_default();
            let own = &kept.object.resource;
            kept.object.is_live()
                && (kept.written.spec.signal_name == self.alert)
                && own.namespace == self.namespace
                && (own.name == self.pod || resources.iter().any(|resource| resource.name == self.pod))
        });
        let keys: Vec<String> = its.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let over = world.sink.as_mut().map(|sink| sink.end(&key, "Completed", world.now)).unwrap_or_default();
            over.iter().for_each(|closed| world.append_closed(closed));
        }
    }
}

/// What a stretch of the log has led to: every draft by its name, and how each incident stood at last.
#[derive(Debug, Default, PartialEq)]
pub struct Drafted {
    pub drafts: BTreeMap<String, Draft>,
    pub last: BTreeMap<String, Progress>,
    incidents: BTreeMap<String, Incident>,
}

impl Drafted {
    /// Reads the topic. A draft that comes again must be the same draft.
    pub fn of(topic: &[Remediation]) -> Self {
        let mut out = Self::default();
        for remediation in topic {
            let name = &remediation.incident().name;
            out.incidents.insert(name.clone(), remediation.incident().clone());
            if let Remediation::Draft(draft) = remediation {
                let before = out.drafts.insert(name.clone(), (**draft).clone());
                assert!(before.is_none_or(|before| before == **draft), "{name} was drafted twice, and differently");
            }
            let (now, newer) = (remediation.progress(), |known: &Progress, now: &Progress| {
                (known.count, known.last_seen) <= (now.count, now.last_seen)
            });
            match out.last.get_mut(name) {
                Some(known) if newer(known, now) => *known = now.clone(),
                Some(_) => {}
                None => drop(out.last.insert(name.clone(), now.clone())),
            }
        }
        out
    }

    /// Only incidents that are not over by the log's word: what is over is not drafted anew, nor told to its end.
    pub fn open(mut self, world: &World) -> Self {
        let over = closed(world);
        let is_over = |name: &str, progress: &Progress| {
            let incident = &self.incidents[name];
            let members = progress.storm.iter().flat_map(|storm| &storm.members).map(|member| member.fingerprint);
            let whose: Vec<_> = members.chain([incident.fingerprint.brief()]).collect();
            over.iter().any(|(whom, through)| whose.contains(whom) && incident.generation.at <= *through)
        };
        let gone: Vec<String> =
            self.last.iter().filter(|(name, progress)| is_over(name, progress)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.drafts.remove(&name);
            self.last.remove(&name);
            self.incidents.remove(&name);
        }
        self
    }
}

fn closed(world: &World) -> Vec<(Brief, EventTime)> {
    let records = world.partitions.iter().flat_map(|partition| &partition.log);
    let read = records.filter_map(|record| {
        let rules = &world.bench.pipeline.identity;
        match breakwater::alert::record::parse(&record.value, &record.headers, record.at, rules).ok()? {
            breakwater::alert::Signal::Closed(closed) => Some((closed.fingerprint, closed.through)),
            breakwater::alert::Signal::Alert(_) => None,
        }
    });
    read.collect()
}

/// The objects, in a line, sorted.
pub fn objects(world: &World) -> String {
    let sink = world.sink.as_ref().unwrap();
    let mut words: Vec<String> = sink
        .cluster
        .objects
        .values()
        .map(|kept| {
            let (object, status) = (&kept.object, &kept.object.status);
            let dedup = status.deduplication.as_ref();
            let count = dedup.map_or(0, |dedup| dedup.occurrence_count);
            let who = match object.storm_status() {
                None => object.resource.name.clone(),
                Some(storm) => {
                    let mut names: Vec<&str> =
                        storm.affected_resources.iter().map(|resource| resource.name.as_str()).collect();
                    names.sort_unstable();
                    assert_eq!(storm.alert_count, count);
                    let more = storm.total_affected_resources - names.len() as u64;
                    let more = if more == 0 { String::new() } else { format!(" +{more}") };
                    format!("({}{more})", names.join(" "))
                }
            };
            let flag = |holds: bool, flag: &'static str| if holds { flag } else { "" };
            let critical = flag(status.severity.as_deref() == Some("critical"), "!");
            let resolved = flag(status.resolved_at.is_some(), "~");
            let superseded = flag(status.superseded_by.is_some(), "^");
            format!("{who}×{count}{critical}{resolved}{superseded}{}", flag(!object.is_live(), "."))
        })
        .collect();
    words.sort();
    words.join(" ")
}

/// Plays a story as it happens, and a little longer than anything of it matters.
pub fn play(world: &mut World, events: &[Event], batch: usize) {
    for event in events {
        if event.at > world.now {
            world.run_until(EventTime(event.at.0 - 1), batch); // what is due by then comes first
            world.now = event.at;
        }
        event.happen(world);
    }
    world.run_until(EventTime(world.now.0 + 150_000), batch);
}

/// The story's log, read in another world as late as it may be: all of it at once, in batches of so many.
pub fn read_late(told: &World, pipeline: &str, batch: usize) -> World {
    let mut world = World::new(pipeline);
    world.sink = None;
    for (partition, of) in world.partitions.iter_mut().zip(&told.partitions) {
        partition.log.clone_from(&of.log);
    }
    world.now = EventTime(told.now.0 - 75_000);
    world.run_until(told.now, batch);
    world
}

/// The story's log, taken by the lab of replays, so many records at a time: what would have been published.
pub fn replayed(told: &World, some: usize) -> Vec<Remediation> {
    let mut log: Vec<Record> = told.partitions.iter().flat_map(|partition| partition.log.clone()).collect();
    log.sort_by_key(|record| (record.at, record.position));
    let mut lab = Lab::new(Arc::clone(&told.bench.pipeline), told.bench.namespaces.clone(), FALLBACK);
    let mut came: Vec<Came> = Vec::new();
    for records in log.chunks(some) {
        came.extend(lab.take(records.to_vec()).now_or_never().unwrap().unwrap());
    }
    came.extend(lab.reach(told.now).now_or_never().unwrap().unwrap());
    let remediation = |came| match came {
        Came::Opened { draft, .. } => Some(Remediation::Draft(draft)),
        Came::GoesOn(update) => Some(Remediation::Update(update)),
        Came::Ended { .. } | Came::Unreadable { .. } => None,
    };
    came.into_iter().filter_map(remediation).collect()
}

/// The objects that a story leaves behind; read late, whatever the batches, its log leads to the same drafts.
pub fn check(pipeline: &str, story: &str, expected: &str) -> World {
    let mut events: Vec<Event> = story.split_whitespace().map(Event::read).collect();
    events.sort_by_key(|event| event.at);
    let mut world = World::new(pipeline);
    play(&mut world, &events, 1000);
    assert_eq!(objects(&world), expected, "{story}");
    let drafted = Drafted::of(&world.topic).open(&world);
    for batch in [1, 7, 1000] {
        let late = read_late(&world, pipeline, batch);
        pretty(&Drafted::of(&late.topic).open(&world), &drafted, &format!("read late in batches of {batch}: {story}"));
        let replayed = Drafted::of(&replayed(&world, batch)).open(&world);
        pretty(&replayed, &drafted, &format!("replayed, {batch} records at a time: {story}"));
    }
    world
}

/// Equal, or what differs. Drafts of what is over may be missing, and are the same where they are not.
pub fn pretty(found: &Drafted, expected: &Drafted, what: &str) {
    let names = |drafted: &Drafted| drafted.drafts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "drafts, {what}");
    for (name, draft) in &expected.drafts {
        assert_eq!(&found.drafts[name], draft, "draft {name}, {what}");
    }
    assert_eq!(found.last, expected.last, "how they stand at last, {what}");
}

/// `n` kin, all at once, that begin with this letter.
pub fn kin(letter: &str, n: usize, at: f64) -> String {
    (0..n).map(|number| format!("{letter}{number:02}@{at} ")).collect()
}
