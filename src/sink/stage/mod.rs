//! The stage: partitions assigned, records taken in, calls asked, offsets stored by low-water; given back on revocation.
//!
//! **Invariant:** nothing is asked before the index of objects is whole; no offset is stored before everything that its
//! record caused is final and acknowledged.

mod recent;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered, SelectAll, Stream},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::state::State;
use super::{
    Objects,
    desk::{Found, Job, Rules},
    live::Sight,
    outage::Now,
    settle,
    tell::{Teller, Telling},
};
use crate::{
    alert::EventTime,
    decide::refusal::Answer,
    kafka::{
        Record,
        consumer::{Offsets, Partition},
    },
    pipeline::sink::SinkPolicy,
    telemetry::{complaint::Complaint, health::Health, metrics::SinkMetrics, recent::Recent},
};

static UNCOUNTED: Complaint =
    Complaint::new("the partitions of remediations cannot be counted: nothing is written before the share is known");
/// How long until they are counted again.
const UNCOUNTED_FOR: Duration = Duration::from_secs(1);

/// Why the sink stopped unasked.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// 401.
    #[error(
        "the api server does not know the sink's token any more (401): mend it and start again; what is unfinished was not committed"
    )]
    Unauthorized,
    /// Whoever gives partitions or shows objects is gone.
    #[error("{0} ended before the sink was told to stop")]
    Abandoned(&'static str),
}

/// The way out, wired.
#[derive(Debug)]
pub struct Sink<O> {
    /// Where objects are written.
    pub objects: O,
    /// What the pipeline says about decisions,
    pub rules: Rules,
    /// and about pace.
    pub policy: SinkPolicy,
    /// Both anew, when the pipeline has changed.
    pub changes: watch::Receiver<(Rules, SinkPolicy)>,
    /// Tells the log.
    pub teller: Teller,
    /// Where offsets are stored.
    pub offsets: Offsets,
    /// Partitions of `remediations` as they become ours.
    pub partitions: mpsc::Receiver<Partition>,
    /// What the API server shows.
    pub sights: mpsc::Receiver<Sight>,
    /// What the stage needs.
    pub health: Health,
    /// What is counted.
    pub metrics: SinkMetrics,
    /// What the status page is told.
    pub recent: Recent,
}

impl<O: Objects> Sink<O> {
    /// Runs until told. Then nothing new is asked, answers under way are heard, and the rest is given back uncommitted;
    /// `drained` is told at the end, also at a bad one.
    #[expect(clippy::too_many_lines, reason = "the loop: one arm for each thing that can happen")]
    pub async fn run(mut self, stop: CancellationToken, drained: CancellationToken) -> Result<(), SinkError> {
        let _drained = drained.drop_guard();
        let mut state = State::new(&self);
        let (mut inputs, mut calls) = (SelectAll::new(), FuturesUnordered::new());
        let (mut tellings, mut revoked) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut counts = FuturesUnordered::new();
        loop {
            state.show();
            let now = now();
            let may_ask = state.may_ask(calls.len(), now.instant);
            let may_read = state.whole && state.desk.has_room() && !inputs.is_empty();
            let wake = state.next_wake(now);
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(gone) = revoked.next(), if !revoked.is_empty() => Step::Revoked(gone),
                given = self.partitions.recv() => Step::Given(given.ok_or(SinkError::Abandoned("the consumer"))?),
                shown = self.sights.recv() => Step::Shown(shown.ok_or(SinkError::Abandoned("the watch"))?),
                Some(count) = counts.next(), if !counts.is_empty() => Step::Counted(count),
                Some(told) = tellings.next(), if !tellings.is_empty() => Step::Told(told),
                Some(answer) = calls.next(), if !calls.is_empty() => Step::Heard(Box::new(answer)),
                Some((record, epoch)) = inputs.next(), if may_read => Step::Read(record, epoch),
                () = state.pace.ready(), if may_ask => Step::Turn,
                () = rested(wake), if wake.is_some() => Step::Rested,
                () = changed(&mut self.changes) => Step::Changed(Box::new(self.changes.borrow_and_update().clone())),
            };
            match step {
                Step::Given(partition) => {
                    let (number, epoch, token) = state.assign(&partition);
                    revoked.push(async move {
                        token.cancelled_owned().await;
                        (number, epoch)
                    });
                    inputs.push(Box::pin(records(partition, epoch)));
                    counts.push(count(self.offsets.clone()));
                }
                Step::Turn => calls.extend(state.turn().map(|job| settle::ask(&self.objects, job, &self.metrics))),
                Step::Revoked(gone) => state.revoke(gone),
                Step::Counted(all) => state.counted(all),
                Step::Shown(sight) => state.shown(sight),
                Step::Read(record, epoch) => state.read(record, epoch),
                Step::Heard(heard) => state.heard(*heard)?,
                Step::Told(told) => state.told(told),
                Step::Rested => state.rested(),
                Step::Changed(both) => state.change(*both),
            }
            tellings.extend(state.tellings().map(|telling| self.teller.tell(telling, now.wall)));
        }
        while let Some(heard) = calls.next().await {
            state.heard(heard)?;
        }
        tellings.extend(state.tellings().map(|telling| self.teller.tell(telling, now().wall)));
        while let Some(told) = tellings.next().await {
            state.told(told);
        }
        state.give_back();
        Ok(())
    }
}

/// What happened.
enum Step {
    Given(Partition),
    Revoked((i32, u64)),
    Counted(i32),
    Shown(Sight),
    Read(Record, u64),
    Heard(Box<(Job, Result<Found, Answer>)>),
    Told(Telling),
    Turn,
    Rested,
    Changed(Box<(Rules, SinkPolicy)>),
}

/// When the pipeline has changed; never, where nobody can change it.
async fn changed(changes: &mut watch::Receiver<(Rules, SinkPolicy)>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// A partition's records, until it is revoked.
fn records(partition: Partition, epoch: u64) -> impl Stream<Item = (Record, u64)> {
    let Partition { records, revoked, .. } = partition;
    stream::unfold((records, revoked), move |(mut records, revoked)| async move {
        let record = revoked.run_until_cancelled(records.recv()).await.flatten()?;
        Some(((record, epoch), (records, revoked)))
    })
}

/// How many partitions there are, asked until it is known: without it nobody knows whose share is whose.
async fn count(offsets: Offsets) -> i32 {
    loop {
        match offsets.partitions().await {
            Ok(count) => {
                UNCOUNTED.settle();
                return count;
            }
            Err(error) => UNCOUNTED.raise(&error),
        }
        sleep(UNCOUNTED_FOR).await;
    }
}

async fn rested(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: EventTime(jiff::Timestamp::now().as_millisecond()) }
}
