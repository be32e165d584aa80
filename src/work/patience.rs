//! Asking what is away until it answers: memory and Kafka come back, and meanwhile nothing in hand is dropped.

use std::{future::Future, time::Duration};

use super::partition::{Desk, Halt};
use crate::{
    kafka::{KafkaError, Outgoing},
    memory::{Memory, MemoryError},
};

/// How long a stop waits for the acknowledgement of what is being published.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Between two tries of a step that found something away.
const REST: Duration = Duration::from_millis(200);

impl<M: Memory + Clone> Desk<M> {
    /// Asks memory until it answers, or the partition is gone.
    pub(super) async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, MemoryError>>,
    {
        loop {
            match self.gone.run_until_cancelled(ask()).await.ok_or(Halt::Gone)? {
                Ok(value) => {
                    self.stage.memory_answers.met();
                    self.complaint.settle();
                    return Ok(value);
                }
                Err(MemoryError::Lost) => return Err(Halt::Lost),
                Err(error @ MemoryError::Away(_)) => {
                    self.bench.metrics.retried("memory");
                    self.stage.memory_answers.missing(error.to_string());
                    self.complaint.raise(&error);
                }
            }
            self.rest().await?;
        }
    }

    /// Publishes until every record is acknowledged, or the partition is gone. What was not acknowledged goes again.
    pub(super) async fn publish(&self, mut records: Vec<Outgoing>, topic: &str) -> Result<(), Halt> {
        loop {
            let sent = self.stage.producer.publish_all(topic, records.clone());
            let answers = tokio::select! {
                answers = sent => answers,
                () = self.gone.cancelled() => return Err(Halt::Gone),
                () = self.stopped_for(LAST_WORD) => return Err(Halt::Gone), // what is in hand may be thrown away
            };
            let failed: Vec<(Outgoing, KafkaError)> =
                records.into_iter().zip(answers).filter_map(|(record, answer)| Some((record, answer.err()?))).collect();
            let Some((_, error)) = failed.first() else {
                self.complaint.settle();
                return Ok(());
            };
            self.bench.metrics.retried("kafka");
            self.complaint.raise(error);
            records = failed.into_iter().map(|(record, _)| record).collect();
            self.rest().await?;
        }
    }

    /// After stop is told, so much longer.
    async fn stopped_for(&self, longer: Duration) {
        self.stop.cancelled().await;
        tokio::time::sleep(longer).await;
    }

    /// Rests between two tries. A process that is to stop does not wait for what is away.
    pub(super) async fn rest(&self) -> Result<(), Halt> {
        tokio::select! {
            () = self.gone.cancelled() => Err(Halt::Gone),
            () = self.stop.cancelled() => Err(Halt::Gone),
            () = tokio::time::sleep(REST) => Ok(()),
        }
    }

    /// Asks Kafka until it answers, or the partition is gone.
    pub(super) async fn steadily<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, KafkaError>>,
    {
        loop {
            match self.gone.run_until_cancelled(ask()).await.ok_or(Halt::Gone)? {
                Ok(value) => return Ok(value),
                Err(error) => self.complaint.raise(&error),
            }
            self.rest().await?;
        }
    }
}
