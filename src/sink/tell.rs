//! What the sink tells the log: incidents that are over, and records that never pass. Acknowledged, or told again.

use std::time::Duration;

use super::{desk::Dead, lanes::Held, live::Ended};
use crate::{
    alert::{EventTime, Kind, headers},
    decide::backoff::Backoff,
    kafka::{
        KafkaError, Outgoing,
        dead_letter::{DeadLetter, Origin},
        producer::Producer,
    },
    pipeline::topics::Topics,
    telemetry::{complaint::Complaint, metrics::SinkMetrics},
};

static UNTOLD: Complaint =
    Complaint::new("kafka takes no records from the sink: they are told again, nothing is committed");

/// How long to rest before a record is published again.
const REST: Backoff = Backoff { floor: Duration::from_millis(200), ceiling: Duration::from_secs(10) };

/// Where and how the sink tells.
#[derive(Clone, Debug)]
pub struct Teller {
    /// Publishes.
    pub producer: Producer,
    /// The topics' names.
    pub topics: Topics,
    /// What is counted.
    pub metrics: SinkMetrics,
}

/// What has to be acknowledged before records are finished.
#[derive(Debug, Default)]
pub struct Telling {
    /// To set aside.
    pub dead: Vec<Dead>,
    /// To tell as over.
    pub tell: Vec<Ended>,
    /// Finished then.
    pub settled: Vec<Held>,
}

impl Teller {
    /// Tells all of it, for as long as it takes, and hands back what is finished by that.
    pub async fn tell(&self, telling: Telling, now: EventTime) -> Telling {
        let letters = telling.dead.iter().map(|dead| self.letter(dead, now)).collect();
        let dead = self.patiently(&self.topics.dead_letters, letters);
        let over = telling.tell.iter().flat_map(closed).collect();
        let closed = self.patiently(&self.topics.alerts, over);
        let (_, closed) = futures::join!(dead, closed);
        telling.dead.iter().for_each(|dead| self.metrics.dead_lettered(dead.reason));
        self.metrics.closed_published(closed);
        telling
    }

    /// Publishes until all are acknowledged; those that were are not repeated.
    async fn patiently(&self, topic: &str, mut records: Vec<Outgoing>) -> u64 {
        let all = records.len() as u64;
        let mut attempt = 0;
        while !records.is_empty() {
            let answers = self.producer.publish_all(topic, records.clone()).await;
            let unacknowledged =
                |(record, answer): (Outgoing, Result<_, KafkaError>)| answer.err().map(|error| (record, error));
            let failed: Vec<_> = records.into_iter().zip(answers).filter_map(unacknowledged).collect();
            match failed.first() {
                Some((_, error)) => {
                    UNTOLD.raise(error);
                    tokio::time::sleep(REST.rest(attempt, fastrand::f64())).await;
                    attempt += 1;
                }
                None => UNTOLD.settle(),
            }
            records = failed.into_iter().map(|(record, _)| record).collect();
        }
        all
    }

    fn letter(&self, dead: &Dead, now: EventTime) -> Outgoing {
        let record = &dead.record;
        let origin =
            Origin::Record { topic: self.topics.remediations.clone(), position: record.position, at: record.at };
        let letter = DeadLetter {
            reason: dead.reason.to_owned(),
            stage: "sink".to_owned(),
            detail: dead.detail.clone(),
            origin,
            attempts: DeadLetter::attempts_before(&record.headers).saturating_add(1),
            at: now,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        };
        letter.outgoing()
    }
}

/// One record of `alerts` for each fingerprint whose incident is over.
fn closed(ended: &Ended) -> impl Iterator<Item = Outgoing> + '_ {
    ended.told.iter().map(|closed| {
        let mut headers = headers::Headers::default();
        headers.push(headers::SCHEMA, "1");
        headers.push(headers::KIND, Kind::Closed.as_str());
        let value = serde_json::to_vec(closed).expect("a record of strings and numbers is JSON");
        let key = if closed.fingerprint == ended.fingerprint.brief() {
            ended.fingerprint.to_string().into()
        } else {
            closed.fingerprint.key().to_vec().into() // of a member no more is known; it lies where its alerts lie
        };
        Outgoing { key: Some(key), value: value.into(), headers, partition: None }
    })
}
