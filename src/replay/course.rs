//! One replay: records go in, in order of event time; each incident that had a firing in the range is held against the
//! objects that exist, and what is missing may be published.
//!
//! **Invariant:** without a way out nothing is written anywhere. What is published is named as the live run named it, so
//! a second time, or beside a second replay, nothing doubles; what the log or the API server says is over stays over.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    lab::{Came, Lab},
    standing::{Endings, Fate, Field, Standing},
};
use crate::{
    alert::{EventTime, Signal, record},
    decide::outcome::Outcome,
    kafka::{KafkaError, Outgoing, Record, producer::Producer},
    memory::MemoryError,
    pipeline::{Pipeline, expression::Expression},
    remediation::{Draft, Generation, Remediation, Update},
    work::waiting::outgoing,
};

/// Lines of one kind that a report keeps; its counts count all.
const KEPT: usize = 10_000;
/// Up to this rate drafts go out one by one.
const ONE_BY_ONE: u32 = 100;

/// What a replay is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Incidents with a firing at or after this time
    pub from: EventTime,
    /// and before this one.
    pub to: EventTime,
    /// Only those whose opening alert fits.
    pub filter: Option<Expression>,
}

/// Where missing drafts go.
#[derive(Clone, Debug)]
pub struct Way {
    /// Publishes.
    pub producer: Producer,
    /// The topic of remediations.
    pub topic: String,
    /// Drafts and updates a second, at most.
    pub rate: u32,
}

/// Why a replay ended.
#[derive(Debug, thiserror::Error)]
pub enum Halted {
    /// Kafka is away.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The API server is away.
    #[error("the api server does not answer a question about its objects: {0}")]
    Kubernetes(#[from] kube::Error),
    /// Never by memory in this process.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// An object in a report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// `namespace/name`.
    pub object: String,
    /// The alert's name.
    pub alert: String,
    /// When it began.
    pub first_seen: String,
    /// Whether it is a storm.
    pub storm: bool,
    /// Its priority, by this run.
    pub priority: String,
    /// Its phase, for one that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What its spec says differently.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Records that were read, the horizon before the range included.
    pub records: u64,
    /// How the records of the range end.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Incidents without an object.
    pub would_create: u64,
    /// Incidents whose object says the same.
    pub exist: u64,
    /// Incidents whose object says something else.
    pub differ: u64,
    /// Incidents that are over and have no object of their own any more.
    pub over: u64,
    /// Drafts that were published.
    pub published: u64,
    /// Records of the range that cannot be read.
    pub unreadable: u64,
    /// The incidents without an object, up to 10 000 of them.
    pub missing: Vec<Line>,
    /// Those that differ.
    pub differing: Vec<Line>,
    /// Those that are over.
    pub suppressed: Vec<Line>,
}

/// A replay under way.
#[derive(Debug)]
pub struct Course<'a> {
    lab: Lab,
    asked: Asked,
    /// What drafts are held against; none = everything is missing.
    standing: Option<&'a Standing>,
    endings: Endings,
    way: Option<Way>,
    /// Incidents that began before the range: they belong to it if they fire within.
    early: BTreeMap<Generation, (Box<Record>, Box<Draft>)>,
    /// Drafts that were published, and how each stands at last, if there is more to say than the draft does.
    published: BTreeMap<Generation, Option<Box<Update>>>,
    /// What was found so far.
    pub report: Report,
}

impl<'a> Course<'a> {
    /// A replay that has read nothing yet.
    #[must_use]
    pub fn new(
        pipeline: &Arc<Pipeline>,
        fallback_namespace: &str,
        asked: Asked,
        (standing, endings): (Option<&'a Standing>, Endings),
        way: Option<Way>,
    ) -> Self {
        let namespaces = standing.map(|standing| standing.namespaces.clone()).unwrap_or_default();
        Self {
            lab: Lab::new(Arc::clone(pipeline), namespaces, fallback_namespace),
            asked,
            standing,
            endings,
            way,
            early: BTreeMap::new(),
            published: BTreeMap::new(),
            report: Report::default(),
        }
    }

    /// Takes records, later ones than before.
    ///
    /// # Errors
    /// What halts it. What was published until then is found by the next run.
    pub async fn take(&mut self, records: Vec<Record>) -> Result<(), Halted> {
        self.report.records += records.len() as u64;
        let first = records.first().map(|record| record.at);
        let came = self.lab.take(records).await?;
        self.note(came).await?;
        if let Some(first) = first {
            let horizon = self.lab.bench().pipeline.horizon();
            self.early.retain(|generation, _| generation.at.plus(horizon.saturating_mul(2)) > first);
        }
        Ok(())
    }

    /// Whether an incident of the range still waits for its decision.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.lab.waits(self.asked.to)
    }

    /// Everything before this time was read: decides what is due by then, and says how what was published stands.
    ///
    /// # Errors
    /// As [`Course::take`].
    pub async fn finish(&mut self, time: EventTime) -> Result<(), Halted> {
        let came = self.lab.reach(time).await?;
        self.note(came).await?;
        let updates: Vec<Outgoing> = std::mem::take(&mut self.published)
            .into_values()
            .flatten()
            .map(|update| outgoing(&Remediation::Update(update)))
            .collect();
        for update in updates {
            self.send(update).await?;
        }
        Ok(())
    }

    async fn note(&mut self, came: Vec<Came>) -> Result<(), Halted> {
        for came in came {
            match came {
                Came::Ended { at, outcome, .. } if self.within(at) => self.ended(outcome),
                Came::Unreadable { record, .. } if self.within(record.at) => self.report.unreadable += 1,
                Came::Ended { .. } | Came::Unreadable { .. } => {}
                Came::Opened { record, draft } => {
                    if self.touches(&draft) {
                        self.judge(&record, draft).await?;
                    } else if draft.incident.generation.at < self.asked.from {
                        self.early.insert(draft.incident.generation, (record, draft));
                    }
                }
                Came::GoesOn(update) => self.goes_on(update).await?,
            }
        }
        Ok(())
    }

    fn within(&self, at: EventTime) -> bool {
        self.asked.from <= at && at < self.asked.to
    }

    fn ended(&mut self, outcome: Outcome) {
        *self.report.outcomes.entry(outcome.as_str()).or_default() += 1;
    }

    /// Whether one of the firings that a draft stands for lies in the range.
    fn touches(&self, draft: &Draft) -> bool {
        let members = draft.progress.storm.iter().flat_map(|storm| &storm.members);
        let mut firings = members.map(|member| member.first_seen).chain([draft.incident.generation.at]);
        firings.any(|at| self.within(at))
    }

    async fn goes_on(&mut self, update: Box<Update>) -> Result<(), Halted> {
        let generation = update.incident.generation;
        if self.within(update.progress.last_seen)
            && self.early.get(&generation).is_some_and(|(_, draft)| draft.incident.name == update.incident.name)
            && let Some((record, draft)) = self.early.remove(&generation)
        {
            self.judge(&record, draft).await?;
        }
        if let Some(last) = self.published.get_mut(&generation) {
            *last = Some(update);
        }
        Ok(())
    }

    fn fits(&self, record: &Record) -> bool {
        let Some(filter) = &self.asked.filter else { return true };
        let rules = &self.lab.bench().pipeline.identity;
        match record::parse(&record.value, &record.headers, record.at, rules) {
            Ok(Signal::Alert(alert)) => filter.holds(&alert).unwrap_or(false),
            Ok(Signal::Closed(_)) | Err(_) => false,
        }
    }

    async fn judge(&mut self, record: &Record, draft: Box<Draft>) -> Result<(), Halted> {
        if !self.fits(record) {
            return Ok(());
        }
        let fate = match self.standing {
            Some(standing) => standing.judge(&draft, &self.endings).await?,
            None => Fate::Missing,
        };
        let report = &mut self.report;
        match fate {
            Fate::Exists(_) => report.exist += 1,
            Fate::Differs(object, fields) => {
                report.differ += 1;
                keep(&mut report.differing, Line { object, fields, ..line(&draft) });
            }
            Fate::Over(object, phase) => {
                report.over += 1;
                keep(&mut report.suppressed, Line { object, phase: Some(phase), ..line(&draft) });
            }
            Fate::Missing => {
                report.would_create += 1;
                keep(&mut report.missing, line(&draft));
                self.publish(draft).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, draft: Box<Draft>) -> Result<(), Halted> {
        if self.way.is_none() {
            return Ok(());
        }
        let generation = draft.incident.generation;
        self.send(outgoing(&Remediation::Draft(draft))).await?;
        self.published.insert(generation, None);
        self.report.published += 1;
        Ok(())
    }

    /// One record, acknowledged, and then the rest until the next may go: two are never nearer than the rate says.
    async fn send(&self, record: Outgoing) -> Result<(), Halted> {
        let Some(way) = &self.way else { return Ok(()) };
        way.producer.publish(&way.topic, record).await?;
        let rest = Duration::from_secs(1) / way.rate.max(1);
        if way.rate <= ONE_BY_ONE || self.report.published.is_multiple_of(u64::from(way.rate / ONE_BY_ONE)) {
            sleep(if way.rate <= ONE_BY_ONE { rest } else { Duration::from_millis(10) }).await;
        }
        Ok(())
    }
}

fn line(draft: &Draft) -> Line {
    Line {
        object: format!("{}/{}", draft.incident.namespace, draft.incident.name),
        alert: draft.spec.signal_name.clone(),
        first_seen: draft.progress.first_seen.rfc3339(),
        storm: draft.incident.storm,
        priority: draft.spec.priority.clone(),
        phase: None,
        fields: Vec::new(),
    }
}

fn keep(lines: &mut Vec<Line>, line: Line) {
    if lines.len() < KEPT {
        lines.push(line);
    }
}
