//! Publishes records and tells where they stand, once every replica in sync has them.
//!
//! A batch costs one wake-up, not one a record: each record carries a ticket into the client, the tickets write their
//! answers side by side, and the last one rings.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError as ClientError,
    message::{Header, Message, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;

use super::{KafkaError, Outgoing, Settings, blocking, context};
use crate::{
    alert::{Position, headers::Headers},
    telemetry::complaint::Complaint,
};

/// Memory that records may take up while they wait for their acknowledgement, in KiB: part of the process's sum.
const QUEUE_KIB: &str = "65536";

const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    ("message.max.bytes", "4194304"), // an update of the largest storm: 20 000 members of 110 bytes
    ("queue.buffering.max.kbytes", QUEUE_KIB),
    ("queue.buffering.max.messages", "200000"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("topic.metadata.propagation.max.ms", "2000"),
];

/// An idempotent producer with `acks=all`. Clones share it.
#[derive(Clone)]
pub struct Producer {
    client: Arc<ArcSwap<ThreadedProducer<Listener>>>,
    config: Arc<ClientConfig>,
}

impl Producer {
    /// `delivery_timeout` bounds how long a record may wait for its acknowledgement, retries included.
    pub fn new(settings: &Settings, delivery_timeout: Duration) -> Result<Self, KafkaError> {
        let mut config = settings.client(DEFAULTS);
        config.set("delivery.timeout.ms", delivery_timeout.as_millis().to_string());
        let client = create(&config)?;
        Ok(Self { client: Arc::new(ArcSwap::from_pointee(client)), config: Arc::new(config) })
    }

    /// Hands all over, then waits for all. The answers stand in the order of the records; records of one partition
    /// stand in the log in this order too.
    pub async fn publish_all(&self, topic: &str, records: Vec<Outgoing>) -> Vec<Result<Position, KafkaError>> {
        if records.is_empty() {
            return Vec::new();
        }
        let (batch, rung) = Batch::new(topic, records.len());
        self.hand_over(&batch, records);
        let answers = Arc::clone(&batch.answers);
        drop(batch);
        // The bell is rung by the last ticket, and each ticket is dropped by the client at the delivery timeout at the
        // latest; a bell that is dropped unrung has rung as well.
        let _rung = rung.await;
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.drain(..).collect()
    }

    /// Publishes one.
    pub async fn publish(&self, topic: &str, record: Outgoing) -> Result<Position, KafkaError> {
        self.publish_all(topic, vec![record]).await.pop().expect("one record has one answer")
    }

    /// Waits until nothing is under way, for so long at most.
    pub async fn flush(&self, within: Duration) {
        let client = self.client.load_full();
        let flushed = blocking(move || client.flush(within).map_err(|error| KafkaError::of(&error, ""))).await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "not all records were acknowledged when the producer was told to end");
        }
    }

    fn hand_over(&self, batch: &Arc<Batch>, records: Vec<Outgoing>) {
        let client = self.healthy();
        for (index, record) in records.into_iter().enumerate() {
            let ticket = Box::new(Ticket { batch: Arc::clone(batch), index });
            let mut outgoing = BaseRecord::<[u8], [u8], Box<Ticket>>::with_opaque_to(&batch.topic, ticket)
                .payload(&record.value)
                .headers(native(&record.headers));
            if let Some(key) = &record.key {
                outgoing = outgoing.key(key);
            }
            if let Some(partition) = record.partition {
                outgoing = outgoing.partition(partition);
            }
            if let Err((error, refused)) = client.send(outgoing) {
                refused.delivery_opaque.answer(Err(KafkaError::of(&error, &batch.topic)));
            }
        }
    }

    /// The client, made anew if it has met an error that it cannot recover from (a producer id that the broker denies).
    fn healthy(&self) -> Arc<ThreadedProducer<Listener>> {
        let client = self.client.load_full();
        let Some((code, _)) = client.client().fatal_error() else {
            return client;
        };
        let Ok(fresh) = create(&self.config) else { return client };
        let fresh = Arc::new(fresh);
        let before = self.client.compare_and_swap(&client, Arc::clone(&fresh));
        if !Arc::ptr_eq(&before, &client) {
            return self.client.load_full();
        }
        tracing::warn!(cause = %code, "the kafka producer cannot go on and was made anew; its records were not promised");
        // Its end joins a thread.
        drop(tokio::task::spawn_blocking(move || drop(client)));
        fresh
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Producer").finish_non_exhaustive()
    }
}

fn create(config: &ClientConfig) -> Result<ThreadedProducer<Listener>, KafkaError> {
    let trouble = Complaint::new("records wait, the kafka producer cannot reach its brokers and tries on");
    config.create_with_context(Listener { trouble }).map_err(|error| KafkaError::of(&error, ""))
}

fn native(headers: &Headers) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.0.len());
    headers.0.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) }))
}

type Answers = Arc<Mutex<Vec<Result<Position, KafkaError>>>>;

/// What was handed over together.
struct Batch {
    topic: String,
    answers: Answers,
    bell: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn new(topic: &str, records: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (bell, rung) = oneshot::channel();
        let unanswered = Err(KafkaError::Unacknowledged("the client was closed".to_owned()));
        let answers = Arc::new(Mutex::new(vec![unanswered; records]));
        (Arc::new(Self { topic: topic.to_owned(), answers, bell: Some(bell) }), rung)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // If nobody waits any more, whoever asked has been cancelled.
        let _nobody_waits = self.bell.take().is_some_and(|bell| bell.send(()).is_err());
    }
}

/// One record's place in its batch. The batch rings when its last ticket is gone.
struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Ticket {
    fn answer(self, answer: Result<Position, KafkaError>) {
        let mut answers = self.batch.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers[self.index] = answer;
    }
}

struct Listener {
    trouble: Complaint,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
    }

    fn error(&self, _: ClientError, reason: &str) {
        self.trouble.raise(&reason);
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match delivered {
            Ok(message) => {
                self.trouble.settle();
                Ok(Position { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => Err(KafkaError::of(error, &ticket.batch.topic)),
        };
        ticket.answer(answer);
    }
}
