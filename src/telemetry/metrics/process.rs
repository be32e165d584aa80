//! What a process counts, whatever stages it runs.

use super::{Registry, Tally};

/// What a process counts, whatever stages it runs.
#[derive(Clone, Debug)]
pub struct ProcessMetrics {
    reloads: Tally,
}

impl ProcessMetrics {
    /// Registers them; once a process.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            reloads: registry.tally(
                "breakwater_pipeline_reloads_total",
                "result",
                &["taken", "refused"],
                "Changed pipeline files, taken or refused; a refused one leaves the last good one in force",
            ),
        }
    }

    /// A changed pipeline file was taken or refused.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.count(if taken { "taken" } else { "refused" }, 1);
    }
}
