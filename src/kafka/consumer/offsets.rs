//! Where finished records are noted, and what a stage may ask about its partitions.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode as Code},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    KafkaError, Record, one,
    reader::{Reader, Rewind},
};
use crate::{
    alert::EventTime,
    kafka::{blocking, topics},
};

/// Deadline of a question to a broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stores offsets for the one place that commits, and asks about partitions. Clones share it.
#[derive(Clone)]
pub struct Offsets {
    pub(super) client: Weak<BaseConsumer<Reader>>,
    pub(super) topic: Arc<str>,
}

impl Offsets {
    /// Stores where a restart begins to read. False when the partition is no longer the one that `revoked` came with:
    /// then nothing is stored, and its next owner reads from what was stored before.
    pub fn store(&self, partition: i32, next: i64, revoked: &CancellationToken) -> Result<bool, KafkaError> {
        let Some(client) = self.client.upgrade() else {
            return Ok(false);
        };
        let list = one(&self.topic, partition, Offset::Offset(next));
        // Held over both lines, so that no revocation comes in between.
        let _fenced = client.context().fenced();
        if revoked.is_cancelled() {
            return Ok(false);
        }
        match client.store_offsets(&list) {
            Ok(()) => {
                client.context().commit_first(&client, &list, partition);
                Ok(true)
            }
            Err(ClientError::StoreOffset(Code::State | Code::UnknownPartition)) => Ok(false),
            Err(error) => Err(KafkaError::of(&error, &self.topic)),
        }
    }

    /// Both ends of a partition: the first offset that is kept, and the one that its next record will have.
    pub async fn ends(&self, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.ask(move |client, topic| client.fetch_watermarks(topic, partition, PATIENCE)).await
    }

    /// Up to which offset a partition of ours holds no record after the one before `next` (none = before its first one
    /// since it became ours): above `next` where marks of transactions end it. None if that is not known.
    #[must_use]
    pub fn beyond(&self, partition: i32, next: Option<i64>) -> Option<i64> {
        self.client.upgrade()?.context().beyond(partition, next)
    }

    /// The group's committed offset of a partition, if it has one.
    pub async fn committed(&self, partition: i32) -> Result<Option<i64>, KafkaError> {
        self.ask(move |client, topic| {
            let list = client.committed_offsets(one(topic, partition, Offset::Invalid), PATIENCE)?;
            Ok(list.elements().first().and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some(offset),
                Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
            }))
        })
        .await
    }

    /// The first offset of a partition whose record is of `time` or later; none if there is no such record.
    pub async fn at(&self, partition: i32, time: EventTime) -> Result<Option<i64>, KafkaError> {
        self.ask(move |client, topic| {
            let found = client.offsets_for_times(one(topic, partition, Offset::Offset(time.0.max(0))), PATIENCE)?;
            let element = found.find_partition(topic, partition);
            Ok(match element.map(|element| element.error().map(|()| element.offset())).transpose()? {
                Some(Offset::Offset(offset)) => Some(offset),
                Some(Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_))
                | None => None,
            })
        })
        .await
    }

    /// Reads a partition of ours again from an earlier offset: its records come out of the channel that is returned,
    /// and no longer out of the one before.
    pub async fn rewind(
        &self,
        partition: i32,
        to: i64,
        revoked: &CancellationToken,
    ) -> Result<mpsc::Receiver<Record>, KafkaError> {
        let gone = || KafkaError::Fatal("the consumer has ended".to_owned());
        let (answer, records) = oneshot::channel();
        let rewind = Rewind { number: partition, to, revoked: revoked.clone(), answer };
        self.client.upgrade().ok_or_else(gone)?.context().ask(rewind);
        records.await.map_err(|_| gone())?
    }

    /// How many partitions the topic has now.
    pub async fn partitions(&self) -> Result<i32, KafkaError> {
        let topic = Arc::clone(&self.topic);
        let metadata = self.ask(|client, topic| client.fetch_metadata(Some(topic), PATIENCE)).await?;
        topics::partitions_in(&metadata, &topic)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Reader>, &str) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let Some(client) = self.client.upgrade() else {
            return Err(KafkaError::Fatal("the consumer has ended".to_owned()));
        };
        let topic = Arc::clone(&self.topic);
        blocking(move || question(&client, &topic).map_err(|error| KafkaError::of(&error, &topic))).await
    }
}

impl fmt::Debug for Offsets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Offsets").field("topic", &self.topic).finish_non_exhaustive()
    }
}
