//! The stage `work`: partitions assigned → a task each, revoked → what is unfinished is given back.
//!
//! Consumes `alerts`; publishes drafts and updates to `remediations`, and what cannot be read to `dead-letters`.

mod aside;
pub mod batch;
pub mod bench;
mod clock;
pub mod namespaces;
mod partition;
mod patience;
pub mod reach;
mod reading;
mod rewind;
pub mod sweep;
mod sweeper;
pub mod waiting;
pub mod watermark;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use bench::{Bench, Shared};
pub use partition::Stage;

use crate::{
    kafka::consumer::Partition,
    lifecycle::{Group, StageError, Tasks},
    memory::Memory,
};

/// Starts what the stage is made of: the clock, the sweeper, and a task for each partition as it comes.
/// `drained` is told when no partition's task is left.
pub fn start<M: Memory + Clone + std::fmt::Debug>(
    tasks: &mut Tasks,
    stage: Stage<M>,
    partitions: mpsc::Receiver<Partition>,
    stop: &CancellationToken,
    drained: CancellationToken,
) {
    let stage = Arc::new(stage);
    let clock = clock::Clock::new(stage.bench.clone(), Arc::clone(&stage.reach), stage.offsets.clone());
    tasks.spawn("work: clock", clock.run(stop.clone()));
    tasks.spawn("work: sweeper", sweeper::run(Arc::clone(&stage), stop.clone()));
    tasks.spawn("work: partitions", tend(stage, partitions, stop.clone(), drained));
}

/// A task for each partition, as long as it is ours.
async fn tend<M: Memory + Clone + std::fmt::Debug>(
    stage: Arc<Stage<M>>,
    mut partitions: mpsc::Receiver<Partition>,
    stop: CancellationToken,
    drained: CancellationToken,
) -> Result<(), StageError> {
    let _drained = drained.drop_guard(); // told at a bad end too: the consumer waits for it
    let mut desks = Group::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = desks.join_next() => ended?,
            partition = partitions.recv() => match partition {
                None => break,
                Some(partition) => {
                    let desk = partition::Desk::new(Arc::clone(&stage), &partition, stop.clone());
                    desks.spawn(desk.run(partition));
                }
            },
        }
    }
    while let Some(ended) = desks.join_next().await {
        ended?;
    }
    Ok(())
}
