//! The account of records of one stage: consumed = Σ outcomes + in flight, at every scrape.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::Registry;
use crate::decide::outcome::Outcome;

const OUTCOMES: usize = Outcome::ALL.len();

/// The names under which a stage's account is shown.
#[derive(Debug)]
pub(super) struct Titles {
    pub(super) consumed: &'static str,
    pub(super) outcomes: &'static str,
    pub(super) in_flight: &'static str,
}

#[derive(Debug)]
struct Account {
    titles: Titles,
    consumed: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES],
}

/// The account of one stage. In flight is what was consumed and has no outcome yet: it is never counted by itself, so a
/// scrape in the middle of anything balances, and a record that is finished twice or never shows as a figure that does
/// not return to 0.
#[derive(Clone, Debug)]
pub struct Books(Arc<Account>);

impl Books {
    pub(super) fn register(registry: &mut Registry, titles: Titles) -> Self {
        let spelled = Outcome::ALL.map(Outcome::as_str);
        registry.note(titles.consumed, "counter", ("", &[]), CONSUMED);
        registry.note(titles.outcomes, "counter", ("outcome", &spelled), ENDED);
        registry.note(titles.in_flight, "gauge", ("", &[]), IN_FLIGHT);
        let account = Account { titles, consumed: AtomicU64::new(0), outcomes: Default::default() };
        let books = Self(Arc::new(account));
        registry.collect(books.clone());
        books
    }

    /// Opens the account of so many records.
    pub fn consumed(&self, records: u64) {
        self.0.consumed.fetch_add(records, Ordering::SeqCst);
    }

    /// Closes the account of so many records.
    pub fn finished(&self, outcome: Outcome, records: u64) {
        let slot = Outcome::ALL.iter().position(|one| *one == outcome).expect("ALL has every outcome");
        self.0.outcomes[slot].fetch_add(records, Ordering::SeqCst);
    }

    /// Outcomes are read before what was consumed, so a record that comes in between is in flight, never negative.
    fn read(&self) -> ([u64; OUTCOMES], u64) {
        let outcomes = std::array::from_fn(|slot| self.0.outcomes[slot].load(Ordering::SeqCst));
        (outcomes, self.0.consumed.load(Ordering::SeqCst))
    }

    /// What was consumed and has no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        let (outcomes, consumed) = self.read();
        consumed.cast_signed().wrapping_sub(outcomes.iter().sum::<u64>().cast_signed())
    }
}

const CONSUMED: &str = "Records taken from the topic";
const ENDED: &str = "Records by how they ended; each ends in exactly one way";
const IN_FLIGHT: &str = "Records consumed that have no outcome yet: consumed = sum of outcomes + in flight";

impl Collector for Books {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (outcomes, consumed) = self.read();
        let in_flight = consumed.cast_signed().wrapping_sub(outcomes.iter().sum::<u64>().cast_signed());
        let titles = &self.0.titles;
        let descriptor =
            encoder.encode_descriptor(super::bare(titles.consumed), CONSUMED, None, MetricType::Counter)?;
        ConstCounter::new(consumed).encode(descriptor)?;
        let mut family = encoder.encode_descriptor(super::bare(titles.outcomes), ENDED, None, MetricType::Counter)?;
        for (outcome, count) in Outcome::ALL.iter().zip(outcomes) {
            let labels = [("outcome", outcome.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let descriptor = encoder.encode_descriptor(titles.in_flight, IN_FLIGHT, None, MetricType::Gauge)?;
        ConstGauge::new(in_flight).encode(descriptor)
    }
}
