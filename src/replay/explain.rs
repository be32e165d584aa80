//! The story of one fingerprint in a stretch of the log: its records, what each of them was, its kin, the incidents that
//! came of it and what they say. Reads and never writes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    lab::{Came, Lab},
    trail::{Trail, Which},
};
use crate::{
    alert::{Alert, Brief, EventTime, Kind, Position, Signal, record, record::IdentityField},
    decide::{
        kin::{kinship, pattern},
        severity::severity,
    },
    kafka::Record,
    memory::MemoryError,
    pipeline::{Pipeline, Setting, written::show_span},
    remediation::{Draft, Progress},
};

/// What is told of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// `TOPIC/PARTITION/OFFSET`.
    pub record: String,
    /// Its event time.
    pub at: String,
    /// firing, resolved or closed.
    pub kind: String,
    /// How it ended; `waiting` if it waits for its decision, or why it cannot be read.
    pub outcome: String,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incident {
    /// `namespace/name`.
    pub object: String,
    /// The record that opened it.
    pub opened_by: String,
    /// Whether it is a storm.
    pub storm: bool,
    /// Distinct fingerprints that it stands for.
    pub members: u64,
    /// Firings.
    pub count: u64,
    /// First and latest of them.
    pub first_seen: String,
    /// See `first_seen`.
    pub last_seen: String,
    /// When it was resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// The storm that lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// At its beginning.
    pub severity: String,
    /// Of its namespace.
    pub environment: String,
    /// At its beginning.
    pub priority: String,
    /// Where its draft lies in `remediations`; more than once if its record was read again before it was finished, or a
    /// replay published it.
    pub drafts: Vec<String>,
    /// Why drafts of it were set aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<String>,
    /// How its object stands now, as the asker knows.
    pub stands: String,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What it is called.
    pub what: String,
    /// Where it stands: `FILE:LINE:COLUMN`, or `default`.
    pub place: String,
    /// What it said.
    pub said: String,
}

/// The whole story.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Story {
    /// What makes it the same: its key.
    pub fingerprint: String,
    /// The fields that were hashed, with their values.
    pub identity: Vec<String>,
    /// Its records, in order of event time.
    pub records: Vec<Told>,
    /// What decided, and where it is written.
    pub rules: Vec<Rule>,
    /// What came of it.
    pub incidents: Vec<Incident>,
}

/// Follows one fingerprint through a lab.
#[derive(Debug)]
pub struct Follow {
    fingerprint: Brief,
    topic: String,
    lab: Lab,
    records: BTreeMap<(EventTime, Position), (Kind, Option<String>)>,
    alert: Option<Box<Alert>>,
    incidents: BTreeMap<Which, (Draft, Progress)>,
}

impl Follow {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(fingerprint: Brief, topic: &str, lab: Lab) -> Self {
        let (records, incidents) = (BTreeMap::new(), BTreeMap::new());
        Self { fingerprint, topic: topic.to_owned(), lab, records, alert: None, incidents }
    }

    /// Takes records, later ones than before.
    ///
    /// # Errors
    /// Never by memory in this process.
    pub async fn take(&mut self, records: Vec<Record>) -> Result<(), MemoryError> {
        for one in &records {
            let read = record::parse(&one.value, &one.headers, one.at, &self.lab.bench().pipeline.identity);
            let Ok(signal) = read else { continue };
            if signal.brief() != self.fingerprint {
                continue;
            }
            let kind = match signal {
                Signal::Closed(_) => Kind::Closed,
                Signal::Alert(alert) => {
                    let kind = alert.kind;
                    self.alert = Some(alert);
                    kind
                }
            };
            self.records.insert((one.at, one.position), (kind, None));
        }
        let came = self.lab.take(records).await?;
        self.note(came);
        Ok(())
    }

    /// Everything before this time was read.
    ///
    /// # Errors
    /// Never by memory in this process.
    pub async fn reach(&mut self, time: EventTime) -> Result<(), MemoryError> {
        let came = self.lab.reach(time).await?;
        self.note(came);
        Ok(())
    }

    fn note(&mut self, came: Vec<Came>) {
        for came in came {
            match came {
                Came::Ended { position, at, outcome } => {
                    if let Some((_, known)) = self.records.get_mut(&(at, position)) {
                        *known = Some(outcome.as_str().to_owned());
                    }
                }
                Came::Opened { draft, .. } if self.is_about(draft.incident.fingerprint.brief(), &draft.progress) => {
                    let progress = draft.progress.clone();
                    let key = (draft.incident.generation, draft.incident.storm);
                    self.incidents.insert(key, (*draft, progress));
                }
                Came::GoesOn(update) => {
                    let key = (update.incident.generation, update.incident.storm);
                    if let Some((_, last)) = self.incidents.get_mut(&key) {
                        *last = update.progress;
                    }
                }
                Came::Opened { .. } | Came::Unreadable { .. } => {}
            }
        }
    }

    fn is_about(&self, first: Brief, progress: &Progress) -> bool {
        let members = progress.storm.iter().flat_map(|storm| &storm.members);
        first == self.fingerprint || members.into_iter().any(|member| member.fingerprint == self.fingerprint)
    }

    /// The incidents that were found so far.
    #[must_use]
    pub fn which(&self) -> BTreeSet<Which> {
        self.incidents.keys().copied().collect()
    }

    /// Tells it. `settings` are where each setting was written, `trail` what was drafted, `stands` says where an
    /// incident's object is now, and how it stands.
    #[must_use]
    pub fn tell(self, settings: &[Setting], trail: &Trail, stands: impl Fn(&str) -> (String, String)) -> Story {
        let pipeline = &self.lab.bench().pipeline;
        let alert = self.alert.as_deref();
        let record = |(at, position): (EventTime, Position), (kind, outcome): (Kind, Option<String>)| Told {
            record: format!("{}/{position}", self.topic),
            at: at.rfc3339(),
            kind: kind.as_str().to_owned(),
            outcome: outcome.unwrap_or_else(|| "waiting".to_owned()),
        };
        let remediations = &pipeline.topics.remediations;
        let incidents = self.incidents.into_iter().map(|(which, (draft, last))| Incident {
            drafts: trail.drafts(which).iter().map(|position| format!("{remediations}/{position}")).collect(),
            refusals: trail.refusals(which),
            ..incident(&self.topic, &draft, &last, &stands)
        });
        Story {
            fingerprint: self
                .alert
                .as_ref()
                .map_or_else(|| self.fingerprint.to_string(), |alert| alert.fingerprint.to_string()),
            identity: alert.map(|alert| identity(alert, pipeline)).unwrap_or_default(),
            rules: alert.map(|alert| rules(alert, pipeline, settings)).unwrap_or_default(),
            incidents: incidents.collect(),
            records: self.records.into_iter().map(|(key, value)| record(key, value)).collect(),
        }
    }
}

fn incident(topic: &str, draft: &Draft, last: &Progress, stands: &impl Fn(&str) -> (String, String)) -> Incident {
    let (object, stands) = stands(&format!("{}/{}", draft.incident.namespace, draft.incident.name));
    Incident {
        opened_by: format!("{topic}/{}", draft.incident.generation.position),
        storm: draft.incident.storm,
        members: last.storm.as_ref().map_or(1, |storm| storm.members.len() as u64),
        count: last.count,
        first_seen: last.first_seen.rfc3339(),
        last_seen: last.last_seen.rfc3339(),
        resolved_at: last.resolved_at.map(EventTime::rfc3339),
        superseded_by: last.superseded_by.clone(),
        severity: draft.spec.severity.clone(),
        environment: draft.spec.environment.clone(),
        priority: draft.spec.priority.clone(),
        drafts: Vec::new(),
        refusals: Vec::new(),
        stands,
        object,
    }
}

fn identity(alert: &Alert, pipeline: &Pipeline) -> Vec<String> {
    let target = &alert.target;
    let own = |field: &IdentityField| match field {
        IdentityField::Name => format!("name={}", alert.name),
        IdentityField::Namespace => format!("namespace={}", target.namespace.as_deref().unwrap_or_default()),
        IdentityField::Kind => format!("kind={}", target.kind),
        IdentityField::Resource => format!("resource={}", target.name),
        IdentityField::Cluster => format!("cluster={}", alert.cluster.as_deref().unwrap_or_default()),
        IdentityField::Label(label) => {
            format!("labels.{label}={}", alert.labels.get(label).map_or("", String::as_str))
        }
    };
    pipeline.identity.fields.iter().map(own).collect()
}

/// What decided about it, each with its place.
fn rules(alert: &Alert, pipeline: &Pipeline, settings: &[Setting]) -> Vec<Rule> {
    let place = |field: &str| {
        let known = settings.iter().find(|setting| setting.field == field);
        known.map_or_else(|| "default".to_owned(), |setting| setting.origin.clone())
    };
    let rule = |what: &str, said: String| Rule { what: what.to_owned(), place: place(what), said };
    let (dedup, storm) = (&pipeline.dedup, &pipeline.storm);
    let mut rules = vec![
        rule("identity.fields", "alike in all of these is the same".to_owned()),
        rule(
            "dedup.ttl",
            format!("live {} after its last firing, and as long as its object is not final", show_span(dedup.ttl)),
        ),
        rule("storm.hold", format!("decided {} after its first record", show_span(storm.hold))),
    ];
    let kinship = kinship(alert, storm);
    if let Some(chosen) = storm.rules.get(kinship.rule) {
        let said = format!(
            "rule {}: kin are {}; {} of them within {} are a storm",
            chosen.name,
            pattern(alert, chosen),
            chosen.threshold,
            show_span(chosen.window)
        );
        let place = place(&format!("storm.rules[{}].group_by", chosen.name));
        rules.push(Rule { what: "storm.rules".to_owned(), place, said });
    }
    rules.push(rule("environment.patterns", "the namespace's label first, then these, then the default".to_owned()));
    rules.push(rule("severity.aliases", "what no table names passes as it is written".to_owned()));
    // of a matrix, its severity's row is enough; of anything else, all of it
    let row = format!("priority.matrix.{}", severity(&pipeline.severity, alert));
    let its = |setting: &&Setting| {
        setting.field.starts_with("priority.")
            && (!setting.field.starts_with("priority.matrix.") || setting.field == row)
    };
    rules.extend(settings.iter().filter(its).map(|setting| rule(&setting.field, setting.value.clone())));
    rules
}
