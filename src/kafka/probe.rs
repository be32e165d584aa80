//! Whether the brokers answer and a stage's topics are there, asked every second for as long as the stage runs.
//!
//! It asks with a client of its own, so its answer does not depend on what the stage's clients believe.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode as Code,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{KafkaError, Settings, blocking, context::Listener, topics::partitions_in};
use crate::telemetry::health::Condition;

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a broker for the metadata of `topics` every second, and tells the condition what is missing, until `stop`.
pub async fn run(
    settings: Settings,
    topics: Vec<String>,
    condition: Condition,
    stop: CancellationToken,
) -> Result<(), KafkaError> {
    let client = Arc::new(client(&settings)?);
    let topics: Arc<[String]> = topics.into();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let (asked, names) = (Arc::clone(&client), Arc::clone(&topics));
        match blocking(move || ask(&asked, &names)).await {
            Ok(()) => condition.met(),
            Err(error) => condition.missing(error.to_string()),
        }
    }
    // Its end may block.
    blocking(move || {
        drop(client);
        Ok(())
    })
    .await
}

/// A client without a group, for questions.
pub(super) fn client(settings: &Settings) -> Result<BaseConsumer<Listener>, KafkaError> {
    let config = settings.client(&[("allow.auto.create.topics", "false")]);
    config.create_with_context(Listener::new()).map_err(|error| KafkaError::of(&error, ""))
}

/// All of them are there, or the first thing that is missing.
fn ask(client: &BaseConsumer<Listener>, topics: &[String]) -> Result<(), KafkaError> {
    for topic in topics {
        let answer = client.fetch_metadata(Some(topic), PATIENCE);
        // Serves the client's own words, which tell why it cannot connect.
        drop(client.poll(Duration::ZERO));
        match answer {
            Ok(metadata) => partitions_in(&metadata, topic).map(|_| client.context().settle())?,
            Err(error) => return Err(why(client.context().last_trouble(), KafkaError::of(&error, topic))),
        }
    }
    Ok(())
}

/// "Timed out" is what a refused password looks like from afar; the client's last trouble knows better.
fn why(trouble: Option<Code>, error: KafkaError) -> KafkaError {
    trouble.map_or(error, |code| KafkaError::Unreachable(super::first_line(&code.to_string())))
}
