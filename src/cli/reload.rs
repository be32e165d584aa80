//! A changed pipeline file: checked, and put in force between two batches; what is refused leaves the last good one.
//!
//! The file's content is compared every two seconds and at SIGHUP, so an atomic rename, the swap of a ConfigMap's
//! symlink and an edit in place are all seen, and so is a change of the Rego file that it names.

use std::{sync::Arc, time::Duration};

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::files::Found;
use crate::{
    lifecycle::StageError,
    pipeline::{Fault, Pipeline},
    telemetry::metrics::ProcessMetrics,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Puts a pipeline in force in one stage.
pub(crate) type Taker = Box<dyn Fn(&Arc<Pipeline>) + Send + Sync>;

/// One file, and who follows it.
pub(crate) struct Reload {
    /// What the process began with: a change before the first look is a change as well.
    pub last: Found,
    /// In force.
    pub running: Arc<Pipeline>,
    pub takers: Vec<Taker>,
    pub metrics: ProcessMetrics,
    pub asked: Signal,
}

impl Reload {
    /// Looks until told to stop.
    ///
    /// # Errors
    /// None: a file that is away may come back.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), StageError> {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = self.asked.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            // None if reading or checking broke off altogether, which says nothing
            if let Some((found, checked)) = self.look(asked).await {
                self.take(checked);
                self.last = found;
            }
        }
    }

    /// What there is to take or to refuse. Off the runtime's threads: a file system may hang, and a check may take long.
    async fn look(&self, asked: bool) -> Option<(Found, Result<Pipeline, Vec<Fault>>)> {
        let last = self.last.clone();
        let look = move || {
            let found = Found::at(&last.file);
            (asked || found != last).then(|| {
                let checked = found.check().map(|(pipeline, _)| pipeline);
                (found, checked)
            })
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    fn take(&mut self, checked: Result<Pipeline, Vec<Fault>>) {
        let fit = checked.map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            lines.join(" | ")
        });
        let fit = fit.and_then(|next| match self.running.fixed_in(&next) {
            fixed if fixed.is_empty() => Ok(next),
            fixed => Err(format!("only a start takes over {}", fixed.join(" | "))),
        });
        let file = self.last.file.display();
        match fit {
            Ok(next) => {
                self.running = Arc::new(next);
                self.takers.iter().for_each(|taker| taker(&self.running));
                self.metrics.reloaded(true);
                tracing::info!(%file, "the changed pipeline is in force, from the next batch on");
            }
            Err(why) => {
                self.metrics.reloaded(false);
                tracing::warn!(%file, why, "the changed pipeline is refused, the last good one stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::signal::unix::{SignalKind, signal};

    use super::*;
    use crate::telemetry::metrics::Registry;

    #[tokio::test]
    async fn g16_a_change_before_the_first_look_is_a_change_and_the_same_again_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.yaml");
        fs::write(&file, "priority: { fallback: P1 }").unwrap();
        let last = Found::at(&file);
        fs::write(&file, "priority: { fallback: P0 }").unwrap();
        let metrics = ProcessMetrics::register(&mut Registry::new());
        let asked = signal(SignalKind::hangup()).unwrap();
        let running = Arc::new(last.check().unwrap().0);
        let mut reload = Reload { last, running, takers: Vec::new(), metrics, asked };
        let told = |reload: &Reload| reload.running.priority.fallback.as_str();

        let (found, checked) = reload.look(false).await.unwrap();
        reload.take(checked);
        reload.last = found;
        assert_eq!(told(&reload), "P0");
        assert!(reload.look(false).await.is_none());
        assert!(reload.look(true).await.is_some(), "at SIGHUP it is taken anew");

        fs::write(&file, "priority: { fallbck: P3 }").unwrap();
        let (_, checked) = reload.look(false).await.unwrap();
        reload.take(checked);
        assert_eq!(told(&reload), "P0", "the last good one stays");
    }
}
