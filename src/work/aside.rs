//! Records that cannot be read are set aside, with the reason, before they are finished.

use super::{
    batch::Applied,
    partition::{Desk, Halt},
};
use crate::{
    alert::EventTime,
    kafka::dead_letter::{DeadLetter, Origin},
    memory::Memory,
};

/// The largest value that a dead letter keeps whole, as a topic takes 4 MiB; and what it keeps of a larger one.
const LARGEST_WHOLE: usize = 4_000_000;
const HEAD: usize = 64 << 10;

impl<M: Memory + Clone> Desk<M> {
    /// Acknowledged once this is done.
    pub(super) async fn set_aside(&self, applied: &Applied) -> Result<(), Halt> {
        if applied.unreadable.is_empty() {
            return Ok(());
        }
        let topics = &self.bench.pipeline.topics;
        let letters = applied.unreadable.iter().map(|(record, error)| {
            DeadLetter {
                reason: error.reason.to_owned(),
                stage: "work".to_owned(),
                detail: error.text.clone(),
                origin: Origin::Record { topic: topics.alerts.clone(), position: record.position, at: record.at },
                attempts: DeadLetter::attempts_before(&record.headers) + 1,
                at: EventTime(jiff::Timestamp::now().as_millisecond()),
                key: record.key.clone(),
                value: record.value.slice(..kept(record.value.len())),
                headers: record.headers.clone(),
            }
            .outgoing()
        });
        self.publish(letters.collect(), &topics.dead_letters).await?;
        applied.unreadable.iter().for_each(|(_, error)| self.bench.metrics.dead_lettered(error.reason));
        Ok(())
    }
}

/// How much of a value a dead letter keeps: all of it, unless with its headers it might fit no record any more.
fn kept(length: usize) -> usize {
    if length > LARGEST_WHOLE { HEAD } else { length }
}
