//! The loop around [`super::sweep`]: finds what is to be told in the shards of our partitions, publishes it, marks it.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    partition::Stage,
    sweep::{self, Found},
    waiting::outgoing,
};
use crate::{
    alert::EventTime,
    crash,
    kafka::KafkaError,
    lifecycle::StageError,
    memory::{Memory, MemoryError},
    remediation::Remediation,
    telemetry::complaint::Complaint,
};

const TICK: Duration = Duration::from_millis(100);

/// Why a sweep stopped. What it left is due still.
#[derive(Debug, thiserror::Error)]
enum Halted {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Sweeps until told to stop.
///
/// # Errors
/// None: what is away comes back.
pub(super) async fn run<M: Memory>(stage: Arc<Stage<M>>, stop: CancellationToken) -> Result<(), StageError> {
    let complaint = Complaint::new("updates of live incidents wait");
    while stop.run_until_cancelled(sleep(TICK)).await.is_some() {
        let mark = stage.reach.watermark();
        match sweep_ours(&stage, mark).await {
            Ok(()) => complaint.settle(),
            Err(error) => complaint.raise(&error),
        }
    }
    Ok(())
}

/// Shard by shard: shard s belongs to whoever has partition s modulo the number of partitions. One that fails does not
/// keep the others waiting.
async fn sweep_ours<M: Memory>(stage: &Stage<M>, mark: EventTime) -> Result<(), Halted> {
    let bench = stage.bench.now();
    let partitions = u32::try_from(stage.reach.partitions()).unwrap_or(0).max(1);
    let ours = stage.reach.ours();
    let is_ours = |shard: &u32| i32::try_from(shard % partitions).is_ok_and(|number| ours.contains_key(&number));
    let mut end = Ok(());
    for shard in (0..bench.pipeline.dedup.shards).filter(is_ours) {
        end = end.and(sweep_one(stage, shard, mark).await);
    }
    end
}

async fn sweep_one<M: Memory>(stage: &Stage<M>, shard: u32, mark: EventTime) -> Result<(), Halted> {
    let bench = stage.bench.now();
    let mut found = sweep::find(&bench, shard, mark).await?;
    if let Some(next) = found.next {
        stage.reach.want(next);
    }
    if found.groups.is_empty() {
        return Ok(());
    }
    let end = publish(stage, &mut found).await;
    crash::point("sweep-published");
    sweep::told(&bench, &found, mark).await?;
    crash::point("sweep-told");
    Ok(end?)
}

/// Publishes what was found, and leaves in it what need not go again: what is acknowledged, and what Kafka will never
/// take, as the next change of that incident may fit.
async fn publish<M: Memory>(stage: &Stage<M>, found: &mut Found) -> Result<(), KafkaError> {
    let updates = found.updates.iter().map(|(_, _, update)| outgoing(&Remediation::Update(Box::new(update.clone()))));
    let bench = stage.bench.now();
    let answers = stage.producer.publish_all(&bench.pipeline.topics.remediations, updates.collect()).await;
    let mut end = Ok(());
    let mut told = Vec::with_capacity(found.updates.len());
    for (update, answer) in std::mem::take(&mut found.updates).into_iter().zip(answers) {
        match answer {
            Ok(_) => bench.metrics.updates_published(1),
            Err(error) if error.is_transient() => {
                end = end.and(Err(error));
                continue;
            }
            Err(error) => tracing::warn!(
                object = %format_args!("{}/{}", update.2.incident.namespace, update.2.incident.name),
                %error,
                "kafka does not take this update; the object keeps its older figures until the next change"
            ),
        }
        told.push(update);
    }
    found.updates = told;
    end
}
