//! A stretch of the log by time or position, read without joining a group: for the horizon, replay, explain and dead
//! letters. Nothing is ever committed here.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError as ClientError,
    message::{BorrowedMessage, Message as _},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    KafkaError, Record, Settings, blocking, context::Listener, detach, merge::complain, probe, topics::partitions_in,
};
use crate::alert::EventTime;

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reading may get nothing at all before it gives up.
const SILENCE: Duration = Duration::from_secs(30);

/// Records of which the wanted ones are handed over together.
const TOGETHER: u64 = 5_000;

/// What of one partition is to be read: from `from` up to, and without, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The first offset that is not read any more.
    pub to: i64,
}

/// For each partition of a topic what is kept of it from that time on (`None` = from its earliest record), up to its
/// present end. Against the in-process broker, which can't look up times, all that is kept.
pub async fn since(settings: &Settings, topic: &str, time: Option<EventTime>) -> Result<Vec<Stretch>, KafkaError> {
    let time = time.filter(|_| !settings.is_in_process());
    let (settings, topic) = (settings.clone(), topic.to_owned());
    blocking(move || {
        let client = probe::client(&settings)?;
        let told = |error: ClientError| KafkaError::of(&error, &topic);
        let metadata = client.fetch_metadata(Some(&topic), PATIENCE).map_err(told)?;
        let mut stretches = Vec::new();
        for partition in 0..partitions_in(&metadata, &topic)? {
            let (from, to) = client.fetch_watermarks(&topic, partition, PATIENCE).map_err(told)?;
            stretches.push(Stretch { partition, from, to });
        }
        match time {
            Some(time) => shorten(&client, &topic, stretches, time).map_err(told),
            None => Ok(stretches),
        }
    })
    .await
}

/// For each partition of a topic what lies from one time on and before another; and whether the partition begins later
/// than that, as what lay before has expired.
///
/// # Errors
/// Kafka is away, or the topic is absent.
pub async fn between(
    settings: &Settings,
    topic: &str,
    (from, to): (EventTime, EventTime),
) -> Result<Vec<(Stretch, bool)>, KafkaError> {
    let all = since(settings, topic, None).await?;
    let begins = since(settings, topic, Some(from)).await?;
    let ends = since(settings, topic, Some(to)).await?;
    let one = |((all, begin), end): ((Stretch, Stretch), Stretch)| {
        let expired = begin.from <= all.from && all.from > 0;
        (Stretch { partition: all.partition, from: begin.from.max(all.from), to: end.from.min(all.to) }, expired)
    };
    Ok(all.into_iter().zip(begins).zip(ends).map(one).collect())
}

fn shorten(
    client: &BaseConsumer<Listener>,
    topic: &str,
    mut stretches: Vec<Stretch>,
    time: EventTime,
) -> Result<Vec<Stretch>, ClientError> {
    let mut asked = TopicPartitionList::with_capacity(stretches.len());
    for stretch in &stretches {
        asked.add_partition_offset(topic, stretch.partition, Offset::Offset(time.0.max(0)))?;
    }
    let found = client.offsets_for_times(asked, PATIENCE)?;
    for stretch in &mut stretches {
        let element = found.find_partition(topic, stretch.partition);
        stretch.from = match element.map(|element| element.error().map(|()| element.offset())).transpose()? {
            Some(Offset::Offset(offset)) => offset.clamp(stretch.from, stretch.to),
            Some(Offset::End) => stretch.to,
            Some(Offset::Beginning | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_)) | None => stretch.from,
        };
    }
    Ok(stretches)
}

/// Reads stretches of a topic into a channel, each partition in its order, partitions interleaved as they come. A slow
/// reader holds the reading back. Returns when all are read, the receiver is gone, or stop is told.
pub async fn read(
    settings: &Settings,
    topic: &str,
    stretches: Vec<Stretch>,
    into: mpsc::Sender<Record>,
    stop: CancellationToken,
) -> Result<(), KafkaError> {
    let reading = Reading::of(settings, topic, stretches, stop);
    blocking(move || reading.run(|message| reading.hand_over(&into, detach::record(message)))).await
}

/// Some records were read, of which some were wanted.
#[derive(Clone, Debug, Default)]
pub struct Picked {
    /// How many were read.
    pub read: u64,
    /// Those that were wanted.
    pub wanted: Vec<Record>,
}

/// As [`read`], for what is rare: only records that bear this header are kept, all others are counted and left behind.
///
/// # Errors
/// Kafka is away, or the topic is absent.
pub async fn pick(
    settings: &Settings,
    topic: &str,
    (stretches, header): (Vec<Stretch>, (&'static str, &'static str)),
    into: mpsc::Sender<Picked>,
    stop: CancellationToken,
) -> Result<(), KafkaError> {
    let reading = Reading::of(settings, topic, stretches, stop);
    blocking(move || {
        let mut picked = Picked::default();
        reading.run(|message| {
            picked.read += 1;
            if detach::bears(message, header) {
                picked.wanted.push(detach::record(message));
            }
            picked.read < TOGETHER || reading.hand_over(&into, std::mem::take(&mut picked))
        })?;
        reading.hand_over(&into, picked);
        Ok(())
    })
    .await
}

fn assigned(settings: &Settings, topic: &str, stretches: &[Stretch]) -> Result<BaseConsumer<Listener>, ClientError> {
    let mut config = settings.client(&[
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.queue.backoff.ms", "5"),      // a full queue is empty again in a few
        ("max.poll.interval.ms", "86400000"), // the reader may be slow, and there is no group to be thrown out of
    ]);
    config.set("group.id", "breakwater-range"); // the client wants a name; nobody joins
    let client: BaseConsumer<Listener> = config.create_with_context(Listener::new())?;
    let mut list = TopicPartitionList::with_capacity(stretches.len());
    for stretch in stretches.iter().filter(|one| one.from < one.to) {
        list.add_partition_offset(topic, stretch.partition, Offset::Offset(stretch.from))?;
    }
    client.assign(&list)?;
    Ok(client)
}

/// A partition that is done is not fetched any further while the others go on.
fn silence(client: &BaseConsumer<Listener>, topic: &str, partition: i32) {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    if let Err(error) = client.pause(&list) {
        tracing::debug!(%error, "a partition that is read to the end goes on, its records are left");
    }
}

/// One reading, made where a runtime is and run where blocking is allowed.
struct Reading {
    settings: Settings,
    topic: String,
    stretches: Vec<Stretch>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Reading {
    fn of(settings: &Settings, topic: &str, stretches: Vec<Stretch>, stop: CancellationToken) -> Self {
        let (settings, topic, runtime) = (settings.clone(), topic.to_owned(), Handle::current());
        Self { settings, topic, stretches, stop, runtime }
    }

    /// Shows each record until all are read, or one is the last that is wanted.
    fn run(&self, mut show: impl FnMut(&BorrowedMessage<'_>) -> bool) -> Result<(), KafkaError> {
        let (settings, topic) = (&self.settings, self.topic.as_str());
        let client = assigned(settings, topic, &self.stretches).map_err(|error| KafkaError::of(&error, topic))?;
        let mut left: BTreeMap<i32, i64> =
            self.stretches.iter().filter(|one| one.from < one.to).map(|one| (one.partition, one.to)).collect();
        let mut silent_since: Option<Instant> = None;
        while !left.is_empty() && !self.stop.is_cancelled() {
            match client.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let to = left.get(&partition).copied().unwrap_or(0);
                    if offset < to && !show(&message) {
                        return Ok(());
                    }
                    if offset + 1 >= to && left.remove(&partition).is_some() {
                        silence(&client, topic, partition);
                    }
                    silent_since = None;
                }
                // The end lies at or behind `to`, which was an end when it was asked for.
                Some(Err(ClientError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                Some(Err(error)) => complain(&error, topic)?,
                None if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE => {
                    return Err(KafkaError::Unreachable("nothing was read for 30 s".to_owned()));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// False when nobody wants any more.
    fn hand_over<T>(&self, into: &mpsc::Sender<T>, value: T) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.stop.cancelled() => false,
                sent = into.send(value) => sent.is_ok(),
            }
        })
    }
}
