//! One replay: records go in, in order of event time; each incident that had a firing in the range is held against the
//! objects that exist, and what is missing may be published.
//!
//! **Invariant:** without a way out nothing is written anywhere. What is published is named as the live run named it, so
//! a second time, or beside a second replay, nothing doubles; what the log or the API server says is over stays over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    lab::{Came, Lab},
    report::{self, Line, Report},
    standing::{Endings, Fate, Standing},
};
use crate::{
    alert::{EventTime, Position, Signal, record},
    decide::outcome::Outcome,
    kafka::{KafkaError, Outgoing, Record, producer::Producer},
    memory::MemoryError,
    pipeline::{Pipeline, expression::Expression},
    remediation::{Draft, Generation, GroupId, Remediation, Update},
    work::waiting::outgoing,
};

/// A second's worth of turns takes this long: a hundredth is left for what a record waits between its turn and its stamp.
const TURNS: Duration = Duration::from_millis(1010);
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

/// A replay under way.
#[derive(Debug)]
pub struct Course<'a> {
    lab: Lab,
    asked: Asked,
    /// What drafts are held against; none = everything is missing.
    standing: Option<&'a Standing>,
    endings: Endings,
    way: Option<Way>,
    /// Records that were sent, and when the next may be.
    sent: u64,
    turn: Instant,
    /// Incidents that began before the range: they belong to it if they fire within.
    early: BTreeMap<Generation, (Box<Record>, Box<Draft>)>,
    /// Incidents whose object was there.
    standing_there: BTreeSet<Generation>,
    /// Incidents of which something is published, and how each stands, if that is yet to be told.
    untold: BTreeMap<(GroupId, Generation), Option<Box<Update>>>,
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
            sent: 0,
            turn: Instant::now(),
            early: BTreeMap::new(),
            standing_there: BTreeSet::new(),
            untold: BTreeMap::new(),
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
        let groups: BTreeSet<GroupId> = self.untold.keys().map(|(group, _)| *group).collect();
        for group in groups {
            self.tell(group).await?;
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
        let key = (update.incident.group, generation);
        if self.untold.contains_key(&key) || self.is_behind(&update) {
            self.untold.insert(key, Some(update));
        }
        Ok(())
    }

    /// Whether an object that was there counts less than the log: a replay before this one made it, and was stopped
    /// before it told how it stands.
    fn is_behind(&self, update: &Update) -> bool {
        self.way.is_some()
            && self.standing_there.contains(&update.incident.generation)
            && self.standing.is_some_and(|standing| standing.is_behind(update))
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
            Fate::Exists(_) => {
                report.exist += 1;
                self.standing_there.insert(draft.incident.generation);
            }
            Fate::Differs(object, fields) => {
                report.differ += 1;
                report::keep(&mut report.differing, Line { object, fields, ..Line::of(&draft) });
            }
            Fate::Over(object, phase) => {
                report.over += 1;
                report::keep(&mut report.suppressed, Line { object, phase: Some(phase), ..Line::of(&draft) });
            }
            Fate::Missing => {
                report.would_create += 1;
                report::keep(&mut report.missing, Line::of(&draft));
                self.publish(draft).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, draft: Box<Draft>) -> Result<(), Halted> {
        if self.way.is_none() {
            return Ok(());
        }
        // as work does: what is left to tell of the incident before goes out ahead of the one that settles it
        let key = (draft.incident.group, draft.incident.generation);
        self.tell(draft.incident.group).await?;
        self.send(outgoing(&Remediation::Draft(draft))).await?;
        self.untold.insert(key, None);
        self.report.published += 1;
        Ok(())
    }

    /// Says how incidents of a group stand, in the order in which they began.
    async fn tell(&mut self, group: GroupId) -> Result<(), Halted> {
        let first =
            Generation { at: EventTime(i64::MIN), position: Position { partition: i32::MIN, offset: i64::MIN } };
        let of_it = self.untold.range_mut((group, first)..).take_while(|((of, _), _)| *of == group);
        let updates: Vec<Box<Update>> = of_it.filter_map(|(_, untold)| untold.take()).collect();
        for update in updates {
            if self.standing_there.contains(&update.incident.generation) {
                self.report.brought_up += 1;
            }
            self.send(outgoing(&Remediation::Update(update))).await?;
        }
        Ok(())
    }

    /// One record, acknowledged. Two are never begun nearer to one another than the rate says, however long the first
    /// of them took; beyond a hundred a second a clock is too coarse for that, and several share a turn.
    async fn send(&mut self, record: Outgoing) -> Result<(), Halted> {
        let Some(way) = &self.way else { return Ok(()) };
        sleep_until(self.turn).await;
        let begun = Instant::now();
        way.producer.publish(&way.topic, record).await?;
        self.sent += 1;
        let together = (way.rate / ONE_BY_ONE).max(1);
        if self.sent.is_multiple_of(u64::from(together)) {
            self.turn = begun + TURNS * together / way.rate.max(1);
        }
        Ok(())
    }
}
