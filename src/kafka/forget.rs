//! Makes a topic forget its oldest records. A log can only be cut at its front.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    error::KafkaError as ClientError,
};

use super::{KafkaError, Settings, blocking};

const PATIENCE: Duration = Duration::from_secs(30);

/// Forgets, in each of these partitions, every record before an offset. It cannot be undone.
pub async fn before(settings: &Settings, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
    let told = |error: ClientError| KafkaError::of(&error, topic);
    let admin: AdminClient<DefaultClientContext> = settings.client(&[]).create().map_err(told)?;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(told)?;
    }
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let answer = admin.delete_records(&list, &options).await.map_err(told);
    // its end joins a thread
    blocking(move || {
        drop(admin);
        Ok(())
    })
    .await?;
    let answer = answer?;
    let refused = answer.elements().iter().find_map(|one| one.error().err());
    refused.map_or(Ok(()), |error| Err(told(error)))
}
