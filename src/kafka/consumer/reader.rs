//! What the client calls back, all of it on the polling thread: rebalances, log lines, errors, figures. Short, each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, base_consumer::PartitionQueue},
    error::{KafkaError as ClientError, KafkaResult},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    KafkaError, Record,
    assignment::{Assignment, Event, Round},
    commit,
};
use crate::{
    kafka::context,
    telemetry::{complaint::Complaint, health::Condition, metrics::KafkaMetrics},
};

/// How long the polling thread waits for a seek, which is a word to the client's own thread.
const SEEK_WITHIN: Duration = Duration::from_secs(2);

/// The client's own queue of one partition.
pub(super) type Queue = PartitionQueue<Reader>;

/// What the client calls back: rebalances, log lines, errors, figures.
pub(super) struct Reader {
    topic: Arc<str>,
    /// Touched by the polling thread only, callbacks included; the lock is for the compiler.
    assignment: Mutex<Assignment<Queue>>,
    /// Queues split off before an assignment takes effect, so that no record goes another way.
    split: Mutex<Vec<(i32, Queue)>>,
    /// Held while a partition is cancelled, and by whoever stores.
    fence: Mutex<()>,
    /// The consumer that calls back, which alone can split.
    me: OnceLock<Weak<BaseConsumer<Reader>>>,
    /// What the polling thread is asked to read again.
    rewinds: Mutex<Vec<Rewind>>,
    /// Partitions of which nothing was committed since they became ours.
    fresh: Mutex<BTreeSet<i32>>,
    /// What the last figures told of offsets without a record, and whether those before told the same.
    gaps: Mutex<BTreeMap<i32, (Gap, bool)>>,
    /// Told at the first assignment.
    assigned: OnceLock<Condition>,
    metrics: KafkaMetrics,
    trouble: Complaint,
}

/// Somebody wants to read a partition of ours from an earlier offset.
pub(super) struct Rewind {
    pub(super) number: i32,
    pub(super) to: i64,
    pub(super) revoked: CancellationToken,
    pub(super) answer: oneshot::Sender<Result<mpsc::Receiver<Record>, KafkaError>>,
}

impl Reader {
    pub(super) fn new(topic: &str, assignment: Assignment<Queue>, metrics: &KafkaMetrics) -> Self {
        Self {
            topic: Arc::from(topic),
            assignment: Mutex::new(assignment),
            split: Mutex::default(),
            fence: Mutex::default(),
            me: OnceLock::new(),
            rewinds: Mutex::default(),
            fresh: Mutex::default(),
            gaps: Mutex::default(),
            assigned: OnceLock::new(),
            metrics: metrics.clone(),
            trouble: Complaint::new("records cannot be read, the kafka consumer tries on"),
        }
    }

    /// Tells it which consumer it serves.
    pub(super) fn serve(&self, consumer: &Arc<BaseConsumer<Self>>) {
        self.me.get_or_init(|| Arc::downgrade(consumer));
    }

    /// Tells it who waits for the first assignment.
    pub(super) fn tell(&self, condition: Condition) {
        condition.missing("the consumer group has not assigned any partitions yet");
        self.assigned.get_or_init(|| condition);
    }

    /// Something went wrong that may pass by itself.
    pub(super) fn raise(&self, error: &KafkaError) {
        self.trouble.raise(error);
    }

    /// Hands over what there is and what there is room for.
    pub(super) fn round(&self, poll: impl FnMut(&Queue) -> Option<Record>) -> Round {
        let round = locked(&self.assignment).round(poll);
        if round.taken > 0 {
            self.trouble.settle();
        }
        if round.fallen {
            tracing::warn!(topic = %self.topic, "the offsets of a partition fell, so its topic was made anew or cut back: \
                what was in hand is let go, and it is read as a new one");
            self.on(Event::BegunAgain);
        }
        round
    }

    /// Takes an event through the assignment.
    pub(super) fn on(&self, event: Event<Queue>) {
        let mut assignment = locked(&self.assignment);
        let fenced = self.fenced();
        assignment.on(event);
        locked(&self.fresh).extend(assignment.fresh());
        drop(fenced);
        let (assigned, full) = assignment.count();
        self.metrics.partitions(assigned, full);
    }

    /// Asks the polling thread to read a partition again.
    pub(super) fn ask(&self, rewind: Rewind) {
        locked(&self.rewinds).push(rewind);
    }

    /// Does what was asked: seeks, and then hands out a new channel, so that nothing older lies in it. What the client
    /// has fetched before the seek is dropped by the client.
    pub(super) fn rewind(&self, client: &BaseConsumer<Self>) {
        for rewind in std::mem::take(&mut *locked(&self.rewinds)) {
            let Rewind { number, to, revoked, answer } = rewind;
            let mut done = Err(KafkaError::Fatal("the partition is another's".to_owned()));
            if !revoked.is_cancelled() {
                tracing::info!(topic = %self.topic, partition = number, to, "reading again");
                done = match client.seek(&self.topic, number, Offset::Offset(to), SEEK_WITHIN) {
                    Ok(()) => {
                        locked(&self.assignment).again(number).ok_or(KafkaError::Fatal("it was revoked".to_owned()))
                    }
                    Err(error) => Err(KafkaError::of(&error, &self.topic)),
                };
            }
            if answer.send(done).is_err() {
                tracing::debug!(partition = number, "whoever wanted to read again is gone");
            }
        }
    }

    /// Commits what is the first to be stored of a partition since it became ours; whoever calls holds the fence. The
    /// client never commits less than what it found, and what it found may be of a log that is no more: it would be
    /// where the next owner begins, and what lies before it in the new log would be skipped.
    #[expect(clippy::disallowed_methods, reason = "the one place: fenced, and sent before any revocation is answered")]
    pub(super) fn commit_first(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList, partition: i32) {
        if locked(&self.fresh).remove(&partition)
            && let Err(error) = client.commit(list, CommitMode::Async)
        {
            tracing::debug!(%error, partition, "a first commit was refused, it is repeated with the next offset");
            locked(&self.fresh).insert(partition);
        }
    }

    /// Where a partition goes on after the record before `next` (none = after none of it was handed over yet): further
    /// than `next` if nothing but marks of transactions, what they gave up, or what compaction took lies between.
    pub(super) fn beyond(&self, partition: i32, next: Option<i64>) -> Option<i64> {
        let gaps = locked(&self.gaps);
        let (gap, twice) = gaps.get(&partition)?;
        (*twice && gap.after == next).then_some(gap.to)
    }

    /// Notes what is fetched and handed over up to which offset. What lies there without ever having been handed over
    /// is no record. Told twice, as the first figures may be those of an earlier assignment.
    fn note_gaps(&self, figures: &HashMap<i32, rdkafka::statistics::Partition>) {
        let handed = locked(&self.assignment).handed();
        let mut gaps = locked(&self.gaps);
        let before = std::mem::take(&mut *gaps);
        for (number, after) in handed {
            let told = figures.get(&number).filter(|told| told.fetchq_cnt == 0 && told.fetch_state == "active");
            if let Some(told) = told {
                let gap = Gap { after, to: told.next_offset };
                gaps.insert(number, (gap, before.get(&number).is_some_and(|(before, _)| *before == gap)));
            }
        }
    }

    /// While this is held, no partition is cancelled.
    pub(super) fn fenced(&self) -> MutexGuard<'_, ()> {
        locked(&self.fence)
    }

    /// Gives partitions queues of their own; the polling thread, which this is, is woken when one fills.
    fn split(&self, numbers: &[i32]) {
        let Some(me) = self.me.get().and_then(Weak::upgrade) else {
            return;
        };
        let mut split = locked(&self.split);
        for number in numbers {
            if let Some(mut queue) = me.split_partition_queue(&self.topic, *number) {
                let poller = std::thread::current();
                queue.set_nonempty_callback(move || poller.unpark());
                split.push((*number, queue));
            }
        }
    }
}

/// After the record before `after` there is none before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    after: Option<i64>,
    to: i64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

impl ConsumerContext for Reader {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                let numbers = numbers(list);
                tracing::info!(topic = %self.topic, partitions = ?numbers, "partitions revoked");
                self.on(Event::Revoked(numbers));
                if !client.assignment_lost() {
                    commit(client);
                }
            }
            Rebalance::Error(error) => self.trouble.raise(error),
            Rebalance::Assign(list) => self.split(&numbers(list)),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            tracing::info!(topic = %self.topic, partitions = ?numbers(list), "partitions assigned");
            let split = std::mem::take(&mut *locked(&self.split));
            self.on(Event::Assigned(split));
            if let Some(assigned) = self.assigned.get() {
                assigned.met();
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        if let Err(error) = result {
            locked(&self.fresh).extend(numbers(list));
            tracing::debug!(%error, "a commit was refused, it is repeated with the next one");
        }
    }
}

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
        if is_reset(facility, text) {
            self.metrics.offset_reset();
            tracing::warn!(topic = %self.topic, cause = text,
                "records are gone unread: the topic no longer keeps the committed offset, reading from its earliest record");
        }
    }

    fn error(&self, _: ClientError, reason: &str) {
        self.trouble.raise(&reason);
    }

    fn stats(&self, figures: Statistics) {
        let Some(topic) = figures.topics.get(&*self.topic) else {
            return;
        };
        self.note_gaps(&topic.partitions);
        let lags = topic.partitions.values().map(|partition| {
            if partition.consumer_lag_stored >= 0 { partition.consumer_lag_stored } else { partition.consumer_lag }
        });
        self.metrics.lag(lags.filter(|lag| *lag >= 0).sum());
        let stored = topic.partitions.iter().filter(|(_, partition)| partition.stored_offset >= 0);
        let stored = stored.map(|(number, partition)| (*number, partition.stored_offset)).collect();
        let mut assignment = locked(&self.assignment);
        self.metrics.oldest(assignment.oldest(&stored).map(|at| at.0));
        let (assigned, full) = assignment.count();
        self.metrics.partitions(assigned, full);
    }
}

/// The client tells this nowhere else: an offset that the broker does not have any more, hence a reset to the earliest.
pub(super) fn is_reset(facility: &str, text: &str) -> bool {
    facility == "OFFSET" && text.contains("offset reset") && text.contains("Offset out of range")
}
