//! What the way out counts.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{Books, InFlight, Registry, Tally, books::Titles};
use crate::decide::outcome::Outcome;

const RESULTS: &[&str] = &["created", "existed", "updated", "unchanged", "gone", "other"];
const REASONS: &[&str] = &["malformed", "refused", "gave_up", "other"];
const CLASSES: &[&str] =
    &["settled", "stale", "gone", "throttled", "transient", "outage", "namespace_missing", "poison", "fatal", "other"];

/// What the way out counts.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    books: Books,
    writes: Tally,
    refusals: Tally,
    closed: Counter,
    dead_letters: Tally,
    writes_in_flight: Gauge,
    live_objects: Gauge,
    parked: Gauge,
    dormant: Gauge,
    waiting: Gauge,
    paused: Gauge,
    budget: Gauge,
}

impl SinkMetrics {
    /// Registers them; once a process.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let titles = Titles {
            consumed: "breakwater_sink_records_consumed_total",
            outcomes: "breakwater_sink_outcomes_total",
            in_flight: "breakwater_sink_records_in_flight",
        };
        let books = Books::register(registry, titles);
        let mut gauge = |name, help| registry.gauge(name, help);
        Self {
            writes_in_flight: gauge("breakwater_sink_writes_in_flight", "Requests to the API not yet answered"),
            live_objects: gauge("breakwater_sink_live_objects", "Objects whose phase is not final"),
            parked: gauge("breakwater_sink_objects_parked", "Objects whose write rests after a refusal"),
            dormant: gauge(
                "breakwater_sink_dormant_storms",
                "Storms of which nobody is left: their drafts stay uncommitted while anybody may join",
            ),
            waiting: gauge("breakwater_sink_writes_waiting", "Writes that wait in the lanes"),
            paused: gauge("breakwater_sink_paused", "1 while the API has told the whole sink to pause"),
            budget: gauge(
                "breakwater_sink_writes_per_second_budget",
                "This replica's share of the budget; 0 without a limit",
            ),
            closed: registry.counter("breakwater_sink_closed_published_total", "Incidents told to the log as over"),
            dead_letters: registry.tally(
                "breakwater_sink_dead_letters_published_total",
                "reason",
                REASONS,
                "Records set aside, by why they never pass",
            ),
            writes: registry.tally("breakwater_sink_writes_total", "result", RESULTS, "Writes by what came of them"),
            refusals: registry.tally(
                "breakwater_sink_refusals_total",
                "class",
                CLASSES,
                "Writes refused, by what the answer asks of us",
            ),
            books,
        }
    }

    /// The account of records.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// So many records are in hand.
    pub fn consumed(&self, records: u64) {
        self.books.consumed(records);
    }

    /// Closes the account of one record.
    pub fn finished(&self, outcome: Outcome) {
        self.books.finished(outcome, 1);
    }

    /// Closes the account of so many.
    pub fn finished_many(&self, outcome: Outcome, records: u64) {
        self.books.finished(outcome, records);
    }

    /// A request to the API has begun; it is in flight until the guard is dropped.
    #[must_use]
    pub fn write_begun(&self) -> InFlight {
        InFlight::new(&self.writes_in_flight)
    }

    /// A write came out as `created`, `existed`, `updated`, `unchanged` or `gone`.
    pub fn written(&self, result: &str) {
        self.writes.count(result, 1);
    }

    /// A write was refused; the class as in `decide::refusal`.
    pub fn refused(&self, class: &str) {
        self.refusals.count(class, 1);
    }

    /// So many incidents were told to the log as over.
    pub fn closed_published(&self, incidents: u64) {
        self.closed.inc_by(incidents);
    }

    /// A record was set aside; `reason` as in `sink::desk::Dead`.
    pub fn dead_lettered(&self, reason: &str) {
        self.dead_letters.count(reason, 1);
    }

    /// So many objects are live.
    pub fn live_objects(&self, objects: usize) {
        set(&self.live_objects, objects);
    }

    /// Storms without an object, whose drafts stay in hand.
    pub fn dormant(&self, storms: usize) {
        set(&self.dormant, storms);
    }

    /// So many objects rest after a refusal.
    pub fn parked(&self, objects: usize) {
        set(&self.parked, objects);
    }

    /// So many writes wait in the lanes.
    pub fn waiting(&self, writes: usize) {
        set(&self.waiting, writes);
    }

    /// Whether the whole sink pauses.
    pub fn paused(&self, paused: bool) {
        self.paused.set(i64::from(paused));
    }

    /// This replica's share of the budget.
    pub fn budget(&self, writes_per_second: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, reason = "a budget is far below 2^63")]
        self.budget.set(writes_per_second.unwrap_or(0.0).ceil() as i64);
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
