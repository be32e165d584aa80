//! The topics: made once by `topics create`, checked by every stage that leans on them.
//!
//! **Invariant:** what is there is never changed; a difference is told.

use std::{fmt, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::RDKafkaErrorCode as Code,
    metadata::Metadata,
};

use super::{KafkaError, Settings, blocking, probe};
use crate::telemetry::health::Condition;

const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);
const CLOCK: &str = "message.timestamp.type";
const BROKERS_CLOCK: &str = "LogAppendTime";
/// Drafts outlive any outage of the API that is meant to be sat out.
const DRAFTS_AT_LEAST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The clock of a topic's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `LogAppendTime`: the broker's.
    Broker,
    /// `CreateTime`: each producer's.
    Producer,
}

/// A topic that is to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replication: i32,
    /// What it is made with.
    pub config: Vec<(&'static str, String)>,
    /// Said beside it in the report.
    pub note: Option<&'static str>,
}

/// What came of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was not there.
    Created,
    /// It was, as wanted.
    Existed,
    /// It was, with another number of partitions; it was not changed.
    Differs {
        /// How many it has.
        partitions: i32,
    },
    /// It was, with each producer's clock where the broker's is wanted; it was not changed.
    WrongClock,
}

/// What `topics create` has to tell; its `Display` is for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<(Wanted, Made)>);

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Wanted { name, partitions, note, .. }, made) in &self.0 {
            match made {
                Made::Created => writeln!(out, "{name}: created, {partitions} partitions")?,
                Made::Existed => writeln!(out, "{name}: exists, nothing to do")?,
                Made::Differs { partitions: there } => {
                    writeln!(out, "{name}: exists with {there} partitions, {partitions} are asked for; not changed")?;
                }
                Made::WrongClock => writeln!(out, "{name}: exists; {}", mend_clock(name))?,
            }
            if let Some(note) = note {
                writeln!(out, "  note: {note}")?;
            }
        }
        Ok(())
    }
}

/// The names and shape of a pipeline's topics, as `pipeline::topics::Topics` has them.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Raw alerts.
    pub alerts: &'a str,
    /// Drafts and updates.
    pub remediations: &'a str,
    /// What could not be used.
    pub dead_letters: &'a str,
    /// Partitions of `alerts` and `remediations`.
    pub partitions: i32,
    /// Replicas.
    pub replication: i32,
    /// How long `alerts` and `dead-letters` are kept.
    pub retention: Duration,
}

/// The three topics of a pipeline.
#[must_use]
pub fn wanted(names: &Names<'_>) -> Vec<Wanted> {
    let topic = |name: &str, partitions, kept: Duration, note| Wanted {
        name: name.to_owned(),
        partitions,
        replication: names.replication,
        config: vec![
            (CLOCK, BROKERS_CLOCK.to_owned()),
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", kept.as_millis().to_string()),
            ("max.message.bytes", "4194304".to_owned()),
            ("min.insync.replicas", if names.replication >= 3 { "2" } else { "1" }.to_owned()),
        ],
        note,
    };
    let still = "it is not to be grown while drafts wait: a key's drafts would lie in two partitions, out of order";
    vec![
        topic(names.alerts, names.partitions, names.retention, None),
        topic(names.remediations, names.partitions, names.retention.max(DRAFTS_AT_LEAST), Some(still)),
        topic(names.dead_letters, 1, names.retention, None),
    ]
}

/// Makes what is missing and changes nothing that is there. Asked again, it changes nothing.
pub async fn create(settings: &Settings, wanted: Vec<Wanted>) -> Result<Report, KafkaError> {
    let admin = admin(settings)?;
    let mut report = Vec::with_capacity(wanted.len());
    for topic in wanted {
        let mut new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication));
        for (key, value) in &topic.config {
            new = new.set(key, value);
        }
        let answers =
            admin.create_topics([&new], &options()).await.map_err(|error| KafkaError::of(&error, &topic.name))?;
        let made = match answers.first() {
            Some(Err((_, Code::TopicAlreadyExists))) => compare(settings, &topic).await?,
            Some(Err((name, code))) => {
                let cause = KafkaError::of_code(*code, name);
                return Err(KafkaError::Rejected(format!("topic {name} was not created: {cause}")));
            }
            Some(Ok(_)) | None => Made::Created,
        };
        report.push((topic, made));
    }
    end(admin).await?;
    Ok(Report(report))
}

async fn compare(settings: &Settings, wanted: &Wanted) -> Result<Made, KafkaError> {
    if clock(settings, &wanted.name).await? == Clock::Producer {
        return Ok(Made::WrongClock);
    }
    let partitions = partitions(settings, &wanted.name).await?;
    Ok(if partitions == wanted.partitions { Made::Existed } else { Made::Differs { partitions } })
}

/// Whose clock stamps a topic. Always [`Clock::Broker`] for the in-process broker, whose one producer is ours.
pub async fn clock(settings: &Settings, topic: &str) -> Result<Clock, KafkaError> {
    if settings.is_in_process() {
        return Ok(Clock::Broker);
    }
    let admin = admin(settings)?;
    let asked = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
    end(admin).await?;
    let resources = asked.map_err(|error| KafkaError::of(&error, topic))?;
    let resource = match resources.into_iter().next() {
        Some(Ok(resource)) => resource,
        Some(Err(code)) => return Err(KafkaError::of_code(code, topic)),
        None => return Err(KafkaError::AbsentTopic(topic.to_owned())),
    };
    let told = resource.get(CLOCK).and_then(|entry| entry.value.as_deref());
    Ok(if told == Some(BROKERS_CLOCK) { Clock::Broker } else { Clock::Producer })
}

/// How many partitions a topic has; [`KafkaError::AbsentTopic`] if there is none of that name.
pub async fn partitions(settings: &Settings, topic: &str) -> Result<i32, KafkaError> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    blocking(move || {
        let client = probe::client(&settings)?;
        let metadata = client.fetch_metadata(Some(&topic), PATIENCE).map_err(|error| KafkaError::of(&error, &topic))?;
        partitions_in(&metadata, &topic)
    })
    .await
}

/// The number of partitions that a broker's answer tells of a topic.
pub(super) fn partitions_in(metadata: &Metadata, topic: &str) -> Result<i32, KafkaError> {
    let absent = || KafkaError::AbsentTopic(topic.to_owned());
    let told = metadata.topics().iter().find(|one| one.name() == topic).ok_or_else(absent)?;
    match told.error().map(Code::from) {
        None if told.partitions().is_empty() => Err(absent()),
        None => Ok(i32::try_from(told.partitions().len()).unwrap_or(i32::MAX)),
        Some(code) => Err(KafkaError::of_code(code, topic)),
    }
}

/// Waits until the topic is there, telling the condition meanwhile, then demands the broker's clock for it:
/// [`KafkaError::Setting`] with what to mend if it has another.
pub async fn demand_broker_clock(settings: &Settings, topic: &str, condition: &Condition) -> Result<(), KafkaError> {
    loop {
        let asked = async {
            partitions(settings, topic).await?;
            clock(settings, topic).await
        };
        match asked.await {
            Ok(Clock::Broker) => return Ok(()),
            Ok(Clock::Producer) => {
                let fault = format!("refusing to start on topic {topic}: {}", mend_clock(topic));
                return Err(KafkaError::Setting(fault));
            }
            Err(error) if error.is_transient() => condition.missing(error.to_string()),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn mend_clock(topic: &str) -> String {
    format!(
        "it has {CLOCK}=CreateTime, so every producer's clock would decide; set it with kafka-configs --alter \
         --entity-type topics --entity-name {topic} --add-config {CLOCK}={BROKERS_CLOCK}"
    )
}

fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    settings.client(&[]).create().map_err(|error| KafkaError::of(&error, ""))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Its end joins a thread.
async fn end(admin: AdminClient<DefaultClientContext>) -> Result<(), KafkaError> {
    blocking(move || {
        drop(admin);
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Wanted> {
        wanted(&Names {
            alerts: "alerts",
            remediations: "remediations",
            dead_letters: "dead-letters",
            partitions: 8,
            replication: 3,
            retention: Duration::from_secs(3600),
        })
    }

    #[test]
    fn k10_every_topic_is_made_with_the_brokers_clock() {
        assert!(three().iter().all(|topic| topic.config.contains(&(CLOCK, BROKERS_CLOCK.to_owned()))));
    }

    #[test]
    fn drafts_are_kept_through_a_long_outage() {
        let kept = |topic: &Wanted| topic.config.iter().find(|(key, _)| *key == "retention.ms").unwrap().1.clone();
        assert_eq!(three().iter().map(kept).collect::<Vec<_>>(), ["3600000", "604800000", "3600000"]);
    }

    #[test]
    fn k17_the_report_tells_what_differs_and_what_not_to_do() {
        let [alerts, remediations, dead] = three().try_into().expect("three");
        let report = Report(vec![
            (alerts, Made::Differs { partitions: 4 }),
            (remediations, Made::Created),
            (dead, Made::WrongClock),
        ]);
        let text = report.to_string();
        assert!(text.contains("alerts: exists with 4 partitions, 8 are asked for; not changed\n"), "{text}");
        assert!(text.contains("remediations: created, 8 partitions\n  note: it is not to be grown while"), "{text}");
        assert!(
            text.contains("--entity-name dead-letters --add-config message.timestamp.type=LogAppendTime"),
            "{text}"
        );
    }
}
