//! A log that has been: records with event times of the past, as they lie there after hours of live use.

use super::case::Case;
use super::deployment::{Deployment, Shape};
use super::kafka::Kafka;
use super::kube::Kube;
use super::{PARTITIONS, Scope, Shared};
use breakwater::alert::headers::Headers;
use breakwater::alert::record::{self, IdentityRules};
use breakwater::alert::{EventTime, Signal};
use serde_json::{Value, json};

/// A record and the moment at which it came, in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its event time.
    pub at: i64,
    /// The fingerprint, as the door writes it.
    pub key: String,
    /// The alert as it was sent.
    pub value: Vec<u8>,
}

impl Past {
    /// An alert that came at a moment.
    pub fn new(at: i64, alert: &Value) -> Self {
        let value = alert.to_string().into_bytes();
        let rules = IdentityRules::default();
        let read = record::parse(&value.clone().into(), &Headers::default(), EventTime(at), &rules);
        let Ok(Signal::Alert(read)) = read else { panic!("{alert} is no alert") };
        Self { at, key: read.fingerprint.to_string(), value }
    }

    /// The same record at another moment.
    pub fn again(&self, at: i64) -> Self {
        Self { at, ..self.clone() }
    }
}

/// So many minutes ago, in milliseconds since 1970.
pub fn ago(minutes: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() - minutes * 60_000
}

/// A topic in which these records lie at their own times, in the order of the iterator; from now on the broker's clock
/// rules in it, as `work` demands.
pub async fn log(kafka: &Kafka, topic: &str, records: impl Iterator<Item = Past> + Send + 'static) {
    kafka.create(topic, PARTITIONS, &[("message.timestamp.type", "CreateTime")]).await;
    kafka.bulk(topic, records).await;
    kafka.configure(topic, &[("message.timestamp.type", "LogAppendTime")]).await;
}

impl Case {
    /// A test on stages of its own, whose log holds these records already; they are told the namespace `shop`.
    pub async fn after(
        scenario: &str,
        overlay: Value,
        shape: Shape,
        past: impl FnOnce(&str) -> Vec<Past>,
    ) -> (Self, Deployment) {
        let (stages, own) = (Scope::new(scenario), Scope::new(scenario));
        let mut records = past(&own.namespace("shop"));
        records.sort_by_key(|record| record.at);
        let shared = Shared::get();
        log(&Kafka::at(&shared.kafka), &stages.alerts, records.into_iter()).await;
        Kube::of(&shared.kubeconfig).await.namespace(&own.namespace("shop"), json!({})).await; // before any sink looks
        let stages = Deployment::start(stages, overlay, shape).await;
        let case = Self::named(own, &[], &stages).await;
        (case, stages)
    }
}
