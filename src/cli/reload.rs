//! A changed pipeline file: checked, and put in force between two batches; what is refused leaves the last good one.
//!
//! The file's content is compared every two seconds and at SIGHUP, so an atomic rename, the swap of a ConfigMap's
//! symlink and an edit in place are all seen, and so is a change of the Rego file that it names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::addresses;
use crate::{
    lifecycle::StageError,
    pipeline::{Pipeline, priority::Attached},
    telemetry::metrics::ProcessMetrics,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Puts a pipeline in force in one stage.
pub(crate) type Taker = Box<dyn Fn(&Arc<Pipeline>) + Send + Sync>;

/// One file, and who follows it.
pub(crate) struct Reload {
    pub file: PathBuf,
    /// In force.
    pub running: Arc<Pipeline>,
    pub takers: Vec<Taker>,
    pub metrics: ProcessMetrics,
    pub asked: Signal,
}

/// What was found: the pipeline's text and that of the file that it names, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    text: Result<(String, String), String>,
    attached: Option<Attached>,
}

impl Seen {
    fn at(file: &Path) -> Self {
        let text = addresses::pipeline_text(file).map_err(|fault| fault.to_string());
        let attached = text.as_ref().ok().and_then(|(_, text)| addresses::attached(file, text));
        Self { text, attached }
    }

    fn check(&self) -> Result<Pipeline, String> {
        let (name, text) = self.text.as_ref().map_err(Clone::clone)?;
        Pipeline::parse_with(name, text, self.attached.as_ref()).map(|(pipeline, _)| pipeline).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            lines.join(" | ")
        })
    }
}

impl Reload {
    /// Looks until told to stop.
    ///
    /// # Errors
    /// None: a file that is away may come back.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), StageError> {
        let mut last = self.seen().await;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = self.asked.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let seen = self.seen().await;
            if seen.is_some() && (asked || seen != last) {
                self.take(seen.as_ref());
                last = seen;
            }
        }
    }

    /// Off the runtime's threads: a file system may hang. None if reading failed altogether, which says nothing.
    async fn seen(&self) -> Option<Seen> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || Seen::at(&file)).await.ok()
    }

    fn take(&mut self, seen: Option<&Seen>) {
        let checked = seen.map_or_else(|| Err("it cannot be read".to_owned()), Seen::check);
        let fit = checked.and_then(|next| match self.running.fixed_in(&next) {
            fixed if fixed.is_empty() => Ok(next),
            fixed => Err(format!("only a start takes over {}", fixed.join(" | "))),
        });
        let file = self.file.display();
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
