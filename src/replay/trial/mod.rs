//! Tests of pipelines: alerts with their times go in, and the incidents that come out are held against those expected.
//!
//! Runs the very lines of `work` in event time: a case that spans a day takes no time at all.

mod coverage;
mod expected;
mod written;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

pub use self::{
    coverage::Coverage,
    expected::{Facts, Missed},
    written::{Case, Deed, Step, Trial},
};
use super::lab::{Came, Lab};
use crate::{
    alert::{Brief, Closed, EventTime, Kind, Position, Signal, headers, headers::Headers, record},
    decide::outcome::Outcome,
    kafka::Record,
    memory::MemoryError,
    pipeline::Pipeline,
    remediation::{Draft, Generation, Progress},
    work::namespaces::Namespaces,
};

/// When every case begins; any moment would do.
const BEGINNING: EventTime = EventTime(1_767_225_600_000);
/// After the last record nothing new happens, and by then everything that was to be told is told.
const AFTERWARDS: Duration = Duration::from_hours(1);
/// Where objects without a namespace go, in a test.
const FALLBACK: &str = "breakwater";

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its name.
    pub name: String,
    /// Where it stands in its file.
    pub place: (u64, u64),
    /// Where what came out differs from what was expected; none if nowhere.
    pub missed: Option<Missed>,
}

/// Runs one case, and notes which rules it touched.
///
/// # Errors
/// Never by memory in this process.
pub async fn run(case: &Case, pipeline: &Arc<Pipeline>, coverage: &mut Coverage) -> Result<Ran, MemoryError> {
    let namespaces = Namespaces::default();
    for (namespace, labels) in &case.namespaces {
        namespaces.set(namespace, labels.clone());
    }
    let mut stage = Stage {
        lab: Lab::new(Arc::clone(pipeline), namespaces.clone(), FALLBACK),
        next: BTreeMap::new(),
        known: BTreeMap::new(),
        incidents: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        unreadable: None,
    };
    for step in &case.steps {
        let now = BEGINNING.plus(step.at);
        let came = stage.lab.reach(now).await?;
        stage.note(came);
        let records = stage.records(step, now, pipeline);
        for record in &records {
            coverage.touch(record, pipeline, &namespaces);
        }
        let came = stage.lab.take(records).await?;
        stage.note(came);
    }
    let last = case.steps.last().map_or(Duration::ZERO, |step| step.at);
    let came = stage.lab.reach(BEGINNING.plus(last + AFTERWARDS)).await?;
    stage.note(came);
    let got: Vec<Facts> = stage.incidents.values().map(|incident| incident.facts(pipeline)).collect();
    let missed = Missed::of(&case.expect, got, &case.outcomes, &stage.outcomes, stage.unreadable.as_deref());
    Ok(Ran { name: case.name.clone(), place: case.place, missed })
}

/// An incident as it came out.
struct Incident {
    draft: Draft,
    last: Progress,
}

impl Incident {
    /// Whose it is: its own fingerprint, or its members'.
    fn stands_for(&self, fingerprint: Brief) -> bool {
        match &self.last.storm {
            Some(storm) => storm.members.iter().any(|member| member.fingerprint == fingerprint),
            None => self.draft.incident.fingerprint.brief() == fingerprint,
        }
    }

    /// The sink's word that its object ended.
    fn closed(&self, phase: &str) -> Vec<Closed> {
        let incident = &self.draft.incident;
        let members = self.last.storm.iter().flat_map(|storm| &storm.members);
        let mut whose: Vec<(Brief, EventTime)> =
            members.map(|member| (member.fingerprint, member.first_seen)).collect();
        if whose.is_empty() {
            whose.push((incident.fingerprint.brief(), incident.generation.at));
        }
        let through = whose.iter().map(|(_, at)| *at).max().unwrap_or(incident.generation.at);
        let object = format!("{}/{}", incident.namespace, incident.name);
        let one = |(fingerprint, _)| Closed {
            fingerprint,
            through,
            object: object.clone(),
            phase: phase.to_owned(),
            storm: incident.storm,
        };
        whose.into_iter().map(one).collect()
    }

    fn facts(&self, pipeline: &Pipeline) -> Facts {
        let Self { draft, last } = self;
        let target = &draft.spec.target_resource;
        let storm = draft.spec.storm_type.clone().unwrap_or_else(|| "none".to_owned());
        let members = last.storm.as_ref().map_or(1, |storm| storm.total_affected_resources);
        let begun = draft.incident.generation.at.0 - BEGINNING.0;
        let pairs = [
            ("alert", draft.spec.signal_name.clone()),
            ("namespace", draft.incident.namespace.clone()),
            ("resource", format!("{}/{}", target.kind, target.name)),
            ("storm", storm),
            ("members", members.to_string()),
            ("count", last.count.to_string()),
            ("severity", highest(&draft.spec.severity, &last.severity, pipeline)),
            ("environment", draft.spec.environment.clone()),
            ("priority", highest_priority(&draft.spec.priority, &last.priority)),
            ("resolved", last.resolved_at.is_some().to_string()),
            ("superseded", last.superseded_by.is_some().to_string()),
            (
                "at",
                crate::pipeline::written::show_span(Duration::from_millis(u64::try_from(begun).unwrap_or_default())),
            ),
        ];
        Facts(pairs.map(|(key, value)| (key.to_owned(), value)).into())
    }
}

/// As the object shows it: neither ever falls.
fn highest(began: &str, now: &str, pipeline: &Pipeline) -> String {
    let rank = |name: &str| crate::decide::severity::rank(&pipeline.severity, name);
    if rank(now) > rank(began) { now.to_owned() } else { began.to_owned() }
}

fn highest_priority(began: &str, now: &str) -> String {
    if now.is_empty() { began.to_owned() } else { began.min(now).to_owned() } // P0 comes before P1
}

/// A log of values, the lab that reads it, and what has come out so far.
struct Stage {
    lab: Lab,
    next: BTreeMap<i32, i64>,
    /// The records of each alert that has a name, as they were delivered.
    known: BTreeMap<String, Vec<Record>>,
    incidents: BTreeMap<Generation, Incident>,
    outcomes: BTreeMap<String, u64>,
    /// What is wrong with the first record that cannot be read.
    unreadable: Option<String>,
}

impl Stage {
    fn note(&mut self, came: Vec<Came>) {
        for came in came {
            match came {
                Came::Opened { draft, .. } => {
                    let last = draft.progress.clone();
                    self.incidents.insert(draft.incident.generation, Incident { draft: *draft, last });
                }
                Came::GoesOn(update) => {
                    let its = self.incidents.get_mut(&update.incident.generation);
                    if let Some(incident) = its.filter(|it| it.draft.incident.name == update.incident.name) {
                        incident.last = update.progress;
                    }
                }
                Came::Ended { outcome, .. } => self.ended(outcome),
                Came::Unreadable { error, .. } => {
                    self.unreadable.get_or_insert_with(|| format!("dead_lettered: {}", error.text));
                }
            }
        }
    }

    fn ended(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome.as_str().to_owned()).or_default() += 1;
    }

    /// The records that a step puts into the log.
    fn records(&mut self, step: &Step, now: EventTime, pipeline: &Pipeline) -> Vec<Record> {
        match &step.deed {
            Deed::Alerts(values) => {
                let records = values.iter().map(|value| (value.clone(), Headers::default()));
                let records = self.append(records.collect(), now, pipeline);
                if let Some(id) = &step.id {
                    self.known.entry(id.clone()).or_default().extend(records.clone());
                }
                records
            }
            Deed::Again(id) => self.known.get(id).cloned().unwrap_or_default(),
            Deed::Closed { id, phase } => {
                let whose = self.fingerprints(id, pipeline);
                let stands = |incident: &&Incident| whose.iter().any(|whom| incident.stands_for(*whom));
                let newest = self.incidents.values().rev().find(stands);
                let closed = newest.map(|incident| incident.closed(phase)).unwrap_or_default();
                self.append(closed.iter().map(ending).collect(), now, pipeline)
            }
        }
    }

    fn fingerprints(&self, id: &str, pipeline: &Pipeline) -> Vec<Brief> {
        let records = self.known.get(id).into_iter().flatten();
        let read = |one: &Record| record::parse(&one.value, &one.headers, one.at, &pipeline.identity).ok();
        records.filter_map(read).map(|signal| signal.brief()).collect()
    }

    /// Appends values to the partitions of their fingerprints, as the door does.
    fn append(&mut self, values: Vec<(Bytes, Headers)>, at: EventTime, pipeline: &Pipeline) -> Vec<Record> {
        let shards = pipeline.dedup.shards;
        let one = |(value, headers): (Bytes, Headers)| {
            let read = record::parse(&value, &headers, at, &pipeline.identity);
            let shard = read.as_ref().map(Signal::brief).map_or(0, |fingerprint| fingerprint.shard(shards));
            let partition = i32::try_from(shard).unwrap_or_default();
            let next = self.next.entry(partition).or_default();
            let position = Position { partition, offset: *next };
            *next += 1;
            Record { position, at, key: None, value, headers }
        };
        values.into_iter().map(one).collect()
    }
}

/// A `closed` record as the sink writes it.
fn ending(closed: &Closed) -> (Bytes, Headers) {
    let mut headers = Headers::default();
    headers.push(headers::SCHEMA, headers::SCHEMA_VERSION);
    headers.push(headers::KIND, Kind::Closed.as_str());
    (serde_json::to_vec(closed).expect("a record of strings and numbers is JSON").into(), headers)
}

#[cfg(test)]
mod tests;
