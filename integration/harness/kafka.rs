//! Eyes and hands on Kafka: topics made, records produced as a stranger would, whole topics read, offsets asked for.

use super::past::Past;
use super::wait::until_ok;
use futures::future::join_all;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, FutureProducer, FutureRecord, Producer as _, ThreadedProducer,
};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A broker, seen from outside.
#[derive(Clone, Debug)]
pub struct Kafka {
    brokers: String,
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Milliseconds since 1970, by the broker's clock where the topic says so.
    pub timestamp: i64,
    /// The key's bytes; a stranger's record may have none.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; nothing and empty differ.
    pub value: Option<Vec<u8>>,
    /// Headers in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The value as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error} in the record at {}/{}", self.partition, self.offset))
    }

    /// The last header of that name as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().rev().find(|(key, _)| key == name).map(|(_, v)| String::from_utf8_lossy(v).into_owned())
    }
}

impl Kafka {
    /// The broker at an address.
    pub fn at(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned() }
    }

    /// Makes a topic and waits until it has its leaders.
    pub async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new =
            settings.iter().fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), |new, (key, value)| {
                new.set(key, value)
            });
        let made = self.admin().create_topics([&new], &AdminOptions::new()).await.expect("the broker answers");
        made.into_iter().next().expect("one answer for one topic").unwrap_or_else(|error| panic!("{error:?}"));
        let what = format!("topic {topic} to have its leaders");
        until_ok(PATIENCE, &what, async || self.partitions(topic).await.map(|_| ())).await;
    }

    /// Makes a topic of which each partition lies on these brokers, the first of them its leader.
    pub async fn create_on(&self, topic: &str, brokers: &[&[i32]], settings: &[(&str, &str)]) {
        let partitions = i32::try_from(brokers.len()).expect("few partitions");
        let new = NewTopic::new(topic, partitions, TopicReplication::Variable(brokers));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let made = self.admin().create_topics([&new], &AdminOptions::new()).await.expect("the broker answers");
        made.into_iter().next().expect("one answer for one topic").unwrap_or_else(|error| panic!("{error:?}"));
        let what = format!("topic {topic} to have its leaders");
        until_ok(PATIENCE, &what, async || self.partitions(topic).await.map(|_| ())).await;
    }

    /// Deletes a topic.
    pub async fn delete(&self, topic: &str) {
        self.admin().delete_topics(&[topic], &AdminOptions::new()).await.expect("the broker answers");
    }

    /// Grows a topic.
    pub async fn grow(&self, topic: &str, partitions: usize) {
        let wanted = NewPartitions::new(topic, partitions);
        self.admin().create_partitions([&wanted], &AdminOptions::new()).await.expect("the broker answers");
    }

    /// Sets *all* settings of a topic: what is not named goes back to the broker's default.
    pub async fn configure(&self, topic: &str, settings: &[(&str, &str)]) {
        let wanted = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |wanted, (key, value)| wanted.set(key, value));
        let done = self.admin().alter_configs([&wanted], &AdminOptions::new()).await.expect("the broker answers");
        done.into_iter().next().expect("one answer for one topic").unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// Forgets the records of a partition before an offset, as retention does.
    pub async fn forget(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        self.admin().delete_records(&list, &AdminOptions::new()).await.expect("the broker answers");
    }

    /// Sends records as a stranger would (key, value; no headers), all at once; each one's partition and offset.
    pub async fn produce(&self, topic: &str, records: &[(Option<&[u8]>, &[u8])]) -> Vec<(i32, i64)> {
        let producer = self.producer();
        let sent = records.iter().map(|(key, value)| {
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).payload(value);
            record.key = *key;
            producer.send(record, PATIENCE)
        });
        let sent = join_all(sent).await;
        sent.into_iter().map(|sent| sent.map(|d| (d.partition, d.offset)).expect("acknowledged")).collect()
    }

    /// Sends one record exactly as given, headers, partition and timestamp too; its new partition and offset.
    pub async fn send(&self, topic: &str, record: &Record) -> (i32, i64) {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key: key.as_str(), value: Some(value.as_slice()) })
        });
        let mut sending: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic).partition(record.partition).timestamp(record.timestamp).headers(headers);
        (sending.key, sending.payload) = (record.key.as_deref(), record.value.as_deref());
        let sent = self.producer().send(sending, PATIENCE).await.expect("acknowledged");
        (sent.partition, sent.offset)
    }

    /// Sends many records with times of their own, each into the partition of its key as the door chooses it.
    pub async fn bulk(&self, topic: &str, records: impl Iterator<Item = Past> + Send + 'static) {
        let mut config = self.config();
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "20").set("batch.size", "1000000");
        let producer: ThreadedProducer<DefaultProducerContext> =
            config.set("partitioner", "murmur2_random").create().expect("these settings are valid");
        let (before, named) = (self.count(topic).await, topic.to_owned());
        let sent = blocking(move || {
            let mut sent = 0;
            for Past { at, key, value } in records {
                let mut record = BaseRecord::to(&named).key(&key).payload(&value).timestamp(at);
                while let Err((error, unsent)) = producer.send(record) {
                    let full = Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
                    assert_eq!(error.rdkafka_error_code(), full, "{error}");
                    producer.poll(Duration::from_millis(10));
                    record = unsent;
                }
                sent += 1;
            }
            producer.flush(4 * PATIENCE).expect("acknowledged");
            sent
        })
        .await;
        assert_eq!(self.count(topic).await, before + sent, "each record was taken");
    }

    /// All records of a topic up to its present end, by partition and offset.
    pub async fn read(&self, topic: &str) -> Vec<Record> {
        let ends = self.ends(topic).await;
        let mut places = TopicPartitionList::new();
        for partition in ends.keys() {
            places.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
        }
        let reader = self.consumer("harness-reader");
        blocking(move || {
            reader.assign(&places).expect("partitions can be assigned by hand");
            let mut records = Vec::new();
            let mut reached: BTreeMap<i32, i64> = BTreeMap::new();
            let mut quiet = 0;
            while ends.iter().any(|(partition, end)| reached.get(partition).unwrap_or(&-1) + 1 < *end) {
                match reader.poll(Duration::from_millis(500)) {
                    Some(Ok(message)) => {
                        quiet = 0;
                        reached.insert(message.partition(), message.offset());
                        records.push(owned(&message));
                    }
                    Some(Err(error)) => panic!("cannot read: {error}"),
                    // a partition whose last offsets were forgotten or hold no record never reaches its end
                    None if quiet == 10 => break,
                    None => quiet += 1,
                }
            }
            records.retain(|record| ends.get(&record.partition).is_some_and(|end| record.offset < *end));
            records.sort_by_key(|record| (record.partition, record.offset));
            records
        })
        .await
    }

    /// Reads a topic to its present end and keeps nothing; how long that took, and how many records there were.
    pub async fn drain(&self, topic: &str) -> (Duration, usize) {
        let ends = self.ends(topic).await;
        let mut places = TopicPartitionList::new();
        for partition in ends.keys() {
            places.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
        }
        let (reader, all) = (self.consumer("harness-drain"), ends.values().sum::<i64>());
        blocking(move || {
            let (began, mut read) = (std::time::Instant::now(), 0);
            reader.assign(&places).expect("partitions can be assigned by hand");
            while read < all {
                let polled = reader.poll(PATIENCE).expect("there is more");
                read += i64::from(polled.expect("the broker answers").payload_len() > 0);
            }
            (began.elapsed(), usize::try_from(read).expect("a count"))
        })
        .await
    }

    /// The end offset of each partition.
    pub async fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        let what = format!("topic {topic} to be there");
        let partitions = until_ok(PATIENCE, &what, async || self.partitions(topic).await).await;
        let (reader, topic) = (self.consumer("harness-reader"), topic.to_owned());
        let end = move |partition: i32| {
            let (_, end) = reader.fetch_watermarks(&topic, partition, PATIENCE).expect("the broker answers");
            (partition, end)
        };
        blocking(move || partitions.into_iter().map(end).collect()).await
    }

    /// How many records a topic has ever taken.
    pub async fn count(&self, topic: &str) -> i64 {
        self.ends(topic).await.values().sum()
    }

    /// Where a group would begin to read each partition; a partition without a commit is not listed.
    pub async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let mut places = TopicPartitionList::new();
        for partition in self.ends(topic).await.into_keys() {
            places.add_partition(topic, partition);
        }
        let asker = self.consumer(group);
        let told = blocking(move || asker.committed_offsets(places, PATIENCE).expect("the broker answers")).await;
        told.elements()
            .iter()
            .filter_map(|e| e.offset().to_raw().filter(|o| *o >= 0).map(|o| (e.partition(), o)))
            .collect()
    }

    /// Makes a group without members begin at another offset of a partition.
    pub async fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let asker = self.consumer(group);
        #[expect(clippy::disallowed_methods, reason = "nobody reads: this is an operator's hand, not a stage")]
        blocking(move || asker.commit(&place, CommitMode::Sync).expect("the broker commits")).await;
    }

    /// What a group has still to read: end less committed, over all partitions.
    pub async fn lag(&self, group: &str, topic: &str) -> i64 {
        let committed = self.committed(group, topic).await;
        self.ends(topic).await.iter().map(|(p, end)| end - committed.get(p).copied().unwrap_or(0)).sum()
    }

    /// The state of a group as its coordinator tells it, and the ids of its members.
    pub async fn members(&self, group: &str) -> (String, BTreeSet<String>) {
        let (asker, group) = (self.consumer("harness-reader"), group.to_owned());
        blocking(move || {
            let told = asker.fetch_group_list(Some(&group), PATIENCE).expect("the broker answers");
            let group = told.groups().first().expect("an answer about the group");
            (group.state().to_owned(), group.members().iter().map(|member| member.id().to_owned()).collect())
        })
        .await
    }

    /// Sends these values in a transaction, which ends the partition with a mark that is no record.
    pub async fn transact(&self, topic: &str, partition: i32, values: &[&[u8]], commit: bool) {
        let mut config = self.config();
        config.set("transactional.id", format!("harness-{:08x}", fastrand::u32(..)));
        let producer: FutureProducer = config.create().expect("these settings are valid");
        let sender = producer.clone();
        blocking(move || {
            sender.init_transactions(PATIENCE).and_then(|()| sender.begin_transaction()).expect("a transaction begins");
        })
        .await;
        let records =
            values.iter().map(|value| FutureRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value));
        for sent in join_all(records.map(|record| producer.send(record, PATIENCE))).await {
            sent.expect("acknowledged");
        }
        blocking(move || {
            let ended =
                if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
            ended.expect("the transaction ends");
        })
        .await;
    }

    /// Forgets a group that has no member: it begins again at the start of the log.
    pub async fn delete_group(&self, group: &str) {
        let what = format!("group {group} to be empty and deleted");
        until_ok(PATIENCE, &what, async || {
            let gone = self.admin().delete_groups(&[group], &AdminOptions::new()).await;
            match gone.expect("the broker answers").into_iter().next() {
                Some(Ok(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, String> {
        let (asker, topic) = (self.consumer("harness-reader"), topic.to_owned());
        blocking(move || {
            let told = asker.fetch_metadata(Some(&topic), PATIENCE).map_err(|error| error.to_string())?;
            let partitions = told.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
            if partitions.is_empty() || partitions.iter().any(|p| p.leader() < 0) {
                return Err("no leaders yet".to_owned());
            }
            Ok(partitions.iter().map(|p| p.id()).collect())
        })
        .await
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("these settings are valid")
    }

    fn producer(&self) -> FutureProducer {
        self.config().set("acks", "all").set("linger.ms", "0").create().expect("these settings are valid")
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        self.config()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()
            .expect("these settings are valid")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("log_level", "3");
        config
    }
}

fn owned(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
    }
}

/// librdkafka blocks the thread in most of its questions: the test's own tasks go on meanwhile.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(ask).await.expect("the question does not panic")
}
