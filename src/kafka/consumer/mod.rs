//! Reads a topic as a member of a group: polls for ever, and routes each record to its partition's bounded channel.
//!
//! Polling has a thread of its own that never waits for a reader: heartbeats go on while memory or the API is away.
//! Rebalance callbacks run on that thread, cancel what was revoked, commit what is stored, and return.
//!
//! **Invariant:** offsets are stored by whoever finishes records, and committed here only: each second, at a revocation
//! and at the end. A record that was not finished is read again by the partition's next owner.

mod assignment;
mod offsets;
mod reader;
mod trail;

use std::{fmt, sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError as ClientError, RDKafkaErrorCode as Code},
    message::Message as _,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::offsets::Offsets;
use self::{
    assignment::{Assignment, Event},
    reader::Reader,
};
use super::{KafkaError, Record, Settings, blocking};
use crate::telemetry::{health::Condition, metrics::KafkaMetrics};

/// How long polling rests if nothing wakes it,
const CALM: Duration = Duration::from_millis(50);
/// and how long while a reader has no room: it may make some at any moment.
const BUSY: Duration = Duration::from_millis(2);

const DEFAULTS: &[(&str, &str)] = &[
    ("enable.auto.commit", "true"), // of what was stored, and nothing else
    ("auto.commit.interval.ms", "1000"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    ("max.poll.interval.ms", "120000"),
    ("fetch.wait.max.ms", "50"),
    ("queued.max.messages.kbytes", "4096"),         // of each partition
    ("fetch.queue.backoff.ms", "5"),                // how long a partition whose queue is full is let alone
    ("topic.metadata.refresh.interval.ms", "5000"), // how soon a topic that is made or grown is noticed
    ("allow.auto.create.topics", "false"),
    ("socket.timeout.ms", "10000"),     // bounds the commit at a revocation
    ("statistics.interval.ms", "1000"), // tells gaps at the end of a partition, for which decisions wait
];

/// A partition that has become ours. Assigned again later, it is a new one with a new token.
#[derive(Debug)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// Its records, in order. Ends when the partition is revoked or the consumer was told to stop.
    pub records: mpsc::Receiver<Record>,
    /// Cancelled before anyone else can own the partition.
    pub revoked: CancellationToken,
}

/// A member of a consumer group.
pub struct Consumer {
    client: Arc<BaseConsumer<Reader>>,
    topic: Arc<str>,
}

impl Consumer {
    /// A member of `group` to be, on `topic`: it joins when it is run, as nobody polls before. Each partition holds at
    /// most `capacity` records for its reader, who gets it from the receiver that is returned.
    pub fn subscribe(
        settings: &Settings,
        topic: &str,
        group: &str,
        capacity: usize,
        metrics: &KafkaMetrics,
    ) -> Result<(Self, Offsets, mpsc::Receiver<Partition>), KafkaError> {
        let (announce, partitions) = mpsc::channel(64);
        let mut config = settings.client(DEFAULTS);
        config.set("group.id", group);
        let reader = Reader::new(topic, Assignment::new(capacity, announce), metrics);
        let client: BaseConsumer<Reader> =
            config.create_with_context(reader).map_err(|error| KafkaError::of(&error, topic))?;
        let (client, topic) = (Arc::new(client), Arc::from(topic));
        client.context().serve(&client);
        let offsets = Offsets { client: Arc::downgrade(&client), topic: Arc::clone(&topic) };
        Ok((Self { client, topic }, offsets, partitions))
    }

    /// Tells `condition` once the group has given us our share for the first time, be it empty.
    pub fn tell(&self, condition: Condition) {
        self.client.context().tell(condition);
    }

    /// Polls until told. After `stop` nothing new is handed out, while polling and heartbeats go on until `drained`;
    /// then what is stored is committed and the group is left.
    pub async fn run(self, stop: CancellationToken, drained: CancellationToken) -> Result<(), KafkaError> {
        blocking(move || self.poll_until(&stop, &drained)).await
    }

    fn poll_until(self, stop: &CancellationToken, drained: &CancellationToken) -> Result<(), KafkaError> {
        self.client.subscribe(&[&self.topic]).map_err(|error| KafkaError::of(&error, &self.topic))?;
        let mut stopped = false;
        let mut ended = Ok(());
        while ended.is_ok() && !drained.is_cancelled() {
            if stop.is_cancelled() && !std::mem::replace(&mut stopped, true) {
                self.client.context().on(Event::Stopped);
            }
            ended = self.serve();
            self.client.context().rewind(&self.client);
            let round = self.client.context().round(|queue| {
                loop {
                    match queue.poll(Duration::ZERO)? {
                        Ok(message) => return Some(super::detach::record(&message)),
                        Err(error) => ended = std::mem::replace(&mut ended, Ok(())).and(self.complain(&error)),
                    }
                }
            });
            if !round.more {
                std::thread::park_timeout(if round.full { BUSY } else { CALM });
            }
        }
        self.leave();
        ended
    }

    /// Serves what concerns the whole client: rebalances, errors, log lines. Records have queues of their own.
    fn serve(&self) -> Result<(), KafkaError> {
        match self.client.poll(Duration::ZERO) {
            None => Ok(()),
            Some(Err(error)) => self.complain(&error),
            Some(Ok(stray)) => {
                let position = format!("{}/{}", stray.partition(), stray.offset());
                Err(KafkaError::Fatal(format!("record {position} came outside of its partition's queue")))
            }
        }
    }

    /// Everything but a fatal error passes by itself, or once the topic or the right is there.
    fn complain(&self, error: &ClientError) -> Result<(), KafkaError> {
        if let ClientError::MessageConsumptionFatal(code) = error {
            return Err(KafkaError::Fatal(code.to_string()));
        }
        self.client.context().raise(&KafkaError::of(error, &self.topic));
        Ok(())
    }

    /// The last commit, and out of the group. Whoever still holds an [`Offsets`] finds the partitions gone.
    fn leave(self) {
        commit(&self.client);
        self.client.context().on(Event::Left);
        // Closing polls until the group has let us go: that is why this runs where one may block.
        drop(self.client);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn commit(client: &BaseConsumer<Reader>) {
    match client.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(ClientError::ConsumerCommit(Code::NoOffset)) => {}
        // The next owner reads again what this would have told it to skip: slower, never wrong.
        Err(error) => tracing::debug!(%error, "a commit was refused, its records are read again"),
    }
}

fn one(topic: &str, partition: i32, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    if list.add_partition_offset(topic, partition, offset).is_err() {
        tracing::debug!(topic, partition, ?offset, "an offset that cannot be");
    }
    list
}

#[cfg(test)]
mod tests;
