//! What every step of the stage leans on: memory, the pipeline, the namespaces' labels.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use super::namespaces::Namespaces;
use crate::{
    alert::EventTime, decide::draft::Desk, memory::amend::GroupTerms, pipeline::Pipeline,
    telemetry::metrics::WorkMetrics,
};

/// Redis forgets by its own clock, and a decision never depends on it: this much later than anything could matter.
pub(super) const MARGIN: Duration = Duration::from_mins(10);

/// What every step of the stage leans on.
#[derive(Debug)]
pub struct Bench<M> {
    /// What was seen.
    pub memory: M,
    /// What the operator asked for.
    pub pipeline: Arc<Pipeline>,
    /// Labels of namespaces, watched.
    pub namespaces: Namespaces,
    /// Where objects of alerts without a usable namespace go.
    pub fallback_namespace: String,
    /// What the stage counts.
    pub metrics: WorkMetrics,
}

/// How far back the log can matter for what comes next.
#[must_use]
pub fn horizon(pipeline: &Pipeline) -> Duration {
    let (dedup, storm) = (&pipeline.dedup, &pipeline.storm);
    let window = storm.rules.iter().map(|rule| rule.window).max().unwrap_or_default();
    let stormy = window.saturating_add(storm.max_duration).saturating_add(storm.quiet);
    dedup.ttl.max(stormy).max(dedup.cooldown).saturating_add(storm.hold)
}

/// How long memory keeps what is over: as long as a record of it may still come or a decision may look at it.
#[must_use]
pub fn keep(pipeline: &Pipeline) -> Duration {
    let told = pipeline.dedup.update_interval.max(pipeline.storm.update_interval);
    horizon(pipeline).saturating_add(told).saturating_add(MARGIN)
}

/// The bench in force. Whoever takes up a batch takes it once, so that one pipeline holds for the whole of it.
#[derive(Debug)]
pub struct Shared<M>(Arc<ArcSwap<Bench<M>>>);

impl<M> Clone for Shared<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Clone> Shared<M> {
    /// The same bench under another pipeline, from the next batch on.
    pub fn change(&self, pipeline: Arc<Pipeline>) {
        let now = self.now();
        self.0.store(Arc::new(Bench {
            memory: now.memory.clone(),
            pipeline,
            namespaces: now.namespaces.clone(),
            fallback_namespace: now.fallback_namespace.clone(),
            metrics: now.metrics.clone(),
        }));
    }
}

impl<M> Shared<M> {
    /// In force until it is changed.
    #[must_use]
    pub fn new(bench: Bench<M>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(bench)))
    }

    /// The bench in force.
    #[must_use]
    pub fn now(&self) -> Arc<Bench<M>> {
        self.0.load_full()
    }
}

impl<M> Bench<M> {
    /// See [`horizon`].
    #[must_use]
    pub fn horizon(&self) -> Duration {
        horizon(&self.pipeline)
    }

    /// See [`keep`].
    #[must_use]
    pub fn keep(&self) -> Duration {
        keep(&self.pipeline)
    }

    /// Judges where it holds up nobody else: a policy that may use a whole budget of time does so while other tasks go on
    /// on another thread.
    pub fn aside<T>(&self, judge: impl FnOnce() -> T) -> T {
        let several = || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
        if self.pipeline.priority.is_timed() && several() { block_in_place(judge) } else { judge() }
    }

    /// The same bench over another view of memory.
    pub fn over<N>(&self, memory: N) -> Bench<N> {
        Bench {
            memory,
            pipeline: Arc::clone(&self.pipeline),
            namespaces: self.namespaces.clone(),
            fallback_namespace: self.fallback_namespace.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// What holds for every change of a group.
    #[must_use]
    pub fn group_terms(&self, mark: EventTime) -> GroupTerms {
        GroupTerms {
            shards: self.pipeline.dedup.shards,
            keep: self.keep(),
            mark,
            storm_interval: self.pipeline.storm.update_interval,
        }
    }

    /// What drafts are made with.
    #[must_use]
    pub fn desk(&self) -> Desk<'_> {
        Desk { pipeline: &self.pipeline, labels: &self.namespaces, fallback_namespace: &self.fallback_namespace }
    }
}

#[cfg(test)]
#[cfg(feature = "rego")]
mod tests {
    use tokio::{sync::oneshot, task::JoinSet};

    use super::*;
    use crate::{pipeline::priority::Attached, telemetry::metrics::Registry};

    fn by_rego() -> Bench<()> {
        let text = include_str!("../../pipelines/priority.rego").to_owned();
        let attached = Attached { name: "priority.rego".to_owned(), text: Ok(text) };
        let pipeline = "priority: { rego: { file: priority.rego } }";
        let (pipeline, _) = Pipeline::parse_with("p.yaml", pipeline, Some(&attached)).unwrap();
        Bench {
            memory: (),
            pipeline: Arc::new(pipeline),
            namespaces: Namespaces::default(),
            fallback_namespace: "fallback".to_owned(),
            metrics: WorkMetrics::register(&mut Registry::new()),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn g13_while_a_file_takes_its_time_the_other_tasks_of_the_only_thread_go_on() {
        let (bench, (begin, begun), (told, hear)) = (by_rego(), oneshot::channel(), std::sync::mpsc::channel());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            bench.aside(|| {
                begin.send(()).unwrap();
                hear.recv_timeout(Duration::from_secs(60)).is_ok()
            })
        });
        begun.await.unwrap();
        tasks.spawn(async move { told.send(()).is_ok() });
        assert_eq!(tasks.join_all().await, [true, true]);
    }

    #[tokio::test]
    async fn where_there_is_one_thread_alone_a_judgement_is_made_on_it() {
        assert!(by_rego().aside(|| true));
    }
}
