//! Stretches of a topic as one stream in order of event time, without joining a group. Nothing is ever committed here.
//!
//! Each partition has a queue of its own and one record of each is in hand, so what is held does not grow with the
//! stretch, however far apart the partitions lie. Records of one partition keep their order.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, base_consumer::PartitionQueue},
    error::KafkaError as ClientError,
    message::Message as _,
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{KafkaError, Record, Settings, blocking, context::Listener, detach, range::Stretch};

/// Records that are handed over together, and what they may weigh.
const TOGETHER: usize = 2_000;
const WEIGHT: usize = 2 << 20;
/// What the client may have fetched ahead, of all partitions together, in KiB.
const AHEAD_KIB: usize = 48 << 10;
/// How long one partition is waited for while another may have something to say.
const WAIT: Duration = Duration::from_millis(10);
/// How long a reading may get nothing at all before it gives up.
const SILENCE: Duration = Duration::from_secs(30);

/// Reads stretches of a topic into a channel, some records at a time, all partitions in order of event time. A slow
/// reader holds the reading back. Returns when all are read, the receiver is gone, or stop is told.
///
/// # Errors
/// Kafka is away, or the topic is absent.
pub async fn read(
    settings: &Settings,
    topic: &str,
    stretches: &[Stretch],
    into: mpsc::Sender<Vec<Record>>,
    stop: CancellationToken,
) -> Result<(), KafkaError> {
    let stretches: Vec<Stretch> = stretches.iter().copied().filter(|one| one.from < one.to).collect();
    if stretches.is_empty() {
        return Ok(());
    }
    let (settings, topic, runtime) = (settings.clone(), topic.to_owned(), Handle::current());
    blocking(move || {
        let client = assigned(&settings, &topic, &stretches).map_err(|error| KafkaError::of(&error, &topic))?;
        let lanes = lanes(&client, &topic, &stretches)?;
        let mut merge =
            Merge { client, topic, lanes, some: Vec::new(), weight: 0, heard: Instant::now(), into, stop, runtime };
        merge.run()
    })
    .await
}

fn assigned(
    settings: &Settings,
    topic: &str,
    stretches: &[Stretch],
) -> Result<Arc<BaseConsumer<Listener>>, ClientError> {
    let ahead = (AHEAD_KIB / stretches.len()).max(1024).to_string();
    let mut config = settings.client(&[
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        ("queued.max.messages.kbytes", ahead.as_str()), // of each partition
        ("fetch.queue.backoff.ms", "5"),
        ("max.poll.interval.ms", "86400000"), // the reader may be slow, and there is no group to be thrown out of
    ]);
    config.set("group.id", "breakwater-range"); // the client wants a name; nobody joins
    let client: BaseConsumer<Listener> = config.create_with_context(Listener::new())?;
    let mut list = TopicPartitionList::with_capacity(stretches.len());
    for stretch in stretches {
        list.add_partition_offset(topic, stretch.partition, Offset::Offset(stretch.from))?;
    }
    client.assign(&list)?;
    Ok(Arc::new(client))
}

fn lanes(client: &Arc<BaseConsumer<Listener>>, topic: &str, stretches: &[Stretch]) -> Result<Vec<Lane>, KafkaError> {
    let absent = || KafkaError::AbsentTopic(topic.to_owned());
    let lane = |one: &Stretch| {
        let queue = client.split_partition_queue(topic, one.partition).ok_or_else(absent)?;
        Ok(Lane { partition: one.partition, to: one.to, queue, early: VecDeque::new(), head: None, done: false })
    };
    stretches.iter().map(lane).collect()
}

/// One partition.
struct Lane {
    partition: i32,
    to: i64,
    queue: PartitionQueue<Listener>,
    /// What had come before its queue was its own.
    early: VecDeque<Record>,
    head: Option<Record>,
    done: bool,
}

impl Lane {
    fn lacks(&self) -> bool {
        self.head.is_none() && !self.done
    }

    /// Takes the next record into hand, if there is one by then. Says what the client complains of.
    fn fill(&mut self, wait: Duration) -> Result<(), ClientError> {
        let record = match self.early.pop_front() {
            Some(record) => record,
            None => match self.queue.poll(wait) {
                None => return Ok(()),
                Some(Ok(message)) => detach::record(&message),
                Some(Err(ClientError::PartitionEOF(_))) => {
                    self.done = true; // the end lies at or behind `to`, which was an end when it was asked for
                    return Ok(());
                }
                Some(Err(error)) => return Err(error),
            },
        };
        self.done = record.position.offset >= self.to;
        self.head = (!self.done).then_some(record);
        Ok(())
    }

    fn take(&mut self) -> Option<Record> {
        let record = self.head.take()?;
        self.done = record.position.offset + 1 >= self.to;
        Some(record)
    }
}

struct Merge {
    client: Arc<BaseConsumer<Listener>>,
    topic: String,
    lanes: Vec<Lane>,
    some: Vec<Record>,
    weight: usize,
    heard: Instant,
    into: mpsc::Sender<Vec<Record>>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Merge {
    fn run(&mut self) -> Result<(), KafkaError> {
        while self.lanes.iter().any(|lane| !lane.done) && !self.stop.is_cancelled() {
            self.early()?;
            if !self.fill()? {
                if self.heard.elapsed() > SILENCE {
                    return Err(KafkaError::Unreachable("nothing was read for 30 s".to_owned()));
                }
                continue;
            }
            // every partition has shown its next record or its end: the earliest of them is the next of all
            while self.lanes.iter().all(|lane| !lane.lacks()) {
                let heads = self.lanes.iter_mut().filter(|lane| lane.head.is_some());
                let first = heads.min_by_key(|lane| lane.head.as_ref().map(|head| (head.at, head.position)));
                let Some(lane) = first else { break };
                let Some(record) = lane.take() else { break };
                if !lane.done {
                    lane.fill(Duration::ZERO).map_err(|error| KafkaError::of(&error, &self.topic))?;
                }
                self.weight += record.value.len();
                self.some.push(record);
                if (self.some.len() >= TOGETHER || self.weight >= WEIGHT) && !self.hand_over() {
                    return Ok(());
                }
            }
        }
        self.hand_over();
        Ok(())
    }

    /// What the client fetched before each partition had its own queue, and what it says of itself.
    fn early(&mut self) -> Result<(), KafkaError> {
        loop {
            match self.client.poll(Duration::ZERO) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    let (partition, record) = (message.partition(), detach::record(&message));
                    let lane = self.lanes.iter_mut().find(|lane| lane.partition == partition);
                    if let Some(lane) = lane {
                        lane.early.push_back(record);
                    }
                }
                Some(Err(error)) => complain(&error, &self.topic)?,
            }
        }
    }

    /// Lets each partition that has nothing in hand show its next record. False if one of them has yet to.
    fn fill(&mut self) -> Result<bool, KafkaError> {
        let mut whole = true;
        for lane in self.lanes.iter_mut().filter(|lane| lane.lacks()) {
            if let Err(error) = lane.fill(WAIT) {
                complain(&error, &self.topic)?;
            }
            if lane.lacks() {
                whole = false;
            } else {
                self.heard = Instant::now();
            }
        }
        Ok(whole)
    }

    /// False when nobody wants records any more.
    fn hand_over(&mut self) -> bool {
        let some = std::mem::replace(&mut self.some, Vec::with_capacity(TOGETHER));
        self.weight = 0;
        let handed = some.is_empty()
            || self.runtime.block_on(async {
                tokio::select! {
                    () = self.stop.cancelled() => false,
                    sent = self.into.send(some) => sent.is_ok(),
                }
            });
        self.heard = Instant::now();
        handed
    }
}

/// What cannot pass ends the reading; the rest is tried on.
pub(super) fn complain(error: &ClientError, topic: &str) -> Result<(), KafkaError> {
    if let ClientError::MessageConsumptionFatal(code) = error {
        return Err(KafkaError::Fatal(code.to_string()));
    }
    let error = KafkaError::of(error, topic);
    if matches!(error, KafkaError::AbsentTopic(_)) {
        return Err(error);
    }
    tracing::debug!(%error, "reading a stretch of the log, trying on");
    Ok(())
}
