//! What the judge's bench counts.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{Books, Registry, Tally, books::Titles};
use crate::decide::outcome::Outcome;

const POLICIES: &[&str] = &["environment", "severity", "priority", "other"];
const REASONS: &[&str] = &["malformed", "invalid", "no_alert", "too_large", "unknown_version", "other"];
const CAUSES: &[&str] = &["memory", "kafka", "other"];

/// What the judge's bench counts.
#[derive(Clone, Debug)]
pub struct WorkMetrics {
    books: Books,
    fallbacks: Tally,
    retries: Tally,
    late_partitions: Counter,
    late_records: Counter,
    rewinds: Counter,
    drafts: Counter,
    updates: Counter,
    dead_letters: Tally,
    waiting: Gauge,
    watermark_lag: Gauge,
}

impl WorkMetrics {
    /// Registers them; once a process.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table of names and meanings")]
    pub fn register(registry: &mut Registry) -> Self {
        let books = Books::register(
            registry,
            Titles {
                consumed: "breakwater_work_records_consumed_total",
                outcomes: "breakwater_work_outcomes_total",
                in_flight: "breakwater_work_records_in_flight",
            },
        );
        let mut counter = |name, help| registry.counter(name, help);
        Self {
            late_partitions: counter(
                "breakwater_work_late_partitions_total",
                "Times that a partition was unread for longer than hold_max and no longer held the sweep back",
            ),
            late_records: counter(
                "breakwater_work_late_records_total",
                "Records that came after the decision they belonged to; they joined it or opened a new one",
            ),
            rewinds: counter(
                "breakwater_work_rewinds_total",
                "Times that memory could not vouch for what was applied and the log was read again from the horizon",
            ),
            drafts: counter("breakwater_work_drafts_published_total", "Drafts acknowledged by Kafka"),
            updates: counter("breakwater_work_updates_published_total", "Updates acknowledged by Kafka"),
            waiting: registry.gauge("breakwater_work_records_waiting", "Records that wait for their hold or cooldown"),
            watermark_lag: registry.gauge(
                "breakwater_work_watermark_lag_milliseconds",
                "How far the time up to which all partitions are read lies behind the newest record",
            ),
            fallbacks: registry.tally(
                "breakwater_work_policy_fallbacks_total",
                "policy",
                POLICIES,
                "Judgements that no rule covered or that failed, so that the stated fallback was taken",
            ),
            dead_letters: registry.tally(
                "breakwater_work_dead_letters_published_total",
                "reason",
                REASONS,
                "Records set aside, by why they cannot be used",
            ),
            retries: registry.tally(
                "breakwater_work_retries_total",
                "cause",
                CAUSES,
                "Steps tried again because something was away",
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

    /// A policy (`environment`, `severity`, `priority`) took its fallback.
    pub fn fell_back(&self, policy: &str) {
        self.fallbacks.count(policy, 1);
    }

    /// A step is tried again because `memory` or `kafka` is away.
    pub fn retried(&self, cause: &str) {
        self.retries.count(cause, 1);
    }

    /// A partition no longer holds the sweep back.
    pub fn late_partition(&self) {
        self.late_partitions.inc();
    }

    /// So many records came after their decision.
    pub fn late_records(&self, records: u64) {
        self.late_records.inc_by(records);
    }

    /// The log is read again from the horizon.
    pub fn rewound(&self) {
        self.rewinds.inc();
    }

    /// So many drafts are acknowledged.
    pub fn drafts_published(&self, drafts: u64) {
        self.drafts.inc_by(drafts);
    }

    /// So many updates are acknowledged.
    pub fn updates_published(&self, updates: u64) {
        self.updates.inc_by(updates);
    }

    /// A record was set aside; `reason` as in `AlertError`.
    pub fn dead_lettered(&self, reason: &str) {
        self.dead_letters.count(reason, 1);
    }

    /// So many records wait for their hold or cooldown now, more or fewer than before.
    pub fn waiting_moved(&self, by: i64) {
        self.waiting.inc_by(by);
    }

    /// How far the watermark lies behind the newest record.
    pub fn watermark_lag(&self, lag: std::time::Duration) {
        self.watermark_lag.set(i64::try_from(lag.as_millis()).unwrap_or(i64::MAX));
    }
}
