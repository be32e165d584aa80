//! How far a consumer group has come, seen from outside: asked without joining it.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError as ClientError,
};

use super::{KafkaError, Settings, blocking, context::Listener, topics::partitions_in};

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a group would begin to read each partition of a topic; one without a commit is not listed.
pub async fn committed(settings: &Settings, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut config = settings.client(&[("enable.auto.commit", "false"), ("allow.auto.create.topics", "false")]);
    config.set("group.id", group); // asks as the group, and never subscribes, so it is no member
    let topic = topic.to_owned();
    blocking(move || {
        let told = |error: ClientError| KafkaError::of(&error, &topic);
        let client: BaseConsumer<Listener> = config.create_with_context(Listener::new()).map_err(told)?;
        let metadata = client.fetch_metadata(Some(&topic), PATIENCE).map_err(told)?;
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions_in(&metadata, &topic)? {
            asked.add_partition(&topic, partition);
        }
        let found = client.committed_offsets(asked, PATIENCE).map_err(told)?;
        let known = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        Ok(found.elements().iter().filter_map(|one| Some((one.partition(), known(one.offset())?))).collect())
    })
    .await
}
