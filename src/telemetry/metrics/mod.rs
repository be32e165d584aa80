//! Every metric, spelled once. Names are `breakwater_<stage>_<noun>_<unit>`, with `pipeline` in the stage's place where it is
//! the whole process', `canary` where it is nobody's, counters end in `_total`; labels are closed lists that exist from the start, so that no alert's
//! data ever makes a series.

mod books;
mod canary;
mod ingest;
mod kafka;
mod memory;
mod process;
mod sink;
mod work;

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    collector::Collector,
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

pub use books::Books;
pub use canary::CanaryMetrics;
pub use ingest::{InFlight, IngestMetrics};
pub use kafka::KafkaMetrics;
pub use memory::MemoryMetrics;
pub use process::ProcessMetrics;
pub use sink::SinkMetrics;
pub use work::WorkMetrics;

/// The media type of [`Registry::exposition`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One line of the table of metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    kind: &'static str,
    label: &'static str,
    values: Vec<&'static str>,
    help: &'static str,
}

/// All metrics of a process. Stages register their own once, then it is shared for reading.
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus_client::registry::Registry,
    entries: Vec<Entry>,
}

impl Registry {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a scrape gets: OpenMetrics text.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail, and what a collector of ours refuses is left out of this scrape.
        if encode(&mut text, &self.inner).is_err() {
            text.push_str("# EOF\n");
        }
        text
    }

    fn counter(&mut self, name: &str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.note(name, "counter", ("", &[]), help);
        self.inner.register(bare(name), sentence(help), counter.clone());
        counter
    }

    fn gauge(&mut self, name: &str, help: &'static str) -> Gauge {
        let gauge = Gauge::default();
        self.note(name, "gauge", ("", &[]), help);
        self.inner.register(name, sentence(help), gauge.clone());
        gauge
    }

    fn histogram(&mut self, name: &str, buckets: &[f64], help: &'static str) -> Histogram {
        let histogram = Histogram::new(buckets.iter().copied());
        self.note(name, "histogram", ("", &[]), help);
        self.inner.register(name, sentence(help), histogram.clone());
        histogram
    }

    fn tally(&mut self, name: &str, label: &'static str, values: &[&'static str], help: &'static str) -> Tally {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let known = values.iter().map(|value| (*value, family.get_or_create_owned(&[(label, *value)]))).collect();
        self.note(name, "counter", (label, values), help);
        self.inner.register(bare(name), sentence(help), family);
        Tally { known }
    }

    pub(super) fn collect(&mut self, collector: impl Collector) {
        self.inner.register_collector(Box::new(collector));
    }

    pub(super) fn note(
        &mut self,
        name: &str,
        kind: &'static str,
        (label, values): (&'static str, &[&'static str]),
        help: &'static str,
    ) {
        self.entries.push(Entry { name: name.to_owned(), kind, label, values: values.to_vec(), help });
    }
}

/// The client appends `_total` itself; names are spelled with it, so that whoever searches finds them.
fn bare(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// The client ends each help with a full stop.
fn sentence(help: &str) -> &str {
    help.trim_end_matches('.')
}

/// A counter for each value of a closed list. A value that is not on it is counted as the last one.
#[derive(Clone)]
struct Tally {
    known: Vec<(&'static str, Counter<u64, AtomicU64>)>,
}

impl Tally {
    fn count(&self, value: &str, by: u64) {
        if let Some((_, counter)) = self.known.iter().find(|(name, _)| *name == value).or(self.known.last()) {
            counter.inc_by(by);
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.known.iter().map(|(name, counter)| (name, counter.get()))).finish()
    }
}

/// Every metric of every stage as a table in Markdown: name, type, labels, help. `print metrics` writes it.
#[must_use]
pub fn table() -> String {
    let mut all = Registry::new();
    drop(IngestMetrics::register(&mut all));
    drop(WorkMetrics::register(&mut all));
    drop(MemoryMetrics::register(&mut all));
    drop(SinkMetrics::register(&mut all));
    drop(ProcessMetrics::register(&mut all));
    drop(CanaryMetrics::register(&mut all));
    for stage in super::health::STAGES {
        if stage != "ingest" {
            drop(KafkaMetrics::register(&mut all, stage)); // the door reads no topic
        }
        super::health::Health::new(stage).register(&mut all);
    }
    let mut entries = all.entries;
    entries.sort();
    let mut text = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for Entry { name, kind, label, values, help } in entries {
        let labels = if label.is_empty() { String::new() } else { format!("{label}: {}", values.join(", ")) };
        text.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    text
}

#[cfg(test)]
mod tests;
