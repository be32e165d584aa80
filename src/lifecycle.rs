//! Starts, watches and drains tasks: the one place that spawns.
//!
//! **Invariant:** a task that ends before it was told to stop has failed, and the process ends in order: all the others
//! are told, drain, and are waited for no longer than the grace. A panic is such an end: better seen than skipped.

use std::{error::Error, future::Future, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What a stage's task may fail with; it ends the process, so its kind no longer matters.
pub type StageError = Box<dyn Error + Send + Sync>;

/// Why a run ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task returned though nobody had said stop.
    #[error("task {0} ended before it was told to; everything else was stopped in order")]
    EndedUnasked(&'static str),
    /// A task gave up.
    #[error("task {task} failed; everything else was stopped in order")]
    Failed {
        /// Which.
        task: &'static str,
        /// Why.
        #[source]
        source: StageError,
    },
    /// A task panicked.
    #[error("task {0} panicked; everything else was stopped in order, and nothing that it held is committed")]
    Panicked(&'static str),
    /// Something still held on when the grace was over; what it held is read again at the next start.
    #[error("not drained within {0:?}: what is unfinished stays uncommitted and is read again at the next start")]
    DrainTimedOut(Duration),
}

/// The tasks of a process. Dropping them aborts them.
#[derive(Debug)]
pub struct Tasks {
    stop: CancellationToken,
    set: JoinSet<Result<(), StageError>>,
    names: std::collections::HashMap<Id, &'static str>,
}

impl Tasks {
    /// None yet; `stop` tells them all.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, set: JoinSet::new(), names: std::collections::HashMap::new() }
    }

    /// Starts a task that runs until the stop token is cancelled, and then returns once it holds nothing any more.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<(), StageError>> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until stop is told or a task ends unasked; then tells all, and waits for them within `grace`.
    /// The first cause is the one that is returned.
    pub async fn run(mut self, grace: Duration) -> Result<(), RunError> {
        let unasked = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            Some(ended) = self.set.join_next_with_id() => Some(ended),
        };
        self.stop.cancel();
        let first = match unasked {
            None => Ok(()),
            Some(Ok((id, Ok(())))) => Err(RunError::EndedUnasked(self.name(id))),
            Some(ended) => self.judge(ended),
        };
        let drained = timeout(grace, self.drain()).await.unwrap_or(Err(RunError::DrainTimedOut(grace)));
        first.and(drained)
    }

    async fn drain(&mut self) -> Result<(), RunError> {
        let mut end = Ok(());
        while let Some(ended) = self.set.join_next_with_id().await {
            end = end.and(self.judge(ended));
        }
        end
    }

    fn judge(&self, ended: Result<(Id, Result<(), StageError>), JoinError>) -> Result<(), RunError> {
        match ended {
            Ok((_, Ok(()))) => Ok(()),
            Ok((id, Err(source))) => Err(RunError::Failed { task: self.name(id), source }),
            Err(panic) => Err(RunError::Panicked(self.name(panic.id()))),
        }
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("unnamed")
    }
}

/// A task of a [`Group`] that panicked.
#[derive(Debug, thiserror::Error)]
#[error("a task panicked")]
pub struct Panicked(#[source] JoinError);

/// Tasks that come and go within a stage, one for each partition say. Dropping the group aborts them.
#[derive(Debug)]
pub struct Group<T> {
    set: JoinSet<T>,
}

impl<T: Send + 'static> Default for Group<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Group<T> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { set: JoinSet::new() }
    }

    /// Starts one more.
    pub fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.set.spawn(task);
    }

    /// The next one to end; `None` at once if there is none, so guard it with [`Group::is_empty`] in a `select!`.
    pub async fn join_next(&mut self) -> Option<Result<T, Panicked>> {
        self.set.join_next().await.map(|ended| ended.map_err(Panicked))
    }

    /// How many are under way, or have ended and were not yet joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Ends all of them where they stand, and waits until they are gone.
    pub async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }
}

/// Turns the first SIGTERM or SIGINT into a cancelled `stop`; a second one ends the process at once.
/// The listening starts before this returns, and lasts as long as the process.
pub fn signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives every task that is watched, and holds nothing to drain"
    )]
    tokio::spawn(async move {
        let mut told = false;
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            if told {
                tracing::error!("told to stop a second time: leaving at once, what is unfinished is read again");
                std::process::exit(code);
            }
            told = true;
            tracing::info!("told to stop: draining");
            stop.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until(stop: CancellationToken) -> Result<(), StageError> {
        stop.cancelled().await;
        Ok(())
    }

    fn tasks() -> (Tasks, CancellationToken) {
        let stop = CancellationToken::new();
        (Tasks::new(stop.clone()), stop)
    }

    #[tokio::test(start_paused = true)]
    async fn m04_told_to_stop_everybody_drains() {
        let (mut tasks, stop) = tasks();
        tasks.spawn("a", until(stop.clone()));
        let drained = stop.clone();
        tasks.spawn("b", async move {
            drained.cancelled().await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(())
        });
        stop.cancel();
        assert!(tasks.run(GRACE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_unasked_is_a_failure_and_all_are_told() {
        let (mut tasks, stop) = tasks();
        tasks.spawn("steady", until(stop.clone()));
        tasks.spawn("hasty", async { Ok(()) });
        assert!(matches!(tasks.run(GRACE).await, Err(RunError::EndedUnasked("hasty"))));
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_cause_is_told_even_if_the_draining_fails_too() {
        let (mut tasks, stop) = tasks();
        tasks.spawn("first", async { Err("no rights".into()) });
        tasks.spawn("second", async move {
            stop.cancelled().await;
            Err("in the wake of it".into())
        });
        let Err(RunError::Failed { task, source }) = tasks.run(GRACE).await else { panic!("it should have failed") };
        assert_eq!((task, source.to_string().as_str()), ("first", "no rights"));
    }

    #[tokio::test(start_paused = true)]
    async fn m09_a_panic_in_a_task_ends_all_in_order() {
        let (mut tasks, stop) = tasks();
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mark = std::sync::Arc::clone(&ended);
        tasks.spawn("steady", async move {
            stop.cancelled().await;
            mark.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        });
        tasks.spawn("broken", async { panic!("a bug") });
        assert!(matches!(tasks.run(GRACE).await, Err(RunError::Panicked("broken"))));
        assert!(ended.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn m05_nobody_waits_longer_than_the_grace() {
        let (mut tasks, stop) = tasks();
        tasks.spawn("stuck", std::future::pending());
        stop.cancel();
        assert!(matches!(tasks.run(GRACE).await, Err(RunError::DrainTimedOut(GRACE))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_gives_each_end_once_and_shuts_down() {
        let mut group = Group::new();
        group.spawn(async { 1 });
        group.spawn(async { panic!("a bug") });
        let mut ends = Vec::new();
        while let Some(ended) = group.join_next().await {
            ends.push(ended.ok());
        }
        ends.sort_unstable();
        assert_eq!(ends, [None, Some(1)]);
        group.spawn(std::future::pending());
        assert_eq!(group.len(), 1);
        group.shutdown().await;
        assert!(group.is_empty());
    }
}
